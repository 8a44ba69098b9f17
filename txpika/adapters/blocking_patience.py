# -*- test-case-name: txpika.test.test_blocking_patience -*-
"""
Waiting for what may lie behind messages that nobody takes.

Reading pauses when much waits to be taken. But whoever would take it may be waiting: for the reply to a request, in a
handler, or between the messages of C{consume}. Owns whether reading goes on for whoever waits. Knows how to wait, and
the engine's intake; nothing of what is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Protocol

from txpika.adapters.waiting import Waiter

#: When nothing was taken for this many seconds, nobody is about to take anything.
STANDSTILL = 1.0


class Intake(Protocol):
    """What is known here of a connection's L{txpika.core.intake.Intake}."""

    full: set[object]

    def expect(self, who: object) -> None:
        """Read on, no matter who has enough."""

    def expect_no_more(self, who: object) -> None:
        """C{who} no longer asks for that."""


class Asking:
    """A request to read on, until it is C{over}."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.over = False

    def begin(self) -> None:
        """In the loop's thread, which may get to it only after a signal handler has ended the wait."""
        self._intake.expect(self)
        if self.over:
            self.end()

    def end(self) -> None:
        """In any thread."""
        self.over = True
        self._intake.expect_no_more(self)


class Patience:
    """
    Reading goes on at once for a thread that waits in a handler, or is the only one: nobody takes anything meanwhile.
    For one that only looks in, or sleeps, as programs do between messages to keep a connection alive, and for one
    thread of several, it goes on once nothing was taken for L{STANDSTILL} since it began to. Then only a prefetch
    count, with acks, limits what waits.

    @ivar intake: That of the present connection.
    @ivar taken: Messages that were taken so far.
    @ivar handling: Threads that are handing over events.
    """

    def __init__(self) -> None:
        self.intake: Intake
        self.taken = 0
        self.handling: set[int] = set()
        #: For each thread that has waited: how many were taken then, and since when it has been that many.
        self._known: dict[int, tuple[int, float]] = {}

    def wait(self, waiter: Waiter, ready: Callable[[], object], timeout: float | None, pause: bool = False) -> None:
        """
        L{Waiter.wait}, and raises what that does.

        @param pause: The wait is for the sake of its time, as in a sleep.
        """
        me, now = get_ident(), waiter.loop.seconds()
        before, since = self._known.get(me, (-1, 0.0))
        if before != self.taken:
            self._known[me] = self.taken, now
            since = now
        blocks = timeout != 0 and not pause and (waiter.alone or me in self.handling)
        stands = blocks or now - since >= STANDSTILL
        deadline = None if timeout is None else now + timeout
        while True:
            intake = self.intake
            if not intake.full:
                woken = waiter.wait(lambda: ready() or self.intake.full, timeout)
                if woken and ((waiter.alone and not self.intake.full) or ready()):
                    return
            else:
                taken = self.taken
                asking = Asking(intake)
                try:
                    if stands and not ready():
                        waiter.call(asking.begin)
                    if waiter.wait(ready, STANDSTILL if timeout is None else min(timeout, STANDSTILL)):
                        return
                finally:
                    asking.end()
                stands = blocks or self.taken == taken
            if deadline is not None:
                timeout = deadline - waiter.loop.seconds()
                if timeout <= 0:
                    return
