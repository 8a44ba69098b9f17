# -*- test-case-name: txpika.test.test_instrumenting -*-
"""
Tell instruments what happens on a connection (L{txpika.interfaces.IInstrument}).

Owns the observed kinds of connection, channel, consumer and delivery, which L{txpika.protocol.AMQPProtocol} uses in
place of the plain ones when it is given an instrument. Without one, nothing here is ever called: the hot paths of the
engine and of the plain faces know nothing of instruments. Knows no particular instrument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.channel import Channel
from txpika.consumer import Consumer
from txpika.core.acks import Acks, SettlesNothing
from txpika.core.calls import HeldPublish
from txpika.core.connection import Connection
from txpika.core.consumers import REPLY_TO
from txpika.events import (
    Arrival,
    Instrument,
    ObservedConnection,
    Publication,
    PublishOutcome,
    Sample,
    Settlement,
    Source,
    Stopwatch,
)
from txpika.exceptions import AMQPError, CloseReason
from txpika.handling import Handler, OnDelivery, watch
from txpika.interfaces import Clock, IInstrument
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties

if TYPE_CHECKING:
    from txpika.core.channel import Channel as Core
    from txpika.core.listeners import ConnectionListener
    from txpika.protocol import AMQPProtocol

_BYTES = (bytes, bytearray, memoryview)


def _nobody(*_event: Any) -> None:
    """Takes an event that no instrument wants."""


class Instruments:
    """
    Any number of instruments as one. What one raises is logged once for each method, and does not reach the others.

    Each event is a callable attribute, with the arguments that L{IInstrument} names.

    @ivar opened: How many connections that share it have been opened.
    """

    _log = Logger()

    def __init__(self, instruments: Iterable[IInstrument]) -> None:
        """
        @raise TypeError: when one of them is not an L{IInstrument}.
        """
        self._instruments: tuple[Any, ...] = tuple(instruments)
        for each in self._instruments:
            if not IInstrument.providedBy(each):
                raise TypeError(f"instrument must provide IInstrument, {type(each).__name__} does not")
        self._complained: set[tuple[int, str]] = set()
        self.opened = 0
        self.connected = self._teller("connected")
        self.disconnected = self._teller("disconnected")
        self.blocked = self._teller("blocked")
        self.unblocked = self._teller("unblocked")
        self.published = self._teller("published")
        self.outcome = self._teller("outcome")
        self.delivered = self._teller("delivered")
        self.handling = self._teller("handling")
        self.handled = self._teller("handled")
        self.settled = self._teller("settled")

    def _teller(self, name: str) -> Callable[..., None]:
        """@return: What tells one kind of event to all that want it."""
        methods = [
            getattr(each, name)
            for each in self._instruments
            if getattr(type(each), name, None) is not getattr(Instrument, name)
        ]
        if not methods:
            return _nobody

        def tell(*event: Any) -> None:
            for method in methods:
                try:
                    method(*event)
                except Exception:
                    self._complain(method, name)

        return tell

    def _complain(self, method: Any, name: str) -> None:
        if (id(method), name) not in self._complained:
            self._complained.add((id(method), name))
            self._log.failure("Instrument method {method!r} raised; its failures are logged only once", method=method)


def instruments_of(instrument: Any) -> Instruments:
    """
    @param instrument: An L{IInstrument}, or several of them in an iterable.
    @return: All as one; C{instrument} itself when it is that already.
    @raise TypeError: when it is anything else.
    """
    if isinstance(instrument, Instruments):
        return instrument
    if IInstrument.providedBy(instrument) or not isinstance(instrument, Iterable):
        instrument = (instrument,)
    return Instruments(instrument)


class WatchedConnection(Connection):
    """
    The engine's connection, with a count of how long its transport takes no more.

    @ivar paused: Those stretches of time.
    """

    def __init__(self, parameters: ConnectionParameters, clock: Clock, listener: ConnectionListener) -> None:
        super().__init__(parameters, clock, listener)
        self.paused = Stopwatch()

    def pauseProducing(self) -> None:
        """The transport takes no more for now."""
        self.paused.start(self.clock.seconds())
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """It takes more."""
        self.paused.stop(self.clock.seconds())
        super().resumeProducing()


class Observer:
    """
    What one connection tells its instruments.

    @ivar core: The engine's connection, for the protocol to use.
    @ivar connection: What instruments see of it.
    @ivar told: The instruments.
    """

    def __init__(
        self, parameters: ConnectionParameters, clock: Clock, listener: ConnectionListener, told: Instruments
    ) -> None:
        self.core = WatchedConnection(parameters, clock, listener)
        self.connection = ObservedConnection(
            parameters.host, parameters.port, parameters.virtual_host, parameters.connection_name, self._sample
        )
        self.told = told
        self._clock = clock
        self._since = 0.0
        self._blocked = Stopwatch()

    def _sample(self) -> Sample:
        # Another thread may ask: everything read here is read in one step.
        core = self.core
        channels = list(core.channels.values())
        confirms = [channel.outbox.confirms for channel in channels]
        now = self._clock.seconds()
        return Sample(
            channels=len(channels),
            unconfirmed=sum(len(each.unconfirmed) for each in confirms if each is not None),
            unsettled=sum(len(channel.acks.unacked) for channel in channels),
            held_bytes=core.held,
            blocked=self._blocked.running,
            blocked_seconds=self._blocked.total(now),
            write_paused_seconds=core.paused.total(now),
            bytes_sent=core.wire.bytes_sent,
            bytes_received=core.wire.bytes_received,
        )

    def elapsed(self, since: float) -> float:
        """@return: Seconds since then; not below 0, as a clock may be set back."""
        return max(0.0, self._clock.seconds() - since)

    def seconds(self) -> float:
        """@return: Now."""
        return self._clock.seconds()

    def made(self, transport: Any) -> None:
        """There is a transport."""
        self._since = self._clock.seconds()
        peer = transport.getPeer() if hasattr(transport, "getPeer") else None
        host, port = getattr(peer, "host", None), getattr(peer, "port", None)
        if isinstance(host, str) and isinstance(port, int):
            self.connection.peer = (host, port)

    def opened(self) -> None:
        """The handshake is over."""
        handshake = self.elapsed(self._since)
        self._since = self._clock.seconds()
        self.connection.is_open = True
        self.connection.reconnects = self.told.opened
        self.told.opened += 1
        self.told.connected(self.connection, handshake)

    def blocked(self, reason: str) -> None:
        """The broker has a resource alarm."""
        self._blocked.start(self._clock.seconds())
        self.told.blocked(self.connection, reason)

    def unblocked(self) -> None:
        """The alarm is over."""
        if self._blocked.running:
            self.told.unblocked(self.connection, self._blocked.stop(self._clock.seconds()))

    def ended(self, reason: CloseReason) -> None:
        """The connection is gone."""
        self.unblocked()
        self.core.paused.stop(self._clock.seconds())
        was_open, self.connection.is_open = self.connection.is_open, False
        self.told.disconnected(self.connection, reason, self.elapsed(self._since) if was_open else 0.0)


class ObservedArrival(Arrival):
    """Takes the place of the channel in an observed delivery, which is settled through it."""

    __slots__ = ()
    source: ObservedSource

    @property
    def face(self) -> Channel:
        """The channel it came on, as its user sees it."""
        return self.source.channel

    def waits_for(self, delivery_tag: int) -> bool:
        """As L{Acks.waits_for}."""
        return self.source.acks.waits_for(delivery_tag)

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """As L{Acks.ack}."""
        self.source.acks.ack(delivery_tag, multiple)
        self.source.settled("ack", delivery_tag, multiple, False)

    def nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """As L{Acks.nack}."""
        self.source.acks.nack(delivery_tag, multiple, requeue)
        self.source.settled("nack", delivery_tag, multiple, requeue)

    def reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """As L{Acks.reject}."""
        self.source.acks.reject(delivery_tag, requeue)
        self.source.settled("reject", delivery_tag, False, requeue)


class ObservedReply(SettlesNothing, ObservedArrival):
    """The same for a direct reply."""

    __slots__ = ()


class ObservedSource(Source):
    """
    A consumer, or a C{basic_get}, whose deliveries instruments are told of.

    @ivar channel: Its channel.
    @ivar acks: What the channel acknowledged them with when this was made.
    @ivar following: Where the deliveries of a consumer go from here.
    """

    __slots__ = ("_observer", "acks", "channel", "following")

    def __init__(self, channel: ObservedChannel, observer: Observer, queue: str, no_ack: bool) -> None:
        super().__init__(observer.connection, channel.channel_number, queue, no_ack)
        self.channel = channel
        self.acks = channel.acks
        self._observer = observer
        self.following: Callable[[Delivery], None] = _nobody

    def deliver(self, delivery: Delivery) -> None:
        """A delivery for the consumer."""
        self.arrived(delivery)
        self.following(delivery)

    def arrived(self, delivery: Delivery, waited: float | None = None) -> None:
        """
        There is a delivery.

        @param waited: How long it took to get it, in seconds.
        """
        kind = ObservedReply if self.queue == REPLY_TO else ObservedArrival
        arrival = kind(self, delivery, self._observer.seconds(), waited)
        delivery._channel = arrival
        if not self.no_ack:
            self.channel.unsettled[arrival.delivery_tag] = arrival
        self._observer.told.delivered(arrival)

    def settled(self, how: Settlement, delivery_tag: int, multiple: bool, requeue: bool) -> None:
        """A delivery was settled; not told when the channel is on another connection by now, as it had no effect."""
        if self.acks is self.channel.acks:
            self.channel.settled(how, delivery_tag, multiple, requeue)


class ObservedConsumer(Consumer):
    """A consumer whose deliveries pass through its L{ObservedSource}, wherever they go next."""

    def __init__(
        self,
        source: ObservedSource,
        consumer_tag: str,
        handler: Handler | None,
        no_ack: bool,
        buffer_size: int,
        of_stream: bool,
    ) -> None:
        self._source = source
        super().__init__(source.channel, consumer_tag, handler, no_ack, buffer_size, of_stream)

    def observe(self, channel: ObservedChannel) -> None:
        """Its channel is on another connection."""
        before = self._source
        self._source = ObservedSource(channel, channel.observer, before.queue, before.no_ack)
        self._source.following = before.following

    @property
    def deliver(self) -> Callable[[Delivery], None]:
        """Where the channel puts its deliveries."""
        return self._source.deliver

    @deliver.setter
    def deliver(self, following: Callable[[Delivery], None]) -> None:
        self._source.following = following


class ObservedChannel(Channel):
    """
    A channel whose messages instruments are told of.

    @ivar unsettled: Deliveries by their tag, until they are settled.
    @ivar observer: That of its connection.
    """

    def __init__(self, channel: Core, connection: AMQPProtocol, observer: Observer) -> None:
        super().__init__(channel, connection)
        # Not a plain dictionary, which to find its first looks at the places of all that were before.
        self.unsettled: OrderedDict[int, Arrival] = OrderedDict()
        self.observe(observer)

    def observe(self, observer: Observer) -> None:
        """It is on the connection that C{observer} observes."""
        self.observer = observer
        self._told = observer.told

    @property
    def acks(self) -> Acks:
        """What acknowledges its deliveries, by their tags."""
        return self._core.acks

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
        *,
        timeout: float | None = None,
    ) -> Deferred[None]:
        """As L{Channel.basic_publish}."""
        observer = self.observer
        self._core.check_thread()
        content: Any = body
        if not (
            isinstance(exchange, str)
            and isinstance(routing_key, str)
            and isinstance(content, _BYTES)
            and (properties is None or isinstance(properties, BasicProperties))
        ):
            # A TypeError, and nothing to tell.
            return super().basic_publish(exchange, routing_key, body, properties, mandatory, timeout=timeout)
        size = content.nbytes if isinstance(content, memoryview) else len(content)
        publication = Publication(
            observer.connection,
            self.channel_number,
            exchange,
            routing_key,
            size,
            bool(mandatory),
            properties,
            observer.seconds(),
        )
        self._told.published(publication)
        try:
            done = super().basic_publish(
                exchange, routing_key, body, publication.properties, mandatory, timeout=timeout
            )
        except BaseException as error:
            self._outcome(publication, "not sent" if isinstance(error, ValueError | TypeError) else "unknown", error)
            raise
        held = None if done.called else self._core.outbox.latest_held()
        arguments = (publication, held)
        return done.addCallbacks(self._done, self._failed, callbackArgs=arguments, errbackArgs=arguments)

    def _done(self, _result: None, publication: Publication, _held: HeldPublish | None) -> None:
        self._outcome(publication, "written" if self._core.outbox.confirms is None else "acked", None)

    def _failed(self, failure: Failure, publication: Publication, held: HeldPublish | None) -> Failure:
        error = failure.value
        if isinstance(error, AMQPError):
            outcome: Any = error.outcome
        else:  # its Deferred was cancelled
            outcome = "unknown" if held is None or held.written else "not sent"
        self._outcome(publication, outcome, error)
        return failure

    def _outcome(self, publication: Publication, outcome: PublishOutcome, error: BaseException | None) -> None:
        self._told.outcome(publication, outcome, self.observer.elapsed(publication.since), error)

    # Consuming

    def _consumer(
        self, queue: str, consumer_tag: str, handler: Handler | None, no_ack: bool, buffer_size: int, of_stream: bool
    ) -> Consumer:
        if handler is not None:
            handler.function = partial(self._handle, handler.function)
        source = ObservedSource(self, self.observer, queue, no_ack)
        return ObservedConsumer(source, consumer_tag, handler, no_ack, buffer_size, of_stream)

    def _handle(self, function: OnDelivery, delivery: Delivery) -> object:
        # What an instrument sets in this context ends with it.
        return copy_context().run(self._handle_in_context, function, delivery)

    def _handle_in_context(self, function: OnDelivery, delivery: Delivery) -> Deferred[None] | None:
        arrival: Any = delivery._channel
        self._told.handling(arrival)
        since = self.observer.seconds()
        try:
            result = function(delivery)
        except BaseException as error:
            self._handled(arrival, since, error)
            raise
        if result is None:
            self._handled(arrival, since, None)
            return None
        finished: Deferred[None] = Deferred()

        def ended(failure: Failure | None, _delivery: Delivery) -> None:
            if failure is None:
                self._handled(arrival, since, None)
                finished.callback(None)
            else:
                self._handled(arrival, since, failure.value)
                finished.errback(failure)

        # A coroutine must begin to run in this context; Twisted lets it go on in the one in which it began.
        watch(result, ended, delivery)
        return finished

    def _handled(self, arrival: Arrival, since: float, error: BaseException | None) -> None:
        self._told.handled(arrival, self.observer.elapsed(since), error)

    def basic_get(self, queue: str, no_ack: bool = False, *, timeout: float | None = None) -> Deferred[Delivery | None]:
        """As L{Channel.basic_get}."""
        since = self.observer.seconds()

        def got(delivery: Delivery | None) -> Delivery | None:
            if delivery is not None:
                source = ObservedSource(self, self.observer, queue, no_ack)
                source.arrived(delivery, self.observer.elapsed(since))
            return delivery

        return super().basic_get(queue, no_ack, timeout=timeout).addCallback(got)

    # Settling

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """As L{Channel.basic_ack}."""
        super().basic_ack(delivery_tag, multiple)
        self.settled("ack", delivery_tag, multiple, False)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """As L{Channel.basic_nack}."""
        super().basic_nack(delivery_tag, multiple, requeue)
        self.settled("nack", delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """As L{Channel.basic_reject}."""
        super().basic_reject(delivery_tag, requeue)
        self.settled("reject", delivery_tag, False, requeue)

    def basic_recover(self, requeue: bool = True, *, timeout: float | None = None) -> Deferred[Basic.RecoverOk]:
        """As L{Channel.basic_recover}."""
        recovering = super().basic_recover(requeue, timeout=timeout)
        if self._core.acks.recovering:
            self.unsettled.clear()
        return recovering

    def settled(self, how: Settlement, delivery_tag: int, multiple: bool, requeue: bool) -> None:
        """Tell that deliveries were settled."""
        if not multiple:
            self._tell_settled(how, delivery_tag, requeue)
            return
        last = delivery_tag or self._core.acks.delivered
        tags = []
        for tag in self.unsettled:  # in the order of delivery
            if tag > last:
                break
            tags.append(tag)
        for tag in tags:
            self._tell_settled(how, tag, requeue)

    def _tell_settled(self, how: Settlement, delivery_tag: int, requeue: bool) -> None:
        arrival = self.unsettled.pop(delivery_tag, None)
        if arrival is not None:
            self._told.settled(arrival, how, requeue, self.observer.elapsed(arrival.since))

    # The end

    def ended(self, reason: CloseReason) -> None:
        """The engine's channel is closed: what is not settled never will be."""
        self.unsettled.clear()
        super().ended(reason)
