"""Tests for what each method of the Twisted face does to a real RabbitMQ."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

import txpika
from txpika.exceptions import ChannelClosed, StaleDelivery
from txpika.test.live import Live, failure_of


class LiveMethods(Live):
    """A queue to publish to, and to look into."""

    async def publish(self, *bodies: bytes) -> None:
        for body in bodies:
            await self.channel.basic_publish("", self.queue, body)

    async def bodies(self) -> list[bytes]:
        """What is in the queue, taken out."""
        bodies = []
        while (got := await self.channel.basic_get(self.queue, no_ack=True)) is not None:
            bodies.append(got.body)
        return bodies

    async def get(self) -> txpika.Delivery:
        """One message, which must be there."""
        got = await self.channel.basic_get(self.queue)
        assert got is not None
        return got


class ExchangeTests(LiveMethods):
    """Exchanges bound to exchanges."""

    async def test_bind_and_unbind(self) -> None:
        source, destination = f"s-{self.queue}", f"d-{self.queue}"
        channel = self.channel
        await channel.exchange_declare(source, "topic", auto_delete=True)
        await channel.exchange_declare(destination, "fanout", internal=True)
        await channel.queue_bind(self.queue, destination)
        await channel.exchange_bind(destination, source, "a.#", arguments={"x": 1})
        await channel.exchange_bind(destination, source, "b.#")
        await channel.basic_publish(source, "a.b", b"in")
        await channel.basic_publish(source, "c", b"out")
        await channel.exchange_unbind(destination, source, "a.#", arguments={"x": 1})
        await channel.basic_publish(source, "a.b", b"out")
        self.assertEqual(await self.bodies(), [b"in"])
        await channel.exchange_unbind(destination, source, "b.#")
        error = await failure_of(channel.exchange_declare(source, passive=True), ChannelClosed)
        self.assertEqual(error.reply_code, 404)  # it was the last binding, and the exchange is auto-delete
        await (await self.connection.channel()).exchange_delete(destination)

    async def test_refusals(self) -> None:
        name = f"x-{self.queue}"
        await self.channel.exchange_declare(name, auto_delete=True)
        await self.channel.queue_bind(self.queue, name, "k")
        error = await failure_of(self.channel.exchange_delete(name, if_unused=True), ChannelClosed)
        self.assertEqual((error.reply_code, error.class_id, error.method_id), (406, 40, 20))


class NowaitTests(LiveMethods):
    """C{nowait}, wherever the protocol has it: the work is done and no reply comes."""

    async def test_all_in_a_row(self) -> None:
        channel, name = self.channel, self.queue
        source, destination, queue = f"s-{name}", f"d-{name}", f"q-{name}"
        seen: Deferred[bytes] = Deferred()
        nothing: list[Deferred[Any]] = [
            channel.exchange_declare(source, "fanout", nowait=True),
            channel.exchange_declare(destination, "fanout", nowait=True),
            channel.queue_declare(queue, exclusive=True, nowait=True),
            channel.exchange_bind(destination, source, nowait=True),
            channel.queue_bind(queue, destination, nowait=True),
            channel.confirm_select(nowait=True),
        ]
        self.assertEqual(await gatherResults(nothing), [None] * 6)
        consumer = await channel.basic_consume(
            queue, lambda delivery: seen.callback(delivery.body), no_ack=True, nowait=True
        )
        await channel.basic_publish(source, "", b"all the way")
        self.assertEqual(await seen, b"all the way")
        await channel.basic_cancel(consumer.consumer_tag, nowait=True)
        self.assertIsNone(await consumer.closed)
        await channel.basic_publish(source, "", b"purged")
        nothing = [
            channel.queue_purge(queue, nowait=True),
            channel.exchange_unbind(destination, source, nowait=True),
            channel.queue_delete(queue, if_empty=True, nowait=True),
            channel.exchange_delete(source, nowait=True),
            channel.exchange_delete(destination, if_unused=True, nowait=True),
        ]
        self.assertEqual(await gatherResults(nothing), [None] * 5)
        await channel.queue_declare(name, passive=True)  # the broker has come this far
        first, second, third = [await self.connection.channel() for _ in range(3)]
        gone: list[Deferred[Any]] = [
            first.queue_declare(queue, passive=True),
            second.exchange_declare(source, passive=True),
            third.exchange_declare(destination, passive=True),
        ]
        for each in gone:
            self.assertEqual((await failure_of(each, ChannelClosed)).reply_code, 404)

    async def test_what_goes_wrong_closes_the_channel(self) -> None:
        self.assertIsNone(await self.channel.queue_purge("no such queue", nowait=True))
        reason = await self.channel.closed
        self.assertEqual((reason.reply_code, reason.class_id, reason.method_id), (404, 50, 30))


class TransactionTests(LiveMethods):
    """C{tx}."""

    async def test_commit_and_rollback_of_publishes(self) -> None:
        await self.channel.tx_select()
        await self.publish(b"dropped")
        await self.channel.tx_rollback()
        await self.publish(b"kept")
        self.assertEqual(await self.bodies(), [])
        await self.channel.tx_commit()
        self.assertEqual(await self.bodies(), [b"kept"])

    async def test_acks_rolled_back_can_be_made_again(self) -> None:
        await self.publish(b"1", b"2")
        await self.channel.tx_select()
        first, second = await self.get(), await self.get()
        second.ack(multiple=True)
        await self.channel.tx_rollback()
        first.ack()
        await self.channel.tx_commit()
        self.assertRaises(StaleDelivery, first.ack)
        await self.channel.basic_recover()
        self.assertEqual(await self.bodies(), [b"2"])

    async def test_modes_exclude_each_other(self) -> None:
        await self.channel.tx_select()
        self.assertRaises(ValueError, self.channel.confirm_select)
        self.assertRaises(ValueError, (await self.connection.channel()).tx_commit)
        await self.channel.queue_declare(self.queue, passive=True)


class ConsumeTests(LiveMethods):
    """Consumers' arguments, prefetch, recover, cancel."""

    async def test_priority(self) -> None:
        low: list[bytes] = []
        high: Deferred[bytes] = Deferred()
        await self.channel.basic_consume(self.queue, lambda each: low.append(each.body), no_ack=True)
        await self.channel.basic_consume(
            self.queue, lambda each: high.callback(each.body), no_ack=True, arguments={"x-priority": 10}
        )
        await self.publish(b"to the higher")
        self.assertEqual((await high, low), (b"to the higher", []))

    async def test_prefetch_is_of_each_consumer_or_of_the_channel(self) -> None:
        for global_qos, expected in ((False, 4), (True, 2)):
            channel = await self.connection.channel()
            await channel.basic_qos(prefetch_count=2, global_qos=global_qos)
            seen: list[txpika.Delivery] = []
            for _ in range(2):
                await channel.basic_consume(self.queue, seen.append)
            await self.publish(*(b"%d" % number for number in range(6)))
            # Round trips: once the queue's count has settled, no delivery is on its way any more.
            await self.depth(6 - expected)
            await channel.queue_declare(self.queue, passive=True)
            self.assertEqual(len(seen), expected)
            await channel.close()
            await self.depth(6)
            await self.channel.queue_purge(self.queue)

    async def test_recover_has_all_delivered_again(self) -> None:
        await self.publish(b"1", b"2")
        deliveries: list[txpika.Delivery] = []
        four: Deferred[None] = Deferred()

        def on_delivery(delivery: txpika.Delivery) -> None:
            deliveries.append(delivery)
            if len(deliveries) == 4:
                four.callback(None)

        await self.channel.basic_consume(self.queue, on_delivery)
        await self.depth(0)
        await self.channel.basic_recover()
        await four
        self.assertEqual([each.redelivered for each in deliveries], [False, False, True, True])
        self.assertRaises(StaleDelivery, deliveries[0].ack)
        deliveries[3].ack(multiple=True)
        await self.channel.close()
        self.channel = await self.connection.channel()
        self.assertEqual(await self.bodies(), [])

    async def test_exclusive(self) -> None:
        await self.channel.basic_consume(self.queue, exclusive=True)
        other = await self.connection.channel()
        error = await failure_of(other.basic_consume(self.queue), ChannelClosed)
        self.assertEqual((error.reply_code, error.class_id, error.method_id), (403, 60, 20))

    async def test_drain_finishes_what_was_begun(self) -> None:
        begun: list[Deferred[None]] = []
        two: Deferred[None] = Deferred()

        def work(_delivery: txpika.Delivery) -> Deferred[None]:
            begun.append(Deferred())
            if len(begun) == 2:
                two.callback(None)
            return begun[-1]

        await self.publish(*(b"%d" % number for number in range(5)))
        consumer = await self.channel.basic_consume(self.queue, work, concurrency=2, ack="on-success")
        await two
        draining = consumer.drain(30)
        begun[0].callback(None)
        self.assertFalse(draining.called)
        begun[1].callback(None)
        self.assertEqual(await draining, 0)
        await self.depth(3)
        self.assertEqual(sorted(await self.bodies()), [b"2", b"3", b"4"])

    async def test_a_failing_function_is_tried_once_more(self) -> None:
        tries: list[bool] = []
        rejected: Deferred[None] = Deferred()

        async def work(delivery: txpika.Delivery) -> None:
            tries.append(delivery.redelivered)
            if delivery.redelivered:
                rejected.callback(None)
            raise RuntimeError("of the program")

        consumer = await self.channel.basic_consume(self.queue, work, ack="on-success")
        await self.publish(b"poison")
        await rejected
        await consumer.drain()
        await self.channel.close()
        self.channel = await self.connection.channel()
        self.assertEqual((tries, await self.bodies()), ([False, True], []))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)


class SecretTests(LiveMethods):
    """C{connection.update-secret}."""

    async def test_update_secret(self) -> None:
        reply = await self.connection.update_secret("a new one", "the old one expires")
        self.assertEqual(reply.NAME, "Connection.UpdateSecretOk")
        await self.channel.queue_declare(self.queue, passive=True)
