# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
100-byte messages to a durable queue, without confirms. Whoever can await each publish does; the others publish 500
between two turns of the loop. It ends when the broker has answered a request sent after the last message on the same
connection, so all writes to the socket are included, and all messages must be in the queue afterwards.
"""

from __future__ import annotations

from benchmarks.scenario import PIKA, RABBITMQ_C, Promise, Scenario

SCENARIO = Scenario(
    title="publish",
    order=10,
    action="publish",
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
    quick=("txpika twisted", "pika twisted", "rabbitmq-c"),
    promises=(
        Promise(1.0, to=RABBITMQ_C),
        Promise(0.30, to=PIKA),
        Promise(0.50, ours="txpika select", to="pika select"),
        Promise(0.50, ours="txpika blocking", to="pika blocking"),
        Promise(1.15, "wall", to=RABBITMQ_C),
    ),
)
