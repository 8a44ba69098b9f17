# -*- test-case-name: txpika.test.test_blocking -*-
"""
How long messages wait for a broker that has blocked the connection (rabbitmq.com/docs/connection-blocked).

Owns one timer. Knows the channels as things that hold messages; not how those are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from txpika.core.calls import HeldPublish
from txpika.interfaces import Clock

#: What is due within this many seconds is due now: the timer was set for it, and sums of fractions are inexact.
GRAIN = 0.001


class Holding(Protocol):
    """What is known here of a channel's L{txpika.core.outbox.Outbox}."""

    def expire(self, now: float, timeout: float) -> float | None:
        """Give up messages held for C{timeout}; return since when the oldest of the rest has waited."""

    def give_up_unconfirmed(self, timeout: float) -> None:
        """Give up waiting for the outcome of messages that were written."""


class Blocking:
    """
    The patience of one connection; endless without a C{blocked_timeout}.
    """

    __slots__ = ("_blocked", "_clock", "_holding", "_timeout", "_timer")

    def __init__(self, clock: Clock, timeout: float | None, holding: Callable[[], Iterable[Holding]]) -> None:
        """
        @param timeout: How long a message may wait while the connection is blocked, in seconds; C{None} for ever.
        @param holding: Whoever may hold messages, at the time of the call.
        """
        self._clock = clock
        self._timeout = timeout
        self._holding = holding
        self._blocked = False
        self._timer: Any = None

    def blocked(self) -> None:
        """The broker blocked the connection. For whatever waits already, the time counts from now."""
        self._blocked = True
        if self._timeout is not None:
            self._timer = self._clock.callLater(self._timeout, self._first, self._clock.seconds())

    def stop(self) -> None:
        """The connection is no longer blocked, or is gone."""
        self._blocked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def holds(self, held: HeldPublish) -> None:
        """A message begins to wait."""
        if self._blocked and self._timeout is not None:
            held.since = self._clock.seconds()
            if self._timer is None:
                self._timer = self._clock.callLater(self._timeout, self._expire)

    def _first(self, since: float) -> None:
        """
        What was written before C{since} has not been confirmed in all that time, either.
        """
        assert self._timeout is not None
        self._expire()
        for outbox in list(self._holding()):
            outbox.give_up_unconfirmed(self._timeout)

    def _expire(self) -> None:
        assert self._timeout is not None
        self._timer = None
        now = self._clock.seconds()
        oldest = [outbox.expire(now + GRAIN, self._timeout) for outbox in list(self._holding())]
        waiting = [since for since in oldest if since is not None]
        if waiting and self._blocked:
            if self._timer is not None:
                self._timer.cancel()  # set for a message that began to wait just now
            self._timer = self._clock.callLater(min(waiting) + self._timeout - now, self._expire)
