# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
Tests of what the benchmarks do without a broker: arithmetic, verdicts, tables, and processes that fail.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as program
from benchmarks import memory_broker, report
from benchmarks.measure import Task
from benchmarks.peers import MeasurementFailed, Peer
from benchmarks.scenarios import SCENARIOS, Scenario, chosen, smaller

TASK = Task("publish", "amqp://someone:secret@localhost/%2F", "a queue", 10, 1, 100, 1000, 256)


def figures(*cpus: float, grown: int = 0, messages: int = 10) -> report.Figures:
    """One process a value, that used so many microseconds of CPU a message, and twice as much time."""
    seconds = [cpu * messages / 1e6 for cpu in cpus]
    return [{"messages": messages, "cpu": cpu, "wall": 2 * cpu, "grown": grown, "version": "1"} for cpu in seconds]


def scenario(**changes: Any) -> Scenario:
    """A scenario that promises half of pika's CPU."""
    made = Scenario("key", "title", "publish", 10, 1, 100, ("select", "asyncio"), limit=0.5)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class ReportTests(SynchronousTestCase):
    """From figures to verdicts."""

    def test_median_a_message(self) -> None:
        """CPU and wall clock are medians, in microseconds a message."""
        measured = figures(3.0, 100.0, 2.0)
        self.assertAlmostEqual(report.cpu(measured), 3.0)
        self.assertAlmostEqual(report.wall(measured), 6.0)

    def test_best_adapter(self) -> None:
        """The adapter with the smallest median stands for pika."""
        measured = {"pika select": figures(9.0, 20.0, 21.0), "pika asyncio": figures(12.0, 12.0, 30.0)}
        self.assertEqual(report.best_pika(measured), "pika asyncio")

    def test_dropped_adapter_is_not_the_best(self) -> None:
        """An adapter that took part in fewer rounds is not compared with."""
        measured = {"pika select": figures(1.0), "pika asyncio": figures(12.0, 12.0)}
        self.assertEqual(report.best_pika(measured), "pika asyncio")

    def test_adapters_worth_another_round(self) -> None:
        """Those near the best go on, txpika is none of them."""
        measured = {
            "txpika": figures(1.0),
            "pika select": figures(10.0),
            "pika asyncio": figures(12.0),
            "pika blocking": figures(13.0),
        }
        self.assertEqual(report.near_the_best(measured), {"pika select", "pika asyncio"})

    def test_limit(self) -> None:
        """The limit is met at the very ratio, missed above it, and neither without a figure."""
        for ours, met in ((figures(5.0), True), (figures(5.1), False), ([], None)):
            row = report.Row(scenario(), {"txpika": ours, "pika select": figures(10.0)})
            self.assertIs(row.met, met)

    def test_limit_of_memory(self) -> None:
        """A limit of memory is in bytes, and compares with nobody."""
        for grown, met in ((100, True), (101, False)):
            row = report.Row(scenario(unit="bytes", limit=100.0), {"txpika": figures(1.0, grown=grown)})
            self.assertIs(row.met, met)

    def test_compared_with_the_figures_of_another_scenario(self) -> None:
        """A scenario only txpika has takes the others' figures, not txpika's, from where it says."""
        other, own = scenario(), scenario(key="own", peers_of="key", limit=None)
        results = {
            "key": {"txpika": figures(5.0), "pika select": figures(10.0)},
            "own": {"txpika": figures(2.0)},
        }
        ratios = [row.ratio("pika select") for row in report.rows([other, own], results)]
        self.assertEqual([round(ratio or 0, 3) for ratio in ratios], [0.5, 0.2])

    def test_compared_with_a_scenario_of_ones_own(self) -> None:
        """A limit may be about txpika's own figures in another scenario, whatever pika's are there."""
        base, own = scenario(), scenario(key="own", title="own", peers_of="key", baseline="key", limit=1.3)
        for ours, met in ((6.5, True), (6.6, False)):
            results = {"key": {"txpika": figures(5.0), "pika select": figures(1.0)}, "own": {"txpika": figures(ours)}}
            row = report.rows([base, own], results)[1]
            self.assertIs(row.met, met)
        self.assertIn("MISSED: 1.32 of key", report.tables([row]))
        self.assertIsNone(report.Row(own, {"txpika": figures(1.0)}).met)

    def test_tables(self) -> None:
        """Each row is there with its figures, its ratio, its limit and the verdict; what was not measured is a dash."""
        timed = report.Row(scenario(), {"txpika": figures(6.0), "pika select": figures(10.0)})
        sized = report.Row(scenario(unit="bytes", limit=3e6), {"txpika": figures(1.0, grown=2_000_000)})
        cpu, wall, memory = report.tables([timed, sized]).split("\n\n")
        self.assertEqual(
            cpu.splitlines()[2].split(), ["title", "6.0", "10.0", "select", "-", "0.60", "-", "0.50", "MISSED"]
        )
        self.assertEqual(wall.splitlines()[2].split(), ["title", "12.0", "20.0", "select", "-", "0.60", "-"])
        self.assertEqual(memory.splitlines()[2].split(), ["title", "2.0", "-", "3.0", "met", "-", "-"])


class ScenarioTests(SynchronousTestCase):
    """Which scenarios are measured."""

    def test_all(self) -> None:
        """No keys mean all scenarios."""
        self.assertEqual(chosen(""), list(SCENARIOS))

    def test_comparison_comes_along(self) -> None:
        """A scenario that borrows figures brings the one it borrows from, first."""
        self.assertEqual([one.key for one in chosen("unawaited")], ["publish", "unawaited"])
        self.assertEqual([one.key for one in chosen("mandatory")], ["confirmed", "mandatory"])

    def test_unknown(self) -> None:
        """A key that is none is named."""
        error = self.assertRaises(ValueError, chosen, "publish,nonsense")
        self.assertTrue(str(error).startswith("no such scenario: nonsense; "))

    def test_quick(self) -> None:
        """A quick run takes half the messages and one adapter, but measures memory with as many messages."""
        quick = smaller(scenario())
        self.assertEqual((quick.messages, quick.pika), (5, ("select",)))
        self.assertEqual(smaller(scenario(unit="bytes")).messages, 10)


class PeerTests(SynchronousTestCase):
    """Processes."""

    def test_task_reaches_the_process(self) -> None:
        """A task is the same on the other side."""
        self.assertEqual(Task.from_json(TASK.to_json()), TASK)

    def test_no_password_in_arguments(self) -> None:
        """The URI is not among the arguments, which other users of the machine can read."""
        for peer in (Peer("txpika"), Peer("pika", "twisted"), Peer("rabbitmq-c", program="/bin/false")):
            self.assertNotIn("secret", " ".join(peer.command(TASK)))

    def test_failed_process(self) -> None:
        """A process that fails is named, with what it complained about."""
        self.patch(Peer, "command", lambda peer, task: [sys.executable, "-c", "raise SystemExit('no luck')"])
        error = self.assertRaises(MeasurementFailed, Peer("pika", "select").measure, TASK)
        self.assertEqual(str(error), "pika select, publish: no luck")

    def test_process_without_figures(self) -> None:
        """A process that ends well and prints nothing did not measure."""
        self.patch(Peer, "command", lambda peer, task: [sys.executable, "-c", ""])
        error = self.assertRaises(MeasurementFailed, Peer("pika", "select").measure, TASK)
        self.assertEqual(str(error), "pika select, publish: printed no figures")


class ProgramTests(SynchronousTestCase):
    """The command line."""

    def test_virtual_host_spelled_out(self) -> None:
        """An empty path, which libraries read differently, becomes the default virtual host; others stay."""
        for given, read in (
            ("amqp://a:b@h:1", "amqp://a:b@h:1/%2F"),
            ("amqp://a:b@h:1/", "amqp://a:b@h:1/%2F"),
            ("amqp://a:b@h:1/other", "amqp://a:b@h:1/other"),
        ):
            self.assertEqual(program.broker_uri({"TXPIKA_URI": given}), read)

    def test_started_broker_goes_first(self) -> None:
        """The broker started for the run is taken, not the user's own."""
        environment = {"TXPIKA_TEST_URI": "amqp://test/v", "TXPIKA_URI": "amqp://own/v"}
        self.assertEqual(program.broker_uri(environment), "amqp://test/v")

    def test_no_broker(self) -> None:
        """Without a broker: one line, and the exit code of misuse."""
        self.patch(os, "environ", {})
        with redirect_stderr(io.StringIO()) as said:
            self.assertEqual(program.main([]), 2)
        self.assertEqual(len(said.getvalue().splitlines()), 1)
        self.assertIn("TXPIKA_URI", said.getvalue())

    def test_nonsense_on_the_command_line(self) -> None:
        """A library that is none, and no rounds, are refused by name."""
        for arguments in (["--library", "pikka"], ["--rounds", "0"], ["--rounds", "-1"]):
            with redirect_stderr(io.StringIO()) as said:
                self.assertRaises(SystemExit, program.parse, arguments)
            self.assertIn(arguments[0].strip("-"), said.getvalue())

    def test_order_rotates(self) -> None:
        """Each round begins with another library, and leaves nobody out."""
        benchmark = program.Benchmark("amqp://h/v", [scenario()], 3, program.taking_part("", Peer("rabbitmq-c")))
        benchmark.results["key"] = {"pika select": figures(10.0), "pika asyncio": figures(11.0)}
        orders = [[peer.name for peer in benchmark.peers(scenario(), number)] for number in range(3)]
        self.assertEqual(orders[0], ["txpika", "pika select", "pika asyncio", "rabbitmq-c"])
        self.assertEqual([order[0] for order in orders], ["txpika", "pika select", "pika asyncio"])
        self.assertEqual({frozenset(order) for order in orders}, {frozenset(orders[0])})

    def test_libraries_chosen(self) -> None:
        """Of the libraries the named ones take part."""
        self.assertEqual([peer.library for peer in program.taking_part("pika, txpika", None)], ["txpika", "pika"])


class MemoryBrokerTests(SynchronousTestCase):
    """The measurement of the broker in memory."""

    def test_all_come_through(self) -> None:
        for confirms in (False, True):
            self.assertRegex(memory_broker.run(1000, confirms), r"^1000 messages, \d+ a second, ")
