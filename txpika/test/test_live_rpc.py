"""Tests of requests and their replies against a real RabbitMQ."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults

import txpika
from txpika.exceptions import CallTimeout, ChannelClosed, ConnectionClosed, NackError, ReturnedError
from txpika.spec import BasicProperties
from txpika.test.test_live import Live, failure_of


class LiveClientTests(Live):
    """Who asks."""

    async def serve(self, **more: Any) -> txpika.Consumer:
        channel = await self.connection.channel()
        return await channel.rpc_server(self.queue, lambda request: request.body[::-1], **more)

    async def test_there_and_back(self) -> None:
        await self.serve()
        async with await self.channel.rpc_client() as rpc:
            reply = await rpc.call("", self.queue, b"abc", BasicProperties(message_id="m"))
            self.assertEqual(reply.body, b"cba")
        again = await self.channel.rpc_client()
        self.assertEqual((await again.call("", self.queue, b"xy")).body, b"yx")

    async def test_3000_at_once(self) -> None:
        await self.serve()
        other = await txpika.connect(self.uri)
        self.addCleanup(other.close)
        channel = await other.channel()
        await channel.confirm_select()
        one, two = await self.channel.rpc_client(), await channel.rpc_client()
        calls = [rpc.call("", self.queue, b"%05d" % n) for n in range(1500) for rpc in (one, two)]
        replies = await gatherResults(calls)
        self.assertEqual([reply.body[::-1] for reply in replies], [b"%05d" % (n // 2) for n in range(3000)])
        self.assertEqual((one.pending, one.late, two.pending, two.late), (0, 0, 0, 0))

    async def test_unroutable(self) -> None:
        own: list[bytes] = []
        self.channel.on_return = lambda message: own.append(message.body)
        rpc = await self.channel.rpc_client()
        for confirm in (False, True):
            if confirm:
                await self.channel.confirm_select()
            error = await failure_of(rpc.call("", "nowhere", b"request", timeout=50), ReturnedError)
            self.assertEqual((error.message.reply_code, error.message.body), (312, b"request"))
            published = self.channel.basic_publish("", "nowhere", b"of the program", mandatory=True)
            if confirm:
                await failure_of(published, ReturnedError)
            await self.channel.queue_declare(self.queue, passive=True)
        self.assertEqual(own, [b"of the program"])

    async def test_a_queue_that_is_full_refuses(self) -> None:
        arguments = txpika.QueueArguments(max_length=1, overflow="reject-publish")
        full = (await self.channel.queue_declare(exclusive=True, arguments=arguments)).queue
        await self.channel.confirm_select()
        await self.channel.basic_publish("", full, b"")
        rpc = await self.channel.rpc_client()
        await failure_of(rpc.call("", full, b""), NackError)

    async def test_late_replies(self) -> None:
        rpc = await self.channel.rpc_client()
        timed_out = rpc.call("", self.queue, b"1", timeout=0.05)
        cancelled = rpc.call("", self.queue, b"2")
        await failure_of(timed_out, CallTimeout)
        cancelled.cancel()
        await failure_of(cancelled, CancelledError)
        await self.serve()
        self.assertEqual((await rpc.call("", self.queue, b"in order")).body, b"redro ni")
        self.assertEqual(rpc.late, 2)

    async def test_the_broker_closes_the_channel(self) -> None:
        rpc = await self.channel.rpc_client()
        call = rpc.call("", self.queue, b"")
        self.channel.queue_declare("no such queue", passive=True).addErrback(lambda failure: None)
        self.assertEqual((await failure_of(call, ChannelClosed)).reply_code, 404)

    async def test_a_client_that_is_gone_hurts_no_server(self) -> None:
        release: Deferred[bytes] = Deferred()
        handled = Counter[bytes]()
        serving = await self.connection.channel()

        def handler(request: txpika.Delivery) -> Deferred[bytes] | bytes:
            handled[request.body] += 1
            return release if request.body == b"slow" else b"quick"

        await serving.rpc_server(self.queue, handler)
        other = await txpika.connect(self.uri)
        rpc = await (await other.channel()).rpc_client()
        lost = rpc.call("", self.queue, b"slow")
        await rpc.call("", self.queue, b"quick")
        await other.close()
        await failure_of(lost, ConnectionClosed)
        release.callback(b"for nobody")
        rpc = await self.channel.rpc_client()
        self.assertEqual((await rpc.call("", self.queue, b"again")).body, b"quick")
        self.assertTrue(serving.is_open)
        self.assertEqual(handled, Counter([b"slow", b"quick", b"again"]))


class LiveServerTests(Live):
    """Who answers."""

    async def test_an_error_reply_and_a_dead_letter(self) -> None:
        dead = (await self.channel.queue_declare(exclusive=True)).queue
        arguments = txpika.QueueArguments(dead_letter_exchange="", dead_letter_routing_key=dead)
        queue = (await self.channel.queue_declare(exclusive=True, arguments=arguments)).queue

        async def handler(request: txpika.Delivery) -> bytes:
            return b"%d" % (100 // int(request.body))

        def error_reply(request: txpika.Delivery, error: Exception) -> tuple[bytes, BasicProperties]:
            return str(error).encode(), BasicProperties(type=type(error).__name__)

        await self.channel.basic_qos(prefetch_count=10)
        await self.channel.rpc_server(queue, handler, error_reply=error_reply)
        rpc = await (await self.connection.channel()).rpc_client()
        self.assertEqual((await rpc.call("", queue, b"7")).body, b"14")
        failed = await rpc.call("", queue, b"0")
        self.assertEqual(failed.properties.type, "ZeroDivisionError")
        async for delivery in await self.channel.basic_consume(dead, no_ack=True):
            self.assertEqual(delivery.body, b"0")
            (death,) = txpika.x_death(delivery.properties)
            self.assertEqual((death.queue, death.reason), (queue, "rejected"))
            break
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_reply_queues_that_are_not_there(self) -> None:
        for confirm in (False, True):
            channel = await self.connection.channel()
            if confirm:
                await channel.confirm_select()
            consumer = await channel.rpc_server(self.queue, lambda request: b"answer")
            for address in ("no such queue", "amq.rabbitmq.reply-to.x"):
                await self.channel.basic_publish("", self.queue, b"", BasicProperties(reply_to=address))
            rpc = await channel.rpc_client()
            self.assertEqual((await rpc.call("", self.queue, b"")).body, b"answer")
            self.assertEqual(await consumer.drain(), 0)
            await self.depth(0)

    async def test_an_ordinary_reply_queue(self) -> None:
        await self.channel.rpc_server(self.queue, lambda request: b"answer")
        replies = (await self.channel.queue_declare(exclusive=True)).queue
        consumer = await self.channel.basic_consume(replies, no_ack=True)
        properties = BasicProperties(reply_to=replies, correlation_id="mine")
        await self.channel.basic_publish("", self.queue, b"", properties)
        reply = await consumer.__anext__()
        self.assertEqual((reply.body, reply.properties.correlation_id), (b"answer", "mine"))

    async def test_a_handler_that_asks_others_on_the_same_connection(self) -> None:
        # With its buffer full, the server has had enough: the reply it waits for must get through all the same.
        inner = (await self.channel.queue_declare(exclusive=True)).queue
        await self.channel.rpc_server(inner, lambda request: request.body.upper())
        rpc = await (await self.connection.channel()).rpc_client()

        async def handler(request: txpika.Delivery) -> bytes:
            return (await rpc.call("", inner, request.body, timeout=50)).body

        serving = await self.connection.channel()
        await serving.rpc_server(self.queue, handler, concurrency=1, buffer_size=2)
        other = await txpika.connect(self.uri)
        self.addCleanup(other.close)
        asking = await (await other.channel()).rpc_client()
        calls = [asking.call("", self.queue, b"n%d" % n, timeout=50) for n in range(50)]
        self.assertEqual([(await call).body for call in calls], [b"N%d" % n for n in range(50)])

    async def test_no_reply_at_all(self) -> None:
        await self.channel.rpc_server(self.queue, lambda request: None)
        rpc = await self.channel.rpc_client()
        await failure_of(rpc.call("", self.queue, b"", timeout=0.2), CallTimeout)
        await self.depth(0)
