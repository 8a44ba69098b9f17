"""Tests for L{txpika.spec.wire}."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import wire
from txpika.test.strategies import examples, shortstrs


class IntegerTests(SynchronousTestCase):
    """Octets, shorts, longs and longlongs are unsigned and big-endian."""

    WIDTHS: tuple[tuple[Callable[[Any, str], bytes], int], ...] = (
        (wire.encode_octet, 1),
        (wire.encode_short, 2),
        (wire.encode_long, 4),
        (wire.encode_longlong, 8),
    )

    def test_both_ends_of_the_range(self) -> None:
        for encode, width in self.WIDTHS:
            self.assertEqual(encode(0, "x"), b"\0" * width)
            self.assertEqual(encode(256**width - 1, "x"), b"\xff" * width)

    def test_the_most_significant_octet_comes_first(self) -> None:
        self.assertEqual(wire.encode_short(0x0102, "x"), b"\x01\x02")
        self.assertEqual(wire.encode_long(0x01020304, "x"), b"\x01\x02\x03\x04")
        self.assertEqual(wire.encode_longlong(0x0102030405060708, "x"), b"\x01\x02\x03\x04\x05\x06\x07\x08")

    def test_out_of_range_names_the_argument_and_the_range(self) -> None:
        for encode, width in self.WIDTHS:
            for wrong in (-1, 256**width, 10**40):
                error = self.assertRaises(ValueError, encode, wrong, "basic.qos: prefetch_count")
                self.assertEqual(str(error), f"basic.qos: prefetch_count must be between 0 and {256**width - 1}")

    def test_what_is_no_integer_is_a_type_error(self) -> None:
        for encode, _ in self.WIDTHS:
            for wrong in (True, False, None, "1", 1.0, b"\1"):
                error = self.assertRaises(TypeError, encode, wrong, "basic.ack: delivery_tag")
                self.assertEqual(str(error), f"basic.ack: delivery_tag must be int, not {type(wrong).__name__}")


class BitTests(SynchronousTestCase):
    """Only a bool is a bit."""

    def test_a_bool_is_a_bit(self) -> None:
        self.assertIs(wire.check_bit(True, "x"), True)
        self.assertIs(wire.check_bit(False, "x"), False)

    def test_nothing_else_is(self) -> None:
        for wrong in (0, 1, None, "", "yes", [True]):
            error = self.assertRaises(TypeError, wire.check_bit, wrong, "queue.declare: durable")
            self.assertEqual(str(error), f"queue.declare: durable must be bool, not {type(wrong).__name__}")


class StringTests(SynchronousTestCase):
    """Short strings are UTF-8 with one octet of length, long strings bytes with four."""

    def test_short_string(self) -> None:
        self.assertEqual(wire.encode_shortstr("", "x"), b"\0")
        self.assertEqual(wire.encode_shortstr("caf\u00e9", "x"), b"\x05caf\xc3\xa9")

    def test_B75_length_is_counted_in_bytes_of_utf8(self) -> None:
        for value, size in (("x" * 256, 256), ("\u2603" * 100, 300), ("\U0001f407" * 64, 256)):
            error = self.assertRaises(ValueError, wire.encode_shortstr, value, "queue.declare: queue")
            self.assertEqual(str(error), f"queue.declare: queue is {size} bytes of UTF-8, at most 255")

    def test_B76_255_bytes_fit(self) -> None:
        for value in ("x" * 255, "\u2603" * 85):
            self.assertEqual(wire.encode_shortstr(value, "x"), b"\xff" + value.encode())

    def test_B77_surrogates_and_nul_are_refused(self) -> None:
        for value in ("\udc80", "a\ud800b", "a\0b"):
            error = self.assertRaises(ValueError, wire.encode_shortstr, value, "basic.publish: routing_key")
            self.assertTrue(str(error).startswith("basic.publish: routing_key has a "), error)
            self.assertNotIsInstance(error, UnicodeError)

    def test_B78_only_str_is_text(self) -> None:
        for wrong in (None, 5, b"key", b"\xff", bytearray(b"key"), ["key"]):
            error = self.assertRaises(TypeError, wire.encode_shortstr, wrong, "basic.publish: routing_key")
            self.assertEqual(str(error), f"basic.publish: routing_key must be str, not {type(wrong).__name__}")

    @examples(100)
    @given(shortstrs)
    def test_short_strings_say_their_length(self, value: str) -> None:
        data = wire.encode_shortstr(value, "x")
        self.assertEqual(data[0], len(data) - 1)
        self.assertEqual(data[1:].decode("utf-8"), value)

    def test_long_string(self) -> None:
        for value in (b"\0guest\0guest", bytearray(b"\0guest\0guest"), memoryview(b"\0guest\0guest")):
            self.assertEqual(wire.encode_longstr(value, "x"), b"\0\0\0\x0c\0guest\0guest")

    def test_a_long_string_is_bytes(self) -> None:
        for wrong in ("text", None, 5, [1, 2]):
            error = self.assertRaises(TypeError, wire.encode_longstr, wrong, "connection.start-ok: response")
            self.assertEqual(str(error), f"connection.start-ok: response must be bytes, not {type(wrong).__name__}")

    def test_no_error_tells_the_value(self) -> None:
        secret = "hunter2"
        for value in (secret * 50, secret + "\0", secret + "\udc80"):
            error = self.assertRaises(ValueError, wire.encode_shortstr, value, "x")
            self.assertNotIn(secret, f"{error} {error!r} {error.__cause__!r}")


class TimestampTests(SynchronousTestCase):
    """64 bits of seconds since 1970, UTC."""

    def test_golden(self) -> None:
        # date -u -d @1234567890 is Fri Feb 13 23:31:30 UTC 2009
        moment = datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC)
        for value in (1234567890, moment, moment.replace(tzinfo=None), moment + timedelta(microseconds=999999)):
            self.assertEqual(wire.encode_timestamp(value, "x"), b"\0\0\0\0\x49\x96\x02\xd2")
        self.assertEqual(wire.Timestamp(1234567890).datetime, moment)
        self.assertEqual(wire.Timestamp(1234567890).datetime.utcoffset(), timedelta(0))

    def test_B85_zones_are_converted_and_none_means_utc(self) -> None:
        noon = datetime(2020, 6, 1, 12, 0)
        east = noon.replace(tzinfo=timezone(timedelta(hours=2)))
        self.assertEqual(wire.to_timestamp(noon, "x"), wire.to_timestamp(noon.replace(tzinfo=UTC), "x"))
        self.assertEqual(wire.to_timestamp(noon, "x") - wire.to_timestamp(east, "x"), 7200)

    def test_B85_before_1970_and_out_of_range(self) -> None:
        for wrong in (-1, 2**64, datetime(1969, 12, 31, 23, 59, 59), datetime(1, 1, 1, tzinfo=UTC)):
            error = self.assertRaises(ValueError, wire.encode_timestamp, wrong, "basic properties: timestamp")
            self.assertTrue(str(error).startswith("basic properties: timestamp "), error)
        self.assertEqual(wire.encode_timestamp(2**64 - 1, "x"), b"\xff" * 8)
        self.assertEqual(wire.encode_timestamp(datetime(1970, 1, 1), "x"), bytes(8))

    def test_other_types_are_refused(self) -> None:
        for wrong in (True, 1.5, "1234567890", None, datetime(2020, 1, 1).date()):
            error = self.assertRaises(TypeError, wire.encode_timestamp, wrong, "headers.t")
            self.assertEqual(str(error), f"headers.t must be int or datetime, not {type(wrong).__name__}")

    def test_B61_absurd_values_are_kept_and_only_their_date_fails(self) -> None:
        for seconds in (253402300800, 1234567890123, 2**63, 2**64 - 1):
            stamp = wire.Timestamp(seconds)
            self.assertEqual(stamp, seconds)
            with self.assertRaises(OverflowError):
                stamp.datetime  # noqa: B018
        self.assertEqual(wire.Timestamp(253402300799).datetime.year, 9999)

    @examples(100)
    @given(st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)))
    def test_date_and_back(self, moment: datetime) -> None:
        self.assertEqual(wire.to_timestamp(moment, "x").datetime, moment.replace(microsecond=0))
