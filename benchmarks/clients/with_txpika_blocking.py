# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of txpika's C{BlockingConnection}, without a thread.

Plain publishes are one call each. With confirms C{publish_many} keeps a window of them outstanding, as its docs advise:
C{basic_publish} would wait for each.
"""

from __future__ import annotations

from typing import Any

import txpika
from benchmarks.clients.base import BlockingProgram
from benchmarks.measure import Task


class TxpikaBlockingProgram(BlockingProgram):
    """On the blocking API."""

    library = "txpika"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.parameters = txpika.URLParameters(task.uri)
        self.parameters.confirm_window = task.window
        self.properties = txpika.BasicProperties(delivery_mode=1)

    def connect(self) -> Any:
        return txpika.BlockingConnection(self.parameters)

    def open_channel(self, connection: Any) -> Any:
        channel = connection.channel()
        if self.task.action == "confirmed":
            channel.confirm_delivery()
        return channel

    def declare(self, messages: int) -> None:
        for _ in range(messages):
            self.channels[0].queue_declare(queue=self.task.queue, passive=True)

    def publish(self, messages: int) -> None:
        """Each call returns when its message is written."""
        queue, body, properties = self.task.queue, self.body, self.properties
        for channel in self.in_turn(messages):
            channel.basic_publish("", queue, body, properties)
        self.declare(1)

    def confirmed(self, messages: int) -> None:
        """The call returns when the broker has taken the last."""
        message = ("", self.task.queue, self.body, self.properties)
        outcomes = self.channels[0].publish_many(message for _ in range(messages))
        assert not any(outcomes)
        self.declare(1)

    def consume(self) -> None:
        auto_ack = self.task.action == "auto_ack"
        if not auto_ack:
            self.channels[0].basic_qos(prefetch_count=self.task.prefetch)
        self.begin()
        self.channels[0].basic_consume(
            self.on_message if auto_ack else self.on_unacked, queue=self.task.queue, no_ack=auto_ack
        )

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
    TxpikaBlockingProgram(Task.from_stdin()).run()
