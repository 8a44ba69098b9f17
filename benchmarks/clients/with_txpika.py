# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of txpika: C{async def} code on the default reactor.

Each publish is awaited, so that backpressure reaches the program; consumers are plain callbacks.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika
from benchmarks.clients.base import AsyncProgram
from benchmarks.measure import Task


class TxpikaProgram(AsyncProgram):
    """On the API of Deferreds."""

    library = "txpika"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.properties = txpika.BasicProperties(delivery_mode=1)
        self.all_received: Deferred[None] = Deferred()

    async def connect(self) -> Any:
        return await txpika.connect(self.task.uri)

    async def open_channel(self, connection: Any) -> Any:
        channel = await connection.channel()
        if self.task.action in ("confirmed", "mandatory"):
            await channel.confirm_select()
        return channel

    async def declare(self, messages: int) -> None:
        for _ in range(messages):
            await self.channels[0].queue_declare(self.task.queue, passive=True)

    async def publish(self, messages: int) -> None:
        """Await each publish."""
        queue, body, properties = self.task.queue, self.body, self.properties
        for channel in self.in_turn(messages):
            await channel.basic_publish("", queue, body, properties)
        await self.declare(1)

    async def unawaited(self, messages: int) -> None:
        """Await the last publish of each 100: a program that makes its messages in small batches."""
        channel, queue, body, properties = self.channels[0], self.task.queue, self.body, self.properties
        for start in range(0, messages, 100):
            for _ in range(min(100, messages - start) - 1):
                channel.basic_publish("", queue, body, properties)
            await channel.basic_publish("", queue, body, properties)
        await self.declare(1)

    async def confirmed(self, messages: int, mandatory: bool = False) -> None:
        """Keep the window full, awaiting the oldest publish."""
        channel, queue, body, properties = self.channels[0], self.task.queue, self.body, self.properties
        window = self.task.window
        outstanding: deque[Deferred[Any]] = deque()
        for _ in range(messages):
            if len(outstanding) == window:
                await outstanding.popleft()
            outstanding.append(channel.basic_publish("", queue, body, properties, mandatory=mandatory))
        while outstanding:
            await outstanding.popleft()
        await self.declare(1)

    async def mandatory(self, messages: int) -> None:
        """The same, for messages that must be routed."""
        await self.confirmed(messages, True)

    async def consume(self) -> None:
        channel, queue, consumers = self.channels[0], self.task.queue, self.task.consumers
        auto_ack = self.task.action == "auto_ack"
        if not auto_ack:
            await channel.basic_qos(self.task.prefetch, self.together)
        if consumers:
            for _ in range(consumers):
                await channel.basic_consume(queue, self.on_shared)
            self.all_consumers_are_there(self.on_shared)
        else:
            self.begin()
            await channel.basic_consume(queue, self.on_message if auto_ack else self.on_unacked, no_ack=auto_ack)
        await self.all_received

    def on_message(self, delivery: txpika.Delivery) -> None:
        """Count."""
        self.received += len(delivery.body)
        if self.received == self.mark and self.passed():
            self.all_received.callback(None)

    def on_unacked(self, delivery: txpika.Delivery) -> None:
        """Ack, then count."""
        delivery.ack()
        self.received += len(delivery.body)
        if self.received == self.mark and self.passed():
            self.all_received.callback(None)

    def on_shared(self, delivery: txpika.Delivery) -> None:
        """One of many consumers got a message."""
        if self.early is None:
            delivery.ack()
            self.received += len(delivery.body)
            if self.received == self.mark and self.passed():
                self.all_received.callback(None)
        else:
            self.early.append(delivery)


async def main(reactor: object, task: Task) -> None:
    """Do the task."""
    await TxpikaProgram(task).run()


if __name__ == "__main__":
    react(main, (Task.from_stdin(),))
