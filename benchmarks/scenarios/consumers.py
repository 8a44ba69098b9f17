# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As consume, by one consumer, and by 1,000 consumers on one channel that share one queue, so that the broker has the
same queue at both ends and hands its messages around. At either end 1,000 messages may be outstanding on the channel; a
limit per consumer would have to be 1 for a thousand of them, and costs RabbitMQ 1.7 ms a message. None is acknowledged
before all consumers are there, so none of those measured comes while they are being set up. RabbitMQ sends a thousand
consumers less at a time, which costs every client more; flat_consumers has the clean comparison.
"""

from __future__ import annotations

from benchmarks.scenario import Scenario

SCENARIO = Scenario(
    title="1 and 1,000 consumers, RabbitMQ",
    order=110,
    action="consume",
    points=(1, 1_000),
    varied="consumers",
    warm=0.2,
    peers={"txpika twisted": 10_000, "pika select": 10_000, "rabbitmq-c": 10_000},
)
