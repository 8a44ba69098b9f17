"""Tests for the order in which a blocking program takes what waits for it, also when several threads do."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from txpika.adapters.blocking_events import Events, Later


def first(_: int) -> None:
    """One callable."""


def second(_: int) -> None:
    """Another."""


class Interrupted:
    """Owns events; a signal's handler comes in when it is looked for the so many-th time."""

    def __init__(self, at: int, handler: Callable[[], object]) -> None:
        self._left = at
        self._handler = handler

    def __hash__(self) -> int:
        self._left -= 1
        if self._left == -1:
            self._handler()
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


class EventsTests(SynchronousTestCase):
    """Some calls wait."""

    def setUp(self) -> None:
        self.events = Events()

    def numbers(self, taken: list[int] | None = None, *, finish: bool = True) -> list[int]:
        taken = [] if taken is None else taken
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

    def test_a_signal_takes_some_meanwhile(self) -> None:
        """Each is taken once, and none before an earlier one of its owner, wherever the signal comes in."""
        for at in range(12):
            self.setUp()
            taken: list[int] = []
            owner = Interrupted(at, lambda: self.numbers(taken))  # noqa: B023
            for number in range(6):
                self.events.add((owner, None)[number % 3 == 2], first, number)
            self.numbers(taken)
            self.assertEqual(sorted(taken), [0, 1, 2, 3, 4, 5], at)
            self.assertEqual([number for number in taken if number % 3 != 2], [0, 1, 3, 4], at)
            self.assertFalse(self.events.ready())
            self.events.add(owner, first, 6)
            self.assertEqual(self.numbers(), [6])

    def test_a_signal_withdraws_meanwhile(self) -> None:
        for at in range(6):
            self.setUp()
            withdrawn: list[int] = []
            owner = Interrupted(at, lambda: withdrawn.extend(each for (each,) in self.events.withdraw(first)))  # noqa: B023
            for number in range(4):
                self.events.add(owner, first, number)
            self.assertEqual(self.numbers() + withdrawn, [0, 1, 2, 3], at)
            self.assertTrue(withdrawn)
            self.events.add(owner, first, 6)
            self.assertEqual(self.numbers(), [6])

    def test_whoever_adds_and_whoever_looks_waits_for_nobody(self) -> None:
        """Else the connection's thread might wait for one that waits for it, in a signal's handler."""

        def add_and_look() -> None:
            self.events.add("a", first, 1)
            self.events.add("b", first, 2)
            looks.append(self.events.ready())

        looks: list[bool] = []
        self.events.add("a", first, 0)
        taken = self.events.take()
        with self.events._taking:
            thread = threading.Thread(target=add_and_look, daemon=True)
            thread.start()
            thread.join(20)
            self.assertFalse(thread.is_alive(), "it hangs")
        self.assertEqual((looks, self.numbers()), ([True], [2]))
        assert taken is not None
        self.events.done(taken)
        self.assertEqual((self.numbers(), self.events.all()), ([1], []))

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
