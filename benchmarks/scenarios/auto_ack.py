# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As consume, but the broker counts each message as acknowledged when it is sent: the bare cost of a delivery.
"""

from __future__ import annotations

from benchmarks.scenario import PIKA, RABBITMQ_C, Promise, Scenario

SCENARIO = Scenario(
    title="auto-ack",
    order=60,
    action="auto_ack",
    peers={
        "txpika twisted": 40_000,
        "txpika select": 40_000,
        "txpika asyncio": 40_000,
        "txpika blocking": 40_000,
        "pika twisted": 40_000,
        "pika select": 40_000,
        "pika asyncio": 40_000,
        "pika blocking": 40_000,
        "aio-pika": 4_000,
        "aiormq": 4_000,
        "py-amqp": 40_000,
        "amqpstorm": 10_000,
        "rabbitmq-c": 40_000,
    },
    quick=("txpika twisted", "pika select", "rabbitmq-c"),
    promises=(
        Promise(2.2, to=RABBITMQ_C),
        Promise(0.40, to=PIKA),
        Promise(0.50, ours="txpika select", to="pika select"),
        Promise(0.50, ours="txpika blocking", to="pika blocking"),
        Promise(1.15, "wall", to=RABBITMQ_C),
    ),
)
