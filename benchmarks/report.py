# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
From figures to medians, ratios, verdicts and tables.

Owns the arithmetic and the text. Starts nothing and measures nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from benchmarks.scenarios import Scenario

#: What the measuring processes of one library and adapter printed, a round each.
Figures = list[dict[str, Any]]
#: The same, of all of them by name.
Measured = Mapping[str, Figures]

TXPIKA = "txpika"
RABBITMQ_C = "rabbitmq-c"


def cpu(figures: Figures) -> float:
    """
    @return: The median of user and system CPU, in microseconds a message.
    """
    return float(median(one["cpu"] / one["messages"] for one in figures)) * 1e6


def wall(figures: Figures) -> float:
    """
    @return: The median of the wall clock, in microseconds a message.
    """
    return float(median(one["wall"] / one["messages"] for one in figures)) * 1e6


def grown(figures: Figures) -> float:
    """
    @return: The median of the growth of the process, in bytes.
    """
    return float(median(one["grown"] for one in figures))


def best_pika(measured: Measured) -> str:
    """
    @return: The name of pika's adapter with the least CPU among those measured in the most rounds; empty if there is
        none. One that was dropped after the first round is no candidate: its one figure may be luck.
    """
    adapters = {name: figures for name, figures in measured.items() if name.startswith("pika") and figures}
    rounds = max(map(len, adapters.values()), default=0)
    return min(
        (name for name in adapters if len(adapters[name]) == rounds), key=lambda name: cpu(adapters[name]), default=""
    )


def near_the_best(measured: Measured, slack: float = 1.25) -> set[str]:
    """
    @param slack: How much more CPU than the best adapter one may take, as a factor.
    @return: The names of pika's adapters that are worth another round.
    """
    best = best_pika(measured)
    return {name for name in measured if name.startswith("pika") and cpu(measured[name]) <= slack * cpu(measured[best])}


@dataclasses.dataclass(slots=True)
class Row:
    """
    What a scenario came to.

    @ivar scenario: The scenario.
    @ivar measured: All its figures, and where it names L{Scenario.peers_of} those of the other libraries there.
    @ivar baseline: txpika's own figures in the scenario it names as L{Scenario.baseline}.
    """

    scenario: Scenario
    measured: Measured
    baseline: Figures = dataclasses.field(default_factory=list)

    @property
    def pika(self) -> str:
        """The name of pika's best adapter, or nothing."""
        return best_pika(self.measured)

    def value(self, name: str) -> float | None:
        """
        @return: What counts, in the unit of the scenario: CPU in microseconds a message, or growth in bytes.
        """
        if not self.measured.get(name):
            return None
        return cpu(self.measured[name]) if self.scenario.unit == "us" else grown(self.measured[name])

    def ratio(self, name: str) -> float | None:
        """
        @return: txpika's value to that of another.
        """
        ours, theirs = self.value(self.scenario.ours), self.value(name)
        return None if ours is None or not theirs else ours / theirs

    @property
    def compared(self) -> float | None:
        """What the limit is about."""
        if self.scenario.unit == "bytes":
            return self.value(self.scenario.ours)
        if self.scenario.baseline:
            ours = self.value(TXPIKA)
            return ours / cpu(self.baseline) if ours is not None and self.baseline else None
        return self.ratio(self.pika)

    @property
    def met(self) -> bool | None:
        """Whether the limit is met; C{None} where there is none, or where what it needs was not measured."""
        compared = self.compared
        if self.scenario.limit is None or compared is None:
            return None
        return compared <= self.scenario.limit

    def to_json(self) -> dict[str, Any]:
        """Return everything known about the scenario, for a file."""
        return {
            **dataclasses.asdict(self.scenario),
            "best_pika": self.pika,
            "ratio_to_pika": self.ratio(self.pika),
            "ratio_to_rabbitmq_c": self.ratio(RABBITMQ_C),
            "compared": self.compared,
            "met": self.met,
            "measured": self.measured,
        }


def rows(scenarios: Iterable[Scenario], results: Mapping[str, Measured]) -> list[Row]:
    """
    @param scenarios: What was measured.
    @param results: The figures, by the scenario's key.
    @return: One row each.
    """
    return [
        Row(
            scenario,
            {**results.get(scenario.peers_of, {}), **results[scenario.key]},
            list(results.get(scenario.baseline, {}).get(TXPIKA, [])),
        )
        for scenario in scenarios
    ]


def tables(all_rows: list[Row]) -> str:
    """
    @return: The tables to print: CPU, wall clock and memory, those that have a row.
    """
    timed = [row for row in all_rows if row.scenario.unit == "us"]
    sized = [row for row in all_rows if row.scenario.unit == "bytes"]
    parts = []
    if timed:
        parts.append(_table("client CPU, us a message", _HEADS, [_cpu_cells(row) for row in timed]))
        parts.append(_table("wall clock, us a message", _HEADS[:6], [_wall_cells(row) for row in timed]))
    if sized:
        heads = ("txpika", "of Python", "limit", "", "pika", "rabbitmq-c")
        parts.append(_table("peak growth of the process, MB", heads, [_memory_cells(row) for row in sized]))
    return "\n\n".join(parts)


_HEADS = ("txpika", "pika's best", "", "rabbitmq-c", "/pika", "/rabbitmq-c", "limit", "")


def _cpu_cells(row: Row) -> list[str]:
    return [
        row.scenario.title,
        _number(row.value(row.scenario.ours)),
        _number(row.value(row.pika)),
        row.pika.removeprefix("pika "),
        _number(row.value(RABBITMQ_C)),
        _number(row.ratio(row.pika), 2),
        _number(row.ratio(RABBITMQ_C), 2),
        _number(row.scenario.limit, 2),
        _verdict(row),
    ]


def _wall_cells(row: Row) -> list[str]:
    names = (row.scenario.ours, row.pika, RABBITMQ_C)
    walls = [wall(row.measured[name]) if row.measured.get(name) else None for name in names]
    ours, pikas, cs = walls
    return [
        row.scenario.title,
        _number(ours),
        _number(pikas),
        row.pika.removeprefix("pika "),
        _number(cs),
        _number(ours / pikas if ours and pikas else None, 2),
        _number(ours / cs if ours and cs else None, 2),
    ]


def _memory_cells(row: Row) -> list[str]:
    traced = [one["traced"] for one in row.measured.get(TXPIKA, []) if "traced" in one]
    megabytes = [
        None if value is None else value / 1e6
        for value in (
            row.value(TXPIKA),
            median(traced) if traced else None,
            row.scenario.limit,
            row.value(row.pika),
            row.value(RABBITMQ_C),
        )
    ]
    cells = [_number(value) for value in megabytes]
    return [row.scenario.title, *cells[:3], _verdict(row), *cells[3:]]


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _verdict(row: Row) -> str:
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    return f"{verdict}: {_number(row.compared, 2)} of {row.scenario.baseline}" if row.scenario.baseline else verdict


def _table(title: str, heads: tuple[str, ...], lines: list[list[str]]) -> str:
    """Text columns: the first to the left, numbers to the right, with words between them to the left."""
    grid = [[title, *heads], *lines]
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    words = [column for column in range(len(widths)) if not grid[0][column] or column == 0]

    def text(line: list[str]) -> str:
        cells = [
            cell.ljust(width) if column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([text(grid[0]), "-" * (sum(widths) + 2 * len(widths) - 2), *map(text, lines)])
