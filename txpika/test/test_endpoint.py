"""Tests for how a connection is made: hosts in turn, the deadline, giving up; on a reactor without a network."""

from __future__ import annotations

import random
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import txpika
from txpika import AMQPFactory, BrokerEndpoint, ConnectionParameters
from txpika.exceptions import (
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    IncompatibleProtocolError,
)
from txpika.spec import Connection
from txpika.test.fakes import method
from txpika.test.reactor import Connected, Reactor

THREE = ["10.0.0.1", ("10.0.0.2", 5673), "10.0.0.3"]


def as_given(hosts: list[tuple[str, int]]) -> None:
    """An order without chance."""


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()

    def connect(self, endpoint: Any = None, **arguments: Any) -> Deferred[Any]:
        self.parameters = ConnectionParameters(**arguments)
        broker = BrokerEndpoint(self.parameters, self.reactor, endpoint=endpoint, shuffle=as_given)
        return broker.connect(AMQPFactory(self.parameters, self.reactor))

    def nothing_left(self) -> None:
        """No timer runs any more."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class HostTests(Base):
    """Which host is tried when."""

    def test_F02_each_in_turn_until_one_lets_us_in(self) -> None:
        connecting = self.connect(hosts=THREE)
        self.assertEqual(self.reactor.dialled, [("10.0.0.1", 5672)])
        self.reactor.refuse()
        self.reactor.accept().lose()
        self.assertEqual(self.reactor.dialled, [("10.0.0.1", 5672), ("10.0.0.2", 5673), ("10.0.0.3", 5672)])
        self.assertNoResult(connecting)
        host = self.reactor.accept().open()
        connection = self.successResultOf(connecting)
        self.assertTrue(connection.is_open)
        self.assertEqual(len(self.reactor.tcpClients), 3)
        host.lose()
        self.assertIsInstance(self.successResultOf(connection.closed), ConnectionLost)
        self.nothing_left()

    def test_none_lets_us_in(self) -> None:
        connecting = self.connect(hosts=THREE)
        self.reactor.refuse()
        host = self.reactor.accept()
        host.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.reactor.advance(0)
        self.reactor.refuse()
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertEqual(
            [type(each) for each in error.errors], [ConnectFailed, IncompatibleProtocolError, ConnectFailed]
        )
        for text in ("none of 3 hosts", "10.0.0.1:5672: cannot connect", "10.0.0.2:5673: ", "HTTP", "10.0.0.3:5672"):
            self.assertIn(text, str(error))
        self.assertEqual((error.initiator, error.outcome), ("network", "closed"))
        self.assertIs(error.__cause__, error.errors[-1])
        self.nothing_left()

    def test_one_host_has_its_own_error(self) -> None:
        connecting = self.connect(host="10.0.0.1")
        self.reactor.refuse()
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertEqual((error.errors, str(error)[:32]), ((), "cannot connect to 10.0.0.1:5672:"))
        self.assertIsInstance(error.__cause__, ConnectionRefusedError)
        connecting = self.connect(host="::1", port=1, connection_timeout=1)
        self.reactor.advance(1)
        self.assertIn("[::1]:1 within 1 seconds", str(self.failureResultOf(connecting).value))

    def test_a_refused_login_is_not_tried_elsewhere(self) -> None:
        connecting = self.connect(hosts=THREE)
        host = self.reactor.accept()
        host.start()
        host.send(method(0, Connection.Close(403, "ACCESS_REFUSED", 0, 0)))
        self.reactor.advance(0)
        self.assertEqual(self.failureResultOf(connecting, AuthenticationError).value.reply_code, 403)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_no_mechanism_in_common_is_not_tried_elsewhere(self) -> None:
        connecting = self.connect(hosts=THREE, credentials=txpika.ExternalCredentials())
        self.reactor.accept().start()
        self.reactor.advance(0)
        self.failureResultOf(connecting, AuthenticationError)
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_a_host_that_dies_or_talks_nonsense_is_left_for_the_next(self) -> None:
        connecting = self.connect(hosts=THREE)
        host = self.reactor.accept()
        host.start()
        host.lose()
        self.reactor.accept().tune()
        self.reactor.advance(0)
        self.reactor.accept().open()
        self.assertTrue(self.successResultOf(connecting).is_open)

    def test_a_refused_virtual_host_is_tried_elsewhere(self) -> None:
        """It may be down on one node only."""
        connecting = self.connect(hosts=THREE[:2])
        for _ in range(2):
            host = self.reactor.accept()
            host.start()
            host.tune()
            host.send(method(0, Connection.Close(541, "vhost is down", 10, 40)))
            self.reactor.advance(0)
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertEqual([each.reply_code for each in error.errors], [541, 541])

    def test_shuffled_at_each_attempt(self) -> None:
        parameters = ConnectionParameters(hosts=[f"10.0.0.{number}" for number in range(10)])
        broker = BrokerEndpoint(parameters, self.reactor, shuffle=random.Random(7).shuffle)
        factory = AMQPFactory(parameters, self.reactor)
        orders = []
        for _ in range(3):
            before = len(self.reactor.tcpClients)
            connecting = broker.connect(factory)
            for _ in range(10):
                self.reactor.refuse()
            self.failureResultOf(connecting, ConnectFailed)
            orders.append(tuple(host for host, _ in self.reactor.dialled[before:]))
        self.assertEqual(len(set(orders)), 3)
        self.assertEqual({frozenset(order) for order in orders}, {frozenset(host for host, _ in parameters.hosts)})
        self.assertEqual(parameters.host, "10.0.0.0")

    def test_chance_decides_by_default(self) -> None:
        parameters = ConnectionParameters(hosts=["10.0.0.1", "10.0.0.2"])
        first = set()
        for _ in range(200):
            BrokerEndpoint(parameters, self.reactor).connect(AMQPFactory(parameters, self.reactor)).addErrback(
                lambda f: None
            )
            first.add(self.reactor.dialled[-1][0])
        self.assertEqual(first, {"10.0.0.1", "10.0.0.2"})

    def test_all_addresses_of_a_name(self) -> None:
        self.reactor.names["cluster"] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        connecting = self.connect(host="cluster")
        self.reactor.refuse()
        self.reactor.pump([0.5] * 2)
        self.assertEqual([host for host, _ in self.reactor.dialled], ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        self.reactor.accept(1).open()
        self.assertTrue(self.successResultOf(connecting).is_open)

    def test_names_that_are_none(self) -> None:
        for host in ("my_host", "a..b"):
            if HostnameEndpoint(self.reactor, host, 1)._badHostname:
                error = self.failureResultOf(self.connect(host=host), ConnectFailed).value
                self.assertIn(host, str(error))


class DeadlineTests(Base):
    """One deadline over everything."""

    def test_F03_nobody_answers(self) -> None:
        connecting = self.connect(host="10.0.0.1", connection_timeout=7)
        self.reactor.advance(6.9)
        self.assertNoResult(connecting)
        self.reactor.advance(0.1)
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertIn("10.0.0.1:5672 within 7 seconds", str(error))
        self.assertIsInstance(error.__cause__, TimeoutError)
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        self.nothing_left()

    def test_the_name_is_looked_up_for_ever(self) -> None:
        self.reactor.names["lost"] = []
        connecting = self.connect(host="lost", connection_timeout=7)
        self.reactor.advance(7)
        self.assertIn("lost:5672 within 7 seconds", str(self.failureResultOf(connecting, ConnectFailed).value))

    def test_F04_what_tcp_took_is_missing_for_the_handshake(self) -> None:
        connecting = self.connect(host="10.0.0.1", connection_timeout=7)
        self.reactor.advance(5)
        host = self.reactor.accept()
        host.start()
        self.reactor.advance(1.9)
        host.tune()
        self.assertFalse(host.hung_up)
        self.reactor.advance(0.1)
        self.assertTrue(host.hung_up)
        self.reactor.advance(0)
        error = self.failureResultOf(connecting, HandshakeTimeout).value
        self.assertIn("within 7 seconds: awaiting connection.open-ok", str(error))
        self.nothing_left()

    def test_F10_endless_challenges(self) -> None:
        connecting = self.connect(host="10.0.0.1", connection_timeout=7, credentials=Endless())
        host = self.reactor.accept()
        host.start()
        for _ in range(8):
            host.send(method(0, Connection.Secure(b"again")))
            self.reactor.advance(1)
            if host.hung_up:
                break
        self.reactor.advance(0)
        self.failureResultOf(connecting, HandshakeTimeout)

    def test_each_host_has_its_own(self) -> None:
        connecting = self.connect(hosts=THREE, connection_timeout=7)
        self.reactor.advance(7)
        self.reactor.advance(6)
        self.reactor.accept().open()
        self.assertTrue(self.successResultOf(connecting).is_open)
        self.assertEqual([host for host, _ in self.reactor.dialled], ["10.0.0.1", "10.0.0.2"])

    def test_an_open_connection_has_none(self) -> None:
        connecting = self.connect(host="10.0.0.1", connection_timeout=7, heartbeat=0)
        self.reactor.accept().open(heartbeat=0)
        connection = self.successResultOf(connecting)
        connection.limit_handshake(1)
        self.reactor.advance(100)
        self.assertTrue(connection.is_open)


class CancelTests(Base):
    """Who gives up hears so, and nothing goes on."""

    def test_while_looking_up_a_name(self) -> None:
        self.reactor.names["lost"] = []
        self.cancelled(self.connect(hosts=["lost", "10.0.0.2"]))
        self.assertEqual(self.reactor.dialled, [])

    def cancelled(self, connecting: Deferred[Any]) -> None:
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)

    def test_while_connecting(self) -> None:
        self.cancelled(self.connect(hosts=THREE))
        self.assertTrue(self.reactor.connectors[-1].stoppedConnecting)
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.nothing_left()

    def test_in_the_handshake(self) -> None:
        connecting = self.connect(hosts=THREE)
        host = self.reactor.accept()
        host.start()
        self.cancelled(connecting)
        self.assertTrue(host.hung_up)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.nothing_left()

    def test_an_endpoint_that_makes_an_error_of_its_own_of_that(self) -> None:
        endpoint = Stubborn(DNSLookupError())
        self.cancelled(self.connect(endpoint))

    def test_an_endpoint_that_connects_all_the_same(self) -> None:
        endpoint = Stubborn(None)
        connecting = self.connect(endpoint)
        protocol = endpoint.factory.buildProtocol(None)
        transport = Connected()
        transport.clock = self.reactor
        protocol.makeConnection(transport)
        endpoint.result = protocol
        self.cancelled(connecting)
        self.assertIn("abort", transport.events)


@implementer(txpika.interfaces.ICredentials)
class Endless:
    """Credentials that know an answer to everything."""

    mechanisms = ("PLAIN",)

    def response(self, mechanism: str) -> bytes:
        return b""

    def challenge(self, mechanism: str, challenge: bytes) -> bytes:
        return b""


@implementer(IStreamClientEndpoint)
class Stubborn:
    """An endpoint with its own view of being cancelled."""

    def __init__(self, error: Exception | None) -> None:
        self.result: Any = None if error is None else Failure(error)

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.factory = protocolFactory
        return Deferred(lambda connecting: connecting.callback(self.result))


class EndpointTests(Base):
    """Endpoints of a program, and what is refused."""

    def test_it_is_one(self) -> None:
        verifyObject(IStreamClientEndpoint, BrokerEndpoint(reactor=self.reactor))

    def test_its_name_shows_no_password(self) -> None:
        shown = repr(BrokerEndpoint("amqps://me:hunter2@a", self.reactor))
        self.assertIn("amqps://a:5671", shown)
        self.assertNotIn("hunter2", shown)

    def test_an_endpoint_is_used_instead(self) -> None:
        endpoint = HostnameEndpoint(self.reactor, "10.9.9.9", 1)
        connecting = self.connect(endpoint, host="unused")
        self.assertEqual(self.reactor.dialled, [("10.9.9.9", 1)])
        self.reactor.refuse()
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertIn("the broker by HostnameEndpoint", str(error))

    def test_what_cannot_be(self) -> None:
        nothing: Any = object()
        self.assertRaises(TypeError, BrokerEndpoint, None, self.reactor, endpoint=nothing)
        self.assertRaises(ValueError, BrokerEndpoint, "http://h", self.reactor)
        endpoint = HostnameEndpoint(self.reactor, "10.9.9.9", 1)
        several = ConnectionParameters(hosts=["a", "b"])
        self.assertRaises(ValueError, txpika.connect, several, self.reactor, endpoint=endpoint)

    def test_a_factory_that_makes_nothing(self) -> None:
        broker = BrokerEndpoint(ConnectionParameters("10.0.0.1"), self.reactor)
        connecting = broker.connect(Nothing())
        _, _, factory, *_ = self.reactor.tcpClients[-1]
        self.assertIsNone(factory.buildProtocol(None))
        self.reactor.advance(HostnameEndpoint._DEFAULT_ATTEMPT_DELAY)
        self.failureResultOf(connecting, ConnectFailed)


class Nothing(AMQPFactory):
    """Does not want to."""

    def buildProtocol(self, addr: Any) -> Any:
        return None


class ClientServiceTests(Base):
    """Twisted's service, which reconnects."""

    def service(self, **arguments: Any) -> ClientService:
        parameters = ConnectionParameters("10.0.0.1", **arguments)
        endpoint = BrokerEndpoint(parameters, self.reactor, shuffle=as_given)
        factory = AMQPFactory(parameters, self.reactor)
        service = ClientService(endpoint, factory, retryPolicy=lambda attempt: attempt * 10.0, clock=self.reactor)
        service.startService()
        return service

    def test_it_has_connected_when_the_connection_is_open(self) -> None:
        service = self.service()
        waiting: Deferred[Any] = service.whenConnected()
        host = self.reactor.accept()
        host.start()
        self.assertNoResult(waiting)
        host.tune()
        host.send(method(0, Connection.OpenOk()))
        connection = self.successResultOf(waiting)
        self.assertTrue(connection.is_open)
        host.lose()
        self.reactor.advance(10)
        self.assertEqual(len(self.reactor.tcpClients), 2)
        self.reactor.accept().open()
        again: Deferred[Any] = service.whenConnected()
        self.assertTrue(self.successResultOf(again).is_open)
        stopping = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopping)

    def test_a_handshake_that_fails_is_a_failed_attempt(self) -> None:
        """So the next one waits longer each time, and nothing is logged as an error."""
        service = self.service()
        failing: Deferred[Any] = service.whenConnected(failAfterFailures=3)
        for number in (1, 2, 3):
            host = self.reactor.accept()
            host.start()
            host.lose()
            self.assertEqual(len(self.reactor.tcpClients), number)
            self.reactor.advance(number * 10 - 0.1)
            self.assertEqual(len(self.reactor.tcpClients), number)
            self.reactor.advance(0.1)
            self.assertEqual(len(self.reactor.tcpClients), number + 1)
        self.failureResultOf(failing, AuthenticationError)
        self.reactor.accept().open()
        self.successResultOf(service.whenConnected())

    def test_stopped_in_the_handshake(self) -> None:
        service = self.service()
        host = self.reactor.accept()
        host.start()
        stopping = service.stopService()
        self.assertTrue(host.hung_up)
        self.reactor.advance(0)
        self.successResultOf(stopping)
        self.nothing_left()

    def test_credentials_are_asked_for_at_each_attempt(self) -> None:
        asked: list[int] = []

        def credentials() -> txpika.PlainCredentials:
            asked.append(len(asked))
            return txpika.PlainCredentials("me", f"token {len(asked)}")

        self.service(credentials=credentials)
        for number in (1, 2):
            host = self.reactor.accept()
            host.start()
            (start_ok,) = host.methods()
            assert isinstance(start_ok, Connection.StartOk)
            self.assertEqual(start_ok.response, b"\0me\0token %d" % number)
            host.lose()
            self.reactor.advance(20)
        self.reactor.accept()
        self.assertEqual(asked, [0, 1, 2])


class ErrorTests(Base):
    """Cuts in each state."""

    def test_F05_cut_in_each_state(self) -> None:
        for steps, error, text in (
            ((), HandshakeError, "before the broker said anything"),
            (("start",), AuthenticationError, "logging in"),
            (("start", "tune"), HandshakeError, "virtual host"),
        ):
            connecting = self.connect(host="10.0.0.1")
            host = self.reactor.accept()
            for step in steps:
                getattr(host, step)()
            host.lose()
            failed = self.failureResultOf(connecting, error).value
            self.assertIs(type(failed), error)
            self.assertIn(text, str(failed))
