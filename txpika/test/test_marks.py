"""Tests for L{txpika.marks}."""

from __future__ import annotations

import struct
import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.marks import _FIELDS, _HEADERS, _USER_ID, CC, MOVED_CC, PASSED, USER_ID, Unfit, marked
from txpika.spec import BasicProperties
from txpika.spec.generate import FACTS, properties_of
from txpika.spec.table import split_table
from txpika.test.strategies import examples, tables, typed


def headers(*entries: bytes) -> bytes:
    """Properties that are nothing but headers."""
    table = b"".join(entries)
    return b"\x20\0" + struct.pack(">I", len(table)) + table


def mark(**properties: Any) -> BasicProperties:
    """What becomes of these."""
    return read(marked(BasicProperties(**properties).encode(), "r", False))


def read(properties: BasicProperties) -> BasicProperties:
    """As the target would read them."""
    return BasicProperties.from_wire(properties.encode())


class MarkTests(SynchronousTestCase):
    """What is changed, and what is not."""

    def test_a_message_without_properties(self) -> None:
        self.assertEqual(read(marked(b"\0\0", "r", False)), BasicProperties(headers={PASSED: ["r"]}))

    def test_all_others_stay(self) -> None:
        every: dict[str, Any] = {
            "content_type": "text/plain",
            "content_encoding": "gzip",
            "delivery_mode": 2,
            "priority": 7,
            "correlation_id": "c",
            "reply_to": "r",
            "expiration": "60000",
            "message_id": "m",
            "timestamp": 5,
            "type": "t",
            "app_id": "a",
            "cluster_id": "i",
        }
        self.assertEqual(mark(**every), BasicProperties(**every, headers={PASSED: ["r"]}))
        with_user = BasicProperties(**every, headers={PASSED: ["r"], USER_ID: "joe"})
        self.assertEqual(mark(**every, user_id="joe"), with_user)
        for name, value in every.items():
            self.assertEqual(mark(**{name: value}), BasicProperties(**{name: value}, headers={PASSED: ["r"]}))

    def test_byte_for_byte(self) -> None:
        """Also what would be written in another way, or not at all."""
        for entry in (
            b"\1kb\xff",
            b"\1ks\xff\xff",
            b"\1kf\0\0\0\0",
            b"\1kS\0\0\0\1\xff",
            b"\1kx\0\0\0\1\xff",
            b"\1kd\x7f\xf8\0\0\0\0\0\0",
            b"\1\xffV",
            b"\0V",
            b"\1kF\0\0\0\3\1kV",
            b"\1kA\0\0\0\1V",
            b"\1kD\2\0\0\1\1",
            b"\1kT" + bytes(8),
        ):
            new = marked(headers(entry), "r", False).encode()
            self.assertEqual(new[6 : 6 + len(entry)], entry)
            names = read(BasicProperties.from_wire(new)).headers
            assert names is not None
            self.assertEqual(names[PASSED], ["r"])
        latin = b"\x80\0\x03a\xe4b"
        self.assertTrue(marked(latin, "r", False).encode().startswith(b"\xa0\0\x03a\xe4b"))

    def test_relays_before(self) -> None:
        self.assertEqual(mark(headers={PASSED: ["a", "b"], "k": 1}).headers, {"k": 1, PASSED: ["a", "b", "r"]})
        for strange in ("r", 1, None, {"r": 1}):
            self.assertEqual(mark(headers={PASSED: strange}).headers, {PASSED: ["r"]})
        self.assertEqual(mark(headers={PASSED: [1, "a", None]}).headers, {PASSED: ["a", "r"]})
        with self.assertRaises(Unfit) as raised:
            mark(headers={PASSED: ["a", "r", "b"]})
        self.assertIn("passed relay 'r' before", str(raised.exception))

    def test_no_mark_is_there_twice(self) -> None:
        """Readers differ on which of two would count."""
        before = {PASSED: ["a"], USER_ID: "a", MOVED_CC: ["a"], CC: ["b"]}
        raw = BasicProperties(user_id="b", headers=before).encode()
        keys = [key for key, _ in split_table(marked(raw, "r", True).encode()[2:])]
        self.assertEqual(sorted(keys), sorted(name.encode() for name in (PASSED, USER_ID, MOVED_CC)))

    def test_a_user_of_before(self) -> None:
        self.assertEqual(mark(user_id="b", headers={USER_ID: "a"}).headers, {USER_ID: "b", PASSED: ["r"]})
        self.assertEqual(mark(headers={USER_ID: "a"}).headers, {USER_ID: "a", PASSED: ["r"]})

    def test_more_routing_keys(self) -> None:
        raw = BasicProperties(headers={CC: ["a"], "k": 1}).encode()
        self.assertEqual(read(marked(raw, "r", False)).headers, {CC: ["a"], "k": 1, PASSED: ["r"]})
        self.assertEqual(read(marked(raw, "r", True)).headers, {MOVED_CC: ["a"], "k": 1, PASSED: ["r"]})

    def test_what_makes_no_sense(self) -> None:
        for raw in (b"", b"\xff\xff", b"\x20\0\0\0\0\x05\x01aZ\0\0", headers(b"\1kS\0\0\0\7a"), b"\x80\0\x05abc"):
            self.assertRaises(Unfit, marked, raw, "r", False)

    @examples(100)
    @given(tables, st.booleans())
    def test_any_headers(self, table: dict[str, object], own_key: bool) -> None:
        for name in (PASSED, USER_ID, CC, MOVED_CC):
            table.pop(name, None)
        raw = BasicProperties(headers=table).encode()
        new = read(marked(raw, "r", own_key)).headers
        self.assertEqual(typed(new), typed({**table, PASSED: ["r"]}))
        self.assertEqual(len(split_table(raw[2:])), len(table))


class FieldsTests(SynchronousTestCase):
    """What is known of the properties here is what the table of facts says."""

    def test_kinds(self) -> None:
        kinds = {"shortstr": "s", "table": "F", "octet": "o", "timestamp": "T"}
        fields = properties_of(tomllib.loads(FACTS.read_text(encoding="utf-8")))
        self.assertEqual(_FIELDS, "".join(kinds[field.wire] for field in fields))
        self.assertEqual((fields[_HEADERS].name, fields[_USER_ID].name), ("headers", "user-id"))
