# -*- test-case-name: txpika.test.test_blocking_connection -*-
"""
Two ways to wait for a loop: run it until it has what is waited for, or have it run in a thread of its own.

Owns the thread. Knows a loop; nothing of AMQP.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from zope.interface import implementer

from txpika.adapters.loop import MAX_WAIT, IOLoop
from txpika.exceptions import WrongThread
from txpika.interfaces import ICompletion

_T = TypeVar("_T")
#: Seconds that a program may take, one event after the other, before the loop has a turn in between.
LOOK_AFTER = 0.05


class Waiter(Protocol):
    """What a blocking program waits with."""

    loop: IOLoop
    closed: bool

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call C{function} in the loop's thread; return, or raise, what it does."""

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Until C{ready()} is true, or C{timeout} seconds are over; return whether it is."""

    def look(self) -> None:
        """The program is at work, and would let the loop have a turn if that is due."""

    def notify(self) -> None:
        """Something has happened: those who wait may look again."""

    def close(self, reason: BaseException | None = None) -> None:
        """Let go of the loop, and of the thread: calls raise C{reason} from then on. Harmless when it is closed."""


class Running:
    """Runs the loop in the program's own thread, while that waits."""

    def __init__(self) -> None:
        self.loop = IOLoop()
        self.closed = False
        self._thread = threading.get_ident()
        self._looked = 0.0

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """@return: C{function(*arguments)}."""
        return function(*arguments)

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """
        Until C{ready()} is true, or C{timeout} seconds are over. With 0 the loop takes one look all the same.

        @raise WrongThread: in another thread than the one it was made in.
        """
        if threading.get_ident() != self._thread:
            raise WrongThread("the connection belongs to the thread that made it; with io_thread=True, to all")
        deadline = None if timeout is None else self.loop.seconds() + timeout
        looked = False
        while not ready():
            left = MAX_WAIT if deadline is None else deadline - self.loop.seconds()
            if left <= 0 and looked:
                return False
            self.loop.run_once(max(0.0, left))
            self._looked = self.loop.seconds()
            looked = True
        return True

    def look(self) -> None:
        """Let the loop have a turn, if the last one is L{LOOK_AFTER} ago."""
        if self.loop.seconds() - self._looked > LOOK_AFTER and not self.closed:
            self.loop.run_once(0)
            self._looked = self.loop.seconds()

    def notify(self) -> None:
        """Nobody else waits; but this may be a signal's handler, inside of a wait."""
        self.loop.wake()

    def close(self, reason: BaseException | None = None) -> None:
        """Let go of the loop."""
        if not self.closed:
            self.closed = True
            self.loop.close()


class Threaded:
    """Has the loop run in a thread of its own, so that heartbeats go on whatever the program does."""

    def __init__(self) -> None:
        self.loop = IOLoop()
        self.closed = False
        self._reason: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="txpika", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        reason: BaseException | None = None
        try:
            self.loop.start()
        except BaseException as error:  # the program's, who would not see it in this thread
            reason = error
        self.loop.close()
        with self._changed:
            self.closed = True
            self._reason = self._reason or reason or RuntimeError("the thread of the connection has ended")
            self._changed.notify_all()

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """
        @return: C{function(*arguments)}, called in the loop's thread.
        @raise BaseException: also what L{close} was told, when that came first.
        """
        if threading.current_thread() is self._thread:
            return function(*arguments)
        box = Box(self)

        def run() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:
                box.errback(error)
            else:
                box.callback(result)

        self.loop.add_callback(run)
        self.wait(lambda: box.done)
        result: _T = box.take()
        return result

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """
        Until C{ready()} is true, or C{timeout} seconds are over.

        @raise BaseException: when the thread ends meanwhile, what ended it.
        """
        with self._changed:
            self._changed.wait_for(lambda: ready() or self.closed, timeout)
            if ready():
                return True
            if self.closed:
                assert self._reason is not None
                raise self._reason
            return False

    def look(self) -> None:
        """The thread does that."""

    def notify(self) -> None:
        """Wake those who wait."""
        with self._changed:
            self._changed.notify_all()

    def close(self, reason: BaseException | None = None) -> None:
        """End the thread, which lets go of the loop."""
        with self._changed:
            self._reason = self._reason or reason
        self.loop.stop()
        if threading.current_thread() is not self._thread:
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
