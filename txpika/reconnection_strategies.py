# -*- test-case-name: txpika.test.test_reconnection_strategies -*-
"""
When a connection of the callback API is made again after it failed or was lost.

Owns the decision and the timer, at most one for each connection. Connecting is up to the connection; a strategy calls
its C{add_timeout(delay, callback)}, C{remove_timeout(id)} and C{reconnect()}, and reads one attribute, C{user_closed}:
true once the program itself has closed the connection, which is final. One without that attribute was never closed so.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from math import isfinite
from typing import Any
from weakref import WeakKeyDictionary

from zope.interface import implementer

from txpika.exceptions import AMQPError
from txpika.interfaces import IReconnectionStrategy
from txpika.parameters import seconds

_log = logging.getLogger("txpika.reconnection_strategies")

#: How long a connection stays open before it counts as one that works, in seconds. One that the broker drops at once,
#: time after time, must not be made again after the shortest delay each time.
STABLE = 5.0


@implementer(IReconnectionStrategy)
class ReconnectionStrategy:
    """
    Never connects again. Subclasses say when to; they need to write only the hooks they want.

    @cvar can_reconnect: Whether it ever connects again.
    """

    can_reconnect = False

    @property
    def is_active(self) -> bool:
        """Whether it will connect again, if the connection fails or is lost now."""
        return self.can_reconnect

    def on_connect_attempt(self, conn: Any) -> None:
        """An attempt to connect begins."""

    def on_connect_attempt_failure(self, conn: Any) -> None:
        """The attempt failed, before the connection was open."""

    def on_transport_connected(self, conn: Any) -> None:
        """There is a transport; the handshake begins."""

    def on_transport_disconnected(self, conn: Any) -> None:
        """The transport is gone, for whatever reason."""

    def on_connection_open(self, conn: Any) -> None:
        """The handshake is over."""

    def on_connection_closed(self, conn: Any) -> None:
        """A connection that was open is gone."""


class NullReconnectionStrategy(ReconnectionStrategy):
    """Never connects again, as its name says."""


class _Outages:
    """
    What is remembered about one connection.

    @ivar delay: How long the next wait is before jitter, in seconds.
    @ivar attempts: How many there were since it last worked.
    @ivar opened_at: Since when it is open; C{None} while it is not.
    @ivar waiting: A timer runs.
    @ivar timer: What C{add_timeout} returned for it.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.attempts = 0
        self.opened_at: float | None = None
        self.waiting = False
        self.timer: Any = None


class SimpleReconnectionStrategy(ReconnectionStrategy):
    """
    Connects again after a delay that grows from one failed attempt to the next, until L{stop} or until the program
    closes the connection. May serve several connections, each with delays of its own.
    """

    can_reconnect = True

    def __init__(
        self,
        initial_retry_delay: float = 1.0,
        multiplier: float = 2.0,
        max_delay: float = 30.0,
        jitter: float = 0.5,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        @param initial_retry_delay: The first delay, in seconds, above 0. It applies again when a connection has stayed
            open for L{STABLE} seconds.
        @param multiplier: How much longer each delay is than the one before, at least 1.
        @param max_delay: The longest delay, in seconds, at least C{initial_retry_delay}.
        @param jitter: How much longer each wait may be at random, as a fraction of the delay; at least 0. Programs that
            all lost the same broker then do not all come back at the same moment.
        @param clock: Seconds since some fixed moment.
        @param random: A number from 0 up to 1.
        @raise TypeError: when one of the numbers is not a number.
        @raise ValueError: when one is outside its limits.
        """
        self.initial_retry_delay = seconds("initial_retry_delay", initial_retry_delay)
        self.multiplier = _at_least("multiplier", multiplier, 1)
        self.max_delay = seconds("max_delay", max_delay)
        if max_delay < initial_retry_delay:
            raise ValueError(
                f"max_delay is {max_delay}, it must be at least initial_retry_delay, {initial_retry_delay}"
            )
        self.jitter = _at_least("jitter", jitter, 0)
        self._clock = clock
        self._random = random
        self._stopped = False
        self._outages: WeakKeyDictionary[Any, _Outages] = WeakKeyDictionary()

    @property
    def is_active(self) -> bool:
        """Whether it will connect again, if a connection fails or is lost now: until L{stop}."""
        return not self._stopped

    def stop(self) -> None:
        """Never connect again. Timers that run are cancelled."""
        self._stopped = True
        for conn, outages in list(self._outages.items()):
            self._cancel(conn, outages)

    def on_connect_attempt(self, conn: Any) -> None:
        """One begins, by a timer or because somebody else wanted it: nothing more to wait for."""
        outages = self._of(conn)
        self._cancel(conn, outages)
        outages.attempts += 1

    def on_connection_open(self, conn: Any) -> None:
        """It worked; whether it lasts is to be seen."""
        outages = self._of(conn)
        self._cancel(conn, outages)
        outages.opened_at = self._clock()

    def on_connect_attempt_failure(self, conn: Any) -> None:
        """Try again later."""
        self._over(conn)

    def on_transport_disconnected(self, conn: Any) -> None:
        """Connect again later."""
        self._over(conn)

    def on_connection_closed(self, conn: Any) -> None:
        """Connect again later."""
        self._over(conn)

    def _of(self, conn: Any) -> _Outages:
        outages = self._outages.get(conn)
        if outages is None:
            outages = self._outages[conn] = _Outages(self.initial_retry_delay)
        return outages

    def _wanted(self, conn: Any) -> bool:
        return not self._stopped and not getattr(conn, "user_closed", False)

    def _cancel(self, conn: Any, outages: _Outages) -> None:
        if outages.waiting:
            outages.waiting = False
            conn.remove_timeout(outages.timer)
            outages.timer = None

    def _over(self, conn: Any) -> None:
        """It is not open, as several hooks may say of the same end."""
        outages = self._of(conn)
        if outages.opened_at is not None:
            if self._clock() - outages.opened_at >= STABLE:
                outages.delay, outages.attempts = self.initial_retry_delay, 0
            outages.opened_at = None
        if not self._wanted(conn):
            self._cancel(conn, outages)
        elif not outages.waiting:
            delay = outages.delay * (1 + self.jitter * self._random())
            outages.delay = min(outages.delay * self.multiplier, self.max_delay)
            _log.info("%r: connecting again in %.1f seconds (attempts so far: %d)", conn, delay, outages.attempts)
            outages.waiting = True
            outages.timer = conn.add_timeout(delay, lambda: self._reconnect(conn, outages))

    def _reconnect(self, conn: Any, outages: _Outages) -> None:
        outages.waiting, outages.timer = False, None
        if not self._wanted(conn):
            return
        try:
            conn.reconnect()
        except (AMQPError, OSError) as error:
            # It could not even begin. Some connections tell so by a hook too, which counts once.
            _log.warning("%r: cannot connect: %s", conn, error)
            self._over(conn)


def _at_least(name: str, value: float, low: int) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not isfinite(value) or value < low:
        raise ValueError(f"{name} is {value}, it must be at least {low} and finite")
    return value
