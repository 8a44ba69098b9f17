"""Tests for how much memory a connection, a channel and a consumer take, as C{tracemalloc} counts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.channel import Channel
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties
from txpika.test.counting import SKIP, Growth
from txpika.test.fakes import CallbackPeer, TwistedPeer, method

PARAMETERS = ConnectionParameters(heartbeat=0)


class FootprintTests(SynchronousTestCase):
    """Of two hundred each. The bounds are a third above what it was when this was written, on Python 3.11."""

    skip = SKIP

    def setUp(self) -> None:
        self.kept: list[Any] = []

    def bytes_each(self, make: Callable[[], object]) -> float:
        """@return: What one of those that C{make} makes takes, in bytes, with all that comes with it."""
        for _ in range(10):  # what the first ones bring along is for all
            self.kept.append(make())
        with Growth() as growth:
            for _ in range(200):
                self.kept.append(make())
        return growth.size / 200

    def quiet(self, peer: Any) -> None:
        """Forget what was written."""
        peer.transport.data, peer._read = b"", 0

    def open_channel(self, peer: TwistedPeer) -> Channel:
        self.quiet(peer)
        channel = peer.open_face()
        self.quiet(peer)
        return channel

    def test_a_channel(self) -> None:
        peer = TwistedPeer(PARAMETERS).open(heartbeat=0)
        self.assertLess(self.bytes_each(lambda: self.open_channel(peer)), 2400)

    def test_a_channel_of_callbacks(self) -> None:
        peer = CallbackPeer(PARAMETERS).open(heartbeat=0)

        def make() -> object:
            self.quiet(peer)
            return peer.open_channel()

        self.assertLess(self.bytes_each(make), 3100)

    def test_a_channel_that_publishes(self) -> None:
        peer = TwistedPeer(PARAMETERS).open(heartbeat=0)
        properties = BasicProperties(delivery_mode=2)

        def make() -> object:
            channel = self.open_channel(peer)
            peer.confirming(channel)
            channel.basic_publish("", f"queue{channel.channel_number:05}", b"x" * 100, properties)
            peer.send(method(channel.channel_number, Basic.Ack(1)))
            self.quiet(peer)
            return channel

        self.assertLess(self.bytes_each(make), 3700)

    def test_a_channel_that_consumes(self) -> None:
        peer = TwistedPeer(PARAMETERS).open(heartbeat=0)

        def make() -> object:
            channel = self.open_channel(peer)
            peer.consuming(channel, lambda delivery: None, consumer_tag=f"tag{channel.channel_number:05}")
            self.quiet(peer)
            return channel

        self.assertLess(self.bytes_each(make), 4000)

    def test_a_connection(self) -> None:
        """Its transport apart, which is Twisted's or the test's."""
        self.assertLess(self.bytes_each(lambda: TwistedPeer(PARAMETERS).open(heartbeat=0)), 16000)
