# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
100-byte messages from a queue filled beforehand, 1,000 of them prefetched, each acknowledged by the program as it
comes. What a library makes of that on the wire, one frame for each ack or one for many, is its own merit. Afterwards
the queue must be empty, and nothing may come back to it.
"""

from __future__ import annotations

from benchmarks.scenario import PIKA, RABBITMQ_C, Promise, Scenario

SCENARIO = Scenario(
    title="consume and ack",
    order=50,
    action="consume",
    peers={
        "txpika twisted": 40_000,
        "txpika select": 20_000,
        "txpika asyncio": 20_000,
        "txpika blocking": 20_000,
        "pika twisted": 20_000,
        "pika select": 20_000,
        "pika asyncio": 20_000,
        "pika blocking": 10_000,
        "aio-pika": 4_000,
        "aiormq": 4_000,
        "py-amqp": 20_000,
        "amqpstorm": 10_000,
        "rabbitmq-c": 40_000,
    },
    quick=("txpika twisted", "pika select", "rabbitmq-c"),
    promises=(
        Promise(1.4, to=RABBITMQ_C),
        Promise(0.35, to=PIKA),
        Promise(1.15, "wall", to=RABBITMQ_C),
    ),
)
