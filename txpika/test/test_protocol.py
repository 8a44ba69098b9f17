"""Tests for the Twisted face of a connection, where it differs from the engine's."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika import AMQPProtocol, ConnectionParameters
from txpika.exceptions import ConnectionClosed
from txpika.spec import Connection
from txpika.test.fakes import Transport, TwistedPeer, deliver, method


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


#: In the place of one: nothing of it is used.
REACTOR: Any = Clock()


class Descriptor(FileDescriptor):
    """A transport of Twisted's that has no socket."""

    connected = 1

    def startWriting(self) -> None:
        """Whoever looks, finds it in the buffer."""


class TwistedTransportTests(SynchronousTestCase):
    """What is asked of Twisted's own transports beyond the interface."""

    def test_large_bodies_in_large_reads(self) -> None:
        peer = TwistedPeer().open()
        peer.consuming(peer.open_face(), lambda delivery: None, no_ack=True)
        transport = peer.protocol.transport = Descriptor(REACTOR)
        small, large = deliver(1, "t", 1, b"x" * 100), deliver(1, "t", 2, b"x" * 1_000_000)
        sizes = [transport.bufferSize]
        for data in (small, large[:65536], large[65536:600_000], large[600_000:], deliver(1, "t", 3, b"")):
            peer.protocol.dataReceived(data)
            sizes.append(transport.bufferSize)
        usual, large_read = 64 * 1024, 512 * 1024
        self.assertEqual(sizes, [usual, usual, large_read, large_read, usual, usual])

    def test_large_writes(self) -> None:
        transport = Descriptor(REACTOR)
        protocol: Any = AMQPProtocol(clock=Clock())
        protocol.makeConnection(transport)
        self.assertEqual(transport.SEND_LIMIT, 512 * 1024)
        self.assertNotEqual(FileDescriptor.SEND_LIMIT, transport.SEND_LIMIT, "of others it is as before")
