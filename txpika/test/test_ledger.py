"""Tests for the ledger of messages: made-up histories, each rule broken once, and every outcome a real broker gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import (
    ChannelClosed,
    NackError,
    NotConnected,
    OutcomeUnknown,
    PublishBlocked,
    ReturnedError,
)
from txpika.message import Delivery
from txpika.spec import Basic, BasicProperties
from txpika.test.ledger import Ledger, LedgerError, Report, name_of
from txpika.test.proxied import Proxied


class Channel:
    """Keeps what is published."""

    mode = "confirm"

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.waiting: list[Deferred[None]] = []

    def basic_publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Any, mandatory: bool, timeout: Any
    ) -> Deferred[None]:
        if not isinstance(body, bytes):
            raise TypeError("body")
        self.published.append((exchange, routing_key, body, properties, mandatory, timeout))
        self.waiting.append(Deferred())
        return self.waiting[-1]


def delivery(name: str, redelivered: bool = False) -> Delivery:
    """A message with that name."""
    channel: Any = SimpleNamespace()
    return Delivery(channel, "t", 1, (redelivered, "", "q"), BasicProperties(message_id=name).encode(), b"")


def history(*outcomes: str) -> tuple[Ledger, str]:
    """A message that was published so often."""
    ledger = Ledger()
    name, ended = ledger.attempt()
    ended(outcomes[0])
    for outcome in outcomes[1:]:
        _, ended = ledger.attempt(again=name)
        ended(outcome)
    return ledger, name


class RuleTests(SynchronousTestCase):
    """Each rule."""

    def assertBroken(self, ledger: Ledger, rule: str, name: str, remaining: Any = ()) -> None:
        error = self.assertRaises(LedgerError, ledger.check, remaining)
        report = ledger.report(remaining)
        self.assertIsInstance(error, AssertionError)
        self.assertIn(f"{rule}: 1: {name}", str(error))
        rules = ("lost", "duplicated", "unexpected", "returned", "not_sent")
        self.assertEqual([each for each in rules if getattr(report, each)], [rule])

    def test_all_is_well(self) -> None:
        ledger, name = history("confirmed")
        ledger.received(delivery(name))
        ledger.acked(delivery(name))
        report = ledger.check()
        self.assertEqual(
            str(report),
            "1 attempted, 1 confirmed, 0 nacked, 0 returned, 0 unknown, 0 not sent, 1 delivered, 1 acked, 0 remaining",
        )

    def test_confirmed_is_there(self) -> None:
        ledger, name = history("confirmed")
        self.assertBroken(ledger, "lost", name)
        ledger.check([name])
        ledger.check([delivery(name, True)])
        ledger.received(delivery(name, True))
        ledger.check()

    def test_confirmed_at_last_is_there(self) -> None:
        ledger, name = history("unknown", "confirmed")
        self.assertBroken(ledger, "lost", name)

    def test_what_need_not_be_there(self) -> None:
        for outcome in ("unknown", "nacked", "returned", "not sent"):
            ledger, _ = history(outcome)
            ledger.check()

    def test_nothing_is_there_that_was_not_published(self) -> None:
        for other in ("other", "(without message_id)"):
            ledger, _ = history("unknown")
            ledger.received(delivery("" if other.startswith("(") else other))
            self.assertBroken(ledger, "unexpected", other)
        ledger, _ = history("unknown")
        self.assertBroken(ledger, "unexpected", "other", ["other"])
        self.assertBroken(ledger, "unexpected", "other", [delivery("other")])

    def test_returned_is_not_there(self) -> None:
        ledger, name = history("returned")
        self.assertBroken(ledger, "returned", name, [name])
        ledger.received(delivery(name))
        self.assertBroken(ledger, "returned", name)

    def test_not_sent_is_not_there(self) -> None:
        ledger, name = history("not sent")
        self.assertBroken(ledger, "not_sent", name, [delivery(name)])
        ledger.received(delivery(name))
        self.assertBroken(ledger, "not_sent", name)

    def test_unknown_and_nacked_may_be_there_once(self) -> None:
        for outcome in ("unknown", "nacked"):
            ledger, name = history(outcome)
            ledger.received(delivery(name))
            self.assertEqual(ledger.check().recovered, [name] if outcome == "unknown" else [])
            ledger.received(delivery(name))
            self.assertBroken(ledger, "duplicated", name)

    def test_pending_may_be_there(self) -> None:
        ledger = Ledger()
        name, _ = ledger.attempt()
        self.assertEqual(ledger.check().pending, [name])
        ledger.received(delivery(name))
        ledger.check()

    def test_a_second_delivery_is_redelivered(self) -> None:
        for first in (True, False):
            ledger, name = history("confirmed")
            ledger.received(delivery(name, first))
            ledger.received(delivery(name, True))
            ledger.check()
            self.assertBroken(ledger, "duplicated", name, [delivery(name)])
            ledger.check([delivery(name, True)])
            ledger.received(delivery(name, False))
            self.assertBroken(ledger, "duplicated", name)

    def test_two_in_the_queue(self) -> None:
        ledger, name = history("confirmed")
        ledger.check([name])
        self.assertBroken(ledger, "duplicated", name, [name, name])

    def test_published_again(self) -> None:
        for outcomes, copies in (
            (("unknown", "confirmed"), 2),
            (("unknown", "unknown", "confirmed"), 3),
            (("not sent", "confirmed"), 1),
            (("returned", "confirmed"), 1),
            (("nacked", "confirmed"), 1),
            (("unknown", "returned"), 1),
        ):
            ledger, name = history(*outcomes)
            for _ in range(copies):
                ledger.received(delivery(name))
                ledger.received(delivery(name, True))
                ledger.check()
            ledger.check([name] * copies)
            self.assertBroken(ledger, "duplicated", name, [name] * (copies + 1))
            ledger.received(delivery(name))
            self.assertBroken(ledger, "duplicated", name)

    def test_published_again_and_never_there(self) -> None:
        ledger, name = history("not sent", "returned")
        ledger.received(delivery(name))
        self.assertBroken(ledger, "returned", name)

    def test_a_report_of_many(self) -> None:
        names = [f"m{number:02}" for number in range(12)]
        report = Report(names, [], [], [], [], ["r"], [], {"lost": 12})
        self.assertFalse(report.balanced)
        self.assertEqual(str(report), f"12 lost\nlost: 12: {', '.join(names[:10])} and 2 more\nrecovered: 1: r")

    def test_names(self) -> None:
        channel: Any = SimpleNamespace()
        broken = Delivery(channel, "t", 1, (False, "", "q"), b"\x80\x00\xff", b"")
        self.assertEqual(name_of(broken), "(undecodable)")
        self.assertNotEqual(Ledger().attempt()[0], Ledger().attempt()[0])


class PublishTests(SynchronousTestCase):
    """How outcomes come into the books."""

    def publish(self, **more: Any) -> tuple[Ledger, Channel, Deferred[str]]:
        ledger, channel = Ledger(), Channel()
        publishing = Deferred.fromCoroutine(ledger.publish(channel, "x", "k", b"b", **more))
        return ledger, channel, publishing

    def test_confirmed(self) -> None:
        given = BasicProperties(type="t")
        ledger, channel, publishing = self.publish(properties=given, mandatory=True, timeout=3)
        (name,) = ledger.pending
        self.assertEqual(channel.published, [("x", "k", b"b", BasicProperties(type="t", message_id=name), True, 3)])
        self.assertIsNone(given.message_id)
        channel.waiting[0].callback(None)
        self.assertEqual(self.successResultOf(publishing), name)
        self.assertEqual((ledger.confirmed, ledger.attempted, ledger.pending), ({name}, {name}, set()))

    def test_failures(self) -> None:
        for error, where in (
            (NackError(""), "nacked"),
            (ReturnedError(None), "returned"),
            (OutcomeUnknown(""), "unknown"),
            (NotConnected(""), "not_sent"),
            (PublishBlocked(""), "not_sent"),
            (PublishBlocked("", "unknown"), "unknown"),
        ):
            ledger, channel, publishing = self.publish()
            channel.waiting[0].errback(error)
            name = self.successResultOf(publishing)
            for each in ("confirmed", "nacked", "returned", "unknown", "not_sent", "pending"):
                self.assertEqual(getattr(ledger, each), {name} if each == where else set(), (error, each))

    def test_other_failures_are_raised(self) -> None:
        for error in (ZeroDivisionError(), ChannelClosed("no outcome")):
            ledger, channel, publishing = self.publish()
            channel.waiting[0].errback(error)
            self.assertIs(self.failureResultOf(publishing).value, error)
            self.assertEqual(len(ledger.unknown), 1)

    def test_cancelled(self) -> None:
        ledger, _, publishing = self.publish()
        publishing.cancel()
        self.failureResultOf(publishing)
        self.assertEqual(len(ledger.unknown), 1)

    def test_wrong_arguments(self) -> None:
        ledger, channel = Ledger(), Channel()
        wrong: Any = "body"
        self.failureResultOf(Deferred.fromCoroutine(ledger.publish(channel, "", "", wrong)), TypeError)
        self.assertEqual(len(ledger.not_sent), 1)

    def test_without_confirms(self) -> None:
        ledger, channel = Ledger(), Channel()
        channel.mode = ""
        self.failureResultOf(Deferred.fromCoroutine(ledger.publish(channel, "", "")), ValueError)
        self.assertEqual(ledger.attempted, set())

    def test_again(self) -> None:
        ledger, channel, publishing = self.publish()
        (name,) = ledger.pending
        self.failureResultOf(Deferred.fromCoroutine(ledger.publish(channel, "", "", again=name)), ValueError)
        channel.waiting[0].errback(OutcomeUnknown(""))
        again = Deferred.fromCoroutine(ledger.publish(channel, "", "", again=name))
        channel.waiting[1].callback(None)
        self.assertEqual((self.successResultOf(again), ledger.outcomes), (name, {name: ["unknown", "confirmed"]}))
        self.assertEqual(channel.published[1][3].message_id, name)
        self.assertEqual((ledger.confirmed, ledger.unknown), ({name}, set()))
        self.failureResultOf(Deferred.fromCoroutine(ledger.publish(channel, "", "", again=name)), ValueError)
        self.successResultOf(publishing)


class LiveTests(Proxied):
    """The books of a real queue."""

    async def test_every_outcome(self) -> None:
        await self.channel.queue_delete(self.queue)
        await self.channel.queue_declare(self.queue, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
        ledger = Ledger()
        channel = await self.confirming()
        returned = await ledger.publish(channel, "", "no such queue", mandatory=True)
        confirmed = await ledger.publish(channel, "", self.queue)
        dropped = self.proxy.drop_after(Basic.Ack, direction="downstream")
        publishing = Deferred.fromCoroutine(ledger.publish(channel, "", self.queue))
        await dropped
        self.proxy.reset()
        unknown = await publishing
        not_sent = await ledger.publish(channel, "", self.queue)
        channel = await self.confirming()
        nacked = await ledger.publish(channel, "", self.queue)
        self.assertEqual(
            ledger.outcomes,
            {
                returned: ["returned"],
                confirmed: ["confirmed"],
                unknown: ["unknown"],
                not_sent: ["not sent"],
                nacked: ["nacked"],
            },
        )
        one = await self.channel.basic_get(self.queue)
        assert one is not None
        self.assertEqual(ledger.received(one), confirmed)
        one.nack()
        again = [await self.channel.basic_get(self.queue) for _ in range(2)]
        for each in again:
            assert each is not None
            ledger.received(each)
            each.ack()
            ledger.acked(each)
        report = ledger.check()
        self.assertEqual(report.recovered, [unknown])
        self.assertEqual(ledger.delivered, {confirmed: [False, True], unknown: [False]})

    async def test_a_message_published_again(self) -> None:
        ledger = Ledger()
        channel = await self.confirming()
        cut = self.proxy.cut_before(Basic.Ack, direction="downstream")
        name = await ledger.publish(channel, "", self.queue)
        await cut
        self.assertEqual(ledger.unknown, {name})
        await ledger.publish(await self.confirming(), "", self.queue, again=name)
        got = [await self.channel.basic_get(self.queue, no_ack=True) for _ in range(2)]
        ledger.check([each for each in got if each is not None])
        self.assertEqual(ledger.report([name]).totals["confirmed"], 1)
        self.assertIsNone(await self.channel.basic_get(self.queue))
