# -*- test-case-name: benchmarks.test.test_scenarios -*-
"""
CPU of a fresh interpreter that imports what a program begins with, beyond one that does nothing, with byte code
compiled and files in memory. Measured in pairs, one after the other.
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
        "txpika": 25,
        "txpika blocking": 9,
        "txpika select": 9,
        "txpika twisted": 3,
        "pika": 9,
        "pika twisted": 3,
        "aio-pika": 3,
        "aiormq": 3,
        "py-amqp": 9,
        "amqpstorm": 3,
    },
    promises=(
        Promise(0.015, ours="txpika"),
        Promise(1.0, ours="txpika blocking", to="pika"),
    ),
)
