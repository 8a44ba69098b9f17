"""Tests for connections on loops of asyncio."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import txpika
from txpika.adapters.asyncio_connection import AsyncioConnection, current_loop
from txpika.adapters.asyncio_transport import HAND_ON, AsyncioClock, TransportAdapter
from txpika.adapters.sockets import HIGH_WATER, LOW_WATER
from txpika.core.backpressure import Backpressure
from txpika.exceptions import AuthenticationError, ConnectFailed, ConnectionClosed
from txpika.interfaces import IClock, IPromptTransport
from txpika.test import foreign
from txpika.test.socket_pair import arrived, socket_pair


async def true(condition: Callable[[], object]) -> None:
    """
    Until it is so; it is looked at each turn of the loop.

    @raise TimeoutError: after 30 seconds.
    """
    async with asyncio.timeout(foreign.DEADLINE):
        while not condition():
            await asyncio.sleep(0.0005)


class AsyncioConnectionTests(foreign.AdapterTests):
    """On the standard library's loop, which is the program's."""

    kind = AsyncioConnection

    def setUp(self) -> None:
        super().setUp()
        self.loop = self.make_loop()
        self.addCleanup(self.loop.close)

    def make_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def connect(self, parameters: Any, **more: Any) -> Any:
        return super().connect(parameters, custom_ioloop=self.loop, **more)

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until_complete(true(condition))

    def later(self, delay: float, function: Callable[[], object]) -> None:
        self.loop.call_later(delay, function)


class UvloopConnectionTests(AsyncioConnectionTests):
    """On a loop that is not the standard library's."""

    def make_loop(self) -> asyncio.AbstractEventLoop:
        try:
            import uvloop
        except ImportError:
            raise SkipTest("there is no uvloop") from None
        return uvloop.new_event_loop()


class WhichLoopTests(foreign.LoopTestCase):
    """A connection that is not told its loop."""

    kind = AsyncioConnection

    def setUp(self) -> None:
        super().setUp()
        asyncio.set_event_loop(None)
        self.addCleanup(asyncio.set_event_loop, None)
        self.nobody = txpika.ConnectionParameters("127.0.0.1", foreign.free_port())

    def test_the_one_that_runs(self) -> None:
        async def main() -> tuple[object, object]:
            connection = AsyncioConnection(
                self.nobody, on_open_error_callback=lambda connection, error: self.heard.append(error)
            )
            await true(lambda: self.heard)
            return connection.ioloop, asyncio.get_running_loop()

        theirs, ours = asyncio.run(main())
        self.assertIs(theirs, ours)
        self.assertIsInstance(self.heard[0], ConnectFailed)

    def test_the_threads_own(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        asyncio.set_event_loop(loop)
        self.assertIs(current_loop(), loop)

    def test_a_new_one_where_there_is_none(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loop = current_loop()
            self.assertIs(current_loop(), loop)
            loop.close()
            other = current_loop()
        self.addCleanup(other.close)
        self.assertIsNot(other, loop)

    def test_a_program_without_a_loop(self) -> None:
        def failed(connection: Any, error: Exception) -> None:
            self.heard.append(error)
            connection.ioloop.stop()

        connection = AsyncioConnection(self.nobody, on_open_error_callback=failed)
        self.addCleanup(connection.ioloop.close)
        connection.ioloop.call_later(foreign.DEADLINE, connection.ioloop.stop)
        connection.ioloop.run_forever()
        self.assertIsInstance(self.heard[0], ConnectFailed)

    def test_no_loop_at_all(self) -> None:
        wrong: Any = txpika.IOLoop
        error = self.assertRaises(TypeError, AsyncioConnection, custom_ioloop=wrong)
        self.assertIn("custom_ioloop must be a loop of asyncio", str(error))

    def test_an_end_that_nobody_hears_of(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        told: list[Any] = []
        loop.set_exception_handler(lambda loop, context: told.append(context))
        connection = AsyncioConnection(self.nobody, custom_ioloop=loop)
        loop.run_until_complete(true(lambda: told))
        self.assertIs(told[0]["exception"], connection.reason)
        self.assertIn("cannot connect to 127.0.0.1", told[0]["message"])


class DiallingTests(foreign.LoopTestCase):
    """Who does not answer."""

    kind = AsyncioConnection

    def setUp(self) -> None:
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.found: dict[str, list[Any]] = {}
        real = self.loop.getaddrinfo

        async def look_up(host: str, port: int, **kind: Any) -> Any:
            if host == "hangs":
                await asyncio.Event().wait()
            if host in self.found:
                return self.found[host]
            return await real(host, port, **kind)

        self.patch(self.loop, "getaddrinfo", look_up)

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until_complete(true(condition))

    def connect(self, parameters: Any, **more: Any) -> Any:
        return super().connect(parameters, custom_ioloop=self.loop, **more)

    def test_a_name_that_is_none(self) -> None:
        host = "x" * 70  # no part of a name may be so long
        self.connect(txpika.ConnectionParameters(host))
        self.assertIn(host, str(self.error(ConnectFailed)))

    def test_every_address_of_a_name_and_those_that_do_not_answer_take_their_share(self) -> None:
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        for _ in range(4):  # fill its backlog: the next one gets no answer
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
            self.addCleanup(waiting.close)
        slow = foreign.SlowBroker()
        self.addCleanup(slow.close)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        refused = ("127.0.0.1", foreign.free_port())
        self.found["broker"] = [(*kind, refused), (*kind, full.getsockname()), (*kind, ("127.0.0.1", slow.port))]
        connection = self.connect(txpika.ConnectionParameters(hosts=["hangs", "broker"], connection_timeout=2))
        self.until(lambda: slow.turn() or self.heard)
        self.until_heard("open")
        connection.close()
        self.until(lambda: slow.turn() or connection.is_closed)

    def test_what_a_loop_of_its_own_kind_raises(self) -> None:
        async def fails(*arguments: Any, **more: Any) -> Any:
            raise NotImplementedError("not on this loop")

        self.patch(self.loop, "create_connection", fails)
        slow = foreign.SlowBroker()
        self.addCleanup(slow.close)
        self.connect(txpika.ConnectionParameters("127.0.0.1", slow.port))
        self.assertIn("not on this loop", str(self.error(ConnectFailed)))


class CredentialsTests(foreign.LoopTestCase):
    """A function for credentials that takes its time."""

    kind = AsyncioConnection

    def setUp(self) -> None:
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        self.slow = foreign.SlowBroker()
        self.addCleanup(self.slow.close)

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until_complete(true(lambda: self.slow.turn() or condition()))

    def ask(self, function: Callable[[], object]) -> Any:
        """@return: A connection that gets its credentials there."""
        parameters = txpika.ConnectionParameters("127.0.0.1", self.slow.port, credentials=function)
        return self.connect(parameters, custom_ioloop=self.loop)

    def test_awaited(self) -> None:
        async def ask() -> Any:
            await asyncio.sleep(0)
            return txpika.PlainCredentials("me", "secret")

        self.ask(ask)
        self.until_heard("open")

    def test_it_fails(self) -> None:
        async def ask() -> Any:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        self.ask(ask)
        error = self.error(AuthenticationError)
        self.assertIn("ZeroDivisionError", str(error))

    def test_what_is_none(self) -> None:
        async def ask() -> Any:
            return "guest"

        self.ask(ask)
        self.assertIn("gave str, not ICredentials", str(self.error(AuthenticationError)))

    def test_it_is_not_waited_for_after_the_end(self) -> None:
        asked: list[bool] = []
        given_up: list[bool] = []

        async def ask() -> Any:
            asked.append(True)
            try:
                await asyncio.Event().wait()
            finally:
                given_up.append(True)

        connection = self.ask(ask)
        self.until(lambda: asked)
        connection.close()
        self.error(ConnectionClosed)
        self.until(lambda: given_up)


class FakeCore:
    """Who uses the transport."""

    def __init__(self) -> None:
        self.bytes_sent, self.frames_sent = 100, 10
        self.backpressure = Backpressure(self)
        self.received = b""
        self.lost: list[BaseException | None] = []
        self.flow: list[str] = []
        self.reads: list[int] = []
        self.read_size = 1000

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.reads.append(len(data))
        self.read_size = 65536

    def connection_lost(self, reason: BaseException | None) -> None:
        self.lost.append(reason)

    def pauseProducing(self) -> None:
        self.flow.append("pause")

    def resumeProducing(self) -> None:
        self.flow.append("resume")


class UnderIt(asyncio.Transport):
    """Stands for a transport of asyncio."""

    def __init__(self, written: Callable[[], object]) -> None:
        super().__init__()
        self.written = written
        self.taken: list[bytes] = []
        self.waiting = 0
        self.closing = False

    def write(self, data: Any) -> None:
        self.taken.append(bytes(data))
        self.written()

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


class TransportAdapterTests(SynchronousTestCase):
    """One end of a pair of sockets is asyncio's, the other the test's."""

    def setUp(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)
        ours, self.peer = socket_pair(self)
        self.core = FakeCore()
        core: Any = self.core
        self.transport = TransportAdapter(self.loop, core, lambda transport: None)
        maker: Any = self.loop
        self.loop.run_until_complete(maker.create_connection(lambda: self.transport, sock=ours))
        self.transport.registerProducer(self.core, True)
        self.addCleanup(self.until, lambda: self.core.lost)
        self.addCleanup(self.transport.abortConnection)

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_until_complete(true(condition))

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def take(self) -> bytes:
        """What has arrived at the other end."""
        return arrived(self.peer)

    def take_all(self, size: int) -> bytes:
        taken = b""

        def enough() -> bool:
            nonlocal taken
            taken += self.take()
            return len(taken) >= size

        self.until(enough)
        return taken

    def test_interfaces(self) -> None:
        self.assertTrue(verifyObject(IPromptTransport, self.transport))
        clock = AsyncioClock(self.loop)
        called: list[int] = []
        clock.callLater(0.001, called.append, 1)
        clock.callLater(0.001, called.append, 2).cancel()
        begin = clock.seconds()
        self.until(lambda: called)
        self.assertEqual((called, clock.seconds() > begin), ([1], True))
        for name in IClock.names():
            self.assertTrue(callable(getattr(clock, name)))

    def test_what_is_written_in_a_turn_leaves_together(self) -> None:
        for piece in (b"a", b"b", b"c"):
            self.transport.write(piece)
        self.assertEqual((self.take(), self.transport.buffered), (b"", 3))
        self.turn()
        self.assertEqual((self.take(), self.transport.buffered), (b"abc", 0))

    def test_write_now(self) -> None:
        self.transport.writeNow(b"now")
        self.assertEqual((self.take(), self.transport.buffered), (b"now", 0))

    def test_write_now_overtakes_nothing(self) -> None:
        self.transport.write(b"a")
        self.transport.writeNow(b"b")
        self.transport.write(b"c")
        self.assertEqual(self.take(), b"")
        self.turn()
        self.assertEqual((self.take(), self.transport.buffered), (b"abc", 0))

    def test_more_now_than_the_network_takes(self) -> None:
        pressure: list[int] = []
        self.core.backpressure.add_callback(lambda: pressure.append(self.transport.buffered))
        data = bytes(range(256)) * (2 * HIGH_WATER // 256)
        self.transport.writeNow(data)
        self.assertEqual(self.core.flow, ["pause"])
        self.assertTrue(pressure)
        self.transport.writeNow(b"behind")
        self.assertEqual(self.take_all(len(data) + 6), data + b"behind")
        self.assertEqual((self.core.flow, self.transport.buffered), (["pause", "resume"], 0))

    def test_write_now_after_the_end(self) -> None:
        self.transport.abortConnection()
        self.transport.writeNow(b"too late")
        self.until(lambda: self.core.lost)
        self.transport.writeNow(b"too late")
        self.assertEqual((self.take(), self.transport.buffered), (b"", 0))

    def test_reads_as_much_as_the_engine_asks_for(self) -> None:
        self.peer.send(bytes(5000))
        self.until(lambda: len(self.core.received) == 5000)
        self.assertEqual(self.core.reads, [1000, 4000])

    def test_more_than_the_network_takes(self) -> None:
        pressure: list[int] = []
        self.core.backpressure.add_callback(lambda: pressure.append(self.transport.buffered))
        data = bytes(range(256)) * (3 * HIGH_WATER // 256)
        for start in range(0, len(data), 10_000):
            self.transport.write(data[start : start + 10_000])
        self.turn()
        self.assertEqual(self.core.flow, ["pause"])
        self.assertGreater(self.transport.buffered, HIGH_WATER)
        self.assertTrue(pressure)
        self.assertEqual(self.take_all(len(data)), data)
        self.assertEqual((self.core.flow, self.transport.buffered), (["pause", "resume"], 0))

    def test_asyncio_is_given_a_little_at_a_time(self) -> None:
        data = bytes(range(256)) * (16 * HAND_ON // 256)
        self.transport.write(data)
        self.turn()
        self.assertLessEqual(self.transport._transport.get_write_buffer_size(), HAND_ON)
        self.assertGreater(self.transport.buffered, 15 * HAND_ON)
        self.transport.write(b"behind")
        self.transport.writeNow(b"it")
        self.assertEqual(self.take_all(len(data) + 8), data + b"behindit")
        self.assertEqual((self.core.flow, self.transport.buffered), (["pause", "resume"], 0))

    def test_a_transport_that_takes_more_while_it_is_written_to(self) -> None:
        """As asyncio's own over TLS, which wants no more and then does, from inside of one call."""

        def hasty() -> None:
            adapter.pause_writing()
            adapter.resume_writing()

        adapter, under = self.over(hasty)
        data = bytes(range(256)) * (5 * HAND_ON // 512)
        for piece in (b"first", data, b"second", data):
            adapter.write(piece)
        self.turn()
        self.assertEqual((b"".join(under.taken), adapter.buffered), (b"first" + data + b"second" + data, 0))

    def over(self, written: Callable[[], object]) -> tuple[TransportAdapter, UnderIt]:
        """@return: An adapter over a transport that calls C{written} from inside of each write."""
        core: Any = self.core
        adapter, under = TransportAdapter(self.loop, core, lambda transport: None), UnderIt(written)
        adapter.connection_made(under)
        adapter.registerProducer(self.core, True)
        return adapter, under

    def test_a_transport_that_breaks_while_it_is_written_to(self) -> None:
        """asyncio logs each further write."""
        adapter, under = self.over(lambda: setattr(under, "closing", True))
        adapter.write(bytes(9 * HAND_ON))
        self.assertEqual((len(under.taken), self.core.flow), (1, []))
        adapter.connection_lost(ConnectionResetError())
        self.assertEqual(adapter.buffered, 0)

    def test_a_transport_that_breaks_lets_nobody_go_on(self) -> None:
        adapter, under = self.over(lambda: setattr(under, "waiting", HIGH_WATER + 1))
        adapter.write(bytes(HAND_ON))
        under.written = lambda: under.__dict__.update(waiting=0, closing=True)
        adapter.write(bytes(2 * HAND_ON))
        self.assertEqual((self.core.flow, adapter.buffered), (["pause"], 0))

    def test_who_is_told_of_pressure_relieves_it(self) -> None:
        """What counts is how much waits afterwards."""
        adapter, under = self.over(lambda: setattr(under, "waiting", HIGH_WATER + 1))
        self.core.backpressure.add_callback(lambda: setattr(under, "waiting", 0))
        adapter.writeNow(b"x")
        self.assertEqual(self.core.flow, [])

    def test_who_is_told_of_pressure_adds_to_it(self) -> None:
        waiting = HIGH_WATER + 1
        adapter, under = self.over(lambda: setattr(under, "waiting", waiting))
        adapter.writeNow(b"x")
        self.assertEqual(self.core.flow, ["pause"])
        self.core.backpressure.add_callback(lambda: setattr(under, "waiting", HIGH_WATER))
        waiting = 1000
        adapter.writeNow(b"x")
        self.assertEqual(self.core.flow, ["pause"])

    def test_ended_by_who_is_told_of_pressure(self) -> None:
        adapter, under = self.over(lambda: setattr(under, "waiting", 1000))
        self.core.backpressure.add_callback(adapter.abortConnection)
        adapter.pause_writing()
        adapter.write(bytes(2 * HAND_ON))
        adapter.write(b"behind")
        adapter.resume_writing()
        self.assertEqual((sum(map(len, under.taken)), adapter.buffered), (2 * HAND_ON + 6, 0))

    def test_what_waits_behind_is_bounded_in_one_turn(self) -> None:
        self.transport.write(bytes(HIGH_WATER))
        self.assertEqual(self.core.flow, [], "the network took some")
        for _ in range(2 * HIGH_WATER // 1000):
            self.transport.write(bytes(1000))
            if self.core.flow:
                break
        self.assertEqual(self.core.flow, ["pause"])
        self.assertLessEqual(self.transport._size, HIGH_WATER + 1000)

    def test_goes_on_at_the_low_mark(self) -> None:
        self.transport.write(bytes(HIGH_WATER + LOW_WATER))
        self.turn()
        while "resume" not in self.core.flow:
            self.assertEqual(self.core.flow, ["pause"])
            self.peer.recv(8192)
            self.turn()
        self.assertLessEqual(self.transport.buffered, LOW_WATER)

    def test_no_producer_no_word(self) -> None:
        self.transport.unregisterProducer()
        self.transport.write(bytes(2 * HIGH_WATER))
        self.turn()
        self.take_all(2 * HIGH_WATER)
        self.assertEqual(self.core.flow, [])

    def test_pause_reading(self) -> None:
        self.transport.pauseProducing()
        self.transport.pauseProducing()
        self.peer.send(b"x")
        self.turn()
        self.turn()
        self.assertEqual(self.core.received, b"")
        self.transport.resumeProducing()
        self.transport.resumeProducing()
        self.until(lambda: self.core.received)

    def test_lose_connection_sends_what_waits(self) -> None:
        data = bytes(range(256)) * (4 * HAND_ON // 256)
        self.transport.write(data)
        self.transport.write(b"behind")
        self.transport.loseConnection()
        self.transport.write(b"too late")
        self.assertEqual(self.core.lost, [])
        self.assertEqual(self.take_all(len(data) + 6), data + b"behind")
        self.until(lambda: self.core.lost)
        self.assertEqual((self.core.lost, self.peer.recv(1)), ([None], b""))

    def test_abort(self) -> None:
        self.transport.write(b"never sent")
        self.transport.abortConnection()
        self.assertEqual(self.core.lost, [], "not from inside the call")
        self.until(lambda: self.core.lost)
        self.transport.abortConnection()
        self.transport.loseConnection()
        self.transport.flush()
        self.transport.resumeProducing()
        self.turn()
        self.assertEqual((self.core.lost, self.take(), self.transport.buffered), ([None], b"", 0))

    def test_the_peer_closes(self) -> None:
        self.peer.send(b"last words")
        self.peer.close()
        self.until(lambda: self.core.lost)
        self.assertEqual((self.core.received, str(self.core.lost[0])), (b"last words", "the peer closed it"))

    def test_the_peer_is_gone_while_writing(self) -> None:
        self.peer.close()
        self.transport.pauseProducing()
        self.transport.write(b"x")
        self.until(lambda: self.core.lost)
        self.assertIsInstance(self.core.lost[0], OSError)
