# -*- test-case-name: txpika.test.test_engine -*-
"""
The timers of one connection, by name.

Owns that there is at most one of each name and that none outlives the connection. Knows a clock.
"""

from __future__ import annotations

from collections.abc import Callable

from txpika.interfaces import Clock, IDelayedCall


class Timers:
    """Named timers, each of which fires once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[str, IDelayedCall] = {}
        self._due: dict[str, float] = {}

    def start(self, name: str, delay: float, function: Callable[[], None], sooner: bool = False) -> None:
        """
        Call C{function} in C{delay} seconds, instead of what the timer of that name was to call.

        @param sooner: Leave that timer alone if its time comes first.
        """
        due = self._clock.seconds() + delay
        if sooner and self._due.get(name, due) < due:
            return
        self.stop(name)
        self._due[name] = due

        def fire() -> None:
            del self._running[name], self._due[name]
            function()

        self._running[name] = self._clock.callLater(delay, fire)

    def stop(self, name: str) -> None:
        """Harmless when there is no such timer."""
        self._due.pop(name, None)
        timer = self._running.pop(name, None)
        if timer is not None:
            timer.cancel()

    def stop_all(self) -> None:
        """Stop every timer."""
        self._due.clear()
        while self._running:
            self._running.popitem()[1].cancel()
