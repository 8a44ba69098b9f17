# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
The libraries, each as a program that takes a L{Task} and prints its figures; and the queues they work on.

Owns processes, the compiling of the C program, and queues. Knows no scenario by name but the one it fills queues with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika

from benchmarks.measure import Task

_HERE = Path(__file__).parent

#: A measurement takes one or two seconds. One that takes this long, in seconds, hangs.
TIMEOUT = 120.0


#: Where a library's adapter is not in the module of that library.
_MODULES = {
    "pika twisted": "with_pika_twisted",
    "txpika blocking": "with_txpika_callbacks",
    "txpika select": "with_txpika_callbacks",
}


class MeasurementFailed(Exception):
    """A measuring process did not do its task; the text says which, and why."""


@dataclasses.dataclass(slots=True, frozen=True)
class Peer:
    """
    One library, with one of its event loops.

    @ivar library: Its name.
    @ivar adapter: The event loop it is to use; empty where it has no choice.
    @ivar program: The C program; empty for what is measured in Python.
    """

    library: str
    adapter: str = ""
    program: str = ""

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return f"{self.library} {self.adapter}".rstrip()

    def command(self, task: Task) -> list[str]:
        """
        @return: What to run. The URI is not in it: other users can read the arguments of a process.
        """
        if self.program:
            numbers = (task.messages, task.warmup, task.size, task.prefetch, task.window)
            return [self.program, task.scenario, task.queue, *map(str, numbers)]
        module = _MODULES.get(self.name, f"with_{self.library}")
        return [sys.executable, "-m", f"benchmarks.{module}"]

    def measure(self, task: Task) -> dict[str, Any]:
        """
        Do the task in a fresh process.

        @return: What the process printed: C{cpu} and C{wall} in seconds, C{grown} in bytes, C{messages}, C{version},
            and, if the task asked for it, C{traced} in bytes.
        @raise MeasurementFailed: It ended otherwise, or not at all.
        """
        task = dataclasses.replace(task, adapter=self.adapter)
        try:
            done = subprocess.run(
                self.command(task),
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
            raise MeasurementFailed(f"{self.name}, {task.scenario}: no end after {TIMEOUT:.0f} seconds") from None
        except subprocess.CalledProcessError as error:
            raise MeasurementFailed(f"{self.name}, {task.scenario}: {error.stderr.strip()[-2000:]}") from None
        except ValueError:
            raise MeasurementFailed(f"{self.name}, {task.scenario}: printed no figures") from None
        return figures


def compile_rabbitmq_c(folder: Path) -> Peer | None:
    """
    @param folder: Where to put the program.
    @return: rabbitmq-c, or C{None} where there is no C compiler, or no C{librabbitmq} to compile with.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        return None
    program = folder / "rabbitmq_c"
    command = [compiler, "-O2", "-o", str(program), str(_HERE / "rabbitmq_c.c"), "-lrabbitmq"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    return Peer("rabbitmq-c", program=str(program))


@contextlib.contextmanager
def fresh_queue(task: Task, prefilled: int, filler: Peer) -> Iterator[None]:
    """
    Have the task's queue, new, while the body of the C{with} runs.

    @param task: What will be measured on it.
    @param prefilled: How many of the task's messages to put into it.
    @param filler: Who publishes these, in a process of its own.
    """
    _with_channel(task.uri, lambda channel: channel.queue_declare(task.queue, durable=True))
    try:
        if prefilled:
            filler.measure(dataclasses.replace(task, scenario="publish", warmup=0, messages=prefilled))
            expect_messages(task, prefilled)
        yield
    finally:
        _with_channel(task.uri, lambda channel: channel.queue_delete(task.queue))


def expect_messages(task: Task, expected: int) -> None:
    """
    Wait until the queue holds what it should: a channel can be a moment ahead of the queue it publishes to.

    @raise MeasurementFailed: It does not come to that within 20 seconds.
    """
    deadline = time.monotonic() + 20
    while (found := _with_channel(task.uri, lambda channel: _count(channel, task.queue))) != expected:
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"{task.scenario}: {found} messages are in the queue instead of {expected}")
        time.sleep(0.05)


def _count(channel: Any, queue: str) -> int:
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def _with_channel(uri: str, do: Callable[[Any], Any]) -> Any:
    """Call C{do} with a channel of a short-lived connection."""
    try:
        connection: Any = pika.BlockingConnection(pika.URLParameters(uri))
    except (pika.exceptions.AMQPError, OSError) as error:
        raise MeasurementFailed(f"no connection to the broker: {error!r}") from None
    try:
        return do(connection.channel())
    finally:
        connection.close()
