"""Tests for L{txpika.connect}: from a name to an open connection, and given up or failing at each step of the way."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError, UserError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides, implementer

import txpika
from txpika.exceptions import (
    AuthenticationError,
    ConnectFailed,
    HandshakeError,
    HandshakeTimeout,
    IncompatibleProtocolError,
    ProtocolVersionMismatch,
)
from txpika.parameters import ConnectionParameters
from txpika.protocol import AMQPProtocol
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import JoinedPeer, method


@implementer(IHostnameResolver)
class Resolver:
    """Finds a name when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, Any]] = []

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        self.asked.append((hostName, portNumber, resolutionReceiver))

    def found(self, *addresses: str) -> None:
        """The name that was asked for last."""
        _, port, receiver = self.asked.pop()
        receiver.resolutionBegan(None)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, port))
        receiver.resolutionComplete()


class ConnectTests(SynchronousTestCase):
    """On a reactor that only remembers."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.resolver = Resolver()
        self.reactor.nameResolver = self.resolver
        alsoProvides(self.reactor, IReactorPluggableNameResolver)

    def connect(self, where: Any = None) -> Deferred[AMQPProtocol]:
        if where is None:
            where = ConnectionParameters("broker", heartbeat=0, connection_timeout=7)
        return txpika.connect(where, self.reactor)

    def joined(self) -> JoinedPeer:
        """The broker at the other end of the latest attempt."""
        return JoinedPeer(self.reactor.tcpClients[-1][2].buildProtocol(None), self.reactor)

    def refuse(self, error: Exception) -> None:
        """The latest attempt fails."""
        _, _, factory, _, _ = self.reactor.tcpClients[-1]
        factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(error))

    def test_all_the_way(self) -> None:
        connecting = self.connect()
        self.assertEqual(self.resolver.asked[0][:2], ("broker", 5672))
        self.resolver.found("192.0.2.1")
        host, port, _, timeout, _ = self.reactor.tcpClients[0]
        self.assertEqual((host, port, timeout), ("192.0.2.1", 5672, 7))
        peer = self.joined()
        for step in (peer.start, lambda: peer.tune(heartbeat=0)):
            step()
            self.assertNoResult(connecting)
        peer.send(method(0, ConnectionMethods.OpenOk()))
        protocol = self.successResultOf(connecting)
        self.assertIs(protocol, peer.protocol)
        self.assertTrue(protocol.is_open)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_what_is_in_the_uri(self) -> None:
        self.connect("amqp://me:secret@elsewhere:1234/v?connection_timeout=2500")
        self.assertEqual(self.resolver.asked[0][:2], ("elsewhere", 1234))
        self.resolver.found("192.0.2.1")
        self.assertEqual(self.reactor.tcpClients[0][3], 2.5)
        parameters = self.joined().protocol.parameters
        self.assertEqual(parameters.virtual_host, "v")
        self.assertEqual(parameters.credentials.response("PLAIN"), b"\0me\0secret")

    def test_without_arguments(self) -> None:
        txpika.connect(reactor=self.reactor)
        self.assertEqual(self.resolver.asked[0][:2], ("localhost", 5672))

    def test_wrong_arguments_raise_at_the_call(self) -> None:
        self.assertRaises(ValueError, self.connect, "http://host")
        for wrong in (5672, b"amqp://host", object()):
            self.assertRaises(TypeError, self.connect, wrong)
        self.assertEqual(self.resolver.asked, [])

    def test_a_second_address(self) -> None:
        connecting = self.connect()
        self.resolver.found("192.0.2.1", "192.0.2.2")
        self.reactor.advance(1)
        self.assertEqual([client[0] for client in self.reactor.tcpClients], ["192.0.2.1", "192.0.2.2"])
        self.joined().open(heartbeat=0)
        self.successResultOf(connecting)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)

    def test_nobody_to_talk_to(self) -> None:
        """A name that leads nowhere, and addresses where nobody is."""
        connecting = self.connect()
        self.resolver.found()
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertIsInstance(error.__cause__, DNSLookupError)
        self.assertIn("broker:5672", str(error))
        for cause in (ConnectionRefusedError(), TimeoutError(), ConnectError(), UserError()):
            self.setUp()
            connecting = self.connect()
            self.resolver.found("192.0.2.1")
            self.refuse(cause)
            self.reactor.advance(1)
            error = self.failureResultOf(connecting, ConnectFailed).value
            self.assertIs(error.__cause__, cause)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_handshake_that_fails(self) -> None:
        """Fails with its type, and leaves nothing behind."""
        close = ConnectionMethods.Close
        for steps, data, kind in (
            (0, b"HTTP/1.1 400 Bad Request\r\n", IncompatibleProtocolError),
            (0, b"AMQP\x00\x00\x09\x00", ProtocolVersionMismatch),
            (1, method(0, close(403, "ACCESS_REFUSED", 0, 0)), AuthenticationError),
            (2, method(0, close(530, "NOT_ALLOWED - vhost", 0, 0)), HandshakeError),
            (1, b"", AuthenticationError),
            (2, b"", HandshakeError),
            (1, None, HandshakeTimeout),
        ):
            self.setUp()
            connecting = self.connect()
            self.resolver.found("192.0.2.1")
            peer = self.joined()
            for step in (peer.start, peer.tune)[:steps]:
                step()
            if data is None:
                self.reactor.advance(7)
            elif data:
                peer.send(data)
            peer.lose()
            error = self.failureResultOf(connecting, kind).value
            self.assertIs(type(error), kind)
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_given_up_at_each_step(self) -> None:
        """It is C{CancelledError} wherever that was, and nothing goes on behind it."""
        for steps in range(6):
            self.setUp()
            connecting = self.connect()
            peer = None
            if steps > 0:
                self.resolver.found("192.0.2.1")
            if steps > 1:
                peer = self.joined()
                for step in (peer.start, peer.tune)[: steps - 2]:
                    step()
            if steps == 5:
                assert peer is not None
                peer.send(method(0, ConnectionMethods.Close(403, "ACCESS_REFUSED", 0, 0)))
            connecting.cancel()
            self.failureResultOf(connecting, CancelledError)
            if steps == 0:
                self.resolver.found("192.0.2.1")
                self.assertEqual(self.reactor.tcpClients, [])
            elif peer is None:
                self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
            else:
                self.assertIn("abort", peer.transport.events)
                peer.frames()
                peer.start()
                self.assertEqual(peer.frames(), [])
                peer.lose()
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_time_limit_from_outside(self) -> None:
        """C{addTimeout} cancels, and makes C{TimeoutError} of that."""
        for steps in range(3):
            self.setUp()
            connecting = self.connect().addTimeout(3, self.reactor)
            if steps > 0:
                self.resolver.found("192.0.2.1")
            peer = self.joined() if steps > 1 else None
            self.reactor.advance(3)
            error = self.failureResultOf(connecting).value
            self.assertNotIsInstance(error, ConnectFailed)
            self.assertEqual(type(error).__name__, "TimeoutError")
            if peer is not None:
                peer.lose()
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_once_open_it_cannot_be_given_up_any_more(self) -> None:
        connecting = self.connect()
        self.resolver.found("192.0.2.1")
        peer = self.joined().open(heartbeat=0)
        connecting.cancel()
        self.assertTrue(self.successResultOf(connecting).is_open)
        self.assertEqual(peer.transport.events, [])
