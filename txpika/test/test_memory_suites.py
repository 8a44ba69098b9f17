"""The project's own suites, which were written for RabbitMQ, as they stand, against the broker in memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any
from unittest import TestSuite

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.runner import TestLoader
from twisted.trial.unittest import TestCase

from txpika.testing import BrokerFactory, MemoryBroker

#: Modules of tests, and classes of them where not all are of use.
SUITES = (
    "txpika.test.test_deaths",
    "txpika.test.test_direct_replies",
    "txpika.test.test_live",
    "txpika.test.test_live_methods",
    "txpika.test.test_live_rpc",
    "txpika.test.test_scenarios.SelectTests",
    "txpika.test.test_scenarios.BlockingTests",
    "txpika.test.test_topology_channel",
    "txpika.test.test_transactions",
)

#: Tests that are left out, by the end of their names, and why.
LEFT_OUT = {
    "ConnectionTests.test_thrown_out": "needs rabbitmqctl",
    "FlowTests.test_a_memory_alarm_makes_publishing_wait": "needs rabbitmqctl",
    "LiveDeathTests.test_expired": "needs quorum queues",
    "LiveDeathTests.test_given_back_too_often": "needs quorum queues",
    "LiveDeathTests.test_rejected": "needs quorum queues",
    "LiveDeathTests.test_too_many": "needs quorum queues",
    "RabbitMQTests.test_a_passive_declaration_and_a_deletion": "needs rabbitmqctl",
    "RabbitMQTests.test_both_names_left_out": "needs rabbitmqctl",
    "RabbitMQTests.test_which_bindings_are_the_same": "needs rabbitmqctl",
    ".test_tls": "needs the node's certificates",
    ".test_tls_of_another_host": "needs the node's certificates",
}


def tests_in(suite: Any) -> Iterator[Any]:
    for each in suite:
        if isinstance(each, TestSuite):
            yield from tests_in(each)
        else:
            yield each


class SuitesTests(TestCase):
    """In a process of their own; the broker is in this one."""

    timeout = 120

    async def test_them(self) -> None:
        names = [test.id() for test in tests_in(TestLoader().loadByNames(list(SUITES)))]
        for ending in LEFT_OUT:
            self.assertTrue(any(name.endswith(ending) for name in names), ending)
        names = [name for name in names if not name.endswith(tuple(LEFT_OUT))]
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        broker = MemoryBroker(reactor)
        port: Any = await endpoint.listen(BrokerFactory(broker))
        self.addCleanup(port.stopListening)
        self.addCleanup(broker.close)
        where = f"amqp://guest:guest@127.0.0.1:{port.getHost().port}/%2F"
        environment = {**os.environ, "TXPIKA_TEST_URI": where, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("TXPIKA_TEST_BASE", None)
        running: Deferred[Any] = getProcessOutputAndValue(
            sys.executable,
            ["-m", "twisted.trial", "--temp-directory", self.mktemp(), *names],
            environment,
        )
        out, err, code = await running
        self.assertEqual(code, 0, (out + err).decode("utf-8", "replace")[-10000:])
        self.assertIn(f"Ran {len(names)} tests", out.decode())
