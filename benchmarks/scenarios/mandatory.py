# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As confirmed, with messages that must be routed: the broker returns those that no queue takes. Here all are routed; the
promise is that watching for returns costs little. Compared with txpika's own confirmed publish.
"""

from __future__ import annotations

from benchmarks.scenario import TXPIKA, Promise, Scenario

SCENARIO = Scenario(
    title="confirmed publish, mandatory",
    order=40,
    action="mandatory",
    peers={"txpika twisted": 40_000},
    promises=(Promise(1.30, to=TXPIKA, scenario="confirmed"),),
)
