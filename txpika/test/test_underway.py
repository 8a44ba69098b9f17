"""Tests for who may wait for the broker, and what follows for a channel that was found to wait for nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txpika.core.underway import Underway
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Channel
from txpika.test.fakes import RecordingConsumer, TwistedPeer, deliver, method


class Member:
    """Somebody who may wait."""

    def __init__(self, idle: bool) -> None:
        self.idle = idle
        self.updates = 0

    def update(self) -> None:
        self.updates += 1


class UnderwayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.underway = Underway()

    def test_nobody(self) -> None:
        self.assertFalse(self.underway.any())

    def test_whoever_waits_is_found_again(self) -> None:
        waits = Member(idle=False)
        self.underway.begins(waits)
        self.assertEqual([self.underway.any() for _ in range(3)], [True] * 3)
        waits.idle = True
        self.assertFalse(self.underway.any())
        self.assertEqual((waits.updates, self.underway.members), (1, {}))

    def test_whoever_is_idle_is_asked_once_and_told(self) -> None:
        waits, idle = Member(idle=False), [Member(idle=True) for _ in range(3)]
        for member in (idle[0], waits, *idle[1:]):
            self.underway.begins(member)
        self.assertTrue(self.underway.any())
        self.assertEqual([member.updates for member in idle], [0, 1, 1], "one is enough to know it")
        waits.idle = True
        self.assertFalse(self.underway.any())
        self.assertEqual([member.updates for member in idle], [1, 1, 1])

    def test_who_is_gone(self) -> None:
        gone = Member(idle=False)
        self.underway.begins(gone)
        self.underway.ends(gone)
        self.underway.ends(gone)
        self.assertFalse(self.underway.any())


class ChannelTests(SynchronousTestCase):
    """A channel in confirm mode."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.face = self.peer.open_face()
        self.peer.confirming(self.face)
        self.channel = self.peer.connection.channels[1]
        self.consumer = RecordingConsumer()
        self.consumer.consumer_tag = "t"
        self.peer.consume(self.channel, self.consumer)
        self.underway = self.peer.connection.underway

    def deliver(self, first: int, last: int) -> None:
        self.peer.send(b"".join(deliver(1, "t", tag, b"x") for tag in range(first, last)))

    def test_it_publishes_after_it_was_found_idle(self) -> None:
        self.peer.connection.intake.hold(self)
        self.peer.send(b"")
        self.assertFalse(self.peer.transport.reading)
        self.assertFalse(self.channel.outbox.clear)
        published = [self.face.basic_publish("", "q", b"x") for _ in range(2)]
        self.assertTrue(self.peer.transport.reading)
        self.assertTrue(self.channel.outbox.clear)
        self.assertEqual(self.peer.names(), ["Basic.Publish"] * 2)
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(published[0])
        self.assertTrue(self.peer.transport.reading)
        self.peer.send(method(1, Basic.Ack(2)))
        self.successResultOf(published[1])
        self.assertFalse(self.peer.transport.reading)

    def test_acks_leave_together_after_it_was_found_idle(self) -> None:
        self.assertFalse(self.underway.any())
        self.consumer.acks = True
        self.deliver(1, 6)
        self.assertEqual(self.peer.methods(), [Basic.Ack(1), Basic.Ack(5, True)])

    def test_an_ack_while_reading_is_paused(self) -> None:
        """It needs no answer; a publish after it does."""
        self.deliver(1, 3)
        self.peer.connection.intake.hold(self)
        self.peer.send(b"")
        self.consumer.deliveries[0].ack()
        self.assertFalse(self.peer.transport.reading)
        self.face.basic_publish("", "q", b"x")
        self.assertTrue(self.peer.transport.reading)

    def test_a_message_that_waits_keeps_it_reading(self) -> None:
        self.peer.connection.intake.hold(self)
        self.peer.connection.pauseProducing()
        self.face.basic_publish("", "q", b"x")
        self.peer.send(b"")
        self.assertTrue(self.peer.transport.reading)
        self.peer.connection.resumeProducing()
        self.peer.send(b"")
        self.assertTrue(self.peer.transport.reading)
        self.peer.send(method(1, Basic.Ack(1)))
        self.assertFalse(self.peer.transport.reading)

    def test_a_channel_that_closes_keeps_it_reading(self) -> None:
        self.peer.connection.intake.hold(self)
        self.assertFalse(self.underway.any())
        self.face.close()
        self.peer.send(b"")
        self.assertTrue(self.peer.transport.reading)
        self.peer.send(method(1, Channel.CloseOk()))
        self.assertFalse(self.peer.transport.reading)

    def test_channels_that_are_closed_are_forgotten(self) -> None:
        known = len(self.underway.members)
        for _ in range(5):
            other = self.peer.open_face()
            other.close()
            self.assertEqual(len(self.underway.members), known + 1)
            self.peer.send(method(other.channel_number, Channel.CloseOk()))
        self.assertEqual(len(self.underway.members), known)
