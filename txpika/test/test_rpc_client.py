"""Tests for requests and their replies, seen from who asks."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.core.consumers import REPLY_TO
from txpika.exceptions import (
    AMQPError,
    CallTimeout,
    ChannelClosed,
    ConnectionLost,
    ConsumerCancelled,
    NackError,
    OutboundBufferFull,
    ReturnedError,
)
from txpika.parameters import ConnectionParameters
from txpika.rpc_client import RPCClient
from txpika.spec import Basic, BasicProperties, Channel, Confirm, Tx, decode_method
from txpika.test.fakes import TwistedPeer, content, method

#: What RabbitMQ makes of C{amq.rabbitmq.reply-to} in a request.
REWRITTEN = f"{REPLY_TO}.g1h2AA5yZXBseUAyMjA0Mjk5NgAABNYAAAAAawXEuA==.2nyNJuAZCJmewc8GMmInkA=="


class Asking(SynchronousTestCase):
    """A client on the only channel of a scripted broker."""

    parameters = ConnectionParameters(heartbeat=0)

    def setUp(self) -> None:
        self.peer = self.peer_of(self.parameters).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.rpc = self.open()

    def peer_of(self, parameters: ConnectionParameters) -> TwistedPeer:
        return TwistedPeer(parameters)

    def open(self) -> RPCClient:
        opening = self.channel.rpc_client()
        consume = self.peer.methods()[0]
        assert isinstance(consume, Basic.Consume)
        self.assertEqual((consume.queue, consume.no_ack), (REPLY_TO, True))
        self.tag = consume.consumer_tag
        self.replies = 0
        self.peer.send(method(1, Basic.ConsumeOk(self.tag)))
        return self.successResultOf(opening)

    def confirm(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.frames()

    def requests(self) -> list[tuple[Basic.Publish, BasicProperties]]:
        """What was published since the last look."""
        found = []
        frames = self.peer.frames()
        for (_, _, publish), (kind, _, header) in pairwise(frames):
            if kind == 2:
                decoded = decode_method(publish)[0]
                assert isinstance(decoded, Basic.Publish)
                found.append((decoded, BasicProperties.from_wire(header[12:])))
        return found

    def request(self) -> str:
        """The correlation id of the only request since the last look."""
        ((_, properties),) = self.requests()
        assert properties.correlation_id is not None
        return properties.correlation_id

    def reply(self, correlation_id: str | None, body: bytes = b"reply", raw: bytes | None = None) -> None:
        self.replies += 1
        deliver = Basic.Deliver(self.tag, self.replies, False, "", REWRITTEN)
        encoded = BasicProperties(correlation_id=correlation_id).encode() if raw is None else raw
        self.peer.send(content(1, deliver, body, encoded))

    def give_back(self, correlation_id: str, routing_key: str = "q") -> None:
        properties = BasicProperties(correlation_id=correlation_id, reply_to=REWRITTEN)
        self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "", routing_key), b"request", properties.encode()))

    def hold(self) -> None:
        """The transport takes no more."""
        self.peer.connection.pauseProducing()

    def let_go(self) -> None:
        self.peer.connection.resumeProducing()

    def fails(self, call: Deferred[Any], error: type[AMQPError], outcome: str) -> Any:
        failed = self.failureResultOf(call, error).value
        self.assertEqual(failed.outcome, outcome)
        self.assertEqual(self.rpc.pending, 0)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])
        return failed


class CallTests(Asking):
    """One call, and many."""

    def test_the_reply_is_the_result(self) -> None:
        call = self.rpc.call("x", "q", b"request")
        ((publish, properties),) = self.requests()
        self.assertEqual((publish.exchange, publish.routing_key, publish.mandatory), ("x", "q", True))
        self.assertEqual(properties.reply_to, REPLY_TO)
        self.assertEqual(self.rpc.pending, 1)
        self.reply(properties.correlation_id, b"answer")
        delivery = self.successResultOf(call)
        self.assertEqual((delivery.body, delivery.properties.correlation_id), (b"answer", properties.correlation_id))
        self.assertEqual((self.rpc.pending, self.rpc.late), (0, 0))
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_the_properties_are_sent_and_not_altered(self) -> None:
        given = BasicProperties(content_type="text/plain", headers={"a": [1]}, expiration="5000", message_id="m")
        before = given.encode()
        self.rpc.call("", "q", b"", given)
        self.rpc.call("", "q", b"", given)
        (_, one), (_, two) = self.requests()
        for sent in (one, two):
            self.assertEqual(
                (sent.content_type, sent.headers, sent.expiration, sent.message_id, sent.reply_to),
                ("text/plain", {"a": [1]}, "5000", "m", REPLY_TO),
            )
        self.assertNotEqual(one.correlation_id, two.correlation_id)
        self.assertEqual((given.encode(), given.correlation_id, given.reply_to), (before, None, None))

    def test_thousands_of_calls_each_get_their_own_reply(self) -> None:
        count = 5000
        calls = [self.rpc.call("", "q", b"%d" % number, timeout=10) for number in range(count)]
        ids = [properties.correlation_id for _, properties in self.requests()]
        self.assertEqual((len(set(ids)), self.rpc.pending), (count, count))
        order = list(range(count))
        random.Random(8).shuffle(order)
        for number in order:
            self.reply(ids[number], b"%d" % number)
        self.assertEqual([self.successResultOf(call).body for call in calls], [b"%d" % n for n in range(count)])
        self.assertEqual((self.rpc.pending, self.peer.clock.getDelayedCalls()), (0, []))

    def test_ids_of_two_clients_differ_and_tell_nothing_of_the_next(self) -> None:
        self.rpc.call("", "q", b"")
        self.rpc.call("", "q", b"")
        (_, one), (_, two) = self.requests()
        assert one.correlation_id and two.correlation_id
        first, second = (each.split(".") for each in (one.correlation_id, two.correlation_id))
        self.assertEqual((first[0], len(first[0])), (second[0], 16))
        self.assertNotEqual(first[2], second[2])
        self.assertNotEqual(RPCClient(self.channel)._prefix, self.rpc._prefix)

    def test_replies_that_nobody_waits_for_are_counted_and_dropped(self) -> None:
        call = self.rpc.call("", "q", b"")
        self.reply("somebody else's")
        self.reply(None)
        self.reply(None, raw=b"\x04\x00\xff")  # a correlation id that is cut short
        self.assertNoResult(call)
        self.reply(self.request())
        self.successResultOf(call)
        self.assertEqual(self.rpc.late, 3)

    def test_only_the_first_of_two_replies_counts(self) -> None:
        call = self.rpc.call("", "q", b"")
        correlation_id = self.request()
        self.reply(correlation_id, b"first")
        self.reply(correlation_id, b"second")
        self.assertEqual((self.successResultOf(call).body, self.rpc.late), (b"first", 1))

    def test_a_callback_that_raises_hurts_nobody(self) -> None:
        one = self.rpc.call("", "q", b"").addCallback(lambda reply: 1 // 0)
        first = self.request()
        two = self.rpc.call("", "q", b"")
        self.reply(first)
        self.reply(self.request())
        self.failureResultOf(one, ZeroDivisionError)
        self.successResultOf(two)

    def test_calls_are_ordered_among_other_messages(self) -> None:
        self.hold()
        self.channel.basic_publish("", "before", b"")
        self.rpc.call("", "request", b"")
        self.channel.basic_publish("", "after", b"")
        self.let_go()
        self.assertEqual([publish.routing_key for publish, _ in self.requests()], ["before", "request", "after"])


class UnroutableTests(Asking):
    """No queue takes the request."""

    def setUp(self) -> None:
        super().setUp()
        self.own: list[bytes] = []
        self.channel.on_return = lambda message: self.own.append(message.body)

    def test_fails_at_once(self) -> None:
        call = self.rpc.call("", "nowhere", b"request")
        self.give_back(self.request(), "nowhere")
        error = self.fails(call, ReturnedError, "returned")
        self.assertEqual((error.message.reply_code, error.message.routing_key), (312, "nowhere"))
        self.assertEqual(self.own, [])

    def test_fails_at_once_in_confirm_mode(self) -> None:
        self.confirm()
        call = self.rpc.call("", "nowhere", b"request")
        self.give_back(self.request(), "nowhere")
        self.peer.send(method(1, Basic.Ack(1)))
        self.fails(call, ReturnedError, "returned")
        self.assertEqual(self.own, [])

    def test_returns_of_the_program_stay_its_own(self) -> None:
        call = self.rpc.call("", "q", b"request")
        correlation_id = self.request()
        for raw in (b"\0\0", BasicProperties(correlation_id="mine").encode(), b"\x04\x00\xff"):
            self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "", "x"), b"of the program", raw))
        self.assertEqual(self.own, [b"of the program"] * 3)
        self.reply(correlation_id)
        self.successResultOf(call)

    def test_a_return_after_the_call_was_given_up(self) -> None:
        call = self.rpc.call("", "nowhere", b"request")
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.give_back(self.request(), "nowhere")
        self.assertEqual(self.own, [])


class ConfirmModeTests(Asking):
    """The broker tells what became of each request."""

    def setUp(self) -> None:
        super().setUp()
        self.confirm()

    def test_confirmed_then_replied(self) -> None:
        call = self.rpc.call("", "q", b"")
        self.peer.send(method(1, Basic.Ack(1)))
        self.assertNoResult(call)
        self.reply(self.request())
        self.successResultOf(call)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_replied_before_it_is_confirmed(self) -> None:
        calls = [self.rpc.call("", "q", b"") for _ in range(2)]
        (_, one), (_, two) = self.requests()
        self.reply(one.correlation_id, b"1")
        self.reply(two.correlation_id, b"2")
        self.assertEqual([self.successResultOf(call).body for call in calls], [b"1", b"2"])
        self.peer.send(method(1, Basic.Ack(1)))
        self.peer.send(method(1, Basic.Nack(2)))
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])
        self.assertTrue(self.channel.is_open)

    def test_refused(self) -> None:
        call = self.rpc.call("", "q", b"")
        self.peer.send(method(1, Basic.Nack(1)))
        self.fails(call, NackError, "nacked")

    def test_a_publish_of_the_program_keeps_its_own_outcome(self) -> None:
        call = self.rpc.call("", "nowhere", b"")
        published = self.channel.basic_publish("", "q", b"")
        (_, properties), _ = self.requests()
        assert properties.correlation_id is not None
        self.give_back(properties.correlation_id)
        self.peer.send(method(1, Basic.Ack(2, True)))
        self.fails(call, ReturnedError, "returned")
        self.successResultOf(published)


class TimeoutTests(Asking):
    """No reply comes in time."""

    def test_no_reply(self) -> None:
        call = self.rpc.call("", "q", b"", timeout=5)
        self.peer.clock.advance(4.9)
        self.assertNoResult(call)
        self.peer.clock.advance(0.1)
        error = self.fails(call, CallTimeout, "unknown")
        self.assertIn("5 seconds", str(error))
        self.reply(self.request())
        self.assertEqual(self.rpc.late, 1)

    def test_30_seconds_unless_it_says(self) -> None:
        call = self.rpc.call("", "q", b"")
        for_ever = self.rpc.call("", "q", b"", timeout=None)
        self.peer.clock.advance(29.9)
        self.assertNoResult(call)
        self.peer.clock.advance(0.2)
        self.failureResultOf(call, CallTimeout)
        self.peer.clock.advance(1e6)
        self.assertNoResult(for_ever)

    def test_not_written_in_time(self) -> None:
        for confirm in (False, True):
            if confirm:
                self.confirm()
            self.hold()
            call = self.rpc.call("", "q", b"", timeout=5)
            self.peer.clock.advance(5)
            self.fails(call, CallTimeout, "not sent")
            self.let_go()
            self.assertEqual(self.requests(), [])

    def test_not_confirmed_in_time(self) -> None:
        self.confirm()
        call = self.rpc.call("", "q", b"", timeout=5)
        self.peer.clock.advance(5)
        self.fails(call, CallTimeout, "unknown")
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(self.publish_confirmed(2))

    def publish_confirmed(self, number: int) -> Deferred[None]:
        published = self.channel.basic_publish("", "q", b"")
        self.peer.send(method(1, Basic.Ack(number)))
        return published

    def test_the_wait_for_the_network_counts(self) -> None:
        for confirm in (False, True):
            if confirm:
                self.confirm()
            self.hold()
            call = self.rpc.call("", "q", b"", timeout=5)
            self.peer.clock.advance(3)
            self.let_go()
            self.assertEqual(len(self.requests()), 1)
            if confirm:
                self.peer.send(method(1, Basic.Ack(1)))
            self.peer.clock.advance(1.9)
            self.assertNoResult(call)
            self.peer.clock.advance(0.2)
            self.fails(call, CallTimeout, "unknown")


class CancelTests(Asking):
    """The program gives a call up."""

    def test_the_late_reply_is_dropped(self) -> None:
        call = self.rpc.call("", "q", b"")
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual((self.rpc.pending, self.peer.clock.getDelayedCalls()), (0, []))
        self.reply(self.request())
        self.assertEqual(self.rpc.late, 1)

    def test_what_was_not_written_never_is(self) -> None:
        for confirm in (False, True):
            if confirm:
                self.confirm()
            self.hold()
            for timeout in (None, 5):
                call = self.rpc.call("", "q", b"", timeout=timeout)
                call.cancel()
                self.failureResultOf(call, CancelledError)
            self.let_go()
            self.assertEqual((self.requests(), self.peer.clock.getDelayedCalls()), ([], []))

    def test_confirm_mode_stays_in_step(self) -> None:
        self.confirm()
        calls = [self.rpc.call("", "q", b"", timeout=timeout) for timeout in (None, 5)]
        for call in calls:
            call.cancel()
            self.failureResultOf(call, CancelledError)
        kept = self.rpc.call("", "q", b"")
        self.peer.send(method(1, Basic.Ack(3, True)))
        self.reply(self.requests()[-1][1].correlation_id)
        self.successResultOf(kept)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])


class EndTests(Asking):
    """The client, the channel or the connection ends."""

    def pending(self) -> tuple[Deferred[Any], Deferred[Any]]:
        """A call that is on its way, and one that is not."""
        sent = self.rpc.call("", "q", b"sent")
        self.hold()
        return sent, self.rpc.call("", "q", b"held")

    def end(self, sent: Deferred[Any], held: Deferred[Any], error: type[AMQPError]) -> Any:
        reason = self.failureResultOf(sent, error).value
        self.assertEqual(reason.outcome, "unknown")
        self.fails(held, error, "not sent")
        self.assertFalse(self.rpc.is_open)
        self.fails(self.rpc.call("", "q", b""), error, "not sent")
        return reason

    def test_the_broker_closes_the_channel(self) -> None:
        for confirm in (False, True):
            self.setUp()
            if confirm:
                self.confirm()
            calls = self.pending()
            self.peer.send(method(1, Channel.Close(404, "gone", 60, 40)))
            self.assertEqual(self.end(*calls, ChannelClosed).reply_code, 404)

    def test_the_connection_is_lost(self) -> None:
        for confirm in (False, True):
            self.setUp()
            if confirm:
                self.confirm()
            calls = self.pending()
            self.peer.lose()
            self.end(*calls, ConnectionLost)

    def test_a_request_that_was_confirmed(self) -> None:
        self.confirm()
        call = self.rpc.call("", "q", b"")
        self.peer.send(method(1, Basic.Ack(1)))
        self.peer.lose()
        self.fails(call, ConnectionLost, "unknown")

    def test_the_program_closes_the_channel(self) -> None:
        call = self.rpc.call("", "q", b"")
        closing = self.channel.close()
        self.fails(call, ChannelClosed, "unknown")
        self.peer.send(method(1, Channel.CloseOk()))
        self.successResultOf(closing)
        self.successResultOf(self.rpc.close())

    def test_the_program_closes_the_channel_with_a_request_that_is_held(self) -> None:
        self.hold()
        call = self.rpc.call("", "q", b"")
        self.channel.close()
        self.assertNoResult(call)
        self.let_go()
        self.assertEqual(self.peer.names(), ["Basic.Publish", "Channel.Close"])
        self.fails(call, ChannelClosed, "unknown")

    def test_the_broker_cancels(self) -> None:
        calls = self.pending()
        self.peer.send(method(1, Basic.Cancel(self.tag, True)))
        self.end(*calls, ConsumerCancelled)
        self.let_go()
        self.assertEqual(len(self.requests()), 1)

    def test_close(self) -> None:
        calls = self.pending()
        closing = self.rpc.close()
        self.assertEqual(self.end(*calls, ConsumerCancelled).initiator, "local")
        self.assertNoResult(closing)
        self.assertRaises(ValueError, self.channel.rpc_client)
        self.let_go()
        self.assertEqual(self.peer.names(), ["Basic.Publish", "Basic.Cancel"])
        self.peer.send(method(1, Basic.CancelOk(self.tag)))
        self.successResultOf(closing)
        self.successResultOf(self.rpc.close())
        self.assertEqual(self.peer.names(), [])

    def test_close_with_a_wrong_time_out_closes_nothing(self) -> None:
        self.assertRaises(ValueError, self.rpc.close, timeout=0)
        self.assertTrue(self.rpc.is_open)
        self.assertEqual(self.peer.names(), [])

    def test_close_in_confirm_mode(self) -> None:
        self.confirm()
        call = self.rpc.call("", "q", b"")
        self.rpc.close()
        self.assertTrue(call.called)
        self.peer.send(method(1, Basic.Ack(1)))
        self.fails(call, ConsumerCancelled, "unknown")
        self.assertTrue(self.channel.is_open)

    def test_the_channel_can_have_another_then(self) -> None:
        self.rpc.close()
        self.peer.send(method(1, Basic.CancelOk(self.tag)))
        self.peer.frames()
        old = self.rpc
        self.rpc = self.open()
        self.assertIsNot(self.rpc, old)
        call = self.rpc.call("", "q", b"")
        self.reply(self.request())
        self.successResultOf(call)

    def test_as_a_context_manager(self) -> None:
        async def ask() -> bytes:
            async with self.rpc as rpc:
                return (await rpc.call("", "q", b"")).body

        asking = Deferred.fromCoroutine(ask())
        self.reply(self.request(), b"answer")
        self.assertEqual(self.peer.names(), ["Basic.Cancel"])
        self.peer.send(method(1, Basic.CancelOk(self.tag)))
        self.assertEqual(self.successResultOf(asking), b"answer")


class OpeningTests(SynchronousTestCase):
    """A channel gets its client."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.peer.frames()

    def test_one_a_channel(self) -> None:
        self.channel.rpc_client()
        self.assertRaises(ValueError, self.channel.rpc_client)
        self.assertEqual(self.peer.names(), ["Basic.Consume"])

    def test_an_opening_that_was_given_up_blocks_the_place(self) -> None:
        # Its consumer may live on until the broker has heard, and the broker closes the channel for a second one.
        opening = self.channel.rpc_client(timeout=1)
        self.peer.clock.advance(1)
        self.failureResultOf(opening, CallTimeout)
        self.assertRaises(ValueError, self.channel.rpc_client)

    def test_on_a_channel_that_is_closed(self) -> None:
        opening = self.channel.rpc_client()
        self.peer.send(method(1, Channel.Close(406, "PRECONDITION_FAILED - reply consumer already set", 60, 20)))
        self.failureResultOf(opening, ChannelClosed)
        self.failureResultOf(self.channel.rpc_client(), ChannelClosed)

    def test_not_in_transaction_mode(self) -> None:
        self.channel.tx_select()
        self.assertRaises(ValueError, self.channel.rpc_client)
        self.assertRaises(ValueError, self.channel.rpc_server, "q", lambda request: b"")
        self.assertEqual(self.peer.names(), ["Tx.Select"])

    def test_wrong_time_outs(self) -> None:
        for bad, error in ((0, ValueError), (-1, ValueError), ("1", TypeError), (True, TypeError)):
            self.assertRaises(error, self.channel.rpc_client, timeout=bad)
        self.assertEqual(self.peer.names(), [])


class WrongArgumentTests(Asking):
    """They raise at the call, and nothing happens."""

    def refused(self, error: type[Exception], named: str, *arguments: Any, **more: Any) -> None:
        raised = self.assertRaises(error, self.rpc.call, *arguments, **more)
        self.assertIn(named, str(raised))
        self.assertEqual((self.rpc.pending, self.peer.frames(), self.peer.clock.getDelayedCalls()), (0, [], []))

    def test_wrong_arguments(self) -> None:
        self.refused(ValueError, "routing_key", "", "x" * 256, b"")
        self.refused(TypeError, "exchange", None, "q", b"")
        self.refused(TypeError, "body", "", "q", "text")
        self.refused(TypeError, "properties", "", "q", b"", {"type": "t"})
        self.refused(ValueError, "priority", "", "q", b"", BasicProperties(priority=256))
        self.refused(ValueError, "timeout", "", "q", b"", timeout=0)
        self.refused(TypeError, "timeout", "", "q", b"", timeout="5")

    def test_properties_that_are_the_clients_to_set(self) -> None:
        self.refused(ValueError, "correlation_id", "", "q", b"", BasicProperties(correlation_id="mine"))
        self.refused(ValueError, "reply_to", "", "q", b"", BasicProperties(reply_to="mine"))

    def test_properties_that_make_no_sense(self) -> None:
        self.refused(ValueError, "decoded", "", "q", b"", BasicProperties.from_wire(b"\x04\x00\xff"))

    def test_in_transaction_mode(self) -> None:
        self.channel.tx_select()
        self.peer.send(method(1, Tx.SelectOk()))
        self.peer.frames()
        self.refused(ValueError, "transaction", "", "q", b"")


class BufferTests(Asking):
    """Too much waits to be written."""

    parameters = ConnectionParameters(heartbeat=0, max_held=10)

    def test_the_limit_holds_for_requests(self) -> None:
        self.hold()
        self.fails(self.rpc.call("", "q", b""), OutboundBufferFull, "not sent")
