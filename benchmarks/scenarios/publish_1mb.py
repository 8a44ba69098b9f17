# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As publish, with messages of 1 MB, cut into frames of 128 KB as RabbitMQ asks for: what copying costs. With callbacks
txpika gets no more of them than its queue takes, as it refuses what would exceed 64 MiB.
"""

from __future__ import annotations

from benchmarks.scenario import MEGABYTE, PIKA, Promise, Scenario

SCENARIO = Scenario(
    title="publish 1 MB",
    order=80,
    action="publish",
    size=MEGABYTE,
    # As in auto_ack_1mb: what RabbitMQ makes of such messages is not the same each time.
    times=2,
    peers={
        "txpika twisted": 480,
        "txpika select": 60,
        "txpika asyncio": 60,
        "txpika blocking": 480,
        "pika twisted": 480,
        "pika select": 480,
        "pika asyncio": 480,
        "pika blocking": 480,
        "aio-pika": 480,
        "aiormq": 480,
        "py-amqp": 480,
        "amqpstorm": 480,
        "rabbitmq-c": 480,
    },
    quick=("txpika twisted", "pika blocking", "rabbitmq-c"),
    promises=(Promise(1.0, to="py-amqp"), Promise(0.35, to=PIKA)),
)
