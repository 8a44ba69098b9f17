# -*- test-case-name: txpika.test.test_blocking_connection -*-
"""
A reconnection strategy's view of a connection whose program waits for it.

Owns what the strategy asked for, until that is done. Knows how to wait; nothing of the connection.
"""

from __future__ import annotations

from collections.abc import Callable

from txpika.adapters.waiting import Waiter


class Retry:
    """
    What a reconnection strategy sees of a connection that waits for its next attempt.

    @cvar user_closed: C{False}: the program has not closed it.
    """

    user_closed = False

    def __init__(self) -> None:
        self._delay = 0.0
        self._callback: Callable[[], object] | None = None
        self._again = False

    def add_timeout(self, delay: float, callback: Callable[[], object]) -> None:
        """The strategy wants to wait this many seconds."""
        self._delay, self._callback = delay, callback

    def remove_timeout(self, _timer: None) -> None:
        """It no longer wants that."""
        self._callback = None

    def reconnect(self) -> None:
        """It wants another attempt."""
        self._again = True

    @property
    def asked(self) -> bool:
        """Whether it wants another attempt, now or later."""
        return self._again or self._callback is not None

    def wanted(self, waiter: Waiter) -> bool:
        """Wait for as long as the strategy wants; return whether it wants another attempt then."""
        if self._callback is not None:
            waiter.wait(lambda: self._callback is None, self._delay)
            callback, self._callback = self._callback, None
            if callback is not None:
                callback()
        again, self._again = self._again, False
        return again
