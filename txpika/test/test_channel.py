"""Tests for L{txpika.channel}: each call writes its method, each argument in its place, and ends with its reply."""

from __future__ import annotations

import struct
from collections.abc import Callable
from inspect import signature
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from txpika.channel import Channel
from txpika.declarations import Declarations
from txpika.exceptions import (
    AMQPError,
    CallTimeout,
    ChannelClosed,
    ConnectionClosed,
    ConnectionLost,
    MessageTooLarge,
    StaleDelivery,
)
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties, Confirm, Exchange, Method, Queue, Tx
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import TwistedPeer, content, deliveries, method

T = {"k": [1, "v"]}

#: Name of the call, its arguments in their order without the flags, what is written then, and the reply. The flags are
#: the other arguments that are bool, and are tried one by one.
CALLS: list[tuple[str, dict[str, Any], Method, Method]] = [
    (
        "exchange_declare",
        {"exchange": "e", "exchange_type": "topic", "arguments": T},
        Exchange.Declare(0, "e", "topic", False, False, False, False, False, T),
        Exchange.DeclareOk(),
    ),
    ("exchange_delete", {"exchange": "e"}, Exchange.Delete(0, "e", False, False), Exchange.DeleteOk()),
    (
        "exchange_bind",
        {"destination": "d", "source": "s", "routing_key": "r", "arguments": T},
        Exchange.Bind(0, "d", "s", "r", False, T),
        Exchange.BindOk(),
    ),
    (
        "exchange_unbind",
        {"destination": "d", "source": "s", "routing_key": "r", "arguments": T},
        Exchange.Unbind(0, "d", "s", "r", False, T),
        Exchange.UnbindOk(),
    ),
    (
        "queue_declare",
        {"queue": "q", "arguments": T},
        Queue.Declare(0, "q", False, False, False, False, False, T),
        Queue.DeclareOk("q", 3, 2),
    ),
    (
        "queue_bind",
        {"queue": "q", "exchange": "e", "routing_key": "r", "arguments": T},
        Queue.Bind(0, "q", "e", "r", False, T),
        Queue.BindOk(),
    ),
    (
        "queue_unbind",
        {"queue": "q", "exchange": "e", "routing_key": "r", "arguments": T},
        Queue.Unbind(0, "q", "e", "r", T),
        Queue.UnbindOk(),
    ),
    ("queue_purge", {"queue": "q"}, Queue.Purge(0, "q", False), Queue.PurgeOk(7)),
    ("queue_delete", {"queue": "q"}, Queue.Delete(0, "q", False, False, False), Queue.DeleteOk(7)),
    ("basic_qos", {"prefetch_count": 9}, Basic.Qos(0, 9, False), Basic.QosOk()),
    ("basic_cancel", {"consumer_tag": "t"}, Basic.Cancel("t", False), Basic.CancelOk("t")),
    ("confirm_select", {}, Confirm.Select(False), Confirm.SelectOk()),
    ("tx_select", {}, Tx.Select(), Tx.SelectOk()),
    ("basic_recover", {}, Basic.Recover(True), Basic.RecoverOk()),
]
#: What else there is, each of which has tests of its own.
OTHERS = {"basic_ack", "basic_consume", "basic_get", "basic_nack", "basic_publish", "basic_reject", "call", "close"}
OTHERS |= {"tx_commit", "tx_rollback", "returned", "dropped", "ended"}
OTHERS |= {"rpc_client", "rpc_server", "check_thread", "redirected", "flow_changed"}


class Face(SynchronousTestCase):
    """An open channel, number 1, with a consumer C{"t"} that keeps what it gets."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0, max_body_size=100)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.consumer = self.peer.consuming(self.channel)

    def close_by_broker(self) -> None:
        self.peer.send(method(1, ChannelMethods.Close(404, "NOT_FOUND", 50, 10)))


class CallTests(Face):
    """The calls of L{CALLS}."""

    def test_none_is_forgotten(self) -> None:
        methods = {**vars(Declarations), **vars(Channel)}
        public = {name for name, value in methods.items() if callable(value) and not name.startswith("_")}
        self.assertEqual(public - OTHERS, {name for name, *_ in CALLS})

    def test_by_name(self) -> None:
        for name, arguments, written, reply in CALLS:
            self.setUp()
            done: Deferred[Any] = getattr(self.channel, name)(**arguments)
            self.assertEqual(self.peer.methods(), [written], name)
            self.assertNoResult(done)
            self.peer.send(method(1, reply))
            result = self.successResultOf(done)
            self.assertEqual(result, None if name == "basic_cancel" else reply, name)

    def test_by_position(self) -> None:
        """All of them, flags too, which are false."""
        for name, arguments, written, _ in CALLS:
            self.setUp()
            parameters = signature(getattr(self.channel, name)).parameters
            by_position = [key for key, each in parameters.items() if each.kind == each.POSITIONAL_OR_KEYWORD]
            values = [arguments.get(key, parameters[key].default) for key in by_position]
            getattr(self.channel, name)(*values)
            self.assertEqual(self.peer.methods(), [written], name)

    def test_each_flag(self) -> None:
        seen = 0
        for name, arguments, written, _ in CALLS:
            for flag, parameter in signature(getattr(self.channel, name)).parameters.items():
                if parameter.default is not False:
                    continue
                self.setUp()
                done = getattr(self.channel, name)(**arguments, **{flag: True})
                (sent,) = self.peer.methods()
                self.assertNotEqual(sent, written, (name, flag))
                field = "global_" if flag == "global_qos" else flag
                self.assertTrue(getattr(sent, field), (name, flag))
                setattr(sent, field, False)
                self.assertEqual(sent, written, (name, flag))
                if flag == "nowait":
                    self.assertIsNone(self.successResultOf(done))
                seen += 1
        self.assertEqual(seen, 22)

    def test_defaults(self) -> None:
        """What is written when only the least is said."""
        declared = self.channel.queue_declare()
        self.assertEqual(self.peer.methods(), [Queue.Declare(0, "", False, False, False, False, False, {})])
        self.peer.send(method(1, Queue.DeclareOk("amq.gen-1", 0, 0)))
        self.assertEqual(self.successResultOf(declared).queue, "amq.gen-1")
        self.channel.exchange_declare("e")
        self.assertEqual(
            self.peer.methods(), [Exchange.Declare(0, "e", "direct", False, False, False, False, False, {})]
        )

    def test_nowait_lets_the_next_go_at_once(self) -> None:
        for name, arguments, *_ in CALLS:
            if "nowait" in signature(getattr(self.channel, name)).parameters:
                self.setUp()
                getattr(self.channel, name)(**arguments, nowait=True)
                self.channel.basic_qos(1)
                self.assertEqual(len(self.peer.methods()), 2, name)

    def test_a_second_call_waits_for_the_first(self) -> None:
        for name, arguments, _, reply in CALLS:
            self.setUp()
            getattr(self.channel, name)(**arguments)
            self.channel.basic_qos(1)
            self.assertEqual(len(self.peer.methods()), 1, name)
            self.peer.send(method(1, reply))
            self.assertEqual(self.peer.names(), ["Basic.Qos"], name)


class PublishTests(Face):
    """C{basic_publish}, C{basic_get}, C{basic_consume}."""

    def test_publish(self) -> None:
        properties = BasicProperties(content_type="a/b")
        self.assertIsNone(self.successResultOf(self.channel.basic_publish("e", "r", b"body", properties, True)))
        self.assertIsNone(self.successResultOf(self.channel.basic_publish("e", "r", b"")))
        (_, _, publish), (_, _, header), body, (_, _, second), (_, _, empty) = self.peer.frames()
        self.assertEqual(publish, Basic.Publish(0, "e", "r", True, False).encode())
        self.assertEqual(header, struct.pack(">HHQ", 60, 0, 4) + properties.encode())
        self.assertEqual(body, (3, 1, b"body"))
        self.assertEqual(second, Basic.Publish(0, "e", "r", False, False).encode())
        self.assertEqual(empty, struct.pack(">HHQH", 60, 0, 0, 0))

    def test_get(self) -> None:
        got, none = self.channel.basic_get("q"), self.channel.basic_get("q", True)
        raw = BasicProperties(priority=3).encode()
        self.peer.send(content(1, Basic.GetOk(1, True, "e", "r", 6), b"x", raw) + method(1, Basic.GetEmpty()))
        self.assertEqual(self.peer.methods(), [Basic.Get(0, "q", False), Basic.Get(0, "q", True)])
        delivery = self.successResultOf(got)
        assert delivery is not None
        self.assertEqual((delivery.body, delivery.exchange, delivery.routing_key), (b"x", "e", "r"))
        self.assertEqual((delivery.delivery_tag, delivery.redelivered, delivery.message_count), (1, True, 6))
        self.assertEqual((delivery.consumer_tag, delivery.properties.priority), ("", 3))
        self.assertIs(delivery.channel, self.channel)
        self.assertIsNone(self.successResultOf(none))
        delivery.ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(1, False)])

    def test_get_without_ack(self) -> None:
        got = self.channel.basic_get("q", no_ack=True)
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 0), b"x"))
        delivery = self.successResultOf(got)
        assert delivery is not None
        self.assertRaises(StaleDelivery, delivery.ack)

    def test_get_of_too_large_a_message(self) -> None:
        got, free = self.channel.basic_get("q"), self.channel.basic_get("q", no_ack=True)
        for tag in (1, 2):
            self.peer.send(content(1, Basic.GetOk(tag, False, "e", "q", 0), b"x" * 101))
        for each in (got, free):
            error = self.failureResultOf(each, MessageTooLarge).value
            self.assertEqual((error.size, error.delivery.body, error.delivery.exchange), (101, b"", "e"))
        self.assertEqual(self.peer.names(), ["Basic.Get", "Basic.Get", "Basic.Reject"])

    def test_consume(self) -> None:
        consuming = self.channel.basic_consume("q", None, True, True, "mine", T)
        self.assertEqual(self.peer.methods(), [Basic.Consume(0, "q", "mine", False, True, True, False, T)])
        self.assertNoResult(consuming)
        self.peer.send(method(1, Basic.ConsumeOk("mine")))
        consumer = self.successResultOf(consuming)
        self.assertEqual((consumer.consumer_tag, consumer.no_ack, consumer.channel), ("mine", True, self.channel))

    def test_consume_nowait(self) -> None:
        bodies: list[bytes] = []
        consuming = self.channel.basic_consume("q", lambda d: bodies.append(d.body), nowait=True)
        (written,) = self.peer.methods()
        consumer = self.successResultOf(consuming)
        self.assertEqual(written, Basic.Consume(0, "q", consumer.consumer_tag, False, False, False, True, {}))
        self.peer.send(deliveries(1, b"x", tag=consumer.consumer_tag))
        self.assertEqual(bodies, [b"x"])

    def test_tags_are_made_unlike_each_other(self) -> None:
        for _ in range(3):
            self.channel.basic_consume("q", nowait=True)
        tags = {each.consumer_tag for each in self.peer.methods() if isinstance(each, Basic.Consume)}
        self.assertEqual(len(tags), 3)

    def test_refused_consume_leaves_the_tag_free(self) -> None:
        consuming = self.channel.basic_consume("q", consumer_tag="again", timeout=1)
        self.peer.clock.advance(1)
        self.failureResultOf(consuming, CallTimeout)
        self.peer.send(method(1, Basic.ConsumeOk("again")))
        self.peer.consuming(self.channel, consumer_tag="again")

    def test_settling_by_number(self) -> None:
        self.peer.send(deliveries(1, *(b"%d" % number for number in range(1, 9))))
        self.channel.basic_ack(1)
        self.channel.basic_nack(3, requeue=False)
        self.channel.basic_nack(4)
        self.channel.basic_reject(5)
        self.channel.basic_reject(6, requeue=False)
        self.channel.basic_ack(7, multiple=True)
        self.channel.basic_nack(multiple=True)
        self.assertEqual(
            self.peer.methods(),
            [
                Basic.Ack(1, False),
                Basic.Nack(3, False, False),
                Basic.Nack(4, False, True),
                Basic.Reject(5, True),
                Basic.Reject(6, False),
                Basic.Ack(7, True),
                Basic.Nack(8, True, True),
            ],
        )
        self.assertRaises(StaleDelivery, self.channel.basic_ack, 2)
        self.assertRaises(StaleDelivery, self.channel.basic_ack, 0, True)


class EndTests(Face):
    """How it ends, and who hears of it."""

    def test_close(self) -> None:
        declared, closing = self.channel.queue_declare("q"), self.channel.close(311, "enough")
        self.assertFalse(self.channel.is_open)
        self.assertEqual(self.peer.names(), ["Queue.Declare"])
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.successResultOf(declared)
        self.assertEqual(self.peer.methods(), [ChannelMethods.Close(311, "enough", 0, 0)])
        self.assertNoResult(closing)
        self.peer.send(method(1, ChannelMethods.CloseOk()))
        self.assertIsNone(self.successResultOf(closing))
        self.assertIsNone(self.successResultOf(self.channel.close()))
        reason = self.successResultOf(self.channel.closed)
        self.assertIsInstance(reason, ChannelClosed)
        self.assertEqual((reason.reply_code, reason.initiator), (311, "local"))
        self.assertEqual(self.peer.frames(), [])

    def test_close_ends_as_well_when_the_connection_does(self) -> None:
        closing, timed = self.channel.close(), self.channel.close(timeout=5)
        self.peer.lose()
        self.assertIsNone(self.successResultOf(closing))
        self.assertIsNone(self.successResultOf(timed))
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_closed_fires_for_each_who_asked(self) -> None:
        first, second, given_up = self.channel.closed, self.channel.closed, self.channel.closed
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertNoResult(first)
        self.close_by_broker()
        for each in (first, second, self.channel.closed):
            reason = self.successResultOf(each)
            self.assertEqual((reason.reply_code, reason.reply_text, reason.initiator), (404, "NOT_FOUND", "peer"))
        self.assertEqual(self.peer.names(), ["Channel.CloseOk"])
        self.assertTrue(self.peer.protocol.is_open)

    def test_closed_with_the_connection(self) -> None:
        closed = self.channel.closed
        self.peer.send(method(0, ConnectionMethods.Close(320, "maintenance", 0, 0)))
        self.assertIsInstance(self.successResultOf(closed), ConnectionClosed)
        self.setUp()
        closed = self.channel.closed
        self.peer.lose()
        self.assertIsInstance(self.successResultOf(closed), ConnectionLost)

    def every_call(self) -> list[Deferred[Any]]:
        calls = [getattr(self.channel, name)(**arguments) for name, arguments, *_ in CALLS]
        calls += [self.channel.basic_publish("", "q", b"x"), self.channel.basic_publish("", "q", b"x", timeout=1)]
        calls += [self.channel.basic_get("q"), self.channel.basic_consume("q")]
        return calls

    def test_B111_every_call_from_inside_a_callback_of_the_end(self) -> None:
        """The channel's, a consumer's, and a call's that fails: each finds the reason in all that it calls."""

        def from_inside(hear: Callable[[], Deferred[Any]], end: Callable[[], None], code: int, kind: type) -> None:
            self.setUp()
            self.peer.send(deliveries(1, b"x"))
            (delivery,) = self.consumer._buffer
            calls: list[Deferred[Any]] = []

            def heard(_result: object) -> None:
                self.assertRaises(StaleDelivery, delivery.ack)
                calls.extend(self.every_call())
                self.assertFalse(self.channel.is_open)
                self.channel.close().addCallback(lambda _: calls.append(self.channel.basic_get("q")))

            hear().addBoth(heard)
            self.peer.frames()
            end()
            self.assertEqual(len(calls), len(CALLS) + 5)
            for call in calls:
                error = self.failureResultOf(call, AMQPError).value
                self.assertIs(type(error), kind)
                self.assertEqual((error.reply_code, error.outcome), (code, "not sent"))
            names = set(self.peer.names())
            self.assertLessEqual(names, {"Channel.CloseOk", "Channel.Close", "Connection.CloseOk"})
            self.assertEqual(self.flushLoggedErrors(), [])

        hears: tuple[Callable[[], Deferred[Any]], ...] = (
            lambda: self.channel.closed,
            lambda: self.consumer.closed,
            lambda: self.channel.queue_declare("q"),
        )

        def close_by_this_side() -> None:
            self.channel.close()
            self.peer.send(method(1, ChannelMethods.CloseOk()))

        def close_connection_by_broker() -> None:
            self.peer.send(method(0, ConnectionMethods.Close(320, "bye", 0, 0)))

        for hear in hears:
            from_inside(hear, self.close_by_broker, 404, ChannelClosed)
            from_inside(hear, lambda: self.peer.lose(), 0, ConnectionLost)
            from_inside(hear, close_connection_by_broker, 320, ConnectionClosed)
        for hear in hears[:2]:
            from_inside(hear, close_by_this_side, 200, ChannelClosed)

    def test_repr_tells_number_and_state(self) -> None:
        self.assertEqual(repr(self.channel), "<Channel 1 open>")
        self.close_by_broker()
        self.assertEqual(repr(self.channel), "<Channel 1 closed>")


class ReturnTests(Face):
    """C{on_return}, and what nobody asked for."""

    def back(self, text: str = "NO_ROUTE") -> None:
        self.peer.send(content(1, Basic.Return(312, text, "e", "r"), b"body", BasicProperties(priority=1).encode()))

    def test_on_return(self) -> None:
        messages: list[Any] = []
        self.channel.on_return = messages.append
        self.back()
        (message,) = messages
        self.assertEqual((message.reply_code, message.reply_text, message.body), (312, "NO_ROUTE", b"body"))
        self.assertEqual((message.exchange, message.routing_key, message.properties.priority), ("e", "r", 1))

    def test_on_return_that_raises_hurts_nobody(self) -> None:
        def raises(message: object) -> None:
            raise ZeroDivisionError

        self.channel.on_return = raises
        declared = self.channel.queue_declare("q")
        self.back()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.successResultOf(declared)

    def test_B112_nobody_listens(self) -> None:
        """The warning is one line, and what the broker says is only data in it."""
        with capturedLogs() as events:
            self.back("%s {} {reason} \r\n[CRITICAL] \x1b[31m \u202e")
        (event,) = events
        line = formatEvent(event)
        self.assertEqual(event["log_level"].name, "warn")
        self.assertIn("%s {} {reason} \\r\\n[CRITICAL]", line)
        self.assertTrue(line.isprintable(), line)

    def test_B112_whatever_is_logged(self) -> None:
        """Too large a message, a function that fails, an alarm, a callback that fails, and all errors as text."""
        text = "%s {} {reason} \r\n[CRITICAL] \x1b[31m \u202e"

        def raises(message: object) -> None:
            raise ZeroDivisionError

        self.channel.on_return = raises
        self.peer.consuming(self.channel, raises, consumer_tag=text)
        with capturedLogs() as events:
            self.peer.send(content(1, Basic.Deliver("t", 1, False, text, text), b"x" * 101))
            self.peer.send(content(1, Basic.Deliver(text, 2, False, text, text), b"x"))
            self.back(text)
            self.peer.send(method(0, ConnectionMethods.Blocked(text)))
        self.assertEqual(len(events), 4)
        failed = self.channel.queue_declare(text)
        self.peer.send(method(1, ChannelMethods.Close(404, text, 0, 0)))
        lines = [formatEvent(event) for event in events] + [str(self.failureResultOf(failed).value)]
        for line in lines:
            self.assertIn("[CRITICAL]", line)
            self.assertTrue(line.isprintable(), line)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_too_large_a_message_is_told_and_rejected(self) -> None:
        with capturedLogs() as events:
            self.peer.send(deliveries(1, b"x" * 101, b"x" * 100))
        (event,) = events
        self.assertIn("101 bytes", formatEvent(event))
        self.assertEqual(event["log_level"].name, "error")
        self.assertEqual(self.peer.methods(), [Basic.Reject(1, False)])
        self.assertEqual([delivery.delivery_tag for delivery in self.consumer._buffer], [2])
