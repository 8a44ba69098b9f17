# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
Deliveries to 1 consumer and to 1,000 consumers of one channel, in turn, each acknowledged. In memory, with the same
prepared bytes in the same portions at both ends: how RabbitMQ groups what it sends depends on the number of consumers
(consumers shows that). Others cannot be run like this. A single one has the advantage that each delivery is for the
same consumer as the one before, and that all it uses is in the processor's nearest cache.
"""

from __future__ import annotations

from benchmarks.scenario import TXPIKA, Promise, Scenario, at

SCENARIO = Scenario(
    title="1 and 1,000 consumers, in memory",
    order=120,
    action="consume",
    points=(1, 1_000),
    varied="consumers",
    program="prepared",
    peers={"txpika twisted": 40_000},
    promises=(Promise(1.5, ours=at(TXPIKA, 1_000), to=at(TXPIKA, 1)),),
)
