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
from txpika.interfaces import ICompletion

_T = TypeVar("_T")


class Waiter(Protocol):
    """What a blocking program waits with."""

    loop: IOLoop

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call C{function} in the loop's thread; return, or raise, what it does."""

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Until C{ready()} is true, or C{timeout} seconds are over; return whether it is."""

    def notify(self) -> None:
        """Something has happened in the loop's thread: those who wait may look again."""

    def close(self) -> None:
        """Let go of the loop, and of the thread."""


class Running:
    """Runs the loop in the program's own thread, while that waits."""

    def __init__(self) -> None:
        self.loop = IOLoop()

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """@return: C{function(*arguments)}."""
        return function(*arguments)

    def wait(self, ready: Callable[[], object], timeout: float | None = None) -> bool:
        """Until C{ready()} is true, or C{timeout} seconds are over. With 0 the loop takes one look all the same."""
        deadline = None if timeout is None else self.loop.seconds() + timeout
        looked = False
        while not ready():
            left = MAX_WAIT if deadline is None else deadline - self.loop.seconds()
            if left <= 0 and looked:
                return False
            self.loop.run_once(max(0.0, left))
            looked = True
        return True

    def notify(self) -> None:
        """Nobody else waits."""

    def close(self) -> None:
        """Let go of the loop."""
        self.loop.close()


class Threaded:
    """Has the loop run in a thread of its own, so that heartbeats go on whatever the program does."""

    def __init__(self) -> None:
        self.loop = IOLoop()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self.loop.start, name="txpika", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """@return: C{function(*arguments)}, called in the loop's thread."""
        if threading.current_thread() is self._thread:
            return function(*arguments)
        if not self._thread.is_alive():
            raise RuntimeError("the thread of the connection has ended")
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
        """Until C{ready()} is true, or C{timeout} seconds are over."""
        with self._changed:
            return bool(self._changed.wait_for(ready, timeout))

    def notify(self) -> None:
        """Wake those who wait."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, and let go of the loop."""
        self.loop.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()
            self.loop.close()


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
