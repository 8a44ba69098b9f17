# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
CPU of a fresh interpreter that imports what a program begins with, beyond one that does nothing, byte code compiled and
files in memory. Measured in pairs, one after the other.
"""

from __future__ import annotations

from benchmarks.scenario import Promise, Scenario

SCENARIO = Scenario(
    title="import",
    order=300,
    action="declare",
    program="importing",
    warm=0,
    peers={
        "txpika": 11,
        "txpika blocking": 11,
        "txpika select": 11,
        "txpika twisted": 5,
        "pika": 11,
        "pika twisted": 5,
        "aio-pika": 5,
        "aiormq": 5,
        "py-amqp": 11,
        "amqpstorm": 5,
    },
    promises=(
        Promise(0.015, ours="txpika"),
        Promise(1.0, ours="txpika blocking", to="pika"),
    ),
)
