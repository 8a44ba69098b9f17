# -*- test-case-name: txpika.test.test_intake -*-
"""
Whether the transport reads.

Owns the decision to pause it, which a consumer that has enough asks for. Nobody may starve because of it, so reading
goes on while anybody on the connection waits for an answer from the broker, or for a message it expects, which must be
read too. Knows who asked, and a way to find out whether anybody waits; nothing of consumers or messages.
"""

from __future__ import annotations

from collections.abc import Callable

from txpika.interfaces import ITransport


class Intake:
    """
    @ivar paused: The transport was told to pause.
    @ivar full: Who has enough.
    @ivar expecting: Who waits for a message.
    """

    __slots__ = ("_busy", "expecting", "full", "paused", "transport")

    def __init__(self, busy: Callable[[], bool]) -> None:
        """
        @param busy: Whether anybody waits for the broker. Whoever begins to after the answer was no calls L{resume}.
        """
        self._busy = busy
        self.transport: ITransport | None = None
        self.paused = False
        self.full: set[object] = set()
        self.expecting: set[object] = set()

    def hold(self, who: object) -> None:
        """C{who} has enough for now: reading may pause when the current read is over."""
        self.full.add(who)

    def release(self, who: object) -> None:
        """C{who} takes more, or is gone. Harmless when it never had enough."""
        self.full.discard(who)
        if not self.full:
            self.resume()

    def expect(self, who: object) -> None:
        """C{who} waits for a message, as for the reply to a request: reading goes on until it has come."""
        self.expecting.add(who)
        self.resume()

    def expect_no_more(self, who: object) -> None:
        """It has come, or C{who} is gone. Harmless when none was expected."""
        self.expecting.discard(who)

    def check(self) -> None:
        """A read is over, and somebody has enough: pause, unless somebody waits for what comes next."""
        if not self.paused and self.transport is not None and not self.expecting and not self._busy():
            self.paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on: there is room again, or somebody begins to wait for an answer."""
        if self.paused:
            self.paused = False
            if self.transport is not None:
                self.transport.resumeProducing()
