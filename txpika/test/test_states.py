"""Tests for L{txpika.core.states}: the engine does what the tables say, for every state and every method."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txpika.core import states
from txpika.credentials import PlainCredentials
from txpika.exceptions import ProtocolError
from txpika.interfaces import ICredentials
from txpika.parameters import ConnectionParameters
from txpika.spec import METHODS, Method
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import ChannelFace, Peer, method


@implementer(ICredentials)
class Answering:
    """Credentials of a mechanism with challenges."""

    mechanisms = ("PLAIN",)

    def response(self, mechanism: str) -> bytes:
        return b"first"

    def challenge(self, mechanism: str, challenge: bytes) -> bytes:
        return b"answer to " + challenge


def connection_in(state: str) -> Peer:
    """A connection that came to a state by itself."""
    if state == states.AWAITING_CREDENTIALS:
        return Peer(ConnectionParameters(credentials=lambda: Answering()))
    peer = Peer(ConnectionParameters(credentials=Answering()))
    if state == states.AWAITING_START:
        return peer
    peer.start()
    if state == states.AWAITING_TUNE:
        return peer
    peer.tune()
    if state == states.AWAITING_OPEN_OK:
        return peer
    peer.send(method(0, ConnectionMethods.OpenOk()))
    if state in (states.CLOSING, states.CLOSED):
        peer.connection.close()
    if state == states.CLOSED:
        peer.send(method(0, ConnectionMethods.CloseOk()))
    return peer


def channel_in(state: str) -> tuple[Peer, Any]:
    """A channel that came to a state by itself, number 1."""
    peer = Peer().open()
    channel = peer.connection.open_channel(Deferred)
    channel.face = ChannelFace(channel)
    channel.opened.addErrback(lambda failure: None)
    if state != states.AWAITING_CHANNEL_OPEN_OK:
        peer.send(method(1, ChannelMethods.OpenOk()))
    if state in (states.CLOSING, states.CLOSED):
        channel.close()
    if state == states.CLOSED:
        peer.send(method(1, ChannelMethods.CloseOk()))
    return peer, channel


def sent_by_a_broker(class_id: int) -> list[Method]:
    """One of each method of a class that a broker may send."""
    return [each() for each in METHODS.values() if class_id == each.CLASS_ID and each.FROM_SERVER]


class CredentialsTests(SynchronousTestCase):
    """Other mechanisms are other credentials."""

    def test_a_challenge_is_answered(self) -> None:
        verifyObject(ICredentials, Answering())
        verifyObject(ICredentials, PlainCredentials("a", "b"))
        peer = connection_in(states.AWAITING_TUNE)
        peer.send(method(0, ConnectionMethods.Secure(b"who?")))
        self.assertEqual(peer.methods()[1:], [ConnectionMethods.SecureOk(b"answer to who?")])


class ProductTests(SynchronousTestCase):
    """Each state with each event."""

    def test_connection(self) -> None:
        all_states = {state for state, _ in states.CONNECTION} | {states.CLOSED}
        self.assertEqual(len(all_states), 7)
        for state in all_states:
            for event in sent_by_a_broker(10):
                peer = connection_in(state)
                connection = peer.connection
                self.assertEqual(connection.state, state)
                if isinstance(event, ConnectionMethods.Start):
                    event = ConnectionMethods.Start(0, 9, {}, b"PLAIN", b"en_US")
                if isinstance(event, ConnectionMethods.UpdateSecretOk) and state == states.OPEN:
                    connection.update_secret(ConnectionMethods.UpdateSecret(b"new", "expired"), Deferred)
                before = connection.reason
                peer.send(method(0, event))
                expected = states.CONNECTION.get((state, event.NAME))
                if expected is not None:
                    self.assertEqual(connection.state, expected, (state, event.NAME))
                elif state in (states.CLOSED, states.CLOSING):
                    self.assertEqual((connection.state, connection.reason), (state, before))
                else:
                    assert isinstance(connection.reason, ProtocolError), (state, event.NAME)
                    self.assertEqual(connection.reason.reply_code, 503)

    def test_connection_by_this_side_and_by_the_network(self) -> None:
        for state in {state for state, _ in states.CONNECTION}:
            peer = connection_in(state)
            peer.connection.close()
            self.assertEqual(peer.connection.state, states.CONNECTION.get((state, states.CLOSE), state))
            peer = connection_in(state)
            peer.lose()
            self.assertEqual(peer.connection.state, states.CONNECTION[state, states.LOST])
            peer.connection.close()
            self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_channel(self) -> None:
        all_states = {state for state, _ in states.CHANNEL} | {states.CLOSED}
        self.assertEqual(len(all_states), 4)
        for state in all_states:
            for event in sent_by_a_broker(20):
                peer, channel = channel_in(state)
                self.assertEqual(channel.state, state)
                peer.send(method(1, event))
                expected = states.CHANNEL.get((state, event.NAME))
                reason = peer.connection.reason
                if state == states.CLOSED:
                    self.assertEqual((channel.state, reason), (state, None), "late frames pass")
                elif expected is None:
                    assert isinstance(reason, ProtocolError), (state, event.NAME)
                    self.assertEqual(reason.reply_code, 504)
                elif isinstance(event, ChannelMethods.FlowOk) and state == states.OPEN:
                    assert isinstance(reason, ProtocolError)  # nothing asked for it
                else:
                    self.assertEqual((channel.state, reason), (expected, None), (state, event.NAME))

    def test_channel_by_this_side_and_by_the_network(self) -> None:
        for state in {state for state, _ in states.CHANNEL}:
            peer, channel = channel_in(state)
            channel.close()
            self.assertEqual(channel.state, states.CHANNEL.get((state, states.CLOSE), state))
            peer, channel = channel_in(state)
            peer.lose()
            self.assertEqual(channel.state, states.CHANNEL[state, states.LOST])
            self.assertEqual(len(channel.face.reasons), 1)
