# -*- test-case-name: txpika.test.test_backpressure -*-
"""
Notice when the network takes less than the program writes, measured in frames of average size.

Owns a multiplier and whom to tell. Knows running totals and how much is buffered; whoever flushes a buffer asks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

#: How many average frames may be buffered before anybody is told.
DEFAULT_MULTIPLIER = 10


class SentCounts(Protocol):
    """What is read from a connection: running totals."""

    bytes_sent: int
    frames_sent: int


class Backpressure:
    """
    @ivar multiplier: How many average frames may be buffered.
    """

    def __init__(self, counts: SentCounts, held: Callable[[], int] = lambda: 0) -> None:
        """
        @param held: Returns how many bytes wait for their turn to enter the transport's buffer.
        """
        self._counts = counts
        self._held = held
        self._callbacks: list[Callable[[], object]] = []
        self.multiplier: float = DEFAULT_MULTIPLIER

    def add_callback(self, callback: Callable[[], object]) -> None:
        """
        @param callback: Called, without arguments, each time too much is left after a flush.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        self._callbacks.append(callback)

    def set_multiplier(self, multiplier: float) -> None:
        """
        @param multiplier: How many average frames may be buffered, above 0.
        @raise TypeError: when it is not a number.
        @raise ValueError: when it is not above 0.
        """
        if not isinstance(multiplier, int | float) or isinstance(multiplier, bool):
            raise TypeError(f"multiplier must be a number, not {type(multiplier).__name__}")
        if not multiplier > 0:
            raise ValueError(f"multiplier is {multiplier}, it must be above 0")
        self.multiplier = multiplier

    @property
    def average_frame_size(self) -> float:
        """Of all frames sent so far, in bytes; 0 before the first."""
        return self._counts.bytes_sent / self._counts.frames_sent if self._counts.frames_sent else 0.0

    def flushed(self, buffered: int) -> bool:
        """
        The transport has taken what it takes for now.

        @param buffered: Bytes that are left.
        @return: Whether they and those waiting for their turn are too many. If so, the callbacks were called.
        """
        if buffered + self._held() <= self.multiplier * self.average_frame_size:
            return False
        for callback in list(self._callbacks):
            callback()
        return True
