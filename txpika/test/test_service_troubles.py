# -*- test-case-name: txpika.test.test_service_troubles -*-
"""Tests for L{txpika.service} and what is below it, at the moments between two others; without a network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from txpika.credentials import PlainCredentials
from txpika.exceptions import (
    AuthenticationError,
    CallTimeout,
    ChannelClosed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    NoFreeChannels,
    NotConnected,
    StaleDelivery,
)
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.service import AMQPService
from txpika.spec import Basic, BasicProperties, Channel, Connection, Queue
from txpika.test.obliging import Line, refusal
from txpika.test.served import Listener, ServiceTestCase, SurvivingTestCase


class Reacting(Listener):
    """
    Does something when it hears of a state.

    @ivar done: What that returned.
    """

    def __init__(self, wanted: str, react: Callable[[AMQPService], Any], every: bool = False) -> None:
        """
        @param every: Each time, and not the first time only.
        """
        super().__init__()
        self.done: Any = None
        self._wanted = wanted
        self._react = react
        self._every = every

    def state_changed(self, service: AMQPService, state: str, error: Exception | None) -> None:
        super().state_changed(service, state, error)
        if state == self._wanted:
            self._wanted = state if self._every else ""
            self.done = self._react(service)


class ReenteringTests(ServiceTestCase):
    """The program turns to the service from where it hears of something."""

    def test_stopped_by_a_listener_in_each_state(self) -> None:
        for state in ("connecting", "recovering", "open", "waiting"):
            self.setUp()
            self.listener = listener = Reacting(state, AMQPService.stopService)
            self.service = self.make()
            self.broker.up = state != "waiting"
            self.start()
            self.broker.run(60)
            self.successResultOf(listener.done)
            self.assertEqual(self.service.state, "closed", state)
            self.assertTrue(all(line.lost for line in self.broker.lines), state)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_by_a_listener_that_hears_of_a_loss(self) -> None:
        self.listener = listener = Reacting("waiting", AMQPService.stopService)
        self.service = self.make()
        self.start()
        self.channel()
        self.lose()
        self.broker.run(60)
        self.successResultOf(listener.done)
        self.assertEqual(self.service.state, "closed")
        self.assertEqual(len(self.broker.lines), 1)

    def test_who_waits_is_cancelled_by_another_who_waited(self) -> None:
        waiting = [self.service.when_open() for _ in range(3)]
        waiting[0].addCallback(lambda _: waiting[1].cancel())
        self.start()
        self.successResultOf(waiting[0])
        self.failureResultOf(waiting[1], CancelledError)
        self.successResultOf(waiting[2])

    def test_who_waits_is_cancelled_by_another_who_hears_of_a_stop(self) -> None:
        self.broker.up = False
        self.start()
        waiting = [self.service.when_open() for _ in range(3)]
        waiting[0].addErrback(lambda _: waiting[1].cancel())
        self.stop()
        self.successResultOf(waiting[0])
        self.failureResultOf(waiting[1], CancelledError)
        self.failureResultOf(waiting[2], NotConnected)

    def test_whoever_waits_hears_of_a_stop_in_between(self) -> None:
        waiting = [self.service.when_open() for _ in range(2)]
        stopping: list[Deferred[None]] = []
        waiting[0].addCallback(lambda _: stopping.append(self.service.stopService()))
        self.start()
        self.failureResultOf(waiting[1], NotConnected)

    def test_started_again_before_it_has_stopped(self) -> None:
        self.start()
        self.channel()
        stopping = self.service.stopService()
        self.service.startService()
        self.broker.run()
        self.successResultOf(stopping)
        self.broker.run(1)
        self.assertEqual(self.service.state, "open")
        self.assertTrue(self.channel().is_open)
        self.stop()

    def test_started_again_and_stopped_again_before_it_has_stopped(self) -> None:
        self.start()
        first = self.service.stopService()
        self.service.startService()
        second = self.service.stopService()
        self.broker.run()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.service.state, "closed")
        self.broker.run(60)
        self.assertEqual(len(self.broker.lines), 1)

    def test_started_again_without_a_broker(self) -> None:
        self.start()
        self.stop()
        self.broker.up = False
        self.start()
        self.assertEqual(self.service.state, "waiting")
        waiting = self.service.when_open()
        self.assertNoResult(waiting)
        self.broker.up = True
        self.broker.run(1)
        self.successResultOf(waiting)

    def test_a_time_out_that_is_none_opens_no_channel(self) -> None:
        self.start()
        self.assertRaises(ValueError, self.service.channel, timeout=0)
        self.broker.run()
        self.assertEqual(self.service.channels, ())
        self.assertEqual(self.broker.line.sent(Channel.Open), [])


class StoppingTests(ServiceTestCase):
    """It stops, and the network does something else."""

    @staticmethod
    def work(working: Deferred[None], delivery: Delivery) -> Deferred[None]:
        return working

    def test_it_does_not_come_back_while_functions_end(self) -> None:
        for lost_first in (True, False):
            self.setUp()
            self.start()
            channel = self.channel()
            working: Deferred[None] = Deferred()
            self.result(channel.basic_consume("q", partial(self.work, working)))
            self.broker.line.deliver(b"1")
            if lost_first:
                self.lose()
            stopping = self.service.stopService()
            self.broker.run()
            if not lost_first:
                self.lose()
            self.broker.run(5)
            self.assertEqual(self.service.state, "draining")
            self.assertEqual(self.listener.states[-1], "draining")
            self.assertEqual(len(self.broker.lines), 1)
            self.assertNoResult(stopping)
            working.callback(None)
            self.broker.run(5)
            self.successResultOf(stopping)
            self.assertEqual(self.service.state, "closed")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_function_waits_for_a_reply(self) -> None:
        self.start()
        channel = self.channel()
        client = self.result(channel.rpc_client())
        replies: list[bytes] = []

        async def work(delivery: Delivery) -> None:
            replies.append((await client.call("", "squares", b"7", timeout=None)).body)

        self.result(channel.basic_consume("q", work, ack="on-success"))
        self.broker.line.deliver(b"1")
        stopping = self.service.stopService()
        self.broker.run()
        request = BasicProperties.from_wire(self.broker.line.properties[-1])
        reply = BasicProperties(correlation_id=request.correlation_id)
        consume: Any = self.broker.line.sent(Basic.Consume)[0]
        self.broker.line.deliver(b"49", consume.consumer_tag, properties=reply.encode())
        self.broker.run()
        self.successResultOf(stopping)
        self.assertEqual(replies, [b"49"])

    def test_a_reply_does_not_come(self) -> None:
        self.start()
        client = self.result(self.channel().rpc_client())
        calling = client.call("", "squares", b"7", timeout=None)
        self.stop()
        self.failureResultOf(calling, ConnectionClosed)

    def test_a_consumer_that_the_filter_left_out(self) -> None:
        self.service = self.make(recovers=lambda method: not isinstance(method, Basic.Consume))
        self.start()
        channel = self.channel()
        consumers = [self.result(channel.basic_consume("q", print)) for _ in range(3)]
        ended: list[Deferred[Any]] = [consumer.closed for consumer in consumers]
        cancels: list[Deferred[None]] = []
        self.listener.state_changed = lambda service, state, error: (  # type: ignore[method-assign]
            cancels.append(consumers[0].cancel()) if state == "open" else None
        )
        self.lose()
        self.heal()
        self.successResultOf(cancels[0])
        self.assertIsNone(self.successResultOf(ended[0]))
        for each in ended[1:]:
            self.assertIsInstance(self.successResultOf(each), ConsumerCancelled)
        self.successResultOf(consumers[1].cancel())
        self.assertEqual(channel.consumers, ())
        self.stop()
        self.assertTrue(self.broker.line.sent(Connection.Close))

    def test_lost_as_the_last_thing_that_recovery_waits_for(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.queue_declare("q"))
        self.result(channel.close())
        self.lose()
        answer = self.broker.answers.pop(Channel.Close)
        self.heal()
        self.assertEqual(self.broker.line.methods[-1][1].NAME, "Channel.Close")
        self.broker.answers[Channel.Close] = answer
        self.lose()
        self.assertEqual(self.service.state, "waiting")
        self.broker.run(1)
        self.assertEqual(self.service.state, "open")
        self.stop()

    def test_lost_between_recovery_and_open(self) -> None:
        self.start()
        self.lose()
        for _ in range(3):
            lines = len(self.broker.lines)
            while len(self.broker.lines) == lines:
                self.clock.advance(0.25)
            line = self.broker.line
            while self.service.connection is None and line.pump():
                pass
            self.assertEqual(self.service.state, "recovering")
            line.lose()
            self.assertEqual(self.service.state, "waiting")
            self.assertIsInstance(self.service.last_error, ConnectionLost)
        began = self.clock.seconds()
        lines = len(self.broker.lines)
        while len(self.broker.lines) == lines:
            self.clock.advance(0.25)
        self.assertGreater(self.clock.seconds() - began, 2)


class TroubledTestCase(SurvivingTestCase):
    """
    A service whose listener does what a test wants.

    @ivar on_open: That, each time when it is open.
    """

    def setUp(self) -> None:
        self.on_open: Callable[[], Any] = lambda: None
        super().setUp()

    def make(self, **more: Any) -> AMQPService:
        self.listener = Reacting("open", lambda service: self.on_open(), every=True)
        return super().make(**more)


class BetweenTests(TroubledTestCase):
    """Between the moment when a channel is set up again and that when all are."""

    def arguments(self) -> dict[str, Any]:
        return {"publish_wait": 10}

    def setUp(self) -> None:
        super().setUp()
        self.taken: list[Delivery] = []
        self.on_delivery: Callable[[], Any] = lambda: None
        self.consumer = self.result(self.chan.basic_consume("q", self.take, consumer_tag="c"))
        self.other = self.channel()
        self.result(self.other.basic_consume("q", print, consumer_tag="o"))

    def take(self, delivery: Delivery) -> None:
        self.taken.append(delivery)
        self.on_delivery()

    def between(self, happens: Callable[[Line], Any]) -> None:
        """C{happens} when C{chan} is set up and C{other} is not."""
        answer = self.broker.answers[Basic.Consume]

        def consume_ok(line: Any, number: int, asked: Any) -> Any:
            if asked.consumer_tag == "o":
                happens(line)
            return answer(line, number, asked)

        self.broker.answers[Basic.Consume] = consume_ok
        self.lose()
        self.heal()
        self.broker.answers[Basic.Consume] = answer
        self.broker.run()

    @staticmethod
    def number(line: Line, tag: str = "c") -> int:
        return next(n for n, m in line.methods if isinstance(m, Basic.Consume) and m.consumer_tag == tag)

    def test_the_broker_cancels_a_consumer(self) -> None:
        ended = self.consumer.closed
        self.between(lambda line: line.send(self.number(line), Basic.Cancel("c", True)))
        self.assertEqual(self.service.state, "open")
        self.assertIsInstance(self.successResultOf(ended), ConsumerCancelled)
        self.assertEqual(self.chan.consumers, ())
        self.successResultOf(self.service.when_open())

    def test_the_broker_closes_a_channel(self) -> None:
        ended, closed = self.consumer.closed, self.chan.closed
        self.between(lambda line: line.send(self.number(line), Channel.Close(541, "INTERNAL_ERROR", 0, 0)))
        self.assertEqual(self.service.state, "open")
        self.assertIsInstance(self.successResultOf(closed), ChannelClosed)
        self.assertIsInstance(self.successResultOf(ended), ChannelClosed)
        self.assertEqual(self.service.channels, (self.other,))

    def test_a_message_that_waits_does_not_fit_any_more(self) -> None:
        self.lose()
        big = self.chan.basic_publish("", "q", b"", BasicProperties(headers={"h": "x" * 100_000}))
        small = self.chan.basic_publish("", "q", b"1")
        tune = self.broker.answers[Connection.StartOk]
        self.broker.answers[Connection.StartOk] = lambda line, number, asked: Connection.Tune(2047, 8192, 0)
        self.heal()
        self.broker.answers[Connection.StartOk] = tune
        self.assertEqual(self.service.state, "open")
        self.failureResultOf(big, ValueError)
        self.successResultOf(small)

    def test_messages_that_wait_cancel_each_other(self) -> None:
        self.lose()
        waiting = [self.chan.basic_publish("", "q", b"%d" % n) for n in range(3)]
        waiting[0].addCallback(lambda _: waiting[1].cancel())
        self.heal()
        self.successResultOf(waiting[0])
        self.failureResultOf(waiting[1], CancelledError)
        self.successResultOf(waiting[2])
        self.assertEqual(self.service.allowance.held, 0)

    def test_messages_that_wait_cancel_each_other_in_confirm_mode(self) -> None:
        self.result(self.chan.confirm_select())
        self.lose()
        waiting = [self.chan.basic_publish("", "q", b"%d" % n) for n in range(3)]
        self.on_open = lambda: waiting[1].cancel()
        self.heal()
        self.successResultOf(waiting[0])
        self.failureResultOf(waiting[1], CancelledError)
        self.successResultOf(waiting[2])
        self.assertEqual(self.service.allowance.held, 0)

    def test_messages_that_wait_cancel_each_other_at_the_end(self) -> None:
        self.lose()
        waiting = [self.chan.basic_publish("", "q", b"%d" % n) for n in range(2)]
        waiting[0].addErrback(lambda failure: waiting[1].cancel())
        self.successResultOf(self.chan.close())
        self.failureResultOf(waiting[1], CancelledError)
        self.assertEqual(self.service.allowance.held, 0)

    def test_a_function_closes_the_channel(self) -> None:
        self.on_delivery = self.chan.close
        self.between(lambda line: [each(b"1", "c") for each in [line.deliver] * 3])
        self.assertEqual(len(self.taken), 1)


class CancellingTests(SurvivingTestCase):
    """Consumers that the program ends when the connection does."""

    def test_a_cancel_is_under_way(self) -> None:
        for queued in (False, True):
            self.setUp()
            consumer = self.result(self.chan.basic_consume("q", print))
            ended = consumer.closed
            answers = dict(self.broker.answers)
            del self.broker.answers[Basic.Cancel], self.broker.answers[Queue.Declare]
            if queued:
                self.chan.queue_declare("q").addErrback(lambda _: None)
            cancelling = consumer.cancel()
            self.broker.run()
            self.lose()
            self.failureResultOf(cancelling, ConnectionLost)
            self.assertIsNone(self.successResultOf(ended))
            self.assertEqual(self.chan.consumers, ())
            self.broker.answers.update(answers)
            self.heal()
            self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_a_cancel_is_right_behind_the_start(self) -> None:
        consuming = self.chan.basic_consume("q", print, consumer_tag="c")
        self.chan.basic_cancel("c", nowait=True)
        consumer = self.result(consuming)
        self.assertIsNone(self.successResultOf(consumer.closed))
        self.assertEqual(self.chan.consumers, ())
        self.bounce()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_a_drain_is_under_way(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", print, concurrency=1))
        answer = self.broker.answers.pop(Basic.Cancel)
        draining = consumer.drain(60)
        self.broker.run()
        self.lose()
        self.assertEqual(self.successResultOf(draining), 0)
        self.broker.answers[Basic.Cancel] = answer
        self.heal()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_nack_of_all_without_a_connection(self) -> None:
        self.lose()
        self.assertRaises(StaleDelivery, self.chan.basic_nack, 0, True)

    def test_an_rpc_client_whose_opening_was_cut(self) -> None:
        answer = self.broker.answers.pop(Basic.Consume)
        opening = self.chan.rpc_client()
        self.broker.run()
        self.lose()
        self.failureResultOf(opening, ConnectionLost)
        self.failureResultOf(self.chan.rpc_client(), NotConnected)
        self.broker.answers[Basic.Consume] = answer
        self.heal()
        self.assertTrue(self.result(self.chan.rpc_client()).is_open)

    def test_an_rpc_client_is_asked_for_without_a_connection(self) -> None:
        client = self.result(self.chan.rpc_client())
        self.lose()
        self.failureResultOf(self.chan.rpc_client(), NotConnected)
        self.heal()
        self.assertRaises(ValueError, self.chan.rpc_client)
        calling = client.call("", "q", b"1", timeout=None)
        self.broker.run()
        self.lose()
        self.failureResultOf(calling, ConnectionLost)

    def test_an_rpc_client_whose_opening_was_given_up(self) -> None:
        answer = self.broker.answers.pop(Basic.Consume)
        opening = self.chan.rpc_client(timeout=1)
        self.broker.run(1)
        self.failureResultOf(opening, CallTimeout)
        self.assertRaises(ValueError, self.chan.rpc_client)
        self.broker.answers[Basic.Consume] = answer
        self.bounce()
        self.assertTrue(self.result(self.chan.rpc_client()).is_open)


class GivingUpTests(TroubledTestCase):
    """A consumer is cancelled while it is set up again, and deliveries come all the same."""

    def cancelled(self, **more: Any) -> Any:
        consumer = self.result(self.chan.basic_consume("q", print, **more))
        answer = self.broker.answers.pop(Basic.Consume)
        self.lose()
        self.heal()
        self.successResultOf(consumer.cancel())
        line = self.broker.line
        number, asked = line.methods[-1]
        said = answer(line, number, asked)
        assert said is not None
        line.send(number, said)
        return line

    def test_from_a_stream_which_takes_nothing_back(self) -> None:
        line = self.cancelled(arguments={"x-stream-offset": "first"})
        line.deliver(b"1")
        self.broker.run()
        self.assertEqual(line.sent(Basic.Nack, Basic.Reject), [])
        self.assertEqual(line.sent(Basic.Ack), [Basic.Ack(1, False)])

    def test_the_cancel_waits_for_its_turn(self) -> None:
        answer = self.broker.answers.pop(Queue.Declare)
        self.on_open = lambda: self.chan.queue_declare("x")
        line = self.cancelled()
        self.broker.run()
        line.deliver(b"1")
        line.send(self.chan.channel_number, answer(line, 1, Queue.Declare(0, "x")))
        self.broker.run()
        self.assertEqual(line.sent(Basic.Nack), [Basic.Nack(1, False, True)])


class RefusedTests(ServiceTestCase):
    """What the broker does not let a channel have again."""

    def test_what_makes_the_broker_hang_up(self) -> None:
        for kind in (Basic.Qos, Basic.Consume):
            self.setUp()
            self.start()
            channel = self.channel()
            self.result(channel.basic_qos(5))
            consumer = self.result(channel.basic_consume("q", print))
            ended = consumer.closed
            answer = self.broker.answers[kind]
            self.broker.answers[kind] = lambda line, number, asked: Connection.Close(
                540, "NOT_IMPLEMENTED", asked.CLASS_ID, asked.METHOD_ID
            )
            self.lose()
            self.broker.run(0.5)
            self.assertIsInstance(self.service.last_error, ConnectionClosed)
            self.broker.run(2)
            self.assertEqual(self.service.state, "open", kind.NAME)
            self.assertEqual([name for name, _ in self.listener.refused], [kind.NAME])
            if kind is Basic.Consume:
                self.assertIsInstance(self.successResultOf(ended), ConnectionClosed)
                self.assertEqual(channel.consumers, ())
            else:
                self.broker.answers[kind] = answer
                self.lose()
                self.broker.run(4)
                self.assertEqual(len(self.broker.line.sent(Basic.Qos)), 1)

    def test_F51_a_consumer_that_wants_its_queue_alone_is_still_there(self) -> None:
        self.start()
        channel = self.channel()
        consumer = self.result(channel.basic_consume("q", print, exclusive=True))
        answer = self.broker.answers[Basic.Consume]
        self.broker.answers[Basic.Consume] = refusal(403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
        self.lose()
        self.heal()
        self.broker.run(2)
        self.assertEqual(self.service.state, "recovering")
        self.broker.answers[Basic.Consume] = answer
        self.broker.run(4)
        self.assertEqual(self.service.state, "open")
        self.assertEqual(self.listener.refused, [])
        self.assertEqual(channel.consumers, (consumer,))

    def test_F51_but_not_for_ever(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.basic_consume("q", print, exclusive=True))
        self.broker.answers[Basic.Consume] = refusal(403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use")
        self.lose()
        self.heal()
        for _ in range(80):
            self.broker.run(0.25)
        self.assertEqual(self.service.state, "open")
        self.assertEqual([name for name, _ in self.listener.refused], ["Basic.Consume"])
        self.assertEqual(channel.consumers, ())

    def test_a_function_for_credentials_that_fails_is_no_refusal(self) -> None:
        given: list[Any] = [PlainCredentials("u", "p"), OSError("the vault is down")]

        def credentials() -> PlainCredentials:
            gives = given.pop()
            if isinstance(gives, Exception):
                raise gives
            found: PlainCredentials = gives
            return found

        self.service = self.make(parameters=ConnectionParameters(heartbeat=0, credentials=credentials))
        self.start()
        self.assertIsInstance(self.service.last_error, AuthenticationError)
        self.heal()
        self.assertEqual(self.service.state, "open")

    def test_there_are_fewer_channels(self) -> None:
        self.start()
        channels = [self.channel() for _ in range(3)]
        closed = channels[2].closed
        self.broker.answers[Connection.StartOk] = lambda line, number, asked: Connection.Tune(2, 131072, 0)
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "open")
        self.assertEqual(self.service.channels, tuple(channels[:2]))
        self.assertIsInstance(self.successResultOf(closed), ChannelClosed)
        self.assertEqual([name for name, _ in self.listener.refused], ["Channel.Open"])
        self.assertIsInstance(self.listener.refused[0][1], NoFreeChannels)
