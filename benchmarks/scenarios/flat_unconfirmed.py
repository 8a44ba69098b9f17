# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
Publishing in confirm mode with 10, and with 100,000, messages outstanding all the time. RabbitMQ confirms when it
likes, so this is measured in memory: whenever ten more are published, prepared bytes confirm the oldest ten, some one
by one and out of order. Others cannot be run like this.
"""

from __future__ import annotations

from benchmarks.scenario import TXPIKA, Promise, Scenario, at

SCENARIO = Scenario(
    title="10 and 100,000 unconfirmed, in memory",
    order=140,
    action="confirmed",
    points=(10, 100_000),
    varied="window",
    program="prepared",
    peers={"txpika twisted": 40_000},
    promises=(Promise(1.5, ours=at(TXPIKA, 100_000), to=at(TXPIKA, 10)),),
)
