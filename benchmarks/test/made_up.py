"""
Scenarios, and figures, for tests.
"""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Figures
from benchmarks.scenario import TXPIKA, Scenario


def figures(*cpus: float, messages: int = 10, first: int = 0, **more: Any) -> Figures:
    """One round per value, from C{first} on, each of so many microseconds of CPU a message, and twice as much time."""
    seconds = [cpu * messages / 1e6 for cpu in cpus]
    return [
        {"round": number, "messages": messages, "cpu": cpu, "wall": 2 * cpu, "grown": 0, "version": "1", **more}
        for number, cpu in enumerate(seconds, first)
    ]


def scenario(**changes: Any) -> Scenario:
    """A scenario of two peers."""
    given: dict[str, Any] = {
        "title": "title",
        "order": 1,
        "action": "publish",
        "key": "key",
        "peers": {TXPIKA: 10, "pika select": 10},
    }
    return Scenario(**{**given, **changes})
