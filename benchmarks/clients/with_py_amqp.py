# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of py-amqp, which is blocking.

Its own confirm mode waits for each message. Here C{confirm_select} and an entry in the channel's C{events}, its kind of
callback, keep a window outstanding, which costs it less. Its passive declares are plain calls. One message object is
reused for all publishes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import amqp

from benchmarks.clients.base import BlockingProgram
from benchmarks.measure import Task

#: As for the others: frames of RabbitMQ's own size.
FRAME_MAX = 131_072
#: Seconds; what RabbitMQ offers and the others accept. py-amqp sends heartbeats only when told to, so a measurement
#: must be over before RabbitMQ misses two.
HEARTBEAT = 60


class PyAmqpProgram(BlockingProgram):
    """On its only API."""

    library = "amqp"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.message: Any = amqp.Message(self.body, delivery_mode=1)
        self.published = 0
        self.unconfirmed: dict[int, None] = {}

    def connect(self) -> Any:
        parts = urlsplit(self.task.uri)
        connection: Any = amqp.Connection(
            f"{parts.hostname}:{parts.port or 5672}",
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path[1:]),
            frame_max=FRAME_MAX,
            heartbeat=HEARTBEAT,
        )
        connection.connect()
        self.connection = connection
        return connection

    def open_channel(self, connection: Any) -> Any:
        channel = connection.channel()
        if self.task.action == "confirmed":
            channel.confirm_select()
            channel.events["basic_ack"].add(self.on_confirm)
        return channel

    def declare(self, messages: int) -> None:
        for _ in range(messages):
            self.channels[0].queue_declare(self.task.queue, passive=True)

    def publish(self, messages: int) -> None:
        """Each call returns when its message is written."""
        queue, message = self.task.queue, self.message
        for channel in self.in_turn(messages):
            channel.basic_publish(message, "", queue)
        self.declare(1)

    def confirmed(self, messages: int) -> None:
        """Fill the window, and wait for room in it."""
        publish, queue, message = self.channels[0].basic_publish, self.task.queue, self.message
        for _ in range(messages):
            while len(self.unconfirmed) >= self.task.window:
                self.connection.drain_events()
            self.published += 1
            self.unconfirmed[self.published] = None
            publish(message, "", queue)
        while self.unconfirmed:
            self.connection.drain_events()
        self.declare(1)

    def on_confirm(self, tag: int, multiple: bool) -> None:
        """The broker confirmed one publish, or all up to one."""
        if multiple:
            while self.unconfirmed and (first := next(iter(self.unconfirmed))) <= tag:
                del self.unconfirmed[first]
        else:
            del self.unconfirmed[tag]

    def consume(self) -> None:
        auto_ack = self.task.action == "auto_ack"
        channel = self.channel = self.channels[0]
        if not auto_ack:
            channel.basic_qos(0, self.task.prefetch, False)
        self.begin()
        self.going_on = True
        channel.basic_consume(
            self.task.queue, no_ack=auto_ack, callback=self.on_message if auto_ack else self.on_unacked
        )
        drain = self.connection.drain_events
        while self.going_on:
            drain()

    def on_message(self, message: Any) -> None:
        """Count."""
        self.received += len(message.body)
        if self.received == self.mark:
            self.going_on = not self.passed()

    def on_unacked(self, message: Any) -> None:
        """Ack, then count."""
        self.channel.basic_ack(message.delivery_tag)
        self.received += len(message.body)
        if self.received == self.mark:
            self.going_on = not self.passed()


if __name__ == "__main__":
    PyAmqpProgram(Task.from_stdin()).run()
