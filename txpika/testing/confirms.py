# -*- test-case-name: txpika.test.test_memory_publishing -*-
"""
The confirmations of one channel of the broker in memory.

Owns the count of messages, and which confirmations leave together: positive ones in a row are one method, at the end of
what is being read. Knows the faults that hold confirmations back; nothing of messages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from txpika.spec import Basic

if TYPE_CHECKING:
    from txpika.testing.channel import ServerChannel


class Confirms:
    """Since C{confirm.select}."""

    __slots__ = ("_channel", "_count", "_first", "_held", "_last")

    def __init__(self, channel: ServerChannel) -> None:
        self._channel = channel
        self._count = 0
        # Positive ones that were not sent, from the first to the last; 0 for none.
        self._first = self._last = 0
        self._held: deque[tuple[int, bool]] = deque()

    def add(self, taken: bool) -> None:
        """
        Another message.

        @param taken: Whether all queues have taken it.
        """
        self._count += 1
        if self._held or self._channel.connection.broker.faults.confirms_held:
            self._held.append((self._count, taken))
        else:
            self._confirm(self._count, taken)

    def _confirm(self, tag: int, taken: bool) -> None:
        if taken:
            if not self._first:
                self._first = tag
                self._channel.connection.confirms(self)
            self._last = tag
        else:
            self.flush()
            self._channel.send(Basic.Nack(tag, False, True))

    def release(self) -> None:
        """Those that were held back go now."""
        held, self._held = self._held, deque()
        for tag, taken in held:
            self._confirm(tag, taken)

    def flush(self) -> None:
        """Send what was collected."""
        if self._first:
            self._channel.send(Basic.Ack(self._last, self._last != self._first))
            self._first = 0

    def forget(self) -> None:
        """The channel is gone."""
        self._first = 0
        self._held.clear()
