"""Tests for connections of the callback API that are made again, against a broker by script."""

from __future__ import annotations

import logging
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.exceptions import ChannelClosed, ConnectionLost, NotConnected
from txpika.reconnection_strategies import STABLE, ReconnectionStrategy, SimpleReconnectionStrategy
from txpika.spec import Connection
from txpika.test.fakes import CallbackPeer, FakeConnection, method


class Hooks(ReconnectionStrategy):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        for name in (
            "on_connect_attempt",
            "on_connect_attempt_failure",
            "on_transport_connected",
            "on_transport_disconnected",
            "on_connection_open",
            "on_connection_closed",
        ):
            setattr(self, name, lambda conn, name=name: self.told.append((name[3:], conn)))


class ReconnectionTests(SynchronousTestCase):
    """Another life, with and without a strategy."""

    def strategic(self) -> CallbackPeer:
        """One with delays of 1, 2, 4 seconds."""
        strategy = SimpleReconnectionStrategy(jitter=0, clock=lambda: peer.clock.seconds())
        peer = CallbackPeer(strategy=strategy)
        return peer.open()

    def test_hooks_in_their_order(self) -> None:
        hooks = Hooks()
        peer = CallbackPeer(strategy=hooks)
        peer.open()
        peer.lose()
        names = [name for name, _ in hooks.told]
        opening = ["connect_attempt", "transport_connected", "connection_open"]
        self.assertEqual(names, [*opening, "transport_disconnected", "connection_closed"])
        hooks.told.clear()
        peer.face.reconnect()
        peer.again().start()
        peer.lose()
        names = [name for name, _ in hooks.told]
        self.assertEqual(names, [*opening[:2], "transport_disconnected", "connect_attempt_failure"])
        hooks.told.clear()
        peer.face.reconnect()
        peer.face._transport_failed([("localhost", OSError("refused"))])
        self.assertEqual([name for name, _ in hooks.told], ["connect_attempt", "connect_attempt_failure"])
        self.assertEqual({conn for _, conn in hooks.told}, {peer.face})

    def test_it_comes_back(self) -> None:
        peer = self.strategic()
        channel = peer.open_channel()
        peer.lose()
        self.assertEqual((peer.face.dialled, peer.told), (1, ["open", "closed"]))
        peer.clock.advance(1)
        self.assertEqual((peer.face.dialled, peer.face.is_closed, peer.face.state), (2, False, "connecting"))
        self.assertEqual((peer.face.closing, peer.face.is_open), (False, False))
        peer.again().open()
        self.assertEqual((peer.told, peer.face.reason), (["open", "closed", "open"], None))
        self.assertRaises(ConnectionLost, channel.queue_declare)
        self.assertTrue(peer.open_channel().is_open)

    def test_delays_grow_and_are_set_back(self) -> None:
        peer = self.strategic()
        peer.lose()
        peer.clock.advance(1)
        peer.face._transport_failed([("localhost", OSError("refused"))])
        peer.clock.advance(1)
        self.assertEqual(peer.face.dialled, 2)
        peer.clock.advance(1)
        self.assertEqual(peer.face.dialled, 3)
        peer.again().open()
        peer.clock.advance(STABLE)
        peer.lose()
        peer.clock.advance(1)
        self.assertEqual(peer.face.dialled, 4, "bug 13: it had worked, so the first delay holds again")

    def test_bug_13_a_close_of_the_program_is_final(self) -> None:
        peer = self.strategic()
        peer.face.close()
        peer.send(method(0, Connection.CloseOk()))
        peer.lose()
        peer.clock.advance(100)
        self.assertEqual((peer.face.dialled, peer.face.user_closed), (1, True))

    def test_bug_13_while_it_waits_to_connect_again(self) -> None:
        peer = self.strategic()
        peer.lose()
        peer.face.close()
        peer.clock.advance(100)
        self.assertEqual((peer.face.dialled, peer.told), (1, ["open", "closed"]))

    def test_bug_13_reconnect_while_it_is_open(self) -> None:
        peer = CallbackPeer().open()
        self.assertRaises(NotConnected, peer.face.reconnect)
        self.assertTrue(peer.open_channel().is_open)

    def test_reconnect_by_hand(self) -> None:
        peer = CallbackPeer().open()
        peer.lose()
        peer.face.reconnect()
        self.assertRaises(NotConnected, peer.face.reconnect)
        peer.again().open()
        self.assertEqual(peer.told, ["open", "closed", "open"])

    def test_after_a_close_of_the_program(self) -> None:
        """C{reconnect} undoes that it was final."""
        peer = self.strategic()
        peer.face.close()
        peer.lose()
        peer.face.reconnect()
        peer.again().open()
        peer.lose()
        peer.clock.advance(1)
        self.assertEqual(peer.face.dialled, 3)

    def test_reconnect_from_inside_the_close_callback(self) -> None:
        """The strategy, which would have done it later, leaves it at that."""
        peer = self.strategic()
        peer.face.add_on_close_callback(lambda connection: connection.reconnect())
        peer.lose()
        self.assertEqual((peer.face.dialled, peer.face.closing), (2, False))
        with self.assertNoLogs("txpika", logging.INFO):
            peer.clock.advance(10)
        peer.again().open()
        self.assertEqual((peer.face.dialled, peer.face.is_open), (2, True))

    def test_why_is_logged_when_nobody_hears_it(self) -> None:
        """A program with a strategy and no callback tried for ever, and told nobody why it failed."""
        refused = [("localhost", OSError("no route"))]
        connection = FakeConnection(Clock(), None, reconnection_strategy=SimpleReconnectionStrategy())
        with self.assertLogs("txpika.adapters.callback", logging.WARNING) as logged:
            connection._transport_failed(refused)
        self.assertEqual(len(logged.output), 1)
        self.assertIn("cannot connect to localhost: no route", logged.output[0])
        connection.add_on_open_error_callback(lambda *_: None)
        connection.reconnect()
        with self.assertNoLogs("txpika.adapters.callback"):
            connection._transport_failed(refused)

    def test_a_late_end_of_a_channel(self) -> None:
        """What a channel of the last life still hears does not touch one of this life with its number."""
        peer = CallbackPeer().open()
        old = peer.open_channel()
        peer.lose()
        peer.face.reconnect()
        peer.again().open()
        new = peer.open_channel()
        new.add_on_close_callback(lambda code, text: None)
        self.assertEqual(new.channel_number, old.channel_number)
        old.close()
        self.assertRaises(ConnectionLost, old.basic_publish, "", "q", b"")
        new.basic_publish("", "q", b"")
        self.assertEqual(peer.names(), ["Basic.Publish"])
        peer.send(method(1, txpika.spec.Channel.Close(404, "NOT_FOUND")))
        self.assertRaises(ChannelClosed, new.queue_declare)
