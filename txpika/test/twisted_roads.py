"""
The hot roads of the Twisted face, over a transport that counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from twisted.internet.defer import Deferred

from txpika.exceptions import ReturnedError
from txpika.test.fakes import Transport, TwistedPeer
from txpika.test.roads import (
    BATCH,
    BODY,
    DECLARED,
    LARGE,
    PROPERTIES,
    QUIET,
    Face,
    Road,
    acks,
    again,
    deliveries,
    gotten,
    returned,
)


class CountingTransport(Transport):
    """Counts what is written; keeps it until C{keeps} is cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps = True
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        if self.keeps:
            super().write(data)


class CountingPeer(TwistedPeer):
    """The Twisted face of a connection over such a transport."""

    TRANSPORT = CountingTransport


class TwistedFace(Face):
    """L{txpika.channel.Channel}."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.returned = 0
        self.peer = CountingPeer(QUIET).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self._read = self.peer.protocol.dataReceived
        self._transport: CountingTransport = self.peer.transport  # type: ignore[assignment]

    @property
    def writes(self) -> int:
        return self._transport.writes

    def _begin(self) -> None:
        self._transport.keeps = False

    def publish(self) -> Road:
        async def batch() -> None:
            for _ in range(BATCH):
                await self.channel.basic_publish("", "q", BODY, PROPERTIES)
                self.done += 1

        return Road(lambda _: Deferred.fromCoroutine(batch()))

    def publish_unawaited(self) -> Road:
        def batch(_nothing: None) -> None:
            for _ in range(BATCH):
                self.channel.basic_publish("", "q", BODY, PROPERTIES)
                self.done += 1

        return Road(batch)

    def publish_large(self) -> Road:
        return Road(
            lambda _: self.channel.basic_publish("", "q", LARGE, PROPERTIES).addCallback(self._count), messages=1
        )

    def _confirmed(self, prepare: Callable[[], bytes], mandatory: bool = False) -> Road:
        self.peer.confirming(self.channel)

        async def batch(end: Deferred[None]) -> None:
            outstanding = deque(
                self.channel.basic_publish("", "q", BODY, PROPERTIES, mandatory=mandatory) for _ in range(BATCH)
            )
            while outstanding:
                try:
                    await outstanding.popleft()
                except ReturnedError:
                    self.returned += 1
                self.done += 1
            # Of a coroutine whose last await fails, Python 3.13 leaves the stack to the garbage collector.
            await end

        def run(confirmations: bytes) -> None:
            end: Deferred[None] = Deferred()
            Deferred.fromCoroutine(batch(end))
            self._read(confirmations)
            end.callback(None)

        return Road(run, prepare)

    def confirmed_one_by_one(self) -> Road:
        return self._confirmed(acks().joined)

    def confirmed_together(self) -> Road:
        return self._confirmed(acks(multiple=True).only_last)

    def mandatory(self) -> Road:
        return self._confirmed(acks(multiple=True).only_last, mandatory=True)

    def mandatory_returned(self) -> Road:
        return self._confirmed(returned(), mandatory=True)

    def deliver(self) -> Road:
        self.peer.consuming(self.channel, self._count, no_ack=True)
        return Road(self._read, deliveries().joined)

    def deliver_large(self) -> Road:
        self.peer.consuming(self.channel, self._count, no_ack=True)
        return Road(self._reads, deliveries(LARGE).pieces, 1)

    def deliver_split(self) -> Road:
        self.peer.consuming(self.channel, self._count, no_ack=True)
        return Road(self._reads, deliveries().halves)

    def _reads(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._read(piece)

    def deliver_and_ack(self) -> Road:
        def on_delivery(delivery: Any) -> None:
            delivery.ack()
            self.done += 1

        self.peer.consuming(self.channel, on_delivery)
        return Road(self._read, deliveries().joined)

    def iterate_and_ack(self) -> Road:
        consumer = self.peer.consuming(self.channel)

        async def loop() -> None:
            async for delivery in consumer:
                delivery.ack()
                self.done += 1

        Deferred.fromCoroutine(loop())
        return Road(self._read, deliveries().joined)

    def _asked(self, ask: Callable[[], Deferred[Any]], prepare: Callable[[], list[bytes]]) -> Road:
        def run(replies: list[bytes]) -> None:
            for reply in replies:
                answer = ask()
                self._read(reply)
                answer.addCallback(self._count)

        return Road(run, prepare)

    def get(self) -> Road:
        return self._asked(lambda: self.channel.basic_get("q", no_ack=True), gotten().each)

    def declare(self) -> Road:
        return self._asked(lambda: self.channel.queue_declare("q", passive=True), again(DECLARED))
