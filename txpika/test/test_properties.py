"""Tests for L{txpika.spec.BasicProperties} and L{txpika.spec.checks}."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import DecodeError
from txpika.spec import BasicProperties, Timestamp
from txpika.test.strategies import FALSE_LENGTHS, damaged, examples, properties, typed

#: Each property alone: a value, its flag, and the bytes after the flags (section 4.2.6.1 and the class basic).
GOLDEN: tuple[tuple[str, object, str], ...] = (
    ("content_type", "text/plain", "8000 0a 746578742f706c61696e"),
    ("content_encoding", "gzip", "4000 04 677a6970"),
    ("headers", {"a": True}, "2000 00000004 01 61 74 01"),
    ("delivery_mode", 2, "1000 02"),
    ("priority", 255, "0800 ff"),
    ("correlation_id", "42", "0400 02 3432"),
    ("reply_to", "q", "0200 01 71"),
    ("expiration", "60000", "0100 05 3630303030"),
    ("message_id", "m", "0080 01 6d"),
    ("timestamp", Timestamp(1234567890), "0040 00000000499602d2"),
    ("type", "t", "0020 01 74"),
    ("user_id", "guest", "0010 05 6775657374"),
    ("app_id", "app", "0008 03 617070"),
    ("cluster_id", "", "0004 00"),
)

ALL = "fffc" + "".join(wire[4:] for _, _, wire in GOLDEN)
NAMES = [name for name, _, _ in GOLDEN]


def one(name: str, value: object) -> BasicProperties:
    """Properties with one value."""
    arguments: dict[str, Any] = {name: value}
    return BasicProperties(**arguments)


def wire(text: str) -> BasicProperties:
    """Properties as they come from the wire, given as hexadecimal digits."""
    return BasicProperties.from_wire(bytes.fromhex(text))


def values(read: BasicProperties) -> dict[str, object]:
    """What they say, all of it."""
    return {name: getattr(read, name) for name in NAMES}


class GoldenTests(SynchronousTestCase):
    """Each property on the wire."""

    def test_writing_one(self) -> None:
        for name, value, expected in GOLDEN:
            self.assertEqual(one(name, value).encode().hex(), expected.replace(" ", ""), name)

    def test_reading_one(self) -> None:
        for name, value, given_wire in GOLDEN:
            expected: dict[str, object] = dict.fromkeys(NAMES)
            expected[name] = value
            self.assertEqual(typed(values(wire(given_wire))), typed(expected), name)

    def test_all_of_them(self) -> None:
        whole: dict[str, Any] = {name: value for name, value, _ in GOLDEN}
        self.assertEqual(BasicProperties(**whole).encode(), bytes.fromhex(ALL))
        self.assertEqual(typed(values(wire(ALL))), typed(whole))

    def test_none_of_them(self) -> None:
        self.assertEqual(BasicProperties().encode(), b"\0\0")
        self.assertEqual(values(wire("0000")), dict.fromkeys(NAMES))

    def test_the_arguments_are_in_the_order_of_the_flags(self) -> None:
        self.assertEqual([*inspect.signature(BasicProperties).parameters], NAMES)
        self.assertEqual([*BasicProperties.NAMES], NAMES)
        self.assertEqual(BasicProperties("text/plain", None, {}, 2).delivery_mode, 2)

    def test_any_octet_may_come_as_delivery_mode_and_priority(self) -> None:
        read = wire("1800 07 ff")
        self.assertEqual((read.delivery_mode, read.priority), (7, 255))


class LazinessTests(SynchronousTestCase):
    """What came is not looked at before it is asked for, and goes on as it came."""

    def test_nothing_is_decoded_at_first(self) -> None:
        for nonsense in ("", "ff", "ffff", "8000 ff"):
            raw = bytes.fromhex(nonsense)
            self.assertIs(BasicProperties.from_wire(raw).encode(), raw)

    def test_what_was_not_changed_is_relayed_byte_for_byte(self) -> None:
        # An 'i' would be written as 'I', the reserved flag not at all, and what is left over never.
        raw = bytes.fromhex("3002 00000007 01 61 69 00000005 02 ffff")
        read = BasicProperties.from_wire(raw)
        self.assertEqual(read.delivery_mode, 2)
        self.assertEqual(repr(read), "<BasicProperties(headers={'a': 5}, delivery_mode=2)>")
        self.assertEqual(read, read)
        self.assertEqual(read.encode(), raw)

    def test_headers_once_read_may_have_changed(self) -> None:
        raw = bytes.fromhex("3000 00000007 01 61 69 00000005 02")
        read = BasicProperties.from_wire(raw)
        headers = read.headers
        assert headers is not None
        self.assertEqual(read.encode().hex(), "3000 00000007 01 61 49 00000005 02".replace(" ", ""))
        headers["b"] = None
        self.assertEqual(read.encode().hex(), "3000 0000000a 01 61 49 00000005 01 62 56 02".replace(" ", ""))
        headers.clear()
        self.assertEqual(read.encode().hex(), "3000 00000000 02".replace(" ", ""))

    def test_headers_that_are_not_there_change_nothing(self) -> None:
        raw = bytes.fromhex("1002 02")
        read = BasicProperties.from_wire(raw)
        self.assertIsNone(read.headers)
        self.assertIs(read.encode(), raw)

    def test_a_change_is_written(self) -> None:
        read = wire("3000 00000000 02")
        read.delivery_mode = 1
        self.assertEqual(read.encode().hex(), "30000000000001")
        read.headers = None
        self.assertEqual(read.encode().hex(), "100001")
        read.app_id = "a"
        self.assertEqual(read.encode().hex(), "1008010161")

    def test_each_change_is_written(self) -> None:
        for name, value, expected in GOLDEN:
            for fresh in (BasicProperties(), wire("0000")):
                fresh.encode()
                setattr(fresh, name, value)
                self.assertEqual(fresh.encode().hex(), expected.replace(" ", ""), name)
                self.assertEqual(getattr(fresh, name), value)
                setattr(fresh, name, None)
                self.assertEqual(fresh.encode(), b"\0\0", name)

    def test_encoding_is_done_once(self) -> None:
        made = BasicProperties(delivery_mode=2, app_id="a")
        self.assertIs(made.encode(), made.encode())

    def test_encoding_is_done_again_when_there_are_headers(self) -> None:
        headers: dict[str, Any] = {}
        made = BasicProperties(headers=headers)
        self.assertEqual(made.encode().hex(), "200000000000")
        headers["a"] = None
        self.assertEqual(made.encode().hex(), "200000000003016156")

    def test_decode_reads_at_once(self) -> None:
        self.assertRaises(DecodeError, wire("8000 ff").decode)
        read = wire("1000 02")
        read.decode()
        read.decode()
        self.assertEqual(read.delivery_mode, 2)


class DamageTests(SynchronousTestCase):
    """Bad properties are an error to those who read them, each time, and to nobody else."""

    def assertRefused(self, raw: bytes, code: int) -> None:
        """Each property of C{raw}, read or set, raises the same; showing and comparing do not."""
        read = BasicProperties.from_wire(raw)
        touches: list[Callable[[], object]] = [read.decode]
        for name in NAMES:
            touches += [partial(getattr, read, name), partial(setattr, read, name, None)]
        texts = set()
        for touch in touches * 2:
            error = self.assertRaises(DecodeError, touch)
            self.assertEqual(error.reply_code, code, str(error))
            texts.add(str(error))
        self.assertEqual(len(texts), 1)
        self.assertEqual(repr(read), f"<BasicProperties, undecodable: {texts.pop()}>")
        self.assertNotEqual(read, BasicProperties())
        self.assertEqual(read, BasicProperties.from_wire(raw))
        self.assertEqual(read.encode(), raw)

    def test_B71_more_flags_follow(self) -> None:
        self.assertRefused(bytes.fromhex("0001 0000"), 505)
        self.assertRefused(bytes.fromhex("1001 0000 02"), 505)
        self.assertRefused(bytes.fromhex("ffff" * 10000), 505)

    def test_B71_reserved_flag_is_ignored(self) -> None:
        self.assertEqual(wire("0002"), BasicProperties())
        self.assertEqual(wire("1002 02"), BasicProperties(delivery_mode=2))

    def test_B72_cut_short(self) -> None:
        whole = bytes.fromhex(ALL)
        for end in range(len(whole)):
            self.assertRefused(whole[:end], 501)
        for name, _, text in GOLDEN:
            alone = bytes.fromhex(text)
            for end in range(len(alone)):
                error = self.assertRaises(DecodeError, BasicProperties.from_wire(alone[:end]).decode)
                self.assertEqual(error.reply_code, 501, name)

    def test_B51_short_string_past_the_end(self) -> None:
        for text in ("8000 05 61", "8000 ff", "c000 05 61 01 62", "9000 ff 61 02", "8040 09 00000000499602d2"):
            self.assertRefused(bytes.fromhex(text), 501)

    def test_bad_headers(self) -> None:
        self.assertRefused(bytes.fromhex("2000 ffffffff"), 501)
        self.assertRefused(bytes.fromhex("2000 00000003 01 61 5a"), 502)

    def test_B73_bytes_after_the_properties(self) -> None:
        self.assertEqual(typed(values(wire(ALL + "00ff00"))), typed(values(wire(ALL))))
        self.assertEqual(wire("0000 ffff"), BasicProperties())

    def test_B68_text_that_is_not_utf8_keeps_its_bytes(self) -> None:
        read = wire("0600 02 61ff 01 fe")
        self.assertEqual((read.correlation_id, read.reply_to), ("a\udcff", "\udcfe"))
        self.assertEqual(read.encode().hex(), "0600" + "0261ff" + "01fe")
        # Written anew it would not be UTF-8.
        read.priority = 1
        error = self.assertRaises(ValueError, read.encode)
        self.assertEqual(str(error), "basic properties: correlation_id has a lone surrogate, which UTF-8 cannot carry")

    def test_B61_any_timestamp_is_kept(self) -> None:
        read = wire("0040 ffffffffffffffff").timestamp
        self.assertEqual(typed(read), typed(Timestamp(2**64 - 1)))
        with self.assertRaises(OverflowError):
            assert read is not None
            read.datetime  # noqa: B018

    def test_B70_repr_is_one_line(self) -> None:
        read = wire("8000 06 61 0d 0a 1b 5b 00")
        self.assertEqual(repr(read), r"<BasicProperties(content_type='a\r\n\x1b[\x00')>")
        self.assertEqual(read.content_type, "a\r\n\x1b[\0")

    def test_repr_is_short(self) -> None:
        self.assertTrue(len(repr(BasicProperties("x" * 10**6, headers={str(n): n for n in range(10**4)}))) < 1000)

    @examples(250)
    @given(damaged(properties.map(BasicProperties.encode)))
    def test_damage(self, raw: bytes) -> None:
        self.assertSound(raw)

    @examples(60)
    @given(properties.map(BasicProperties.encode), st.sampled_from(FALSE_LENGTHS))
    def test_false_lengths(self, raw: bytes, length: bytes) -> None:
        for at in range(2, len(raw) - 3):
            self.assertSound(raw[:at] + length + raw[at + 4 :])

    @examples(150)
    @given(st.binary(max_size=60))
    def test_noise(self, raw: bytes) -> None:
        self.assertSound(raw)

    def assertSound(self, raw: bytes) -> None:
        """Values or a decode error, always the same, and nothing else."""
        read = BasicProperties.from_wire(raw)
        repr(read)
        try:
            first = values(read)
        except DecodeError as error:
            self.assertIn(error.reply_code, (501, 502, 505))
            self.assertRaises(DecodeError, lambda: read.headers)
            self.assertEqual(read.encode(), raw)
        else:
            self.assertEqual(typed(values(read)), typed(first))


class Mode(IntEnum):
    PERSISTENT = 2


class ValueTests(SynchronousTestCase):
    """What may be sent."""

    def assertWrong(self, kind: type[Exception], name: str, value: object, text: str) -> None:
        """A value is refused when the properties are written, however it got there, and each time."""
        read, late = wire("1000 02"), BasicProperties()
        late.encode()
        for made in (one(name, value), late, read):
            setattr(made, name, value)
            for _ in range(2):
                error = self.assertRaises(kind, made.encode)
                self.assertIs(type(error), kind)
                self.assertEqual(str(error), f"basic properties: {name} {text}")

    STRINGS = (
        "content_type",
        "content_encoding",
        "correlation_id",
        "reply_to",
        "expiration",
        "message_id",
        "type",
        "user_id",
        "app_id",
        "cluster_id",
    )

    def test_B75_strings_are_limited_in_bytes(self) -> None:
        for name in self.STRINGS:
            self.assertWrong(ValueError, name, "x" * 256, "is 256 bytes of UTF-8, at most 255")
            self.assertWrong(ValueError, name, "\u2603" * 100, "is 300 bytes of UTF-8, at most 255")

    def test_B76_255_bytes_fit(self) -> None:
        for name in self.STRINGS:
            value = "1" * 255 if name == "expiration" else "\u2603" * 85
            self.assertEqual(getattr(BasicProperties.from_wire(one(name, value).encode()), name), value)

    def test_B77_surrogates_and_nul(self) -> None:
        for name in self.STRINGS:
            self.assertWrong(ValueError, name, "\udc80", "has a lone surrogate, which UTF-8 cannot carry")
            self.assertWrong(ValueError, name, "1\0", "has a NUL")

    def test_B78_strings_are_str(self) -> None:
        for name in self.STRINGS:
            for value in (5, b"5", 1.5, ["5"]):
                self.assertWrong(TypeError, name, value, f"must be str, not {type(value).__name__}")

    def test_B79_B80_headers(self) -> None:
        self.assertWrong(TypeError, "headers", [], "must be a mapping, not list")
        self.assertWrong(TypeError, "headers", "text", "must be a mapping, not str")
        unknown = "which has no place in a table"
        error = self.assertRaises(TypeError, one("headers", {"a": [0, 0, 0, {"b": {1}}]}).encode)
        self.assertEqual(str(error), f"basic properties: headers.a[3].b is a set, {unknown}")
        error = self.assertRaises(TypeError, one("headers", {1: 2}).encode)
        self.assertEqual(str(error), "a key must be str, not int, in basic properties: headers")

    def test_B90_priority(self) -> None:
        for value in (-1, 256):
            self.assertWrong(ValueError, "priority", value, "must be between 0 and 255")
        for wrong in (True, "5", 5.0):
            self.assertWrong(TypeError, "priority", wrong, f"must be int, not {type(wrong).__name__}")
        self.assertEqual(one("priority", 0).encode().hex(), "080000")

    def test_B90_delivery_mode(self) -> None:
        for value in (0, 3, 9):
            self.assertWrong(ValueError, "delivery_mode", value, "must be 1 (transient) or 2 (persistent)")
        for out in (-1, 256):
            self.assertWrong(ValueError, "delivery_mode", out, "must be between 0 and 255")
        for wrong in (True, "2", 2.0):
            self.assertWrong(TypeError, "delivery_mode", wrong, f"must be int, not {type(wrong).__name__}")
        self.assertEqual(one("delivery_mode", Mode.PERSISTENT).encode().hex(), "100002")

    def test_B90_expiration(self) -> None:
        for value in ("-1", "abc", "1.5", "", " 5", "5 ", "\u0665", "\u00b2", "1e3", "+5"):
            self.assertWrong(ValueError, "expiration", value, "must be a number of milliseconds in decimal digits")
        self.assertWrong(TypeError, "expiration", 5, "must be str, not int")
        self.assertEqual(one("expiration", "0").encode().hex(), "01000130")

    def test_B85_timestamp(self) -> None:
        for value in (-1, 2**64):
            self.assertWrong(ValueError, "timestamp", value, "must be between 0 and 2^64 - 1 seconds")
        self.assertWrong(ValueError, "timestamp", datetime(1969, 12, 31), "is before 1970")
        for wrong in (1.5, "now", True):
            self.assertWrong(TypeError, "timestamp", wrong, f"must be int or datetime, not {type(wrong).__name__}")

    def test_B85_a_timestamp_reads_as_one_however_it_was_set(self) -> None:
        moment = datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC)
        for value in (1234567890, Timestamp(1234567890), moment, moment.replace(tzinfo=None)):
            made = one("timestamp", value)
            self.assertEqual(made.encode().hex(), "0040" + "00000000499602d2")
            self.assertEqual(typed(made.timestamp), typed(Timestamp(1234567890)))
            assert made.timestamp is not None
            self.assertEqual(made.timestamp.datetime, moment)

    def test_B86_headers_in_themselves(self) -> None:
        headers: dict[str, object] = {}
        headers["self"] = headers
        made = BasicProperties(headers=headers)
        self.assertRaises(ValueError, made.encode)
        self.assertIn("self", repr(made))

    def test_a_refused_value_can_be_put_right(self) -> None:
        made = BasicProperties(priority=256)
        self.assertRaises(ValueError, made.encode)
        made.priority = 5
        self.assertEqual(made.encode().hex(), "080005")


class ObjectTests(SynchronousTestCase):
    """They compare, copy and round trip."""

    @examples(150)
    @given(properties)
    def test_round_trip(self, made: BasicProperties) -> None:
        raw = made.encode()
        read = BasicProperties.from_wire(raw)
        self.assertEqual(typed(values(read)), typed(values(made)))
        # Its headers were read just now, so this is encoded anew.
        self.assertEqual(read.encode(), raw)

    def test_equality(self) -> None:
        made = BasicProperties(headers={"a": 1}, priority=5)
        self.assertEqual(made, BasicProperties(headers={"a": 1}, priority=5))
        self.assertEqual(made, BasicProperties.from_wire(made.encode()))
        self.assertNotEqual(made, BasicProperties(headers={"a": 2}, priority=5))
        self.assertNotEqual(made, BasicProperties(priority=5))
        self.assertNotEqual(made, {"headers": {"a": 1}, "priority": 5})
        self.assertRaises(TypeError, hash, made)

    def test_equality_does_not_give_the_headers_away(self) -> None:
        raw = bytes.fromhex("2000 00000007 01 61 69 00000005")
        read = BasicProperties.from_wire(raw)
        self.assertEqual(read, BasicProperties(headers={"a": 5}))
        self.assertEqual(read.encode(), raw)

    def test_copies_do_not_go_stale(self) -> None:
        raw = bytes.fromhex("3000 00000007 01 61 69 00000005 02")
        for prepare in (lambda read: None, lambda read: read.delivery_mode, lambda read: read.headers):
            read = BasicProperties.from_wire(raw)
            prepare(read)
            copied = copy.copy(read)
            self.assertEqual(copied, read)
            headers = copied.headers
            assert headers is not None
            headers["b"] = True
            for either in (read, copied):
                again = BasicProperties.from_wire(either.encode())
                self.assertEqual(again.headers, either.headers)
            copied.priority = 5
            self.assertIsNone(read.priority)

    def test_a_copy_without_headers_goes_on_as_it_came(self) -> None:
        raw = bytes.fromhex("1002 02 ffff")
        read = BasicProperties.from_wire(raw)
        read.decode()
        self.assertEqual(copy.copy(read).encode(), raw)
        self.assertEqual(read.encode(), raw)

    def test_copies_and_pickles_of_all_kinds(self) -> None:
        made = BasicProperties(headers={"a": [1]}, timestamp=datetime(2020, 1, 1))
        touched = wire(ALL)
        touched.decode()
        for value in (made, wire(ALL), touched, wire("8000 ff"), BasicProperties()):
            for same in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
                self.assertEqual(same, value)
                self.assertEqual(same.encode(), value.encode())

    def test_repr_shows_what_is_set(self) -> None:
        self.assertEqual(repr(BasicProperties()), "<BasicProperties()>")
        self.assertEqual(
            repr(BasicProperties("text/plain", headers={"a": 1}, priority=0)),
            "<BasicProperties(content_type='text/plain', headers={'a': 1}, priority=0)>",
        )

    def test_a_misspelt_property_is_noticed(self) -> None:
        with self.assertRaises(AttributeError):
            BasicProperties().corelation_id = "1"  # type: ignore[attr-defined]
