"""
Tests that the short road of a delivery leads nowhere that the general one does not: both get the same bytes.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.core.arrivals import Arrivals
from txpika.core.shortcuts import Shortcuts
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties
from txpika.test.fakes import Peer, RecordingConsumer, deliver, frame
from txpika.test.strategies import examples

#: What a publisher may write into a header: the end of a header frame, and what would come after that.
FORGED = b"\xce" + frame(3, 1, b"x") + deliver(1, "a", 4, b"forged") + frame(1, 1, struct.pack(">HH", 20, 41))


def headers(text: bytes) -> bytes:
    return BasicProperties(headers={"k": text}).encode()


#: In pairs of one size, and of sizes that differ by an empty frame.
PROPERTIES = (
    BasicProperties().encode(),
    BasicProperties(type="1234567").encode(),
    BasicProperties(delivery_mode=1).encode(),
    headers(b""),
    headers(b"z" * len(FORGED)),
    headers(FORGED),
)


class Sent(NamedTuple):
    """
    What the broker sends for one message.

    @ivar empty: An empty body frame before the one with the body.
    @ivar damage: What is done to one of its octets, and to which, if it has so many.
    """

    number: int = 1
    tag: str = "a"
    key: str = "q"
    properties: bytes = PROPERTIES[0]
    body: bytes = b"x"
    empty: bool = False
    damage: tuple[int, int] = (0, -1)


class Blind(Shortcuts):
    """Remembers nothing, so all goes the general road."""

    __slots__ = ()

    def learn(self, data: bytes, offset: int, end: int) -> bool:
        return False


def bytes_of(messages: list[Sent]) -> bytes:
    """All of them, with delivery tags as they must be."""
    delivered = {1: 0, 2: 0}
    data = b""
    for sent in messages:
        delivered[sent.number] += 1
        method = Basic.Deliver(sent.tag, delivered[sent.number], False, "", sent.key)
        header = struct.pack(">HHQ", 60, 0, len(sent.body)) + sent.properties
        message = frame(1, sent.number, method.encode()) + frame(2, sent.number, header)
        message += frame(3, sent.number, b"") if sent.empty else b""
        message += frame(3, sent.number, sent.body) if sent.body else b""
        mask, at = sent.damage
        if 0 <= at < len(message):
            message = message[:at] + bytes((message[at] ^ mask,)) + message[at + 1 :]
        data += message
    return data


def seen(messages: list[Sent], reads: list[int], cancels: set[int], blind: bool) -> Any:
    """
    @param reads: Sizes of the reads, again and again.
    @param cancels: Which of the deliveries make their consumer cancel itself.
    @return: Everything that an engine makes of it.
    """
    peer = Peer(ConnectionParameters()).open()
    if blind:
        peer.connection.receiver._shortcuts = Blind(peer.connection)
    log: list[Any] = []
    channels = [peer.channel(), peer.channel()]
    for channel in channels:
        for tag, no_ack in (("a", False), ("b", True), ("cc", False)):
            consumer = RecordingConsumer(no_ack)
            consumer.consumer_tag = tag

            def then(delivery: Any, channel: Any = channel, tag: str = tag) -> None:
                about = (delivery.consumer_tag, delivery.delivery_tag, delivery.exchange, delivery.routing_key)
                log.append((channel.number, tag, *about, delivery.encoded_properties, delivery.body, delivery.settled))
                if len(log) in cancels and channel.reason is None:
                    channel.consumers.cancel(tag, nowait=True)

            consumer.then = then
            peer.consume(channel, consumer)
    before = len(peer.transport.data)
    data, number = bytes_of(messages), 0
    while data:
        size = reads[number % len(reads)]
        peer.send(data[:size])
        data, number = data[size:], number + 1
    reason = peer.connection.reason
    return (
        log,
        None if reason is None else (type(reason), reason.reply_code, str(reason)),
        [(str(channel.reason), list(channel.acks.unacked), channel.acks.delivered) for channel in channels],
        peer.transport.data[before:],
    )


messages = st.builds(
    Sent,
    number=st.sampled_from((1, 1, 1, 2)),
    tag=st.sampled_from(("a", "a", "a", "b", "cc", "gone")),
    key=st.sampled_from(("q", "q", "q", "r", "qq", "")),
    properties=st.sampled_from(PROPERTIES),
    body=st.sampled_from((b"x", b"x", b"yy", b"", b"z" * 300)),
    empty=st.sampled_from((False, False, False, True)),
    damage=st.one_of(st.just((0, -1)), st.just((0, -1)), st.tuples(st.integers(1, 255), st.integers(0, 80))),
)


class TwoRoadsTests(SynchronousTestCase):
    """Deliveries to three consumers on each of two channels."""

    @given(
        st.lists(messages, min_size=1, max_size=12),
        st.lists(st.integers(1, 400), min_size=1, max_size=5),
        st.sets(st.integers(1, 8), max_size=2),
    )
    @example([Sent(properties=each) for each in PROPERTIES[3:5] + PROPERTIES[3:6:2]], [10_000], set())
    @example([Sent(), Sent(properties=PROPERTIES[1]), Sent(empty=True)], [10_000], set())
    @examples(200)
    def test_both_see_the_same(self, messages: list[Sent], reads: list[int], cancels: set[int]) -> None:
        self.assertEqual(seen(messages, reads, cancels, False), seen(messages, reads, cancels, True))

    def test_much_takes_the_short_one(self) -> None:
        """Else there would be nothing to compare."""
        general: list[Any] = []
        announced = Arrivals.announced

        def count(arrivals: Arrivals, method: Any) -> None:
            general.append(method)
            announced(arrivals, method)

        self.patch(Arrivals, "announced", count)
        messages = [Sent(1 + number % 2, properties=PROPERTIES[number % 6]) for number in range(60)]
        for blind, at_most, at_least in ((False, 3, 0), (True, 60, 60)):
            general.clear()
            self.assertEqual(len(seen(messages, [2000], set(), blind)[0]), 60)
            self.assertLessEqual(len(general), at_most)
            self.assertGreaterEqual(len(general), at_least)
