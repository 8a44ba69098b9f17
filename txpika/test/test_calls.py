"""Tests for calls that are given up: cancelled, or out of time. The channel stays in step whatever comes later."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import AMQPError, CallTimeout, ConnectionLost, StaleDelivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Confirm, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import TwistedPeer, content, method


class TimeoutTests(SynchronousTestCase):
    """C{timeout=}, on the Twisted face."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def test_late_reply_is_let_pass(self) -> None:
        first = self.channel.queue_declare("a", timeout=5)
        second = self.channel.queue_declare("b")
        self.peer.clock.advance(4.9)
        self.assertNoResult(first)
        self.peer.clock.advance(0.2)
        error = self.failureResultOf(first, CallTimeout).value
        self.assertEqual((error.outcome, str(error)), ("unknown", "Queue.Declare: no answer within 5 seconds"))
        self.assertIsInstance(error, TimeoutError)
        self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)) + method(1, Queue.DeclareOk("b", 1, 2)))
        self.assertEqual(self.successResultOf(second).queue, "b")

    def test_never_written_when_its_turn_comes_too_late(self) -> None:
        self.channel.queue_declare("a")
        second, third = self.channel.queue_purge("b", timeout=1), self.channel.queue_purge("c")
        self.peer.clock.advance(2)
        self.assertEqual(self.failureResultOf(second, CallTimeout).value.outcome, "not sent")
        self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)) + method(1, Queue.PurgeOk(3)))
        self.assertEqual(self.successResultOf(third).message_count, 3)
        self.assertEqual(self.peer.methods()[1:], [Queue.Purge(0, "c")])

    def test_an_answer_in_time_leaves_no_timer(self) -> None:
        declared = self.channel.queue_declare("a", timeout=5)
        got = self.channel.basic_get("a", timeout=5)
        self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)) + method(1, Basic.GetEmpty()))
        self.assertEqual((self.successResultOf(declared).queue, self.successResultOf(got)), ("a", None))
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_cancelled_and_failed_calls_leave_no_timer(self) -> None:
        cancelled, failed = self.channel.queue_declare("a", timeout=5), self.channel.queue_declare("b", timeout=5)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.peer.lose()
        self.failureResultOf(failed, ConnectionLost)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_get_that_comes_too_late_goes_back(self) -> None:
        got = self.channel.basic_get("q", timeout=1)
        self.peer.clock.advance(1)
        self.failureResultOf(got, CallTimeout)
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 0), b"x"))
        self.assertEqual(self.peer.methods()[1:], [Basic.Nack(1, False, True)])

    def test_get_that_is_answered_while_the_channel_closes(self) -> None:
        got = self.channel.basic_get("q")
        self.channel.close()
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 0), b"x"))
        delivery = self.successResultOf(got)
        assert delivery is not None
        self.assertEqual(delivery.body, b"x")
        self.assertRaises(StaleDelivery, delivery.ack)  # the broker takes it back when the channel is closed
        self.assertEqual(self.peer.names()[-1], "Channel.Close")

    def test_consume_that_comes_too_late_is_undone(self) -> None:
        consuming = self.channel.basic_consume("q", timeout=1, consumer_tag="t")
        self.peer.clock.advance(1)
        self.failureResultOf(consuming, CallTimeout)
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        self.assertEqual(self.peer.names(), ["Basic.Consume", "Basic.Cancel"])

    def test_channel_that_opens_too_late_is_closed(self) -> None:
        opening = self.peer.protocol.channel(timeout=1)
        self.peer.clock.advance(1)
        self.failureResultOf(opening, CallTimeout)
        self.peer.send(method(2, ChannelMethods.OpenOk()))
        self.assertEqual(self.peer.names(), ["Channel.Open", "Channel.Close"])

    def test_close(self) -> None:
        closing = self.channel.close(timeout=1)
        self.peer.clock.advance(1)
        self.failureResultOf(closing, CallTimeout)
        self.peer.send(method(1, ChannelMethods.CloseOk()))
        self.successResultOf(self.channel.closed)

    def test_what_is_no_timeout_is_refused_before_a_byte_is_written(self) -> None:
        self.peer.frames()
        for bad, error in ((0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError)):
            for call in (
                lambda timeout: self.channel.queue_declare("q", timeout=timeout),
                lambda timeout: self.channel.basic_publish("", "q", b"x", timeout=timeout),
                lambda timeout: self.channel.close(timeout=timeout),
                lambda timeout: self.peer.protocol.channel(timeout=timeout),
                lambda timeout: self.peer.protocol.update_secret("s", timeout=timeout),
            ):
                self.assertIn("timeout", str(self.assertRaises(error, call, bad)))
        self.assertEqual(self.peer.frames(), [])


class PublishTimeoutTests(SynchronousTestCase):
    """A publish that is waited for no longer than so."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def publish(self, body: bytes) -> Deferred[None]:
        return self.channel.basic_publish("", "q", body, timeout=5)

    def confirming(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.frames()

    def bodies(self) -> list[bytes]:
        return [payload for kind, _, payload in self.peer.frames() if kind == 3]

    def test_written_at_once(self) -> None:
        self.assertIsNone(self.successResultOf(self.publish(b"x")))
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_held_ones_are_never_written_and_their_bytes_let_go(self) -> None:
        self.peer.transport.producer.pauseProducing()
        first = self.publish(b"first")
        self.peer.clock.advance(3)
        second = self.publish(b"second")
        self.peer.clock.advance(2)
        self.assertEqual(self.failureResultOf(first, CallTimeout).value.outcome, "not sent")
        self.assertLess(self.peer.connection.held, 100)
        self.peer.transport.producer.resumeProducing()
        self.successResultOf(second)
        self.assertEqual(self.bodies(), [b"second"])
        self.assertEqual((self.peer.connection.held, self.peer.clock.getDelayedCalls()), (0, []))

    def test_confirmed(self) -> None:
        self.confirming()
        late, good = self.publish(b"1"), self.publish(b"2")
        self.peer.send(method(1, Basic.Ack(2)))
        self.assertIsNone(self.successResultOf(good))
        self.peer.clock.advance(5)
        self.assertEqual(self.failureResultOf(late, CallTimeout).value.outcome, "unknown")
        third = self.publish(b"3")
        self.peer.send(method(1, Basic.Ack(1)) + method(1, Basic.Ack(3)))
        self.assertIsNone(self.successResultOf(third))
        self.assertIsNone(self.peer.connection.reason)

    def test_confirmed_and_held(self) -> None:
        self.confirming()
        self.peer.transport.producer.pauseProducing()
        held = self.publish(b"1")
        self.peer.clock.advance(4)
        self.peer.transport.producer.resumeProducing()
        self.peer.clock.advance(2)
        self.assertEqual(self.failureResultOf(held, CallTimeout).value.outcome, "unknown")
        self.peer.send(method(1, Basic.Ack(1)))
        self.assertIsNone(self.peer.connection.reason)

    def test_many_given_up_behind_a_closed_gate_take_no_room(self) -> None:
        self.peer.transport.producer.pauseProducing()
        kept = self.channel.basic_publish("", "q", b"kept")
        for _ in range(1000):
            held = self.channel.basic_publish("", "q", b"x" * 10_000)
            held.cancel()
            self.failureResultOf(held, CancelledError)
            self.assertLess(self.peer.connection.held, 1000)
        queue = self.channel._core.outbox._queue
        self.assertLess(len(queue), 10)
        self.peer.transport.producer.resumeProducing()
        self.successResultOf(kept)
        self.assertEqual(self.bodies(), [b"kept"])

    def test_what_is_behind_one_that_was_given_up_goes_on(self) -> None:
        self.peer.transport.producer.pauseProducing()
        held = self.publish(b"x")
        purged = self.channel.queue_purge("q")
        behind = self.publish(b"y")
        self.peer.frames()
        held.cancel()
        self.failureResultOf(held, CancelledError)
        self.assertEqual(self.peer.names(), ["Queue.Purge"])
        self.peer.send(method(1, Queue.PurgeOk(1)))
        self.successResultOf(purged)
        self.assertNoResult(behind)

    def test_a_close_that_waits_for_one_that_was_given_up_goes_on(self) -> None:
        self.peer.transport.producer.pauseProducing()
        held = self.publish(b"x")
        self.peer.protocol.close()
        self.peer.clock.advance(5)
        self.failureResultOf(held, CallTimeout)
        self.assertIn("Connection.Close", self.peer.names())


class ConfirmSelectTests(SynchronousTestCase):
    """Publishes around the moment confirm mode begins."""

    def test_nowait_behind_a_held_publish(self) -> None:
        peer = TwistedPeer().open()
        channel = peer.open_face()
        peer.transport.producer.pauseProducing()
        before = channel.basic_publish("", "q", b"before")
        selected = channel.confirm_select(nowait=True)
        after = channel.basic_publish("", "q", b"after")
        self.successResultOf(selected)
        peer.transport.producer.resumeProducing()
        self.successResultOf(before)
        self.assertNoResult(after)
        peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(after)


class SecretTests(SynchronousTestCase):
    """C{connection.update-secret}."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)

    def test_each_has_its_own_reply(self) -> None:
        first, second = (
            self.peer.protocol.update_secret("new", "old one expires"),
            self.peer.protocol.update_secret(b"2"),
        )
        self.assertEqual(
            self.peer.methods(),
            [ConnectionMethods.UpdateSecret(b"new", "old one expires"), ConnectionMethods.UpdateSecret(b"2", "")],
        )
        self.peer.send(method(0, ConnectionMethods.UpdateSecretOk()))
        self.assertEqual(self.successResultOf(first), ConnectionMethods.UpdateSecretOk())
        self.assertNoResult(second)
        self.peer.lose()
        self.failureResultOf(second, ConnectionLost)
        self.failureResultOf(self.peer.protocol.update_secret("3"), AMQPError)

    def test_late(self) -> None:
        late = self.peer.protocol.update_secret("new", timeout=1)
        self.peer.clock.advance(1)
        self.assertNotIn("new", str(self.failureResultOf(late, CallTimeout).value))
        self.peer.send(method(0, ConnectionMethods.UpdateSecretOk()))
        self.assertIsNone(self.peer.connection.reason)

    def test_refused_arguments(self) -> None:
        self.assertRaises(TypeError, self.peer.protocol.update_secret, 1)
        self.assertRaises(ValueError, self.peer.protocol.update_secret, "s", "r" * 256)
        self.assertRaises(ValueError, self.peer.protocol.update_secret, b"s" * 200_000)
        self.assertEqual(self.peer.frames(), [])
