"""Tests for logging in: the mechanisms, and programs that are asked for their credentials at each attempt."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika import AMQPlainCredentials, ConnectionParameters, ExternalCredentials, PlainCredentials
from txpika.exceptions import AuthenticationError, HandshakeError, HandshakeTimeout, IncompatibleProtocolError
from txpika.interfaces import ICredentials
from txpika.spec import Connection
from txpika.test.fakes import TwistedPeer, method


class MechanismTests(SynchronousTestCase):
    """What is sent for each."""

    def test_each(self) -> None:
        for credentials, mechanism, response in (
            (PlainCredentials("m\u00e9", "p:"), "PLAIN", b"\0m\xc3\xa9\0p:"),
            (AMQPlainCredentials("me", "pw"), "AMQPLAIN", b"\x05LOGINS\0\0\0\x02me\x08PASSWORDS\0\0\0\x02pw"),
            (ExternalCredentials(), "EXTERNAL", b""),
        ):
            verifyObject(ICredentials, credentials)
            peer = TwistedPeer(ConnectionParameters(credentials=credentials))
            peer.send(method(0, Connection.Start(0, 9, {}, b"EXTERNAL AMQPLAIN PLAIN", b"en_US")))
            (start_ok,) = peer.methods()
            assert isinstance(start_ok, Connection.StartOk)
            self.assertEqual((start_ok.mechanism, start_ok.response), (mechanism, response))

    def test_the_broker_does_not_offer_it(self) -> None:
        peer = TwistedPeer(ConnectionParameters(credentials=ExternalCredentials()))
        opening = peer.protocol.when_open()
        peer.start()
        peer.lose()
        error = self.failureResultOf(opening, AuthenticationError).value
        for text in ("EXTERNAL", "AMQPLAIN", "PLAIN"):
            self.assertIn(text, str(error))

    def test_none_knows_a_challenge(self) -> None:
        for credentials in (PlainCredentials("a", "b"), AMQPlainCredentials("a", "b"), ExternalCredentials()):
            peer = TwistedPeer(ConnectionParameters(credentials=credentials))
            opening = peer.protocol.when_open()
            peer.send(method(0, Connection.Start(0, 9, {}, b"EXTERNAL AMQPLAIN PLAIN", b"en_US")))
            peer.send(method(0, Connection.Secure(b"who?")))
            self.assertEqual(peer.names(), ["Connection.StartOk"])
            peer.lose()
            self.assertIn("challenge", str(self.failureResultOf(opening, AuthenticationError).value))


class ProviderTests(SynchronousTestCase):
    """A function is asked for them."""

    def ask(self, function: Any) -> TwistedPeer:
        peer = TwistedPeer(ConnectionParameters(credentials=function, connection_timeout=7))
        self.opening = peer.protocol.when_open()
        return peer

    def logs_in(self, peer: TwistedPeer) -> None:
        self.assertEqual(peer.transport.data, b"AMQP\x00\x00\x09\x01")
        peer.start()
        (start_ok,) = peer.methods()
        assert isinstance(start_ok, Connection.StartOk)
        self.assertEqual(start_ok.response, b"\0me\0token")
        peer.tune()
        peer.send(method(0, Connection.OpenOk()))
        self.assertIs(self.successResultOf(self.opening), peer.protocol)

    def test_plain(self) -> None:
        self.logs_in(self.ask(lambda: PlainCredentials("me", "token")))

    def test_a_deferred(self) -> None:
        later: Deferred[PlainCredentials] = Deferred()
        peer = self.ask(lambda: later)
        self.assertEqual(peer.transport.data, b"")
        later.callback(PlainCredentials("me", "token"))
        self.logs_in(peer)

    def test_async(self) -> None:
        later: Deferred[str] = Deferred()

        async def credentials() -> PlainCredentials:
            return PlainCredentials("me", await later)

        peer = self.ask(credentials)
        self.assertEqual(peer.transport.data, b"")
        later.callback("token")
        self.logs_in(peer)

    def failed(self, error: type[Exception] = AuthenticationError) -> Any:
        return self.failureResultOf(self.opening, error).value

    def test_raises(self) -> None:
        reason = RuntimeError("the vault is closed")

        def credentials() -> PlainCredentials:
            raise reason

        for function in (credentials, lambda: failing(reason)):
            peer = self.ask(function)
            self.assertEqual((peer.transport.data, peer.transport.events), (b"", ["abort"]))
            peer.lose()
            error = self.failed()
            self.assertEqual(str(error), "the function for credentials failed: RuntimeError")
            self.assertEqual((error.__cause__, error.initiator), (reason, "local"))
            self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_gives_something_else(self) -> None:
        for wrong in (None, "me:token", ("me", "token"), PlainCredentials):
            peer = self.ask(lambda wrong=wrong: wrong)
            peer.lose()
            self.assertIn(f"gave {type(wrong).__name__}", str(self.failed()))

    def test_takes_too_long(self) -> None:
        cancelled: list[object] = []
        later: Deferred[PlainCredentials] = Deferred(cancelled.append)
        peer = self.ask(lambda: later)
        peer.clock.advance(7)
        self.assertEqual(peer.transport.events, ["abort"])
        peer.lose()
        self.assertIn("awaiting the program's credentials", str(self.failed(HandshakeTimeout)))
        self.assertEqual((cancelled, peer.transport.data), ([later], b""))

    def test_the_connection_ends_first(self) -> None:
        """The function is told, and what it gives after that goes nowhere."""
        for ending in (
            lambda peer: peer.lose(),
            lambda peer: (peer.protocol.close(), peer.lose()),
            lambda peer: (peer.protocol.abort(), peer.lose()),
        ):
            given_up: list[object] = []

            async def credentials(given_up: list[object] = given_up) -> PlainCredentials:
                try:
                    await Deferred[None]()
                except CancelledError as error:
                    given_up.append(error)
                return PlainCredentials("me", "token")

            peer = self.ask(credentials)
            ending(peer)
            self.failureResultOf(self.opening)
            self.assertEqual((len(given_up), peer.transport.data), (1, b""))
            self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_the_network_ends_first(self) -> None:
        peer = self.ask(lambda: Deferred())
        peer.lose()
        self.assertIn("network connection was lost", str(self.failed(HandshakeError)))

    def test_a_peer_that_speaks_first(self) -> None:
        """Nobody logs in to it before this side has spoken."""
        for said, error in (
            (method(0, Connection.Start(0, 9, {}, b"PLAIN", b"en_US")), Exception),
            (b"HTTP/1.1 400 Bad Request\r\n", IncompatibleProtocolError),
        ):
            later: Deferred[PlainCredentials] = Deferred()
            peer = self.ask(lambda later=later: later)
            peer.send(said)
            self.assertEqual((peer.transport.data, peer.transport.events), (b"", ["abort"]))
            later.callback(PlainCredentials("me", "token"))
            peer.lose()
            self.failed(error)
            self.assertEqual(peer.transport.data, b"")


async def failing(error: Exception) -> PlainCredentials:
    """A coroutine that does not get them."""
    raise error
