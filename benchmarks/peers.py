# -*- test-case-name: benchmarks.test.test_processes -*-
"""
Those who are measured: each a program that takes a L{Task} and prints its figures.

Owns processes, and the compiling of the C program. Knows no scenario.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.clients import PROGRAMS, is_installed
from benchmarks.measure import Task
from benchmarks.scenario import RABBITMQ_C

_HERE = Path(__file__).parent

#: A measurement takes some seconds. One that takes this many hangs.
TIMEOUT = 90.0

#: How many characters to keep of what a process says at its end.
_LAST_WORDS = 300


class MeasurementFailed(Exception):
    """A measuring process did not do its task; the text says which, and why."""


@dataclasses.dataclass(slots=True, frozen=True)
class Peer:
    """
    One library, with one of its event loops.

    @ivar name: What to call it in a table; see L{PROGRAMS}.
    @ivar program: The C program; empty for what is measured in Python.
    """

    name: str
    program: str = ""

    def command(self, task: Task, program: str = "") -> list[str]:
        """
        @param program: A module of L{benchmarks.clients} to run instead of the peer's own.
        @return: What to run. The URI is not in it: other users can read the arguments of a process.
        """
        if self.program:
            numbers = (task.messages, task.warmup, task.size, task.prefetch, task.window, task.channels, task.consumers)
            return [self.program, task.action, task.queue, *map(str, numbers)]
        return [sys.executable, "-m", f"benchmarks.clients.{program or PROGRAMS[self.name]}"]

    def measure(self, task: Task, program: str = "") -> dict[str, Any]:
        """
        Do the task in a fresh process.

        @param program: A module of L{benchmarks.clients} to run instead of the peer's own.
        @return: What the process printed: C{cpu} and C{wall} in seconds, C{grown} in bytes, C{messages}, C{version},
            and, if the task asked for it, C{traced} in bytes.
        @raise MeasurementFailed: It ended otherwise, or not at all.
        """
        library, _, adapter = self.name.partition(" ")
        task = dataclasses.replace(task, library=library, adapter=adapter)
        try:
            done = subprocess.run(
                self.command(task, program),
                input=task.to_json() + "\n",
                env={**os.environ, "TXPIKA_BENCH_URI": task.uri},
                cwd=_HERE.parent,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=True,
            )
            figures: dict[str, Any] = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise MeasurementFailed(f"no end after {TIMEOUT:.0f} seconds") from None
        except subprocess.CalledProcessError as error:
            raise MeasurementFailed(last_words(error.stderr) or f"exit status {error.returncode}") from None
        except ValueError:
            raise MeasurementFailed("printed no figures") from None
        return figures


def last_words(stderr: str) -> str:
    """
    @return: The last line that says something: the exception, if it is a traceback.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1][:_LAST_WORDS] if lines else ""


def compile_rabbitmq_c(folder: Path) -> Peer | None:
    """
    @param folder: Where to put the program.
    @return: rabbitmq-c, or C{None} if there is no C compiler, or no C{librabbitmq} to compile with.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return None
    program = folder / "rabbitmq_c"
    command = [compiler, "-O2", "-o", str(program), str(_HERE / "clients" / "rabbitmq_c.c"), "-lrabbitmq"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    return Peer(RABBITMQ_C, program=str(program))


def found(names: Iterable[str], rabbitmq_c: Peer | None) -> dict[str, Peer]:
    """
    @param names: Those that are to be measured.
    @param rabbitmq_c: What L{compile_rabbitmq_c} returned.
    @return: Those that can be measured here, by name.
    """
    peers = {name: rabbitmq_c if name == RABBITMQ_C else Peer(name) for name in names}
    return {name: peer for name, peer in peers.items() if peer and (peer.program or is_installed(name))}
