# -*- test-case-name: benchmarks.test.test_figures -*-
"""
From figures to medians, spreads, ratios and verdicts.

Owns the arithmetic. A ratio is taken within each round, of two figures measured seconds apart, and the median is of
those: what slows the machine for a minute slows both sides of a round, and cancels out. A ratio of two medians would
compare one side's figure from a good minute with the other's from a bad one. Starts nothing, measures nothing, prints
nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from benchmarks.scenario import PIKA, TXPIKA, Metric, Promise, Scenario

#: What the measuring processes of one name printed, one for each round; see L{benchmarks.rounds.Run.results}.
Figures = list[dict[str, Any]]
#: The same, for all names in a scenario.
Measured = Mapping[str, Figures]
#: The same, for all scenarios, by key.
Results = Mapping[str, Measured]

#: A ratio up to this is written as 1.00, and is no loss.
EVEN = 1.005

#: Whom each way of using txpika is compared with when we look for where it loses: the main one with everybody, the
#: others with those that serve the same kind of program.
RIVALS = {
    "txpika select": ("pika select",),
    "txpika asyncio": ("pika asyncio", "aio-pika", "aiormq"),
    "txpika blocking": ("pika", "pika blocking", "py-amqp", "amqpstorm"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """
    @ivar middle: The median.
    @ivar low: The lowest.
    @ivar high: The highest.
    @ivar rounds: Of how many rounds.
    """

    middle: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """
        @return: The spread of some values; C{None} if there are none.
        """
        given = sorted(values)
        return cls(float(median(given)), given[0], given[-1], len(given)) if given else None

    def scaled(self, factor: float) -> Spread:
        """
        @return: The same in another unit.
        """
        return Spread(self.middle * factor, self.low * factor, self.high * factor, self.rounds)


def value(figures: Mapping[str, Any], metric: Metric) -> float | None:
    """
    @return: What one measurement came to, in seconds per message, or bytes; C{None} if it did not measure that.
    """
    if "error" in figures or (metric == "traced" and "traced" not in figures):
        return None
    if metric in ("grown", "traced"):
        return float(figures[metric])
    return float(figures["grown" if metric == "each" else metric]) / int(figures["messages"])


def by_round(figures: Figures, metric: Metric) -> dict[int, float]:
    """
    @return: The values by the number of their round.
    """
    values = {one["round"]: value(one, metric) for one in figures}
    return {number: found for number, found in values.items() if found is not None}


def spread(figures: Figures, metric: Metric) -> Spread | None:
    """
    @return: The spread over the rounds.
    """
    return Spread.of(by_round(figures, metric).values())


def ratio(ours: Figures, theirs: Figures, metric: Metric) -> Spread | None:
    """
    @return: The spread of the ratios in each round; C{None} if there is no round that has both.
    """
    divided, divisors = by_round(ours, metric), by_round(theirs, metric)
    return Spread.of(divided[number] / divisors[number] for number in divided if divisors.get(number, 0) > 0)


def error(figures: Figures) -> str:
    """
    @return: What went wrong, if anything did.
    """
    return next((str(one["error"]) for one in figures if "error" in one), "")


def best_pika(measured: Measured) -> str:
    """
    @return: The name of pika's adapter with the least CPU among those measured in the most rounds; empty if there is
        none.
    """
    found = {
        name: spread_
        for name, figures in measured.items()
        if name.startswith(f"{PIKA} ") and (spread_ := spread(figures, "cpu"))
    }
    rounds = max((each.rounds for each in found.values()), default=0)
    return min((name for name in found if found[name].rounds == rounds), key=lambda n: found[n].middle, default="")


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """
    What became of a promise.

    @ivar scenario: Where it stands.
    @ivar promise: The promise.
    @ivar to: Whose figures ours were divided by; empty for none.
    @ivar found: What was measured; C{None} if nothing was.
    """

    scenario: Scenario
    promise: Promise
    to: str
    found: Spread | None

    @property
    def met(self) -> bool | None:
        """Whether it is kept; C{None} if nothing was measured."""
        return None if self.found is None else self.found.middle <= self.promise.at_most

    def to_json(self) -> dict[str, Any]:
        """Return it for a file."""
        found = None if self.found is None else dataclasses.asdict(self.found)
        return {**dataclasses.asdict(self.promise), "to": self.to, "found": found, "met": self.met}


def verdict(scenario: Scenario, promise: Promise, results: Results) -> Verdict:
    """
    @param results: All figures.
    @return: What became of a promise of a scenario.
    """
    ours = results.get(scenario.key, {}).get(promise.ours, [])
    if not promise.to:
        return Verdict(scenario, promise, "", spread(ours, promise.what))
    measured = results.get(promise.scenario or scenario.key, {})
    to = best_pika(measured) if promise.to == PIKA and PIKA not in measured else promise.to
    return Verdict(scenario, promise, to or promise.to, ratio(ours, measured.get(to, []), promise.what))


def verdicts(scenarios: Iterable[Scenario], results: Results) -> list[Verdict]:
    """
    @return: What became of all promises of some scenarios.
    """
    return [verdict(scenario, promise, results) for scenario in scenarios for promise in scenario.promises]


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """
    Somebody is cheaper than we are.

    @ivar scenario: In which scenario.
    @ivar metric: In which respect.
    @ivar ours: Which of ours.
    @ivar theirs: Who is cheaper.
    @ivar found: Our figures divided by theirs.
    """

    scenario: Scenario
    metric: Metric
    ours: str
    theirs: str
    found: Spread


def metrics_of(scenario: Scenario) -> tuple[Metric, ...]:
    """
    @return: In what respects the libraries are compared in a scenario. Where memory is measured, the cost of a message
        is not compared, as it has a scenario of its own; the cost of opening is, as it has none.
    """
    if scenario.metric == "grown":
        return ("grown",)
    if scenario.metric == "each":
        return ("each", "cpu")
    return ("cpu",) if scenario.program else ("cpu", "wall")


def losses(scenarios: Iterable[Scenario], results: Results) -> list[Loss]:
    """
    @return: Wherever another library is cheaper, by the median of the ratios.
    """
    found = []
    for scenario in scenarios:
        measured = results.get(scenario.key, {})
        for metric in metrics_of(scenario):
            for ours, theirs in _pairs(list(measured)):
                ratios = ratio(measured[ours], measured[theirs], metric)
                if ratios is not None and ratios.middle > EVEN:
                    found.append(Loss(scenario, metric, ours, theirs, ratios))
    return found


def _pairs(names: list[str]) -> Iterable[tuple[str, str]]:
    """Which of ours is compared with whom, at the same point where there are points."""
    for ours in (name for name in names if name.startswith("txpika")):
        way, _, point = ours.partition(" at ")
        for theirs in names:
            other, _, their_point = theirs.partition(" at ")
            rivals = way == TXPIKA or other in RIVALS.get(way, ())
            if rivals and point == their_point and not other.startswith("txpika"):
                yield ours, theirs
