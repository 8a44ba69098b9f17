"""Tests that RabbitMQ refuses the arguments we refuse, and takes those we take, and that they mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.task import deferLater

import txpika
from txpika import ConsumerArguments, QueueArguments
from txpika.arguments import LeaderLocator, QueueType
from txpika.exceptions import AMQPError
from txpika.test import broker
from txpika.test.test_arguments import LIMITS, OFFSETS, TYPES, VALUES, made, taken_but_ignored, wire
from txpika.test.test_live import Live


class LiveArgumentTests(Live):
    """RabbitMQ refuses what we refuse, and takes what we take."""

    timeout = 180

    async def connect(self) -> None:
        await super().connect()
        self.prefix = f"arguments-{uuid4().hex}-"
        self.count = 0
        self.version: str = self.connection.server_properties["version"]

    async def fresh(self) -> txpika.Channel:
        """A channel, on a new connection where the broker closed the last one."""
        if not self.connection.is_open:
            self.connection = await txpika.connect(self.uri)
            self.addCleanup(self.connection.close)
        if not self.channel.is_open:
            self.channel = await self.connection.channel()
        return self.channel

    async def takes(self, table: Mapping[str, object], name: str | None = None, **flags: bool) -> bool:
        """Whether the broker takes such a queue, declared with a plain mapping. It is deleted again."""
        channel = await self.fresh()
        self.count += 1
        queue = f"{self.prefix}{self.count}" if name is None else name
        flags = {"durable": True, **flags}
        try:
            declared = await channel.queue_declare(queue, arguments=dict(table), **flags)
        except AMQPError as error:
            self.assertIn(getattr(error, "reply_code", 0), (406, 541), (table, error))
            return False
        await channel.queue_delete(declared.queue)
        return True

    async def compare(self, kind: QueueType | None, given: dict[str, Any]) -> None:
        ours = made(kind, given, self.version)
        table = wire(kind, given)
        taken = await self.takes(table)
        if taken and taken_but_ignored(kind, given):
            self.assertIsNone(ours, table)
        else:
            self.assertEqual(ours is not None, taken, (self.version, table))
        if ours is not None:
            self.assertEqual(ours, table)

    async def test_each_argument_with_each_type(self) -> None:
        for kind in (None, *TYPES):
            for name, (_, values) in VALUES.items():
                for value in values:
                    await self.compare(kind, {name: value})
        for kind in TYPES:
            for key in ("x-initial-cluster-size", "x-quorum-initial-group-size"):
                ours = made(kind, {"initial_cluster_size": 1})
                taken = await self.takes({"x-queue-type": kind, key: 1})
                self.assertEqual(taken, ours is not None and key in ours, (kind, key))

    async def pairs(self, kind: QueueType) -> None:
        single = [(name, value) for name, (_, values) in VALUES.items() for value in values]
        alone = [
            pair for pair in single if made(kind, dict([pair]), self.version) or taken_but_ignored(kind, dict([pair]))
        ]
        if made(kind, {"dead_letter_exchange": ""}):
            alone.append(("dead_letter_routing_key", "key"))
        for one, two in combinations(alone, 2):
            if one[0] != two[0]:
                await self.compare(kind, dict((one, two)))

    async def test_each_pair_with_classic(self) -> None:
        await self.pairs("classic")

    async def test_each_pair_with_quorum(self) -> None:
        await self.pairs("quorum")

    async def test_each_pair_with_stream(self) -> None:
        await self.pairs("stream")

    async def test_three_together(self) -> None:
        for overflow in ("drop-head", "reject-publish", "reject-publish-dlx"):
            for strategy in ("at-most-once", "at-least-once"):
                given = {"overflow": overflow, "dead_letter_strategy": strategy, "dead_letter_exchange": "amq.fanout"}
                await self.compare("quorum", given)
                await self.compare("quorum", {**given, "dead_letter_routing_key": "key"})

    async def test_limits(self) -> None:
        for name, kind, value, legal in LIMITS:
            self.assertEqual(await self.takes(wire(kind, {name: value})), legal, (name, kind, value))
        for bad in ("lazy", 1):
            self.assertFalse(await self.takes({"x-queue-type": bad}))

    async def test_queues_that_cannot_be(self) -> None:
        for kind in TYPES:
            arguments = QueueArguments(queue_type=kind)
            flagged: tuple[dict[str, Any], ...] = (
                {"exclusive": True},
                {"auto_delete": True},
                {"durable": False, "exclusive": True},
                {"durable": False, "auto_delete": True},
                {"name": ""},
                {},
            )
            for flags in flagged:
                declared = {"queue": "q", "durable": True, "exclusive": False, "auto_delete": False}
                declared.update({"queue" if name == "name" else name: value for name, value in flags.items()})
                try:
                    arguments.check_declare(**declared)  # type: ignore[arg-type]
                except ValueError:
                    ours = False
                else:
                    ours = True
                self.assertEqual(await self.takes(arguments, **flags), ours, (kind, flags))

    async def test_leader_locators(self) -> None:
        locators: tuple[LeaderLocator, ...] = ("client-local", "balanced")
        for kind in TYPES:
            for locator in locators:
                await self.compare(kind, {"leader_locator": locator})

    async def test_taken_but_ignored_reject_publish_dlx(self) -> None:
        name = self.prefix + "dropping"
        arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish-dlx", "x-max-length": 1}
        await self.channel.queue_declare(name, durable=True, arguments=arguments)
        self.addCleanup(self.channel.queue_delete, name)
        await self.channel.confirm_select()
        for number in range(5):
            await self.channel.basic_publish("", name, b"%d" % number)  # and none of them is refused

    async def test_taken_but_ignored_delivery_limit(self) -> None:
        name = self.prefix + "unlimited"
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": -1}
        await self.channel.queue_declare(name, durable=True, arguments=arguments)
        self.addCleanup(self.channel.queue_delete, name)
        consumer = await self.channel.basic_consume(name)
        await self.channel.confirm_select()
        await self.channel.basic_publish("", name, b"first")
        await self.channel.basic_publish("", name, b"second")
        one, two = await consumer.__anext__(), await consumer.__anext__()
        one.nack(requeue=True)
        if made("quorum", {"delivery_limit": -1}, self.version):
            self.assertEqual((await consumer.__anext__()).body, b"first")
        else:
            await self.channel.basic_publish("", name, b"third")
            self.assertEqual((await consumer.__anext__()).body, b"third")
        two.ack()

    async def test_taken_but_ignored_at_least_once(self) -> None:
        # Nothing is bound to the dead-letter exchange: at least once, the message is kept for its next queue.
        given = {"dead_letter_strategy": "at-least-once", "dead_letter_exchange": "amq.direct"}
        for overflow in ("drop-head", "reject-publish"):
            name = self.prefix + overflow
            await self.channel.queue_declare(
                name, durable=True, arguments=wire("quorum", {**given, "overflow": overflow})
            )
            self.addCleanup(self.channel.queue_delete, name)
            consumer = await self.channel.basic_consume(name)
            await self.channel.basic_publish("", name, b"x")
            (await consumer.__anext__()).reject()
        while not self.kept(self.prefix + "reject-publish"):
            await deferLater(reactor, 0.01)
        self.assertEqual(self.kept(self.prefix + "drop-head"), 0)

    def kept(self, name: str) -> int:
        """How many dead-lettered messages a quorum queue still has."""
        queue = f'rabbit_misc:r(<<"/">>, queue, <<"{name}">>)'
        said = broker.ctl(
            "eval",
            f"{{ok, Q}} = rabbit_amqqueue:lookup({queue}), proplists:get_value(messages_dlx, rabbit_amqqueue:info(Q)).",
        )
        return int(said)

    async def test_consumers(self) -> None:
        queues = {}
        for kind in TYPES:
            queues[kind] = f"{self.prefix}{kind}"
            await self.channel.queue_declare(queues[kind], durable=True, arguments=QueueArguments(queue_type=kind))
        for kind in TYPES:
            of_stream = kind == "stream"
            for priority, legal in ((0, True), (-5, True), (2**40, True), ("5", False), (True, False)):
                self.assertEqual(await self.consumes(queues[kind], {"x-priority": priority}), legal and not of_stream)
            for offset, legal in OFFSETS:
                taken = await self.consumes(queues[kind], {"x-stream-offset": offset})
                self.assertEqual(taken, legal and of_stream, (kind, offset))
            both = {"x-priority": 1, "x-stream-offset": "first"}
            self.assertFalse(await self.consumes(queues[kind], both))
            no_ack = await self.consumes(queues[kind], {}, no_ack=True)
            self.assertEqual(no_ack, not of_stream)
        channel = await self.fresh()
        for queue in queues.values():
            await channel.queue_delete(queue)

    async def consumes(self, queue: str, table: Mapping[str, object], no_ack: bool = False) -> bool:
        """Whether the broker takes such a consumer. It is cancelled again."""
        channel = await self.fresh()
        await channel.basic_qos(prefetch_count=10)
        try:
            consumer = await channel.basic_consume(queue, arguments=dict(table), no_ack=no_ack)
        except AMQPError:
            return False
        await consumer.cancel()
        return True

    async def test_stream_offsets_mean_what_they_say(self) -> None:
        name = self.prefix + "read"
        await self.channel.queue_declare(name, durable=True, arguments=QueueArguments(queue_type="stream"))
        self.addCleanup(self.channel.queue_delete, name)
        await self.channel.confirm_select()
        for number in range(5):
            await self.channel.basic_publish("", name, b"%d" % number)
        await self.channel.basic_qos(prefetch_count=10)
        for offset, first in (("first", b"0"), (3, b"3"), ("1h", b"0"), (datetime(2020, 1, 1, tzinfo=UTC), b"0")):
            arguments = ConsumerArguments(stream_offset=offset)
            async with await self.channel.basic_consume(name, arguments=arguments) as consumer:
                delivery = await consumer.__anext__()
                self.assertEqual(delivery.body, first, offset)
                delivery.ack()
        async with await self.channel.basic_consume(
            name, arguments=ConsumerArguments(stream_offset="next")
        ) as consumer:
            await self.channel.basic_publish("", name, b"new")
            self.assertEqual((await consumer.__anext__()).body, b"new")

    async def test_priority_means_what_it_says(self) -> None:
        low: list[bytes] = []
        high: list[bytes] = []
        await self.channel.basic_consume(self.queue, lambda delivery: low.append(delivery.body), no_ack=True)
        await self.channel.basic_consume(
            self.queue,
            lambda delivery: high.append(delivery.body),
            no_ack=True,
            arguments=ConsumerArguments(priority=5),
        )
        for _ in range(10):
            await self.channel.basic_publish("", self.queue, b"x")
        while len(low) + len(high) < 10:
            await deferLater(reactor, 0.01)
        self.assertEqual((len(low), len(high)), (0, 10))
