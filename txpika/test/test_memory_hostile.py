"""Broken and hostile clients: the broker in memory closes what they broke, and raises nothing."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import (
    METHODS,
    PROTOCOL_HEADER,
    Basic,
    Channel,
    Confirm,
    Connection,
    Exchange,
    Queue,
    Tx,
    decode_method,
)
from txpika.test.fakes import content, frame, method
from txpika.test.memory_drivers import Way
from txpika.test.strategies import examples
from txpika.testing.broker import MemoryBroker

HANDSHAKE = [
    PROTOCOL_HEADER,
    method(0, Connection.StartOk({}, "PLAIN", b"\0guest\0guest")),
    method(0, Connection.TuneOk(100, 4096, 0)),
    method(0, Connection.Open("/")),
]
READY = b"".join((*HANDSHAKE, method(1, Channel.Open()), method(1, Queue.Declare(0, "q"))))
PUBLISH = method(1, Basic.Publish(0, "", "q"))


def header(size: int, class_id: int = 60, weight: int = 0, properties: bytes = b"\0\0", number: int = 1) -> bytes:
    return frame(2, number, struct.pack(">HHQ", class_id, weight, size) + properties)


def heartbeat(number: int = 0, payload: bytes = b"") -> bytes:
    return frame(8, number, payload)


def deep(depth: int) -> bytes:
    """A table with arrays in arrays."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return struct.pack(">I", len(value) + 2) + b"\x01a" + value


#: What a client sends after it has opened channel 1, and the code of the C{connection.close} it gets.
VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "B01 a frame of 4 GiB": (struct.pack(">BHI", 1, 1, 0xFFFFFFFF), 501),
    "B03 a body frame one over frame_max": (PUBLISH + header(5000) + frame(3, 1, b"x" * 4089), 501),
    "B03 the same, whole": (PUBLISH + header(4089) + frame(3, 1, b"x" * 4089), 501),
    "B06 a method frame over it": (frame(1, 1, b"x" * 4089), 501),
    "B07 no method": (frame(1, 1, b""), 501),
    "B07 a piece of a method": (frame(1, 1, b"\0\x3c\0"), 501),
    "B08 a piece of a header": (PUBLISH + frame(2, 1, b"\0\x3c\0\0"), 501),
    "B09 another end": (method(1, Basic.Qos(0, 1))[:-1] + b"\xcd", 501),
    "B09 another end of a heartbeat": (heartbeat()[:-1] + b"\0", 501),
    "B09 another end within a message": (PUBLISH[:-1] + b"\xcd" + header(1) + frame(3, 1, b"x"), 501),
    "B09 another end of a header": (PUBLISH + header(1)[:-1] + b"\xcd" + frame(3, 1, b"x"), 501),
    "B09 another end of a body": (PUBLISH + header(1) + frame(3, 1, b"x")[:-1] + b"\xcd", 501),
    "B10 a frame of type 0": (frame(0, 0, b""), 501),
    "B10 a frame of type 4": (frame(4, 0, b""), 501),
    "B10 a frame of type 9": (frame(9, 0, b""), 501),
    "B10 a frame of type 255": (frame(255, 0, b""), 501),
    "B11 a heartbeat with a payload": (heartbeat(0, b"x"), 501),
    "B12 a heartbeat on a channel": (heartbeat(1), 503),
    "B13 a header again": (PROTOCOL_HEADER, 501),
    "B17 a channel that is not open": (method(7, Basic.Qos(0, 1)), 504),
    "B19 very many empty frames": (PUBLISH + header(1) + frame(3, 1, b"") * 1001, 505),
    "B21 a body without a method": (frame(3, 1, b"x"), 505),
    "B21 a header without a method": (header(1), 505),
    "B22 a body without a header": (PUBLISH + frame(3, 1, b"x"), 505),
    "B23 a method within a message": (PUBLISH + method(1, Basic.Qos(0, 1)), 505),
    "B23 a method after a header": (PUBLISH + header(1) + method(1, Basic.Qos(0, 1)), 505),
    "B23 a whole message within a message": (
        PUBLISH + header(0) + PUBLISH + header(1) + PUBLISH + header(0),
        505,
    ),
    "B23 a second header": (PUBLISH + header(1) + header(1), 505),
    "B25 a body one byte too long": (PUBLISH + header(1) + frame(3, 1, b"xx"), 505),
    "B25 a frame too many": (PUBLISH + header(1) + frame(3, 1, b"x") + frame(3, 1, b"x"), 505),
    "B27 a body of nothing": (PUBLISH + header(0) + frame(3, 1, b"x"), 505),
    "B28 another class": (PUBLISH + header(1, class_id=50), 501),
    "B29 a weight": (PUBLISH + header(1, weight=1), 505),
    "B30 a message on channel 0": (method(0, Basic.Publish(0, "", "q")), 504),
    "B30 a header on channel 0": (header(1, number=0), 505),
    "a message on a channel that is not open": (header(1, number=9), 504),
    "B31 connection.close-ok on a channel": (method(1, Connection.CloseOk()), 503),
    "B31 channel.open on 0": (method(0, Channel.Open()), 504),
    "B32 a class that is none": (frame(1, 1, struct.pack(">HH", 99, 10)), 503),
    "B32 a method that is none": (frame(1, 1, struct.pack(">HH", 60, 99)), 503),
    "B33 basic.deliver": (content(1, Basic.Deliver("t", 1, False, "", "q"), b""), 503),
    "B33 queue.declare-ok": (method(1, Queue.DeclareOk("q", 0, 0)), 503),
    "B33 connection.start": (method(0, Connection.Start()), 504),
    "B36 close-ok of nothing": (method(1, Channel.CloseOk()), 503),
    "B36 open twice": (method(1, Channel.Open()), 504),
    "B51 a short string past the end": (frame(1, 1, struct.pack(">HHH", 60, 40, 0) + b"\xff"), 501),
    "B51 arguments that are missing": (frame(1, 1, struct.pack(">HHH", 50, 10, 0) + b"\x01q"), 501),
    "B52 a long string past the end": (frame(1, 0, struct.pack(">HH", 10, 70) + b"\xff\xff\xff\xff"), 501),
    "B57 an unknown tag in a table": (
        frame(1, 1, struct.pack(">HHH", 50, 10, 0) + b"\x01q\x00" + struct.pack(">I", 3) + b"\x01aZ"),
        502,
    ),
    "B64 a deep table": (
        frame(1, 1, struct.pack(">HHH", 50, 10, 0) + b"\x01q\x00" + deep(50)),
        502,
    ),
    "B69 a name that is not UTF-8": (frame(1, 1, struct.pack(">HHH", 50, 10, 0) + b"\x01\xff\x00\0\0\0\0"), 501),
    "B70 a name with a NUL": (method(1, Queue.Declare(0, "q_x")).replace(b"_", b"\0"), 501),
    "B71 more property flags": (PUBLISH + header(0, properties=b"\x00\x01\x00\x00"), 541),
    "B72 properties that are missing": (PUBLISH + header(0, properties=b"\x80\x00"), 541),
    "B72 properties of no bytes": (PUBLISH + header(0, properties=b""), 501),
    "B64 deep headers": (PUBLISH + header(0, properties=b"\x20\x00" + deep(500)), 541),
    "channel 101": (b"".join(method(number, Channel.Open()) for number in range(2, 103)), 530),
}

#: What is odd, and does no harm.
HARMLESS: dict[str, bytes] = {
    "B02 a body frame of frame_max": PUBLISH + header(4088) + frame(3, 1, b"x" * 4088),
    "B20 an empty frame within a body": PUBLISH + header(2) + frame(3, 1, b"x") + frame(3, 1, b"") + frame(3, 1, b"x"),
    "B24 another channel within a message": PUBLISH + header(1) + method(2, Channel.Open()) + frame(3, 1, b"x"),
    "B73 bytes after the arguments": frame(1, 1, Basic.Qos(0, 1).encode() + b"more"),
    "B74 a ticket": method(1, Queue.Declare(7, "q")),
    "B68 a routing key that is not UTF-8": frame(1, 1, struct.pack(">HHH", 60, 40, 0) + b"\0\x01\xff\x01") + header(0),
    "B66 the same key twice": PUBLISH + header(0, properties=b"\x20\x00\x00\x00\x00\x06\x01aV\x01aV"),
    "heartbeats": heartbeat() * 3,
}


class Victim:
    """A broker, one client of it, and another whose connection must survive."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock)
        self.other = Way(self.broker, self.clock)
        self.other.send(READY)
        self.way = Way(self.broker, self.clock)
        self._read = 0
        self._data = b""

    def heard(self) -> list[Any]:
        """The methods that the client got and were not looked at."""
        self._data += self.way.read() if self.way._data else b""
        found = []
        while self._read + 7 <= len(self._data):
            kind, _, size = struct.unpack_from(">BHI", self._data, self._read)
            start = self._read + 7
            self._read = start + size + 1
            assert self._data[self._read - 1] == 0xCE
            if kind == 1:
                found.append(decode_method(self._data[start : start + size])[0])
        return found

    def survives(self) -> None:
        """Its other client is answered."""
        self.other.read()
        self.other.send(method(1, Queue.Declare(0, "q", passive=True)))
        assert b"\x00\x32\x00\x0b" in self.other.read()


class HostileTests(SynchronousTestCase):
    """Whole, and byte by byte."""

    def send(self, victim: Victim, data: bytes, one_by_one: bool) -> None:
        for piece in [data[at : at + 1] for at in range(len(data))] if one_by_one else [data]:
            victim.way.send(piece)

    def test_violations(self) -> None:
        for name, (data, code) in VIOLATIONS.items():
            for one_by_one in (False, True):
                victim = Victim()
                victim.way.send(READY)
                victim.heard()
                self.send(victim, data, one_by_one)
                said = [each for each in victim.heard() if not isinstance(each, Channel.OpenOk)]
                self.assertEqual([each.NAME for each in said], ["Connection.Close"], name)
                self.assertEqual(said[0].reply_code, code, (name, said[0].reply_text))
                # Whatever comes now is for nobody, until it has said that it knows.
                self.send(victim, data + PUBLISH + header(1) + frame(3, 1, b"x") + heartbeat(), one_by_one)
                self.assertEqual(victim.heard(), [], name)
                victim.survives()
                victim.clock.advance(30)
                self.assertTrue(victim.way.closed, name)
                self.assertEqual(len(victim.broker.connections), 1)

    def test_what_is_harmless(self) -> None:
        for name, data in HARMLESS.items():
            for one_by_one in (False, True):
                victim = Victim()
                victim.way.send(READY)
                victim.heard()
                self.send(victim, data + method(1, Confirm.Select()), one_by_one)
                said = victim.heard()
                self.assertEqual(said[-1].NAME, "Confirm.SelectOk", (name, said))
                victim.survives()

    def test_B26_a_body_of_many_bytes(self) -> None:
        """It is refused when it is announced, and the rest of it is for nobody."""
        for size in (2**63, 2**64 - 1, 128 * 1024 * 1024 + 1):
            victim = Victim()
            victim.way.send(READY)
            victim.heard()
            victim.way.send(PUBLISH + header(size) + frame(3, 1, b"x") + method(1, Channel.CloseOk()))
            (close,) = victim.heard()
            self.assertEqual((close.NAME, close.reply_code), ("Channel.Close", 406))
            victim.survives()

    def test_B04_a_large_frame_before_tune(self) -> None:
        victim = Victim()
        victim.way.send(PROTOCOL_HEADER + struct.pack(">BHI", 1, 0, 8193))
        self.assertEqual([each.NAME for each in victim.heard()], ["Connection.Start", "Connection.Close"])

    def test_B14_and_B15_something_else(self) -> None:
        for first in (
            b"AMQP\1\1\x08\0",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\0\xa5\1\0\0\xa1\3\3",
            b"\0" * 9,
            b"SSH-2.0\n",
        ):
            for one_by_one in (False, True):
                victim = Victim()
                self.send(victim, first, one_by_one)
                self.assertTrue(victim.way.closed)
                self.assertEqual(victim.way._data, PROTOCOL_HEADER)

    def test_methods_before_their_time(self) -> None:
        """In each state of the handshake, each method there is."""
        for steps in range(1, 4):
            for kind in METHODS.values():
                if kind.INDEX >> 16 == 10 and steps == {11: 1, 31: 2, 40: 3}.get(kind.METHOD_ID):
                    continue
                for number in (0, 1):
                    victim = Victim()
                    victim.way.send(b"".join(HANDSHAKE[:steps]))
                    victim.heard()
                    victim.way.send(method(number, kind()))
                    said = [each.NAME for each in victim.heard()]
                    closes = kind is Connection.Close and not number
                    self.assertEqual(said, ["Connection.CloseOk" if closes else "Connection.Close"])

    def test_cut_at_each_byte(self) -> None:
        session = READY + content(1, Basic.Publish(0, "", "q"), b"body") + method(1, Basic.Consume(0, "q", "t"))
        for length in range(len(session)):
            victim = Victim()
            victim.way.send(session[:length])
            victim.way.close()
            self.assertEqual(len(victim.broker.connections), 1)
            self.assertEqual(victim.broker.queue("q").unacked, 0)
            victim.survives()


def session() -> bytes:
    """Some of everything."""
    return b"".join(
        (
            READY,
            method(1, Exchange.Declare(0, "x", "topic", auto_delete=True)),
            method(1, Queue.Bind(0, "q", "x", "a.#")),
            method(1, Confirm.Select()),
            content(1, Basic.Publish(0, "x", "a.b"), b"body", b"\x20\x00" + struct.pack(">I", 4) + b"\x02CCV"),
            content(1, Basic.Publish(0, "x", "a.b"), b"body"),
            content(1, Basic.Publish(0, "x", "a.b"), b"body"),
            method(1, Basic.Consume(0, "q", "t")),
            method(1, Basic.Ack(1)),
            method(1, Basic.Nack(2, False, True)),
            method(2, Channel.Open()),
            method(2, Tx.Select()),
            content(2, Basic.Publish(0, "", "q", True), b"x" * 300, frame_max=108),
            method(2, Tx.Commit()),
            method(2, Channel.Close(200, "", 0, 0)),
            method(1, Queue.Delete(0, "q")),
            method(0, Connection.Close(200, "", 0, 0)),
        )
    )


class DamagedTests(SynchronousTestCase):
    """A session with damage, in pieces of any size: nothing is raised, and another client notices nothing."""

    @given(
        st.lists(st.tuples(st.integers(0, len(session()) - 1), st.integers(0, 255)), max_size=4),
        st.lists(st.integers(1, 200), max_size=20),
        st.binary(max_size=12),
    )
    @examples(300)
    def test_any_damage(self, changes: list[tuple[int, int]], sizes: list[int], more: bytes) -> None:
        data = bytearray(session())
        for at, value in changes:
            data[at] = value
        if changes:
            data[changes[0][0] : changes[0][0]] = more
        victim = Victim()
        victim.other.send(method(1, Queue.Declare(0, "mine")))
        rest = bytes(data)
        for size in sizes:
            victim.way.send(rest[:size])
            rest = rest[size:]
        victim.way.send(rest)
        victim.clock.advance(50)
        victim.other.read()
        victim.other.send(method(1, Queue.Declare(0, "mine", passive=True)))
        self.assertIn(b"\x00\x32\x00\x0b", victim.other.read())

    @given(st.lists(st.integers(1, 60), max_size=60))
    @examples(60)
    def test_any_pieces(self, sizes: list[int]) -> None:
        """What it answers does not depend on how the bytes come."""
        whole, pieces = Victim(), Victim()
        whole.way.send(session())
        rest = session()
        for size in sizes:
            pieces.way.send(rest[:size])
            rest = rest[size:]
        pieces.way.send(rest)
        unlike = (Basic.Ack,)  # which may confirm several messages at once
        self.assertEqual(
            [repr(each) for each in pieces.heard() if not isinstance(each, unlike)],
            [repr(each) for each in whole.heard() if not isinstance(each, unlike)],
        )
        self.assertTrue(whole.way.closed and pieces.way.closed)
