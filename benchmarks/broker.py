# -*- test-case-name: benchmarks.test.test_processes -*-
"""
The broker beside a measurement: a fresh queue for each, filled if need be, and checked afterwards.

Owns one connection, of pika's blocking adapter: what is measured does not check itself. Knows no scenario.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pika

import txpika
from benchmarks.idle import wait_until_idle
from benchmarks.measure import Task
from benchmarks.peers import MeasurementFailed, Peer

#: Seconds until a queue must hold what it should: a channel can be a moment ahead of the queue it publishes to.
PATIENCE = 20.0


class NoBroker(Exception):
    """There is no connection to the broker; the text says why."""


def broker_uri(environment: dict[str, str]) -> str:
    """
    @return: The URI of the broker, with C{%2F} for an empty path: libraries read an empty path differently.
    @raise KeyError: There is none.
    """
    uri = environment.get("TXPIKA_TEST_URI") or environment["TXPIKA_URI"]
    parts = urlsplit(uri)
    return parts._replace(path="/%2F").geturl() if parts.path in ("", "/") else uri


class Broker:
    """
    @ivar versions: Of RabbitMQ and Erlang, as the broker reports them.
    """

    def __init__(self, uri: str, filler: Peer) -> None:
        """
        @param uri: Where it is.
        @param filler: Publishes, in its own process, what a measurement is to find in its queue.
        @raise NoBroker: It is not there.
        """
        parameters: Any = pika.URLParameters(uri)
        parameters.heartbeat = 0  # nothing reads this connection while something is measured
        try:
            connection: Any = pika.BlockingConnection(parameters)
        except (pika.exceptions.AMQPError, OSError) as error:
            raise NoBroker(f"no connection to the broker: {error!r}") from None
        self._connection = connection
        self._channel: Any = None
        self._filler = filler
        with txpika.BlockingConnection(uri) as other:  # which tells what the broker says about itself
            told = other.server_properties
        self.versions = {
            "RabbitMQ": str(told.get("version", "?")),
            "Erlang": str(told.get("platform", "?")).removeprefix("Erlang/OTP "),
        }

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextlib.contextmanager
    def fresh_queue(self, task: Task, prefilled: int) -> Iterator[None]:
        """
        Have the task's queue, new, while the body of the C{with} runs. The body begins when the machine is idle.

        @param task: What will be measured on it.
        @param prefilled: How many of the task's messages to put into it.
        """
        self._channel = self._connection.channel()
        self._channel.queue_declare(task.queue, durable=True)
        try:
            if prefilled:
                fill = dataclasses.replace(task, action="publish", warmup=0, messages=prefilled, channels=1)
                self._filler.measure(dataclasses.replace(fill, traced=False))
                self.expect_messages(task.queue, prefilled)
            # RabbitMQ has put large messages into files, including those measured before, and cleans up after these:
            # not while something is measured.
            os.sync()
            wait_until_idle()
            yield
        finally:
            self._channel.queue_delete(task.queue)
            self._channel.close()

    def expect_messages(self, queue: str, expected: int) -> None:
        """
        Wait until the queue holds what it should.

        @raise MeasurementFailed: It never does.
        """
        deadline = time.monotonic() + PATIENCE
        while (found := self._count(queue)) != expected:
            if time.monotonic() > deadline:
                raise MeasurementFailed(f"{found} messages are in the queue instead of {expected}")
            time.sleep(0.02)

    def _count(self, queue: str) -> int:
        count: int = self._channel.queue_declare(queue, passive=True).method.message_count
        return count
