"""Tests for the arguments of queues and consumers; C{test_live_arguments} tests that RabbitMQ has the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika import ConsumerArguments, QueueArguments
from txpika.arguments import QueueType
from txpika.parameters import ConnectionParameters
from txpika.spec import Queue, Timestamp, decode_table, encode_table
from txpika.test.fakes import TwistedPeer

TYPES: tuple[QueueType, ...] = ("classic", "quorum", "stream")

#: Each argument with legal values, and its name on the wire.
VALUES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "message_ttl": ("x-message-ttl", (60000,)),
    "expires": ("x-expires", (60000,)),
    "max_length": ("x-max-length", (10,)),
    "max_length_bytes": ("x-max-length-bytes", (10000,)),
    "overflow": ("x-overflow", ("drop-head", "reject-publish", "reject-publish-dlx")),
    "dead_letter_exchange": ("x-dead-letter-exchange", ("amq.fanout",)),
    "dead_letter_routing_key": ("x-dead-letter-routing-key", ("key",)),
    "dead_letter_strategy": ("x-dead-letter-strategy", ("at-most-once", "at-least-once")),
    "delivery_limit": ("x-delivery-limit", (3,)),
    "single_active_consumer": ("x-single-active-consumer", (True,)),
    "max_priority": ("x-max-priority", (5,)),
    "max_age": ("x-max-age", ("1h",)),
    "stream_max_segment_size_bytes": ("x-stream-max-segment-size-bytes", (1_000_000,)),
    "initial_cluster_size": ("x-initial-cluster-size", (1,)),
    "leader_locator": ("x-queue-leader-locator", ("client-local",)),
}

#: Values at their limits, the types they are for, and whether they are legal.
LIMITS: list[tuple[str, QueueType, Any, bool]] = [
    ("message_ttl", "classic", 0, True),
    ("message_ttl", "classic", -1, False),
    ("message_ttl", "classic", 315_360_000_000, True),
    ("message_ttl", "classic", 315_360_000_001, False),
    ("message_ttl", "quorum", 0, True),
    ("message_ttl", "quorum", 315_360_000_000, True),
    ("message_ttl", "quorum", 315_360_000_001, False),
    ("expires", "classic", 0, False),
    ("expires", "classic", 1, True),
    ("expires", "classic", 315_360_000_000, True),
    ("expires", "classic", 315_360_000_001, False),
    ("expires", "quorum", 0, False),
    ("expires", "quorum", 315_360_000_000, True),
    ("max_length", "classic", 0, True),
    ("max_length", "classic", -1, False),
    ("max_length", "quorum", 2**63 - 1, True),
    ("max_length_bytes", "classic", -1, False),
    ("max_length_bytes", "quorum", 0, True),
    ("max_length_bytes", "stream", 2**63 - 1, True),
    ("delivery_limit", "quorum", 0, True),
    ("delivery_limit", "quorum", 2**63 - 1, True),
    ("max_priority", "classic", 0, True),
    ("max_priority", "classic", 255, True),
    ("max_priority", "classic", 256, False),
    ("max_priority", "classic", -1, False),
    ("single_active_consumer", "quorum", False, True),
    ("single_active_consumer", "quorum", 1, False),
    ("stream_max_segment_size_bytes", "stream", 0, True),
    ("stream_max_segment_size_bytes", "stream", 3_000_000_000, True),
    ("stream_max_segment_size_bytes", "stream", 3_000_000_001, False),
    ("initial_cluster_size", "quorum", 0, False),
    ("initial_cluster_size", "quorum", 5, True),
    ("initial_cluster_size", "stream", 0, False),
    ("initial_cluster_size", "stream", 5, True),
    ("leader_locator", "quorum", "balanced", True),
    ("leader_locator", "stream", "balanced", True),
    ("leader_locator", "stream", "nearby", False),
    ("overflow", "classic", "drop-tail", False),
    ("dead_letter_strategy", "quorum", "exactly-once", False),
    ("dead_letter_exchange", "classic", "", True),
    *(("max_age", "stream", age, True) for age in ("1Y", "2M", "3D", "4h", "5m", "6s", "007D", "999999Y")),
    *(("max_age", "stream", age, False) for age in ("0s", "5", "h", "", "1h1m", " 1h", "1h ", "1x", "-1h", "1.5h")),
]

OFFSETS: list[tuple[Any, bool]] = [
    ("first", True),
    ("last", True),
    ("next", True),
    (0, True),
    (2**63 - 1, True),
    (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), True),
    (datetime(2026, 1, 2), True),
    (Timestamp(1_700_000_000), True),
    ("1h", True),
    ("30D", True),
    ("0h", False),
    ("5x", False),
    ("h", False),
    ("", False),
    ("middle", False),
    (True, False),
    (1.5, False),
]


def wire(queue_type: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they must be on the wire."""
    table = {} if queue_type is None else {"x-queue-type": queue_type}
    for name, value in given.items():
        quorums = name == "initial_cluster_size" and queue_type == "quorum"
        table["x-quorum-initial-group-size" if quorums else VALUES[name][0]] = value
    return table


def made(queue_type: QueueType | None, given: Mapping[str, Any], rabbitmq: str = "3.10") -> QueueArguments | None:
    """C{None} when they are refused."""
    try:
        return QueueArguments(queue_type=queue_type, rabbitmq=rabbitmq, **given)
    except (TypeError, ValueError):
        return None


def taken_but_ignored(queue_type: str | None, given: Mapping[str, Any]) -> bool:
    """What RabbitMQ takes, and we refuse for it does something else then. There is a test of that for each."""
    if queue_type != "quorum":
        return False
    at_least_once = given.get("dead_letter_strategy") == "at-least-once"
    works = "dead_letter_exchange" in given and given.get("overflow") == "reject-publish"
    return given.get("overflow") == "reject-publish-dlx" or (at_least_once and not works)


class QueueArgumentTests(SynchronousTestCase):
    """What is made, and what is refused."""

    def refused(self, *named: str, error: type[Exception] = ValueError, **arguments: Any) -> None:
        raised = self.assertRaises(error, QueueArguments, **arguments)
        for name in named:
            self.assertIn(name, str(raised))

    def test_names_on_the_wire(self) -> None:
        for kind in (None, *TYPES):
            for name, (_, values) in VALUES.items():
                for value in values:
                    arguments = made(kind, {name: value})
                    if arguments is not None:
                        self.assertEqual(arguments, wire(kind, {name: value}))
                        self.assertEqual(arguments.queue_type, kind)

    def test_every_argument_has_a_type_that_takes_it(self) -> None:
        for name, (_, (value, *_)) in VALUES.items():
            given = {"dead_letter_exchange": "", name: value} if name == "dead_letter_routing_key" else {name: value}
            self.assertTrue([kind for kind in TYPES if made(kind, given)], name)

    def test_both_are_named(self) -> None:
        self.refused("message_ttl", "'stream'", "classic or quorum", queue_type="stream", message_ttl=1)
        self.refused("dead_letter_exchange", "'stream'", queue_type="stream", dead_letter_exchange="x")
        self.refused("max_length", "'stream'", queue_type="stream", max_length=1)
        self.refused("single_active_consumer", "'stream'", queue_type="stream", single_active_consumer=True)
        self.refused("max_priority", "'quorum'", "4.3", queue_type="quorum", max_priority=1)
        self.refused("max_priority", "'stream'", queue_type="stream", max_priority=1)
        self.refused("delivery_limit", "'classic'", "for quorum", queue_type="classic", delivery_limit=1)
        self.refused("delivery_limit", "no queue_type", "'classic'", delivery_limit=1)
        self.refused("max_age", "'quorum'", queue_type="quorum", max_age="1h")
        self.refused("dead_letter_routing_key", "dead_letter_exchange", dead_letter_routing_key="x")
        self.refused("reject-publish-dlx", "'quorum'", queue_type="quorum", overflow="reject-publish-dlx")
        self.refused("at-least-once", "dead_letter_exchange", queue_type="quorum", dead_letter_strategy="at-least-once")
        for overflow in (None, "drop-head"):
            self.refused(
                "at-least-once",
                "overflow='reject-publish'",
                queue_type="quorum",
                dead_letter_strategy="at-least-once",
                dead_letter_exchange="x",
                overflow=overflow,
            )
        self.refused("delivery_limit=-1", "rabbitmq='4.0'", queue_type="quorum", delivery_limit=-1)

    def test_at_least_once(self) -> None:
        arguments = QueueArguments(
            queue_type="quorum",
            dead_letter_exchange="dead",
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
        )
        self.assertEqual(arguments["x-dead-letter-strategy"], "at-least-once")

    def test_newer_brokers_take_more(self) -> None:
        self.assertIsNone(made("classic", {"leader_locator": "balanced"}, "3.13"))
        self.assertEqual(
            made("classic", {"leader_locator": "balanced"}, "4.0.5"),
            {"x-queue-type": "classic", "x-queue-leader-locator": "balanced"},
        )
        self.assertIsNone(made("quorum", {"delivery_limit": -1}, "3.13.7"))
        self.assertIsNotNone(made("quorum", {"delivery_limit": -1}, "4.0"))
        self.assertIsNone(made("quorum", {"max_priority": 31}, "4.2"))
        self.assertIsNotNone(made("quorum", {"max_priority": 31}, "4.3.0-rc.1"))
        self.assertIsNone(made("quorum", {"max_priority": 32}, "4.10"))
        for wrong in ("four", "", "4", 4, None):
            self.refused("rabbitmq", rabbitmq=wrong)

    def test_limits(self) -> None:
        for name, kind, value, legal in LIMITS:
            self.assertEqual(made(kind, {name: value}) is not None, legal, (name, kind, value))
            if not legal:
                error = TypeError if name == "single_active_consumer" else ValueError
                self.refused(name, queue_type=kind, error=error, **{name: value})

    def test_types(self) -> None:
        for name, (_, (value, *_)) in VALUES.items():
            wrong: list[Any] = [1.5, b"x", [], object()]
            if not isinstance(value, bool):
                wrong.append(5 if isinstance(value, str) else True)
            for bad in wrong:
                for kind in TYPES:
                    self.assertIsNone(made(kind, {name: bad}), (name, bad))
        self.refused("queue_type", queue_type="lazy")
        self.refused("max_length", "int", error=TypeError, max_length=True)
        self.refused("message_ttl", "int", error=TypeError, message_ttl="60000")
        self.refused("max_age", "str", error=TypeError, queue_type="stream", max_age=60)
        self.refused("dead_letter_exchange", error=TypeError, dead_letter_exchange=b"x")
        self.refused("dead_letter_exchange", dead_letter_exchange="x" * 256)

    def test_more(self) -> None:
        self.assertEqual(
            QueueArguments(max_length=1, more={"x-of-a-plugin": [1]}), {"x-max-length": 1, "x-of-a-plugin": [1]}
        )
        for key in ("x-max-length", "x-expires", "x-queue-type", "x-quorum-initial-group-size"):
            self.refused("more", key, more={key: 1})
        self.refused("more.x", error=TypeError, more={"x": object()})
        self.refused("more", error=TypeError, more=[1])

    def test_it_is_a_mapping_that_does_not_change(self) -> None:
        arguments = QueueArguments(max_length=1)
        self.assertIsInstance(arguments, Mapping)
        self.assertEqual((dict(arguments), len(arguments), "x-max-length" in arguments), ({"x-max-length": 1}, 1, True))
        self.assertEqual({**arguments, "x": 1}, {"x-max-length": 1, "x": 1})
        self.assertFalse(hasattr(arguments, "__setitem__"))
        self.assertEqual(repr(arguments), "<QueueArguments {'x-max-length': 1}>")
        self.assertEqual(QueueArguments(), {})


class DeclareTests(SynchronousTestCase):
    """On their way to the broker."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.peer.frames()

    def test_declared(self) -> None:
        arguments = QueueArguments(queue_type="quorum", delivery_limit=5)
        self.channel.queue_declare("q", durable=True, arguments=arguments)
        (declare,) = self.peer.methods()
        assert isinstance(declare, Queue.Declare)
        self.assertEqual(declare.arguments, {"x-queue-type": "quorum", "x-delivery-limit": 5})

    def test_queues_that_cannot_be(self) -> None:
        for kind in ("quorum", "stream"):
            arguments = QueueArguments(queue_type=kind)
            for named, wrong in (
                ("durable", {}),
                ("exclusive", {"durable": True, "exclusive": True}),
                ("auto_delete", {"durable": True, "auto_delete": True}),
                ("name", {"durable": True, "queue": ""}),
            ):
                more: dict[str, Any] = {"queue": "q", **wrong}
                raised = self.assertRaises(ValueError, self.channel.queue_declare, arguments=arguments, **more)
                self.assertIn(named, str(raised))
                self.assertIn(kind, str(raised))
            self.assertEqual(self.peer.frames(), [])
            self.channel.queue_declare("q", passive=True, arguments=arguments)
            self.channel.queue_declare("", arguments=QueueArguments(queue_type="classic"))
            self.channel.queue_declare("", exclusive=True, arguments=QueueArguments(max_length=1))
            self.setUp()

    def test_consumers_that_cannot_be(self) -> None:
        arguments = ConsumerArguments(stream_offset="first")
        raised = self.assertRaises(ValueError, self.channel.basic_consume, "q", no_ack=True, arguments=arguments)
        self.assertIn("stream_offset and no_ack", str(raised))
        self.assertEqual(self.peer.frames(), [])
        self.channel.basic_consume("q", no_ack=True, arguments=ConsumerArguments(priority=1))
        self.assertEqual(self.peer.names(), ["Basic.Consume"])


class ConsumerArgumentTests(SynchronousTestCase):
    """C{x-priority} and C{x-stream-offset}."""

    def test_priorities(self) -> None:
        for legal in (0, 5, -5, 2**40):
            self.assertEqual(ConsumerArguments(priority=legal), {"x-priority": legal})
        wrong: tuple[Any, ...] = ("5", 1.5, True)
        for bad in wrong:
            self.assertRaises(TypeError, ConsumerArguments, priority=bad)
        self.assertRaises(ValueError, ConsumerArguments, priority=2**63)

    def test_offsets(self) -> None:
        for offset, legal in OFFSETS:
            if legal:
                self.assertEqual(ConsumerArguments(stream_offset=offset), {"x-stream-offset": offset})
            else:
                self.assertRaises((ValueError, TypeError), ConsumerArguments, stream_offset=offset)
        self.assertRaises(ValueError, ConsumerArguments, stream_offset=-1)
        self.assertRaises(ValueError, ConsumerArguments, stream_offset=datetime(1969, 1, 1, tzinfo=UTC))

    def test_a_moment_is_encoded_as_one(self) -> None:
        for moment in (datetime.fromtimestamp(1_700_000_000, UTC), Timestamp(1_700_000_000)):
            encoded = encode_table(ConsumerArguments(stream_offset=moment))
            decoded = decode_table(encoded, 0, len(encoded))[0]["x-stream-offset"]
            self.assertIsInstance(decoded, Timestamp)
            self.assertEqual(decoded, 1_700_000_000)

    def test_both(self) -> None:
        raised = self.assertRaises(ValueError, ConsumerArguments, priority=1, stream_offset="first")
        self.assertIn("priority and stream_offset", str(raised))

    def test_more(self) -> None:
        self.assertEqual(
            ConsumerArguments(stream_offset="next", more={"x-stream-filter": "a"}),
            {"x-stream-offset": "next", "x-stream-filter": "a"},
        )
        self.assertRaises(ValueError, ConsumerArguments, more={"x-priority": 1})
