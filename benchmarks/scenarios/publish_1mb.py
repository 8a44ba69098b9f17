# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
Messages of 1 MB, cut into frames of 128 KB as RabbitMQ asks for, else as publish: what copying costs.
"""

from __future__ import annotations

from benchmarks.scenario import MEGABYTE, PIKA, Promise, Scenario

SCENARIO = Scenario(
    title="publish 1 MB",
    order=80,
    action="publish",
    size=MEGABYTE,
    peers={
        "txpika twisted": 60,
        "txpika select": 40,
        "txpika asyncio": 40,
        "txpika blocking": 40,
        "pika twisted": 40,
        "pika select": 40,
        "pika asyncio": 40,
        "pika blocking": 40,
        "aio-pika": 40,
        "aiormq": 40,
        "py-amqp": 60,
        "amqpstorm": 40,
        "rabbitmq-c": 60,
    },
    quick=("txpika twisted", "pika blocking", "rabbitmq-c"),
    promises=(Promise(1.0, to="py-amqp"), Promise(0.35, to=PIKA)),
)
