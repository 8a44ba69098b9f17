# -*- test-case-name: txpika.test.test_engine -*-
"""
Where the bytes of one connection leave, and where they can be watched.

Owns the transport as something to write to, and the totals of what went over it. What is written while a read is
processed leaves together at its end. A watcher is put in the way of the bytes by swapping the functions that take them,
so without one there is nothing to check. Knows bytes; nothing of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import get_ident
from typing import Protocol

from txpika import taps
from txpika.interfaces import IPromptTransport, ITransport

#: Bytes collected while a read is processed before they are handed to the transport without waiting for its end.
MAX_CORKED = 64 * 1024


def _discard(data: bytes) -> None:
    """Where bytes go when there is nobody to send them to."""


_serial = count(1)


class Receiver(Protocol):
    """What takes the broker's bytes."""

    def receive(self, data: bytes) -> None:
        """Bytes, any number."""

    def behind(self) -> tuple[bytes, int]:
        """
        What L{receive} was given and has not used up, between two calls: the beginning of an incomplete frame or small
        message; or how many bytes are to come of a body frame whose beginning was passed on.
        """


class Wire:
    """
    @ivar name: What to call the connection in a log: the program's name for it, or host and port; with a number once
        there is a transport.
    @ivar transport: C{None} before there is one, and when it is gone.
    @ivar write: Takes whole frames; the hot paths call it and count for themselves.
    @ivar receive: Takes the broker's bytes. L{txpika.core.connection} calls it and counts for itself.
    @ivar corked: What is written is collected.
    @ivar bytes_sent: Total, in bytes.
    @ivar bytes_received: Total, in bytes.
    @ivar frames_sent: Total.
    """

    def __init__(self, receiver: Receiver | None = None, name: str = "") -> None:
        """
        @param receiver: Where the broker's bytes go.
        """
        self.name = name
        self.transport: ITransport | None = None
        self.write: Callable[[bytes], None] = _discard
        self.receive: Callable[[bytes], None] = _discard if receiver is None else receiver.receive
        self.corked = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self.frames_sent = 0
        self._receiver = receiver
        self._receive = self.receive
        self._out: Callable[[bytes], None] = _discard
        self._out_now: Callable[[bytes], None] = _discard
        self._through: Callable[[bytes], None] = _discard
        self._through_now: Callable[[bytes], None] = _discard
        self._tap: taps.Tap | None = None
        self._thread = get_ident()
        self._pieces: list[bytes] = []
        self._size = 0

    def connected(self, transport: ITransport) -> None:
        """There is a transport."""
        self.transport = transport
        self.name = f"{self.name}#{next(_serial)}"
        self._thread = get_ident()
        self._out = transport.write
        self._out_now = transport.writeNow if IPromptTransport.providedBy(transport) else transport.write
        self._aim()
        taps.add(self)

    # Watching

    def tap(self, tap: taps.Tap) -> None:
        """
        From now on show C{tap} what is written and what is received, each before it goes on. It must not raise.

        Called from a thread other than the connection's, it takes effect on what is written at the next read.
        """
        self._tap = tap
        self.receive = self._receive_watched
        self._aim()

    def untap(self) -> None:
        """Nobody watches any more. Harmless when nobody did."""
        self._tap = None
        self.receive = self._receive
        self._aim()

    def behind(self) -> tuple[bytes, int]:
        """See L{Receiver}: how far the bytes shown to a tap so far reach into the next frame."""
        return (b"", 0) if self._receiver is None else self._receiver.behind()

    def _aim(self) -> None:
        watched = self._tap is not None and self._out is not _discard
        self._through = self._write_watched if watched else self._out
        self._through_now = self._write_watched if watched else self._out_now
        if not self.corked and get_ident() == self._thread:
            self.write = self._through

    def _write_watched(self, data: bytes) -> None:
        tap = self._tap
        if tap is not None:
            tap(True, data)
        self._out(data)

    def _receive_watched(self, data: bytes) -> None:
        tap = self._tap
        if tap is not None:
            tap(False, data)
        self._receive(data)

    # Writing

    def send(self, data: bytes, frames: int = 1) -> None:
        """
        Write whole frames.

        @param frames: How many.
        """
        self.bytes_sent += len(data)
        self.frames_sent += frames
        self.write(data)

    def cork(self) -> None:
        """Collect what is written."""
        self.corked = True
        self.write = self._collect

    def uncork(self) -> None:
        """Let it go, in one write to the transport, which need not wait for more."""
        self.corked = False
        self.write = self._through
        if self._pieces:
            self._let_go(self._through_now)

    def together(self, function: Callable[..., None], *arguments: object) -> None:
        """
        Call C{function}; what is written meanwhile leaves at its end. A program that waited for the transport publishes
        in a loop from there, and writing each message by itself takes Twisted's transports 1.0 us more (3.11).
        """
        if self.corked:
            function(*arguments)
            return
        self.cork()
        try:
            function(*arguments)
        finally:
            self.uncork()

    def _collect(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_CORKED:
            self.flush()

    def flush(self) -> None:
        """Let go what was collected so far."""
        if self._pieces:
            self._let_go(self._through)

    def _let_go(self, through: Callable[[bytes], None]) -> None:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        through(data)

    def cut(self) -> None:
        """Drop what was collected, and all that is written from now on."""
        self._pieces.clear()
        self._size = 0
        self._through = self._through_now = self.write = self._out = self._out_now = _discard
