# -*- test-case-name: txpika.test.test_content -*-
"""
Put one message together from its method, its header frame and its body frames.

Owns the order these must come in and the sizes they may have (AMQP 0-9-1 section 4.2.6). Knows bytes and limits; not
whose message it is.
"""

from __future__ import annotations

import struct
from io import BytesIO

from txpika.core.memory import memory
from txpika.exceptions import ProtocolError
from txpika.spec import FRAME_ERROR, UNEXPECTED_FRAME, Method

#: Most body frames without a byte in one message. The protocol neither forbids them nor gives them a use.
MAX_EMPTY_FRAMES = 1000

#: Room for a body in several pieces is made for this many times what has come of it so far: a peer that announces much
#: and sends little takes up little, and one read of the network is enough to make room for a megabyte.
ROOM = 16

_HEADER = struct.Struct(">HHQ")
_BASIC = 60


class Content:
    """
    @ivar method: The method that announced the message.
    @ivar raw_properties: Property flags and values, as they came.
    @ivar size: Announced size of the body, in bytes; -1 before the header frame.
    @ivar left: Bytes of the body that are still to come.
    @ivar too_large: The body is over the limit: its bytes are counted, and dropped.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_empty_frames",
        "_limit",
        "_room",
        "left",
        "method",
        "raw_properties",
        "size",
        "too_large",
    )

    def __init__(self, method: Method, limit: int) -> None:
        """
        @param limit: Largest body that is kept, in bytes.
        """
        self.method = method
        self._limit = limit
        self.raw_properties = b""
        self.size = -1
        self.left = 0
        self.too_large = False
        self._empty_frames = 0
        self._body = b""
        self._buffer: BytesIO | None = None
        self._room = 0

    @property
    def complete(self) -> bool:
        """Whether the message is whole."""
        return self.size >= 0 and not self.left

    def header(self, payload: bytes) -> None:
        """
        The header frame.

        @raise ProtocolError: 505 when it is not its turn or its weight is not 0; 501 when it is short or not of class
            C{basic}.
        """
        if self.size >= 0:
            raise ProtocolError("a second header frame within one message", UNEXPECTED_FRAME)
        if len(payload) < 14:
            raise ProtocolError(f"a header frame of {len(payload)} bytes, at least 14", FRAME_ERROR)
        class_id, weight, size = _HEADER.unpack_from(payload)
        if class_id != _BASIC:
            raise ProtocolError(f"a header frame of class {class_id} after a method of class 60", FRAME_ERROR)
        if weight:
            raise ProtocolError(f"a header frame of weight {weight}, not 0", UNEXPECTED_FRAME)
        self.size = self.left = size
        self.too_large = size > self._limit
        self.raw_properties = payload[12:]

    def frame(self, size: int) -> None:
        """
        A body frame begins; its bytes follow through L{piece}.

        @param size: Of its payload, in bytes.
        @raise ProtocolError: 505 when it is not its turn, or holds more than is left of the body.
        """
        if self.size < 0:
            raise ProtocolError("a body frame before the header frame", UNEXPECTED_FRAME)
        if size > self.left:
            raise ProtocolError(
                f"a body frame of {size} bytes where {self.left} of {self.size} are left", UNEXPECTED_FRAME
            )
        if not size:
            self._empty_frames += 1
            if self._empty_frames > MAX_EMPTY_FRAMES:
                raise ProtocolError(f"more than {MAX_EMPTY_FRAMES} empty body frames", UNEXPECTED_FRAME)

    def piece(self, data: bytes, start: int, stop: int) -> None:
        """
        Some of the bytes of the frame that L{frame} announced.

        @param data: Holds them from C{start} up to but not including C{stop}.
        """
        size = stop - start
        self.left -= size
        if self.too_large or not size:
            return
        if size == self.size:
            self._body = data[start:stop]
            return
        # Written where they stay, over memory that the previous message's body has just left: 105 us for 1 MB in reads
        # of 64 KiB. A list of pieces, joined at the end, takes twice the memory, which malloc returns to the system and
        # asks for again with each message: 1,200 us (glibc 2.36).
        if self._buffer is None:
            self._buffer = BytesIO()
        received = self.size - self.left
        if received > self._room:
            self._room = min(self.size, ROOM * received)
            self._buffer.seek(self._room - 1)
            self._buffer.write(b"\0")
            self._buffer.seek(received - size)
        self._buffer.write(memoryview(data)[start:stop])

    def body(self) -> bytes:
        """
        The body, which is not kept. C{b""} when it was too large.
        """
        if self._buffer is None:
            body = self._body
        else:
            if self.size > memory.largest:
                memory.expect(self.size)  # only now: one that is merely announced takes nothing
            body = self._buffer.getvalue()
        self._body, self._buffer = b"", None
        return body
