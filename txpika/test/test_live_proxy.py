"""Tests for the proxy between txpika and a real RabbitMQ: what each fault does to both."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import txpika
from txpika.exceptions import (
    AMQPConnectionError,
    CallTimeout,
    ChannelClosed,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HeartbeatTimeout,
    OutcomeUnknown,
)
from txpika.spec import Basic, Channel, Confirm, Connection, Queue
from txpika.test.live import failure_of
from txpika.test.proxied import Proxied
from txpika.test.proxy import ChaosProxy, Where


class FaultTests(Proxied):
    """Faults of the bytes."""

    async def test_nothing_happens(self) -> None:
        await self.round_trip()
        self.assertEqual((self.proxy.accepted, self.proxy.connections), (1, []))

    async def test_large_messages(self) -> None:
        await self.round_trip(15_000_000)

    async def test_slicer(self) -> None:
        self.proxy.slicer(1)
        await self.round_trip()

    async def test_coalesce(self) -> None:
        self.proxy.coalesce(1 << 20, 0.01)
        await self.round_trip(300_000)

    async def test_latency(self) -> None:
        self.proxy.latency(0.05, "downstream")
        self.assertGreater(await self.round_trip(), 0.3)
        self.proxy.heal()
        await self.round_trip()

    async def test_bandwidth(self) -> None:
        self.proxy.bandwidth(200_000, "upstream")
        self.assertGreater(await self.round_trip(100_000), 0.4)

    async def test_blackhole_is_noticed_by_a_heartbeat(self) -> None:
        directions: tuple[Where, ...] = ("downstream", "both")
        for direction in directions:
            connection = await self.through("?heartbeat=1")
            self.proxy.blackhole(direction)
            self.assertIsInstance(await connection.closed, HeartbeatTimeout)
            self.proxy.heal()
        await self.gone()
        self.flushWarnings()  # that so short a heartbeat is a risk

    async def test_blackhole_swallows(self) -> None:
        channel = await self.confirming()
        self.proxy.blackhole("upstream")
        await failure_of(channel.basic_publish("", self.queue, b"", timeout=0.1), CallTimeout)
        self.proxy.reset()
        await channel.closed
        await self.depth(0)

    async def test_limit_data_in_the_handshake(self) -> None:
        for limit in (1, 8, 20, 300):
            for direction in ("upstream", "downstream"):
                self.proxy.limit_data(limit, direction)
                await failure_of(self.through(), HandshakeError)
                self.proxy.heal()
        await self.gone()
        self.assertEqual(self.proxy.accepted, 8)


class CutTests(Proxied):
    """How connections end."""

    async def test_reset(self) -> None:
        one, two = await self.through(), await self.through()
        self.assertEqual([pair.number for pair in self.proxy.connections], [1, 2])
        self.proxy.reset()
        for connection in (one, two):
            reason = await connection.closed
            self.assertIsInstance(reason, ConnectionLost)
            self.assertEqual(reason.initiator, "network")
        await self.gone()
        await self.round_trip()

    async def test_half_close(self) -> None:
        directions: tuple[Where, ...] = ("upstream", "downstream", "both")
        for direction in directions:
            connection = await self.through()
            self.proxy.half_close(direction)
            self.assertIsInstance(await connection.closed, ConnectionLost)
            await self.gone()

    async def test_down_and_up(self) -> None:
        connection = await self.through()
        uri = self.proxy.uri
        await self.proxy.down()
        self.assertIsInstance(await connection.closed, ConnectionLost)
        await failure_of(self.through(), ConnectFailed)
        await self.proxy.down()
        await self.proxy.up()
        await self.proxy.up()
        self.assertEqual(self.proxy.uri, uri)
        await self.round_trip()
        self.assertEqual(self.proxy.accepted, 2)

    async def test_no_broker(self) -> None:
        first = ChaosProxy(reactor, self.uri)
        await first.start()
        nobody = ChaosProxy(reactor, first.uri)
        await first.stop()
        await nobody.start()
        self.addCleanup(nobody.stop)
        await failure_of(txpika.connect(nobody.uri), AMQPConnectionError)
        self.assertEqual(nobody.accepted, 1)

    async def test_stop_while_the_broker_is_dialled(self) -> None:
        attempt = failure_of(txpika.connect(self.proxy.uri), AMQPConnectionError)
        waiting = Deferred.fromCoroutine(attempt)
        while not self.proxy.accepted:
            await deferLater(reactor, 0)
        await self.proxy.stop()
        await waiting
        self.assertEqual(self.proxy.connections, [])


class TriggerTests(Proxied):
    """Cuts at a frame, and what the broker then knows."""

    async def exists(self, queue: str) -> bool:
        channel = await self.connection.channel()
        try:
            await channel.queue_declare(queue, passive=True)
        except ChannelClosed:
            return False
        await channel.queue_delete(queue)
        return True

    async def test_cut_around_a_call(self) -> None:
        for frame, done in ((Queue.Declare, False), (Queue.DeclareOk, True)):
            name = f"{self.queue}-2"
            channel = await (await self.through()).channel()
            cut = self.proxy.cut_before(frame)
            call = channel.queue_declare(name)
            self.assertEqual(await cut, self.proxy.accepted)
            await failure_of(call, AMQPConnectionError)
            self.assertEqual(await self.exists(name), done)

    async def test_cut_after_an_answer(self) -> None:
        channel = await (await self.through()).channel()
        cut = self.proxy.cut_after(Queue.DeclareOk)
        answer = await channel.queue_declare(self.queue, passive=True)
        self.assertEqual(answer.queue, self.queue)
        self.assertIsInstance(await channel.connection.closed, ConnectionLost)
        await cut

    async def test_cut_in_the_handshake(self) -> None:
        for frame in (Connection.Start, Connection.StartOk, Connection.Tune, Connection.Open):
            cut = self.proxy.cut_after(frame)
            await failure_of(self.through(), HandshakeError)
            await cut
        await self.round_trip()

    async def test_cut_within_a_message(self) -> None:
        for kind in ("header", "body"):
            channel = await self.confirming()
            cut = self.proxy.cut_before(kind, direction="upstream")
            await failure_of(channel.basic_publish("", self.queue, b"lost"), OutcomeUnknown)
            await cut
        await self.channel.queue_declare(self.queue, passive=True)
        await self.depth(0)

    async def test_the_nth_confirm_is_dropped(self) -> None:
        channel = await self.confirming()
        dropped = self.proxy.drop_after(Basic.Ack, 2, "downstream")
        await channel.basic_publish("", self.queue, b"confirmed")
        unknown = channel.basic_publish("", self.queue, b"unknown")
        await dropped
        self.assertTrue(channel.is_open)
        self.proxy.reset()
        self.assertEqual((await failure_of(unknown, OutcomeUnknown)).outcome, "unknown")
        await self.depth(2)

    async def test_seen(self) -> None:
        self.proxy.record(True)
        channel = await self.confirming()
        await channel.basic_publish("", self.queue, b"x")
        number = channel.channel_number
        self.assertEqual(
            self.proxy.seen("upstream")[-5:],
            [
                (1, number, Channel.Open()),
                (1, number, Confirm.Select(False)),
                (1, number, Basic.Publish(0, "", self.queue)),
                (1, number, "header"),
                (1, number, "body"),
            ],
        )
        self.assertEqual(self.proxy.seen("downstream")[-1], (1, number, Basic.Ack(1, False)))
