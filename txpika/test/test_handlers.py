"""Tests for L{txpika.handling}: what a program's function gets, how many run, and what becomes of each delivery."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from txpika.consumer import Consumer
from txpika.exceptions import ConnectionLost, StaleDelivery
from txpika.handling import Handler
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Method, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.test.fakes import TwistedPeer, deliveries, method


class OfTheProgram(Exception):
    """What its functions raise."""


class Work:
    """
    Deliveries and when their handling ends, in each of the ways a function can say so.

    @ivar kind: C{"plain"} ends at once; C{"deferred"} and C{"async"} end when L{end} says so.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.deliveries: list[Delivery] = []
        self.under_way: dict[bytes, Deferred[None]] = {}
        self.most = 0
        self.raises: set[bytes] = set()

    def __call__(self, delivery: Delivery) -> Any:
        self.deliveries.append(delivery)
        if self.kind == "plain":
            if delivery.body in self.raises:
                raise OfTheProgram(delivery.body)
            return None
        done = self.under_way[delivery.body] = Deferred()
        self.most = max(self.most, len(self.under_way))
        return done if self.kind == "deferred" else self._wait(done)

    async def _wait(self, done: Deferred[None]) -> str:
        await done
        return "ignored"

    def end(self, body: bytes) -> None:
        done = self.under_way.pop(body)
        if body in self.raises:
            done.errback(OfTheProgram(body))
        else:
            done.callback(None)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]


class Handling(SynchronousTestCase):
    """A channel on which nothing is consumed yet."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.tag = 1

    def consume(self, work: Any, **more: Any) -> Consumer:
        return self.peer.consuming(self.channel, work, **more)

    def deliver(self, *bodies: bytes, **more: Any) -> None:
        """In one read."""
        self.peer.send(deliveries(self.tag, *bodies, **more))
        self.tag += len(bodies)

    def assert_unharmed(self) -> None:
        """Channel and connection go on."""
        declared = self.channel.queue_declare("q")
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.successResultOf(declared)
        self.peer.frames()

    def assert_logged(self, events: Sequence[Any], *tags: int) -> None:
        """One failure for each of these deliveries, and nothing else."""
        self.assertEqual([event["delivery"].delivery_tag for event in events], list(tags))
        for event in events:
            self.assertIs(event["log_level"], LogLevel.critical)
            self.assertTrue(event["log_failure"].check(OfTheProgram))
            line = formatEvent(event)
            self.assertIn("function of consumer 't' failed on <Delivery", line)
            self.assertNotIn("the body itself", line)
        self.assertEqual(len(self.flushLoggedErrors(OfTheProgram)), len(tags))


class ExplicitTests(Handling):
    """The program acknowledges."""

    def test_deliveries_come_in_order(self) -> None:
        for kind in ("plain", "deferred", "async"):
            for more in ({}, {"concurrency": 9}):
                self.setUp()
                work = Work(kind)
                self.consume(work, **more)
                self.deliver(b"1", b"2")
                self.deliver(b"3")
                self.assertEqual(work.bodies, [b"1", b"2", b"3"])
                self.assertEqual(self.peer.frames(), [])
                for body in list(work.under_way):
                    work.end(body)
                self.assertEqual(self.peer.frames(), [], "nobody acknowledged")
                for delivery in work.deliveries:
                    delivery.ack()
                self.assertEqual(self.peer.names(), ["Basic.Ack"] * 3)

    def test_what_fails_is_logged_once_and_hurts_nobody(self) -> None:
        for kind in ("plain", "deferred", "async"):
            for more in ({}, {"concurrency": 9}):
                self.setUp()
                work = Work(kind)
                work.raises = {b"the body itself", b"3"}
                consumer = self.consume(work, **more)
                with capturedLogs() as events:
                    self.deliver(b"the body itself", b"2", b"3")
                    for body in list(work.under_way):
                        work.end(body)
                self.assert_logged(events, 1, 3)
                self.assertEqual((len(work.bodies), consumer.running), (3, 0))
                self.assertEqual(self.peer.frames(), [], "the program has not settled them")
                self.assert_unharmed()
                work.deliveries[0].ack()

    def test_ended_before_it_is_returned(self) -> None:
        for result, tags in ((fail(OfTheProgram()), (1,)), (succeed("ignored"), ())):
            self.setUp()
            consumer = self.consume(lambda delivery, result=result: result)
            with capturedLogs() as events:
                self.deliver(b"1")
            self.assert_logged(events, *tags)
            self.assertEqual(consumer.running, 0)

    def test_a_deferred_that_is_cancelled_has_failed(self) -> None:
        work = Work("deferred")
        consumer = self.consume(work)
        self.deliver(b"1")
        self.assertEqual(consumer.running, 1)
        work.under_way[b"1"].cancel()
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)
        self.assertEqual(consumer.running, 0)

    def test_B107_what_is_no_exception_goes_through_once(self) -> None:
        """C{KeyboardInterrupt} is for whoever runs the program: the connection is given up, and says so."""
        for more in ({}, {"concurrency": 1}, {"ack": "on-success"}):
            self.setUp()
            calls: list[Delivery] = []

            def interrupted(delivery: Delivery, calls: list[Delivery] = calls) -> None:
                calls.append(delivery)
                raise KeyboardInterrupt

            self.consume(interrupted, **more)
            declared = self.channel.queue_declare("q")
            self.assertRaises(KeyboardInterrupt, self.deliver, b"1", b"2")
            self.assertEqual(len(calls), 1)
            self.failureResultOf(declared, ConnectionLost)
            self.assertEqual(self.peer.transport.events, ["abort"])
            self.deliver(b"3")
            self.assertEqual(len(calls), 1)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_the_program_from_inside_its_function(self) -> None:
        """It may ack, publish, call, cancel and close from there."""

        def everything(delivery: Delivery) -> None:
            delivery.ack()
            self.channel.basic_publish("", "r", delivery.body)
            self.channel.basic_cancel("t")
            self.channel.close()

        self.consume(everything)
        self.deliver(b"1", b"2")
        self.assertEqual(self.peer.names(), ["Basic.Ack", "Basic.Publish", "Basic.Cancel"])
        self.peer.send(method(1, Basic.CancelOk("t")) + method(1, ChannelMethods.CloseOk()))
        self.assertEqual(self.peer.names(), ["Channel.Close"])
        self.successResultOf(self.channel.closed)


class OnSuccessTests(Handling):
    """The consumer acknowledges when the function has ended."""

    def settled(self, kind: str, fails: bool, redelivered: bool, **more: Any) -> list[Method]:
        """What is written when a function ends, or fails."""
        self.setUp()
        work = Work(kind)
        work.raises = {b"1"} if fails else set()
        self.consume(work, ack="on-success", **more)
        with capturedLogs() as events:
            self.deliver(b"1", redelivered=redelivered)
            if kind != "plain":
                self.assertEqual(self.peer.frames(), [], "not before it has ended")
                work.end(b"1")
        self.assert_logged(events, *([1] if fails else []))
        methods = self.peer.methods()
        self.assertRaises(StaleDelivery, work.deliveries[0].ack)
        self.assert_unharmed()
        return methods

    def test_success(self) -> None:
        for kind in ("plain", "deferred", "async"):
            for redelivered in (False, True):
                self.assertEqual(self.settled(kind, False, redelivered), [Basic.Ack(1, False)])

    def test_failure(self) -> None:
        requeued, rejected = [Basic.Nack(1, False, True)], [Basic.Reject(1, False)]
        for kind in ("plain", "deferred", "async"):
            for on_error, first, again in (
                ("requeue-once", requeued, rejected),
                ("requeue", requeued, requeued),
                ("reject", rejected, rejected),
            ):
                self.assertEqual(self.settled(kind, True, False, on_error=on_error), first)
                self.assertEqual(self.settled(kind, True, True, on_error=on_error), again)
            self.assertEqual(self.settled(kind, True, False), requeued, "once is the default")
            self.assertEqual(self.settled(kind, True, True), rejected)

    def test_what_the_function_settled_stays_so(self) -> None:
        def settles(delivery: Delivery) -> None:
            (delivery.reject if delivery.body == b"raise" else delivery.nack)()
            if delivery.body == b"raise":
                raise OfTheProgram

        self.consume(settles, ack="on-success")
        with capturedLogs() as events:
            self.deliver(b"1", b"raise")
        self.assert_logged(events, 2)
        self.assertEqual(self.peer.methods(), [Basic.Nack(1, False, True), Basic.Reject(2, False)])
        self.assert_unharmed()

    def test_acks_of_one_read_leave_as_one(self) -> None:
        self.consume(Work("plain"), ack="on-success")
        self.deliver(*[b"x"] * 20)
        self.assertEqual(self.peer.methods(), [Basic.Ack(20, True)])

    def test_functions_that_outlive_the_channel(self) -> None:
        """The broker has given their deliveries back: nothing is written, nothing but a failure logged."""
        for end in (
            lambda: self.peer.send(method(1, ChannelMethods.Close(404, "x", 0, 0))),
            lambda: self.channel.close(),
            lambda: self.peer.lose(),
        ):
            self.setUp()
            work = Work("deferred")
            work.raises = {b"2"}
            consumer = self.consume(work, ack="on-success", concurrency=2)
            self.deliver(b"1", b"2", b"3")
            end()
            self.peer.frames()
            with capturedLogs() as events:
                work.end(b"1")
                work.end(b"2")
            self.assert_logged(events, 2)
            self.assertEqual((self.peer.frames(), work.bodies, consumer.running), ([], [b"1", b"2"], 0))


class ConcurrencyTests(Handling):
    """How many run at once."""

    def test_never_more_than_asked_for(self) -> None:
        for kind in ("deferred", "async"):
            for limit in (1, 2, 5):
                self.setUp()
                work = Work(kind)
                consumer = self.consume(work, concurrency=limit)
                bodies = [b"%d" % number for number in range(12)]
                self.deliver(*bodies)
                self.assertEqual(work.bodies, bodies[:limit])
                while work.under_way:
                    self.assertEqual(consumer.running, len(work.under_way))
                    # The latest first, so that they end in another order than they began.
                    work.end(list(work.under_way)[-1])
                self.assertEqual((work.bodies, work.most), (bodies, limit))

    def test_no_limit(self) -> None:
        work = Work("deferred")
        consumer = self.consume(work)
        self.deliver(*(b"%d" % number for number in range(2000)))
        self.assertEqual((work.most, consumer.running), (2000, 2000))

    def test_one_that_fails_makes_room(self) -> None:
        work = Work("async")
        work.raises = {b"1", b"2"}
        self.consume(work, concurrency=1, ack="on-success")
        self.deliver(b"1", b"2", b"3")
        for body in (b"1", b"2", b"3"):
            work.end(body)
        self.assertEqual(self.peer.methods(), [Basic.Nack(1, False, True), Basic.Nack(2, False, True), Basic.Ack(3)])
        self.assertEqual(len(self.flushLoggedErrors(OfTheProgram)), 2)

    def test_functions_that_end_at_once_do_not_pile_up(self) -> None:
        """Neither when they are plain, nor when the one before them held them up."""
        depths: list[int] = []
        first: Deferred[None] = Deferred()

        def shallow(delivery: Delivery) -> Deferred[None] | None:
            depths.append(len(inspect.stack(0)))
            return first if delivery.delivery_tag == 1 else succeed(None) if delivery.delivery_tag % 2 else None

        self.consume(shallow, concurrency=1)
        self.deliver(*[b"x"] * 500)
        self.assertEqual(len(depths), 1)
        first.callback(None)
        self.assertEqual(len(depths), 500)
        self.assertLess(max(depths) - min(depths), 10)

    def test_one_that_ends_inside_of_another(self) -> None:
        """The function lets an earlier delivery end while it still runs itself."""
        first: Deferred[None] = Deferred()
        seen: list[bytes] = []

        def ends_the_first(delivery: Delivery) -> Deferred[None] | None:
            seen.append(delivery.body)
            if delivery.body == b"1":
                return first
            if not first.called:
                first.callback(None)
            return None

        consumer = self.consume(ends_the_first, concurrency=2, ack="on-success")
        self.deliver(b"1", b"2", b"3", b"4")
        self.assertEqual((seen, consumer.running), ([b"1", b"2", b"3", b"4"], 0))
        self.assertEqual(self.peer.methods(), [Basic.Ack(4, True)])


class ArgumentTests(Handling):
    """What contradicts itself is refused at the call."""

    def refused(self, error: type[Exception], named: str, *arguments: Any, **more: Any) -> None:
        raised = self.assertRaises(error, self.channel.basic_consume, "q", *arguments, **more)
        self.assertIn(named, str(raised))
        self.assertEqual(self.peer.frames(), [])

    def test_refused(self) -> None:
        work = Work("plain")
        self.peer.frames()
        wrong: tuple[Any, ...] = (7, "name", [], Deferred())
        for function in wrong:
            self.refused(TypeError, "on_delivery", function)
        self.refused(ValueError, "ack", work, ack="auto")
        self.refused(ValueError, "on_error", work, ack="on-success", on_error="drop")
        self.refused(ValueError, "no_ack", work, no_ack=True, ack="on-success")
        self.refused(ValueError, "concurrency", work, concurrency=-1)
        for unfit in (1.5, "2", True, None):
            self.refused(TypeError, "concurrency", work, concurrency=unfit)
        self.refused(ValueError, "on_delivery", concurrency=1)
        self.refused(ValueError, "on_delivery", ack="on-success")

    def test_the_simple_road_is_for_the_simple_case(self) -> None:
        work = Work("plain")
        self.assertTrue(Handler(work).simple)
        self.assertFalse(Handler(work, concurrency=1).simple)
        self.assertFalse(Handler(work, ack="on-success").simple)
