"""Tests for what a dead-lettered message tells of its deaths: true stories, and made-up ones."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import Death, DeathEvent, QueueArguments, x_death, x_death_count, x_first_death, x_last_death
from txpika.exceptions import DecodeError
from txpika.spec import BasicProperties, Timestamp
from txpika.test.strategies import examples, scalars, tables, values
from txpika.test.test_live import Live

#: As RabbitMQ 3.10 writes them, the latest first.
ENTRIES: list[dict[str, Any]] = [
    {
        "count": 3,
        "reason": "expired",
        "queue": "retry",
        "time": Timestamp(1_700_000_200),
        "exchange": "dead",
        "routing-keys": ["work"],
    },
    {
        "count": 4,
        "reason": "rejected",
        "queue": "work",
        "time": Timestamp(1_700_000_100),
        "exchange": "",
        "routing-keys": ["work", "copy"],
        "original-expiration": "60000",
    },
]
FIRST = {"x-first-death-queue": "work", "x-first-death-reason": "rejected", "x-first-death-exchange": ""}
LAST = {"x-last-death-queue": "retry", "x-last-death-reason": "expired", "x-last-death-exchange": "dead"}


def message(**headers: Any) -> BasicProperties:
    """Properties that came over the wire; C{_} in the names of the headers is C{-} there."""
    return over_the_wire({name.replace("_", "-"): value for name, value in headers.items()})


def over_the_wire(headers: dict[str, Any] | None) -> BasicProperties:
    return BasicProperties.from_wire(BasicProperties(headers=headers).encode())


class DeathTests(SynchronousTestCase):
    """What RabbitMQ writes."""

    def test_entries(self) -> None:
        self.assertEqual(
            x_death(message(x_death=ENTRIES)),
            (
                Death("retry", "expired", 3, "dead", ("work",), Timestamp(1_700_000_200), None),
                Death("work", "rejected", 4, "", ("work", "copy"), Timestamp(1_700_000_100), "60000"),
            ),
        )

    def test_counts(self) -> None:
        properties = message(x_death=ENTRIES)
        self.assertEqual(x_death_count(properties), 7)
        self.assertEqual(x_death_count(properties, queue="work"), 4)
        self.assertEqual(x_death_count(properties, reason="expired"), 3)
        self.assertEqual(x_death_count(properties, "work", "rejected"), 4)
        self.assertEqual(x_death_count(properties, "work", "expired"), 0)

    def test_first_and_last(self) -> None:
        properties = over_the_wire({"x-death": ENTRIES[1:], **FIRST, **LAST})
        self.assertEqual(x_first_death(properties), DeathEvent("work", "rejected", ""))
        self.assertEqual(x_last_death(properties), DeathEvent("retry", "expired", "dead"))

    def test_brokers_that_tell_of_no_last_death(self) -> None:
        self.assertEqual(
            x_last_death(over_the_wire({"x-death": ENTRIES, **FIRST})), DeathEvent("retry", "expired", "dead")
        )

    def test_messages_that_never_died(self) -> None:
        for properties in (BasicProperties(), over_the_wire(None), over_the_wire({}), message(x_death=[])):
            self.assertEqual((x_death(properties), x_death_count(properties)), ((), 0))
            self.assertIsNone(x_first_death(properties))
            self.assertIsNone(x_last_death(properties))

    def test_frozen(self) -> None:
        (death, _) = x_death(message(x_death=ENTRIES))
        self.assertRaises(AttributeError, setattr, death, "count", 0)
        self.assertEqual(len({death, *x_death(message(x_death=ENTRIES))}), 2)


class MadeUpTests(SynchronousTestCase):
    """What anybody may write."""

    def deaths(self, *entries: Any) -> tuple[Death, ...]:
        return x_death(message(x_death=list(entries)))

    def test_entries_that_make_no_sense_are_passed_over(self) -> None:
        counts: tuple[Any, ...] = (0, -1, "3", True, None, 1.5, [], Timestamp(0))
        wrong: tuple[Any, ...] = (
            *(None, 1, "text", b"bytes", [], ENTRIES, {}),
            {"queue": "q"},
            {"reason": "r"},
            {"queue": 1, "reason": "r"},
            {"queue": "q", "reason": ["r"]},
            *({"queue": "q", "reason": "r", "count": count} for count in counts),
        )
        for entry in wrong:
            self.assertEqual(self.deaths(entry), (), entry)
        self.assertEqual(len(self.deaths(*wrong, ENTRIES[0], *wrong)), 1)

    def test_a_header_that_is_no_list(self) -> None:
        for wrong in (None, 1, "text", b"bytes", {}, ENTRIES[0], True):
            properties = message(x_death=wrong)
            self.assertEqual((x_death(properties), x_last_death(properties)), ((), None))

    def test_what_else_may_be_missing_or_wrong(self) -> None:
        least = Death("q", "r", 1, "", (), None, None)
        self.assertEqual(self.deaths({"queue": "q", "reason": "r"}), (least,))
        no_text: tuple[Any, ...] = (None, 1, {}, [1, None, {}], True, 2.5)
        for name in ("exchange", "routing-keys", "time", "original-expiration"):
            for wrong in no_text:
                self.assertEqual(self.deaths({"queue": "q", "reason": "r", name: wrong}), (least,), (name, wrong))
        mixed = self.deaths({"queue": "q", "reason": "r", "routing-keys": ["a", 1, None, b"\xff", "b"]})
        self.assertEqual(mixed[0].routing_keys, ("a", "\udcff", "b"))

    def test_text_that_is_not_utf_8(self) -> None:
        (death,) = self.deaths({"queue": b"q\xff", "reason": b"r", "exchange": b"\xfe"})
        self.assertEqual((death.queue, death.reason, death.exchange), ("q\udcff", "r", "\udcfe"))
        self.assertEqual(x_death_count(message(x_death=[{"queue": b"q\xff", "reason": "r"}]), queue="q\udcff"), 1)

    def test_huge_counts(self) -> None:
        huge = {"queue": "q", "reason": "r", "count": 2**63 - 1}
        self.assertEqual(x_death_count(message(x_death=[huge, huge])), 2**64 - 2)

    def test_headers_that_are_not_whole(self) -> None:
        no_text: tuple[Any, ...] = (None, 1, [], {})
        for headers, function in ((FIRST, x_first_death), (LAST, x_last_death)):
            for name in headers:
                for wrong in no_text:
                    self.assertIsNone(function(over_the_wire({**headers, name: wrong})))
                self.assertIsNone(function(over_the_wire({key: headers[key] for key in headers if key != name})))

    def test_properties_that_make_no_sense(self) -> None:
        for raw in (b"", b"\x20\x00\xff", b"\x20\x00\x00\x00\x00\x09\x07x-deathA"):
            for function in (x_death, x_death_count, x_first_death, x_last_death):
                self.assertRaises(DecodeError, function, BasicProperties.from_wire(raw))

    @examples(300)
    @given(
        st.dictionaries(
            st.sampled_from(["x-death", *FIRST, *LAST]),
            values
            | st.lists(
                st.dictionaries(
                    st.sampled_from([*ENTRIES[1], "other"]), values | st.lists(scalars, max_size=3), max_size=7
                )
                | values,
                max_size=4,
            ),
        ),
        tables,
    )
    def test_any_value_anywhere(self, headers: dict[str, Any], more: dict[str, Any]) -> None:
        for properties in (over_the_wire({**more, **headers}), BasicProperties(headers=headers)):
            deaths = x_death(properties)
            for death in deaths:
                self.assertIsInstance(death, Death)
                self.assertIsInstance(death.queue, str)
                self.assertIsInstance(death.reason, str)
                self.assertGreaterEqual(death.count, 1)
                self.assertTrue(all(isinstance(key, str) for key in death.routing_keys))
            self.assertEqual(x_death_count(properties), sum(death.count for death in deaths))
            for event in (x_first_death(properties), x_last_death(properties)):
                self.assertIsInstance(event, DeathEvent | None)


class LiveDeathTests(Live):
    """What RabbitMQ really writes."""

    async def connect(self) -> None:
        await super().connect()
        self.dead = (await self.channel.queue_declare(exclusive=True)).queue
        self.consumer = await self.channel.basic_consume(self.dead, no_ack=True)
        await self.channel.confirm_select()
        self.old = int(self.connection.server_properties["version"].split(".")[0]) < 4

    async def source(self, queue_type: Any = "classic", **more: Any) -> str:
        """A queue whose dead letters come to the consumer."""
        arguments = QueueArguments(
            queue_type=queue_type, dead_letter_exchange="", dead_letter_routing_key=self.dead, **more
        )
        name = f"deaths-{uuid4().hex}"
        await self.channel.queue_declare(name, durable=True, arguments=arguments)
        self.addCleanup(self.channel.queue_delete, name)
        return name

    async def get(self, queue: str) -> txpika.Delivery:
        while (delivery := await self.channel.basic_get(queue)) is None:
            await deferLater(reactor, 0.01)
        return delivery

    async def died(self, queue: str, reason: str) -> txpika.Delivery:
        """The next dead letter, of a message that died once."""
        delivery = await self.consumer.__anext__()
        (death,) = x_death(delivery.properties)
        self.assertEqual((death.queue, death.reason, death.count), (queue, reason, 1))
        self.assertEqual((death.exchange, death.routing_keys), ("", (queue,)))
        assert death.time is not None
        self.assertGreater(death.time.datetime.year, 2020)
        event = DeathEvent(queue, reason, "")
        self.assertEqual((x_first_death(delivery.properties), x_last_death(delivery.properties)), (event, event))
        return delivery

    async def test_rejected(self) -> None:
        for kind in ("classic", "quorum"):
            queue = await self.source(kind)
            await self.channel.basic_publish("", queue, b"")
            (await self.get(queue)).reject()
            await self.died(queue, "rejected")

    async def test_expired(self) -> None:
        for kind in ("classic", "quorum"):
            queue = await self.source(kind, message_ttl=1)
            await self.channel.basic_publish("", queue, b"", BasicProperties(expiration="60000"))
            (death,) = x_death((await self.died(queue, "expired")).properties)
            self.assertEqual(death.original_expiration, "60000")

    async def test_too_many(self) -> None:
        for kind in ("classic", "quorum"):
            queue = await self.source(kind, max_length=1)
            for body in (b"oldest", b"newest"):
                await self.channel.basic_publish("", queue, body)
            self.assertEqual((await self.died(queue, "maxlen")).body, b"oldest")

    async def test_given_back_too_often(self) -> None:
        queue = await self.source("quorum", delivery_limit=1)
        await self.channel.basic_publish("", queue, b"")
        for _ in range(2):
            (await self.get(queue)).nack(requeue=True)
        await self.died(queue, "delivery_limit")

    async def test_round_and_round(self) -> None:
        # A queue to wait in that leads back: the usual way to try again later. RabbitMQ drops what goes round without
        # a rejection, and counts what goes round with one.
        wait = f"wait-{self.queue}"
        work = f"work-{self.queue}"
        for name, arguments in (
            (work, QueueArguments(dead_letter_exchange="", dead_letter_routing_key=wait)),
            (wait, QueueArguments(message_ttl=1, dead_letter_exchange="", dead_letter_routing_key=work)),
        ):
            await self.channel.queue_declare(name, exclusive=True, arguments=arguments)
        await self.channel.basic_publish("", work, b"")
        for attempt in range(4):
            delivery = await self.get(work)
            self.assertEqual(x_death_count(delivery.properties, work, "rejected"), attempt)
            self.assertEqual(x_death_count(delivery.properties), 2 * attempt)
            if attempt:
                expired, rejected = x_death(delivery.properties)
                self.assertEqual((expired.queue, rejected.queue), (wait, work))
                self.assertEqual(x_first_death(delivery.properties), DeathEvent(work, "rejected", ""))
                self.assertEqual(x_last_death(delivery.properties), DeathEvent(wait, "expired", ""))
            delivery.reject()

    async def test_published_again_with_its_headers(self) -> None:
        queue = await self.source()
        await self.channel.basic_publish("", queue, b"")
        (await self.get(queue)).reject()
        once = await self.consumer.__anext__()
        await self.channel.basic_publish("", queue, b"", BasicProperties(headers=once.properties.headers))
        (await self.get(queue)).reject()
        again = await self.consumer.__anext__()
        # From 4.0 on RabbitMQ does not count on from what a publisher says.
        self.assertEqual(x_death_count(again.properties, queue), 2 if self.old else 1)
