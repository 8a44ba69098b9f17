"""Tests for the page and its picture."""

from __future__ import annotations

import json
from typing import Any
from unittest import SkipTest
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import tables
from benchmarks.figures import Figures, Spread
from benchmarks.page import BEGIN, END, PAGE, PICTURE, RESULTS, Report
from benchmarks.plot import svg
from benchmarks.scenario import TXPIKA, Promise, at
from benchmarks.test.made_up import figures, scenario


def written(**measured: dict[str, Figures]) -> str:
    """What a run writes, as far as the page needs it."""
    about: dict[str, Any] = {
        "date": "2026-01-02",
        "rounds": 2,
        "seconds": 600,
        "machine": {"cores": 2, "processor": "P", "system": "Linux 6", "architecture": "x86_64"},
        "versions": {"Python": "3.11"},
        "scenarios": [{"key": key, "measured": each} for key, each in measured.items()],
    }
    return json.dumps(about)


class NumberTests(SynchronousTestCase):
    """Figures as text."""

    def test_three_digits(self) -> None:
        found = [tables.number(each) for each in (0.5, 9.99, 9.999, 12.34, 99.96, 1234.5)]
        self.assertEqual(found, ["0.50", "9.99", "10.0", "12.3", "100", "1234"])

    def test_spread(self) -> None:
        """The median, with the lowest and highest; nothing where there is none."""
        self.assertEqual(tables.cell(Spread(2.0, 1.5, 30.0, 3)), "2.00 (1.50..30.0)")
        self.assertEqual(tables.cell(None), "")

    def test_units(self) -> None:
        """Long times are in milliseconds, memory is in powers of a thousand."""
        self.assertEqual(tables.quantity(Spread(2e-6, 1e-6, 3e-6, 3), "cpu"), "2.00 (1.00..3.00) us")
        self.assertEqual(tables.quantity(Spread(0.2, 0.1, 0.3, 3), "cpu"), "200 (100..300) ms")
        self.assertEqual(tables.quantity(Spread(4e3, 4e3, 4e3, 3), "each"), "4.00 (4.00..4.00) kB")


class TableTests(SynchronousTestCase):
    """Tables."""

    def cells(self, text: str, line: int) -> list[str]:
        """What is in a row, below the heads."""
        return [each.strip() for each in text.splitlines()[3 + line].split("  ") if each.strip()]

    def test_simple_table(self) -> None:
        """Columns are as wide as need be; a cell without anything has a dash."""
        text = tables.table(["a", "bb"], [["ccc", ""]])
        self.assertEqual(text, "===  ==\na    bb\n===  ==\nccc  \\-\n===  ==")

    def test_promises(self) -> None:
        """What was promised, and whether it was kept."""
        one = scenario(promises=(Promise(0.5, to="pika select"), Promise(60e3, "each"), Promise(1.0, to="nobody")))
        text = tables.promises([one], {"key": {TXPIKA: figures(6.0, grown=400_000), "pika select": figures(10.0)}})
        self.assertEqual(
            self.cells(text, 0),
            ["title", "CPU", TXPIKA, "pika select", "0.50", "0.60 (0.60..0.60)", "**missed**"],
        )
        kept = ["title", "memory each", TXPIKA, "\\-", "60 kB", "40.0 (40.0..40.0) kB", "met"]
        self.assertEqual(self.cells(text, 1), kept)
        self.assertEqual(self.cells(text, 2)[-1], "not measured")

    def test_limit_of_a_time(self) -> None:
        """An absolute limit has its unit."""
        one = scenario(promises=(Promise(0.015),))
        self.assertIn("15 ms", tables.promises([one], {"key": {TXPIKA: figures(6.0)}}))

    def test_matrix(self) -> None:
        """One row per library; a failure is named as such, and who took no part in any scenario is left out."""
        results: dict[str, dict[str, Figures]] = {
            "key": {TXPIKA: figures(6.0), "aiormq": [{"round": 0, "error": "no luck"}], "pika select": []}
        }
        text = tables.matrix([scenario()], results, "cpu", 1e6)
        self.assertEqual(self.cells(text, 0), [TXPIKA, "6.00 (6.00..6.00)"])
        self.assertEqual(self.cells(text, 1), ["aiormq", "failed"])
        self.assertEqual(len(text.splitlines()), 6)
        self.assertEqual(tables.failures(results), ["key, aiormq: no luck"])

    def test_flat(self) -> None:
        """Both ends, and their ratio."""
        one = scenario(points=(1, 1_000), peers={TXPIKA: 1})
        results = {"key": {at(TXPIKA, 1): figures(4.0), at(TXPIKA, 1_000): figures(5.0)}}
        expected = ["title", TXPIKA, "4.00 (4.00..4.00) us", "5.00 (5.00..5.00) us", "1.25 (1.25..1.25)"]
        self.assertEqual(self.cells(tables.flat([one], results), 0), expected)

    def test_memory(self) -> None:
        """Growth is in megabytes, things are in kilobytes; Python's own count has a line for itself."""
        scenarios = [
            scenario(metric="grown"),
            scenario(key="channels", title="a channel", metric="each", action="channels"),
        ]
        results = {
            "key": {TXPIKA: figures(1.0, grown=2_000_000)},
            "channels": {TXPIKA: figures(1.0, grown=30_000, traced=2_500.0)},
        }
        text = tables.memory(scenarios, results)
        self.assertEqual(self.cells(text, 0), [TXPIKA, "2.00 (2.00..2.00) MB", "3.00 (3.00..3.00) kB"])
        self.assertEqual(self.cells(text, 1), [f"{TXPIKA}, of Python", "\\-", "2.50 (2.50..2.50) kB"])

    def test_where_we_lose(self) -> None:
        """Who is cheaper in what, and by how much."""
        results = {"key": {TXPIKA: figures(6.0, wall=1.0), "rabbitmq-c": figures(4.0, wall=2.0)}}
        expected = ["title", "CPU", TXPIKA, "6.00 (6.00..6.00) us", "rabbitmq-c", "4.00 (4.00..4.00) us"]
        text = tables.where_we_lose([scenario()], results)
        self.assertEqual(self.cells(text, 0), [*expected, "1.50 (1.50..1.50)"])
        self.assertEqual(tables.where_we_lose([scenario()], {"key": {TXPIKA: figures(1.0)}}), "")


class PictureTests(SynchronousTestCase):
    """The SVG."""

    def drawn(self, **measured: Figures) -> tuple[Any, str]:
        """Its elements, and its text."""
        text = svg([scenario()], {"key": {name.replace("_", " "): each for name, each in measured.items()}})
        return ElementTree.fromstring(text), text

    def bars(self, **measured: Figures) -> list[tuple[str, float]]:
        """Kind and length of each bar, from above."""
        root, _text = self.drawn(**measured)
        found = root.iter("{http://www.w3.org/2000/svg}rect")
        return [(each.get("class"), float(each.get("width"))) for each in found][1:]

    def test_bars(self) -> None:
        """The cheapest first; lengths are as the medians; ours stand out."""
        found = self.bars(txpika_twisted=figures(5.0), aiormq=figures(20.0), amqpstorm=figures(4.0))
        self.assertEqual(found, [("others", 44.0), ("ours", 55.0), ("others", 220.0)])

    def test_names_and_figures(self) -> None:
        _root, text = self.drawn(txpika_twisted=figures(5.0, 6.0, 7.0), aiormq=figures(20.0))
        for said in ("txpika twisted", "aiormq", "6.00 (5.00..7.00)", "title: CPU"):
            self.assertIn(f">{said}", text)

    def test_a_long_bar_is_cut(self) -> None:
        """One that is many times ours would make ours a dot."""
        measured = {"txpika_twisted": figures(1.0), "aiormq": figures(100.0)}
        self.assertEqual([round(width) for _kind, width in self.bars(**measured)], [18, 220])
        self.assertEqual(self.drawn(**measured)[1].count('class="cut"'), 1)

    def test_follows_light_and_dark(self) -> None:
        self.assertIn("prefers-color-scheme: dark", self.drawn(txpika_twisted=figures(1.0), aiormq=figures(2.0))[1])


class PageTests(SynchronousTestCase):
    """The page."""

    def setUp(self) -> None:
        self.report = Report(written(publish={TXPIKA: figures(5.0), "rabbitmq-c": figures(4.0)}, forgotten={}))
        self.empty = "by hand\n\n" + "".join(f"{BEGIN}{name}\n{END}\n\nby hand\n\n" for name in self.report.blocks)

    def test_blocks_are_filled(self) -> None:
        """What is generated is put in, what is written by hand stays; a second time changes nothing."""
        filled = self.report.fill(self.empty)
        self.assertEqual(filled.count("by hand"), len(self.report.blocks) + 1)
        self.assertIn("Measured on 2026-01-02, 2 rounds in 10 minutes, on 2 cores of P", filled)
        self.assertIn("publish (``publish``)\n   100-byte messages", filled)
        self.assertEqual(self.report.fill(filled), filled)

    def test_a_block_too_few_or_too_many(self) -> None:
        """A page that lacks something is not passed over."""
        for page in (self.empty.replace(f"{BEGIN}losses", "losses"), self.empty + f"{BEGIN}more\n{END}\n"):
            self.assertRaises(ValueError, self.report.fill, page)

    def test_lines_are_short(self) -> None:
        """Lines of text are; tables are as wide as they are."""
        for line in self.report.scenarios_list().splitlines():
            self.assertLessEqual(len(line), 123)

    def test_the_page_is_what_the_results_give(self) -> None:
        """The committed page and picture are those of the committed results: C{python -m benchmarks.page} was run."""
        if not PAGE.exists():
            raise SkipTest("only in a checkout of the repository")
        report = Report(RESULTS.read_text())
        self.assertEqual(report.fill(PAGE.read_text()), PAGE.read_text())
        self.assertEqual(report.picture(), PICTURE.read_text())
