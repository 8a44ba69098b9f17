"""Tests for what a signal's handler may do with a blocking connection that is at work, against a real RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.exceptions import RecursiveOperationDetected
from txpika.test.test_blocking_connection import BlockingTestCase


class InterruptedTests(BlockingTestCase):
    """A signal's handler calls in while the engine, in the same thread, takes what the broker has sent."""

    def setUp(self) -> None:
        super().setUp()
        self.bodies: list[bytes] = []

    def at_work(self, handler: Callable[[], object], no_ack: bool = True) -> None:
        """Have C{handler} called in the midst of the first of three messages, and consume."""
        event = self.connection.event

        def interrupted(*arguments: Any) -> None:
            self.assertTrue(self.connection._core.reading)
            setattr(self.connection, "event", event)  # noqa: B010
            handler()
            event(*arguments)

        def take(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.bodies.append(body)
            if body == b"3":
                channel.stop_consuming()

        self.publish("1", "2", "3")
        self.patch(self.connection, "event", interrupted)
        self.channel.basic_consume(take, queue=self.queue, no_ack=no_ack)

    def test_stop_consuming(self) -> None:
        self.at_work(self.channel.stop_consuming)
        self.assertEqual((self.channel.consumer_tags, self.channel.is_open), ([], True))
        self.assertEqual(self.depth(), 0)

    def test_close(self) -> None:
        self.at_work(self.connection.close, no_ack=False)
        self.assertTrue(self.connection.waiter.closed)

    def test_close_the_channel(self) -> None:
        self.at_work(self.channel.close, no_ack=False)
        self.assertEqual((self.channel.is_open, self.connection.is_open), (False, True))

    def test_call_in(self) -> None:
        self.at_work(lambda: self.connection.add_callback_threadsafe(self.channel.stop_consuming))
        self.assertEqual(self.channel.consumer_tags, [])

    def test_other_methods(self) -> None:
        """They raise, with nothing done; the messages come as if nothing had been."""

        def call() -> None:
            sent = self.connection._core.wire.bytes_sent
            for method in (
                self.depth,
                self.connection.channel,
                self.connection.process_data_events,
                lambda: self.publish("x"),
                lambda: self.connection.call_later(1, lambda: None),
            ):
                self.assertRaises(RecursiveOperationDetected, method)
            self.assertEqual(self.connection._core.wire.bytes_sent, sent)

        self.at_work(call)
        self.assertEqual(self.bodies, [b"1", b"2", b"3"])
