"""Tests for the event loop of our own, on each poller this system has, and on one it has not."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import select
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from txpika.adapters import loop as module
from txpika.adapters.loop import ERROR, POLLERS, READ, WRITE, EPollPoller, IOLoop, KQueuePoller, SelectPoller


class FakeKqueue:
    """C{select.kqueue}, done with C{poll(2)}: for systems that have none."""

    def __init__(self) -> None:
        self._wanted: dict[int, set[int]] = {}

    def control(self, changes: Iterable[Any] | None, max_events: int, timeout: float | None = None) -> list[Any]:
        for change in changes or ():
            filters = self._wanted.setdefault(change.ident, set())
            if change.flags == KEVENTS["KQ_EV_ADD"]:
                filters.add(change.filter)
            else:
                filters.remove(change.filter)
        if not max_events:
            return []
        poll = select.poll()
        for fd, filters in self._wanted.items():
            read = select.POLLIN if KEVENTS["KQ_FILTER_READ"] in filters else 0
            write = select.POLLOUT if KEVENTS["KQ_FILTER_WRITE"] in filters else 0
            if read | write:
                poll.register(fd, read | write)
        ready = poll.poll(None if timeout is None else max(0, timeout) * 1000)
        events = []
        for fd, mask in ready:
            for name, bits in (("KQ_FILTER_READ", select.POLLIN | select.POLLHUP), ("KQ_FILTER_WRITE", select.POLLOUT)):
                if mask & (bits | select.POLLERR) and KEVENTS[name] in self._wanted[fd]:
                    events.append(SimpleNamespace(ident=fd, filter=KEVENTS[name], flags=0))
        return events[:max_events]

    def close(self) -> None:
        self._wanted.clear()


KEVENTS = {"KQ_FILTER_READ": -1, "KQ_FILTER_WRITE": -2, "KQ_EV_ADD": 1, "KQ_EV_DELETE": 2}


def kevent(ident: int, filter: int, flags: int) -> SimpleNamespace:
    return SimpleNamespace(ident=ident, filter=filter, flags=flags)


def with_kqueue(patch: Callable[[object, str, object], object]) -> None:
    """
    Give this system a kqueue, if it has none: the standard library's own selector for it runs, on a fake system call.

    @param patch: C{TestCase.patch}.
    """
    if KQueuePoller.available():
        return
    for name, value in {"kqueue": FakeKqueue, "kevent": kevent, **KEVENTS}.items():
        vars(select).setdefault(name, None)
        patch(select, name, value)
    spec = importlib.util.find_spec("selectors")
    assert spec is not None and spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    vars(selectors).setdefault("KqueueSelector", None)
    patch(selectors, "KqueueSelector", copy.KqueueSelector)


class LoopTests(SynchronousTestCase):
    """An L{IOLoop} on C{select(2)}."""

    poller: ClassVar[str] = "select"

    def setUp(self) -> None:
        self.loop = self.make_loop()
        self.addCleanup(self.loop.close)
        self.here, self.there = socket.socketpair()
        for end in (self.here, self.there):
            end.setblocking(False)
            self.addCleanup(end.close)
        self.events: list[Any] = []

    def make_loop(self) -> IOLoop:
        """Others have other loops."""
        return IOLoop(self.poller)

    def heard(self, fd: int, events: int) -> None:
        self.assertEqual(fd, self.here.fileno())
        self.events.append(events)
        if len(self.events) > 10:
            self.loop.stop()

    def test_a_signal_while_it_waits(self) -> None:
        heard: list[str] = []

        def handle(*_: Any) -> None:
            self.loop.add_callback(lambda: heard.append("call"))
            self.loop.callLater(0, lambda: heard.append("timer"))

        before = signal.signal(signal.SIGALRM, handle)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        deadline = self.loop.seconds() + 5
        while len(heard) < 2 and self.loop.seconds() < deadline:
            self.loop.run_once(10)
        self.assertEqual(heard, ["timer", "call"])

    def test_reading(self) -> None:
        self.loop.add_handler(self.here.fileno(), self.heard, READ)
        self.loop.run_once(0)
        self.assertEqual(self.events, [])
        self.there.send(b"x")
        self.loop.run_once(10)
        self.loop.run_once(10)
        self.assertEqual(self.events, [READ, READ], "as long as it is not read")
        self.here.recv(1)
        self.loop.run_once(0)
        self.assertEqual(len(self.events), 2)

    def test_writing(self) -> None:
        fd = self.here.fileno()
        self.loop.add_handler(fd, self.heard, WRITE)
        self.loop.run_once(10)
        self.loop.update_handler(fd, 0)
        self.loop.run_once(0)
        self.loop.update_handler(fd, READ | WRITE)
        self.loop.run_once(10)
        self.assertEqual(self.events, [WRITE, WRITE])

    def test_the_other_end_is_gone(self) -> None:
        self.loop.add_handler(self.here.fileno(), self.heard, READ)
        self.there.close()
        self.loop.run_once(10)
        self.assertTrue(self.events[0] & (READ | ERROR))

    def test_removed(self) -> None:
        fd = self.here.fileno()
        self.loop.add_handler(fd, self.heard, READ)
        self.there.send(b"x")
        self.loop.remove_handler(fd)
        self.loop.remove_handler(fd)
        self.loop.run_once(0)
        self.assertEqual(self.events, [])
        self.assertRaises(KeyError, self.loop.update_handler, fd, READ)
        self.loop.add_handler(fd, self.heard, READ)
        self.assertRaises(ValueError, self.loop.add_handler, fd, self.heard, READ)
        self.loop.run_once(0)
        self.assertEqual(self.events, [READ])

    def test_removed_by_one_that_was_told_before_it(self) -> None:
        def first(fd: int, events: int) -> None:
            self.events.append(fd)
            for end in (self.here, self.there):
                self.loop.remove_handler(end.fileno())

        for end in (self.here, self.there):
            self.loop.add_handler(end.fileno(), first, WRITE)
        self.loop.run_once(10)
        self.assertEqual(len(self.events), 1)

    def test_timers_in_their_order(self) -> None:
        self.loop.callLater(0.002, self.events.append, 2)
        self.loop.call_later(0.001, self.events.append, 1)
        self.loop.add_timeout(time.time() + 0.003, lambda: self.events.append(3))
        self.loop.add_timeout(time.time() - 100, lambda: self.events.append(0))
        self.loop.callLater(0.004, self.loop.stop)
        self.loop.start()
        self.assertEqual(self.events, [0, 1, 2, 3])

    def test_a_time_that_is_none(self) -> None:
        """NaN would be neither before nor after others, and stop them all."""
        for call in (self.loop.callLater, self.loop.call_later, self.loop.add_timeout):
            error = self.assertRaises(ValueError, call, float("nan"), self.loop.stop)
            self.assertIn("is NaN", str(error))
            for wrong in ("1", None, True):
                self.assertIn("must be a number", str(self.assertRaises(TypeError, call, wrong, self.loop.stop)))
        self.assertEqual(self.loop._timers, [])

    def test_cancelled_timers(self) -> None:
        timers = [self.loop.callLater(0, self.events.append, number) for number in range(100)]
        for timer in timers[1:]:
            self.loop.remove_timeout(timer)
            timer.cancel()
        self.loop.run_once(0)
        timers[0].cancel()
        self.assertEqual(self.events, [0])

    def test_cancelled_timers_take_no_room(self) -> None:
        for _ in range(1000):
            self.loop.callLater(3600, self.events.append, 0).cancel()
        self.assertLess(len(self.loop._timers), 3)

    def test_a_timer_that_cancels_itself_and_others(self) -> None:
        timers: list[module.Timer] = []

        def first() -> None:
            for timer in timers:
                timer.cancel()

        timers += [self.loop.callLater(0, first), self.loop.callLater(0, self.events.append, "second")]
        self.loop.run_once(0)
        self.loop.run_once(0)
        self.assertEqual(self.events, [])

    def test_what_raises_is_logged_and_hurts_nobody(self) -> None:
        def bad(*_: object) -> None:
            raise RuntimeError("of the program")

        self.there.send(b"x")
        self.loop.add_handler(self.here.fileno(), bad, READ)
        self.loop.callLater(0, bad)
        self.loop.add_callback(bad)
        self.loop.add_callback(lambda: self.events.append("all right"))
        with self.assertLogs("txpika.adapters.loop", logging.ERROR) as logged:
            self.loop.run_once(0)
        self.assertEqual((len(logged.records), self.events), (3, ["all right"]))

    def test_an_interrupt_ends_it(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        self.loop.callLater(0, interrupt)
        self.assertRaises(KeyboardInterrupt, self.loop.start)
        self.loop.callLater(0, self.loop.stop)
        self.loop.start()

    def test_not_from_inside_itself(self) -> None:
        def again() -> None:
            try:
                self.loop.start()
            except RuntimeError as error:
                self.events.append(str(error))
            self.loop.stop()

        self.loop.add_callback(again)
        self.loop.start()
        self.assertEqual(self.events, ["the loop is running already"])

    def test_stop_before_start(self) -> None:
        self.loop.stop()
        self.loop.start()
        self.loop.callLater(0, self.loop.stop)
        self.loop.loop()

    def test_less_than_no_time_only_looks(self) -> None:
        self.loop.callLater(10, lambda: self.events.append("late"))
        before = self.loop.seconds()
        self.loop.run_once(-1)
        self.assertLess(self.loop.seconds() - before, 5)
        self.assertEqual(self.events, [])

    def test_calls_in_vain_keep_nobody_awake(self) -> None:
        timeouts: list[float] = []

        def wait(timeout: float) -> list[tuple[int, int]]:
            timeouts.append(timeout)
            return []

        self.patch(self.loop.poller, "wait", wait)
        self.loop.add_callback(lambda: self.events.append("in vain"))
        self.loop.in_vain = 1
        self.loop.run_once(10)
        self.assertEqual((timeouts, self.events), ([10], ["in vain"]))

    def test_callbacks_of_callbacks_leave_room_for_others(self) -> None:
        def again() -> None:
            self.loop.add_callback(again)

        again()
        self.loop.callLater(0, self.loop.stop)
        self.loop.start()

    def test_other_threads(self) -> None:
        def call_in() -> None:
            self.loop.add_callback_threadsafe(lambda: self.events.append(threading.get_ident()))
            self.loop.stop()

        thread = threading.Thread(target=call_in)
        self.loop.add_callback(thread.start)
        self.loop.start()
        thread.join()
        self.loop.run_once(0)
        self.assertEqual(self.events, [threading.get_ident()])

    def test_many_calls_from_other_threads_before_it_runs(self) -> None:
        def call_in() -> None:
            for number in range(100_000):
                self.loop.add_callback(lambda number=number: self.events.append(number))  # type: ignore[misc]

        thread = threading.Thread(target=call_in)
        thread.start()
        thread.join()
        self.loop.run_once(0)
        self.assertEqual(len(self.events), 100_000)

    def test_closed(self) -> None:
        gc.collect()  # what earlier tests left would be closed while this one counts
        before = len(os.listdir("/dev/fd"))
        loop = IOLoop(self.poller)
        loop.close()
        self.assertEqual(len(os.listdir("/dev/fd")), before)


class PollTests(LoopTests):
    """The same on C{poll(2)}."""

    poller = "poll"


class EPollTests(LoopTests):
    """The same on C{epoll(7)}, or on C{poll(2)} once more."""

    poller = "epoll" if EPollPoller.available() else "poll"


class KQueueTests(LoopTests):
    """The same on C{kqueue(2)}, or on a fake of it."""

    poller = "kqueue"

    def setUp(self) -> None:
        with_kqueue(self.patch)
        super().setUp()


class ChoiceTests(SynchronousTestCase):
    """Which poller it is."""

    def test_the_best_there_is(self) -> None:
        loop = IOLoop()
        self.addCleanup(loop.close)
        self.assertEqual(loop.poller_type, next(poller.NAME for poller in POLLERS if poller.available()))

    def test_unknown(self) -> None:
        self.assertIn("kqueue", str(self.assertRaises(ValueError, IOLoop, "iocp")))

    def test_not_on_this_system(self) -> None:
        self.patch(SelectPoller, "SELECTOR", "NoSuchSelector")
        self.assertIn("no select", str(self.assertRaises(ValueError, IOLoop, "select")))

    def test_shared_instance(self) -> None:
        loop = IOLoop.instance()
        self.assertIs(IOLoop.instance(), loop)
        loop.close()
        other = IOLoop.instance()
        self.addCleanup(other.close)
        self.assertIsNot(other, loop)
