"""
A trace that crosses the broker, printed to the console: a request, the publish in it, and its processing elsewhere.

Needs txpika[opentelemetry], and opentelemetry-sdk to report what is traced.
"""

import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika
from txpika.instruments.opentelemetry import OpenTelemetryInstrument


async def main(reactor: object) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("example")

    uri = os.environ.get("TXPIKA_URI", "amqp://localhost")
    connection = await txpika.connect(uri, reactor, instrument=OpenTelemetryInstrument())
    channel = await connection.channel()
    queue = (await channel.queue_declare(exclusive=True)).queue
    await channel.confirm_select()
    done: Deferred[None] = Deferred()

    async def on_delivery(delivery: txpika.Delivery) -> None:
        with tracer.start_as_current_span("work"):
            delivery.ack()
        done.callback(None)

    await channel.basic_consume(queue, on_delivery)
    with tracer.start_as_current_span("request"):
        await channel.basic_publish("", queue, b"hello")
    await done
    await connection.close()


react(main)
