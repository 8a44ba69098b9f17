# -*- test-case-name: txpika.test.test_proxy -*-
"""
A proxy between a client and a broker, on which a test decides what the network does to them.

Owns the sockets: who listens, who is connected with whom, and how a connection ends. What befalls the bytes in between
is in L{txpika.test.toxics}. TLS passes as bytes: nothing in it is a frame here.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection
from typing import Any, Literal
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txpika.test.toxics import Direction, Flow, Kind, Rules, Seen, Trigger
from txpika.uri import parse_uri

Where = Literal["upstream", "downstream", "both"]

#: Where it listens.
HOST = "127.0.0.1"

#: Seconds after which it is looked again whether the last bytes have arrived; no kernel tells it by itself.
LOOK_AGAIN = 0.001


def under_way(handle: Any) -> int:
    """
    @param handle: A socket, or C{None}.
    @return: Bytes that the other end's kernel does not have yet (tcp(7), SIOCOUTQ). 0 where no kernel tells.
    """
    if handle is None or sys.platform != "linux":
        return 0
    import fcntl
    import termios

    left: int = struct.unpack("i", fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)))[0]
    return left


@implementer(IHalfCloseableProtocol, IPushProducer)
class Side(Protocol):
    """
    The proxy's end of the connection with the client, or with the broker. It is an L{txpika.test.toxics.Out} for what
    comes from the other side.

    @ivar other: The other one of the pair.
    @ivar incoming: Takes what comes in here.
    @ivar lost: The connection is no more.
    """

    transport: Any = None
    other: Side
    incoming: Flow

    def __init__(self, pair: Pair) -> None:
        self.lost = False
        self._pair = pair
        self._reading = True
        self._finished = False
        self._holds: set[str] = set()
        self._farewell: _Farewell | None = None

    # From the transport

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._pair.connected(self)

    def dataReceived(self, data: bytes) -> None:
        self.incoming.received(data)

    def readConnectionLost(self) -> None:
        self._reading = False
        self.incoming.finish()
        self._pair.finished()

    def writeConnectionLost(self) -> None:
        """Nothing to do: it was finished from here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        if self._farewell is not None:
            self._farewell.cancel()
        self._pair.side_lost(self)

    def pauseProducing(self) -> None:
        self.other.wait("transport")

    def resumeProducing(self) -> None:
        self.other.go_on("transport")

    def stopProducing(self) -> None:
        """The transport is gone; C{connectionLost} comes."""

    # Reading

    def wait(self, reason: str) -> None:
        """Read no more."""
        self._holds.add(reason)
        if self.transport is not None:
            self.transport.pauseProducing()

    def go_on(self, reason: str) -> None:
        """Read on, if nothing else forbids it."""
        self._holds.discard(reason)
        if not self._holds and self._reading and not self.lost and self.transport is not None:
            self.transport.resumeProducing()

    # Out

    def write(self, data: bytes) -> None:
        if not self.lost and not self._finished:
            self.transport.write(data)

    def finish(self) -> None:
        """FIN, after what was written."""
        if not self.lost and not self._finished:
            self._finished = True
            # A paused producer would keep the transport from ever coming to the FIN.
            self.transport.unregisterProducer()
            self.other.go_on("transport")
            self.transport.loseWriteConnection()
        self._pair.finished()

    def cut(self) -> None:
        """RST to both, but to this side after what was written."""
        self._pair.cut(self)

    def hold(self) -> None:
        self.other.wait("flow")

    def release(self) -> None:
        self.other.go_on("flow")

    # Ends

    @property
    def finished_both_ways(self) -> bool:
        return self._finished and not self._reading

    def close(self) -> None:
        """Both directions have come to their end."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """RST, now."""
        self._reading = False
        if self.transport is not None and not self.lost:
            self.transport.abortConnection()

    def abort_when_written(self) -> None:
        """RST, after what was written."""
        self._reading = False
        if self.transport is not None and not self.lost:
            self.transport.pauseProducing()
            self.transport.unregisterProducer()
            self._farewell = _Farewell(self.transport, self._pair.clock)
            self._farewell.begin()


@implementer(IPullProducer)
class _Farewell:
    """
    Aborts when all is written and has arrived: an RST makes what is under way vanish.
    """

    def __init__(self, transport: Any, clock: Any) -> None:
        self._transport = transport
        self._clock = clock
        self._begun = False
        self._call: Any = None

    def begin(self) -> None:
        # Asks for more at once, whatever waits to be written; then, as it wants to write, when nothing does.
        self._transport.registerProducer(self, False)
        self._begun = True
        self._transport.startWriting()

    def resumeProducing(self) -> None:
        if self._begun:
            self._transport.unregisterProducer()
            self._look()

    def _look(self) -> None:
        self._call = None
        if under_way(self._transport.getHandle()):
            self._call = self._clock.callLater(LOOK_AGAIN, self._look)
        else:
            self._transport.abortConnection()

    def stopProducing(self) -> None:
        """It was lost before."""

    def cancel(self) -> None:
        """The transport is gone."""
        if self._call is not None:
            self._call.cancel()
            self._call = None


class Pair:
    """
    A client's connection and the one to the broker that was made for it.

    @ivar number: Which one it is of its proxy, from 1.
    @ivar client: The side that listens.
    @ivar broker: The side that connects.
    @ivar upstream: What the client sends.
    @ivar downstream: What the broker sends.
    """

    def __init__(
        self,
        number: int,
        upstream: Rules,
        downstream: Rules,
        clock: Any,
        dial: Callable[[Side], Deferred[Any]],
        gone: Callable[[Pair], None],
    ) -> None:
        """
        @param clock: C{IReactorTime}.
        @param dial: Connects the broker's side, and fires when it is; it is cancelled when the client goes.
        @param gone: Called when both sides are lost.
        """
        self.number = number
        self.client, self.broker = Side(self), Side(self)
        self.client.other, self.broker.other = self.broker, self.client
        self.upstream = self.client.incoming = Flow(number, upstream, clock, self.broker, header=True)
        self.downstream = self.broker.incoming = Flow(number, downstream, clock, self.client, header=False)
        self.clock = clock
        self._dial = dial
        self._gone = gone
        self._dialling: Deferred[Any] | None = None
        self._closing = False
        self._over = False
        self._ends: list[Deferred[None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the broker, and the client's is not lost."""
        return self.broker.transport is not None and not self._closing

    def flow(self, direction: Direction) -> Flow:
        """What goes in that direction."""
        return self.upstream if direction == "upstream" else self.downstream

    def when_gone(self) -> Deferred[None]:
        """Fires when both sides are lost."""
        if self._over:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._ends.append(waiter)
        return waiter

    # From the sides

    def connected(self, side: Side) -> None:
        if side is self.broker:
            self._dialling = None
            self.client.go_on("dialling")
            return
        side.wait("dialling")
        dialling = self._dialling = self._dial(self.broker)
        dialling.addErrback(self._unreachable)

    def _unreachable(self, failure: Failure) -> None:
        self._dialling = None
        self.broker.lost = True
        self.client.abort()
        self._check_over()

    def side_lost(self, side: Side) -> None:
        side.other.incoming.stop()
        if side is self.client and self._dialling is not None:
            self._dialling.cancel()
        if not self._closing:
            side.incoming.cut()  # RST, unless it was ours: what came before it is passed on first
        self._check_over()

    def finished(self) -> None:
        """A direction came to its end. When both did, the connections are closed."""
        if self.client.finished_both_ways and self.broker.finished_both_ways and not self._closing:
            self._closing = True
            for side in (self.client, self.broker):
                if not side.lost:
                    side.close()

    def cut(self, last: Side) -> None:
        """
        End it by RST.

        @param last: The side that still gets what was written for it.
        """
        if not self._closing:
            self._stop()
            last.other.abort()
            last.abort_when_written()

    def reset(self) -> None:
        """RST to both sides, now. What was not yet sent vanishes."""
        self._stop()
        if self._dialling is not None:
            self._dialling.cancel()
        self.client.abort()
        self.broker.abort()

    def _stop(self) -> None:
        self._closing = True
        self.upstream.stop()
        self.downstream.stop()

    def _check_over(self) -> None:
        if self.client.lost and self.broker.lost and not self._over:
            self._over = True
            self._stop()
            self._gone(self)
            for trigger in (*self.upstream.matched, *self.downstream.matched):
                trigger.done.callback(self.number)
            ends, self._ends = self._ends, []
            for end in ends:
                end.callback(None)


class ChaosProxy:
    """
    Listens on this machine, and leads to a broker::

        proxy = ChaosProxy(reactor, uri)
        await proxy.start()
        self.addCleanup(proxy.stop)
        connection = await txpika.connect(proxy.uri)
        cut = proxy.cut_after(Basic.Publish)
        ...

    Faults (C{latency}, C{slicer} and so on) hold for all connections, present and to come, until L{heal}. They come
    after the triggers (C{cut_before} and so on) and after what L{seen} tells, which are about frames taken in. A
    direction is C{"upstream"}, from client to broker, or C{"downstream"}, or C{"both"}.

    @ivar connections: Pairs that are not gone, in the order they came.
    @ivar accepted: How many clients there were.
    """

    def __init__(self, reactor: Any, uri: str, record: bool | Collection[Kind] = False) -> None:
        """
        @param reactor: C{IReactorTCP} and C{IReactorTime}.
        @param uri: The broker's AMQP URI.
        @param record: What L{seen} tells: everything, nothing, or those methods and other kinds of frames. All is kept,
            so do not record everything of many messages.
        """
        self.connections: list[Pair] = []
        self.accepted = 0
        self.port = 0
        self._reactor = reactor
        self._uri = uri
        (self._target,) = parse_uri(uri).hosts
        self._rules: dict[Direction, Rules] = {"upstream": Rules(record), "downstream": Rules(record)}
        self._listening: Any = None

    @property
    def uri(self) -> str:
        """The broker's URI, but with this host and port."""
        parts = urlsplit(self._uri)
        user, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user}{at}{HOST}:{self.port}").geturl()

    # Listening

    async def start(self) -> None:
        """Listen, on a port of the system's choice."""
        await self.up()

    async def up(self) -> None:
        """Listen, on the port it had before if it had one. Harmless when it does."""
        if self._listening is None:
            endpoint = TCP4ServerEndpoint(self._reactor, self.port, interface=HOST)
            self._listening = await endpoint.listen(_Clients(self))
            self.port = self._listening.getHost().port

    async def down(self) -> None:
        """Refuse clients, and reset the connections there are. Harmless when it does."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.stopListening()
        over = [pair.when_gone() for pair in self.connections]
        self.reset()
        await DeferredList(over)

    async def stop(self) -> None:
        """Leave nothing in the reactor."""
        await self.down()

    def join(self) -> Pair:
        """@return: A pair for one more client."""
        self.accepted += 1
        rules = self._rules
        pair = Pair(
            self.accepted, rules["upstream"], rules["downstream"], self._reactor, self._dial, self.connections.remove
        )
        self.connections.append(pair)
        return pair

    def _dial(self, side: Side) -> Deferred[Any]:
        return HostnameEndpoint(self._reactor, *self._target).connect(_One(side))

    # Faults

    def latency(self, seconds: float, direction: Where = "both") -> None:
        """All bytes are late."""
        self._set(direction, latency=_positive(seconds))

    def slicer(self, size: int, direction: Where = "both", delay: float = 0.0) -> None:
        """
        Small pieces. Each is written in a turn of the reactor of its own; the kernel at the other end may join them
        nevertheless. It takes the place of L{coalesce}.

        @param size: Bytes of a piece.
        @param delay: Seconds between two pieces.
        """
        self._set(direction, slice=_positive(size), slice_delay=delay, coalesce=0)

    def bandwidth(self, rate: int, direction: Where = "both") -> None:
        """
        A slow line: twenty pieces a second.

        @param rate: Bytes a second.
        """
        size = max(1, _positive(rate) // 20)
        self.slicer(size, direction, size / rate)

    def coalesce(self, size: int, seconds: float = 0.05, direction: Where = "both") -> None:
        """
        Large pieces. It takes the place of L{slicer}.

        @param size: Bytes that are waited for.
        @param seconds: How long the first of them waits at most.
        """
        self._set(direction, coalesce=_positive(size), coalesce_seconds=_positive(seconds), slice=0)

    def blackhole(self, direction: Where = "both") -> None:
        """Frames vanish, and nobody is told (Toxiproxy's C{timeout})."""
        self._set(direction, blackhole=True)

    def limit_data(self, size: int, direction: Where = "both") -> None:
        """
        Reset a connection after so many bytes.

        @param size: Bytes, from now on or from the beginning of a new connection.
        """
        self._set(direction, limit=size)
        for flow in self._flows(direction):
            flow.left = size

    def heal(self) -> None:
        """No fault any more; what waits is sent. Triggers, and what they did, stay."""
        for rules in self._rules.values():
            rules.heal()
        for flow in self._flows("both"):
            flow.left = None
            flow.changed()

    def _set(self, direction: Where, **faults: Any) -> None:
        for each in _directions(direction):
            vars(self._rules[each]).update(faults)
        for flow in self._flows(direction):
            flow.changed()

    def _flows(self, direction: Where) -> list[Flow]:
        return [pair.flow(each) for pair in self.connections for each in _directions(direction)]

    # Cuts

    def reset(self) -> None:
        """RST to both sides of all connections, now."""
        for pair in list(self.connections):
            pair.reset()

    def half_close(self, direction: Where) -> None:
        """FIN in that direction of all connections; the other goes on."""
        for pair in list(self.connections):
            if pair.is_connected:
                for each in _directions(direction):
                    pair.flow(each).finish()

    # Triggers

    def cut_before(self, frame: Kind, nth: int = 1, direction: Direction | None = None) -> Deferred[int]:
        """
        Reset the connection on which the C{nth} such frame passes, counted over all from now on. What came before the
        frame in its direction arrives.

        @param frame: A method's class, or C{"header"}, C{"body"} or C{"heartbeat"}.
        @param direction: Needed where both sides may send such a frame.
        @return: Fires with the number of the pair when that is gone. Cancel it to wait no longer.
        @raise ValueError: when C{direction} is needed.
        """
        return self._trigger(frame, nth, direction, "before")

    def cut_after(self, frame: Kind, nth: int = 1, direction: Direction | None = None) -> Deferred[int]:
        """As L{cut_before}, and the frame arrives too."""
        return self._trigger(frame, nth, direction, "after")

    def drop_after(self, frame: Kind, nth: int = 1, direction: Direction | None = None) -> Deferred[int]:
        """
        As L{cut_before}, but the frame, and all that comes in its direction after it, vanishes, and the connection
        stays until something else ends it.

        @return: Fires when the frame came.
        """
        return self._trigger(frame, nth, direction, "drop")

    def _trigger(
        self, frame: Kind, nth: int, direction: Direction | None, action: Literal["before", "after", "drop"]
    ) -> Deferred[int]:
        if direction is None:
            direction = _sender(frame)
        return Trigger(self._rules[direction], frame, nth, action).done

    # Taps

    def record(self, record: bool | Collection[Kind]) -> None:
        """From now on L{seen} gets everything, nothing more, or those methods and other kinds of frames."""
        for rules in self._rules.values():
            rules.record = record

    def seen(self, direction: Direction) -> list[Seen]:
        """
        @return: The frames that passed: number of the pair, of the channel, and the method, or C{"header"}, C{"body"}
            or C{"heartbeat"}. Those that vanished, or were cut off by a trigger, are not there.
        """
        return list(self._rules[direction].seen)


class _Clients(Factory):
    noisy = False

    def __init__(self, proxy: ChaosProxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, addr: Any) -> Side:
        return self._proxy.join().client


class _One(Factory):
    noisy = False

    def __init__(self, side: Side) -> None:
        self._side = side

    def buildProtocol(self, addr: Any) -> Side:
        return self._side


def _directions(direction: Where) -> tuple[Direction, ...]:
    if direction == "both":
        return ("upstream", "downstream")
    if direction not in ("upstream", "downstream"):
        raise ValueError('direction is "upstream", "downstream" or "both"')
    return (direction,)


def _sender(frame: Kind) -> Direction:
    if isinstance(frame, str) or frame.FROM_SERVER == frame.FROM_CLIENT:
        raise ValueError("both sides may send such a frame: say which direction")
    return "downstream" if frame.FROM_SERVER else "upstream"


def _positive(number: Any) -> Any:
    if number <= 0:
        raise ValueError("must be above 0")
    return number
