# -*- test-case-name: txpika.test.test_results -*-
"""
What the methods of a channel return.

Owns two kinds of Deferred that a coroutine need not be suspended for. Knows Twisted; nothing of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

_T = TypeVar("_T")
#: An iterator that has ended, which is also the end of an C{await}.
_ENDED: Iterator[Any] = iter(())


class Result(Deferred[_T]):
    """
    A Deferred that fires a moment before its turn for who awaits it.

    When the broker confirms many publishes at once, their Deferreds fire in the order of the publishes. A coroutine
    that awaits one after the other would be suspended at each, and resumed for each. So a result that is certain comes
    when it is awaited, before those of earlier publishes whose turn has not come: a tenth less CPU for a confirmed
    publish (3.11, a window of 256).
    """

    #: What has this one fire, of a number, when that is certain.
    _due: tuple[Callable[[int], object], int] | None = None

    @staticmethod
    def announce(waiting: Mapping[int, Any], numbers: Iterable[int], take: Callable[[int], object]) -> None:
        """
        All these are about to succeed with C{None}.

        @param waiting: Where they are, by number.
        @param take: Has the one of a number do so.
        """
        for number in numbers:
            result = waiting.get(number)
            if result.__class__ is Result:
                result._due = (take, number)

    def __await__(self) -> Iterator[Any]:  # type: ignore[override]
        if self._due is not None:
            take, number = self._due
            self._due = None
            if not self.called:
                take(number)
        if self.called and self.result is None and not self.paused:
            return _ENDED
        return super().__await__()


class Written(Result[None]):
    """
    Of a publish that was written at once, and of which nothing more will be heard: it has fired. To make and await it
    takes 0.40 us, for C{succeed(None)} it is 0.62 (3.11).
    """

    called = True
    result = None
