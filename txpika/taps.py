# -*- test-case-name: txpika.test.test_log -*-
"""
Where those who carry bytes and those who watch them find each other.

Owns the list of the wires there are, without keeping one of them alive, and who watches now. Neither side knows the
other: a connection that is made while somebody watches is watched from its first byte.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol
from weakref import WeakSet

#: Sees bytes go by: whether this side sent them, and the bytes. What is sent are whole frames.
Tap = Callable[[bool, bytes], None]


class Tappable(Protocol):
    """
    What can be watched (L{txpika.core.wire.Wire}).

    @ivar name: What to call it in a log.
    """

    name: str

    def tap(self, tap: Tap, /) -> None:
        """Show C{tap} what goes by from now on."""

    def untap(self) -> None:
        """Show it to nobody."""

    def behind(self) -> tuple[bytes, int]:
        """
        How far what was received before reaches into what will be: the begin of a frame that is not whole, or how many
        bytes are to come of a body frame whose begin is gone.
        """


_lock = Lock()
_wires: WeakSet[Tappable] = WeakSet()
_watch: Callable[[Tappable], Tap] | None = None


def add(wire: Tappable) -> None:
    """There is one more. Harmless when it was added before."""
    with _lock:
        _wires.add(wire)
        if _watch is not None:
            wire.tap(_watch(wire))


def watch(make_tap: Callable[[Tappable], Tap] | None) -> None:
    """
    @param make_tap: Makes a tap for each wire there is and will be; C{None} to watch none. It must be another function
        than the one that watches now: wires that are watched get a new tap.
    """
    global _watch
    with _lock:
        _watch = make_tap
        for wire in _wires:
            if make_tap is None:
                wire.untap()
            else:
                wire.tap(make_tap(wire))
