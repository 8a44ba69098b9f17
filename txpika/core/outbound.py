# -*- test-case-name: txpika.test.test_outbound -*-
"""
Turn one message into the frames of C{basic.publish}.

Owns the caches that make this cheap, and the cutting of large bodies. Knows a channel number and the agreed frame size;
not whether the message may be written.

The frames before the body are made by one C{Struct.pack}: for each pair of lengths (method frame, properties) there is
one struct that holds both as strings of just that length. Measured on 3.11: 0.13 us for all of a message's frames,
against 0.25 us with a struct for each frame and 2.6 us with a method and a header object.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from txpika.core.memory import memory
from txpika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, Basic, BasicProperties

#: Class basic (60), weight 0: what each content header starts with.
BASIC_CONTENT = 60 << 16
#: The end octet of the header frame and the type of the body frame right after it.
END_THEN_BODY = FRAME_END << 8 | FRAME_BODY
END = bytes((FRAME_END,))
#: The property flags of a message without properties.
NO_PROPERTIES = b"\0\0"
#: Routes remembered for one channel; at this many they start afresh. A program that publishes to more distinct routing
#: keys than this pays 2 us a message for encoding the method.
MAX_ROUTES = 4096
#: Lengths of properties remembered for one route.
MAX_PACKS = 64
#: Pairs of lengths remembered for all channels together; a packer takes 540 bytes.
MAX_PACKERS = 1024

_FRAME = struct.Struct(">BHI")
_HEADER = struct.Struct(">IIQ")

Pack = Callable[..., bytes]
#: A method frame with the beginning of the header frame after it, and packers by length of the properties.
Route = tuple[bytes, dict[int, Pack]]


def frame(kind: int, number: int, payload: bytes) -> bytes:
    """@return: One whole frame."""
    return b"".join((_FRAME.pack(kind, number, len(payload)), payload, END))


def body_frames(number: int, body: bytes, frame_max: int) -> list[Any]:
    """
    @param frame_max: Agreed size of a whole frame, in bytes.
    @return: The body frames of a message, in pieces to be joined, so that the body is copied once.
    """
    pieces: list[Any] = []
    step = frame_max - 8
    view = memoryview(body)
    for start in range(0, len(body), step):
        piece = view[start : start + step]
        pieces += (_FRAME.pack(FRAME_BODY, number, len(piece)), piece, END)
    return pieces


def snapshot(body: object) -> bytes:
    """
    @return: C{body} as bytes that nobody can change any more.
    @raise TypeError: when it is not bytes-like; text must be encoded by whoever knows the encoding.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise TypeError(f"body must be bytes, bytearray or memoryview, not {type(body).__name__}")


def encode(properties: object) -> bytes:
    """
    @return: Property flags and values.
    @raise TypeError: when these are not L{BasicProperties}.
    @raise ValueError: when a property is outside its limits.
    """
    if not isinstance(properties, BasicProperties):
        raise TypeError(f"properties must be BasicProperties or None, not {type(properties).__name__}")
    return properties.encode()


@lru_cache(MAX_PACKERS)
def _packer(prefix: int, properties: int) -> Pack:
    """@return: Packs what comes before a body, given the lengths of its two strings in bytes. Channels share it."""
    return struct.Struct(f">{prefix}sIIQ{properties}sHHI").pack


class MessageEncoder:
    """
    @ivar routes: What is remembered of each (exchange, routing key, mandatory). The publish path reads it directly.
    """

    __slots__ = ("_frame_max", "_number", "routes")

    def __init__(self, number: int, frame_max: int) -> None:
        """
        @param number: The channel's.
        @param frame_max: Agreed size of a whole frame, in bytes.
        """
        self._number = number
        self._frame_max = frame_max
        self.routes: dict[tuple[str, str, bool], Route] = {}

    def learn_route(self, exchange: str, routing_key: str, mandatory: bool) -> Route:
        """
        @raise TypeError: when an argument is of the wrong type.
        @raise ValueError: when a name is over 255 bytes of UTF-8 or holds a NUL.
        """
        method = Basic.Publish(0, exchange, routing_key, mandatory).encode()
        prefix = frame(FRAME_METHOD, self._number, method) + struct.pack(">BH", FRAME_HEADER, self._number)
        if len(self.routes) >= MAX_ROUTES:
            self.routes.clear()
        route = self.routes[exchange, routing_key, mandatory] = (prefix, {})
        return route

    def learn_pack(self, route: Route, encoded: bytes) -> Pack:
        """
        @param encoded: Property flags and values.
        @raise ValueError: when the header frame would be over the agreed frame size.
        """
        prefix, packs = route
        if len(encoded) + 20 > self._frame_max:
            raise ValueError(
                f"properties: {len(encoded)} bytes when encoded do not fit into one frame of {self._frame_max} bytes"
            )
        if len(packs) >= MAX_PACKS:
            packs.clear()
        pack = packs[len(encoded)] = _packer(len(prefix), len(encoded))
        return pack

    def pieces(self, prefix: bytes, encoded: bytes, body: bytes) -> list[Any]:
        """
        A message whose body is empty or larger than one frame.

        @return: Its frames in pieces. If these are joined only when they are written, the body is copied once, and not
            at all while it waits.
        """
        if len(body) > memory.largest:
            memory.expect(len(body))
        pieces: list[Any] = [prefix, _HEADER.pack(len(encoded) + 12, BASIC_CONTENT, len(body)), encoded, END]
        return pieces + body_frames(self._number, body, self._frame_max)
