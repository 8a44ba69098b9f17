# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of pika's C{BlockingConnection}.

Its C{basic_publish} has no window: in confirm mode it waits for each message. Consumers are callbacks; its generator
C{consume()} costs about the same.
"""

from __future__ import annotations

from typing import Any

import pika

from benchmarks.clients.base import BlockingProgram
from benchmarks.measure import Task


class PikaBlockingProgram(BlockingProgram):
    """On the blocking API."""

    library = "pika"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.properties: Any = pika.BasicProperties(delivery_mode=1)

    def connect(self) -> Any:
        return pika.BlockingConnection(pika.URLParameters(self.task.uri))

    def open_channel(self, connection: Any) -> Any:
        channel = connection.channel()
        if self.task.action == "confirmed":
            channel.confirm_delivery()
        return channel

    def declare(self, messages: int) -> None:
        for _ in range(messages):
            self.channels[0].queue_declare(self.task.queue, passive=True)

    def publish(self, messages: int) -> None:
        """Each call returns when its message is written."""
        queue, body, properties = self.task.queue, self.body, self.properties
        for channel in self.in_turn(messages):
            channel.basic_publish("", queue, body, properties)
        self.declare(1)

    def confirmed(self, messages: int) -> None:
        """Each call returns when the broker has taken its message."""
        self.publish(messages)

    def consume(self) -> None:
        channel = self.channels[0]
        auto_ack = self.task.action == "auto_ack"
        if not auto_ack:
            channel.basic_qos(prefetch_count=self.task.prefetch)
        channel.basic_consume(self.task.queue, self.on_message if auto_ack else self.on_unacked, auto_ack)
        self.begin()
        channel.start_consuming()

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Count."""
        self.received += len(body)
        if self.received == self.mark and self.passed():
            channel.stop_consuming()

    def on_unacked(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Ack, then count."""
        channel.basic_ack(method.delivery_tag)
        self.received += len(body)
        if self.received == self.mark and self.passed():
            channel.stop_consuming()


if __name__ == "__main__":
    PikaBlockingProgram(Task.from_stdin()).run()
