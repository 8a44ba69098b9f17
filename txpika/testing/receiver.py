# -*- test-case-name: txpika.test.test_memory_hostile -*-
"""
Cut the bytes of a client into frames, and take whole messages in one step.

Owns the one inbound buffer of a connection of the broker in memory, and the limits on a frame. Knows channels as
numbers and what to tell of them. As in L{txpika.core.frames} there are two roads: a C{basic.publish} whose frames all
lie whole in the buffer, and that begins like one before, takes the short one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

from txpika.exceptions import ProtocolError
from txpika.spec import (
    COMMAND_INVALID,
    FRAME_BODY,
    FRAME_END,
    FRAME_ERROR,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    PROTOCOL_HEADER,
    UNEXPECTED_FRAME,
)

#: Largest frame taken before C{connection.tune-ok}, in bytes, as RabbitMQ's C{initial_frame_max}.
MAX_FRAME_BEFORE_TUNE = 8192
#: Begins of messages that are remembered; at this many they start anew.
MAX_REMEMBERED = 1024

_FRAME = struct.Struct(">BHI")
_HEADER = struct.Struct(">BHIIQ")
_PUBLISH = b"\x00\x3c\x00\x28"  # class basic, method publish
_BASIC_CONTENT = 60 << 16  # class basic, weight 0

#: Takes properties and body of a message whose method frame it stands for. C{False}: it may not be done that way now.
Publish = Callable[[bytes, bytes], bool]


class Sink(Protocol):
    """What the receiver reports to. Each call may raise L{ProtocolError}."""

    def greeted(self, header: bytes) -> None:
        """The first 8 bytes, whatever they are."""

    def method_received(self, number: int, payload: bytes) -> None:
        """A method frame."""

    def header_received(self, number: int, payload: bytes) -> None:
        """A content header frame."""

    def body_received(self, number: int, payload: bytes) -> None:
        """A body frame."""

    def cut(self) -> None:
        """That was the last frame that may come."""

    def publisher(self, number: int, payload: bytes) -> Publish | None:
        """
        @param payload: Of the method frame of a C{basic.publish}.
        @return: What takes messages that begin with it; C{None} when there is something about them.
        """


class ServerReceiver:
    """
    @ivar halted: It drops all further bytes.
    @ivar frames: How many frames came.
    @ivar last_frame: After that many of them it is cut; C{None} for never.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.halted = False
        self.frames = 0
        self.last_frame: int | None = None
        self._stopped = False
        self._paused = False
        self._greeted = False
        self._max_payload = MAX_FRAME_BEFORE_TUNE
        # What is not whole yet, and how many bytes are wanted before it is looked at again.
        self._pieces: list[bytes] = []
        self._size = 0
        self._wanted = 0
        self._known: dict[bytes, Publish] = {}

    def tuned(self, frame_max: int) -> None:
        """
        @param frame_max: Agreed size of a whole frame, in bytes; 0 for any.
        """
        self._max_payload = frame_max - 8 if frame_max else 2**32

    def forget(self) -> None:
        """A channel is gone, or has another mode: the short road must not lead there any more."""
        self._known.clear()

    def halt(self) -> None:
        """Drop all that was and will be received."""
        self.halted = self._stopped = True
        self._pieces, self._size = [], 0
        self._known.clear()

    def pause(self) -> None:
        """After the present frame, keep what comes until L{resume}."""
        self._paused = self._stopped = True

    def resume(self) -> None:
        """
        Go on.

        @raise ProtocolError: as L{receive}.
        """
        if self._paused:
            self._paused, self._stopped, self._wanted = False, self.halted, 0
            self.receive(b"")

    @property
    def buffered(self) -> int:
        """Bytes held back until their frame is whole."""
        return self._size

    def receive(self, data: bytes) -> None:
        """
        Bytes from the client, any number. Must not be called from inside what it calls.

        @raise ProtocolError: when they are no AMQP. The receiver is of no use afterwards.
        """
        if self.halted:
            return
        if self._pieces:
            self._pieces.append(data)
            self._size += len(data)
            if self._paused or self._size < self._wanted:
                return
            data = b"".join(self._pieces)
            self._pieces, self._size = [], 0
        offset = 0
        if not self._greeted:
            if len(data) < len(PROTOCOL_HEADER) and PROTOCOL_HEADER.startswith(data):
                self._keep(data, 0, len(PROTOCOL_HEADER))
                return
            self._greeted = True
            offset = len(PROTOCOL_HEADER)
            self._sink.greeted(data[:offset])
        if not self._paused:
            offset = self._frames(data, offset, len(data))
        if not self.halted and offset < len(data):
            wanted = 7
            if len(data) - offset >= 7:
                wanted = _FRAME.unpack_from(data, offset)[2] + 8
            self._keep(data, offset, wanted)

    def _keep(self, data: bytes, offset: int, wanted: int) -> None:
        tail = data[offset:] if offset else data
        self._pieces, self._size, self._wanted = [tail], len(tail), wanted

    def _frames(self, data: bytes, offset: int, end: int) -> int:
        """@return: Where what is not whole begins."""
        known, sink = self._known, self._sink
        while end - offset >= 7 and not self._stopped:
            kind, number, size = _FRAME.unpack_from(data, offset)
            stop = offset + size + 8
            if (
                kind == FRAME_METHOD
                and stop <= end
                and data.startswith(_PUBLISH, offset + 7)
                and self.last_frame is None
            ):
                after = self._message(known, data, offset, stop, end, number)
                if after:
                    self.frames += 3
                    offset = after
                    continue
            self._check(kind, number, size)
            if stop > end:
                break
            if data[stop - 1] != FRAME_END:
                raise ProtocolError(f"a frame that ends with {data[stop - 1]:#04x} instead of 0xce", FRAME_ERROR)
            self.frames += 1
            payload = data[offset + 7 : stop - 1]
            offset = stop
            if kind == FRAME_METHOD:
                sink.method_received(number, payload)
            elif kind == FRAME_BODY:
                sink.body_received(number, payload)
            elif kind == FRAME_HEADER:
                sink.header_received(number, payload)
            if self.last_frame is not None and self.frames >= self.last_frame:
                sink.cut()
        return offset

    def _check(self, kind: int, number: int, size: int) -> None:
        """@raise ProtocolError: There is no such frame."""
        if kind not in (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT):
            raise ProtocolError(f"a frame of unknown type {kind}", FRAME_ERROR)
        if size > self._max_payload:
            raise ProtocolError(
                f"type {kind}, channel {number}: a payload of {size} bytes, over {self._max_payload}", FRAME_ERROR
            )
        if kind == FRAME_HEARTBEAT:
            if number:
                raise ProtocolError(f"a heartbeat on channel {number}", COMMAND_INVALID)
            if size:
                raise ProtocolError(f"a heartbeat with {size} bytes of payload", FRAME_ERROR)
        elif kind != FRAME_METHOD and not number:
            raise ProtocolError("a message on channel 0", UNEXPECTED_FRAME)

    def _message(self, known: dict[bytes, Any], data: bytes, offset: int, head: int, end: int, number: int) -> int:
        """
        The short road.

        @param head: Where the method frame ends.
        @return: Where the message ends; 0 for one that the general road has to take.
        """
        if head + 22 > end:
            return 0
        kind, same, properties_size, content, size = _HEADER.unpack_from(data, head)
        body_at = head + 8 + properties_size
        stop = body_at + size + 8 if size else body_at
        if (
            stop > end
            or kind != FRAME_HEADER
            or same != number
            or content != _BASIC_CONTENT
            or not 14 <= properties_size <= self._max_payload
            or data[body_at - 1] != FRAME_END
            or size > self._max_payload
        ):
            return 0
        if size and (data[stop - 1] != FRAME_END or _FRAME.unpack_from(data, body_at) != (FRAME_BODY, number, size)):
            return 0
        begin = data[offset:head]
        publish = known.get(begin)
        if publish is None:
            if begin[-1] != FRAME_END or len(begin) > self._max_payload + 8:
                return 0
            publish = self._sink.publisher(number, begin[7:-1])
            if publish is None:
                return 0
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            known[begin] = publish
        body = data[body_at + 7 : stop - 1] if size else b""
        return stop if publish(data[head + 19 : body_at - 1], body) else 0
