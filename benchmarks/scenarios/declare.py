# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
Passive declares of a queue, each sent when the one before is answered: the cost of a round trip. Nothing can be
batched, so much of it is the kernel's.
"""

from __future__ import annotations

from benchmarks.scenario import Promise, Scenario

SCENARIO = Scenario(
    title="passive declare",
    order=70,
    action="declare",
    peers={
        "txpika twisted": 6_000,
        "txpika select": 6_000,
        "txpika asyncio": 6_000,
        "txpika blocking": 6_000,
        "pika twisted": 6_000,
        "pika select": 6_000,
        "pika asyncio": 6_000,
        "pika blocking": 6_000,
        "aio-pika": 2_000,
        "aiormq": 2_000,
        "py-amqp": 6_000,
        "amqpstorm": 100,
        "rabbitmq-c": 6_000,
    },
    quick=("txpika twisted", "txpika blocking", "pika twisted", "pika blocking", "rabbitmq-c"),
    promises=(
        Promise(1.0, ours="txpika blocking", to="py-amqp"),
        Promise(0.60, ours="txpika twisted", to="pika twisted"),
        Promise(0.60, ours="txpika select", to="pika select"),
        Promise(0.60, ours="txpika blocking", to="pika blocking"),
        Promise(0.60, ours="txpika asyncio", to="pika asyncio"),
    ),
)
