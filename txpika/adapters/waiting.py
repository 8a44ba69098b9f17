# -*- test-case-name: txpika.test.test_waiting,txpika.test.test_blocking_connection -*-
"""
Two ways to wait for a loop: run it until it has what is waited for, or have it run in a thread of its own.

Owns the thread, and who may call: the right thread of the right process, and no signal handler from inside what it has
interrupted. Knows a loop; nothing of AMQP.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from time import monotonic
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from zope.interface import implementer

from txpika.adapters.loop import MAX_WAIT, IOLoop
from txpika.exceptions import CloseReason, RecursiveOperationDetected, WrongThread
from txpika.interfaces import ICompletion

_T = TypeVar("_T")
#: Seconds that a program may take over events, one after the other, before the loop has a turn in between.
LOOK_AFTER = 0.05

#: All there are, to be told of a fork.
_waiters: WeakSet[Running | Threaded] = WeakSet()


def _forked() -> None:
    for waiter in list(_waiters):
        waiter.fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def fresh(reason: BaseException) -> BaseException:
    """
    @return: C{reason}, to be raised once more: without earlier tracebacks, and what is in their frames.
    """
    return reason.with_outcome(reason.outcome) if isinstance(reason, CloseReason) else reason.with_traceback(None)


class Waiter(Protocol):
    """
    What a blocking program waits with.

    @ivar alone: While the program waits, no other thread of it can do anything.
    @ivar forked: This is a child of the process that made it. All it can do there is be closed.
    @ivar batching: What is written by L{send} may wait for the loop's next turn.
    @ivar hold: Called by L{send} before it calls anything: L{flush} will follow.
    @ivar flush: Called by L{send} in the loop's thread: what was written leaves, as far as the network takes it.
    """

    loop: IOLoop
    alone: bool
    closed: bool
    forked: bool
    batching: bool
    hold: Callable[[], object]
    flush: Callable[[], object]

    @property
    def busy(self) -> bool:
        """Whether the caller is a signal handler that has interrupted L{call}, which would raise."""

    def check(self) -> None:
        """
        @raise WrongThread: when this thread, or this process, may not call.
        @raise RecursiveOperationDetected: when L{busy}.
        """

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call C{function} in the loop's thread; return, or raise, what it does."""

    def send(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """L{call}, for what writes: L{flush} comes after it, unless C{batching}."""

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until C{ready()} is true, or C{timeout} seconds are over; return whether it is."""

    def put_off(self, function: Callable[[], object]) -> None:
        """Call C{function} as soon as this is no longer L{busy}."""

    def look(self) -> None:
        """The program is at work: let the loop have a turn if one is due."""

    def notify(self) -> None:
        """Something has happened: those who wait may look again."""

    def fork(self) -> None:
        """This is a child of the process that made it."""

    def close(self, reason: BaseException | None = None) -> None:
        """Release the loop, and the thread: calls raise C{reason} from then on. Harmless when it is closed."""


class Running:
    """Runs the loop in the program's own thread, while the program waits."""

    alone = True

    def __init__(self) -> None:
        self.loop = IOLoop()
        self.closed = False
        self.forked = False
        self.batching = False
        self.hold: Callable[[], object] = lambda: None
        self.flush: Callable[[], object] = lambda: None
        self._reason: BaseException | None = None
        self._thread = get_ident()
        self._looked = 0.0
        self._waits = 0
        self._put_off: deque[Callable[[], object]] = deque()
        _waiters.add(self)

    @property
    def busy(self) -> bool:
        """Whether the caller is a signal handler, inside the work of the loop or of a call."""
        return self.loop.busy and get_ident() == self._thread

    def check(self) -> None:
        """
        @raise WrongThread: in a thread other than the one it was made in.
        @raise RecursiveOperationDetected: when L{busy}.
        """
        if self.forked:
            raise WrongThread("the connection belongs to the process that this one was forked from: make another one")
        if get_ident() != self._thread:
            raise WrongThread("the connection belongs to the thread that made it; with io_thread=True, to all")
        if self.loop.busy:
            raise RecursiveOperationDetected(
                "a signal's handler called in while the connection was at work: let it call add_callback_threadsafe"
            )

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """
        @return: C{function(*arguments)}.
        @raise WrongThread: as L{check}, and C{function} is not called.
        @raise RecursiveOperationDetected: likewise.
        """
        loop = self.loop
        if loop.busy or get_ident() != self._thread:
            self.check()
        loop.busy = True
        try:
            return function(*arguments)
        finally:
            loop.busy = False
            if self._put_off:
                self._catch_up()

    def send(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """
        L{call}, L{flush} and L{look} in one, as a program may do nothing else all day long.

        @return: C{function(*arguments)}.
        @raise WrongThread: as L{call}.
        @raise RecursiveOperationDetected: likewise.
        """
        loop = self.loop
        if loop.busy or get_ident() != self._thread:
            self.check()
        loop.busy = True
        try:
            if self.batching:
                result = function(*arguments)
            else:
                try:
                    self.hold()
                    result = function(*arguments)
                finally:
                    try:
                        self.flush()
                    except BaseException:
                        self.flush()  # a signal handler may have raised before its first line
                        raise
        finally:
            loop.busy = False
            if self._put_off:
                self._catch_up()
        if not self.batching and monotonic() - self._looked > LOOK_AFTER:
            self.look()
        return result

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """
        Wait until C{ready()} is true, or C{timeout} seconds are over. With 0 the loop takes one look all the same.

        @raise WrongThread: as L{check}.
        @raise RecursiveOperationDetected: likewise.
        @raise BaseException: what L{close} was told, when a signal handler called that meanwhile.
        """
        if self.loop.busy or get_ident() != self._thread:
            self.check()
        deadline = None if timeout is None else monotonic() + timeout
        looked = False
        self._waits += 1
        try:
            while not ready():
                if self.closed:
                    raise fresh(self._reason or RuntimeError("the connection was closed"))
                left = MAX_WAIT if deadline is None else deadline - monotonic()
                if left <= 0:
                    if looked:
                        return False
                    left = 0.0
                self.loop.run_once(left)  # L{_run_loop} in place
                self._looked = monotonic()
                if self._put_off:
                    self._catch_up()
                looked = True
        finally:
            self._waits -= 1
            if self._waits:
                self.notify()  # this is a signal handler: the wait around it may have missed what happened
        return True

    def _run_loop(self, timeout: float) -> None:
        self.loop.run_once(timeout)
        self._looked = monotonic()
        if self._put_off:
            self._catch_up()

    def put_off(self, function: Callable[[], object]) -> None:
        """Call C{function} as if the signal had come a moment later: when what it interrupted is done."""
        self._put_off.append(function)

    def _catch_up(self) -> None:
        while self._put_off:
            self._put_off.popleft()()

    def look(self) -> None:
        """Let the loop have a turn, if the last one is L{LOOK_AFTER} ago."""
        if self.loop.seconds() - self._looked > LOOK_AFTER and not self.closed:
            self.check()
            self._run_loop(0)

    def notify(self) -> None:
        """Nobody else waits; but this may be a signal handler, inside a wait, which must not go to sleep now."""
        if self._waits and not self.loop.busy:
            self.loop.add_callback(lambda: None)

    def fork(self) -> None:
        """No thread of this process may call."""
        self.forked = True
        self._thread = 0

    def close(self, reason: BaseException | None = None) -> None:
        """Release the loop."""
        if not self.closed:
            self.closed = True
            self._reason = reason
            self.loop.close()


class Threaded:
    """
    Has the loop run in a thread of its own, so that heartbeats go on whatever the program does.

    @ivar busy: C{False}: no signal handler interrupts that thread.
    """

    alone = False
    busy = False
    batching = False

    def __init__(self) -> None:
        self.loop = IOLoop()
        self.closed = False
        self.forked = False
        self.hold: Callable[[], object] = lambda: None
        self.flush: Callable[[], object] = lambda: None
        self._reason: BaseException | None = None
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._thread = threading.Thread(target=self._run, name="txpika", daemon=True)
        _waiters.add(self)
        self._thread.start()

    def _run(self) -> None:
        reason: BaseException | None = None
        try:
            self.loop.start()
        except BaseException as error:  # the program's own, which it would not see in this thread
            reason = error
        self.loop.close()
        with self._changed:
            self.closed = True
            self._reason = self._reason or reason or RuntimeError("the thread of the connection has ended")
            self._changed.notify_all()

    def check(self) -> None:
        """@raise WrongThread: in a child of the process that made it, which does not have its thread."""
        if self.forked:
            raise WrongThread("the connection belongs to the process that this one was forked from: make another one")

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """
        @return: C{function(*arguments)}, called in the loop's thread.
        @raise WrongThread: as L{check}.
        @raise BaseException: also what L{close} was told, when that came first.
        """
        if threading.current_thread() is self._thread:
            return function(*arguments)
        if self.forked:
            self.check()
        box = Box(self)

        def run() -> None:
            try:
                result = function(*arguments)
                self.flush()
            except BaseException as error:
                box.errback(error)
            else:
                box.callback(result)

        self.loop.add_callback(run)
        self.wait(lambda: box.done)
        result: _T = box.take()
        return result

    send = call

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """
        Wait until C{ready()} is true, or C{timeout} seconds are over.

        @raise WrongThread: as L{check}.
        @raise BaseException: when the thread ends meanwhile, what ended it.
        """
        self.check()
        deadline = None if timeout is None else self.loop.seconds() + timeout
        me = get_ident()
        with self._changed:
            inside = me in self._waiting
            self._waiting.add(me)
            try:
                while not ready():
                    if self.closed:
                        assert self._reason is not None
                        raise fresh(self._reason)
                    left = MAX_WAIT if deadline is None else deadline - self.loop.seconds()
                    if left <= 0:
                        return False
                    self._changed.wait(min(left, MAX_WAIT))
            finally:
                if inside:  # this is a signal handler: the wait around it may have missed what happened
                    self.notify()
                else:
                    self._waiting.discard(me)
        return True

    def put_off(self, function: Callable[[], object]) -> None:
        """It is never busy."""
        function()

    def look(self) -> None:
        """The thread does that."""

    def notify(self) -> None:
        """Wake those who wait."""
        if get_ident() in self._waiting:
            # A signal handler inside a wait, which may have looked already and be about to sleep: the wait holds the
            # lock until it does, so the loop's thread comes just after that.
            self.loop.add_callback(self._notify)
        else:
            self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def fork(self) -> None:
        """The thread is not in this process, and neither is whoever had the lock."""
        self.forked = True
        self._changed = threading.Condition()
        self._waiting = set()

    def close(self, reason: BaseException | None = None) -> None:
        """End the thread, which releases the loop."""
        if self.forked:
            self.closed = True
            with suppress(OSError):  # kqueue's descriptor is not in this process
                self.loop.close()
            return
        with self._changed:
            self._reason = self._reason or reason
        self.loop.stop()
        if threading.current_thread() is not self._thread:
            with self._changed:
                # A wait that a signal handler interrupted for this holds the lock, which the thread needs to end.
                while not self.closed:
                    self._changed.wait(1)
            self._thread.join()


@implementer(ICompletion)
class Box:
    """
    Holds the result of a call until somebody takes it.

    @ivar done: It is there.
    """

    __slots__ = ("_error", "_result", "_waiter", "cancel", "done")

    def __init__(self, waiter: Waiter, cancel: Callable[[Any], object] = lambda box: None) -> None:
        self._waiter = waiter
        self._result: Any = None
        self._error: BaseException | None = None
        self.cancel = cancel
        self.done = False

    def callback(self, result: Any) -> None:
        """The result."""
        self._result = result
        self.done = True
        self._waiter.notify()

    def errback(self, exception: BaseException) -> None:
        """The failure."""
        self._error = exception
        self.done = True
        self._waiter.notify()

    @property
    def error(self) -> BaseException | None:
        """The failure, if it is one."""
        return self._error

    def take(self) -> Any:
        """@return: The result. @raise BaseException: when it is a failure, that."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # whose traceback leads here
        return self._result
