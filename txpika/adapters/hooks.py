# -*- test-case-name: txpika.test.test_hooks -*-
"""
What an adapter written for pika of 2011 has instead of a transport and a clock: a few methods of its own connection.

Owns the translation between them. An adapter of that time is a subclass of C{BaseConnection} with

 - C{connect(host, port)}, which connects and then calls C{self._on_connected()}, now or later;
 - C{flush_outbound()}, which sends what is in C{self.outbound_buffer}, as far as the network takes it;
 - C{disconnect()}, which closes the network connection;
 - C{add_timeout(delay_sec, callback)} and C{remove_timeout(id)}.

It calls C{self.on_data_available(data)} with what it read, and C{self._on_disconnected()} when the other side has
closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from txpika.adapters.sockets import HIGH_WATER
from txpika.core.connection import Connection as Core
from txpika.exceptions import NotConnected
from txpika.interfaces import ITransport
from txpika.parameters import ConnectionParameters
from txpika.simplebuffer import SimpleBuffer

#: How often to look whether bytes were sent, in seconds: the hooks do not tell.
LOOK = 0.05


class HookTimer:
    """One pending call of C{add_timeout}."""

    def __init__(self, clock: HookClock, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._clock = clock
        self._function = function
        self._arguments = arguments
        self.timeout_id: Any = None
        self._pending = True

    def fire(self) -> None:
        """Its time has come."""
        if self._pending:
            self._pending = False
            self._function(*self._arguments)

    def cancel(self) -> None:
        """Cancel the call. Harmless when it has happened."""
        if self._pending:
            self._pending = False
            self._clock.connection.remove_timeout(self.timeout_id)


class HookClock:
    """A clock by C{add_timeout} and C{remove_timeout}."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def seconds(self) -> float:
        """Monotonic time."""
        return time.monotonic()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> HookTimer:
        """Call C{callable(*args)} in C{delay} seconds."""
        timer = HookTimer(self, callable, args)
        timer.timeout_id = self.connection.add_timeout(delay, timer.fire)
        return timer


@implementer(ITransport)
class HookTransport:
    """
    A transport by C{flush_outbound} and C{disconnect}.

    @ivar buffer: What waits to be sent.
    """

    def __init__(self, connection: Any, core: Core, clock: HookClock) -> None:
        self._connection = connection
        self._core = core
        self._clock = clock
        self._producer: Any = None
        self._paused = False
        self._looking: HookTimer | None = None
        self._reading = True
        self._kept: list[bytes] = []
        self._lost = False
        self.buffer = SimpleBuffer()

    def write(self, data: bytes) -> None:
        """Have the adapter send it."""
        if self._lost:
            return
        self.buffer.write(data)
        self._connection.flush_outbound()
        left = len(self.buffer)
        if left:
            self._core.backpressure.flushed(left)
        if left > HIGH_WATER and not self._paused and self._producer is not None:
            self._paused = True
            self._looking = self._clock.callLater(LOOK, self._look)
            self._producer.pauseProducing()

    def _look(self) -> None:
        if len(self.buffer) > HIGH_WATER:
            self._looking = self._clock.callLater(LOOK, self._look)
            return
        self._paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def loseConnection(self) -> None:
        """Send what waits, as far as one flush goes, and close."""
        self._connection.flush_outbound()
        self.abortConnection()

    def abortConnection(self) -> None:
        """Close."""
        if not self._lost:
            self._connection.disconnect()
            self.lose(None)

    def lose(self, reason: BaseException | None) -> None:
        """It is gone; the engine is told in a turn of its own."""
        if not self._lost:
            self._lost = True
            if self._looking is not None:
                self._looking.cancel()
            self._clock.callLater(0, self._core.connection_lost, reason)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Whom to ask to pause."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Nobody."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Keep what comes: an adapter of 2011 cannot be told to stop reading."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Pass on what was kept, in a turn of its own, and what comes."""
        self._reading = True
        if self._kept:
            self._clock.callLater(0, self.received, b"")

    def received(self, data: bytes) -> None:
        """Bytes from the broker."""
        if data:
            self._kept.append(data)
        while self._kept and self._reading and not self._lost:
            self._core.data_received(self._kept.pop(0))


class Hooks:
    """What C{BaseConnection} does when its subclass has hooks of 2011."""

    parameters: ConnectionParameters
    _core: Core
    _hook_clock: HookClock | None = None
    _hook_transport: HookTransport | None = None
    _transport_made: Callable[[Any], None]
    _transport_failed: Callable[[list[tuple[str, Any]]], None]

    @property
    def clock(self) -> Any:
        """Where timers come from: a L{txpika.interfaces.Clock}."""
        if self._hook_clock is None:
            self._hook_clock = HookClock(self)
        return self._hook_clock

    @property
    def outbound_buffer(self) -> Any:
        """What waits to be sent; has a length, in bytes."""
        return SimpleBuffer() if self._hook_transport is None else self._hook_transport.buffer

    def connect(self, host: str, port: int) -> None:
        """For an adapter to implement: connect, then call C{_on_connected}. @raise OSError: when it failed."""
        raise AttributeError(f"{type(self).__name__} is no whole adapter: it has neither connect nor _dial")

    def disconnect(self) -> None:
        """For an adapter to implement: close the network connection."""

    def flush_outbound(self) -> None:
        """For an adapter to implement: send what is in C{outbound_buffer}."""

    def _dial(self) -> None:
        """Begin to make a transport; then call C{_transport_made} or C{_transport_failed}, not at once."""
        if type(self).connect is Hooks.connect:
            self.connect("", 0)  # which says what is missing
        self.clock.callLater(0, self._connect_by_hook)

    def _connect_by_hook(self) -> None:
        errors: list[tuple[str, Any]] = []
        for host, port in self.parameters.hosts:
            try:
                self.connect(host, port)
                return
            except OSError as error:
                errors.append((host, error))
        self._transport_failed(errors)

    def _on_connected(self) -> None:
        """For the adapter to call: the network connection is there."""
        self._hook_transport = HookTransport(self, self._core, self.clock)
        self._transport_made(self._hook_transport)

    def on_data_available(self, data: bytes) -> None:
        """For the adapter to call: bytes from the broker. @raise NotConnected: when there is no connection."""
        if self._hook_transport is None:
            raise NotConnected("on_data_available before _on_connected")
        self._hook_transport.received(data)

    def _on_disconnected(self, reason: BaseException | None = None) -> None:
        """For the adapter to call: the other side closed."""
        if self._hook_transport is not None:
            self._hook_transport.lose(reason)
