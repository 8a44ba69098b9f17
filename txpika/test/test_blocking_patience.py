"""Tests for L{txpika.adapters.blocking_patience}: who waits, and whether more is read for that."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.adapters.blocking_patience import STANDSTILL, Patience
from txpika.core.intake import Intake


class PatienceTests(SynchronousTestCase):
    """A connection whose reading is paused, as somebody has enough."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.patience = Patience()
        self.patience.intake = self.intake = Intake(lambda: False)
        self.intake.hold("somebody")
        self.waiter: Any = SimpleNamespace(
            loop=SimpleNamespace(seconds=self.clock.seconds), alone=True, call=lambda function: function()
        )
        self.waiter.wait = self.passes
        #: For each time it was waited: how long it may take, and whether reading went on.
        self.waits: list[tuple[float | None, bool]] = []
        #: What another thread does before the one that was woken looks again.
        self.woken: Callable[[], object] = lambda: None
        #: What happens during each of them.
        self.events: list[Callable[[], object]] = []
        self.ready = False

    def passes(self, ready: Callable[[], object], timeout: float | None) -> bool:
        """Stands for a waiter's C{wait}."""
        self.waits.append((timeout, bool(self.intake.expecting)))
        if self.events:
            self.events.pop(0)()
        woken = bool(ready())
        if not woken:
            self.assertIsNotNone(timeout, "it would wait for ever")
            self.clock.advance(timeout or 0)
        self.woken()
        return woken

    def wait(self, timeout: float | None, pause: bool = False) -> list[tuple[float | None, bool]]:
        """@return: How it was waited."""
        self.waits.clear()
        self.patience.wait(self.waiter, lambda: self.ready, timeout, pause)
        self.assertEqual(self.intake.expecting, set())
        return list(self.waits)

    def take(self) -> None:
        """A message is taken, somewhere."""
        self.patience.taken += 1

    def becomes_ready(self) -> None:
        self.ready = True

    def test_nobody_has_enough(self) -> None:
        self.intake.release("somebody")
        self.assertEqual(self.wait(5), [(5, False)])
        self.events.append(self.becomes_ready)
        self.assertEqual(self.wait(None), [(None, False)])

    def test_it_is_there(self) -> None:
        self.ready = True
        self.assertEqual(self.wait(5), [(STANDSTILL, False)])

    def test_the_only_thread_waits(self) -> None:
        """At once, until it is there."""
        self.events = [lambda: None, self.becomes_ready]
        self.assertEqual(self.wait(None), [(STANDSTILL, True)] * 2)
        self.take()
        self.ready = False
        self.assertEqual(self.wait(0.5), [(0.5, True)])

    def test_one_of_several_threads(self) -> None:
        """When nothing was taken for a while."""
        self.waiter.alone = False
        self.events = [self.take, self.take, lambda: None, self.take, lambda: None, self.becomes_ready]
        went_on = [False, False, False, True, False, True]
        self.assertEqual(self.wait(None), [(STANDSTILL, on) for on in went_on])

    def test_in_a_handler(self) -> None:
        """Whoever else there is, none of its messages are taken."""
        self.waiter.alone = False
        self.patience.handling.add(get_ident())
        self.events = [self.take, self.take]
        self.assertEqual(self.wait(2.5), [(STANDSTILL, True), (STANDSTILL, True), (0.5, True)])
        self.patience.handling.clear()
        self.take()
        self.assertEqual(self.wait(0.5), [(0.5, False)])

    def test_who_looks_in_or_sleeps_after_each_message(self) -> None:
        for timeout, pause in ((0, False), (0.5, True), (STANDSTILL, True)):
            for _ in range(3):
                self.take()
                self.assertEqual(self.wait(timeout, pause), [(timeout, False)])

    def test_who_looks_in_or_sleeps_again_and_again(self) -> None:
        """Nothing was taken in between: it waits for something."""
        for timeout, pause in ((0, False), (0.5, True)):
            self.take()
            for went_on in (False, False, True, True):
                self.assertEqual(self.wait(timeout, pause), [(timeout, went_on)])
                self.clock.advance(0.5 - timeout)

    def test_a_long_sleep(self) -> None:
        self.take()
        self.assertEqual(self.wait(2.5, True), [(1, False), (1, True), (0.5, True)])

    def test_somebody_gets_enough_meanwhile(self) -> None:
        self.intake.release("somebody")
        self.events = [lambda: self.intake.hold("somebody"), self.becomes_ready]
        self.assertEqual(self.wait(None), [(None, False), (STANDSTILL, True)])

    def test_somebody_had_enough_for_a_moment(self) -> None:
        self.waiter.alone = False
        self.intake.release("somebody")
        self.events = [lambda: self.intake.hold("somebody"), self.becomes_ready]
        self.woken = lambda: self.intake.release("somebody")
        self.assertEqual(self.wait(None), [(None, False), (None, False)])

    def test_interrupted_before_it_was_asked(self) -> None:
        """The loop's thread comes to it afterwards."""
        asked: list[Callable[[], None]] = []

        def call(begin: Callable[[], None]) -> None:
            asked.append(begin)
            raise KeyboardInterrupt

        self.waiter.call = call
        self.assertRaises(KeyboardInterrupt, self.wait, None)
        asked.pop()()
        self.assertEqual(self.intake.expecting, set())

    def test_connected_again_meanwhile(self) -> None:
        """The one that counts is that of the new connection."""

        def connect() -> None:
            self.intake.release("somebody")
            self.patience.intake = self.intake = Intake(lambda: False)
            self.intake.hold("somebody")

        before = self.intake
        self.events = [connect, self.becomes_ready]
        self.assertEqual(self.wait(None), [(STANDSTILL, True)] * 2)
        self.assertEqual(before.expecting, set())

    def test_each_thread_has_its_own_time(self) -> None:
        self.waiter.alone = False
        self.take()
        self.patience._known[get_ident() + 1] = (self.patience.taken, -100.0)
        self.assertEqual(self.wait(0.5), [(0.5, False)])

    def test_interrupted(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        self.events.append(interrupt)
        self.assertRaises(KeyboardInterrupt, self.wait, None)
        self.assertEqual(self.intake.expecting, set())
