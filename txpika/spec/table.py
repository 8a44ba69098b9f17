# -*- test-case-name: txpika.test.test_table -*-
"""
Field tables and arrays: the one place where AMQP nests (section 4.2.5.5; tags as in rabbitmq.com/amqp-0-9-1-errata).

Owns the type tags, which Python value each one is, and how much of it is accepted. Tables of messages come from whoever
published them, through a broker that does not look inside; so reading neither recurses nor trusts a length.

What is read::

    t  bool             b B s u I i l L   int       f d  float      D  decimal.Decimal
    S  str, or bytes where it is not UTF-8          x  bytes        V  None
    T  L{Timestamp}     F  dict                     A  list         U  int (16 bits; never written)

Keys that are not UTF-8 keep their bytes as surrogates (C{surrogateescape}). Of equal keys the last wins.

What is written::

    bool t    int I, or l above 32 bits   float d         str S     bytes, bytearray, memoryview x     None V
    Decimal D     L{Timestamp}, datetime T (naive: UTC)   a mapping F     list, tuple A

Subclasses count as their base, so an C{IntEnum} is its number and a C{StrEnum} its text. A key or text with surrogates
is refused, even if it was read like that: a peer cannot make this side send what is not UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from struct import Struct

from txpika.exceptions import DecodeError
from txpika.spec.wire import (
    LONG,
    Timestamp,
    encode_shortstr,
    encode_text,
    encode_timestamp,
    truncated,
    wrong_type,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Any

    #: Where a value stands: the name of the whole, or the place of its container and its own key or index.
    Place = str | tuple["Place", str | int]

#: How deep tables and arrays may be nested, counting the outermost one. RabbitMQ's own headers (C{x-death})
#: need 3. The reader does not recurse, but what is done with the value afterwards (C{repr}, C{==}, C{json}) does.
MAX_TABLE_DEPTH = 32

#: How many values one table may hold, all levels together. A value of 3 bytes, including its key, may take 150 in
#: memory; with this limit the costliest table of a header of 256 KiB takes some 6 MiB.
MAX_TABLE_ITEMS = 65536

_SCALARS = {
    ord(tag): Struct(layout)
    for tag, layout in {
        "t": ">?",
        "b": ">b",
        "B": ">B",
        "s": ">h",
        "u": ">H",
        "U": ">h",
        "I": ">i",
        "i": ">I",
        "l": ">q",
        "L": ">q",
        "f": ">f",
        "d": ">d",
        "T": ">Q",
        "D": ">Bi",
    }.items()
}
_CONTAINERS, _TABLE = b"FA", ord("F")
_STRINGS, _BYTES = b"Sx", ord("x")
_TIMESTAMP, _DECIMAL, _VOID = ord("T"), ord("D"), ord("V")

_INT32 = Struct(">ci")
_INT64 = Struct(">cq")
_DOUBLE = Struct(">cd")
_DECIMAL_VALUE = Struct(">cBi")


def decode_table(data: bytes, offset: int, end: int) -> tuple[dict[str, object], int]:
    """
    Read one table.

    @param data: What holds it.
    @param offset: Where its 4 bytes of length begin.
    @param end: Where the table must have ended, at most C{len(data)}.
    @return: The table, and the offset after it.
    @raise DecodeError: 501 where a length leads past the end of what contains it, 502 for an unknown tag or too many
        values or levels; nothing else is ever raised.
    """
    root: dict[str, object] = {}
    limit = _inner_end(data, offset, end)
    offset += 4
    container: Any = root
    is_table = True
    outer: list[tuple[Any, bool, int]] = []
    items = 0
    while True:
        if offset == limit:
            if not outer:
                return root, offset
            container, is_table, limit = outer.pop()
            continue
        items += 1
        if items > MAX_TABLE_ITEMS:
            raise DecodeError(f"a table has more than {MAX_TABLE_ITEMS} values", 502)
        key = ""
        if is_table:
            key_start = offset + 1
            offset = key_start + data[offset]
            if offset >= limit:
                raise truncated("a table")
            key = data[key_start:offset].decode("utf-8", "surrogateescape")
        tag = data[offset]
        offset += 1
        if tag in _CONTAINERS:
            inner: Any = {} if tag == _TABLE else []
            inner_limit = _inner_end(data, offset, limit)
            offset += 4
            # One for the container that holds this one, one for itself.
            if len(outer) + 2 > MAX_TABLE_DEPTH:
                raise DecodeError(f"tables are nested more than {MAX_TABLE_DEPTH} deep", 502)
            _put(container, is_table, key, inner)
            outer.append((container, is_table, limit))
            container, is_table, limit = inner, tag == _TABLE, inner_limit
        else:
            value, offset = _decode_flat(data, offset, limit, tag)
            _put(container, is_table, key, value)


def split_table(data: bytes) -> list[tuple[bytes, bytes]]:
    """
    Take one table apart without looking into its values.

    @param data: All of it, its 4 bytes of length first; L{decode_table} has found nothing wrong with it.
    @return: Keys, and values with their tags, in order.
    """
    entries = []
    offset, limit = 4, len(data)
    while offset < limit:
        start = offset + 1 + data[offset]
        key, tag = data[offset + 1 : start], data[start]
        if tag in _CONTAINERS:
            offset = _inner_end(data, start + 1, limit)
        else:
            offset = _decode_flat(data, start + 1, limit, tag)[1]
        entries.append((key, data[start:offset]))
    return entries


def _put(container: Any, is_table: bool, key: str, value: object) -> None:
    if is_table:
        container[key] = value
    else:
        container.append(value)


def _inner_end(data: bytes, offset: int, limit: int) -> int:
    """
    @return: The end of the table, array or string whose 4 bytes of length are at C{offset}.
    @raise DecodeError: That is past C{limit}.
    """
    if offset + 4 > limit:
        raise truncated("a table")
    inner: int = offset + 4 + LONG.unpack_from(data, offset)[0]
    if inner > limit:
        raise DecodeError("a length in a table leads past the end of what it stands in", 501)
    return inner


def _decode_flat(data: bytes, offset: int, limit: int, tag: int) -> tuple[object, int]:
    """Read a value that holds no others. C{offset} is after its tag. Raises as L{decode_table} does."""
    scalar = _SCALARS.get(tag)
    if scalar is not None:
        end = offset + scalar.size
        if end > limit:
            raise truncated("a table")
        values = scalar.unpack_from(data, offset)
        if tag == _TIMESTAMP:
            return Timestamp(values[0]), end
        return (_decimal(*values) if tag == _DECIMAL else values[0]), end
    if tag in _STRINGS:
        end = _inner_end(data, offset, limit)
        raw = data[offset + 4 : end]
        if tag == _BYTES:
            return raw, end
        try:
            return raw.decode("utf-8"), end
        except UnicodeDecodeError:
            return raw, end
    if tag == _VOID:
        return None, offset
    raise DecodeError(f"a table has a value of unknown type {tag}", 502)


def _decimal(scale: int, mantissa: int) -> Decimal:
    from decimal import Decimal

    # The constructor is exact; arithmetic would round to the precision of the thread's context.
    return Decimal(f"{mantissa}E-{scale}")


def encode_table(table: Mapping[str, object], path: str = "arguments") -> bytes:
    """
    Write one table, its 4 bytes of length first.

    @param table: Keys of 1 to 255 bytes of UTF-8; values as listed above.
    @param path: What to call the table in the text of an error: C{"headers"} gives C{headers.a[3].b}.
    @raise ValueError: A value is out of range, nested too deep, or there are too many of them.
    @raise TypeError: A key is not a str, or a value is of a type that has no tag.
    """
    if not isinstance(table, (dict, Mapping)):
        raise wrong_type(path, "a mapping", table)
    if not table:
        return b"\0\0\0\0"  # most are empty
    writer = _Writer()
    writer.table(table, path)
    return bytes(writer.out)


def _name(place: Place) -> str:
    steps: list[str] = []
    while not isinstance(place, str):
        place, key = place
        # A long or strange key must not make the error long or strange.
        shown = key if isinstance(key, str) and key.isprintable() and len(key) <= 64 else repr(key)[:64]
        steps.append(f"[{key}]" if isinstance(key, int) else f".{shown}")
    return place + "".join(reversed(steps))


class _Writer:
    """
    One table on its way to bytes. It recurses, at most L{MAX_TABLE_DEPTH} deep.

    @ivar out: What has been written so far.
    """

    __slots__ = ("_depth", "_items", "out")

    def __init__(self) -> None:
        self.out = bytearray()
        self._depth = 0
        self._items = 0

    def _begin(self, place: Place) -> int:
        self._depth += 1
        if self._depth > MAX_TABLE_DEPTH:
            raise ValueError(f"{_name(place)} is nested more than {MAX_TABLE_DEPTH} deep")
        self.out += b"\0\0\0\0"
        return len(self.out)

    def _end(self, start: int) -> None:
        self._depth -= 1
        LONG.pack_into(self.out, start - 4, len(self.out) - start)

    def table(self, table: Mapping[str, object], place: Place) -> None:
        start = self._begin(place)
        for key, value in table.items():
            try:
                self.out += encode_shortstr(key, "a key")
            except (TypeError, ValueError) as error:
                raise type(error)(f"{error}, in {_name(place)}") from None
            if not key:
                raise ValueError(f"a key is empty, in {_name(place)}")
            self.value(value, place, key)
        self._end(start)

    def array(self, array: list[object] | tuple[object, ...], place: Place) -> None:
        start = self._begin(place)
        for index, value in enumerate(array):
            self.value(value, place, index)
        self._end(start)

    def value(self, value: object, place: Place, key: str | int) -> None:
        self._items += 1
        if self._items > MAX_TABLE_ITEMS:
            raise ValueError(f"{_name(place)}: the whole has more than {MAX_TABLE_ITEMS} values")
        out = self.out
        if isinstance(value, str):
            try:
                data = value.encode("utf-8")
            except UnicodeEncodeError:
                data = encode_text(value, _name((place, key)))
            out += b"S" + LONG.pack(len(data)) + data
        elif value is True or value is False:
            out += b"t\1" if value else b"t\0"
        elif isinstance(value, Timestamp):
            out += b"T" + encode_timestamp(value, _name((place, key)))
        elif isinstance(value, int):
            if -(2**31) <= value < 2**31:
                out += _INT32.pack(b"I", value)
            elif -(2**63) <= value < 2**63:
                out += _INT64.pack(b"l", value)
            else:
                raise ValueError(f"{_name((place, key))} does not fit into 64 bits with a sign")
        elif value is None:
            out += b"V"
        elif isinstance(value, float):
            if not isfinite(value):
                raise ValueError(f"{_name((place, key))} is not finite, which RabbitMQ takes for an internal error")
            out += _DOUBLE.pack(b"d", value)
        elif isinstance(value, (dict, Mapping)):
            out += b"F"
            self.table(value, (place, key))
        elif isinstance(value, (list, tuple)):
            out += b"A"
            self.array(value, (place, key))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            data = bytes(value)
            out += b"x" + LONG.pack(len(data)) + data
        else:
            out += _encode_rare(value, (place, key))


def _encode_rare(value: object, place: Place) -> bytes:
    """The types whose modules are imported only when somebody uses them."""
    from datetime import datetime
    from decimal import Decimal

    if isinstance(value, Decimal):
        return _encode_decimal(value, place)
    if isinstance(value, datetime):
        return b"T" + encode_timestamp(value, _name(place))
    raise TypeError(f"{_name(place)} is a {type(value).__name__}, which has no place in a table")


def _encode_decimal(value: Decimal, place: Place) -> bytes:
    if not value.is_finite():
        raise ValueError(f"{_name(place)} is not finite")
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    shift, scale = max(exponent, 0), max(-exponent, 0)
    if scale > 255:
        raise ValueError(f"{_name(place)} has {scale} decimal places, at most 255")
    # 2^31 has 10 digits. More are refused before they are computed: 1E+999999 would take its time.
    mantissa = 0
    if value:
        if len(digits) + shift > 10:
            raise ValueError(f"{_name(place)} has more digits than 32 bits hold")
        mantissa = int("".join(map(str, digits))) * 10**shift * (-1 if sign else 1)
    if not -(2**31) <= mantissa < 2**31:
        raise ValueError(f"{_name(place)} has more digits than 32 bits hold")
    return _DECIMAL_VALUE.pack(b"D", scale, mantissa)
