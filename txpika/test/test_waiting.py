"""Tests for how a blocking program waits, and for signals that come at the worst moment. No broker is needed."""

from __future__ import annotations

import errno
import gc
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, ClassVar
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from txpika.adapters.waiting import Running, Threaded
from txpika.exceptions import CloseReason, NotConnected, RecursiveOperationDetected, WrongThread
from txpika.test.elsewhere import PATIENCE, in_another_thread


def in_child(call: Callable[[], object]) -> str:
    """
    Call it in a forked process, which is killed if it hangs.

    @return: The name of what it raised; C{""} for nothing.
    """
    if not hasattr(os, "fork"):
        raise SkipTest("no fork here")
    there, here = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process with threads
        child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(PATIENCE))
        name = "-"
        try:
            call()
        except BaseException as error:
            name = type(error).__name__
        os.write(here, name.encode())
        os._exit(0)
    os.close(here)
    with os.fdopen(there, "rb") as answer:
        name = answer.read().decode()
    os.waitpid(child, 0)
    return (name or "it hangs").strip("-")


class WaitingTestCase(SynchronousTestCase):
    """One waiter of either kind."""

    kind: ClassVar[type[Running | Threaded]]

    def setUp(self) -> None:
        self.made: list[Any] = []
        self.addCleanup(lambda: [waiter.close() for waiter in self.made])

    def make(self) -> Any:
        """To be called in the thread that uses it."""
        self.made.append(self.kind())
        return self.made[-1]

    def soon(self, call: Callable[[], object]) -> None:
        """It must neither hang nor raise."""
        error = in_another_thread(call)
        if error is not None:
            raise error


class WaitingTests(WaitingTestCase):
    """A loop that the program runs itself."""

    kind: ClassVar[type[Running | Threaded]] = Running

    def test_results(self) -> None:
        def use() -> None:
            waiter = self.make()
            self.assertEqual(waiter.call(divmod, 7, 2), (3, 1))
            self.assertRaises(ZeroDivisionError, waiter.call, divmod, 7, 0)
            self.assertTrue(waiter.wait(lambda: True, 0))
            self.assertFalse(waiter.wait(lambda: False, 0))

        self.soon(use)

    def test_forever(self) -> None:
        """Longer than the system can wait."""

        def use() -> None:
            waiter = self.make()
            for timeout in (None, 1e12, inf):
                there: list[int] = []

                def come(there: list[int] = there, waiter: Any = waiter) -> None:
                    there.append(1)
                    waiter.notify()

                waiter.call(waiter.loop.callLater, 0.01, come)
                self.assertTrue(waiter.wait(lambda there=there: there, timeout))

        self.soon(use)

    def test_it_happens_between_a_look_and_the_sleep(self) -> None:
        """A signal's handler has its say after this has looked, and before it sleeps."""

        def use() -> None:
            waiter = self.make()
            for interrupt in (waiter.notify, lambda: waiter.wait(lambda: True)):
                there: list[int] = []

                def ready(there: list[int] = there, interrupt: Callable[[], object] = interrupt) -> bool:
                    if there:
                        return True
                    there.append(1)
                    interrupt()
                    return False

                waiter.wait(ready, None)

        self.soon(use)

    def test_closed_between_a_look_and_the_sleep(self) -> None:
        def use() -> None:
            waiter = self.make()
            reason = NotConnected("by a signal's handler")
            error = self.assertRaises(NotConnected, waiter.wait, lambda: waiter.close(reason), None)
            self.assertIsNot(error, reason)
            self.assertTrue(waiter.closed)

        self.soon(use)

    def test_what_is_raised_is_raised_once(self) -> None:
        """Else each call would add to one traceback, and what it was about would stay."""

        class Argument:
            pass

        def use() -> None:
            for reason in (CloseReason("the end"), RuntimeError("the end")):
                waiter = self.make()
                waiter.close(reason)
                kept = []
                for _ in range(10):
                    argument = Argument()
                    kept.append(weakref.ref(argument))
                    self.assertRaises(type(reason), self.fail_with, waiter, argument)
                depth, traceback = 0, reason.__traceback__
                while traceback is not None:
                    depth, traceback = depth + 1, traceback.tb_next
                self.assertLess(depth, 10)
                del argument, traceback
                gc.collect()
                self.assertLess(sum(each() is not None for each in kept), 3)

        self.soon(use)

    def fail_with(self, waiter: Any, argument: object) -> None:
        if isinstance(waiter, Threaded):
            waiter.call(id, argument)
        waiter.wait(lambda: False)

    def test_what_is_written_leaves_before_it_returns(self) -> None:
        waiter = self.make()
        order: list[str] = []
        waiter.flush = lambda: order.append("flushed")
        waiter.send(order.append, "called")
        self.assertEqual(order, ["called", "flushed"])
        self.assertRaises(ZeroDivisionError, waiter.send, divmod, 7, 0)

    def test_in_a_child(self) -> None:
        """Nothing hangs, and nothing is done in the name of the parent."""
        waiter = self.make()
        done: list[int] = []
        waiter.call(done.append, 1)
        for call in (lambda: waiter.call(done.append, 2), lambda: waiter.wait(lambda: False), waiter.check):
            self.assertEqual(in_child(call), "WrongThread")
        self.assertEqual(in_child(waiter.close), "")
        waiter.call(done.append, 3)
        self.assertEqual(done, [1, 3])


class ThreadedWaitingTests(WaitingTests):
    """One that runs in a thread of its own."""

    kind = Threaded

    def test_forked_while_the_thread_has_the_lock(self) -> None:
        waiter = self.make()
        held, enough = threading.Event(), threading.Event()

        def hold() -> None:
            with waiter._changed:
                held.set()
                enough.wait(PATIENCE)

        waiter.loop.add_callback(hold)
        held.wait(PATIENCE)
        try:
            self.assertEqual(in_child(lambda: waiter.call(int)), "WrongThread")
            self.assertEqual(in_child(waiter.notify), "")
            self.assertEqual(in_child(waiter.close), "")
        finally:
            enough.set()


class InterruptedTests(WaitingTestCase):
    """A signal's handler calls in while the loop, or a call, is at work in the same thread."""

    kind: ClassVar[type[Running | Threaded]] = Running

    def setUp(self) -> None:
        super().setUp()
        self.waiter = self.make()
        self.heard: list[str] = []

    def handler(self) -> None:
        self.assertTrue(self.waiter.busy)
        self.assertRaises(RecursiveOperationDetected, self.waiter.call, self.heard.append, "never")
        self.assertRaises(RecursiveOperationDetected, self.waiter.send, self.heard.append, "never")
        self.assertRaises(RecursiveOperationDetected, self.waiter.wait, lambda: True)
        self.waiter.put_off(lambda: self.heard.append(f"put off, busy: {self.waiter.busy}"))
        self.heard.append("done")

    def test_the_loop_is_at_work(self) -> None:
        self.waiter.loop.add_callback(self.handler)
        self.waiter.wait(lambda: len(self.heard) == 2, PATIENCE)
        self.assertEqual(self.heard, ["done", "put off, busy: False"])

    def test_a_call_is_at_work(self) -> None:
        self.waiter.call(self.handler)
        self.assertEqual(self.heard, ["done", "put off, busy: False"])
        self.assertEqual(self.waiter.call(int), 0)

    def test_a_call_that_raises(self) -> None:
        def function() -> None:
            self.handler()
            raise KeyError("of the program")

        self.assertRaises(KeyError, self.waiter.call, function)
        self.assertEqual(self.heard, ["done", "put off, busy: False"])
        self.assertFalse(self.waiter.busy)

    def test_what_is_held_is_flushed(self) -> None:
        """Whatever happens; else what is written later would never leave. In a batch nothing is held."""
        self.waiter.hold = lambda: self.heard.append("hold")
        self.waiter.flush = lambda: self.heard.append("flush")
        self.waiter.send(self.heard.append, "call")
        self.assertRaises(ZeroDivisionError, self.waiter.send, divmod, 7, 0)
        self.waiter.batching = True
        self.waiter.send(self.heard.append, "in a batch")
        self.assertEqual(self.heard, ["hold", "call", "flush", "hold", "flush", "in a batch"])

    def test_a_signal_raises_before_anything_is_flushed(self) -> None:
        """What was written leaves all the same: else nothing that is written later would."""

        def flush() -> None:
            self.heard.append("flush")
            if len(self.heard) == 1:
                raise KeyboardInterrupt

        self.waiter.flush = flush
        self.assertRaises(KeyboardInterrupt, self.waiter.send, int)
        self.assertEqual(self.heard, ["flush", "flush"])
        self.waiter.hold = flush
        self.heard.clear()
        self.assertRaises(KeyboardInterrupt, self.waiter.send, int)
        self.assertEqual(self.heard, ["flush", "flush"])

    def test_sending(self) -> None:
        self.waiter.send(self.handler)
        self.waiter.flush = self.handler
        self.waiter.send(int)
        self.assertEqual(self.heard, ["done", "put off, busy: False"] * 2)
        self.waiter.batching = True
        self.waiter._looked -= 1
        self.waiter.loop.add_callback(lambda: self.heard.append("looked"))
        self.waiter.send(int)
        self.assertEqual(len(self.heard), 4)
        self.waiter.batching = False
        self.waiter.flush = lambda: None
        self.waiter.send(int)
        self.assertEqual(self.heard[4:], ["looked"])

    def test_a_look_between_two_events(self) -> None:
        self.waiter.loop.add_callback(self.handler)
        self.waiter._looked -= 1
        self.waiter.look()
        self.assertEqual(self.heard, ["done", "put off, busy: False"])

    def test_closed_inside_the_system_call(self) -> None:
        def wait(_timeout: float) -> list[tuple[int, int]]:
            self.waiter.close(NotConnected("by a signal's handler"))
            raise OSError(errno.EBADF, "Bad file descriptor")

        self.patch(self.waiter.loop.poller, "wait", wait)
        self.assertRaises(NotConnected, self.waiter.wait, lambda: False)

    def test_the_system_call_fails_by_itself(self) -> None:
        def wait(_timeout: float) -> list[tuple[int, int]]:
            raise OSError(errno.EBADF, "Bad file descriptor")

        self.patch(self.waiter.loop.poller, "wait", wait)
        self.assertRaises(OSError, self.waiter.wait, lambda: False)

    def test_another_thread(self) -> None:
        """It is refused before anything is done."""
        self.waiter._looked -= 1
        for call in (self.waiter.call, self.waiter.send):
            self.assertIsInstance(in_another_thread(partial(call, self.heard.append, "x")), WrongThread)
        self.assertIsInstance(in_another_thread(lambda: self.waiter.wait(lambda: True)), WrongThread)
        self.assertIsInstance(in_another_thread(self.waiter.look), WrongThread)
        self.waiter.loop.busy = True
        self.assertIsNone(in_another_thread(lambda: self.assertFalse(self.waiter.busy)))
        self.assertIsInstance(in_another_thread(lambda: self.waiter.call(self.heard.append, "x")), WrongThread)
        self.waiter.loop.busy = False
        self.assertEqual(self.heard, [])

    def test_nobody_is_woken_for_nothing(self) -> None:
        """What happens outside of a wait, or in the loop's own work, costs no turn of it."""
        self.waiter.notify()
        self.waiter.call(self.waiter.notify)
        self.assertEqual(len(self.waiter.loop._calls), 0)
        before = time.monotonic()
        self.waiter.wait(lambda: False, 0)
        self.assertLess(time.monotonic() - before, PATIENCE)
