# -*- test-case-name: txpika.test.test_shortcuts -*-
"""
What is remembered of earlier frames, so that later ones like them take the short road of L{txpika.core.frames}.

Owns the caches, and the checks that are needed only once: of names, and of what never differs in such frames. Knows the
open channels; nothing of buffers. What it does not like is not remembered, but left to those who know the errors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from txpika.message import Delivery, Route
from txpika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD

#: Things remembered for one connection, of all kinds; at this many they start afresh. Up to a kilobyte each.
MAX_REMEMBERED = 8192
#: Largest header frame on the short road, in bytes of payload.
MAX_SHORT_HEADER = 4096
#: Size of the frame of a C{basic.ack}, and where its arguments begin.
ACK_SIZE = 21
ACK_AT = 11

#: The class of all that is learned, and where in a frame its last octet is.
CLASS_BASIC = 60
CLASS_AT = 8

_FRAME = struct.Struct(">BHI")
_METHOD = struct.Struct(">BH")
_DELIVER = b"\x00\x3c\x00\x3c"  # class basic, method deliver
_ACK = b"\x00\x00\x00\x0d\x00\x3c\x00\x50"  # size of the payload, class basic, method ack
_BASIC_CONTENT = b"\0\x3c\0\0"  # class basic, weight 0
#: Octets of a header frame before the size of the body.
_HEAD = 11

#: Where in the frame of a C{basic.deliver} the consumer tag begins, after its length.
CONSUMER_AT = 12

#: Reads what comes before the body, from the consumer tag on: consumer tag, delivery tag, routing with the beginning
#: of the header frame, size of the body, properties, and what is between these and the body.
Read = Callable[[bytes, int], tuple[bytes, int, bytes, int, bytes, int]]
#: The reader, where the body is, the number that the octets between properties and body make if the body is empty, and
#: the routes by the octets from the delivery tag to the size of the body. They are for this layout alone: these octets
#: include the channel and the size of the header frame, which are checked by being known. A delivery read by the layout
#: of another size would have its properties end where its publisher likes, with frames of the publisher's after them.
Layout = tuple[Read, int, int, dict[bytes, Route]]
#: A consumer's tag, what takes its deliveries, and where these wait for their ack, if they do.
Taker = tuple[str, Callable[[Delivery], None], dict[int, None] | None]


class Shape(NamedTuple):
    """
    What deliveries have in common that are for one channel, with method frames and consumer tags of one size: that is,
    whose frames begin alike.

    @ivar acks: Counts the deliveries of the channel.
    @ivar arrivals: Knows whether one of them is arriving, frame by frame.
    @ivar size_at: Where the last two octets of the header frame's size are.
    @ivar layouts: Where things are, by that size.
    @ivar takers: The consumers of the channel, by tag.
    """

    acks: Any
    arrivals: Any
    size_at: int
    layouts: dict[int, Layout]
    takers: dict[bytes, Taker]


class Known:
    """
    What is remembered of one channel.

    @ivar keys: Of its shapes.
    @ivar takers: See L{Shape}.
    """

    __slots__ = ("keys", "takers")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.takers: dict[bytes, Taker] = {}


@lru_cache(1024)
def _reader(consumer_tag: int, head: int, properties: int) -> tuple[Read, int]:
    layout = struct.Struct(f">{consumer_tag}sQ{head}sQ{properties}sQ")
    return layout.unpack_from, CONSUMER_AT + layout.size


class Shortcuts:
    """
    @ivar shapes: By the octets of the method frame before the consumer tag.
    @ivar settlers: What takes a C{basic.ack}'s arguments, by the octets of its frame before them.
    """

    __slots__ = ("_known", "_remembered", "_sink", "settlers", "shapes")

    def __init__(self, sink: Any) -> None:
        """
        @param sink: Has the open channels by number (L{txpika.core.channel.Channel}), as C{channels}.
        """
        self._sink = sink
        self.shapes: dict[bytes, Shape] = {}
        self.settlers: dict[bytes, Callable[[int, int], None]] = {}
        self._known: dict[int, Known] = {}
        self._remembered = 0

    def forget(self, number: int, consumer_tag: bytes | None = None) -> None:
        """
        Nothing may lead there any more.

        @param number: Of a channel.
        @param consumer_tag: Of a consumer on it; C{None} for the whole channel.
        """
        if consumer_tag is None:
            self.settlers.pop(_METHOD.pack(FRAME_METHOD, number) + _ACK, None)
            known = self._known.pop(number, None)
            for key in () if known is None else known.keys:
                self.shapes.pop(key, None)
        elif number in self._known:
            self._known[number].takers.pop(consumer_tag, None)

    def forget_all(self) -> None:
        """The same for every channel."""
        self.shapes.clear()
        self.settlers.clear()
        self._known.clear()
        self._remembered = 0

    def learn(self, data: bytes, offset: int, end: int) -> bool:
        """
        Remember what the frames at C{offset} are like.

        @return: Whether the short road may take them, as far as this can tell. C{False} for whatever is incomplete,
            unknown or malformed.
        """
        if data.startswith(_DELIVER, offset + 7):
            return self._learn_delivery(data, offset, end)
        if data.startswith(_ACK, offset + 3) and end - offset >= ACK_SIZE:
            kind, number, _size = _FRAME.unpack_from(data, offset)
            channel = self._sink.channels.get(number)
            if kind == FRAME_METHOD and channel is not None and data[offset + ACK_SIZE - 1] == FRAME_END:
                self.settlers[data[offset : offset + ACK_AT]] = channel.confirmed
                return True
        return False

    def _learn_delivery(self, data: bytes, offset: int, end: int) -> bool:
        kind, number, size = _FRAME.unpack_from(data, offset)
        channel = self._sink.channels.get(number)
        head = offset + size + 8
        tag_size = data[offset + CONSUMER_AT - 1]
        tag_at = offset + CONSUMER_AT + tag_size
        if kind != FRAME_METHOD or channel is None or not tag_at + 11 < head <= end - _HEAD:
            return False
        tag = data[offset + CONSUMER_AT : tag_at]
        consumer = channel.consumers.get(tag)
        route = self._route(data, tag_at + 8, head)
        kind, same, size = _FRAME.unpack_from(data, head)
        if (
            consumer is None
            or route is None
            or kind != FRAME_HEADER
            or same != number
            or not 14 <= size <= MAX_SHORT_HEADER
            or not data.startswith(_BASIC_CONTENT, head + 7)
        ):
            return False
        self._remembered += 1
        if self._remembered > MAX_REMEMBERED:
            self.forget_all()
        known = self._known.setdefault(number, Known())
        known.takers[tag] = (
            consumer.consumer_tag,
            consumer.deliver,
            None if consumer.no_ack else channel.acks.unacked,
        )
        key = data[offset : offset + CONSUMER_AT]
        shape = self.shapes.get(key)
        if shape is None:
            shape = Shape(channel.acks, channel.arrivals, head - offset + 5, {}, known.takers)
            self.shapes[key] = shape
            known.keys.append(key)
        if size not in shape.layouts:
            between = FRAME_END << 56 | FRAME_BODY << 48 | number << 32
            shape.layouts[size] = (*_reader(tag_size, head + _HEAD - tag_at - 8, size - 12), between, {})
        _, _, _, routes = shape.layouts[size]
        routes[data[tag_at + 8 : head + _HEAD]] = route
        return True

    @staticmethod
    def _route(data: bytes, start: int, head: int) -> Route | None:
        """
        @param start: Where C{redelivered} is in a method frame.
        @param head: Where the frame after it begins.
        @return: C{None} when there is no routing in between.
        """
        exchange_at = start + 1
        key_at = exchange_at + 1 + data[exchange_at]
        if key_at >= head - 1 or key_at + 1 + data[key_at] != head - 1 or data[head - 1] != FRAME_END:
            return None
        return (
            bool(data[start] & 1),
            str(data[exchange_at + 1 : key_at], "utf-8", "surrogateescape"),
            str(data[key_at + 1 : head - 1], "utf-8", "surrogateescape"),
        )
