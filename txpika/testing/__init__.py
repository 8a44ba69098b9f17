# -*- test-case-name: txpika.test.test_memory_network -*-
"""
An in-memory broker, for tests of programs that use RabbitMQ.

It is for tests and demonstrations only: it keeps nothing on disk, and knows no cluster. L{MemoryBroker} is the broker;
L{MemoryNetwork} and L{connected_channel} give clients of it without reactor or socket; L{BrokerFactory} lets it listen,
for any client in any language. Not imported by anything else in txpika.
"""

from __future__ import annotations

from txpika.testing.broker import MemoryBroker
from txpika.testing.faults import Faults
from txpika.testing.greeting import Limits
from txpika.testing.memory import MemoryNetwork, NothingHappens, connected_channel
from txpika.testing.message import Message
from txpika.testing.tcp import BrokerFactory

__all__ = [
    "BrokerFactory",
    "Faults",
    "Limits",
    "MemoryBroker",
    "MemoryNetwork",
    "Message",
    "NothingHappens",
    "connected_channel",
]
