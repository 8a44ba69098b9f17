# -*- test-case-name: benchmarks.test.test_processes -*-
"""
What the measuring programs in Python share: the order of things in a measurement, and the counting of messages.

Owns when the meter starts and stops. Knows no library: a program fills in how its library connects, publishes and
consumes. What runs for each message is written out in each program, so that none pays for a call that another avoids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

from benchmarks.measure import Meter, Task
from benchmarks.scenario import CONSUMING, OPENING

#: Opened before those whose memory counts, so that what a library needs only once is not counted for each.
OPENED_BEFORE = 10


class Program:
    """
    One measurement.

    @ivar library: The name under which it is installed.
    @ivar channels: Those that messages are published on in turn; the first does everything else.
    @ivar received: Bytes received so far.
    @ivar mark: Bytes after which L{passed} is to be called.
    @ivar kept: Things that were opened, and are to stay open.
    @ivar early: Deliveries that came before all of many consumers were there; afterwards C{None}.
    """

    library = ""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.channels: list[Any] = []
        self.received = 0
        self.mark = (task.warmup or task.messages) * task.size
        self.kept: list[Any] = []
        self.early: list[Any] | None = []

    def begin(self) -> None:
        """Without a warm-up, measuring begins with the first message."""
        if not self.task.warmup:
            self.meter.start()

    def passed(self) -> bool:
        """
        As many bytes as C{mark} have been received.

        @return: Whether these were the last; otherwise warming up is over.
        """
        if self.meter.running:
            return True
        self.meter.start()
        self.mark += self.task.messages * self.task.size
        return False

    def in_turn(self, messages: int) -> Iterator[Any]:
        """
        @return: The channel of each of this many messages.
        """
        return islice(cycle(self.channels), messages)

    def all_consumers_are_there(self, again: Callable[[Any], object]) -> None:
        """
        Consumers that share the messages send no ack before this.

        @param again: Called with each delivery that came before.
        """
        early, self.early = self.early or [], None
        for delivery in early:
            again(delivery)

    @property
    def together(self) -> bool:
        """Whether the prefetch is for all consumers of the channel together."""
        return self.task.consumers > 0


class BlockingProgram(Program, ABC):
    """A library whose calls return when they are done."""

    def run(self) -> None:
        """Connect, measure, print, disconnect."""
        task = self.task
        connection = self.connect()
        if task.action in OPENING:
            self.open_many(connection)
            self.meter.stop_resting(self.library)
        else:
            self.channels = [self.open_channel(connection) for _ in range(task.channels)]
            if task.action in CONSUMING:
                self.consume()
                self.declare(1)
            else:
                batch = getattr(self, task.action)
                batch(task.warmup)
                self.meter.start()
                batch(task.messages)
            self.meter.stop(self.library)
        self.disconnect(connection)

    def open_many(self, connection: Any) -> None:
        """Open what the task asks for, and keep it."""
        open_one = self.connect if self.task.action == "connections" else lambda: self.open_channel(connection)
        self.kept.extend(open_one() for _ in range(OPENED_BEFORE))
        self.meter.start()
        self.kept.extend(open_one() for _ in range(self.task.messages))

    @abstractmethod
    def connect(self) -> Any:
        """A connection."""

    def disconnect(self, connection: Any) -> None:
        """The end."""
        connection.close()

    def open_channel(self, connection: Any) -> Any:
        """A channel."""
        return connection.channel()

    @abstractmethod
    def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all that this connection sent before."""

    @abstractmethod
    def consume(self) -> None:
        """Take the messages, and ack them or not, as the task asks."""


class AsyncProgram(Program, ABC):
    """A library whose calls are awaited, on whichever loop."""

    async def run(self) -> None:
        """Connect, measure, print, disconnect."""
        task = self.task
        connection = await self.connect()
        if task.action in OPENING:
            await self.open_many(connection)
            self.meter.stop_resting(self.library)
        else:
            self.channels = [await self.open_channel(connection) for _ in range(task.channels)]
            if task.action in CONSUMING:
                await self.consume()
                await self.declare(1)
            else:
                batch = getattr(self, task.action)
                await batch(task.warmup)
                self.meter.start()
                await batch(task.messages)
            self.meter.stop(self.library)
        await self.disconnect(connection)

    async def open_many(self, connection: Any) -> None:
        """Open what the task asks for, and keep it."""
        for number in range(OPENED_BEFORE + self.task.messages):
            if number == OPENED_BEFORE:
                self.meter.start()
            if self.task.action == "connections":
                self.kept.append(await self.connect())
            else:
                self.kept.append(await self.open_channel(connection))

    @abstractmethod
    async def connect(self) -> Any:
        """A connection."""

    async def disconnect(self, connection: Any) -> None:
        """The end."""
        await connection.close()

    async def open_channel(self, connection: Any) -> Any:
        """A channel."""
        return await connection.channel()

    @abstractmethod
    async def declare(self, messages: int) -> None:
        """Round trips. When one is answered, the broker has taken all that this connection sent before."""

    @abstractmethod
    async def consume(self) -> None:
        """Take the messages, and ack them or not, as the task asks."""
