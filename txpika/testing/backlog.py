# -*- test-case-name: txpika.test.test_memory_backlog -*-
"""
The messages that wait in a queue, in order, with those that came back in their old places.

Owns the order: the higher priority first, then the earlier. Nothing here takes longer when more messages wait: new ones
are at one end of a deque, the first one is at the other, and those that came back, which are few and mostly the next to
go, are in a heap beside it.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from txpika.testing.message import Message


class Entry:
    """
    A message in a queue, or delivered from it and not settled.

    @ivar message: The message.
    @ivar number: Its place: that of a message which came later to the queue is higher.
    @ivar expires: When it expires, in seconds of the clock; C{None} for never.
    @ivar redelivered: It was delivered before, and came back.
    """

    __slots__ = ("expires", "message", "number", "redelivered")

    def __init__(self, message: Message, number: int, expires: float | None) -> None:
        self.message = message
        self.number = number
        self.expires = expires
        self.redelivered = False

    def __repr__(self) -> str:
        return f"<Entry {self.number} {self.message!r}{' redelivered' if self.redelivered else ''}>"


class _Level:
    """Those of one priority."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Entry] = deque()
        self.returned: list[tuple[int, Entry]] = []

    def __bool__(self) -> bool:
        return bool(self.fresh or self.returned)

    def first(self) -> Entry:
        returned = self.returned
        if returned and (not self.fresh or returned[0][0] < self.fresh[0].number):
            return returned[0][1]
        return self.fresh[0]

    def pop(self) -> Entry:
        returned = self.returned
        if returned and (not self.fresh or returned[0][0] < self.fresh[0].number):
            return heappop(returned)[1]
        return self.fresh.popleft()


class Backlog:
    """
    @ivar bytes: Of all bodies.
    """

    __slots__ = ("_count", "_levels", "_used", "bytes")

    def __init__(self, max_priority: int = 0) -> None:
        """
        @param max_priority: Messages of a higher priority than this are as if they had this one.
        """
        self._levels = [_Level() for _ in range(max_priority + 1)]
        self._used = 0  # a bit for each level: whether there is anything in it
        self._count = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._count

    def _level(self, entry: Entry) -> int:
        return min(entry.message.traits.priority, len(self._levels) - 1)

    def push(self, entry: Entry) -> None:
        """A new one, with a higher number than all before."""
        level = self._level(entry)
        self._levels[level].fresh.append(entry)
        self._pushed(level, entry)

    def push_back(self, entry: Entry) -> None:
        """One that was here before."""
        level = self._level(entry)
        heappush(self._levels[level].returned, (entry.number, entry))
        self._pushed(level, entry)

    def _pushed(self, level: int, entry: Entry) -> None:
        self._used |= 1 << level
        self._count += 1
        self.bytes += len(entry.message.body)

    def pop(self) -> Entry:
        """@return: The first, which is taken out. Only when there is one."""
        number = self._used.bit_length() - 1
        level = self._levels[number]
        entry = level.pop()
        if not level:
            self._used &= ~(1 << number)
        self._count -= 1
        self.bytes -= len(entry.message.body)
        return entry

    def pop_expired(self, now: float) -> Entry | None:
        """
        @return: The first one, which is taken out, when it has expired; else C{None}. Behind one that has not, expired
            ones wait, as in RabbitMQ, also those of a lower priority.
        """
        expires = self.next_expiry()
        return self.pop() if expires is not None and expires <= now else None

    def next_expiry(self) -> float | None:
        """@return: When L{pop_expired} will find one, if nothing else happens; C{None} for never."""
        return self._levels[self._used.bit_length() - 1].first().expires if self._used else None

    def _numbers(self) -> list[int]:
        return [number for number in range(self._used.bit_length() - 1, -1, -1) if self._used >> number & 1]

    def clear(self) -> int:
        """@return: How many there were."""
        count = self._count
        self._levels = [_Level() for _ in self._levels]
        self._used = self._count = self.bytes = 0
        return count

    def entries(self) -> list[Entry]:
        """@return: All of them, in order. For whoever looks; the broker does not."""
        found: list[Entry] = []
        for number in self._numbers():
            level = self._levels[number]
            found += sorted((*level.fresh, *(entry for _, entry in level.returned)), key=lambda entry: entry.number)
        return found
