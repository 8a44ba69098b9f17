# -*- test-case-name: txpika.test.test_proxy -*-
"""
A proxy between a client and a broker, on which a test decides what the network does to them.

Owns who listens, and what a test can ask for. How two connections are one is in L{txpika.test.pair}, what befalls the
bytes in L{txpika.test.toxics}. TLS passes as bytes: nothing in it is a frame here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory

from txpika.test.pair import Pair, Side
from txpika.test.toxics import Direction, Flow, Kind, Rules, Seen, Trigger
from txpika.uri import parse_uri

Where = Literal["upstream", "downstream", "both"]

#: Where it listens.
HOST = "127.0.0.1"


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
        End a connection after so many bytes, as L{cut_before} does.

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
        End the connection on which the C{nth} such frame passes, counted over all from now on. Who sent it gets an RST.
        The other side gets what came before the frame, and then FIN; nothing it says after that arrives.

        @param frame: A method's class, or C{"header"}, C{"body"} or C{"heartbeat"}.
        @param direction: Needed where both sides may send such a frame.
        @return: Fires with the number of the pair when that is gone, so when the other side has hung up too. Cancel it
            to wait no longer.
        @raise ValueError: when C{direction} is needed.
        """
        return self._trigger(frame, nth, direction, "before")

    def cut_after(self, frame: Kind, nth: int = 1, direction: Direction | None = None) -> Deferred[int]:
        """
        As L{cut_before}, and the frame arrives too. A RabbitMQ that sees its client gone may not do any more what came
        last: to have a message in a queue and no confirm of it, cut before, or drop, the confirm.
        """
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
