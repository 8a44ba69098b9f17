"""Tests for what the methods of a channel return."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txpika.channel import Channel
from txpika.exceptions import NackError, OutcomeUnknown
from txpika.results import Result, Written
from txpika.spec import Basic
from txpika.test.fakes import TwistedPeer, deliver, method


class WrittenTests(SynchronousTestCase):
    """A publish that has nothing to wait for is a Deferred that has fired."""

    def test_awaited(self) -> None:
        written: list[Deferred[Any]] = [Written(), Written()]

        async def publish() -> list[object]:
            return [await each for each in written]

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(publish())), [None, None])

    def test_as_any_other(self) -> None:
        written: Deferred[Any] = Written()
        self.assertIsNone(self.successResultOf(written))
        written.addCallback(lambda result: [result])
        written.addCallback(lambda result: [*result, 1])

        async def wait() -> object:
            return await written

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(wait())), [None, 1])

    def test_awaited_while_its_callbacks_wait(self) -> None:
        later: Deferred[str] = Deferred()
        written: Deferred[Any] = Written()
        written.addCallback(lambda _: later)

        async def wait() -> object:
            return await written

        waiting = Deferred.fromCoroutine(wait())
        self.assertNoResult(waiting)
        later.callback("later")
        self.assertEqual(self.successResultOf(waiting), "later")

    def test_awaited_after_a_failure(self) -> None:
        written: Deferred[Any] = Written()
        written.addCallback(lambda _: 1 / 0)

        async def wait() -> object:
            return await written

        self.failureResultOf(Deferred.fromCoroutine(wait()), ZeroDivisionError)

    def test_returned_from_a_callback(self) -> None:
        self.assertIsNone(self.successResultOf(succeed(1).addCallback(lambda _: Written())))

    def test_each_is_another(self) -> None:
        first, second = Written(), Written()
        first.addCallback(lambda _: "first")
        self.assertIsNone(self.successResultOf(second))

    def test_cancelled(self) -> None:
        written = Written()
        written.cancel()
        self.assertIsNone(self.successResultOf(written))


class ResultTests(SynchronousTestCase):
    """Publishes that the broker confirms together."""

    def setUp(self) -> None:
        self.peer = TwistedPeer().open()
        self.channel: Channel = self.peer.open_face()
        self.peer.confirming(self.channel)
        self.heard: list[object] = []

    def publish(self, count: int) -> list[Deferred[None]]:
        return [self.channel.basic_publish("", "q", b"x") for _ in range(count)]

    def settle(self, number: int, acked: bool = True) -> None:
        self.peer.send(method(1, Basic.Ack(number, True) if acked else Basic.Nack(number, True, False)))

    def test_a_coroutine_is_resumed_once(self) -> None:
        published = self.publish(5)
        steps: list[object] = []

        async def wait() -> None:
            for each in published:
                await each
                steps.append(len([other for other in published if other.called]))

        waiting = Deferred.fromCoroutine(wait())
        published[4].addCallback(lambda _: steps.append("the last"))
        self.settle(5)
        self.successResultOf(waiting)
        self.assertEqual(steps, [1, 2, 3, 4, "the last", 5])

    def test_callbacks_in_the_order_of_the_publishes(self) -> None:
        for i, each in enumerate(self.publish(3)):
            each.addCallback(lambda _, i: self.heard.append(i), i)
        self.settle(3)
        self.assertEqual(self.heard, [0, 1, 2])

    def test_callbacks_before_who_awaits(self) -> None:
        published: list[Deferred[Any]] = [*self.publish(2)]
        published[1].addCallback(lambda _: "changed")

        async def wait() -> list[object]:
            return [await each for each in published]

        waiting = Deferred.fromCoroutine(wait())
        self.settle(2)
        self.assertEqual(self.successResultOf(waiting), [None, "changed"])

    def test_what_is_not_confirmed_is_waited_for(self) -> None:
        published = self.publish(3)

        async def wait() -> None:
            for each in published:
                await each
                self.heard.append(each)

        waiting = Deferred.fromCoroutine(wait())
        self.settle(2)
        self.assertEqual(self.heard, published[:2])
        self.assertNoResult(waiting)
        self.settle(3)
        self.successResultOf(waiting)

    def test_refused(self) -> None:
        published = self.publish(2)

        async def wait() -> None:
            for each in published:
                try:
                    await each
                except NackError as error:
                    self.heard.append(type(error))

        waiting = Deferred.fromCoroutine(wait())
        self.settle(2, acked=False)
        self.successResultOf(waiting)
        self.assertEqual(self.heard, [NackError, NackError])

    def test_cancelled_before(self) -> None:
        published = self.publish(3)
        published[1].cancel()
        self.failureResultOf(published[1], CancelledError)

        async def wait() -> None:
            await published[0]
            await published[2]

        waiting = Deferred.fromCoroutine(wait())
        self.settle(3)
        self.successResultOf(waiting)

    def test_the_connection_is_dropped_in_between(self) -> None:
        """What was awaited has its word; the rest does not know."""
        published = self.publish(4)

        async def wait() -> None:
            await published[0]
            await published[1]
            self.peer.protocol.abort()

        waiting = Deferred.fromCoroutine(wait())
        self.settle(4)
        self.successResultOf(waiting)
        self.assertIsNone(self.successResultOf(published[1]))
        for each in published[2:]:
            self.failureResultOf(each, OutcomeUnknown)

    def test_other_kinds_of_completions_wait_among_them(self) -> None:
        timed = self.channel.basic_publish("", "q", b"x", timeout=10)
        published = [timed, *self.publish(2)]

        async def wait() -> None:
            for each in reversed(published):
                await each

        waiting = Deferred.fromCoroutine(wait())
        self.settle(3)
        self.successResultOf(waiting)

    def test_many_coroutines_that_wait_for_each_others_next(self) -> None:
        """None is resumed from inside of another without end."""
        count = sys.getrecursionlimit() - 100  # of which each would take several
        published = self.publish(count + 1)

        async def wait(number: int) -> int:
            await published[number]
            await published[number + 1]
            return number

        waiting = [Deferred.fromCoroutine(wait(number)) for number in range(count)]
        self.settle(count + 1)
        self.assertEqual([self.successResultOf(each) for each in waiting], list(range(count)))

    def test_out_of_turn_when_it_is_awaited(self) -> None:
        published = self.publish(4)
        for i, each in enumerate(published):
            each.addCallback(lambda _, i: self.heard.append(i), i)

        async def wait() -> None:
            await published[0]
            await published[3]

        waiting = Deferred.fromCoroutine(wait())
        self.settle(4)
        self.successResultOf(waiting)
        self.assertEqual(self.heard, [0, 3, 1, 2])

    def test_confirms_without_an_answer_on_a_channel_that_was_idle(self) -> None:
        """The close waits for what is not confirmed, and reading goes on for it."""
        self.peer = TwistedPeer().open()
        self.channel = self.peer.open_face()
        consuming = self.channel.basic_consume("q", consumer_tag="t", buffer_size=1)
        self.peer.send(method(1, Basic.ConsumeOk("t")) + deliver(1, "t", 1, b"x"))
        self.successResultOf(consuming)
        self.channel.confirm_select(nowait=True)
        published = self.publish(2)
        self.peer.protocol.close()
        self.assertNotIn("Connection.Close", self.peer.names())
        self.settle(2)
        for each in published:
            self.successResultOf(each)
        self.assertIn("Connection.Close", self.peer.names())

    def test_is_a_deferred(self) -> None:
        self.assertIsInstance(self.publish(1)[0], Result)
