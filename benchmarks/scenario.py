# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
What a scenario is, and what a promise about it is.

Owns the vocabulary in which the modules of L{benchmarks.scenarios} say what is measured, how much of it, by whom, and
what is promised. Knows no scenario, no library's API, and no figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

#: The name of txpika's own way of use, which most promises are about.
TXPIKA = "txpika twisted"
#: In a promise: whichever of pika's adapters took the least CPU.
PIKA = "pika"
RABBITMQ_C = "rabbitmq-c"

#: Messages the broker may have outstanding at a consumer that acks.
PREFETCH = 1_000
#: Publishes that may be outstanding in confirm mode.
WINDOW = 256

SMALL = 100
"""Bytes in the body of most messages."""
MEGABYTE = 1_000_000

#: What the measuring processes can do.
Action = Literal[
    "publish", "unawaited", "confirmed", "mandatory", "consume", "auto_ack", "declare", "connections", "channels"
]
#: The actions that leave their messages in the queue.
PUBLISHING = ("publish", "unawaited", "confirmed", "mandatory")
#: The actions that empty it.
CONSUMING = ("consume", "auto_ack")
#: The actions that open things, and leave them open until their memory is measured.
OPENING = ("connections", "channels")

#: What can be read off the figures of a process: C{cpu} and C{wall} are seconds per message, C{grown} is bytes by which
#: the process grew, C{each} is those bytes for each thing it opened, and C{traced} is the same by Python's own count.
Metric = Literal["cpu", "wall", "grown", "each", "traced"]

#: What a scenario with points varies between them; names of L{benchmarks.measure.Task}'s numbers.
Varied = Literal["", "channels", "consumers", "held", "window"]


def at(peer: str, point: int) -> str:
    """
    @return: What the figures of a peer are called, at one of the points of a scenario.
    """
    return f"{peer} at {point:,}"


@dataclasses.dataclass(frozen=True, slots=True)
class Promise:
    """
    An upper limit.

    @ivar at_most: The limit: a factor; without C{to}, seconds or bytes, as L{Metric} says.
    @ivar what: What it is about.
    @ivar to: Whose figures ours are divided by: the name of a peer, L{PIKA}, or L{at} of one. Empty for none.
    @ivar ours: Whose figures these are.
    @ivar scenario: The key of the scenario in which C{to} was measured; empty for the promise's own.
    """

    at_most: float
    what: Metric = "cpu"
    _: dataclasses.KW_ONLY
    to: str = ""
    ours: str = TXPIKA
    scenario: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    One row of the tables.

    @ivar title: What the tables call it.
    @ivar order: Where it stands in the tables, between those with lower and with higher numbers.
    @ivar action: What the measuring processes are to do.
    @ivar peers: Who takes part, and with how many messages (or round trips, or things to open). Slow ones get fewer:
        the figures are per message.
    @ivar quick: Which of them take part in a quick run; empty for a scenario that is not in one.
    @ivar size: Bytes in a body.
    @ivar warm: How many messages come before those measured, as a share of them.
    @ivar metric: What the scenario is about.
    @ivar promises: What is promised.
    @ivar points: The two ends of a scenario that shows whether a cost is flat. Each peer is measured at both.
    @ivar varied: What varies between them.
    @ivar traced: Whether a second process of txpika measures the memory that Python itself asked for.
    @ivar most_rounds: The most rounds it is worth.
    @ivar times: How often it is measured in a round, each time as in a round of its own.
    @ivar program: A module of L{benchmarks.clients} that measures, whatever the peer is, and needs no broker; empty for
        the program of each peer.
    @ivar key: What C{--only} calls it. The name of its module.
    @ivar about: What is measured and why it is fair, for the page. The docstring of its module.
    """

    title: str
    order: int
    action: Action
    peers: Mapping[str, int]
    quick: tuple[str, ...] = ()
    size: int = SMALL
    warm: float = 0.1
    metric: Metric = "cpu"
    promises: tuple[Promise, ...] = ()
    points: tuple[int, ...] = ()
    varied: Varied = ""
    traced: bool = False
    most_rounds: int = 1_000
    times: int = 1
    program: str = ""
    key: str = ""
    about: str = ""

    def names(self, peer: str) -> list[str]:
        """
        @return: What the figures of a peer are called: its own name, or one name for each point.
        """
        return [at(peer, point) for point in self.points] or [peer]

    def smaller(self) -> Scenario:
        """
        @return: The same for a quick run: half the messages, and the few peers that matter most. Memory is measured
            with as many messages as ever.
        """
        share = 2 if self.metric in ("cpu", "wall") else 1
        return dataclasses.replace(self, peers={name: self.peers[name] // share for name in self.quick})
