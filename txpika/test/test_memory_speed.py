"""What the broker in memory keeps, and does, for each of many messages."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import Basic
from txpika.test.counting import SKIP, Growth
from txpika.test.fakes import content, method
from txpika.test.test_memory_hostile import READY, Victim
from txpika.testing import MemoryBroker, MemoryNetwork

COUNT = 20000
#: Python and C functions that the broker calls for a message which is published and delivered at once.
MAX_CALLS = 60


class SpeedTests(SynchronousTestCase):
    """One queue, one publisher, one consumer."""

    skip = SKIP

    def test_memory_at_rest(self) -> None:
        network = MemoryNetwork(MemoryBroker(Clock()))
        publisher, consumer = network.channel(), network.channel()
        network.result_of(publisher.confirm_select())
        network.result_of(consumer.queue_declare("work"))
        network.result_of(consumer.basic_qos(prefetch_count=100))
        got = [0]

        def on_delivery(delivery: Any) -> None:
            got[0] += 1
            delivery.ack()

        network.result_of(consumer.basic_consume("work", on_delivery))

        def send(count: int) -> None:
            for _ in range(count // 500):
                for _ in range(500):
                    publisher.basic_publish("", "work", b"x" * 100)
                network.pump()

        send(2000)
        with Growth() as growth:
            send(COUNT)
        self.assertEqual(got[0], COUNT + 2000)
        queue = network.broker.queue("work")
        self.assertEqual((len(queue.backlog), queue.unacked), (0, 0))
        self.assertLess(growth.size, 100_000)

    def test_memory_after_a_queue_was_long(self) -> None:
        network = MemoryNetwork(MemoryBroker(Clock()))
        channel = network.channel()
        network.result_of(channel.queue_declare("work"))
        with Growth() as growth:
            for _ in range(COUNT // 500):
                for _ in range(500):
                    channel.basic_publish("", "work", b"x" * 100)
                network.pump()
            self.assertEqual(len(network.broker.ready("work")), COUNT)
            consumer = network.result_of(channel.basic_consume("work", lambda delivery: delivery.ack()))
            network.pump()
            network.result_of(consumer.cancel())
            network.result_of(channel.queue_delete("work"))
        self.assertLess(growth.size, 200_000)

    def test_calls(self) -> None:
        """The same for each message, however many wait."""
        for waiting in (0, 5000):
            victim = Victim()
            victim.way.send(READY)
            message = content(1, Basic.Publish(0, "", "q"), b"x" * 100)
            victim.way.send(message * (waiting + 1))
            victim.way.send(method(1, Basic.Qos(0, 10)) + method(1, Basic.Consume(0, "q", "t", no_ack=not waiting)))
            victim.heard()
            calls = [0]

            def count(frame: Any, event: str, argument: Any, calls: list[int] = calls) -> None:
                calls[0] += event in ("call", "c_call")

            batch = message * 100
            sys.setprofile(count)
            victim.way.send(batch)
            sys.setprofile(None)
            self.assertLess(calls[0] / 100, MAX_CALLS)
            victim.survives()
