"""Tests for connections among dispatchers of asyncore, in our loop and in its own."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import txpika
from txpika.adapters.asyncore_connection import AsyncoreConnection
from txpika.adapters.asyncore_loop import AsyncoreLoop, import_asyncore
from txpika.adapters.loop import IOLoop
from txpika.exceptions import ConnectFailed
from txpika.test import foreign, test_loop, test_sockets

asyncore = import_asyncore()


class LoopTests(test_loop.LoopTests):
    """L{AsyncoreLoop} does what our own loop does."""

    def make_loop(self) -> IOLoop:
        return AsyncoreLoop()


class TransportTests(test_sockets.TransportTests):
    """Sockets on it."""

    def make_loop(self) -> IOLoop:
        return AsyncoreLoop()


class DiallingTests(test_sockets.DiallingTests):
    """Dialling on it."""

    def make_loop(self) -> IOLoop:
        return AsyncoreLoop()


class AsyncoreConnectionTests(foreign.AdapterTests):
    """The connection's loop runs."""

    kind = AsyncoreConnection

    def setUp(self) -> None:
        super().setUp()
        self.loop = AsyncoreLoop()
        self.addCleanup(self.assertEqual, asyncore.socket_map, {})
        self.addCleanup(self.loop.close)

    def connect(self, parameters: Any, **more: Any) -> Any:
        return super().connect(parameters, custom_ioloop=self.loop, **more)

    def turn(self) -> None:
        self.loop.run_once(0.001)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + foreign.DEADLINE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it took too long")
            self.turn()

    def later(self, delay: float, function: Callable[[], object]) -> None:
        self.loop.callLater(delay, function)


class ProgramsLoopTests(AsyncoreConnectionTests):
    """The program runs C{asyncore.loop()}, which waits with C{select(2)}."""

    use_poll = False

    def turn(self) -> None:
        asyncore.loop(0.001, self.use_poll, count=1)


class ProgramsPollLoopTests(ProgramsLoopTests):
    """The program has it wait with C{poll(2)}."""

    use_poll = True


class TogetherTests(foreign.LoopTestCase):
    """A connection and dispatchers of the program."""

    kind = AsyncoreConnection

    def setUp(self) -> None:
        super().setUp()
        self.slow = foreign.SlowBroker()
        self.addCleanup(self.slow.close)
        self.parameters = txpika.ConnectionParameters("127.0.0.1", self.slow.port)
        self.nobody = txpika.ConnectionParameters("127.0.0.1", foreign.free_port())
        self.loop = AsyncoreLoop.instance()
        self.addCleanup(self.assertEqual, asyncore.socket_map, {})
        self.addCleanup(self.loop.close)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + foreign.DEADLINE
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it took too long")
            self.loop.run_once(0.01)

    def dispatcher(self, heard: Callable[[bytes], object]) -> socket.socket:
        """@return: Where to write what a dispatcher of the program hears."""

        class Listening(asyncore.dispatcher):  # type: ignore[misc, name-defined]
            def handle_read(self) -> None:
                heard(self.recv(100))

            def writable(self) -> bool:
                return False

        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(Listening(theirs).close)
        return ours

    def test_our_loop_serves_dispatchers(self) -> None:
        def heard(data: bytes) -> None:
            self.heard.append(data)
            connection.close()

        connection = self.connect(self.parameters)
        self.assertIs(connection.ioloop, self.loop)
        connection.add_on_open_error_callback(lambda connection, error: self.loop.stop())
        line = self.dispatcher(heard)
        line.send(b"from the program")
        self.loop.start()
        self.assertEqual(self.heard[0], b"from the program")
        self.assertEqual(self.heard[1][0], "error")

    def test_asyncores_loop_serves_us_and_ends_with_us(self) -> None:
        connection = self.connect(self.nobody)
        asyncore.loop(foreign.DEADLINE)
        self.error(ConnectFailed)
        connection.reconnect()
        asyncore.loop(foreign.DEADLINE, use_poll=True)
        self.assertEqual([word for word, *_ in self.heard], ["error", "error"])

    def test_it_does_not_end_while_there_is_something_to_do(self) -> None:
        connection = self.connect(self.nobody)
        self.loop.callLater(3600, lambda: None).cancel()
        connection.add_timeout(0.05, lambda: self.heard.append(("timer",)))
        connection.remove_timeout(connection.add_timeout(3600, lambda: self.heard.append(("never",))))
        asyncore.loop(0.01)
        self.assertEqual([word for word, *_ in self.heard], ["error", "timer"])

    def test_a_timer_of_a_connection_that_waits_to_connect_again(self) -> None:
        strategy = txpika.SimpleReconnectionStrategy(initial_retry_delay=0.01)
        connection = self.connect(self.nobody, reconnection_strategy=strategy)
        connection.add_on_open_error_callback(lambda connection, error: len(self.heard) > 2 and connection.close())
        asyncore.loop(0.01)
        self.assertEqual([word for word, *_ in self.heard], ["error", "error", "error"])

    def test_it_does_not_end_before_the_programs_own(self) -> None:
        def heard(data: bytes) -> None:
            self.heard.append((data,))
            dispatcher.close()

        line = self.dispatcher(heard)
        (dispatcher,) = (each for each in asyncore.socket_map.values() if isinstance(each, asyncore.dispatcher))
        connection = self.connect(self.nobody)
        connection.add_on_open_error_callback(
            lambda connection, error: threading.Timer(0.05, line.send, (b"the last",)).start()
        )
        asyncore.loop(foreign.DEADLINE)
        self.assertEqual([word for word, *_ in self.heard], ["error", b"the last"])

    def test_another_thread_wakes_asyncores_loop(self) -> None:
        """Whichever thread that runs in."""
        connection = self.connect(self.parameters)
        self.until(lambda: connection.bytes_sent)
        thread = threading.Thread(target=asyncore.loop, args=(foreign.DEADLINE,))
        begin = time.monotonic()
        thread.start()
        in_loop = threading.Event()
        connection.add_callback_threadsafe(in_loop.set)
        self.assertTrue(in_loop.wait(foreign.DEADLINE / 2))
        in_loop.clear()
        connection.add_callback_threadsafe(in_loop.set)
        self.assertTrue(in_loop.wait(foreign.DEADLINE / 2))
        connection.add_callback_threadsafe(lambda: connection._core.wire.transport.abortConnection())
        thread.join()
        self.assertLess(time.monotonic() - begin, foreign.DEADLINE / 2)
        self.assertTrue(connection.is_closed)

    def test_an_end_that_nobody_hears_of_is_raised_by_start(self) -> None:
        AsyncoreConnection(self.nobody)
        self.assertRaises(ConnectFailed, self.loop.start)

    def test_an_end_that_nobody_hears_of_is_logged_in_asyncores_loop(self) -> None:
        AsyncoreConnection(self.nobody)
        with self.assertLogs("txpika.adapters.asyncore", logging.ERROR) as logged:
            asyncore.loop(foreign.DEADLINE)
        self.assertIn("cannot connect to 127.0.0.1", logged.output[0])

    def test_close_all(self) -> None:
        """It closes what is asyncore's; ours goes on when a loop runs again."""
        connection = self.connect(self.parameters)
        self.until(lambda: connection.bytes_sent)
        asyncore.close_all()
        self.assertEqual(asyncore.socket_map, {})
        connection.close()
        self.until(lambda: connection.is_closed)

    def test_an_interrupt_gets_through(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        for run in (self.loop.start, asyncore.loop, lambda: asyncore.loop(use_poll=True)):
            self.loop.add_callback(interrupt)
            self.assertRaises(KeyboardInterrupt, run)


class AsyncoreTests(foreign.LoopTestCase):
    """How asyncore is got at."""

    def test_its_deprecation_is_no_news(self) -> None:
        with patch.dict(sys.modules), warnings.catch_warnings():
            sys.modules.pop("asyncore", None)
            warnings.simplefilter("error")
            self.assertTrue(import_asyncore().socket_map == {})

    def test_without_it(self) -> None:
        with patch.dict(sys.modules, {"asyncore": None}):
            error = self.assertRaises(ImportError, AsyncoreConnection)
        self.assertIn("pip install 'txpika[asyncore]'", str(error))

    def test_the_shared_one_is_not_that_of_other_connections(self) -> None:
        ours, other = AsyncoreLoop.instance(), IOLoop.instance()
        self.addCleanup(other.close)
        self.addCleanup(ours.close)
        self.assertIsNot(ours, other)
        self.assertEqual((ours.poller_type, AsyncoreLoop.instance()), ("asyncore", ours))
        self.assertRaises(ValueError, AsyncoreLoop, "epoll")
