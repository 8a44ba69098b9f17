# -*- test-case-name: txpika.test.test_blocking_events -*-
"""
What waits for a blocking program to take it: messages, returns, timers, each a call to be made in the program's thread.

Owns their order, even when several threads take them: two calls of one owner are never made at the same time, nor one
from inside the other. Knows callables; nothing of AMQP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import Any

#: Events, or messages of one iteration, that may wait before the connection stops reading.
MAX_EVENTS = 1000

#: Whose call it is (C{None}: nobody's in particular), the callable, and its arguments.
Event = tuple[object, Callable[..., object], tuple[Any, ...]]


class Events:
    """
    Calls to be made, in the order they came.

    Adding one needs no lock, so it never waits for a thread that takes them, or for a signal handler that has
    interrupted that thread. Such a handler may take some itself, from inside L{take}.
    """

    def __init__(self) -> None:
        self._taking = RLock()
        self._waiting: deque[Event] = deque()
        self._busy: set[object] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, owner: object, function: Callable[..., object], *arguments: Any) -> None:
        """
        @param owner: Whose other calls it must not overlap; C{None} for nobody's.
        """
        self._waiting.append((owner, function, arguments))

    def ready(self) -> bool:
        """Whether L{take} would find one."""
        if not self._busy:
            return bool(self._waiting)
        return any(owner not in self._busy for owner, _, _ in list(self._waiting))

    def take(self) -> Event | None:
        """@return: The first one whose owner is not busy; to be passed to L{done}. C{None} when there is none."""
        with self._taking:
            while (event := self._first()) is not None:
                if event[0] is not None:
                    self._busy.add(event[0])
                try:
                    self._waiting.remove(event)
                except ValueError:  # a signal handler has just taken this one
                    self._busy.discard(event[0])
                else:
                    return event
        return None

    def _first(self) -> Event | None:
        try:
            event = self._waiting[0]
        except IndexError:
            return None
        if event[0] not in self._busy:
            return event
        return next((event for event in list(self._waiting) if event[0] not in self._busy), None)

    def done(self, event: Event) -> None:
        """The call has been made, whatever came of it."""
        self._busy.discard(event[0])

    def all(self) -> list[Event]:
        """@return: Those that wait."""
        return list(self._waiting)

    def withdraw(self, function: Callable[..., object]) -> list[tuple[Any, ...]]:
        """
        @return: The arguments of all calls of this very function, which are no longer made.
        """
        withdrawn = []
        with self._taking:
            for event in list(self._waiting):
                if event[1] is function:
                    with suppress(ValueError):  # else such a handler has taken it
                        self._waiting.remove(event)
                        withdrawn.append(event[2])
        return withdrawn


class Later:
    """One call that a timer adds when its time has come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback
        self.timer: Any = None

    def __call__(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def cancel(self) -> None:
        """Do not make it, even if its time has come and it waits for its turn."""
        self._callback = None
