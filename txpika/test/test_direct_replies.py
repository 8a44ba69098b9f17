"""Tests for direct replies as deliveries: their numbers, their size, and that they are read."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

import txpika
from txpika.exceptions import MessageTooLarge, ProtocolError, StaleDelivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties
from txpika.test.fakes import TwistedPeer, content, frame, method
from txpika.test.instruments import Recorder
from txpika.test.test_rpc_client import REWRITTEN, Asking


class NumberTests(Asking):
    """
    RabbitMQ before 4.2 does not count direct replies among the deliveries of the channel: each has the tag of the next
    delivery. From 4.2 on it counts them.
    """

    def setUp(self) -> None:
        super().setUp()
        self.got: list[txpika.Delivery] = []
        self.channel.basic_consume("q", self.got.append, consumer_tag="other")
        self.peer.send(method(1, Basic.ConsumeOk("other")))
        self.peer.frames()

    def replied(self, tag: int) -> txpika.Delivery:
        call = self.rpc.call("", "q", b"")
        properties = BasicProperties(correlation_id=self.request())
        self.peer.send(content(1, Basic.Deliver(self.tag, tag, False, "", REWRITTEN), b"", properties.encode()))
        return self.successResultOf(call)

    def deliver(self, tag: int) -> txpika.Delivery:
        self.peer.send(content(1, Basic.Deliver("other", tag, False, "", "q"), b""))
        return self.got[-1]

    def numbers(self, *tags: int | str) -> None:
        """Deliveries with these tags arrive; those with an C{"r"} are direct replies."""
        for tag in tags:
            if isinstance(tag, str):
                self.replied(int(tag.removeprefix("r")))
            else:
                self.assertEqual(self.deliver(tag).delivery_tag, tag)
        self.assertIsNone(self.peer.connection.reason)

    def test_replies_that_are_not_counted(self) -> None:
        self.numbers("r1", "r1", 1, 2, "r3", "r3", "r3", 3, 4, "r5", 5)
        self.got[-1].ack(multiple=True)
        self.assertEqual(self.peer.methods(), [Basic.Ack(5, True)])
        for delivery in self.got:
            self.assertRaises(StaleDelivery, delivery.ack)

    def test_replies_that_are_counted(self) -> None:
        self.numbers("r1", "r2", 3, 4, "r5", "r6", "r7", 8, "r9", 10)
        for delivery in self.got:
            delivery.ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(tag) for tag in (3, 4, 8, 10)])

    def test_what_is_out_of_order_all_the_same(self) -> None:
        cases: tuple[tuple[tuple[int | str, ...], int], ...] = (
            (("r1",), 3),
            (("r1", 1), 1),
            ((1, "r2", 2), 2),
            ((1, 2), 2),
        )
        for tags, wrong in cases:
            self.setUp()
            self.numbers(*tags)
            self.peer.send(content(1, Basic.Deliver("other", wrong, False, "", "q"), b""))
            self.assertIsInstance(self.peer.connection.reason, ProtocolError, f"{wrong} after {tags}")

    def test_a_reply_settles_nothing_else(self) -> None:
        reply = self.replied(1)
        self.deliver(1)
        for settle in (reply.ack, reply.nack, reply.reject, lambda: reply.ack(multiple=True)):
            self.assertRaises(StaleDelivery, settle)
        self.assertIs(reply.channel, self.channel)
        self.assertEqual(self.peer.methods(), [])
        self.got[0].ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)])


class ObservedNumberTests(NumberTests):
    """The same, on a connection with an instrument."""

    def peer_of(self, parameters: ConnectionParameters) -> TwistedPeer:
        return TwistedPeer(parameters, Recorder())


class LargeReplyTests(Asking):
    """A reply over C{max_body_size}."""

    parameters = ConnectionParameters(heartbeat=0, max_body_size=10)

    def test_fails_at_once(self) -> None:
        call = self.rpc.call("", "q", b"")
        self.reply(self.request(), b"x" * 11)
        self.assertEqual(self.fails(call, MessageTooLarge, "closed").size, 11)
        self.assertEqual(self.peer.names(), [])


class ReadingTests(Asking):
    """Somebody else on the connection has enough, and reading is paused."""

    def test_a_call_gets_its_reply_all_the_same(self) -> None:
        self.channel.basic_consume("q", buffer_size=2, no_ack=True, consumer_tag="full")
        self.peer.send(method(1, Basic.ConsumeOk("full")))
        self.peer.frames()
        for _ in range(2):
            self.replies += 1
            self.peer.send(content(1, Basic.Deliver("full", self.replies, False, "", "q"), b""))
        self.assertFalse(self.peer.transport.reading)
        calls = [self.rpc.call("", "q", b"") for _ in range(2)]
        self.assertTrue(self.peer.transport.reading)
        self.peer.send(frame(8, 0, b""))
        self.assertTrue(self.peer.transport.reading)
        (_, one), _ = self.requests()
        self.reply(one.correlation_id)
        self.successResultOf(calls[0])
        self.assertTrue(self.peer.transport.reading, "one more is waited for")
        calls[1].cancel()
        self.failureResultOf(calls[1], CancelledError)
        self.peer.send(frame(8, 0, b""))
        self.assertFalse(self.peer.transport.reading)
