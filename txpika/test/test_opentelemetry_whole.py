"""Tests for traces in whole programs: without an SDK, without the API, and across a real RabbitMQ."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

import txpika
from txpika.instruments.opentelemetry import OpenTelemetryInstrument
from txpika.message import Delivery
from txpika.test import broker
from txpika.test.test_opentelemetry import PARENT, attributes, ids

#: A new interpreter finds txpika where this one does.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])}


class WithoutTests(SynchronousTestCase):
    """Without an SDK, and without the API."""

    def run_python(self, program: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True)

    def test_without_an_sdk_nothing_is_sent_along_unless_somebody_traces(self) -> None:
        program = (
            "import sys\n"
            "sys.modules['opentelemetry.sdk'] = None\n"
            "from opentelemetry import context, propagate\n"
            "from txpika.instruments.opentelemetry import OpenTelemetryInstrument\n"
            "from txpika.test.fakes import TwistedPeer\n"
            "from txpika import BasicProperties\n"
            "peer = TwistedPeer(instrument=OpenTelemetryInstrument()).open()\n"
            "channel = peer.open_face()\n"
            "def headers():\n"
            "    channel.basic_publish('', 'q', b'')\n"
            "    (sent,) = (payload for kind, _, payload in peer.frames() if kind == 2)\n"
            "    return BasicProperties.from_wire(sent[12:]).headers\n"
            "print(headers())\n"
            f"context.attach(propagate.extract({{'traceparent': '{PARENT}'}}))\n"
            "print(headers())\n"
        )
        done = self.run_python(program)
        self.assertEqual((done.stdout, done.stderr), (f"None\n{ ({'traceparent': PARENT}) }\n", ""))

    def test_one_line_names_the_extra(self) -> None:
        done = self.run_python(
            "import sys; sys.modules['opentelemetry'] = None; import txpika.instruments.opentelemetry"
        )
        self.assertEqual(done.returncode, 1)
        last = done.stderr.splitlines()[-1]
        self.assertTrue(last.startswith("ModuleNotFoundError: "), last)
        self.assertIn("pip install txpika[opentelemetry]", last)
        self.assertNotIn("During handling", done.stderr)


class LiveTests(TestCase):
    """Against a real RabbitMQ."""

    timeout = 60

    async def test_a_trace_crosses_the_broker(self) -> None:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        instrument = OpenTelemetryInstrument(provider, MeterProvider(shutdown_on_exit=False))
        connection = await txpika.connect(broker.require_broker(), instrument=instrument)
        self.addCleanup(connection.close)
        channel = await connection.channel()
        queue = (await channel.queue_declare(f"test-{uuid.uuid4().hex}", exclusive=True)).queue
        await channel.confirm_select()
        done: Deferred[None] = Deferred()

        async def on_delivery(delivery: Delivery) -> None:
            delivery.ack()
            if delivery.body == b"first":
                await channel.basic_publish("", queue, b"second")
            else:
                done.callback(None)

        await channel.basic_consume(queue, on_delivery)
        with provider.get_tracer("test").start_as_current_span("request") as request:
            await channel.basic_publish("", queue, b"first")
        await done
        await connection.close()
        spans = exporter.get_finished_spans()
        self.assertEqual({ids(span)[0] for span in spans}, {request.get_span_context().trace_id})
        by_id = {ids(span)[1]: span for span in spans}

        def path(span: ReadableSpan) -> list[str]:
            above = [] if span.parent is None else path(by_id[span.parent.span_id])
            return [*above, span.name.replace(queue, "q")]

        longest = max((path(span) for span in spans), key=len)
        self.assertEqual(longest, ["request", "publish q", "process q", "publish q", "process q", "ack q"])
        self.assertEqual(len(spans), 7)
        for span in spans:
            if span.name != "request":
                self.assertEqual(attributes(span)["network.peer.address"], "127.0.0.1")
                self.assertEqual(attributes(span)["network.peer.port"], connection.parameters.port)
