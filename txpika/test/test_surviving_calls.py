# -*- test-case-name: txpika.test.test_surviving_calls -*-
"""
Tests for L{txpika.surviving}: calls that are made before earlier ones are answered.

Which queue C{""} is then, only the broker knows; and what is recorded must not depend on who waited for what.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txpika.exceptions import ConnectionClosed, ConnectionLost
from txpika.spec import Basic, Channel, Exchange, Method, Queue
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import method
from txpika.test.obliging import Answer
from txpika.test.served import SurvivingTestCase


class LastQueueTests(SurvivingTestCase):
    """C{""} is the queue declared last, even if that is not known to be there yet."""

    def setUp(self) -> None:
        super().setUp()
        self.broker.answers[Basic.Get] = lambda line, number, asked: Basic.GetEmpty()
        self.broker.answers[Queue.Purge] = lambda line, number, asked: Queue.PurgeOk(0)

    def queues(self, *kinds: type[Method]) -> list[str]:
        """The names in what was sent."""
        return [getattr(each, "queue", "?") for each in self.broker.line.sent(*kinds)]

    def test_not_the_one_before(self) -> None:
        self.result(self.chan.queue_declare("old"))
        self.chan.queue_declare("new")
        self.chan.queue_bind("", "amq.direct", "k")
        self.chan.basic_consume("", print)
        self.chan.basic_get("")
        self.chan.queue_purge("")
        self.chan.queue_unbind("", "amq.direct", "other")
        self.broker.run()
        said = self.queues(Queue.Bind, Basic.Consume, Basic.Get, Queue.Purge, Queue.Unbind)
        self.assertEqual(said, [""] * 5, "the broker knows")
        self.bounce()
        self.assertEqual(self.queues(Queue.Declare, Queue.Bind, Basic.Consume), ["old", "new", "new", "new"])

    def test_deleted(self) -> None:
        self.result(self.chan.queue_declare("old"))
        self.chan.queue_declare("new")
        self.chan.queue_delete("")
        self.broker.run()
        self.bounce()
        self.assertEqual(self.queues(Queue.Declare), ["old"])

    def test_one_that_the_broker_names(self) -> None:
        """The whole setup in one go."""
        self.chan.queue_declare("", exclusive=True)
        self.chan.queue_bind("", "amq.topic", "k")
        bodies: list[bytes] = []
        consuming = self.chan.basic_consume("", lambda delivery: bodies.append(delivery.body))
        consumer = self.result(consuming)
        self.assertEqual(list(self.service.topology.queues), ["amq.gen-1"])
        self.bounce()
        self.assertEqual(self.queues(Queue.Declare, Queue.Bind, Basic.Consume), ["", "amq.gen-2", "amq.gen-2"])
        self.broker.line.deliver(b"1")
        self.assertEqual((bodies, self.chan.consumers), ([b"1"], (consumer,)))

    def test_several_of_them(self) -> None:
        """Each is that of the declaration before it."""
        for key in ("a", "b", "c"):
            self.chan.queue_declare(key)
            self.chan.queue_bind("", "amq.direct", key)
            self.chan.basic_consume("", print, consumer_tag=key)
        self.chan.queue_declare("last", nowait=True)
        self.broker.run()
        self.bounce()
        bound: list[Any] = self.broker.line.sent(Queue.Bind)
        self.assertEqual([(each.queue, each.routing_key) for each in bound], [(key, key) for key in "abc"])
        consumed: list[Any] = self.broker.line.sent(Basic.Consume)
        self.assertEqual([(each.queue, each.consumer_tag) for each in consumed], [(key, key) for key in "abc"])

    def test_an_empty_routing_key_is_its_name_as_well(self) -> None:
        self.chan.queue_declare("")
        self.chan.queue_bind("", "amq.direct", "")
        self.broker.run()
        self.assertEqual([each.routing_key for each in self.service.topology.bindings], ["amq.gen-1"])

    def test_without_waiting_for_answers_at_all(self) -> None:
        self.chan.basic_qos(5)
        self.chan.queue_declare("q", nowait=True)
        self.chan.queue_bind("", "amq.direct", "k", nowait=True)
        consumer = self.successResultOf(self.chan.basic_consume("", print, nowait=True))
        self.broker.run()
        self.bounce()
        self.assertEqual(self.queues(Queue.Declare, Queue.Bind, Basic.Consume), ["q", "q", "q"])
        self.assertEqual(self.chan.consumers, (consumer,))

    def test_after_the_answer_it_has_its_name_again(self) -> None:
        """On a later connection the broker would not know what was declared last."""
        self.chan.queue_declare("q")
        self.broker.run()
        self.bounce()
        self.result(self.chan.basic_get(""))
        self.result(self.chan.queue_bind("", "amq.direct", "k"))
        self.assertEqual(self.queues(Basic.Get, Queue.Bind), ["q", "q"])

    def test_a_declaration_given_up_before_its_turn(self) -> None:
        self.result(self.chan.queue_declare("old"))
        self.chan.basic_qos(5)
        declaring = self.chan.queue_declare("never")
        self.chan.queue_bind("", "amq.direct", "k")
        declaring.addErrback(lambda _: None)
        declaring.cancel()
        self.broker.run()
        self.assertEqual(self.queues(Queue.Declare), ["old"])
        self.bounce()
        self.assertEqual(self.queues(Queue.Declare, Queue.Bind), ["old", "old"])

    def test_a_declaration_that_was_cut(self) -> None:
        """C{""} is not the queue before it afterwards; on a new connection, the broker says that there is none."""
        self.result(self.chan.queue_declare("old"))
        del self.broker.answers[Queue.Declare]
        declaring = self.chan.queue_declare("new")
        self.broker.run()
        self.lose()
        self.failureResultOf(declaring, ConnectionLost)
        self.broker.answers[Queue.Declare] = lambda line, number, asked: Queue.DeclareOk(asked.queue, 0, 0)
        self.heal()
        self.result(self.chan.queue_bind("", "amq.direct", "k"))
        self.assertEqual(self.queues(Queue.Declare, Queue.Bind), ["old", ""])
        self.result(self.chan.queue_declare("new"))
        self.result(self.chan.queue_bind("", "amq.direct", "k"))
        self.assertEqual(self.queues(Queue.Bind), ["", "new"])


class NowaitTests(SurvivingTestCase):
    """What waits for no answer is recorded behind what was called before it."""

    def mute(self, kind: type[Method]) -> Answer:
        return self.broker.answers.pop(kind)

    def test_declared_and_deleted(self) -> None:
        self.chan.queue_declare("q", durable=True)
        self.chan.queue_delete("q", nowait=True)
        self.chan.exchange_declare("x")
        self.chan.exchange_delete("x", nowait=True)
        self.broker.run()
        self.bounce()
        self.assertEqual(self.broker.line.sent(Queue.Declare, Exchange.Declare), [])

    def test_declared_last(self) -> None:
        self.chan.queue_declare("a")
        self.chan.queue_declare("b", nowait=True)
        self.broker.run()
        self.result(self.chan.queue_bind("", "amq.direct", "k"))
        self.bounce()
        bound: Any = self.broker.line.sent(Queue.Bind)[0]
        self.assertEqual(bound.queue, "b")

    def test_a_consumer_gets_the_prefetch_count_set_before_it(self) -> None:
        self.chan.basic_qos(1)
        self.chan.basic_consume("q", print, nowait=True)
        self.broker.run()
        self.bounce()
        self.assertEqual(
            [each.NAME for each in self.broker.line.sent(Basic.Qos, Basic.Consume)], ["Basic.Qos", "Basic.Consume"]
        )

    def test_cut_before_its_turn(self) -> None:
        """It was said to have succeeded: so it does, on the next connection."""
        answer = self.mute(Basic.Qos)
        limiting = self.chan.basic_qos(5)
        self.successResultOf(self.chan.queue_declare("q", nowait=True))
        consumer = self.successResultOf(self.chan.basic_consume("", print, nowait=True))
        self.lose()
        self.failureResultOf(limiting, ConnectionLost)
        self.broker.answers[Basic.Qos] = answer
        self.heal()
        said: list[Any] = self.broker.line.sent(Queue.Declare, Basic.Consume)
        self.assertEqual([(each.NAME, each.queue) for each in said], [("Queue.Declare", "q"), ("Basic.Consume", "q")])
        self.assertEqual(self.chan.consumers, (consumer,))

    def test_a_consumer_cancelled_before_its_turn(self) -> None:
        self.chan.basic_qos(5)
        consumer = self.successResultOf(self.chan.basic_consume("q", print, nowait=True))
        cancelling: Deferred[None] = consumer.cancel()
        self.result(cancelling)
        self.assertEqual(self.chan.consumers, ())
        self.bounce()
        self.assertEqual(self.broker.line.sent(Basic.Consume), [])

    def test_the_channel_ends_first(self) -> None:
        self.mute(Basic.Qos)
        limiting = self.chan.basic_qos(5)
        consumer = self.successResultOf(self.chan.basic_consume("q", print, nowait=True))
        ended: Deferred[Any] = consumer.closed
        self.broker.run()
        self.broker.line.send(self.chan.channel_number, Channel.Close(406, "no", 60, 10))
        self.failureResultOf(limiting)
        self.assertEqual(self.successResultOf(ended).reply_code, 406)


class GivenUpTests(SurvivingTestCase):
    """The program gives up what waits when the service tells it that the connection is over."""

    def give_up_when_it_is_over(self) -> list[Any]:
        """
        A publish is held, as the broker is blocked, and a declaration waits behind it.

        @return: What becomes of the declaration.
        """
        self.broker.line.send(0, ConnectionMethods.Blocked("low on memory"))
        publishing, declaring = self.chan.basic_publish("", "k", b"x"), self.chan.queue_declare("new")
        errors: list[Any] = []
        publishing.addErrback(lambda failure: None)
        waiting: Deferred[Any] = declaring
        waiting.addErrback(lambda failure: errors.append(failure.value))

        def changed(service: object, state: str, error: object) -> None:
            if state == "waiting":
                publishing.cancel()

        self.patch(self.listener, "state_changed", changed)
        return errors

    def test_nothing_is_written_after_close_ok(self) -> None:
        errors = self.give_up_when_it_is_over()
        line = self.broker.line
        before = len(line.transport.data)
        line.send(0, ConnectionMethods.Close(320, "maintenance", 0, 0))
        self.assertEqual(bytes(line.transport.data[before:]), method(0, ConnectionMethods.CloseOk()))
        self.assertEqual([(type(error), error.outcome) for error in errors], [(ConnectionClosed, "not sent")])

    def test_the_queue_declared_last_is_so_on_the_next_connection(self) -> None:
        self.give_up_when_it_is_over()
        self.bounce()
        self.result(self.chan.queue_declare("a"))
        self.chan.queue_declare("fresh")
        self.chan.queue_bind("", "amq.direct", "k")
        self.broker.run()
        bound: list[Any] = self.broker.line.sent(Queue.Bind)
        self.assertEqual([each.queue for each in bound], [""])
