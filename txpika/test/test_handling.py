"""Tests for running a program's function on deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from txpika.handling import Handler
from txpika.message import Delivery
from txpika.spec import Basic
from txpika.test.test_consumer import ConsumerTestCase


class OwnError(Exception):
    """Of the program."""


class AwaitMe:
    """Something to await that is neither a Deferred nor a coroutine."""

    def __init__(self, deferred: Deferred[None]) -> None:
        self.deferred = deferred

    def __await__(self) -> Generator[Any, Any, None]:
        return self.deferred.__await__()


class SettlingTests(ConsumerTestCase):
    """What becomes of a delivery when its function has ended."""

    def settled(self, function: Callable[[Delivery], object], redelivered: bool = False, **more: Any) -> Any:
        """How the broker hears of one."""
        self.setUp()
        self.consume(function, **{"ack": "on-success", **more})
        if redelivered:
            deliver = Basic.Deliver("t", 1, True, "", "q")
            from txpika.test.fakes import content

            self.peer.send(content(1, deliver, b"x"))
        else:
            self.deliver()
        sent = self.sent()
        return sent[0] if sent else None

    def test_acked_when_it_ended_well(self) -> None:
        async def coroutine(_delivery: Delivery) -> None:
            await succeed(None)

        good: list[Callable[[Delivery], object]] = [
            lambda delivery: None,
            lambda delivery: True,
            lambda delivery: "whatever",
            lambda delivery: succeed("whatever"),
            lambda delivery: AwaitMe(succeed(None)),
            coroutine,
        ]
        for function in good:
            self.assertEqual(self.settled(function), Basic.Ack(1))

    def test_failed_in_every_way(self) -> None:
        async def coroutine(_delivery: Delivery) -> None:
            raise OwnError

        def plain(_delivery: Delivery) -> None:
            raise OwnError

        def cancelled(_delivery: Delivery) -> None:
            raise asyncio.CancelledError  # no Exception

        bad: list[Callable[[Delivery], object]] = [
            plain,
            coroutine,
            lambda delivery: fail(OwnError()),
            lambda delivery: AwaitMe(fail(OwnError())),
            cancelled,
        ]
        for function in bad:
            for policy, redelivered, expected in (
                ("requeue-once", False, Basic.Nack(1, False, True)),
                ("requeue-once", True, Basic.Reject(1, False)),
                ("requeue", True, Basic.Nack(1, False, True)),
                ("reject", False, Basic.Reject(1, False)),
            ):
                self.assertEqual(self.settled(function, redelivered, on_error=policy), expected)
                logged = self.flushLoggedErrors(OwnError, asyncio.CancelledError)
                self.assertEqual(len(logged), 1, "reported once")
                self.assertIsNone(self.peer.connection.reason)

    def test_explicit_settles_nothing(self) -> None:
        self.assertIsNone(self.settled(lambda delivery: None, ack="explicit"))

    def test_what_the_function_settled_itself_stays_so(self) -> None:
        self.assertEqual(self.settled(lambda delivery: delivery.reject()), Basic.Reject(1, False))
        self.assertEqual(self.sent(), [])

    def test_the_channel_is_gone_when_it_ends(self) -> None:
        working: Deferred[None] = Deferred()
        self.consume(lambda delivery: working, ack="on-success")
        self.deliver()
        self.peer.lose()
        working.callback(None)

    def test_interrupts_go_through(self) -> None:
        def interrupt(_delivery: Delivery) -> None:
            raise KeyboardInterrupt

        for more in ({}, {"concurrency": 1}):
            self.setUp()
            self.consume(interrupt, **more)
            self.assertRaises(KeyboardInterrupt, self.deliver)

    def test_acks_of_one_read_leave_as_one(self) -> None:
        self.consume(lambda delivery: None, ack="on-success")
        self.deliver(100)
        self.assertEqual(self.sent(), [Basic.Ack(100, True)])

    def test_refused_arguments(self) -> None:
        refused: list[tuple[type[Exception], dict[str, Any]]] = [
            (TypeError, {"on_delivery": 1}),
            (ValueError, {"ack": "sometimes"}),
            (ValueError, {"on_error": "panic"}),
            (ValueError, {"ack": "on-success", "no_ack": True}),
            (ValueError, {"concurrency": -1}),
            (TypeError, {"concurrency": 1.5}),
            (TypeError, {"concurrency": True}),
        ]
        self.peer.frames()
        for error, arguments in refused:
            self.assertRaises(error, self.channel.basic_consume, "q", **{"on_delivery": print, **arguments})
        for arguments in ({"concurrency": 1}, {"ack": "on-success"}):
            self.assertRaises(ValueError, self.channel.basic_consume, "q", **arguments)
        self.assertEqual(self.peer.frames(), [])


class ConcurrencyTests(ConsumerTestCase):
    """How many are at work at once."""

    def test_limit_and_order(self) -> None:
        working: list[tuple[bytes, Deferred[None]]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            working.append((delivery.body, Deferred()))
            return working[-1][1]

        consumer = self.consume(work, concurrency=2)
        self.deliver(5)
        self.assertEqual(([body for body, _ in working], consumer.running), ([b"1", b"2"], 2))
        working[1][1].callback(None)
        self.assertEqual([body for body, _ in working], [b"1", b"2", b"3"])
        working[0][1].errback(OwnError())
        self.assertEqual((len(working), consumer.running), (4, 2))
        for number in (2, 3, 4):
            working[number][1].callback(None)
        self.assertEqual((len(working), consumer.running), (5, 0))
        self.assertEqual(len(self.flushLoggedErrors(OwnError)), 1)

    def test_thousands_that_end_at_once_need_no_stack(self) -> None:
        seen: list[int] = []
        self.consume(lambda delivery: seen.append(delivery.delivery_tag), concurrency=1)
        self.deliver(5_000)
        self.assertEqual(seen, list(range(1, 5_001)))

    def test_no_limit(self) -> None:
        consumer = self.consume(lambda delivery: Deferred())
        self.deliver(50)
        self.assertEqual(consumer.running, 50)


class FutureTests(SynchronousTestCase):
    """Futures of asyncio, where Twisted runs on its loop."""

    def test_future(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()
        handler = Handler(lambda delivery: future, concurrency=1)
        handler.deliver(Any)  # type: ignore[arg-type]
        self.assertEqual(handler.running, 1)
        future.set_result(None)
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual((handler.running, handler.failed), (0, 0))
