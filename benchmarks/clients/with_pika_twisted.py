# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of pika's Twisted adapter. A module of its own, as that adapter installs a reactor when imported.

Publishes come in chunks between two turns of the reactor: the Deferred of a publish paces nothing. Messages come
through the queue that its docs read from.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater, react

from benchmarks.clients.base import AsyncProgram
from benchmarks.clients.callbacks import CHUNK, CHUNK_BYTES
from benchmarks.measure import Task


class PikaTwistedProgram(AsyncProgram):
    """On the API of Deferreds."""

    library = "pika"

    def __init__(self, task: Task, reactor: Any) -> None:
        """
        @param task: What to measure.
        @param reactor: Where to run it.
        """
        super().__init__(task)
        self.reactor = reactor
        self.properties: Any = pika.BasicProperties(delivery_mode=1)

    async def connect(self) -> Any:
        parameters: Any = pika.URLParameters(self.task.uri)
        endpoint = TCP4ClientEndpoint(self.reactor, parameters.host, parameters.port)
        connection: Any = await connectProtocol(endpoint, TwistedProtocolConnection(parameters, self.reactor))
        await connection.ready
        return connection

    async def open_channel(self, connection: Any) -> Any:
        channel = await connection.channel()
        if self.task.action == "confirmed":
            await channel.confirm_delivery()
        return channel

    async def declare(self, messages: int) -> None:
        for _ in range(messages):
            await self.channels[0].queue_declare(self.task.queue, passive=True)

    async def publish(self, messages: int) -> None:
        """Publish in chunks, so that the reactor can write between them."""
        queue, body, properties = self.task.queue, self.body, self.properties
        chunk = min(CHUNK, max(CHUNK_BYTES // self.task.size, 1))
        channel = self.channels[0]
        for start in range(0, messages, chunk):
            for _ in range(min(chunk, messages - start)):
                channel.basic_publish("", queue, body, properties)
            await deferLater(self.reactor, 0)
        await self.declare(1)

    async def confirmed(self, messages: int) -> None:
        """Keep the window full, awaiting the oldest publish."""
        channel, queue, body, properties = self.channels[0], self.task.queue, self.body, self.properties
        outstanding: deque[Deferred[object]] = deque()
        for _ in range(messages):
            if len(outstanding) == self.task.window:
                await outstanding.popleft()
            outstanding.append(channel.basic_publish("", queue, body, properties))
        while outstanding:
            await outstanding.popleft()
        await self.declare(1)

    async def consume(self) -> None:
        auto_ack = self.task.action == "auto_ack"
        channel = self.channels[0]
        if not auto_ack:
            await channel.basic_qos(prefetch_count=self.task.prefetch)
        self.begin()
        messages, _tag = await channel.basic_consume(self.task.queue, auto_ack=auto_ack)
        while True:
            message = await messages.get()
            if not auto_ack:
                channel.basic_ack(message.method.delivery_tag)
            self.received += len(message.body)
            if self.received == self.mark and self.passed():
                return


async def main(reactor: Any, task: Task) -> None:
    """Do the task."""
    await PikaTwistedProgram(task, reactor).run()


if __name__ == "__main__":
    react(main, (Task.from_stdin(),))
