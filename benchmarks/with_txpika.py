# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
One measurement of txpika: C{async def} code on the default reactor.

Owns what txpika does in each scenario. Knows nothing of the other libraries. Run as C{python -m benchmarks.with_txpika}
with a L{Task} on standard input.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika
from benchmarks.measure import Meter, Task


class TxpikaScenarios:
    """The scenarios."""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.properties = txpika.BasicProperties(delivery_mode=1)
        self.received = 0
        self.all_received: Deferred[None] = Deferred()

    async def run(self) -> None:
        """Connect, measure, print, disconnect."""
        connection = await txpika.connect(self.task.uri)
        self.channel = await connection.channel()
        if self.task.scenario in ("consume", "auto-ack"):
            await self.consume(self.task.scenario == "auto-ack")
        else:
            if self.task.scenario in ("confirmed", "mandatory"):
                await self.channel.confirm_select()
            batches = {
                "publish": self.publish,
                "unawaited": self.publish_unawaited,
                "confirmed": self.publish_confirmed,
                "mandatory": self.publish_confirmed,
                "declare": self.declare,
            }
            await batches[self.task.scenario](self.task.warmup)
            self.meter.start()
            await batches[self.task.scenario](self.task.messages)
        self.meter.stop(txpika.__version__)
        await connection.close()

    async def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all this channel sent before."""
        for _ in range(messages):
            await self.channel.queue_declare(self.task.queue, passive=True)

    async def publish(self, messages: int) -> None:
        """Await each publish: backpressure reaches this loop."""
        for _ in range(messages):
            await self.channel.basic_publish("", self.task.queue, self.body, self.properties)
        await self.declare(1)

    async def publish_unawaited(self, messages: int) -> None:
        """Await the last publish of each 100: a program that makes its messages in small batches."""
        for start in range(0, messages, 100):
            for _ in range(min(100, messages - start) - 1):
                self.channel.basic_publish("", self.task.queue, self.body, self.properties)
            await self.channel.basic_publish("", self.task.queue, self.body, self.properties)
        await self.declare(1)

    async def publish_confirmed(self, messages: int) -> None:
        """Keep the window full, awaiting the oldest publish."""
        mandatory = self.task.scenario == "mandatory"
        outstanding: deque[Deferred[Any]] = deque()
        for _ in range(messages):
            if len(outstanding) == self.task.window:
                await outstanding.popleft()
            outstanding.append(
                self.channel.basic_publish("", self.task.queue, self.body, self.properties, mandatory=mandatory)
            )
        while outstanding:
            await outstanding.popleft()
        await self.declare(1)

    async def consume(self, auto_ack: bool) -> None:
        """Take messages in a plain callback, and ack each unless the broker takes them for acked."""
        if not auto_ack:
            await self.channel.basic_qos(prefetch_count=self.task.prefetch)
        if not self.task.warmup:
            self.meter.start()
        self.mark = (self.task.warmup or self.task.messages) * self.task.size
        on_delivery = self.on_message if auto_ack else self.on_unacked
        await self.channel.basic_consume(self.task.queue, on_delivery, no_ack=auto_ack)
        await self.all_received
        await self.declare(1)

    def on_unacked(self, delivery: txpika.Delivery) -> None:
        """Ack, then count."""
        delivery.ack()
        self.on_message(delivery)

    def on_message(self, delivery: txpika.Delivery) -> None:
        """Count bytes."""
        self.received += len(delivery.body)
        if self.received == self.mark:
            if self.meter.running:
                self.all_received.callback(None)
            else:
                self.meter.start()
                self.mark += self.task.messages * self.task.size


async def main(reactor: object, task: Task) -> None:
    """Do the task."""
    await TxpikaScenarios(task).run()


if __name__ == "__main__":
    react(main, (Task.from_stdin(),))
