# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
One measurement of pika's Twisted adapter, through its ordinary public API.

Owns what that adapter does in each scenario. A module of its own, as it installs a reactor when imported. Run as
C{python -m benchmarks.with_pika_twisted} with a L{Task} on standard input.

What pika makes is C{Any} here: it publishes no types.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater, react

from benchmarks.measure import Meter, Task

#: Publishes between two turns of the reactor, and their bytes at most. pika queues without bound what is published in
#: one turn; of 50, 500 and 5,000 small messages 500 cost it the least CPU with little memory.
CHUNK = 500
CHUNK_BYTES = 1_000_000


class TwistedScenarios:
    """The scenarios as C{async def} code."""

    def __init__(self, task: Task, reactor: Any) -> None:
        """
        @param task: What to measure.
        @param reactor: Where to run it.
        """
        self.task = task
        self.reactor = reactor
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.properties: Any = pika.BasicProperties(delivery_mode=1)

    async def run(self) -> None:
        """Connect, measure, print, disconnect."""
        parameters: Any = pika.URLParameters(self.task.uri)
        endpoint = TCP4ClientEndpoint(self.reactor, parameters.host, parameters.port)
        connection: Any = await connectProtocol(endpoint, TwistedProtocolConnection(parameters, self.reactor))
        await connection.ready
        self.channel: Any = await connection.channel()
        if self.task.scenario in ("consume", "auto-ack"):
            await self.consume(self.task.scenario == "auto-ack")
        else:
            if self.task.scenario == "confirmed":
                await self.channel.confirm_delivery()
            batches = {"publish": self.publish, "confirmed": self.publish_confirmed, "declare": self.declare}
            await batches[self.task.scenario](self.task.warmup)
            self.meter.start()
            await batches[self.task.scenario](self.task.messages)
        self.meter.stop(pika.__version__)
        await connection.close()

    async def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all this channel sent before."""
        for _ in range(messages):
            await self.channel.queue_declare(self.task.queue, passive=True)

    async def publish(self, messages: int) -> None:
        """Publish in chunks, so that the reactor can write between them: the Deferred of a publish paces nothing."""
        chunk = min(CHUNK, max(CHUNK_BYTES // self.task.size, 1))
        for start in range(0, messages, chunk):
            for _ in range(min(chunk, messages - start)):
                self.channel.basic_publish("", self.task.queue, self.body, self.properties)
            await deferLater(self.reactor, 0)
        await self.declare(1)

    async def publish_confirmed(self, messages: int) -> None:
        """Keep the window full, awaiting the oldest publish."""
        outstanding: deque[Deferred[object]] = deque()
        for _ in range(messages):
            if len(outstanding) == self.task.window:
                await outstanding.popleft()
            outstanding.append(self.channel.basic_publish("", self.task.queue, self.body, self.properties))
        while outstanding:
            await outstanding.popleft()
        await self.declare(1)

    async def consume(self, auto_ack: bool) -> None:
        """Take messages one by one, and ack each unless the broker takes them for acked."""
        if not auto_ack:
            await self.channel.basic_qos(prefetch_count=self.task.prefetch)
        if not self.task.warmup:
            self.meter.start()
        messages, _tag = await self.channel.basic_consume(self.task.queue, auto_ack=auto_ack)
        await self.take(messages, self.task.warmup, auto_ack)
        if not self.meter.running:
            self.meter.start()
        await self.take(messages, self.task.messages, auto_ack)
        await self.declare(1)

    async def take(self, messages: Any, wanted: int, auto_ack: bool) -> None:
        """Get so many from the queue that pika fills."""
        for _ in range(wanted):
            message = await messages.get()
            if not auto_ack:
                self.channel.basic_ack(message.method.delivery_tag)


async def main(reactor: Any, task: Task) -> None:
    """Do the task."""
    await TwistedScenarios(task, reactor).run()


if __name__ == "__main__":
    react(main, (Task.from_stdin(),))
