# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
By how much the process grows at most while it receives one message of 15 MB, which in the end it must hold in one
piece. In Python's own memory, as tracemalloc counts it in a separate process, that is the least possible.
"""

from __future__ import annotations

from benchmarks.scenario import Promise, Scenario

SCENARIO = Scenario(
    title="one 15 MB message received",
    order=210,
    action="auto_ack",
    metric="grown",
    size=15 * 1024 * 1024,
    warm=0,
    traced=True,
    peers={
        "txpika twisted": 1,
        "txpika blocking": 1,
        "pika blocking": 1,
        "pika select": 1,
        "aio-pika": 1,
        "py-amqp": 1,
        "amqpstorm": 1,
        "rabbitmq-c": 1,
    },
    promises=(Promise(30e6, "grown"), Promise(2.2 * 15 * 1024 * 1024, "grown")),
)
