"""Tests for use from a wrong thread: each call says so by name, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import WrongThread
from txpika.spec import Basic
from txpika.test.fakes import TwistedPeer, deliver, method


class WrongThreadTests(SynchronousTestCase):
    """Another thread than the one the connection was made in."""

    def setUp(self) -> None:
        self.peer = TwistedPeer().open()
        self.channel = self.peer.open_face()
        consuming = self.channel.basic_consume("q", consumer_tag="t")
        self.peer.send(method(1, Basic.ConsumeOk("t")) + deliver(1, "t", 1, b"x"))
        self.consumer = self.successResultOf(consuming)
        self.delivery = self.consumer._buffer[0]
        self.peer.frames()
        pool = ThreadPoolExecutor(1)
        self.addCleanup(pool.shutdown)
        self.elsewhere: Callable[..., None] = lambda call: pool.submit(call).result()

    def test_every_way_in(self) -> None:
        for call in (
            lambda: self.channel.basic_publish("", "q", b"x"),
            lambda: self.channel.basic_publish("", "q", b"x", timeout=1),
            lambda: self.channel.queue_declare("q"),
            lambda: self.channel.basic_consume("q"),
            lambda: self.channel.basic_cancel("t"),
            lambda: self.channel.basic_get("q"),
            lambda: self.channel.confirm_select(),
            lambda: self.channel.tx_select(),
            lambda: self.channel.basic_recover(),
            lambda: self.channel.close(),
            lambda: self.channel.basic_ack(1),
            lambda: self.channel.basic_nack(1),
            lambda: self.channel.basic_reject(1),
            lambda: self.delivery.ack(),
            lambda: self.delivery.ack(multiple=True),
            lambda: self.delivery.nack(),
            lambda: self.delivery.reject(),
            lambda: self.consumer.cancel(),
            lambda: self.consumer.drain(),
            lambda: self.peer.protocol.channel(),
            lambda: self.peer.protocol.when_open(),
            lambda: self.peer.protocol.update_secret("s"),
            lambda: self.peer.protocol.close(),
            lambda: self.peer.protocol.abort(),
        ):
            self.assertIn("thread", str(self.assertRaises(WrongThread, self.elsewhere, call)))
        self.assertEqual((self.peer.frames(), self.peer.transport.events), ([], []))
        self.delivery.ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)])

    def test_nothing_has_changed(self) -> None:
        for call in (self.channel.tx_select, self.channel.confirm_select, self.channel.basic_recover):
            self.assertRaises(WrongThread, self.elsewhere, call)
        self.channel.confirm_select()
        self.delivery.ack()
        self.assertEqual(self.peer.names(), ["Confirm.Select"])
        self.assertRaises(ValueError, self.channel.tx_commit)
