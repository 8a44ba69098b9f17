"""Tests for L{txpika.frames}."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika import exceptions
from txpika.exceptions import FramingError, ProtocolError
from txpika.frames import Body, Frame, Header, Heartbeat, Method, ProtocolHeader, decode_frame
from txpika.spec import Basic, BasicProperties, Connection, Queue
from txpika.test.fakes import frame

EVERY: list[Frame | ProtocolHeader] = [
    Method(1, Queue.Declare(0, "q", durable=True, arguments={"x": 1})),
    Method(0, Connection.CloseOk()),
    Header(1, 70000, BasicProperties(content_type="text/plain", headers={"a": 1})),
    Header(65535, 0, BasicProperties()),
    Body(1, b"body"),
    Body(1, b""),
    Heartbeat(),
    ProtocolHeader(),
    ProtocolHeader(1, 0, 0),
]


class FrameTests(SynchronousTestCase):
    """From objects to bytes and back."""

    def test_bytes_are_those_of_the_specification(self) -> None:
        declared = Queue.DeclareOk("q", 2, 3)
        self.assertEqual(Method(5, declared).marshal(), frame(1, 5, declared.encode()))
        self.assertEqual(
            Header(2, 3, BasicProperties(priority=7)).marshal(),
            bytes.fromhex("02000200 00000f003c0000 0000000000000003 0800 07 ce"),
        )
        self.assertEqual(Body(2, b"abc").marshal(), frame(3, 2, b"abc"))
        self.assertEqual(Heartbeat().marshal(), bytes.fromhex("08000000000000ce"))
        self.assertEqual(ProtocolHeader().marshal(), b"AMQP\0\0\x09\x01")

    def test_round_trip(self) -> None:
        for each in EVERY:
            encoded = each.marshal()
            self.assertEqual(decode_frame(encoded), (len(encoded), each))
            self.assertEqual(decode_frame(b"??" + encoded + b"next", 2), (len(encoded), each))
            self.assertEqual(decode_frame(encoded)[1].frame_type, each.frame_type)  # type: ignore[union-attr]

    def test_what_is_not_whole_is_none_at_every_byte(self) -> None:
        for each in EVERY:
            encoded = each.marshal()
            for end in range(len(encoded)):
                self.assertEqual(decode_frame(encoded[:end]), (0, None), each)

    def test_the_attributes_programs_read(self) -> None:
        method = decode_frame(EVERY[0].marshal())[1]
        assert isinstance(method, Method)
        self.assertEqual((method.channel_number, method.method.NAME), (1, "Queue.Declare"))
        header = decode_frame(EVERY[2].marshal())[1]
        assert isinstance(header, Header)
        self.assertEqual((header.body_size, header.properties.content_type), (70000, "text/plain"))
        body = decode_frame(EVERY[4].marshal())[1]
        assert isinstance(body, Body)
        self.assertEqual(body.fragment, b"body")
        self.assertEqual(
            [cls.NAME for cls in (Method, Header, Body, Heartbeat, ProtocolHeader)],
            ["METHOD", "Header", "Body", "Heartbeat", "ProtocolHeader"],
        )

    def test_frames_of_one_kind_compare(self) -> None:
        self.assertEqual(Body(1, b"a"), Body(1, b"a"))
        self.assertNotEqual(Body(1, b"a"), Body(2, b"a"))
        self.assertNotEqual(Body(1, b""), Heartbeat())
        self.assertNotEqual(ProtocolHeader(), ProtocolHeader(1, 0, 0))

    def test_repr_is_one_line_without_secrets(self) -> None:
        for secret in (
            Connection.StartOk({}, "PLAIN", b"\0guest\0hunter2"),
            Connection.SecureOk(b"hunter2"),
            Connection.UpdateSecret(b"hunter2", "expired"),
            Connection.Secure(b"hunter2"),
        ):
            shown = repr(Method(0, secret))
            self.assertIn(secret.NAME, shown)
            self.assertNotIn("hunter2", shown)
        self.assertEqual(repr(Body(3, b"\n" * 5000)), "<frames.Body channel 3: 5000 bytes>")
        self.assertEqual(repr(Heartbeat()), "<frames.Heartbeat channel 0>")
        self.assertEqual(repr(ProtocolHeader()), "<frames.ProtocolHeader 0-9-1>")
        self.assertIn("content_type='text/plain'", repr(EVERY[2]))
        self.assertNotIn("\n", repr(Method(1, Basic.Publish(0, "x", "a\nb"))))


class WrongBytesTests(SynchronousTestCase):
    """Bytes give a frame or one of two errors."""

    def assertCode(self, code: int, data: bytes) -> ProtocolError:
        error: ProtocolError = self.assertRaises(ProtocolError, decode_frame, data)
        self.assertEqual(error.reply_code, code)
        return error

    def test_what_cannot_be_cut_into_frames(self) -> None:
        for data in (b"\x04", b"HTTP/1.1 400", b"\x01\0\0\0\0\0\x00\xcd", b"AMXP\0\0\x09\x01"):
            self.assertIsInstance(self.assertCode(501, data), exceptions.InvalidFrameError)

    def test_what_makes_no_sense_within_a_frame(self) -> None:
        for code, data in (
            (501, frame(1, 1, b"\0")),
            (503, frame(1, 1, b"\0\x0a\0\xff")),
            (501, frame(1, 1, Queue.Declare(0, "queue").encode()[:-5])),
            (501, frame(2, 1, b"\0\x3c\0\0")),
            (501, frame(2, 1, b"\0\x0a" + bytes(12))),
            (505, frame(2, 1, b"\0\x3c\0\x01" + bytes(10))),
            (503, frame(8, 1, b"")),
            (501, frame(8, 0, b"x")),
        ):
            error = self.assertCode(code, data)
            self.assertNotIsInstance(error, FramingError)
            self.assertIsInstance(error, exceptions.ProtocolSyntaxError)

    def test_properties_that_make_no_sense_concern_their_reader(self) -> None:
        header = decode_frame(frame(2, 1, b"\0\x3c\0\0" + bytes(8) + b"\x80\0"))[1]
        assert isinstance(header, Header)
        self.assertIn("undecodable", repr(header))
        self.assertRaises(exceptions.DecodeError, getattr, header.properties, "content_type")

    @given(
        st.one_of(
            st.binary(max_size=40),
            st.tuples(st.sampled_from([1, 2, 3, 8]), st.binary()).map(lambda pair: frame(pair[0], 0, pair[1])),
        )
    )
    def test_any_bytes(self, data: bytes) -> None:
        try:
            consumed, found = decode_frame(data)
        except ProtocolError as error:
            self.assertIn(error.reply_code, (501, 502, 503, 505))
        else:
            self.assertEqual(consumed > 0, found is not None)
            self.assertLessEqual(consumed, len(data))
            repr(found)


class WrongArgumentsTests(SynchronousTestCase):
    """Told by the name of the argument, at once."""

    def test_each(self) -> None:
        wrong: Any = "wrong"
        for error_type, word, make in (
            (ValueError, "channel_number", lambda: Body(65536, b"")),
            (ValueError, "channel_number", lambda: Body(-1, b"")),
            (TypeError, "channel_number", lambda: Body(True, b"")),
            (TypeError, "channel_number", lambda: Body(wrong, b"")),
            (TypeError, "fragment", lambda: Body(1, wrong)),
            (TypeError, "method", lambda: Method(1, wrong)),
            (TypeError, "method", lambda: Method(1, Queue.Declare)),  # type: ignore[arg-type]
            (TypeError, "properties", lambda: Header(1, 1, wrong)),
            (ValueError, "body_size", lambda: Header(1, -1, BasicProperties())),
            (ValueError, "body_size", lambda: Header(1, 1 << 64, BasicProperties())),
            (TypeError, "body_size", lambda: Header(1, wrong, BasicProperties())),
            (ValueError, "major", lambda: ProtocolHeader(256)),
            (TypeError, "revision", lambda: ProtocolHeader(0, 9, wrong)),
            (ValueError, "offset", lambda: decode_frame(b"", -1)),
        ):
            self.assertIn(word, str(self.assertRaises(error_type, make)))

    def test_a_frame_is_of_some_kind(self) -> None:
        self.assertRaises(TypeError, Frame, 1, 0)
