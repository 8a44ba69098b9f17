"""Tests for publishing many messages, when the channel or the connection ends among them, against a real RabbitMQ."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from txpika.exceptions import ChannelClosed, CloseReason, ConnectionLost, OutcomeUnknown
from txpika.test.test_blocking_connection import BlockingTestCase

#: An exchange that is not there: a message to it has the broker close the channel.
NOWHERE = ("no such exchange", "", b"x")


class PublishingTestCase(BlockingTestCase):
    """Messages that count."""

    def setUp(self) -> None:
        super().setUp()
        self.asked = 0

    def lose(self) -> None:
        transport = self.connection._transport
        assert transport is not None
        self.connection.waiter.call(transport.abortConnection)

    def endless(self, at: int, happens: Callable[[], object]) -> Iterator[tuple[str, str, bytes]]:
        """Messages without an end; with one of them something happens."""
        for number in count():
            self.asked = number + 1
            if number == at:
                happens()
            yield "", self.queue, b"x"

    def kinds(self, outcomes: list[BaseException | None]) -> set[str]:
        return {type(each).__name__ for each in outcomes}

    def check(self, outcomes: list[BaseException | None], settled: int, reason: type[CloseReason]) -> None:
        """So many are settled at least; of each that was asked for there is an outcome, the last is the reason."""
        self.assertEqual(len(outcomes), self.asked)
        self.assertEqual(outcomes[:settled], [None] * settled)
        last = outcomes[-1]
        assert isinstance(last, reason)
        self.assertEqual(last.outcome, "not sent")
        for each in outcomes:
            self.assertTrue(each is None or isinstance(each, CloseReason))
            self.assertTrue(each is None or each.__traceback__ is None or isinstance(each, OutcomeUnknown))


class PublishingTests(PublishingTestCase):
    """With and without confirms."""

    def test_the_connection_is_lost(self) -> None:
        self.channel.confirm_delivery()
        outcomes = self.channel.publish_many(self.endless(1500, self.lose))
        self.check(outcomes, 400, ConnectionLost)

    def test_the_channel_is_closed(self) -> None:
        self.channel.confirm_delivery()

        def messages() -> Iterator[tuple[str, str, bytes]]:
            for number in count():
                self.asked = number + 1
                yield NOWHERE if number == 1500 else ("", self.queue, b"x")

        outcomes = self.channel.publish_many(messages())
        self.check(outcomes, 400, ChannelClosed)
        self.assertIsInstance(outcomes[1500], OutcomeUnknown)

    def test_without_confirms(self) -> None:
        """It is noticed as well, though nothing is waited for."""
        outcomes = self.channel.publish_many(self.endless(1500, self.lose))
        self.check(outcomes, 1500, ConnectionLost)

    def test_one_by_one_without_confirms(self) -> None:
        self.lose()
        deadline = time.monotonic() + 20

        def publish() -> None:
            while time.monotonic() < deadline:
                self.publish("x")

        self.assertRaises(ConnectionLost, publish)

    def test_a_list_has_an_outcome_for_each(self) -> None:
        self.channel.confirm_delivery()
        outcomes = self.channel.publish_many([NOWHERE] + [("", self.queue, b"x")] * 5_000)
        self.assertEqual(len(outcomes), 5_001)
        self.assertEqual(self.kinds(outcomes), {"ChannelOutcomeUnknown", "ChannelClosed"})
        self.assertEqual(self.kinds(self.channel.publish_many([("", self.queue, b"x")])), {"ChannelClosed"})

    def test_closed_before(self) -> None:
        self.connection.close()
        for messages in ([("", self.queue, b"x")] * 3, iter([("", self.queue, b"x")] * 3)):
            outcomes = self.channel.publish_many(messages)
            self.assertEqual((len(outcomes), self.kinds(outcomes)), (3, {"ConnectionClosed"}))

    def test_a_text_is_no_message(self) -> None:
        self.channel.confirm_delivery()
        messages: Any = ["abc", b"abc", bytearray(b"abc"), 5, ("", self.queue, "x")]
        outcomes = self.channel.publish_many(messages)
        self.assertEqual([type(each) for each in outcomes], [*[TypeError] * 4, type(None)])
        self.assertIn("a message must be", str(outcomes[0]))
        self.assertEqual(self.depth(), 1)
        self.assertRaises(TypeError, self.channel.publish_many, 5)


class ThreadedPublishingTests(PublishingTests):
    """With a thread of its own."""

    io_thread = True

    def test_the_thread_ends(self) -> None:
        """What it has not got is not sent; what it had is unknown, unless its outcome is known."""

        def close() -> None:
            thread = threading.Thread(target=self.connection.close)
            thread.start()
            thread.join()

        self.channel.confirm_delivery()
        outcomes = self.channel.publish_many(self.endless(1500, close))
        self.assertEqual(len(outcomes), self.asked)
        self.assertEqual(outcomes[:1400], [None] * 1400)
        self.assertEqual(self.kinds(outcomes[-1:]), {"ConnectionClosed"})

    def test_the_thread_ends_by_itself(self) -> None:
        """By what is no C{Exception}: that comes out."""
        self.channel.confirm_delivery()
        leave = lambda: self.connection.waiter.loop.add_callback(sys.exit)  # noqa: E731
        self.assertRaises(SystemExit, self.channel.publish_many, self.endless(150, leave))
