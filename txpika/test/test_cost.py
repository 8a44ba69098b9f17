"""
What a message costs on each hot road, in what does not depend on the machine: calls, writes, memory.

C{python -m txpika.test.test_cost} prints the table as it is today.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import cache
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import txpika
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
        "publish":              Cost(   300,    109,    100,     1_440),
        "publish_unawaited":    Cost(   200,    100,    100,       375),
        "publish_large":        Cost(     4,      3,      1, 1_053_735),
        "confirmed_one_by_one": Cost(   706,    918,    100,    20_231),
        "confirmed_together":   Cost(   410,    423,    100,    23_465),
        "mandatory":            Cost(   513,    423,    100,    24_553),
        "mandatory_returned":   Cost(  4206,   1218,    100,    22_490),
        "deliver":              Cost(   206,      0,      0,       787),
        "deliver_large":        Cost(   241,      0,      0, 1_180_822),
        "deliver_split":        Cost(  4900,      0,      0,       786),
        "deliver_and_ack":      Cost(   412,      0,      1,       847),
        "iterate_and_ack":      Cost(   912,    900,      1,       847),
        "get":                  Cost(  6000,    700,    100,     1_511),
        "declare":              Cost(  3000,    600,    100,       746),
    },
    SelectFace: {
        #                            own  others  writes       peak
        "publish":              Cost(   307,      0,      1,    42_173),
        "publish_large":        Cost(    22,      0,      3, 1_053_735),
        "confirmed_one_by_one": Cost(  1619,      0,      1,    90_589),
        "confirmed_together":   Cost(  1322,      0,      1,    90_589),
        "mandatory":            Cost(  1425,      0,      1,    91_645),
        "mandatory_returned":   Cost(  6319,      0,      1,    91_877),
        "deliver":              Cost(   615,      0,      0,     1_147),
        "deliver_large":        Cost(   150,      0,      0, 2_031_707),
        "deliver_split":        Cost(  6500,      0,      0,     1_098),
        "deliver_and_ack":      Cost(   923,      0,      1,     1_207),
        "get":                  Cost(  8400,      0,    100,     2_063),
        "declare":              Cost(  5500,      0,    100,     1_162),
    },
    BlockingFace: {
        #                            own  others  writes       peak
        "publish":              Cost(   618,      0,    100,       423),
        "publish_large":        Cost(    27,      0,      3, 1_053_783),
        "publish_many":         Cost(  1125,      1,      1,    56_797),
        "confirmed_one_by_one": Cost(  3000,      0,    100,       737),
        "mandatory":            Cost(  3103,      0,    100,     4_961),
        "deliver":              Cost(  2025,      0,      0,    44_819),
        "deliver_large":        Cost(   167,      0,      0, 2_031_723),
        "deliver_split":        Cost( 10700,      0,      0,     1_258),
        "deliver_and_ack":      Cost(  3029,      0,      1,    54_285),
        "iterate_and_ack":      Cost(  2726,      0,    100,    44_291),
        "get":                  Cost(  8300,      0,    100,     1_871),
        "declare":              Cost(  4900,      0,    100,     1_082),
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


#: Finds this very package.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])}


@cache
def costs() -> dict[str, dict[str, Cost]]:
    """
    @return: What each road of each face costs, in a fresh process: how much memory the attributes of an object take
        depends on in what order others of its kind were given theirs before.
    """
    command = [sys.executable, "-m", "txpika.test.test_cost", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return {
        face: {name: Cost(*cost) for name, cost in roads.items()} for face, roads in json.loads(done.stdout).items()
    }


class BudgetTests(CostTestCase):
    """No road costs more than its budget."""

    def check(self, face: type[Face]) -> None:
        wrong = []
        for name, budget in BUDGETS[face].items():
            cost = costs()[face.__name__][name]
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


def measured() -> dict[str, dict[str, Cost]]:
    """@return: What L{costs} does, in this process."""
    case = CostTestCase()
    return {face.__name__: {name: case.cost(face, name) for name in face.roads()} for face in BUDGETS}


def table() -> str:
    """@return: The budgets as they would be for what it costs today."""
    lines = []
    for face, roads in measured().items():
        lines.append(f"    {face}: {{")
        lines.append("        #                            own  others  writes       peak")
        for name, (own, others, writes, peak) in roads.items():
            key = f'"{name}":'
            lines.append(f"        {key:24}Cost({own:6}, {others:6}, {writes:6}, {peak:9_}),")
        lines.append("    },")
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(measured()) if "--json" in sys.argv else table())
