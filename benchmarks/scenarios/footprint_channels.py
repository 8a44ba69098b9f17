# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
By how much the process grows for each of 2,000 channels that are open and idle on one connection, not counting ten
that were opened before. Beside it Python's own count, from a separate process. The CPU is what opening one costs.
"""

from __future__ import annotations

from benchmarks.scenario import Promise, Scenario

SCENARIO = Scenario(
    title="an open channel",
    order=230,
    action="channels",
    metric="each",
    warm=0,
    traced=True,
    peers={
        "txpika twisted": 2_000,
        "txpika blocking": 500,
        "txpika asyncio": 500,
        "pika select": 500,
        "pika blocking": 500,
        "aio-pika": 500,
        "py-amqp": 500,
        "amqpstorm": 100,
        "rabbitmq-c": 500,
    },
    promises=(Promise(4e3, "each"),),
)
