"""Tests for channels of the callback API, against a broker by script: each method and callback of pika's of 2011."""

from __future__ import annotations

import inspect
import logging
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from txpika import spec
from txpika.adapters.callback_channel import Channel
from txpika.exceptions import (
    ChannelClosed,
    CloseReason,
    DuplicateConsumerTag,
    InvalidChannelNumber,
    StaleDelivery,
    UnknownConsumerTag,
)
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties, Confirm, Exchange, Queue, Tx
from txpika.spec import Channel as Methods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import CallbackPeer, content, deliver, method


def raises(*_: object) -> None:
    """A callback of a program with a mistake in it."""
    raise RuntimeError("a mistake of the program")


class ChannelTestCase(SynchronousTestCase):
    """An open connection with one open channel."""

    def setUp(self) -> None:
        self.peer = CallbackPeer().open()
        self.channel: Any = self.peer.open_channel()
        self.heard: list[Any] = []

    def hear(self, *told: Any) -> None:
        self.heard.append(told)

    def reply(self, reply: spec.Method) -> None:
        self.peer.send(method(self.channel.channel_number, reply))

    def sent(self) -> list[spec.Method]:
        return self.peer.methods()


class SignatureTests(SynchronousTestCase):
    """Arguments by position and their defaults, as programs of 2011 rely on them."""

    EXPECTED: ClassVar[dict[str, str]] = {
        "add_callback": "callback, replies",
        "add_on_close_callback": "callback",
        "add_on_return_callback": "callback",
        "basic_ack": "delivery_tag=0, multiple=False",
        "basic_cancel": "consumer_tag, nowait=False, callback=None",
        "basic_consume": "consumer_callback, queue='', no_ack=False, exclusive=False, consumer_tag=None",
        "basic_get": "callback=None, ticket=0, queue='', no_ack=False",
        "basic_publish": "exchange, routing_key, body, properties=None, mandatory=False, immediate=False",
        "basic_qos": "callback=None, prefetch_size=0, prefetch_count=0, global_=False",
        "basic_recover": "callback=None, requeue",
        "basic_recover_async": "requeue",
        "basic_reject": "delivery_tag=0, requeue=True",
        "close": "code, text, from_server=False",
        "exchange_declare": "callback=None, ticket=0, exchange, type='direct', passive=False, durable=False, "
        "auto_delete=False, internal=False, nowait=False, arguments",
        "exchange_delete": "callback=None, ticket=0, exchange, if_unused=False, nowait=False",
        "flow": "callback, active",
        "queue_bind": "callback=None, ticket=0, queue='', exchange, routing_key, nowait=False, arguments",
        "queue_declare": "callback=None, ticket=0, queue='', passive=False, durable=False, exclusive=False, "
        "auto_delete=False, nowait=False, arguments",
        "queue_delete": "callback=None, ticket=0, queue='', if_unused=False, if_empty=False, nowait=False",
        "queue_purge": "callback=None, ticket=0, queue='', nowait=False",
        "queue_unbind": "callback=None, ticket=0, queue='', exchange, routing_key, arguments",
        "tx_commit": "callback=None",
        "tx_rollback": "callback=None",
        "tx_select": "callback=None",
    }

    def test_every_method(self) -> None:
        for name, expected in self.EXPECTED.items():
            parameters = list(inspect.signature(getattr(Channel, name)).parameters.values())[1:]
            wanted = [each.partition("=") for each in expected.split(", ")]
            for parameter, (argument, given, default) in zip(parameters, wanted, strict=False):
                self.assertEqual(parameter.name, argument, name)
                self.assertNotEqual(parameter.kind, parameter.KEYWORD_ONLY, name)
                if given:
                    self.assertEqual(repr(parameter.default), default, f"{name}({argument})")
            for parameter in parameters[len(wanted) :]:
                self.assertIsNot(parameter.default, parameter.empty, f"{name}({parameter.name}) is new and needed")


class CallTests(ChannelTestCase):
    """Methods with a reply: the callback comes first, a ticket second, and it gets a frame."""

    def check(self, name: str, arguments: tuple[Any, ...], expected: spec.Method, reply: spec.Method) -> None:
        for callback in (self.hear, None):
            getattr(self.channel, name)(callback, *arguments)
            self.assertEqual(self.sent(), [expected], name)
            self.reply(reply)
        ((frame,),) = self.heard
        self.assertEqual((frame.channel_number, frame.method, frame.method.NAME), (1, reply, reply.NAME))
        self.heard.clear()

    def test_exchanges(self) -> None:
        arguments = {"alternate-exchange": "other"}
        self.check(
            "exchange_declare",
            (7, "x", "topic", True, True, True, True, False, arguments),
            Exchange.Declare(0, "x", "topic", True, True, True, True, False, arguments),
            Exchange.DeclareOk(),
        )
        self.check("exchange_declare", (0, "x"), Exchange.Declare(0, "x", "direct"), Exchange.DeclareOk())
        self.check("exchange_delete", (7, "x", True), Exchange.Delete(0, "x", True), Exchange.DeleteOk())
        given, expected = ("d", "s", "k"), (0, "d", "s", "k")
        self.check("exchange_bind", given, Exchange.Bind(*expected), Exchange.BindOk())
        self.check("exchange_unbind", given, Exchange.Unbind(*expected), Exchange.UnbindOk())

    def test_queues(self) -> None:
        self.check(
            "queue_declare",
            (7, "q", True, True, True, True, False, {"x-expires": 1}),
            Queue.Declare(0, "q", True, True, True, True, False, {"x-expires": 1}),
            Queue.DeclareOk("q", 1, 2),
        )
        self.check("queue_declare", (), Queue.Declare(), Queue.DeclareOk("amq.gen-1"))
        self.check("queue_bind", (7, "q", "x", "k"), Queue.Bind(0, "q", "x", "k"), Queue.BindOk())
        self.check("queue_unbind", (7, "q", "x", "k"), Queue.Unbind(0, "q", "x", "k"), Queue.UnbindOk())
        self.check("queue_purge", (7, "q"), Queue.Purge(0, "q"), Queue.PurgeOk(3))
        self.check("queue_delete", (7, "q", True, True), Queue.Delete(0, "q", True, True), Queue.DeleteOk(3))

    def test_qos_and_recover(self) -> None:
        self.check("basic_qos", (0, 10, True), Basic.Qos(0, 10, True), Basic.QosOk())
        self.check("basic_recover", (), Basic.Recover(True), Basic.RecoverOk())
        self.channel.basic_recover_async()
        self.assertEqual(self.sent(), [Basic.Recover(True)])

    def test_other_names_for_the_scope_of_qos(self) -> None:
        for name in ("global_qos", "all_channels"):
            self.channel.basic_qos(prefetch_count=1, **{name: True})
            self.assertEqual(self.sent(), [Basic.Qos(0, 1, True)])
            self.reply(Basic.QosOk())

    def test_transactions(self) -> None:
        self.assertRaises(ValueError, self.channel.tx_commit)
        self.check("tx_select", (), Tx.Select(), Tx.SelectOk())
        self.check("tx_commit", (), Tx.Commit(), Tx.CommitOk())
        self.check("tx_rollback", (), Tx.Rollback(), Tx.RollbackOk())

    def test_flow(self) -> None:
        self.channel.flow(self.hear, True)
        self.assertEqual(self.sent(), [Methods.Flow(True)])
        self.reply(Methods.FlowOk(True))
        self.assertEqual(self.heard, [(True,)])

    def test_what_rabbitmq_does_not_implement_is_refused_here(self) -> None:
        self.assertRaises(ValueError, self.channel.flow, self.hear, False)
        self.assertRaises(ValueError, self.channel.basic_recover, None, False)
        self.assertRaises(ValueError, self.channel.basic_publish, "", "q", b"", immediate=True)
        self.assertEqual(self.sent(), [])

    def test_wrong_arguments(self) -> None:
        """The error names the argument, and nothing is written."""
        error = self.assertRaises(TypeError, self.channel.queue_declare, self.hear, "q")
        self.assertIn("ticket must be int", str(error))
        for name in ("queue_declare", "basic_get", "tx_select", "basic_qos", "confirm_delivery", "flow"):
            error = self.assertRaises(TypeError, getattr(self.channel, name), "q")
            self.assertIn("callback must be callable or None, not str", str(error))
        self.assertRaises(ValueError, self.channel.queue_declare, queue="x" * 256)
        self.assertRaises(TypeError, self.channel.basic_consume, None, "q")
        self.assertRaises(TypeError, self.channel.basic_consume, "q")
        self.assertEqual(self.sent(), [])

    def test_a_callback_that_raises_hurts_nobody(self) -> None:
        self.channel.queue_declare(raises)
        self.channel.queue_purge(self.hear, queue="q")
        with self.assertLogs("txpika.adapters.callback", logging.ERROR) as logged:
            self.reply(Queue.DeclareOk("q", 0, 0))
        self.assertIn("a mistake of the program", str(logged.records[0].exc_info))
        self.reply(Queue.PurgeOk(1))
        self.assertEqual(len(self.heard), 1)

    def test_later_calls_wait_for_the_reply(self) -> None:
        """Publishes and acks too: what is called first is written first."""
        self.channel.queue_declare(queue="q")
        self.channel.queue_bind(queue="q", exchange="x")
        self.channel.basic_publish("x", "k", b"body")
        self.assertEqual([each.NAME for each in self.sent()], ["Queue.Declare"])
        self.reply(Queue.DeclareOk("q", 0, 0))
        self.assertEqual([each.NAME for each in self.sent()], ["Queue.Bind"])
        self.reply(Queue.BindOk())
        self.assertEqual([each.NAME for each in self.sent()], ["Basic.Publish"])

    def test_on_a_channel_that_is_not_open_yet(self) -> None:
        """The channel that C{channel()} returns is the one that its callback gets, and can be used before that."""
        channel = self.peer.face.channel(self.hear)
        channel.queue_declare(self.hear, queue="q")
        self.assertEqual((self.heard, self.sent()), ([], [Methods.Open()]))
        self.peer.send(method(2, Methods.OpenOk()))
        self.assertEqual((self.heard, self.sent()), ([(channel,)], [Queue.Declare(0, "q")]))

    def test_add_callback(self) -> None:
        self.channel.add_callback(self.hear, [Queue.DeclareOk, Queue.PurgeOk])
        self.channel.add_callback(self.hear, [Queue.DeclareOk], one_shot=True)
        self.channel.queue_declare()
        self.reply(Queue.DeclareOk("1", 0, 0))
        self.assertEqual(len(self.heard), 2)
        self.channel.queue_purge(queue="q")
        self.reply(Queue.PurgeOk(1))
        self.assertEqual(self.heard[-1][0].method.message_count, 1)

    def test_attributes(self) -> None:
        channel = self.channel
        self.assertEqual((channel.channel_number, int(channel), channel.closing), (1, 1, False))
        self.assertIs(channel.connection, self.peer.face)
        self.assertIs(channel.transport.connection, self.peer.face)
        self.assertEqual((channel.is_open, channel.is_closed, channel.consumer_tags), (True, False, []))


class PublishTests(ChannelTestCase):
    """Messages to the broker, and those that come back."""

    def back(self, body: bytes, properties: bytes = b"\0\0") -> None:
        self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "x", "k"), body, properties))

    def test_publish(self) -> None:
        properties = BasicProperties(content_type="text/plain", delivery_mode=2)
        self.channel.basic_publish("x", "k", "h\u00e9", properties, True)
        (publish, header, body) = self.peer.frames()
        self.assertEqual(spec.decode_method(publish[2])[0], Basic.Publish(0, "x", "k", True))
        self.assertEqual(BasicProperties.from_wire(header[2][12:]), properties)
        self.assertEqual(body[2], b"h\xc3\xa9")

    def test_a_return_is_told_by_frames(self) -> None:
        self.channel.add_on_return_callback(self.hear)
        self.back(b"body", BasicProperties(message_id="me").encode())
        ((frame, header, body),) = self.heard
        self.assertEqual((frame.method.reply_code, frame.method.routing_key, body), (312, "k", b"body"))
        self.assertEqual((header.properties.message_id, header.body_size), ("me", 4))

    def test_bug_09_the_second_return_is_heard(self) -> None:
        self.channel.add_on_return_callback(self.hear)
        for body in (b"1", b"2", b"3"):
            self.back(body)
        self.assertEqual([told[2] for told in self.heard], [b"1", b"2", b"3"])

    def test_nobody_listens(self) -> None:
        with self.assertLogs("txpika.adapters.callback", logging.WARNING):
            self.back(b"1")

    def test_confirms(self) -> None:
        self.channel.confirm_delivery(self.hear)
        self.assertEqual(self.sent(), [Confirm.Select()])
        self.reply(Confirm.SelectOk())
        self.channel.add_on_return_callback(lambda frame, header, body: self.heard.append(body))
        for number in range(5):
            self.channel.basic_publish("x", "k", b"%d" % number, mandatory=number == 3)
        self.reply(Basic.Ack(2, True))
        self.reply(Basic.Nack(3))
        self.back(b"3")
        self.reply(Basic.Ack(4))
        told = [(each[0].method.NAME, each[0].method.delivery_tag) for each in self.heard if type(each) is tuple]
        self.assertEqual(told, [("Basic.Ack", 1), ("Basic.Ack", 2), ("Basic.Nack", 3), ("Basic.Ack", 4)])
        self.assertEqual(self.heard.index(b"3"), 3, "before its confirmation")

    def test_flow_of_the_broker(self) -> None:
        self.channel.add_on_flow_callback(self.hear)
        self.reply(Methods.Flow(False))
        self.channel.basic_publish("x", "k", b"held")
        self.assertEqual(self.sent(), [Methods.FlowOk(False)])
        self.reply(Methods.Flow(True))
        self.assertEqual(self.heard, [(False,), (True,)])
        self.assertEqual([each.NAME for each in self.sent()], ["Channel.FlowOk", "Basic.Publish"])

    def test_bug_14_no_limit_of_frames(self) -> None:
        """A broker that names no frame_max: the client's own holds."""
        peer = CallbackPeer(ConnectionParameters(frame_max=8192)).open(frame_max=0)
        channel = peer.open_channel()
        channel.basic_publish("", "q", b"x" * 20_000)
        self.assertEqual([len(payload) for kind, _, payload in peer.frames() if kind == 3], [8184, 8184, 3632])


class ConsumeTests(ChannelTestCase):
    """Messages of the broker."""

    def consume(self, tag: str | None = None, callback: Any = None, **more: Any) -> str:
        tag = self.channel.basic_consume(callback or self.hear, "q", consumer_tag=tag, **more)
        self.reply(Basic.ConsumeOk(tag))
        self.sent()
        assert tag is not None
        return tag

    def test_consume(self) -> None:
        replies: list[Any] = []
        tag = self.channel.basic_consume(self.hear, "q", True, True, "mine", callback=replies.append)
        self.assertEqual(tag, "mine")
        self.assertEqual(self.sent(), [Basic.Consume(0, "q", "mine", False, True, True)])
        self.reply(Basic.ConsumeOk("mine"))
        self.assertEqual(replies[0].method, Basic.ConsumeOk("mine"))
        self.peer.send(
            content(1, Basic.Deliver("mine", 1, True, "x", "k"), b"body", BasicProperties(type="t").encode())
        )
        ((channel, delivered, properties, body),) = self.heard
        self.assertIs(channel, self.channel)
        self.assertEqual(delivered, Basic.Deliver("mine", 1, True, "x", "k"))
        self.assertEqual((properties.type, body), ("t", b"body"))
        self.assertEqual(self.channel.consumer_tags, ["mine"])

    def test_the_callback_by_its_other_name(self) -> None:
        tag = self.channel.basic_consume(consumer=self.hear, queue="q")
        self.reply(Basic.ConsumeOk(tag))
        self.peer.send(deliver(1, tag, 1, b"body"))
        self.assertEqual(len(self.heard), 1)

    def test_ack_reject_nack(self) -> None:
        tag = self.consume()
        for number in range(1, 7):
            self.peer.send(deliver(1, tag, number, b"x"))
        self.channel.basic_ack(1)
        self.channel.basic_reject(2)
        self.channel.basic_nack(3, requeue=False)
        self.channel.basic_ack(delivery_tag=5, multiple=True)
        self.channel.basic_reject(6, False)
        self.channel.queue_purge(queue="q")
        self.assertEqual(
            self.sent()[:-1],
            [Basic.Ack(1), Basic.Reject(2), Basic.Nack(3, False, False), Basic.Ack(5, True), Basic.Reject(6, False)],
        )
        self.assertRaises(StaleDelivery, self.channel.basic_ack, 1)

    def test_settling_what_is_no_tag(self) -> None:
        for settle in (self.channel.basic_ack, self.channel.basic_nack, self.channel.basic_reject):
            for tag in ("1", None, True, 1.0):
                error = self.assertRaises(TypeError, settle, tag)
                self.assertIn("delivery_tag must be int", str(error))
        self.assertEqual(self.sent(), [])

    def test_cancel(self) -> None:
        tag = self.consume()
        self.channel.basic_cancel(tag, False, self.hear)
        self.assertEqual(self.sent(), [Basic.Cancel(tag)])
        self.reply(Basic.CancelOk(tag))
        self.assertEqual((self.heard[0][0].method, self.channel.consumer_tags), (Basic.CancelOk(tag), []))
        self.assertRaises(UnknownConsumerTag, self.channel.basic_cancel, tag)
        self.assertRaises(UnknownConsumerTag, self.channel.basic_cancel, "never was")

    def test_a_consumer_that_raises(self) -> None:
        tag = self.consume(callback=raises)
        other = self.consume()
        with self.assertLogs("txpika.adapters.callback", logging.ERROR):
            self.peer.send(deliver(1, tag, 1, b"x") + deliver(1, other, 2, b"y"))
        self.assertEqual(len(self.heard), 1)
        self.assertTrue(self.channel.is_open)

    def test_calls_from_inside_a_consumer(self) -> None:
        """Another message comes while one is being handled; each is handled once, in order."""

        def on_message(channel: Any, delivered: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(delivered.delivery_tag)
            channel.basic_publish("", "out", body)
            self.heard.append(body)

        tag = self.consume(callback=on_message)
        self.peer.send(deliver(1, tag, 1, b"1") + deliver(1, tag, 2, b"2"))
        self.assertEqual(self.heard, [b"1", b"2"])
        names = [each.NAME for each in self.sent()]
        self.assertEqual(names.count("Basic.Publish"), 2)
        self.assertIn("Basic.Ack", names)

    def test_get(self) -> None:
        self.channel.basic_get(self.hear, 7, "q", True)
        self.assertEqual(self.sent(), [Basic.Get(0, "q", True)])
        self.peer.send(content(1, Basic.GetOk(1, False, "x", "k", 3), b"body"))
        ((channel, got, properties, body),) = self.heard
        self.assertIs(channel, self.channel)
        self.assertEqual((got, got.NAME), (Basic.GetOk(1, False, "x", "k", 3), "Basic.GetOk"))
        self.assertEqual((properties, body), (BasicProperties(), b"body"))

    def test_get_when_there_is_nothing(self) -> None:
        self.channel.add_callback(lambda frame: self.heard.append(frame.method), [Basic.GetEmpty])
        for _ in range(2):
            self.channel.basic_get(raises, queue="q")
            self.reply(Basic.GetEmpty())
        self.assertEqual(self.heard, [Basic.GetEmpty()] * 2)

    def test_bug_10_unknown_consumer_tags_are_harmless(self) -> None:
        with self.assertNoLogs("txpika", logging.ERROR):
            tag = self.consume()
            self.peer.send(deliver(1, "never was", 1, b"x"))
            self.channel.basic_cancel(tag, nowait=True)
            self.peer.send(deliver(1, tag, 2, b"y"))
        back = [each for each in self.sent() if isinstance(each, Basic.Nack | Basic.Reject)]
        self.assertEqual([each.requeue for each in back], [True, True], "both go back to their queue")
        self.assertTrue(self.channel.is_open)

    def test_bug_10_the_broker_cancels(self) -> None:
        self.channel.add_on_cancel_callback(self.hear)
        tag = self.consume()
        self.reply(Basic.Cancel(tag, True))
        self.assertEqual(self.heard[0][0].method.consumer_tag, tag)
        self.assertEqual((self.channel.consumer_tags, self.channel.is_open), ([], True))
        with self.assertLogs("txpika.adapters.callback", logging.WARNING):
            other = self.peer.open_channel()
            tag = other.basic_consume(raises, "q")
            self.peer.send(method(2, Basic.ConsumeOk(tag)) + method(2, Basic.Cancel(tag, True)))

    def test_bug_11_two_gets_outstanding(self) -> None:
        other: list[Any] = []
        self.channel.basic_get(lambda *told: other.append(told[3]), queue="q")
        self.channel.basic_get(self.hear, queue="q")
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 1), b"first"))
        self.peer.send(content(1, Basic.GetOk(2, False, "", "q", 0), b"second"))
        self.channel.basic_get(raises, queue="q")
        self.reply(Basic.GetEmpty())
        self.assertEqual((other, [told[3] for told in self.heard]), ([b"first"], [b"second"]))

    def test_bug_12_tags_are_not_given_twice(self) -> None:
        first, second = self.consume(), self.consume()
        self.channel.basic_cancel(first)
        self.reply(Basic.CancelOk(first))
        third = self.consume()
        self.assertEqual(len({first, second, third}), 3)
        self.assertRaises(DuplicateConsumerTag, self.channel.basic_consume, self.hear, "q", consumer_tag=second)

    def test_bug_15_tables(self) -> None:
        table = {
            "unicode": "\u20ac",
            "none": None,
            "float": 1.5,
            "large": 2**40,
            "true": True,
            "bytes": b"\0",
            "list": [1, "two", {"three": None}],
        }
        encoded = BasicProperties(headers=table).encode()
        self.consume()
        self.peer.send(content(1, Basic.Deliver(self.channel.consumer_tags[0], 1), b"", encoded))
        headers = self.heard[0][2].headers
        self.assertEqual(headers, table)
        self.assertIs(headers["true"], True)
        error = self.assertRaises(TypeError, BasicProperties(headers={"key": object()}).encode)
        self.assertIn("key", str(error))


class NowaitTests(ChannelTestCase):
    """C{nowait}."""

    def test_bug_07_it_does_not_hold_up_what_follows(self) -> None:
        channel = self.channel
        channel.exchange_declare(raises, exchange="x", nowait=True)
        channel.queue_declare(raises, queue="q", nowait=True)
        channel.queue_bind(raises, queue="q", exchange="x", nowait=True)
        channel.exchange_bind(raises, "x", "y", nowait=True)
        channel.exchange_unbind(raises, "x", "y", nowait=True)
        tag = channel.basic_consume(self.hear, "q", nowait=True, callback=raises)
        channel.confirm_delivery(nowait=True)
        self.peer.send(deliver(1, tag, 1, b"x"))
        channel.basic_ack(1)
        channel.basic_cancel(tag, nowait=True)
        channel.queue_purge(raises, queue="q", nowait=True)
        channel.queue_delete(raises, queue="q", nowait=True)
        channel.exchange_delete(raises, exchange="x", nowait=True)
        channel.queue_declare(self.hear, queue="z")
        sent = self.sent()
        self.assertEqual(len(sent), 13)
        self.assertTrue(all(each.nowait for each in sent if hasattr(each, "nowait") and each is not sent[-1]))
        self.reply(Queue.DeclareOk("z", 0, 0))
        self.assertEqual(len(self.heard), 2)


class CloseTests(ChannelTestCase):
    """The end of a channel, from either side."""

    def setUp(self) -> None:
        super().setUp()
        self.channel.add_on_close_callback(self.hear)

    def test_close(self) -> None:
        self.channel.close()
        self.assertEqual(self.channel.closing, (200, "Normal shutdown"))
        self.assertEqual((self.channel.is_open, self.channel.is_closed), (False, False))
        self.assertEqual(self.sent(), [Methods.Close(200, "Normal shutdown")])
        self.channel.close()
        self.reply(Methods.CloseOk())
        self.channel.close()
        self.assertEqual((self.sent(), self.channel.is_closed), ([], True))
        self.assertEqual(self.heard, [(200, "Normal shutdown")])

    def test_code_and_text(self) -> None:
        self.channel.close(320, "enough", from_server=False)
        self.assertEqual(self.sent(), [Methods.Close(320, "enough")])
        self.assertEqual(self.channel.closing, (320, "enough"))

    def test_the_default_code_of_2011(self) -> None:
        self.channel.close(0, "Normal Shutdown")
        self.assertEqual(self.sent(), [Methods.Close(200, "Normal Shutdown")])

    def test_it_waits_for_what_was_called_before(self) -> None:
        self.channel.queue_declare(self.hear, queue="q")
        self.channel.close()
        self.reply(Queue.DeclareOk("q", 0, 0))
        self.assertEqual([each.NAME for each in self.sent()], ["Queue.Declare", "Channel.Close"])
        self.assertEqual(self.heard[0][0].method.queue, "q")

    def test_bug_06_the_broker_closes(self) -> None:
        """It is answered, whoever waits hears nothing but the end, and nothing is sent after it."""
        self.channel.queue_declare(raises, queue="q")
        self.channel.queue_purge(raises, queue="q")
        self.sent()
        self.reply(Methods.Close(404, "NOT_FOUND", 50, 10))
        self.assertEqual(self.sent(), [Methods.CloseOk()])
        self.assertEqual((self.heard, self.channel.closing), ([(404, "NOT_FOUND")], (404, "NOT_FOUND")))
        for call in (self.channel.queue_declare, lambda: self.channel.basic_publish("", "q", b"")):
            error = self.assertRaises(ChannelClosed, call)
            self.assertEqual((error.reply_code, error.initiator), (404, "peer"))
        self.assertRaises(CloseReason, self.channel.basic_consume, raises, "q")
        self.assertEqual((self.sent(), self.peer.face.is_open), ([], True))

    def test_bug_06_the_connection_goes(self) -> None:
        self.peer.send(method(0, ConnectionMethods.Close(320, "CONNECTION_FORCED")))
        self.assertEqual(self.heard, [(320, "CONNECTION_FORCED")])
        self.assertRaises(CloseReason, self.channel.queue_declare)

    def test_bug_09_each_one_hears_once(self) -> None:
        other: list[Any] = []
        self.channel.add_on_close_callback(lambda *told: other.append(told))
        self.reply(Methods.Close(404, "NOT_FOUND"))
        self.peer.lose()
        self.assertEqual((self.heard, other), ([(404, "NOT_FOUND")],) * 2)

    def test_the_same_number_again(self) -> None:
        """A channel that is opened as the last one ends, with its number, has its own callbacks only."""
        opened: list[Any] = []

        def reopen(_code: int, _text: str) -> None:
            channel = self.peer.face.channel(opened.append, channel_number=1)
            channel.add_on_close_callback(lambda code, text: opened.append(code))
            channel.add_on_return_callback(lambda frame, header, body: opened.append(body))

        self.channel.add_on_return_callback(raises)
        self.channel.add_on_close_callback(reopen)
        self.reply(Methods.Close(404, "NOT_FOUND"))
        self.reply(Methods.OpenOk())
        self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "x", "k"), b"back"))
        self.reply(Methods.Close(406, "PRECONDITION_FAILED"))
        self.assertEqual((opened[1:], self.heard), ([b"back", 406], [(404, "NOT_FOUND")]))


class NumberTests(SynchronousTestCase):
    """Several channels."""

    def setUp(self) -> None:
        self.peer = CallbackPeer().open(channel_max=3)

    def test_bug_12_numbers_are_used_again(self) -> None:
        for _ in range(10):
            channel = self.peer.open_channel()
            channel.close()
            self.peer.send(method(channel.channel_number, Methods.CloseOk()))
            self.assertLessEqual(channel.channel_number, 3)

    def test_a_number_of_ones_own(self) -> None:
        channel = self.peer.open_channel(2)
        self.assertEqual(channel.channel_number, 2)
        self.assertRaises(InvalidChannelNumber, self.peer.face.channel, None, 2)
        self.assertRaises(InvalidChannelNumber, self.peer.face.channel, None, 4)
        self.assertRaises(ValueError, self.peer.face.channel, None, 0)
        self.assertRaises(TypeError, self.peer.face.channel, None, "1")
        self.assertRaises(TypeError, self.peer.face.channel, 1)

    def test_each_has_its_own_callbacks(self) -> None:
        heard: list[Any] = []
        first, second = self.peer.open_channel(), self.peer.open_channel()
        for name, channel in (("first", first), ("second", second)):
            channel.add_on_return_callback(lambda *told, name=name: heard.append(name))
        self.peer.send(content(2, Basic.Return(312, "NO_ROUTE", "x", "k"), b""))
        first.queue_declare()
        second.queue_declare(heard.append)
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.assertEqual(heard, ["second"])

    def test_a_frame_for_one_that_was_closed_is_harmless(self) -> None:
        channel = self.peer.open_channel()
        channel.close()
        self.peer.send(method(1, Methods.CloseOk()))
        self.peer.send(deliver(1, "late", 1, b"x"))
        self.assertTrue(self.peer.face.is_open)

    def test_bug_10_a_frame_for_one_that_never_was(self) -> None:
        """Not harmless: the peer breaks the protocol. But it is told so, and nothing is raised."""
        self.peer.send(method(3, Queue.DeclareOk("q", 0, 0)))
        close: Any = self.peer.methods()[0]
        self.assertIsInstance(close, ConnectionMethods.Close)
        self.assertEqual(close.reply_code, 504)
