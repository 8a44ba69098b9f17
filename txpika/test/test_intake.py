"""Tests for reading that is paused: a consumer has enough, and nobody starves by it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.consumer import Consumer
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Confirm, Connection, Queue
from txpika.test.fakes import TwistedPeer, deliver, method


class IntakeTests(SynchronousTestCase):
    """A consumer without a function, whose buffer takes four deliveries."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=60)).open(heartbeat=60)
        self.channel = self.peer.open_face()
        self.consumer = self.consume()
        self.tag = 0

    def consume(self, **more: Any) -> Consumer:
        more.setdefault("consumer_tag", "t")
        consuming = self.channel.basic_consume("q", buffer_size=4, **more)
        self.peer.send(method(1, Basic.ConsumeOk(more["consumer_tag"])))
        self.peer.frames()
        return self.successResultOf(consuming)

    def deliver(self, count: int, consumer_tag: str = "t") -> None:
        for _ in range(count):
            self.tag += 1
            self.peer.send(deliver(1, consumer_tag, self.tag, b"%d" % self.tag))

    def take(self, count: int) -> list[bytes]:
        bodies = []
        for _ in range(count):
            bodies.append(self.successResultOf(Deferred.fromCoroutine(self.consumer.__anext__())).body)
        return bodies

    @property
    def reading(self) -> bool:
        return self.peer.transport.reading

    def test_pauses_when_full_and_resumes_when_half_empty(self) -> None:
        self.deliver(3)
        self.assertTrue(self.reading)
        self.deliver(1)
        self.assertFalse(self.reading)
        self.assertEqual(self.take(1), [b"1"])
        self.assertFalse(self.reading)
        self.assertEqual(self.take(1), [b"2"])
        self.assertTrue(self.reading)
        self.deliver(2)
        self.assertFalse(self.reading)
        self.assertEqual(self.take(4), [b"3", b"4", b"5", b"6"])

    def test_a_call_is_answered_all_the_same(self) -> None:
        self.deliver(4)
        declared = self.channel.queue_declare("q", passive=True)
        self.assertTrue(self.reading, "nobody else could make room")
        self.deliver(10)
        self.assertTrue(self.reading)
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.successResultOf(declared)
        self.assertFalse(self.reading)
        self.assertEqual(len(self.take(14)), 14)

    def test_a_confirmation_arrives_all_the_same(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.deliver(4)
        self.assertFalse(self.reading)
        published = self.channel.basic_publish("", "q", b"x")
        self.assertTrue(self.reading)
        self.assertIn("Basic.Publish", self.peer.names())
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(published)
        self.assertFalse(self.reading)

    def test_a_publish_without_confirmation_needs_no_reading(self) -> None:
        self.deliver(4)
        self.successResultOf(self.channel.basic_publish("", "q", b"x"))
        self.assertFalse(self.reading)

    def test_other_calls_that_need_answers(self) -> None:
        for call in (
            lambda: self.peer.protocol.update_secret("s"),
            lambda: self.peer.protocol.channel(),
            lambda: self.channel.close(),
            lambda: self.peer.protocol.close(),
        ):
            self.setUp()
            self.deliver(4)
            self.assertFalse(self.reading)
            call()
            self.assertTrue(self.reading)

    def test_a_consumer_that_ends_makes_room(self) -> None:
        self.deliver(4)
        cancelled = self.consumer.cancel()
        self.peer.send(method(1, Basic.CancelOk("t")))
        self.successResultOf(cancelled)
        self.assertTrue(self.reading)
        self.deliver(4)
        self.assertTrue(self.reading)

    def test_the_last_of_two_makes_room(self) -> None:
        other = self.consume(consumer_tag="u")
        self.deliver(4)
        self.deliver(4, "u")
        self.take(4)
        self.assertFalse(self.reading)
        self.consumer = other
        self.take(2)
        self.assertTrue(self.reading)

    def test_a_broker_that_is_not_read_is_not_dead(self) -> None:
        self.deliver(4)
        self.peer.clock.pump([10] * 60)
        self.assertIsNone(self.peer.connection.reason)
        self.take(4)
        self.peer.clock.pump([10] * 11)
        self.assertIsNone(self.peer.connection.reason)
        self.peer.clock.pump([10] * 6)
        self.assertIsNotNone(self.peer.connection.reason)

    def test_a_function_with_a_limit(self) -> None:
        working: list[Deferred[None]] = []

        def work(delivery: object) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        self.consume(on_delivery=work, concurrency=1, consumer_tag="u")
        self.deliver(4, "u")
        self.assertTrue(self.reading)
        self.deliver(1, "u")
        self.assertFalse(self.reading, "one is at work, four wait")
        working[0].callback(None)
        self.assertFalse(self.reading)
        working[1].callback(None)
        self.assertTrue(self.reading)

    def test_the_loss_of_the_connection(self) -> None:
        self.deliver(4)
        self.peer.lose()
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_the_broker_closes(self) -> None:
        self.channel.queue_declare("q").addErrback(lambda failure: None)
        self.deliver(4)
        self.peer.send(method(0, Connection.Close(320, "maintenance", 0, 0)))
        self.assertIn("lose", self.peer.transport.events)
        self.assertTrue(self.reading)

    def test_refused_sizes(self) -> None:
        for bad, error in ((0, ValueError), (-1, ValueError), ("9", TypeError), (True, TypeError)):
            self.assertRaises(error, self.channel.basic_consume, "q", buffer_size=bad)
        self.assertEqual(self.peer.frames(), [])
