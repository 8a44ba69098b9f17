# -*- test-case-name: txpika.test.test_backoff -*-
"""
How long to wait before the next attempt to connect.

Owns the numbers and their randomness. Knows no connection: it is told what happened, and asked for a delay.
"""

from __future__ import annotations

import random
from collections.abc import Callable

#: The first delay and the longest, in seconds, before jitter.
INITIAL_DELAY = 0.5
MAX_DELAY = 30.0
#: Each delay is this many times the one before.
FACTOR = 2.0
#: A delay is shortened at random by up to this part of it: programs that lost the same broker at the same moment do not
#: all come back at the same moment.
JITTER = 0.5
#: A connection that was open for this long, in seconds, has worked: the next delay is the first one again. One that was
#: not counts as another failed attempt.
STABLE = 10.0


class Backoff:
    """
    @ivar attempts: How many have failed since it last worked.
    """

    def __init__(
        self,
        initial: float = INITIAL_DELAY,
        longest: float = MAX_DELAY,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param initial: The first delay, in seconds.
        @param longest: The longest, in seconds.
        @param chance: A number from 0 up to 1.
        """
        self._initial = initial
        self._longest = longest
        self._chance = chance
        self.attempts = 0
        self._hopeless = False

    def failed(self, hopeless: bool = False) -> None:
        """
        An attempt failed.

        @param hopeless: The next will fail too, unless somebody changes something: a refused login.
        """
        self.attempts += 1
        self._hopeless = hopeless

    def lost(self, lasted: float) -> None:
        """@param lasted: How long the connection now lost was open, in seconds."""
        self._hopeless = False
        self.attempts = 1 if lasted >= STABLE else self.attempts + 1

    def delay(self) -> float:
        """@return: How long to wait now, in seconds."""
        doublings = min(max(self.attempts - 1, 0), 64)
        delay = self._longest if self._hopeless else min(self._initial * FACTOR**doublings, self._longest)
        return delay * (1 - JITTER * self._chance())
