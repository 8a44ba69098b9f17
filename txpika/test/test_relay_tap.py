"""Tests for the service behind C{twist txpika-relay}: by the clock, without a process or a network."""

from __future__ import annotations

import json
import os
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from txpika.relay_tap import Options, RelayService
from txpika.spec import Basic, Connection, Exchange, Method, Queue
from txpika.test.obliging import ObligingBroker, refusal
from txpika.test.test_consumer_service import Ending, Reactor


class RelayServiceTests(SynchronousTestCase):
    """Its life."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.there, self.here = ObligingBroker(self.reactor), ObligingBroker(self.reactor)
        self.ending = Ending()

    def make(self, *arguments: str) -> RelayService:
        options = Options()
        uris = ("--source-uri", "amqp://u:p@there/%2F?heartbeat=0", "--target-uri", "amqp://u:p@here/%2F?heartbeat=0")
        options.parseOptions([*uris, "--queue", "q", "--exchange", "x", *arguments])
        return RelayService(
            options, self.reactor, cast(Any, self.ending), source_endpoint=self.there, target_endpoint=self.here
        )

    def run_both(self, seconds: float = 0.0) -> None:
        self.reactor.advance(seconds)
        for _ in range(5):
            self.there.run()
            self.here.run()

    def start(self, *arguments: str) -> RelayService:
        service = self.make(*arguments)
        service.startService()
        self.run_both()
        return service

    def stop(self, service: RelayService, *seconds: float) -> None:
        """@param seconds: It is not finished before each of them has passed, and then it is."""
        stopped = service.stopService()
        self.run_both()
        for each in seconds:
            self.assertNoResult(stopped)
            self.run_both(each)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def declarations(self, kind: str, name: str) -> str:
        path = os.path.join(os.path.dirname(self.mktemp()), f"{name}.json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            json.dump({f"{kind}s": [{kind: name}]}, file)
        return path

    def failure(self) -> tuple[int, str]:
        ((code, text),) = self.ending.failures
        return code, text

    def test_moves(self) -> None:
        service = self.start("--window", "7", "--routing-key", "k", "--name", "n")
        self.assertEqual(service.name, "txpika-relay")
        self.assertEqual(self.there.line.sent(Basic.Qos), [Basic.Qos(0, 7, False)])
        self.there.line.deliver(b"1")
        self.run_both()
        self.assertEqual(self.there.line.sent(Basic.Ack), [Basic.Ack(1)])
        published: Any = self.here.line.sent(Basic.Publish)[0]
        self.assertEqual((published.exchange, published.routing_key, service.relay.relay_name), ("x", "k", "n"))
        self.stop(service)
        self.assertEqual(self.ending.failures, [])

    def test_no_message_is_too_large_or_too_many(self) -> None:
        """That is RabbitMQ's to say, or the window's."""
        service = self.make()
        self.assertEqual(service.relay.source.parameters.max_body_size, 512 * 1024 * 1024)
        self.assertGreater(service.relay.target.parameters.max_held, 65535 * 512 * 1024 * 1024)

    def test_health(self) -> None:
        service = self.make()
        self.assertEqual(service.health()[0], False)
        service.startService()
        self.run_both()
        self.there.line.deliver(b"1")
        self.run_both()
        state = {"state": "open", "reconnects": 0, "last_error": None}
        counts = {"under_way": 0, "moved": 1, "retried": 0, "rejected": 0}
        well = {"source": state | {"consuming": True}, "target": state | {"publishing": True}, **counts}
        self.assertEqual(service.health(), (True, well))
        self.here.up = False
        self.here.line.lose()
        self.there.line.deliver(b"2")
        self.run_both()
        ok, page = service.health()
        target: Any = page["target"]
        self.assertEqual((ok, target["state"], target["publishing"], page["under_way"]), (False, "waiting", False, 1))
        self.assertTrue(target["last_error"])
        self.here.up = True
        for _ in range(31):
            self.run_both(1)
        self.assertEqual(service.health()[0], True)
        self.there.up = False
        self.there.line.lose()
        ok, page = service.health()
        source: Any = page["source"]
        self.assertEqual((ok, source["consuming"]), (False, False))
        self.there.up = True
        for _ in range(31):
            self.run_both(1)
        self.assertEqual(service.health()[0], True)
        self.stop(service)
        self.assertEqual(service.health()[0], False)

    def test_what_the_target_says_to_a_message_is_told(self) -> None:
        service = self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.here.line.send(1, Basic.Nack(1))
        target: Any = service.health()[1]["target"]
        self.assertIn("refused publish 1", target["last_error"])

    def test_what_is_declared(self) -> None:
        source, target = self.declarations("queue", "q"), self.declarations("exchange", "x")
        self.start("--declare-source", source, "--declare-target", target)
        there: Any = self.there.line.sent(Queue.Declare, Exchange.Declare, Basic.Consume)
        self.assertEqual([(type(each), each.queue) for each in there], [(Queue.Declare, "q"), (Basic.Consume, "q")])
        here: Any = self.here.line.sent(Queue.Declare, Exchange.Declare)
        self.assertEqual([(each.exchange, each.passive) for each in here], [("x", False), ("x", True)])

    def test_nothing_is_asked_of_the_default_exchange(self) -> None:
        self.start("--exchange", "")
        self.assertEqual(self.here.line.sent(Exchange.Declare), [])

    def test_refused_logins(self) -> None:
        for broker, name in ((self.there, "source"), (self.here, "target")):
            self.setUp()
            broker = self.there if name == "source" else self.here
            broker.answers[Connection.StartOk] = lambda line, number, asked: Connection.Close(403, "ACCESS_REFUSED")
            self.start()
            code, text = self.failure()
            self.assertEqual((code, text.partition(":")[0]), (77, f"the {name} refused the connection"))
            self.assertIn("ACCESS_REFUSED", text)

    def test_a_queue_or_an_exchange_that_is_not_there(self) -> None:
        self.there.answers[Basic.Consume] = refusal(404, "NOT_FOUND - no queue 'q'")
        self.start()
        code, text = self.failure()
        self.assertEqual((code, text.startswith("queue 'q' of the source: 404 NOT_FOUND")), (69, True), text)
        self.setUp()
        self.here.answers[Exchange.Declare] = refusal(404, "NOT_FOUND - no exchange 'x'")
        self.start()
        code, text = self.failure()
        self.assertEqual((code, text.startswith("exchange 'x' of the target: 404 NOT_FOUND")), (69, True), text)

    def test_a_declaration_that_is_refused(self) -> None:
        self.there.answers[Queue.Declare] = refusal(406, "PRECONDITION_FAILED")
        self.start("--declare-source", self.declarations("queue", "q"))
        code, text = self.failure()
        self.assertEqual((code, "q.json: queues[0]: 406 PRECONDITION_FAILED" in text), (69, True), text)

    def test_gone_later(self) -> None:
        """That is no reason to end."""
        service = self.start()
        self.there.answers[Basic.Consume] = refusal(404, "NOT_FOUND - no queue 'q'")
        self.here.answers[Exchange.Declare] = refusal(404, "NOT_FOUND - no exchange 'x'")
        self.there.line.deliver(b"1")
        for broker in (self.there, self.here):
            broker.line.lose()
            self.run_both(1)
            self.run_both(1)
        self.assertEqual(self.ending.failures, [])
        source: Any = service.health()[1]["source"]
        self.assertEqual((source["consuming"], "404 NOT_FOUND" in source["last_error"]), (False, True))
        self.stop(service)

    def test_neither_is_there(self) -> None:
        self.there.up = self.here.up = False
        service = self.start()
        for _ in range(30):
            self.run_both(1)
        self.assertEqual(self.ending.failures, [])
        self.stop(service)
        self.assertEqual(self.ending.failures, [])

    def test_lost_at_the_first_try(self) -> None:
        """No broker has refused anything."""
        unanswered: tuple[tuple[ObligingBroker, type[Method]], ...] = (
            (self.there, Basic.Consume),
            (self.here, Exchange.Declare),
        )
        answers = [broker.answers.pop(method) for broker, method in unanswered]
        service = self.start()
        for (broker, method), answer in zip(unanswered, answers, strict=True):
            broker.answers[method] = answer
            broker.line.lose()
            self.run_both(1)
        self.assertEqual(self.ending.failures, [])
        self.run_both(1)
        self.assertEqual(service.health()[0], True)
        self.stop(service)

    def test_not_confirmed_at_the_end(self) -> None:
        service = self.start("--drain-timeout", "5")
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.stop(service, 4.9, 0.2, 10)  # the last is for the closing of the connection
        self.assertEqual(self.failure(), (75, "not confirmed after 5 s, and may come twice: 1"))
        self.assertEqual(self.there.line.sent(Basic.Ack, Basic.Reject), [])

    def test_what_was_not_sent_at_the_end(self) -> None:
        """It stays where it is, and nobody waits for anything."""
        service = self.start()
        self.here.up = False
        self.here.line.lose()
        self.there.line.deliver(b"1")
        self.run_both()
        self.stop(service)
        self.assertEqual((self.ending.failures, self.there.line.sent(Basic.Ack, Basic.Reject)), ([], []))

    def test_a_fault_of_its_own(self) -> None:
        service = self.make()
        self.patch(service.relay.source, "channel", lambda: 1 / 0)
        service.startService()
        self.run_both()
        self.assertEqual(self.failure(), (70, "ZeroDivisionError: division by zero"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
