# -*- test-case-name: txpika.test.test_simplebuffer -*-
"""
Bytes that wait to be sent, as pika kept them in 2011.

Owns one run of bytes: written at its end, taken from its beginning. Each byte is copied a bounded number of times,
however small the pieces: what is taken moves the beginning on, and the rest is moved only when half of it is gone.
"""

from __future__ import annotations

from typing import Protocol

#: Most bytes offered to a socket at a time: no system takes more in one call without waiting, by default.
MAX_SENT = 256 * 1024


class Sendable(Protocol):
    """What L{SimpleBuffer.send_to_socket} needs of a socket."""

    def send(self, data: memoryview, /) -> int: ...


class SimpleBuffer:
    """A buffer of bytes."""

    def __init__(self, data: bytes | bytearray | memoryview | None = None) -> None:
        """
        @param data: What it holds first.
        @raise TypeError: when that is not bytes-like.
        """
        self._bytes = bytearray()
        self.write(data)

    def write(self, *data: bytes | bytearray | memoryview | None) -> None:
        """
        Append all of C{data}; C{None} and what is empty count for nothing.

        @raise TypeError: when some of it is not bytes-like. Nothing was appended then.
        """
        for piece in data:
            if piece is not None and not isinstance(piece, bytes | bytearray | memoryview):
                raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(piece).__name__}")
        for piece in data:
            if piece:
                self._bytes += piece

    def read(self, size: int | None = None) -> bytes:
        """
        @param size: Most bytes wanted; C{None} for all.
        @return: The first bytes, which stay where they are.
        @raise ValueError: when C{size} is below 0.
        """
        if size is None:
            return bytes(self._bytes)
        if size < 0:
            raise ValueError(f"size is {size}, it must not be below 0")
        with memoryview(self._bytes) as view:
            return bytes(view[:size])

    def consume(self, size: int) -> None:
        """
        Drop the first C{size} bytes.

        @raise ValueError: when there are not so many, or C{size} is below 0.
        """
        if not 0 <= size <= len(self._bytes):
            raise ValueError(f"size is {size}, it must be from 0 to {len(self._bytes)}")
        del self._bytes[:size]

    def read_and_consume(self, size: int) -> bytes:
        """
        @return: The first C{size} bytes, which are dropped.
        @raise ValueError: when there are not so many, or C{size} is below 0.
        """
        data = self.read(size)
        self.consume(size)
        return data

    def send_to_socket(self, sd: Sendable) -> int:
        """
        Send what the socket takes.

        @return: How many bytes it took; they are dropped.
        @raise OSError: whatever C{sd.send} raises; the bytes are still there then.
        """
        with memoryview(self._bytes) as view, view[:MAX_SENT] as first:
            sent = sd.send(first)
        self.consume(sent)
        return sent

    def flush(self) -> None:
        """Drop all bytes."""
        self._bytes.clear()

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        return len(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __bool__(self) -> bool:
        return bool(self._bytes)

    def __repr__(self) -> str:
        return f"<SimpleBuffer of {len(self._bytes)} bytes>"
