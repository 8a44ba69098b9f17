"""
A broker by script, for tests of the engine without a socket: what it sends is written out, what it gets is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from txpika.adapters.callback import BaseConnection
from txpika.channel import Channel as Face
from txpika.consumer import Consumer
from txpika.core.channel import Channel
from txpika.core.connection import Connection
from txpika.exceptions import CloseReason, MessageTooLarge
from txpika.handling import OnDelivery
from txpika.message import Delivery, ReturnedMessage
from txpika.parameters import ConnectionParameters
from txpika.protocol import AMQPProtocol
from txpika.spec import Basic, Confirm, Method, decode_method
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods


def frame(kind: int, number: int, payload: bytes) -> bytes:
    """One frame, from the layout in section 4.2.3 of the specification."""
    return struct.pack(">BHI", kind, number, len(payload)) + payload + b"\xce"


def method(number: int, method: Method) -> bytes:
    """A method frame."""
    return frame(1, number, method.encode())


def content(number: int, method: Method, body: bytes, properties: bytes = b"\0\0", frame_max: int = 131072) -> bytes:
    """A method with a message: its header frame, and its body cut to the size of a frame."""
    step = frame_max - 8
    return b"".join(
        (
            frame(1, number, method.encode()),
            frame(2, number, struct.pack(">HHQ", 60, 0, len(body)) + properties),
            *(frame(3, number, body[start : start + step]) for start in range(0, len(body), step)),
        )
    )


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None
        self.events: list[str] = []
        self.reading = True

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        assert "lose" not in self.events, "written after loseConnection"
        self.data += data

    def loseConnection(self) -> None:
        assert self.producer is None, "loseConnection before unregisterProducer"
        self.events.append("lose")

    def abortConnection(self) -> None:
        self.events.append("abort")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def unregisterProducer(self) -> None:
        self.producer = None


class ChannelFace:
    """Keeps what a channel tells beside the results of calls."""

    def __init__(self, core: Channel) -> None:
        self.core = core
        self.messages: list[ReturnedMessage] = []
        self.errors: list[MessageTooLarge] = []
        self.flows: list[bool] = []
        self.reasons: list[CloseReason] = []

    def returned(self, message: ReturnedMessage) -> None:
        self.messages.append(message)

    def flow_changed(self, active: bool) -> None:
        self.flows.append(active)

    def dropped(self, error: MessageTooLarge) -> None:
        self.errors.append(error)

    def ended(self, reason: CloseReason) -> None:
        self.reasons.append(reason)


class RecordingConsumer:
    """Keeps deliveries, may ack them, and then does what C{then} says."""

    def __init__(self, no_ack: bool = False, acks: bool = False) -> None:
        self.then: Callable[[Delivery], None] = lambda delivery: None
        self.consumer_tag = ""
        self.no_ack = no_ack
        self.acks = acks
        self.deliveries: list[Delivery] = []
        self.ends: list[CloseReason | None] = []

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if self.acks:
            delivery.ack()
        self.then(delivery)

    def ended(self, reason: CloseReason | None) -> None:
        self.ends.append(reason)


class Peer:
    """
    An engine's connection, and the broker at its other end.

    @ivar one_by_one: Give the engine each byte alone.
    @cvar TRANSPORT: Makes what the engine writes to.
    """

    TRANSPORT: type[Transport] = Transport

    def __init__(self, parameters: ConnectionParameters | None = None, one_by_one: bool = False) -> None:
        self.clock = Clock()
        self.transport = self.TRANSPORT()
        self.events: list[Any] = []
        self.one_by_one = one_by_one
        self.connection = self.connect(parameters or ConnectionParameters(), self.transport)
        self.header = self.transport.data[:8]
        self._read = 8

    def connect(self, parameters: ConnectionParameters, transport: Any) -> Connection:
        """The engine."""
        connection = Connection(parameters, self.clock, self)
        connection.connection_made(transport)
        return connection

    # ConnectionListener
    def opened(self) -> None:
        self.events.append("opened")

    def blocked(self, reason: str) -> None:
        self.events.append(("blocked", reason))

    def unblocked(self) -> None:
        self.events.append("unblocked")

    def ended(self, reason: CloseReason) -> None:
        self.events.append(reason)

    # The broker
    def send(self, data: bytes) -> None:
        """Bytes of the broker, whole or one by one."""
        if self.one_by_one:
            for byte in data:
                self.connection.data_received(bytes((byte,)))
        else:
            self.connection.data_received(data)

    def send_each(self, reads: Iterable[bytes]) -> None:
        """One read after the other."""
        for data in reads:
            self.send(data)

    def frames(self) -> list[tuple[int, int, bytes]]:
        """What the client sent since the last call, cut into frames: kind, channel, payload."""
        frames = []
        data = self.transport.data
        while self._read < len(data):
            kind, number, size = struct.unpack_from(">BHI", data, self._read)
            start = self._read + 7
            assert data[start + size] == 0xCE
            frames.append((kind, number, data[start : start + size]))
            self._read = start + size + 1
        return frames

    def methods(self) -> list[Method]:
        """The methods among them."""
        return [decode_method(payload)[0] for kind, _, payload in self.frames() if kind == 1]

    def names(self) -> list[str]:
        """Their names."""
        return [each.NAME for each in self.methods()]

    def start(self) -> None:
        """Greet as RabbitMQ does."""
        self.send(method(0, ConnectionMethods.Start(0, 9, {"product": "RabbitMQ"}, b"AMQPLAIN PLAIN", b"en_US")))

    def tune(self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 60) -> None:
        """Propose limits."""
        self.send(method(0, ConnectionMethods.Tune(channel_max, frame_max, heartbeat)))

    def open(self, **limits: int) -> Self:
        """The whole handshake."""
        self.start()
        self.tune(**limits)
        self.send(method(0, ConnectionMethods.OpenOk()))
        self.frames()
        return self

    def channel(self) -> Channel:
        """One open channel."""
        channel = self.connection.open_channel(Deferred)
        channel.face = ChannelFace(channel)
        self.send(method(channel.number, ChannelMethods.OpenOk()))
        self.frames()
        return channel

    def consume(self, channel: Channel, consumer: RecordingConsumer) -> RecordingConsumer:
        """Start it."""
        channel.consumers.consume(consumer, "q")
        self.send(method(channel.number, Basic.ConsumeOk(consumer.consumer_tag)))
        self.frames()
        return consumer

    def lose(self) -> None:
        """The network is gone."""
        self.connection.connection_lost(ConnectionResetError("reset"))


def deliver(number: int, tag: str, delivery_tag: int, body: bytes, routing_key: str = "q") -> bytes:
    """C{basic.deliver} of a message."""
    return content(number, Basic.Deliver(tag, delivery_tag, False, "", routing_key), body)


class TwistedPeer(Peer):
    """
    The Twisted face of a connection, and the broker at its other end.

    @ivar protocol: The face.
    @ivar instrument: What it is made with.
    """

    def __init__(self, parameters: ConnectionParameters | None = None, instrument: Any = None) -> None:
        self.instrument = instrument
        super().__init__(parameters)

    def connect(self, parameters: ConnectionParameters, transport: Any) -> Connection:
        self.protocol = AMQPProtocol(parameters, self.clock, instrument=self.instrument)
        self.protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
        return self.protocol._core

    def open_face(self) -> Face:
        """One open channel, as a Twisted program knows it."""
        channels: list[Face] = []
        self.protocol.channel().addCallback(channels.append)
        self.send(method(self.methods_sent(ChannelMethods.Open)[-1], ChannelMethods.OpenOk()))
        return channels[0]

    def methods_sent(self, kind: type[Method]) -> list[int]:
        """Channels on which such a method was sent since the last look."""
        return [
            number for k, number, payload in self.frames() if k == 1 and isinstance(decode_method(payload)[0], kind)
        ]

    def consuming(self, channel: Face, on_delivery: OnDelivery | None = None, **more: Any) -> Consumer:
        """A consumer that the broker has agreed to; its tag is C{"t"}."""
        consumers: list[Consumer] = []
        more.setdefault("consumer_tag", "t")
        channel.basic_consume("q", on_delivery, **more).addCallback(consumers.append)
        self.send(method(channel.channel_number, Basic.ConsumeOk(more["consumer_tag"])))
        self.frames()
        return consumers[0]

    def confirming(self, channel: Face) -> None:
        """The channel is in confirm mode."""
        channel.confirm_select()
        self.send(method(channel.channel_number, Confirm.SelectOk()))
        self.frames()

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionResetError("reset")))


class JoinedPeer(TwistedPeer):
    """
    The same, where the protocol was made by somebody else, e.g. by an endpoint.
    """

    def __init__(self, outer: Any, clock: Clock) -> None:
        """
        @param outer: What has the transport: the protocol, or what an endpoint put around it.
        """
        self._outer = outer
        super().__init__()
        self.clock = clock

    def connect(self, parameters: ConnectionParameters, transport: Any) -> Connection:
        self._outer.makeConnection(transport)
        protocol = self._outer
        while not isinstance(protocol, AMQPProtocol):
            # An endpoint's, or C{ClientService}'s.
            protocol = getattr(protocol, "_wrappedProtocol", None) or protocol._protocol
        self.protocol = protocol
        return protocol._core

    def send(self, data: bytes) -> None:
        self._outer.dataReceived(data)

    def lose(self) -> None:
        self._outer.connectionLost(Failure(ConnectionResetError("reset")))


def deliveries(first: int, *bodies: bytes, tag: str = "t", number: int = 1, redelivered: bool = False) -> bytes:
    """One C{basic.deliver} after the other."""
    return b"".join(
        content(number, Basic.Deliver(tag, delivery_tag, redelivered, "", "q"), body)
        for delivery_tag, body in enumerate(bodies, first)
    )


class FakeConnection(BaseConnection):
    """
    A connection of the callback API on a clock and without a network.

    @ivar dialled: How often it was told to make a transport.
    @ivar stopped: How often it was told to give that up.
    @ivar unheard: Why it ended, when nobody listened.
    """

    def __init__(self, clock: Clock, *arguments: Any, **more: Any) -> None:
        self._clock = clock
        self.dialled = self.stopped = 0
        self.unheard: list[Exception] = []
        super().__init__(*arguments, **more)

    @property
    def clock(self) -> Clock:
        return self._clock

    def _dial(self) -> None:
        self.dialled += 1

    def _stop_dialling(self) -> None:
        self.stopped += 1

    def _unheard(self, reason: Exception) -> None:
        self.unheard.append(reason)


class CallbackPeer(Peer):
    """
    The callback face of a connection, and the broker at its other end.

    @ivar face: The face.
    @ivar told: What it told: C{"open"}, C{"closed"}, or why it could not be opened.
    """

    def __init__(self, parameters: ConnectionParameters | None = None, strategy: Any = None) -> None:
        self._strategy = strategy
        self.told: list[Any] = []
        super().__init__(parameters)

    def connect(self, parameters: ConnectionParameters, transport: Any) -> Connection:
        self.face = FakeConnection(
            self.clock,
            parameters,
            lambda connection: self._tell(connection, "open"),
            self._strategy,
            on_open_error_callback=self._tell,
            on_close_callback=lambda connection: self._tell(connection, "closed"),
        )
        self.face._transport_made(transport)
        return self.face._core

    def _tell(self, connection: FakeConnection, what: object) -> None:
        assert connection is self.face
        self.told.append(what)

    def again(self) -> Self:
        """The transport of another life."""
        self.transport = Transport()
        self.face._transport_made(self.transport)
        self.connection = self.face._core
        self._read = 8
        return self

    def open_channel(self, number: int | None = None) -> Any:
        """One open channel, as a program of callbacks knows it."""
        opened: list[Any] = []
        channel = self.face.channel(opened.append, number)
        assert not opened
        self.send(method(channel.channel_number, ChannelMethods.OpenOk()))
        assert opened == [channel]
        self.frames()
        return channel
