# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of aiormq, on asyncio's own loop.

Plain publishes are awaited, on a channel that is opened without confirms; messages are transient by default. With
confirms the window is kept full by one task per message, the oldest awaited.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import aiormq

from benchmarks.clients.base import AsyncProgram
from benchmarks.measure import Task


class AiormqProgram(AsyncProgram):
    """On its only API."""

    library = "aiormq"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.all_received: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> Any:
        return await aiormq.connect(self.task.uri)

    async def open_channel(self, connection: Any) -> Any:
        return await connection.channel(publisher_confirms=self.task.action == "confirmed")

    async def declare(self, messages: int) -> None:
        for _ in range(messages):
            await self.channels[0].queue_declare(self.task.queue, durable=True, passive=True)

    async def publish(self, messages: int) -> None:
        """Await each publish."""
        queue, body = self.task.queue, self.body
        for channel in self.in_turn(messages):
            await channel.basic_publish(body, routing_key=queue)
        await self.declare(1)

    async def confirmed(self, messages: int) -> None:
        """Keep the window full, awaiting the oldest publish."""
        publish, queue, body = self.channels[0].basic_publish, self.task.queue, self.body
        outstanding: deque[asyncio.Task[Any]] = deque()
        for _ in range(messages):
            if len(outstanding) == self.task.window:
                await outstanding.popleft()
            outstanding.append(asyncio.create_task(publish(body, routing_key=queue)))
        while outstanding:
            await outstanding.popleft()
        await self.declare(1)

    async def consume(self) -> None:
        auto_ack = self.task.action == "auto_ack"
        self.channel = self.channels[0]
        if not auto_ack:
            await self.channel.basic_qos(prefetch_count=self.task.prefetch)
        self.begin()
        await self.channel.basic_consume(
            self.task.queue, self.on_message if auto_ack else self.on_unacked, no_ack=auto_ack
        )
        await self.all_received

    async def on_message(self, message: Any) -> None:
        """Count."""
        self.received += len(message.body)
        if self.received == self.mark and self.passed():
            self.all_received.set_result(None)

    async def on_unacked(self, message: Any) -> None:
        """Ack, then count."""
        await self.channel.basic_ack(message.delivery.delivery_tag)
        self.received += len(message.body)
        if self.received == self.mark and self.passed():
            self.all_received.set_result(None)


async def main(task: Task) -> None:
    """Do the task."""
    await AiormqProgram(task).run()


if __name__ == "__main__":
    asyncio.run(main(Task.from_stdin()))
