"""Tests for L{txpika.table}."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika import exceptions, spec
from txpika.table import decode_table, encode_table


class TableTests(SynchronousTestCase):
    """The calls of 2011."""

    def test_nothing_is_an_empty_table(self) -> None:
        nothing: dict[str, object] = {}
        for table in (None, nothing):
            pieces: list[bytes] = [b"before"]
            self.assertEqual(encode_table(pieces, table), 4)
            self.assertEqual(b"".join(pieces), b"before\0\0\0\0")

    def test_what_2011_could_not_write(self) -> None:
        """Each of these was an exception of some kind, or another value on the wire."""
        table = {
            "text": "caf\u00e9",
            "none": None,
            "float": 0.5,
            "large": 1 << 40,
            "true": True,
            "decimal": Decimal("1.25"),
            "nested": {"a": [1, {"b": b"\xff"}]},
        }
        pieces: list[bytes] = []
        size = encode_table(pieces, table)
        encoded = b"".join(pieces)
        self.assertEqual(size, len(encoded))
        self.assertEqual(decode_table(encoded, 0), (table, size))
        self.assertIs(decode_table(encoded, 0)[0]["true"], True)

    def test_it_is_read_where_it_stands(self) -> None:
        pieces = [b"xyz"]
        size = encode_table(pieces, {"a": 1})
        encoded = b"".join([*pieces, b"rest"])
        self.assertEqual(decode_table(encoded, 3), ({"a": 1}, 3 + size))
        self.assertEqual(pieces[1], spec.encode_table({"a": 1}))

    def test_tags_that_2011_could_not_read(self) -> None:
        encoded = b"\0\0\0\x14\x01tt\x01\x01bb\xff\x01VV\x01ss\xff\xfe\x01BB\xff"
        self.assertEqual(decode_table(encoded, 0)[0], {"t": True, "b": -1, "V": None, "s": -2, "B": 255})

    def test_what_has_no_place_is_told_by_its_key_and_nothing_is_written(self) -> None:
        no_table: Any = 3
        for table, word in (({"a": {"b": object()}}, "a.b"), ({"k" * 300: 1}, "key"), ({"a": 1 << 70}, "a")):
            pieces: list[bytes] = []
            error = self.assertRaises(exceptions.InvalidTableError, encode_table, pieces, table)
            self.assertIn(word, str(error))
            self.assertEqual(pieces, [])
        self.assertRaises(exceptions.InvalidTableError, encode_table, [], no_table)

    def test_bytes_that_are_no_table(self) -> None:
        good = spec.encode_table({"a": [1, "two"], "b": {"c": 3.0}})
        for end in range(len(good)):
            self.assertRaises(exceptions.TableDecodingError, decode_table, good[:end], 0)
        self.assertRaises(exceptions.TableDecodingError, decode_table, b"\0\0\0\x03\x01a?", 0)
        self.assertRaises(exceptions.TableDecodingError, decode_table, b"", 0)
        self.assertRaises(exceptions.TableDecodingError, decode_table, b"\0\0\0\0", 99)
        self.assertRaises(ValueError, decode_table, b"\0\0\0\0", -4)
