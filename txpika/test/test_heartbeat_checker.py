"""Tests for L{txpika.heartbeat} and L{txpika.object}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika import object as objects
from txpika import spec
from txpika.exceptions import ConnectionLost
from txpika.heartbeat import HeartbeatChecker
from txpika.test.fakes import TwistedPeer, frame


class HeartbeatCheckerTests(SynchronousTestCase):
    """Of an interval of 10 seconds on a connection that agreed on 60."""

    def setUp(self) -> None:
        self.peer = TwistedPeer().open()
        self.checker = HeartbeatChecker(self.peer.protocol, 10)
        self.timers = len(self.peer.clock.getDelayedCalls()) - 2

    def test_it_beats_every_half_interval(self) -> None:
        for _ in range(4):
            self.peer.clock.advance(5)
            self.assertEqual(self.peer.frames(), [(8, 0, b"")])
            self.peer.send(frame(8, 0, b""))
        self.assertTrue(self.peer.protocol.is_open)

    def test_a_silent_broker_is_dropped_sooner(self) -> None:
        closed = self.peer.protocol.closed
        with self.assertLogs("txpika.heartbeat", "WARNING") as logs:
            self.peer.clock.pump([5] * 4)
        self.assertIn("20 seconds", logs.output[0])
        self.assertEqual(self.peer.transport.events, ["abort"])
        self.peer.lose()
        self.assertIsInstance(self.successResultOf(closed), ConnectionLost)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_it_stops(self) -> None:
        self.checker.stop()
        self.checker.stop()
        self.assertEqual(len(self.peer.clock.getDelayedCalls()), self.timers)
        self.peer.clock.pump([5] * 4)
        self.assertEqual(self.peer.frames(), [])

    def test_it_ends_with_the_connection(self) -> None:
        self.peer.lose()
        with self.assertNoLogs("txpika.heartbeat"):
            self.peer.clock.pump([5] * 6)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])
        self.assertEqual(self.peer.frames(), [])

    def test_it_ends_with_a_connection_that_was_not_read_at_its_end(self) -> None:
        self.peer.protocol.pause_reading(self)
        self.peer.send(frame(8, 0, b""))
        self.peer.lose()
        self.peer.clock.pump([5] * 6)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_a_broker_that_is_not_read_on_purpose_is_not_dropped(self) -> None:
        self.peer.protocol.pause_reading(self)
        self.peer.send(frame(8, 0, b""))
        self.assertFalse(self.peer.transport.reading)
        self.peer.clock.pump([5] * 6)
        self.assertTrue(self.peer.protocol.is_open)

    def test_wrong_intervals_are_refused_and_leave_no_timer(self) -> None:
        before = len(self.peer.clock.getDelayedCalls())
        wrong: Any
        for wrong in (0, -1, float("nan"), "10", None):
            self.assertRaises(
                ValueError if isinstance(wrong, int | float) else TypeError, HeartbeatChecker, self.peer.protocol, wrong
            )
        self.assertEqual(len(self.peer.clock.getDelayedCalls()), before)


class ObjectTests(SynchronousTestCase):
    """The classes by their old home."""

    def test_what_is_a_method_and_what_properties(self) -> None:
        self.assertIsInstance(spec.Basic.Ack(1), objects.Method)
        self.assertIsInstance(spec.BasicProperties(), objects.Properties)
        self.assertNotIsInstance(spec.BasicProperties(), objects.Method)
