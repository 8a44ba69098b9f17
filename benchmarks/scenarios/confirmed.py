# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As publish, in confirm mode with 256 messages outstanding, each with its own outcome. pika's blocking adapter and
amqpstorm have no window: they wait for each message, and get fewer.
"""

from __future__ import annotations

from benchmarks.scenario import PIKA, Promise, Scenario

SCENARIO = Scenario(
    title="confirmed publish",
    order=30,
    action="confirmed",
    peers={
        "txpika twisted": 40_000,
        "txpika select": 20_000,
        "txpika asyncio": 20_000,
        "txpika blocking": 20_000,
        "pika twisted": 20_000,
        "pika select": 20_000,
        "pika asyncio": 20_000,
        "pika blocking": 1_000,
        "aio-pika": 4_000,
        "aiormq": 4_000,
        "py-amqp": 20_000,
        "amqpstorm": 200,
        "rabbitmq-c": 40_000,
    },
    quick=("txpika twisted", "pika twisted", "rabbitmq-c"),
    promises=(Promise(0.40, to=PIKA),),
)
