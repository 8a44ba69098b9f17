"""
What every adapter must do against a real RabbitMQ, written once as steps over L{txpika.test.drivers}.

Owns the steps. C{txpika.test.test_scenarios} makes a test class of them for each driver.
"""

from __future__ import annotations

import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.core.states import OPEN
from txpika.exceptions import (
    AuthenticationError,
    ConnectFailed,
    HeartbeatTimeout,
    NotConnected,
    TLSError,
    TLSVerifyError,
    WrongThread,
)
from txpika.reconnection_strategies import SimpleReconnectionStrategy
from txpika.spec import Connection, decode_method
from txpika.test import broker
from txpika.test.authority import secure_broker
from txpika.test.drivers import Driver, LoopDriver, Refused
from txpika.test.fakes import method

#: Messages each way in the scenario about many.
MANY = 10_000
LARGE = 15_000_000


class FallsSilent:
    """A broker that lets one in, with a heartbeat of a second, and then says nothing more."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            end, _ = self._listening.accept()
            self._ends.append(end)
            stream = end.makefile("rb")
            if stream.read(8) != b"AMQP\0\0\x09\x01":
                return
            end.sendall(method(0, Connection.Start(0, 9, {}, b"PLAIN", b"en_US")))
            for answer in (Connection.Tune(0, 131072, 1), None, Connection.OpenOk()):
                header = stream.read(7)
                decode_method(stream.read(int.from_bytes(header[3:], "big") + 1)[:-1])
                if answer is not None:
                    end.sendall(method(0, answer))

    def close(self) -> None:
        """Let go of all."""
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"the end.")
        self._thread.join()
        for end in (*self._ends, self._listening):
            end.close()


def outage(driver: Driver, uri: str) -> Iterator[None]:
    """
    The broker closes the connection, a strategy brings it back, and the program's own close is final. Stops once, for
    the broker to act.
    """
    driver.connect(txpika.parse_uri(uri), SimpleReconnectionStrategy(0.05, jitter=0))
    channel = driver.channel()
    over: list[Any] = []
    if isinstance(driver, LoopDriver):
        channel.add_on_close_callback(lambda *why: over.append(why))
    yield
    driver.until(lambda: driver.closed)
    assert not channel.is_open
    if not isinstance(driver, LoopDriver):
        driver.connection.reconnect()
    else:
        driver.until(lambda: driver.opened == 2)
        assert over == [(320, "CONNECTION_FORCED - the scenario wants it")], over
        assert driver.connection.reason is None and driver.connection.closing is False
    assert driver.call(driver.channel(), "queue_declare", exclusive=True).queue
    driver.close()
    if isinstance(driver, LoopDriver):
        assert (driver.opened, driver.closed) == (2, 2)
        past: list[int] = []
        driver.connection.add_timeout(0.2, lambda: past.append(1))
        driver.until(lambda: past)
        assert (driver.opened, driver.connection.is_closed) == (2, True)


def silence(driver: Driver, port: int) -> Iterator[None]:
    """The peer falls silent: the connection notices by its heartbeat. Stops once, for a time without a word."""
    driver.connect(txpika.ConnectionParameters("127.0.0.1", port, heartbeat=0))
    yield
    driver.until(lambda: driver.closed)
    assert isinstance(driver.connection.reason, HeartbeatTimeout), driver.connection.reason


class Scenarios(SynchronousTestCase):
    """
    One driver through all of them.

    @cvar make_driver: Makes one.
    """

    make_driver: ClassVar[Callable[[], Driver]]

    def setUp(self) -> None:
        self.uri = broker.require_broker()
        self.parameters = txpika.parse_uri(self.uri)
        self.driver = self.another()

    def another(self) -> Driver:
        """One more."""
        driver = type(self).make_driver()
        self.addCleanup(driver.dispose)
        return driver

    def open(self) -> tuple[Driver, Any, str]:
        """Connect; a channel, and a queue that goes with the connection."""
        driver = self.driver
        driver.connect(self.parameters)
        channel = driver.channel()
        queue: str = driver.call(channel, "queue_declare", exclusive=True).queue
        return driver, channel, queue

    def refused(self, code: int, channel: Any, name: str, **arguments: Any) -> None:
        """The broker closes the channel for that."""
        error = self.assertRaises(Refused, self.driver.call, channel, name, **arguments)
        self.assertEqual(error.code, code)
        self.assertFalse(channel.is_open)

    # Connecting

    def test_connect(self) -> None:
        self.driver.connect(self.parameters)
        connection = self.driver.connection
        self.assertTrue(connection.is_open)
        self.assertEqual(connection.server_properties["product"], "RabbitMQ")
        self.driver.close()
        self.assertEqual((connection.is_open, connection.is_closed), (False, True))

    def test_wrong_password(self) -> None:
        parameters = txpika.ConnectionParameters(
            self.parameters.host, self.parameters.port, credentials=txpika.PlainCredentials("nobody", "hunter2")
        )
        error = self.assertRaises(AuthenticationError, self.driver.connect, parameters)
        self.assertEqual(error.reply_code, 403)
        self.assertNotIn("hunter2", str(error))

    def test_nobody_there(self) -> None:
        parameters = txpika.ConnectionParameters("127.0.0.1", 1)
        self.assertIn("127.0.0.1", str(self.assertRaises(ConnectFailed, self.driver.connect, parameters)))

    def test_a_strategy_tries_again(self) -> None:
        """The first attempt fails, another one does not."""
        parameters = txpika.ConnectionParameters("127.0.0.1", 1, credentials=self.parameters.credentials)
        there = self.parameters

        class Moves(SimpleReconnectionStrategy):
            failures = 0

            def on_connect_attempt_failure(self, conn: Any) -> None:
                super().on_connect_attempt_failure(conn)
                self.failures += 1
                if self.failures == 2:
                    parameters.hosts = there.hosts

        strategy = Moves(0.01, jitter=0)
        self.driver.begin(parameters, strategy)
        self.driver.until(lambda: self.driver.opened)
        self.assertEqual((strategy.failures, self.driver.connection.is_open), (2, True))

    def tls(self, port: str) -> None:
        secure = secure_broker(self.mktemp())
        parameters = txpika.ConnectionParameters(
            "localhost",
            getattr(secure, port),
            credentials=self.parameters.credentials,
            tls=txpika.TLSOptions(cafile=secure.authority.cafile),
        )
        self.driver.connect(parameters)

    def test_tls(self) -> None:
        self.tls("port")
        channel = self.driver.channel()
        queue = self.driver.call(channel, "queue_declare", exclusive=True).queue
        body = bytes(range(256)) * 2000
        self.driver.publish(channel, [("", queue, body)])
        self.assertEqual(self.driver.get(channel, queue, no_ack=True)[2], body)

    def test_tls_of_another_host(self) -> None:
        error = self.assertRaises(TLSVerifyError, self.tls, "other_port")
        self.assertIn("localhost", str(error))
        self.assertRaises(TLSVerifyError, self.tls, "expired_port")

    def test_tls_with_a_peer_that_speaks_none(self) -> None:
        parameters = txpika.ConnectionParameters(
            self.parameters.host, self.parameters.port, tls=txpika.TLSOptions(), connection_timeout=5
        )
        self.assertRaises(TLSError, self.driver.connect, parameters)

    def test_tls_with_files_that_are_not_there(self) -> None:
        parameters = txpika.ConnectionParameters("localhost", tls=txpika.TLSOptions(cafile="/no/such/file"))
        self.assertIn("No such file", str(self.assertRaises(ConnectFailed, self.driver.connect, parameters)))
        if self.driver.calls_back:
            self.driver.begin(parameters)
            self.driver.close()
            past: list[int] = []
            self.driver.connection.add_timeout(0, lambda: past.append(1))
            self.driver.until(lambda: past)
            self.assertEqual(len(self.driver.errors), 1, "it is told once, though closed before it had failed")

    # Methods

    def test_exchanges(self) -> None:
        driver, channel, queue = self.open()
        source, sink = (f"test-{uuid.uuid4().hex}" for _ in range(2))
        driver.call(channel, "exchange_declare", exchange=source, type="topic", auto_delete=True)
        driver.call(channel, "exchange_declare", exchange=sink, exchange_type="fanout", auto_delete=True)
        driver.call(channel, "exchange_declare", exchange=sink, type="fanout", passive=True)
        driver.call(channel, "queue_bind", queue=queue, exchange=sink)
        driver.call(channel, "exchange_bind", destination=sink, source=source, routing_key="a.#")
        driver.publish(channel, [(source, "a.b", b"in"), (source, "b", b"out")])
        self.assertEqual(driver.get(channel, queue, no_ack=True)[2], b"in")
        driver.call(channel, "exchange_bind", destination=sink, source=source, routing_key="c")
        driver.call(channel, "exchange_unbind", destination=sink, source=source, routing_key="a.#")
        driver.publish(channel, [(source, "a.b", b"out")])
        self.assertEqual(driver.get(channel, queue)[0].NAME, "Basic.GetEmpty")
        driver.call(channel, "queue_unbind", queue=queue, exchange=sink)
        driver.call(channel, "exchange_delete", exchange=source)
        self.refused(404, channel, "exchange_declare", exchange=source, passive=True)
        self.refused(404, driver.channel(), "exchange_declare", exchange=sink, passive=True)

    def test_queues(self) -> None:
        driver, channel, queue = self.open()
        driver.publish(channel, [("", queue, "text"), ("", queue, b"bytes")])
        declared = driver.call(channel, "queue_declare", queue=queue, passive=True)
        while declared.message_count != 2:  # the broker counts ahead of messages that are on their way inside it
            declared = driver.call(channel, "queue_declare", queue=queue, passive=True)
        self.assertEqual((declared.queue, declared.consumer_count), (queue, 0))
        self.assertEqual(driver.call(channel, "queue_purge", queue=queue).message_count, 2)
        driver.publish(channel, [("", queue, b"")])
        self.assertEqual(driver.call(channel, "queue_delete", queue=queue).message_count, 1)
        self.refused(404, channel, "queue_declare", queue=queue, passive=True)

    def test_nowait(self) -> None:
        driver, channel, queue = self.open()
        exchange = f"test-{uuid.uuid4().hex}"
        channel.exchange_declare(exchange=exchange, type="fanout", auto_delete=True, nowait=True)
        channel.queue_bind(queue=queue, exchange=exchange, nowait=True)
        driver.publish(channel, [(exchange, "", b"first"), (exchange, "", b"second")])
        self.assertEqual(driver.get(channel, queue, no_ack=True)[2], b"first")
        channel.queue_purge(queue=queue, nowait=True)
        self.assertEqual(driver.get(channel, queue)[0].NAME, "Basic.GetEmpty")
        channel.queue_delete(queue=queue, nowait=True)
        self.refused(404, channel, "queue_declare", queue=queue, passive=True)

    def test_transactions(self) -> None:
        driver, channel, queue = self.open()
        driver.call(channel, "tx_select")
        driver.publish(channel, [("", queue, b"dropped")])
        driver.call(channel, "tx_rollback")
        driver.publish(channel, [("", queue, b"kept")])
        driver.call(channel, "tx_commit")
        self.assertEqual(driver.get(channel, queue)[2], b"kept")

    def test_get_and_what_may_become_of_it(self) -> None:
        driver, channel, queue = self.open()
        properties = txpika.BasicProperties(content_type="text/plain", headers={"n": 2**40, "none": None})
        driver.publish(channel, [("", queue, b"1", properties), ("", queue, b"2"), ("", queue, b"3")])
        method, got, body = driver.get(channel, queue)
        self.assertEqual((method.NAME, method.message_count, method.redelivered), ("Basic.GetOk", 2, False))
        self.assertEqual((body, got.headers, got.content_type), (b"1", {"n": 2**40, "none": None}, "text/plain"))
        channel.basic_nack(method.delivery_tag, requeue=True)
        method, _, body = driver.get(channel, queue)
        self.assertEqual((method.redelivered, body), (True, b"1"))
        channel.basic_reject(method.delivery_tag, requeue=False)
        driver.get(channel, queue)
        driver.get(channel, queue)
        driver.call(channel, "basic_recover")
        tags = []
        for expected in (b"2", b"3"):
            method, _, body = driver.get(channel, queue)
            self.assertEqual((method.redelivered, body), (True, expected))
            tags.append(method.delivery_tag)
        channel.basic_ack(tags[-1], multiple=True)
        self.assertEqual(driver.get(channel, queue)[0].NAME, "Basic.GetEmpty")
        self.assertRaises(txpika.exceptions.StaleDelivery, channel.basic_ack, tags[0])

    def test_declare_bind_and_publish_in_a_row(self) -> None:
        """Nobody waits for anything, and the message is in the queue all the same."""
        driver = self.driver
        driver.connect(self.parameters)
        name = f"test-{uuid.uuid4().hex}"
        waiting = not driver.calls_back
        channel = driver.connection.channel()
        channel.exchange_declare(exchange=name, type="direct", auto_delete=True, nowait=waiting)
        channel.queue_declare(queue=name, exclusive=True, nowait=waiting)
        channel.queue_bind(queue=name, exchange=name, routing_key="key", nowait=waiting)
        channel.basic_publish(name, "key", b"there")
        self.assertEqual(driver.get(channel, name, no_ack=True)[2], b"there")

    # Messages

    def test_consume_and_cancel(self) -> None:
        driver, channel, queue = self.open()
        messages: list[Any] = []
        driver.call(channel, "basic_qos", prefetch_count=1)
        tag = driver.consume(channel, lambda *message: messages.append(message), queue)
        self.assertEqual(channel.consumer_tags, [tag])
        driver.publish(channel, [("", queue, b"first"), ("", queue, b"second")])
        driver.until(lambda: messages)
        ((where, method, properties, body),) = messages
        self.assertIs(where, channel)
        self.assertEqual((method.NAME, method.consumer_tag, method.routing_key), ("Basic.Deliver", tag, queue))
        self.assertEqual((body, properties.headers), (b"first", None))
        channel.basic_ack(method.delivery_tag)
        driver.until(lambda: len(messages) == 2)
        channel.basic_ack(messages[1][1].delivery_tag)
        driver.call(channel, "basic_cancel", consumer_tag=tag)
        self.assertEqual(channel.consumer_tags, [])
        driver.publish(channel, [("", queue, b"third")])
        self.assertEqual(driver.get(channel, queue, no_ack=True)[2], b"third")
        self.assertEqual(len(messages), 2)

    def test_the_broker_cancels(self) -> None:
        driver, channel, queue = self.open()
        cancelled: list[Any] = []
        channel.add_on_cancel_callback(cancelled.append)
        driver.consume(channel, lambda *message: None, queue)
        driver.call(driver.channel(), "queue_delete", queue=queue)
        driver.until(lambda: cancelled)
        self.assertEqual(channel.consumer_tags, [])
        self.assertTrue(channel.is_open)

    def test_many_both_ways(self) -> None:
        driver, channel, queue = self.open()
        driver.call(channel, "basic_qos", prefetch_count=500)
        received: list[bytes] = []

        def on_message(where: Any, method: Any, properties: Any, body: bytes) -> None:
            received.append(body)
            if len(received) % 50 == 0:
                where.basic_ack(method.delivery_tag, multiple=True)

        driver.consume(channel, on_message, queue)
        sent = [b"message %d" % number for number in range(MANY)]
        driver.publish(channel, (("", queue, body) for body in sent))
        driver.until(lambda: len(received) >= MANY)
        self.assertEqual(Counter(received), Counter(sent))
        self.assertEqual(received, sent)
        driver.call(channel, "basic_cancel", consumer_tag=channel.consumer_tags[0])
        driver.call(channel, "basic_recover")
        self.assertEqual(driver.get(channel, queue)[0].NAME, "Basic.GetEmpty", "all are acknowledged")

    def test_a_large_message(self) -> None:
        driver, channel, queue = self.open()
        body = bytes(range(250)) * (LARGE // 250)
        received: list[bytes] = []
        driver.consume(channel, lambda channel, method, properties, body: received.append(body), queue, no_ack=True)
        driver.publish(channel, [("", queue, body)])
        driver.until(lambda: received)
        self.assertEqual(len(received[0]), LARGE)
        self.assertTrue(received[0] == body)

    def test_more_than_the_network_takes_at_once(self) -> None:
        if not self.driver.calls_back:
            self.parameters.max_held = 3_000_000  # whoever can wait for room does
        driver, channel, queue = self.open()
        sizes: list[int] = []
        driver.consume(channel, lambda channel, method, properties, body: sizes.append(len(body)), queue, no_ack=True)
        messages = [("", queue, b"x" * 1_000_000)] * 20
        if driver.calls_back:
            pressed: list[int] = []
            channel.add_backpressure_callback(lambda: pressed.append(1))
            channel.set_backpressure_multiplier(0.1)
            lots = 0
            while not pressed and lots < 20:  # a broker that reads at once may take one lot as fast as it is written
                lots += 1
                sizes.clear()
                driver.publish(channel, messages)
                driver.until(lambda: len(sizes) == 20)
            self.assertTrue(pressed)
        else:
            driver.publish(channel, messages)
            driver.until(lambda: len(sizes) == 20)
        self.assertEqual(set(sizes), {1_000_000})

    def test_other_threads(self) -> None:
        """They have one way in; with a thread of the connection's own, they have all."""
        driver, channel, queue = self.open()
        outcomes: list[Any] = []

        def publish(body: bytes) -> None:
            try:
                channel.basic_publish("", queue, body)
            except Exception as error:
                outcomes.append(type(error))
            else:
                outcomes.append(body)

        def other() -> None:
            publish(b"straight")
            driver.connection.add_callback_threadsafe(lambda: publish(b"called in"))

        thread = threading.Thread(target=other)
        thread.start()
        driver.until(lambda: len(outcomes) == 2)
        thread.join()
        self.assertEqual(outcomes, [b"straight" if driver.any_thread else WrongThread, b"called in"])
        bodies = [driver.get(channel, queue, no_ack=True)[2] for _ in range(outcomes.count(b"straight") + 1)]
        self.assertEqual(bodies[-1], b"called in")

    def test_timers(self) -> None:
        """In the order they are due, not that they were made in; one that is removed, also by itself, does nothing."""
        driver = self.driver
        driver.connect(self.parameters)
        connection = driver.connection
        told: list[str] = []
        timers: list[Any] = []

        def last() -> None:
            connection.remove_timeout(timers[0])
            told.append("last")

        timers.append(connection.add_timeout(0.03, last))
        connection.add_timeout(0.02, lambda: told.append("second"))
        connection.add_timeout(0, lambda: told.append("first"))
        gone = connection.add_timeout(0.01, lambda: told.append("removed"))
        connection.remove_timeout(gone)
        connection.remove_timeout(gone)
        driver.until(lambda: len(told) == 3)
        self.assertEqual(told, ["first", "second", "last"])
        connection.remove_timeout(timers[0])

    def test_returns(self) -> None:
        driver, channel, _ = self.open()
        returned: list[tuple[int, str, Any, bytes]] = []

        def on_return(*told: Any) -> None:
            if driver.calls_back:
                method, properties = told[0].method, told[1].properties
            else:
                method, properties = told[1], told[2]
            returned.append((method.reply_code, method.routing_key, properties.message_id, told[-1]))

        channel.add_on_return_callback(on_return)
        properties = txpika.BasicProperties(message_id="me")
        channel.basic_publish("", "no such queue", b"1", properties, mandatory=True)
        channel.basic_publish("", "no such queue", b"lost")
        channel.basic_publish("", "no such queue", b"2", properties, True)
        driver.until(lambda: len(returned) == 2)
        expected = [(312, "no such queue", "me", body) for body in (b"1", b"2")]
        self.assertEqual(returned, expected)

    def test_confirms(self) -> None:
        driver, channel, _ = self.open()
        queue = driver.call(
            channel, "queue_declare", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        ).queue
        messages: list[Any] = [
            ("", queue, b"taken", None, True),
            ("", "no such queue", b"comes back", None, True),
            ("", queue, b"too many"),
            ("", "no such queue", b"dropped"),
        ]
        outcomes = driver.publish_confirmed(channel, messages)
        self.assertEqual(outcomes, ["acked", "returned", "nacked", "acked"])

    # The end

    def test_a_refusal_leaves_the_others_alone(self) -> None:
        driver, other, queue = self.open()
        self.refused(404, driver.channel(), "queue_purge", queue="no such queue")
        self.refused(403, driver.channel(), "queue_declare", queue="amq.reserved", exclusive=True)
        driver.publish(other, [("", queue, b"fine")])
        self.assertEqual(driver.get(other, queue)[2], b"fine")

    def test_close_in_every_state(self) -> None:
        driver, channel, _ = self.open()
        connection = driver.connection
        channel.close()
        channel.close()
        half_open = None if not driver.calls_back else connection.channel()
        driver.close()
        self.assertTrue(connection.is_closed)
        self.assertFalse(half_open is not None and half_open.is_open)
        driver.close()
        connection.close()
        self.assertRaises(txpika.exceptions.CloseReason, connection.channel)
        self.assertRaises(txpika.exceptions.CloseReason, channel.basic_publish, "", "q", b"")

    def test_close_from_inside_a_consumer(self) -> None:
        driver, channel, queue = self.open()
        driver.consume(channel, lambda *message: driver.connection.close(), queue)
        driver.publish(channel, [("", queue, b"the last one")])
        driver.until(lambda: driver.connection.is_closed)
        again = self.another()
        again.connect(self.parameters)
        self.assertTrue(again.connection.is_open)

    def test_close_with_much_under_way(self) -> None:
        """All that was published before C{close} is at the broker."""
        driver, channel, _ = self.open()
        queue = f"test-{uuid.uuid4().hex}"
        driver.call(channel, "queue_declare", queue=queue)
        driver.publish(channel, [("", queue, b"x" * 1000)] * 1000)
        driver.close()
        again = self.another()
        again.connect(self.parameters)
        channel = again.channel()
        self.addCleanup(again.call, again.channel(), "queue_delete", queue=queue)
        self.assertEqual(again.call(channel, "queue_purge", queue=queue).message_count, 1000)

    def test_close_before_it_is_open(self) -> None:
        """While it dials, and at each step of the handshake."""
        if not self.driver.calls_back:
            self.assertRaises(ConnectFailed, self.driver.connect, txpika.ConnectionParameters("127.0.0.1", 1))
            self.assertIsNone(self.driver.connection, "there is nothing to close")
            return
        states: list[str] = []
        while OPEN not in states:
            states.append(self.close_in(len(states)))
            self.assertLess(len(states), 10)
        self.assertIn("connecting", states)
        self.assertGreater(len(states), 2)

    def close_in(self, number: int) -> str:
        """Close a new connection in its first state, or in one of those that follow; which that was."""
        driver = self.driver
        driver.begin(self.parameters)
        connection = driver.connection
        states: list[str] = []

        def far_enough() -> bool:
            if connection.state not in states:
                states.append(connection.state)
            return len(states) > number

        driver.until(far_enough, 0)
        self.assertEqual(connection.is_open, states[-1] == OPEN)
        if not connection.is_open:
            self.assertRaises(NotConnected, connection.channel)
        opened = int(connection.is_open)
        driver.close()
        self.assertEqual((connection.is_open, connection.is_closed), (False, True))
        self.assertEqual((driver.opened, driver.closed, len(driver.errors)), (opened, opened, 1 - opened))
        return states[-1]
