# -*- test-case-name: txpika.test.test_memory_recovery -*-
"""The tests of L{txpika.service} on a network that fails, as they stand, against the broker in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint

from txpika.test import test_service_live
from txpika.testing import BrokerFactory, MemoryBroker


class LinkTests(test_service_live.LinkTests):
    """The broker listens in this process."""

    async def find_broker(self) -> str:
        self.memory = MemoryBroker(reactor)
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(BrokerFactory(self.memory))
        self.addCleanup(port.stopListening)
        self.addCleanup(self.memory.close)
        return f"amqp://guest:guest@127.0.0.1:{port.getHost().port}/%2F"

    async def ctl(self, *arguments: str) -> str:
        """What the tests ask of C{rabbitmqctl}."""
        queues = self.memory.virtual_hosts["/"].queues
        if arguments[0] == "list_consumers":
            return "\n".join(name for name, queue in queues.items() for _ in queue.rotation.everyone)
        assert arguments == ("list_queues", "name", "messages_unacknowledged")
        return "\n".join(f"{name}\t{len(self.memory.unacked(name))}" for name in queues)
