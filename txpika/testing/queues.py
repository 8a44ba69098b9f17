# -*- test-case-name: txpika.test.test_memory_queues -*-
"""
One queue of the broker in memory.

Owns when a message is taken, delivered, given back, expired or dropped, in the order in which RabbitMQ's classic queues
do these things. Knows consumers and a clock; what is dead-lettered it gives to its virtual host, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from txpika.interfaces import Clock
from txpika.testing.backlog import Backlog, Entry
from txpika.testing.message import Message
from txpika.testing.rotation import Consumer, Rotation
from txpika.testing.settings import DROP_HEAD, REJECT_PUBLISH_DLX, Settings
from txpika.testing.tables import Arguments

#: Why a message is dead-lettered (rabbitmq.com/docs/dlx).
Reason = Literal["rejected", "expired", "maxlen"]

Bury = Callable[["Queue", Message, Reason], None]


class Queue:
    """
    @ivar name: Its name.
    @ivar durable: As it was declared.
    @ivar owner: The connection whose own it is; C{None} when it is anybody's.
    @ivar auto_delete: It goes with its last consumer.
    @ivar arguments: As they were declared.
    @ivar settings: What they mean.
    @ivar backlog: What waits in it.
    @ivar unacked: How many of its messages are delivered and not settled.
    @ivar rotation: Its consumers.
    @ivar deleted: It is no more.
    """

    def __init__(
        self,
        name: str,
        durable: bool,
        owner: object | None,
        auto_delete: bool,
        arguments: Arguments,
        settings: Settings,
        clock: Clock,
        bury: Bury,
        unused: Callable[[Queue], object],
    ) -> None:
        """
        @param bury: Called with what is dead-lettered.
        @param unused: Called when its time without use is over.
        """
        self.name = name
        self.durable = durable
        self.owner = owner
        self.auto_delete = auto_delete
        self.arguments = arguments
        self.settings = settings
        self.backlog = Backlog(settings.max_priority)
        self.rotation = Rotation(settings.single_active)
        self.unacked = 0
        self.deleted = False
        self._clock = clock
        self._bury = bury
        self._unused = unused
        self._number = 0
        self._limited = settings.max_length is not None or settings.max_bytes is not None
        self._expiry: tuple[float, Any] | None = None
        self._idle: Any = None
        self.used()

    # Messages

    def publish(self, message: Message) -> bool:
        """
        @return: Whether it was taken. C{False} when the queue is full, and says so to publishers.
        """
        settings = self.settings
        if self._limited and settings.overflow != DROP_HEAD and self._overflows(1, len(message.body)):
            if settings.overflow == REJECT_PUBLISH_DLX:
                self._bury(self, message, "maxlen")
            return False
        self._number += 1
        ttl = message.traits.ttl
        if settings.ttl is not None and (ttl is None or settings.ttl < ttl):
            ttl = settings.ttl
        entry = Entry(message, self._number, None if ttl is None else self._clock.seconds() + ttl)
        if not self.backlog:
            consumer = self.rotation.next()
            if consumer is not None:
                self._deliver(consumer, entry)
                return True
        self.backlog.push(entry)
        if self._limited and settings.overflow == DROP_HEAD:
            self._drop_head()
        if ttl is not None:
            self._drop_expired()
        return True

    def get(self, no_ack: bool) -> Entry | None:
        """
        C{basic.get}.

        @return: The first message, C{None} when there is none.
        """
        self.used()
        self._drop_expired()
        if not self.backlog:
            return None
        if not no_ack:
            self.unacked += 1
        entry = self.backlog.pop()
        self._drop_expired()
        return entry

    def settled(self, entry: Entry) -> None:
        """It was acked."""
        self.unacked -= 1

    def rejected(self, entry: Entry) -> None:
        """It was refused, and does not come back."""
        self.unacked -= 1
        if not self.deleted:
            self._bury(self, entry.message, "rejected")

    def requeue(self, entries: Iterable[Entry]) -> None:
        """They come back, each to its place."""
        for entry in entries:
            self.unacked -= 1
            entry.redelivered = True
            if not self.deleted:
                self.backlog.push_back(entry)
        if self.deleted:
            return
        if self._limited and self.settings.overflow == DROP_HEAD:
            self._drop_head()
        self.run()

    def run(self) -> None:
        """Deliver what waits, as far as consumers take it."""
        self._drop_expired()
        backlog, rotation = self.backlog, self.rotation
        while backlog:
            consumer = rotation.next()
            if consumer is None:
                break
            self._deliver(consumer, backlog.pop())
            self._drop_expired()

    def purge(self) -> int:
        """@return: How many messages waited."""
        count = self.backlog.clear()
        self._drop_expired()
        return count

    def _deliver(self, consumer: Consumer, entry: Entry) -> None:
        if not consumer.no_ack:
            self.unacked += 1
        consumer.channel.deliver(consumer, entry)

    # Limits

    def _overflows(self, count: int, size: int) -> bool:
        settings, backlog = self.settings, self.backlog
        return (settings.max_length is not None and len(backlog) + count > settings.max_length) or (
            settings.max_bytes is not None and backlog.bytes + size > settings.max_bytes
        )

    def _drop_head(self) -> None:
        while self.backlog and self._overflows(0, 0):
            self._bury(self, self.backlog.pop().message, "maxlen")

    def _drop_expired(self) -> None:
        """Drop what has expired, and come back when the next one does."""
        backlog = self.backlog
        at = backlog.next_expiry() if backlog else None
        if at is not None and at <= (now := self._clock.seconds()):
            while (entry := backlog.pop_expired(now)) is not None:
                self._bury(self, entry.message, "expired")
            at = backlog.next_expiry() if backlog else None
        if self._expiry is not None:
            # One that comes too early looks again; it is not worth a new one for each message.
            if at is not None and self._expiry[0] <= at:
                return
            self._expiry[1].cancel()
            self._expiry = None
        if at is not None:
            self._expiry = (at, self._clock.callLater(max(0.0, at - self._clock.seconds()), self._expire))

    def _expire(self) -> None:
        self._expiry = None
        self._drop_expired()

    # Consumers, and use

    def add(self, consumer: Consumer) -> None:
        """Another consumer; C{run} gives it what waits."""
        self.rotation.add(consumer)
        self.used()

    def remove(self, consumer: Consumer) -> bool:
        """
        A consumer is gone.

        @return: Whether the queue goes with it.
        """
        self.rotation.remove(consumer)
        if not self.rotation and self.auto_delete:
            return True
        self.used()
        self.run()
        return False

    def unpark(self, consumer: Consumer) -> None:
        """A consumer takes more than it did."""
        self.rotation.unpark(consumer)
        self.run()

    def used(self) -> None:
        """Somebody declared it, consumes or got something: its time without use begins, or ends."""
        if self.settings.expires is None:
            return
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self.rotation and not self.deleted:
            self._idle = self._clock.callLater(self.settings.expires, self._idled)

    def _idled(self) -> None:
        self._idle = None
        self._unused(self)

    def delete(self) -> int:
        """
        The queue is no more; its consumers and bindings are its virtual host's business.

        @return: How many messages waited in it.
        """
        self.deleted = True
        count = self.backlog.clear()
        if self._expiry is not None:
            self._expiry[1].cancel()
            self._expiry = None
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        return count

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} {len(self.backlog)} ready {self.unacked} unacked {len(self.rotation)} consumers>"
