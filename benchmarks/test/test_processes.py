"""Tests for measuring processes: that each does what it is told, and what becomes of one that does not."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import memory_broker, peers
from benchmarks.broker import Broker, NoBroker, broker_uri
from benchmarks.clients import PROGRAMS, is_installed, prepared
from benchmarks.measure import Meter, Task
from benchmarks.peers import MeasurementFailed, Peer, compile_rabbitmq_c, found, last_words
from benchmarks.rounds import Run, task_of
from benchmarks.scenario import RABBITMQ_C, TXPIKA, Scenario
from benchmarks.scenarios import SCENARIOS, chosen
from benchmarks.test.test_rounds import Bar
from txpika.spec import Basic
from txpika.test.broker import require_broker

TASK = Task("publish", "amqp://someone:secret@localhost/%2F", "a queue", 10, 1, 100, 1000, 256)

#: Enough messages of each kind to show that a program does its work.
FEW = 20


class PeerTests(SynchronousTestCase):
    """Processes."""

    def run_instead(self, program: str) -> Any:
        """What becomes of a process that runs something else."""
        self.patch(Peer, "command", lambda peer, task, other: [sys.executable, "-c", program])
        return self.assertRaises(MeasurementFailed, Peer("pika select").measure, TASK)

    def test_task_reaches_the_process(self) -> None:
        """A task is the same on the other side, with the peer's library and adapter."""
        self.assertEqual(Task.from_json(TASK.to_json()), TASK)
        program = "import json, sys; print(json.dumps(json.loads(sys.stdin.readline())))"
        self.patch(Peer, "command", lambda peer, task, other: [sys.executable, "-c", program])
        got = Peer("pika select").measure(TASK)
        self.assertEqual(got, dataclasses.asdict(dataclasses.replace(TASK, library="pika", adapter="select")))

    def test_no_password_in_arguments(self) -> None:
        """The URI is not among the arguments, which other users of the machine can read."""
        for peer in (Peer(TXPIKA), Peer("pika twisted"), Peer(RABBITMQ_C, program="/bin/false")):
            self.assertNotIn("secret", " ".join(peer.command(TASK)))

    def test_a_program_of_the_scenario(self) -> None:
        """A scenario may have a program of its own; then the peer needs none."""
        self.assertEqual(Peer("pika").command(TASK, "importing")[-1], "benchmarks.clients.importing")

    def test_failed_process(self) -> None:
        """A process that fails is quoted with its last words: of a traceback, the exception."""
        self.assertEqual(str(self.run_instead("raise SystemExit('no luck')")), "no luck")
        self.assertEqual(str(self.run_instead("[][1]")), "IndexError: list index out of range")
        self.assertEqual(str(self.run_instead("raise SystemExit(3)")), "exit status 3")
        self.assertEqual(len(last_words("x" * 1000)), 300)

    def test_process_without_figures(self) -> None:
        """A process that ends well and prints nothing did not measure."""
        self.assertEqual(str(self.run_instead("")), "printed no figures")

    def test_process_without_end(self) -> None:
        """A process that hangs is ended."""
        self.patch(peers, "TIMEOUT", 0.1)
        self.assertEqual(str(self.run_instead("import signal; signal.pause()")), "no end after 0 seconds")

    def test_who_is_there(self) -> None:
        """Libraries that cannot be imported, and a C program that cannot be compiled, are not there."""
        self.patch(peers, "is_installed", lambda name: name != "aiormq")
        self.assertEqual(list(found(["aiormq", TXPIKA, RABBITMQ_C], None)), [TXPIKA])
        self.assertEqual(list(found([RABBITMQ_C], Peer(RABBITMQ_C, program="/bin/false"))), [RABBITMQ_C])

    def test_without_a_compiler(self) -> None:
        """rabbitmq-c is not measured."""
        self.patch(os, "environ", {"CC": "/bin/false"})
        self.assertIsNone(compile_rabbitmq_c(Path(self.mktemp())))

    def test_no_broker(self) -> None:
        """A broker that is not there is named as such."""
        self.assertRaises(NoBroker, Broker, "amqp://127.0.0.1:1/%2F", Peer(TXPIKA))


class MeterTests(SynchronousTestCase):
    """What a process reads off itself."""

    def figures(self, task: Task, resting: bool = False) -> dict[str, Any]:
        """Those of one that keeps a megabyte, and has let go of one, and of another that refers to itself."""
        meter = Meter(task)
        with redirect_stdout(io.StringIO()) as said:
            meter.start()
            loop: list[Any] = [bytearray(10**6)]
            loop.append(loop)
            del loop
            kept = bytearray(10**6)
            bytearray(10**6)
            (meter.stop_resting if resting else meter.stop)("txpika")
        assert kept
        found: dict[str, Any] = json.loads(said.getvalue())
        return found

    def test_figures(self) -> None:
        """All there are."""
        given = self.figures(TASK)
        self.assertEqual((given["messages"], set(given)), (10, {"messages", "cpu", "wall", "grown", "version"}))
        self.assertGreater(given["wall"], 0)
        self.assertNotIn("traced", given)

    def test_python_s_own_count(self) -> None:
        """It is taken at its highest, or of what is kept in the end; afterwards nothing is traced any more."""
        traced = dataclasses.replace(TASK, traced=True)
        self.assertGreaterEqual(self.figures(traced)["traced"], 3 * 10**6)
        self.assertLess(self.figures(traced, resting=True)["traced"], 1.5 * 10**6)
        self.assertFalse(tracemalloc.is_tracing())


class PreparedTests(SynchronousTestCase):
    """txpika in memory."""

    def run_of(self, key: str, point: int) -> prepared.PreparedProgram:
        """One measurement with few messages."""
        scenario = dataclasses.replace(chosen(key)[0], peers={TXPIKA: 1_000})
        program = prepared.PreparedProgram(task_of(scenario, TXPIKA, point, ""))
        with redirect_stdout(io.StringIO()) as said:
            program.run()
        self.assertEqual(json.loads(said.getvalue())["messages"], 1_000)
        return program

    def test_consumers(self) -> None:
        """Each of a thousand gets its share, and all is acked."""
        for point in (1, 1_000):
            self.assertEqual(self.run_of("flat_consumers", point).done, 1_100)

    def test_unacked(self) -> None:
        """As many are unacked at the end, and were before."""
        for point in (10, 300):
            self.assertEqual(len(self.run_of("flat_unacked", point).held), point)

    def test_confirms_out_of_order(self) -> None:
        """The broker answers some one by one, the newest first, and then all."""
        acks = [(tag, False) for tag in (5, 4, 3, 2, 1)] + [(10, True)]
        expected = b"".join(prepared.frame(1, Basic.Ack(*each)) for each in acks)
        self.assertEqual(prepared.confirms(1), expected)

    def test_unconfirmed(self) -> None:
        """As many publishes have no answer at the end, and all others have one."""
        for point in (10, 300):
            self.assertEqual(self.run_of("flat_unconfirmed", point).done, 1_100)


class LiveTests(SynchronousTestCase):
    """Each program does each of its scenarios, with few messages, on a real broker."""

    def setUp(self) -> None:
        self.uri = broker_uri({"TXPIKA_URI": require_broker()})
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.rabbitmq_c = compile_rabbitmq_c(Path(folder.name))
        self.broker = Broker(self.uri, self.rabbitmq_c or Peer(TXPIKA))
        self.addCleanup(self.broker.close)

    def small(self, wanted: set[str]) -> Iterator[Scenario]:
        """What there is to do, each kind once, for some peers."""
        seen: set[tuple[object, ...]] = set()
        for scenario in SCENARIOS:
            peers: dict[str, int] = {}
            for name in scenario.peers if not scenario.program else ():
                # Two adapters of one program differ in their loops alone: that shows in any scenario.
                who = name if scenario.action == "declare" else PROGRAMS.get(name, name)
                kind = (scenario.action, scenario.varied, who)
                if name in wanted and kind not in seen:
                    seen.add(kind)
                    peers[name] = FEW
            if peers:
                points = (1, 3) if scenario.points else ()
                yield dataclasses.replace(scenario, peers=peers, size=100, points=points, traced=False)

    def measure(self, *names: str) -> None:
        """Measure, and see that nobody failed."""
        wanted = {name for name in names if name == RABBITMQ_C or is_installed(name)}
        scenarios = list(self.small(wanted))
        run = Run(self.broker, self.uri, scenarios, 1, found(wanted, self.rabbitmq_c))
        run.run(Bar())
        for key, measured in run.results.items():
            for name, figures in measured.items():
                self.assertNotIn("error", figures[0], (key, name))
                self.assertEqual(figures[0]["messages"], FEW, (key, name))
                self.assertGreater(figures[0]["cpu"], 0, (key, name))

    def test_txpika(self) -> None:
        self.measure("txpika twisted", "txpika select", "txpika asyncio", "txpika blocking")

    def test_pika(self) -> None:
        self.measure("pika twisted", "pika select", "pika asyncio", "pika blocking")

    def test_others(self) -> None:
        """As far as they are installed."""
        self.measure(*(name for name in PROGRAMS if not name.startswith(("txpika", "pika"))), RABBITMQ_C)

    def test_versions(self) -> None:
        """The broker reports its own versions."""
        self.assertEqual(set(self.broker.versions), {"RabbitMQ", "Erlang"})
        self.assertRegex(self.broker.versions["RabbitMQ"], r"^\d+\.")

    def test_missing_messages(self) -> None:
        """A queue that does not hold what it should is a failure."""
        self.patch(peers, "TIMEOUT", 20.0)
        self.patch(sys.modules["benchmarks.broker"], "PATIENCE", 0.0)
        task = dataclasses.replace(TASK, uri=self.uri, queue="txpika-benchmark-test")
        with self.broker.fresh_queue(task, 3):
            self.broker.expect_messages(task.queue, 3)
            error = self.assertRaises(MeasurementFailed, self.broker.expect_messages, task.queue, 4)
        self.assertEqual(str(error), "3 messages are in the queue instead of 4")


class ImportingTests(SynchronousTestCase):
    """The program that imports."""

    def test_one(self) -> None:
        """It prints what importing costs beyond an interpreter that does nothing."""
        task = dataclasses.replace(TASK, messages=1, library="txpika", adapter="blocking")
        command = [sys.executable, "-m", "benchmarks.clients.importing"]
        done = subprocess.run(
            command, input=task.to_json(), capture_output=True, text=True, cwd=Path(peers.__file__).parent.parent
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(json.loads(done.stdout)["cpu"], 0)


class MemoryBrokerTests(SynchronousTestCase):
    """The measurement of the broker in memory."""

    def test_all_come_through(self) -> None:
        for confirms in (False, True):
            self.assertRegex(memory_broker.run(1000, confirms), r"^1000 messages, \d+ a second, ")
