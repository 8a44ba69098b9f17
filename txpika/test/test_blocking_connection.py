"""Tests for the blocking facade against a real RabbitMQ, with and without a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from txpika import BasicProperties, ConnectionParameters, parse_uri
from txpika.adapters.blocking_connection import BlockingConnection
from txpika.exceptions import (
    AuthenticationError,
    CallTimeout,
    ChannelClosed,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    NackError,
    ReturnedError,
    StaleDelivery,
    WrongThread,
)
from txpika.reconnection_strategies import ReconnectionStrategy
from txpika.test import broker


class BlockingTestCase(SynchronousTestCase):
    """A connection, a channel, and a queue that goes with the connection."""

    io_thread: ClassVar[bool] = False

    def setUp(self) -> None:
        self.uri = broker.require_broker()
        self.connection = self.connect()
        self.channel = self.connection.channel()
        self.queue = self.channel.queue_declare(queue=f"blocking-{uuid.uuid4().hex}", exclusive=True).queue

    def connect(self, parameters: Any = None) -> BlockingConnection:
        connection = BlockingConnection(parameters or self.uri, io_thread=self.io_thread)
        self.addCleanup(connection.close)
        return connection

    def publish(self, *bodies: str) -> None:
        for body in bodies:
            self.channel.basic_publish("", self.queue, body)

    def depth(self) -> int:
        return self.channel.queue_declare(queue=self.queue, passive=True).message_count

    def until(self, condition: Callable[[], object]) -> None:
        """Hand over events until it is so."""
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            self.connection.process_data_events(0.1)


class BlockingTests(BlockingTestCase):
    """Everything."""

    # Methods

    def test_answers(self) -> None:
        channel, name = self.channel, f"x-{self.queue}"
        names = [
            channel.exchange_declare(exchange=name, type="topic", auto_delete=True),
            channel.queue_bind(queue=self.queue, exchange=name, routing_key="a.#"),
            channel.exchange_declare(exchange=name + "2", exchange_type="fanout"),
            channel.exchange_bind(name, name + "2"),
            channel.exchange_unbind(name, name + "2"),
            channel.exchange_delete(exchange=name + "2"),
            channel.basic_qos(prefetch_count=10),
            channel.basic_recover(),
            channel.queue_purge(queue=self.queue),
            channel.queue_unbind(queue=self.queue, exchange=name, routing_key="a.#"),
            channel.queue_delete(queue=self.queue),
            channel.confirm_delivery(),
        ]
        self.assertEqual(
            [reply.NAME.split(".")[1] for reply in names],
            [
                *("DeclareOk", "BindOk", "DeclareOk", "BindOk", "UnbindOk", "DeleteOk"),
                *("QosOk", "RecoverOk", "PurgeOk", "UnbindOk", "DeleteOk", "SelectOk"),
            ],
        )
        with self.connection.channel() as other:
            self.assertEqual(other.tx_select().NAME, "Tx.SelectOk")
            self.assertEqual((other.tx_commit().NAME, other.tx_rollback().NAME), ("Tx.CommitOk", "Tx.RollbackOk"))
        self.assertFalse(other.is_open)

    def test_nowait(self) -> None:
        self.assertIsNone(self.channel.queue_declare(queue=self.queue, exclusive=True, nowait=True))
        self.publish("x")
        self.assertIsNone(self.channel.queue_purge(queue=self.queue, nowait=True))
        self.assertEqual(self.depth(), 0)

    def test_get(self) -> None:
        self.channel.basic_publish("", self.queue, "a str", BasicProperties(content_type="text/plain"))
        method, properties, body = self.channel.basic_get(queue=self.queue)
        assert properties is not None
        self.assertEqual((method.NAME, properties.content_type, body), ("Basic.GetOk", "text/plain", b"a str"))
        self.channel.basic_ack(method.delivery_tag)
        self.assertRaises(StaleDelivery, self.channel.basic_ack, method.delivery_tag)
        for settle in (self.channel.basic_ack, self.channel.basic_nack, self.channel.basic_reject):
            self.assertRaises(TypeError, settle, method)
        method, properties, body = self.channel.basic_get(queue=self.queue)
        self.assertEqual((method.NAME, properties, body), ("Basic.GetEmpty", None, None))

    def test_refused(self) -> None:
        error = self.assertRaises(ChannelClosed, self.channel.queue_declare, queue="no such queue", passive=True)
        self.assertEqual((error.reply_code, error.class_id, error.method_id), (404, 50, 10))
        self.assertRaises(ChannelClosed, self.channel.basic_get, queue=self.queue)
        self.channel = self.connection.channel()
        self.assertEqual(self.depth(), 0)

    def test_wrong_arguments(self) -> None:
        for error, call in (
            (ValueError, lambda: self.channel.basic_publish("", "q" * 256, b"x")),
            (TypeError, lambda: self.channel.basic_publish("", "q", None)),  # type: ignore[arg-type]
            (ValueError, lambda: self.channel.basic_publish("", "q", b"x", immediate=True)),
            (TypeError, lambda: self.channel.queue_declare("q")),  # type: ignore[arg-type]
            (TypeError, lambda: self.channel.basic_consume(queue="q")),
            (ValueError, lambda: self.channel.queue_declare(queue="q", timeout=0)),
            (TypeError, lambda: self.connection.call_later(1, "x")),  # type: ignore[arg-type]
        ):
            self.assertRaises(error, call)
        self.assertTrue(self.channel.is_open)

    def test_wrong_arguments_of_the_connection(self) -> None:
        """They are refused by their names, and nothing is written."""
        connection: Any = self.connection
        nan = float("nan")
        sent = connection._core.wire.bytes_sent
        wrong: list[tuple[type[Exception], str, Callable[[], object]]] = [
            *((TypeError, "channel_number", partial(connection.channel, each)) for each in (1.0, "x", True)),
            *((ValueError, "channel_number", partial(connection.channel, each)) for each in (0, -1)),
            *((TypeError, "timeout", partial(connection.channel, timeout=each)) for each in ("x", True)),
            *((ValueError, "timeout", partial(connection.channel, timeout=each)) for each in (0, -1, nan, inf)),
            *((TypeError, "delay", partial(connection.call_later, each, print)) for each in ("x", None)),
            (ValueError, "delay", partial(connection.call_later, nan, print)),
            (ValueError, "delay", partial(connection.add_timeout, nan, print)),
            *((TypeError, "duration", partial(connection.sleep, each)) for each in ("x", "", None)),
            *((ValueError, "duration", partial(connection.sleep, each)) for each in (-1, nan, inf)),
            (TypeError, "time_limit", partial(connection.process_data_events, "x")),
            (ValueError, "time_limit", partial(connection.process_data_events, nan)),
            *((TypeError, "timeout_id", partial(connection.remove_timeout, each)) for each in ("x", None)),
            (TypeError, "reconnection_strategy", partial(BlockingConnection, self.uri, 5)),
        ]
        for error, name, call in wrong:
            self.assertIn(name, str(self.assertRaises(error, call)))
        self.assertEqual((connection._core.wire.bytes_sent, list(connection._core.channels)), (sent, [1]))

    # Publishing

    def test_confirms_one_by_one(self) -> None:
        self.channel.confirm_delivery()
        self.publish("1", "2")
        self.assertEqual(self.depth(), 2)
        error = self.assertRaises(ReturnedError, self.channel.basic_publish, "", "nowhere", b"lost", None, True)
        self.assertEqual((error.message.body, error.message.reply_code), (b"lost", 312))
        short = f"short-{self.queue}"
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        self.channel.queue_declare(queue=short, exclusive=True, arguments=arguments)
        self.channel.basic_publish("", short, b"1")
        self.assertRaises(NackError, self.channel.basic_publish, "", short, b"2", timeout=20)

    def test_confirms_by_the_thousand(self) -> None:
        self.channel.confirm_delivery()
        messages = (("", "nowhere" if n % 100 == 0 else self.queue, b"%d" % n, None, True) for n in range(5_000))
        outcomes = self.channel.publish_many(messages)
        self.assertEqual(Counter(type(each) for each in outcomes), {type(None): 4_950, ReturnedError: 50})
        self.assertIsInstance(outcomes[4_900], ReturnedError)
        self.assertEqual(self.depth(), 4_950)

    def test_returns_without_confirms(self) -> None:
        returned: list[Any] = []
        self.channel.add_on_return_callback(lambda *what: returned.append(what))
        self.channel.basic_publish("", "nowhere", b"lost", BasicProperties(app_id="a"), mandatory=True)
        self.until(lambda: returned)
        ((channel, method, properties, body),) = returned
        self.assertIs(channel, self.channel)
        self.assertEqual((method.reply_code, properties.app_id, body), (312, "a", b"lost"))

    # Consuming

    def test_consume_blocks_until_it_is_stopped(self) -> None:
        bodies: list[bytes] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            bodies.append(body)
            channel.basic_ack(method.delivery_tag)
            if body == b"3":
                channel.stop_consuming()

        self.publish("1", "2", "3", "4", "5")
        self.channel.basic_consume(handle, queue=self.queue)
        self.assertEqual((bodies, self.channel.consumer_tags), ([b"1", b"2", b"3"], []))
        self.until(lambda: self.depth() == 2)  # what nobody saw goes back; the broker counts before it takes it

    def test_several_consumers(self) -> None:
        other = self.channel.queue_declare(exclusive=True).queue
        seen: list[str] = []

        def take(name: str) -> Callable[..., None]:
            def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
                seen.append(name)
                if len(seen) == 2:
                    channel.stop_consuming()

            return handle

        for name, queue in (("a", self.queue), ("b", other)):
            self.channel.basic_consume(take(name), queue=queue, no_ack=True, block=False)
            self.channel.basic_publish("", queue, b"x")
        self.channel.start_consuming()
        self.assertEqual(sorted(seen), ["a", "b"])

    def test_what_a_handler_raises_comes_out(self) -> None:
        def handle(*_: Any) -> None:
            raise KeyError("of the program")

        self.publish("x")
        self.assertRaises(KeyError, self.channel.basic_consume, handle, queue=self.queue)
        self.assertTrue(self.channel.is_open)
        self.channel.stop_consuming()

    def test_methods_from_inside_a_handler(self) -> None:
        answers: list[int] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            answers.append(channel.queue_declare(queue=self.queue, passive=True).consumer_count)
            channel.basic_publish("", self.queue, b"again") if len(answers) < 3 else channel.stop_consuming()

        self.publish("x")
        self.channel.basic_consume(handle, queue=self.queue, no_ack=True)
        self.assertEqual(answers, [1, 1, 1])

    def test_the_queue_is_deleted(self) -> None:
        self.channel.basic_consume(lambda *_: None, queue=self.queue, block=False)
        self.connection.channel().queue_delete(queue=self.queue)
        self.assertRaises(ConsumerCancelled, self.channel.start_consuming)

    def test_iteration(self) -> None:
        self.publish("1", "2", "3", "4")
        bodies = []
        for method, _, body in self.channel.consume(self.queue):
            bodies.append(body)
            self.channel.basic_ack(method.delivery_tag)
            if len(bodies) == 2:
                break
        self.assertEqual(bodies, [b"1", b"2"])
        self.until(lambda: self.channel._generator is not None and len(self.channel._generator) == 2)
        self.assertEqual(self.channel.cancel(), 2)
        self.assertEqual(self.channel.cancel(), 0)
        self.until(lambda: self.depth() == 2)

    def test_iteration_without_messages(self) -> None:
        items = self.channel.consume(self.queue, inactivity_timeout=0.05)
        self.assertEqual(next(items), (None, None, None))
        self.publish("x")
        while (item := next(items)) == (None, None, None):
            pass
        self.assertEqual(item[2], b"x")

    def test_polling(self) -> None:
        """As pika's: an C{inactivity_timeout} of 0 takes what is there, and goes on at once if that is nothing."""
        self.publish("1", "2")
        items = self.channel.consume(self.queue, no_ack=True, inactivity_timeout=0)
        seen: list[Any] = []
        while len(seen) < 2:
            seen += [body for _, _, body in [next(items)] if body is not None]
        self.assertEqual(seen, [b"1", b"2"])
        before = time.monotonic()
        self.assertEqual([next(items) for _ in range(10)], [(None, None, None)] * 10)
        self.assertLess(time.monotonic() - before, 1)
        for wrong in (-1, True, False, "0"):
            self.assertRaises((TypeError, ValueError), self.channel.consume, self.queue, inactivity_timeout=wrong)

    # Events, time, the end

    def test_timers_and_sleep(self) -> None:
        called: list[str] = []
        never = self.connection.call_later(0.01, lambda: called.append("never"))
        self.connection.add_timeout(0.02, lambda: called.append("later"))
        self.connection.remove_timeout(never)
        before = time.monotonic()
        self.connection.sleep(0.1)
        self.assertGreaterEqual(time.monotonic() - before, 0.1)
        self.assertEqual(called, ["later"])

    def test_call_in_from_another_thread(self) -> None:
        heard: list[int] = []
        call_in = self.connection.add_callback_threadsafe
        thread = threading.Thread(target=call_in, args=(lambda: heard.append(threading.get_ident()),))
        thread.start()
        self.until(lambda: heard)
        thread.join()
        self.assertEqual(heard, [threading.get_ident()])

    def test_a_call_that_takes_too_long(self) -> None:
        blocked: list[str] = []
        self.connection.add_on_connection_blocked_callback(lambda connection, reason: blocked.append(reason))
        self.addCleanup(broker.ctl, "set_vm_memory_high_watermark", "0.4")
        broker.ctl("set_vm_memory_high_watermark", "0")
        self.publish("the broker reads no more from us")
        error = self.assertRaises(CallTimeout, self.channel.queue_declare, queue="q", passive=True, timeout=0.2)
        self.assertEqual(error.outcome, "unknown")
        self.until(lambda: blocked)
        broker.ctl("set_vm_memory_high_watermark", "0.4")

    def test_thrown_out(self) -> None:
        ended: list[Any] = []
        self.connection.add_on_close_callback(ended.append)
        broker.ctl("close_all_connections", "maintenance")
        error = self.assertRaises(ConnectionClosed, self.until, lambda: False)
        self.assertEqual((error.reply_code, ended), (320, [self.connection]))
        self.assertRaises(ConnectionClosed, self.channel.queue_declare, queue="q")
        self.connection.reconnect()
        self.assertTrue(self.connection.is_open)
        self.connection.channel().queue_declare(exclusive=True)

    def test_close(self) -> None:
        self.connection.close()
        self.connection.close()
        self.assertRaises(ConnectionClosed, self.connection.channel)
        self.assertRaises(ConnectionClosed, self.connection.process_data_events)
        self.assertRaises(ConnectionClosed, self.connection.call_later, 0, lambda: None)

    def test_what_a_channel_says_of_its_end(self) -> None:
        """Programs of 2011 ask for C{is_closed} and C{closing}, and add callbacks, which get code and text."""
        heard: list[Any] = []
        self.channel.add_on_close_callback(lambda code, text: heard.append((code, text)))
        self.assertEqual((self.channel.is_closed, self.channel.closing), (False, False))
        self.assertRaises(ChannelClosed, self.channel.queue_purge, queue="no such queue")
        self.assertTrue(self.channel.is_closed)
        self.until(lambda: heard)
        self.assertEqual(heard, [self.channel.closing])
        self.assertEqual(heard[0][0], 404)
        self.assertIn("no such queue", heard[0][1])
        self.assertRaises(TypeError, self.channel.add_on_close_callback, None)

    def test_channels_end_with_their_connection(self) -> None:
        heard: list[Any] = []
        self.channel.add_on_close_callback(lambda *arguments: heard.append(arguments))
        self.connection.add_on_close_callback(heard.append)
        self.assertFalse(self.connection.is_closing)
        self.connection.close(311, "enough")
        self.assertEqual((self.connection.is_closing, self.connection.is_closed), (False, True))
        self.until(lambda: heard[1:])
        self.assertEqual(heard, [(311, "enough"), self.connection])

    def test_not_let_in(self) -> None:
        known = parse_uri(self.uri)
        self.assertRaises(AuthenticationError, self.connect, f"amqp://guest:hunter2@{known.host}:{known.port}")
        self.assertRaises(ConnectFailed, self.connect, ConnectionParameters("127.0.0.1", 1))

    def test_not_let_in_time_after_time(self) -> None:
        """A program with a strategy tries again, and its log says why it must."""

        class Twice(ReconnectionStrategy):
            left = 2

            def on_connect_attempt_failure(self, conn: Any) -> None:
                self.left -= 1
                if self.left:
                    conn.reconnect()

        known = parse_uri(self.uri)
        uri = f"amqp://guest:hunter2@{known.host}:{known.port}"
        with self.assertLogs("txpika.adapters.blocking", logging.WARNING) as logged:
            self.assertRaises(AuthenticationError, BlockingConnection, uri, Twice(), io_thread=self.io_thread)
        (text,) = logged.output
        self.assertIn(f"{known.port} closed>: cannot connect: 403 ACCESS_REFUSED", text)
        self.assertNotIn("hunter2", text)

    def test_context_manager(self) -> None:
        with self.connect() as connection, connection.channel() as channel:
            channel.queue_declare(exclusive=True)
        self.assertTrue(connection.is_closed)


class ThreadedTests(BlockingTests):
    """The same with a thread of its own."""

    io_thread = True

    def test_any_thread_may_call(self) -> None:
        self.channel.confirm_delivery()
        errors: list[BaseException] = []

        def publish() -> None:
            try:
                self.channel.publish_many(("", self.queue, b"x") for _ in range(200))
                self.channel.basic_publish("", self.queue, b"x")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((errors, self.depth()), ([], 804))

    def test_heartbeats_go_on_while_a_handler_works(self) -> None:
        known = parse_uri(self.uri)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parameters = ConnectionParameters(known.host, known.port, "/", known.credentials, heartbeat=1)
        self.connection = connection = self.connect(parameters)
        self.channel = channel = connection.channel()
        self.queue = channel.queue_declare(exclusive=True).queue
        self.publish("x")
        done = threading.Event()

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            done.wait(4.5)  # the broker gives up on who is silent for 2 to 3 seconds
            channel.basic_ack(method.delivery_tag)
            channel.stop_consuming()

        channel.basic_consume(handle, queue=self.queue)
        self.assertEqual(self.depth(), 0)


class OwnThreadTests(BlockingTestCase):
    """Without one, only its own thread may use it."""

    def test_another_thread(self) -> None:
        errors: list[BaseException] = []
        called: list[int] = []
        timer = self.connection.call_later(0, lambda: called.append(1))

        def call_in() -> None:
            for call in (
                self.connection.channel,
                self.connection.close,
                self.connection.flush_outbound,
                lambda: self.publish("x"),
                lambda: self.connection.call_later(0, lambda: None),
                lambda: self.connection.remove_timeout(timer),
                lambda: self.channel.consume(self.queue),
            ):
                try:
                    call()
                except BaseException as error:
                    errors.append(error)

        thread = threading.Thread(target=call_in)
        thread.start()
        thread.join()
        self.assertEqual([type(error) for error in errors], [WrongThread] * 7)
        self.assertEqual(self.depth(), 0)
        self.until(lambda: called)

    def test_another_thread_connects(self) -> None:
        """It is refused before anything has begun."""
        asked: list[Any] = []
        errors: list[BaseException] = []

        class Asked(ReconnectionStrategy):
            def on_connect_attempt(self, connection: Any) -> None:
                asked.append(connection)

        def call_in() -> None:
            try:
                self.connection.reconnect()
            except BaseException as error:
                errors.append(error)

        transport = self.connection._transport
        assert transport is not None
        transport.abortConnection()
        self.assertRaises(ConnectionLost, self.until, lambda: False)
        self.connection._strategy = Asked()
        thread = threading.Thread(target=call_in)
        thread.start()
        thread.join()
        self.assertEqual(([type(error) for error in errors], asked), ([WrongThread], []))
        self.assertTrue(self.connection.is_closed)
        self.connection.reconnect()
        self.assertEqual(len(asked), 1)
