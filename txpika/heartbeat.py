# -*- test-case-name: txpika.test.test_heartbeat_checker -*-
"""
A heartbeat that a program adds to a connection, as in 2011.

Connections keep themselves alive, at the interval they agreed on with the broker, and notice a dead one
(L{txpika.core.heartbeat}). This is for programs that want to notice sooner.
"""

from __future__ import annotations

import logging
from typing import Any

from txpika import frames
from txpika.core.heartbeat import Heartbeat
from txpika.parameters import seconds

_log = logging.getLogger("txpika.heartbeat")


class HeartbeatChecker:
    """
    Sends a heartbeat when the connection has sent nothing for half of the interval. Drops the connection when nothing
    was received for two intervals, which takes a broker that sends something in that time: its own heartbeats come
    twice in the interval agreed on with it.

    @ivar connection: Whose it is.
    @ivar interval: In seconds.
    """

    def __init__(self, connection: Any, interval: float) -> None:
        """
        @param connection: An open connection, of any kind.
        @param interval: In seconds, above 0.
        @raise TypeError: when C{interval} is no number.
        @raise ValueError: when it is not above 0, or infinite.
        """
        self.connection = connection
        self.interval = seconds("interval", interval)
        self._core = core = connection._core
        self._heartbeat = Heartbeat(core.clock, interval, core.wire, self._send, self._lost, self._paused)
        self._heartbeat.start()

    def stop(self) -> None:
        """No more. Harmless when there was none; happens by itself within three intervals of the connection's end."""
        self._heartbeat.stop()

    def _send(self) -> None:
        if self._core.is_open:
            self._core.wire.send(frames.Heartbeat().marshal())

    def _paused(self) -> bool:
        return self._core.wire.transport is not None and bool(self._core.intake.paused)

    def _lost(self, silence: float) -> None:
        if self._core.wire.transport is None:
            return  # it has ended long ago, and so do the timers now
        _log.warning("%r: nothing was received for %g seconds; dropped", self.connection, silence)
        self._core.abort()
