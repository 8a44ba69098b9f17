# -*- test-case-name: txpika.test.test_memory_consuming -*-
"""
Methods and messages of the broker in memory as frames.

Owns what makes a delivery cheap: of its method frame only the tag differs from one to the next. Knows no channel.
"""

from __future__ import annotations

import struct

from txpika.core.outbound import BASIC_CONTENT, END, body_frames, frame
from txpika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD, MAX_SHORTSTR, Method

_END_THEN_HEADER = struct.Struct(">BBH")
_HEADER = struct.Struct(">IIQ")
_END_THEN_BODY = struct.Struct(">BBHI")
_FRAME = struct.Struct(">BHI")
#: A delivery tag, and whether it was delivered before.
TAG = struct.Struct(">QB")

_DELIVER, _GET_OK, _RETURN = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x47", b"\x00\x3c\x00\x32"


def method_frame(number: int, method: Method) -> bytes:
    """@return: A method frame."""
    return frame(FRAME_METHOD, number, method.encode())


def shortstr(text: str) -> bytes:
    """@return: A short string of a peer's text, with the bytes that it came from."""
    data = text.encode("utf-8", "surrogateescape")
    return bytes((len(data),)) + data


def reply_text(text: str) -> str:
    """@return: C{text}, cut to what a short string holds; what was not UTF-8, and NUL, is replaced."""
    data = text.replace("\0", "?").encode("utf-8", "replace")
    if len(data) > MAX_SHORTSTR:
        data = data[: MAX_SHORTSTR - 3] + b"..."
    return data.decode("utf-8", "ignore")


def deliver_head(number: int, tag: str, wire: bytes) -> tuple[bytes, bytes]:
    """
    @param tag: The consumer's.
    @param wire: Exchange and routing key, as short strings.
    @return: What stands before C{TAG} in a C{basic.deliver} and its frame, and what stands after it, up to the number
        of the channel in the header frame.
    """
    name = shortstr(tag)
    begin = _FRAME.pack(FRAME_METHOD, number, 4 + len(name) + TAG.size + len(wire)) + _DELIVER + name
    return begin, wire + _END_THEN_HEADER.pack(FRAME_END, FRAME_HEADER, number)


def content_tail(number: int, raw: bytes, body: bytes, frame_max: int) -> bytes:
    """
    @param raw: Property flags and values.
    @param frame_max: Agreed size of a whole frame, in bytes.
    @return: Header frame without its type and channel, and body frames.
    """
    size = len(body)
    if size <= frame_max - 8:
        if not size:
            return b"".join((_HEADER.pack(len(raw) + 12, BASIC_CONTENT, 0), raw, END))
        return b"".join(
            (
                _HEADER.pack(len(raw) + 12, BASIC_CONTENT, size),
                raw,
                _END_THEN_BODY.pack(FRAME_END, FRAME_BODY, number, size),
                body,
                END,
            )
        )
    header = (_HEADER.pack(len(raw) + 12, BASIC_CONTENT, size), raw, END)
    return b"".join((*header, *body_frames(number, body, frame_max)))


def get_ok(number: int, tag: int, redelivered: bool, wire: bytes, count: int) -> bytes:
    """@return: A C{basic.get-ok}, up to the number of the channel in the header frame."""
    payload = b"".join((_GET_OK, TAG.pack(tag, redelivered), wire, struct.pack(">I", count)))
    return frame(FRAME_METHOD, number, payload) + struct.pack(">BH", FRAME_HEADER, number)


def returned(number: int, reply_code: int, text: str, wire: bytes) -> bytes:
    """@return: A C{basic.return}, up to the number of the channel in the header frame."""
    payload = b"".join((_RETURN, struct.pack(">H", reply_code), shortstr(text), wire))
    return frame(FRAME_METHOD, number, payload) + struct.pack(">BH", FRAME_HEADER, number)
