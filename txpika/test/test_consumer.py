"""Tests for the lives of consumers, on the Twisted face."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.channel import Channel
from txpika.consumer import Consumer
from txpika.exceptions import CallTimeout, ChannelClosed, ConnectionLost, ConsumerCancelled, StaleDelivery
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Method, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.test.fakes import TwistedPeer, deliver, method


class ConsumerTestCase(SynchronousTestCase):
    """A channel, and a broker that delivers to consumer C{t}."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.tag = 0

    def consume(self, on_delivery: Callable[[Delivery], object] | None = None, **more: Any) -> Consumer:
        consuming = self.channel.basic_consume("q", on_delivery, consumer_tag="t", **more)
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        self.peer.frames()
        return self.successResultOf(consuming)

    def deliver(self, count: int = 1) -> None:
        """So many, in one read."""
        data = b""
        for _ in range(count):
            self.tag += 1
            data += deliver(1, "t", self.tag, b"%d" % self.tag)
        self.peer.send(data)

    def next(self, consumer: Consumer) -> Deferred[Delivery]:
        return Deferred.fromCoroutine(consumer.__anext__())

    def cancel_ok(self) -> None:
        self.peer.send(method(1, Basic.CancelOk("t")))

    def sent(self) -> list[Method]:
        return self.peer.methods()


class IterationTests(ConsumerTestCase):
    """C{async for}."""

    def test_each_delivery_in_order_to_whoever_asked_first(self) -> None:
        consumer = self.consume()
        first, second = self.next(consumer), self.next(consumer)
        self.deliver(3)
        bodies = [self.successResultOf(each).body for each in (first, second, self.next(consumer))]
        self.assertEqual(bodies, [b"1", b"2", b"3"])

    def test_a_waiter_that_gave_up_takes_nothing(self) -> None:
        consumer = self.consume()
        first, second = self.next(consumer), self.next(consumer)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.deliver()
        self.assertEqual(self.successResultOf(second).body, b"1")

    def test_cancelled_by_the_program(self) -> None:
        consumer = self.consume()
        waiting = self.next(consumer)
        self.deliver(3)
        self.successResultOf(waiting)
        cancelled = consumer.cancel()
        self.assertEqual(self.sent(), [Basic.Cancel("t")])
        self.deliver()
        self.cancel_ok()
        self.successResultOf(cancelled)
        self.failureResultOf(self.next(consumer), StopAsyncIteration)
        # What nobody got goes back; what somebody has is theirs.
        self.assertEqual(self.sent(), [Basic.Nack(tag, False, True) for tag in (2, 3, 4)])
        self.assertIsNone(self.successResultOf(consumer.closed))
        self.assertIsNone(self.successResultOf(consumer.cancel()))

    def test_cancelled_by_the_broker(self) -> None:
        consumer = self.consume()
        self.deliver()
        self.successResultOf(self.next(consumer))
        self.deliver()
        self.peer.send(method(1, Basic.Cancel("t", True)))
        error = self.failureResultOf(self.next(consumer), ConsumerCancelled).value
        self.assertEqual(error.initiator, "peer")
        self.assertEqual(self.sent(), [Basic.Nack(2, False, True)])
        self.assertIsInstance(self.successResultOf(consumer.closed), ConsumerCancelled)

    def test_the_channel_is_closed(self) -> None:
        consumer = self.consume()
        waiting = self.next(consumer)
        self.peer.send(method(1, ChannelMethods.Close(406, "PRECONDITION_FAILED", 60, 80)))
        self.assertEqual(self.failureResultOf(waiting, ChannelClosed).value.reply_code, 406)
        self.failureResultOf(self.next(consumer), ChannelClosed)

    def test_the_connection_is_lost(self) -> None:
        consumer = self.consume()
        waiting = self.next(consumer)
        self.deliver(2)
        first = self.successResultOf(waiting)
        self.peer.lose()
        self.failureResultOf(self.next(consumer), ConnectionLost)
        self.assertRaises(StaleDelivery, first.ack)

    def test_without_acks_all_that_came_is_still_there(self) -> None:
        consumer = self.consume(no_ack=True)
        self.deliver(2)
        self.peer.lose()
        self.assertEqual([self.successResultOf(self.next(consumer)).body for _ in range(2)], [b"1", b"2"])
        self.failureResultOf(self.next(consumer), ConnectionLost)

    def test_one_that_is_woken_by_the_end_gives_up_the_others(self) -> None:
        consumer = self.consume()
        first, second = self.next(consumer), self.next(consumer)
        first.addErrback(lambda failure: second.cancel())
        self.peer.send(method(1, Basic.Cancel("t", True)))
        self.failureResultOf(second, CancelledError)
        self.assertIsNone(self.peer.connection.reason)

    def test_context_manager(self) -> None:
        async def use() -> None:
            async with await self.channel.basic_consume("q", consumer_tag="t") as consumer:
                async for _ in consumer:
                    break

        using = Deferred.fromCoroutine(use())
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        self.deliver()
        self.cancel_ok()
        self.successResultOf(using)
        self.assertEqual(self.peer.names()[-2:], ["Basic.Consume", "Basic.Cancel"])

    def test_one_with_a_function_has_none(self) -> None:
        self.failureResultOf(self.next(self.consume(lambda delivery: None)), TypeError)


class DrainTests(ConsumerTestCase):
    """C{drain}."""

    def setUp(self) -> None:
        super().setUp()
        self.working: list[Deferred[None]] = []

    def work(self, _delivery: Delivery) -> Awaitable[None]:
        self.working.append(Deferred())
        return self.working[-1]

    def test_finishes_what_was_begun(self) -> None:
        consumer = self.consume(self.work, concurrency=2, ack="on-success")
        self.deliver(5)
        draining = consumer.drain(30)
        self.working[0].callback(None)
        self.assertEqual(len(self.working), 2, "no other one begins")
        self.cancel_ok()
        self.assertNoResult(draining)
        self.working[1].callback(None)
        self.assertEqual(self.successResultOf(draining), 0)
        sent = self.sent()
        self.assertIn(Basic.Cancel("t"), sent)
        self.assertEqual(
            [each for each in sent if isinstance(each, Basic.Nack)], [Basic.Nack(tag, False, True) for tag in (3, 4, 5)]
        )
        self.assertEqual([each for each in sent if isinstance(each, Basic.Ack)], [Basic.Ack(1), Basic.Ack(2)])
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_a_simple_function_gets_nothing_any_more(self) -> None:
        seen: list[Delivery] = []
        consumer = self.consume(seen.append)
        self.deliver(2)
        draining = consumer.drain()
        self.deliver(2)
        self.cancel_ok()
        self.assertEqual((self.successResultOf(draining), len(seen)), (0, 2))
        self.assertEqual(
            [each for each in self.sent() if isinstance(each, Basic.Nack)],
            [Basic.Nack(tag, False, True) for tag in (3, 4)],
        )

    def test_without_acks_all_that_came_is_handled(self) -> None:
        consumer = self.consume(self.work, concurrency=1, no_ack=True)
        self.deliver(3)
        draining = consumer.drain()
        self.cancel_ok()
        for number in range(3):
            self.assertNoResult(draining)
            self.working[number].callback(None)
        self.assertEqual(self.successResultOf(draining), 0)

    def test_deadline(self) -> None:
        consumer = self.consume(self.work)
        self.deliver(2)
        draining = consumer.drain(5)
        self.cancel_ok()
        self.working[0].callback(None)
        self.peer.clock.advance(5)
        self.assertEqual(self.successResultOf(draining), 1)

    def test_the_broker_does_not_answer(self) -> None:
        consumer = self.consume(self.work)
        declared = self.channel.queue_declare("q", passive=True)
        draining = consumer.drain(5)
        self.peer.clock.advance(5)
        self.failureResultOf(draining, CallTimeout)
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.successResultOf(declared)
        self.assertEqual(self.sent()[-1], Basic.Cancel("t"), "it is sent when its turn comes")
        self.cancel_ok()
        self.assertIsNone(self.successResultOf(consumer.closed))

    def test_the_connection_is_lost_meanwhile(self) -> None:
        consumer = self.consume(self.work)
        self.deliver()
        draining = consumer.drain(5)
        self.peer.lose()
        self.assertNoResult(draining)
        self.working[0].callback(None)
        self.assertEqual(self.successResultOf(draining), 0)
        self.assertEqual(self.successResultOf(consumer.drain()), 0)

    def test_refused_deadlines(self) -> None:
        consumer = self.consume(self.work)
        for bad, error in ((0, ValueError), (-1, ValueError), ("5", TypeError)):
            self.assertRaises(error, consumer.drain, bad)
        self.assertEqual(self.sent(), [])


class SilenceTests(ConsumerTestCase):
    """What nobody waits for is logged."""

    def events(self) -> list[str]:
        return [str(event["log_format"]) for event in self.logged]

    def watch(self, owner: type[Consumer] | type[Channel]) -> None:
        self.logged: list[dict[str, Any]] = []

        class Log:
            def warn(_, text: str, **fields: Any) -> None:
                self.logged.append({"log_format": text.format(**fields)})

        self.patch(owner, "_log", Log())

    def test_a_consumer_cancelled_by_the_broker(self) -> None:
        self.watch(Consumer)
        self.consume(lambda delivery: None)
        self.peer.send(method(1, Basic.Cancel("t", True)))
        self.assertEqual(self.events(), ["No more deliveries to consumer 't': the broker cancelled consumer 't'"])

    def test_not_when_somebody_hears_it(self) -> None:
        self.watch(Consumer)
        closed = self.consume(lambda delivery: None).closed
        self.peer.send(method(1, Basic.Cancel("t", True)))
        self.successResultOf(closed)
        self.assertEqual(self.events(), [])

    def test_a_channel_closed_by_the_broker(self) -> None:
        self.watch(Channel)
        self.successResultOf(self.channel.basic_publish("missing", "k", b"x"))
        self.peer.send(method(1, ChannelMethods.Close(404, "NOT_FOUND - no exchange 'missing'", 60, 40)))
        (event,) = self.events()
        self.assertIn("The broker closed channel 1: 404 NOT_FOUND", event)


class RecoverTests(ConsumerTestCase):
    """C{basic.recover}, twice at a time."""

    def test_what_comes_between_the_answers_is_taken_back(self) -> None:
        seen: list[int] = []
        self.consume(lambda delivery: seen.append(delivery.delivery_tag))
        self.deliver()
        first, second = self.channel.basic_recover(), self.channel.basic_recover()
        self.peer.send(method(1, Basic.RecoverOk()))
        self.successResultOf(first)
        self.deliver()
        self.peer.send(method(1, Basic.RecoverOk()))
        self.successResultOf(second)
        self.deliver()
        self.assertEqual(seen, [1, 3])


def generator(_delivery: Delivery) -> Generator[int, None, None]:
    yield 1


class ArgumentTests(ConsumerTestCase):
    """What is no function for deliveries."""

    def test_generators(self) -> None:
        self.peer.frames()
        self.assertIn("generator", str(self.assertRaises(TypeError, self.channel.basic_consume, "q", generator)))
        self.assertEqual(self.peer.frames(), [])

    def test_the_body_of_a_loop_ends(self) -> None:
        consumer = self.consume()
        self.deliver(2)
        delivery = self.successResultOf(self.next(consumer))
        self.assertEqual(consumer.running, 1)
        draining = consumer.drain(5)
        self.cancel_ok()
        self.assertNoResult(draining)
        delivery.ack()
        self.failureResultOf(self.next(consumer), StopAsyncIteration)
        self.assertEqual(self.successResultOf(draining), 0)
        self.assertEqual(self.sent()[-2:], [Basic.Nack(2, False, True), Basic.Ack(1)])

    def test_the_body_of_a_loop_takes_too_long(self) -> None:
        consumer = self.consume()
        self.deliver()
        self.successResultOf(self.next(consumer))
        draining = consumer.drain(5)
        self.cancel_ok()
        self.peer.clock.advance(5)
        self.assertEqual(self.successResultOf(draining), 1)

    def test_a_loop_that_was_left(self) -> None:
        consumer = self.consume()
        self.deliver()
        self.successResultOf(self.next(consumer)).ack()
        self.assertEqual(consumer.running, 0)
        draining = consumer.drain(5)
        self.cancel_ok()
        self.assertEqual(self.successResultOf(draining), 0)
