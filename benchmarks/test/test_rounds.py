"""Tests for the rounds, and for the command line."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import __main__ as program
from benchmarks import page
from benchmarks.broker import broker_uri
from benchmarks.measure import Task
from benchmarks.peers import MeasurementFailed, Peer
from benchmarks.rounds import Run, before_and_after, task_of
from benchmarks.scenario import PIKA, RABBITMQ_C, TXPIKA, Promise, Scenario
from benchmarks.scenarios import chosen
from benchmarks.test.made_up import figures, scenario


class Bar:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str | None] = []
        self.updates = 0

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        self.told.append(desc)

    def update(self, n: float | None = 1) -> bool | None:
        self.updates += 1
        return None


class FakeBroker:
    """Keeps what the queues were to hold."""

    def __init__(self) -> None:
        self.queues: list[str] = []
        self.filled: list[int] = []
        self.expected: list[int] = []

    @contextlib.contextmanager
    def fresh_queue(self, task: Task, prefilled: int) -> Iterator[None]:
        self.queues.append(task.queue)
        self.filled.append(prefilled)
        yield

    def expect_messages(self, queue: str, expected: int) -> None:
        assert queue == self.queues[-1]
        self.expected.append(expected)


class RunTests(SynchronousTestCase):
    """Who is measured when, and what is kept of it."""

    def setUp(self) -> None:
        self.broker = FakeBroker()
        self.measured: list[tuple[str, Task, str]] = []
        self.failing: set[str] = set()

        def measure(peer: Peer, task: Task, program: str = "") -> dict[str, Any]:
            self.measured.append((peer.name, task, program))
            if peer.name in self.failing:
                raise MeasurementFailed("no luck")
            return {"messages": task.messages, "cpu": 1.0, "wall": 2.0, "grown": 3, "traced": 40.0 * task.messages}

        self.patch(Peer, "measure", measure)

    def run_of(self, scenarios: list[Scenario], rounds: int = 1) -> Run:
        peers = {name: Peer(name) for each in scenarios for name in each.peers}
        run = Run(self.broker, "amqp://h/v", scenarios, rounds, peers)
        run.run(Bar())
        return run

    def test_order_rotates(self) -> None:
        """Each round begins with another peer, and leaves nobody out."""
        three = scenario(peers={"a": 1, "b": 1, "c": 1})
        self.run_of([three], 3)
        order = [name for name, _task, _program in self.measured]
        self.assertEqual([order[0:3], order[3:6], order[6:9]], [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]])

    def test_a_round_at_a_time(self) -> None:
        """All scenarios are measured before the next round begins, but those that are worth fewer rounds."""
        scenarios = [scenario(key="x", peers={"a": 1}), scenario(key="y", peers={"b": 1}, most_rounds=1)]
        run = self.run_of(scenarios, 2)
        self.assertEqual([name for name, _task, _program in self.measured], ["a", "b", "a"])
        self.assertEqual(run.steps, 3)
        self.assertEqual([one["round"] for one in run.results["x"]["a"]], [0, 1])

    def test_more_than_once_a_round(self) -> None:
        scenarios = [scenario(key="x", peers={"a": 1, "b": 1}, times=2), scenario(key="y", peers={"c": 1})]
        run = self.run_of(scenarios, 2)
        self.assertEqual([name for name, _task, _program in self.measured], [*"abba", "c"] * 2)
        self.assertEqual([one["round"] for one in run.results["x"]["b"]], [0, 1, 2, 3])
        self.assertEqual(run.steps, 6)

    def test_those_who_are_not_there(self) -> None:
        """A library that is not installed takes no part."""
        run = Run(self.broker, "amqp://h/v", [scenario()], 1, {TXPIKA: Peer(TXPIKA)})
        bar = Bar()
        run.run(bar)
        self.assertEqual(list(run.results["key"]), [TXPIKA])
        self.assertEqual((bar.told, bar.updates), (["round 1 of 1, title, txpika twisted"], 1))

    def test_failure(self) -> None:
        """A failure is kept as such, and the others go on; whoever failed twice is not tried again."""
        self.failing.add("pika select")
        run = self.run_of([scenario()], 4)
        failures = [{"round": number, "error": "no luck"} for number in (0, 1)]
        self.assertEqual(run.results["key"]["pika select"], failures)
        self.assertEqual(len(run.results["key"][TXPIKA]), 4)

    def test_points(self) -> None:
        """Each peer is measured at both points, under a name for each."""
        run = self.run_of([scenario(points=(1, 1_000), varied="channels", peers={"a": 10})])
        self.assertEqual(list(run.results["key"]), ["a at 1", "a at 1,000"])
        self.assertEqual([task.channels for _name, task, _program in self.measured], [1, 1_000])

    def test_queues(self) -> None:
        """Each measurement has a queue of its own, with what it needs in it, and what must be left is looked for."""
        self.run_of([scenario(key="x", peers={"a": 10}), scenario(key="y", action="consume", peers={"a": 10})])
        self.assertEqual((self.broker.filled, self.broker.expected), ([0, 11], [11, 0]))
        self.assertEqual(len(set(self.broker.queues)), 2)

    def test_no_queue(self) -> None:
        """Who opens things, or has a program that needs no broker, gets no queue."""
        self.run_of([scenario(action="channels"), scenario(key="y", program="prepared")])
        self.assertEqual(self.broker.queues, [])
        self.assertEqual({program for _name, _task, program in self.measured}, {"", "prepared"})

    def test_python_s_own_count(self) -> None:
        """Is taken in a second process, of txpika only, of fewer things; and is kept for one of them."""
        peers = {TXPIKA: 2_000, "pika select": 2_000}
        run = self.run_of([scenario(action="channels", metric="each", traced=True, peers=peers, warm=0)])
        self.assertEqual(run.results["key"][TXPIKA][0]["traced"], 40.0)
        self.assertEqual(
            [(name, task.messages, task.traced) for name, task, _program in self.measured],
            [(TXPIKA, 2_000, False), (TXPIKA, 500, True), ("pika select", 2_000, False)],
        )

    def test_task(self) -> None:
        """What a scenario says reaches the process."""
        task = task_of(scenario(size=7, points=(3, 4), varied="held", action="auto_ack"), TXPIKA, 4, "amqp://h/v")
        self.assertEqual((task.messages, task.warmup, task.size, task.held, task.action), (10, 1, 7, 4, "auto_ack"))
        self.assertEqual(before_and_after(task), (11, 0))

    def test_what_is_left(self) -> None:
        """What is published stays; asking leaves nothing."""
        for action, left in (("publish", 11), ("mandatory", 11), ("declare", 0)):
            self.assertEqual(before_and_after(task_of(scenario(action=action), TXPIKA, None, "")), (0, left))


class CommandLineTests(SynchronousTestCase):
    """What can be said, and what comes back."""

    def test_virtual_host_spelled_out(self) -> None:
        """An empty path, which libraries read differently, becomes the default virtual host; others stay."""
        for given, read in (
            ("amqp://a:b@h:1", "amqp://a:b@h:1/%2F"),
            ("amqp://a:b@h:1/", "amqp://a:b@h:1/%2F"),
            ("amqp://a:b@h:1/other", "amqp://a:b@h:1/other"),
        ):
            self.assertEqual(broker_uri({"TXPIKA_URI": given}), read)

    def test_started_broker_goes_first(self) -> None:
        """The broker started for the run is taken, not the user's own."""
        environment = {"TXPIKA_TEST_URI": "amqp://test/v", "TXPIKA_URI": "amqp://own/v"}
        self.assertEqual(broker_uri(environment), "amqp://test/v")

    def test_no_broker(self) -> None:
        """Without a broker: one line, and the exit code of misuse."""
        for environment in ({}, {"TXPIKA_URI": "amqp://127.0.0.1:1"}):
            self.patch(os, "environ", environment)
            with redirect_stderr(io.StringIO()) as said:
                self.assertEqual(program.main(["--only", "imports"]), 2)
            self.assertEqual(len(said.getvalue().splitlines()), 1)

    def test_nonsense(self) -> None:
        """A library that does not exist, no rounds, and a page of part of a run are refused by name."""
        for arguments in (["--library", "pikka"], ["--rounds", "0"], ["--rounds", "-1"], ["--page", "--quick"]):
            with redirect_stderr(io.StringIO()) as said:
                self.assertRaises(SystemExit, program.parse, arguments)
            self.assertIn(arguments[0].strip("-"), said.getvalue())

    def test_rounds(self) -> None:
        """Seven, and three of a quick run, where nothing else is said."""
        asked = ("", "--quick", "--quick --rounds 2")
        self.assertEqual([program.parse(each.split()).rounds for each in asked], [7, 3, 2])

    def test_libraries_chosen(self) -> None:
        """Only the named ones take part, and scenarios in which nobody would are left out."""
        found = program.scenarios_of(program.parse(["--library", "pika, rabbitmq-c"]))
        self.assertEqual({name.split()[0] for each in found for name in each.peers}, {"pika", RABBITMQ_C})
        self.assertNotIn("mandatory", [each.key for each in found])

    def test_quick(self) -> None:
        """A quick run has the main scenarios, with our main adapter, pika's best ones and rabbitmq-c."""
        found = program.scenarios_of(program.parse(["--quick"]))
        main = ["publish", "confirmed", "consume", "auto_ack", "declare", "publish_1mb", "auto_ack_1mb"]
        self.assertEqual([each.key for each in found], main)
        self.assertEqual(found[0].peers, {TXPIKA: 20_000, "pika twisted": 10_000, RABBITMQ_C: 20_000})

    def test_what_can_be_judged(self) -> None:
        """A promise about somebody who was not to be measured is not broken; one whose figures are missing is."""
        promises = (Promise(0.5, to=PIKA), Promise(0.5, to=RABBITMQ_C), Promise(1.0, to=TXPIKA, scenario="other"))
        one = scenario(promises=promises)
        results = {"key": {TXPIKA: figures(5.0), "pika select": []}}
        self.assertEqual([each.promise.to for each in program.judged([one], results)], [PIKA])
        results["key"]["pika select"] = figures(10.0)
        self.assertEqual(program.judged([one], results), [])


class MainTests(SynchronousTestCase):
    """A whole run, of processes that only say that they measured."""

    def setUp(self) -> None:
        test = self
        self.cpu = 1e-6
        self.environment = {"TXPIKA_URI": "amqp://h/v"}
        self.patch(os, "environ", self.environment)

        class NoPlace(FakeBroker):
            def __init__(self, *_arguments: object) -> None:
                super().__init__()
                self.versions = {"RabbitMQ": "3"}

            def close(self) -> None:
                pass

        def measure(peer: Peer, task: Task, program: str = "") -> dict[str, Any]:
            cpu = test.cpu if peer.name.startswith("txpika") else 2e-6
            return {"messages": 1, "cpu": cpu, "wall": cpu, "grown": 3, "version": f"of {peer.name}"}

        self.patch(program, "Broker", NoPlace)
        self.patch(program, "compile_rabbitmq_c", lambda folder: Peer(RABBITMQ_C, program="/bin/false"))
        self.patch(Peer, "measure", measure)

    def main(self, *arguments: str) -> tuple[int, str]:
        with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()):
            code = program.main(["--library", "txpika,rabbitmq-c", "--only", "publish", "--rounds", "2", *arguments])
        return code, said.getvalue()

    def test_kept(self) -> None:
        """The tables are printed, and the exit code says that all is well."""
        code, said = self.main("--check")
        self.assertEqual(code, 0)
        self.assertIn("0.50 (0.50..0.50)", said)
        self.assertIn("rabbitmq-c of rabbitmq-c", said)
        self.assertNotIn("missed:", said)

    def test_missed(self) -> None:
        """A promise that is not kept is named; the exit code says so only to whoever asked for it."""
        self.cpu = 2.1e-6
        for arguments, expected in (((), 0), (("--check",), 1)):
            code, said = self.main(*arguments)
            self.assertEqual(code, expected)
            self.assertIn("missed: publish (cpu of txpika twisted)", said)

    def test_page(self) -> None:
        """The results of a whole run, the page and its picture are written where they belong."""
        if not page.PAGE.exists():
            raise SkipTest("only in a checkout of the repository")
        text = page.PAGE.read_text()
        for name, content in (("RESULTS", ""), ("PAGE", text), ("PICTURE", "")):
            path = Path(self.mktemp())
            path.write_text(content)
            self.patch(page, name, path)
        self.patch(program, "scenarios_of", lambda options: chosen("publish"))
        with redirect_stdout(io.StringIO()):
            program.main(["--page", "--rounds", "1"])
        report = page.Report(page.RESULTS.read_text())
        self.assertEqual(list(report.results), ["publish"])
        self.assertEqual(page.PAGE.read_text(), report.fill(text))
        self.assertEqual(page.PICTURE.read_text(), report.picture())

    def test_file(self) -> None:
        """Each figure of each round is written, with what is known of the run, and without the URI."""
        path = self.mktemp()
        self.main("--json", path)
        with open(path) as file:
            text = file.read()
        written = json.loads(text)
        (entry,) = written["scenarios"]
        self.assertEqual([one["round"] for one in entry["measured"][RABBITMQ_C]], [0, 1])
        self.assertEqual(written["rounds"], 2)
        self.assertEqual(written["versions"]["RabbitMQ"], "3")
        self.assertGreater(written["machine"]["cores"], 0)
        self.assertNotIn("amqp://", text)
        self.assertEqual(entry["peers"][TXPIKA], chosen("publish")[0].peers[TXPIKA])
