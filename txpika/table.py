# -*- test-case-name: txpika.test.test_legacy_table -*-
"""
Field tables with the calls that pika had in 2011.

Owns nothing but these calls: which value becomes which bytes is L{txpika.spec.table}'s business.
"""

from __future__ import annotations

from collections.abc import Mapping

from txpika import spec
from txpika.exceptions import InvalidTableError


def encode_table(pieces: list[bytes], table: Mapping[str, object] | None) -> int:
    """
    Write a table.

    @param pieces: What the bytes are appended to. Left alone when the table cannot be written.
    @param table: C{None} is an empty one.
    @return: How many bytes were appended, the 4 of the length included.
    @raise txpika.exceptions.InvalidTableError: when a key or a value has no place in a table.
    """
    try:
        encoded = spec.encode_table({} if table is None else table, "table")
    except (ValueError, TypeError) as error:
        raise InvalidTableError(str(error)) from error
    pieces.append(encoded)
    return len(encoded)


def decode_table(encoded: bytes, offset: int) -> tuple[dict[str, object], int]:
    """
    Read a table.

    @param encoded: What holds it.
    @param offset: Where its 4 bytes of length begin.
    @return: The table, and the offset after it.
    @raise txpika.exceptions.TableDecodingError: when the bytes are no table, or end before it does.
    @raise ValueError: when C{offset} is below 0.
    """
    if offset < 0:
        raise ValueError(f"offset is {offset}, it must not be below 0")
    return spec.decode_table(encoded, offset, len(encoded))
