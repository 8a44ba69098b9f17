# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
Deliveries to a program that keeps 10, or 100,000, of them unacknowledged all the time. Of every two that come, one is
acknowledged at once, out of order, and one when it has become the oldest of those kept. In memory, with the same
prepared bytes at both ends: RabbitMQ lets one consumer have 65,535 unacknowledged, and sends in other portions when few
are allowed. Others cannot be run like this.
"""

from __future__ import annotations

from benchmarks.scenario import TXPIKA, Promise, Scenario, at

SCENARIO = Scenario(
    title="10 and 100,000 unacked, in memory",
    order=130,
    action="consume",
    points=(10, 100_000),
    varied="held",
    program="prepared",
    peers={"txpika twisted": 40_000},
    promises=(Promise(1.3, ours=at(TXPIKA, 100_000), to=at(TXPIKA, 10)),),
)
