"""Tests for what a program may do from where it is told something: the engine has finished with it by then."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import (
    AMQPConnectionError,
    ChannelClosed,
    ChannelError,
    ConnectionClosed,
    ConnectionLost,
    OutcomeUnknown,
    StaleDelivery,
)
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Method, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import CallbackPeer, TwistedPeer, content, deliveries, method


class AnsweredTests(SynchronousTestCase):
    """A call is answered, and messages that waited behind it leave."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def cancelled_by_who_published(self, call: Deferred[Any], reply: bytes) -> Any:
        """@return: What came of C{call}, which is cancelled when the message behind it has left."""
        self.channel.basic_publish("", "q", b"1").addCallback(lambda _: call.cancel())
        self.peer.send(reply)
        return self.successResultOf(call)

    def test_the_call_ends_before_messages_behind_it(self) -> None:
        told: list[str] = []
        self.channel.basic_qos(5).addCallback(lambda _: told.append("qos"))
        self.channel.basic_publish("", "q", b"1").addCallback(lambda _: told.append("publish"))
        self.channel.basic_publish("", "q", b"2").addCallback(lambda _: told.append("another"))
        self.peer.send(method(1, Basic.QosOk()))
        self.assertEqual(told, ["qos", "publish", "another"])

    def test_a_failure_comes_before_them_too(self) -> None:
        told: list[str] = []
        peer = TwistedPeer(ConnectionParameters(heartbeat=0, max_body_size=1)).open(heartbeat=0)
        channel = peer.open_face()
        channel.basic_get("q").addErrback(lambda _: told.append("too large"))
        channel.basic_publish("", "q", b"1").addCallback(lambda _: told.append("publish"))
        peer.send(content(1, Basic.GetOk(1, False, "", "q", 0), b"large"))
        self.assertEqual(told, ["too large", "publish"])

    def test_a_consumer_has_an_owner(self) -> None:
        """It was cancelled too late, and not into a consumer that nobody knows, whose messages nobody takes."""
        consuming = self.channel.basic_consume("q", buffer_size=2, consumer_tag="t")
        consumer = self.cancelled_by_who_published(consuming, method(1, Basic.ConsumeOk("t")))
        self.peer.send(deliveries(1, b"a", b"b", b"c"))
        self.assertEqual([self.successResultOf(consumer.__anext__()).body for _ in range(3)], [b"a", b"b", b"c"])

    def test_a_message_has_an_owner(self) -> None:
        getting = self.channel.basic_get("q")
        delivery = self.cancelled_by_who_published(getting, content(1, Basic.GetOk(1, False, "", "q", 0), b"m"))
        delivery.ack()
        self.assertEqual(self.peer.methods()[-1], Basic.Ack(1, False))


class OverTests(SynchronousTestCase):
    """A worker is cancelled by the end of its consumer, and gives up what it was publishing."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0, confirm_window=1)).open(heartbeat=0)

    def at_work(self, channel: Any) -> tuple[Deferred[Any], Deferred[Any], Deferred[Any]]:
        """@return: A publish without its outcome, one that is held behind it, and a call behind that."""
        self.peer.confirming(channel)
        return channel.basic_publish("", "q", b"1"), channel.basic_publish("", "q", b"2"), channel.queue_declare("next")

    def written(self, function: Any, *arguments: Any) -> list[Method]:
        """@return: The methods written while C{function} runs."""
        self.peer.frames()
        function(*arguments)
        return self.peer.methods()

    def test_nothing_is_written_on_a_channel_that_the_broker_closed(self) -> None:
        channel = self.peer.open_face()
        closed = self.peer.consuming(channel).closed
        first, held, call = self.at_work(channel)
        closed.addCallback(lambda _: held.cancel())
        close = method(1, ChannelMethods.Close(404, "no exchange", 60, 40))
        self.assertEqual(self.written(self.peer.send, close), [ChannelMethods.CloseOk()])
        self.assertEqual(self.failureResultOf(first, OutcomeUnknown).value.reply_code, 404)
        self.assertEqual(self.failureResultOf(call, ChannelClosed).value.outcome, "not sent")
        self.failureResultOf(held)
        self.assertEqual((self.peer.connection.held, self.peer.connection.holding), (0, {}))

    def test_nothing_is_written_on_a_connection_that_closes(self) -> None:
        """Nor on any other of its channels."""
        channel, other = self.peer.open_face(), self.peer.open_face()
        first, held, call = self.at_work(other)
        self.peer.consuming(channel).closed.addCallback(lambda _: held.cancel())
        self.peer.protocol.close()
        timeout = self.peer.protocol.parameters.close_timeout
        written = self.written(self.peer.clock.advance, timeout - 0.1)
        self.assertEqual(written, [ConnectionMethods.Close(200, "Normal shutdown", 0, 0)])
        self.failureResultOf(first, OutcomeUnknown)
        self.assertEqual(self.failureResultOf(call, ConnectionClosed).value.outcome, "not sent")
        self.failureResultOf(held)

    def test_nothing_is_answered_after_our_close(self) -> None:
        """The broker has forgotten the channel when that comes (AMQP 0-9-1, C{channel.close})."""
        channel = self.peer.open_face()
        self.peer.consuming(channel)
        channel.close()
        asked = method(1, ChannelMethods.Flow(False)) + method(1, Basic.Cancel("t", False))
        self.assertEqual(self.written(self.peer.send, asked), [])

    def test_all_is_answered_while_our_close_waits(self) -> None:
        channel = self.peer.open_face()
        self.peer.consuming(channel)
        channel.queue_declare("first")
        channel.close()
        asked = method(1, ChannelMethods.Flow(False)) + method(1, Basic.Cancel("t", False))
        answers = [ChannelMethods.FlowOk(False), Basic.CancelOk("t")]
        self.assertEqual(self.written(self.peer.send, asked), answers)
        answered = method(1, Queue.DeclareOk("first", 0, 0))
        self.assertEqual([each.NAME for each in self.written(self.peer.send, answered)], ["Channel.Close"])

    def test_the_end_is_told_once(self) -> None:
        """The connection is aborted by who is told that its consumer has been cancelled."""
        channel = self.peer.open_face()
        consumer = self.peer.consuming(channel)
        ends: list[object] = []
        self.patch(channel, "ended", ends.append)
        consumer.closed.addCallback(lambda _: self.peer.protocol.abort())
        cancelled = consumer.cancel()
        self.peer.send(method(1, Basic.CancelOk("t")))
        self.assertEqual(len(ends), 1)
        self.successResultOf(cancelled)


class KindsTests(SynchronousTestCase):
    """What a program catches tells what it must do: connect again, or open another channel."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.peer.confirming(self.channel)

    def test_the_connection_is_lost(self) -> None:
        published = self.channel.basic_publish("", "q", b"x")
        self.peer.lose()
        error = self.failureResultOf(published, AMQPConnectionError).value
        self.assertIsInstance(error, OutcomeUnknown)
        self.assertNotIsInstance(error, ChannelError)

    def test_the_channel_is_closed(self) -> None:
        published = self.channel.basic_publish("nowhere", "q", b"x")
        self.peer.send(method(1, ChannelMethods.Close(404, "no exchange", 60, 40)))
        error = self.failureResultOf(published, ChannelError).value
        self.assertIsInstance(error, OutcomeUnknown)
        self.assertNotIsInstance(error, AMQPConnectionError)
        self.assertEqual(error.with_outcome("closed").reply_code, 404)

    def test_an_ack_that_is_too_late_says_why(self) -> None:
        got = self.channel.basic_get("q")
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 0), b"m"))
        delivery = self.successResultOf(got)
        assert delivery is not None
        self.peer.lose()
        error = self.assertRaises(StaleDelivery, delivery.ack)
        self.assertIsInstance(error.__cause__, AMQPConnectionError)

    def test_an_ack_of_a_callback_that_is_too_late_raises_why(self) -> None:
        """As every other method of a channel that has ended."""
        peer = CallbackPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        channel: Any = peer.open_channel()
        peer.lose()
        for settle in (channel.basic_ack, channel.basic_nack, channel.basic_reject):
            self.assertEqual(self.assertRaises(ConnectionLost, settle, 7).outcome, "not sent")
