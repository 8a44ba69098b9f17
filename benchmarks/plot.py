# -*- test-case-name: benchmarks.test.test_page -*-
"""
The picture of the page: what a message costs, one panel per scenario, one bar per library.

Owns an SVG, written out here: no library draws one that follows the reader's light or dark colours, is the same byte
for byte wherever it is made, and can be checked by a test that needs nothing installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.figures import Results, Spread, spread
from benchmarks.scenario import TXPIKA, Scenario
from benchmarks.tables import cell, compared

#: Pixels. A panel is a column of names, one of bars and one of figures.
NAMES, BARS, VALUES = 116, 220, 122
PANEL = NAMES + BARS + VALUES
COLUMNS = 2
MARGIN = 20
ROW, BAR, HEAD, FOOT = 18, 11, 30, 22

#: How many times as long as txpika's a bar may be; a longer one is cut, and has its figure.
LONGEST = 12

KEY = "Bars are medians of the rounds, with the lowest and the highest as a line. A bar with a gap is cut."

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 14px }
.value { fill: #59636e }
.ours { fill: #0969da }
text.ours { font-weight: 600 }
.others { fill: #afb8c1 }
.spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
.paper { fill: #ffffff }
.cut { stroke: #ffffff; stroke-width: 3; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.value { fill: #9198a1 }
.ours { fill: #4493f8 }
.others { fill: #59636e }
.spread { stroke: #e6edf3 }
.paper { fill: #0d1117 }
.cut { stroke: #0d1117 }
}
"""


def svg(scenarios: Sequence[Scenario], results: Results) -> str:
    """
    @return: The picture, as text.
    """
    panels = [found for scenario in compared(scenarios, results) if len(found := _panel(scenario, results)) > 1]
    parts: list[str] = []
    top = MARGIN
    for start in range(0, len(panels), COLUMNS):
        line = panels[start : start + COLUMNS]
        for column, drawn in enumerate(line):
            left = MARGIN + column * (PANEL + MARGIN)
            parts += [f'<g transform="translate({left},{top})">', *drawn, "</g>"]
        top += HEAD + FOOT + ROW * max(sum("<rect" in each for each in drawn) for drawn in line)
    parts.append(f'<text class="value" x="{MARGIN}" y="{top}">{KEY}</text>')
    top += MARGIN
    width = MARGIN + COLUMNS * (PANEL + MARGIN)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}">',
            "<title>CPU of the client, microseconds a message: median, lowest and highest of all rounds</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{top}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _panel(scenario: Scenario, results: Results) -> list[str]:
    """The elements of a panel; nothing but its title if nothing was measured."""
    measured = results[scenario.key]
    found = {name: each.scaled(1e6) for name, figures in measured.items() if (each := spread(figures, "cpu"))}
    drawn = [f'<text class="title" y="14">{escape(scenario.title)}: CPU, µs a message</text>']
    if not found:
        return drawn
    longest = max(each.middle for each in found.values())
    if TXPIKA in found:
        longest = min(longest, LONGEST * found[TXPIKA].middle)
    order = sorted(found, key=lambda name: found[name].middle)
    for number, name in enumerate(order):
        drawn += _bar(name, found[name], HEAD + number * ROW, BARS / longest)
    return drawn


def _bar(name: str, found: Spread, top: int, scale: float) -> list[str]:
    """A library's name, bar, spread and figures."""

    def across(value: float) -> float:
        return round(NAMES + min(value * scale, BARS), 1)

    kind = "ours" if name.startswith("txpika") else "others"
    middle = top + BAR / 2
    text_kind = ' class="ours"' if kind == "ours" else ""
    end = across(found.middle)
    drawn = [
        f'<text{text_kind} x="{NAMES - 8}" y="{top + 10}" text-anchor="end">{escape(name)}</text>',
        f'<rect class="{kind}" x="{NAMES}" y="{top}" width="{round(end - NAMES, 1)}" height="{BAR}"/>',
    ]
    if found.middle * scale > BARS:
        drawn.append(f'<path class="cut" d="M{end - 14} {top + BAR + 2}l6 -{BAR + 4}"/>')
    else:
        low, high = across(found.low), across(found.high)
        drawn.append(f'<path class="spread" d="M{low} {middle}H{high}M{low} {middle - 3}v6M{high} {middle - 3}v6"/>')
    drawn.append(f'<text class="value" x="{NAMES + BARS + 8}" y="{top + 10}">{escape(cell(found))}</text>')
    return drawn
