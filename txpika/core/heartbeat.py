# -*- test-case-name: txpika.test.test_heartbeat -*-
"""
Keep an idle connection alive, and notice a dead one.

Owns the two heartbeat timers of one connection. Knows a clock, the connection's byte counters and two callables; never
a frame, a transport or a channel.

AMQP 0-9-1 section 4.2.7; RabbitMQ's rules for choosing the timeout are at rabbitmq.com/docs/heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from txpika.interfaces import Clock, IDelayedCall

#: A peer is dead after this many timeouts without a byte. RabbitMQ itself waits for two checks without one.
MISSED_TIMEOUTS = 2


class ByteCounts(Protocol):
    """What the heartbeat reads from a connection: running totals, in bytes."""

    bytes_sent: int
    bytes_received: int


def _always_reading() -> bool:
    return False


class Heartbeat:
    """
    The heartbeat of one open connection.

    Counting bytes, not frames, means that a large frame arriving slowly is a sign of life. The connection only adds to
    its counters as it reads and writes; all comparing happens here, on the clock, so the hot paths pay nothing.
    """

    def __init__(
        self,
        clock: Clock,
        timeout: float,
        counts: ByteCounts,
        send: Callable[[], None],
        lost: Callable[[float], None],
        paused: Callable[[], bool] = _always_reading,
    ) -> None:
        """
        @param clock: Where timers come from; a fake one in tests.
        @param timeout: The negotiated heartbeat timeout, in seconds, above 0. Do not make a L{Heartbeat} for 0: both
            peers then agreed to have none.
        @param counts: The connection's byte totals.
        @param send: Writes one heartbeat frame.
        @param lost: Called once, with the silence in seconds, when the peer is taken for dead.
        @param paused: Whether reading is paused on purpose: then a peer that is not heard is not dead.
        """
        self._clock = clock
        self._paused = paused
        self._timeout = timeout
        self._counts = counts
        self._send = send
        self._lost = lost
        self._timers: dict[str, IDelayedCall] = {}

    def start(self) -> None:
        """Begin both timers. Call when the connection is tuned."""
        self._heard_at = self._clock.seconds()
        self._expect_sent()
        self._expect_received()

    def stop(self) -> None:
        """Cancel both timers. Harmless when there are none."""
        while self._timers:
            self._timers.popitem()[1].cancel()

    def _expect_sent(self) -> None:
        self._sent = self._counts.bytes_sent
        self._timers["send"] = self._clock.callLater(self._timeout / 2, self._check_sent)

    def _check_sent(self) -> None:
        del self._timers["send"]
        if self._counts.bytes_sent == self._sent:
            self._send()
        self._expect_sent()

    def _expect_received(self) -> None:
        self._received = self._counts.bytes_received
        self._timers["receive"] = self._clock.callLater(self._timeout / 2, self._check_received)

    def _check_received(self) -> None:
        del self._timers["receive"]
        now = self._clock.seconds()
        if self._counts.bytes_received != self._received or self._paused():
            self._heard_at = now
        silence = now - self._heard_at
        if silence >= MISSED_TIMEOUTS * self._timeout:
            self.stop()
            self._lost(silence)
        else:
            self._expect_received()
