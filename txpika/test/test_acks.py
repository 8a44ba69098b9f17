"""Tests for L{txpika.core.acks} as a Twisted program sees it: what leaves for which acks, and what is stale."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from txpika.exceptions import StaleDelivery
from txpika.message import Delivery
from txpika.spec import Basic, Method
from txpika.spec import Channel as ChannelMethods
from txpika.test.fakes import deliveries, method
from txpika.test.test_consuming import CANCELLED, Consuming


class BatchTests(Consuming):
    """What leaves, for acks made while one read is processed."""

    def settle(self, *bodies: bytes) -> list[Method]:
        """Each body says what its function does."""

        actions: dict[bytes, Callable[[Delivery], None]] = {
            b"ack": lambda delivery: delivery.ack(),
            b"all": lambda delivery: delivery.ack(multiple=True),
            b"nack": lambda delivery: delivery.nack(),
            b"none": lambda delivery: delivery.nack(multiple=True),
            b"reject": lambda delivery: delivery.reject(),
            b"wait": lambda delivery: None,
        }
        seen: list[Delivery] = []

        def function(delivery: Delivery) -> None:
            seen.append(delivery)
            for word in delivery.body.split():
                what, _, other = word.partition(b"-")
                actions[what](seen[int(other) - 1] if other else delivery)

        self.setUp()
        self.peer.consuming(self.channel, function)
        self.deliver(*bodies)
        self.assertEqual(self.flushLoggedErrors(), [])
        return self.peer.methods()

    def test_in_order(self) -> None:
        self.assertEqual(self.settle(b"ack"), [Basic.Ack(1, False)])
        self.assertEqual(self.settle(b"ack", b"ack", b"ack"), [Basic.Ack(3, True)])
        self.assertEqual(self.settle(b"wait", b"wait", b"ack-1 ack-2 ack"), [Basic.Ack(3, True)])

    def test_one_left_out(self) -> None:
        self.assertEqual(self.settle(b"wait", b"ack", b"ack"), [Basic.Ack(2), Basic.Ack(3)])
        self.assertEqual(self.settle(b"ack", b"wait", b"ack"), [Basic.Ack(1), Basic.Ack(3)])
        self.assertEqual(self.settle(b"ack", b"ack", b"wait", b"ack"), [Basic.Ack(2, True), Basic.Ack(4)])

    def test_out_of_order(self) -> None:
        self.assertEqual(self.settle(b"wait", b"wait", b"ack ack-2 ack-1"), [Basic.Ack(tag) for tag in (3, 2, 1)])
        self.assertEqual(self.settle(b"wait", b"ack ack-1", b"ack"), [Basic.Ack(2), Basic.Ack(3, True)])

    def test_explicit_multiple(self) -> None:
        self.assertEqual(self.settle(b"wait", b"wait", b"all"), [Basic.Ack(3, True)])
        self.assertEqual(self.settle(b"ack", b"wait", b"all", b"ack"), [Basic.Ack(1), Basic.Ack(3, True), Basic.Ack(4)])
        self.assertEqual(self.settle(b"wait", b"wait", b"none"), [Basic.Nack(3, True, True)])

    def test_refusals_between(self) -> None:
        self.assertEqual(
            self.settle(b"ack", b"nack", b"ack", b"reject", b"ack", b"ack"),
            [Basic.Ack(1), Basic.Nack(2, False, True), Basic.Ack(3), Basic.Reject(4, False), Basic.Ack(6, True)],
        )

    def test_calls_between(self) -> None:
        """What was called after an ack is written after it."""

        def function(delivery: Delivery) -> None:
            delivery.ack()
            if delivery.delivery_tag == 2:
                self.channel.basic_publish("", "r", b"x")
            if delivery.delivery_tag == 4:
                self.channel.queue_purge("q")

        self.peer.consuming(self.channel, function)
        self.deliver(*[b"x"] * 6)
        self.assertEqual(self.peer.names(), ["Basic.Ack", "Basic.Publish", "Basic.Ack", "Queue.Purge"])

    def test_each_channel_for_itself(self) -> None:
        other = self.peer.open_face()
        for channel in (self.channel, other):
            self.peer.consuming(channel, lambda delivery: delivery.ack(), consumer_tag="t")
        self.peer.send(
            deliveries(1, b"x", b"x", number=1)
            + deliveries(1, b"x", b"x", b"x", number=2)
            + deliveries(3, b"x", number=1)
        )
        sent = [(number, payload) for _, number, payload in self.peer.frames()]
        self.assertEqual(sent, [(1, Basic.Ack(3, True).encode()), (2, Basic.Ack(3, True).encode())])

    def test_after_the_end_nothing_is_written(self) -> None:
        for number in range(1, len(self.ends())):
            self.setUp()
            consumer = self.peer.consuming(self.channel)
            self.deliver(b"1", b"2", b"3")
            first, second, third = (self.successResultOf(self.take(consumer)) for _ in range(3))
            second.ack()
            end, _, _ = self.ends()[number]
            end()
            self.peer.frames()
            for settle in (first.ack, second.ack, third.nack, third.reject, lambda third=third: third.ack(True)):
                self.assertRaises(StaleDelivery, settle)
            self.assertRaises(StaleDelivery, self.channel.basic_ack, 0, True)
            self.assertEqual(self.peer.frames(), [])

    def test_after_the_broker_cancelled_acks_still_count(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1")
        delivery = self.successResultOf(self.take(consumer))
        self.peer.send(CANCELLED)
        delivery.ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)])

    def test_same_number_on_another_channel(self) -> None:
        """A handle is of the channel it came on: its number means another message elsewhere."""
        other = self.peer.open_face()
        first, second = self.peer.consuming(self.channel), self.peer.consuming(other, consumer_tag="t")
        self.peer.send(deliveries(1, b"here", number=1) + deliveries(1, b"there", number=2))
        here, there = self.successResultOf(self.take(first)), self.successResultOf(self.take(second))
        self.peer.send(method(1, ChannelMethods.Close(406, "x", 0, 0)))
        self.peer.frames()
        self.assertRaises(StaleDelivery, here.ack)
        self.assertEqual(self.peer.frames(), [])
        again = self.peer.open_face()
        self.assertEqual(again.channel_number, 1)
        new = self.peer.consuming(again, consumer_tag="t")
        self.peer.send(deliveries(1, b"again", number=1))
        self.assertRaises(StaleDelivery, here.ack)
        self.assertRaises(StaleDelivery, here.nack, multiple=True)
        self.assertEqual(self.peer.frames(), [])
        self.successResultOf(self.take(new)).ack()
        there.ack()
        self.assertEqual([number for _, number, _ in self.peer.frames()], [1, 2])

    def test_multiple_is_a_bool(self) -> None:
        consumer = self.peer.consuming(self.channel)
        self.deliver(b"1", b"2")
        self.take(consumer)
        second = self.successResultOf(self.take(consumer))
        for wrong in ("no", 2, 1, [0]):
            error = self.assertRaises(TypeError, second.ack, wrong)
            self.assertIn("basic.ack: multiple", str(error))
        self.assertEqual(self.peer.frames(), [])
        second.ack(True)
        self.assertEqual(self.peer.methods(), [Basic.Ack(2, True)])


class Looked(dict[int, None]):
    """Delivery tags; counts how many were passed in looking for one."""

    passed = 0

    def __iter__(self) -> Iterator[int]:
        for tag in super().__iter__():
            self.passed += 1
            yield tag


class WorkTests(Consuming):
    """The work of an ack does not grow with how many deliveries wait for theirs."""

    TOTAL = 1_000

    def settling(self, settle: Callable[[Delivery], None]) -> int:
        """Settle all but the first, in order; return how many others were passed meanwhile."""
        self.setUp()
        consumer = self.peer.consuming(self.channel)
        self.deliver(*[b"x"] * self.TOTAL)
        waiting = [self.successResultOf(self.take(consumer)) for _ in range(self.TOTAL)]
        acks = self.channel._core.acks
        acks.unacked = unacked = Looked(acks.unacked)
        for delivery in waiting[1:]:
            settle(delivery)
        self.assertEqual(len(unacked), 1)
        return unacked.passed

    def test_the_first_waits(self) -> None:
        for settle in (lambda each: each.ack(), lambda each: each.nack(), lambda each: each.reject()):
            self.assertLess(self.settling(settle), 3 * self.TOTAL)


class SettledTests(Consuming):
    """C{Delivery.settled}."""

    def test_until_it_is(self) -> None:
        seen: list[Delivery] = []
        self.peer.consuming(self.channel, seen.append)
        self.deliver(b"1", b"2", b"3", b"4")
        self.assertEqual([each.settled for each in seen], [False] * 4)
        seen[0].ack()
        seen[1].reject()
        self.assertEqual([each.settled for each in seen], [True, True, False, False])
        seen[2].nack(multiple=True)
        self.assertEqual([each.settled for each in seen], [True, True, True, False])
        self.peer.lose()
        self.assertTrue(seen[3].settled)

    def test_without_ack(self) -> None:
        seen: list[Delivery] = []
        self.peer.consuming(self.channel, seen.append, no_ack=True)
        self.deliver(b"1")
        self.assertTrue(seen[0].settled)
