"""Tests for L{txpika.orderly}: starts and stops in any order."""

from __future__ import annotations

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika.orderly import OrderlyService


class Noted(OrderlyService):
    """Notes what it does, and stops when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.stopping: list[Deferred[None]] = []

    def on_start(self) -> None:
        self.notes.append("start")

    async def on_stop(self) -> None:
        self.notes.append("stop")
        self.stopping.append(Deferred())
        await self.stopping[-1]
        self.notes.append("over")


class OrderlyServiceTests(SynchronousTestCase):
    """Neither begins before the other is over."""

    def setUp(self) -> None:
        self.service = Noted()

    def test_a_service(self) -> None:
        verifyObject(IService, self.service)

    def test_never_started(self) -> None:
        self.assertIsNone(self.successResultOf(self.service.stopService()))
        self.assertEqual(self.service.notes, [])

    def test_started_twice_and_stopped_twice(self) -> None:
        self.service.startService()
        self.service.startService()
        self.assertTrue(self.service.is_active())
        stopped = [self.service.stopService(), self.service.stopService()]
        self.assertFalse(self.service.is_active())
        for each in stopped:
            self.assertNoResult(each)
        self.service.stopping[0].callback(None)
        for each in [*stopped, self.service.stopService()]:
            self.assertIsNone(self.successResultOf(each))
        self.assertEqual(self.service.notes, ["start", "stop", "over"])

    def test_started_again_before_it_has_stopped(self) -> None:
        self.service.startService()
        stopped = self.service.stopService()
        self.service.startService()
        self.assertEqual((self.service.running, self.service.is_active()), (1, False))
        self.service.stopping[0].callback(None)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertTrue(self.service.is_active())
        self.assertEqual(self.service.notes, ["start", "stop", "over", "start"])

    def test_started_and_stopped_again_before_it_has_stopped(self) -> None:
        self.service.startService()
        first = self.service.stopService()
        self.service.startService()
        second = self.service.stopService()
        self.service.stopping[0].callback(None)
        for each in (first, second):
            self.assertIsNone(self.successResultOf(each))
        self.assertEqual((self.service.running, self.service.notes), (0, ["start", "stop", "over"]))
        self.service.startService()
        self.assertTrue(self.service.is_active())

    def test_whoever_waited_for_its_stop_stops_it_again(self) -> None:
        self.service.startService()
        self.service.stopService().addCallback(lambda _: self.service.stopService())
        self.service.startService()
        self.service.stopping[0].callback(None)
        self.assertFalse(self.service.is_active())
        self.service.stopping[1].callback(None)
        self.assertEqual(self.service.notes, ["start", "stop", "over", "start", "stop", "over"])

    def test_a_stop_that_fails_is_over_all_the_same(self) -> None:
        self.service.startService()
        stopped = self.service.stopService()
        self.service.stopping[0].errback(ValueError("a fault"))
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.service.startService()
        self.assertTrue(self.service.is_active())
