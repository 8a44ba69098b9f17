"""Tests for what a blocking program gets of the messages that came before they were settled, or their channel ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.exceptions import ChannelClosed, ConnectionLost, StaleDelivery, UnknownConsumerTag
from txpika.test.test_blocking_connection import BlockingTestCase

#: Seconds after which something that should have gone on is taken to hang.
PATIENCE = 20.0


class ConsumersTestCase(BlockingTestCase):
    """Five messages."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[str] = []

    def take(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.seen.append(body.decode())

    def waiting(self, *bodies: str, no_ack: bool = False, take: Callable[..., None] | None = None) -> str:
        """Have these wait for their turn in the connection."""
        self.publish(*bodies)
        before = len(self.connection._events)
        tag = self.channel.basic_consume(take or self.take, queue=self.queue, no_ack=no_ack, block=False)
        self.wait(lambda: len(self.connection._events) == before + len(bodies))
        return tag

    def wait(self, condition: Callable[[], object]) -> None:
        """Look after the network until it is so, and hand over nothing."""
        self.assertTrue(self.connection.waiter.wait(condition, PATIENCE))


class EndedTests(ConsumersTestCase):
    """The channel ends before their turn."""

    def lose(self) -> None:
        transport = self.connection._transport
        assert transport is not None
        self.connection.waiter.call(transport.abortConnection)
        self.wait(lambda: self.connection.is_closed)

    def refuse(self) -> None:
        self.assertRaises(ChannelClosed, self.channel.queue_declare, queue="no such queue", passive=True)

    def test_what_needs_an_ack_is_dropped(self) -> None:
        """It is on its way again, or is the broker's; the program hears why, not of a tag that is out of date."""
        self.waiting("1", "2", "3")
        self.refuse()
        error = self.assertRaises(ChannelClosed, self.channel.start_consuming)
        self.assertIsNot(error, self.channel._core.reason)
        self.assertEqual(self.seen, [])

    def test_with_the_connection(self) -> None:
        self.waiting("1", "2", "3")
        self.lose()
        self.assertRaises(ConnectionLost, self.channel.start_consuming)
        self.assertEqual(self.seen, [])

    def test_what_needs_none_is_handed_over(self) -> None:
        """Nobody else has it."""
        self.waiting("1", "2", "3", no_ack=True)
        self.lose()
        self.assertRaises(ConnectionLost, self.channel.start_consuming)
        self.assertEqual(self.seen, ["1", "2", "3"])

    def test_iterating(self) -> None:
        for no_ack, left in ((False, 0), (True, 2)):
            self.publish("1", "2", "3")
            items = self.channel.consume(self.queue, no_ack=no_ack)
            next(items)
            generator = self.channel._generator
            assert generator is not None
            self.wait(lambda: len(generator) == 2)  # noqa: B023
            self.refuse()
            for _ in range(left):
                next(items)
            self.assertRaises(ChannelClosed, next, items)
            self.channel = self.connection.channel()
            self.channel.queue_purge(queue=self.queue)

    def test_on_the_next_connection(self) -> None:
        """First the end of the last one, and of its messages nothing."""
        self.connection.add_on_close_callback(lambda _: self.seen.append("closed"))
        self.waiting("1", "2", "3")
        self.lose()
        self.connection.reconnect()
        self.channel = self.connection.channel()
        self.queue = self.channel.queue_declare(exclusive=True).queue

        def stop(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.seen.append(body.decode())
            channel.basic_ack(method.delivery_tag)
            channel.stop_consuming()

        self.publish("new")
        self.channel.basic_consume(stop, queue=self.queue)
        self.assertEqual(self.seen, ["closed", "new"])

    def test_a_consumer_that_ends_before_anybody_hears_that_it_began(self) -> None:
        cancelled: list[Any] = []
        self.channel.add_on_cancel_callback(cancelled.append)
        other = self.connection.channel()
        result_of = self.connection.result_of

        def late(box: Any) -> Any:
            result = result_of(box)
            setattr(self.connection, "result_of", result_of)  # noqa: B010
            other.queue_delete(queue=self.queue)
            self.until(lambda: cancelled)
            return result

        self.patch(self.connection, "result_of", late)
        self.channel.basic_consume(self.take, queue=self.queue, block=False)
        self.assertEqual(self.channel.consumer_tags, [])
        self.channel.start_consuming()

    def test_a_consumer_that_never_began(self) -> None:
        consume = self.channel.basic_consume
        self.assertRaises(ChannelClosed, consume, self.take, queue="no such queue", block=False)
        self.assertEqual(self.channel.consumer_tags, [])


class ThreadedEndedTests(EndedTests):
    """With a thread of its own."""

    io_thread = True


class SettledTests(ConsumersTestCase):
    """They are settled before their turn."""

    def settle_at_the_first(self, settle: Callable[[Any], object], stop_at: int) -> list[tuple[str, bool]]:
        """
        Five messages wait. With the first the program does C{settle}, the others it acks, until there were so many.

        @return: The bodies in their order, and whether they were redelivered.
        """
        taken: list[tuple[str, bool]] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            taken.append((body.decode(), method.redelivered))
            if len(taken) == 1:
                settle(channel)
            else:
                channel.basic_ack(method.delivery_tag)
            if len(taken) == stop_at:
                channel.stop_consuming()

        self.waiting(*"12345", take=handle)
        self.channel.start_consuming()
        self.assertEqual(self.channel.consumer_tags, [])
        return taken

    def test_recovered(self) -> None:
        taken = self.settle_at_the_first(lambda channel: channel.basic_recover(), 6)
        self.assertEqual(taken, [("1", False), *((body, True) for body in "12345")])

    def test_recovered_and_stopped(self) -> None:
        self.settle_at_the_first(lambda channel: channel.basic_recover(), 1)
        self.until(lambda: self.depth() == 5)

    def test_all_that_were_seen_are_acked(self) -> None:
        self.settle_at_the_first(lambda channel: channel.basic_ack(0, multiple=True), 1)
        self.until(lambda: self.depth() == 4)

    def test_all_that_were_seen_go_back(self) -> None:
        taken = self.settle_at_the_first(lambda channel: channel.basic_nack(0, multiple=True), 6)
        self.assertEqual(sorted(taken), sorted([("1", False), ("1", True), *((body, False) for body in "2345")]))

    def test_all_up_to_one_that_was_not_seen(self) -> None:
        """As the program says; it is handed none of them."""
        taken = self.settle_at_the_first(lambda channel: channel.basic_ack(4, multiple=True), 2)
        self.assertEqual(taken, [("1", False), ("5", False)])

    def test_none_was_seen(self) -> None:
        self.waiting("1", "2")
        for settle in (self.channel.basic_ack, self.channel.basic_nack):
            self.assertRaises(StaleDelivery, settle, 0, True)
            self.assertRaises(TypeError, settle, 0, "yes")
        self.channel.stop_consuming()
        self.assertRaises(StaleDelivery, self.channel.basic_ack, 0, True)
        self.until(lambda: self.depth() == 2)

    def test_those_not_seen_came_before(self) -> None:
        self.waiting("1", "2")
        other = self.channel.queue_declare(exclusive=True).queue
        for body in "ab":
            self.channel.basic_publish("", other, body)
            self.assertEqual(self.channel.basic_get(queue=other)[2], body.encode())
        self.channel.basic_ack(0, True)
        self.assertEqual(list(self.channel._core.acks.unacked), [1, 2])
        self.channel.stop_consuming()
        self.until(lambda: self.depth() == 2)

    def test_those_not_seen_are_of_another_channel(self) -> None:
        """Their tags are the same."""
        self.waiting("1", "2")
        other = self.connection.channel()
        queue = other.queue_declare(exclusive=True).queue
        for body in "ab":
            other.basic_publish("", queue, body)
            self.assertEqual(other.basic_get(queue=queue)[2], body.encode())
        other.basic_ack(0, True)
        self.assertEqual((other._core.acks.unacked, list(self.channel._core.acks.unacked)), ({}, [1, 2]))

    def test_iterating(self) -> None:
        def begin() -> None:
            self.publish(*"12345")
            self.assertEqual(next(self.channel.consume(self.queue))[2], b"1")
            self.wait(lambda: self.channel._generator is not None and len(self.channel._generator) == 4)

        begin()
        self.channel.basic_ack(0, True)
        self.assertEqual(self.channel.cancel(), 4)
        self.until(lambda: self.depth() == 4)
        self.channel.queue_purge(queue=self.queue)
        begin()
        self.channel.basic_recover()
        self.assertTrue(next(self.channel.consume(self.queue))[0].redelivered)
        self.channel.cancel()


class ThreadedSettledTests(SettledTests):
    """With a thread of its own."""

    io_thread = True


class StoppedTests(ConsumersTestCase):
    """C{stop_consuming}, when some of it has happened already."""

    def test_the_broker_was_first_with_one(self) -> None:
        """The others are cancelled all the same."""
        other = self.channel.queue_declare(exclusive=True).queue
        self.channel.basic_consume(self.take, queue=self.queue, block=False)
        self.channel.basic_consume(self.take, queue=other, block=False)
        self.connection.channel().queue_delete(queue=self.queue)
        self.wait(lambda: len(self.connection._events) == 1)
        self.channel.stop_consuming()
        self.assertEqual(self.channel.consumer_tags, [])
        self.channel.basic_publish("", other, b"x")
        self.assertEqual(self.channel.queue_declare(queue=other, passive=True).consumer_count, 0)

    def test_of_one_by_name(self) -> None:
        self.assertRaises(UnknownConsumerTag, self.channel.stop_consuming, "nobody")
        self.assertTrue(self.channel.is_open)

    def test_the_channel_is_closed(self) -> None:
        """It does not hide why, where it is called at the end of all."""

        def refused(*_: Any) -> None:
            try:
                self.channel.queue_declare(queue="no such queue", passive=True)
            finally:
                self.channel.stop_consuming()

        self.publish("x")
        error = self.assertRaises(ChannelClosed, self.channel.basic_consume, refused, queue=self.queue)
        self.assertEqual(error.reply_code, 404)
        self.channel.stop_consuming()
        self.channel.stop_consuming("nobody")


class ThreadedStoppedTests(StoppedTests):
    """With a thread of its own."""

    io_thread = True
