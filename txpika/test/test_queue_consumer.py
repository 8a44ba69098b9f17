"""Tests for consuming one queue as long as the program runs: by the clock and without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txpika.declaring import Declaration
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.queue_consumer import LONGEST_DELAY, QueueConsumer, Terms
from txpika.service import AMQPService
from txpika.spec import Basic, Channel, Connection, Method, Queue
from txpika.test.obliging import ObligingBroker, refusal

#: What is said on a channel that consumes.
SET_UP = ("Channel.Open", "Queue.Declare", "Basic.Qos", "Basic.Consume")
DECLARATIONS = (Declaration("queue_declare", {"queue": "work", "durable": True}, "file: queues[0]"),)


class QueueConsumerTestCase(SynchronousTestCase):
    """A service, a broker that agrees to everything, and a consumer."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ObligingBroker(self.clock)
        self.service = AMQPService(ConnectionParameters(heartbeat=0), self.clock, endpoint=self.broker)
        self.refusals: list[tuple[str, Exception]] = []
        self.stops: list[tuple[str, Failure]] = []
        self.deliveries: list[Delivery] = []
        self.handler: Callable[[Delivery], object] = self.deliveries.append

    def start(self, **terms: Any) -> QueueConsumer:
        consumer = QueueConsumer(
            self.service,
            "work",
            lambda delivery: self.handler(delivery),
            Terms(declarations=DECLARATIONS, **terms),
            self.clock,
            lambda queue, error: self.refusals.append((queue, error)),
            lambda queue, failure: self.stops.append((queue, failure)),
        )
        self.service.startService()
        consumer.start()
        self.broker.run()
        return consumer

    def sent(self, *kinds: type[Method]) -> list[Any]:
        return self.broker.line.sent(*kinds)

    def counts(self, consumer: QueueConsumer) -> tuple[int, int, int]:
        self.broker.run()
        return consumer.running, consumer.handled, consumer.failed


class SettingUpTests(QueueConsumerTestCase):
    """From nothing to the first delivery."""

    def test_a_channel_of_its_own(self) -> None:
        consumer = self.start(prefetch=7, concurrency=2)
        said = [(number, method.NAME) for number, method in self.broker.line.methods]
        self.assertEqual(said, [(1, name) for name in SET_UP])
        self.assertEqual(self.sent(Basic.Qos)[0].prefetch_count, 7)
        self.assertTrue(self.sent(Queue.Declare)[0].durable)
        self.assertTrue(consumer.consuming)
        self.assertEqual((self.refusals, self.stops), ([], []))

    def test_while_there_is_no_broker_it_waits(self) -> None:
        self.broker.up = False
        consumer = self.start()
        self.broker.run(10)
        self.assertFalse(consumer.consuming)
        self.broker.up = True
        for _ in range(60):
            self.broker.run(1)
        self.assertTrue(consumer.consuming)
        self.flushLoggedErrors()

    def test_what_is_refused_at_first_is_final(self) -> None:
        for method in (Queue.Declare, Basic.Qos, Basic.Consume):
            self.setUp()
            self.broker.answers[method] = refusal(404, "NOT_FOUND - no queue")
            consumer = self.start()
            self.broker.run(100)
            ((queue, error),) = self.refusals
            self.assertEqual(queue, "work")
            self.assertIn("404 NOT_FOUND - no queue", str(error))
            self.assertFalse(consumer.consuming)
            self.assertEqual(len(self.sent(Channel.Open)), 1)

    def test_a_refusal_that_closes_the_connection_is_final_too(self) -> None:
        self.broker.answers[Queue.Declare] = lambda line, number, asked: Connection.Close(
            540, "NOT_IMPLEMENTED", 50, 10
        )
        self.start()
        self.assertEqual(len(self.refusals), 1)

    def test_the_network_is_no_refusal(self) -> None:
        self.broker.answers[Queue.Declare] = lambda line, number, asked: None
        consumer = self.start()
        del self.broker.answers[Queue.Declare]
        self.broker.answers = ObligingBroker(self.clock).answers
        self.broker.line.lose()
        for _ in range(10):
            self.broker.run(1)
        self.assertEqual((self.refusals, consumer.consuming), ([], True))

    def test_stopped_before_it_consumes(self) -> None:
        self.broker.answers[Queue.Declare] = lambda line, number, asked: None
        consumer = self.start()
        consumer.stop()
        stopped = self.service.stopService()
        self.broker.run(11)  # it does not answer, and so the closing takes its time
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.refusals, consumer.consuming, len(self.broker.lines)), ([], False, 1))


class AgainTests(QueueConsumerTestCase):
    """When the broker ends what was."""

    def test_cancelled_by_the_broker(self) -> None:
        consumer = self.start()
        self.broker.line.send(1, Basic.Cancel(self.sent(Basic.Consume)[0].consumer_tag))
        self.broker.run()
        self.assertFalse(consumer.consuming)
        self.broker.run(3)
        self.assertTrue(consumer.consuming)
        names = [method.NAME for _, method in self.broker.line.methods]
        self.assertEqual([name for name in names if name in SET_UP], [*SET_UP, *SET_UP])
        self.assertIn("Channel.Close", names)

    def test_channel_closed_by_the_broker(self) -> None:
        consumer = self.start()
        self.broker.line.send(1, Channel.Close(406, "PRECONDITION_FAILED - delivery acknowledgement timed out", 0, 0))
        self.broker.run()
        self.assertFalse(consumer.consuming)
        self.broker.run(3)
        self.assertTrue(consumer.consuming)
        self.assertEqual(self.refusals, [])

    def test_tried_for_ever_with_growing_delays(self) -> None:
        consumer = self.start()
        self.broker.answers[Basic.Consume] = refusal(404)
        self.broker.line.send(1, Basic.Cancel(self.sent(Basic.Consume)[0].consumer_tag))
        tries = []
        for second in range(300):
            before = len(self.sent(Basic.Consume))
            self.broker.run(1)
            if len(self.sent(Basic.Consume)) > before:
                tries.append(second)
        gaps = [later - sooner for sooner, later in pairwise(tries)]
        self.assertLess(tries[0], 3)
        self.assertGreater(len(tries), 8)
        self.assertLess(max(gaps), LONGEST_DELAY * 2)
        self.assertGreater(max(gaps), 10)
        self.assertEqual((self.refusals, consumer.consuming), ([], False))
        self.broker.answers = ObligingBroker(self.clock).answers
        for _ in range(60):
            self.broker.run(1)
        self.assertTrue(consumer.consuming)

    def test_refused_on_a_new_connection(self) -> None:
        """The service leaves it out, and cannot know that it may be there again later."""
        consumer = self.start()
        self.broker.answers[Basic.Consume] = refusal(404)
        self.broker.line.lose()
        for _ in range(3):
            self.broker.run(1)
        self.assertFalse(consumer.consuming)
        self.broker.answers = ObligingBroker(self.clock).answers
        for _ in range(40):
            self.broker.run(1)
        self.assertTrue(consumer.consuming)

    def test_a_new_connection_needs_no_help(self) -> None:
        consumer = self.start()
        self.broker.line.lose()
        for _ in range(3):
            self.broker.run(1)
        self.assertTrue(consumer.consuming)
        self.assertEqual(len(self.broker.lines), 2)
        self.broker.line.deliver(b"again")
        self.assertEqual(self.counts(consumer), (0, 1, 0))

    def test_the_service_is_started_again_before_it_has_stopped(self) -> None:
        consumer = self.start()
        stopped = self.service.stopService()
        self.service.startService()
        for _ in range(5):
            self.broker.run(1)
        self.successResultOf(stopped)
        self.assertEqual((len(self.broker.lines), len(self.sent(Basic.Consume))), (2, 1))
        self.broker.line.deliver(b"again")
        self.assertEqual(self.counts(consumer), (0, 1, 0))

    def test_stopped_in_between(self) -> None:
        consumer = self.start()
        self.broker.line.send(1, Basic.Cancel(self.sent(Basic.Consume)[0].consumer_tag))
        self.broker.run()
        consumer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(consumer.consuming)
        self.assertEqual((len(self.sent(Basic.Consume)), self.refusals), (1, []))


class DeliveryTests(QueueConsumerTestCase):
    """What becomes of deliveries, and what is counted."""

    def test_plain(self) -> None:
        consumer = self.start()
        self.broker.line.deliver(b"one")
        self.broker.line.deliver(b"two")
        self.assertEqual(self.counts(consumer), (0, 2, 0))
        self.assertEqual([delivery.body for delivery in self.deliveries], [b"one", b"two"])
        self.assertEqual(self.sent(Basic.Ack)[-1].delivery_tag, 2)

    def test_deferreds(self) -> None:
        works: list[Deferred[object]] = []
        self.handler = lambda delivery: works.append(Deferred()) or works[-1]  # type: ignore[func-returns-value]
        consumer = self.start()
        for body in (b"one", b"two"):
            self.broker.line.deliver(body)
        self.assertEqual(self.counts(consumer), (2, 0, 0))
        works[0].callback("any result")
        self.assertEqual(self.counts(consumer), (1, 1, 0))
        works[1].errback(ValueError("no good"))
        self.assertEqual(self.counts(consumer), (0, 1, 1))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(self.sent(Basic.Nack)[0].requeue)

    def test_coroutines_and_futures(self) -> None:
        async def handler(delivery: Delivery) -> None:
            if delivery.body == b"bad":
                raise ValueError("no good")

        self.handler = handler
        consumer = self.start()
        self.broker.line.deliver(b"good")
        self.broker.line.deliver(b"bad")
        self.assertEqual(self.counts(consumer), (0, 1, 1))
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future: asyncio.Future[None] = loop.create_future()
        self.handler = lambda delivery: future
        self.broker.line.deliver(b"future")
        self.assertEqual(self.counts(consumer), (1, 1, 1))
        future.set_result(None)
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(self.counts(consumer), (0, 2, 1))
        self.flushLoggedErrors(ValueError)

    def test_concurrency(self) -> None:
        self.handler = lambda delivery: Deferred()
        consumer = self.start(concurrency=2)
        for body in (b"one", b"two", b"three"):
            self.broker.line.deliver(body)
        self.assertEqual(self.counts(consumer), (2, 0, 0))

    def failing(self, on_error: str, redelivered: bool = False) -> list[Any]:
        """@return: How a delivery was settled on which the handler fails at once."""
        self.setUp()
        self.handler = lambda delivery: fail(ValueError("no good"))
        consumer = self.start(on_error=on_error)
        self.broker.line.deliver(b"bad", redelivered=redelivered)
        self.assertEqual(self.counts(consumer), (0, 0, 1))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        return [(type(each).__name__, each.requeue) for each in self.sent(Basic.Nack, Basic.Reject)]

    def test_policies(self) -> None:
        self.assertEqual(self.failing("requeue-once"), [("Nack", True)])
        self.assertEqual(self.failing("requeue-once", redelivered=True), [("Reject", False)])
        self.assertEqual(self.failing("requeue", redelivered=True), [("Nack", True)])
        self.assertEqual(self.failing("reject"), [("Reject", False)])
        self.assertEqual(self.stops, [])

    def test_stop(self) -> None:
        """The delivery goes back, after the cancel: else it would come again at once."""
        for redelivered in (False, True):
            self.assertEqual(self.failing("stop", redelivered), [("Nack", True)])
            ((queue, failure),) = self.stops
            self.assertEqual((queue, str(failure.value)), ("work", "no good"))
            names = [method.NAME for _, method in self.broker.line.methods][len(SET_UP) :]
            self.assertEqual(names[:2], ["Basic.Cancel", "Basic.Nack"])
            self.broker.run(100)
            self.assertEqual(len(self.sent(Basic.Consume)), 1)

    def test_a_stop_takes_no_other_delivery(self) -> None:
        work: Deferred[object] = Deferred()
        self.handler = lambda delivery: self.deliveries.append(delivery) or work  # type: ignore[func-returns-value]
        consumer = self.start(on_error="stop", concurrency=1)
        for body in (b"bad", b"waits"):
            self.broker.line.deliver(body)
        work.errback(ValueError("no good"))
        self.broker.run()
        self.broker.line.deliver(b"under way")
        self.assertEqual(self.counts(consumer), (0, 0, 1))
        self.assertEqual([delivery.body for delivery in self.deliveries], [b"bad"])
        self.flushLoggedErrors(ValueError)

    def test_a_handler_that_exits_stops_under_every_policy(self) -> None:
        async def leaves(delivery: Delivery) -> None:
            raise SystemExit(3)

        def exits(delivery: Delivery) -> None:
            raise SystemExit(3)

        for handler in (leaves, exits):
            self.setUp()
            self.handler = handler
            self.start(on_error="reject")
            self.broker.line.deliver(b"bad")
            self.broker.run()
            self.assertEqual(len(self.stops), 1)
            self.assertEqual([each.requeue for each in self.sent(Basic.Nack)], [True])
            self.assertEqual(self.sent(Basic.Reject, Basic.Ack), [])
            self.flushLoggedErrors(SystemExit)
