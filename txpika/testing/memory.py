# -*- test-case-name: txpika.test.test_memory_network -*-
"""
Clients and the in-memory broker in one process, without reactor, socket or waiting.

Owns a clock, and the bytes on their way: bytes move and time passes when a test says so. A channel is an ordinary one,
of the kind that a connection from C{txpika.connect} has::

    network, channel = connected_channel()
    network.result_of(channel.queue_declare("work"))
    network.result_of(channel.basic_publish("", "work", b"hello"))
    assert [message.body for message in network.broker.ready("work")] == [b"hello"]

Knows L{txpika.protocol} on one side and L{txpika.testing.broker} on the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint, ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from txpika.channel import Channel
from txpika.parameters import ConnectionParameters
from txpika.protocol import AMQPFactory, AMQPProtocol
from txpika.testing.broker import MemoryBroker
from txpika.testing.connection import ServerConnection

_T = TypeVar("_T")

#: A producer pauses when this many bytes are on their way, as with Twisted's transports.
HIGH_WATER = 64 * 1024
#: One turn of L{MemoryNetwork.pump} moves at most this many bytes in one direction, as one read from a socket.
MAX_READ = 64 * 1024


class NothingHappens(AssertionError):
    """What was waited for did not come, and nothing on its way could bring it."""


@implementer(ITransport, IPushProducer)
class _End:
    """
    One end of a connection: a transport for its owner.

    @ivar peer: The other one.
    @ivar receive: Takes what arrives here.
    @ivar lost: Called once, with why, when the connection is gone.
    """

    peer: _End
    receive: Callable[[bytes], object]
    lost: Callable[[Failure], object]

    def __init__(self) -> None:
        self._out = bytearray()
        self._reading = True
        self._closing = False
        self._gone = False
        self._producer: Any = None
        self._producer_paused = False

    # What who has it calls

    def write(self, data: bytes) -> None:
        if self._gone or self._closing:
            return
        self._out += data
        if self._producer is not None and not self._producer_paused and len(self._out) > HIGH_WATER:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._closing = True

    def abortConnection(self) -> None:
        self._out.clear()
        self._closing = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer, self._producer_paused = None, False

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 5672)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 0)

    # What the network calls

    @property
    def on_its_way(self) -> int:
        """Bytes."""
        return len(self._out)

    def move(self) -> bool:
        """Bring what is on its way to the other end, one read of it. @return: Whether anything happened."""
        if self._gone:
            return False
        moved = False
        if self._out and self.peer._reading and not self.peer._gone:
            data = bytes(self._out[:MAX_READ])
            del self._out[:MAX_READ]
            self.peer.receive(data)
            moved = True
            if self._producer_paused and len(self._out) <= HIGH_WATER:
                self._producer_paused = False
                self._producer.resumeProducing()
        if self._closing and not self._out and not self._gone:
            self.end(Failure(ConnectionDone()))
            moved = True
        return moved

    def end(self, reason: Failure) -> None:
        """The connection is gone, for both ends."""
        for end in (self, self.peer):
            if not end._gone:
                end._gone = True
                end._out.clear()
                end._producer = None
                end.lost(reason)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """Leads to the broker of a network."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """As each endpoint."""
        return self._network.dial(protocolFactory)


class MemoryNetwork:
    """
    @ivar clock: The time of clients and broker.
    @ivar broker: The broker.
    @ivar reachable: Whether new connections succeed; else they are refused.
    """

    def __init__(self, broker: MemoryBroker | None = None, clock: Clock | None = None) -> None:
        """
        @param broker: By default a new one, which keeps the last 1,000 messages published.
        @param clock: The broker's; by default a new one, or that of C{broker}.
        """
        if clock is None:
            clock = Clock() if broker is None else broker.clock  # type: ignore[assignment]
        assert isinstance(clock, Clock), "time must stand still between two steps of a test"
        self.clock = clock
        self.broker = MemoryBroker(clock, keep_published=1000) if broker is None else broker
        self.reachable = True
        self._ends: list[_End] = []

    # Connecting

    def endpoint(self) -> IStreamClientEndpoint:
        """
        @return: Leads to the broker; for C{AMQPService(reactor=network.clock, endpoint=network.endpoint())}, for
            C{txpika.connect} and for C{ClientService}.
        """
        return _Endpoint(self)

    def dial(self, factory: Any) -> Deferred[Any]:
        """What the endpoint does."""
        if not self.reachable:
            return fail(ConnectionRefusedError())
        factory.doStart()
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5672))
        if protocol is None:
            return fail(ConnectionRefusedError())
        client, server = _End(), _End()
        client.peer, server.peer = server, client

        def receive(data: bytes) -> None:
            protocol.dataReceived(data)

        client.receive, client.lost = receive, lambda reason: protocol.connectionLost(reason)
        connection: ServerConnection = self.broker.connect(server)  # type: ignore[arg-type]
        server.receive, server.lost = connection.data_received, lambda reason: connection.connection_lost()
        self._ends += (client, server)
        protocol.makeConnection(client)
        return succeed(protocol)

    def connect(self, parameters: str | ConnectionParameters | None = None) -> AMQPProtocol:
        """@return: An open connection."""
        protocol: AMQPProtocol = self.result_of(self.dial(AMQPFactory(parameters, self.clock)))
        return self.result_of(protocol.when_open())

    def channel(self, parameters: str | ConnectionParameters | None = None) -> Channel:
        """@return: A channel, on a connection of its own."""
        return self.result_of(self.connect(parameters).channel())

    # Steps

    def pump(self) -> bool:
        """
        Move bytes to and fro until none are left that anybody reads. Timers due now fire, too.

        @return: Whether there were any.
        """
        moved = False
        while True:
            self.clock.advance(0)
            moves = [end.move() for end in self._ends]
            if True not in moves:
                return moved
            moved = True
            self._ends = [end for end in self._ends if not end._gone]

    def advance(self, seconds: float) -> None:
        """Let time pass, from one timer to the next, and L{pump} after each."""
        until = self.clock.seconds() + seconds
        self.pump()
        while True:
            now = self.clock.seconds()
            times = [call.getTime() for call in self.clock.getDelayedCalls()]
            step = min((time for time in times if time <= until), default=until)
            self.clock.advance(max(0.0, step - now))
            self.pump()
            if step >= until:
                break

    def result_of(self, waited: Awaitable[_T]) -> _T:
        """
        L{pump}, and return what came of it.

        @param waited: A Deferred or a coroutine.
        @return: Its result. If it failed, the exception is raised.
        @raise NothingHappens: when there is none yet. If it waits for time to pass, use L{advance}, and call this again
            with the same Deferred.
        """
        results: list[Any] = []
        if isinstance(waited, Deferred):
            deferred: Deferred[_T] = waited
        else:
            deferred = Deferred.fromCoroutine(waited)  # type: ignore[arg-type]
        looking = True

        def came(result: Any) -> Any:
            # What comes later is for who looks later; at a coroutine nobody can.
            if looking:
                results.append(result)
            elif deferred is waited:
                return result
            return None if isinstance(result, Failure) else result

        deferred.addBoth(came)
        self.pump()
        looking = False
        if not results:
            raise NothingHappens("no result, and nothing is on its way")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: _T = results[0]
        return result

    def cut(self) -> None:
        """The network fails: all connections are lost at once, with everything on its way."""
        ends, self._ends = self._ends, []
        for end in ends:
            end.end(Failure(ConnectionLost()))


def connected_channel(
    broker: MemoryBroker | None = None, parameters: str | ConnectionParameters | None = None
) -> tuple[MemoryNetwork, Channel]:
    """
    @param broker: By default a new one. Its clock must be a C{twisted.internet.task.Clock}.
    @return: A network with that broker, and a channel of a client on it.
    """
    network = MemoryNetwork(broker)
    return network, network.channel(parameters)
