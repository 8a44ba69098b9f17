# -*- test-case-name: benchmarks.test.test_processes -*-
"""
What it costs to import a library, beyond the bare interpreter.

Starts fresh interpreters in turn, one that does nothing and one that imports, and prints the difference of their
medians as the figures of one message. Run as C{python -m benchmarks.clients.importing} with a L{Task} on standard
input, of which it heeds C{messages}, the number of pairs, and C{library} and C{adapter}.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import time
from statistics import median

from benchmarks.measure import Task, cpu_seconds

#: What a program that uses it begins with, and the name under which the library is installed.
PROGRAMS = {
    "txpika": ("import txpika", "txpika"),
    "txpika blocking": ("import txpika; txpika.BlockingConnection", "txpika"),
    "txpika select": ("import txpika; txpika.SelectConnection", "txpika"),
    "txpika twisted": ("import txpika; txpika.connect", "txpika"),
    "pika": ("import pika", "pika"),
    "pika twisted": ("import pika.adapters.twisted_connection", "pika"),
    "aio-pika": ("import aio_pika", "aio-pika"),
    "aiormq": ("import aiormq", "aiormq"),
    "py-amqp": ("import amqp", "amqp"),
    "amqpstorm": ("import amqpstorm", "amqpstorm"),
}


def run(program: str) -> tuple[float, float]:
    """
    Run a program in a fresh interpreter.

    @return: CPU and wall clock, in seconds.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    cpu, wall = cpu_seconds(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    return cpu_seconds(resource.RUSAGE_CHILDREN) - cpu, time.monotonic() - wall


def main() -> None:
    """Do the task on standard input."""
    task = Task.from_stdin()
    program, distribution = PROGRAMS[f"{task.library} {task.adapter}".rstrip()]
    run(program)  # from now on its byte code is there, and the files are in memory
    pairs = [(run("pass"), run(program)) for _ in range(task.messages)]
    cpu, wall = (
        median(pair[1][clock] for pair in pairs) - median(pair[0][clock] for pair in pairs) for clock in (0, 1)
    )
    version = importlib.metadata.version(distribution)
    print(json.dumps({"messages": 1, "cpu": round(cpu, 6), "wall": round(wall, 6), "grown": 0, "version": version}))


if __name__ == "__main__":
    main()
