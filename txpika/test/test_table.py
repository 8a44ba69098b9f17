"""Tests for L{txpika.spec.table}: bytes written by hand from section 4.2.5.5 and RabbitMQ's errata, limits, damage."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal, localcontext
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import DecodeError
from txpika.spec import MAX_TABLE_DEPTH, MAX_TABLE_ITEMS, Basic, BasicProperties, Queue, Timestamp
from txpika.spec.table import decode_table, encode_table
from txpika.test.strategies import FALSE_LENGTHS, damaged, examples, tables, typed


def long(number: int) -> bytes:
    """4 bytes of length."""
    return struct.pack(">I", number)


def sized(content: bytes) -> bytes:
    """A table, an array or a long string: its length before it."""
    return long(len(content)) + content


def entry(value: bytes, key: bytes = b"k") -> bytes:
    """A key and a tagged value."""
    return bytes([len(key)]) + key + value


def read(data: bytes) -> dict[str, Any]:
    """All of C{data} as one table."""
    table, end = decode_table(data, 0, len(data))
    assert end == len(data), (end, len(data))
    return table


#: Every tag: what stands on the wire, and what it is.
GOLDEN: tuple[tuple[str, object], ...] = (
    ("74 00", False),
    ("74 01", True),
    ("62 7f", 127),
    ("62 80", -128),
    ("62 ff", -1),
    ("42 80", 128),
    ("42 ff", 255),
    ("73 7fff", 32767),
    ("73 8000", -32768),
    ("73 ffff", -1),
    ("75 8000", 32768),
    ("75 ffff", 65535),
    ("55 7fff", 32767),
    ("55 8000", -32768),
    ("49 7fffffff", 2147483647),
    ("49 80000000", -2147483648),
    ("49 ffffffff", -1),
    ("69 80000000", 2147483648),
    ("69 ffffffff", 4294967295),
    ("6c 7fffffffffffffff", 9223372036854775807),
    ("6c 8000000000000000", -9223372036854775808),
    ("6c ffffffffffffffff", -1),
    ("4c 7fffffffffffffff", 9223372036854775807),
    ("4c 8000000000000000", -9223372036854775808),
    ("66 3fc00000", 1.5),
    ("66 bf000000", -0.5),
    ("64 3ff8000000000000", 1.5),
    ("64 bfe0000000000000", -0.5),
    ("44 00 00000000", Decimal("0")),
    ("44 02 0000013a", Decimal("3.14")),
    ("44 02 fffffec6", Decimal("-3.14")),
    ("44 00 7fffffff", Decimal("2147483647")),
    ("44 0a 80000000", Decimal("-0.2147483648")),
    ("53 00000000", ""),
    ("53 00000005 636166c3a9", "caf\u00e9"),
    ("53 00000002 00 0a", "\0\n"),
    ("78 00000000", b""),
    ("78 00000003 00 ff 41", b"\x00\xffA"),
    ("54 00000000499602d2", Timestamp(1234567890)),
    ("54 ffffffffffffffff", Timestamp(18446744073709551615)),
    ("56", None),
    ("46 00000000", {}),
    ("46 00000004 01 61 74 01", {"a": True}),
    ("41 00000000", []),
    ("41 00000005 56 74 00 62 fe", [None, False, -2]),
    ("41 0000000e 46 00000009 01 78 41 00000002 62 01", [{"x": [1]}]),
)


class ReadingTests(SynchronousTestCase):
    """What each tag is, and what is forgiven."""

    def test_B59_every_tag(self) -> None:
        for number, (wire, value) in enumerate(GOLDEN):
            table = read(sized(entry(bytes.fromhex(wire))))
            self.assertEqual(typed(table), typed({"k": value}), f"vector {number}: {wire}")

    def test_B59_no_tag_is_missing(self) -> None:
        self.assertEqual({bytes.fromhex(wire)[:1] for wire, _ in GOLDEN}, {bytes([t]) for t in b"tbBsuUIilLfdDSxTVFA"})

    def test_a_table_within_something_longer(self) -> None:
        data = b"before" + sized(entry(b"t\1")) + b"after"
        self.assertEqual(decode_table(data, 6, len(data)), ({"k": True}, len(data) - 5))

    def test_B58_tag_U_is_read(self) -> None:
        self.assertEqual(read(sized(entry(b"U\xff\xfe"))), {"k": -2})

    def test_B60_decimals_are_exact_whatever_the_context(self) -> None:
        with localcontext(Context(prec=1)):
            tiny = read(sized(entry(b"D\xff\x80\x00\x00\x01")))["k"]
            self.assertEqual(tiny.as_tuple(), (1, (2, 1, 4, 7, 4, 8, 3, 6, 4, 7), -255))

    def test_B61_any_timestamp_is_kept(self) -> None:
        for seconds in (253402300800, 1234567890123, 2**63, 2**64 - 1):
            stamp = read(sized(entry(b"T" + struct.pack(">Q", seconds))))["k"]
            self.assertEqual(typed(stamp), typed(Timestamp(seconds)))
            with self.assertRaises(OverflowError):
                stamp.datetime  # noqa: B018

    def test_B62_special_floats(self) -> None:
        for wire, shown in (
            ("64 7ff8000000000000", "nan"),
            ("64 7ff0000000000000", "inf"),
            ("64 fff0000000000000", "-inf"),
            ("64 0000000000000001", "5e-324"),
            ("64 8000000000000000", "-0.0"),
            ("66 7fc00000", "nan"),
            ("66 ff800000", "-inf"),
            ("66 00000001", "1.401298464324817e-45"),
            ("66 80000000", "-0.0"),
        ):
            self.assertEqual(repr(read(sized(entry(bytes.fromhex(wire))))["k"]), shown)

    def test_B63_any_octet_but_zero_is_true(self) -> None:
        for octet in (1, 2, 255):
            self.assertIs(read(sized(entry(b"t" + bytes([octet]))))["k"], True)

    def test_B66_of_equal_keys_the_last_wins(self) -> None:
        first, second = entry(b"F" + sized(entry(b"t\1"))), entry(b"b\2")
        self.assertEqual(read(sized(first + second)), {"k": 2})
        self.assertEqual(read(sized(second + first)), {"k": {"k": True}})

    def test_B67_strange_keys(self) -> None:
        for key in (b"", b"x" * 129, b"x" * 255, b"1", b"-", b"\0", b"a b\r\n", "\u202e".encode()):
            self.assertEqual(read(sized(entry(b"V", key))), {key.decode(): None})

    def test_B68_what_is_not_utf8(self) -> None:
        table = read(sized(entry(b"S" + sized(b"\xff\xfe"), b"caf\xe9")))
        self.assertEqual(table, {"caf\udce9": b"\xff\xfe"})
        self.assertEqual([key.encode("utf-8", "surrogateescape") for key in table], [b"caf\xe9"])

    def test_B68_two_keys_stay_two(self) -> None:
        self.assertEqual(len(read(sized(entry(b"V", b"\xfe") + entry(b"V", b"\xff")))), 2)


class DamageTests(SynchronousTestCase):
    """The same bytes in a method, in properties and alone: an error of one kind, and no other."""

    def assertRefused(self, table: bytes, code: int) -> None:
        """Nobody reads C{table} (its length included) as anything."""
        wheres: tuple[Callable[[], object], ...] = (
            lambda: decode_table(table, 0, len(table)),
            lambda: Queue.Bind.decode(b"\0\0\1q\1e\1r\0" + table, 0),
            lambda: BasicProperties.from_wire(b"\x20\0" + table).headers,
        )
        for where in wheres:
            error = self.assertRaises(DecodeError, where)
            self.assertEqual(error.reply_code, code, str(error))

    def test_the_contexts_are_sound(self) -> None:
        table = sized(entry(b"t\1"))
        self.assertEqual(Queue.Bind.decode(b"\0\0\1q\1e\1r\0" + table, 0).arguments, {"k": True})
        self.assertEqual(BasicProperties.from_wire(b"\x20\0" + table).headers, {"k": True})

    def test_B51_key_past_the_end(self) -> None:
        for table in (sized(b"\x05ab"), sized(b"\xff"), sized(b"\x02ab"), sized(b"\x01a")):
            self.assertRefused(table, 501)

    def test_B52_long_string_past_the_end(self) -> None:
        for length in (3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            for tag in (b"S", b"x"):
                self.assertRefused(sized(entry(tag + long(length) + b"ab")), 501)

    def test_B53_long_string_past_its_table_but_inside_the_frame(self) -> None:
        inner = entry(b"S" + long(6) + b"ab")
        self.assertRefused(sized(entry(b"F" + sized(inner)) + entry(b"V", b"later") * 3), 501)
        # The table ends, the string goes on into what follows: another property, or nothing at all.
        table = sized(entry(b"S" + long(6) + b"ab")) + b"\1\5later"
        properties = BasicProperties.from_wire(b"\x24\0" + table)
        self.assertEqual(self.assertRaises(DecodeError, lambda: properties.correlation_id).reply_code, 501)

    def test_B54_table_length_off_by_one(self) -> None:
        content = entry(b"I" + long(5)) + entry(b"S" + sized(b"text"), b"s")
        self.assertEqual(read(sized(content)), {"k": 5, "s": "text"})
        self.assertRefused(long(len(content) + 1) + content, 501)
        self.assertRefused(long(len(content) - 1) + content, 501)
        self.assertRefused(long(len(content) + 1) + content + b"\0", 501)

    def test_B54_a_value_crosses_the_end(self) -> None:
        for value in (b"t", b"b", b"s\0", b"I\0\0\0", b"l" + bytes(7), b"f\0\0\0", b"d" + bytes(7), b"T" + bytes(7)):
            self.assertRefused(sized(entry(value)), 501)
            self.assertRefused(sized(entry(b"F" + sized(entry(value))) + entry(b"V")), 501)
            self.assertRefused(sized(entry(b"A" + sized(value)) + entry(b"V")), 501)
        self.assertRefused(sized(entry(b"D\0\0\0\0")), 501)
        self.assertRefused(sized(entry(b"S\0\0\0")), 501)

    def test_B55_inner_longer_than_outer(self) -> None:
        for tag in (b"F", b"A"):
            self.assertRefused(sized(entry(tag + long(4) + b"\1aV")), 501)
            self.assertRefused(sized(entry(tag + long(5) + b"\1aV")) + b"VV", 501)
            self.assertRefused(sized(entry(tag + b"\0\0\0")), 501)

    def test_B56_enormous_lengths(self) -> None:
        for tag in (b"A", b"F", b"x", b"S"):
            self.assertRefused(sized(entry(tag + b"\xff\xff\xff\xff")), 501)
            self.assertRefused(sized(entry(tag + b"\x80\0\0\0" + bytes(50))), 501)
        self.assertRefused(b"\xff\xff\xff\xff", 501)
        self.assertRefused(b"\0\0\0", 501)

    def test_B57_unknown_tags(self) -> None:
        known = b"tbBsuUIilLfdDSxTVFA"
        for tag in range(256):
            if tag not in known:
                self.assertRefused(sized(entry(bytes([tag]) + bytes(20))), 502)
                self.assertRefused(sized(entry(b"A" + sized(bytes([tag])))), 502)

    def test_B64_nesting(self) -> None:
        for pattern in (b"F", b"A", b"FA", b"FFA"):
            for depth, fits in ((32, True), (33, False), (1000, False), (20000, False)):
                content = b""
                for level in range(depth - 1):
                    # Only the value of a table has a key; the outermost is one.
                    outer = b"F" if level == depth - 2 else pattern[(level + 1) % len(pattern) :][:1]
                    content = (b"\1k" if outer == b"F" else b"") + pattern[level % len(pattern) :][:1] + sized(content)
                if not fits:
                    self.assertRefused(sized(content), 502)
                    continue
                value: Any = read(sized(content))
                levels = 1
                while value:
                    value = value["k"] if isinstance(value, dict) else value[0]
                    levels += 1
                self.assertEqual(levels, depth)

    def test_the_limits(self) -> None:
        self.assertEqual((MAX_TABLE_DEPTH, MAX_TABLE_ITEMS), (32, 65536))

    def test_B65_number_of_values(self) -> None:
        self.assertEqual(read(sized(entry(b"A" + sized(b"V" * (MAX_TABLE_ITEMS - 1)))))["k"][-1:], [None])
        self.assertRefused(sized(entry(b"A" + sized(b"V" * MAX_TABLE_ITEMS))), 502)
        self.assertRefused(sized(entry(b"A" + sized(b"V" * 131000))), 502)
        self.assertRefused(sized(entry(b"V") * (MAX_TABLE_ITEMS + 1)), 502)
        self.assertRefused(sized(entry(b"A" + sized((b"F" + sized(b"\0V")) * 40000))), 502)

    def test_B65_many_empty_tables(self) -> None:
        table = read(sized(b"".join(entry(b"F\0\0\0\0", b"%d" % number) for number in range(18000))))
        self.assertEqual((len(table), table["17999"]), (18000, {}))

    @examples(150)
    @given(damaged(tables.map(encode_table)))
    def test_damage_gives_a_table_or_a_decode_error(self, data: bytes) -> None:
        try:
            table, end = decode_table(data, 0, len(data))
        except DecodeError as error:
            self.assertIn(error.reply_code, (501, 502))
        else:
            self.assertIsInstance(table, dict)
            self.assertEqual(end, 4 + int.from_bytes(data[:4], "big"))

    @examples(40)
    @given(tables.map(encode_table))
    def test_no_prefix_is_a_table(self, data: bytes) -> None:
        for end in range(len(data)):
            self.assertRaises(DecodeError, decode_table, data[:end], 0, end)
            # The same, where there is more behind the end.
            self.assertRaises(DecodeError, decode_table, data, 0, end)

    @examples(40)
    @given(tables.map(encode_table), st.sampled_from(FALSE_LENGTHS))
    def test_false_lengths(self, data: bytes, length: bytes) -> None:
        for at in range(len(data) - 3):
            changed = data[:at] + length + data[at + 4 :]
            try:
                decode_table(changed, 0, len(changed))
            except DecodeError as error:
                self.assertIn(error.reply_code, (501, 502))

    @examples(100)
    @given(st.binary(max_size=60))
    def test_noise(self, data: bytes) -> None:
        try:
            decode_table(sized(data), 0, len(data) + 4)
        except DecodeError as error:
            self.assertIn(error.reply_code, (501, 502))


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    HIGH = 9


class Word(StrEnum):
    YES = "yes"


class WritingTests(SynchronousTestCase):
    """Which tag a value gets, and which values get none."""

    def assertWritten(self, value: object, wire: str) -> None:
        """C{value} is written as one tag and what follows it, in a table and in an array."""
        expected = bytes.fromhex(wire)
        self.assertEqual(encode_table({"k": value}).hex(), sized(entry(expected)).hex())
        self.assertEqual(encode_table({"k": [value]}).hex(), sized(entry(b"A" + sized(expected))).hex())

    def assertWrong(self, kind: type[Exception], value: object, ending: str) -> None:
        """C{value} is refused, with its place and so on."""
        error = self.assertRaises(kind, encode_table, {"k": value}, "headers")
        self.assertIs(type(error), kind)
        self.assertEqual(str(error), f"headers.k{ending}")

    def test_golden(self) -> None:
        self.assertWritten(True, "74 01")
        self.assertWritten(False, "74 00")
        self.assertWritten(0, "49 00000000")
        self.assertWritten(1.5, "64 3ff8000000000000")
        self.assertWritten(-0.0, "64 8000000000000000")
        self.assertWritten("", "53 00000000")
        self.assertWritten("caf\u00e9\0", "53 00000006 636166c3a900")
        self.assertWritten(None, "56")
        self.assertWritten({}, "46 00000000")
        self.assertWritten([], "41 00000000")
        self.assertWritten([None, {"a": True}], "41 0000000a 56 46 00000004 01 61 74 01")
        self.assertWritten(Decimal("-3.14"), "44 02 fffffec6")
        self.assertWritten(Decimal("1.50"), "44 02 00000096")
        self.assertWritten(Decimal("12E+3"), "44 00 00002ee0")
        self.assertWritten(Decimal("-2147483648"), "44 00 80000000")
        self.assertWritten(Decimal("0E+9999"), "44 00 00000000")
        self.assertWritten(Decimal("1E-255"), "44 ff 00000001")
        self.assertWritten(Timestamp(1234567890), "54 00000000499602d2")
        self.assertWritten(datetime(2009, 2, 13, 23, 31, 30), "54 00000000499602d2")
        self.assertWritten(datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC), "54 00000000499602d2")

    def test_several_entries_keep_their_order(self) -> None:
        self.assertEqual(
            encode_table({"b": 1, "a": {"c": [True]}, "d": "x"}),
            bytes.fromhex("0000001f 0162 49 00000001 0161 46 00000009 0163 41 00000002 7401 0164 53 00000001 78"),
        )

    def test_B81_relatives_of_the_types(self) -> None:
        self.assertWritten((1, 2), "41 0000000a 49 00000001 49 00000002")
        self.assertWritten(bytearray(b"\0\xff"), "78 00000002 00ff")
        self.assertWritten(memoryview(b"\0\xff"), "78 00000002 00ff")
        self.assertWritten(memoryview(b"abcd")[::2], "78 00000002 6163")
        self.assertWritten(MappingProxyType({"a": None}), "46 00000003 01 61 56")
        self.assertWritten(Level.HIGH, "49 00000009")
        self.assertWritten(Word.YES, "53 00000003 796573")
        self.assertWrong(TypeError, date(2020, 1, 1), " is a date, which has no place in a table")
        self.assertWrong(TypeError, uuid.UUID(int=0), " is a UUID, which has no place in a table")
        self.assertWrong(TypeError, Colour.RED, " is a Colour, which has no place in a table")

    def test_B82_integers(self) -> None:
        self.assertWritten(-1, "49 ffffffff")
        self.assertWritten(2**31 - 1, "49 7fffffff")
        self.assertWritten(-(2**31), "49 80000000")
        self.assertWritten(2**31, "6c 0000000080000000")
        self.assertWritten(-(2**31) - 1, "6c ffffffff7fffffff")
        self.assertWritten(2**63 - 1, "6c 7fffffffffffffff")
        self.assertWritten(-(2**63), "6c 8000000000000000")
        for value in (2**63, -(2**63) - 1, 10**100):
            self.assertWrong(ValueError, value, " does not fit into 64 bits with a sign")

    def test_B58_tag_U_is_never_written(self) -> None:
        for value in (0, 1, -1, 32767, -32768, 65535):
            self.assertIn(encode_table({"k": value})[6:7], (b"I", b"l"))

    def test_B83_floats_that_are_not_finite(self) -> None:
        for value in (float("nan"), float("inf"), float("-inf")):
            self.assertWrong(ValueError, value, " is not finite, which RabbitMQ takes for an internal error")

    def test_B84_decimals_that_do_not_fit(self) -> None:
        for text in ("NaN", "sNaN", "Infinity", "-Infinity"):
            self.assertWrong(ValueError, Decimal(text), " is not finite")
        self.assertWrong(ValueError, Decimal("1E-256"), " has 256 decimal places, at most 255")
        for text in ("2147483648", "-2147483649", "1E+400", "1E+999999", "3E+9", "0.12345678901"):
            self.assertWrong(ValueError, Decimal(text), " has more digits than 32 bits hold")
        # From its digits: from a text of them, PyPy's decimal would make an int, which has a limit of 4,300.
        self.assertWrong(ValueError, Decimal((0, (9,) * 10000, 0)), " has more digits than 32 bits hold")

    def test_B85_moments_and_timestamps(self) -> None:
        self.assertWritten(Timestamp(2**64 - 1), "54 ffffffffffffffff")
        self.assertWrong(ValueError, datetime(1969, 12, 31), " is before 1970")
        for seconds in (-1, 2**64):
            self.assertWrong(ValueError, Timestamp(seconds), " must be between 0 and 2^64 - 1 seconds")

    def test_B80_other_types_and_the_way_to_them(self) -> None:
        class Own:
            pass

        nothing: tuple[object, ...] = ({1}, frozenset(), Own(), 1j, range(3), iter([1]), (x for x in "ab"), Own, len)
        for value in nothing:
            error = self.assertRaises(TypeError, encode_table, {"a": [0, "", None, {"b": value}]}, "headers")
            self.assertEqual(str(error), f"headers.a[3].b is a {type(value).__name__}, which has no place in a table")

    def test_B80_what_is_no_mapping_is_no_table(self) -> None:
        for value in (None, [], "text", [("a", 1)], 5):
            error = self.assertRaises(TypeError, encode_table, value, "queue.declare: arguments")
            self.assertEqual(str(error), f"queue.declare: arguments must be a mapping, not {type(value).__name__}")

    def test_B79_keys(self) -> None:
        wrong: tuple[tuple[object, str], ...] = (
            (1, "must be str, not int"),
            (None, "must be str, not NoneType"),
            (b"bytes", "must be str, not bytes"),
        )
        for no_key, problem in wrong:
            error = self.assertRaises(TypeError, encode_table, {"a": [{no_key: 1}]}, "headers")
            self.assertEqual(str(error), f"a key {problem}, in headers.a[0]")
        for key, problem in (
            ("", "is empty"),
            ("x" * 256, "is 256 bytes of UTF-8, at most 255"),
            ("\u2603" * 86, "is 258 bytes of UTF-8, at most 255"),
            ("\udc80", "has a lone surrogate, which UTF-8 cannot carry"),
            ("a\0b", "has a NUL"),
        ):
            error = self.assertRaises(ValueError, encode_table, {"a": {key: 1}}, "headers")
            self.assertIs(type(error), ValueError)
            self.assertEqual(str(error), f"a key {problem}, in headers.a")
        for key in ("x" * 255, "\u2603" * 85, "1", "$", "a b"):
            self.assertEqual(read(encode_table({key: 1})), {key: 1})

    def test_B77_surrogates_in_values(self) -> None:
        self.assertWrong(ValueError, "\udc80", " has a lone surrogate, which UTF-8 cannot carry")

    def test_B68_what_was_read_with_surrogates_is_not_written(self) -> None:
        table = read(sized(entry(b"V", b"\xff")))
        self.assertRaises(ValueError, encode_table, table)

    def test_a_strange_key_does_not_make_a_strange_error(self) -> None:
        for key, shown in (
            ("a\nb", r"'a\nb'"),
            ("\u202e", r"'\u202e'"),
            ("x" * 64, "x" * 64),
            ("x" * 65, "'" + "x" * 63),
        ):
            error = self.assertRaises(TypeError, encode_table, {key: 1j}, "headers")
            self.assertEqual(str(error), f"headers.{shown} is a complex, which has no place in a table")

    def test_B86_tables_in_themselves(self) -> None:
        table: dict[str, object] = {}
        table["self"] = table
        array: list[object] = []
        array.append(array)
        for value in (table, {"a": array}):
            error = self.assertRaises(ValueError, encode_table, value)
            self.assertTrue(str(error).endswith(" is nested more than 32 deep"), error)

    def test_B86_depth(self) -> None:
        wrappers: tuple[Callable[[object], object], ...] = (lambda v: {"k": v}, lambda v: [v], lambda v: (v,))
        for wrap in wrappers:
            value: object = {}
            for _ in range(MAX_TABLE_DEPTH - 2):
                value = wrap(value)
            data = encode_table({"k": value})
            self.assertEqual(encode_table(read(data)), data)
            self.assertRaises(ValueError, encode_table, {"k": wrap(value)})
            # Neighbours neither add to the depth nor take from it.
            self.assertEqual(len(encode_table({"a": [[], {}], "k": value, "z": [[], {}]})), len(data) + 2 * 17)
            self.assertRaises(ValueError, encode_table, {"a": [[], {}], "k": wrap(value)})
        deep: object = None
        for _ in range(20000):
            deep = [deep]
        self.assertRaises(ValueError, encode_table, {"k": deep})
        while isinstance(deep, list):
            # Taken apart from outside: Python's own deallocation of such a list is no business of this test.
            deep = deep[0]

    def test_B86_a_small_object_that_is_a_large_table(self) -> None:
        value: object = [None] * 10
        for _ in range(20):
            value = [value] * 10
        error = self.assertRaises(ValueError, encode_table, {"k": value})
        self.assertIn(f"more than {MAX_TABLE_ITEMS} values", str(error))

    def test_what_is_written_can_be_read(self) -> None:
        array = [None] * (MAX_TABLE_ITEMS - 1)
        self.assertEqual(read(encode_table({"k": array})), {"k": array})
        self.assertRaises(ValueError, encode_table, {"k": [*array, None]})

    def test_any_mapping_will_do(self) -> None:
        class Own(Mapping[str, object]):
            def __getitem__(self, key: str) -> object:
                return {"a": 1}[key]

            def __iter__(self) -> Iterator[str]:
                return iter(["a"])

            def __len__(self) -> int:
                return 1

        self.assertEqual(encode_table(Own()), encode_table({"a": 1}))
        self.assertEqual(encode_table({"k": Own()}), encode_table({"k": {"a": 1}}))

    def test_B64_errors_in_methods_name_the_method(self) -> None:
        error = self.assertRaises(TypeError, Basic.Consume(arguments={"x": [1j]}).encode)
        self.assertEqual(str(error), "basic.consume: arguments.x[0] is a complex, which has no place in a table")

    @examples(150)
    @given(tables)
    def test_round_trip(self, table: dict[str, Any]) -> None:
        data = encode_table(table)
        decoded = read(data)
        self.assertEqual(typed(decoded), typed(table))
        self.assertEqual(encode_table(decoded), data)

    @examples(150)
    @given(damaged(tables.map(encode_table)))
    def test_what_was_read_is_written_or_refused_by_name(self, data: bytes) -> None:
        try:
            table, _ = decode_table(data, 0, len(data))
        except DecodeError:
            return
        try:
            again = encode_table(table, "headers")
        except (ValueError, TypeError) as error:
            self.assertIn("headers", str(error))
        else:
            self.assertEqual(typed(read(again)), typed(table))
