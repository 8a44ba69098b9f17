# -*- test-case-name: txpika.test.test_engine -*-
"""
Cut the broker's bytes into frames, and take whole deliveries in one step.

Owns the one inbound buffer of a connection and the limits on a frame (AMQP 0-9-1 section 4.2.3). Knows channels by
number and what to report about them; not what a method means.

Two roads lead to the same place. Frame by frame is the general one. A delivery whose method, header and body lie whole
in the buffer takes the short one: no frame, no method object, no assembly. Whatever the short one does not like, it
leaves to the general one, which knows the errors.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

from txpika.core.content import Content
from txpika.core.shortcuts import ACK_AT, ACK_SIZE, CLASS_AT, CLASS_BASIC, CONSUMER_AT, Shortcuts
from txpika.exceptions import FramingError, IncompatibleProtocolError, ProtocolError, ProtocolVersionMismatch
from txpika.message import Delivery
from txpika.spec import (
    COMMAND_INVALID,
    FRAME_BODY,
    FRAME_END,
    FRAME_ERROR,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
)

#: Largest frame taken before C{connection.tune} was agreed, in bytes. C{connection.start} carries the broker's
#: properties, on which there is no limit; RabbitMQ's are below 1 KiB, 128 KiB is what it proposes for frames later.
MAX_FRAME_BEFORE_TUNE = 128 * 1024
#: Largest method or header frame, in bytes, where frame_max is less: RabbitMQ does not split a content header, so
#: one may be larger than the agreed frame_max (errata to AMQP 0-9-1, section 11).
MAX_HEADER_FRAME = 256 * 1024
#: A BODY frame not yet whole is passed on in pieces of at least this many bytes, so that a peer which sends few bytes
#: at a time does not make many small objects of them.
MIN_PIECE = 512
#: Up to this many bytes of an incomplete frame are joined with each read; of more the pieces are kept apart, so that
#: many small reads of one frame cost no more than few.
MAX_TAIL = 4096
#: Such pieces kept before they are joined: each takes memory of its own.
MAX_PIECES = 1024
#: Bytes to ask the network for, normally and in the middle of a body frame. A large read of small messages brings
#: thousands, which keep everything else waiting; a body of 1 MB takes 430 us of CPU in large reads, not 940.
READ = 64 * 1024
LARGE_READ = 512 * 1024
#: A message incomplete at the end of a read, its body no larger than this, waits for the next read to be taken whole.
#: If it is incomplete even then, or is larger, each of its frames is taken once that is whole.
MAX_WHOLE = 16 * 1024

_FRAME = struct.Struct(">BHI")
_SETTLED = struct.Struct(">QB")


class Sink(Protocol):
    """
    What the receiver reports to. Each call may raise L{ProtocolError}.

    @ivar channels: The open channels by number (L{txpika.core.channel.Channel}).
    """

    channels: dict[int, Any]

    def method_received(self, number: int, payload: bytes) -> None:
        """A method frame. C{payload} begins with the class and method numbers."""

    def header_received(self, number: int, payload: bytes) -> None:
        """A content header frame."""

    def body_started(self, number: int, size: int) -> Content | None:
        """A body frame of C{size} bytes begins. Returns the content its bytes belong to, C{None} to drop them."""

    def body_finished(self, number: int) -> None:
        """The body frame is over; its bytes were passed on."""


def check_first_bytes(data: bytes) -> bool:
    """
    Whether the broker's first bytes may be AMQP 0-9-1.

    @param data: All it has sent, at least one byte.
    @return: C{False} when more bytes are needed to tell.
    @raise ProtocolVersionMismatch: when it answered with a protocol header of its own.
    @raise IncompatibleProtocolError: when it speaks something else.
    """
    if data[0] == FRAME_METHOD:
        return True
    if b"AMQP".startswith(data[:4]):
        if len(data) < 8:
            return False
        offered = tuple(data[4:8])
        error = ProtocolVersionMismatch(
            f"the broker does not speak AMQP 0-9-1: it answered with protocol header AMQP {offered}", initiator="peer"
        )
        error.offered = offered
        raise error
    if data[:1] == b"H":
        what = "an HTTP server"
    elif data[0] in (0x15, 0x16):
        what = "a TLS server (TLS needs amqps://)"
    elif data[:1] == b"S":
        what = "an SSH server"
    else:
        what = "no AMQP broker"
    raise IncompatibleProtocolError(f"the peer seems to be {what}: it began with {data[:16]!r}", initiator="peer")


class FrameReceiver:
    """
    @ivar max_body: Largest payload of a body frame, in bytes.
    @ivar halted: It drops all further bytes.
    @ivar read_size: How many bytes are best asked for next.
    """

    def __init__(self, sink: Sink, max_body_size: int) -> None:
        """
        @param max_body_size: Largest message body the short road takes, in bytes.
        """
        self._sink = sink
        self._max_body_size = max_body_size
        self._max_short = min(MAX_FRAME_BEFORE_TUNE, max_body_size)
        self.halted = False
        self.max_body = MAX_FRAME_BEFORE_TUNE
        self._max_other = MAX_FRAME_BEFORE_TUNE
        self._first = True
        # What is incomplete: its bytes or, of a large frame, its pieces and how many bytes are missing.
        self._tail = b""
        self._pieces: list[bytes] = []
        self._missing = 0
        # A body frame that is still arriving: octets to come with the end octet, its channel, what takes its bytes.
        self._left = 0
        self._number = 0
        self._content: Content | None = None
        self._shortcuts = Shortcuts(sink)
        self._forgot = False  # what the loop of a read keeps at hand is out of date
        self.read_size = READ  # follows from C{_left}; kept, as each read asks for it

    @property
    def buffered(self) -> int:
        """Bytes held back until their frame, or their small message, is whole."""
        return len(self._tail) + sum(map(len, self._pieces))

    def behind(self) -> tuple[bytes, int]:
        """
        @return: The beginning of an incomplete frame or small message, and how many bytes are to come of a body frame
            whose beginning was passed on. One of the two is empty.
        """
        return (b"", self._left - len(self._tail)) if self._left else (self._tail + b"".join(self._pieces), 0)

    def tuned(self, frame_max: int) -> None:
        """
        @param frame_max: Agreed size of a whole frame, in bytes.
        """
        self.max_body = frame_max - 8
        self._max_short = min(self.max_body, self._max_body_size)
        self._max_other = max(frame_max, MAX_HEADER_FRAME)

    def forget(self, number: int, consumer_tag: bytes | None = None) -> None:
        """A channel or a consumer is gone or has changed: the short road must not lead there any more."""
        self._forgot = True
        self._shortcuts.forget(number, consumer_tag)

    def halt(self) -> None:
        """Drop all that was and will be received."""
        self.halted = True
        self._tail = b""
        self._pieces.clear()
        self._missing = 0
        self._left = 0
        self.read_size = READ
        self._content = None
        self._forgot = True
        self._shortcuts.forget_all()

    def receive(self, data: bytes) -> None:
        """
        Bytes from the broker, any number. Must not be called from inside what it calls.

        @raise ProtocolError: when they are not AMQP. The receiver is of no use afterwards.
        @raise IncompatibleProtocolError: the same, for the first bytes.
        """
        if self._tail:
            data = self._tail + data
            self._tail = b""
        elif self._missing:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                if len(self._pieces) >= MAX_PIECES:
                    self._pieces[:] = [b"".join(self._pieces)]
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._missing = 0
        offset = 0
        if self._left:
            offset = self._continue_body(data, 0)
        elif self._first and data:
            if not check_first_bytes(data):
                self._tail = data
                return
            self._first = False
        if not self._left:
            offset = self._receive_frames(data, offset, len(data))
        if not self.halted:
            self._tail = data[offset:]
            if len(self._tail) > MAX_TAIL:
                self._collect()

    def _collect(self) -> None:
        """Do not copy what has come of a large frame again with each read that follows."""
        missing = 0 if self._left else _FRAME.unpack_from(self._tail)[2] + 8 - len(self._tail)
        if missing > 0:
            self._pieces.append(self._tail)
            self._missing = missing
            self._tail = b""

    def _receive_frames(self, data: bytes, offset: int, end: int) -> int:
        """
        Take what is whole.

        @return: Where what is incomplete begins.
        """
        shortcuts = self._shortcuts
        shapes, settlers, learn = shortcuts.shapes, shortcuts.settlers, shortcuts.learn
        begin = offset
        takers_before = consumer_before = head_before = None
        while not self.halted:
            if end - offset >= ACK_SIZE:
                # The short road. C{again}: something was taken, or learned, so look again at what is there now.
                again = False
                layout = None
                key = data[offset : offset + CONSUMER_AT]
                shape = shapes.get(key)
                if shape is None:
                    settle = settlers.get(data[offset : offset + ACK_AT])
                    if settle is None:
                        again = data[offset + CLASS_AT] == CLASS_BASIC and learn(data, offset, end)
                    elif data[offset + ACK_SIZE - 1] == FRAME_END:
                        number, bits = _SETTLED.unpack_from(data, offset + ACK_AT)
                        offset += ACK_SIZE
                        settle(number, bits)
                        continue
                elif shape.arrivals.content is None:
                    acks, _, size_at, layouts, takers = shape
                    size_at += offset
                    if size_at + 2 <= end:
                        layout = layouts.get(data[size_at] << 8 | data[size_at + 1])
                        if layout is None:
                            again = learn(data, offset, end)
                        else:
                            read, span, between, routes = layout
                            if takers is not takers_before or self._forgot:
                                takers_before = takers
                                consumer_before = head_before = None
                                self._forgot = False
                # What holds for this delivery holds for the next while they begin alike, and mostly that has the same
                # consumer and routing (comparing: 0.02 us; the dictionary: 0.06 us). If its header has another size,
                # its C{head} is not in C{routes}, which belong to this layout alone.
                while layout is not None:
                    body_at = offset + span
                    if body_at > end:
                        break
                    # One struct reads it all, and what must never differ comes in few pieces (0.13 us).
                    consumer, tag, head, size, raw_properties, after = read(data, offset + CONSUMER_AT)
                    if after != between + size or not 0 < size <= self._max_short or tag != acks.delivered + 1:
                        break
                    if consumer != consumer_before:
                        taker = takers.get(consumer)
                        if taker is None:
                            again = learn(data, offset, end) or again
                            break
                        consumer_tag, deliver, unacked = taker
                        consumer_before = consumer
                    if head != head_before:
                        found = routes.get(head)
                        if found is None:
                            again = learn(data, offset, end) or again
                            break
                        route = found
                        head_before = head
                    stop = body_at + size
                    if stop >= end:
                        if offset > begin and size <= MAX_WHOLE:
                            return offset  # most likely whole with the next read
                        break
                    if data[stop] != FRAME_END:
                        break
                    acks.delivered = tag
                    if unacked is not None:
                        unacked[tag] = None
                    offset = stop + 1
                    deliver(Delivery(acks, consumer_tag, tag, route, raw_properties, data[body_at:stop]))
                    again = True
                    if data[offset : offset + CONSUMER_AT] != key or self._forgot:
                        break
                if again:
                    continue
            if end - offset < 7:
                break
            stop = self._receive_frame(data, offset, end)
            if not stop:
                break
            offset = stop
            if self._left:
                break
        return offset

    def _receive_frame(self, data: bytes, offset: int, end: int) -> int:
        """
        The general road, one frame.

        @return: Where the next frame begins; 0 when this one is not whole.
        """
        kind: int
        number: int
        size: int
        kind, number, size = _FRAME.unpack_from(data, offset)
        if kind not in (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT):
            raise FramingError(f"a frame of unknown type {kind}", FRAME_ERROR)
        if size > (self.max_body if kind == FRAME_BODY else self._max_other):
            raise ProtocolError(f"a frame of {size} bytes on channel {number}, over the limit", FRAME_ERROR)
        start = offset + 7
        stop = start + size + 1
        if kind == FRAME_BODY:
            return self._receive_body(data, start, stop, end, number, size)
        if stop > end:
            return 0
        if data[stop - 1] != FRAME_END:
            raise FramingError(f"a frame that ends with {data[stop - 1]:#04x} instead of 0xce", FRAME_ERROR)
        if kind == FRAME_METHOD:
            self._sink.method_received(number, data[start : stop - 1])
        elif kind == FRAME_HEADER:
            self._sink.header_received(number, data[start : stop - 1])
        elif number:
            raise ProtocolError(f"a heartbeat on channel {number}", COMMAND_INVALID)
        elif size:
            raise ProtocolError(f"a heartbeat with {size} bytes of payload", FRAME_ERROR)
        return stop

    def _receive_body(self, data: bytes, start: int, stop: int, end: int, number: int, size: int) -> int:
        """A body frame, whole or not: its bytes are passed on as they come, so that nothing is copied twice."""
        content = self._sink.body_started(number, size)
        if stop <= end:
            if data[stop - 1] != FRAME_END:
                raise FramingError(f"a frame that ends with {data[stop - 1]:#04x} instead of 0xce", FRAME_ERROR)
            if content is not None:
                content.piece(data, start, stop - 1)
            self._sink.body_finished(number)
            return stop
        self._left, self._number, self._content = stop - start, number, content
        self.read_size = LARGE_READ
        return self._continue_body(data, start)

    def _continue_body(self, data: bytes, start: int) -> int:
        """
        More of a body frame.

        @param start: Where in C{data} the frame goes on.
        @return: Where the bytes not taken begin.
        """
        left, end = self._left, len(data)
        have = end - start
        if have < left:
            if have < MIN_PIECE and have < left - 1:
                return start
            if self._content is not None:
                self._content.piece(data, start, end)
            self._left = left - have
            return end
        stop = start + left
        if data[stop - 1] != FRAME_END:
            raise FramingError(f"a frame that ends with {data[stop - 1]:#04x} instead of 0xce", FRAME_ERROR)
        if self._content is not None:
            self._content.piece(data, start, stop - 1)
        self._left, self._content = 0, None
        self.read_size = READ
        self._sink.body_finished(self._number)
        return stop
