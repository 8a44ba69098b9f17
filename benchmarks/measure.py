# -*- test-case-name: benchmarks.test.test_processes -*-
"""
What one measuring process is told, how it measures itself, and what it prints.

Owns the L{Task} handed to the process, and the L{Meter} around the measured part. Knows no client library and no
scenario.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import importlib.metadata
import json
import resource
import sys
import time
from pathlib import Path

with contextlib.suppress(ImportError):  # PyPy has none
    import tracemalloc

#: Linux: the highest resident size since this was last reset is C{VmHWM} of the first file; writing 5 to the second
#: resets it (proc(5)).
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclasses.dataclass(slots=True)
class Task:
    """
    One measurement.

    @ivar action: What to do; see L{benchmarks.scenario.Action}.
    @ivar uri: The broker, with its virtual host spelled out.
    @ivar queue: A durable classic queue, which exists.
    @ivar messages: Messages, round trips, or things to open, to measure.
    @ivar warmup: How many of the same come before them, not measured.
    @ivar size: Bytes in a body.
    @ivar prefetch: Messages the broker may have outstanding at a consumer that acks.
    @ivar window: Publishes that may be outstanding in confirm mode.
    @ivar channels: Channels to publish on, one message on each in turn.
    @ivar consumers: Consumers on one channel that share the messages, and C{prefetch}; 0 for one that is alone.
    @ivar held: Deliveries that are kept unacknowledged all the time.
    @ivar library: Which library, for a program that measures several.
    @ivar adapter: Which of its loops the library is to use, if it has several.
    @ivar traced: Measure memory with tracemalloc too. The CPU figures then mean nothing.
    """

    action: str
    uri: str
    queue: str
    messages: int
    warmup: int
    size: int
    prefetch: int
    window: int
    channels: int = 1
    consumers: int = 0
    held: int = 0
    library: str = ""
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
        """Return the task this process was given. On standard input, not as an argument: the URI holds a password."""
        return cls.from_json(sys.stdin.readline())


class Meter:
    """
    CPU, wall clock and memory between L{start} and one of L{stop} and L{stop_resting}.

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
        self._cpu = cpu_seconds()

    def stop(self, distribution: str) -> None:
        """
        The last message is done; print the figures, with memory at its highest.

        @param distribution: The name under which the measured library is installed.
        """
        self._read_clocks()
        self._print(distribution, _status_bytes("VmHWM"), 1)

    def stop_resting(self, distribution: str) -> None:
        """
        All is open and nothing moves; print the figures, with memory after garbage collection.

        @param distribution: The name under which the measured library is installed.
        """
        self._read_clocks()
        gc.collect()
        self._print(distribution, resident(), 0)

    def _read_clocks(self) -> None:
        self._cpu = cpu_seconds() - self._cpu
        self._wall = time.monotonic() - self._wall

    def _print(self, distribution: str, held: int, traced: int) -> None:
        figures = {
            "messages": self._task.messages,
            "cpu": round(self._cpu, 6),
            "wall": round(self._wall, 6),
            "grown": held - self._resident,
            "version": importlib.metadata.version(distribution),
        }
        if self._task.traced:
            figures["traced"] = tracemalloc.get_traced_memory()[traced]
            tracemalloc.stop()
        print(json.dumps(figures), flush=True)


def cpu_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """
    @param who: This process, or C{RUSAGE_CHILDREN}.
    @return: User and system CPU so far, in seconds.
    """
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def resident() -> int:
    """What this process holds in memory now, in bytes; 0 where the kernel does not say."""
    return _status_bytes("VmRSS")


def _status_bytes(key: str) -> int:
    """A size that the kernel keeps about this process, in bytes; 0 where it does not say."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), 0)


def _forget_peak() -> None:
    """Make C{VmHWM} count from now on, where the kernel lets us."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")
