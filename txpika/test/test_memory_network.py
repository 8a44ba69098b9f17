"""Clients of txpika and the broker in memory, without reactor and socket; and what a test can let happen."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import AMQPService, BasicProperties, ConnectionParameters
from txpika.exceptions import (
    AuthenticationError,
    ChannelClosed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    HandshakeError,
    NackError,
    OutcomeUnknown,
    ReturnedError,
)
from txpika.testing import MemoryBroker, MemoryNetwork, NothingHappens, connected_channel


class NetworkTests(SynchronousTestCase):
    """The helpers."""

    def setUp(self) -> None:
        self.network, self.channel = connected_channel()
        self.broker = self.network.broker
        self.call = self.network.result_of
        self.call(self.channel.queue_declare("work"))

    def test_what_can_be_looked_at(self) -> None:
        got: list[Any] = []
        self.call(self.channel.basic_publish("", "work", b"1", BasicProperties(type="a")))
        self.call(self.channel.basic_publish("amq.fanout", "key", b"2"))
        self.network.pump()
        self.assertEqual([(each.body, each.properties.type) for each in self.broker.ready("work")], [(b"1", "a")])
        self.call(self.channel.basic_consume("work", got.append))
        self.network.pump()
        self.assertEqual([each.body for each in got], [b"1"])
        self.assertEqual((self.broker.ready("work"), [each.body for each in self.broker.unacked("work")]), ([], [b"1"]))
        got[0].ack()
        self.network.pump()
        self.assertEqual(self.broker.unacked("work"), [])
        self.assertEqual([each.body for each in self.broker.published_to("amq.fanout", "key")], [b"2"])
        self.assertEqual(self.broker.published_to("amq.fanout", "other"), [])
        self.assertEqual(len(self.broker.published or ()), 2)
        self.assertIn("work", repr(self.broker.queue("work")))

    def test_results(self) -> None:
        async def both() -> int:
            await self.channel.confirm_select()
            await self.channel.basic_publish("", "work", b"1")
            delivery = await self.channel.basic_get("work")
            assert delivery is not None
            return len(delivery.body)

        self.assertEqual(self.call(both()), 1)
        error = self.assertRaises(ChannelClosed, self.call, self.channel.queue_declare("none", passive=True))
        self.assertEqual(error.reply_code, 404)
        from twisted.internet.defer import Deferred

        self.assertRaises(NothingHappens, self.call, Deferred())

    def test_a_result_that_comes_later(self) -> None:
        """Who looked too early finds the result, or the error, the next time; and a result more than once."""
        self.call(self.channel.confirm_select())
        faults = self.broker.faults
        faults.nack_next(1)
        faults.hold_confirms()
        refused = self.channel.basic_publish("", "work", b"1")
        asked = self.channel.queue_declare("work")
        self.assertRaises(NothingHappens, self.call, refused)
        faults.release_confirms()
        self.assertRaises(NackError, self.call, refused)
        self.assertEqual([self.call(asked).queue, self.call(asked).queue], ["work", "work"])

    def test_a_wrong_password(self) -> None:
        parameters = txpika.parse_uri("amqp://guest:wrong@localhost/")
        self.assertRaises(AuthenticationError, self.network.connect, parameters)

    def test_time(self) -> None:
        self.call(self.channel.basic_publish("", "work", b"1", BasicProperties(expiration="5000")))
        self.network.advance(4.9)
        self.assertEqual(len(self.broker.ready("work")), 1)
        self.network.advance(0.1)
        self.assertEqual(len(self.broker.ready("work")), 0)

    def test_heartbeats(self) -> None:
        """An hour in which nothing happens but them."""
        self.network.advance(3600)
        self.assertTrue(self.channel.is_open)

    def test_a_cut(self) -> None:
        closed = self.channel.closed
        self.network.cut()
        self.assertIsInstance(self.successResultOf(closed), ConnectionLost)
        self.assertEqual(list(self.broker.connections), [])
        self.assertEqual(self.broker.queue("work").unacked, 0)

    def test_what_one_channel_gives_back_is_not_for_another_that_dies_with_it(self) -> None:
        """It would be lost, where that one acks nothing."""
        connection = self.network.connect()
        one, other = self.call(connection.channel()), self.call(connection.channel())
        self.call(self.channel.basic_publish("", "work", b"1"))
        self.network.pump()
        self.assertIsNotNone(self.call(one.basic_get("work")))
        self.call(other.basic_consume("work", lambda delivery: None, no_ack=True))
        transport: Any = connection.transport
        transport.abortConnection()
        self.network.pump()
        self.assertEqual([message.body for message in self.broker.ready("work")], [b"1"])

    def test_closing(self) -> None:
        connection = self.network.connect()
        self.call(connection.close())
        self.assertEqual(len(self.broker.connections), 1)

    def test_the_callers_clock(self) -> None:
        clock = Clock()
        self.assertIs(MemoryNetwork(clock=clock).clock, clock)
        broker = MemoryBroker(clock)
        self.assertIs(MemoryNetwork(broker).clock, clock)

    def test_a_fast_publisher_and_a_slow_reader(self) -> None:
        """Who has enough is paused, both ways, and nothing is lost."""
        got: list[Any] = []
        other = self.network.channel()
        self.call(other.basic_consume("work", got.append, no_ack=True))
        for _ in range(200):
            self.channel.basic_publish("", "work", b"x" * 10000)
        self.network.pump()
        self.assertEqual(len(got), 200)

    def test_no_delivery_to_who_does_not_read(self) -> None:
        """It waits in the queue, not on its way."""
        got: list[Any] = []
        other = self.network.channel()
        self.call(other.basic_consume("work", got.append, no_ack=True))
        transport: Any = other.connection.transport
        transport.pauseProducing()
        for _ in range(100):
            self.channel.basic_publish("", "work", b"x" * 10000)
        self.network.pump()
        self.assertEqual(got, [])
        self.assertGreater(len(self.broker.ready("work")), 80)
        transport.resumeProducing()
        self.network.pump()
        self.assertEqual(len(got), 100)

    def test_a_long_queue_for_who_does_not_read(self) -> None:
        """It is not written out at once."""
        for _ in range(200):
            self.channel.basic_publish("", "work", b"x" * 10000)
        self.network.pump()
        got: list[Any] = []
        other = self.network.channel()
        transport: Any = other.connection.transport
        other.basic_consume("work", got.append, no_ack=True)
        transport.pauseProducing()
        self.network.pump()
        self.assertGreater(len(self.broker.ready("work")), 150)
        transport.resumeProducing()
        self.network.pump()
        self.assertEqual(len(got), 200)

    def test_a_service(self) -> None:
        """It comes back, and so do its consumers."""
        service = AMQPService("amqp://", self.network.clock, endpoint=self.network.endpoint())
        service.startService()
        channel = self.call(service.channel())
        self.call(channel.queue_declare("mine", exclusive=True))
        got: list[bytes] = []

        def on_delivery(delivery: Any) -> None:
            got.append(delivery.body)
            delivery.ack()

        self.call(channel.basic_consume("mine", on_delivery))
        self.call(self.channel.basic_publish("", "mine", b"1"))
        self.network.pump()
        self.broker.faults.drop_connections()
        self.network.pump()
        self.network.advance(60)
        other = self.network.channel()
        self.call(other.basic_publish("", "mine", b"2"))
        self.network.pump()
        self.assertEqual((got, service.reconnects), ([b"1", b"2"], 1))
        self.network.reachable = False
        self.network.cut()
        self.network.advance(60)
        self.assertEqual(service.state, "waiting")
        self.network.reachable = True
        self.network.advance(60)
        self.assertEqual((service.state, service.reconnects), ("open", 2))
        self.call(service.stopService())
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def test_no_reactor(self) -> None:
        """Importing it, and using it, installs none."""
        program = (
            "import sys; from txpika.testing import connected_channel; n, c = connected_channel();"
            "n.result_of(c.queue_declare('q')); sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program]).returncode, 0)


class FaultTests(SynchronousTestCase):
    """The script of faults, as a client of txpika sees it."""

    def setUp(self) -> None:
        self.network, self.channel = connected_channel()
        self.faults = self.network.broker.faults
        self.call = self.network.result_of
        self.call(self.channel.queue_declare("work"))
        self.call(self.channel.confirm_select())

    def publish(self, body: bytes = b"m", **arguments: Any) -> Any:
        published = self.channel.basic_publish("", "work", body, **arguments)
        self.network.pump()
        return published

    def ready(self) -> list[bytes]:
        return [each.body for each in self.network.broker.ready("work")]

    def test_nacks(self) -> None:
        self.faults.nack_next(2)
        first, second, third = self.publish(b"1"), self.publish(b"2"), self.publish(b"3")
        self.failureResultOf(first, NackError)
        self.failureResultOf(second, NackError)
        self.assertIsNone(self.successResultOf(third))
        self.assertEqual(self.ready(), [b"3"])

    def test_nacks_among_acks(self) -> None:
        """Each has its own outcome, however they leave together."""
        self.faults.nack_next(1)
        outcomes = [self.channel.basic_publish("", "work", b"%d" % number) for number in range(5)]
        outcomes.append(self.channel.basic_publish("", "none", b"", mandatory=True))
        self.network.pump()
        self.failureResultOf(outcomes[0], NackError)
        for outcome in outcomes[1:5]:
            self.assertIsNone(self.successResultOf(outcome))
        self.failureResultOf(outcomes[5], ReturnedError)

    def test_held_confirmations(self) -> None:
        self.faults.hold_confirms()
        self.faults.nack_next(1)
        first, second = self.publish(b"1"), self.publish(b"2")
        self.network.advance(1000)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.faults.release_confirms()
        self.network.pump()
        self.failureResultOf(first, NackError)
        self.successResultOf(second)
        self.successResultOf(self.publish(b"3"))

    def test_confirmations_that_are_late(self) -> None:
        self.faults.hold_confirms(5)
        first = self.publish()
        self.network.advance(4.9)
        self.assertNoResult(first)
        self.network.advance(0.1)
        self.successResultOf(first)

    def test_late_confirmations_that_are_held_after_all(self) -> None:
        """What was said last holds: not before C{release_confirms}."""
        self.faults.hold_confirms(5)
        self.faults.hold_confirms()
        first = self.publish()
        self.network.advance(10)
        self.assertNoResult(first)
        self.faults.release_confirms()
        self.network.pump()
        self.successResultOf(first)

    def test_block(self) -> None:
        told: list[str] = []
        connection: Any = self.channel.connection
        connection.on_blocked, connection.on_unblocked = told.append, lambda: told.append("over")
        self.faults.block("why")
        self.network.pump()
        waits = self.publish()
        self.assertNoResult(waits)
        self.faults.unblock()
        self.network.pump()
        self.assertEqual(told, ["why", "over"])
        self.successResultOf(waits)

    def test_an_alarm(self) -> None:
        """Who publishes is blocked, and not read; who consumes is not."""
        got: list[Any] = []
        consumer = self.network.channel()
        self.call(consumer.basic_consume("work", got.append, no_ack=True))
        told: list[str] = []
        connection: Any = self.channel.connection
        connection.on_blocked = told.append
        self.successResultOf(self.publish())
        got.clear()
        self.faults.raise_alarm("low on disk")
        self.network.pump()
        self.assertEqual(told, [])
        published = self.publish()
        declared = self.channel.queue_declare("other")
        self.network.pump()
        self.assertEqual(told, ["low on disk"])
        self.assertNoResult(published)
        self.assertNoResult(declared)
        self.assertEqual(got, [])
        self.call(consumer.queue_declare("third"))
        self.network.advance(3600)
        self.faults.unblock()
        self.network.pump()
        self.successResultOf(published)
        self.successResultOf(declared)
        self.assertEqual(len(got), 1)

    def test_closed_in_words(self) -> None:
        closed: Any = self.channel.connection.closed
        self.faults.close_connections(320, "maintenance")
        self.network.pump()
        reason = self.successResultOf(closed)
        self.assertIsInstance(reason, ConnectionClosed)
        self.assertEqual((reason.reply_code, reason.reply_text), (320, "CONNECTION_FORCED - maintenance"))

    def test_a_channel_is_closed(self) -> None:
        other = self.call(self.channel.connection.channel())
        closed: Any = self.channel.closed
        self.faults.close_channels(406, "because", number=self.channel.channel_number)
        self.network.pump()
        reason = self.successResultOf(closed)
        self.assertEqual((reason.reply_code, reason.reply_text), (406, "PRECONDITION_FAILED - because"))
        self.call(other.queue_declare("more"))

    def test_cancelled_consumers(self) -> None:
        consumers = [self.call(self.channel.basic_consume("work", lambda _: None, consumer_tag=tag)) for tag in "ab"]
        self.assertEqual(self.faults.cancel_consumers("work", "a"), 1)
        self.network.pump()
        self.assertIsInstance(self.successResultOf(consumers[0].closed), ConsumerCancelled)
        self.assertNoResult(consumers[1].closed)
        self.assertEqual(next(iter(self.network.broker.queue("work").rotation.everyone)).tag, "b")

    def test_a_forgotten_queue(self) -> None:
        consumer = self.call(self.channel.basic_consume("work", lambda _: None))
        self.faults.forget_queue("work")
        self.network.pump()
        self.assertIsInstance(self.successResultOf(consumer.closed), ConsumerCancelled)
        self.assertRaises(KeyError, self.network.broker.queue, "work")

    def test_cut_after_frames_of_the_client(self) -> None:
        """Within the next message: method and header came, the body did not."""
        for frames, arrived in ((1, []), (2, []), (3, [b"m"])):
            (connection,) = self.network.broker.connections
            self.faults.drop_after_received(frames, connection)
            published = self.publish()
            self.failureResultOf(published, OutcomeUnknown)
            self.assertEqual(self.ready(), arrived)
            self.channel = self.network.channel()
            self.call(self.channel.confirm_select())

    def test_cut_after_methods_of_the_broker(self) -> None:
        """A message comes back, and its confirmation does not."""
        (connection,) = self.network.broker.connections
        self.faults.drop_after_sent(1, connection)
        published = self.channel.basic_publish("", "none", b"1", mandatory=True)
        self.network.pump()
        self.failureResultOf(published, ReturnedError)
        self.assertFalse(self.channel.is_open)
        self.faults.drop_after_sent(1)
        self.assertFalse(self.network.channel().is_open)
        self.assertRaises(ValueError, self.faults.drop_after_sent, 0)

    def test_cut_before_the_confirmation(self) -> None:
        """The message is there, and nobody is told."""
        self.faults.hold_confirms()
        published = self.publish(b"1")
        self.faults.drop_connections()
        self.network.pump()
        self.failureResultOf(published, OutcomeUnknown)
        self.assertEqual(self.ready(), [b"1"])

    def test_refusing(self) -> None:
        self.faults.refusing = True
        self.assertRaises(HandshakeError, self.network.connect)
        self.faults.refusing = False
        self.network.connect(ConnectionParameters())
