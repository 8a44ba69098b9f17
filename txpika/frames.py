# -*- test-case-name: txpika.test.test_frames -*-
"""
Frames as objects: what programs of callbacks get with their replies, and what the log shows.

Owns the classes, and the way to and from bytes for those who look at single frames. What stands in a payload is
L{txpika.spec}'s business. The engine does without this: it cuts and makes frames in place (L{txpika.core.frames}).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct
from typing import ClassVar

from txpika import spec
from txpika.exceptions import DecodeError, FramingError, ProtocolError
from txpika.spec import FRAME_BODY, FRAME_END, FRAME_ERROR, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD

_FRAME = Struct(">BHI")
_HEADER = Struct(">HHQ")
_BASIC = 60
#: Octets around a payload: type, channel and size before it, the end octet after it.
OVERHEAD = 8
#: The types a frame may have.
KINDS = (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT)


class Frame(ABC):
    """
    @cvar NAME: What kind of frame it is.
    @ivar frame_type: The same, as the number on the wire.
    @ivar channel_number: Whose it is, 0 to 65535.
    """

    NAME: ClassVar[str] = "Frame"
    __slots__ = ("channel_number", "frame_type")

    def __init__(self, frame_type: int, channel_number: int) -> None:
        """
        @raise TypeError: when a number is no int.
        @raise ValueError: when it does not fit into a frame.
        """
        for name, value, high in (("frame_type", frame_type, 0xFF), ("channel_number", channel_number, 0xFFFF)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be int, not {type(value).__name__}")
            if not 0 <= value <= high:
                raise ValueError(f"{name} is {value}, it must be from 0 to {high}")
        self.frame_type = frame_type
        self.channel_number = channel_number

    @abstractmethod
    def payload(self) -> bytes:
        """
        @return: What stands between the frame's header and its end octet.
        @raise ValueError: when an argument is out of range.
        @raise TypeError: when an argument is of a wrong type.
        """

    def marshal(self) -> bytes:
        """
        @return: The whole frame.
        @raise ValueError: when an argument is out of range.
        @raise TypeError: when an argument is of a wrong type.
        """
        payload = self.payload()
        return b"".join((_FRAME.pack(self.frame_type, self.channel_number, len(payload)), payload, bytes((FRAME_END,))))

    def _shown(self) -> str:
        """@return: What C{repr} shows beside the channel, on one line and without a secret."""
        return ""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.marshal() == other.marshal()

    def __repr__(self) -> str:
        shown = self._shown()
        return f"<frames.{type(self).__name__} channel {self.channel_number}{': ' if shown else ''}{shown}>"


class Method(Frame):
    """
    A method.

    @ivar method: The L{txpika.spec.Method}.
    """

    NAME = "METHOD"
    __slots__ = ("method",)

    def __init__(self, channel_number: int, method: spec.Method) -> None:
        super().__init__(FRAME_METHOD, channel_number)
        if not isinstance(method, spec.Method):
            raise TypeError(f"method must be a method of txpika.spec, not {type(method).__name__}")
        self.method = method

    def payload(self) -> bytes:
        """@return: Class id, method id and arguments."""
        return self.method.encode()

    def _shown(self) -> str:
        return repr(self.method)


class Header(Frame):
    """
    A content header: how large the message is, and its properties.

    @ivar body_size: Of the whole body, in bytes.
    @ivar properties: L{txpika.spec.BasicProperties}.
    """

    NAME = "Header"
    __slots__ = ("body_size", "properties")

    def __init__(self, channel_number: int, body_size: int, properties: spec.BasicProperties) -> None:
        super().__init__(FRAME_HEADER, channel_number)
        if not isinstance(body_size, int) or isinstance(body_size, bool):
            raise TypeError(f"body_size must be int, not {type(body_size).__name__}")
        if not 0 <= body_size < 2**64:
            raise ValueError(f"body_size is {body_size}, it must be from 0 to 2^64 - 1")
        if not isinstance(properties, spec.BasicProperties):
            raise TypeError(f"properties must be BasicProperties, not {type(properties).__name__}")
        self.body_size = body_size
        self.properties = properties

    def payload(self) -> bytes:
        """@return: Class, weight, body size, property flags and values."""
        return _HEADER.pack(_BASIC, 0, self.body_size) + self.properties.encode()

    def _shown(self) -> str:
        return f"a body of {self.body_size} bytes, {self.properties!r}"


class Body(Frame):
    """
    A body, or a piece of one.

    @ivar fragment: Its bytes.
    """

    NAME = "Body"
    __slots__ = ("fragment",)

    def __init__(self, channel_number: int, fragment: bytes) -> None:
        super().__init__(FRAME_BODY, channel_number)
        if not isinstance(fragment, bytes):
            raise TypeError(f"fragment must be bytes, not {type(fragment).__name__}")
        self.fragment = fragment

    def payload(self) -> bytes:
        """@return: The fragment."""
        return self.fragment

    def _shown(self) -> str:
        return f"{len(self.fragment)} bytes"


class Heartbeat(Frame):
    """A sign of life."""

    NAME = "Heartbeat"
    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(FRAME_HEARTBEAT, 0)

    def payload(self) -> bytes:
        """@return: Nothing."""
        return b""


class ProtocolHeader:
    """
    What a client says first, and a server that speaks another AMQP answers (section 4.2.2). Not a frame, but it stands
    where frames do.

    @ivar frame_type: -1: it has none.
    @ivar major: Of the protocol's version.
    @ivar minor: Of the protocol's version.
    @ivar revision: Of the protocol's version.
    """

    NAME: ClassVar[str] = "ProtocolHeader"
    __slots__ = ("_id", "major", "minor", "revision")
    frame_type = -1

    def __init__(self, major: int = 0, minor: int = 9, revision: int = 1) -> None:
        for name, value in (("major", major), ("minor", minor), ("revision", revision)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be int, not {type(value).__name__}")
            if not 0 <= value <= 0xFF:
                raise ValueError(f"{name} is {value}, it must be from 0 to 255")
        self.major, self.minor, self.revision = major, minor, revision
        self._id = 0

    def marshal(self) -> bytes:
        """@return: Its 8 bytes."""
        return b"AMQP" + bytes((self._id, self.major, self.minor, self.revision))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.marshal() == other.marshal()

    def __repr__(self) -> str:
        return f"<frames.ProtocolHeader {self.major}-{self.minor}-{self.revision}>"


def decode_frame(data: bytes, offset: int = 0) -> tuple[int, Frame | ProtocolHeader | None]:
    """
    Read one frame, or a protocol header.

    @param data: What holds it.
    @param offset: Where it begins.
    @return: How many bytes it took, and the frame; 0 and C{None} when it is not whole.
    @raise ValueError: when C{offset} is below 0.
    @raise FramingError: 501: the type is unknown, or the end octet is another.
    @raise ProtocolError: 501, 502, 503 or 505: the frame can be cut out, but its payload makes no sense. Properties of
        a header are not looked at before they are read.
    """
    if offset < 0:
        raise ValueError(f"offset is {offset}, it must not be below 0")
    have = len(data) - offset
    if data[offset : offset + 4] == b"AMQP"[:have] and have > 0:
        return _decode_protocol_header(data, offset) if have >= 8 else (0, None)
    if have < 1:
        return 0, None
    if data[offset] not in KINDS:
        raise FramingError(f"a frame of unknown type {data[offset]}", FRAME_ERROR)
    if have < 7:
        return 0, None
    kind, number, size = _FRAME.unpack_from(data, offset)
    if have < size + OVERHEAD:
        return 0, None
    start = offset + 7
    end = start + size
    if data[end] != FRAME_END:
        raise FramingError(f"a frame that ends with {data[end]:#04x} instead of 0xce", FRAME_ERROR)
    return size + OVERHEAD, _decode_payload(kind, number, bytes(data[start:end]))


def _decode_protocol_header(data: bytes, offset: int) -> tuple[int, ProtocolHeader]:
    header = ProtocolHeader(*data[offset + 5 : offset + 8])
    header._id = data[offset + 4]
    return 8, header


def _decode_payload(kind: int, number: int, payload: bytes) -> Frame:
    if kind == FRAME_METHOD:
        try:
            return Method(number, spec.decode_method(payload)[0])
        except DecodeError as error:
            raise ProtocolError(str(error), error.reply_code) from error
    if kind == FRAME_HEADER:
        if len(payload) < _HEADER.size + 2:
            raise ProtocolError(f"a content header of {len(payload)} bytes", FRAME_ERROR)
        class_id, weight, body_size = _HEADER.unpack_from(payload)
        if class_id != _BASIC:
            raise ProtocolError(f"a content header of class {class_id}, not {_BASIC}", FRAME_ERROR)
        if weight:
            raise ProtocolError(f"a content header of weight {weight}, not 0", spec.UNEXPECTED_FRAME)
        return Header(number, body_size, spec.BasicProperties.from_wire(payload[_HEADER.size :]))
    if kind == FRAME_BODY:
        return Body(number, payload)
    if number:
        raise ProtocolError(f"a heartbeat on channel {number}", spec.COMMAND_INVALID)
    if payload:
        raise ProtocolError(f"a heartbeat with {len(payload)} bytes of payload", FRAME_ERROR)
    return Heartbeat()
