# -*- test-case-name: benchmarks.test.test_rounds -*-
"""
The rounds: who is measured when, and what is kept.

Owns the order, and the figures of a run. A round measures each peer of each scenario once; within a scenario the order
rotates from round to round. A measurement that fails is kept as such, and the run goes on.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from benchmarks.measure import Task
from benchmarks.peers import MeasurementFailed, Peer
from benchmarks.scenario import CONSUMING, OPENING, PREFETCH, PUBLISHING, TXPIKA, WINDOW, Scenario, at

#: Whoever failed this often in a scenario is not tried there again.
MOST_FAILURES = 2

#: Most things opened when Python's own count of memory is taken, which makes everything slow.
MOST_TRACED = 500

#: What the measuring processes printed, by scenario and name.
Results = dict[str, dict[str, list[dict[str, Any]]]]


class Bar(Protocol):
    """Shows how far the run is; a C{tqdm} is one."""

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None: ...

    def update(self, n: float | None = 1) -> bool | None: ...


def task_of(scenario: Scenario, peer: str, point: int | None, uri: str) -> Task:
    """
    @return: What a peer is to do in a scenario.
    """
    messages = scenario.peers[peer]
    task = Task(
        action=scenario.action,
        uri=uri,
        queue=f"txpika-benchmark-{os.getpid()}-{random.getrandbits(32):08x}",
        messages=messages,
        warmup=int(messages * scenario.warm),
        size=scenario.size,
        prefetch=PREFETCH,
        window=WINDOW,
    )
    if point is not None:
        setattr(task, scenario.varied, point)
    return task


def before_and_after(task: Task) -> tuple[int, int]:
    """
    @return: How many messages the queue must hold before a task, and after it.
    """
    messages = task.messages + task.warmup
    if task.action in CONSUMING:
        return messages, 0
    return 0, messages if task.action in PUBLISHING else 0


class Run:
    """
    One run: all rounds of all scenarios.

    @ivar results: All figures so far. Each has the number of its C{round}, and what the process printed, or C{error}.
    """

    def __init__(
        self, broker: Any, uri: str, scenarios: list[Scenario], rounds: int, peers: Mapping[str, Peer]
    ) -> None:
        """
        @param broker: A L{benchmarks.broker.Broker}.
        @param uri: Where it is.
        @param scenarios: What to measure.
        @param rounds: How many rounds.
        @param peers: Whom to measure, by name, as far as they are in a scenario.
        """
        self._broker = broker
        self._uri = uri
        self._scenarios = scenarios
        self._rounds = rounds
        self._peers = peers
        self.results: Results = {scenario.key: {} for scenario in scenarios}

    @property
    def steps(self) -> int:
        """How many turns of scenarios there are."""
        return sum(1 for _ in self.order())

    def run(self, bar: Bar) -> None:
        """Measure everything."""
        for number, scenario in self.order():
            for peer, point in self.turns(scenario, number):
                present = number // scenario.times + 1
                bar.set_description(f"round {present} of {self._rounds}, {scenario.title}, {peer.name}")
                self.measure(scenario, number, peer, point)
            bar.update()

    def order(self) -> Iterator[tuple[int, Scenario]]:
        """
        Yield the number of each measurement, and its scenario, one round at a time: what slows the machine for a while
        slows all of them.
        """
        for number in range(self._rounds):
            for scenario in self._scenarios:
                if number < scenario.most_rounds:
                    for again in range(scenario.times):
                        yield number * scenario.times + again, scenario

    def turns(self, scenario: Scenario, number: int) -> list[tuple[Peer, int | None]]:
        """
        @return: Who takes part in a round of a scenario, at which point, in this round's order.
        """
        points: tuple[int | None, ...] = scenario.points or (None,)
        turns = [(self._peers[name], point) for name in scenario.peers if name in self._peers for point in points]
        first = number % len(turns) if turns else 0
        return turns[first:] + turns[:first]

    def measure(self, scenario: Scenario, number: int, peer: Peer, point: int | None) -> None:
        """Measure once, and keep the figures, or the reason why there are none."""
        name = peer.name if point is None else at(peer.name, point)
        kept = self.results[scenario.key].setdefault(name, [])
        if sum("error" in figures for figures in kept) >= MOST_FAILURES:
            return
        try:
            figures = self.figures(scenario, peer, task_of(scenario, peer.name, point, self._uri))
        except MeasurementFailed as error:
            figures = {"error": str(error)}
        kept.append({"round": number, **figures})

    def figures(self, scenario: Scenario, peer: Peer, task: Task) -> dict[str, Any]:
        """
        @return: What one measurement came to; with a second one if Python's own count of memory is wanted.
        @raise MeasurementFailed: It failed.
        """
        if scenario.program:
            return peer.measure(task, scenario.program)
        figures = self.once(peer, task)
        if scenario.traced and peer.name == TXPIKA:
            traced = dataclasses.replace(task, traced=True, messages=min(task.messages, MOST_TRACED))
            figures["traced"] = self.once(peer, traced)["traced"] / traced.messages
        return figures

    def once(self, peer: Peer, task: Task) -> dict[str, Any]:
        """One process, with the queue that it needs."""
        if task.action in OPENING:
            return peer.measure(task)
        before, after = before_and_after(task)
        with self._broker.fresh_queue(task, before):
            figures = peer.measure(task)
            self._broker.expect_messages(task.queue, after)
        return figures
