# -*- test-case-name: txpika.test.test_content -*-
"""
Tests of L{txpika.core.content}: bodies whole and in pieces, and the memory they take while they come.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.core.content import ROOM, Content
from txpika.spec import Basic
from txpika.test.counting import SKIP, Growth

LIMIT = 64 * 1024 * 1024


def announced(size: int, limit: int = LIMIT) -> Content:
    """A message of which method and header came."""
    content = Content(Basic.Deliver("tag", 1, False, "", "queue"), limit)
    content.header(b"\0\x3c\0\0" + size.to_bytes(8, "big") + b"\0\0")
    return content


def receive(content: Content, pieces: list[bytes]) -> None:
    """Each piece in a frame of its own, in the middle of what was read."""
    for piece in pieces:
        content.frame(len(piece))
        content.piece(b"before" + piece + b"after", 6, 6 + len(piece))


class BodyTests(SynchronousTestCase):
    """Bodies in any number of pieces."""

    @given(st.lists(st.binary(max_size=70)))
    def test_any_pieces(self, pieces: list[bytes]) -> None:
        """The body is all pieces in their order, empty ones too, and it is a C{bytes}."""
        content = announced(sum(map(len, pieces)))
        receive(content, pieces)
        self.assertTrue(content.complete)
        body = content.body()
        self.assertIs(type(body), bytes)
        self.assertEqual(body, b"".join(pieces))

    def test_large(self) -> None:
        """Pieces of which the room made at first is not enough for the rest."""
        pieces = [bytes([n % 256]) * (n * 97) for n in range(1, 250)]
        content = announced(sum(map(len, pieces)))
        receive(content, pieces)
        self.assertEqual(content.body(), b"".join(pieces))

    def test_too_large(self) -> None:
        """A body over the limit is counted and dropped."""
        content = announced(1001, limit=1000)
        receive(content, [b"x" * 1000, b"x"])
        self.assertTrue(content.complete)
        self.assertTrue(content.too_large)
        self.assertEqual(content.body(), b"")


class MemoryTests(SynchronousTestCase):
    """What a message takes while it comes, in bytes, as Python's allocator counts it."""

    skip = SKIP

    def peak(self, content: Content, size: int, count: int) -> int:
        """The most that is taken while C{count} pieces of C{size} bytes come and the body is taken out."""
        data = b"x" * size
        with Growth() as growth:
            for _ in range(count):
                content.frame(size)
                content.piece(data, 0, size)
            if content.complete:
                self.assertEqual(len(content.body()), size * count)
        return growth.peak

    def test_once(self) -> None:
        """A body is not there twice, not even while it is handed over."""
        self.assertLess(self.peak(announced(16 * 65536), 65536, 16), 17 * 65536)

    def test_small_pieces(self) -> None:
        """Nor do pieces of one byte cost more than the body does."""
        self.assertLess(self.peak(announced(100_000), 1, 100_000), 200_000)

    def test_announced_only(self) -> None:
        """A peer that announces much and sends little makes this side take a multiple of what it sent, not more."""
        content = announced(LIMIT)
        self.assertLess(self.peak(content, 100, 1), 100 * ROOM + 2000)
        self.assertLess(self.peak(content, 1, 10), 100 * ROOM + 2000)
