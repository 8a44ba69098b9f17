# -*- test-case-name: txpika.test.test_wire -*-
"""
The primitives of AMQP 0-9-1: integers, strings, bits, timestamps (section 4.2.5).

Owns how one value becomes bytes and which values are refused. Knows no method and no property: callers pass a C{where}
such as C{"queue.declare: queue"}, with which the text of every error begins. No error text holds the value itself.

Reading is done in place by the generated code, with the same L{Struct}s. It relies on one thing: an offset past the end
of the data makes C{unpack_from} raise L{StructError} and indexing raise L{IndexError}.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from txpika.exceptions import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime as DateTime

#: What a short string's one octet of length allows, in bytes.
MAX_SHORTSTR = 255

OCTET = Struct(">B")
SHORT = Struct(">H")
LONG = Struct(">I")
LONGLONG = Struct(">Q")

#: What C{unpack_from} and indexing raise past the end.
PAST_THE_END = (StructError, IndexError)


class Timestamp(int):
    """
    Seconds since 1970-01-01 00:00 UTC, as they travel in 64 bits.

    A peer may send any number, milliseconds too; it is kept as it came.
    """

    __slots__ = ()

    @property
    def datetime(self) -> DateTime:
        """
        The same moment, aware, in UTC.

        @raise OverflowError: There is no such date: the year is past 9999.
        """
        from datetime import UTC, datetime, timedelta

        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(self))


def wrong_type(where: str, wanted: str, value: object) -> TypeError:
    """
    @return: The exception for a value that is not of the wanted type.
    """
    return TypeError(f"{where} must be {wanted}, not {type(value).__name__}")


def truncated(what: str) -> DecodeError:
    """
    @return: The exception for data that ends before C{what} does.
    """
    return DecodeError(f"{what} is cut short", 501)


def _integer(value: int, where: str, packer: Struct) -> bytes:
    if value.__class__ is not int and (not isinstance(value, int) or isinstance(value, bool)):
        raise wrong_type(where, "int", value)
    try:
        return packer.pack(value)
    except (StructError, ValueError):  # the latter is PyPy's, for negative numbers of eight bytes
        raise ValueError(f"{where} must be between 0 and {2 ** (8 * packer.size) - 1}") from None


def encode_octet(value: int, where: str) -> bytes:
    """
    @param value: 0 to 255.
    @raise ValueError: It is out of range.
    @raise TypeError: It is not an int; a bool does not count as one here.
    """
    return _integer(value, where, OCTET)


def encode_short(value: int, where: str) -> bytes:
    """
    @param value: 0 to 65535.
    @raise ValueError: It is out of range.
    @raise TypeError: It is not an int.
    """
    if value.__class__ is int and 0 <= value <= 0xFFFF:  # L{_integer} in place: a method needs it once or twice
        return SHORT.pack(value)
    return _integer(value, where, SHORT)


def encode_long(value: int, where: str) -> bytes:
    """
    @param value: 0 to 2^32 - 1.
    @raise ValueError: It is out of range.
    @raise TypeError: It is not an int.
    """
    return _integer(value, where, LONG)


def encode_longlong(value: int, where: str) -> bytes:
    """
    @param value: 0 to 2^64 - 1.
    @raise ValueError: It is out of range.
    @raise TypeError: It is not an int.
    """
    return _integer(value, where, LONGLONG)


def check_bit(value: bool, where: str) -> bool:
    """
    @return: C{value}, for the generated code to pack.
    @raise TypeError: It is not a bool. 0 and 1 are refused like any other int: most likely an argument slipped.
    """
    if value is True or value is False:
        return value
    raise wrong_type(where, "bool", value)


def encode_text(value: str, where: str) -> bytes:
    """
    @return: Strict UTF-8.
    @raise ValueError: A lone surrogate, which UTF-8 cannot carry.
    @raise TypeError: It is not a str.
    """
    if not isinstance(value, str):
        raise wrong_type(where, "str", value)
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{where} has a lone surrogate, which UTF-8 cannot carry") from None


def encode_shortstr(value: str, where: str) -> bytes:
    """
    @param value: At most 255 bytes of UTF-8, without NUL (section 4.2.5.3).
    @raise ValueError: It is longer, or has a NUL or a lone surrogate.
    @raise TypeError: It is not a str.
    """
    data = value.encode() if value.__class__ is str and value.isascii() else encode_text(value, where)
    if len(data) > MAX_SHORTSTR:
        raise ValueError(f"{where} is {len(data)} bytes of UTF-8, at most {MAX_SHORTSTR}")
    if b"\0" in data:
        raise ValueError(f"{where} has a NUL")
    return OCTET.pack(len(data)) + data


def encode_longstr(value: bytes | bytearray | memoryview, where: str) -> bytes:
    """
    @param value: Bytes, as they are.
    @raise TypeError: It is neither bytes, bytearray nor memoryview.
    """
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise wrong_type(where, "bytes", value)
    data = bytes(value)
    return _integer(len(data), where, LONG) + data


def to_timestamp(value: int | DateTime, where: str) -> Timestamp:
    """
    @param value: Seconds since 1970, or a moment; one without a time zone is taken for UTC. Fractions of a second are
        dropped.
    @raise ValueError: Before 1970, or over 64 bits.
    @raise TypeError: It is neither; the result of C{time.time()} needs C{int()} around it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < 2**64:
            return Timestamp(value)
        raise ValueError(f"{where} must be between 0 and 2^64 - 1 seconds")
    from datetime import UTC, datetime, timedelta

    if not isinstance(value, datetime):
        raise wrong_type(where, "int or datetime", value)
    if value.utcoffset() is None:
        value = value.replace(tzinfo=UTC)
    seconds = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    if seconds < 0:
        raise ValueError(f"{where} is before 1970")
    return Timestamp(seconds)


def encode_timestamp(value: int | DateTime, where: str) -> bytes:
    """
    @param value: See L{to_timestamp}.
    @raise ValueError: See L{to_timestamp}.
    @raise TypeError: See L{to_timestamp}.
    """
    return LONGLONG.pack(to_timestamp(value, where))
