# -*- test-case-name: txpika.test.test_blocking_patience -*-
"""
Waiting for what may lie behind messages that nobody takes.

Reading pauses when much waits to be taken. But who would take it may be who waits: for the reply to a request, in a
handler, or between the messages of C{consume}. Owns whether reading goes on for who waits. Knows how one waits, and the
engine's intake; nothing of what is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Protocol

from txpika.adapters.waiting import Waiter

#: Seconds in which nothing is taken, after which nobody is about to take anything.
STANDSTILL = 1.0


class Intake(Protocol):
    """What is known here of a connection's L{txpika.core.intake.Intake}."""

    full: set[object]

    def expect(self, who: object) -> None:
        """Read on, whoever has enough."""

    def expect_no_more(self, who: object) -> None:
        """C{who} does not ask for that any more."""


class Asking:
    """Who asks for more, until that is C{over}."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.over = False

    def begin(self) -> None:
        """In the loop's thread, which may come to it when a signal's handler has ended the wait."""
        self._intake.expect(self)
        if self.over:
            self.end()

    def end(self) -> None:
        """In any thread."""
        self.over = True
        self._intake.expect_no_more(self)


class Patience:
    """
    Reading goes on at once for who waits in a handler, or as the only thread there is: nobody takes anything meanwhile.
    For who only looks in, or sleeps, as programs do between messages to keep a connection alive, and for one thread of
    several, it goes on when nothing was taken for L{STANDSTILL} since they began to. Then only a prefetch count, with
    acks, limits what waits.

    @ivar intake: Of the present connection.
    @ivar taken: Messages that were taken so far.
    @ivar handling: Threads that are handing over events.
    """

    def __init__(self) -> None:
        self.intake: Intake
        self.taken = 0
        self.handling: set[int] = set()
        #: For each thread that has waited: what was taken then, and since when it is that much.
        self._known: dict[int, tuple[int, float]] = {}

    def wait(self, waiter: Waiter, ready: Callable[[], object], timeout: float | None, pause: bool = False) -> None:
        """
        L{Waiter.wait}, and raises what that does.

        @param pause: It is for the time that one waits.
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
