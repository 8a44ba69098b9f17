# -*- test-case-name: benchmarks.test.test_rounds -*-
"""
C{python -m benchmarks}: a run.

Owns the command line, and what is known of a run besides its figures. See the package for how it measures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import page, tables
from benchmarks.broker import Broker, NoBroker, broker_uri
from benchmarks.clients import PROGRAMS, library_of
from benchmarks.figures import Results, Verdict, verdicts
from benchmarks.peers import Peer, compile_rabbitmq_c, found
from benchmarks.rounds import Run
from benchmarks.scenario import PIKA, RABBITMQ_C, TXPIKA, Promise, Scenario
from benchmarks.scenarios import chosen

#: Who can be measured.
LIBRARIES = (*dict.fromkeys(map(library_of, PROGRAMS)), RABBITMQ_C)
ROUNDS = 7
QUICK_ROUNDS = 3


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    @param arguments: The command line, without the program.
    @return: C{rounds}, C{quick}, C{json}, C{page}, C{only}, C{check}, C{library}.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What a message costs the client.")
    parser.add_argument("--rounds", type=int, help=f"measurements of each, by default {ROUNDS}, or {QUICK_ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="the main scenarios and peers, half the messages")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure to a file")
    parser.add_argument("--page", action="store_true", help="write the results and the page of this repository")
    parser.add_argument("--only", default="", metavar="KEYS", help="scenarios, with commas between")
    parser.add_argument("--library", default="", metavar="NAMES", help=f"of {', '.join(LIBRARIES)}; all by default")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is not kept")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.page and (options.quick or options.only or options.library):
        parser.error("--page is about everything: not with --quick, --only or --library")
    options.library = [name.strip() for name in options.library.split(",") if name.strip()] or list(LIBRARIES)
    unknown = set(options.library) - set(LIBRARIES)
    if unknown:
        parser.error(f"no such library: {', '.join(sorted(unknown))}; there are {', '.join(LIBRARIES)}")
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def scenarios_of(options: argparse.Namespace) -> list[Scenario]:
    """
    @return: What to measure, with only those peers that are wanted.
    @raise ValueError: A key that is not a scenario's.
    """
    scenarios = chosen(options.only)
    if options.quick:
        scenarios = [scenario.smaller() for scenario in scenarios if scenario.quick]
    wanted = [
        dataclasses.replace(
            scenario, peers={name: n for name, n in scenario.peers.items() if library_of(name) in options.library}
        )
        for scenario in scenarios
    ]
    return [scenario for scenario in wanted if scenario.peers]


def can_be_judged(promise: Promise, scenario: Scenario, scenarios: list[Scenario]) -> bool:
    """
    @return: Whether everything that a promise is about was to be measured in this run.
    """
    other = next((one for one in scenarios if one.key == (promise.scenario or scenario.key)), None)
    names = {name for peer in scenario.peers for name in scenario.names(peer)}
    others = {name for peer in other.peers for name in other.names(peer)} if other else set()
    if promise.to == PIKA and any(name.startswith(f"{PIKA} ") for name in others):
        return promise.ours in names
    return promise.ours in names and (not promise.to or promise.to in others)


def cpu_model() -> str:
    """
    @return: What the processor calls itself, where the kernel says.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe(results: Results, broker: dict[str, str], seconds: float, rounds: int) -> dict[str, Any]:
    """
    @param broker: The versions it reports.
    @return: What ran where: versions, date, length.
    """
    versions = {
        library_of(name): one["version"]
        for measured in results.values()
        for name, figures in measured.items()
        for one in figures
        if "version" in one
    }
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": rounds,
        "seconds": round(seconds),
        "machine": {
            "cores": os.cpu_count(),
            "processor": cpu_model(),
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
        },
        "versions": {"Python": platform.python_version(), **broker, **versions},
    }


def to_json(about: dict[str, Any], scenarios: list[Scenario], results: Results) -> str:
    """
    @return: Every figure of every round, and what follows from these.
    """
    entries = []
    for scenario in scenarios:
        entry = dataclasses.asdict(scenario)
        del entry["about"]
        entry["promises"] = [each.to_json() for each in verdicts([scenario], results)]
        entry["measured"] = results[scenario.key]
        entries.append(entry)
    text = json.dumps({**about, "scenarios": entries}, indent=1) + "\n"
    # What has nothing nested in it fits on a line: one for each figure.
    return re.sub(r"\{\s+([^{}\[\]]*?)\s+\}", lambda found: "{" + re.sub(r"\s*\n\s*", " ", found[1]) + "}", text)


def report(scenarios: list[Scenario], results: Results, about: dict[str, Any]) -> None:
    """Print what was found."""
    for title, text in tables.everything(scenarios, results):
        print(f"\n{title}\n\n{text}".replace("\\-", "- "))
    for line in tables.failures(results):
        print(f"failed: {line}")
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    machine = about["machine"]
    print(
        f"\n{about['rounds']} rounds in {about['seconds']} s on {about['date']}; {machine['cores']} cores of "
        f"{machine['processor']}, {machine['system']}; {versions}"
    )


def main(arguments: list[str]) -> int:
    """
    @param arguments: The command line, without the program.
    @return: The exit code.
    """
    options = parse(arguments)
    began = time.monotonic()
    try:
        uri = broker_uri(dict(os.environ))
        scenarios = scenarios_of(options)
    except KeyError:
        return complain("set TXPIKA_TEST_URI or TXPIKA_URI, or run make bench, which starts a RabbitMQ")
    except ValueError as error:
        return complain(str(error))
    with tempfile.TemporaryDirectory(prefix="txpika-benchmark-") as folder:
        rabbitmq_c = compile_rabbitmq_c(Path(folder))
        names = list(dict.fromkeys(name for scenario in scenarios for name in scenario.peers))
        peers = found(names, rabbitmq_c)
        try:
            broker = Broker(uri, rabbitmq_c or Peer(TXPIKA))
            run = Run(broker, uri, scenarios, options.rounds, peers)
            with tqdm(total=run.steps, unit="", leave=False, disable=None) as bar:
                run.run(bar)
            broker.close()
        except NoBroker as error:
            return complain(str(error))
        except KeyboardInterrupt:
            return complain("interrupted")
    about = describe(run.results, broker.versions, time.monotonic() - began, options.rounds)
    report(scenarios, run.results, about)
    if absent := sorted(set(names) - set(peers)):
        print(f"not measured, as they are not installed: {', '.join(absent)}")
    written = to_json(about, scenarios, run.results)
    if options.json:
        options.json.write_text(written)
    if options.page:
        page.RESULTS.write_text(written)
        page.main([])
    broken = judged(scenarios, run.results)
    if broken:
        print(
            "missed: "
            + ", ".join(f"{each.scenario.key} ({each.promise.what} of {each.promise.ours})" for each in broken)
        )
    return 1 if options.check and broken else 0


def judged(scenarios: list[Scenario], results: Results) -> list[Verdict]:
    """
    @return: The promises that are not kept, or whose figures are missing though they were to be measured.
    """
    return [
        each
        for each in verdicts(scenarios, results)
        if not each.met and can_be_judged(each.promise, each.scenario, scenarios)
    ]


def complain(text: str) -> int:
    """Say in one line what is wrong, and return the exit code for it."""
    print(f"benchmarks: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
