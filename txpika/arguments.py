# -*- test-case-name: txpika.test.test_arguments -*-
"""
The optional arguments of C{queue.declare} and C{basic.consume}, by names that cannot be misspelt silently.

Owns which arguments RabbitMQ has, their units and limits, and which go together. Knows nothing of channels: the result
is a mapping with the names on the wire as keys, accepted wherever C{arguments} are.

RabbitMQ refuses most wrong combinations with 406, which costs the channel; some cost the connection (541); and some it
accepts, and then does something other than they say. Here all of them are a L{ValueError} at the line that made them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, NamedTuple, get_args

from txpika.parameters import integer, text
from txpika.spec import Timestamp, encode_table

QueueType = Literal["classic", "quorum", "stream"]
Overflow = Literal["drop-head", "reject-publish", "reject-publish-dlx"]
DeadLetterStrategy = Literal["at-most-once", "at-least-once"]
LeaderLocator = Literal["client-local", "balanced"]

#: The version whose rules apply unless another is named: the oldest supported.
OLDEST = "3.10"
#: Longest time RabbitMQ accepts for a TTL or an expiry: ten years, in milliseconds.
MAX_MILLISECONDS = 315_360_000_000
#: Largest segment of a stream, in bytes.
MAX_SEGMENT_SIZE = 3_000_000_000
#: Highest priority of messages in a classic queue.
MAX_PRIORITY = 255
#: Highest priority of messages in a quorum queue (RabbitMQ 4.3 and later).
MAX_QUORUM_PRIORITY = 31
#: Largest number that fits into a table.
MAX_LONG = 2**63 - 1

_INTERVAL = re.compile(r"[0-9]+[YMDhms]")
_VERSION = re.compile(r"([0-9]+)\.([0-9]+)")

Version = tuple[int, int]
_ALWAYS: Version = (0, 0)


class _Name(NamedTuple):
    """One argument: its name on the wire by queue type, and since which version that type takes it, if not always."""

    wire: dict[str, str]
    since: dict[str, Version]


def _name(wire: str, *types: str, **since: Version) -> _Name:
    return _Name(dict.fromkeys((*types, *since), wire), since)


#: Which arguments each type of queue takes. RabbitMQ refuses what belongs to another type.
_NAMES: dict[str, _Name] = {
    "message_ttl": _name("x-message-ttl", "classic", "quorum"),
    "expires": _name("x-expires", "classic", "quorum"),
    "max_length": _name("x-max-length", "classic", "quorum"),
    "max_length_bytes": _name("x-max-length-bytes", "classic", "quorum", "stream"),
    "overflow": _name("x-overflow", "classic", "quorum"),
    "dead_letter_exchange": _name("x-dead-letter-exchange", "classic", "quorum"),
    "dead_letter_routing_key": _name("x-dead-letter-routing-key", "classic", "quorum"),
    "dead_letter_strategy": _name("x-dead-letter-strategy", "quorum"),
    "delivery_limit": _name("x-delivery-limit", "quorum"),
    "single_active_consumer": _name("x-single-active-consumer", "classic", "quorum"),
    "max_priority": _name("x-max-priority", "classic", quorum=(4, 3)),
    "max_age": _name("x-max-age", "stream"),
    "stream_max_segment_size_bytes": _name("x-stream-max-segment-size-bytes", "stream"),
    "initial_cluster_size": _Name({"quorum": "x-quorum-initial-group-size", "stream": "x-initial-cluster-size"}, {}),
    "leader_locator": _name("x-queue-leader-locator", "quorum", "stream", classic=(4, 0)),
}


def _version(rabbitmq: object) -> Version:
    match = _VERSION.match(rabbitmq) if isinstance(rabbitmq, str) else None
    if match is None:
        raise ValueError(f"rabbitmq is {rabbitmq!r}, it must be a version such as '4.0'")
    return int(match[1]), int(match[2])


def _choice(name: str, value: object, choices: object) -> None:
    possible = get_args(choices)
    if value not in possible:
        raise ValueError(f"{name} is {value!r}, it must be one of {possible}")


def _interval(name: str, value: object) -> str:
    """
    @raise TypeError: when it is no str.
    @raise ValueError: when it is no number above 0 with one unit. RabbitMQ closes the connection for some of these.
    """
    interval = text(name, value)
    if not _INTERVAL.fullmatch(interval) or not int(interval[:-1]):
        raise ValueError(
            f"{name} is {interval!r}, it must be a number above 0 and one of the units Y, M, D, h, m, s, e.g. '12h'"
        )
    return interval


class Arguments(Mapping[str, object]):
    """
    A table of arguments, by their names on the wire. It does not change, and equals any mapping with the same items.
    """

    __slots__ = ("_table",)

    def __init__(self, table: dict[str, object], more: Mapping[str, object] | None, own: frozenset[str]) -> None:
        """
        @param table: What was given by name.
        @param more: Arguments by their names on the wire.
        @param own: Names on the wire that C{more} must not have.
        @raise ValueError: when C{more} has one of C{own}, or a value that no table can hold.
        @raise TypeError: when a value is of a type that no table can hold.
        """
        if more is not None:
            for key in more:
                if key in own:
                    raise ValueError(f"more has {key!r}, which has an argument of its own here")
            encode_table(more, "more")
            table = {**table, **more}
        self._table = table

    def __getitem__(self, key: str) -> object:
        return self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._table!r}>"


class QueueArguments(Arguments):
    """
    The arguments of a queue (rabbitmq.com/docs/queues#optional-arguments)::

        await channel.queue_declare("orders", durable=True, arguments=QueueArguments(
            queue_type="quorum", delivery_limit=5, dead_letter_exchange="orders.dead",
        ))

    What the operator may want to change later belongs in a policy instead (rabbitmq.com/docs/policies): an existing
    queue cannot be declared with other arguments (406).

    Refused as RabbitMQ refuses it (406):

     - an argument that is not of this type of queue; see L{__init__} for which is;
     - C{dead_letter_routing_key} without C{dead_letter_exchange};
     - in C{queue_declare}, a quorum queue or a stream that is exclusive, auto-delete, not durable, or without a name;
     - numbers outside their limits.

    Refused although RabbitMQ accepts it, because it then does something else:

     - C{overflow="reject-publish-dlx"} of a quorum queue: it drops the oldest message, as with C{"drop-head"};
     - C{dead_letter_strategy="at-least-once"} without C{dead_letter_exchange} and C{overflow="reject-publish"}: it is
       C{"at-most-once"} (rabbitmq.com/docs/quorum-queues#dead-lettering);
     - C{delivery_limit=-1} before RabbitMQ 4.0: it drops a message the first time it is given back.

    These are the rules of RabbitMQ 3.10, where a test compares each with a broker. What later versions have changed,
    according to their documentation, depends on C{rabbitmq}: from 4.0 on classic queues take C{leader_locator}, and
    C{delivery_limit} takes -1; from 4.3 on quorum queues take C{max_priority}, up to 31.

    A queue without C{queue_type} is checked as a classic one. On a virtual host with another default type (RabbitMQ
    3.11 and later), name the type.

    @ivar queue_type: As it was given.
    """

    __slots__ = ("queue_type",)

    _OWN = frozenset(("x-queue-type", *(wire for name in _NAMES.values() for wire in name.wire.values())))

    def __init__(
        self,
        *,
        queue_type: QueueType | None = None,
        message_ttl: int | None = None,
        expires: int | None = None,
        max_length: int | None = None,
        max_length_bytes: int | None = None,
        overflow: Overflow | None = None,
        dead_letter_exchange: str | None = None,
        dead_letter_routing_key: str | None = None,
        dead_letter_strategy: DeadLetterStrategy | None = None,
        delivery_limit: int | None = None,
        single_active_consumer: bool | None = None,
        max_priority: int | None = None,
        max_age: str | None = None,
        stream_max_segment_size_bytes: int | None = None,
        initial_cluster_size: int | None = None,
        leader_locator: LeaderLocator | None = None,
        more: Mapping[str, object] | None = None,
        rabbitmq: str = OLDEST,
    ) -> None:
        """
        @param queue_type: C{"classic"}, C{"quorum"} or C{"stream"}.
        @param message_ttl: How long a message may wait, in milliseconds, 0 to ten years; then it is dead-lettered or
            dropped. Classic, quorum.
        @param expires: The queue is deleted after this time without use, in milliseconds, 1 to ten years. Classic,
            quorum.
        @param max_length: Most messages that may be ready. Classic, quorum.
        @param max_length_bytes: Most bytes of bodies that may be ready; for a stream, its size on disk. All types.
        @param overflow: What happens when there is a message too many: C{"drop-head"} drops or dead-letters the oldest,
            C{"reject-publish"} nacks the new one, C{"reject-publish-dlx"} also dead-letters it. Classic, quorum (except
            the last).
        @param dead_letter_exchange: Where messages go that are rejected, expired, or too many; C{""} is the default
            exchange. Classic, quorum.
        @param dead_letter_routing_key: Their routing key from then on; by default their own.
        @param dead_letter_strategy: C{"at-least-once"} keeps a message until its next queue has confirmed it. Quorum.
        @param delivery_limit: A message that is given back more often than this is dead-lettered or dropped. RabbitMQ
            4.0 and later have a limit of 20 without it, and take -1 for no limit. Quorum.
        @param single_active_consumer: Deliver to only one of the consumers, and to another when that one is gone.
            Classic, quorum.
        @param max_priority: Highest priority of messages, 0 to 255 (rabbitmq.com/docs/priority); each costs memory, and
            more than 10 are rarely useful. Classic; quorum from RabbitMQ 4.3 on, 0 to 31.
        @param max_age: How long messages are kept, as a number with one of the units Y, M (of 30 days), D, h, m, s:
            C{"7D"}. Stream.
        @param stream_max_segment_size_bytes: Size of its files, 0 to 3,000,000,000 bytes; retention works on whole
            files. Stream.
        @param initial_cluster_size: On how many nodes to have replicas, from 1. Quorum, stream.
        @param leader_locator: On which node its leader begins: C{"client-local"}, the one that declares it, or
            C{"balanced"}, one that has few. Quorum, stream; classic from RabbitMQ 4.0 on.
        @param more: Arguments that are not known here, by their names on the wire.
        @param rabbitmq: The version of the broker, if it is known to be newer than 3.10:
            C{connection.server_properties["version"]}.
        @raise ValueError: when a value is outside its limits, or two of them contradict each other: both are named.
        @raise TypeError: when a value is of a wrong type. A bool is no int.
        """
        self.queue_type = queue_type
        if queue_type is not None:
            _choice("queue_type", queue_type, QueueType)
        version = _version(rabbitmq)
        given: dict[str, object] = {
            "message_ttl": message_ttl,
            "expires": expires,
            "max_length": max_length,
            "max_length_bytes": max_length_bytes,
            "overflow": overflow,
            "dead_letter_exchange": dead_letter_exchange,
            "dead_letter_routing_key": dead_letter_routing_key,
            "dead_letter_strategy": dead_letter_strategy,
            "delivery_limit": delivery_limit,
            "single_active_consumer": single_active_consumer,
            "max_priority": max_priority,
            "max_age": max_age,
            "stream_max_segment_size_bytes": stream_max_segment_size_bytes,
            "initial_cluster_size": initial_cluster_size,
            "leader_locator": leader_locator,
        }
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            _check_value(name, value)
        self._check_type(given, version)
        self._check_together(given, version)
        table: dict[str, object] = {} if queue_type is None else {"x-queue-type": queue_type}
        kind = queue_type or "classic"
        table.update((_NAMES[name].wire[kind], value) for name, value in given.items())
        super().__init__(table, more, self._OWN)

    @property
    def _shown_type(self) -> str:
        return "no queue_type (so it is 'classic')" if self.queue_type is None else f"queue_type={self.queue_type!r}"

    def _check_type(self, given: dict[str, object], version: Version) -> None:
        """@raise ValueError: when an argument is not of this type of queue."""
        kind = self.queue_type or "classic"
        for name in given:
            known = _NAMES[name]
            since = known.since.get(kind, _ALWAYS)
            if kind in known.wire and version < since:
                raise ValueError(
                    f"{name} and {self._shown_type} go together from RabbitMQ {since[0]}.{since[1]} on, and the rules"
                    f" here are of {version[0]}.{version[1]}: say rabbitmq='{since[0]}.{since[1]}' if yours is as new"
                )
            if kind not in known.wire:
                others = " or ".join(each for each in known.wire if each not in known.since)
                raise ValueError(f"{name} and {self._shown_type} do not go together: it is for {others}")

    def _check_together(self, given: dict[str, object], version: Version) -> None:
        """@raise ValueError: when two arguments, each right by itself, contradict each other."""
        if "dead_letter_routing_key" in given and "dead_letter_exchange" not in given:
            raise ValueError("dead_letter_routing_key is of no use without dead_letter_exchange")
        if self.queue_type != "quorum":
            return
        if given.get("overflow") == "reject-publish-dlx":
            raise ValueError("overflow='reject-publish-dlx' and queue_type='quorum' do not go together")
        if given.get("dead_letter_strategy") == "at-least-once":
            if "dead_letter_exchange" not in given:
                raise ValueError("dead_letter_strategy='at-least-once' is of no use without dead_letter_exchange")
            if given.get("overflow") != "reject-publish":
                raise ValueError("dead_letter_strategy='at-least-once' needs overflow='reject-publish'")
        if given.get("delivery_limit") == -1 and version < (4, 0):
            raise ValueError(
                "delivery_limit=-1 means no limit from rabbitmq='4.0' on; before, what is given back is dropped"
            )
        priority = given.get("max_priority")
        if isinstance(priority, int) and priority > MAX_QUORUM_PRIORITY:
            raise ValueError(f"max_priority is {priority}, with queue_type='quorum' at most {MAX_QUORUM_PRIORITY}")

    def check_declare(self, queue: str, durable: bool, exclusive: bool, auto_delete: bool) -> None:
        """
        What L{txpika.channel.Channel.queue_declare} asks.

        @raise ValueError: when such a queue cannot have this type.
        """
        if self.queue_type not in ("quorum", "stream"):
            return
        for name, value in (("exclusive", exclusive), ("auto_delete", auto_delete)):
            if value:
                raise ValueError(f"{name}=True and {self._shown_type} do not go together")
        if not durable:
            raise ValueError(f"{self._shown_type} needs durable=True")
        if not queue:
            raise ValueError(f"{self._shown_type} needs a name as queue, the broker makes up none for it")


def _check_value(name: str, value: object) -> None:
    """
    @raise ValueError: when it is outside the limits of that argument.
    @raise TypeError: when it is of a wrong type.
    """
    limits = _LIMITS.get(name)
    choices = _CHOICES.get(name)
    if limits is not None:
        integer(name, value, *limits)
    elif choices is not None:
        _choice(name, value, choices)
    elif name == "single_active_consumer":
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be bool, not {type(value).__name__}")
    elif name == "max_age":
        _interval(name, value)
    else:
        text(name, value)


_LIMITS = {
    "message_ttl": (0, MAX_MILLISECONDS),
    "expires": (1, MAX_MILLISECONDS),
    "max_length": (0, MAX_LONG),
    "max_length_bytes": (0, MAX_LONG),
    "delivery_limit": (-1, MAX_LONG),
    "max_priority": (0, MAX_PRIORITY),
    "stream_max_segment_size_bytes": (0, MAX_SEGMENT_SIZE),
    "initial_cluster_size": (1, MAX_LONG),
}
_CHOICES: dict[str, object] = {
    "overflow": Overflow,
    "dead_letter_strategy": DeadLetterStrategy,
    "leader_locator": LeaderLocator,
}


class ConsumerArguments(Arguments):
    """
    The arguments of a consumer::

        await channel.basic_qos(prefetch_count=100)
        await channel.basic_consume("events", on_delivery, arguments=ConsumerArguments(stream_offset="first"))

    Refused because RabbitMQ refuses it: both arguments together (406), C{stream_offset} with C{no_ack} (540, and the
    connection is closed), and malformed offsets (541, the same). A stream requires a prefetch count (406 without), and
    takes nothing back: RabbitMQ may close the connection for a C{nack} or C{reject} (540). Give C{stream_offset} for
    every stream, even if only C{"next"}, so that the consumer itself does neither.

    @ivar of_stream: Only a stream can be consumed with these.
    """

    __slots__ = ("of_stream",)

    _OWN = frozenset(("x-priority", "x-stream-offset"))

    def __init__(
        self,
        *,
        priority: int | None = None,
        stream_offset: Literal["first", "last", "next"] | str | int | datetime | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """
        @param priority: Deliver to it before consumers with a lower number, as long as it takes more (default 0,
            rabbitmq.com/docs/consumer-priority). Classic, quorum.
        @param stream_offset: Where in a stream to begin (rabbitmq.com/docs/streams#consuming): the C{"first"} message
            kept, the C{"last"} chunk of messages, the C{"next"} message to come (the default), an int for that offset,
            from 0, a C{datetime} (without a time zone: UTC) or L{Timestamp} for the chunk of that second, or how long
            ago, as a number and one of the units Y, M, D, h, m, s: C{"1h"}.
        @param more: Arguments that are not known here, by their names on the wire.
        @raise ValueError: when a value is outside its limits, or they contradict each other.
        @raise TypeError: when a value is of a wrong type. A bool is no int.
        """
        table: dict[str, object] = {}
        self.of_stream = stream_offset is not None
        if priority is not None:
            table["x-priority"] = integer("priority", priority, -(2**63), MAX_LONG)
        if stream_offset is not None:
            table["x-stream-offset"] = _offset(stream_offset)
            if priority is not None:
                raise ValueError("priority and stream_offset do not go together: a stream has no consumer priorities")
        super().__init__(table, more, self._OWN)

    def check_consume(self, no_ack: bool) -> None:
        """
        Called by L{txpika.channel.Channel.basic_consume}.

        @raise ValueError: when there cannot be such a consumer.
        """
        if self.of_stream and no_ack:
            raise ValueError("stream_offset and no_ack=True do not go together: RabbitMQ would close the connection")


def _offset(value: object) -> object:
    if isinstance(value, datetime):
        encode_table({"stream_offset": value}, "arguments")
        return value
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, str):
        return value if value in ("first", "last", "next") else _interval("stream_offset", value)
    if isinstance(value, int) and not isinstance(value, bool):
        return integer("stream_offset", value, 0, MAX_LONG)
    raise TypeError(f"stream_offset must be str, int or datetime, not {type(value).__name__}")
