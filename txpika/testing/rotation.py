# -*- test-case-name: txpika.test.test_memory_consuming -*-
"""
The consumers of a queue, and whose turn it is.

Owns the turns: the higher priority first (rabbitmq.com/docs/consumer-priority), within one in rotation. Consumers that
can take no more are taken out of the rotation when their turn comes, and come back at its end, so that a turn is found
without looking at all of them. Knows of a channel how much it takes; nothing of messages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from txpika.testing.queues import Queue


class Consumer:
    """
    @ivar channel: Whose it is (L{txpika.testing.channel.ServerChannel}).
    @ivar queue: What it consumes; C{None} for replies that go to the channel directly.
    @ivar tag: Its consumer tag.
    @ivar no_ack: It acks nothing.
    @ivar exclusive: It is the only one.
    @ivar priority: Its priority.
    @ivar prefetch: So many unacked messages it takes; 0 for any number.
    @ivar unacked: So many it has.
    @ivar parked: It could take no more when its turn was.
    @ivar heads: Begins and ends of the method frames that its channel sends, by route.
    """

    __slots__ = (
        "channel",
        "exclusive",
        "heads",
        "no_ack",
        "parked",
        "prefetch",
        "priority",
        "queue",
        "tag",
        "unacked",
    )

    def __init__(
        self,
        channel: Any,
        queue: Queue | None,
        tag: str,
        no_ack: bool = False,
        exclusive: bool = False,
        priority: int = 0,
        prefetch: int = 0,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.priority = priority
        self.prefetch = prefetch
        self.unacked = 0
        self.parked = False
        self.heads: dict[bytes, tuple[bytes, bytes]] = {}

    @property
    def ready(self) -> bool:
        """Whether it takes another message."""
        channel = self.channel
        if channel.held:
            return False
        if self.no_ack:
            return True
        return (not self.prefetch or self.unacked < self.prefetch) and (
            not channel.limit or channel.taken < channel.limit
        )

    def __repr__(self) -> str:
        return f"<Consumer {self.tag!r} with {self.unacked} unacked>"


class Rotation:
    """
    @ivar everyone: All consumers, in the order they came.
    @ivar active: With C{single_active}, the one whose turn it always is.
    """

    def __init__(self, single_active: bool = False) -> None:
        self.everyone: dict[Consumer, None] = {}
        self.active: Consumer | None = None
        self._single_active = single_active
        self._turns: dict[int, deque[Consumer]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return len(self.everyone)

    def add(self, consumer: Consumer) -> None:
        """Another consumer."""
        self.everyone[consumer] = None
        if not self._single_active:
            self._enter(consumer)
        elif self.active is None:
            self.active = consumer

    def remove(self, consumer: Consumer) -> None:
        """It is gone."""
        del self.everyone[consumer]
        if consumer is self.active:
            best = max((each.priority for each in self.everyone), default=0)
            self.active = next((each for each in self.everyone if each.priority == best), None)
        elif not self._single_active and not consumer.parked:
            self._leave(consumer)
        if consumer.parked:
            consumer.parked = False
            consumer.channel.parked.pop(consumer, None)

    def _enter(self, consumer: Consumer) -> None:
        turns = self._turns.get(consumer.priority)
        if turns is None:
            turns = self._turns[consumer.priority] = deque()
            self._order = sorted(self._turns, reverse=True)
        turns.append(consumer)

    def _leave(self, consumer: Consumer) -> None:
        turns = self._turns[consumer.priority]
        turns.remove(consumer)
        if not turns:
            del self._turns[consumer.priority]
            self._order.remove(consumer.priority)

    def park(self, consumer: Consumer) -> None:
        """It takes no more for now: L{unpark} when it does."""
        consumer.parked = True
        consumer.channel.parked[consumer] = None

    def unpark(self, consumer: Consumer) -> None:
        """It takes more."""
        consumer.parked = False
        del consumer.channel.parked[consumer]
        if not self._single_active:
            self._enter(consumer)

    def next(self) -> Consumer | None:
        """@return: Whose turn it is; C{None} when nobody takes anything."""
        if self._single_active:
            active = self.active
            if active is None or active.ready:
                return active
            if not active.parked:
                self.park(active)
            return None
        while self._order:
            turns = self._turns[self._order[0]]
            while turns:
                consumer = turns[0]
                if consumer.ready:
                    turns.rotate(-1)
                    return consumer
                turns.popleft()
                self.park(consumer)
            del self._turns[self._order.pop(0)]
        return None
