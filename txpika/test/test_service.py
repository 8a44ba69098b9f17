# -*- test-case-name: txpika.test.test_service -*-
"""Tests for L{txpika.service}: its life, by the clock and without a network."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from txpika.exceptions import (
    AuthenticationError,
    CallTimeout,
    ConnectFailed,
    HandshakeError,
    NotConnected,
)
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.service import AMQPService, IServiceListener, ServiceListener
from txpika.spec import Basic, Channel, Connection, Queue
from txpika.test.obliging import Line
from txpika.test.served import ServiceTestCase


class LifeTests(ServiceTestCase):
    """From C{startService} to C{stopService}."""

    def test_interfaces(self) -> None:
        verifyObject(IServiceListener, ServiceListener())
        verifyObject(IServiceListener, self.listener)

    def test_opens(self) -> None:
        waiting = self.service.when_open()
        self.broker.run()
        self.assertNoResult(waiting)
        self.assertEqual(self.service.state, "stopped")
        self.start()
        self.assertIs(self.successResultOf(waiting), self.service.connection)
        self.assertIs(self.successResultOf(self.service.when_open()), self.service.connection)
        self.assertEqual(self.listener.states, ["connecting", "recovering", "open"])
        self.stop()
        self.assertEqual(self.listener.states[3:], ["draining", "closed"])
        self.assertEqual([each.NAME for _, each in self.broker.line.methods], ["Connection.Close"])

    def test_started_twice(self) -> None:
        self.start()
        self.service.startService()
        self.broker.run()
        self.assertEqual(len(self.broker.lines), 1)

    def test_stopped_twice(self) -> None:
        self.start()
        first, second = self.service.stopService(), self.service.stopService()
        self.broker.run()
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.service.stopService())

    def test_never_started(self) -> None:
        self.assertIsNone(self.successResultOf(self.service.stopService()))

    def test_whoever_waits_hears_that_it_stops(self) -> None:
        self.broker.up = False
        waiting = self.service.when_open()
        opening = self.service.channel()
        self.start()
        self.stop()
        self.failureResultOf(waiting, NotConnected)
        self.failureResultOf(opening, NotConnected)
        self.failureResultOf(self.service.when_open(), NotConnected)
        self.failureResultOf(self.service.channel(), NotConnected)

    def test_again(self) -> None:
        self.start()
        self.stop()
        self.service.startService()
        self.assertEqual(self.service.state, "connecting")
        waiting = self.service.when_open()
        self.broker.run()
        self.successResultOf(waiting)
        self.channel()
        self.assertEqual(self.service.state, "open")
        self.stop()

    def test_a_waiter_that_gave_up(self) -> None:
        waiting = self.service.when_open()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.start()
        self.stop()

    def test_a_channel_takes_too_long(self) -> None:
        self.broker.up = False
        self.start()
        opening = self.service.channel(timeout=5)
        self.clock.advance(5)
        error = self.failureResultOf(opening, CallTimeout).value
        self.assertEqual(error.outcome, "not sent")
        self.stop()

    def test_the_connection_is_lost_while_a_channel_opens(self) -> None:
        self.start()
        answer = self.broker.answers.pop(Channel.Open)
        opening = self.service.channel()
        self.broker.run()
        self.broker.answers[Channel.Open] = answer
        self.lose()
        self.assertNoResult(opening)
        self.heal()
        self.assertTrue(self.successResultOf(opening).is_open)

    def test_wrong_arguments(self) -> None:
        for wrong in (
            {"publish_wait": -1},
            {"publish_wait": "1"},
            {"drain_timeout": 0},
            {"recovers": 1},
            {"listener": object()},
            {"instrument": 1},
        ):
            with self.assertRaises((TypeError, ValueError), msg=str(wrong)) as raised:
                AMQPService(None, self.clock, **wrong)
            self.assertIn(next(iter(wrong)), str(raised.exception))
        self.assertRaises(ValueError, self.service.channel, timeout=0)

    def test_a_listener_that_raises_hurts_nobody(self) -> None:
        self.listener.state_changed = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
        self.start()
        self.channel()
        self.stop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_the_repr_has_no_secret(self) -> None:
        service = self.make(parameters="amqp://joe:canary@host")
        self.assertNotIn("canary", repr(service))


class BackoffTests(ServiceTestCase):
    """When it tries again."""

    def attempts(self, seconds: float) -> list[float]:
        """When it dialled, in seconds from now."""
        began = self.clock.seconds()
        dialled = []
        connect = self.broker.connect

        def dial(factory: Any) -> Deferred[Any]:
            dialled.append(self.clock.seconds() - began)
            return connect(factory)

        self.patch(self.broker, "connect", dial)
        for _ in range(int(seconds * 4)):
            self.broker.run(0.25)
        return dialled

    def test_F01_nobody_listens(self) -> None:
        self.broker.up = False
        self.start()
        self.assertIsInstance(self.service.last_error, ConnectFailed)
        self.assertEqual(self.service.state, "waiting")
        self.assertEqual(self.attempts(92), [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5])
        self.broker.up = True
        self.broker.run(30)
        self.assertEqual(self.service.state, "open")
        self.stop()

    def test_F62_a_flapping_link(self) -> None:
        self.start()
        times = []
        for _ in range(6):
            self.broker.run(1)
            self.lose()
            began = self.clock.seconds()
            lines = len(self.broker.lines)
            while len(self.broker.lines) == lines:
                self.broker.run(0.25)
            times.append(self.clock.seconds() - began)
        self.assertEqual(times, [0.5, 1, 2, 4, 8, 16])
        self.broker.run(10)
        self.lose()
        self.assertEqual(self.attempts(0.5), [0.5])

    def test_F08_a_refused_login_is_tried_again_slowly(self) -> None:
        self.broker.answers[Connection.StartOk] = lambda line, number, asked: Connection.Close(403, "ACCESS_REFUSED")
        self.start()
        self.assertIsInstance(self.service.last_error, AuthenticationError)
        self.assertEqual(self.attempts(61), [30, 60])

    def test_F09_a_virtual_host_that_is_not_there(self) -> None:
        refuse = lambda line, number, asked: Connection.Close(530, "vhost not found")  # noqa: E731
        answer = self.broker.answers[Connection.Open]
        self.broker.answers[Connection.Open] = refuse
        self.start()
        self.assertIsInstance(self.service.last_error, HandshakeError)
        self.assertEqual(self.attempts(31), [30])
        self.broker.answers[Connection.Open] = answer
        self.broker.run(30)
        self.assertEqual(self.service.state, "open")

    def test_F49_credentials_are_asked_for_each_time(self) -> None:
        from txpika import PlainCredentials

        asked = []

        def credentials() -> PlainCredentials:
            asked.append(self.clock.seconds())
            return PlainCredentials("u", "p")

        self.service = self.make(parameters=ConnectionParameters(heartbeat=0, credentials=credentials))
        self.start()
        self.lose()
        self.heal()
        self.assertEqual(asked, [0, 0.5])
        self.assertEqual(self.service.state, "open")

    def test_a_program_that_closes_the_connection_itself(self) -> None:
        self.start()
        assert self.service.connection is not None
        closing = self.service.connection.close()
        self.broker.run()
        self.successResultOf(closing)
        self.assertEqual(self.service.state, "waiting")
        self.heal()
        self.assertEqual((self.service.state, self.service.reconnects), ("open", 1))


class EndingTests(ServiceTestCase):
    """F59: C{stopService} at each point of the life of a connection."""

    def check(self) -> None:
        lines = len(self.broker.lines)
        stopping = self.service.stopService()
        self.broker.run()
        self.broker.run(60)
        self.successResultOf(stopping)
        self.assertEqual(self.listener.states[-2:], ["draining", "closed"])
        self.assertEqual(self.listener.states.count("closed"), 1)
        self.assertEqual(len(self.broker.lines), lines)
        for line in self.broker.lines:
            self.assertTrue(line.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_F59_while_it_waits(self) -> None:
        self.broker.up = False
        self.start()
        self.check()

    def test_F59_while_it_dials(self) -> None:
        dialling: Deferred[Any] = Deferred()
        self.patch(self.broker, "connect", lambda factory: dialling)
        self.service.startService()
        self.check()

    def test_F59_in_each_state_of_the_handshake(self) -> None:
        for silent in (Connection.StartOk, Connection.Open):
            self.setUp()
            del self.broker.answers[silent]
            self.start()
            self.assertEqual(self.service.state, "connecting")
            self.check()

    def test_F59_while_it_recovers(self) -> None:
        for silent in (Queue.Declare, Basic.Qos, Basic.Consume, Channel.Open):
            self.setUp()
            self.start()
            channel = self.channel()
            self.result(channel.queue_declare("q"))
            self.result(channel.basic_qos(1))
            consumer = self.result(channel.basic_consume("q"))
            ended = consumer.closed
            del self.broker.answers[silent]
            self.lose()
            self.heal()
            self.assertEqual(self.service.state, "recovering")
            self.check()
            self.assertFalse(channel.is_open)
            self.successResultOf(channel.closed)
            self.successResultOf(ended)

    def test_F59_between_recovery_and_open(self) -> None:
        self.start()
        channel = self.channel()
        self.lose()
        self.clock.advance(0.5)
        while not self.clock.getDelayedCalls():
            self.broker.line.pump()
        stopping = self.service.stopService()
        self.broker.run()
        self.successResultOf(stopping)
        self.assertFalse(channel.is_open)

    def test_F59_when_whoever_waited_for_it_to_open_stops_it(self) -> None:
        stopping: list[Deferred[None]] = []
        self.service.when_open().addCallback(lambda _: stopping.append(self.service.stopService()))
        self.start()
        self.broker.run()
        self.successResultOf(stopping[0])
        self.assertEqual(self.service.state, "closed")

    def test_F59_when_whoever_hears_of_the_loss_stops_it(self) -> None:
        self.start()
        channel = self.channel()
        del self.broker.answers[Queue.Declare]
        declaring = channel.queue_declare("q")
        stopping: list[Deferred[None]] = []
        declaring.addErrback(lambda _: stopping.append(self.service.stopService()))
        self.broker.run()
        self.lose()
        self.broker.run()
        self.successResultOf(stopping[0])
        self.assertEqual(len(self.broker.lines), 1)

    def test_the_connection_is_lost_while_it_stops(self) -> None:
        self.start()
        channel = self.channel()
        working: Deferred[None] = Deferred()
        self.result(channel.basic_consume("q", lambda delivery: working))
        self.broker.line.deliver(b"1")
        stopping = self.service.stopService()
        self.broker.run()
        self.assertNoResult(stopping)
        self.lose()
        working.callback(None)
        self.broker.run(1)
        self.successResultOf(stopping)
        self.assertEqual(len(self.broker.lines), 1)
        self.assertFalse(channel.is_open)


class DrainTests(ServiceTestCase):
    """What C{stopService} waits for."""

    def test_F82_functions_end_and_their_acks_are_written(self) -> None:
        self.start()
        channel = self.channel()
        working: list[Deferred[None]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        self.result(channel.basic_consume("q", work, ack="on-success"))
        for body in (b"1", b"2"):
            self.broker.line.deliver(body)
        stopping = self.service.stopService()
        self.broker.run()
        self.assertEqual(len(self.broker.line.sent(Basic.Cancel)), 1)
        working[0].callback(None)
        self.broker.run()
        self.assertNoResult(stopping)
        working[1].callback(None)
        self.broker.run()
        self.successResultOf(stopping)
        names = [each.NAME for _, each in self.broker.line.methods]
        self.assertEqual(names[-4:], ["Basic.Cancel", "Basic.Ack", "Basic.Ack", "Connection.Close"])

    def test_F82_a_function_publishes_while_it_stops(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.confirm_select())
        working: Deferred[None] = Deferred()

        async def work(delivery: Delivery) -> None:
            await working
            await channel.basic_publish("", "next", b"result")

        self.result(channel.basic_consume("q", work, ack="on-success"))
        self.broker.line.deliver(b"1")
        stopping = self.service.stopService()
        self.broker.run()
        working.callback(None)
        self.broker.run()
        self.successResultOf(stopping)
        self.assertEqual(self.broker.line.bodies, [b"result"])
        self.assertEqual(len(self.broker.line.sent(Basic.Ack)), 1)

    def test_F67_a_function_that_never_ends(self) -> None:
        self.service = self.make(drain_timeout=7)
        self.start()
        channel = self.channel()
        self.result(channel.basic_consume("q", lambda delivery: Deferred()))
        self.broker.line.deliver(b"1")
        stopping = self.service.stopService()
        self.broker.run()
        self.broker.run(6.9)
        self.assertNoResult(stopping)
        self.broker.run(0.2)
        self.successResultOf(stopping)

    def test_a_loop_ends_its_body(self) -> None:
        self.start()
        channel = self.channel()
        consumer = self.result(channel.basic_consume("q"))
        working: Deferred[None] = Deferred()

        async def loop() -> int:
            count = 0
            async for delivery in consumer:
                await working
                delivery.ack()
                count += 1
            return count

        looping = Deferred.fromCoroutine(loop())
        self.broker.line.deliver(b"1")
        self.broker.line.deliver(b"2")
        stopping = self.service.stopService()
        self.broker.run()
        self.assertNoResult(stopping)
        working.callback(None)
        self.broker.run()
        self.successResultOf(stopping)
        self.assertEqual(self.successResultOf(looping), 1)
        self.assertEqual(self.broker.line.sent(Basic.Nack), [Basic.Nack(2, False, True)])

    def test_what_was_published_is_confirmed(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.confirm_select())
        self.broker.confirms = False
        publishing = channel.basic_publish("", "q", b"1")
        stopping = self.service.stopService()
        self.broker.run()
        self.assertNoResult(publishing)
        self.assertNoResult(stopping)
        self.broker.line.send(channel.channel_number, Basic.Ack(1))
        self.broker.run()
        self.successResultOf(publishing)
        self.successResultOf(stopping)

    def test_a_broker_that_answers_nothing_more(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.basic_consume("q"))
        self.broker.answers.clear()
        self.patch(Line, "send", lambda *_: None)
        stopping = self.service.stopService()
        self.broker.run()
        self.broker.run(30)
        self.broker.run(10)
        self.successResultOf(stopping)
        self.assertEqual(self.service.state, "closed")
