# -*- test-case-name: txpika.test.test_callback_connection -*-
"""
A callback connection over a socket, on a loop like our own.

Owns how dialling, the socket and the engine come together. Its subclasses say which loop it is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import shuffle
from typing import Any

from txpika.adapters.callback import BaseConnection
from txpika.adapters.dial import Dialling, tls_of
from txpika.adapters.loop import IOLoop, Timer
from txpika.adapters.sockets import SocketTransport


class SocketConnection(BaseConnection):
    """
    @ivar ioloop: Its loop.
    """

    def __init__(self, ioloop: IOLoop, *arguments: Any, **more: Any) -> None:
        self.ioloop = ioloop
        self._dialling: Dialling | Timer | None = None
        self._transport: SocketTransport | None = None
        super().__init__(*arguments, **more)

    @property
    def clock(self) -> IOLoop:
        """Its loop."""
        return self.ioloop

    def _dial(self) -> None:
        hosts = list(self.parameters.hosts)
        shuffle(hosts)
        timeout = self.parameters.connection_timeout
        try:
            wrap_tls = tls_of(self.parameters)
        except OSError as error:
            self._dialling = self.ioloop.callLater(0, self._not_connected, [(hosts[0][0], error)])
            return
        self._dialling = Dialling(self.ioloop, hosts, timeout, self._connected, self._not_connected, wrap_tls)

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    def _not_connected(self, errors: list[tuple[str, OSError]]) -> None:
        self._dialling = None
        self._transport_failed(errors)

    def _connected(self, sock: socket.socket, _host: str) -> None:
        self._dialling = None
        self._transport = transport = SocketTransport(sock, self.ioloop, self._core)
        transport.flushed = self._core.backpressure.flushed
        self._transport_made(transport)

    def _unheard(self, reason: Exception) -> None:
        """The loop's C{start()} raises it: otherwise a program that waits there would wait for ever."""
        self.ioloop.fail(reason)

    @property
    def outbound_buffer(self) -> range:
        """Has the length of what waits to be sent, in bytes."""
        return range(0 if self._transport is None else self._transport.buffered)

    def flush_outbound(self) -> None:
        """Send what waits, as far as the network takes it now; the loop does this by itself."""
        if self._transport is not None:
            self._transport.flush()

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call C{callback} in the connection's thread, soon: the one method that other threads may call."""
        self.ioloop.add_callback(callback)
