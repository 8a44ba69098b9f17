"""Tests for sockets as transports, and for how they get connected, on real sockets of this machine."""

from __future__ import annotations

import gc
import os
import socket
import ssl
from collections.abc import Callable
from errno import ECONNREFUSED
from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika.adapters.dial import Dialling
from txpika.adapters.loop import IOLoop
from txpika.adapters.sockets import HIGH_WATER, LOW_WATER, SocketTransport
from txpika.adapters.stdlib_tls import make_context
from txpika.interfaces import IPromptTransport
from txpika.test.counting import SKIP, Growth
from txpika.test.socket_pair import arrived, socket_pair
from txpika.tls import TLSOptions


class SocketsTestCase(SynchronousTestCase):
    """A loop, and waiting for something to be so on it."""

    def setUp(self) -> None:
        self.loop = self.make_loop()
        self.addCleanup(self.loop.close)

    def make_loop(self) -> IOLoop:
        """Others have other loops."""
        return IOLoop("select")

    def until(self, condition: Callable[[], object]) -> None:
        """Run the loop until it is so; fail after 10 seconds."""
        expired = self.loop.callLater(10, lambda: self.fail("nothing happened for 10 seconds"))
        while not condition():
            self.assertIsNotNone(expired.function, "nothing happened for 10 seconds")
            self.loop.run_once(1)
        expired.cancel()


class TransportTests(SocketsTestCase):
    """One end of a pair of sockets is the transport's, the other the test's."""

    read_size = 64 * 1024

    def setUp(self) -> None:
        super().setUp()
        ours, self.peer = socket_pair(self)
        self.received = b""
        self.lost: list[BaseException | None] = []
        self.flow: list[str] = []
        self.transport = SocketTransport(ours, self.loop, self)
        self.transport.registerProducer(self, True)

    # The stream and the producer
    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, reason: BaseException | None) -> None:
        self.lost.append(reason)

    def pauseProducing(self) -> None:
        self.flow.append("pause")

    def resumeProducing(self) -> None:
        self.flow.append("resume")

    def take(self, limit: int = 1 << 30) -> bytes:
        """What has arrived at the other end."""
        return arrived(self.peer, limit)

    def take_all(self, size: int) -> bytes:
        taken = b""

        def enough() -> bool:
            nonlocal taken
            taken += self.take()
            return len(taken) >= size

        self.until(enough)
        return taken

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IPromptTransport, self.transport))

    def test_what_is_written_in_a_turn_leaves_together(self) -> None:
        for piece in (b"a", b"b", b"c"):
            self.transport.write(piece)
        self.assertEqual(self.take(), b"")
        self.loop.run_once(0)
        self.assertEqual((self.take(), self.transport.buffered), (b"abc", 0))

    def test_the_loop_is_run_from_inside_of_what_takes_bytes(self) -> None:
        """As by a signal's handler: the stream gets one read after the other, and all of it."""
        inside: list[int] = []

        def data_received(data: bytes) -> None:
            self.assertEqual(inside, [])
            inside.append(1)
            if len(self.received) < 3:
                self.peer.send(b"%d" % len(self.received))
                self.loop.run_once(0)
            self.received += data
            inside.pop()

        self.patch(self, "data_received", data_received)
        self.peer.send(b"x")
        self.until(lambda: len(self.received) == 4)
        self.assertEqual(self.received, b"x012")

    def test_a_signal_raises_in_the_midst(self) -> None:
        """How many of the bytes were dealt with is not known then: it is the end, not a gap among them."""

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(self, "data_received", interrupted)
        self.peer.send(b"x")
        self.assertRaises(KeyboardInterrupt, self.until, lambda: self.lost)
        self.until(lambda: self.lost)
        self.setUp()
        self.transport.write(b"x")
        broken = SimpleNamespace(send=interrupted, close=self.transport._socket.close)
        self.transport._socket = cast(socket.socket, broken)
        self.assertRaises(KeyboardInterrupt, self.transport.flush)
        self.until(lambda: self.lost)
        self.assertIn("KeyboardInterrupt", str(self.lost))

    def test_abandoned(self) -> None:
        """The descriptor is closed, and that is all: the loop, and the peer, are another process's."""
        fd = self.transport._fd
        other = os.dup(fd)
        self.addCleanup(os.close, other)
        self.transport.write(b"never")
        self.transport.abandon()
        self.transport.write(b"never")
        self.transport.flush()
        self.assertRaises(OSError, os.fstat, fd)
        self.assertEqual((self.take(), self.lost), (b"", []))
        os.write(other, b"x")
        self.assertEqual(self.take(), b"x")

    def test_a_flush_leaves_nothing_to_do_for_the_loop(self) -> None:
        timeouts = self.timeouts()
        self.transport.write(b"a")
        self.transport.flush()
        self.loop.run_once(10)
        self.transport.write(b"b")
        self.loop.run_once(10)
        self.assertEqual(timeouts, [10, 0])
        self.transport.write(b"c")
        self.transport.flush()
        self.transport.write(b"d")
        self.loop.run_once(10)
        self.loop.run_once(10)
        self.assertEqual(timeouts, [10, 0, 0, 10])
        self.assertEqual(self.take(), b"abcd")

    def timeouts(self) -> list[float]:
        """How long the loop would wait, each time, from now on: it does not."""
        timeouts: list[float] = []

        def wait(timeout: float) -> list[tuple[int, int]]:
            timeouts.append(timeout)
            return []

        self.patch(self.loop.poller, "wait", wait)
        return timeouts

    def test_write_now(self) -> None:
        timeouts = self.timeouts()
        self.transport.writeNow(b"now")
        self.assertEqual((self.take(), self.transport.buffered), (b"now", 0))
        self.loop.run_once(10)
        self.assertEqual(timeouts, [10])

    def test_write_now_overtakes_nothing(self) -> None:
        self.transport.write(b"a")
        self.transport.writeNow(b"b")
        self.transport.write(b"c")
        self.assertEqual(self.take(), b"")
        self.loop.run_once(0)
        self.assertEqual(self.take(), b"abc")

    def test_more_now_than_the_network_takes(self) -> None:
        data = os.urandom(2 * HIGH_WATER)
        self.transport.writeNow(data)
        self.assertEqual(self.flow, ["pause"])
        self.transport.writeNow(b"behind")
        self.assertEqual(self.take_all(len(data) + 6), data + b"behind")
        self.assertEqual((self.flow, self.transport.buffered), (["pause", "resume"], 0))

    def test_write_now_after_the_end(self) -> None:
        self.transport.loseConnection()
        self.transport.writeNow(b"too late")
        self.until(lambda: self.lost)
        self.transport.writeNow(b"too late")
        self.assertEqual((self.take(), self.transport.buffered), (b"", 0))

    def test_broken_while_who_writes_goes_on(self) -> None:
        """What is written from inside of C{resumeProducing} finds out; the stream hears the reason, not of a close."""
        errors: list[OSError] = [BlockingIOError(), ConnectionResetError("gone")]

        def send(data: memoryview) -> int:
            if errors:
                raise errors[0]
            return len(data)

        def recv(size: int) -> bytes:
            raise ConnectionResetError("gone")

        def resume() -> None:
            errors[:] = [ConnectionResetError("gone")]
            self.transport.writeNow(b"x")

        self.addCleanup(self.transport._socket.close)
        fake: Any = SimpleNamespace(send=send, recv=recv, close=lambda: None)
        self.transport._socket = fake
        self.patch(self, "resumeProducing", resume)
        self.transport.writeNow(bytes(HIGH_WATER + 1))
        errors.clear()
        self.transport.flush()
        self.until(lambda: self.lost)
        self.assertIsInstance(self.lost[0], ConnectionResetError)

    def test_held(self) -> None:
        """Between L{hold} and L{flush} the loop has nothing to see to, whatever it had before."""
        timeouts = self.timeouts()
        self.transport.hold()
        self.transport.write(b"a")
        self.transport.write(b"b")
        self.assertEqual(self.take(), b"")
        self.transport.flush()
        self.assertEqual(self.take(), b"ab")
        self.loop.run_once(10)
        self.transport.hold()
        self.transport.flush()
        self.loop.run_once(10)
        self.assertEqual((timeouts, self.loop.in_vain), ([10, 10], 0))

    def test_held_among_what_is_not(self) -> None:
        timeouts = self.timeouts()
        self.transport.write(b"a")
        self.transport.hold()
        self.transport.write(b"b")
        self.transport.flush()
        self.transport.hold()
        self.transport.write(b"c")
        self.transport.flush()
        self.assertEqual(self.take(), b"abc")
        self.loop.run_once(10)
        self.transport.write(b"d")
        self.loop.run_once(10)
        self.assertEqual(self.take(), b"d")
        self.loop.run_once(10)
        self.assertEqual((timeouts, self.loop.in_vain), ([10, 0, 10], 0))

    def test_flush_sends_now(self) -> None:
        self.transport.write(b"now")
        self.transport.flush()
        self.assertEqual(self.take(), b"now")

    def test_reading(self) -> None:
        self.peer.send(b"hello")
        self.until(lambda: self.received)
        self.assertEqual(self.received, b"hello")

    def test_more_than_the_network_takes(self) -> None:
        data = os.urandom(3 * HIGH_WATER)
        step = 10_000
        for start in range(0, len(data), step):
            self.transport.write(data[start : start + step])
        self.assertEqual(self.flow, ["pause"])
        self.assertGreater(self.transport.buffered, HIGH_WATER)
        self.assertEqual(self.take_all(len(data)), data)
        self.assertEqual((self.flow, self.transport.buffered), (["pause", "resume"], 0))

    def test_tells_what_is_left_after_each_flush(self) -> None:
        left: list[int] = []
        self.transport.flushed = left.append
        self.transport.write(b"x")
        self.loop.run_once(0)
        self.assertEqual(left, [])
        self.transport.write(b"x" * HIGH_WATER)
        self.loop.run_once(0)
        self.assertEqual(left, [self.transport.buffered])

    def test_resumes_at_the_low_mark(self) -> None:
        self.transport.write(b"x" * (HIGH_WATER + LOW_WATER))
        self.loop.run_once(0)
        while "resume" not in self.flow:
            self.assertEqual(self.flow, ["pause"])
            self.take(8192)
            self.loop.run_once(0)
        self.assertLessEqual(self.transport.buffered, LOW_WATER)

    def test_a_small_rest_keeps_nothing_else(self) -> None:
        with Growth() as growth:
            self.transport.write(bytes(50 * HIGH_WATER))
            while self.transport.buffered > LOW_WATER:
                self.take(8192)
                self.loop.run_once(0)
        self.assertGreater(self.transport.buffered, 0)
        self.assertLess(growth.size, HIGH_WATER)

    test_a_small_rest_keeps_nothing_else.skip = SKIP  # type: ignore[attr-defined]

    def test_pause_reading(self) -> None:
        self.transport.pauseProducing()
        self.peer.send(b"x")
        self.loop.run_once(0)
        self.assertEqual(self.received, b"")
        self.transport.resumeProducing()
        self.until(lambda: self.received)

    def test_lose_connection_sends_what_waits(self) -> None:
        data = os.urandom(HIGH_WATER)
        self.transport.write(data)
        self.transport.loseConnection()
        self.transport.write(b"too late")
        self.assertEqual(self.lost, [])
        self.assertEqual(self.take_all(len(data)), data)
        self.until(lambda: self.lost)
        self.assertEqual((self.lost, self.peer.recv(1)), ([None], b""))

    def test_abort(self) -> None:
        self.transport.write(b"never sent")
        self.transport.abortConnection()
        self.assertEqual(self.lost, [], "not from inside the call")
        self.until(lambda: self.lost)
        self.transport.abortConnection()
        self.transport.loseConnection()
        self.transport.flush()
        self.loop.run_once(0)
        self.assertIsInstance(self.lost.pop(), ConnectionAbortedError)
        self.assertEqual((self.lost, self.take()), ([], b""))

    def test_the_peer_closes(self) -> None:
        self.peer.send(b"last words")
        self.peer.close()
        self.until(lambda: self.lost)
        self.assertEqual((self.received, str(self.lost[0])), (b"last words", "the peer closed it"))

    def test_the_peer_is_gone_while_writing(self) -> None:
        self.peer.close()
        self.transport.pauseProducing()
        self.transport.write(b"x")
        self.until(lambda: self.lost)
        self.assertIsInstance(self.lost[0], OSError)

    def test_what_the_peer_said_before_it_was_gone_is_read(self) -> None:
        self.peer.send(b"why it closes")
        self.peer.close()
        self.transport.write(b"x")
        self.transport.flush()
        self.until(lambda: self.lost)
        self.assertEqual(self.received, b"why it closes")
        self.assertIsNotNone(self.lost[0])

    def test_aborted_by_whom_it_tells(self) -> None:
        self.peer.send(b"x")
        self.patch(self, "data_received", lambda data: self.transport.abortConnection())
        self.until(lambda: self.lost)


class DiallingTests(SocketsTestCase):
    """Who answers, who does not."""

    def setUp(self) -> None:
        super().setUp()
        real = socket.getaddrinfo

        def look_up(host: str, *arguments: Any, **more: Any) -> Any:
            if host == "nowhere":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real(host, *arguments, **more)

        self.patch(socket, "getaddrinfo", look_up)
        self.results: list[Any] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        self.port = self.server.getsockname()[1]
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.nobody = unused.getsockname()[1]

    def dial(self, *hosts: tuple[str, int], timeout: float = 5) -> Dialling:
        return Dialling(self.loop, hosts, timeout, self.connected, self.results.append)

    def connected(self, sock: socket.socket, host: str) -> None:
        self.addCleanup(sock.close)
        self.results.append((sock.getpeername()[1], host, sock.getblocking()))

    def result(self) -> Any:
        self.until(lambda: self.results)
        self.loop.run_once(0)
        (result,) = self.results
        return result

    def test_connects(self) -> None:
        self.dial(("localhost", self.port))
        self.assertEqual(self.result(), (self.port, "localhost", False))

    def test_refused(self) -> None:
        self.dial(("127.0.0.1", self.nobody))
        ((host, error),) = self.result()
        self.assertEqual((host, error.errno), ("127.0.0.1", ECONNREFUSED))

    def test_the_next_host(self) -> None:
        self.dial(("nowhere", 1), ("127.0.0.1", self.nobody), ("127.0.0.1", self.port))
        self.assertEqual(self.result(), (self.port, "127.0.0.1", False))

    def test_every_failure_is_told(self) -> None:
        self.dial(("nowhere", 1), ("127.0.0.1", self.nobody), ("x" * 300, 1))
        self.assertEqual([host for host, _ in self.result()], ["nowhere", "127.0.0.1", "x" * 300])

    def test_every_address_of_a_name(self) -> None:
        real = socket.getaddrinfo

        def two(host: str, port: int, **kind: Any) -> Any:
            return real("127.0.0.1", self.nobody, **kind) + real("127.0.0.1", port, **kind)

        self.patch(socket, "getaddrinfo", two)
        self.dial(("broker", self.port))
        self.assertEqual(self.result(), (self.port, "broker", False))

    def test_one_that_does_not_answer_takes_its_share_of_the_time(self) -> None:
        silent = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(silent.close)
        port = silent.getsockname()[1]
        for _ in range(4):  # fill its backlog: the next one gets no answer
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            self.addCleanup(waiting.close)
        self.dial(("127.0.0.1", port), ("127.0.0.1", self.port), timeout=0.5)
        self.assertEqual(self.result(), (self.port, "127.0.0.1", False))
        self.results.clear()
        self.dial(("127.0.0.1", port), timeout=0.1)
        ((_, error),) = self.result()
        self.assertIsInstance(error, TimeoutError)

    def test_cancelled(self) -> None:
        gc.collect()  # what earlier tests left would be closed while this one counts
        before = len(os.listdir("/dev/fd"))
        for turns in range(3):
            dialling = self.dial(("127.0.0.1", self.port), ("127.0.0.1", self.nobody))
            for _ in range(turns):
                self.loop.run_once(0)
            dialling.cancel()
            dialling.cancel()
        if not self.results:  # it may have been connected within two turns
            self.assertEqual(len(os.listdir("/dev/fd")), before)
        for _ in range(5):
            self.loop.run_once(0)
        self.assertLessEqual(len(self.results), 1)


class ContextTests(SynchronousTestCase):
    """TLS by the standard library."""

    def test_nobody_is_asked_for_the_password_of_a_key(self) -> None:
        """Without a function OpenSSL asks the terminal, and the loop waits for that."""
        asked: list[Any] = []
        self.patch(ssl.SSLContext, "load_cert_chain", lambda context, cert, key, password=None: asked.append(password))
        make_context(TLSOptions(certfile="mine.pem"))
        make_context(TLSOptions(certfile="mine.pem", keyfile_password="secret"))
        self.assertEqual([password() for password in asked], ["", "secret"])

    def test_a_file_that_is_not_there(self) -> None:
        """PyPy leaves out the text of that error."""

        def load(context: Any, cert: object, key: object, password: object = None) -> None:
            raise FileNotFoundError(2, "")

        self.patch(ssl.SSLContext, "load_cert_chain", load)
        error = self.assertRaises(FileNotFoundError, make_context, TLSOptions(certfile="mine.pem"))
        self.assertIn("No such file", str(error))
