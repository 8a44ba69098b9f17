"""Tests for C{blocked_timeout}: publishes that wait for a broker with a resource alarm fail by name."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import OutcomeUnknown, PublishBlocked
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Confirm, Connection
from txpika.test.fakes import TwistedPeer, method

BLOCKED = method(0, Connection.Blocked("low on memory"))
UNBLOCKED = method(0, Connection.Unblocked())


class BlockingTests(SynchronousTestCase):
    """A connection with a C{blocked_timeout} of 10 seconds."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0, blocked_timeout=10)).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def publish(self, body: bytes = b"x") -> Deferred[None]:
        return self.channel.basic_publish("", "q", body)

    def confirming(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.frames()

    def bodies(self) -> list[bytes]:
        return [payload for kind, _, payload in self.peer.frames() if kind == 3]

    def not_sent(self, publish: Deferred[None]) -> None:
        error = self.failureResultOf(publish, PublishBlocked).value
        self.assertEqual(error.outcome, "not sent")
        self.assertIn("10 seconds", str(error))

    def test_fractions_that_do_not_come_out_even(self) -> None:
        self.peer.send(BLOCKED)
        waiting = []
        for _ in range(40):
            self.peer.clock.advance(0.1)
            waiting.append(self.publish())
        self.peer.clock.pump([0.1] * 110)
        for publish in waiting:
            self.not_sent(publish)

    def test_each_waits_its_own_time(self) -> None:
        self.peer.transport.producer.pauseProducing()
        before = self.publish(b"held before the alarm")
        self.peer.clock.advance(100)
        self.peer.send(BLOCKED)
        self.peer.transport.producer.resumeProducing()
        self.peer.clock.advance(4)
        second = self.publish(b"2")
        self.peer.clock.advance(5)
        self.assertNoResult(before)
        self.peer.clock.advance(1)
        self.not_sent(before)
        self.peer.clock.advance(3.9)
        self.assertNoResult(second)
        self.peer.clock.advance(0.2)
        self.not_sent(second)
        self.assertEqual((self.peer.connection.held, self.peer.clock.getDelayedCalls()), (0, []))
        third = self.publish(b"3")
        self.peer.clock.advance(9.9)
        self.peer.send(UNBLOCKED)
        self.successResultOf(third)
        self.assertEqual((self.bodies(), self.peer.clock.getDelayedCalls()), ([b"3"], []))

    def test_a_program_that_tries_again_when_it_hears(self) -> None:
        self.peer.send(BLOCKED)
        again: list[Deferred[None]] = []
        first = self.publish()
        first.addErrback(lambda failure: again.append(self.publish()))
        self.peer.clock.advance(1)
        second = self.publish()
        self.peer.clock.advance(9)
        self.assertEqual(len(again), 1)
        self.peer.clock.advance(1)
        self.not_sent(second)
        self.peer.clock.advance(8.9)
        self.assertNoResult(again[0])
        self.peer.clock.advance(0.2)
        self.not_sent(again[0])

    def test_what_was_written_and_is_not_confirmed(self) -> None:
        self.confirming()
        direct, timed = self.publish(), self.channel.basic_publish("", "q", b"y", timeout=60)
        self.peer.send(BLOCKED)
        self.peer.clock.advance(10)
        for each in (direct, timed):
            self.assertEqual(self.failureResultOf(each, PublishBlocked).value.outcome, "unknown")
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])
        # The broker's word about them still counts, and nobody hears it.
        self.peer.send(UNBLOCKED + method(1, Basic.Ack(1)))
        after = self.publish()
        self.peer.send(method(1, Basic.Nack(2)) + method(1, Basic.Ack(3)))
        self.successResultOf(after)
        self.assertIsNone(self.peer.connection.reason)

    def test_a_program_that_closes_the_channel_when_it_hears(self) -> None:
        self.confirming()
        first, second = self.publish(), self.publish()
        first.addErrback(lambda failure: self.peer.lose())
        self.peer.send(BLOCKED)
        self.peer.clock.advance(10)
        self.successResultOf(first)
        self.failureResultOf(second, OutcomeUnknown)

    def test_alarm_over_in_time(self) -> None:
        self.peer.send(BLOCKED)
        held = self.publish()
        self.peer.clock.advance(9)
        self.peer.send(UNBLOCKED)
        self.successResultOf(held)
        self.peer.send(BLOCKED)
        again = self.publish()
        self.peer.clock.advance(9)
        self.assertNoResult(again)
        self.peer.clock.advance(1)
        self.not_sent(again)

    def test_lost_while_blocked_leaves_no_timer(self) -> None:
        self.peer.send(BLOCKED)
        self.publish().addErrback(lambda failure: None)
        self.peer.lose()
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])


class PatientTests(SynchronousTestCase):
    """Without a C{blocked_timeout}."""

    def test_waits_as_long_as_it_takes(self) -> None:
        peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        channel = peer.open_face()
        peer.send(BLOCKED)
        held = channel.basic_publish("", "q", b"x")
        peer.clock.advance(1_000_000)
        self.assertNoResult(held)
        peer.send(UNBLOCKED)
        self.successResultOf(held)

    def test_refused_values(self) -> None:
        for bad, error in ((0, ValueError), (-1, ValueError), (float("inf"), ValueError), ("10", TypeError)):
            self.assertRaises(error, ConnectionParameters, blocked_timeout=bad)
