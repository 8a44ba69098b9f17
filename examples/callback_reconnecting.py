"""
Callbacks and a connection that reconnects: it consumes from a queue, and sends each message on in upper case.

Runs until it is interrupted. The queues are named by the first two arguments.
"""

import os
import sys
from typing import Any

import txpika


def on_open(connection: Any) -> None:
    """Called each time the connection is open, also after a reconnection."""
    channel = connection.channel()
    channel.add_on_close_callback(lambda code, text: print("channel closed:", code, text, flush=True))
    channel.add_on_return_callback(lambda frame, header, body: print("nobody wants", body, flush=True))
    # All of this is written in this order, and each call waits for the answers to those before it.
    channel.queue_declare(queue=sys.argv[1], durable=True)
    channel.queue_declare(queue=sys.argv[2], durable=True)
    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(on_message, sys.argv[1], callback=lambda frame: print("consuming", flush=True))


def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
    channel.basic_publish("", sys.argv[2], body.upper(), properties, mandatory=True)
    channel.basic_ack(method.delivery_tag)


def on_open_error(connection: Any, error: Exception) -> None:
    print("not connected:", error, flush=True)


def on_close(connection: Any) -> None:
    print("closed:", *connection.closing, flush=True)
    if connection.user_closed:
        connection.ioloop.stop()


connection = txpika.SelectConnection(
    os.environ.get("TXPIKA_URI", "amqp://localhost"),
    on_open,
    txpika.SimpleReconnectionStrategy(initial_retry_delay=0.1),
    on_open_error_callback=on_open_error,
    on_close_callback=on_close,
)
connection.set_backpressure_multiplier(1000)
connection.add_backpressure_callback(lambda: print("the network takes less than we give", flush=True))
try:
    connection.ioloop.start()
except KeyboardInterrupt:
    connection.close()
    connection.ioloop.start()
