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
        "txpika twisted": 120,
        "txpika select": 60,
        "txpika asyncio": 60,
        "txpika blocking": 60,
        "pika twisted": 60,
        "pika select": 60,
        "pika asyncio": 60,
        "pika blocking": 60,
        "aio-pika": 60,
        "aiormq": 60,
        "py-amqp": 120,
        "amqpstorm": 60,
        "rabbitmq-c": 120,
    },
    quick=("txpika twisted", "pika blocking", "rabbitmq-c"),
    promises=(Promise(1.0, to="py-amqp"), Promise(0.35, to=PIKA)),
)
