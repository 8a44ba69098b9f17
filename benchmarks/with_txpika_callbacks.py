# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
One measurement of txpika's adapters that are not Twisted's: C{SelectConnection}, and the blocking facade.

Owns what these do in each scenario. Knows nothing of the other libraries. Run as
C{python -m benchmarks.with_txpika_callbacks} with a L{Task} on standard input.
"""

from __future__ import annotations

from typing import Any

import txpika
from benchmarks.measure import Meter, Task
from txpika.adapters.blocking_channel import BlockingChannel
from txpika.adapters.blocking_connection import BlockingConnection
from txpika.adapters.callback_channel import Channel
from txpika.adapters.select_connection import SelectConnection

#: Publishes between two turns of the event loop, as in L{benchmarks.with_pika}.
CHUNK = 500


class Counting:
    """Counts the bytes that were received, up to the end of the warm-up and then to the end."""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.properties = txpika.BasicProperties(delivery_mode=1)
        self.received = 0
        self.mark = (task.warmup or task.messages) * task.size

    def begin(self) -> None:
        """Without a warm-up what is measured begins with the first message."""
        if not self.task.warmup:
            self.meter.start()

    def counted(self, size: int) -> bool:
        """Count one message; return whether it was the last."""
        self.received += size
        if self.received < self.mark:
            return False
        if self.meter.running:
            return True
        self.meter.start()
        self.mark += self.task.messages * self.task.size
        return False


class BlockingScenarios(Counting):
    """The scenarios on the blocking facade."""

    channel: BlockingChannel

    def run(self) -> None:
        """Connect, measure, print, disconnect."""
        with BlockingConnection(self.task.uri) as connection:
            self.channel = connection.channel()
            if self.task.scenario == "auto-ack":
                self.begin()
                self.channel.basic_consume(self.on_message, queue=self.task.queue, no_ack=True)
                self.channel.queue_declare(queue=self.task.queue, passive=True)
            else:
                self.publish(self.task.warmup)
                self.meter.start()
                self.publish(self.task.messages)
            self.meter.stop(txpika.__version__)

    def publish(self, messages: int) -> None:
        """Each call returns when its message is written; when the last is answered, the broker has taken them."""
        for _ in range(messages):
            self.channel.basic_publish("", self.task.queue, self.body, self.properties)
        self.channel.queue_declare(queue=self.task.queue, passive=True)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Count."""
        if self.counted(len(body)):
            channel.stop_consuming()


class SelectScenarios(Counting):
    """The scenarios on our own loop."""

    channel: Channel

    def run(self) -> None:
        """Connect, measure, print, disconnect."""
        self.connection = SelectConnection(self.task.uri, self.on_open)
        self.connection.add_on_close_callback(lambda connection: connection.ioloop.stop())
        self.connection.ioloop.start()

    def on_open(self, connection: SelectConnection) -> None:
        """Begin to warm up."""
        self.channel = connection.channel()
        if self.task.scenario == "auto-ack":
            self.begin()
            self.channel.basic_consume(self.on_message, queue=self.task.queue, no_ack=True)
        else:
            self.publish(self.task.warmup)

    def publish(self, messages: int) -> None:
        """Publish some, and come back, until all are published and the broker has taken them."""
        for _ in range(min(CHUNK, messages)):
            self.channel.basic_publish("", self.task.queue, self.body, self.properties)
        left = messages - min(CHUNK, messages)
        if left:
            self.connection.ioloop.call_later(0, self.publish, left)
        else:
            self.channel.queue_declare(self.on_answer, queue=self.task.queue, passive=True)

    def on_answer(self, _frame: Any) -> None:
        """The broker has everything of a batch."""
        if self.meter.running or self.task.scenario == "auto-ack":
            self.meter.stop(txpika.__version__)
            self.connection.close()
        else:
            self.meter.start()
            self.publish(self.task.messages)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Count."""
        if self.counted(len(body)):
            channel.queue_declare(self.on_answer, queue=self.task.queue, passive=True)


def main() -> None:
    """Do the task on standard input."""
    task = Task.from_stdin()
    (BlockingScenarios if task.adapter == "blocking" else SelectScenarios)(task).run()


if __name__ == "__main__":
    main()
