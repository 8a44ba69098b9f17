"""Tests for blocking programs in trouble, against a real RabbitMQ: ends, signals, nested calls, wrong threads."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from txpika import ConnectionParameters, parse_uri
from txpika.adapters import blocking_connection, waiting
from txpika.adapters.blocking_events import MAX_EVENTS
from txpika.exceptions import (
    AMQPError,
    ChannelClosed,
    ConnectFailed,
    ConnectionClosed,
    NotConnected,
    ReturnedError,
    StaleDelivery,
    WrongThread,
)
from txpika.reconnection_strategies import ReconnectionStrategy
from txpika.test.elsewhere import PATIENCE, in_another_thread
from txpika.test.test_blocking_connection import BlockingTestCase
from txpika.test.test_waiting import in_child


class TroublesTests(BlockingTestCase):
    """Without a thread of its own."""

    def within(self, call: Callable[[], object]) -> None:
        """Call it; should it hang, it is interrupted and the test fails."""

        def hangs(*_: Any) -> None:
            raise AssertionError(f"it hangs for {PATIENCE} seconds")

        before = signal.signal(signal.SIGALRM, hangs)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    # The end, from inside of a handler

    def refused_in_handler(self, channel: Any, *_: Any) -> None:
        self.assertRaises(ChannelClosed, channel.queue_declare, queue="no such queue", passive=True)

    def test_the_channel_is_closed_by_what_a_handler_does(self) -> None:
        self.publish("x", "y")
        consume = self.channel.basic_consume
        self.within(lambda: self.assertRaises(ChannelClosed, consume, self.refused_in_handler, queue=self.queue))

    def test_a_handler_closes_the_channel(self) -> None:
        self.publish("x", "y")
        consume, handle = self.channel.basic_consume, lambda channel, *_: channel.close()
        self.within(lambda: consume(handle, queue=self.queue))
        self.assertEqual((self.channel.is_open, self.connection.is_open), (False, True))

    def test_a_handler_closes_the_connection(self) -> None:
        self.publish("x", "y")
        consume, handle = self.channel.basic_consume, lambda *_: self.connection.close()
        self.within(lambda: consume(handle, queue=self.queue))
        self.assertTrue(self.connection.is_closed)

    def test_a_handler_closes_with_another_code(self) -> None:
        """That says that something went wrong, so it is raised."""
        self.publish("x")
        consume, handle = self.channel.basic_consume, lambda channel, *_: channel.close(311, "no")
        error = self.assertRaises(ChannelClosed, consume, handle, queue=self.queue)
        self.assertEqual((error.reply_code, error.initiator), (311, "local"))

    def test_the_program_closes_while_it_iterates(self) -> None:
        """The loop over C{consume} is over then, without an error."""
        for closing in ("channel", "connection"):
            self.channel = self.connection.channel()
            self.channel.queue_purge(queue=self.queue)
            self.publish("x", "y", "z")
            bodies = []
            for method, _, body in self.channel.consume(self.queue):
                self.channel.basic_ack(method.delivery_tag)
                bodies.append(body)
                getattr(self, closing).close()
            self.assertEqual((bodies, self.channel.is_open), ([b"x"], False))
        self.assertTrue(self.connection.is_closed)

    def test_the_channel_closes_while_one_iterates(self) -> None:
        self.publish("x")
        items = self.channel.consume(self.queue)
        next(items)
        self.refused_in_handler(self.channel)
        self.within(lambda: self.assertRaises(ChannelClosed, next, items))

    # Nested and long

    def test_events_inside_a_handler(self) -> None:
        """A handler that looks after events gets other consumers' messages, never another one of its own."""
        other = self.channel.queue_declare(exclusive=True).queue
        depth, order = [0], []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self.assertEqual(depth[0], 0)
            depth[0] += 1
            if body == b"1":
                self.until(lambda: "other" in order)
            order.append(body.decode())
            depth[0] -= 1
            if body == b"3":
                channel.stop_consuming()

        self.publish("1", "2", "3")
        self.channel.basic_publish("", other, "x")
        self.channel.basic_consume(handle, queue=self.queue, no_ack=True, block=False)
        self.channel.basic_consume(lambda *_: order.append("other"), queue=other, no_ack=True, block=False)
        self.within(self.channel.start_consuming)
        self.assertEqual(order, ["other", "1", "2", "3"])

    def test_the_network_is_looked_after_between_events(self) -> None:
        """Acks of a slow program leave while it works on what has come together with what they are for."""
        self.patch(waiting, "LOOK_AFTER", 0.0)  # any program is slow then
        self.publish(*"12345")
        watching = self.connect()
        depths: list[int] = []

        def ready() -> int:
            return watching.channel().queue_declare(queue=name, passive=True).message_count

        name = self.channel.queue_declare().queue
        self.addCleanup(lambda: watching.is_closed or watching.channel().queue_delete(queue=name))
        for _ in range(10):
            self.channel.basic_publish("", name, "x")
        self.channel.basic_qos(prefetch_count=5)

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            depths.append(ready())
            if len(depths) == 5:
                channel.stop_consuming()

        self.within(lambda: self.channel.basic_consume(handle, queue=name))
        self.assertLess(min(depths), 5)

    def until_it_reads_no_more(self) -> None:
        """Look after the network, and hand over nothing."""
        intake = self.connection._core.intake
        deadline = time.monotonic() + PATIENCE
        while not intake.paused:
            self.assertLess(time.monotonic(), deadline, "it reads on and on")
            self.connection.waiter.wait(lambda: intake.paused, 0.05)

    def test_who_does_not_iterate_gets_no_more(self) -> None:
        total = 10 * MAX_EVENTS
        self.channel.publish_many(("", self.queue, b"x") for _ in range(total))
        items = self.channel.consume(self.queue, no_ack=True)
        self.until_it_reads_no_more()
        self.connection.process_data_events(0)
        assert self.channel._generator is not None
        # What one turn of the loop reads may be more than there is room for.
        self.assertLess(len(self.channel._generator), total)
        self.within(lambda: [next(items) for _ in range(total)])
        self.assertEqual(self.channel.cancel(), 0)

    def echoing(self) -> tuple[Any, list[bytes]]:
        """@return: A channel, and where each message to L{echo} comes that is published on it."""
        other = self.connection.channel()
        self.echo = other.queue_declare(exclusive=True).queue
        replies: list[bytes] = []
        other.basic_consume(lambda *message: replies.append(message[-1]), queue=self.echo, no_ack=True, block=False)
        return other, replies

    def ask(self, channel: Any, replies: list[bytes]) -> None:
        """As a client of a server does: publish, and look after events until the reply has come."""
        before = len(replies)
        channel.basic_publish("", self.echo, "x")
        self.until(lambda: len(replies) > before)

    def test_what_one_waits_for_comes_behind_what_nobody_takes(self) -> None:
        """However much that is: between the messages that are iterated over, and in a handler."""
        other, replies = self.echoing()
        self.channel.publish_many(("", self.queue, b"x") for _ in range(10 * MAX_EVENTS))
        items = self.channel.consume(self.queue, no_ack=True)
        for _ in range(2):
            next(items)
            self.until_it_reads_no_more()
            self.ask(other, replies)
        self.channel.cancel()
        self.channel.queue_purge(queue=self.queue)
        self.channel.publish_many(("", self.queue, b"x") for _ in range(10 * MAX_EVENTS))
        asked: list[int] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            if not asked:
                asked.append(1)
                self.until_it_reads_no_more()
                self.ask(other, replies)
                asked.append(2)

        self.channel.basic_consume(handle, queue=self.queue, no_ack=True, block=False)
        self.until(lambda: len(asked) == 2)

    def test_timers_do_not_count_as_messages(self) -> None:
        other, replies = self.echoing()
        self.channel.publish_many(("", self.queue, b"x") for _ in range(10 * MAX_EVENTS))
        next(self.channel.consume(self.queue, no_ack=True))
        self.until_it_reads_no_more()

        def tick() -> None:
            if not replies:
                self.connection.call_later(0.01, tick)

        tick()
        other.basic_publish("", self.echo, "x")
        deadline = time.monotonic() + PATIENCE
        while not replies:
            self.assertLess(time.monotonic(), deadline, "it hangs")
            self.connection.sleep(0.02)

    def test_who_looks_in_after_each_message_gets_no_more(self) -> None:
        total = 10 * MAX_EVENTS
        self.channel.publish_many(("", self.queue, b"x") for _ in range(total))
        items = self.channel.consume(self.queue, no_ack=True)
        self.until_it_reads_no_more()
        for _ in range(100):
            next(items)
            self.connection.process_data_events(0)
            self.connection.sleep(0)
        assert self.channel._generator is not None
        self.assertLess(len(self.channel._generator), total // 2)

    def interrupt_release(self) -> None:
        """Have a signal's handler raise where there would be made room for more, once."""
        release = self.connection.release

        def fails(who: object) -> None:
            self.connection.release = release  # type: ignore[method-assign]
            raise KeyboardInterrupt

        self.connection.release = fails  # type: ignore[method-assign]

    def test_interrupted_between_messages_iterated_over(self) -> None:
        """None is lost, and reading goes on."""
        bodies = [b"%d" % number for number in range(3 * MAX_EVENTS)]
        self.channel.publish_many(("", self.queue, body) for body in bodies)
        items: Iterator[Any] = self.channel.consume(self.queue, no_ack=True)
        self.until_it_reads_no_more()
        self.interrupt_release()
        seen: list[bytes] = []
        interrupted = 0
        while len(seen) < len(bodies):
            try:
                self.within(lambda: seen.append(next(items)[-1]))  # noqa: B023
            except KeyboardInterrupt:
                interrupted += 1
                items = self.channel.consume(self.queue, no_ack=True)
        self.assertEqual((seen, interrupted), (bodies, 1))

    def test_interrupted_between_events(self) -> None:
        bodies = [b"%d" % number for number in range(3 * MAX_EVENTS)]
        self.channel.publish_many(("", self.queue, body) for body in bodies)
        seen: list[bytes] = []
        self.channel.basic_consume(
            lambda *message: seen.append(message[-1]), queue=self.queue, no_ack=True, block=False
        )
        self.until_it_reads_no_more()
        self.interrupt_release()
        self.assertRaises(KeyboardInterrupt, self.until, lambda: len(seen) == len(bodies))
        self.until(lambda: len(seen) == len(bodies))
        self.assertEqual(seen, bodies)

    def test_who_had_enough_and_ends_holds_up_nobody(self) -> None:
        for end in (self.channel.cancel, self.channel.close):
            self.channel.publish_many(("", self.queue, b"x") for _ in range(10 * MAX_EVENTS))
            self.channel.consume(self.queue, no_ack=True)
            self.until_it_reads_no_more()
            end()
            other = self.connection.channel()
            queue = other.queue_declare(exclusive=True).queue
            other.publish_many(("", queue, b"x") for _ in range(MAX_EVENTS // 2))
            items = other.consume(queue, no_ack=True)
            self.within(lambda: [next(items) for _ in range(MAX_EVENTS // 2)])  # noqa: B023
            self.assertEqual(self.connection._core.intake.full, set())

    def test_closed_after_it_could_not_connect_again(self) -> None:
        self.connection.close()
        self.connection.parameters = ConnectionParameters("127.0.0.1", 1)
        self.assertRaises(ConnectFailed, self.connection.reconnect)
        self.assertRaises(ConnectFailed, self.connection.process_data_events)
        self.connection.close()
        self.assertTrue(self.connection.waiter.closed)
        self.assertIsInstance(self.connection.reason, ConnectFailed)

    def test_who_takes_no_events_gets_no_more(self) -> None:
        total = 10 * MAX_EVENTS
        self.channel.publish_many(("", self.queue, b"x") for _ in range(total))
        seen: list[bytes] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            seen.append(body)
            if len(seen) == total:
                channel.stop_consuming()

        self.channel.basic_consume(handle, queue=self.queue, no_ack=True, block=False)
        self.until_it_reads_no_more()
        self.assertLess(len(self.connection._events), total)
        self.within(self.channel.start_consuming)
        self.assertEqual(len(seen), total)

    def test_what_is_to_be_published_fails_half_way(self) -> None:
        self.channel.confirm_delivery()

        def messages() -> Iterator[tuple[str, str, bytes]]:
            for _ in range(150):
                yield "", self.queue, b"x"
            raise KeyError("of the program")

        self.assertRaises(KeyError, self.channel.publish_many, messages())
        self.assertEqual(self.depth(), 150)

    def test_wrong_arguments_among_many_to_publish(self) -> None:
        self.channel.confirm_delivery()
        messages: list[Any] = [
            ("", self.queue, "x"),
            ("", self.queue, 1),
            ("", self.queue),
            {"exchange": "", "routing_key": self.queue, "body": "x"},
            ("", "r" * 256, "x"),
            ("", "no such queue", b"x", None, True),
            ("", self.queue, b"x"),
        ]
        outcomes = self.channel.publish_many(messages)
        self.assertEqual(
            [type(outcome) for outcome in outcomes],
            [type(None), TypeError, ValueError, TypeError, ValueError, ReturnedError, type(None)],
        )
        self.assertIn("body must be", str(outcomes[1]))
        self.assertIn("not 2 values", str(outcomes[2]))
        self.assertIn("not dict", str(outcomes[3]))
        self.assertEqual(self.depth(), 2)

    def test_iterating_over_another_queue(self) -> None:
        self.publish("x")
        next(iter(self.channel.consume(self.queue)))
        error = self.assertRaises(ValueError, self.channel.consume, "another")
        self.assertIn(repr(self.queue), str(error))
        self.assertRaises(ValueError, self.channel.consume, self.queue, no_ack=True)

    # Timers and signals

    def test_removed_by_one_that_is_called_before_it(self) -> None:
        called: list[str] = []
        timers: list[Any] = []
        for name in "ab":
            timers.append(self.connection.call_later(0, lambda name=name: remove(name)))  # type: ignore[misc]

        def remove(name: str) -> None:
            called.append(name)
            self.connection.remove_timeout(timers[1])

        self.connection.sleep(0.05)
        self.assertEqual(called, ["a"])

    def interrupt(self, handle: Callable[[], object]) -> None:
        """Have C{handle} called by a signal, in a moment, while the program waits."""
        before = signal.signal(signal.SIGUSR1, lambda *_: handle())
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        self.addCleanup(timer.join)

    def test_a_signal_while_it_waits(self) -> None:
        heard: list[str] = []

        def handle() -> None:
            self.connection.add_callback_threadsafe(lambda: heard.append("x"))

        self.interrupt(handle)
        self.within(lambda: self.connection.process_data_events(None))
        self.assertEqual(heard, ["x"])

    def test_a_signal_stops_consuming(self) -> None:
        self.interrupt(self.channel.stop_consuming)
        self.within(lambda: self.channel.basic_consume(lambda *_: None, queue=self.queue))
        self.assertEqual(self.channel.consumer_tags, [])

    def test_a_signal_closes_the_connection(self) -> None:
        self.interrupt(self.connection.close)
        self.within(lambda: self.channel.basic_consume(lambda *_: None, queue=self.queue))
        self.assertTrue(self.connection.waiter.closed)

    # Threads, processes, and after the end

    def test_in_a_child(self) -> None:
        """It can let go, and connect anew; the parent is not disturbed."""

        def let_go() -> None:
            for call in (self.connection.channel, lambda: self.publish("x"), self.connection.reconnect):
                self.assertRaises(WrongThread, call)
            self.assertRaises(WrongThread, self.connection.add_callback_threadsafe, lambda: None)
            self.connection.close()
            self.assertTrue(self.connection.is_closed)
            self.assertRaises(AMQPError, self.publish, "x")
            self.connection.reconnect()
            self.connection.channel().queue_declare(exclusive=True)
            self.connection.close()

        self.assertEqual(in_child(let_go), "")
        self.publish("x")
        self.until(lambda: self.depth() == 1)
        self.connection.close()

    def test_what_was_published_has_left(self) -> None:
        """A program may end right after that."""
        transport = self.connection._transport
        assert transport is not None
        self.publish("x")
        self.assertEqual(transport.buffered, 0)
        self.assertEqual(self.connection.waiter.flush, transport.flush)

    def test_two_connect(self) -> None:
        """One does, and the other hears that at once."""
        attempts: list[object] = []

        class Slow(ReconnectionStrategy):
            def on_connect_attempt(slow, connection: Any) -> None:
                attempts.append(in_another_thread(self.connection.reconnect))

        self.connection.close()
        self.connection._strategy = Slow()
        self.connection.reconnect()
        self.assertEqual([type(each) for each in attempts], [NotConnected])
        self.assertRaises(NotConnected, self.connection.reconnect)
        self.assertTrue(self.connection.is_open)

    def test_a_channel_of_the_connection_before(self) -> None:
        self.connection.close()
        kept = [threading.Thread(target=threading.Event().wait, args=(PATIENCE,), daemon=True) for _ in range(2)]
        for thread in kept:
            thread.start()  # so that the next one has not the number of the last
        self.connection.reconnect()
        for call in (
            lambda: self.publish("x"),
            lambda: self.channel.queue_declare(queue="q"),
            lambda: self.channel.basic_consume(lambda *_: None, queue="q"),
        ):
            self.assertRaises(ConnectionClosed, call)
        for settle in (self.channel.basic_ack, self.channel.basic_nack, self.channel.basic_reject):
            self.assertIn(type(self.assertRaises(AMQPError, settle, 1)), (ConnectionClosed, StaleDelivery))
        self.channel.close()
        self.assertTrue(self.connection.is_open)

    def test_another_thread_waits(self) -> None:
        self.assertIsInstance(in_another_thread(lambda: self.connection.process_data_events(1)), WrongThread)
        self.assertIsInstance(in_another_thread(lambda: self.connection.sleep(1)), WrongThread)

    def test_after_the_end(self) -> None:
        for _ in range(2):
            self.connection.close()
            for call in (
                self.connection.channel,
                lambda: self.connection.process_data_events(1),
                lambda: self.connection.sleep(1),
                lambda: self.publish("x"),
                lambda: self.channel.queue_declare(queue="q"),
                lambda: next(iter(self.channel.consume("q"))),
            ):
                self.within(lambda: self.assertRaises(AMQPError, call))  # noqa: B023
            self.channel.close()
            self.assertIsNone(in_another_thread(lambda: self.connection.add_callback_threadsafe(lambda: None)))
            self.connection.connect()
            self.channel = self.connection.channel()
            self.queue = self.channel.queue_declare(exclusive=True).queue
            self.publish("x")
            self.until(lambda: self.depth() == 1)


class ThreadedTroublesTests(TroublesTests):
    """With a thread of its own."""

    io_thread = True

    def test_another_thread_waits(self) -> None:
        self.assertIsNone(in_another_thread(lambda: self.connection.process_data_events(0.01)))

    def test_close_ends_the_thread(self) -> None:
        threads = threading.active_count()
        gc.collect()  # what earlier tests left would be closed while this one counts
        descriptors = os.listdir("/dev/fd")
        connection = blocking_connection.BlockingConnection(self.uri, io_thread=True)
        self.assertEqual(threading.active_count(), threads + 1)
        connection.close()
        self.assertEqual(threading.active_count(), threads)
        self.assertEqual(len(os.listdir("/dev/fd")), len(descriptors))

    def test_closed_while_others_call(self) -> None:
        """Whoever waits hears of the end, by a name of ours, and nobody hangs."""
        outcomes: list[BaseException] = []

        def work() -> None:
            try:
                while True:
                    self.channel.queue_declare(queue=self.queue, passive=True)
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        self.channel.queue_declare(queue=self.queue, passive=True)
        self.within(self.connection.close)
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), "it hangs")
        self.assertEqual([error for error in outcomes if not isinstance(error, AMQPError)], [])
        self.assertEqual(len(outcomes), 4)

    def test_several_threads_hand_over_events(self) -> None:
        """Each consumer's messages in their order, one at a time, whoever hands them over."""
        total = 3 * MAX_EVENTS
        self.channel.publish_many(("", self.queue, b"%d" % n) for n in range(total))
        seen: list[int] = []
        inside: list[int] = []
        overlaps: list[int] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            inside.append(1)
            if len(inside) != 1:
                overlaps.append(int(body))
            seen.append(int(body))
            inside.pop()

        self.channel.basic_consume(handle, queue=self.queue, no_ack=True, block=False)

        def serve() -> None:
            while len(seen) < total:
                self.connection.process_data_events(0.05)

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), f"it hangs after {len(seen)} messages")
        self.assertEqual((overlaps, seen), ([], list(range(total))))


class CredentialsTroublesTests(BlockingTestCase):
    """A function for credentials that raises what is no C{Exception}."""

    io_thread = True

    def test_it_comes_out(self) -> None:
        def leave() -> None:
            raise SystemExit("of the program")

        parameters = parse_uri(self.uri)
        parameters = type(parameters)(parameters.host, parameters.port, "/", leave)
        for io_thread in (False, True):
            self.assertRaises(SystemExit, blocking_connection.BlockingConnection, parameters, io_thread=io_thread)

    def test_it_can_be_closed_and_connected_after_that(self) -> None:
        def leave() -> None:
            raise SystemExit("of the program")

        known = parse_uri(self.uri)
        self.connection.close()
        self.connection.parameters = type(known)(known.host, known.port, "/", leave)
        self.assertRaises(SystemExit, self.connection.reconnect)
        self.connection.close()
        self.assertTrue(self.connection.is_closed)
        self.assertRaises(SystemExit, self.connection.reconnect)
        self.connection.parameters = known
        self.connection.reconnect()
        self.assertTrue(self.connection.is_open)
