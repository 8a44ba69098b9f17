# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As consume, by a program that acknowledges each message when 10, or 100,000, more have come: so many are unacknowledged
all the time. They come through two consumers of one channel, as one can have 65,535 outstanding at most; at either end
the broker may send each 1,000 more than are kept.
"""

from __future__ import annotations

from benchmarks.scenario import TXPIKA, Promise, Scenario, at

SCENARIO = Scenario(
    title="10 and 100,000 unacked",
    order=120,
    action="consume",
    points=(10, 100_000),
    varied="held",
    peers={"txpika twisted": 40_000, "pika select": 10_000, "rabbitmq-c": 40_000},
    promises=(Promise(1.25, ours=at(TXPIKA, 100_000), to=at(TXPIKA, 10)),),
)
