# -*- test-case-name: txpika.test.test_proxy -*-
"""
What the tests of the proxy share: one without a network, and one between txpika and a real RabbitMQ.
"""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost as TransportLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

import txpika
from txpika.spec import Basic, Connection
from txpika.test.fakes import content, frame, method
from txpika.test.live import Live
from txpika.test.pair import Pair, Side
from txpika.test.proxy import ChaosProxy

HEADER = b"AMQP\0\0\x09\x01"
URI = "amqp://u:p%40w@broker.example:5673/%2Fv?heartbeat=5"
HEARTBEAT = frame(8, 0, b"")
PUBLISHES = [content(1, Basic.Publish(0, "", f"q{number}"), b"body %d" % number) for number in range(3)]
#: What a client might send, cut where a trigger could cut it.
SESSION = [HEADER, method(0, Connection.StartOk({}, "PLAIN", b"\0u\0p", "en_US")), HEARTBEAT, *PUBLISHES]


class Socket:
    """
    One end of a connection, without a network.

    @ivar writes: What was written, each write alone.
    @ivar events: What else was done.
    @ivar producer: Who writes to it.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.events: list[str] = []
        self.reading = self.delays = True
        self.producer: Any = None
        self.streaming = False

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)

    def setTcpNoDelay(self, on: bool) -> None:
        self.delays = not on

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        assert data
        assert not self.events, self.events
        self.writes.append(data)

    def loseConnection(self) -> None:
        self.events.append("lose")

    def loseWriteConnection(self) -> None:
        assert self.producer is None
        self.events.append("fin")

    def abortConnection(self) -> None:
        self.events.append("abort")

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer, self.streaming = producer, streaming

    def unregisterProducer(self) -> None:
        self.producer = None


class Bench:
    """A proxy with one pair on two L{Socket}s."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.proxy = ChaosProxy(self.clock, URI, **more)
        self.dialled: list[tuple[Side, Deferred[Any]]] = []
        self.cancelled: list[Side] = []
        self.proxy._dial = self._dial  # type: ignore[method-assign]
        self.pair, self.client, self.broker = self.join()

    def _dial(self, side: Side) -> Deferred[Any]:
        dialling: Deferred[Any] = Deferred(lambda _: self.cancelled.append(side))
        self.dialled.append((side, dialling))
        return dialling

    def join(self) -> tuple[Pair, Socket, Socket]:
        """One more pair, connected."""
        pair = self.proxy.join()
        client, broker = Socket(), Socket()
        pair.client.makeConnection(client)
        held = not client.reading
        side, dialling = self.dialled[-1]
        side.makeConnection(broker)
        dialling.callback(None)
        assert held and client.reading, "read before there was a broker"
        return pair, client, broker

    def upstream(self, data: bytes, step: int = 0) -> None:
        """The client sends."""
        self._send(self.pair.client, data, step)

    def downstream(self, data: bytes, step: int = 0) -> None:
        """The broker sends."""
        self._send(self.pair.broker, data, step)

    def _send(self, side: Side, data: bytes, step: int) -> None:
        for start in range(0, len(data), step or len(data)):
            side.dataReceived(data[start : start + (step or len(data))])

    def lose(self, side: Side, how: type[Exception] = TransportLost) -> None:
        """A side is gone."""
        side.connectionLost(Failure(how()))


class Proxied(Live):
    """Beside the direct connection, one through the proxy; and a queue that both can use."""

    async def connect(self) -> None:
        await super().connect()
        await self.channel.queue_delete(self.queue)
        await self.channel.queue_declare(self.queue)
        self.addCleanup(self.clean)
        self.proxy = ChaosProxy(reactor, self.uri)
        await self.proxy.start()
        self.addCleanup(self.proxy.stop)

    def clean(self) -> Deferred[object]:
        return Deferred.fromCoroutine(self.forget_queue())

    async def forget_queue(self) -> None:
        channel = await self.connection.channel()
        await channel.queue_delete(self.queue)

    async def through(self, query: str = "") -> txpika.AMQPProtocol:
        """A connection through the proxy."""
        connection = await txpika.connect(self.proxy.uri + query)
        self.addCleanup(connection.close)
        return connection

    async def confirming(self) -> txpika.Channel:
        """A channel of one, in confirm mode."""
        channel = await (await self.through()).channel()
        await channel.confirm_select()
        return channel

    async def gone(self) -> None:
        """All connections of the proxy are."""
        for pair in list(self.proxy.connections):
            await pair.when_gone()

    async def round_trip(self, size: int = 1000) -> float:
        """
        Publish a message and get it.

        @return: Seconds it took.
        """
        began = reactor.seconds()
        channel = await self.confirming()
        body = (uuid.uuid4().bytes * (size // 16 + 1))[:size]
        await channel.basic_publish("", self.queue, body)
        got = await channel.basic_get(self.queue, no_ack=True)
        assert got is not None
        self.assertTrue(got.body == body)
        await channel.connection.close()
        await self.gone()
        seconds: float = reactor.seconds() - began
        return seconds
