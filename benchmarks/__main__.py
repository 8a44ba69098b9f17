# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
C{python -m benchmarks}: the rounds.

Owns the command line and the order of the measurements. See the package for how it measures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from benchmarks import report
from benchmarks.measure import Task
from benchmarks.peers import MeasurementFailed, Peer, compile_rabbitmq_c, expect_messages, fresh_queue
from benchmarks.scenarios import PREFETCH, WINDOW, Scenario, chosen, smaller

#: Who can be measured.
LIBRARIES = (report.TXPIKA, "pika", report.RABBITMQ_C)
#: Rounds a measurement of memory is worth at most: it hardly varies.
MEMORY_ROUNDS = 3


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    @param arguments: The command line, without the program.
    @return: C{rounds}, C{quick}, C{json}, C{only}, C{check}, C{library}.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What a message costs the client.")
    parser.add_argument("--rounds", type=int, help="measurements of each, 5 by default and 3 with --quick")
    parser.add_argument("--quick", action="store_true", help="half the messages, pika's known best adapters only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure to a file")
    parser.add_argument("--only", default="", metavar="KEYS", help="scenarios, with commas between")
    parser.add_argument("--library", default="", metavar="NAMES", help=f"of {', '.join(LIBRARIES)}; all by default")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is not met")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    unknown = {name.strip() for name in options.library.split(",") if name.strip()} - set(LIBRARIES)
    if unknown:
        parser.error(f"no such library: {', '.join(sorted(unknown))}; there are {', '.join(LIBRARIES)}")
    options.rounds = options.rounds or (3 if options.quick else 5)
    return options


def broker_uri(environment: dict[str, str]) -> str:
    """
    @return: The URI of the broker, with C{%2F} for a path that is empty: libraries read an empty path differently.
    @raise KeyError: There is none.
    """
    uri = environment.get("TXPIKA_TEST_URI") or environment["TXPIKA_URI"]
    parts = urlsplit(uri)
    return parts._replace(path="/%2F").geturl() if parts.path in ("", "/") else uri


class Benchmark:
    """One run: all rounds of all scenarios."""

    def __init__(self, uri: str, scenarios: list[Scenario], rounds: int, libraries: list[Peer]) -> None:
        """
        @param uri: The broker.
        @param scenarios: What to measure.
        @param rounds: How often.
        @param libraries: Which to measure. A L{Peer} called just C{pika} stands for the adapters a scenario names.
        """
        self.uri = uri
        self.scenarios = scenarios
        self.rounds = rounds
        self.libraries = libraries
        self.filler = next((peer for peer in libraries if peer.program), Peer("pika", "twisted"))
        self.results: dict[str, dict[str, report.Figures]] = {scenario.key: {} for scenario in scenarios}

    def run(self) -> None:
        """Measure, with a progress bar on a terminal."""
        with tqdm(total=self.rounds * len(self.scenarios), unit="", leave=False, disable=None) as bar:
            for number, scenario in self.order():
                bar.set_description(f"round {number + 1}, {scenario.title}")
                for peer in self.peers(scenario, number):
                    self.measure(scenario, peer)
                bar.update()

    def order(self) -> Iterator[tuple[int, Scenario]]:
        """Yield each round and scenario, a round at a time: what slows the machine for a while slows all of them."""
        for number in range(self.rounds):
            for scenario in self.scenarios:
                if scenario.unit == "us" or number < MEMORY_ROUNDS:
                    yield number, scenario

    def peers(self, scenario: Scenario, number: int) -> list[Peer]:
        """
        @return: Who takes part in a round of a scenario, in this round's order.
        """
        if scenario.peers_of:
            return [peer for peer in self.libraries if peer.library == report.TXPIKA]
        if scenario.adapter:
            taking_part = [peer for peer in self.libraries if not peer.program]
            pair = [Peer(peer.library, scenario.adapter) for peer in taking_part]
            turn = number % len(pair) if pair else 0
            return pair[turn:] + pair[:turn]
        adapters = [Peer("pika", adapter) for adapter in scenario.pika]
        if number:
            near = report.near_the_best(self.results[scenario.key])
            adapters = [peer for peer in adapters if peer.name in near]
        taking_part = [one for peer in self.libraries for one in (adapters if peer.library == "pika" else [peer])]
        turn = number % len(taking_part) if taking_part else 0
        return taking_part[turn:] + taking_part[:turn]

    def measure(self, scenario: Scenario, peer: Peer) -> None:
        """Measure once, and keep the figures."""
        task = Task(
            scenario=scenario.action,
            uri=self.uri,
            queue=f"txpika-benchmark-{os.getpid()}",
            messages=scenario.messages,
            warmup=scenario.warmup,
            size=scenario.size,
            prefetch=PREFETCH,
            window=WINDOW,
        )
        with fresh_queue(task, scenario.prefilled, self.filler):
            figures = peer.measure(task)
            expect_messages(task, scenario.left_over)
        if scenario.traced and peer.library == report.TXPIKA:
            task.traced = True
            with fresh_queue(task, scenario.prefilled, self.filler):
                figures["traced"] = peer.measure(task)["traced"]
        self.results[scenario.key].setdefault(peer.name, []).append(figures)


def taking_part(names: str, rabbitmq_c: Peer | None) -> list[Peer]:
    """
    @param names: What C{--library} says.
    @return: The libraries to measure.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    everyone = [Peer(report.TXPIKA), Peer("pika"), *([rabbitmq_c] if rabbitmq_c else [])]
    return [peer for peer in everyone if not wanted or peer.library in wanted]


def describe(rows: list[report.Row], seconds: float, rounds: int) -> dict[str, Any]:
    """
    @return: What ran where: versions, date, length.
    """
    versions = {name: figures[0]["version"] for row in rows for name, figures in row.measured.items() if figures}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {name.split()[0]: version for name, version in versions.items()},
        "rounds": rounds,
        "seconds": round(seconds, 1),
    }


def main(arguments: list[str]) -> int:
    """
    @param arguments: The command line, without the program.
    @return: The exit code.
    """
    options = parse(arguments)
    began = time.monotonic()
    try:
        uri = broker_uri(dict(os.environ))
        scenarios = [smaller(scenario) if options.quick else scenario for scenario in chosen(options.only)]
    except KeyError:
        return complain("set TXPIKA_TEST_URI or TXPIKA_URI, or run make bench, which starts a RabbitMQ")
    except ValueError as error:
        return complain(str(error))
    with tempfile.TemporaryDirectory(prefix="txpika-benchmark-") as folder:
        rabbitmq_c = compile_rabbitmq_c(Path(folder))
        benchmark = Benchmark(uri, scenarios, options.rounds, taking_part(options.library, rabbitmq_c))
        try:
            benchmark.run()
        except MeasurementFailed as error:
            return complain(str(error))
        except KeyboardInterrupt:
            return complain("interrupted")
    rows = report.rows(scenarios, benchmark.results)
    about = describe(rows, time.monotonic() - began, options.rounds)
    print(report.tables(rows))
    print(
        f"\nmedians of {about['rounds']} rounds in {about['seconds']:.0f} s, {about['date']}, {about['machine']}; "
        + ", ".join(f"{name} {version}" for name, version in {"Python": about["python"], **about["versions"]}.items())
    )
    if rabbitmq_c is None:
        print("rabbitmq-c was not measured: it needs a C compiler and librabbitmq-dev")
    if options.json:
        options.json.write_text(json.dumps({**about, "scenarios": [row.to_json() for row in rows]}, indent=1) + "\n")
    promised = [row for row in rows if row.scenario.limit is not None]
    missed = [row.scenario.title for row in promised if row.met is False]
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if options.check and not all(row.met for row in promised) else 0


def complain(text: str) -> int:
    """Say what is wrong in one line, and return the exit code for it."""
    print(f"benchmarks: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
