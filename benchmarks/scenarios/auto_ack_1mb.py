# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As auto_ack, with messages of 1 MB, each put together again from frames of 128 KB.
"""

from __future__ import annotations

from benchmarks.scenario import MEGABYTE, PIKA, Promise, Scenario

SCENARIO = Scenario(
    title="auto-ack 1 MB",
    order=90,
    action="auto_ack",
    size=MEGABYTE,
    # RabbitMQ sometimes delivers such messages in many small pieces, to any client: seven measurements
    # spread by a factor of 3.
    times=2,
    peers={
        "txpika twisted": 480,
        "txpika select": 480,
        "txpika asyncio": 480,
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
    quick=("txpika twisted", "pika twisted", "rabbitmq-c"),
    promises=(Promise(1.0, to="py-amqp"), Promise(0.35, to=PIKA)),
)
