"""Tests for transactions and C{basic.recover}: which deliveries can be settled afterwards."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.core.transactions import Uncommitted
from txpika.exceptions import StaleDelivery
from txpika.spec import Basic, Confirm, Method, Tx
from txpika.test.fakes import Peer, RecordingConsumer, TwistedPeer, content, deliver, method


class UncommittedTests(SynchronousTestCase):
    """The dictionary that takes notes."""

    def test_what_is_taken_out_is_noted(self) -> None:
        tags = Uncommitted(dict.fromkeys((1, 2, 3)))
        del tags[2]
        self.assertIsNone(tags.pop(3, None))
        self.assertIsNone(tags.pop(9, None))
        self.assertRaises(KeyError, tags.__delitem__, 2)
        self.assertEqual((tags, tags.take(), tags.take()), ({1: None}, [2, 3], []))


class TransactionTests(SynchronousTestCase):
    """A channel with a consumer that has three deliveries."""

    def setUp(self) -> None:
        self.peer = Peer().open()
        self.channel = self.peer.channel()
        self.consumer = self.peer.consume(self.channel, RecordingConsumer())
        for tag in (1, 2, 3):
            self.peer.send(deliver(1, self.consumer.consumer_tag, tag, b"x"))
        self.first, self.second, self.third = self.consumer.deliveries

    def begin(self) -> None:
        selected = self.channel.tx_select()
        self.peer.send(method(1, Tx.SelectOk()))
        self.assertEqual(self.successResultOf(selected), Tx.SelectOk())
        self.peer.frames()

    def roll_back(self) -> None:
        rolled_back = self.channel.tx_rollback()
        self.peer.send(method(1, Tx.RollbackOk()))
        self.assertEqual(self.successResultOf(rolled_back), Tx.RollbackOk())

    def test_rolled_back_acks_can_be_made_again(self) -> None:
        self.first.ack()
        self.begin()
        self.third.ack(multiple=True)
        self.assertRaises(StaleDelivery, self.second.ack)
        self.roll_back()
        self.peer.frames()
        self.assertRaises(StaleDelivery, self.first.ack)
        self.second.ack()
        self.third.nack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(2), Basic.Nack(3, False, True)])

    def test_rolled_back_acks_are_in_order_again(self) -> None:
        self.begin()
        self.second.ack()
        self.first.ack()
        self.roll_back()
        self.assertEqual(list(self.channel.acks.unacked), [1, 2, 3])
        self.peer.frames()
        self.channel.acks.ack(0, True)
        self.assertEqual(self.peer.methods(), [Basic.Ack(3, True)])

    def test_committed_acks_cannot(self) -> None:
        self.begin()
        self.first.ack()
        committed = self.channel.tx_commit()
        self.second.reject()
        self.peer.send(method(1, Tx.CommitOk()))
        self.assertEqual(self.successResultOf(committed), Tx.CommitOk())
        self.roll_back()
        self.assertRaises(StaleDelivery, self.first.ack)
        self.second.ack()

    def test_acks_made_while_a_rollback_is_under_way_are_of_the_next(self) -> None:
        self.begin()
        self.first.ack()
        self.channel.tx_rollback()
        self.second.ack()
        self.peer.send(method(1, Tx.RollbackOk()))
        self.assertEqual(self.peer.names(), ["Basic.Ack", "Tx.Rollback", "Basic.Ack"])
        self.first.ack()
        self.assertRaises(StaleDelivery, self.second.ack)

    def test_given_up_and_written_all_the_same(self) -> None:
        self.begin()
        self.first.ack()
        self.channel.get("q", False)
        rollback = self.channel.tx_rollback()
        rollback.cancel()
        self.failureResultOf(rollback)
        self.peer.send(method(1, Basic.GetEmpty()) + method(1, Tx.RollbackOk()))
        self.assertEqual(self.peer.names(), ["Basic.Ack", "Basic.Get", "Tx.Rollback"])
        self.first.ack()

    def test_deliveries_after_select_too(self) -> None:
        self.begin()
        self.peer.send(deliver(1, self.consumer.consumer_tag, 4, b"x"))
        self.consumer.deliveries[3].ack()
        self.roll_back()
        self.consumer.deliveries[3].ack()

    def test_B108_the_other_mode(self) -> None:
        self.assertIn("tx.select", str(self.assertRaises(ValueError, self.channel.tx_commit)).lower())
        self.assertRaises(ValueError, self.channel.tx_rollback)
        self.begin()
        self.assertIn("tx mode", str(self.assertRaises(ValueError, self.channel.confirm_select)))
        self.assertEqual(self.peer.frames(), [])
        other = self.peer.channel()
        other.confirm_select()
        self.assertRaises(ValueError, other.tx_select)
        self.assertRaises(ValueError, other.tx_commit)
        self.assertEqual(self.peer.names(), ["Confirm.Select"])

    def test_B108_a_mode_that_was_never_entered(self) -> None:
        self.channel.get("q", False)
        selected = self.channel.confirm_select()
        selected.cancel()
        self.failureResultOf(selected)
        self.peer.send(method(1, Basic.GetEmpty()))
        self.begin()


class RecoverTests(SynchronousTestCase):
    """C{basic.recover}: what is not acknowledged goes back, and comes again."""

    def setUp(self) -> None:
        self.peer = Peer().open()
        self.channel = self.peer.channel()
        self.consumer = self.peer.consume(self.channel, RecordingConsumer())
        self.tag = self.consumer.consumer_tag
        self.peer.send(deliver(1, self.tag, 1, b"1"))

    def test_nothing_from_before_can_be_settled(self) -> None:
        recovered = self.channel.recover()
        self.assertRaises(StaleDelivery, self.consumer.deliveries[0].ack)
        self.peer.send(deliver(1, self.tag, 2, b"2"))
        self.assertEqual(len(self.consumer.deliveries), 1, "the broker takes it back before it answers")
        self.peer.send(method(1, Basic.RecoverOk()))
        self.assertEqual(self.successResultOf(recovered), Basic.RecoverOk())
        for tag in (3, 4):
            self.peer.send(deliver(1, self.tag, tag, b"again"))
        self.peer.frames()
        self.consumer.deliveries[2].ack()
        self.assertEqual((len(self.consumer.deliveries), self.peer.methods()), (3, [Basic.Ack(4)]))
        self.assertIsNone(self.peer.connection.reason)

    def test_what_needs_no_ack_is_delivered_meanwhile(self) -> None:
        free = self.peer.consume(self.channel, RecordingConsumer(no_ack=True))
        self.channel.recover()
        self.peer.send(deliver(1, free.consumer_tag, 2, b"2"))
        self.assertEqual(len(free.deliveries), 1)

    def test_got_meanwhile(self) -> None:
        got = self.channel.get("q", False)
        self.channel.recover()
        self.peer.send(content(1, Basic.GetOk(2, False, "", "q", 0), b"x"))
        self.assertRaises(StaleDelivery, self.successResultOf(got).ack)
        self.peer.send(method(1, Basic.RecoverOk()))

    def test_given_up_and_written_all_the_same(self) -> None:
        self.channel.get("q", False)
        recovered = self.channel.recover()
        recovered.cancel()
        self.failureResultOf(recovered)
        self.peer.send(method(1, Basic.GetEmpty()) + method(1, Basic.RecoverOk()))
        self.assertEqual(self.peer.names(), ["Basic.Get", "Basic.Recover"])
        self.peer.send(deliver(1, self.tag, 2, b"2"))
        self.assertEqual(len(self.consumer.deliveries), 2)

    def test_what_rabbitmq_does_not_implement(self) -> None:
        peer = TwistedPeer().open()
        channel = peer.open_face()
        self.assertIn("requeue", str(self.assertRaises(ValueError, channel.basic_recover, requeue=False)))
        self.assertEqual(peer.frames(), [])


class FaceTests(SynchronousTestCase):
    """As a Twisted program calls them."""

    def test_each_writes_its_method_and_ends_with_its_reply(self) -> None:
        peer = TwistedPeer().open()
        channel = peer.open_face()
        calls: list[tuple[Any, Method, Method]] = [
            (channel.tx_select, Tx.Select(), Tx.SelectOk()),
            (channel.tx_commit, Tx.Commit(), Tx.CommitOk()),
            (channel.tx_rollback, Tx.Rollback(), Tx.RollbackOk()),
            (channel.basic_recover, Basic.Recover(True), Basic.RecoverOk()),
        ]
        for call, written, reply in calls:
            done: Deferred[Any] = call()
            self.assertEqual(peer.methods(), [written])
            peer.send(method(1, reply))
            self.assertEqual(self.successResultOf(done), reply)
        other = peer.open_face()
        twice = [other.confirm_select(), other.confirm_select()]
        peer.send(method(2, Confirm.SelectOk()) * 2)
        for each in twice:
            self.assertEqual(self.successResultOf(each), Confirm.SelectOk())
