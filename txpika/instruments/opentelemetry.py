# -*- test-case-name: txpika.test.test_opentelemetry -*-
"""
Traces and metrics for OpenTelemetry. Needs C{txpika[opentelemetry]}, and in the program that reports them, an SDK:
without one it does nothing but pass on the context of whoever traces around it.

Owns which spans there are, and how a trace crosses the broker: in the headers of messages, by the propagators that
C{opentelemetry.propagate} is set to (C{traceparent} of W3C Trace Context by default). Names are in
L{txpika.instruments.conventions}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"txpika.instruments.opentelemetry needs what 'pip install txpika[opentelemetry]' installs ({error})",
        name=error.name,
    ) from None

from txpika._version import __version__
from txpika.events import Arrival, Instrument, ObservedConnection, Publication, arrival_of
from txpika.exceptions import DecodeError
from txpika.instruments import conventions as names
from txpika.spec import BasicProperties

if TYPE_CHECKING:
    from txpika.events import PublishOutcome, Settlement
    from txpika.message import Delivery

#: Names a destination such that there are few such names: given exchange and routing key, C{None} for none.
Template = Callable[[str, str], str | None]

Attributes = dict[str, str | int]


class _Headers(Getter[Mapping[str, Any]]):
    """Reads a propagator's fields from the headers of a message; what is no text is not there."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return list(carrier)


_HEADERS = _Headers()


class _Processing:
    """
    The trace of one arrival.

    @ivar remote: The context that its publisher sent along; empty when it sent none.
    @ivar links: To the publisher's span, if it is known.
    @ivar parent: The context in which spans about it begin, as long as it is not processed.
    @ivar context: That of its processing, once this has begun; C{parent} before.
    @ivar span: Of its processing.
    """

    __slots__ = ("context", "links", "parent", "remote", "span")

    def __init__(self, arrival: Arrival, continue_trace: bool) -> None:
        try:
            headers = arrival.properties.headers or {}
        except DecodeError:
            headers = {}
        # Not into the current context: that is of whoever connected, or of another delivery.
        self.remote = propagate.extract(headers, Context(), _HEADERS)
        sender = trace.get_current_span(self.remote).get_span_context()
        self.links = [Link(sender)] if sender.is_valid else []
        self.parent = self.context = self.remote if continue_trace else Context()
        self.span: Span = trace.INVALID_SPAN


class OpenTelemetryInstrument(Instrument):
    """
    Traces the messages of all connections that have it as their C{instrument}::

        tracing = OpenTelemetryInstrument()
        connection = await txpika.connect(uri, instrument=tracing)

    A publish is a span from the call to its outcome, whose context goes along in a copy of the message's headers. A
    consumer's function runs inside a span that continues that trace, as does all that it awaits. To be the same for a
    consumer that is iterated over, or for C{basic_get}, use L{processing}. Each ack, nack and reject is a span of its
    own, and so is a successful C{basic_get}.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        *,
        continue_trace: bool = True,
        template: Template | None = None,
        body_size: bool = False,
    ) -> None:
        """
        @param tracer_provider: By default the one that C{opentelemetry.trace} is set to.
        @param meter_provider: By default the one that C{opentelemetry.metrics} is set to.
        @param continue_trace: The span of a consumer is a child of the publisher's; else it begins a trace of its own,
            with a link to that.
        @param template: Makes of exchange and routing key a destination of which there are few, e.g. C{"orders.*"} of
            C{"orders.4711"}: for the names of spans, and as an attribute of metrics.
        @param body_size: Whether spans tell the size of the message's body.
        """
        self._tracer = trace.get_tracer("txpika", __version__, tracer_provider)
        meter = metrics.get_meter("txpika", __version__, meter_provider)
        self._continue_trace = continue_trace
        self._template = template
        self._body_size = body_size
        self._sent = meter.create_counter(
            names.SENT_MESSAGES, "{message}", "Number of messages producer attempted to send to the broker."
        )
        self._consumed = meter.create_counter(
            names.CONSUMED_MESSAGES, "{message}", "Number of messages that were delivered to the application."
        )
        self._operations = meter.create_histogram(
            names.OPERATION_DURATION,
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )
        self._processing = meter.create_histogram(
            names.PROCESS_DURATION,
            "s",
            "Duration of processing operation.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )

    # Publishing

    def published(self, publication: Publication) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        attributes = self._attributes(
            publication.connection,
            names.PUBLISH,
            names.TYPE_SEND,
            publication,
            (publication.exchange, publication.routing_key),
        )
        span = self._tracer.start_span(self._name(names.PUBLISH, attributes), None, SpanKind.PRODUCER, attributes)
        publication.notes[self] = span
        carrier: dict[str, str] = {}
        propagate.inject(carrier, _with_span(span, contexts.get_current()))
        if carrier:
            # What is no table of headers stays as it is: the engine refuses it, or the consumer finds out.
            with suppress(DecodeError, TypeError, ValueError):  # for no table CPython has the second, PyPy the third
                publication.properties = with_headers(publication.properties, carrier)

    def outcome(
        self, publication: Publication, outcome: PublishOutcome, seconds: float, error: BaseException | None
    ) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        _end(publication.notes.get(self, trace.INVALID_SPAN), error)
        measured = self._measured(publication.connection, names.PUBLISH, publication, error)
        self._operations.record(seconds, measured)
        if outcome != "not sent":
            self._sent.add(1, measured)

    # Consuming

    def delivered(self, arrival: Arrival) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        connection = arrival.source.connection
        if arrival.waited is None:
            self._consumed.add(1, self._measured(connection, names.DELIVER, arrival, None))
            return
        processing = self._of(arrival)
        attributes = self._arrival_attributes(arrival, names.RECEIVE, names.TYPE_RECEIVE)
        now = time_ns()
        self._tracer.start_span(
            self._name(names.RECEIVE, attributes),
            None,
            SpanKind.CLIENT,
            attributes,
            processing.links,
            now - int(arrival.waited * 1e9),
        ).end(now)
        measured = self._measured(connection, names.RECEIVE, arrival, None)
        self._operations.record(arrival.waited, measured)
        self._consumed.add(1, measured)

    def handling(self, arrival: Arrival) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        contexts.attach(self._begin(arrival))  # and never detached: the function's context ends with the function

    def handled(self, arrival: Arrival, seconds: float, error: BaseException | None) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        span = self._of(arrival).span
        if error is not None and span.is_recording():
            span.record_exception(error)
        _end(span, error)
        self._processing.record(seconds, self._measured(arrival.source.connection, names.PROCESS, arrival, error))

    @contextmanager
    def processing(self, delivery: Delivery) -> Iterator[Span]:
        """
        What a consumer with a function has by itself, for one without, and for C{basic_get}::

            async for delivery in await channel.basic_consume("work"):
                with tracing.processing(delivery):
                    await work(delivery)
                    delivery.ack()

        @return: A context manager, inside of which the span of this delivery is the current one; it gives the span.
        """
        arrival = arrival_of(delivery)
        token = contexts.attach(self._begin(arrival))
        since = monotonic()
        failed: BaseException | None = None
        try:
            yield self._of(arrival).span
        except BaseException as error:
            failed = error
            raise
        finally:
            self.handled(arrival, monotonic() - since, failed)
            contexts.detach(token)

    def settled(self, arrival: Arrival, how: Settlement, requeue: bool, seconds: float) -> None:
        """See L{txpika.interfaces.IInstrument}."""
        processing = self._of(arrival)
        attributes = self._arrival_attributes(arrival, how, names.TYPE_SETTLE)
        name = self._name(how, attributes)
        self._tracer.start_span(name, processing.context, SpanKind.CLIENT, attributes, processing.links).end()

    def _of(self, arrival: Arrival) -> _Processing:
        processing: _Processing | None = arrival.notes.get(self)
        if processing is None:
            processing = arrival.notes[self] = _Processing(arrival, self._continue_trace)
        return processing

    def _begin(self, arrival: Arrival) -> Context:
        """@return: The context to process it in."""
        processing = self._of(arrival)
        attributes = self._arrival_attributes(arrival, names.PROCESS, names.TYPE_PROCESS)
        processing.span = self._tracer.start_span(
            self._name(names.PROCESS, attributes),
            processing.parent,
            SpanKind.CONSUMER,
            attributes,
            processing.links,
        )
        processing.context = _with_span(processing.span, processing.remote)
        return processing.context

    # Attributes

    def _name(self, operation: str, attributes: Attributes) -> str:
        """@return: The name of a span."""
        return f"{operation} {attributes.get(names.DESTINATION_TEMPLATE) or attributes[names.DESTINATION_NAME]}"

    def _attributes(
        self,
        connection: ObservedConnection | None,
        operation: str,
        kind: str,
        message: Publication | Arrival,
        destination: tuple[str, ...],
    ) -> Attributes:
        """@return: The attributes of a span."""
        attributes = self._measured(connection, operation, message, None)
        attributes[names.OPERATION_TYPE] = kind
        attributes[names.DESTINATION_NAME] = _text(names.destination(*destination))
        if message.routing_key:
            attributes[names.ROUTING_KEY] = _text(message.routing_key)
        if connection is not None and connection.peer is not None:
            attributes[names.PEER_ADDRESS], attributes[names.PEER_PORT] = connection.peer
        if self._body_size:
            attributes[names.BODY_SIZE] = message.size
        properties = message.properties
        if properties is not None:
            # A publisher's bytes may make no sense: the program will see for itself.
            with suppress(DecodeError):
                for name, value in (
                    (names.MESSAGE_ID, properties.message_id),
                    (names.CONVERSATION_ID, properties.correlation_id),
                ):
                    if value and isinstance(value, str):
                        attributes[name] = _text(value)
        return attributes

    def _arrival_attributes(self, arrival: Arrival, operation: str, kind: str) -> Attributes:
        source = arrival.source
        parts = (arrival.exchange, arrival.routing_key, source.queue)
        attributes = self._attributes(source.connection, operation, kind, arrival, parts)
        attributes[names.DELIVERY_TAG] = arrival.delivery_tag
        return attributes

    def _measured(
        self,
        connection: ObservedConnection | None,
        operation: str,
        message: Publication | Arrival,
        error: BaseException | None,
    ) -> Attributes:
        """@return: The attributes that have few values, for metrics."""
        attributes: Attributes = {names.SYSTEM: names.RABBITMQ, names.OPERATION_NAME: operation}
        if connection is not None:
            attributes[names.SERVER_ADDRESS] = connection.host
            attributes[names.SERVER_PORT] = connection.port
        if self._template is not None:
            template = self._template(message.exchange, message.routing_key)
            if template:
                attributes[names.DESTINATION_TEMPLATE] = template
        if error is not None:
            attributes[names.ERROR_TYPE] = names.error_type(error)
        return attributes


def with_headers(properties: BasicProperties | None, headers: Mapping[str, str]) -> BasicProperties:
    """
    @return: A copy of C{properties} with these headers too. What was given is not changed, nor is its table of headers.
    """
    changed = BasicProperties() if properties is None else copy(properties)
    changed.headers = {**(changed.headers or {}), **headers}
    return changed


def _with_span(span: Span, context: Context) -> Context:
    """@return: C{context} with that span as its current one; as it is when there is none, for want of an SDK."""
    return trace.set_span_in_context(span, context) if span.get_span_context().is_valid else context


def _text(text: str) -> str:
    """@return: C{text}, if it can be exported: what a peer sent may be no UTF-8, and would spoil a whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None and span.is_recording():
        span.set_attribute(names.ERROR_TYPE, names.error_type(error))
        span.set_status(Status(StatusCode.ERROR, _text(str(error))))
    span.end()
