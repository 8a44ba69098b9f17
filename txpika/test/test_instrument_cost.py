"""Tests that an instrument hurts nobody by what it raises, and that nobody pays for one that is not there."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txpika import Instrument
from txpika.channel import Channel
from txpika.core.acks import Acks
from txpika.core.connection import Connection as Core
from txpika.events import Arrival, arrival_of
from txpika.instrumenting import instruments_of
from txpika.interfaces import IInstrument
from txpika.message import Delivery
from txpika.spec import Basic, Confirm, Connection
from txpika.test.counting import count_calls
from txpika.test.fakes import TwistedPeer, content, deliver, method
from txpika.test.instruments import EVENTS, QUIET, Recorder


@implementer(IInstrument)
class RaisingInstrument:
    """Raises whatever it is told."""

    def __getattr__(self, name: str) -> Any:
        if name not in EVENTS:
            raise AttributeError(name)

        def fail(*arguments: Any) -> None:
            raise ZeroDivisionError(name)

        return fail


class GuardTests(SynchronousTestCase):
    """Instruments that raise."""

    def everything(self, instrument: Any) -> list[bytes]:
        """All there is to be told, twice; returns what was handled."""
        bodies: list[bytes] = []
        peer = TwistedPeer(QUIET, instrument).open(heartbeat=0)
        channel = peer.open_face()
        channel.confirm_select()
        peer.send(method(1, Confirm.SelectOk()))

        def on_delivery(delivery: Delivery) -> None:
            bodies.append(delivery.body)
            delivery.ack()

        channel.basic_consume("q", on_delivery, consumer_tag="t")
        peer.send(method(1, Basic.ConsumeOk("t")))
        for number in (1, 2):
            publish = channel.basic_publish("", "q", b"x")
            peer.send(method(1, Basic.Ack(number)))
            self.successResultOf(publish)
            peer.send(deliver(1, "t", number, b"%d" % number))
            peer.send(method(0, Connection.Blocked("disk")) + method(0, Connection.Unblocked()))
        self.assertEqual(peer.names()[-1], "Basic.Ack")
        self.assertTrue(channel.is_open)
        peer.lose()
        return bodies

    def test_hurt_nobody_and_are_logged_once_for_each_method(self) -> None:
        told = Recorder()
        instruments = instruments_of([RaisingInstrument(), told])
        for _ in range(2):
            self.assertEqual(self.everything(instruments), [b"1", b"2"])
        logged = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(sorted(str(failure.value) for failure in logged), EVENTS)
        self.assertEqual(sorted(set(told.names())), EVENTS)
        self.assertEqual(len(told.take("handled")), 4)

    def test_that_of_one_is_not_that_of_another(self) -> None:
        self.everything([RaisingInstrument(), RaisingInstrument()])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2 * len(EVENTS))

    def test_the_one_that_does_nothing(self) -> None:
        verifyObject(IInstrument, Instrument())
        self.assertEqual(self.everything(Instrument()), [b"1", b"2"])

    def test_what_is_not_overridden_is_not_called(self) -> None:
        class Two(Instrument):
            count = 0

            def delivered(self, arrival: Arrival) -> None:
                self.count += 1

        instrument: Any = Two()
        instrument.published = lambda publication: self.fail("called")
        self.everything(instrument)
        self.assertEqual(instrument.count, 2)


class AbsentTests(SynchronousTestCase):
    """Without an instrument, nothing is there that could cost anything."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(QUIET).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def test_only_plain_kinds(self) -> None:
        deliveries: list[Delivery] = []
        consuming = self.channel.basic_consume("q", deliveries.append, consumer_tag="t")
        self.peer.send(method(1, Basic.ConsumeOk("t")) + deliver(1, "t", 1, b"x"))
        consumer = self.successResultOf(consuming)
        got = self.channel.basic_get("q")
        self.peer.send(content(1, Basic.GetOk(2, False, "", "q", 0), b"x"))
        deliveries.append(self.successResultOf(got))  # type: ignore[arg-type]
        self.assertIs(type(self.peer.connection), Core)
        self.assertIs(type(self.channel), Channel)
        assert consumer._handler is not None
        self.assertEqual(consumer.deliver, consumer._handler.deliver_simply)
        self.assertEqual(consumer._handler.function, deliveries.append)
        self.assertEqual([type(delivery._channel) for delivery in deliveries], [Acks, Acks])
        arrival = arrival_of(deliveries[0])
        self.assertEqual((arrival.source.connection, arrival.source.queue, arrival.size), (None, "", 1))

    def test_calls_for_each_message(self) -> None:
        self.peer.connection.wire.write = lambda data: None

        def publish() -> None:
            for _ in range(100):
                self.channel.basic_publish("", "q", b"x")

        publish()
        # basic_publish, publish, write above, and three inside of succeed()
        self.assertLessEqual(count_calls(publish), 100 * 6 + 10)

    def test_calls_for_each_delivery(self) -> None:
        self.channel.basic_consume("q", lambda delivery: delivery.ack(), consumer_tag="t")
        self.peer.send(method(1, Basic.ConsumeOk("t")) + deliver(1, "t", 1, b"x"))
        data = b"".join(deliver(1, "t", number, b"x") for number in range(2, 102))
        # Delivery.__init__, deliver_simply, the function, Delivery.ack, Acks.ack; and those of one read
        self.assertLessEqual(count_calls(lambda: self.peer.send(data)), 100 * 5 + 30)
