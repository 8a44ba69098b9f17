"""
What the tests of adapters to foreign loops share: a connection that writes down what it hears, a broker in this process
that reads when it is told to, and the tests of what each adapter has to do by itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import warnings
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.exceptions import (
    AuthenticationError,
    CloseReason,
    ConnectFailed,
    ConnectionClosed,
    HandshakeTimeout,
    NotConnected,
    TLSVerifyError,
)
from txpika.spec import Channel, Connection, Method, decode_method
from txpika.test import broker
from txpika.test.authority import secure_broker
from txpika.test.fakes import method
from txpika.tls import TLSOptions

#: How long anything here may take, in seconds.
DEADLINE = 30.0


def free_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def open_sockets() -> int:
    """How many sockets this process has open."""
    count = 0
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one of the listing is closed by now
            count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return count


class SlowBroker:
    """
    Lets everybody in, one at a time, and reads when it is told to: call L{turn} again and again.

    @ivar received: Bytes of bodies that have come.
    """

    def __init__(self) -> None:
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        self._server.setblocking(False)
        self._socket: socket.socket | None = None
        self._buffer = b""
        self.port = int(self._server.getsockname()[1])
        self.received = 0

    def close(self) -> None:
        """It is gone, with its connection."""
        self._server.close()
        if self._socket is not None:
            self._socket.close()

    def turn(self) -> bool:
        """Do what there is to do now; this may take any number of turns, so it is always C{False}."""
        with contextlib.suppress(BlockingIOError):
            if self._socket is None:
                self._socket, _ = self._server.accept()
                self._socket.setblocking(False)
            while data := self._socket.recv(1 << 20):
                self._buffer += data
        if self._buffer.startswith(b"AMQP"):
            self._buffer = self._buffer[8:]
            self._send(0, Connection.Start(0, 9, {}, b"PLAIN", b"en_US"))
        offset = 0
        while len(self._buffer) - offset >= 8:
            number = int.from_bytes(self._buffer[offset + 1 : offset + 3], "big")
            end = offset + 7 + int.from_bytes(self._buffer[offset + 3 : offset + 7], "big")
            if len(self._buffer) <= end:
                break
            if self._buffer[offset] == 1:
                self._answer(number, decode_method(self._buffer[offset + 7 : end])[0])
            elif self._buffer[offset] == 3:
                self.received += end - offset - 7
            offset = end + 1
        self._buffer = self._buffer[offset:]
        return False

    def _answer(self, number: int, asked: Method) -> None:
        answers = {
            Connection.StartOk: Connection.Tune(10, 131072, 0),
            Connection.Open: Connection.OpenOk(),
            Connection.Close: Connection.CloseOk(),
            Channel.Open: Channel.OpenOk(),
        }
        if type(asked) in answers:
            self._send(number, answers[type(asked)])

    def _send(self, number: int, answer: Method) -> None:
        assert self._socket is not None
        self._socket.sendall(method(number, answer))


class LoopTestCase(SynchronousTestCase):
    """
    Subclasses say which loop it is.

    @ivar heard: What the connection told, in order: a word, and more.
    """

    kind: ClassVar[Any]

    def setUp(self) -> None:
        self.heard: list[Any] = []

    def until(self, condition: Callable[[], object]) -> None:
        """Run the loop until it is so."""
        raise AssertionError(f"{self} has no loop")

    def later(self, delay: float, function: Callable[[], object]) -> None:
        """Have the program's own loop call something, in C{delay} seconds."""
        raise AssertionError(f"{self} has no loop")

    def until_heard(self, *words: str) -> None:
        """Run the loop until the connection has told just this."""
        self.until(lambda: len(self.heard) >= len(words))
        self.assertEqual([word for word, *_ in self.heard], list(words))

    def connect(self, parameters: Any, **more: Any) -> Any:
        """@return: A connection that is about to be made."""
        connection = self.kind(
            parameters,
            lambda connection: self.heard.append(("open", connection)),
            on_open_error_callback=lambda connection, error: self.heard.append(("error", error)),
            on_close_callback=lambda connection: self.heard.append(("close", connection.closing)),
            **more,
        )
        self.addCleanup(self.leave, connection)
        return connection

    def leave(self, connection: Any) -> None:
        """Leave nothing behind."""
        connection.close()
        self.until(lambda: connection.is_closed)

    def live(self, **more: Any) -> Any:
        """@return: Parameters for the broker."""
        uri = urlsplit(broker.require_broker())
        credentials = txpika.PlainCredentials(uri.username or "", uri.password or "")
        more = {"host": uri.hostname, "port": uri.port, "credentials": credentials, **more}
        return txpika.ConnectionParameters(**more)

    def open(self, parameters: Any = None, **more: Any) -> Any:
        """@return: A connection that is open."""
        connection = self.connect(self.live() if parameters is None else parameters, **more)
        self.until_heard("open")
        self.assertTrue(connection.is_open)
        return connection

    def error(self, expected: type[CloseReason]) -> CloseReason:
        """@return: Why it could not be opened, which is all that was heard."""
        self.until_heard("error")
        error = self.heard[0][1]
        self.assertIsInstance(error, expected)
        assert isinstance(error, CloseReason)
        return error


class AdapterTests(LoopTestCase):
    """What each adapter has to do by itself. Most of it against the broker."""

    def exchange(self, connection: Any, count: int, size: int) -> None:
        """Publish so many messages, and get them back."""
        sent = [b"%06d" % number + os.urandom(size) for number in range(count)]
        got: list[bytes] = []

        def declared(frame: Any) -> None:
            queue = frame.method.queue
            channel.basic_consume(lambda channel, method, properties, body: got.append(body), queue, no_ack=True)
            for body in sent:
                channel.basic_publish("", queue, body)

        channel = connection.channel()
        channel.queue_declare(declared, exclusive=True)
        self.until(lambda: len(got) >= count)
        self.assertEqual(got, sent)

    def test_a_thousand_messages(self) -> None:
        connection = self.open()
        self.exchange(connection, 1000, 100)
        connection.close()
        self.until_heard("open", "close")
        self.assertEqual((self.heard[1][1], connection.is_closed), ((200, "Normal shutdown"), True))

    def test_large_messages(self) -> None:
        self.exchange(self.open(), 20, 1_000_000)

    def test_wrong_password(self) -> None:
        self.connect(self.live(credentials=txpika.PlainCredentials("guest", "wrong")))
        self.assertEqual(self.error(AuthenticationError).reply_code, 403)

    def test_nobody_listens(self) -> None:
        connection = self.connect(txpika.ConnectionParameters(hosts=[("127.0.0.1", free_port()), ("127.0.0.1", 1)]))
        error = self.error(ConnectFailed)
        self.assertEqual(str(error).count("127.0.0.1: "), 2)
        self.assertIsInstance(error.__cause__, ConnectionRefusedError)
        self.assertTrue(connection.is_closed)
        self.assertIn("closed", repr(connection))
        self.assertIs(type(self.assertRaises(ConnectFailed, connection.channel)), ConnectFailed)

    def test_the_next_host(self) -> None:
        parameters = self.live()
        hosts = [("127.0.0.1", free_port()), (parameters.host, parameters.port)]
        for _ in range(4):  # in whichever order they are tried
            connection = self.open(self.live(host=None, port=None, hosts=hosts))
            self.leave(connection)
            self.heard.clear()

    def test_a_host_that_says_nothing(self) -> None:
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        connection = self.connect(
            txpika.ConnectionParameters("127.0.0.1", silent.getsockname()[1], connection_timeout=0.2)
        )
        self.error(HandshakeTimeout)
        self.assertTrue(connection.is_closed)

    def test_tls_with_a_host_that_says_nothing(self) -> None:
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        port = silent.getsockname()[1]
        self.connect(txpika.ConnectionParameters("127.0.0.1", port, tls=TLSOptions(), connection_timeout=0.2))
        self.assertIn("timed out", str(self.error(ConnectFailed)))

    # The end

    def test_closed_while_dialling(self) -> None:
        connection = self.connect(self.live())
        connection.close()
        connection.close()
        self.error(NotConnected)
        self.later(0.05, lambda: self.heard.append(("later",)))
        self.until_heard("error", "later")

    def test_closed_at_each_step_of_connecting(self) -> None:
        """Whatever is under way ends, one end is told, and no socket is left open."""
        slow = SlowBroker()
        self.addCleanup(slow.close)
        parameters = txpika.ConnectionParameters("127.0.0.1", slow.port)

        def close_after(steps: int) -> None:
            connection = self.connect(parameters)
            left = iter(range(steps))
            self.until(lambda: next(left, None) is None)
            connection.close()
            self.until(lambda: connection.is_closed)
            self.until_heard("error")
            self.heard.clear()

        before = 0

        def count() -> bool:
            nonlocal before
            before = open_sockets()
            return True

        close_after(3)  # a loop may open some of its own at first
        self.until(count)  # or while it runs
        for steps in range(12):
            close_after(steps)
        self.until(lambda: open_sockets() <= before)

    def test_closed_during_the_handshake(self) -> None:
        slow = SlowBroker()
        self.addCleanup(slow.close)
        connection = self.connect(txpika.ConnectionParameters("127.0.0.1", slow.port))
        self.until(lambda: connection.bytes_sent)
        connection.close()
        self.error(ConnectionClosed)

    def test_closed_while_closing(self) -> None:
        connection = self.open()
        connection.close(320, "the first")
        self.assertTrue(connection.is_closing)
        connection.close(541, "the second")
        self.until_heard("open", "close")
        self.assertEqual(self.heard[1][1], (320, "the first"))

    def test_closed_by_the_operator(self) -> None:
        connection = self.open()
        closed: list[Any] = []
        connection.channel(lambda channel: self.heard.append(("channel",))).add_on_close_callback(
            lambda code, text: closed.append(code)
        )
        self.until_heard("open", "channel")
        broker.ctl("close_all_connections", "for a test")
        self.until_heard("open", "channel", "close")
        self.assertEqual(closed, [320])
        self.assertIn("for a test", self.heard[2][1][1])
        self.assertIsInstance(connection.reason, ConnectionClosed)
        self.assertEqual(connection.reason.initiator, "peer")

    def test_the_peer_is_gone(self) -> None:
        slow = SlowBroker()
        self.addCleanup(slow.close)
        connection = self.connect(txpika.ConnectionParameters("127.0.0.1", slow.port))
        self.until(lambda: slow.turn() or self.heard)
        slow.close()
        self.until_heard("open", "close")
        self.assertIn("the network connection was lost", str(connection.reason))

    def test_the_loop_goes_on(self) -> None:
        self.leave(self.open())
        self.later(0.01, lambda: self.heard.append(("later",)))
        self.until_heard("open", "close", "later")

    def test_connects_again(self) -> None:
        connection = self.open()
        self.leave(connection)
        connection.reconnect()
        self.until_heard("open", "close", "open")
        self.exchange(connection, 10, 10)

    # Time, threads, pressure

    def test_heartbeats(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that this is short
            parameters = self.live(heartbeat=1)
        connection = self.open(parameters)
        self.assertEqual(connection.heartbeat, 1)
        sent, received = connection.bytes_sent, connection.bytes_received
        self.until(lambda: connection.bytes_sent >= sent + 24 and connection.bytes_received >= received + 16)
        self.assertTrue(connection.is_open)

    def test_timers(self) -> None:
        connection = self.open()
        connection.remove_timeout(connection.add_timeout(0.01, lambda: self.heard.append(("never",))))
        fired = connection.add_timeout(0.02, lambda: self.heard.append(("timer",)))
        self.until_heard("open", "timer")
        connection.remove_timeout(fired)

    def test_another_thread(self) -> None:
        connection = self.open()
        threads: list[int] = []

        def call_in() -> None:
            for _ in range(100):
                connection.add_callback_threadsafe(lambda: threads.append(threading.get_ident()))

        thread = threading.Thread(target=call_in)
        connection.add_timeout(0.01, thread.start)  # when the loop has nothing else to do
        self.until(lambda: len(threads) == 100)
        thread.join()
        self.assertEqual(set(threads), {threading.get_ident()})

    def test_a_peer_that_does_not_read(self) -> None:
        slow = SlowBroker()
        self.addCleanup(slow.close)
        connection = self.connect(txpika.ConnectionParameters("127.0.0.1", slow.port))
        opened: list[Any] = []
        pressure: list[int] = []
        self.until(lambda: slow.turn() or self.heard)
        channel = connection.channel(opened.append)
        self.until(lambda: slow.turn() or opened)
        connection.add_backpressure_callback(lambda: pressure.append(len(connection.outbound_buffer)))
        body = bytes(50_000)
        for _ in range(400):
            channel.basic_publish("", "q", body)
        self.until(lambda: pressure)
        self.later(0.02, lambda: self.heard.append(("later",)))
        self.until(lambda: len(self.heard) > 1)
        self.assertLess(len(connection.outbound_buffer), 1_000_000, "the engine holds what is too much")
        self.assertLess(slow.received, 400 * len(body))
        self.until(lambda: slow.turn() or slow.received == 400 * len(body))
        connection.flush_outbound()
        self.assertEqual(len(connection.outbound_buffer), 0)
        connection.close()
        self.until(lambda: slow.turn() or connection.is_closed)

    # TLS

    def secure(self, port: str, **more: Any) -> Any:
        """@return: Parameters for the broker with TLS."""
        secure = secure_broker(os.path.join(os.getcwd(), "authority"))
        tls = TLSOptions(cafile=secure.authority.cafile, **more)
        return self.live(host="localhost", port=getattr(secure, port), tls=tls)

    def test_tls(self) -> None:
        self.exchange(self.open(self.secure("port")), 1000, 3000)

    def test_tls_for_another_host(self) -> None:
        self.connect(self.secure("other_port"))
        self.assertIn("certificate", str(self.error(TLSVerifyError)))

    def test_tls_by_another_name(self) -> None:
        self.open(self.secure("other_port", server_name="example.org"))

    def test_tls_out_of_date(self) -> None:
        self.connect(self.secure("expired_port"))
        self.assertIn("expired", str(self.error(TLSVerifyError)))

    def test_tls_without_the_file(self) -> None:
        self.connect(txpika.ConnectionParameters("localhost", 1, tls=TLSOptions(cafile="/nowhere/ca.pem")))
        self.assertIn("No such file", str(self.error(ConnectFailed)))
