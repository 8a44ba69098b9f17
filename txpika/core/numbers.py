# -*- test-case-name: txpika.test.test_engine -*-
"""
The channel numbers of one connection.

Owns which are free, and for how long frames for one that was just given back are taken to have been on their way. Knows
a clock.
"""

from __future__ import annotations

from collections import deque

from txpika.interfaces import Clock

#: How long frames for a closed channel are taken to have been on their way, in seconds.
LATE_FRAMES = 30.0


class Numbers:
    """Each number is reused as late as possible."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free: deque[int] = deque()
        self._highest = 0
        self._given_back: dict[int, float] = {}

    def take(self, wanted: int | None = None) -> int:
        """
        @param wanted: Take this one, which no channel has.
        @return: A number that no channel has.
        """
        if wanted is not None:
            self._free.extend(range(self._highest + 1, wanted + 1))
            self._highest = max(self._highest, wanted)
            self._free.remove(wanted)
            number = wanted
        elif self._free:
            number = self._free.popleft()
        else:
            number = self._highest = self._highest + 1
        self._given_back.pop(number, None)
        return number

    def give_back(self, number: int) -> None:
        """Its channel is closed."""
        self._free.append(number)
        self._given_back[number] = self._clock.seconds()

    def late(self, number: int) -> bool:
        """Whether frames for it may still be on their way."""
        since = self._given_back.get(number)
        return since is not None and self._clock.seconds() - since < LATE_FRAMES
