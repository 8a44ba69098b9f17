# -*- test-case-name: benchmarks.test.test_processes -*-
"""
What the measuring programs that use callbacks share, and what those that publish in chunks do.

Owns the order of things where each step is taken by a callback. Like L{benchmarks.clients.base}, knows no library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

from benchmarks.clients.base import OPENED_BEFORE, Program
from benchmarks.scenario import OPENING

#: Most publishes between two turns of an event loop, and most of their bytes, for libraries that queue without bound
#: what is published in one turn; of 50, 500 and 5,000 small messages 500 cost pika the least CPU with little memory.
CHUNK = 500
CHUNK_BYTES = 1_000_000


class CallbackProgram(Program, ABC):
    """
    A library that calls back. Those measured here agree in all that runs per message, except the names of arguments.

    @ivar connection: Its connection.
    @ivar properties: Those of all messages.
    """

    connection: Any
    properties: Any

    def run(self) -> None:
        """Connect, measure, print, disconnect."""
        self.connection = self.connect(self.on_open)
        self.run_loop()

    @abstractmethod
    def connect(self, on_open: Callable[[Any], object]) -> Any:
        """Return a connection that calls C{on_open} when it is open."""

    @abstractmethod
    def run_loop(self) -> None:
        """Run until L{stop_loop}."""

    @abstractmethod
    def stop_loop(self) -> None:
        """The connection has ended."""

    @abstractmethod
    def open_channel(self, on_open: Callable[[Any], object]) -> None:
        """Open a channel of the connection; C{on_open} is called when it is open."""

    @abstractmethod
    def ask(self, on_answer: Callable[[Any], object]) -> None:
        """One passive declare on the first channel."""

    @abstractmethod
    def qos(self, on_answer: Callable[[Any], object]) -> None:
        """Let as many messages be outstanding on the first channel as the task says."""

    @abstractmethod
    def start_consumer(self, on_message: Callable[..., object], on_started: Callable[[Any], object]) -> None:
        """Start a consumer of the queue on the first channel."""

    @abstractmethod
    def select_confirms(self, on_confirm: Callable[[Any], object], on_selected: Callable[[Any], object]) -> None:
        """Put the first channel into confirm mode."""

    def on_open(self, connection: Any) -> None:
        """Open what the task asks for, or the channels that it needs."""
        if self.task.action in OPENING:
            self.left = OPENED_BEFORE + self.task.messages
            self.open_next(None)
        else:
            self.open_channel(self.on_channel)

    def open_next(self, opened: Any) -> None:
        """One is open: open another."""
        if opened is not None:
            self.kept.append(opened)
            self.left -= 1
        if self.left == self.task.messages:
            self.meter.start()
        if self.left == 0:
            self.meter.stop_resting(self.library)
            self.close()
        elif self.task.action == "connections":
            self.connect(self.open_next)
        else:
            self.open_channel(self.open_next)

    def close(self) -> None:
        """The end."""
        self.connection.close()

    def on_channel(self, channel: Any) -> None:
        """Open another, or begin to warm up."""
        self.channels.append(channel)
        if len(self.channels) < self.task.channels:
            self.open_channel(self.on_channel)
            return
        self.channel = self.channels[0]
        self.turns = cycle(self.channels)
        if self.task.action == "confirmed":
            self.published = 0
            self.unconfirmed: dict[int, None] = {}
            self.select_confirms(self.on_confirm, lambda _frame: self.batch(self.task.warmup))
        elif self.task.action == "auto_ack":
            self.begin()
            self.start_consumer(self.on_message, lambda _frame: None)
        elif self.task.action == "consume":
            self.qos(lambda _frame: self.consume())
        else:
            self.batch(self.task.warmup)

    def batch(self, messages: int) -> None:
        """Do it this many times."""
        getattr(self, self.task.action)(messages)

    def batch_done(self) -> None:
        """The broker has everything of a batch: of the warm-up, or of what is measured."""
        if self.meter.running:
            self.meter.stop(self.library)
            self.close()
        else:
            self.meter.start()
            self.batch(self.task.messages)

    def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all that this connection sent before."""
        self.left = messages
        self.ask(self.on_answer)

    def on_answer(self, _frame: Any) -> None:
        """Ask again, until all are done."""
        self.left -= 1
        if self.left > 0:
            self.ask(self.on_answer)
        else:
            self.batch_done()

    @abstractmethod
    def soon(self, call: Callable[[], object]) -> None:
        """Call C{call} after the loop has had a turn."""

    def publish(self, messages: int) -> None:
        """Publish in chunks, so that the loop can write between them."""
        self.left = messages
        self.publish_chunk()

    def publish_chunk(self) -> None:
        """Publish some, and come back."""
        chunk = min(CHUNK, max(CHUNK_BYTES // self.task.size, 1), self.left)
        queue, body, properties = self.task.queue, self.body, self.properties
        for channel in islice(self.turns, chunk):
            channel.basic_publish("", queue, body, properties)
        self.left -= chunk
        if self.left:
            self.soon(self.publish_chunk)
        else:
            self.declare(1)

    def confirmed(self, messages: int) -> None:
        """Publish while the window has room, and again when the broker has confirmed some."""
        self.last = self.published + messages
        self.fill_window()

    def fill_window(self) -> None:
        """Publish what the window has room for."""
        room = self.task.window - len(self.unconfirmed)
        queue, body, properties = self.task.queue, self.body, self.properties
        for _ in range(min(room, self.last - self.published)):
            self.published += 1
            self.unconfirmed[self.published] = None
            self.channel.basic_publish("", queue, body, properties)

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

    def consume(self) -> None:
        """Take messages, and ack each."""
        if self.task.consumers:
            self.left = self.task.consumers
            self.start_consumer(self.on_shared, self.on_consumer)
        else:
            self.begin()
            self.start_consumer(self.on_unacked, lambda _frame: None)

    def on_consumer(self, _frame: Any) -> None:
        """One of many consumers is there."""
        self.left -= 1
        if self.left:
            self.start_consumer(self.on_shared, self.on_consumer)
        else:
            self.all_consumers_are_there(lambda delivery: self.on_shared(*delivery))

    def on_shared(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """One of many consumers got a message."""
        if self.early is None:
            channel.basic_ack(method.delivery_tag)
            self.received += len(body)
            if self.received == self.mark and self.passed():
                self.declare(1)
        else:
            self.early.append((channel, method, properties, body))

    def on_unacked(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Ack, then count."""
        channel.basic_ack(method.delivery_tag)
        self.received += len(body)
        if self.received == self.mark and self.passed():
            self.declare(1)

    def on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """Count."""
        self.received += len(body)
        if self.received == self.mark and self.passed():
            self.declare(1)
