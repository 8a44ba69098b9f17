# -*- test-case-name: benchmarks.test.test_page -*-
"""
Tables of what was measured, as reStructuredText that also reads well on a terminal.

Owns the texts of tables. Knows figures and scenarios; does no arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks.figures import (
    Figures,
    Loss,
    Measured,
    Results,
    Spread,
    Verdict,
    error,
    losses,
    ratio,
    spread,
    verdicts,
)
from benchmarks.scenario import TXPIKA, Metric, Scenario, at

#: How a metric is written: its name, and the unit of a message or thing, with the factor to that.
METRICS: dict[Metric, tuple[str, str, float]] = {
    "cpu": ("CPU", "us", 1e6),
    "wall": ("wall clock", "us", 1e6),
    "grown": ("growth", "MB", 1e-6),
    "each": ("memory each", "kB", 1e-3),
    "traced": ("of Python", "kB", 1e-3),
}

#: From here on microseconds are written as milliseconds.
_LONG = 10_000.0


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    @param heads: Those of the columns: the first, and others that hold words, to the left; numbers to the right.
    @return: A simple table.
    """
    lines = [list(heads), *([cell or "\\-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    rule = "  ".join("=" * width for width in widths)
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rule, body[0], rule, *body[1:], rule])


def number(given: float) -> str:
    """
    @return: With three digits, and no decimals from a hundred on.
    """
    size = abs(given)
    return f"{given:.0f}" if size >= 99.95 else f"{given:.1f}" if size >= 9.995 else f"{given:.2f}"


def cell(found: Spread | None) -> str:
    """
    @return: The median, and the lowest and highest in brackets; nothing if there is none.
    """
    if found is None:
        return ""
    return f"{number(found.middle)} ({number(found.low)}..{number(found.high)})"


def quantity(found: Spread | None, metric: Metric) -> str:
    """
    @return: L{cell} with its unit.
    """
    if found is None:
        return ""
    _name, unit, factor = METRICS[metric]
    scaled = found.scaled(factor)
    if unit == "us" and scaled.middle >= _LONG:
        scaled, unit = scaled.scaled(1e-3), "ms"
    return f"{cell(scaled)} {unit}"


def _failed_or(figures: Figures, text: Callable[[Figures], str]) -> str:
    return "failed" if error(figures) and not spread(figures, "cpu") else text(figures)


def matrix(scenarios: Sequence[Scenario], results: Results, metric: Metric, unit: float) -> str:
    """
    @param unit: What to multiply by.
    @return: A table with one column per scenario and one row per library.
    """
    names = list(dict.fromkeys(name for scenario in scenarios for name in results[scenario.key]))

    def text(figures: Figures) -> str:
        found = spread(figures, metric)
        return cell(found.scaled(unit)) if found else ""

    rows = [[name, *(_failed_or(results[one.key].get(name, []), text) for one in scenarios)] for name in names]
    return table(["library", *(scenario.title for scenario in scenarios)], [row for row in rows if any(row[1:])])


def compared(scenarios: Iterable[Scenario], results: Results) -> list[Scenario]:
    """
    @return: Those in which the CPU of libraries is compared by one figure each.
    """
    return [
        scenario
        for scenario in scenarios
        if scenario.metric == "cpu"
        and not scenario.points
        and not scenario.program
        and any(not name.startswith("txpika") for name in results.get(scenario.key, {}))
    ]


def alone(scenarios: Iterable[Scenario], results: Results) -> str:
    """
    @return: What txpika costs where it is compared with nobody.
    """
    heads = ["scenario", "CPU, us", "wall clock, us"]
    rows = []
    for scenario in scenarios:
        measured = results.get(scenario.key, {})
        if set(measured) == {TXPIKA} and scenario.metric == "cpu":
            figures = measured[TXPIKA]
            found = [spread(figures, "cpu"), spread(figures, "wall")]
            rows.append([scenario.title, *(cell(each.scaled(1e6)) if each else "" for each in found)])
    return table(heads, rows) if rows else ""


def flat(scenarios: Iterable[Scenario], results: Results) -> str:
    """
    @return: Costs at both ends.
    """
    rows = []
    for scenario in scenarios:
        measured = results.get(scenario.key, {})
        for peer in scenario.peers if scenario.points else ():
            low, high = (measured.get(at(peer, point), []) for point in (scenario.points[0], scenario.points[-1]))
            if low or high:
                costs = [quantity(spread(each, "cpu"), "cpu") for each in (low, high)]
                rows.append([scenario.title, peer, *costs, cell(ratio(high, low, "cpu"))])
    return table(["scenario", "library", "CPU at the low end", "at the high end", "ratio"], rows) if rows else ""


def memory(scenarios: Sequence[Scenario], results: Results) -> str:
    """
    @return: What the libraries hold.
    """
    shown = [scenario for scenario in scenarios if scenario.metric in ("grown", "each") and scenario.key in results]
    names = list(dict.fromkeys(name for scenario in shown for name in results[scenario.key]))

    def text(scenario: Scenario) -> Callable[[Figures], str]:
        return lambda figures: quantity(spread(figures, scenario.metric), scenario.metric)

    rows = [[name, *(_failed_or(results[one.key].get(name, []), text(one)) for one in shown)] for name in names]
    traced = [spread(results[scenario.key].get(TXPIKA, []), "traced") for scenario in shown]
    if any(traced):
        metrics: list[Metric] = ["grown" if scenario.metric == "grown" else "each" for scenario in shown]
        rows.append([f"{TXPIKA}, of Python", *(quantity(*each) for each in zip(traced, metrics, strict=True))])
    return table(["library", *(scenario.title for scenario in shown)], rows) if shown else ""


def opening(scenarios: Iterable[Scenario], results: Results) -> str:
    """
    @return: What opening a connection or a channel costs.
    """
    shown = [scenario for scenario in scenarios if scenario.metric == "each" and scenario.key in results]
    return matrix(shown, results, "cpu", 1e6) if shown else ""


def imports(scenarios: Iterable[Scenario], results: Results) -> str:
    """
    @return: What importing costs.
    """
    shown = [scenario for scenario in scenarios if scenario.program == "importing" and scenario.key in results]
    return matrix(shown, results, "cpu", 1e3) if shown else ""


def _limit(verdict: Verdict) -> str:
    if verdict.to:
        return f"{verdict.promise.at_most:.2f}"
    _name, unit, factor = METRICS[verdict.promise.what]
    scaled = verdict.promise.at_most * factor
    return f"{scaled / 1e3:g} ms" if unit == "us" and scaled >= _LONG else f"{scaled:.3g} {unit}"


def promises(scenarios: Iterable[Scenario], results: Results) -> str:
    """
    @return: What was promised, and what became of it.
    """
    rows = []
    for each in verdicts(scenarios, results):
        to = f"{each.to} in {each.promise.scenario}" if each.promise.scenario else each.to
        found = cell(each.found) if each.to else quantity(each.found, each.promise.what)
        said = {True: "met", False: "**missed**", None: "not measured"}[each.met]
        rows.append(
            [each.scenario.title, METRICS[each.promise.what][0], each.promise.ours, to, _limit(each), found, said]
        )
    return (
        table(["scenario", "what", "of", "divided by that of", "at most", "measured", "verdict"], rows) if rows else ""
    )


def where_we_lose(scenarios: Sequence[Scenario], results: Results) -> str:
    """
    @return: Wherever somebody is cheaper.
    """

    def row(loss: Loss) -> list[str]:
        measured: Measured = results[loss.scenario.key]
        both = [quantity(spread(measured[name], loss.metric), loss.metric) for name in (loss.ours, loss.theirs)]
        who = [loss.ours.partition(" at ")[0], loss.theirs.partition(" at ")[0]]
        title = loss.scenario.title
        if " at " in loss.ours:
            title = f"{title}: at {loss.ours.partition(' at ')[2]}"
        return [title, METRICS[loss.metric][0], who[0], both[0], who[1], both[1], cell(loss.found)]

    rows = [row(loss) for loss in losses(scenarios, results)]
    return table(["scenario", "what", "we", "our figure", "cheaper", "theirs", "ratio"], rows) if rows else ""


def failures(results: Results) -> list[str]:
    """
    @return: A line for each failure.
    """
    return [
        f"{key}, {name}: {said}"
        for key, measured in results.items()
        for name, figures in measured.items()
        if (said := error(figures))
    ]


def everything(scenarios: Sequence[Scenario], results: Results) -> list[tuple[str, str]]:
    """
    @return: All tables that have a row, with their titles.
    """
    shown = compared(scenarios, results)
    found = [
        ("Promises", promises(scenarios, results)),
        ("CPU a message, in microseconds", matrix(shown, results, "cpu", 1e6) if shown else ""),
        ("Wall clock a message, in microseconds", matrix(shown, results, "wall", 1e6) if shown else ""),
        ("txpika alone", alone(scenarios, results)),
        ("From few to many", flat(scenarios, results)),
        ("Memory", memory(scenarios, results)),
        ("CPU of opening, in microseconds", opening(scenarios, results)),
        ("CPU of importing, in milliseconds", imports(scenarios, results)),
        ("Where we lose", where_we_lose(scenarios, results)),
    ]
    return [(title, text) for title, text in found if text]
