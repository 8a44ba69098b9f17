"""The order in which messages wait, against a list that is sorted each time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import BasicProperties
from txpika.test.strategies import examples
from txpika.testing.backlog import Backlog, Entry
from txpika.testing.message import Inspector, Message, route_of

INSPECTOR = Inspector()


def entry(number: int, priority: int = 0, expires: float | None = None, body: bytes = b"") -> Entry:
    traits = INSPECTOR.traits(BasicProperties(priority=priority).encode(), "guest")
    return Entry(Message(route_of("", "q"), traits, body, ("q",)), number, expires)


STEPS = st.lists(st.tuples(st.sampled_from(["push", "pop", "back", "expire", "clear"]), st.integers(0, 12)))


class BacklogTests(SynchronousTestCase):
    """One queue's."""

    @given(STEPS, st.integers(0, 4))
    @examples(200)
    def test_any_steps(self, steps: list[tuple[str, int]], highest: int) -> None:
        backlog = Backlog(highest)
        model: list[Entry] = []
        out: list[Entry] = []
        number = now = 0

        def place(each: Entry) -> tuple[int, int]:
            return (-min(each.message.traits.priority, highest), each.number)

        for step, value in steps:
            if step == "push":
                number += 1
                fresh = entry(number, value % 6, now + value if value % 2 else None, b"x" * value)
                backlog.push(fresh)
                model.append(fresh)
            elif step == "pop" and model:
                self.assertIs(backlog.pop(), model[0])
                out.append(model.pop(0))
            elif step == "back" and out:
                back = out.pop(value % len(out))
                backlog.push_back(back)
                model.append(back)
            elif step == "expire":
                now += value // 4
                expired = backlog.pop_expired(now)
                first = model[0].expires if model else None
                self.assertIs(expired, model[0] if first is not None and first <= now else None)
                model = [each for each in model if each is not expired]
            elif step == "clear" and value > 10:
                self.assertEqual(backlog.clear(), len(model))
                model = []
            model.sort(key=place)
            self.assertEqual(backlog.entries(), model)
            self.assertEqual((len(backlog), backlog.bytes), (len(model), sum(len(each.message.body) for each in model)))
            self.assertEqual(backlog.next_expiry(), model[0].expires if model else None)

    def test_steps_do_not_grow_with_the_length(self) -> None:
        """Counted in the functions that are called, for a short backlog and a long one."""
        import sys

        counts: list[int] = []
        for length in (10, 20000):
            backlog = Backlog()
            entries = [entry(number) for number in range(length)]
            for each in entries:
                backlog.push(each)
            for _ in range(length // 2):
                backlog.pop()
            called = [0]

            def count(frame: Any, event: str, argument: Any, called: list[int] = called) -> None:
                called[0] += event in ("call", "c_call")

            sys.setprofile(count)
            backlog.push_back(entries[3])
            backlog.pop_expired(1.0)
            backlog.next_expiry()
            backlog.push(entry(length + 1))
            backlog.pop()
            sys.setprofile(None)
            counts.append(called[0])
        self.assertEqual(counts[0], counts[1])
