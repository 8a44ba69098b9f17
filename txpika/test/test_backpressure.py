"""Tests for backpressure by the average size of a frame."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txpika.core.backpressure import Backpressure
from txpika.spec import Basic, Queue
from txpika.test.fakes import Peer, RecordingConsumer, deliver, method


class Counts:
    """Totals as told."""

    def __init__(self, bytes_sent: int, frames_sent: int) -> None:
        self.bytes_sent = bytes_sent
        self.frames_sent = frames_sent


class BackpressureTests(SynchronousTestCase):
    """Frames of 100 bytes on average."""

    def setUp(self) -> None:
        self.backpressure = Backpressure(Counts(10_000, 100))
        self.heard: list[str] = []
        self.backpressure.add_callback(lambda: self.heard.append("first"))
        self.backpressure.add_callback(lambda: self.heard.append("second"))

    def test_ten_frames_may_be_left(self) -> None:
        self.assertFalse(self.backpressure.flushed(1000))
        self.assertEqual(self.heard, [])
        self.assertTrue(self.backpressure.flushed(1001))
        self.assertEqual(self.heard, ["first", "second"])

    def test_other_multipliers(self) -> None:
        self.backpressure.set_multiplier(0.5)
        self.assertFalse(self.backpressure.flushed(50))
        self.assertTrue(self.backpressure.flushed(51))

    def test_what_waits_for_its_turn_counts_too(self) -> None:
        backpressure = Backpressure(Counts(10_000, 100), lambda: 900)
        self.assertFalse(backpressure.flushed(100))
        self.assertTrue(backpressure.flushed(101))

    def test_before_the_first_frame(self) -> None:
        self.assertEqual(Backpressure(Counts(0, 0)).average_frame_size, 0)

    def test_refused_values(self) -> None:
        for bad, error in ((0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("10", TypeError)):
            self.assertRaises(error, self.backpressure.set_multiplier, bad)
        self.assertRaises(TypeError, self.backpressure.add_callback, None)
        self.assertEqual(self.backpressure.multiplier, 10)


class CountTests(SynchronousTestCase):
    """What a connection counts."""

    def test_every_frame_and_byte(self) -> None:
        peer = Peer().open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer(acks=True))
        for size in (1, 0, 131064, 131065, 300_000):
            channel.publish("", "q", b"x" * size)
        channel.call(Queue.Declare(0, "q"))
        channel.publish("", "q", b"held back")
        channel.publish("", "q", b"")
        channel.publish("", "q", b"x" * 300_000)
        given_up = channel.publish("", "q", b"x" * 300_000)
        given_up.cancel()
        self.failureResultOf(given_up)
        peer.send(deliver(1, consumer.consumer_tag, 1, b"x"))
        channel.call(Basic.Qos(0, 1))
        peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        wire = peer.connection.wire
        self.assertEqual(wire.bytes_sent, len(peer.transport.data))
        peer._read = 8
        self.assertEqual(wire.frames_sent - 1, len(peer.frames()), "the protocol header counts as one")
