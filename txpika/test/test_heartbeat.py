"""Tests for L{txpika.core.heartbeat}."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.core.heartbeat import Heartbeat


@dataclass
class Counts:
    bytes_sent: int = 0
    bytes_received: int = 0


class HeartbeatTests(SynchronousTestCase):
    """A heartbeat of 10 seconds on a fake clock."""

    def setUp(self) -> None:
        self.clock, self.counts = Clock(), Counts()
        self.beats: list[float] = []
        self.silences: list[float] = []
        self.heartbeat = Heartbeat(
            self.clock, 10, self.counts, lambda: self.beats.append(self.clock.seconds()), self.silences.append
        )
        self.heartbeat.start()

    def test_idle_connection_beats_every_half_timeout(self) -> None:
        self.clock.pump([5, 5, 5])
        self.assertEqual(self.beats, [5, 10, 15])

    def test_no_beat_while_bytes_are_written(self) -> None:
        for _ in range(3):
            self.counts.bytes_sent += 1
            self.clock.advance(5)
        self.assertEqual(self.beats, [])

    def test_silence_of_two_timeouts_is_death_and_is_told_once(self) -> None:
        self.clock.pump([5] * 8)
        self.assertEqual(self.silences, [20])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_slow_large_frame_is_a_sign_of_life(self) -> None:
        for _ in range(20):
            self.counts.bytes_received += 1
            self.clock.advance(5)
        self.assertEqual(self.silences, [])

    def test_stop_leaves_no_timer(self) -> None:
        self.heartbeat.stop()
        self.heartbeat.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
