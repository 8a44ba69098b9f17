"""Tests for the wait until the machine has nothing else to do."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import idle
from benchmarks.idle import processors, wait_until_idle


class Ticks:
    """A machine that is at work for a given number of the twenty ticks of each window."""

    def __init__(self, *busy: int) -> None:
        self.busy = list(busy)
        self.now = (1000, 5000)
        self.slept: list[float] = []

    def read(self) -> tuple[int, int]:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        busy = self.busy.pop(0) if self.busy else 20
        self.now = (self.now[0] + busy, self.now[1] + 20 - busy)


class IdleTests(SynchronousTestCase):
    def test_it_waits_for_a_quiet_window(self) -> None:
        ticks = Ticks(20, 7, 2, 1)
        self.assertTrue(wait_until_idle(ticks.read, ticks.sleep))
        self.assertEqual(ticks.slept, [idle.WINDOW] * 4)

    def test_patience_has_an_end(self) -> None:
        ticks = Ticks()
        self.assertFalse(wait_until_idle(ticks.read, ticks.sleep))
        self.assertAlmostEqual(sum(ticks.slept), idle.PATIENCE)

    def test_a_system_that_does_not_say(self) -> None:
        ticks = Ticks()
        self.assertTrue(wait_until_idle(lambda: processors(Path(self.mktemp())), ticks.sleep))
        self.assertEqual(ticks.slept, [])

    def test_what_linux_says(self) -> None:
        stat = Path(self.mktemp())
        stat.write_text("cpu  10 1 20 3000 400 5 6 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n", encoding="ascii")
        self.assertEqual(processors(stat), (10 + 1 + 20 + 5 + 6 + 7, 3400))
