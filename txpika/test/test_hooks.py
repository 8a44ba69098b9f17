"""Tests for adapters written for pika of 2011: a subclass with connect, disconnect, flush_outbound and timers."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika import BaseConnection, ConnectionParameters, parse_uri
from txpika.adapters.hooks import HookTransport
from txpika.adapters.sockets import HIGH_WATER
from txpika.exceptions import ConnectFailed, ConnectionClosed, ConnectionLost, NotConnected
from txpika.interfaces import ITransport
from txpika.spec import Basic, Exchange, Queue, Tx
from txpika.test import broker
from txpika.test.fakes import CallbackPeer


class OldAdapter(BaseConnection):
    """As somebody may have written one in 2011: a socket, C{select()}, and a list of timers."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.socket: socket.socket | None = None
        self.timers: list[tuple[float, int, Callable[[], object]]] = []
        self.count = 0
        super().__init__(*arguments, **more)

    def connect(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.socket.setblocking(False)
        self._on_connected()

    def disconnect(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def flush_outbound(self) -> None:
        if self.socket is not None and self.outbound_buffer:
            self.outbound_buffer.send_to_socket(self.socket)

    def add_timeout(self, delay_sec: float, callback: Callable[[], object]) -> int:
        self.count += 1
        self.timers.append((time.monotonic() + delay_sec, self.count, callback))
        return self.count

    def remove_timeout(self, timeout_id: Any) -> None:
        self.timers = [timer for timer in self.timers if timer[1] != timeout_id]

    def run(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline, "nothing came of it"
            if self.socket is not None:
                writers = [self.socket] if self.outbound_buffer else []
                readable, writable, _ = select.select([self.socket], writers, [], 0.01)
                if writable:
                    self.flush_outbound()
                if readable and self.socket is not None:
                    try:
                        data = self.socket.recv(65536)
                    except OSError as error:
                        self.disconnect()
                        self._on_disconnected(error)
                    else:
                        self.on_data_available(data) if data else self._on_disconnected(EOFError("closed"))
            for timer in sorted(self.timers):
                if timer[0] <= time.monotonic() and timer in self.timers:
                    self.timers.remove(timer)
                    timer[2]()


class OldAdapterTests(SynchronousTestCase):
    """Against a real RabbitMQ."""

    def setUp(self) -> None:
        self.uri = broker.require_broker()

    def test_there_and_back(self) -> None:
        opened: list[Any] = []
        connection = OldAdapter(self.uri, opened.append)
        connection.run(lambda: opened)
        channel = connection.channel()
        bodies: list[bytes] = []
        named: list[Any] = []
        channel.queue_declare(named.append, exclusive=True)
        connection.run(lambda: named)
        queue = named[0].method.queue
        channel.basic_consume(lambda *message: bodies.append(message[3]), queue=queue, no_ack=True)
        sizes = (10, 1_000_000, 3_000_000)
        for size in sizes:
            channel.basic_publish("", queue, b"x" * size)
        connection.run(lambda: len(bodies) == 3)
        self.assertEqual([len(body) for body in bodies], list(sizes))
        connection.close()
        connection.run(lambda: connection.is_closed)
        self.assertIsInstance(connection.reason, ConnectionClosed)
        self.assertEqual((connection.socket, connection.timers), (None, []))

    def test_thrown_out(self) -> None:
        opened: list[Any] = []
        connection = OldAdapter(self.uri, opened.append)
        closed: list[Any] = []
        connection.add_on_close_callback(closed.append)
        connection.run(lambda: opened)
        assert connection.socket is not None
        connection.socket.shutdown(socket.SHUT_RDWR)
        connection.run(lambda: closed)
        self.assertIsInstance(connection.reason, ConnectionLost)

    def test_nobody_there(self) -> None:
        known = parse_uri(self.uri)
        errors: list[Exception] = []
        parameters = ConnectionParameters(known.host, 1)
        connection = OldAdapter(parameters, on_open_error_callback=lambda _, error: errors.append(error))
        connection.run(lambda: errors)
        self.assertIsInstance(errors[0], ConnectFailed)


class Recording(BaseConnection):
    """An adapter that only remembers."""

    def __init__(self, clock: Clock) -> None:
        self.ticking = clock
        self.takes = 1 << 30
        self.sent = b""
        super().__init__(ConnectionParameters(heartbeat=0))

    def connect(self, host: str, port: int) -> None:
        """Later."""

    def flush_outbound(self) -> None:
        self.sent += self.outbound_buffer.read_and_consume(min(self.takes, len(self.outbound_buffer)))

    def add_timeout(self, delay_sec: float, callback: Callable[[], object]) -> Any:
        return self.ticking.callLater(delay_sec, callback)

    def remove_timeout(self, timeout_id: Any) -> None:
        timeout_id.cancel()


class HookTests(SynchronousTestCase):
    """Details, without a network."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = Recording(self.clock)

    def test_what_is_missing_is_said_at_once(self) -> None:
        self.assertIn("connect", str(self.assertRaises(AttributeError, BaseConnection)))

    def test_data_before_it_is_connected(self) -> None:
        self.assertRaises(NotConnected, self.connection.on_data_available, b"x")
        self.assertEqual(len(self.connection.outbound_buffer), 0)

    def test_handshake_begins(self) -> None:
        self.clock.advance(0)
        self.connection._on_connected()
        self.assertEqual(self.connection.sent, b"AMQP\x00\x00\x09\x01")
        self.connection.on_data_available(b"HTTP/1.1 400")
        self.clock.advance(0)
        self.assertIn("HTTP", str(self.connection.reason))

    def test_pressure(self) -> None:
        class Producer:
            events: list[str] = []  # noqa: RUF012

            def pauseProducing(self) -> None:
                self.events.append("pause")

            def resumeProducing(self) -> None:
                self.events.append("resume")

        self.connection._on_connected()
        transport: Any = self.connection._hook_transport
        self.assertTrue(verifyObject(ITransport, transport))
        transport.registerProducer(Producer(), True)
        self.connection.takes = 0
        transport.write(b"x" * (HIGH_WATER + 1))
        self.assertEqual(Producer.events, ["pause"])
        self.connection.takes = 1 << 30
        self.connection.flush_outbound()
        self.clock.advance(1)
        self.assertEqual(Producer.events, ["pause", "resume"])

    def test_what_comes_while_nobody_reads_is_kept(self) -> None:
        received: list[bytes] = []

        class Core:
            def data_received(self, data: bytes) -> None:
                received.append(data)

        core: Any = Core()
        transport = HookTransport(self.connection, core, self.connection.clock)
        transport.pauseProducing()
        transport.received(b"1")
        transport.received(b"2")
        self.assertEqual(received, [])
        transport.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(received, [b"1", b"2"])


class RawMethodTests(SynchronousTestCase):
    """C{rpc} and C{send_method}."""

    def setUp(self) -> None:
        self.peer = CallbackPeer().open()
        self.channel = self.peer.open_channel()

    def test_a_question_and_its_answer(self) -> None:
        answers: list[Any] = []
        declare = Queue.Declare(0, "q")
        self.peer.face.rpc(1, declare, answers.append, [Queue.DeclareOk])
        self.peer.face.send_method(1, Exchange.Declare(0, "x", nowait=True))
        self.assertEqual(self.peer.methods(), [declare], "the second waits for its turn")
        from txpika.test.fakes import method

        self.peer.send(method(1, Queue.DeclareOk("q", 1, 2)))
        self.assertEqual((answers[0].method.message_count, self.peer.names()), (1, ["Exchange.Declare"]))

    def test_content(self) -> None:
        self.peer.face.send_method(1, Basic.Publish(0, "", "q"), (None, b"body"))
        frames = self.peer.frames()
        self.assertEqual((len(frames), frames[2][2]), (3, b"body"))

    def test_refused(self) -> None:
        for number, method in ((9, Queue.Declare(0, "q")), (1, Tx.Select()), (1, Basic.Publish(0, "", "q"))):
            self.assertRaises(ValueError, self.peer.face.send_method, number, method)
        self.assertRaises(ValueError, self.peer.face.rpc, 1, Queue.Declare(0, "q"), None, [Queue.BindOk])
        self.assertEqual(self.peer.frames(), [])
