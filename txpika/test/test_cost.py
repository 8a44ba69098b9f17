"""
What a message costs on each hot road, in what does not depend on the machine: calls, writes, memory.

C{python -m txpika.test.test_cost} prints the table as it is today.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from txpika.test.counting import SKIP, Growth, calls_of, garbage_of, peaks_of
from txpika.test.roads import Face
from txpika.test.socket_roads import BlockingFace, SelectFace
from txpika.test.twisted_roads import TwistedFace


class Cost(NamedTuple):
    """
    Of one batch of messages: 100 of 100 bytes, or one of 1 MiB where the road is called large.

    @ivar own: Calls of functions of txpika, exactly.
    @ivar others: Calls of functions of Twisted and the standard library, at most: Python 3.13 has fewer of them.
    @ivar writes: Writes to the transport, or, over a socket, sends; exactly.
    @ivar peak: Bytes taken meanwhile, at most, beside those that the broker sends.
    """

    own: int
    others: int
    writes: int
    peak: int


#: For each face and each of its roads. Over a socket a batch is one turn of the loop, or one for each message where it
#: waits for an answer; the Twisted face writes to its transport, which collects what is written in one turn.
# fmt: off
BUDGETS: dict[type[Face], dict[str, Cost]] = {
    TwistedFace: {
        #                            own  others  writes       peak
        "publish":              Cost(   200,    309,    100,     1_320),
        "publish_unawaited":    Cost(   200,    200,    100,       375),
        "publish_large":        Cost(     4,      4,      1, 1_053_735),
        "confirmed_one_by_one": Cost(   808,    909,    100,    20_039),
        "confirmed_together":   Cost(   313,    909,    100,    19_983),
        "mandatory":            Cost(   416,    909,    100,    21_071),
        "mandatory_returned":   Cost(  4108,   1709,    100,    22_227),
        "deliver":              Cost(   208,      0,      0,       689),
        "deliver_large":        Cost(   274,      3,      0, 1_180_822),
        "deliver_split":        Cost(  5200,    300,      0,       794),
        "deliver_and_ack":      Cost(   412,      0,      1,       749),
        "iterate_and_ack":      Cost(   912,    900,      1,       672),
        "get":                  Cost(  7200,    900,    100,     1_402),
        "declare":              Cost(  5400,   1000,    100,       822),
    },
    SelectFace: {
        #                            own  others  writes       peak
        "publish":              Cost(   309,      1,      1,    42_173),
        "publish_large":        Cost(    20,      1,      5, 1_053_735),
        "confirmed_one_by_one": Cost(  1827,    103,      1,    90_589),
        "confirmed_together":   Cost(  1332,    103,      1,    90_589),
        "mandatory":            Cost(  1435,    103,      1,    91_645),
        "mandatory_returned":   Cost(  6327,    703,      1,    91_877),
        "deliver":              Cost(   623,      3,      0,       996),
        "deliver_large":        Cost(   299,     10,      0, 1_180_950),
        "deliver_split":        Cost(  7600,    700,      0,     1_130),
        "deliver_and_ack":      Cost(   932,      3,      1,     1_056),
        "get":                  Cost( 10200,    500,    100,     1_928),
        "declare":              Cost(  8400,    700,    100,     1_062),
    },
    BlockingFace: {
        #                            own  others  writes       peak
        "publish":              Cost(  1022,      1,    100,     7_006),
        "publish_large":        Cost(    40,      1,      5, 1_053_783),
        "publish_many":         Cost(  1439,      3,      1,    56_861),
        "confirmed_one_by_one": Cost(  4800,    200,    100,       825),
        "mandatory":            Cost(  4903,    200,    100,     5_049),
        "deliver":              Cost(  2033,      2,      0,    44_668),
        "deliver_large":        Cost(   328,      9,      0, 1_180_966),
        "deliver_split":        Cost( 12200,    700,      0,     1_290),
        "deliver_and_ack":      Cost(  3337,      2,      1,    54_309),
        "iterate_and_ack":      Cost(  3432,      2,    100,    44_140),
        "get":                  Cost( 10900,    400,    100,     1_800),
        "declare":              Cost(  8800,    500,    100,     1_321),
    },
}
# fmt: on

#: By how many bytes versions of Python differ in what they take.
SLACK = 300
#: Batches of which the dearest counts: from time to time one has to clear up behind others.
SAMPLES = 5
#: What is kept is looked at after so many batches, and again after so many; of small messages, and of large ones.
SMALL_RUN, LARGE_RUN = (5, 50), (5, 15)
#: Most bytes, and objects, that are kept more at the second look than at the first: a pointer a message is more.
MAX_KEPT = 10_000
MAX_OBJECTS = 200
#: Most bytes that a road takes which has done nothing but large messages, a fraction of one of those.
MAX_AT_REST = 100_000


class CostTestCase(SynchronousTestCase):
    """Counts what a road costs."""

    skip = SKIP

    def setUp(self) -> None:
        # What other tests have left need not be gone through each time that garbage is looked for.
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)

    def cost(self, face: type[Face], name: str) -> Cost:
        """@return: Of the dearest of several batches."""
        own, others, writes = [], [], []
        with ExitStack() as stack:
            made = face(stack)
            road = made.road(name)
            before = made.done
            for _ in range(SAMPLES):
                batch = road.prepare()
                written = made.writes
                calls = calls_of(lambda: road.run(batch))  # noqa: B023
                own.append(calls.own)
                others.append(calls.others)
                writes.append(made.writes - written)
            # The first run fills the interpreter's lists of free objects.
            peak = max(peaks_of(road.run, [road.prepare() for _ in range(SAMPLES)])[1:])
        self.assertEqual(made.done - before, 2 * SAMPLES * road.messages, f"{face.__name__}.{name} lost messages")
        return Cost(max(own), max(others), max(writes), peak)


class BudgetTests(CostTestCase):
    """No road costs more than its budget."""

    def check(self, face: type[Face]) -> None:
        wrong = []
        for name, budget in BUDGETS[face].items():
            cost = self.cost(face, name)
            for what, spent, allowed, exact in (
                ("calls of txpika's own functions", cost.own, budget.own, True),
                ("calls of others' functions", cost.others, budget.others, False),
                ("writes", cost.writes, budget.writes, True),
                ("bytes of memory", cost.peak, budget.peak + SLACK, False),
            ):
                if spent > allowed:
                    wrong.append(f"{face.__name__}.{name}: {spent} {what} a batch, the budget is {allowed}")
                elif exact and spent < allowed:
                    wrong.append(f"{face.__name__}.{name}: only {spent} {what} a batch, lower the budget of {allowed}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_each_road_has_a_budget(self) -> None:
        for face, budgets in BUDGETS.items():
            self.assertEqual(list(budgets), face.roads())

    def test_twisted(self) -> None:
        self.check(TwistedFace)

    def test_select(self) -> None:
        self.check(SelectFace)

    def test_blocking(self) -> None:
        self.check(BlockingFace)


class LeakTests(CostTestCase):
    """What has been settled leaves nothing behind."""

    def check(self, face: type[Face]) -> None:
        wrong = []
        for name in face.roads():
            with ExitStack() as stack:
                road = face(stack).road(name)
                few, many = SMALL_RUN if road.messages > 1 else LARGE_RUN
                with Growth() as growth:
                    for count in range(many):
                        if count == few:
                            growth.begin()
                        road.run(road.prepare())
                batch = road.prepare()
                garbage = garbage_of(lambda: road.run(batch))  # noqa: B023
            if growth.size > MAX_KEPT or growth.objects > MAX_OBJECTS:
                wrong.append(
                    f"{face.__name__}.{name}: after {many * road.messages} messages {growth.size} bytes in"
                    f" {growth.objects} objects more are kept than after {few * road.messages}"
                )
            if garbage:
                wrong.append(f"{face.__name__}.{name}: {garbage} objects a batch are left to the garbage collector")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_twisted(self) -> None:
        self.check(TwistedFace)

    def test_select(self) -> None:
        self.check(SelectFace)

    def test_blocking(self) -> None:
        self.check(BlockingFace)


class RestTests(CostTestCase):
    """A connection at rest has let go of the large messages that it sent and received."""

    def kept(self, face: type[Face]) -> dict[str, int]:
        """@return: By road, in bytes, with all that the road itself is."""
        kept = {}
        for name in ("publish_large", "deliver_large"):
            with ExitStack() as stack:
                made = face(stack)
                with Growth() as growth:
                    made.road(name)
            kept[name] = growth.size
        return kept

    def check(self, *faces: type[Face]) -> None:
        for face in faces:
            for name, size in self.kept(face).items():
                self.assertLess(size, MAX_AT_REST, f"{face.__name__}.{name} keeps {size} bytes")

    def test_twisted(self) -> None:
        self.check(TwistedFace)

    def test_sockets(self) -> None:
        self.check(SelectFace, BlockingFace)

    test_sockets.todo = "the transport keeps what it sent last"  # type: ignore[attr-defined]


def table() -> str:
    """@return: The budgets as they would be for what it costs today."""
    case = CostTestCase()
    lines = []
    for face in BUDGETS:
        lines.append(f"    {face.__name__}: {{")
        lines.append("        #                            own  others  writes       peak")
        for name in face.roads():
            own, others, writes, peak = case.cost(face, name)
            key = f'"{name}":'
            lines.append(f"        {key:24}Cost({own:6}, {others:6}, {writes:6}, {peak:9_}),")
        lines.append("    },")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
