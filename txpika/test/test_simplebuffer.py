"""Tests for L{txpika.simplebuffer}."""

from __future__ import annotations

import socket
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.simplebuffer import SimpleBuffer


class SocketThatTakes:
    """Takes some bytes at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = b""

    def send(self, data: memoryview) -> int:
        taken = bytes(data[: self.most])
        self.taken += taken
        return len(taken)


class SimpleBufferTests(SynchronousTestCase):
    """Bytes in and out."""

    def test_as_in_2011(self) -> None:
        buffer = SimpleBuffer(b"abcdef")
        self.assertEqual(buffer.read_and_consume(3), b"abc")
        buffer.write(None, b"")
        self.assertEqual(buffer.read(0), b"")
        self.assertEqual(buffer.read(2), b"de")
        self.assertEqual(buffer.read(), b"def")
        self.assertEqual((len(buffer), buffer.size, bool(buffer)), (3, 3, True))
        self.assertEqual(repr(buffer), "<SimpleBuffer of 3 bytes>")
        buffer.flush()
        self.assertEqual((buffer.read(1), len(buffer), bool(buffer)), (b"", 0, False))

    def test_new_ones_are_empty(self) -> None:
        self.assertFalse(SimpleBuffer())
        self.assertEqual(SimpleBuffer().read(), b"")

    def test_many_pieces_at_once(self) -> None:
        buffer = SimpleBuffer()
        buffer.write(b"a", bytearray(b"b"), memoryview(b"c"))
        self.assertEqual(buffer.read(), b"abc")

    def test_text_is_refused_and_nothing_is_kept_of_the_call(self) -> None:
        buffer = SimpleBuffer(b"x")
        text: Any = "text"
        self.assertRaises(TypeError, buffer.write, b"a", text)
        self.assertRaises(TypeError, SimpleBuffer, text)
        self.assertEqual(buffer.read(), b"x")

    def test_sizes_outside_are_refused_and_nothing_happens(self) -> None:
        buffer = SimpleBuffer(b"abc")
        for size in (4, -1):
            self.assertRaises(ValueError, buffer.consume, size)
            self.assertRaises(ValueError, buffer.read_and_consume, size)
        self.assertRaises(ValueError, buffer.read, -1)
        self.assertEqual(buffer.read(99), b"abc")

    @given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
    def test_a_socket_gets_all_in_order(self, pieces: list[bytes], most: int) -> None:
        buffer, sd = SimpleBuffer(), SocketThatTakes(most)
        for piece in pieces:
            buffer.write(piece)
            if buffer:
                self.assertGreater(buffer.send_to_socket(sd), 0)
        while buffer:
            buffer.send_to_socket(sd)
        self.assertEqual(sd.taken, b"".join(pieces))

    def test_a_real_socket_that_is_full(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        ours.setblocking(False)
        buffer = SimpleBuffer(bytes(16 * 1024 * 1024))
        sent = 0

        def fill() -> None:
            nonlocal sent
            while buffer:
                sent += buffer.send_to_socket(ours)

        self.assertRaises(BlockingIOError, fill)
        self.assertGreater(sent, 0)
        self.assertEqual(len(buffer), 16 * 1024 * 1024 - sent)
        buffer.write(b"more")
        self.assertEqual(buffer.read()[-5:], b"\0more")

    def test_the_cost_is_linear(self) -> None:
        """Taking 32 times as much in small pieces must not take 1000 times as long."""

        def cost(size: int) -> float:
            buffer, sd = SimpleBuffer(bytes(size)), SocketThatTakes(512)
            sd.send = lambda data: 512  # type: ignore[method-assign]
            began = time.process_time()
            while buffer:
                buffer.send_to_socket(sd)
            return time.process_time() - began

        small = min(cost(1 << 18) for _ in range(5))
        self.assertLess(cost(1 << 23), small * 32 * 8)
