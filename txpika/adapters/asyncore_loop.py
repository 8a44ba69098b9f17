# -*- test-case-name: txpika.test.test_asyncore_connection -*-
"""
An event loop like our own among asyncore dispatchers: each serves the other.

Owns waiting by one pass of C{asyncore.loop()}, and what stands in C{asyncore.socket_map} for each descriptor. Knows
nothing of AMQP. Importing this does not import asyncore: making a loop does.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib import import_module
from threading import get_ident
from typing import Any

from txpika.adapters.loop import READ, WRITE, IOLoop, Poller, Timer

#: The longest pass, in seconds: that of C{asyncore.loop()} itself, as some dispatchers check the time in each.
MAX_PASS = 30.0

_log = logging.getLogger("txpika.adapters.asyncore")


def import_asyncore() -> Any:
    """
    @return: The module, whose deprecation in Python 3.11 is no news to anybody who asks for this adapter.
    @raise ImportError: when there is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module("asyncore")
    except ImportError as error:
        raise ImportError(
            "AsyncoreConnection needs asyncore, which Python 3.12 and later come without:"
            " pip install 'txpika[asyncore]'"
        ) from error


class Watch:
    """
    What asyncore takes for a dispatcher: one descriptor of a loop.

    @ivar events: What is waited for; 0 when it is over.
    """

    accepting = False

    def __init__(self, loop: AsyncoreLoop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self.events = 0

    def readable(self) -> bool:
        """Asked at the beginning of each pass."""
        self._loop.asked()
        return bool(self.events & READ)

    def writable(self) -> bool:
        """Asked at the beginning of each pass."""
        return bool(self.events & WRITE)

    def handle_read_event(self) -> None:
        """There is something to read."""
        self._tell(READ)

    def handle_write_event(self) -> None:
        """There is room to write."""
        self._tell(WRITE)

    def handle_expt_event(self) -> None:
        """Something else is the matter; whoever reads or writes finds out what."""
        self._tell(READ | WRITE)

    handle_close = handle_expt_event

    def _tell(self, events: int) -> None:
        if events & self.events:
            self._loop.happened(self._fd, events & self.events)

    def handle_error(self) -> None:
        """Let it through. Errors of callbacks do not come here: those are logged."""
        raise

    def close(self) -> None:
        """Called by C{asyncore.close_all()}. The descriptor is closed by its owner."""


class AsyncorePoller(Poller):
    """Waits in passes of C{asyncore.loop()}, in each of which all dispatchers have their turn."""

    NAME = "asyncore"

    def __init__(self, loop: AsyncoreLoop) -> None:
        """@raise ImportError: when there is no asyncore."""
        self._asyncore = import_asyncore()
        self._loop = loop
        self._watches: dict[int, Watch] = {}
        self.waiting = False

    def register(self, fd: int, events: int) -> None:
        """Wait for C{events} on C{fd}, and for nothing else on it. No events: forget it."""
        watch = self._watches.get(fd)
        if watch is None:
            watch = self._watches[fd] = Watch(self._loop, fd)
        watch.events = events
        if events:
            self._asyncore.socket_map[fd] = watch
        else:
            del self._watches[fd]
            self._leave(fd, watch)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """One pass. All that happened has been reported when this returns."""
        self.show()
        # It counts in milliseconds, rounded down: a wait that ends too early would be followed by a very short one.
        timeout = min(timeout + 0.001, MAX_PASS) if timeout > 0 else 0.0
        self.waiting = True
        try:
            self._asyncore.loop(timeout, use_poll=True, count=1)
        finally:
            self.waiting = False
        return []

    def show(self) -> None:
        """Tell asyncore what is waited for, if it does not know."""
        self._asyncore.socket_map.update(self._watches)

    def hide(self) -> None:
        """Let C{asyncore.loop()} return, if there is nobody else."""
        for fd, watch in self._watches.items():
            self._leave(fd, watch)

    def alone(self) -> bool:
        """Whether asyncore has nobody else to wait for."""
        return set(self._asyncore.socket_map) <= set(self._watches)

    def close(self) -> None:
        """Take everything out of asyncore's map."""
        self.hide()
        self._watches.clear()

    def _leave(self, fd: int, watch: Watch) -> None:
        if self._asyncore.socket_map.get(fd) is watch:
            del self._asyncore.socket_map[fd]


class AsyncoreLoop(IOLoop):
    """
    An L{IOLoop} among asyncore dispatchers.

    Its L{start} serves them too; and C{asyncore.loop()} serves it, until there is nothing more to do. In the latter
    case a timer may be late by the C{timeout} of C{asyncore.loop()}, 30 seconds unless the program says otherwise:
    asyncore has no timers.
    """

    poller: AsyncorePoller

    def __init__(self, poller_type: str | None = None) -> None:
        """
        @raise ImportError: when there is no asyncore.
        @raise ValueError: when C{poller_type} is neither C{None} nor C{"asyncore"}.
        """
        if poller_type not in (None, AsyncorePoller.NAME):
            raise ValueError(f"poller_type is {poller_type!r}, this loop waits with asyncore only")
        self._hidden = False
        super().__init__(AsyncorePoller(self))

    def asked(self) -> None:
        """A pass begins. If it is not ours, have it end at once when there is something to do."""
        if not self.poller.waiting:
            self._thread = get_ident()
            due = self._timers and self._timers[0].when <= self.seconds()
            if due or self._calls or self._idle():
                self._ring()

    def happened(self, fd: int, events: int) -> None:
        """Tell the handler of a descriptor what happened to it; in a pass that is not ours, see to all else, too."""
        super().happened(fd, events)
        if not self.poller.waiting:
            self.run_due()
            if self._idle():
                self._hidden = True
                self.poller.hide()

    def _idle(self) -> bool:
        """Whether there is nothing to wait for but other threads."""
        busy = len(self._handlers) > 1 or len(self._timers) > self._cancelled or self._calls
        return not busy and self.poller.alone()

    def _show(self) -> None:
        if self._hidden:
            self._hidden = False
            self.poller.show()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Timer:
        """As in L{IOLoop}."""
        self._show()
        return super().callLater(delay, callable, *args)

    call_later = callLater

    def add_callback(self, callback: Callable[[], object]) -> None:
        """As in L{IOLoop}."""
        self._show()
        super().add_callback(callback)

    add_callback_threadsafe = add_callback

    def fail(self, failure: Exception) -> None:
        """Have L{start} raise that. When C{asyncore.loop()} runs instead, it is logged."""
        if self._running:
            super().fail(failure)
        else:
            _log.error("%s", failure)
