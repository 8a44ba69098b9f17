"""Tests for the order in which a blocking program takes what waits for it, also when several threads do."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txpika.adapters.blocking_events import Events, Later


def first(_: int) -> None:
    """One callable."""


def second(_: int) -> None:
    """Another."""


class EventsTests(SynchronousTestCase):
    """Some calls wait."""

    def setUp(self) -> None:
        self.events = Events()

    def numbers(self, *, finish: bool = True) -> list[int]:
        taken = []
        while (event := self.events.take()) is not None:
            taken.append(event[2][0])
            if finish:
                self.events.done(event)
        return taken

    def test_in_order(self) -> None:
        self.assertEqual((self.events.ready(), self.events.take()), (False, None))
        for number in range(5):
            self.events.add("ab"[number % 2], first, number)
        self.assertEqual((self.events.ready(), len(self.events)), (True, 5))
        self.assertEqual(self.numbers(), [0, 1, 2, 3, 4])

    def test_one_at_a_time_of_each_owner(self) -> None:
        for number, owner in enumerate(("a", "a", "b", None, None, "b")):
            self.events.add(owner, first, number)
        self.assertEqual(self.numbers(finish=False), [0, 2, 3, 4])
        self.assertEqual((self.events.ready(), len(self.events)), (False, 2))
        self.events.done(("b", first, ()))
        self.assertTrue(self.events.ready())
        self.assertEqual(self.numbers(), [5])

    def test_withdraw(self) -> None:
        for number in range(4):
            self.events.add("a", (first, second)[number % 2], number)
        self.assertEqual(self.events.withdraw(second), [(1,), (3,)])
        self.assertEqual(self.numbers(), [0, 2])
        self.assertEqual(self.events.withdraw(second), [])

    def test_later(self) -> None:
        heard: list[str] = []
        once, never = Later(lambda: heard.append("once")), Later(lambda: heard.append("never"))
        never.cancel()
        for call in (never, once, once):
            call()
        once.cancel()
        self.assertEqual(heard, ["once"])
