"""Tests for L{txpika.protocol}: who waits for a connection to open and to end, and Twisted's own service around it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from threading import Thread
from typing import Any

from automat import NoTransition
from twisted.application.internet import ClientService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika.channel import Channel
from txpika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    IncompatibleProtocolError,
    NoFreeChannels,
    NotConnected,
    ProtocolError,
    ProtocolVersionMismatch,
)
from txpika.parameters import ConnectionParameters
from txpika.protocol import AMQPFactory, AMQPProtocol
from txpika.spec import Basic
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import JoinedPeer, TwistedPeer, method

OPEN_OK = method(0, ConnectionMethods.OpenOk())

#: How a handshake may fail: after how many of its steps, what happens then, and what it is.
FAILURES: list[tuple[int, Callable[[TwistedPeer], object], type[AMQPConnectionError]]] = [
    (0, lambda peer: peer.lose(), HandshakeError),
    (1, lambda peer: peer.lose(), AuthenticationError),
    (2, lambda peer: peer.lose(), HandshakeError),
    (0, lambda peer: peer.clock.advance(20), HandshakeTimeout),
    (2, lambda peer: peer.clock.advance(20), HandshakeTimeout),
    (0, lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n"), IncompatibleProtocolError),
    (0, lambda peer: peer.send(b"AMQP\x03\x01\x00\x00"), ProtocolVersionMismatch),
    (1, lambda peer: peer.send(method(0, ConnectionMethods.Close(403, "ACCESS_REFUSED", 0, 0))), AuthenticationError),
    (2, lambda peer: peer.send(method(0, ConnectionMethods.Close(530, "NOT_ALLOWED", 0, 0))), HandshakeError),
    (1, lambda peer: peer.tune(frame_max=100), ProtocolError),
    (1, lambda peer: peer.send(OPEN_OK), ProtocolError),
    (0, lambda peer: peer.protocol.abort(), ConnectionLost),
    (1, lambda peer: peer.protocol.close(), ConnectionClosed),
    (2, lambda peer: peer.protocol.close(), ConnectionClosed),
]


def in_handshake(steps: int) -> TwistedPeer:
    """A connection that has done so many steps of it."""
    peer = TwistedPeer(ConnectionParameters(heartbeat=0))
    for step in (peer.start, lambda: peer.tune(heartbeat=0))[:steps]:
        step()
    return peer


class OpenTests(SynchronousTestCase):
    """C{when_open}, and what waits for it by itself."""

    def test_each_who_waits_hears(self) -> None:
        peer = in_handshake(0)
        early, given_up = peer.protocol.when_open(), peer.protocol.when_open()
        peer.start()
        peer.tune(heartbeat=0)
        later = peer.protocol.when_open()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.assertNoResult(early)
        self.assertFalse(peer.protocol.is_open)
        peer.send(OPEN_OK)
        self.assertTrue(peer.protocol.is_open)
        for each in (early, later, peer.protocol.when_open()):
            self.assertIs(self.successResultOf(each), peer.protocol)
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_failures_have_their_types(self) -> None:
        for steps, happens, kind in FAILURES:
            peer = in_handshake(steps)
            first, second = peer.protocol.when_open(), peer.protocol.when_open()
            channel, closed = peer.protocol.channel(), peer.protocol.closed
            happens(peer)
            peer.lose()
            errors = [self.failureResultOf(each, kind).value for each in (first, second, channel)]
            errors.append(self.failureResultOf(peer.protocol.when_open()).value)
            for error in errors:
                self.assertIs(type(error), kind)
                self.assertEqual(error.outcome, "closed")
            self.assertEqual(len(set(map(id, errors))), 4, "each may get a traceback of its own")
            self.assertIs(type(self.successResultOf(closed)), kind)
            self.failureResultOf(peer.protocol.channel(), kind)
            self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_a_channel_waits_for_it(self) -> None:
        peer = in_handshake(1)
        opening, given_up = peer.protocol.channel(), peer.protocol.channel()
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        peer.tune(heartbeat=0)
        self.assertNotIn("Channel.Open", peer.names())
        peer.send(OPEN_OK)
        self.assertEqual(peer.names(), ["Channel.Open"])
        peer.send(method(1, ChannelMethods.OpenOk()))
        self.assertIsInstance(self.successResultOf(opening), Channel)

    def test_one_who_hears_of_it_and_gives_it_up(self) -> None:
        """What waits behind hears of what has become of it."""
        peer = in_handshake(2)
        first, opening = peer.protocol.when_open(), peer.protocol.channel()
        first.addCallback(lambda protocol: protocol.abort())
        peer.send(OPEN_OK)
        peer.lose()
        self.failureResultOf(opening, ConnectionLost)
        self.assertNotIn("Channel.Open", peer.names())

    def test_what_the_broker_says_of_itself(self) -> None:
        peer = in_handshake(0)
        self.assertEqual(peer.protocol.server_properties, {})
        peer.start()
        self.assertEqual(peer.protocol.server_properties["product"], "RabbitMQ")

    def test_calls_before_it_is_open(self) -> None:
        peer = in_handshake(1)
        self.failureResultOf(peer.protocol.update_secret("new"), NotConnected)
        self.assertEqual(peer.names(), ["Connection.StartOk"])


class CloseTests(SynchronousTestCase):
    """C{close}, C{abort}, C{closed}."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.protocol = self.peer.protocol

    def test_it_fires_when_the_transport_is_closed(self) -> None:
        closing, again = self.protocol.close(), self.protocol.close()
        self.assertFalse(self.protocol.is_open)
        self.peer.send(method(0, ConnectionMethods.CloseOk()))
        self.assertEqual(self.peer.transport.events, ["lose"])
        self.assertNoResult(closing)
        self.peer.lose()
        for each in (closing, again, self.protocol.close()):
            self.assertIsNone(self.successResultOf(each))
        self.assertEqual(self.peer.names(), ["Connection.Close"])
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_a_broker_that_reads_no_more(self) -> None:
        closing = self.protocol.close()
        self.peer.clock.advance(9.9)
        self.assertEqual(self.peer.transport.events, [])
        self.peer.clock.advance(0.2)
        self.assertEqual(self.peer.transport.events, ["abort"])
        self.peer.lose()
        self.assertIsNone(self.successResultOf(closing))

    def test_a_transport_that_does_not_close(self) -> None:
        closing = self.protocol.close()
        self.peer.send(method(0, ConnectionMethods.CloseOk()))
        self.peer.clock.advance(5)
        self.assertEqual(self.peer.transport.events, ["lose", "abort"])
        self.peer.lose()
        self.assertIsNone(self.successResultOf(closing))
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_in_the_handshake(self) -> None:
        """There is nobody yet to say it to: the transport is closed."""
        for steps in range(3):
            peer = in_handshake(steps)
            peer.frames()
            closing = peer.protocol.close()
            self.assertEqual((peer.frames(), peer.transport.events), ([], ["lose"]))
            for late in (peer.start, peer.tune):
                late()
            self.assertEqual(peer.frames(), [])
            peer.lose()
            self.assertIsNone(self.successResultOf(closing))
            self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_abort(self) -> None:
        closed, channel = self.protocol.closed, self.protocol.channel()
        self.peer.frames()
        self.protocol.abort()
        self.assertEqual((self.peer.frames(), self.peer.transport.events), ([], ["abort"]))
        self.failureResultOf(channel, ConnectionLost)
        self.assertNoResult(closed)
        self.peer.lose()
        reason = self.successResultOf(closed)
        self.assertEqual((type(reason), reason.initiator), (ConnectionLost, "local"))
        self.protocol.abort()

    def test_closed_fires_for_each_who_asked(self) -> None:
        first, second, given_up = self.protocol.closed, self.protocol.closed, self.protocol.closed
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.peer.send(method(0, ConnectionMethods.Close(320, "maintenance", 0, 0)))
        self.assertNoResult(first)
        self.peer.lose()
        for each in (first, second, self.protocol.closed):
            reason = self.successResultOf(each)
            self.assertEqual(
                (type(reason), reason.reply_code, reason.reply_text), (ConnectionClosed, 320, "maintenance")
            )

    def test_B111_every_call_from_inside_a_callback_of_the_end(self) -> None:
        calls: list[Deferred[Any]] = []

        def heard(_reason: object) -> None:
            calls.extend((self.protocol.channel(), self.protocol.when_open(), self.protocol.update_secret("new")))
            self.protocol.close()
            self.protocol.abort()

        ends: tuple[Callable[[], object], ...] = (
            lambda: self.peer.send(method(0, ConnectionMethods.Close(320, "bye", 0, 0))),
            lambda: self.peer.lose(),
            lambda: self.protocol.abort(),
        )
        for end, kind in zip(ends, (ConnectionClosed, ConnectionLost, ConnectionLost), strict=True):
            for hear in (lambda: self.protocol.closed, lambda: self.protocol.channel()):
                self.setUp()
                calls.clear()
                hear().addBoth(heard)
                self.peer.frames()
                end()
                self.peer.lose()
                self.assertEqual(len(calls), 3)
                for call in calls:
                    self.failureResultOf(call, kind)
                self.assertLessEqual(set(self.peer.names()), {"Connection.CloseOk"})
                self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_while_it_closes(self) -> None:
        """What is under way may end; a channel more is refused."""
        channel = self.peer.open_face()
        declared = channel.queue_declare("q")
        self.protocol.close()
        self.failureResultOf(self.protocol.channel(), NotConnected)
        self.failureResultOf(self.protocol.update_secret("new"), NotConnected)
        self.assertNoResult(declared)
        self.assertEqual(self.peer.names(), ["Queue.Declare"])


class AlarmTests(SynchronousTestCase):
    """C{on_blocked} and C{on_unblocked}."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def alarm(self) -> None:
        """On and off; publishing waits in between."""
        self.peer.send(method(0, ConnectionMethods.Blocked("low on disk")))
        held = self.channel.basic_publish("", "q", b"x")
        self.assertNoResult(held)
        self.peer.send(method(0, ConnectionMethods.Unblocked()))
        self.successResultOf(held)

    def test_they_are_called(self) -> None:
        heard: list[object] = []
        self.peer.protocol.on_blocked = heard.append
        self.peer.protocol.on_unblocked = lambda: heard.append("over")
        with capturedLogs() as events:
            self.alarm()
        self.assertEqual(heard, ["low on disk", "over"])
        self.assertEqual([event["log_level"].name for event in events], ["warn", "info"])
        self.assertIn("'low on disk'", formatEvent(events[0]))

    def test_one_that_raises_is_logged_and_hurts_nobody(self) -> None:
        def raises(*_arguments: object) -> None:
            raise ZeroDivisionError

        self.peer.protocol.on_blocked = self.peer.protocol.on_unblocked = raises
        self.alarm()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_one_that_publishes_and_one_that_closes(self) -> None:
        held: list[Deferred[None]] = []
        self.peer.protocol.on_blocked = lambda reason: held.append(self.channel.basic_publish("", "q", b"y"))
        self.peer.protocol.on_unblocked = lambda: self.peer.protocol.abort()
        self.alarm()
        self.assertEqual(len(held), 1)
        self.successResultOf(held[0])
        self.assertEqual(self.peer.transport.events, ["abort"])


class NumberTests(SynchronousTestCase):
    """The numbers of channels, which no program chooses."""

    def test_B93_no_number_outside_the_limits_and_none_twice(self) -> None:
        for ours, theirs in ((0, 3), (3, 0), (3, 2047), (2047, 3)):
            peer = TwistedPeer(ConnectionParameters(heartbeat=0, channel_max=ours)).open(
                channel_max=theirs, heartbeat=0
            )
            channels = [peer.open_face() for _ in range(3)]
            self.assertEqual([channel.channel_number for channel in channels], [1, 2, 3])
            error = self.failureResultOf(peer.protocol.channel(), NoFreeChannels).value
            self.assertEqual((error.outcome, "3" in str(error)), ("not sent", True))
            self.assertEqual(peer.frames(), [])
            closing = channels[1].close()
            self.failureResultOf(peer.protocol.channel(), NoFreeChannels)
            self.assertEqual(peer.names(), ["Channel.Close"])
            peer.send(method(2, ChannelMethods.CloseOk()))
            self.successResultOf(closing)
            self.assertEqual(peer.open_face().channel_number, 2)

    def test_B93_the_highest_there_is(self) -> None:
        peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(channel_max=0, heartbeat=0)
        numbers = [peer.protocol._core._numbers.take() for _ in range(65534)]
        self.assertEqual((numbers[0], numbers[-1]), (1, 65534))
        channel = peer.open_face()
        self.successResultOf(channel.basic_publish("", "q", b"x"))
        self.assertEqual({number for _, number, _ in peer.frames()}, {65535})


class FactoryTests(SynchronousTestCase):
    """L{AMQPFactory}, by itself and within C{ClientService}."""

    def test_each_connection_has_a_protocol_of_its_own(self) -> None:
        factory = AMQPFactory("amqp://me:secret@host/v", MemoryReactorClock())
        verifyObject(IProtocolFactory, factory)
        first, second = factory.buildProtocol(None), factory.buildProtocol(None)
        self.assertIsNot(first, second)
        self.assertEqual((first.parameters, first.factory), (factory.parameters, factory))
        self.assertEqual(first.parameters.virtual_host, "v")

    def test_another_protocol(self) -> None:
        class Mine(AMQPProtocol):
            pass

        class MyFactory(AMQPFactory):
            protocol = Mine

        self.assertIsInstance(MyFactory(clock=MemoryReactorClock()).buildProtocol(None), Mine)

    def test_refused_parameters(self) -> None:
        self.assertRaises(ValueError, AMQPFactory, "http://host")
        wrong: Any = 5672
        self.assertRaises(TypeError, AMQPFactory, wrong)

    def service(self, prepare: Callable[[Any], Any] | None = None) -> tuple[MemoryReactorClock, ClientService]:
        reactor = MemoryReactorClock()
        factory = AMQPFactory(ConnectionParameters(heartbeat=0), reactor)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", 5672)
        service = ClientService(endpoint, factory, retryPolicy=lambda _: 1.0, clock=reactor, prepareConnection=prepare)
        service.startService()
        return reactor, service

    def joined(self, reactor: MemoryReactorClock) -> JoinedPeer:
        """The broker at the other end of the latest attempt."""
        return JoinedPeer(reactor.tcpClients[-1][2].buildProtocol(None), reactor)

    def test_a_service_that_consumes_anew_after_each_loss(self) -> None:
        consumed: list[Any] = []

        async def prepare(connection: Any) -> None:
            channel = await connection.channel()
            consumed.append(await channel.basic_consume("q", consumer_tag="t"))

        reactor, service = self.service(lambda connection: Deferred.fromCoroutine(prepare(connection)))
        for attempt in range(1, 4):
            self.assertEqual(len(reactor.tcpClients), attempt)
            connected = service.whenConnected()
            peer = self.joined(reactor).open(heartbeat=0)
            peer.send(method(1, ChannelMethods.OpenOk()))
            self.assertNoResult(connected)
            peer.send(method(1, Basic.ConsumeOk("t")))
            self.successResultOf(connected)
            self.assertEqual(len(consumed), attempt)
            peer.lose()
            reactor.advance(1)
        stopped = service.stopService()
        self.assertIsNone(self.successResultOf(stopped))

    def test_a_service_whose_broker_refuses(self) -> None:
        """It is told why, and tries again."""
        reactor, service = self.service(lambda connection: connection.when_open())
        connected = service.whenConnected(failAfterFailures=1)
        peer = self.joined(reactor)
        peer.start()
        peer.send(method(0, ConnectionMethods.Close(403, "ACCESS_REFUSED", 0, 0)))
        with contextlib.suppress(NoTransition):  # Twisted's own: its service does not expect a loss while it prepares
            peer.lose()
        self.assertEqual(self.failureResultOf(connected, AuthenticationError).value.reply_code, 403)
        reactor.advance(1)
        self.assertEqual(len(reactor.tcpClients), 2)
        self.successResultOf(service.stopService())

    def test_a_service_that_stops(self) -> None:
        reactor, service = self.service()
        peer = self.joined(reactor).open(heartbeat=0)
        lost = peer.protocol.closed
        # It closes the transport, as TCP allows, without a word to the protocol.
        peer.transport.unregisterProducer()
        stopped = service.stopService()
        self.assertEqual(peer.transport.events, ["lose"])
        self.assertNoResult(lost)
        peer.lose()
        self.assertIsInstance(self.successResultOf(lost), ConnectionLost)
        self.successResultOf(stopped)
        self.assertEqual(reactor.getDelayedCalls(), [])


class ThreadTests(SynchronousTestCase):
    """A protocol may be made where it is not used."""

    def test_a_connection_belongs_to_where_its_transport_was_made(self) -> None:
        made: list[AMQPProtocol] = []
        thread = Thread(target=lambda: made.append(AMQPProtocol(ConnectionParameters(), MemoryReactorClock())))
        thread.start()
        thread.join()
        peer = JoinedPeer(made[0], MemoryReactorClock()).open()
        opening = made[0].channel()
        peer.send(method(1, ChannelMethods.OpenOk()))
        self.successResultOf(opening)
        made[0].connectionLost(Failure(ConnectionResetError()))
