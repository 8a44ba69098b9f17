"""Tests for traces and metrics: what an exporter gets, and what crosses the broker."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.baggage import get_baggage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txpika import BasicProperties, ConnectionParameters
from txpika.consumer import Consumer
from txpika.instruments.conventions import destination
from txpika.instruments.opentelemetry import OpenTelemetryInstrument
from txpika.interfaces import IInstrument
from txpika.message import Delivery
from txpika.spec import Basic, Confirm
from txpika.test.fakes import TwistedPeer, content, method
from txpika.test.instruments import QUIET

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0xB7AD6B7169203331


def ids(span: trace.Span | ReadableSpan) -> tuple[int, int]:
    """Of its trace, and its own."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent_in(headers: Any) -> tuple[int, int]:
    """The same of the span that these headers name as the parent."""
    _, trace_id, span_id, _ = headers["traceparent"].split("-")
    return int(trace_id, 16), int(span_id, 16)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


class Traced(SynchronousTestCase):
    """An instrument that exports into memory, and a connection."""

    def setUp(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.provider.get_tracer("test")
        self.connect()

    def connect(self, parameters: ConnectionParameters = QUIET, **options: Any) -> None:
        self.instrument = OpenTelemetryInstrument(self.provider, self.meters, **options)
        self.peer = TwistedPeer(parameters, self.instrument).open(heartbeat=0)
        self.channel = self.peer.open_face()

    def confirming(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.frames()

    def consume(self, on_delivery: Any = None, **more: Any) -> Consumer:
        consuming = self.channel.basic_consume("work", on_delivery, consumer_tag="t", **more)
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        return self.successResultOf(consuming)

    def deliver(self, tag: int, headers: Any = None, exchange: str = "x", routing_key: str = "key") -> None:
        properties = BasicProperties(headers=headers)
        self.peer.send(content(1, Basic.Deliver("t", tag, False, exchange, routing_key), b"hi", properties.encode()))

    def spans(self) -> list[ReadableSpan]:
        """Those that ended since the last look."""
        spans = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return spans

    def span(self, name: str) -> ReadableSpan:
        """The one that ended since the last look and is called so."""
        (span,) = (span for span in self.spans() if span.name == name)
        return span

    def sent(self) -> BasicProperties:
        """Of the one message sent since the last look."""
        (header,) = (payload for kind, _, payload in self.peer.frames() if kind == 2)
        return BasicProperties.from_wire(header[12:])

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def counts(self, name: str) -> dict[tuple[Any, Any], Any]:
        """By operation and type of the error, how often; for a histogram, with the sum."""
        counts: dict[tuple[Any, Any], Any] = {}
        for point in self.points(name):
            key = (point.attributes.get("messaging.operation.name"), point.attributes.get("error.type"))
            if isinstance(point, NumberDataPoint):
                counts[key] = point.value
            else:
                assert isinstance(point, HistogramDataPoint)
                counts[key] = (point.count, point.sum)
        return counts


class PublishTests(Traced):
    """The span of a publish, and what it sends along."""

    def test_what_it_says(self) -> None:
        self.connect(ConnectionParameters("rabbit.example", 5673, heartbeat=0), body_size=True)
        properties = BasicProperties(message_id="m", correlation_id="c")
        self.channel.basic_publish("orders", "new", b"hello", properties)
        span = self.span("publish orders:new")
        self.assertEqual(span.kind, SpanKind.PRODUCER)
        self.assertIsNone(span.parent)
        self.assertEqual(
            attributes(span),
            {
                "messaging.system": "rabbitmq",
                "messaging.operation.name": "publish",
                "messaging.operation.type": "send",
                "messaging.destination.name": "orders:new",
                "messaging.rabbitmq.destination.routing_key": "new",
                "messaging.message.id": "m",
                "messaging.message.conversation_id": "c",
                "messaging.message.body.size": 5,
                "server.address": "rabbit.example",
                "server.port": 5673,
            },
        )
        self.assertEqual(span.status.status_code, StatusCode.UNSET)

    def test_it_ends_with_the_outcome(self) -> None:
        self.confirming()
        publish = self.channel.basic_publish("", "q", b"")
        self.assertEqual(self.spans(), [])
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(publish)
        self.assertEqual(self.span("publish q").status.status_code, StatusCode.UNSET)

    def test_a_failure(self) -> None:
        self.confirming()
        publish = self.channel.basic_publish("", "q", b"")
        self.peer.send(method(1, Basic.Nack(1)))
        error = self.failureResultOf(publish).value
        span = self.span("publish q")
        self.assertEqual((span.status.status_code, span.status.description), (StatusCode.ERROR, str(error)))
        self.assertEqual(attributes(span)["error.type"], "txpika.exceptions.NackError")

    def test_wrong_arguments(self) -> None:
        self.assertRaises(ValueError, self.channel.basic_publish, "", "k" * 256, b"")
        (span,) = self.spans()
        self.assertEqual(attributes(span)["error.type"], "ValueError")

    def test_its_context_goes_along_in_a_copy(self) -> None:
        headers = {"mine": 1}
        properties = BasicProperties(headers=headers, delivery_mode=2)
        with self.tracer.start_as_current_span("around") as around:
            self.channel.basic_publish("", "q", b"", properties)
        publish, _ = self.spans()
        assert publish.parent is not None
        self.assertEqual(publish.parent.span_id, around.get_span_context().span_id)
        sent = self.sent()
        assert sent.headers is not None
        self.assertEqual(parent_in(sent.headers), ids(publish))
        self.assertEqual(
            (list(sent.headers), sent.headers["mine"], sent.delivery_mode), (["mine", "traceparent"], 1, 2)
        )
        self.assertEqual(headers, {"mine": 1})
        self.assertEqual(properties, BasicProperties(headers={"mine": 1}, delivery_mode=2))

    def test_each_message_has_its_own(self) -> None:
        properties = BasicProperties(headers={"mine": 1})
        parents = set()
        for body_properties in (None, properties, properties):
            self.channel.basic_publish("", "q", b"", body_properties)
            parents.add(parent_in(self.sent().headers))
        self.assertEqual(len(parents), 3)

    def test_properties_that_cannot_be_read_are_sent_as_they_are(self) -> None:
        """As a program does that forwards what it got."""
        raw = b"\x20\x00\x00\x00\x00\xff"
        self.channel.basic_publish("", "q", b"", BasicProperties.from_wire(raw))
        self.assertEqual(self.sent().encode(), raw)
        headers: Any = "no table"
        self.assertRaises(TypeError, self.channel.basic_publish, "", "q", b"", BasicProperties(headers=headers))
        self.assertEqual(len(self.spans()), 2)

    def test_metrics(self) -> None:
        self.confirming()
        publishes = [self.channel.basic_publish("", "q", b"") for _ in range(3)]
        self.peer.clock.advance(0.5)
        self.peer.send(method(1, Basic.Ack(2, True)) + method(1, Basic.Nack(3)))
        self.failureResultOf(publishes[2])
        self.assertRaises(ValueError, self.channel.basic_publish, "", "k" * 256, b"")
        nacked = "txpika.exceptions.NackError"
        self.assertEqual(self.counts("messaging.client.sent.messages"), {("publish", None): 2, ("publish", nacked): 1})
        durations = {("publish", None): (2, 1.0), ("publish", nacked): (1, 0.5), ("publish", "ValueError"): (1, 0)}
        self.assertEqual(self.counts("messaging.client.operation.duration"), durations)
        point = self.points("messaging.client.operation.duration")[0]
        self.assertEqual(point.explicit_bounds[0], 0.005)
        self.assertNotIn("messaging.destination.name", point.attributes)

    def test_a_template_stands_for_many_destinations(self) -> None:
        self.connect(template=lambda exchange, key: "orders.*" if key.startswith("orders.") else None)
        self.channel.basic_publish("", "orders.4711", b"")
        self.channel.basic_publish("", "else", b"")
        one, other = self.spans()
        self.assertEqual((one.name, other.name), ("publish orders.*", "publish else"))
        self.assertEqual(attributes(one)["messaging.destination.template"], "orders.*")
        self.assertEqual(attributes(one)["messaging.destination.name"], "orders.4711")
        templates = {
            point.attributes.get("messaging.destination.template")
            for point in self.points("messaging.client.sent.messages")
        }
        self.assertEqual(templates, {"orders.*", None})

    def test_a_template_that_raises(self) -> None:
        def template(exchange: str, key: str) -> str:
            raise RuntimeError("of the program")

        self.connect(template=template)
        for _ in range(2):
            self.successResultOf(self.channel.basic_publish("", "q", b"x"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)  # published, outcome

    def test_destinations(self) -> None:
        for parts, name in (
            (("x", "key"), "x:key"),
            (("x", ""), "x"),
            (("", "q"), "q"),
            (("", ""), "amq.default"),
            (("x", "key", "q"), "x:key:q"),
            (("", "q", "q"), "q"),
            (("x", "", "q"), "x:q"),
        ):
            self.assertEqual(destination(*parts), name)


class ProcessTests(Traced):
    """The span around a function of a consumer."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[tuple[int, int]] = []

    def see(self) -> None:
        """Which span is current."""
        self.seen.append(ids(trace.get_current_span()))

    def of_process(self) -> list[tuple[int, int]]:
        return [ids(span) for span in self.spans() if span.name.startswith("process")]

    def test_what_it_says(self) -> None:
        verifyObject(IInstrument, self.instrument)
        self.consume(lambda delivery: None)
        self.deliver(1)
        span = self.span("process x:key:work")
        self.assertEqual((span.kind, span.parent, len(span.links)), (SpanKind.CONSUMER, None, 0))
        self.assertEqual(
            attributes(span),
            {
                "messaging.system": "rabbitmq",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": "x:key:work",
                "messaging.rabbitmq.destination.routing_key": "key",
                "messaging.rabbitmq.message.delivery_tag": 1,
                "server.address": "localhost",
                "server.port": 5672,
            },
        )

    def test_it_continues_the_publishers_trace(self) -> None:
        self.consume(lambda delivery: self.see())
        self.deliver(1, {"traceparent": PARENT, "baggage": "tenant=a"})
        span = self.span("process x:key:work")
        assert span.parent is not None
        self.assertEqual((ids(span)[0], span.parent.span_id), (TRACE_ID, SPAN_ID))
        self.assertEqual([link.context.span_id for link in span.links], [SPAN_ID])

    def test_or_only_links_to_it(self) -> None:
        self.connect(continue_trace=False)
        baggage: list[object] = []

        def on_delivery(delivery: Delivery) -> None:
            baggage.append(get_baggage("tenant"))
            delivery.ack()

        self.consume(on_delivery)
        self.deliver(1, {"traceparent": PARENT, "baggage": "tenant=a"})
        ack, process = self.spans()
        self.assertIsNone(process.parent)
        self.assertNotEqual(ids(process)[0], TRACE_ID)
        self.assertEqual([link.context.span_id for link in process.links], [SPAN_ID])
        self.assertEqual(baggage, ["a"])
        assert ack.parent is not None
        self.assertEqual((ids(ack)[0], ack.parent.span_id), ids(process))

    def test_headers_that_make_no_sense(self) -> None:
        self.consume(lambda delivery: self.see())
        for tag, headers in enumerate(({"traceparent": 5}, {"traceparent": "rubbish"}, {"traceparent": [PARENT]}), 1):
            self.deliver(tag, headers)
        self.peer.send(content(1, Basic.Deliver("t", 4, False, "", "q"), b"", b"\x20\x00\x00\x00\x00\xff"))
        spans = self.spans()
        self.assertEqual((len(spans), [span.parent for span in spans]), (4, [None] * 4))
        self.assertEqual(self.seen, [ids(span) for span in spans])

    def test_bytes_that_are_no_text_do_not_spoil_the_export(self) -> None:
        """Exporters encode in UTF-8, a whole batch at a time."""
        self.consume(lambda delivery: None)
        data = content(1, Basic.Deliver("t", 1, False, "x", "k!!"), b"", b"\x00\x80\x03m!!")
        self.peer.send(data.replace(b"!!", b"\xff\xfe"))
        (span,) = self.spans()
        self.assertEqual(attributes(span)["messaging.message.id"], "m??")
        for value in (span.name, *attributes(span).values()):
            str(value).encode()

    def test_plain(self) -> None:
        self.consume(lambda delivery: self.see())
        self.deliver(1)
        self.assertEqual(self.seen, self.of_process())
        self.assertFalse(trace.get_current_span().get_span_context().is_valid)

    def test_a_deferred(self) -> None:
        working: Deferred[None] = Deferred()

        def on_delivery(delivery: Delivery) -> Deferred[None]:
            self.see()
            return working

        self.consume(on_delivery)
        self.deliver(1)
        self.assertEqual(self.spans(), [])
        self.peer.clock.advance(3)
        working.callback(None)
        self.assertEqual(self.seen, self.of_process())
        self.assertEqual(self.counts("messaging.process.duration"), {("process", None): (1, 3)})

    def interleaved(self, on_delivery: Any, working: list[Deferred[None]]) -> None:
        """Two at once, which go on in the other order."""
        self.consume(on_delivery)
        self.deliver(1, {"traceparent": PARENT})
        self.deliver(2)
        self.assertFalse(trace.get_current_span().get_span_context().is_valid)
        working[1].callback(None)
        working[0].callback(None)
        second, first = self.of_process()
        self.assertEqual(self.seen, [first, second, second, first])

    def test_async(self) -> None:
        working: list[Deferred[None]] = []

        async def on_delivery(delivery: Delivery) -> None:
            self.see()
            working.append(Deferred())
            await working[-1]
            self.see()

        self.interleaved(on_delivery, working)

    def test_inline_callbacks(self) -> None:
        working: list[Deferred[None]] = []

        @inlineCallbacks
        def on_delivery(delivery: Delivery) -> Any:
            self.see()
            working.append(Deferred())
            yield working[-1]
            self.see()

        self.interleaved(on_delivery, working)

    def test_one_after_the_other_with_a_limit(self) -> None:
        """The turn of the second comes while the context of the first is current; they have nothing in common."""
        working: list[Deferred[None]] = []

        async def on_delivery(delivery: Delivery) -> None:
            working.append(Deferred())
            await working[-1]

        self.consume(on_delivery, concurrency=1)
        self.deliver(1)
        self.deliver(2)
        working[0].callback(None)
        working[1].callback(None)
        first, second = self.spans()
        self.assertEqual((first.parent, second.parent), (None, None))
        self.assertNotEqual(ids(first)[0], ids(second)[0])

    def test_what_is_published_inside_is_its_child(self) -> None:
        async def on_delivery(delivery: Delivery) -> None:
            await self.channel.basic_publish("", "next", b"")

        self.consume(on_delivery)
        self.deliver(1, {"traceparent": PARENT})
        publish, process = self.spans()
        assert publish.parent is not None
        self.assertEqual((publish.name, publish.parent.span_id), ("publish next", ids(process)[1]))
        self.assertEqual(parent_in(self.sent().headers), ids(publish))

    def test_a_connection_made_inside_a_span_leaves_deliveries_alone(self) -> None:
        with self.tracer.start_as_current_span("around"):
            self.consume(lambda delivery: self.see())
            self.deliver(1)
        process, _ = self.spans()
        self.assertIsNone(process.parent)

    def test_a_failure(self) -> None:
        def on_delivery(delivery: Delivery) -> None:
            raise RuntimeError("of the program")

        self.consume(on_delivery)
        self.deliver(1)
        self.flushLoggedErrors(RuntimeError)
        span = self.span("process x:key:work")
        self.assertEqual((span.status.status_code, span.status.description), (StatusCode.ERROR, "of the program"))
        self.assertEqual(attributes(span)["error.type"], "RuntimeError")
        (event,) = span.events
        self.assertEqual((event.name, dict(event.attributes or {})["exception.type"]), ("exception", "RuntimeError"))
        self.assertEqual(self.counts("messaging.process.duration"), {("process", "RuntimeError"): (1, 0)})


class SettleTests(Traced):
    """Acks, C{basic_get}, and consumers without a function."""

    def test_settling_inside(self) -> None:
        self.consume(lambda delivery: delivery.ack())
        self.deliver(1, {"traceparent": PARENT})
        ack, process = self.spans()
        assert ack.parent is not None
        self.assertEqual((ack.name, ack.kind, ack.parent.span_id), ("ack x:key:work", SpanKind.CLIENT, ids(process)[1]))
        self.assertEqual(
            [attributes(ack)[name] for name in ("messaging.operation.name", "messaging.operation.type")],
            ["ack", "settle"],
        )
        self.assertEqual(attributes(ack)["messaging.rabbitmq.message.delivery_tag"], 1)
        self.assertEqual([link.context.span_id for link in ack.links], [SPAN_ID])

    def test_settling_by_policy_and_afterwards(self) -> None:
        deliveries: list[Delivery] = []
        self.consume(deliveries.append)
        self.deliver(1)
        self.deliver(2)
        processes = self.spans()
        deliveries[0].nack()
        deliveries[1].reject()
        for process, settle, name in zip(processes, self.spans(), ("nack", "reject"), strict=True):
            assert settle.parent is not None
            self.assertEqual((settle.name, settle.parent.span_id), (f"{name} x:key:work", ids(process)[1]))

    def test_iteration(self) -> None:
        consumer = self.consume()
        self.deliver(1, {"traceparent": PARENT})

        async def take() -> None:
            delivery = await consumer.__anext__()
            with self.instrument.processing(delivery) as span:
                self.assertIs(trace.get_current_span(), span)
                delivery.ack()
            self.assertIsNot(trace.get_current_span(), span)

        self.successResultOf(Deferred.fromCoroutine(take()))
        ack, process = self.spans()
        assert ack.parent is not None and process.parent is not None
        self.assertEqual((process.name, process.parent.span_id), ("process x:key:work", SPAN_ID))
        self.assertEqual(ack.parent.span_id, ids(process)[1])
        self.assertEqual(list(self.counts("messaging.process.duration")), [("process", None)])

    def test_iteration_that_fails(self) -> None:
        consumer = self.consume()
        self.deliver(1)

        async def take() -> None:
            with self.instrument.processing(await consumer.__anext__()):
                raise RuntimeError("of the program")

        self.failureResultOf(Deferred.fromCoroutine(take()), RuntimeError)
        self.assertEqual(attributes(self.span("process x:key:work"))["error.type"], "RuntimeError")

    def test_settled_unprocessed(self) -> None:
        consumer = self.consume()
        self.deliver(1, {"traceparent": PARENT})
        self.successResultOf(Deferred.fromCoroutine(consumer.__anext__())).ack()
        (ack,) = self.spans()
        assert ack.parent is not None
        self.assertEqual((ids(ack)[0], ack.parent.span_id), (TRACE_ID, SPAN_ID))

    def test_get(self) -> None:
        got = self.channel.basic_get("work")
        self.peer.clock.advance(2)
        properties = BasicProperties(headers={"traceparent": PARENT}).encode()
        self.peer.send(content(1, Basic.GetOk(1, False, "", "work", 0), b"", properties))
        self.successResultOf(got)
        span = self.span("receive work")
        self.assertEqual((span.kind, [link.context.span_id for link in span.links]), (SpanKind.CLIENT, [SPAN_ID]))
        self.assertEqual(attributes(span)["messaging.operation.type"], "receive")
        assert span.start_time is not None and span.end_time is not None
        self.assertEqual(span.end_time - span.start_time, 2_000_000_000)
        self.assertEqual(self.counts("messaging.client.operation.duration"), {("receive", None): (1, 2)})

    def test_consumed(self) -> None:
        self.consume(lambda delivery: None, no_ack=True)
        for tag in (1, 2, 3):
            self.deliver(tag)
        self.assertEqual(self.counts("messaging.client.consumed.messages"), {("deliver", None): 3})

    def test_processing_on_a_connection_without_the_instrument(self) -> None:
        peer = TwistedPeer(QUIET).open(heartbeat=0)
        got = peer.open_face().basic_get("work")
        peer.send(content(1, Basic.GetOk(1, False, "x", "key", 0), b""))
        delivery = self.successResultOf(got)
        assert delivery is not None
        with self.instrument.processing(delivery):
            pass
        self.assertNotIn("server.address", attributes(self.span("process x:key")))
