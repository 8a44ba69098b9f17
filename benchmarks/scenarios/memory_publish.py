# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
By how much the process grows at most while it publishes 300 messages of 1 MB. pika is represented by its blocking
adapter, the only one that paces the publisher; the others would hold whatever they are given.
"""

from __future__ import annotations

from benchmarks.scenario import MEGABYTE, Promise, Scenario

SCENARIO = Scenario(
    title="300 x 1 MB published",
    order=200,
    action="publish",
    metric="grown",
    size=MEGABYTE,
    warm=0,
    peers={
        "txpika twisted": 300,
        "txpika blocking": 300,
        "pika blocking": 300,
        "aio-pika": 300,
        "py-amqp": 300,
        "amqpstorm": 300,
        "rabbitmq-c": 300,
    },
    promises=(Promise(30e6, "grown"),),
)
