# -*- test-case-name: txpika.test.test_surviving -*-
"""Tests for L{txpika.surviving} and L{txpika.interim}: channels that go on with another connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txpika.exceptions import (
    CallTimeout,
    ChannelClosed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    NotConnected,
    OutcomeUnknown,
    StaleDelivery,
    UnknownConsumerTag,
)
from txpika.message import Delivery
from txpika.spec import Basic, BasicProperties, Channel, Connection, Queue
from txpika.surviving import SurvivingChannel
from txpika.test.instruments import Recorder
from txpika.test.served import SurvivingTestCase

SETTLING = (Basic.Ack, Basic.Nack, Basic.Reject)


class ConsumerTests(SurvivingTestCase):
    """Consumers go on."""

    def test_the_same_function(self) -> None:
        bodies: list[bytes] = []
        consumer = self.result(self.chan.basic_consume("q", lambda delivery: bodies.append(delivery.body)))
        self.broker.line.deliver(b"1")
        self.bounce()
        self.broker.line.deliver(b"2")
        self.assertEqual(bodies, [b"1", b"2"])
        self.assertEqual(self.chan.consumers, (consumer,))
        self.assertIs(consumer.channel, self.chan)
        self.assertIs(self.chan.connection, self.service.connection)

    def test_the_same_loop(self) -> None:
        consumer = self.result(self.chan.basic_consume("q"))
        bodies: list[bytes] = []

        async def loop() -> None:
            async for delivery in consumer:
                bodies.append(delivery.body)
                delivery.ack()

        looping = Deferred.fromCoroutine(loop())
        self.broker.line.deliver(b"1")
        self.bounce()
        self.broker.line.deliver(b"2")
        self.assertEqual(bodies, [b"1", b"2"])
        self.result(consumer.cancel())
        self.successResultOf(looping)

    def test_unseen_deliveries_are_dropped_for_they_come_again(self) -> None:
        consumer = self.result(self.chan.basic_consume("q"))
        for body in (b"1", b"2"):
            self.broker.line.deliver(body)
        self.bounce()
        self.broker.line.deliver(b"1", redelivered=True)
        delivery = self.successResultOf(Deferred.fromCoroutine(consumer.__anext__()))
        self.assertEqual((delivery.body, delivery.redelivered), (b"1", True))

    def test_unseen_deliveries_without_ack_are_kept_for_they_do_not(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", no_ack=True, buffer_size=2))
        for body in (b"1", b"2"):
            self.broker.line.deliver(body)
        self.assertFalse(self.broker.line.transport.reading)
        self.bounce()
        self.broker.run()
        delivery = self.successResultOf(Deferred.fromCoroutine(consumer.__anext__()))
        self.assertEqual(delivery.body, b"1")

    def test_prefetch_of_each_is_that_of_its_start(self) -> None:
        self.result(self.chan.basic_qos(5))
        self.result(self.chan.basic_consume("a", print))
        self.result(self.chan.basic_qos(50))
        self.result(self.chan.basic_consume("b", print))
        self.bounce()
        said = [
            getattr(each, "prefetch_count", None) or getattr(each, "queue", None)
            for each in self.broker.line.sent(Basic.Qos, Basic.Consume)
        ]
        self.assertEqual(said, [5, "a", 50, "b"])

    def test_what_comes_early_waits_for_the_channel(self) -> None:
        """A function that publishes must find a channel that takes it."""
        published: list[Deferred[None]] = []

        def work(delivery: Delivery) -> None:
            published.append(self.chan.basic_publish("", "next", delivery.body))

        self.result(self.chan.basic_consume("q", work, consumer_tag="first"))
        self.result(self.chan.basic_consume("q", print, consumer_tag="second"))
        answer = self.broker.answers[Basic.Consume]

        def consume_ok(line: Any, number: int, asked: Any) -> Any:
            if asked.consumer_tag == "second":
                line.deliver(b"early", "first")
            return answer(line, number, asked)

        self.broker.answers[Basic.Consume] = consume_ok
        self.bounce()
        self.assertEqual(len(published), 1)
        self.successResultOf(published[0])
        self.broker.run()
        self.assertEqual(self.broker.line.bodies, [b"early"])

    def test_all_channels_are_there_when_one_begins(self) -> None:
        """A function that publishes on another channel, and a listener that does, find it."""
        other = self.channel()
        published: list[Deferred[None]] = []
        self.result(self.chan.basic_consume("q", lambda _: published.append(other.basic_publish("", "x", b"1"))))
        self.listener.state_changed = lambda service, state, error: (  # type: ignore[method-assign]
            published.append(other.basic_publish("", "x", b"2")) if state == "open" else None
        )
        answer = self.broker.answers[Basic.Consume]

        def consume_ok(line: Any, number: int, asked: Any) -> Any:
            line.deliver(b"early", asked.consumer_tag)
            return answer(line, number, asked)

        self.broker.answers[Basic.Consume] = consume_ok
        self.bounce()
        self.assertEqual(len(published), 2)
        for each in published:
            self.successResultOf(each)

    def test_what_the_broker_was_told_is_repeated_whatever_the_program_does_to_it_later(self) -> None:
        arguments: dict[str, object] = {"x-max-length": 5}
        declaring = self.chan.queue_declare("q", arguments=arguments)
        arguments["x-max-length"] = 6
        self.result(declaring)
        self.bounce()
        declare: Any = self.broker.line.sent(Queue.Declare)[0]
        self.assertEqual(declare.arguments, {"x-max-length": 5})

    def test_tags_that_are_made_up_do_not_meet_those_of_before(self) -> None:
        first = self.result(self.chan.basic_consume("q", print))
        self.bounce()
        second = self.result(self.chan.basic_consume("q", print))
        self.assertNotEqual(first.consumer_tag, second.consumer_tag)
        self.assertEqual(self.chan.consumers, (first, second))

    def test_cancelled(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", print))
        self.result(consumer.cancel())
        self.assertEqual(self.chan.consumers, ())
        self.bounce()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_cancelled_without_a_connection(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", print))
        ended = consumer.closed
        self.lose()
        self.successResultOf(consumer.cancel())
        self.assertIsNone(self.successResultOf(ended))
        self.assertRaises(UnknownConsumerTag, self.chan.basic_cancel, consumer.consumer_tag)
        self.heal()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_cancelled_while_it_is_set_up_again(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", print))
        answer = self.broker.answers.pop(Basic.Consume)
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "recovering")
        self.successResultOf(consumer.cancel())
        line = self.broker.line
        number, asked = line.methods[-1]
        said = answer(line, number, asked)
        assert said is not None
        line.send(number, said)
        line.deliver(b"1")
        self.broker.run()
        self.assertEqual(self.service.state, "open")
        self.assertEqual(line.sent(*SETTLING), [Basic.Nack(1, False, True)])
        self.assertEqual(line.sent(Basic.Cancel), [Basic.Cancel(consumer.consumer_tag, True)])

    def test_F42_cancelled_by_the_broker(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", print))
        ended = consumer.closed
        self.broker.line.send(self.chan.channel_number, Basic.Cancel(consumer.consumer_tag, True))
        self.assertIsInstance(self.successResultOf(ended), ConsumerCancelled)
        self.bounce()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_a_consumer_whose_start_was_cut_is_none(self) -> None:
        del self.broker.answers[Basic.Consume]
        consuming = self.chan.basic_consume("q", print)
        self.broker.run()
        self.lose()
        self.failureResultOf(consuming, ConnectionLost)
        self.heal()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])


class FilteredTests(SurvivingTestCase):
    """The program does not want its consumers set up again: it does that by itself, when they have ended."""

    def arguments(self) -> dict[str, Any]:
        return {"recovers": lambda method: not isinstance(method, Basic.Consume)}

    def test_the_loop_ends(self) -> None:
        consumer = self.result(self.chan.basic_consume("q"))
        again: list[Any] = []

        async def loop() -> None:
            try:
                async for _ in consumer:
                    pass
            except ConsumerCancelled as error:
                self.assertIn(consumer.consumer_tag, str(error))
                again.append(await self.chan.basic_consume("q"))

        looping = Deferred.fromCoroutine(loop())
        closed = consumer.closed
        self.lose()
        self.assertNoResult(closed)
        self.heal()
        self.assertEqual(self.service.state, "open")
        self.assertIsInstance(self.successResultOf(closed), ConsumerCancelled)
        self.successResultOf(looping)
        self.assertEqual(self.chan.consumers, tuple(again))
        self.assertEqual(self.listener.refused, [])

    def test_its_queue_stays(self) -> None:
        """Also one that goes with its last consumer: on the new connection, it has not had one yet."""
        self.result(self.chan.queue_declare("q", auto_delete=True))
        self.result(self.chan.basic_consume("q", print))
        for _ in range(3):
            self.lose()
            self.broker.run(2)
            self.assertEqual(len(self.broker.line.sent(Queue.Declare)), 1)
            self.assertEqual(self.chan.consumers, ())
            consumer = self.result(self.chan.basic_consume("q", print))
        self.result(consumer.cancel())
        self.assertEqual(dict(self.service.topology.queues), {})

    def test_direct_replies(self) -> None:
        client = self.result(self.chan.rpc_client())
        self.bounce()
        self.assertFalse(client.is_open)
        self.assertTrue(self.result(self.chan.rpc_client()).is_open)


class SettlingTests(SurvivingTestCase):
    """F54 and F55: what acknowledges deliveries of before."""

    def test_F54_has_no_effect_once_and_raises_twice(self) -> None:
        seen: list[Delivery] = []
        self.result(self.chan.basic_consume("q", seen.append))
        for n in range(4):
            self.broker.line.deliver(b"%d" % n)
        seen[0].ack()
        self.bounce()
        for n in range(1, 4):
            self.broker.line.deliver(b"%d" % n, redelivered=True)
        stale = seen[:4]
        self.assertRaises(StaleDelivery, stale[0].ack)
        self.assertTrue(all(delivery.settled for delivery in stale))
        stale[1].ack()
        stale[2].nack()
        stale[3].reject()
        for delivery in stale:
            self.assertRaises(StaleDelivery, delivery.ack)
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [])
        self.assertEqual(self.chan.settled_in_vain, 3)
        seen[4].ack()
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [Basic.Ack(1)])

    def test_F55_multiple(self) -> None:
        seen: list[Delivery] = []
        self.result(self.chan.basic_consume("q", seen.append))
        for n in range(5):
            self.broker.line.deliver(b"%d" % n)
        self.bounce()
        for n in range(5):
            self.broker.line.deliver(b"%d" % n)
        seen[2].ack(multiple=True)
        self.assertRaises(StaleDelivery, seen[1].ack)
        seen[3].ack()
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [])
        self.assertEqual(self.chan.settled_in_vain, 4)

    def test_between_two_connections(self) -> None:
        seen: list[Delivery] = []
        self.result(self.chan.basic_consume("q", seen.append))
        self.broker.line.deliver(b"1")
        self.lose()
        seen[0].ack()
        self.assertRaises(StaleDelivery, seen[0].ack)
        self.assertEqual(self.chan.settled_in_vain, 1)
        self.assertRaises(StaleDelivery, self.chan.basic_ack, 0, True)

    def test_by_policy(self) -> None:
        working: list[Deferred[None]] = []

        def work(delivery: Delivery) -> Deferred[None]:
            working.append(Deferred())
            return working[-1]

        consumer = self.result(self.chan.basic_consume("q", work, ack="on-success", concurrency=1))
        self.broker.line.deliver(b"1")
        self.bounce()
        self.broker.line.deliver(b"1", redelivered=True)
        self.assertEqual(len(working), 1)
        working[0].callback(None)
        self.assertEqual(len(working), 2)
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [])
        working[1].callback(None)
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [Basic.Ack(1)])
        self.assertEqual(consumer.running, 0)

    def test_by_number(self) -> None:
        """A number may be that of another delivery by now."""
        self.result(self.chan.basic_consume("q", lambda delivery: None))
        self.broker.line.deliver(b"1")
        for settle in (self.chan.basic_ack, self.chan.basic_nack, self.chan.basic_reject):
            error = self.assertRaises(ValueError, settle, 1)
            self.assertIn("of the delivery", str(error))
            self.assertRaises(TypeError, settle, "1")
        self.chan.basic_ack(0, True)
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [Basic.Ack(1, True)])


class CallTests(SurvivingTestCase):
    """Calls while there is no connection."""

    def test_F60_fail_at_once(self) -> None:
        self.result(self.chan.confirm_select())
        self.lose()
        self.assertFalse(self.chan.is_open)
        for call in (
            lambda: self.chan.queue_declare("q"),
            lambda: self.chan.basic_consume("q", print),
            lambda: self.chan.basic_get("q"),
            lambda: self.chan.basic_qos(1),
            lambda: self.chan.confirm_select(),
            lambda: self.chan.basic_recover(),
            lambda: self.chan.basic_publish("", "q", b"x"),
            lambda: self.chan.basic_publish("", "q", b"x", timeout=1),
        ):
            error = self.failureResultOf(call(), NotConnected).value
            self.assertEqual(error.outcome, "not sent")
            self.assertIn("reset", str(error))
        self.assertEqual(self.chan.mode, "confirm")
        self.assertIn("between", repr(self.chan))
        self.heal()
        self.assertEqual(self.broker.line.sent(Queue.Declare, Basic.Consume, Basic.Publish), [])

    def test_wrong_arguments_are_wrong_then_too(self) -> None:
        self.lose()
        self.assertRaises(TypeError, self.chan.basic_publish, "", "q", "text")
        self.assertRaises(TypeError, self.chan.basic_publish, 1, "q", b"")
        self.assertRaises(ValueError, self.chan.basic_publish, "", "q" * 256, b"")
        self.assertRaises(TypeError, self.chan.basic_publish, "", "q", b"", {"headers": {}})
        self.assertRaises(ValueError, self.chan.basic_publish, "", "q", b"", BasicProperties(priority=256))

    def test_publishes_under_way_end_as_unknown(self) -> None:
        self.result(self.chan.confirm_select())
        self.broker.confirms = False
        publishing = self.chan.basic_publish("", "q", b"x")
        self.lose()
        self.failureResultOf(publishing, OutcomeUnknown)

    def test_calls_under_way_fail(self) -> None:
        del self.broker.answers[Queue.Declare]
        declaring = self.chan.queue_declare("q")
        self.broker.run()
        self.lose()
        self.failureResultOf(declaring, ConnectionLost)

    def test_transactions_are_refused(self) -> None:
        self.assertRaises(ValueError, self.chan.tx_select)


class EndTests(SurvivingTestCase):
    """What ends such a channel."""

    def test_closed(self) -> None:
        closing = self.chan.close()
        self.broker.run()
        self.successResultOf(closing)
        self.bounce()
        self.assertEqual(self.broker.line.methods, [])
        self.assertEqual(self.service.channels, ())

    def test_closed_without_a_connection(self) -> None:
        consumer = self.result(self.chan.basic_consume("q", print))
        closed, ended = self.chan.closed, consumer.closed
        self.lose()
        self.successResultOf(self.chan.close())
        self.assertIsInstance(self.successResultOf(closed), ChannelClosed)
        self.assertIsInstance(self.successResultOf(self.chan.closed), ChannelClosed)
        self.assertIsInstance(self.successResultOf(ended), ChannelClosed)
        self.failureResultOf(self.chan.basic_publish("", "q", b"x"), ChannelClosed)
        self.successResultOf(self.chan.close())
        self.heal()
        self.assertEqual(self.broker.line.methods, [])

    def test_closed_while_it_is_set_up_again(self) -> None:
        self.result(self.chan.basic_consume("q", print))
        answer = self.broker.answers.pop(Basic.Consume)
        self.lose()
        self.heal()
        self.successResultOf(self.chan.close())
        line = self.broker.line
        number, asked = line.methods[-1]
        said = answer(line, number, asked)
        assert said is not None
        line.send(number, said)
        self.broker.run()
        self.assertEqual(self.service.state, "open")
        self.assertEqual(line.sent(Channel.Close)[-1].NAME, "Channel.Close")
        self.assertEqual(self.service.channels, ())

    def test_by_the_broker(self) -> None:
        closed = self.chan.closed
        self.broker.line.send(self.chan.channel_number, Channel.Close(404, "no", 60, 40))
        self.broker.run()
        self.assertEqual(self.successResultOf(closed).reply_code, 404)
        self.bounce()
        self.assertEqual(self.broker.line.methods, [])

    def test_F63_by_the_broker_and_then_the_network(self) -> None:
        closed = self.chan.closed
        self.broker.line.send(self.chan.channel_number, Channel.Close(404, "no", 60, 40))
        self.broker.line.lose()
        self.assertEqual(self.successResultOf(closed).reply_code, 404)

    def test_closing_when_the_network_is_lost(self) -> None:
        del self.broker.answers[Channel.Close]
        closing = self.chan.close()
        self.broker.run()
        self.lose()
        self.successResultOf(closing)
        self.heal()
        self.assertEqual(self.broker.line.methods, [])

    def test_not_by_a_close_of_the_connection(self) -> None:
        closed = self.chan.closed
        self.broker.line.send(0, Connection.Close(320, "CONNECTION_FORCED - maint"))
        self.broker.run()
        self.assertIsInstance(self.service.last_error, ConnectionClosed)
        self.heal()
        self.assertNoResult(closed)
        self.assertTrue(self.chan.is_open)


class RPCTests(SurvivingTestCase):
    """Requests and replies on such a channel."""

    def test_calls_under_way_fail_and_later_ones_work(self) -> None:
        client = self.result(self.chan.rpc_client())
        calling = client.call("", "q", b"1", timeout=None)
        self.broker.run()
        self.lose()
        error = self.failureResultOf(calling, ConnectionLost).value
        self.assertEqual(error.outcome, "unknown")
        self.failureResultOf(client.call("", "q", b"2"), NotConnected)
        self.heal()
        consume: Any = self.broker.line.sent(Basic.Consume)[0]
        self.assertEqual(consume.queue, "amq.rabbitmq.reply-to")
        calling = client.call("", "q", b"3", timeout=5)
        self.broker.run()
        self.assertEqual(self.broker.line.bodies, [b"3"])
        self.broker.run(5)
        self.failureResultOf(calling, CallTimeout)
        self.assertTrue(client.is_open)


class InstrumentTests(SurvivingTestCase):
    """What instruments hear of such a channel."""

    def arguments(self) -> dict[str, Any]:
        self.recorder = Recorder()
        return {"instrument": self.recorder}

    def test_deliveries_and_what_settles_them_on_both_connections(self) -> None:
        seen: list[Delivery] = []
        self.result(self.chan.basic_consume("q", seen.append))
        self.broker.line.deliver(b"1")
        self.broker.line.deliver(b"2")
        seen[0].ack()
        self.bounce()
        self.broker.line.deliver(b"2")
        seen[1].ack()
        seen[2].ack()
        self.assertRaises(StaleDelivery, seen[2].ack)
        self.assertEqual(self.recorder.names().count("delivered"), 3)
        self.assertEqual(self.recorder.names().count("settled"), 2)
        self.broker.run()
        self.assertEqual(self.broker.line.sent(*SETTLING), [Basic.Ack(1)])
        self.assertIsInstance(self.chan, SurvivingChannel)

    def test_publishes(self) -> None:
        self.result(self.chan.basic_publish("", "q", b"1"))
        self.lose()
        self.failureResultOf(self.chan.basic_publish("", "q", b"2"), NotConnected)
        self.heal()
        self.result(self.chan.basic_publish("", "q", b"3"))
        self.assertEqual(
            [event[2] for event in self.recorder.events if event[0] == "outcome"], ["written", "not sent", "written"]
        )
