# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
What one measuring process is told, how it measures itself, and what it prints.

Owns the L{Task} handed to the process, and the L{Meter} around the measured part. Knows no client library and no
scenario.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import sys
import time
import tracemalloc
from pathlib import Path

#: Linux: the highest resident size since this was last reset is C{VmHWM} of the first file; writing 5 to the second
#: resets it (proc(5)).
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclasses.dataclass(slots=True)
class Task:
    """
    One measurement.

    @ivar scenario: What to do: C{publish}, C{unawaited}, C{confirmed}, C{mandatory}, C{consume}, C{auto-ack} or
        C{declare}.
    @ivar uri: The broker, with its virtual host spelled out.
    @ivar queue: A durable classic queue, which exists.
    @ivar messages: Messages, or round trips, to measure.
    @ivar warmup: As many of the same before them, not measured.
    @ivar size: Bytes in a body.
    @ivar prefetch: Messages the broker may have outstanding at a consumer that acks.
    @ivar window: Publishes that may be outstanding in confirm mode.
    @ivar adapter: Which of its loops the library is to use, for a library that has several.
    @ivar traced: Measure memory with tracemalloc too. The CPU figures then mean nothing.
    """

    scenario: str
    uri: str
    queue: str
    messages: int
    warmup: int
    size: int
    prefetch: int
    window: int
    adapter: str = ""
    traced: bool = False

    def to_json(self) -> str:
        """Return the task as one line, for L{from_json} in another process."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Return the task that L{to_json} wrote."""
        return cls(**json.loads(text))

    @classmethod
    def from_stdin(cls) -> Task:
        """Return the task this process was given. Standard input, not an argument: the URI holds a password."""
        return cls.from_json(sys.stdin.readline())


class Meter:
    """
    CPU, wall clock and memory between L{start} and L{stop}.

    @ivar running: Whether L{start} was called. Read by code that counts messages to see if warming up is over.
    """

    def __init__(self, task: Task) -> None:
        """
        @param task: What is measured.
        """
        self._task = task
        self.running = False

    def start(self) -> None:
        """Warming up is over."""
        self.running = True
        if self._task.traced:
            tracemalloc.start()
        _forget_peak()
        self._resident = resident()
        self._wall = time.monotonic()
        self._cpu = _cpu_seconds()

    def stop(self, version: str) -> None:
        """
        The last message is done; print the figures.

        @param version: The version of the library measured.
        """
        cpu = _cpu_seconds() - self._cpu
        wall = time.monotonic() - self._wall
        figures = {
            "messages": self._task.messages,
            "cpu": cpu,
            "wall": wall,
            "grown": _status_bytes("VmHWM") - self._resident,
            "version": version,
        }
        if self._task.traced:
            figures["traced"] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        print(json.dumps(figures), flush=True)


def _cpu_seconds() -> float:
    """User and system CPU of this process so far, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident() -> int:
    """What this process holds in memory now, in bytes; 0 where the kernel does not tell."""
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    """A size the kernel keeps about this process, in bytes; 0 where it tells none."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), 0)


def _forget_peak() -> None:
    """Make C{VmHWM} count from now on, where the kernel lets us."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
