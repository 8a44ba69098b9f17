# -*- test-case-name: txpika.test.test_relay -*-
"""Tests for L{txpika.relay}, by the clock, between two brokers in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from txpika.backoff import Backoff
from txpika.marks import MOVED_CC, PASSED, USER_ID
from txpika.parameters import ConnectionParameters
from txpika.relay import Relay
from txpika.service import AMQPService
from txpika.spec import Basic, BasicProperties, Channel, Confirm, Connection, Method
from txpika.test.obliging import ObligingBroker, refusal

SETTLING = (Basic.Ack, Basic.Nack, Basic.Reject)


class RelayTestCase(SynchronousTestCase):
    """Two brokers, and a relay between them."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.there, self.here = ObligingBroker(self.clock), ObligingBroker(self.clock)
        self.relay = self.make()

    def make(self, **more: Any) -> Relay:
        source, target = (
            AMQPService(
                ConnectionParameters(heartbeat=0),
                self.clock,
                endpoint=broker,
                backoff=Backoff(chance=lambda: 0.0),
                drain_timeout=5,
            )
            for broker in (self.there, self.here)
        )
        arguments: dict[str, Any] = {"queue": "from", "exchange": "to", "relay_name": "r"} | more
        return Relay(source, arguments.pop("queue"), target, arguments.pop("exchange"), **arguments)

    def run_both(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(5):
            self.there.run()
            self.here.run()

    def start(self) -> None:
        self.relay.startService()
        self.run_both()

    def settled(self) -> list[Method]:
        self.run_both()
        return self.there.line.sent(*SETTLING)

    def published(self) -> list[Any]:
        return list(self.here.line.sent(Basic.Publish))

    def stopping_with_one_under_way(self) -> Deferred[None]:
        """@return: What its C{stopService} gave. The target does not confirm, so that takes C{drain_timeout}: 5 s."""
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        stopping = self.relay.stopService()
        self.run_both()
        return stopping

    def stop(self) -> None:
        stopping = self.relay.stopService()
        self.run_both()
        for _ in range(20):
            self.run_both(1)
        self.assertIsNone(self.successResultOf(stopping))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])


class RelayTests(RelayTestCase):
    """What becomes of messages."""

    def test_moves_and_then_acknowledges(self) -> None:
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.assertEqual(self.here.line.bodies, [b"1"])
        self.assertEqual((self.published()[0].exchange, self.published()[0].routing_key), ("to", "from"))
        self.assertTrue(self.published()[0].mandatory)
        self.assertEqual(self.settled(), [])
        self.here.line.send(1, Basic.Ack(1))
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.assertEqual((self.relay.moved, self.relay.retried), (1, 0))
        self.stop()

    def test_the_window_is_the_prefetch(self) -> None:
        self.relay = self.make(window=7)
        self.start()
        self.assertEqual(self.there.line.sent(Basic.Qos), [Basic.Qos(0, 7, False)])

    def test_another_routing_key(self) -> None:
        self.relay = self.make(routing_key="other")
        self.start()
        self.there.line.deliver(b"1")
        self.run_both()
        self.assertEqual(self.published()[0].routing_key, "other")

    def test_properties_are_kept_and_the_way_is_noted(self) -> None:
        self.start()
        sent = BasicProperties(
            content_type="text/plain",
            delivery_mode=2,
            priority=3,
            message_id="m",
            user_id="joe",
            expiration="60000",
            headers={"a": 1, PASSED: ["other"]},
        )
        self.there.line.deliver(b"1", properties=sent.encode())
        self.run_both()
        got = BasicProperties.from_wire(self.here.line.properties[0])
        self.assertEqual(got.headers, {"a": 1, PASSED: ["other", "r"], USER_ID: "joe"})
        self.assertIsNone(got.user_id)
        for name in ("content_type", "delivery_mode", "priority", "message_id", "expiration"):
            self.assertEqual(getattr(got, name), getattr(sent, name))

    def test_what_others_would_not_write(self) -> None:
        """A header without a name, and text that is not UTF-8: that is between publisher and consumer."""
        self.start()
        self.there.line.deliver(b"1", properties=b"\xa0\0\2\xe4b\0\0\0\2\0V")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.assertTrue(self.here.line.properties[0].startswith(b"\xa0\0\2\xe4b"))
        self.assertEqual(self.here.line.properties[0][9:11], b"\0V")

    def test_headers_over_the_targets_frame_size(self) -> None:
        self.start()
        self.there.line.deliver(b"1", properties=BasicProperties(headers={"k": "v" * 140_000}).encode())
        self.assertEqual(self.settled(), [Basic.Reject(1, False)])

    def test_stopped_at_any_moment(self) -> None:
        """It ends, and nothing is left behind: neither timers nor errors."""
        for moment in range(16):
            for refused in ({}, {b"bad": Channel.Close(406, "PRECONDITION_FAILED", 60, 40)}):
                self.setUp()
                self.here.refuses.update(refused)
                self.relay.startService()
                for step in range(moment):
                    self.there.line.pump()
                    self.here.line.pump()
                    self.clock.advance(0)
                    if step == 10:
                        for body in (b"1", b"bad", b"2"):
                            self.there.line.deliver(body)
                self.stop()
                self.assertEqual((self.relay.source.state, self.relay.target.state), ("closed", "closed"))
                self.assertEqual(self.relay.under_way, 0)

    def test_a_broker_is_lost_while_it_drains(self) -> None:
        for broker in ("there", "here"):
            self.setUp()
            stopping = self.stopping_with_one_under_way()
            getattr(self, broker).line.lose()
            for _ in range(3):
                self.run_both(5)
            self.assertIsNone(self.successResultOf(stopping), broker)
            self.assertEqual(self.settled(), [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_started_again(self) -> None:
        self.start()
        self.stop()
        self.start()
        self.run_both(1)
        self.there.line.deliver(b"1")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()

    def test_a_loop_is_cut(self) -> None:
        self.start()
        self.there.line.deliver(b"1", properties=BasicProperties(headers={PASSED: ["x", "r"]}).encode())
        self.assertEqual(self.settled(), [Basic.Reject(1, False)])
        self.assertEqual(self.published(), [])
        self.assertEqual(self.relay.rejected, 1)

    def test_a_header_of_that_name_that_is_no_list(self) -> None:
        self.start()
        self.there.line.deliver(b"1", properties=BasicProperties(headers={PASSED: "r"}).encode())
        self.assertEqual(self.settled(), [Basic.Ack(1)])

    def test_properties_that_make_no_sense(self) -> None:
        self.start()
        self.there.line.deliver(b"1", properties=b"\x20\0\0\0\0\x05\x01aZ\0\0")
        self.assertEqual(self.settled(), [Basic.Reject(1, False)])
        self.there.line.deliver(b"2")
        self.assertEqual(self.settled()[1:], [Basic.Ack(2)])

    def test_the_target_is_down(self) -> None:
        self.start()
        self.here.up = False
        self.here.line.lose()
        for body in (b"1", b"2"):
            self.there.line.deliver(body)
        self.run_both(5)
        self.assertEqual(self.settled(), [])
        self.here.up = True
        self.run_both(10)
        self.assertEqual(self.here.line.bodies, [b"1", b"2"])
        self.assertEqual(self.settled(), [Basic.Ack(1), Basic.Ack(2)])
        self.stop()

    def test_the_target_is_lost_before_it_confirms(self) -> None:
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.here.confirms = True
        self.here.line.lose()
        self.run_both()
        self.assertEqual(self.settled(), [])
        self.run_both(1)
        self.assertEqual(self.here.line.bodies, [b"1"])
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.assertEqual((self.relay.moved, self.relay.retried), (1, 1))
        self.assertEqual(len(self.here.line.sent(Channel.Open)), 1)  # it is not to blame, and does not go alone

    def test_the_target_refuses(self) -> None:
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.here.line.send(1, Basic.Nack(1))
        self.run_both()
        self.assertEqual(self.here.line.bodies, [b"1"])
        self.run_both(0.5)
        self.assertEqual(self.here.line.bodies, [b"1", b"1"])
        self.here.line.send(1, Basic.Nack(2))
        self.run_both(0.9)
        self.assertEqual(len(self.here.line.bodies), 2)
        self.run_both(0.2)
        self.here.line.send(1, Basic.Ack(3))
        self.assertEqual(self.settled(), [Basic.Ack(1)])

    def test_the_target_closes_the_channel(self) -> None:
        """All that were under way then go on their own, one after the other."""
        self.start()
        for body in (b"1", b"2"):
            self.here.refuses[body] = Channel.Close(404, "NOT_FOUND - no exchange 'to'", 60, 40)
            self.there.line.deliver(body)
        self.run_both()
        self.here.refuses.clear()
        self.there.line.deliver(b"3")
        self.assertEqual(self.settled(), [Basic.Ack(3)])
        self.run_both(1)
        self.assertEqual(self.settled(), [Basic.Ack(3), Basic.Ack(1), Basic.Ack(2)])
        self.stop()

    def test_one_that_is_too_large(self) -> None:
        """It is rejected, and those under way with it come through; nothing waits for anything."""
        self.start()
        self.here.refuses[b"huge"] = Channel.Close(406, "PRECONDITION_FAILED - message size 4 is larger", 60, 40)
        for body in (b"1", b"huge", b"2", b"3"):
            self.there.line.deliver(body)
        self.assertEqual(
            sorted(self.settled(), key=lambda method: method.delivery_tag),
            [Basic.Ack(1), Basic.Reject(2, False), Basic.Ack(3), Basic.Ack(4)],
        )
        self.assertEqual((self.relay.moved, self.relay.rejected), (3, 1))
        self.assertLessEqual(self.here.line.bodies.count(b"huge"), 2)
        self.stop()

    def test_one_that_is_too_large_in_a_window_of_one(self) -> None:
        self.relay = self.make(window=1)
        self.start()
        self.here.refuses[b"huge"] = Channel.Close(406, "PRECONDITION_FAILED - message size 4 is larger", 60, 40)
        self.there.line.deliver(b"huge")
        self.assertEqual(self.settled(), [Basic.Reject(1, False)])

    def test_one_that_is_refused_with_406_while_others_are_taken(self) -> None:
        self.start()
        self.here.refuses[b"bad"] = Channel.Close(406, "PRECONDITION_FAILED - invalid expiration", 60, 40)
        self.there.line.deliver(b"bad")
        self.run_both()
        self.run_both(1)
        self.assertEqual(self.settled(), [])  # all may be refused so
        self.there.line.deliver(b"good")
        self.assertEqual(self.settled(), [Basic.Ack(2)])
        self.run_both(2)
        self.assertEqual(self.settled(), [Basic.Ack(2), Basic.Reject(1, False)])

    def test_all_are_refused_with_406(self) -> None:
        """As when the exchange's type is that of a plugin that is not there: none must be lost."""
        self.start()
        refused = Channel.Close(406, "PRECONDITION_FAILED - exchange type not found", 60, 40)
        for number, body in enumerate((b"1", b"2", b"3")):
            self.here.refuses[body] = refused
            self.there.line.deliver(body, redelivered=bool(number))
        for _ in range(100):
            self.run_both(1)
        self.assertEqual((self.settled(), self.relay.rejected), ([], 0))
        self.here.refuses.clear()
        for _ in range(31):
            self.run_both(1)
        self.assertEqual(self.relay.moved, 3)

    def test_one_that_closes_the_connection(self) -> None:
        """It stays where it is, and is named; others come through."""
        self.start()
        self.here.refuses[b"bad"] = Connection.Close(541, "INTERNAL_ERROR", 0, 0)
        with capturedLogs() as events:
            self.there.line.deliver(b"bad", properties=BasicProperties(message_id="the-bad-one").encode())
            self.there.line.deliver(b"good")
            for _ in range(20):
                self.run_both(1)
        self.assertEqual(self.settled(), [Basic.Ack(2)])
        texts = [formatEvent(event) for event in events]
        self.assertTrue(any("'the-bad-one' again: 541 INTERNAL_ERROR" in text for text in texts), texts)
        self.assertFalse(any("again" in text and "the-bad-one" not in text and "Trying" in text for text in texts))
        self.stop()

    def test_one_that_may_not_be_published(self) -> None:
        """As 403 for its routing key, or a fault that costs the connection: that may change, so it is not rejected."""
        for said in (
            Channel.Close(403, "ACCESS_REFUSED - message size matters not here", 60, 40),
            Connection.Close(406, "PRECONDITION_FAILED - message size", 60, 40),
        ):
            self.setUp()
            self.start()
            self.here.refuses[b"bad"] = said
            self.there.line.deliver(b"bad")
            for number in range(30):
                self.there.line.deliver(b"good")
                self.run_both(1 + number)
            self.assertEqual((self.relay.rejected, self.relay.moved, self.relay.under_way), (0, 30, 1))
            self.here.refuses.clear()
            for _ in range(31):
                self.run_both(1)
            self.assertEqual((self.relay.moved, self.relay.under_way), (31, 0))

    def test_a_restart_of_the_target_blames_no_message(self) -> None:
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.here.line.send(0, Connection.Close(320, "CONNECTION_FORCED", 0, 0))
        self.here.line.lose()
        self.here.confirms = True
        self.run_both(1)
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.assertEqual(len(self.here.line.sent(Channel.Open)), 1)

    def test_more_routing_keys(self) -> None:
        """They are those of the message, as its own one is, and go with that."""
        headers = {"CC": ["a", "b"]}
        self.start()
        self.there.line.deliver(b"1", properties=BasicProperties(headers=headers).encode())
        self.run_both()
        self.assertEqual(BasicProperties.from_wire(self.here.line.properties[0]).headers, headers | {PASSED: ["r"]})
        self.setUp()
        self.relay = self.make(routing_key="one")
        self.start()
        self.there.line.deliver(b"1", properties=BasicProperties(headers=headers).encode())
        self.run_both()
        self.assertEqual(
            BasicProperties.from_wire(self.here.line.properties[0]).headers, {MOVED_CC: ["a", "b"], PASSED: ["r"]}
        )

    def test_no_more_wait_than_the_window(self) -> None:
        """However often the source takes them back while the target is down."""
        self.relay = self.make(window=3)
        self.start()
        self.here.up = False
        self.here.line.lose()
        for _ in range(10):
            for body in (b"1", b"2", b"3"):
                self.there.line.deliver(body)
            self.assertEqual(self.relay.under_way, 3)
            self.run_both()
            self.there.line.lose()
            while self.relay.source.state != "open":
                self.run_both(1)
        self.there.line.deliver(b"1", redelivered=True)
        self.here.up = True
        for _ in range(31):
            self.run_both(1)
        self.assertEqual((self.here.line.bodies, self.settled()), ([b"1"], [Basic.Ack(1)]))
        self.assertEqual(self.relay.under_way, 0)
        self.stop()

    def test_the_source_closes_the_channel(self) -> None:
        """As after its consumer_timeout: what it delivers again is moved again, what was acknowledged is not."""
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        self.there.line.send(1, Channel.Close(406, "PRECONDITION_FAILED - delivery acknowledgement timed out", 0, 0))
        self.run_both()
        self.here.line.send(1, Basic.Ack(1))
        self.run_both()
        self.assertEqual((self.settled(), self.relay.moved), ([], 1))
        self.here.confirms = True
        self.run_both(0.5)
        self.assertEqual(self.there.line.sent(Basic.Qos), [Basic.Qos(0, 200, False)] * 2)
        self.there.line.deliver(b"1", redelivered=True)
        self.here.line.send(1, Basic.Ack(2))
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()

    def test_no_consuming_without_the_prefetch_count(self) -> None:
        qos = self.there.answers.pop(Basic.Qos)
        self.start()
        self.there.line.lose()
        self.there.answers[Basic.Qos] = qos
        self.run_both(1)
        self.run_both(1)
        kinds = [type(method) for method in self.there.line.sent(Basic.Qos, Basic.Consume)]
        self.assertEqual(kinds, [Basic.Qos, Basic.Consume])
        self.assertEqual(len(self.relay.source.channels), 1)

    def test_a_target_that_comes_and_goes_costs_no_channels(self) -> None:
        select = self.here.answers.pop(Confirm.Select)
        self.start()
        for _ in range(5):
            self.here.line.lose()
            for _ in range(31):
                self.run_both(1)
        self.here.answers[Confirm.Select] = select
        self.here.line.lose()
        for _ in range(31):
            self.run_both(1)
        self.there.line.deliver(b"1")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.assertEqual(len(self.relay.target.channels), 1)

    def test_the_source_is_lost_while_the_target_is_down(self) -> None:
        """Each message is published for one delivery only, not once for each connection it came on."""
        self.start()
        self.here.up = False
        self.here.line.lose()
        self.there.line.deliver(b"1")
        self.run_both()
        self.there.line.lose()
        self.run_both(1)
        self.there.line.deliver(b"1", redelivered=True)
        self.here.up = True
        self.run_both(10)
        self.assertEqual(self.here.line.bodies, [b"1"])
        self.assertEqual(self.settled(), [Basic.Ack(1)])

    def test_the_source_queue_is_not_there_yet(self) -> None:
        answer = self.there.answers[Basic.Consume]
        self.there.answers[Basic.Consume] = refusal(404)
        self.start()
        self.assertEqual(self.relay.source.state, "open")
        self.there.answers[Basic.Consume] = answer
        self.run_both(0.5)
        self.there.line.deliver(b"1")
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()

    def test_the_source_queue_is_deleted(self) -> None:
        """What was delivered before can still be acknowledged, where it was only the consumer that was cancelled."""
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.run_both()
        consume: Any = self.there.line.sent(Basic.Consume)[0]
        self.there.line.send(1, Basic.Cancel(consume.consumer_tag, True))
        self.run_both()
        self.run_both(0.5)
        self.assertEqual(len(self.there.line.sent(Basic.Consume)), 2)
        self.assertEqual(len(self.relay.source.channels), 1)
        self.here.line.send(1, Basic.Ack(1))
        self.assertEqual(self.settled(), [Basic.Ack(1)])
        self.stop()

    def test_stopped_in_the_middle(self) -> None:
        self.start()
        self.here.confirms = False
        self.there.line.deliver(b"1")
        self.there.line.deliver(b"2")
        self.run_both()
        stopping = self.relay.stopService()
        self.run_both()
        self.assertNoResult(stopping)
        self.here.line.send(1, Basic.Ack(2, True))
        self.run_both()
        self.run_both()
        self.assertIsNone(self.successResultOf(stopping))
        acks: list[Any] = self.settled()
        self.assertEqual(acks[-1].delivery_tag, 2)

    def test_stopped_while_the_target_is_down_or_refuses(self) -> None:
        for how in ("down", "refuses"):
            self.setUp()
            self.start()
            if how == "down":
                self.here.up = False
                self.here.line.lose()
            else:
                self.here.answers[Basic.Publish] = refusal(404)
                self.here.confirms = False
            self.there.line.deliver(b"1")
            self.run_both()
            self.stop()
            self.assertEqual(self.settled(), [])

    def test_stopped_twice_and_never_started(self) -> None:
        self.assertIsNone(self.successResultOf(self.relay.stopService()))
        self.start()
        self.relay.startService()
        first, second = self.relay.stopService(), self.relay.stopService()
        self.run_both()
        self.run_both()
        self.assertIsNone(self.successResultOf(first))
        self.assertIsNone(self.successResultOf(second))

    def test_wrong_arguments(self) -> None:
        for wrong in ({"queue": 1}, {"exchange": None}, {"window": 0}, {"window": 65536}, {"routing_key": b""}):
            with self.assertRaises((TypeError, ValueError)) as raised:
                self.make(**wrong)
            self.assertIn(next(iter(wrong)), str(raised.exception))
        service = AMQPService(None, self.clock)
        self.assertRaises(TypeError, Relay, service, "q", None, "x")
        self.assertIn(
            "127.0.0.1" if "127" in service.parameters.host else "localhost",
            Relay(service, "q", service, "x").relay_name,
        )
