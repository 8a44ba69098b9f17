# -*- test-case-name: txpika.test.test_engine -*-
"""
Where the bytes of one connection leave.

Owns the transport as something to write to, and the totals of what went over it. What is written while a read is
processed leaves together at its end. Knows bytes; nothing of frames.
"""

from __future__ import annotations

from collections.abc import Callable

from txpika.interfaces import ITransport

#: Bytes collected while a read is processed before they are handed to the transport without waiting for its end.
MAX_CORKED = 64 * 1024


def _discard(data: bytes) -> None:
    """Where bytes go when there is nobody to send them to."""


class Wire:
    """
    @ivar transport: C{None} before there is one, and when it is gone.
    @ivar write: Takes whole frames; the hot paths call it and count for themselves.
    @ivar corked: What is written is collected.
    @ivar bytes_sent: Total, in bytes.
    @ivar bytes_received: Total, in bytes.
    @ivar frames_sent: Total.
    """

    def __init__(self) -> None:
        self.transport: ITransport | None = None
        self.write: Callable[[bytes], None] = _discard
        self.corked = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self.frames_sent = 0
        self._through: Callable[[bytes], None] = _discard
        self._pieces: list[bytes] = []
        self._size = 0

    def connected(self, transport: ITransport) -> None:
        """There is a transport."""
        self.transport = transport
        self._through = self.write = transport.write

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
        """Let it go, in one write of the transport."""
        self.corked = False
        self.write = self._through
        self.flush()

    def _collect(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_CORKED:
            self.flush()

    def flush(self) -> None:
        """Let go what was collected so far."""
        if self._pieces:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            self._size = 0
            self._through(data)

    def cut(self) -> None:
        """Drop what was collected, and all that is written from now on."""
        self._pieces.clear()
        self._size = 0
        self._through = self.write = _discard
