# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of aio-pika, on asyncio's own loop.

A plain connection, not the robust one, which costs more; plain publishes on a channel that is opened without
confirms. With confirms the window is kept full by one task per message, the oldest awaited; C{asyncio.gather} over
batches and a semaphore cost about the same. Consumers are callbacks; its C{async for} costs a third more. uvloop is not
used, as txpika and pika do without it, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import aio_pika

from benchmarks.clients.base import AsyncProgram
from benchmarks.measure import Task


class AioPikaProgram(AsyncProgram):
    """On its only API."""

    library = "aio-pika"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.all_received: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> Any:
        return await aio_pika.connect(self.task.uri)

    async def open_channel(self, connection: Any) -> Any:
        return await connection.channel(publisher_confirms=self.task.action == "confirmed")

    async def declare(self, messages: int) -> None:
        for _ in range(messages):
            await self.channels[0].declare_queue(self.task.queue, durable=True, passive=True)

    async def publish(self, messages: int) -> None:
        """Await each publish."""
        queue, body = self.task.queue, self.body
        for channel in self.in_turn(messages):
            message = aio_pika.Message(body, delivery_mode=1)
            await channel.default_exchange.publish(message, queue, mandatory=False)
        await self.declare(1)

    async def confirmed(self, messages: int) -> None:
        """Keep the window full, awaiting the oldest publish."""
        publish, queue, body = self.channels[0].default_exchange.publish, self.task.queue, self.body
        outstanding: deque[asyncio.Task[Any]] = deque()
        for _ in range(messages):
            if len(outstanding) == self.task.window:
                await outstanding.popleft()
            message = aio_pika.Message(body, delivery_mode=1)
            outstanding.append(asyncio.create_task(publish(message, queue, mandatory=False)))
        while outstanding:
            await outstanding.popleft()
        await self.declare(1)

    async def consume(self) -> None:
        auto_ack = self.task.action == "auto_ack"
        channel = self.channels[0]
        if not auto_ack:
            await channel.set_qos(self.task.prefetch)
        queue = await channel.get_queue(self.task.queue)
        self.begin()
        await queue.consume(self.on_message if auto_ack else self.on_unacked, no_ack=auto_ack)
        await self.all_received

    async def on_message(self, message: Any) -> None:
        """Count."""
        self.received += len(message.body)
        if self.received == self.mark and self.passed():
            self.all_received.set_result(None)

    async def on_unacked(self, message: Any) -> None:
        """Ack, then count."""
        await message.ack()
        self.received += len(message.body)
        if self.received == self.mark and self.passed():
            self.all_received.set_result(None)


async def main(task: Task) -> None:
    """Do the task."""
    await AioPikaProgram(task).run()


if __name__ == "__main__":
    asyncio.run(main(Task.from_stdin()))
