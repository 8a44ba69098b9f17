# -*- test-case-name: txpika.test.test_loop -*-
"""
An event loop of our own, for programs that have none: file descriptors, timers, and calls from other threads.

Owns the waiting. Knows descriptors and callables; nothing of sockets, AMQP or Twisted. The system call it waits with is
one of those behind the standard library's C{selectors}, under the class names that pika's users know.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from threading import get_ident
from typing import Any, ClassVar, Self

from txpika.adapters.checking import check_number

#: What a handler can be told about its descriptor, and what it can wait for: the values of Linux's epoll.
READ = 0x0001
WRITE = 0x0004
ERROR = 0x0008

#: The longest wait in one system call, in seconds. Waiting longer gains nothing and overflows some of them.
MAX_WAIT = 3600.0

#: Told of its descriptor and what happened to it: a sum of L{READ}, L{WRITE} and L{ERROR}.
Handler = Callable[[int, int], object]

_log = logging.getLogger("txpika.adapters.loop")


class Poller:
    """
    Waits for descriptors.

    @cvar NAME: What C{SELECT_TYPE} calls it.
    @cvar SELECTOR: The class of C{selectors} it stands for.
    """

    NAME: ClassVar[str]
    SELECTOR: ClassVar[str]

    def __init__(self) -> None:
        """@raise ValueError: when this system has no such call."""
        if not self.available():
            raise ValueError(f"this system has no {self.NAME}")
        self._selector: selectors.BaseSelector = getattr(selectors, self.SELECTOR)()

    @classmethod
    def available(cls) -> bool:
        """Whether this system has it."""
        return None not in (getattr(select, cls.NAME, None), getattr(selectors, cls.SELECTOR, None))

    def register(self, fd: int, events: int) -> None:
        """Wait for C{events} on C{fd}, and for nothing else on it. No events: forget it."""
        wanted = (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)
        known = fd in self._selector.get_map()
        if not wanted:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, wanted)
        else:
            self._selector.register(fd, wanted)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """
        @param timeout: In seconds; 0 only looks.
        @return: Descriptors, and what happened to each.
        """
        return [
            (key.fd, (READ if mask & selectors.EVENT_READ else 0) | (WRITE if mask & selectors.EVENT_WRITE else 0))
            for key, mask in self._selector.select(timeout)
        ]

    def close(self) -> None:
        """Release what the system keeps for it."""
        self._selector.close()


class SelectPoller(Poller):
    """C{select(2)}: available everywhere; slow, and limited to 1,024 descriptors on most systems."""

    NAME = "select"
    SELECTOR = "SelectSelector"


class PollPoller(Poller):
    """C{poll(2)}."""

    NAME = "poll"
    SELECTOR = "PollSelector"


class EPollPoller(Poller):
    """
    Linux's C{epoll(7)}, whose values are those of L{READ} and L{WRITE}. It bypasses C{selectors}, whose Python code
    takes 1.0 us per wait (3.11).
    """

    NAME = "epoll"
    SELECTOR = "EpollSelector"

    def __init__(self) -> None:
        if not self.available():
            raise ValueError(f"this system has no {self.NAME}")
        self._epoll = select.epoll()
        self._events: dict[int, int] = {}

    def register(self, fd: int, events: int) -> None:
        """As in L{Poller}."""
        wanted = events & (READ | WRITE)
        if not wanted:
            if self._events.pop(fd, None) is not None:
                with contextlib.suppress(OSError):  # it was closed, and thereby forgotten
                    self._epoll.unregister(fd)
        elif fd in self._events:
            self._epoll.modify(fd, wanted)
            self._events[fd] = wanted
        else:
            self._epoll.register(fd, wanted)
            self._events[fd] = wanted

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """As in L{Poller}. An error, or the end, counts as readable and writable for whoever waits for that."""
        ready: list[tuple[int, int]] = self._epoll.poll(timeout, len(self._events) or 1)
        for _, events in ready:
            if events != READ and events != WRITE:
                return [(fd, self._of_interest(fd, events)) for fd, events in ready]
        return ready

    def _of_interest(self, fd: int, events: int) -> int:
        return self._events.get(fd, 0) & (READ * bool(events & ~WRITE) | WRITE * bool(events & ~READ))

    def close(self) -> None:
        """As in L{Poller}."""
        self._epoll.close()


class KQueuePoller(Poller):
    """C{kqueue(2)} of the BSDs and macOS."""

    NAME = "kqueue"
    SELECTOR = "KqueueSelector"


#: Best first.
POLLERS: tuple[type[Poller], ...] = (EPollPoller, KQueuePoller, PollPoller, SelectPoller)


def make_poller(name: str | None = None) -> Poller:
    """
    @param name: C{"select"}, C{"poll"}, C{"epoll"}, C{"kqueue"}, or C{None} for the best there is.
    @raise ValueError: when there is none of that name, here or at all.
    """
    for poller in POLLERS:
        if name == poller.NAME or (name is None and poller.available()):
            return poller()
    raise ValueError(f"{name!r} is no poller; there are {', '.join(poller.NAME for poller in POLLERS)}")


class Timer:
    """One pending call. Compared by time, then by age."""

    __slots__ = ("_loop", "args", "function", "order", "when")

    def __init__(self, loop: IOLoop, when: float, order: int, function: Callable[..., Any], args: tuple[Any, ...]):
        self._loop = loop
        self.when = when
        self.order = order
        self.function: Callable[..., Any] | None = function
        self.args = args

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.order) < (other.when, other.order)

    def cancel(self) -> None:
        """Cancel the call. Harmless when it has happened."""
        if self.function is not None:
            self.function = None
            self.args = ()
            self._loop.forget(self)


class IOLoop:
    """
    Waits for descriptors, timers and calls from other threads, and tells whoever asked.

    Only L{stop}, L{add_callback} and L{add_callback_threadsafe} may be called from a thread other than the one it runs
    in. A callable's C{Exception} is logged, and the loop goes on; other exceptions, such as C{KeyboardInterrupt},
    end L{start}.

    @ivar poller: What it waits with.
    @ivar busy: It is calling somebody; what must not be called from inside that can check here. Whoever works with the
        loop outside L{run_once} may set it, too.
    @ivar closed: L{close} was called.
    @ivar in_vain: How many of the waiting calls have nothing left to do: if there are no others, it waits instead of
        only looking. Their callers count them, in the loop's thread.
    """

    READ = READ
    WRITE = WRITE
    ERROR = ERROR
    _instance: ClassVar[Any] = None

    def __init__(self, poller_type: str | Poller | None = None) -> None:
        """
        @param poller_type: See L{make_poller}; or a poller.
        @raise ValueError: when there is no such poller.
        """
        self.poller = poller_type if isinstance(poller_type, Poller) else make_poller(poller_type)
        self._handlers: dict[int, Handler] = {}
        self._timers: list[Timer] = []
        self._cancelled = 0
        self._order = count()
        self._calls: deque[Callable[[], object]] = deque()
        self._running = False
        self._waiting = False
        self.busy = False
        self.closed = False
        self.in_vain = 0
        self._failure: Exception | None = None
        self._stopping = False
        self._thread = get_ident()
        self._alarm, self._bell = socket.socketpair()
        self._alarm.setblocking(False)
        self._bell.setblocking(False)
        self.add_handler(self._alarm.fileno(), self._woken, READ)

    @classmethod
    def instance(cls, poller_type: str | None = None) -> Self:
        """
        @param poller_type: What it must wait with; C{None} if it does not matter.
        @return: The one of this class shared by programs that do not care to have their own. It is replaced when it is
            closed, or has another poller.
        """
        shared: Self | None = vars(cls).get("_instance")
        if shared is None or poller_type not in (None, shared.poller_type):
            shared = cls(poller_type)
            cls._instance = shared
        return shared

    @property
    def poller_type(self) -> str:
        """The name of what it waits with."""
        return self.poller.NAME

    # Running

    def start(self) -> None:
        """
        Run until L{stop}.

        @raise RuntimeError: when it is running already, as when called from one of its callables.
        """
        if self._running:
            raise RuntimeError("the loop is running already")
        self._running = True
        self._thread = get_ident()
        try:
            while not self._stopping:
                self.run_once(MAX_WAIT)
        finally:
            self._running = self._stopping = False
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    loop = start

    def stop(self) -> None:
        """Have L{start} return when what is at hand is done; if it is not running, the next one at once."""
        self._stopping = True
        self._ring()

    def fail(self, failure: Exception) -> None:
        """Have L{start} raise C{failure}, as for an error that there was nobody to tell of."""
        self._failure = failure
        self.stop()

    def run_once(self, timeout: float) -> None:
        """
        Wait for something to happen, at most C{timeout} seconds, and see to it.

        @param timeout: 0 only looks.
        """
        self._thread = get_ident()
        # From here on a signal handler, which is called from inside the wait, must end the wait to be noticed.
        waiting, self._waiting = self._waiting, True
        try:
            if len(self._calls) > self.in_vain or self._stopping:
                timeout = 0
            elif self._timers:
                timeout = min(timeout, self._timers[0].when - time.monotonic())
            ready = self.poller.wait(min(max(timeout, 0), MAX_WAIT))
        except (OSError, ValueError):
            if not self.closed:
                raise
            return  # such a handler has closed it
        finally:
            self._waiting = waiting
        busy, self.busy = self.busy, True
        try:
            for fd, events in ready:
                self.happened(fd, events)
            self.run_due()
        finally:
            self.busy = busy

    poll = run_once

    def happened(self, fd: int, events: int) -> None:
        """Tell the handler of a descriptor what happened to it."""
        handler = self._handlers.get(fd)
        if handler is not None:  # an earlier one may have removed it
            try:  # L{_run} in place: this may happen all day long
                handler(fd, events)
            except Exception:
                _log.exception("%r raised", handler)

    def run_due(self) -> None:
        """Call what is due: timers, and what came by L{add_callback}."""
        if self._timers and self._timers[0].when <= time.monotonic():
            self._run_timers()
        for _ in range(len(self._calls)):  # those that come meanwhile have their turn next time
            self._run(self._calls.popleft())

    def _run(self, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            _log.exception("%r raised", function)

    def close(self) -> None:
        """Release what the system keeps for it. It cannot run any more."""
        self.closed = True
        self.poller.close()
        self._alarm.close()
        self._bell.close()
        self._handlers.clear()
        self._timers.clear()
        if self._instance is self:
            type(self)._instance = None

    # Descriptors

    def add_handler(self, fd: int, handler: Handler, events: int) -> None:
        """
        Call C{handler} with the descriptor and what happened, each time one of C{events} occurs.

        @raise ValueError: when it has a handler already.
        """
        if fd in self._handlers:
            raise ValueError(f"descriptor {fd} has a handler already")
        self.poller.register(fd, events)
        self._handlers[fd] = handler

    def update_handler(self, fd: int, events: int) -> None:
        """
        Wait for these events on a descriptor from now on.

        @raise KeyError: when it has no handler.
        """
        if fd not in self._handlers:
            raise KeyError(f"descriptor {fd} has no handler")
        self.poller.register(fd, events)

    def remove_handler(self, fd: int) -> None:
        """Stop waiting for a descriptor; call this before it is closed. Harmless when it has no handler."""
        if self._handlers.pop(fd, None) is not None:
            self.poller.register(fd, 0)

    # Time

    def seconds(self) -> float:
        """@return: Monotonic time, in seconds since some moment."""
        return time.monotonic()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Timer:
        """
        Call C{callable(*args)} in C{delay} seconds.

        @return: Has a C{cancel()}.
        @raise TypeError: when C{delay} is not a number.
        @raise ValueError: when it is NaN.
        """
        check_number("delay", delay)
        timer = Timer(self, time.monotonic() + delay, next(self._order), callable, args)
        heapq.heappush(self._timers, timer)
        self.wake()
        return timer

    call_later = callLater

    def add_timeout(self, deadline: float, callback: Callable[[], object]) -> Timer:
        """
        As L{callLater}, at a time given as by C{time.time()}: what pika's loop of 2011 had.

        @param deadline: In seconds since 1970.
        @raise TypeError: when it is not a number.
        @raise ValueError: when it is NaN.
        """
        check_number("deadline", deadline)
        return self.callLater(max(0.0, deadline - time.time()), callback)

    def remove_timeout(self, timeout: Timer) -> None:
        """Undo L{callLater} or L{add_timeout}. Harmless when it has happened."""
        timeout.cancel()

    def forget(self, _timer: Timer) -> None:
        """A timer was cancelled. Sweep the cancelled ones out before they outnumber the others."""
        self._cancelled += 1
        if self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if timer.function is not None]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            function, args = timer.function, timer.args
            if function is None:
                self._cancelled -= 1
                continue
            timer.function = None
            self._run(function, *args)

    # Other threads

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call C{callback} in the loop's thread, soon. May be called from any thread. A closed loop ignores it."""
        if self.closed:
            return
        self._calls.append(callback)
        if self._waiting or get_ident() != self._thread:
            self._ring()

    add_callback_threadsafe = add_callback

    def wake(self) -> None:
        """If called by a signal handler from inside a wait, end the wait."""
        if self._waiting:
            self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already, or nobody is there any more
            self._bell.send(b"\0")

    def _woken(self, _fd: int, _events: int) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._alarm.recv(4096)
