# -*- test-case-name: txpika.test.test_service_live -*-
"""
Tests for L{txpika.service} with a real RabbitMQ, and with a network between that fails as a test says.

Each keeps a ledger: nothing confirmed is lost, nothing comes twice without a reason, and no ack is written for what
another connection delivered.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

import txpika
from txpika.backoff import Backoff
from txpika.exceptions import ConnectionClosed, ConnectionLost, HeartbeatTimeout, NotConnected
from txpika.message import Delivery
from txpika.service import AMQPService, ServiceListener
from txpika.spec import Basic, BasicProperties
from txpika.surviving import SurvivingChannel
from txpika.test import broker
from txpika.test.ledger import Ledger, name_of
from txpika.test.own_node import OwnNode
from txpika.test.proxy import ChaosProxy

PERSISTENT = BasicProperties(delivery_mode=2)
#: Publishes under way at a time.
WINDOW = 50


class Watch(ServiceListener):
    """
    Keeps states, and lets one wait for the next of a kind.
    """

    def __init__(self) -> None:
        self.states: list[str] = []
        self._waiting: list[tuple[str, Deferred[None]]] = []

    def state_changed(self, service: AMQPService, state: str, error: Exception | None) -> None:
        self.states.append(state)
        waiting, self._waiting = self._waiting, []
        for wanted, waiter in waiting:
            if wanted == state:
                waiter.callback(None)
            else:
                self._waiting.append((wanted, waiter))

    def next(self, state: str) -> Deferred[None]:
        """Fires when the service next gets there."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((state, waiter))
        return waiter


class ServiceLive(TestCase):
    """A service behind a proxy, a durable queue, and a consumer of it that books and acknowledges."""

    timeout = 120
    heartbeat = 30

    def setUp(self) -> Any:
        return Deferred.fromCoroutine(self.begin())

    async def begin(self) -> None:
        self.broker_uri = await self.find_broker()
        self.proxy = ChaosProxy(reactor, self.broker_uri, record=(Basic.Ack, Basic.Nack, Basic.Reject, Basic.Deliver))
        await self.proxy.start()
        self.addCleanup(self.stop_proxy)
        self.ledger = Ledger()
        self.seen: list[Delivery] = []
        self.queue = f"test-{uuid.uuid4().hex}"
        self.watch = Watch()
        self.service = AMQPService(
            f"{self.proxy.uri}?heartbeat={self.heartbeat}",
            reactor,
            listener=self.watch,
            backoff=Backoff(0.05, 0.5),
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)
        self.publisher: SurvivingChannel = await self.service.channel()
        await self.publisher.confirm_select()
        channel = await self.service.channel()
        await channel.queue_declare(self.queue, durable=True)
        await channel.basic_qos(20)
        self.consumer = await channel.basic_consume(self.queue, self.take)
        self.addCleanup(self.delete)

    async def find_broker(self) -> str:
        return broker.require_broker()

    async def stop_proxy(self) -> None:
        await self.proxy.stop()

    async def delete(self) -> None:
        connection = await txpika.connect(self.broker_uri)
        await (await connection.channel()).queue_delete(self.queue)
        await connection.close()

    def take(self, delivery: Delivery) -> None:
        self.ledger.received(delivery)
        self.seen.append(delivery)
        delivery.ack()

    async def publish(self, count: int) -> None:
        """Each until it is confirmed, so many at a time."""
        left = list(range(count))

        async def some() -> None:
            while left:
                left.pop()
                name: str | None = None
                while name is None or self.ledger.outcomes[name][-1] not in ("confirmed", "returned"):
                    await self.service.when_open()
                    name = await self.ledger.publish(
                        self.publisher, "", self.queue, b"x", PERSISTENT, mandatory=True, again=name
                    )

        await DeferredList([Deferred.fromCoroutine(some()) for _ in range(WINDOW)], fireOnOneErrback=True)

    async def settled(self) -> None:
        """Everything that was published has been delivered, to one consumer, and nothing is left behind."""
        await self.service.when_open()
        while not self.ledger.confirmed <= self.ledger.delivered.keys():
            await deferLater(reactor, 0.02)
        self.ledger.check()
        listed = await self.ctl("list_consumers", "queue_name")
        self.assertEqual(listed.split().count(self.queue), 1)
        self.check_acks()

    async def ctl(self, *arguments: str) -> str:
        return await deferToThread(broker.ctl, *arguments)

    def check_acks(self) -> None:
        """I-04: what is acknowledged on a connection was delivered on it, once."""
        delivered = {(pair, number): 0 for pair, number, _ in self.proxy.seen("upstream")}
        for pair, number, method in self.proxy.seen("downstream"):
            if isinstance(method, Basic.Deliver):
                delivered[pair, number] = method.delivery_tag
        acked: dict[tuple[int, int], int] = {}
        for pair, number, method in self.proxy.seen("upstream"):
            assert isinstance(method, Basic.Ack)
            self.assertGreater(method.delivery_tag, acked.get((pair, number), 0))
            self.assertLessEqual(method.delivery_tag, delivered[pair, number])
            acked[pair, number] = method.delivery_tag


class LinkTests(ServiceLive):
    """The network fails."""

    async def test_F14_a_reset_when_nothing_happens(self) -> None:
        lost, opened = self.watch.next("waiting"), self.watch.next("open")
        began = time.monotonic()
        self.proxy.reset()
        await lost
        self.assertLess(time.monotonic() - began, 1)
        await opened
        self.assertEqual(self.watch.states.count("recovering"), 2)
        self.assertEqual(self.service.reconnects, 1)
        self.assertIsInstance(self.service.last_error, ConnectionLost)
        await self.publish(100)
        await self.settled()

    async def test_F15_the_stream_is_closed_while_it_publishes(self) -> None:
        publishing = Deferred.fromCoroutine(self.publish(2000))
        for count in range(200, 1200, 200):
            while len(self.ledger.confirmed) < count:
                await deferLater(reactor, 0.005)
            opened = self.watch.next("open")
            self.proxy.half_close("downstream")
            await opened
        await publishing
        await self.settled()
        self.assertEqual(self.service.reconnects, 5)

    async def test_F25_cut_between_the_frames_of_a_message(self) -> None:
        for frame in ("header", "body"):
            cut = self.proxy.cut_before(frame, 1, "upstream")
            name = await self.ledger.publish(self.publisher, "", self.queue, b"x", PERSISTENT)
            await cut
            self.assertIn(name, self.ledger.unknown)
            await self.service.when_open()
        await self.publish(50)
        await self.settled()
        self.assertEqual(len(self.ledger.delivered), 50)

    async def test_F26_cut_before_the_confirmation(self) -> None:
        cut = self.proxy.cut_before(Basic.Ack, 1, "downstream")
        name = await self.ledger.publish(self.publisher, "", self.queue, b"x", PERSISTENT)
        await cut
        self.assertIn(name, self.ledger.unknown)
        await self.service.when_open()
        again = await self.ledger.publish(self.publisher, "", self.queue, b"x", PERSISTENT, again=name)
        self.assertEqual(again, name)
        while len(self.ledger.delivered.get(name, [])) < 2:
            await deferLater(reactor, 0.02)
        await self.settled()

    async def test_F27_cut_between_a_return_and_its_confirmation(self) -> None:
        cut = self.proxy.cut_before(Basic.Ack, 1, "downstream")
        name = await self.ledger.publish(self.publisher, "", "no such queue", b"x", PERSISTENT, mandatory=True)
        await cut
        self.assertIn(name, self.ledger.returned)
        await self.publish(20)
        await self.settled()

    async def test_F54_acks_of_before_are_not_written(self) -> None:
        held: list[Delivery] = []
        channel = await self.service.channel()
        queue = (await channel.queue_declare(f"{self.queue}-held", durable=True)).queue
        self.addCleanup(self.delete_too, queue)
        await channel.basic_qos(100)
        consumer = await channel.basic_consume(queue, held.append)
        for _ in range(10):
            await self.publisher.basic_publish("", queue, b"x", PERSISTENT)
        while len(held) < 10:
            await deferLater(reactor, 0.01)
        opened = self.watch.next("open")
        self.proxy.reset()
        await opened
        while len(held) < 20:
            await deferLater(reactor, 0.01)
        for delivery in held[:10]:
            delivery.ack()
        self.assertTrue(all(delivery.redelivered for delivery in held[10:]))
        await consumer.cancel()
        self.assertEqual(channel.settled_in_vain, 10)
        listed = await self.ctl("list_queues", "name", "messages_unacknowledged")
        self.assertIn(f"{queue}\t10", listed)
        await channel.close()

    async def test_F51_a_consumer_whose_place_is_taken_for_a_while(self) -> None:
        queue = f"{self.queue}-alone"
        channel = await self.service.channel()
        await channel.queue_declare(queue, durable=True)
        self.addCleanup(self.delete_too, queue)
        taken: Deferred[Delivery] = Deferred()
        consumer = await channel.basic_consume(queue, taken.callback, no_ack=True, exclusive=True)
        await self.proxy.down()
        while (await self.ctl("list_consumers", "queue_name")).split().count(queue):
            await deferLater(reactor, 0.05)
        connection = await txpika.connect(self.broker_uri)
        other = await connection.channel()
        usurper = await other.basic_consume(queue, print, exclusive=True)
        recovering, opened = self.watch.next("recovering"), self.watch.next("open")
        await self.proxy.up()
        await recovering
        await other.basic_qos(1)
        self.assertFalse(opened.called)
        await usurper.cancel()
        await connection.close()
        await opened
        self.assertEqual(channel.consumers, (consumer,))
        await self.publisher.basic_publish("", queue, b"x")
        self.assertEqual((await taken).body, b"x")

    async def delete_too(self, queue: str) -> None:
        connection = await txpika.connect(self.broker_uri)
        await (await connection.channel()).queue_delete(queue)
        await connection.close()


class SilentLinkTests(ServiceLive):
    """The network swallows what it is given; heartbeats find out."""

    heartbeat = 2

    async def begin(self) -> None:
        await super().begin()
        self.flushWarnings()  # that so short a heartbeat is a risk

    async def noticed(self, direction: Any, least: float, most: float) -> None:
        await self.publish(50)
        lost, opened = self.watch.next("waiting"), self.watch.next("open")
        began = time.monotonic()
        self.proxy.blackhole(direction)
        await lost
        took = time.monotonic() - began
        self.assertGreater(took, least)
        self.assertLess(took, most)
        self.proxy.heal()
        await opened
        await self.publish(50)
        await self.settled()

    async def test_F16_both_ways(self) -> None:
        await self.noticed("both", 3, 7)
        self.assertIsInstance(self.service.last_error, HeartbeatTimeout)

    async def test_F17_from_the_broker(self) -> None:
        await self.noticed("downstream", 3, 7)
        self.assertIsInstance(self.service.last_error, HeartbeatTimeout)

    async def test_F18_to_the_broker(self) -> None:
        await self.noticed("upstream", 1, 12)


class BrokerTests(ServiceLive):
    """The broker ends connections, or itself."""

    async def test_F32_closed_for_maintenance(self) -> None:
        opened = self.watch.next("open")
        await self.ctl("close_all_connections", "maint")
        await opened
        error = self.service.last_error
        assert isinstance(error, ConnectionClosed)
        self.assertEqual((error.reply_code, error.reply_text), (320, "CONNECTION_FORCED - maint"))
        await self.publish(50)
        await self.settled()

    async def test_F33_fifty_times_under_load(self) -> None:
        self.stopping = False
        publishing = Deferred.fromCoroutine(self.publish_until())
        for _ in range(50):
            opened = self.watch.next("open")
            if _ % 10 == 0:
                await self.ctl("close_all_connections", "maint")
            else:
                await self.proxy.cut_after(Basic.Ack, 5, "downstream")
            await opened
        self.stopping = True
        await publishing
        await self.settled()
        self.assertEqual(self.service.reconnects, 50)
        self.assertEqual(self.watch.states.count("recovering"), 51)
        self.assertEqual(len(self.proxy.connections), 1)
        connection = self.service.connection
        assert connection is not None
        self.assertEqual(len(self.service.channels), 2)

    async def publish_until(self) -> None:
        while not self.stopping:
            await self.publish(WINDOW)

    async def test_F34_stopped_and_started_under_load(self) -> None:
        publishing = Deferred.fromCoroutine(self.publish(3000))
        while len(self.ledger.confirmed) < 500:
            await deferLater(reactor, 0.01)
        await self.ctl("stop_app")
        await self.ctl("start_app")
        await publishing
        await self.settled()

    async def test_what_is_published_without_a_connection_fails_at_once(self) -> None:
        await self.proxy.down()
        while self.service.state == "open":
            await deferLater(reactor, 0.01)
        error = await self.failing(self.publisher.basic_publish("", self.queue, b"x"))
        self.assertIsInstance(error, NotConnected)
        await self.proxy.up()
        await self.publish(10)
        await self.settled()

    async def failing(self, call: Deferred[None]) -> Exception:
        try:
            await call
        except Exception as error:
            return error
        raise AssertionError("it did not fail")


class KilledTests(ServiceLive):
    """The broker is killed."""

    async def find_broker(self) -> str:
        self.node = OwnNode()
        self.addCleanup(self.node.close)
        await self.node.start()
        return self.node.uri

    async def ctl(self, *arguments: str) -> str:
        return await self.node.ctl(*arguments)

    async def test_F35_and_started_again(self) -> None:
        publishing = Deferred.fromCoroutine(self.publish(3000))
        while len(self.ledger.confirmed) < 500:
            await deferLater(reactor, 0.01)
        await self.node.kill()
        await self.node.start()
        await publishing
        await self.settled()
        self.assertGreaterEqual(self.service.reconnects, 1)
        self.assertEqual({name_of(each) for each in self.seen} & self.ledger.returned, set())
