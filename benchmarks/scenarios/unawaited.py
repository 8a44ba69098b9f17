# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As publish, but txpika awaits only each hundredth message: a program that makes its messages in small batches. The
others have nothing of their own to compare it with.
"""

from __future__ import annotations

from benchmarks.scenario import Scenario

SCENARIO = Scenario(
    title="publish, not awaited",
    order=20,
    action="unawaited",
    peers={"txpika twisted": 40_000},
)
