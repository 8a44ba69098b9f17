# -*- test-case-name: txpika.test.test_surviving_early -*-
"""Tests for L{txpika.surviving}: what is delivered while other things are still being set up again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txpika.consumer import Consumer
from txpika.message import Delivery
from txpika.spec import Basic, Channel
from txpika.surviving import SurvivingChannel
from txpika.test.obliging import refusal
from txpika.test.served import SurvivingTestCase

SIZE = 10


class EarlyTests(SurvivingTestCase):
    """
    A consumer is there again, its queue is full, and another consumer has to wait for its place.

    @ivar early: How many are delivered while the broker is asked for that.
    """

    early = 0

    def begin(self, **more: Any) -> tuple[Consumer, SurvivingChannel]:
        """@return: A consumer that is iterated over, and another channel, whose consumer has to wait."""
        consumer = self.result(self.chan.basic_consume("q", buffer_size=SIZE, consumer_tag="first", **more))
        other = self.channel()
        self.result(other.basic_consume("alone", print, exclusive=True, consumer_tag="second"))
        return consumer, other

    def recover(self) -> None:
        """As far as the consumer that has to wait."""
        self.answer = self.broker.answers[Basic.Consume]
        taken = refusal(403, "ACCESS_REFUSED - queue 'alone' in exclusive use")

        def consume_ok(line: Any, number: int, asked: Any) -> Any:
            if asked.consumer_tag != "second":
                return self.answer(line, number, asked)
            for _ in range(self.early):
                line.deliver(b"early", "first")
            return taken(line, number, asked)

        self.broker.answers[Basic.Consume] = consume_ok
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "recovering")

    def finish(self) -> None:
        self.broker.answers[Basic.Consume] = self.answer
        for _ in range(20):
            self.broker.run(0.5)
        self.assertEqual(self.service.state, "open")

    def fill(self) -> int:
        """The broker sends as long as it is read. @return: How many that were."""
        for count in range(5000):
            if not self.broker.line.transport.reading:
                return count
            self.broker.line.deliver(b"%d" % count, "first")
        raise AssertionError("it reads and reads")

    def take(self, consumer: Consumer) -> Delivery:
        delivery: Delivery = self.successResultOf(Deferred.fromCoroutine(consumer.__anext__()))
        return delivery

    def test_it_stops_reading(self) -> None:
        for no_ack in (False, True):
            self.setUp()
            consumer, _ = self.begin(no_ack=no_ack)
            self.recover()
            self.assertEqual(self.fill(), SIZE)
            self.finish()
            self.assertFalse(self.broker.line.transport.reading, "now the consumer has enough")
            self.assertEqual([self.take(consumer).body for _ in range(SIZE)], [b"%d" % n for n in range(SIZE)])
            self.assertTrue(self.broker.line.transport.reading)
            self.assertEqual(self.fill(), SIZE)

    def test_a_function_takes_all_of_it(self) -> None:
        bodies: list[bytes] = []
        self.result(
            self.chan.basic_consume(
                "q", lambda delivery: bodies.append(delivery.body), buffer_size=SIZE, consumer_tag="f"
            )
        )
        self.begin()
        self.recover()
        for count in range(SIZE):
            self.broker.line.deliver(b"%d" % count, "f")
        self.assertFalse(self.broker.line.transport.reading)
        self.finish()
        self.assertTrue(self.broker.line.transport.reading)
        self.assertEqual(bodies, [b"%d" % n for n in range(SIZE)])

    def test_it_is_cancelled_meanwhile(self) -> None:
        consumer, _ = self.begin()
        self.recover()
        self.fill()
        self.successResultOf(consumer.cancel())
        self.finish()
        self.assertTrue(self.broker.line.transport.reading)
        self.assertEqual(len(self.broker.line.sent(Basic.Nack)), SIZE)

    def test_its_channel_is_closed_meanwhile(self) -> None:
        self.begin()
        self.recover()
        self.fill()
        self.successResultOf(self.chan.close())
        self.finish()
        self.assertTrue(self.broker.line.transport.reading)

    def test_the_broker_closes_its_channel_meanwhile(self) -> None:
        self.begin()
        self.recover()
        self.fill()
        number = next(number for number, each in self.broker.line.methods if isinstance(each, Basic.Consume))
        self.broker.line.send(number, Channel.Close(406, "no", 60, 80))
        self.finish()
        self.assertTrue(self.broker.line.transport.reading)
        self.assertFalse(self.chan.is_open)

    def test_its_channel_is_set_up_once_more(self) -> None:
        """As the consumer of that channel is refused: what was delivered comes again."""
        consumer = self.result(self.chan.basic_consume("q", buffer_size=SIZE, consumer_tag="first"))
        self.result(self.chan.basic_consume("alone", print, exclusive=True, consumer_tag="second"))
        self.early = SIZE
        self.recover()
        self.finish()
        self.assertTrue(self.broker.line.transport.reading)
        self.assertEqual(self.fill(), SIZE)
        self.assertEqual([self.take(consumer).body for _ in range(SIZE)], [b"%d" % n for n in range(SIZE)])

    def test_channels_with_consumers_are_the_last(self) -> None:
        self.result(self.chan.basic_consume("q", print))
        self.result(self.channel().confirm_select())
        self.bounce()
        self.assertEqual(
            [each.NAME for _, each in self.broker.line.methods],
            ["Channel.Open", "Confirm.Select", "Channel.Open", "Basic.Consume"],
        )
