# -*- test-case-name: txpika.test.test_interim -*-
"""Tests for L{txpika.interim}: publishes that wait for a connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from txpika.exceptions import (
    CallTimeout,
    NotConnected,
    OutboundBufferFull,
    OutcomeUnknown,
)
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties, Channel
from txpika.test.served import SurvivingTestCase


class WaitingTests(SurvivingTestCase):
    """Publishes that wait for a connection."""

    def arguments(self) -> dict[str, Any]:
        return {"publish_wait": 10}

    def test_in_their_order_and_with_their_outcomes(self) -> None:
        self.result(self.chan.confirm_select())
        self.lose()
        waiting = [self.chan.basic_publish("", "q", b"%d" % n) for n in range(3)]
        for each in waiting:
            self.assertNoResult(each)
        self.heal()
        for each in waiting:
            self.assertIsNone(self.successResultOf(each))
        self.assertEqual(self.broker.line.bodies, [b"0", b"1", b"2"])
        self.assertEqual(self.service.allowance.held, 0)

    def test_one_that_is_published_again_waits(self) -> None:
        """As a program does that hears of an unknown outcome."""
        self.result(self.chan.confirm_select())
        self.broker.confirms = False

        async def publish() -> int:
            for attempt in range(3):
                try:
                    await self.chan.basic_publish("", "q", b"x")
                    return attempt
                except OutcomeUnknown:
                    self.broker.confirms = True
            raise AssertionError

        publishing = Deferred.fromCoroutine(publish())
        self.broker.run()
        self.bounce()
        self.assertEqual(self.successResultOf(publishing), 1)

    def test_who_publishes_when_his_message_has_left_is_behind_those_that_waited(self) -> None:
        self.lose()
        first = self.chan.basic_publish("", "q", b"1")
        first.addCallback(lambda _: self.chan.basic_publish("", "q", b"3"))
        self.chan.basic_publish("", "q", b"2")
        self.heal()
        self.assertEqual(self.broker.line.bodies, [b"1", b"2", b"3"])

    def test_no_longer_than_promised(self) -> None:
        self.broker.up = False
        self.lose()
        waiting = self.chan.basic_publish("", "q", b"x")
        self.broker.run(9.9)
        self.assertNoResult(waiting)
        self.broker.run(0.2)
        error = self.failureResultOf(waiting, NotConnected).value
        self.assertEqual(error.outcome, "not sent")
        self.broker.up = True
        self.broker.run(30)
        self.assertEqual(self.broker.line.bodies, [])

    def test_with_a_time_out_of_its_own(self) -> None:
        self.broker.up = False
        self.lose()
        waiting = self.chan.basic_publish("", "q", b"x", timeout=3)
        self.broker.run(3)
        error = self.failureResultOf(waiting, CallTimeout).value
        self.assertEqual(error.outcome, "not sent")

    def test_a_time_out_goes_on_when_it_is_written(self) -> None:
        self.result(self.chan.confirm_select())
        self.lose()
        self.broker.confirms = False
        waiting = self.chan.basic_publish("", "q", b"x", timeout=3)
        self.heal()
        self.assertEqual(self.broker.line.bodies, [b"x"])
        self.broker.run(2.4)
        self.assertNoResult(waiting)
        self.broker.run(0.2)
        error = self.failureResultOf(waiting, CallTimeout).value
        self.assertEqual(error.outcome, "unknown")

    def test_given_up(self) -> None:
        self.lose()
        waiting = [self.chan.basic_publish("", "q", b"%d" % n) for n in range(3)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.heal()
        self.assertEqual(self.broker.line.bodies, [b"0", b"2"])
        self.assertEqual(self.service.allowance.held, 0)
        self.stop()

    def test_given_up_after_it_was_written(self) -> None:
        self.result(self.chan.confirm_select())
        self.lose()
        self.broker.confirms = False
        waiting = self.chan.basic_publish("", "q", b"0")
        self.heal()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.broker.line.send(self.chan.channel_number, Basic.Ack(1))
        self.stop()

    def test_the_body_and_properties_are_those_of_the_call(self) -> None:
        self.lose()
        body, properties = bytearray(b"before"), BasicProperties(message_id="before")
        self.chan.basic_publish("", "q", body, properties)  # type: ignore[arg-type]
        body[:] = b"after!"
        properties.message_id = "after"
        self.heal()
        self.assertEqual(self.broker.line.bodies, [b"before"])
        self.assertIn(b"before", self.broker.line.transport.data)
        self.assertNotIn(b"after", self.broker.line.transport.data)

    def test_no_more_than_may(self) -> None:
        self.service = self.make(publish_wait=10, parameters=ConnectionParameters(heartbeat=0, max_held=100_000))
        self.start()
        channel, other = self.channel(), self.channel()
        self.lose()
        waiting = [each.basic_publish("", "q", b"x" * 20_000) for each in (channel, other) * 2]
        error = self.failureResultOf(channel.basic_publish("", "q", b"x" * 20_000), OutboundBufferFull).value
        self.assertEqual(error.outcome, "not sent")
        waiting[0].addErrback(lambda _: None)
        waiting[0].cancel()
        other.basic_publish("", "q", b"x" * 20_000)
        self.heal()
        self.assertEqual(len(self.broker.line.bodies), 4)

    def test_the_service_stops(self) -> None:
        self.lose()
        waiting = self.chan.basic_publish("", "q", b"x")
        self.stop()
        self.failureResultOf(waiting, NotConnected)

    def test_lost_again_before_it_was_written(self) -> None:
        self.lose()
        waiting = self.chan.basic_publish("", "q", b"x")
        answer = self.broker.answers.pop(Channel.Open)
        self.heal()
        self.lose()
        self.broker.answers[Channel.Open] = answer
        self.assertNoResult(waiting)
        self.broker.run(1)
        self.successResultOf(waiting)
