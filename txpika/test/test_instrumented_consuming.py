"""Tests for what instruments are told of deliveries, their handling, and how they are settled."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from txpika import BasicProperties
from txpika.events import Arrival, arrival_of
from txpika.exceptions import StaleDelivery
from txpika.message import Delivery
from txpika.spec import Basic, Tx
from txpika.spec import Channel as ChannelMethods
from txpika.test.fakes import TwistedPeer, content, deliver, method
from txpika.test.instruments import QUIET, Observed, Recorder

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="nothing")


class ContextInstrument(Recorder):
    """Sets a context variable for each function."""

    def handling(self, arrival: Arrival) -> None:
        VARIABLE.set(f"arrival {arrival.delivery_tag}")
        self.events.append(("handling", arrival))


class HandlerTests(Observed):
    """Functions of consumers."""

    def setUp(self) -> None:
        super().setUp()
        self.told = ContextInstrument()
        self.peer = TwistedPeer(QUIET, self.told).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.seen: list[str] = []

    def see(self) -> None:
        self.seen.append(VARIABLE.get())

    def test_plain(self) -> None:
        def on_delivery(delivery: Delivery) -> None:
            self.see()
            self.pass_time(0.5)

        self.consume(on_delivery)
        self.deliver(b"1", b"2")
        self.see()
        self.assertEqual(self.seen, ["arrival 1", "arrival 2", "nothing"])
        self.assertEqual([event[1:] for event in self.told.take("handled")], [(0.5, None)] * 2)

    def test_a_deferred(self) -> None:
        working: list[Deferred[None]] = []

        def on_delivery(delivery: Delivery) -> Deferred[None]:
            self.see()
            working.append(Deferred())
            return working[-1]

        consumer = self.consume(on_delivery)
        self.deliver(b"1")
        self.pass_time(3)
        self.assertEqual((self.told.take("handled"), consumer.running), ([], 1))
        working[0].callback(None)
        ((arrival, seconds, error),) = self.told.take("handled")
        self.assertEqual((arrival.delivery_tag, seconds, error, consumer.running), (1, 3, None, 0))
        self.assertEqual((self.seen, VARIABLE.get()), (["arrival 1"], "nothing"))

    def interleaved(self, on_delivery: Any, working: list[Deferred[None]]) -> None:
        """Two at once, which go on in the other order."""
        self.consume(on_delivery)
        self.deliver(b"1", b"2")
        self.see()
        working[1].callback(None)
        working[0].callback(None)
        self.see()
        expected = ["arrival 1", "arrival 2", "nothing", "arrival 2", "arrival 1", "nothing"]
        self.assertEqual(self.seen, expected)
        self.assertEqual([arrival.delivery_tag for arrival, _, _ in self.told.take("handled")], [2, 1])

    def test_async(self) -> None:
        working: list[Deferred[None]] = []

        async def inner() -> None:
            working.append(Deferred())
            await working[-1]
            self.see()

        async def on_delivery(delivery: Delivery) -> None:
            self.see()
            await inner()

        self.interleaved(on_delivery, working)

    def test_inline_callbacks(self) -> None:
        working: list[Deferred[None]] = []

        @inlineCallbacks
        def on_delivery(delivery: Delivery) -> Any:
            self.see()
            working.append(Deferred())
            yield working[-1]
            self.see()

        self.interleaved(on_delivery, working)

    def test_failures(self) -> None:
        def plain(delivery: Delivery) -> None:
            raise RuntimeError("plain")

        def deferred(delivery: Delivery) -> Deferred[None]:
            return Deferred.fromCoroutine(coroutine(delivery))

        async def coroutine(delivery: Delivery) -> None:
            raise RuntimeError("async")

        def cancelled(delivery: Delivery) -> None:
            raise asyncio.CancelledError("of asyncio")

        functions: list[Any] = [plain, deferred, coroutine, cancelled, lambda delivery: 5]
        for number, on_delivery in enumerate(functions):
            consuming = self.channel.basic_consume("work", on_delivery, consumer_tag=f"t{number}")
            self.peer.send(method(1, Basic.ConsumeOk(f"t{number}")))
            self.successResultOf(consuming)
            self.peer.send(deliver(1, f"t{number}", number + 1, b""))
        errors = [error for _, _, error in self.told.take("handled")]
        self.assertEqual([str(error) for error in errors[:4]], ["plain", "async", "async", "of asyncio"])
        self.assertEqual([logged.value for logged in self.flushLoggedErrors()], errors[:4])
        self.assertEqual(errors[4:], [None])

    def test_with_a_limit_and_a_policy(self) -> None:
        working: list[Deferred[None]] = []

        def on_delivery(delivery: Delivery) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        self.consume(on_delivery, concurrency=1, ack="on-success")
        self.deliver(b"1", b"2")
        self.assertEqual((len(self.told.take("delivered")), len(self.told.take("handling"))), (2, 1))
        self.pass_time(2)
        working[0].callback(None)
        self.pass_time(1)
        working[1].errback(RuntimeError("no"))
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual([event[1] for event in self.told.take("handled")], [2, 1])
        settled = [(arrival.delivery_tag, *rest) for arrival, *rest in self.told.take("settled")]
        self.assertEqual(settled, [(1, "ack", False, 2), (2, "nack", True, 3)])


class ConsumeTests(Observed):
    """Deliveries, and how they are settled."""

    def setUp(self) -> None:
        super().setUp()
        self.deliveries: list[Delivery] = []

    def settled(self) -> list[tuple[Any, ...]]:
        return [(arrival.delivery_tag, *rest) for arrival, *rest in self.told.take("settled")]

    def test_what_is_told(self) -> None:
        self.pass_time(2)
        self.consume(self.deliveries.append)
        properties = BasicProperties(headers={"k": "v"}).encode()
        data = content(1, Basic.Deliver("t", 1, True, "x", "key"), b"hello", properties)
        self.peer.send(data)
        ((arrival,),) = self.told.take("delivered")
        self.assertEqual(
            (arrival.exchange, arrival.routing_key, arrival.redelivered, arrival.size, arrival.delivery_tag),
            ("x", "key", True, 5, 1),
        )
        self.assertEqual((arrival.consumer_tag, arrival.since, arrival.waited), ("t", 2, None))
        self.assertEqual((arrival.source.queue, arrival.source.no_ack), ("work", False))
        self.assertIs(arrival.source.connection, self.told.take("connected")[0][0])
        self.assertEqual(arrival.properties.headers, {"k": "v"})
        arrival.properties.headers["k"] = "changed"
        (delivery,) = self.deliveries
        self.assertEqual(delivery.properties.headers, {"k": "v"})
        self.assertIs(delivery.channel, self.channel)
        self.assertIs(arrival_of(delivery), arrival)
        self.assertNotIn("hello", repr(arrival))

    def test_the_short_road_and_the_long_one(self) -> None:
        self.consume(self.deliveries.append)
        for body in (b"1", b"2"):
            self.tag += 1
            for byte in deliver(1, "t", self.tag, body):
                self.peer.send(bytes((byte,)))
        self.deliver(b"3", b"4")
        self.assertEqual([arrival.delivery_tag for (arrival,) in self.told.take("delivered")], [1, 2, 3, 4])
        self.assertEqual([delivery.body for delivery in self.deliveries], [b"1", b"2", b"3", b"4"])

    def test_settling(self) -> None:
        self.consume(self.deliveries.append)
        self.deliver(*[b"x"] * 7)
        one, two, three, four, _, _, seven = self.deliveries
        self.pass_time(1)
        one.ack()
        two.nack()
        three.nack(requeue=False)
        four.reject()
        self.pass_time(1)
        self.channel.basic_reject(5)
        seven.ack(multiple=True)
        self.assertRaises(StaleDelivery, one.ack)
        expected = [
            (1, "ack", False, 1),
            (2, "nack", True, 1),
            (3, "nack", False, 1),
            (4, "reject", False, 1),
            (5, "reject", True, 2),
            (6, "ack", False, 2),
            (7, "ack", False, 2),
        ]
        self.assertEqual(self.settled(), expected)
        sent = [each for each in self.peer.methods() if isinstance(each, Basic.Ack | Basic.Nack | Basic.Reject)]
        self.assertEqual(
            sent,
            [
                Basic.Ack(1),
                Basic.Nack(2),
                Basic.Nack(3, False, False),
                Basic.Reject(4, False),
                Basic.Reject(5),
                Basic.Ack(7, True),
            ],
        )

    def test_settling_all(self) -> None:
        self.consume(self.deliveries.append)
        self.deliver(b"1", b"2", b"3")
        self.channel.basic_ack(2)
        self.channel.basic_nack(0, multiple=True)
        self.deliver(b"4")
        self.channel.basic_ack(multiple=True)
        self.assertRaises(StaleDelivery, self.channel.basic_ack, multiple=True)
        self.assertEqual([each[:2] for each in self.settled()], [(2, "ack"), (1, "nack"), (3, "nack"), (4, "ack")])

    def test_iteration(self) -> None:
        consumer = self.consume()
        self.deliver(b"1", b"2", b"3")
        delivery = self.successResultOf(Deferred.fromCoroutine(consumer.__anext__()))
        delivery.ack()
        cancelled = consumer.cancel()
        self.peer.send(method(1, Basic.CancelOk("t")))
        self.successResultOf(cancelled)
        self.assertEqual(self.settled(), [(1, "ack", False, 0), (2, "nack", True, 0), (3, "nack", True, 0)])
        self.assertEqual(self.told.take("handling", "handled"), [])

    def test_drain(self) -> None:
        """What comes while a consumer is drained was delivered, too, and goes back."""
        working: Deferred[None] = Deferred()
        consumer = self.consume(lambda delivery: working, concurrency=1, ack="on-success")
        self.deliver(b"1", b"2")
        drained = consumer.drain()
        self.deliver(b"3")
        self.peer.send(method(1, Basic.CancelOk("t")))
        working.callback(None)
        self.assertEqual(self.successResultOf(drained), 0)
        self.assertEqual(len(self.told.take("delivered")), 3)
        self.assertEqual(len(self.told.take("handled")), 1)
        self.assertEqual(sorted(self.settled()), [(1, "ack", False, 0), (2, "nack", True, 0), (3, "nack", True, 0)])

    def test_without_acks(self) -> None:
        self.consume(self.deliveries.append, no_ack=True)
        self.deliver(b"1")
        ((arrival,),) = self.told.take("delivered")
        self.assertTrue(arrival.source.no_ack)
        self.assertRaises(StaleDelivery, self.deliveries[0].ack)
        self.assertEqual((self.settled(), self.sample().unsettled), ([], 0))

    def test_get(self) -> None:
        got = self.channel.basic_get("q")
        self.pass_time(0.5)
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 3), b"got"))
        delivery = self.successResultOf(got)
        assert delivery is not None
        ((arrival,),) = self.told.take("delivered")
        self.assertEqual((arrival.source.queue, arrival.consumer_tag, arrival.waited), ("q", "", 0.5))
        delivery.ack()
        self.assertEqual(self.settled(), [(1, "ack", False, 0)])
        got = self.channel.basic_get("q")
        self.peer.send(method(1, Basic.GetEmpty()))
        self.assertIsNone(self.successResultOf(got))
        self.assertEqual(self.told.take("delivered"), [])

    def test_recover(self) -> None:
        self.consume(self.deliveries.append)
        self.deliver(b"1", b"2")
        recovered = self.channel.basic_recover()
        self.peer.send(method(1, Basic.RecoverOk()))
        self.successResultOf(recovered)
        self.assertRaises(StaleDelivery, self.deliveries[0].ack)
        self.deliver(b"3")
        self.deliveries[-1].ack()
        self.assertEqual(self.settled(), [(3, "ack", False, 0)])

    def test_a_transaction_rolled_back(self) -> None:
        """The second ack of the same delivery is written; told is the first."""
        self.channel.tx_select()
        self.peer.send(method(1, Tx.SelectOk()))
        self.consume(self.deliveries.append)
        self.deliver(b"1")
        self.deliveries[0].ack()
        self.channel.tx_rollback()
        self.peer.send(method(1, Tx.RollbackOk()))
        self.peer.frames()
        self.deliveries[0].ack()
        self.assertEqual(self.peer.methods(), [Basic.Ack(1)])
        self.assertEqual(self.settled(), [(1, "ack", False, 0)])

    def test_records_keep_no_body_and_do_not_outlive_their_delivery(self) -> None:
        channel: Any = self.channel
        self.consume(self.deliveries.append)
        self.deliver(b"a body of its own", b"2", b"3")
        delivery = self.deliveries[0]
        referents = gc.get_referents(arrival_of(delivery))
        self.assertFalse(any(each is delivery or each is delivery.body for each in referents))
        self.assertEqual(list(channel.unsettled), [1, 2, 3])
        delivery.ack()
        self.assertEqual(list(channel.unsettled), [2, 3])
        self.peer.send(method(1, ChannelMethods.Close(406, "no", 0, 0)))
        self.assertEqual(channel.unsettled, {})
        self.assertRaises(StaleDelivery, self.deliveries[1].ack)
        self.assertEqual(len(self.settled()), 1)
