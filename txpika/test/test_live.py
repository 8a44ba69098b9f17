"""Tests for the Twisted face against a real RabbitMQ."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

import txpika
from txpika.exceptions import (
    AuthenticationError,
    ChannelClosed,
    ConnectFailed,
    ConnectionClosed,
    ConsumerCancelled,
    HandshakeError,
    HandshakeTimeout,
    IncompatibleProtocolError,
    ReturnedError,
)
from txpika.parameters import ConnectionParameters
from txpika.test import broker
from txpika.test.live import E, Live, failure_of


class MethodTests(Live):
    """Each method of the face."""

    async def test_queues_and_exchanges(self) -> None:
        channel, name = self.channel, f"exchange-{self.queue}"
        await channel.exchange_declare(name, "topic", auto_delete=True)
        await channel.exchange_declare(name, passive=True)
        await channel.queue_bind(self.queue, name, "a.*")
        await channel.confirm_select()
        await channel.basic_publish(name, "a.b", b"in")
        await channel.basic_publish(name, "b.b", b"out")
        got = await channel.basic_get(self.queue, no_ack=True)
        assert got is not None
        self.assertEqual((got.body, got.exchange, got.routing_key, got.message_count), (b"in", name, "a.b", 0))
        self.assertIsNone(await channel.basic_get(self.queue))
        await channel.basic_publish("", self.queue, b"x")
        self.assertEqual((await channel.queue_purge(self.queue)).message_count, 1)
        await channel.queue_unbind(self.queue, name, "a.*")
        await channel.exchange_declare(name + "2")
        await channel.exchange_delete(name + "2")
        named = await channel.queue_declare(exclusive=True)
        self.assertEqual((await channel.queue_delete(named.queue)).message_count, 0)
        self.assertIsNone(await channel.queue_purge(self.queue, nowait=True))

    async def test_small_pieces_leave_at_once(self) -> None:
        transport: Any = self.connection.transport
        self.assertTrue(transport.getTcpNoDelay())

    async def test_settling(self) -> None:
        channel = self.channel
        await channel.confirm_select()
        for number in range(4):
            await channel.basic_publish("", self.queue, b"%d" % number)
        got = [await channel.basic_get(self.queue) for _ in range(4)]
        one, two, _three, four = (each for each in got if each is not None)
        one.nack(requeue=True)
        two.reject()
        four.ack(multiple=True)
        again = await channel.basic_get(self.queue)
        assert again is not None
        self.assertEqual((again.body, again.redelivered), (b"0", True))
        again.ack()
        self.assertIsNone(await channel.basic_get(self.queue))

    async def test_three_calls_in_a_row_end_with_the_message_in_the_queue(self) -> None:
        name = f"x-{self.queue}"
        self.channel.exchange_declare(name, "fanout", auto_delete=True)
        self.channel.queue_bind(self.queue, name)
        self.channel.basic_publish(name, "", b"here")
        got = await self.channel.basic_get(self.queue, no_ack=True)
        assert got is not None
        self.assertEqual(got.body, b"here")

    async def test_properties_come_back(self) -> None:
        sent = txpika.BasicProperties(
            content_type="text/plain",
            headers={"a": [1, 2**40, None, True, 1.5, {"b": b"x"}], "s": "\u2603"},
            delivery_mode=2,
            priority=9,
            correlation_id="c",
            reply_to="r",
            expiration="60000",
            message_id="m",
            timestamp=1700000000,
            type="t",
            app_id="a",
        )
        await self.channel.basic_publish("", self.queue, b"", sent)
        got = await self.channel.basic_get(self.queue, no_ack=True)
        assert got is not None
        self.assertEqual((got.body, got.properties), (b"", sent))

    async def test_large_bodies(self) -> None:
        await self.channel.confirm_select()
        for size in (131063, 131064, 131065, 262128, 15_000_000):
            body = (uuid.uuid4().bytes * (size // 16 + 1))[:size]
            await self.channel.basic_publish("", self.queue, body)
            got = await self.channel.basic_get(self.queue, no_ack=True)
            assert got is not None
            self.assertTrue(got.body == body, size)

    async def test_errors_are_the_channels_own(self) -> None:
        other = await self.connection.channel()
        missing = other.queue_declare("no such queue", passive=True)
        behind = other.queue_purge(self.queue)
        error = await failure_of(missing, ChannelClosed)
        self.assertEqual((error.reply_code, error.class_id, error.method_id), (404, 50, 10))
        self.assertEqual((await failure_of(behind, ChannelClosed)).outcome, "not sent")
        self.assertEqual((await other.closed).reply_code, 404)
        third = await self.connection.channel()
        error = await failure_of(third.queue_declare(self.queue, auto_delete=True, exclusive=True), ChannelClosed)
        self.assertEqual(error.reply_code, 406)
        await self.channel.queue_declare(self.queue, passive=True)

    async def test_cancelled_call_leaves_the_channel_in_step(self) -> None:
        declared = self.channel.queue_declare(self.queue, passive=True)
        declared.cancel()
        await failure_of(declared, CancelledError)
        self.assertEqual((await self.channel.queue_purge(self.queue)).NAME, "Queue.PurgeOk")


class FlowTests(Live):
    """Messages both ways, by the thousand."""

    async def test_10000_there_and_back(self) -> None:
        count = 10_000
        await self.channel.basic_qos(prefetch_count=300)
        received: Counter[bytes] = Counter()
        all_here: Deferred[None] = Deferred()

        def on_delivery(delivery: txpika.Delivery) -> None:
            received[delivery.body] += 1
            delivery.ack()
            if received.total() == count:
                all_here.callback(None)

        await self.channel.basic_consume(self.queue, on_delivery)
        publishing = await self.connection.channel()
        await publishing.confirm_select()
        confirmed = [publishing.basic_publish("", self.queue, b"%d" % number) for number in range(count)]
        outcomes = await DeferredList(confirmed, consumeErrors=True)
        self.assertEqual(Counter(good for good, _ in outcomes), {True: count})
        await all_here
        self.assertEqual(received, Counter(b"%d" % number for number in range(count)))
        await self.depth(0)

    async def test_returns_belong_to_their_publish(self) -> None:
        await self.channel.confirm_select()
        published = [
            self.channel.basic_publish("", self.queue if n % 3 else "nowhere", b"%d" % n, mandatory=True)
            for n in range(300)
        ]
        for number, each in enumerate(published):
            if number % 3:
                await each
            else:
                error = await failure_of(each, ReturnedError)
                self.assertEqual((error.message.body, error.message.reply_code), (b"%d" % number, 312))
        await self.depth(200)

    async def test_iteration(self) -> None:
        for number in range(20):
            await self.channel.basic_publish("", self.queue, b"%d" % number)
        bodies = []
        async with await self.channel.basic_consume(self.queue) as consumer:
            async for delivery in consumer:
                bodies.append(delivery.body)
                delivery.ack()
                if len(bodies) == 10:
                    break
        self.assertEqual(bodies, [b"%d" % number for number in range(10)])
        await self.depth(10)

    async def test_a_deleted_queue_ends_the_iteration(self) -> None:
        consumer = await self.channel.basic_consume(self.queue)
        taking = Deferred.fromCoroutine(consumer.__anext__())
        await self.channel.queue_delete(self.queue)
        error = await failure_of(taking, ConsumerCancelled)
        self.assertEqual(error.initiator, "peer")

    async def test_functions_that_raise_hurt_nobody(self) -> None:
        seen: Deferred[None] = Deferred()

        async def on_delivery(delivery: txpika.Delivery) -> None:
            delivery.ack()
            if delivery.body == b"last":
                seen.callback(None)
            raise RuntimeError("of the program")

        await self.channel.basic_consume(self.queue, on_delivery)
        for body in (b"first", b"last"):
            await self.channel.basic_publish("", self.queue, body)
        await seen
        await self.depth(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    async def test_a_memory_alarm_makes_publishing_wait(self) -> None:
        blocked: Deferred[str] = Deferred()
        self.connection.on_blocked = blocked.callback
        self.addCleanup(broker.ctl, "set_vm_memory_high_watermark", "0.4")
        broker.ctl("set_vm_memory_high_watermark", "0")
        await self.channel.basic_publish("", self.queue, b"first")
        await blocked
        waiting = self.channel.basic_publish("", self.queue, b"second")
        self.assertFalse(waiting.called)
        other = await txpika.connect(self.uri)
        await other.close()
        broker.ctl("set_vm_memory_high_watermark", "0.4")
        await waiting
        await self.depth(2)


class ConnectionTests(TestCase):
    """Getting in, being thrown out."""

    timeout = 60

    def setUp(self) -> None:
        self.uri = broker.require_broker()
        self.address = self.uri.rpartition("@")[2].partition("/")[0]

    async def test_wrong_password(self) -> None:
        error = await failure_of(txpika.connect(f"amqp://guest:hunter2@{self.address}"), AuthenticationError)
        self.assertEqual(error.reply_code, 403)
        self.assertNotIn("hunter2", str(error))

    async def test_missing_virtual_host(self) -> None:
        error = await failure_of(txpika.connect(self.uri.replace("%2F", "missing")), HandshakeError)
        self.assertEqual(error.reply_code, 530)
        self.assertNotIn("URI", str(error))

    async def test_a_uri_that_ends_in_a_slash(self) -> None:
        """It names the empty virtual host, of which the broker's "vhost  not found" shows nothing."""
        error = await failure_of(txpika.connect(self.uri.replace("%2F", "")), HandshakeError)
        self.assertIn("if a URI ends in '/', leave that out for '/', or write %2F", str(error))

    async def test_nobody_listens(self) -> None:
        await failure_of(txpika.connect("amqp://127.0.0.1:1"), ConnectFailed)
        await failure_of(txpika.connect("amqp://no-such-host.invalid"), ConnectFailed)

    async def test_thrown_out(self) -> None:
        connection = await txpika.connect(self.uri)
        channel = await connection.channel()
        broker.ctl("close_all_connections", "maintenance")
        reason = await connection.closed
        assert isinstance(reason, ConnectionClosed)
        self.assertEqual((reason.reply_code, reason.initiator), (320, "peer"))
        self.assertIn("maintenance", reason.reply_text)
        await failure_of(channel.queue_declare("x"), ConnectionClosed)

    async def test_close_fires_when_the_transport_is_closed(self) -> None:
        connection = await txpika.connect(self.uri)
        await connection.close()
        await connection.close()
        self.assertFalse(connection.is_open)
        await failure_of(connection.channel(), ConnectionClosed)


class Talker(Protocol):
    """A server of something else."""

    def connectionMade(self) -> None:
        assert self.transport is not None and isinstance(self.factory, Talkers)
        if self.factory.says is None:
            self.transport.loseConnection()
        else:
            self.transport.write(self.factory.says)

    def connectionLost(self, reason: object = None) -> None:
        assert isinstance(self.factory, Talkers)
        self.factory.gone.callback(None)


class Talkers(Factory):
    """Makes them; knows when the one of the test is gone."""

    protocol = Talker
    noisy = False

    def __init__(self, says: bytes | None) -> None:
        self.says = says
        self.gone: Deferred[None] = Deferred()


class ForeignPeerTests(TestCase):
    """Servers that are no AMQP broker, on real sockets."""

    timeout = 30

    async def fails(self, says: bytes | None, error: type[E], text: str) -> None:
        talkers = Talkers(says)
        listening: Any = reactor
        port = listening.listenTCP(0, talkers, interface="127.0.0.1")
        try:
            parameters = ConnectionParameters("127.0.0.1", port.getHost().port, connection_timeout=0.5)
            failed = await failure_of(txpika.connect(parameters), error)
            self.assertIn(text, str(failed))
            await talkers.gone
        finally:
            await port.stopListening()

    async def test_http(self) -> None:
        await self.fails(b"HTTP/1.1 400 Bad Request\r\n\r\n", IncompatibleProtocolError, "HTTP")

    async def test_tls(self) -> None:
        await self.fails(b"\x15\x03\x01\x00\x02\x02\x46", IncompatibleProtocolError, "TLS")

    async def test_another_amqp(self) -> None:
        await self.fails(b"AMQP\x03\x01\x00\x00", IncompatibleProtocolError, "(3, 1, 0, 0)")

    async def test_silence(self) -> None:
        await self.fails(b"", HandshakeTimeout, "0.5 seconds")

    async def test_hangs_up(self) -> None:
        await self.fails(None, HandshakeError, "before the broker said anything")
