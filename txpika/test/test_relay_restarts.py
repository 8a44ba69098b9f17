"""Tests for L{txpika.relay}, which is stopped and started again, or whose target is."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txpika.protocol import AMQPProtocol
from txpika.spec import Basic
from txpika.test.obliging import refusal
from txpika.test.test_relay import RelayTestCase


class LimitedTestCase(RelayTestCase):
    """A relay that tries for ever at one go fails, rather than to freeze the tests."""

    def setUp(self) -> None:
        super().setUp()
        when_open = self.relay.target.when_open
        tries = 0

        def limited() -> Deferred[AMQPProtocol]:
            nonlocal tries
            tries += 1
            assert tries < 1000, "it tries for ever"
            return when_open()

        self.patch(self.relay.target, "when_open", limited)


class RestartTests(LimitedTestCase):
    """It is started again before it has stopped."""

    def test_it_begins_again_when_it_has_stopped(self) -> None:
        stopping = self.stopping_with_one_under_way()
        self.relay.startService()
        self.run_both(4)
        self.assertNoResult(stopping)
        self.assertEqual((len(self.there.lines), len(self.here.lines)), (1, 1))
        self.here.confirms = True
        for _ in range(20):
            self.run_both(1)
        self.assertIsNone(self.successResultOf(stopping))
        self.assertEqual(self.relay.left, 1)
        self.assertEqual((len(self.there.lines), len(self.here.lines)), (2, 2))
        self.assertTrue(self.relay.consuming)
        self.assertTrue(self.relay.publishing)
        self.there.line.deliver(b"1", redelivered=True)
        self.there.line.deliver(b"2")
        self.assertEqual(self.settled(), [Basic.Ack(1), Basic.Ack(2)])
        self.assertEqual(self.here.line.bodies, [b"1", b"2"])
        self.assertEqual(len(self.there.line.sent(Basic.Consume)), 1)
        self.assertEqual((self.relay.moved, self.relay.under_way, self.relay.retried), (2, 0, 0))
        self.stop()

    def test_what_is_confirmed_meanwhile_is_acknowledged(self) -> None:
        stopping = self.stopping_with_one_under_way()
        self.relay.startService()
        self.here.line.send(1, Basic.Ack(1))
        self.here.confirms = True
        first = self.there.line
        for _ in range(3):
            self.run_both(1)
        self.assertIsNone(self.successResultOf(stopping))
        self.assertEqual((first.sent(Basic.Ack), self.relay.left), ([Basic.Ack(1)], 0))
        self.there.line.deliver(b"2")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()

    def test_stopped_once_more_it_stays_stopped(self) -> None:
        first = self.stopping_with_one_under_way()
        self.relay.startService()
        second = self.relay.stopService()
        for _ in range(60):
            self.run_both(1)
        self.assertIsNone(self.successResultOf(first))
        self.assertIsNone(self.successResultOf(second))
        self.assertEqual((self.relay.source.state, self.relay.target.state), ("closed", "closed"))
        self.assertEqual((len(self.there.lines), len(self.here.lines)), (1, 1))
        self.start()
        self.here.confirms = True
        self.there.line.deliver(b"2")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()

    def test_what_it_was_waiting_for_is_forgotten(self) -> None:
        """The source's queue and the target's exchange were missing, and are there now."""
        answers = dict(self.there.answers)
        for broker in (self.there, self.here):
            broker.answers = {each: refusal(404) if each.CLASS_ID in (40, 60) else answers[each] for each in answers}
        self.start()
        for _ in range(20):
            self.run_both(1)
        self.there.answers = self.here.answers = answers
        self.relay.stopService()
        self.relay.startService()
        self.run_both()
        self.run_both()
        for _ in range(60):
            self.run_both(1)
        self.assertEqual((len(self.there.lines), len(self.here.lines)), (2, 2))
        self.assertEqual(len(self.there.line.sent(Basic.Consume)), 1)
        self.there.line.deliver(b"1")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()


class TargetTests(LimitedTestCase):
    """What it waits for when the target has no connection."""

    def test_a_target_that_is_stopped_behind_its_back(self) -> None:
        """The reactor does not freeze, messages wait, and go on when it is started again."""
        self.start()
        self.relay.target.stopService()
        self.run_both()
        for body in (b"1", b"2"):
            self.there.line.deliver(body)
        for _ in range(20):
            self.run_both(1)
        self.assertEqual((self.relay.under_way, self.settled()), (2, []))
        self.assertLess(self.relay.retried, 20)
        self.relay.target.startService()
        for _ in range(31):
            self.run_both(1)
        self.assertEqual(self.here.line.bodies, [b"1", b"2"])
        self.assertEqual((self.relay.moved, self.relay.under_way), (2, 0))
        self.stop()

    def test_a_target_that_is_stopped_while_messages_wait_for_it(self) -> None:
        self.start()
        self.here.up = False
        self.here.line.lose()
        self.there.line.deliver(b"1")
        self.run_both(2)
        self.relay.target.stopService()
        self.run_both()
        self.run_both(1)
        self.assertEqual(self.relay.under_way, 1)
        self.stop()
        self.assertEqual((self.relay.under_way, self.relay.left, self.settled()), (0, 0, []))

    def test_a_target_that_is_back_is_used_at_once(self) -> None:
        """However often a message was tried before."""
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        for _ in range(8):
            self.here.line.lose()
            while self.relay.target.state != "open":
                self.run_both(0.5)
            self.assertEqual(self.here.line.bodies, [b"1"])
        self.assertEqual(self.relay.retried, 8)
        self.here.line.send(1, Basic.Ack(1))
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()
