# -*- test-case-name: benchmarks.test_benchmarks -*-
"""
What is measured, how much of it, and which ratio is promised.

Owns numbers only.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

#: Messages the broker may have outstanding at a consumer that acks.
PREFETCH = 1_000
#: Publishes that may be outstanding in confirm mode.
WINDOW = 256

#: The actions that leave their messages in the queue.
PUBLISHING = ("publish", "unawaited", "confirmed", "mandatory")

Unit = Literal["us", "bytes"]


@dataclasses.dataclass(slots=True)
class Scenario:
    """
    One row of the tables.

    @ivar key: What C{--only} calls it.
    @ivar title: What the tables call it.
    @ivar action: What the measuring processes call it; see L{benchmarks.measure.Task.scenario}.
    @ivar messages: Messages, or round trips, measured.
    @ivar warmup: As many before them.
    @ivar size: Bytes in a body.
    @ivar pika: pika's adapters worth trying, the one that was best before first.
    @ivar peers_of: The key of the scenario whose figures of the other libraries this one is compared with, where they
        have nothing of their own to measure.
    @ivar adapter: The adapter of txpika's and of pika's that is measured, where it is not about the best of each.
    @ivar baseline: The key of the scenario whose CPU of txpika itself this one is compared with, instead of pika's.
    @ivar limit: Promised: at most this ratio of txpika's CPU to pika's or the baseline's, or at most this growth in
        bytes for the measurements of memory.
    @ivar unit: What counts: microseconds of CPU a message, or bytes by which the process grew.
    @ivar traced: Whether a second run measures the memory Python itself asked for.
    """

    key: str
    title: str
    action: str
    messages: int
    warmup: int
    size: int
    pika: tuple[str, ...]
    peers_of: str = ""
    baseline: str = ""
    adapter: str = ""
    limit: float | None = None
    unit: Unit = "us"
    traced: bool = False

    @property
    def ours(self) -> str:
        """The name of txpika in its figures."""
        return f"txpika {self.adapter}".rstrip()

    @property
    def prefilled(self) -> int:
        """Messages in the queue before measuring."""
        return self.messages + self.warmup if self.action in ("consume", "auto-ack") else 0

    @property
    def left_over(self) -> int:
        """Messages in the queue afterwards."""
        return self.messages + self.warmup if self.action in PUBLISHING else 0


_SMALL = 100
_LARGE = 1_000_000
_LARGEST = 15 * 1024 * 1024


def _of_adapter(adapter: str, action: str) -> Scenario:
    title = f"{action}, {adapter}"
    return Scenario(
        f"{action}-{adapter}", title, action, 20_000, 2_000, _SMALL, (adapter,), adapter=adapter, limit=0.50
    )


SCENARIOS = (
    Scenario("publish", "publish", "publish", 40_000, 4_000, _SMALL, ("twisted", "select", "asyncio"), limit=0.30),
    Scenario("unawaited", "publish, not awaited", "unawaited", 40_000, 4_000, _SMALL, (), peers_of="publish"),
    Scenario(
        "confirmed",
        "confirmed publish",
        "confirmed",
        40_000,
        4_000,
        _SMALL,
        ("twisted", "select", "asyncio"),
        limit=0.50,
    ),
    Scenario(
        "mandatory",
        "confirmed publish, mandatory",
        "mandatory",
        40_000,
        4_000,
        _SMALL,
        (),
        peers_of="confirmed",
        baseline="confirmed",
        limit=1.30,
    ),
    Scenario("consume", "consume+ack", "consume", 40_000, 4_000, _SMALL, ("select", "asyncio", "twisted"), limit=0.35),
    Scenario(
        "auto-ack",
        "auto-ack",
        "auto-ack",
        40_000,
        4_000,
        _SMALL,
        ("select", "asyncio", "blocking", "twisted"),
        limit=0.40,
    ),
    *(_of_adapter(adapter, action) for adapter in ("select", "blocking") for action in ("publish", "auto-ack")),
    Scenario("declare", "passive declare", "declare", 4_000, 200, _SMALL, ("twisted", "select", "blocking", "asyncio")),
    Scenario("publish-1mb", "publish 1 MB", "publish", 100, 5, _LARGE, ("blocking", "asyncio", "select", "twisted")),
    Scenario("auto-ack-1mb", "auto-ack 1 MB", "auto-ack", 100, 5, _LARGE, ("twisted", "blocking", "select", "asyncio")),
    Scenario(
        "memory-publish",
        "300 x 1 MB awaited publishes",
        "publish",
        300,
        0,
        _LARGE,
        ("blocking",),
        limit=30e6,
        unit="bytes",
    ),
    Scenario(
        "memory-receive",
        "receive one 15 MB message",
        "auto-ack",
        1,
        0,
        _LARGEST,
        ("blocking",),
        limit=2.2 * _LARGEST,
        unit="bytes",
        traced=True,
    ),
)


def chosen(keys: str) -> list[Scenario]:
    """
    @param keys: Keys of scenarios with commas between, or nothing for all.
    @return: Those scenarios, in the order of the table; with each, the one it is compared with.
    @raise ValueError: A key that is none.
    """
    wanted = {key.strip() for key in keys.split(",") if key.strip()} or {scenario.key for scenario in SCENARIOS}
    unknown = wanted - {scenario.key for scenario in SCENARIOS}
    if unknown:
        known = ", ".join(scenario.key for scenario in SCENARIOS)
        raise ValueError(f"no such scenario: {', '.join(sorted(unknown))}; there are {known}")
    wanted |= {key for each in SCENARIOS if each.key in wanted for key in (each.peers_of, each.baseline)}
    return [scenario for scenario in SCENARIOS if scenario.key in wanted]


def smaller(scenario: Scenario) -> Scenario:
    """
    @return: The same scenario for C{--quick}: half the messages, and of pika only the adapter that was best before.
    """
    messages = scenario.messages // 2 if scenario.unit == "us" else scenario.messages
    return dataclasses.replace(scenario, messages=messages, pika=scenario.pika[:1])
