"""Tests for the Twisted face of a connection, where it differs from the engine's."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika import AMQPProtocol, ConnectionParameters
from txpika.exceptions import ConnectionClosed
from txpika.spec import Connection
from txpika.test.fakes import Transport, TwistedPeer, method


class NeverConnectedTests(SynchronousTestCase):
    """A protocol that is closed before it has a transport."""

    def test_close(self) -> None:
        protocol = AMQPProtocol(ConnectionParameters(), Clock())
        opening, closed = protocol.when_open(), protocol.closed
        self.successResultOf(protocol.close())
        self.failureResultOf(opening, ConnectionClosed)
        self.successResultOf(closed)
        self.successResultOf(protocol.close())

    def test_a_transport_that_comes_too_late_is_dropped(self) -> None:
        clock, transport = Clock(), Transport()
        protocol = AMQPProtocol(ConnectionParameters(), clock)
        protocol.close()
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
        self.assertEqual((transport.data, transport.events), (b"", ["abort"]))
        protocol.connectionLost()
        self.assertEqual(clock.getDelayedCalls(), [])


class BlockedTests(SynchronousTestCase):
    """C{on_blocked} and C{on_unblocked}."""

    def test_told_and_told_again(self) -> None:
        peer = TwistedPeer().open()
        heard: list[str] = []
        peer.protocol.on_blocked = heard.append
        peer.protocol.on_unblocked = lambda: heard.append("unblocked")
        peer.send(method(0, Connection.Blocked("low on memory")) + method(0, Connection.Blocked("again")))
        peer.send(method(0, Connection.Unblocked()) + method(0, Connection.Unblocked()))
        self.assertEqual(heard, ["low on memory", "unblocked"])

    def test_what_they_raise_hurts_nobody(self) -> None:
        def bad(*_: object) -> None:
            raise RuntimeError("of the program")

        peer = TwistedPeer().open()
        peer.protocol.on_blocked = peer.protocol.on_unblocked = bad
        peer.send(method(0, Connection.Blocked("low on memory")) + method(0, Connection.Unblocked()))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assertIsNone(peer.connection.reason)
