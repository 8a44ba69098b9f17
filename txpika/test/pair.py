# -*- test-case-name: txpika.test.test_pair -*-
"""
A client's connection and the one to the broker that was made for it.

Owns the two transports, reading from each no faster than the other takes it, and how the end of one becomes the end of
the other. What befalls the bytes in between is in L{txpika.test.toxics}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txpika.test.toxics import Direction, Flow, Rules


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
        self._leaving = False

    # From the transport

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._pair.connected(self)

    def dataReceived(self, data: bytes) -> None:
        self.incoming.received(data)

    def readConnectionLost(self) -> None:
        self._reading = False
        if self._leaving:
            self.close()
        self.incoming.finish()
        self._pair.finished()

    def writeConnectionLost(self) -> None:
        """Nothing to do: it was finished from here."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
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
        self.transport.write(data)

    def finish(self) -> None:
        """FIN, after what was written."""
        if not self.lost and not self._finished:
            self._fin()
            self.other.go_on("transport")
        self._pair.finished()

    def _fin(self) -> None:
        self._finished = True
        # A paused producer would keep the transport from ever coming to the FIN.
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()

    def cut(self) -> None:
        """The connection ends here; this side still gets what was written."""
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

    def leave(self) -> None:
        """
        FIN, after what was written. It is over when the other end has closed too; until then what that says is for
        nobody. An RST would make vanish what the other end has not read yet.
        """
        if self.transport is None or self.lost:
            return
        self._leaving = True
        if not self._finished:
            self._fin()
        if self._reading:
            self._holds.clear()
            self.transport.resumeProducing()
        else:
            self.close()


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
            side.incoming.cut()  # unless it was ours: what came before the end is passed on first
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
        End it: RST to one side, FIN to the other.

        @param last: The side that gets the FIN, after what was written for it.
        """
        if not self._closing:
            self._stop()
            last.other.abort()
            last.leave()

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
            self._gone(self)
            for trigger in (*self.upstream.matched, *self.downstream.matched):
                trigger.done.callback(self.number)
            ends, self._ends = self._ends, []
            for end in ends:
                end.callback(None)
