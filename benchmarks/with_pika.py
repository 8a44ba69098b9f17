# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
One measurement of pika's blocking, select or asyncio adapter, through its ordinary public API.

Owns what these adapters do in each scenario; L{benchmarks.with_pika_twisted} has the fourth. Knows nothing of the other
libraries. Run as C{python -m benchmarks.with_pika} with a L{Task} on standard input.

What pika makes is C{Any} here: it publishes no types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from benchmarks.measure import Meter, Task

#: Publishes between two turns of the event loop, and their bytes at most. pika queues without bound what is published
#: in one turn; of 50, 500 and 5,000 small messages 500 cost it the least CPU with little memory.
CHUNK = 500
CHUNK_BYTES = 1_000_000


class BlockingScenarios:
    """The scenarios on pika's blocking adapter."""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.properties: Any = pika.BasicProperties(delivery_mode=1)
        self.received = 0

    def run(self) -> None:
        """Connect, measure, print, disconnect."""
        connection: Any = pika.BlockingConnection(pika.URLParameters(self.task.uri))
        self.channel: Any = connection.channel()
        if self.task.scenario in ("consume", "auto-ack"):
            self.consume(self.task.scenario == "auto-ack")
        else:
            batch = {"publish": self.publish, "declare": self.declare}[self.task.scenario]
            batch(self.task.warmup)
            self.meter.start()
            batch(self.task.messages)
        self.meter.stop(pika.__version__)
        connection.close()

    def publish(self, messages: int) -> None:
        """Each call returns when its message is written."""
        for _ in range(messages):
            self.channel.basic_publish("", self.task.queue, self.body, self.properties)
        self.declare(1)

    def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all this channel sent before."""
        for _ in range(messages):
            self.channel.queue_declare(self.task.queue, passive=True)

    def consume(self, auto_ack: bool) -> None:
        """Take messages in a callback, and ack each unless the broker takes them for acked."""
        if not auto_ack:
            self.channel.basic_qos(prefetch_count=self.task.prefetch)
        self.channel.basic_consume(self.task.queue, self.on_unacked if not auto_ack else self.on_message, auto_ack)
        if not self.task.warmup:
            self.meter.start()
        self.mark = (self.task.warmup or self.task.messages) * self.task.size
        self.channel.start_consuming()
        self.declare(1)

    def on_unacked(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Ack, then count."""
        channel.basic_ack(method.delivery_tag)
        self.on_message(channel, method, properties, body)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Count bytes."""
        self.received += len(body)
        if self.received == self.mark:
            if self.meter.running:
                channel.stop_consuming()
            else:
                self.meter.start()
                self.mark += self.task.messages * self.task.size


class CallbackScenarios:
    """The scenarios on pika's callback adapters, which differ in their event loop alone."""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.properties: Any = pika.BasicProperties(delivery_mode=1)
        self.received = 0
        self.published = 0
        self.unconfirmed: dict[int, None] = {}
        self.error: object = None

    def run(self) -> None:
        """Connect, measure, print, disconnect."""
        adapters: dict[str, Any] = {"select": pika.SelectConnection, "asyncio": AsyncioConnection}
        self.connection: Any = adapters[self.task.adapter](
            pika.URLParameters(self.task.uri),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self.on_channel),
            on_open_error_callback=self.on_failure,
            on_close_callback=self.on_close,
        )
        self.connection.ioloop.run_forever() if self.task.adapter == "asyncio" else self.connection.ioloop.start()
        if self.error is not None:
            raise SystemExit(f"pika: {self.error!r}")

    def on_failure(self, connection: Any, error: object) -> None:
        """There is no connection, or no channel any more."""
        self.error = error
        self.connection.ioloop.stop()

    def on_close(self, connection: Any, reason: object) -> None:
        """The connection ended: as it should, when everything was measured."""
        self.connection.ioloop.stop()

    def on_channel(self, channel: Any) -> None:
        """Begin to warm up."""
        self.channel = channel
        self.batch: Callable[[int], None]
        if self.task.scenario in ("consume", "auto-ack"):
            self.consume(self.task.scenario == "auto-ack")
        elif self.task.scenario == "confirmed":
            self.batch = self.publish_confirmed
            channel.confirm_delivery(self.on_confirm, callback=lambda frame: self.batch(self.task.warmup))
        else:
            self.batch = {"publish": self.publish, "declare": self.declare}[self.task.scenario]
            self.batch(self.task.warmup)

    def batch_done(self) -> None:
        """The broker has everything of a batch: of the warm-up, or of what is measured."""
        if self.meter.running:
            self.meter.stop(pika.__version__)
            self.connection.close()
        else:
            self.meter.start()
            self.batch(self.task.messages)

    def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all this channel sent before."""
        self.left = messages
        self.ask()

    def ask(self) -> None:
        """One round trip."""
        self.channel.queue_declare(self.task.queue, passive=True, callback=self.on_answer)

    def on_answer(self, frame: Any) -> None:
        """Ask again, until all are done."""
        self.left -= 1
        if self.left > 0:
            self.ask()
        else:
            self.batch_done()

    def publish(self, messages: int) -> None:
        """Publish in chunks, so that the loop can write between them."""
        self.left = messages
        self.publish_chunk()

    def publish_chunk(self) -> None:
        """Publish some, and come back."""
        chunk = min(CHUNK, max(CHUNK_BYTES // self.task.size, 1), self.left)
        for _ in range(chunk):
            self.channel.basic_publish("", self.task.queue, self.body, self.properties)
        self.left -= chunk
        if self.left:
            self.connection.ioloop.call_later(0, self.publish_chunk)
        else:
            self.declare(1)

    def publish_confirmed(self, messages: int) -> None:
        """Publish as long as the window has room, and again when the broker confirmed some."""
        self.last = self.published + messages
        self.fill_window()

    def fill_window(self) -> None:
        """Publish what the window has room for."""
        room = self.task.window - len(self.unconfirmed)
        for _ in range(min(room, self.last - self.published)):
            self.published += 1
            self.unconfirmed[self.published] = None
            self.channel.basic_publish("", self.task.queue, self.body, self.properties)

    def on_confirm(self, frame: Any) -> None:
        """Note what the broker confirmed: one publish, or all up to one."""
        tag = frame.method.delivery_tag
        if frame.method.multiple:
            while self.unconfirmed and (first := next(iter(self.unconfirmed))) <= tag:
                del self.unconfirmed[first]
        else:
            del self.unconfirmed[tag]
        if self.published < self.last:
            self.fill_window()
        elif not self.unconfirmed:
            self.declare(1)

    def consume(self, auto_ack: bool) -> None:
        """Take messages in a callback, and ack each unless the broker takes them for acked."""
        if not auto_ack:
            self.channel.basic_qos(prefetch_count=self.task.prefetch)
        if not self.task.warmup:
            self.meter.start()
        self.mark = (self.task.warmup or self.task.messages) * self.task.size
        self.channel.basic_consume(self.task.queue, self.on_unacked if not auto_ack else self.on_message, auto_ack)

    def on_unacked(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Ack, then count."""
        channel.basic_ack(method.delivery_tag)
        self.on_message(channel, method, properties, body)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Count bytes."""
        self.received += len(body)
        if self.received == self.mark:
            if self.meter.running:
                self.declare(1)
            else:
                self.meter.start()
                self.mark += self.task.messages * self.task.size


def main() -> None:
    """Do the task on standard input."""
    task = Task.from_stdin()
    if task.adapter == "blocking":
        BlockingScenarios(task).run()
    else:
        CallbackScenarios(task).run()


if __name__ == "__main__":
    main()
