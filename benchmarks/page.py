# -*- test-case-name: benchmarks.test.test_page -*-
"""
The page C{docs/performance.rst}, and its picture, from the figures of a run.

    python -m benchmarks.page [RESULTS.json]

Owns the generated blocks of the page: each begins with a comment that names it, and ends with one. What is between
these is replaced; everything else on the page is written by hand, and stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.figures import Results, verdicts
from benchmarks.plot import svg
from benchmarks.scenario import Scenario
from benchmarks.scenarios import SCENARIOS

_REPOSITORY = Path(__file__).parent.parent
RESULTS = _REPOSITORY / "benchmarks" / "results.json"
PAGE = _REPOSITORY / "docs" / "performance.rst"
PICTURE = _REPOSITORY / "docs" / "performance.svg"

BEGIN, END = ".. generated: ", ".. generated until here"

#: Characters of a line of text.
_WIDTH = 120


class Report:
    """
    A run, as it was written to a file.

    @ivar about: What is known besides the figures.
    @ivar results: All figures, by scenario and name.
    @ivar scenarios: Those that there are figures of, with their present promises.
    """

    def __init__(self, text: str) -> None:
        """
        @param text: What L{benchmarks.__main__.to_json} made.
        """
        self.about: dict[str, Any] = json.loads(text)
        self.results: Results = {entry["key"]: entry["measured"] for entry in self.about["scenarios"]}
        self.scenarios: list[Scenario] = [scenario for scenario in SCENARIOS if scenario.key in self.results]

    def when(self) -> str:
        """When and where."""
        about, machine = self.about, self.about["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        return _wrapped(
            f"Measured on {about['date']}, {about['rounds']} rounds in {about['seconds'] / 60:.0f} minutes, on"
            f" {machine['cores']} cores of {machine['processor']} ({machine['architecture']}), {machine['system']};"
            f" {versions}."
        )

    def promises(self) -> str:
        """What was promised, and what became of it."""
        found = verdicts(self.scenarios, self.results)
        kept = sum(each.met is True for each in found)
        said = f"{kept} of {len(found)} promises are kept."
        return f"{said}\n\n{tables.promises(self.scenarios, self.results)}"

    def cpu(self) -> str:
        """CPU per message."""
        return tables.matrix(self.compared, self.results, "cpu", 1e6)

    def wall(self) -> str:
        """Wall clock per message."""
        return tables.matrix(self.compared, self.results, "wall", 1e6)

    @property
    def compared(self) -> list[Scenario]:
        """The scenarios of these two tables."""
        return tables.compared(self.scenarios, self.results)

    def alone(self) -> str:
        """Where nobody is compared."""
        return tables.alone(self.scenarios, self.results)

    def flat(self) -> str:
        """From few to many."""
        return tables.flat(self.scenarios, self.results)

    def memory(self) -> str:
        """Memory."""
        return tables.memory(self.scenarios, self.results)

    def opening(self) -> str:
        """What opening costs."""
        return tables.opening(self.scenarios, self.results)

    def imports(self) -> str:
        """What importing costs."""
        return tables.imports(self.scenarios, self.results)

    def losses(self) -> str:
        """Where we lose."""
        return tables.where_we_lose(self.scenarios, self.results) or "Nowhere in this run."

    def failures(self) -> str:
        """Who failed."""
        lines = tables.failures(self.results)
        return "\n".join(f"- {line}" for line in lines) if lines else "None in this run."

    def scenarios_list(self) -> str:
        """What is measured, in the words of each scenario."""
        return "\n\n".join(_definition(scenario) for scenario in self.scenarios)

    @property
    def blocks(self) -> dict[str, Callable[[], str]]:
        """The generated blocks of the page, by name."""
        return {
            "when": self.when,
            "promises": self.promises,
            "cpu": self.cpu,
            "wall": self.wall,
            "alone": self.alone,
            "flat": self.flat,
            "memory": self.memory,
            "opening": self.opening,
            "imports": self.imports,
            "losses": self.losses,
            "failures": self.failures,
            "scenarios": self.scenarios_list,
        }

    def fill(self, page: str) -> str:
        """
        @param page: The page.
        @return: The page, with what this run came to in its blocks.
        @raise ValueError: A block is missing, or is not one of ours.
        """
        blocks = self.blocks
        names = re.findall(f"^{re.escape(BEGIN)}(.*)$", page, re.MULTILINE)
        if sorted(names) != sorted(blocks):
            raise ValueError(f"the page has the blocks {', '.join(names)}; there must be {', '.join(blocks)}")

        def block(match: re.Match[str]) -> str:
            return f"{match[1]}\n\n{blocks[match[2]]()}\n\n{END}"

        pattern = f"^({re.escape(BEGIN)}([^\n]*))$.*?^{re.escape(END)}$"
        return re.sub(pattern, block, page, flags=re.MULTILINE | re.DOTALL)

    def picture(self) -> str:
        """
        @return: The SVG.
        """
        return svg(self.scenarios, self.results)


def _wrapped(text: str) -> str:
    """Break lines between words."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".lstrip()
    return "\n".join([*lines, line])


def _definition(scenario: Scenario) -> str:
    """A scenario's title, key and docstring; the latter is epytext that uses only C{}."""
    about = re.sub(r"[CL]\{(.*?)\}", r"``\1``", scenario.about)
    counts = sorted(set(scenario.peers.values()))
    amount = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    text = _wrapped(f"{about} Of each: {amount}.").replace("\n", "\n   ")
    return f"{scenario.title} (``{scenario.key}``)\n   {text}"


def main(arguments: list[str]) -> None:
    """
    @param arguments: The command line, without the program: at most a file.
    """
    report = Report(Path(arguments[0] if arguments else RESULTS).read_text())
    PAGE.write_text(report.fill(PAGE.read_text()))
    PICTURE.write_text(report.picture())


if __name__ == "__main__":
    main(sys.argv[1:])
