"""
The asynchronous program that pika's README had in 2011: it prints what arrives in the queue C{test}.

Only the import line differs. Interrupt it to end it.
"""

from typing import Any

import txpika as pika

channel: Any = None


def on_connected(connection: Any) -> None:
    global channel
    channel = connection.channel(on_channel_open)


def on_channel_open(_channel: Any) -> None:
    channel.queue_declare(queue="test", durable=True, exclusive=False, auto_delete=False, callback=on_queue_declared)


def on_queue_declared(frame: Any) -> None:
    channel.basic_consume(handle_delivery, queue="test")
    print("waiting for messages in", frame.method.queue, flush=True)


def handle_delivery(channel: Any, method: Any, header: Any, body: bytes) -> None:
    print("a message of type", header.content_type, "through", method.routing_key, body, flush=True)
    channel.basic_ack(delivery_tag=method.delivery_tag)


def on_closed(connection: Any) -> None:
    connection.ioloop.stop()


parameters = pika.ConnectionParameters("localhost")
connection = pika.SelectConnection(parameters, on_connected)
connection.add_on_close_callback(on_closed)
try:
    connection.ioloop.loop()
except KeyboardInterrupt:
    connection.close()
    connection.ioloop.loop()
