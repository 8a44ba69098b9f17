# -*- test-case-name: txpika.test.test_asyncio_connection -*-
"""
An asyncio transport as the transport of a connection, and a loop's time as its clock.

Owns the translation, and what is written in the present turn of the loop. Knows no way to make a transport: that is
L{txpika.adapters.asyncio_dial}'s. Does not import asyncio, from which it needs no class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from txpika.adapters.sockets import HIGH_WATER, LOW_WATER, SEND_AT
from txpika.interfaces import IPromptTransport

if TYPE_CHECKING:
    import asyncio

    from txpika.core.connection import Connection as Core

#: Bytes handed to asyncio at a time: on Python 3.11 it copies what the network does not take of them, twice. For whole
#: copies of a large message the C library gets memory from the system, and returns it, each time: a publish of 1 MB in
#: such parts takes 0.6 of the CPU.
HAND_ON = 256 * 1024


class AsyncioClock:
    """
    A loop's time.

    @ivar seconds: Monotonic time, in seconds.
    @ivar callLater: Takes a delay in seconds, a function and its arguments; what it returns has a C{cancel()}.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = loop.time
        self.callLater = loop.call_later


@implementer(IPromptTransport)
class TransportAdapter:
    """
    Between an asyncio transport, whose protocol it is, and the engine, whose transport it is.

    What is written in one turn of the loop is handed on together at its end.

    @ivar core: The engine.
    @ivar connected: It is, or was.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, core: Core, made: Callable[[TransportAdapter], object]) -> None:
        """
        @param made: Called when there is a connection; over TLS, after the handshake.
        """
        self._loop = loop
        self._made = made
        self._transport: Any = None
        self.connected = False
        self._producer: Any = None
        self._producer_paused = False
        self._pieces: list[bytes] = []
        self._rest: bytes | memoryview = b""
        #: Size of both, in bytes.
        self._size = 0
        self._stuck = False
        self._handing = False
        self._flush_due = False
        self._ended = False
        self._lost = False
        self.core = core
        self._receive = core.data_received
        self._read_size = 0

    # What asyncio tells

    def connection_made(self, transport: Any) -> None:
        """It is connected."""
        self.connected = True
        self._transport = transport
        transport.set_write_buffer_limits(LOW_WATER)
        self._read_at_most(self.core.read_size)
        self._made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the broker."""
        core = self.core
        self._receive(data)
        if core.read_size != self._read_size:
            self._read_at_most(core.read_size)

    def _read_at_most(self, size: int) -> None:
        """
        Set how much a read asks for. By default that is 256 KiB, which the C library then gets from the system, and
        returns, each time: 25 us of the 94 that a passive declare takes (3.11).
        """
        self._read_size = size
        if hasattr(self._transport, "max_size"):  # not so under TLS, nor with uvloop
            self._transport.max_size = size

    def eof_received(self) -> None:
        """The peer has closed it; the transport then closes, too."""

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        reason = error if error is not None or self._ended else EOFError("the peer closed it")
        self._ended = self._lost = True
        self._pieces.clear()
        self._rest = b""
        self._size = 0
        self.core.connection_lost(reason)

    def pause_writing(self) -> None:
        """It has enough."""
        self._stuck = True

    def resume_writing(self) -> None:
        """It takes more. Under TLS it may say so from inside a write."""
        self._stuck = False
        if not self._handing:
            self.flush()

    # ITransport

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn of the loop, or as soon as the network takes it."""
        if self._ended:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= SEND_AT:
            if not self._stuck:
                self.flush()
            elif self._size > HIGH_WATER and not self._producer_paused:
                self._keep_level()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def writeNow(self, data: bytes) -> None:
        """Hand it on, unless something waits for the end of this turn, or for the network."""
        if self._size or self._stuck:
            self.write(data)
        elif not self._ended:
            self._hand_on(data)

    def flush(self) -> None:
        """Hand on what was written, as far as asyncio takes it."""
        self._flush_due = False
        if self._ended:
            return
        if self._stuck or not self._size:
            self._tell(self.buffered)
        while self._size and not self._stuck and not self._ended:
            self._hand_on(self._take())

    def _take(self) -> bytes | memoryview:
        """@return: What is next; from now on it does not count as waiting."""
        data = self._rest
        if data:
            self._rest = b""
        else:
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._size -= len(data)
        return data

    def _hand_on(self, data: bytes | memoryview) -> None:
        if len(data) <= HAND_ON:
            self._transport.write(data)
        else:
            self._hand_on_in_parts(data)
        left = self._size + self._transport.get_write_buffer_size()
        if left or self._producer_paused:
            self._tell(left)

    def _hand_on_in_parts(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        self._handing = True
        try:
            while rest and not self._stuck:
                self._transport.write(rest[:HAND_ON])
                # Once the connection is broken, asyncio logs each further part.
                rest = rest[HAND_ON:] if not self._transport.is_closing() else rest[:0]
        finally:
            self._handing = False
        if rest:
            self._rest = rest
            self._size += len(rest)

    def _tell(self, left: int) -> None:
        """Tell whoever writes how many bytes wait."""
        if left:
            self.core.backpressure.flushed(left)
        self._keep_level()

    def _keep_level(self) -> None:
        """Have whoever writes pause, or go on."""
        left = self.buffered  # read again: whoever was told may have written
        if self._producer is not None and (left <= LOW_WATER if self._producer_paused else left > HIGH_WATER):
            self._producer_paused = not self._producer_paused
            if self._producer_paused:
                self._producer.pauseProducing()
            elif not self._transport.is_closing():  # else what waits for room is better not sent than lost
                self._producer.resumeProducing()

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        return 0 if self._ended else self._size + int(self._transport.get_write_buffer_size())

    def loseConnection(self) -> None:
        """Send what waits, then close."""
        while self._size and not self._lost:
            self._transport.write(self._take())
        self._ended = True
        if not self._lost:
            self._transport.close()

    def abortConnection(self) -> None:
        """Close at once."""
        self._ended = True
        if not self._lost:
            self._transport.abort()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell it to pause when too much waits."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """Forget it."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Stop reading."""
        if not self._ended:
            self._transport.pause_reading()

    def resumeProducing(self) -> None:
        """Read again."""
        if not self._ended:
            self._transport.resume_reading()
