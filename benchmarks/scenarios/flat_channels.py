# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
As publish, over one channel, and over 1,000 channels of one connection, a message on each in turn. One request after
the last message shows that the broker has read them all: the channels share a socket. Nothing is done more often on
many channels; but what a thousand of them use in turn is not in the processor's nearest cache.
"""

from __future__ import annotations

from benchmarks.scenario import TXPIKA, Promise, Scenario, at

SCENARIO = Scenario(
    title="publish on 1 and 1,000 channels",
    order=100,
    action="publish",
    points=(1, 1_000),
    varied="channels",
    warm=0.2,
    peers={"txpika twisted": 40_000, "pika select": 10_000, "rabbitmq-c": 40_000},
    promises=(Promise(1.5, ours=at(TXPIKA, 1_000), to=at(TXPIKA, 1)),),
)
