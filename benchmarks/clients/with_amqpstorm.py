# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of amqpstorm, which blocks, and reads in a thread of its own.

Its confirm mode has no window: it waits for each message. Consumers get message objects, as its docs advise, without
decoding of bodies and properties; tuples cost about the same.
"""

from __future__ import annotations

from typing import Any

import amqpstorm

from benchmarks.clients.base import BlockingProgram
from benchmarks.measure import Task


class AmqpstormProgram(BlockingProgram):
    """On its only API."""

    library = "amqpstorm"

    def connect(self) -> Any:
        return amqpstorm.UriConnection(self.task.uri)

    def open_channel(self, connection: Any) -> Any:
        channel = connection.channel()
        if self.task.action == "confirmed":
            channel.confirm_deliveries()
        return channel

    def declare(self, messages: int) -> None:
        for _ in range(messages):
            self.channels[0].queue.declare(self.task.queue, passive=True)

    def publish(self, messages: int) -> None:
        """Each call returns when its message is written."""
        queue, body, properties = self.task.queue, self.body, {"delivery_mode": 1}
        for channel in self.in_turn(messages):
            channel.basic.publish(body, queue, properties=properties)
        self.declare(1)

    def confirmed(self, messages: int) -> None:
        """Each call returns when the broker has taken its message."""
        self.publish(messages)

    def consume(self) -> None:
        auto_ack = self.task.action == "auto_ack"
        channel = self.channels[0]
        if not auto_ack:
            channel.basic.qos(self.task.prefetch)
        self.begin()
        channel.basic.consume(self.on_message if auto_ack else self.on_unacked, self.task.queue, no_ack=auto_ack)
        channel.start_consuming(auto_decode=False)

    def on_message(self, message: Any) -> None:
        """Count."""
        self.received += len(message.body)
        if self.received == self.mark and self.passed():
            message.channel.stop_consuming()

    def on_unacked(self, message: Any) -> None:
        """Ack, then count."""
        message.ack()
        self.received += len(message.body)
        if self.received == self.mark and self.passed():
            message.channel.stop_consuming()


if __name__ == "__main__":
    AmqpstormProgram(Task.from_stdin()).run()
