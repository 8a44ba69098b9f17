"""Tests for L{txpika.consumer}: iteration, the end of a consumer from every side, and draining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.consumer import Consumer
from txpika.exceptions import (
    CallTimeout,
    ChannelClosed,
    CloseReason,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
)
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Method
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import TwistedPeer, deliveries, method

CANCEL_OK = method(1, Basic.CancelOk("t"))
CANCELLED = method(1, Basic.Cancel("t", True))


class Consuming(SynchronousTestCase):
    """A channel, and a consumer C{"t"} that is iterated over."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.tag = 1

    def deliver(self, *bodies: bytes, tag: str = "t") -> None:
        """In one read."""
        self.peer.send(deliveries(self.tag, *bodies, tag=tag))
        self.tag += len(bodies)

    def take(self, consumer: Consumer) -> Deferred[Delivery]:
        """The next one."""
        return Deferred.fromCoroutine(consumer.__anext__())

    def body(self, taking: Deferred[Delivery]) -> bytes:
        return self.successResultOf(taking).body

    def rest(self, consumer: Consumer) -> tuple[list[bytes], Deferred[str]]:
        """Iterate to the end: the bodies so far, and how it ends."""
        bodies: list[bytes] = []

        async def iterate() -> str:
            async for delivery in consumer:
                bodies.append(delivery.body)
            return "over"

        return bodies, Deferred.fromCoroutine(iterate())

    def ends(self) -> list[tuple[Callable[[], object], type[CloseReason], int]]:
        """Each end that is not this program's cancel: what does it, and the reason."""
        return [
            (lambda: self.peer.send(CANCELLED), ConsumerCancelled, 0),
            (lambda: self.peer.send(method(1, ChannelMethods.Close(406, "x", 0, 0))), ChannelClosed, 406),
            (lambda: self.channel.close(), ChannelClosed, 200),
            (lambda: self.peer.send(method(0, ConnectionMethods.Close(320, "x", 0, 0))), ConnectionClosed, 320),
            (lambda: self.peer.lose(), ConnectionLost, 0),
            (lambda: self.peer.protocol.abort(), ConnectionLost, 0),
        ]


class IterationTests(Consuming):
    """C{async for}."""

    def test_those_that_wait_and_those_to_come(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1", b"2")
        bodies, end = self.rest(consumer)
        self.assertEqual(bodies, [b"1", b"2"])
        self.deliver(b"3")
        self.assertEqual(bodies, [b"1", b"2", b"3"])
        self.assertNoResult(end)

    def test_break_leaves_the_others_for_later(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1", b"2", b"3")

        async def first() -> bytes:
            async for delivery in consumer:
                delivery.ack()
                return delivery.body
            return b""

        for expected in (b"1", b"2"):
            self.assertEqual(self.successResultOf(Deferred.fromCoroutine(first())), expected)
        self.assertEqual(self.peer.methods(), [Basic.Ack(1), Basic.Ack(2)])
        self.assertEqual(self.body(self.take(consumer)), b"3")

    def test_an_error_in_the_loop_is_its_own(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1", b"2")

        async def fails() -> None:
            async for _delivery in consumer:
                raise ZeroDivisionError

        self.failureResultOf(Deferred.fromCoroutine(fails()), ZeroDivisionError)
        self.assertEqual(self.body(self.take(consumer)), b"2")
        self.assertEqual(self.peer.frames(), [])

    def test_two_who_wait_get_one_each_in_turn(self) -> None:
        consumer = self.peer.consuming(self.channel)
        first, second = self.take(consumer), self.take(consumer)
        self.deliver(b"1")
        self.assertEqual(self.body(first), b"1")
        self.assertNoResult(second)
        self.deliver(b"2", b"3")
        self.assertEqual(self.body(second), b"2")
        self.assertEqual(self.body(self.take(consumer)), b"3")

    def test_two_loops_share(self) -> None:
        consumer = self.peer.consuming(self.channel)
        (first, _), (second, _) = self.rest(consumer), self.rest(consumer)
        self.deliver(*(b"%d" % number for number in range(10)))
        self.assertEqual(sorted(first + second), [b"%d" % number for number in range(10)])
        self.assertTrue(first and second)

    def test_one_who_gave_up_takes_nothing_with_him(self) -> None:
        consumer = self.peer.consuming(self.channel)
        given_up, second = self.take(consumer), self.take(consumer)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.deliver(b"1")
        self.assertEqual(self.body(second), b"1")
        third = self.take(consumer)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.deliver(b"2")
        self.assertEqual(self.body(self.take(consumer)), b"2")

    def test_one_who_takes_another_at_once(self) -> None:
        """The second who waits is not passed over by a first who comes back."""
        consumer = self.peer.consuming(self.channel)
        bodies, _ = self.rest(consumer)
        second = self.take(consumer)
        self.deliver(b"1", b"2")
        self.assertEqual((bodies, self.body(second)), ([b"1"], b"2"))

    def test_a_function_and_iteration_exclude_each_other(self) -> None:
        consumer = self.peer.consuming(self.channel, lambda delivery: None)
        self.failureResultOf(self.take(consumer), TypeError)

    def test_async_with_cancels(self) -> None:
        for raises in (False, True):
            self.setUp()
            consumer = self.peer.consuming(self.channel)

            async def block(consumer: Consumer = consumer, raises: bool = raises) -> bytes:
                async with consumer as same:
                    self.assertIs(same, consumer)
                    delivery = await same.__anext__()
                    delivery.ack()
                    if raises:
                        raise ZeroDivisionError
                    return delivery.body

            ending = Deferred.fromCoroutine(block())
            self.deliver(b"1", b"2")
            self.assertEqual(self.peer.methods(), [Basic.Ack(1), Basic.Cancel("t", False)])
            self.assertNoResult(ending)
            self.peer.send(CANCEL_OK)
            if raises:
                self.failureResultOf(ending, ZeroDivisionError)
            else:
                self.assertEqual(self.successResultOf(ending), b"1")
            self.assertEqual(self.peer.methods(), [Basic.Nack(2, False, True)])


class EndTests(Consuming):
    """By this program, by the broker, with the channel, with the connection."""

    def test_cancel(self) -> None:
        consumer = self.peer.consuming(self.channel)
        first, second = self.take(consumer), self.take(consumer)
        closed = consumer.closed
        cancelled = consumer.cancel()
        self.assertEqual(self.peer.methods(), [Basic.Cancel("t", False)])
        for each in (cancelled, closed, first):
            self.assertNoResult(each)
        self.peer.send(CANCEL_OK)
        self.assertIsNone(self.successResultOf(cancelled))
        self.assertIsNone(self.successResultOf(closed))
        for each in (first, second, self.take(consumer)):
            self.failureResultOf(each, StopAsyncIteration)
        bodies, end = self.rest(consumer)
        self.assertEqual((bodies, self.successResultOf(end)), ([], "over"))
        self.assertIsNone(self.successResultOf(consumer.cancel()), "harmless")
        self.assertIsNone(self.successResultOf(consumer.closed))
        self.assertEqual(self.peer.frames(), [])
        self.assertEqual(repr(consumer), "<Consumer 't' ended>")

    def test_what_waits_at_cancel_goes_back(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1", b"2", b"3")
        taken = self.successResultOf(self.take(consumer))
        consumer.cancel()
        self.deliver(b"4")  # was on its way
        self.peer.send(CANCEL_OK)
        expected: list[Method] = [Basic.Cancel("t", False)]
        self.assertEqual(self.peer.methods(), expected + [Basic.Nack(tag, False, True) for tag in (2, 3, 4)])
        taken.ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)])
        self.failureResultOf(self.take(consumer), StopAsyncIteration)

    def test_what_was_acked_unseen_does_not(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1", b"2", b"3")
        self.channel.basic_ack(2, multiple=True)
        consumer.cancel()
        self.peer.send(CANCEL_OK)
        self.assertEqual(self.peer.methods(), [Basic.Ack(2, True), Basic.Cancel("t"), Basic.Nack(3, False, True)])

    def test_what_needs_no_ack_is_not_lost(self) -> None:
        """It cannot go back: the broker holds it for done."""
        consumer = self.peer.consuming(self.channel, no_ack=True)
        self.deliver(b"1", b"2")
        consumer.cancel()
        self.deliver(b"3")
        self.peer.send(CANCEL_OK)
        bodies, end = self.rest(consumer)
        self.assertEqual((bodies, self.successResultOf(end)), ([b"1", b"2", b"3"], "over"))
        self.assertEqual(self.peer.names(), ["Basic.Cancel"])

    def test_what_needs_no_ack_and_waits_for_its_turn_is_not_lost(self) -> None:
        bodies: list[bytes] = []
        working: list[Deferred[None]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            bodies.append(delivery.body)
            working.append(Deferred())
            return working[-1]

        consumer = self.peer.consuming(self.channel, work, no_ack=True, concurrency=1)
        self.deliver(b"1", b"2", b"3")
        draining = consumer.drain()
        self.peer.send(CANCEL_OK)
        for each in range(3):
            self.assertNoResult(draining)
            working[each].callback(None)
        self.assertEqual((bodies, self.successResultOf(draining)), ([b"1", b"2", b"3"], 0))

    def test_what_waits_for_its_turn_at_cancel_goes_back(self) -> None:
        working: list[Deferred[None]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        consumer = self.peer.consuming(self.channel, work, concurrency=1, ack="on-success")
        self.deliver(b"1", b"2", b"3")
        consumer.cancel()
        self.peer.send(CANCEL_OK)
        self.assertEqual(self.peer.methods()[1:], [Basic.Nack(2, False, True), Basic.Nack(3, False, True)])
        working[0].callback(None)
        self.assertEqual((self.peer.methods(), len(working)), ([Basic.Ack(1)], 1))

    def test_other_ends_have_a_reason(self) -> None:
        for number in range(len(self.ends())):
            self.setUp()
            consumer = self.peer.consuming(self.channel)
            first, second = self.take(consumer), self.take(consumer)
            closed = consumer.closed
            end, kind, code = self.ends()[number]
            end()
            for each in (first, second, self.take(consumer)):
                error = self.failureResultOf(each, kind).value
                self.assertEqual((type(error), error.reply_code, error.outcome), (kind, code, "closed"))
            for ended in (closed, consumer.closed):
                reason = self.successResultOf(ended)
                assert reason is not None
                self.assertEqual((type(reason), reason.reply_code), (kind, code))
            self.assertIsNone(self.successResultOf(consumer.cancel()))
            self.assertNotIn("Basic.Cancel", self.peer.names())

    def test_other_ends_take_along_what_waits(self) -> None:
        """It comes again, to whoever consumes then."""
        for number in range(len(self.ends())):
            self.setUp()
            consumer = self.peer.consuming(self.channel)
            seen: list[bytes] = []

            def work(delivery: Delivery, seen: list[bytes] = seen) -> Deferred[None]:
                seen.append(delivery.body)
                return Deferred()

            with_function = self.peer.consuming(self.channel, work, concurrency=1, consumer_tag="u")
            self.deliver(b"1", b"2")
            self.deliver(b"3", b"4", tag="u")
            end, kind, _ = self.ends()[number]
            end()
            self.peer.send(method(1, Basic.Cancel("u", True)) if kind is ConsumerCancelled else b"")
            self.failureResultOf(self.take(consumer), kind)
            self.assertEqual((seen, with_function.running), ([b"3"], 1))
            given_back = [Basic.Nack(tag, False, True) for tag in (1, 2, 4)] if kind is ConsumerCancelled else []
            settled = [each for each in self.peer.methods() if isinstance(each, Basic.Nack | Basic.Ack | Basic.Reject)]
            self.assertLessEqual(len(settled), len(given_back))
            self.assertTrue(all(each in given_back for each in settled))

    def test_other_ends_come_after_what_needs_no_ack(self) -> None:
        for number in range(len(self.ends())):
            self.setUp()
            consumer = self.peer.consuming(self.channel, no_ack=True)
            self.deliver(b"1", b"2")
            end, kind, _ = self.ends()[number]
            end()
            bodies, over = self.rest(consumer)
            self.assertEqual(bodies, [b"1", b"2"])
            self.failureResultOf(over, kind)

    def test_an_end_in_the_middle_of_a_loop(self) -> None:
        consumer = self.peer.consuming(self.channel)
        bodies, end = self.rest(consumer)
        self.peer.send(deliveries(1, b"1", b"2") + CANCELLED)
        self.assertEqual(bodies, [b"1", b"2"])
        error = self.failureResultOf(end, ConsumerCancelled).value
        self.assertEqual((error.initiator, str(error)), ("peer", "the broker cancelled consumer 't'"))

    def test_the_broker_wants_to_hear_that_it_was_heard(self) -> None:
        self.peer.consuming(self.channel)
        self.peer.send(method(1, Basic.Cancel("t", False)))
        self.assertEqual(self.peer.methods(), [Basic.CancelOk("t")])
        self.peer.consuming(self.channel)  # the tag is free

    def test_both_cancel_at_once(self) -> None:
        consumer = self.peer.consuming(self.channel)
        cancelled, taking = consumer.cancel(), self.take(consumer)
        self.peer.send(CANCELLED)
        self.failureResultOf(taking, ConsumerCancelled)
        self.peer.send(CANCEL_OK)
        self.assertIsNone(self.successResultOf(cancelled))

    def test_cancelled_twice_at_once(self) -> None:
        consumer = self.peer.consuming(self.channel)
        first, second = consumer.cancel(), consumer.cancel()
        self.peer.send(CANCEL_OK)
        self.assertIsNone(self.successResultOf(first))
        self.peer.send(CANCEL_OK)
        self.assertIsNone(self.successResultOf(second))

    def test_cancel_that_is_not_answered(self) -> None:
        consumer = self.peer.consuming(self.channel)
        cancelled, closed = consumer.cancel(timeout=3), consumer.closed
        self.peer.clock.advance(3)
        self.failureResultOf(cancelled, CallTimeout)
        self.assertNoResult(closed)
        self.peer.send(CANCEL_OK)
        self.assertIsNone(self.successResultOf(closed))

    def test_by_tag(self) -> None:
        consumer = self.peer.consuming(self.channel)
        closed = consumer.closed
        self.assertIsNone(self.successResultOf(self.channel.basic_cancel("t", nowait=True)))
        self.assertIsNone(self.successResultOf(closed))
        self.assertRaises(ValueError, self.channel.basic_cancel, "t")

    def test_closed_that_is_cancelled_is_not_told(self) -> None:
        consumer = self.peer.consuming(self.channel)
        closed = consumer.closed
        closed.cancel()
        self.failureResultOf(closed, CancelledError)
        self.peer.send(CANCELLED)

    def test_a_new_one_from_inside_the_end_of_another(self) -> None:
        consumer = self.peer.consuming(self.channel)
        again: list[Deferred[Consumer]] = []
        consumer.closed.addCallback(lambda _: again.append(self.channel.basic_consume("q", consumer_tag="t")))
        self.peer.send(CANCELLED)
        self.assertEqual(self.peer.names(), ["Basic.Consume"])
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        new = self.successResultOf(again[0])
        self.deliver(b"1")
        self.assertEqual(self.body(self.take(new)), b"1")


class DrainTests(Consuming):
    """C{drain}: functions at work may end."""

    def work(self, **more: Any) -> Consumer:
        """A consumer whose function is at work on the first of three deliveries."""
        self.working: list[Deferred[None]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            self.working.append(Deferred())
            return self.working[-1]

        more = {"concurrency": 1, "ack": "on-success"} | more
        consumer = self.peer.consuming(self.channel, work, **more)
        self.deliver(b"1", b"2", b"3")
        self.assertEqual(consumer.running, more["concurrency"])
        return consumer

    def assert_quiet(self) -> None:
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_all_goes_well(self) -> None:
        consumer = self.work()
        draining = consumer.drain()
        self.assertEqual(self.peer.methods(), [Basic.Cancel("t", False)])
        self.peer.send(CANCEL_OK)
        self.assertEqual(self.peer.methods(), [Basic.Nack(2, False, True), Basic.Nack(3, False, True)])
        self.assertNoResult(draining)
        self.working[0].callback(None)
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)])
        self.assertEqual(self.successResultOf(draining), 0)
        self.assert_quiet()

    def test_the_function_ends_first(self) -> None:
        consumer = self.work(concurrency=3)
        draining = consumer.drain()
        for each in self.working:
            each.callback(None)
        self.assertNoResult(draining)
        self.peer.send(CANCEL_OK)
        self.assertEqual(self.successResultOf(draining), 0)
        self.assertEqual(self.peer.names(), ["Basic.Cancel", "Basic.Ack", "Basic.Ack", "Basic.Ack"])
        self.assert_quiet()

    def test_one_that_fails_is_an_end_too(self) -> None:
        consumer = self.work()
        draining = consumer.drain()
        self.peer.send(CANCEL_OK)
        self.working[0].errback(ZeroDivisionError())
        self.assertEqual(self.successResultOf(draining), 0)
        self.assertEqual(self.peer.methods()[-1], Basic.Nack(1, False, True))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_quiet()

    def test_a_function_that_never_ends(self) -> None:
        consumer = self.work(concurrency=2)
        draining = consumer.drain(5)
        self.peer.send(CANCEL_OK)
        self.peer.clock.advance(4.9)
        self.assertNoResult(draining)
        self.peer.clock.advance(0.2)
        self.assertEqual(self.successResultOf(draining), 2)
        self.peer.frames()
        self.working[0].callback(None)
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)], "it goes on, unwaited for")
        self.assertEqual(consumer.running, 1)
        self.assert_quiet()

    def test_ends_meanwhile(self) -> None:
        """Whatever ends first: the functions are waited for."""
        for number in range(len(self.ends())):
            self.setUp()
            consumer = self.work()
            draining = consumer.drain()
            end, _, _ = self.ends()[number]
            end()
            self.peer.send(CANCEL_OK if self.peer.protocol.is_open else b"")
            self.assertNoResult(draining)
            self.working[0].callback(None)
            self.assertEqual(self.successResultOf(draining), 0)
            self.assertEqual(len(self.working), 1)

    def test_ended_before(self) -> None:
        for number in range(len(self.ends())):
            self.setUp()
            consumer = self.work()
            end, _, _ = self.ends()[number]
            end()
            self.peer.frames()
            draining = consumer.drain()
            self.assertNoResult(draining)
            self.working[0].callback(None)
            self.assertEqual(self.successResultOf(draining), 0)
            self.assertEqual(self.successResultOf(consumer.drain()), 0)
            self.assertNotIn("Basic.Cancel", self.peer.names())

    def test_nothing_to_wait_for(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1")
        draining, again = consumer.drain(), consumer.drain()
        self.peer.send(CANCEL_OK * 2)
        self.assertEqual((self.successResultOf(draining), self.successResultOf(again)), (0, 0))
        self.assertEqual(self.peer.methods()[-1], Basic.Nack(1, False, True))
        self.assert_quiet()

    def test_from_inside_the_function(self) -> None:
        """It would wait for itself, were it not for the deadline."""
        results: list[int] = []

        async def drains(delivery: Delivery) -> None:
            results.append(await consumer.drain(2))

        consumer = self.peer.consuming(self.channel, drains)
        self.deliver(b"1")
        self.peer.send(CANCEL_OK)
        self.peer.clock.advance(2)
        self.assertEqual((results, consumer.running), ([1], 0))
        self.assert_quiet()

    def test_given_up(self) -> None:
        consumer = self.work()
        draining = consumer.drain()
        self.peer.send(CANCEL_OK)
        draining.cancel()
        self.failureResultOf(draining, CancelledError)
        self.working[0].callback(None)
        self.assert_quiet()

    def test_refused_deadlines(self) -> None:
        consumer = self.work()
        for bad, error in ((0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("5", TypeError)):
            wrong: Any = bad
            self.assertIn("deadline", str(self.assertRaises(error, consumer.drain, wrong)))
        self.assertEqual(self.peer.frames(), [])
