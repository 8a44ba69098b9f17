"""Tests for publishing to a real RabbitMQ that takes no messages, returns them, or goes away."""

from __future__ import annotations

import gc
import resource
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults

import txpika
from txpika.exceptions import (
    ChannelClosed,
    ConnectionClosed,
    ConnectionOutcomeUnknown,
    NackError,
    OutboundBufferFull,
    OutcomeUnknown,
    PublishBlocked,
    ReturnedError,
)
from txpika.test import broker
from txpika.test.counting import SKIP
from txpika.test.live import Live, failure_of

MEGABYTE = b"x" * 1_000_000


def resident() -> int:
    """Memory of this process, in bytes; its peak where the kernel does not tell what it is now."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class AlarmTests(Live):
    """A memory alarm (rabbitmq.com/docs/memory)."""

    async def alarmed(self, **limits: Any) -> tuple[txpika.Channel, txpika.Channel]:
        """Two channels, the second in confirm mode, of a connection that the broker has blocked."""
        known = txpika.parse_uri(self.uri)
        connection = await txpika.connect(
            txpika.ConnectionParameters(
                known.host, known.port, known.virtual_host, known.credentials, close_timeout=1, **limits
            )
        )
        self.addCleanup(connection.close)
        self.addCleanup(self.clear)
        plain, confirming = await connection.channel(), await connection.channel()
        await confirming.confirm_select()
        blocked: Deferred[str] = Deferred()
        self.unblocked: Deferred[None] = Deferred()
        connection.on_blocked = blocked.callback
        connection.on_unblocked = lambda: self.unblocked.callback(None)
        broker.ctl("set_vm_memory_high_watermark", "0")
        await plain.basic_publish("", self.queue, b"first")  # the broker blocks who publishes
        self.assertIn("memory", await blocked)
        return plain, confirming

    def clear(self) -> None:
        broker.ctl("set_vm_memory_high_watermark", "0.4")

    async def test_300_large_messages_take_no_memory_and_fail_by_name(self) -> None:
        for channel in await self.alarmed(blocked_timeout=0.01):
            gc.collect()
            before, grown = resident(), 0
            for number in range(300):
                error = await failure_of(channel.basic_publish("", self.queue, MEGABYTE), PublishBlocked)
                self.assertEqual(error.outcome, "not sent")
                if SKIP is not None:  # an interpreter that keeps garbage for a while
                    if number % 20:
                        continue
                    gc.collect()
                grown = max(grown, resident() - before)
            self.assertLess(grown, 10_000_000)
        self.clear()
        await self.unblocked
        await channel.basic_publish("", self.queue, b"after the alarm")
        await self.depth(2)

    async def test_those_who_do_not_wait_are_bounded(self) -> None:
        plain, _ = await self.alarmed(max_held=3_000_000)
        waiting = [plain.basic_publish("", self.queue, MEGABYTE) for _ in range(2)]
        error = await failure_of(plain.basic_publish("", self.queue, MEGABYTE), OutboundBufferFull)
        self.assertIn("blocked", str(error))
        self.clear()
        await gatherResults(waiting)
        await self.depth(3)

    async def test_close_ends_in_time_though_the_broker_does_not_read(self) -> None:
        plain, confirming = await self.alarmed()
        held = [channel.basic_publish("", self.queue, b"x") for channel in (plain, confirming)]
        closing = plain.connection.close()
        for each in held:
            self.assertEqual((await failure_of(each, ConnectionClosed)).outcome, "not sent")
        await closing


class OutcomeTests(Live):
    """Thousands of publishes at once, on two channels, of which not all reach a queue."""

    async def test_returns_under_load(self) -> None:
        count = 3_000
        other = await self.connection.channel()
        published: dict[bytes, Deferred[None]] = {}
        for channel in (self.channel, other):
            await channel.confirm_select()
        for number in range(count):
            for channel in (self.channel, other):
                body = b"%d on %d" % (number, channel.channel_number)
                key = "nowhere" if number % 3 == 0 else self.queue
                published[body] = channel.basic_publish("", key, body, mandatory=True)
        outcomes: Counter[str] = Counter()
        for body, each in published.items():
            try:
                await each
            except ReturnedError as error:
                self.assertEqual(error.message.body, body)
                outcomes["returned"] += 1
            else:
                self.assertNotEqual(int(body.split()[0]) % 3, 0)
                outcomes["acked"] += 1
        self.assertEqual(outcomes, {"returned": 2 * count // 3, "acked": 4 * count // 3})
        await self.depth(4 * count // 3)

    async def test_a_full_queue_refuses(self) -> None:
        name = f"short-{self.queue}"
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await self.channel.queue_declare(name, exclusive=True, arguments=arguments)
        await self.channel.confirm_select()
        await self.channel.basic_publish("", name, b"1")
        refused = [self.channel.basic_publish("", name, b"2") for _ in range(50)]
        for each in refused:
            self.assertEqual((await failure_of(each, NackError)).outcome, "nacked")

    async def test_a_missing_exchange_leaves_its_own_channel_in_doubt_only(self) -> None:
        """F43."""
        other = await self.connection.channel()
        for channel in (self.channel, other):
            await channel.confirm_select()
        lost = [self.channel.basic_publish("no such exchange", "k", b"x") for _ in range(500)]
        good = [other.basic_publish("", self.queue, b"x") for _ in range(500)]
        for each in lost:
            error = await failure_of(each, OutcomeUnknown)
            self.assertEqual((error.reply_code, error.class_id, error.method_id), (404, 60, 40))
            self.assertIsInstance(error.__cause__, ChannelClosed)
        await gatherResults(good)
        self.channel = other
        await self.depth(500)

    async def test_close_waits_for_confirmations(self) -> None:
        connection = await txpika.connect(self.uri)
        channel = await connection.channel()
        await channel.confirm_select()
        published = [channel.basic_publish("", self.queue, b"x") for _ in range(2_000)]
        await connection.close()
        outcomes = await DeferredList(published, consumeErrors=True)
        self.assertEqual(Counter(good for good, _ in outcomes), {True: 2_000})
        await self.depth(2_000)

    async def test_thrown_out_in_the_middle(self) -> None:
        """F32: what was confirmed is in the queue, the rest is in doubt, and nothing is left without an outcome."""
        name = f"durable-{self.queue}"
        await self.channel.queue_declare(name, durable=True)
        await self.channel.confirm_select()
        published = [self.channel.basic_publish("", name, b"%d" % number) for number in range(2_000)]
        await published[10]
        broker.ctl("close_all_connections", "maintenance")
        outcomes: list[tuple[bool, Any]] = await DeferredList(published, consumeErrors=True)
        confirmed = sum(good for good, _ in outcomes)
        failed = Counter((each.type, each.value.outcome, each.value.reply_code) for good, each in outcomes if not good)
        unknown = failed.pop((ConnectionOutcomeUnknown, "unknown", 320))
        not_sent = failed.pop((ConnectionClosed, "not sent", 320), 0)  # beyond the confirm window, if any still were
        self.assertEqual((failed, confirmed + unknown + not_sent), ({}, 2_000))
        connection = await txpika.connect(self.uri)
        channel = await connection.channel()
        count = (await channel.queue_declare(name, passive=True)).message_count
        self.assertLessEqual(confirmed, count)
        self.assertLessEqual(count, confirmed + unknown)
        await channel.queue_delete(name)
        await connection.close()
