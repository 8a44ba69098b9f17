"""Tests for what instruments are told of connections and publishes."""

from __future__ import annotations

from copy import copy
from threading import Thread
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import AMQPFactory, AMQPProtocol, BasicProperties, ConnectionParameters, Instrument
from txpika.core.connection import Connection as Core
from txpika.events import Publication, Sample
from txpika.exceptions import ConnectionLost, HandshakeError, OutboundBufferFull, WrongThread
from txpika.message import Delivery
from txpika.spec import Basic, Confirm, Connection, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.test.fakes import TwistedPeer, content, method
from txpika.test.instruments import QUIET, Observed, Recorder
from txpika.test.strategies import examples


class ConnectionTests(Observed):
    """The life of a connection."""

    def test_opened(self) -> None:
        parameters = ConnectionParameters("rabbit.example", 5673, "vh", connection_name="me", heartbeat=0)
        told = Recorder()
        peer = TwistedPeer(parameters, told)
        peer.clock.advance(0.5)
        self.assertEqual(told.events, [])
        peer.open(heartbeat=0)
        ((connection, seconds),) = told.take("connected")
        self.assertEqual(seconds, 0.5)
        self.assertEqual(
            (connection.host, connection.port, connection.virtual_host, connection.name, connection.peer),
            ("rabbit.example", 5673, "vh", "me", None),
        )
        self.assertTrue(connection.is_open)
        self.assertEqual(connection.reconnects, 0)

    def test_the_peer_of_the_transport(self) -> None:
        protocol = AMQPProtocol(QUIET, self.peer.clock, instrument=self.told)
        protocol.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
        assert protocol._observer is not None
        self.assertEqual(protocol._observer.connection.peer, ("192.168.1.1", 54321))

    def test_lost(self) -> None:
        self.pass_time(7)
        self.peer.lose()
        ((connection, reason, seconds),) = self.told.take("disconnected")
        self.assertIsInstance(reason, ConnectionLost)
        self.assertEqual((seconds, connection.is_open), (7, False))

    def test_a_failed_handshake(self) -> None:
        told = Recorder()
        peer = TwistedPeer(QUIET, told)
        peer.clock.advance(3)
        peer.lose()
        self.assertEqual(told.names(), ["disconnected"])
        ((_, reason, seconds),) = told.take("disconnected")
        self.assertIsInstance(reason, HandshakeError)
        self.assertEqual(seconds, 0.0)

    def test_outcomes_come_before_the_end(self) -> None:
        self.confirming()
        publish = self.channel.basic_publish("", "q", b"x")
        self.peer.lose()
        self.failureResultOf(publish)
        self.assertEqual(self.told.names()[-2:], ["outcome", "disconnected"])

    def test_blocked(self) -> None:
        self.peer.send(method(0, Connection.Blocked("low on memory")))
        self.pass_time(4)
        self.assertEqual(self.sample().blocked_seconds, 4)
        self.peer.send(method(0, Connection.Unblocked()))
        self.pass_time(1)
        self.peer.send(method(0, Connection.Blocked("low on disk")))
        self.pass_time(2)
        self.assertEqual((self.sample().blocked, self.sample().blocked_seconds), (True, 6))
        self.peer.lose()
        events = [(name, what) for name, _, what in self.told.take("blocked", "unblocked")]
        expected = [("blocked", "low on memory"), ("unblocked", 4), ("blocked", "low on disk"), ("unblocked", 2)]
        self.assertEqual(events, expected)
        self.assertEqual(self.told.names()[-1], "disconnected")

    def test_sample(self) -> None:
        self.confirming()
        publishes = [self.channel.basic_publish("", "q", b"x") for _ in range(2)]
        self.peer.send(method(1, Basic.Ack(1)))
        deliveries: list[Delivery] = []
        self.consume(deliveries.append)
        self.deliver(b"1", b"2", b"3")
        deliveries[0].ack()
        self.peer.transport.producer.pauseProducing()
        self.peer.transport.producer.pauseProducing()
        publishes.append(self.channel.basic_publish("", "q", b"held"))
        self.pass_time(5)
        now = self.sample()
        self.assertEqual(
            (now.channels, now.unconfirmed, now.unsettled, now.blocked, now.write_paused_seconds), (1, 1, 2, False, 5)
        )
        self.assertGreater(now.held_bytes, 4)
        self.assertEqual(now.bytes_sent, len(self.peer.transport.data))
        self.peer.transport.producer.resumeProducing()
        self.pass_time(5)
        now = self.sample()
        self.assertEqual((now.unconfirmed, now.held_bytes, now.write_paused_seconds), (2, 0, 5))
        self.peer.transport.producer.pauseProducing()
        self.pass_time(1)
        self.peer.lose()
        for publish in publishes[1:]:
            self.failureResultOf(publish)
        self.pass_time(1)
        self.assertEqual(self.sample()._replace(bytes_sent=0, bytes_received=0), Sample(0, 0, 0, 0, False, 0, 6, 0, 0))

    def test_a_clock_that_is_set_back(self) -> None:
        self.confirming()
        self.channel.basic_publish("", "q", b"x")
        self.peer.send(method(0, Connection.Blocked("disk")))
        self.peer.transport.producer.pauseProducing()
        self.peer.clock.rightNow -= 1000
        self.assertEqual((self.sample().blocked_seconds, self.sample().write_paused_seconds), (0, 0))
        self.peer.send(method(1, Basic.Ack(1)) + method(0, Connection.Unblocked()))
        self.peer.lose()
        self.assertEqual([event[-2] for event in self.told.take("outcome")], [0])
        self.assertEqual([event[-1] for event in self.told.take("unblocked")], [0])
        self.assertEqual([event[-1] for event in self.told.take("disconnected")], [0])

    def test_a_factory_counts_reconnects(self) -> None:
        told = Recorder()
        clock = self.peer.clock
        factory = AMQPFactory(QUIET, clock, instrument=told)

        class BuiltPeer(TwistedPeer):
            def connect(self, parameters: ConnectionParameters, transport: Any) -> Core:
                self.protocol = factory.buildProtocol(None)
                self.protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
                return self.protocol._core

        BuiltPeer().lose()  # was never open
        BuiltPeer().open(heartbeat=0).lose()
        BuiltPeer().open(heartbeat=0).lose()
        self.assertEqual([connection.reconnects for connection, _ in told.take("connected")], [0, 1])
        self.assertEqual(len(told.take("disconnected")), 3)

    def test_a_factory_without_takes_protocols_of_two_arguments(self) -> None:
        class Plain(AMQPProtocol):
            def __init__(self, parameters: ConnectionParameters, clock: Any) -> None:
                super().__init__(parameters, clock)

        factory = AMQPFactory(QUIET, self.peer.clock)
        factory.protocol = Plain  # type: ignore[assignment]
        self.assertIsInstance(factory.buildProtocol(None), Plain)

    def test_what_is_no_instrument(self) -> None:
        for wrong in (object(), "prometheus", [Instrument(), 1], Instrument):
            for make in (AMQPProtocol, AMQPFactory, txpika.connect):
                arguments: tuple[Any, ...] = (QUIET, self.peer.clock)
                error = self.assertRaises(TypeError, make, *arguments, instrument=wrong)
                self.assertIn("IInstrument", str(error))


#: What may happen to publishes, for a test to draw from.
STEPS = (
    *("publish", "publish", "mandatory", "timed", "cancel", "cancel", "ack", "nack", "ack-all"),
    *("block", "unblock", "pause", "resume", "time", "call", "reply"),
)


class PublishTests(Observed):
    """Publishes and their outcomes."""

    parameters = ConnectionParameters(heartbeat=0, blocked_timeout=10, max_held=200)

    def publish(self, body: bytes = b"hello", **more: Any) -> Deferred[None]:
        return self.channel.basic_publish("x", "key", body, **more)

    def outcome(self) -> tuple[str, float, BaseException | None]:
        """The one there is."""
        ((published,),) = self.told.take("published")
        ((publication, outcome, seconds, error),) = self.told.take("outcome")
        self.assertIs(publication, published)
        return outcome, seconds, error

    def fails(self, publish: Deferred[None], outcome: str, seconds: float) -> None:
        """It fails, and the instrument is told the same."""
        error = self.failureResultOf(publish).value
        self.assertEqual(self.outcome(), (outcome, seconds, error))
        self.assertEqual(getattr(error, "outcome", outcome), outcome)

    def test_what_is_told(self) -> None:
        self.pass_time(3)
        properties = BasicProperties(message_id="m")
        self.publish(mandatory=True, properties=properties)
        ((publication,),) = self.told.take("published")
        self.assertEqual(
            (publication.exchange, publication.routing_key, publication.size, publication.mandatory, publication.since),
            ("x", "key", 5, True, 3),
        )
        self.assertEqual((publication.channel_number, publication.connection.host), (1, "localhost"))
        self.assertIs(publication.properties, properties)
        self.assertNotIn("hello", repr(publication))

    def test_sizes_are_in_bytes(self) -> None:
        for body in (bytearray(7), memoryview(bytes(8)).cast("I")):
            self.channel.basic_publish("", "q", body)  # type: ignore[arg-type]
        self.assertEqual([publication.size for (publication,) in self.told.take("published")], [7, 8])

    def test_written(self) -> None:
        self.successResultOf(self.publish())
        self.assertEqual(self.outcome(), ("written", 0, None))

    def test_written_later(self) -> None:
        self.peer.transport.producer.pauseProducing()
        publish = self.publish()
        self.pass_time(2)
        self.peer.transport.producer.resumeProducing()
        self.successResultOf(publish)
        self.assertEqual(self.outcome(), ("written", 2, None))

    def test_written_before_confirm_mode_begins(self) -> None:
        """A publish that waits behind a call, before C{confirm.select}, hears of no confirmation."""
        self.channel.queue_declare("a")
        publish = self.publish()
        self.channel.confirm_select()
        self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)))
        self.successResultOf(publish)
        self.assertEqual(self.outcome(), ("written", 0, None))

    def test_acked(self) -> None:
        self.confirming()
        publish = self.publish()
        self.pass_time(0.25)
        self.assertEqual(self.told.take("outcome"), [])
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(publish)
        self.assertEqual(self.outcome(), ("acked", 0.25, None))

    def test_acked_after_confirm_select_that_was_not_awaited(self) -> None:
        self.channel.confirm_select()
        publish = self.publish()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(publish)
        self.assertEqual(self.outcome()[0], "acked")

    def test_nacked(self) -> None:
        self.confirming()
        publish = self.publish()
        self.pass_time(1)
        self.peer.send(method(1, Basic.Nack(1)))
        self.fails(publish, "nacked", 1)

    def test_returned(self) -> None:
        self.confirming()
        publish = self.publish(mandatory=True)
        self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "x", "key"), b"hello"))
        self.peer.send(method(1, Basic.Ack(1)))
        self.fails(publish, "returned", 0)

    def test_unknown_when_the_connection_is_lost(self) -> None:
        self.confirming()
        publish = self.publish()
        self.pass_time(1)
        self.peer.lose()
        self.fails(publish, "unknown", 1)

    def test_not_sent_when_the_connection_is_lost(self) -> None:
        self.peer.transport.producer.pauseProducing()
        publish = self.publish()
        self.peer.lose()
        self.fails(publish, "not sent", 0)

    def test_on_a_closed_channel(self) -> None:
        self.peer.send(method(1, ChannelMethods.Close(406, "no", 0, 0)))
        self.fails(self.publish(), "not sent", 0)

    def test_out_of_time(self) -> None:
        self.confirming()
        publish = self.publish(timeout=2)
        self.pass_time(2)
        self.fails(publish, "unknown", 2)
        self.peer.transport.producer.pauseProducing()
        publish = self.publish(timeout=2)
        self.pass_time(2)
        self.fails(publish, "not sent", 2)

    def test_blocked_for_too_long(self) -> None:
        self.confirming()
        publish = self.publish()
        self.peer.send(method(0, Connection.Blocked("disk")))
        self.pass_time(10)
        self.fails(publish, "unknown", 10)
        publish = self.publish()
        self.pass_time(10)
        self.fails(publish, "not sent", 10)

    def test_too_much_is_held(self) -> None:
        self.peer.transport.producer.pauseProducing()
        publish = self.publish(bytes(1000))
        self.failureResultOf(publish, OutboundBufferFull)
        self.assertEqual(self.outcome()[0], "not sent")

    def cancelled(self, publish: Deferred[None]) -> str:
        publish.cancel()
        self.failureResultOf(publish, CancelledError)
        outcome, _, error = self.outcome()
        self.assertIsInstance(error, CancelledError)
        return outcome

    def test_cancelled(self) -> None:
        self.confirming()
        self.assertEqual(self.cancelled(self.publish()), "unknown")
        self.assertEqual(self.cancelled(self.publish(timeout=9)), "unknown")
        self.peer.transport.producer.pauseProducing()
        self.assertEqual(self.cancelled(self.publish()), "not sent")
        self.assertEqual(self.cancelled(self.publish(timeout=9)), "not sent")
        written_later = self.publish()
        self.peer.transport.producer.resumeProducing()
        self.assertEqual(self.cancelled(written_later), "unknown")
        self.peer.send(method(1, Basic.Ack(3, True)))
        self.assertEqual(self.told.take("outcome"), [])

    def test_values_out_of_range(self) -> None:
        error = self.assertRaises(ValueError, self.channel.basic_publish, "", "k" * 256, b"")
        self.assertEqual(self.outcome(), ("not sent", 0, error))
        error = self.assertRaises(ValueError, self.publish, timeout=-1)
        self.assertEqual(self.outcome(), ("not sent", 0, error))

    def test_wrong_types_are_refused_as_ever_and_not_told(self) -> None:
        wrong: list[tuple[Any, ...]] = [(None, "", b""), ("", 1, b""), ("", "", "text"), ("", "", b"", object())]
        for arguments in wrong:
            self.assertRaises(TypeError, self.channel.basic_publish, *arguments)
        self.assertEqual(self.told.take("published", "outcome"), [])

    def test_another_thread_is_refused_before_anybody_is_told(self) -> None:
        raised: list[BaseException] = []

        def publish() -> None:
            try:
                self.publish()
            except WrongThread as error:
                raised.append(error)

        thread = Thread(target=publish)
        thread.start()
        thread.join()
        self.assertEqual(len(raised), 1)
        self.assertEqual(self.told.take("published", "outcome"), [])

    @given(
        confirm=st.booleans(),
        steps=st.lists(st.sampled_from(STEPS), min_size=10, max_size=60),
    )
    @examples(300)
    def test_each_has_exactly_one_outcome_and_its_program_hears_the_same(self, confirm: bool, steps: list[str]) -> None:
        self.setUp()
        if confirm:
            self.confirming()
        publishes: list[Deferred[None]] = []
        heard: list[str] = []
        outbox: Any = self.channel._core.outbox

        def publish(**more: Any) -> None:
            number = len(publishes)
            heard.append("nothing")

            def ended(result: Failure | None) -> None:
                self.assertEqual(heard[number], "nothing")
                success = "acked" if confirm else "written"
                heard[number] = success if result is None else getattr(result.value, "outcome", "cancelled")

            publishes.append(self.publish(b"%d" % number, **more).addBoth(ended))

        def settle(settlement: Any, multiple: bool) -> None:
            unconfirmed = list(outbox.confirms.unconfirmed) if confirm else []
            if unconfirmed:
                self.peer.send(method(1, settlement(unconfirmed[-1 if multiple else 0], multiple)))

        def cancel() -> None:
            for each in publishes[-1:]:
                each.cancel()

        def reply() -> None:
            if outbox.waiting is not None:
                self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)))

        actions: dict[str, Any] = {
            "publish": publish,
            "mandatory": lambda: publish(mandatory=True),
            "timed": lambda: publish(timeout=3),
            "cancel": cancel,
            "ack": lambda: settle(Basic.Ack, False),
            "nack": lambda: settle(Basic.Nack, False),
            "ack-all": lambda: settle(Basic.Ack, True),
            "block": lambda: self.peer.send(method(0, Connection.Blocked("disk"))),
            "unblock": lambda: self.peer.send(method(0, Connection.Unblocked())),
            "pause": lambda: self.peer.transport.producer.pauseProducing(),
            "resume": lambda: self.peer.transport.producer.resumeProducing(),
            "time": lambda: self.pass_time(1.5),
            "call": lambda: self.channel.queue_declare("a").addErrback(lambda _failure: None),
            "reply": reply,
        }
        for step in steps:
            actions[step]()
        self.peer.lose()
        published = [publication for (publication,) in self.told.take("published")]
        ended = self.told.take("outcome")
        self.assertEqual([len(published), len(ended)], [len(publishes)] * 2)
        outcomes = {publication: outcome for publication, outcome, _, _ in ended}
        written = {body for kind, _, body in self.peer.frames() if kind == 3}
        for number, publication in enumerate(published):
            if heard[number] != "cancelled":
                self.assertEqual(outcomes[publication], heard[number])
            self.assertEqual(outcomes[publication] != "not sent", b"%d" % number in written)


class StampingInstrument(Instrument):
    """Sends a header along."""

    def __init__(self, name: str) -> None:
        self.name = name

    def published(self, publication: Publication) -> None:
        changed = copy(publication.properties) or BasicProperties()
        changed.headers = {**(changed.headers or {}), self.name: 1}
        publication.properties = changed


class PropertiesTests(SynchronousTestCase):
    """Instruments that send something along."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(QUIET, [StampingInstrument("a"), StampingInstrument("b")]).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def sent(self) -> BasicProperties:
        (header,) = (payload for kind, _, payload in self.peer.frames() if kind == 2)
        return BasicProperties.from_wire(header[12:])

    def test_several_add_to_each_others(self) -> None:
        self.channel.basic_publish("", "q", b"")
        self.assertEqual(self.sent(), BasicProperties(headers={"a": 1, "b": 1}))

    def test_the_programs_object_stays_as_it_is(self) -> None:
        headers = {"mine": "x"}
        properties = BasicProperties(headers=headers, delivery_mode=2)
        for _ in range(2):
            self.channel.basic_publish("", "q", b"", properties)
            self.assertEqual(self.sent(), BasicProperties(headers={"mine": "x", "a": 1, "b": 1}, delivery_mode=2))
        self.assertEqual(headers, {"mine": "x"})
        self.assertEqual(properties, BasicProperties(headers={"mine": "x"}, delivery_mode=2))

    def test_a_return_still_belongs_to_its_publish(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        publish = self.channel.basic_publish("", "q", b"", mandatory=True)
        properties = self.sent().encode()
        self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "", "q"), b"", properties) + method(1, Basic.Ack(1)))
        message = self.failureResultOf(publish).value.message
        self.assertEqual(message.properties.headers, {"a": 1, "b": 1})
