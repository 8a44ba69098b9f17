"""
What the tests against a real RabbitMQ share: a connection with a channel and a queue, and waiting for failures.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

import txpika
from txpika.test import broker

E = TypeVar("E", bound=Exception)


async def failure_of(call: Awaitable[Any], expected: type[E]) -> E:
    """What a call fails with."""
    try:
        result = await call
    except expected as error:
        return error
    raise AssertionError(f"did not fail, but gave {result!r}")


class Live(TestCase):
    """A connection, a channel, and a queue that goes with the connection."""

    timeout = 60

    def setUp(self) -> Any:
        return Deferred.fromCoroutine(self.connect())

    async def connect(self) -> None:
        self.uri = broker.require_broker()
        self.connection = await txpika.connect(self.uri)
        self.addCleanup(self.connection.close)
        self.channel = await self.connection.channel()
        self.queue = f"test-{uuid.uuid4().hex}"
        await self.channel.queue_declare(self.queue, exclusive=True)

    async def depth(self, count: int) -> None:
        """Until the queue has so many messages ready."""
        while (await self.channel.queue_declare(self.queue, passive=True)).message_count != count:
            await deferLater(reactor, 0.01)
