"""Tests for L{txpika.lanes}, by the clock, with a broker in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.backoff import Backoff
from txpika.exceptions import ChannelClosed, NotConnected
from txpika.lanes import Lane
from txpika.parameters import ConnectionParameters
from txpika.service import AMQPService
from txpika.spec import Channel, Confirm, Exchange
from txpika.test.obliging import ObligingBroker, refusal


class LaneTests(SynchronousTestCase):
    """One channel, whoever asks."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ObligingBroker(self.clock)
        self.service = AMQPService(
            ConnectionParameters(heartbeat=0), self.clock, endpoint=self.broker, backoff=Backoff(chance=lambda: 0.0)
        )
        self.lane = Lane(self.service, "x")
        self.service.startService()
        self.broker.run()

    def ask(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.lane.ready())

    def opened(self) -> int:
        return len(self.broker.line.sent(Channel.Open))

    def test_one_for_all(self) -> None:
        answer = self.broker.answers.pop(Confirm.Select)
        asked = [self.ask() for _ in range(3)]
        self.broker.run()
        for each in asked:
            self.assertNoResult(each)
        self.broker.answers[Confirm.Select] = answer
        self.broker.line.send(1, Confirm.SelectOk())
        self.broker.run()
        self.assertEqual(len({self.successResultOf(each) for each in [*asked, self.ask()]}), 1)
        self.assertEqual((self.opened(), self.lane.opened), (1, 1))

    def test_those_who_do_not_wait_any_more(self) -> None:
        """What is being opened is for whoever comes next."""
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        later = self.ask()
        self.broker.run()
        self.successResultOf(later)
        self.assertEqual((self.opened(), len(self.service.channels)), (1, 1))

    def test_one_that_cancels_another(self) -> None:
        asked = [self.ask() for _ in range(4)]
        asked[0].addCallback(lambda _: asked[1].cancel())
        self.broker.run()
        self.successResultOf(asked[0])
        self.failureResultOf(asked[1], CancelledError)
        self.successResultOf(asked[2])
        self.successResultOf(asked[3])

    def test_refused_and_then_not(self) -> None:
        answer = self.broker.answers[Exchange.Declare]
        self.broker.answers[Exchange.Declare] = refusal(404)
        asked = [self.ask(), self.ask()]
        self.broker.run()
        for each in asked:
            self.failureResultOf(each, ChannelClosed)
        self.assertIsInstance(self.lane.error, ChannelClosed)
        self.assertEqual(self.lane.opened, 0)
        self.broker.answers[Exchange.Declare] = answer
        again = self.ask()
        self.broker.run()
        self.successResultOf(again)
        self.assertEqual((self.lane.error, self.lane.opened), (None, 1))

    def test_closed_by_the_broker(self) -> None:
        first = self.ask()
        self.broker.run()
        self.broker.line.send(1, Channel.Close(404, "NOT_FOUND", 60, 40))
        second = self.ask()
        self.broker.run()
        self.assertIsNot(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual((self.opened(), len(self.service.channels)), (2, 1))

    def test_the_service_stops(self) -> None:
        self.broker.answers.pop(Confirm.Select)
        asked = self.ask()
        self.broker.run()
        self.service.stopService()
        self.broker.run()
        for _ in range(3):
            self.broker.run(10)
        self.failureResultOf(asked)
        self.failureResultOf(self.ask(), NotConnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
