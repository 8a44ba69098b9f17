# -*- test-case-name: txpika.test.test_instrumenting -*-
"""
What an instrument is told about: a connection, a message going out, a message that came in.

Owns these records, and the instrument that does nothing. Knows no engine and no loop; the observer of a connection
fills them in. A record lives as long as what it describes. It keeps no message body, which may be large or secret.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zope.interface import implementer

from txpika.interfaces import IInstrument
from txpika.spec import BasicProperties

if TYPE_CHECKING:
    from txpika.exceptions import CloseReason
    from txpika.message import Delivery, Route

#: What became of a publish; L{IInstrument.outcome} explains each.
PublishOutcome = Literal["written", "acked", "nacked", "returned", "unknown", "not sent"]
PUBLISH_OUTCOMES: tuple[PublishOutcome, ...] = ("written", "acked", "nacked", "returned", "unknown", "not sent")

#: How a delivery was settled.
Settlement = Literal["ack", "nack", "reject"]


class Stopwatch:
    """The total of several stretches of time that do not overlap."""

    __slots__ = ("_since", "_total")

    def __init__(self) -> None:
        self._since: float | None = None
        self._total = 0.0

    @property
    def running(self) -> bool:
        """A stretch has begun and not ended."""
        return self._since is not None

    def start(self, now: float) -> None:
        """A stretch begins, unless one has."""
        if self._since is None:
            self._since = now

    def stop(self, now: float) -> float:
        """
        It ends.

        @return: How long it took, in seconds; 0.0 when none had begun.
        """
        since, self._since = self._since, None
        stretch = 0.0 if since is None else max(0.0, now - since)
        self._total += stretch
        return stretch

    def total(self, now: float) -> float:
        """@return: All stretches so far, including the one that is running, in seconds."""
        since = self._since
        return self._total + (0.0 if since is None else max(0.0, now - since))


class Sample(NamedTuple):
    """
    How a connection is right now.

    @ivar channels: Open channels.
    @ivar unconfirmed: Messages written in confirm mode and not yet confirmed.
    @ivar unsettled: Deliveries that wait for an ack, nack or reject.
    @ivar held_bytes: Bytes of messages that wait to be written.
    @ivar blocked: The broker takes no messages.
    @ivar blocked_seconds: How long it has taken none, in total, in seconds.
    @ivar write_paused_seconds: How long the transport has taken no more, in total, in seconds.
    @ivar bytes_sent: Total, in bytes.
    @ivar bytes_received: Total, in bytes.
    """

    channels: int
    unconfirmed: int
    unsettled: int
    held_bytes: int
    blocked: bool
    blocked_seconds: float
    write_paused_seconds: float
    bytes_sent: int
    bytes_received: int


class ObservedConnection:
    """
    One connection, as an instrument sees it.

    @ivar host: Name or address of the broker, from the parameters. With an endpoint of the program's own it may be
        neither: see C{peer}.
    @ivar port: Its TCP port, from the same place.
    @ivar virtual_host: The virtual host.
    @ivar name: The C{connection_name}; C{""} when it has none.
    @ivar peer: Address and port of the transport's other end; C{None} when it has none, as with a Unix socket.
    @ivar reconnects: How many connections of the same factory were open before this one.
    @ivar is_open: The handshake has succeeded, and the connection is not gone.
    @ivar sample: How it is right now, a L{Sample}. May be called from any thread.
    @ivar notes: Where an instrument keeps its own data, with itself as the key.
    """

    __slots__ = ("host", "is_open", "name", "notes", "peer", "port", "reconnects", "sample", "virtual_host")

    def __init__(self, host: str, port: int, virtual_host: str, name: str, sample: Callable[[], Sample]) -> None:
        self.host = host
        self.port = port
        self.virtual_host = virtual_host
        self.name = name
        self.sample = sample
        self.peer: tuple[str, int] | None = None
        self.reconnects = 0
        self.is_open = False
        self.notes: dict[object, Any] = {}

    def __repr__(self) -> str:
        return f"<ObservedConnection {self.name!r} to {self.host}:{self.port} virtual_host={self.virtual_host!r}>"


class Publication:
    """
    One message on its way out.

    @ivar connection: The L{ObservedConnection}.
    @ivar channel_number: That of its channel.
    @ivar exchange: The exchange it is published to.
    @ivar routing_key: Its routing key.
    @ivar size: Size of its body, in bytes.
    @ivar mandatory: It is returned if no queue takes it.
    @ivar properties: Its L{BasicProperties}, or C{None}. They may be the same for many messages, and are the
        program's: see L{IInstrument.published}.
    @ivar since: When it was published, in seconds of the connection's clock.
    """

    __slots__ = (
        "_notes",
        "channel_number",
        "connection",
        "exchange",
        "mandatory",
        "properties",
        "routing_key",
        "since",
        "size",
    )

    def __init__(
        self,
        connection: ObservedConnection,
        channel_number: int,
        exchange: str,
        routing_key: str,
        size: int,
        mandatory: bool,
        properties: BasicProperties | None,
        since: float,
    ) -> None:
        self.connection = connection
        self.channel_number = channel_number
        self.exchange = exchange
        self.routing_key = routing_key
        self.size = size
        self.mandatory = mandatory
        self.properties = properties
        self.since = since
        self._notes: dict[object, Any] | None = None

    @property
    def notes(self) -> dict[object, Any]:
        """Where an instrument keeps its own data, with itself as the key."""
        if self._notes is None:
            self._notes = {}
        return self._notes

    def __repr__(self) -> str:
        return (
            f"<Publication exchange={self.exchange!r} routing_key={self.routing_key!r}"
            f" body of {self.size} bytes, channel {self.channel_number}>"
        )


class Source:
    """
    Where deliveries come from: one consumer, or one C{basic_get}.

    @ivar connection: The L{ObservedConnection}; C{None} when it has no instruments.
    @ivar channel_number: That of the channel.
    @ivar queue: As the program named it; C{""} for the last one declared on the channel.
    @ivar no_ack: Deliveries need not be settled.
    """

    __slots__ = ("channel_number", "connection", "no_ack", "queue")

    def __init__(self, connection: ObservedConnection | None, channel_number: int, queue: str, no_ack: bool) -> None:
        self.connection = connection
        self.channel_number = channel_number
        self.queue = queue
        self.no_ack = no_ack


class Arrival:
    """
    One message that came in.

    @ivar source: The L{Source} it came from.
    @ivar consumer_tag: The consumer it is for; C{""} for C{basic_get}.
    @ivar delivery_tag: The broker's number for it on its channel.
    @ivar size: Size of its body, in bytes.
    @ivar since: When it arrived, in seconds of the connection's clock.
    @ivar waited: How long C{basic_get} took, in seconds; C{None} when it came for a consumer.
    """

    __slots__ = (
        "_notes",
        "_properties",
        "_raw_properties",
        "_route",
        "consumer_tag",
        "delivery_tag",
        "since",
        "size",
        "source",
        "waited",
    )

    def __init__(self, source: Source, delivery: Delivery, since: float, waited: float | None = None) -> None:
        self.source = source
        self.consumer_tag = delivery.consumer_tag
        self.delivery_tag = delivery.delivery_tag
        self.size = len(delivery.body)
        self.since = since
        self.waited = waited
        self._route: Route = delivery._route
        self._raw_properties = delivery._raw_properties
        self._properties: BasicProperties | None = None
        self._notes: dict[object, Any] | None = None

    @property
    def redelivered(self) -> bool:
        """Whether the broker delivered it before, to anyone."""
        return self._route[0]

    @property
    def exchange(self) -> str:
        """The exchange it was published to, C{""} for the default one."""
        return self._route[1]

    @property
    def routing_key(self) -> str:
        """The routing key it was published with."""
        return self._route[2]

    @property
    def properties(self) -> BasicProperties:
        """
        Its properties, separate from those of the delivery: changes here do not affect those.

        @raise DecodeError: by reading a property, when the publisher's bytes make no sense.
        """
        if self._properties is None:
            self._properties = BasicProperties.from_wire(self._raw_properties)
        return self._properties

    @property
    def notes(self) -> dict[object, Any]:
        """Where an instrument keeps its own data, with itself as the key."""
        if self._notes is None:
            self._notes = {}
        return self._notes

    def __repr__(self) -> str:
        return (
            f"<Arrival {self.delivery_tag} exchange={self.exchange!r} routing_key={self.routing_key!r}"
            f" queue={self.source.queue!r} body of {self.size} bytes>"
        )


def arrival_of(delivery: Delivery) -> Arrival:
    """
    @return: What the instruments of its connection were told about this delivery; without instruments, a record of the
        same kind without the queue.
    """
    channel = delivery._channel
    if isinstance(channel, Arrival):
        return channel
    return Arrival(Source(None, channel.face.channel_number, "", False), delivery, 0.0)


@implementer(IInstrument)
class Instrument:
    """
    Does nothing. Subclass it and override the methods you need; the others are never called.
    """

    def connected(self, connection: ObservedConnection, seconds: float) -> None:
        """See L{IInstrument.connected}."""

    def disconnected(self, connection: ObservedConnection, reason: CloseReason, seconds: float) -> None:
        """See L{IInstrument.disconnected}."""

    def blocked(self, connection: ObservedConnection, reason: str) -> None:
        """See L{IInstrument.blocked}."""

    def unblocked(self, connection: ObservedConnection, seconds: float) -> None:
        """See L{IInstrument.unblocked}."""

    def published(self, publication: Publication) -> None:
        """See L{IInstrument.published}."""

    def outcome(
        self, publication: Publication, outcome: PublishOutcome, seconds: float, error: BaseException | None
    ) -> None:
        """See L{IInstrument.outcome}."""

    def delivered(self, arrival: Arrival) -> None:
        """See L{IInstrument.delivered}."""

    def handling(self, arrival: Arrival) -> None:
        """See L{IInstrument.handling}."""

    def handled(self, arrival: Arrival, seconds: float, error: BaseException | None) -> None:
        """See L{IInstrument.handled}."""

    def settled(self, arrival: Arrival, how: Settlement, requeue: bool, seconds: float) -> None:
        """See L{IInstrument.settled}."""
