# -*- test-case-name: txpika.test.test_recovery -*-
"""Tests for L{txpika.recovery}: what is set up again, and what becomes of what the broker refuses."""

from __future__ import annotations

from typing import Any

from txpika.exceptions import (
    CallTimeout,
    ConnectionClosed,
    ConnectionLost,
)
from txpika.spec import Basic, Connection, Exchange, Queue
from txpika.surviving import SurvivingChannel
from txpika.test.obliging import refusal
from txpika.test.served import ServiceTestCase


class RecoveryTests(ServiceTestCase):
    """What is set up again, and what becomes of what the broker refuses."""

    def declared(self) -> SurvivingChannel:
        self.start()
        channel = self.channel()
        self.result(channel.exchange_declare("x", "topic", durable=True))
        self.result(channel.queue_declare("q", durable=True))
        self.result(channel.queue_bind("q", "x", "#"))
        return channel

    def said(self) -> list[str]:
        """What the client said on the last connection."""
        return [each.NAME for _, each in self.broker.line.methods]

    def test_in_order(self) -> None:
        channel = self.declared()
        self.result(channel.confirm_select())
        self.result(channel.basic_qos(5))
        self.result(channel.basic_consume("q", print))
        self.lose()
        self.assertEqual(self.service.state, "waiting")
        waiting = self.service.when_open()
        self.heal()
        self.assertIs(self.successResultOf(waiting), self.service.connection)
        self.assertEqual(
            self.said(),
            [
                *("Channel.Open", "Exchange.Declare", "Queue.Declare", "Queue.Bind", "Channel.Close"),
                *("Channel.Open", "Confirm.Select", "Basic.Qos", "Basic.Consume"),
            ],
        )

    def test_F50_what_is_refused_is_left_out_and_reported(self) -> None:
        for kind, code in ((Exchange.Declare, 406), (Queue.Declare, 403), (Queue.Bind, 404)):
            self.setUp()
            self.declared()
            answer = self.broker.answers[kind]
            self.broker.answers[kind] = refusal(code)
            self.lose()
            self.heal()
            self.assertEqual(self.service.state, "open")
            self.assertEqual([name for name, _ in self.listener.refused], [kind.__name__ and kind.NAME])
            self.assertEqual(self.listener.refused[0][1].reply_code, code)  # type: ignore[attr-defined]
            self.assertIn("Queue.Bind", self.said())
            self.broker.answers[kind] = answer  # and is there again when the broker has thought better of it
            self.lose()
            self.broker.run(1)
            self.assertEqual(len(self.listener.refused), 1)
            self.assertIn(kind.NAME, self.said())

    def test_F50_a_consumer_that_is_refused_ends(self) -> None:
        channel = self.declared()
        refused = self.result(channel.basic_consume("gone", print, consumer_tag="a"))
        other = self.result(channel.basic_consume("q", print, consumer_tag="b"))
        ended = refused.closed
        answer = self.broker.answers[Basic.Consume]
        self.broker.answers[Basic.Consume] = lambda line, number, asked: (
            refusal(404) if asked.queue == "gone" else answer
        )(line, number, asked)
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "open")
        self.assertEqual(self.successResultOf(ended).reply_code, 404)
        self.assertEqual(channel.consumers, (other,))
        self.assertTrue(channel.is_open)
        self.assertEqual([name for name, _ in self.listener.refused], ["Basic.Consume"])

    def test_F50_what_makes_the_broker_hang_up_is_left_out_the_next_time(self) -> None:
        self.declared()
        self.broker.answers[Exchange.Declare] = lambda line, number, asked: Connection.Close(
            503, "no such type", 40, 10
        )
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "waiting")
        self.assertIsInstance(self.service.last_error, ConnectionClosed)
        self.broker.run(2)
        self.assertEqual(self.service.state, "open")
        self.assertEqual([name for name, _ in self.listener.refused], ["Exchange.Declare"])
        self.assertNotIn("Exchange.Declare", self.said())

    def test_F51_an_exclusive_queue_that_is_still_locked(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.queue_declare("mine", exclusive=True))
        self.result(channel.basic_consume("mine", print))
        answer = self.broker.answers[Queue.Declare]
        self.broker.answers[Queue.Declare] = refusal(405)
        self.lose()
        self.heal()
        self.broker.run(2)
        self.assertEqual(self.service.state, "recovering")
        self.broker.answers[Queue.Declare] = answer
        self.broker.run(4)
        self.assertEqual(self.service.state, "open")
        self.assertEqual(self.listener.refused, [])
        self.assertEqual(self.said()[-1], "Basic.Consume")
        self.assertEqual(self.said().count("Channel.Open"), self.said().count("Queue.Declare") + 1)

    def test_F51_but_not_for_ever(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.queue_declare("mine", exclusive=True))
        self.broker.answers[Queue.Declare] = refusal(405)
        self.lose()
        self.heal()
        for _ in range(80):
            self.broker.run(0.25)
        self.assertEqual(self.service.state, "open")
        self.assertEqual([name for name, _ in self.listener.refused], ["Queue.Declare"])

    def test_F56_the_broker_chooses_another_name(self) -> None:
        self.start()
        channel = self.channel()
        first = self.result(channel.queue_declare("", exclusive=True)).queue
        self.result(channel.queue_bind("", "amq.topic", "a.*"))
        consumer = self.result(channel.basic_consume("", print))
        self.lose()
        self.heal()
        second = "amq.gen-2"
        self.assertEqual(self.listener.renamed, [(first, second)])
        said: list[Any] = self.broker.line.sent(Queue.Bind, Basic.Consume)
        self.assertEqual([each.queue for each in said], [second, second])
        self.assertEqual(channel.consumers, (consumer,))
        self.result(channel.queue_bind("", "amq.topic", "b.*"))
        self.assertEqual(self.broker.line.sent(Queue.Bind)[-1].queue, second)  # type: ignore[attr-defined]

    def test_a_queue_that_the_broker_named_is_still_there(self) -> None:
        """With its messages: another one would leave them behind."""
        self.start()
        channel = self.channel()
        name = self.result(channel.queue_declare("", durable=True)).queue
        self.result(channel.queue_bind("", "amq.topic", "a.*"))
        consumer = self.result(channel.basic_consume("", print))
        self.lose()
        self.heal()
        said: list[Any] = self.broker.line.sent(Queue.Declare, Queue.Bind, Basic.Consume)
        self.assertEqual([each.queue for each in said], [name] * 3)
        self.assertTrue(said[0].passive)
        self.assertEqual((self.listener.renamed, self.listener.refused), ([], []))
        self.assertEqual(channel.consumers, (consumer,))

    def test_a_queue_that_the_broker_named_is_gone(self) -> None:
        self.start()
        channel = self.channel()
        first = self.result(channel.queue_declare("")).queue
        self.result(channel.queue_bind("", "amq.topic", "a.*"))
        answer = self.broker.answers[Queue.Declare]
        self.broker.answers[Queue.Declare] = lambda line, number, asked: (refusal(404) if asked.passive else answer)(
            line, number, asked
        )
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "open")
        self.assertEqual((self.listener.renamed, self.listener.refused), ([(first, "amq.gen-2")], []))
        said: list[Any] = self.broker.line.sent(Queue.Declare, Queue.Bind)
        self.assertEqual([each.queue for each in said], [first, "", "amq.gen-2"])

    def test_a_queue_that_the_broker_named_cannot_be_there(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.queue_declare("", exclusive=True))
        self.result(channel.queue_declare("", auto_delete=True))
        self.result(channel.basic_consume("", print))
        self.lose()
        self.heal()
        said: list[Any] = self.broker.line.sent(Queue.Declare)
        self.assertEqual([(each.queue, each.passive) for each in said], [("", False)] * 2)
        self.assertEqual(len(self.listener.renamed), 2)

    def test_looking_for_a_queue_makes_the_broker_hang_up(self) -> None:
        """As RabbitMQ does where a queue has crashed."""
        self.start()
        name = self.result(self.channel().queue_declare("")).queue
        answer = self.broker.answers[Queue.Declare]
        self.broker.answers[Queue.Declare] = lambda line, number, asked: (
            Connection.Close(541, "INTERNAL_ERROR", 50, 10) if asked.passive else answer(line, number, asked)
        )
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "waiting")
        self.broker.run(2)
        self.assertEqual(self.service.state, "open")
        self.assertEqual(self.listener.renamed, [(name, "amq.gen-2")])

    def test_lost_while_looking_for_a_queue(self) -> None:
        self.start()
        self.result(self.channel().queue_declare(""))
        answer = self.broker.answers.pop(Queue.Declare)
        self.lose()
        self.heal()
        self.lose()
        self.broker.answers[Queue.Declare] = answer
        self.broker.run(2)
        self.assertEqual((self.service.state, self.listener.renamed), ("open", []))

    def test_F57_what_was_deleted_stays_deleted(self) -> None:
        channel = self.declared()
        self.result(channel.queue_delete("q"))
        self.result(channel.exchange_delete("x"))
        consumer = self.result(channel.basic_consume("other", print))
        self.result(consumer.cancel())
        self.lose()
        self.heal()
        self.assertEqual(self.said(), ["Channel.Open"])

    def test_F58_cut_at_every_call_of_the_recovery(self) -> None:
        channel = self.declared()
        self.result(channel.confirm_select())
        self.result(channel.basic_qos(5))
        consumers = [self.result(channel.basic_consume("q", print)) for _ in range(3)]
        asked = 0
        for cut in range(1, 20):
            self.lose()
            lines = len(self.broker.lines)
            while len(self.broker.lines) == lines:
                self.clock.advance(0.5)
            line = self.broker.line
            while self.service.state != "open" and len(line.methods) < cut and line.pump():
                self.clock.advance(0)
            asked = max(asked, len(line.methods))
            if self.service.state == "open":
                break
            line.lose()
        self.assertEqual(asked, 11)
        self.assertEqual(self.service.state, "open")
        self.assertEqual(len(self.broker.line.sent(Basic.Consume)), 3)
        self.assertEqual(channel.consumers, tuple(consumers))

    def test_a_call_that_is_never_answered_is_another_failed_attempt(self) -> None:
        self.declared()
        answer = self.broker.answers.pop(Queue.Declare)
        self.lose()
        self.heal()
        self.broker.run(30)
        self.assertIsInstance(self.service.last_error, CallTimeout)
        self.broker.answers[Queue.Declare] = answer
        self.broker.run(2)
        self.assertEqual(self.service.state, "open")

    def test_filters(self) -> None:
        left_out = {"x", "q2"}
        self.service = self.make(
            recovers=lambda method: (
                getattr(method, "exchange", "") not in left_out and getattr(method, "queue", "") not in left_out
            )
        )
        channel = self.declared()
        self.result(channel.queue_declare("q2"))
        self.result(channel.basic_consume("q2", print))
        self.lose()
        self.heal()
        self.assertEqual(self.said(), ["Channel.Open", "Queue.Declare", "Channel.Close", "Channel.Open"])
        self.assertEqual(channel.consumers, ())

    def test_a_call_that_its_caller_gave_up_is_recorded_when_the_broker_did_it(self) -> None:
        self.start()
        channel = self.channel()
        declaring = channel.queue_declare("q")
        declaring.addErrback(lambda _: None)
        declaring.cancel()
        self.broker.run()
        self.lose()
        self.heal()
        self.assertIn("Queue.Declare", self.said())

    def test_passive_declarations_are_not_repeated(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.queue_declare("q", passive=True))
        self.result(channel.exchange_declare("x", passive=True))
        self.lose()
        self.heal()
        self.assertEqual(self.said(), ["Channel.Open"])

    def test_nowait(self) -> None:
        self.start()
        channel = self.channel()
        self.result(channel.queue_declare("q", nowait=True))
        self.result(channel.queue_bind("q", "amq.topic", "#", nowait=True))
        self.result(channel.basic_consume("q", print, nowait=True))
        self.lose()
        self.heal()
        self.assertEqual(self.said()[1:3], ["Queue.Declare", "Queue.Bind"])
        self.assertEqual(self.said()[-1], "Basic.Consume")

    def test_lost_twice(self) -> None:
        channel = self.declared()
        self.lose()
        self.assertIsInstance(self.service.last_error, ConnectionLost)
        self.heal()
        self.lose()
        self.broker.run(1)
        self.assertEqual((self.service.state, self.service.reconnects), ("open", 2))
        self.assertTrue(channel.is_open)
