"""Tests for connections on Tornado's loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from tornado.ioloop import IOLoop

import txpika
from txpika.adapters.tornado_connection import TornadoConnection
from txpika.exceptions import ConnectFailed
from txpika.test import foreign
from txpika.test.test_asyncio_connection import true


class TornadoConnectionTests(foreign.AdapterTests):
    """On a loop of the program's."""

    kind = TornadoConnection

    def setUp(self) -> None:
        super().setUp()
        self.loop = IOLoop(make_current=False)
        self.addCleanup(self.loop.close)

    def connect(self, parameters: Any, **more: Any) -> Any:
        connection = super().connect(parameters, custom_ioloop=self.loop, **more)
        self.assertIs(connection.ioloop, self.loop)
        return connection

    def until(self, condition: Callable[[], object]) -> None:
        self.loop.run_sync(lambda: true(condition))

    def later(self, delay: float, function: Callable[[], object]) -> None:
        self.loop.call_later(delay, function)


class WhichLoopTests(foreign.LoopTestCase):
    """A connection that is not told its loop, or is told a wrong one."""

    def setUp(self) -> None:
        super().setUp()
        asyncio.set_event_loop(None)
        self.addCleanup(asyncio.set_event_loop, None)
        self.nobody = txpika.ConnectionParameters("127.0.0.1", foreign.free_port())

    def test_a_program_that_starts_and_stops_it(self) -> None:
        def failed(connection: Any, error: Exception) -> None:
            self.heard.append(error)
            connection.ioloop.stop()

        connection = TornadoConnection(self.nobody, on_open_error_callback=failed)
        self.addCleanup(connection.ioloop.close)
        self.assertIs(connection.ioloop, IOLoop.current())
        connection.ioloop.call_later(foreign.DEADLINE, connection.ioloop.stop)
        connection.ioloop.start()
        self.assertIsInstance(self.heard[0], ConnectFailed)

    def test_two_share_it(self) -> None:
        first, second = TornadoConnection(self.nobody), TornadoConnection(self.nobody)
        self.addCleanup(first.ioloop.close)
        self.assertIs(first.ioloop, second.ioloop)
        for connection in (first, second):
            connection.close()
        first.ioloop.run_sync(lambda: true(lambda: first.is_closed and second.is_closed))

    def test_a_loop_of_asyncio_is_none_of_tornado(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        error = self.assertRaises(TypeError, TornadoConnection, custom_ioloop=loop)
        self.assertIn("custom_ioloop must be a tornado.ioloop.IOLoop", str(error))

    def test_without_tornado(self) -> None:
        with patch.dict(sys.modules, {"tornado": None, "tornado.ioloop": None}):
            error = self.assertRaises(ImportError, TornadoConnection)
        self.assertIn("pip install 'txpika[tornado]'", str(error))
