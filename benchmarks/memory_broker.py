# -*- test-case-name: benchmarks.test.test_processes -*-
"""
Messages through the broker in memory, with txpika on both sides, all in this process and without a network.

    python -m benchmarks.memory_broker [--messages 1000000] [--confirms]

Prints how many came through per second, by the clock and by CPU, and how much memory is held before and after.
"""

from __future__ import annotations

import argparse
import gc
import time

from twisted.internet.task import Clock

import txpika
from benchmarks.measure import resident
from txpika.testing import MemoryBroker, MemoryNetwork

BODY = b"x" * 100
#: Messages published between two looks at the network.
STEP = 500


def run(messages: int, confirms: bool) -> str:
    """
    @return: The figures, as a line.
    @raise SystemExit: when messages are missing.
    """
    network = MemoryNetwork(MemoryBroker(Clock()))
    publisher, consumer = network.channel(), network.channel()
    network.result_of(consumer.queue_declare("q"))
    network.result_of(consumer.basic_qos(STEP))
    if confirms:
        network.result_of(publisher.confirm_select())
    received = 0

    def take(delivery: txpika.Delivery) -> None:
        nonlocal received
        received += 1
        delivery.ack()

    network.result_of(consumer.basic_consume("q", take))
    before, wall, cpu = resident(), time.monotonic(), time.process_time()
    for _ in range(0, messages, STEP):
        for _ in range(STEP):
            publisher.basic_publish("", "q", BODY)
        network.pump()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    if received != messages or network.broker.ready("q") or network.broker.unacked("q"):
        raise SystemExit(f"{received} of {messages} messages came through")
    gc.collect()
    return (
        f"{messages} messages, {messages / wall:.0f} a second, {messages / cpu:.0f} a second of CPU;"
        f" resident before {before / 1e6:.1f} MB, after {resident() / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_broker")
    parser.add_argument("--messages", type=int, default=1_000_000, help="a multiple of 500")
    parser.add_argument("--confirms", action="store_true", help="publish in confirm mode")
    options = parser.parse_args()
    print(run(options.messages // STEP * STEP, options.confirms))
