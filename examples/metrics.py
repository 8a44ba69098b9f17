"""
Metrics for Prometheus, served at /metrics, while a message a second goes through a queue.

Needs txpika[prometheus]. The first argument is the port, 0 for any. Runs until it is interrupted.
"""

import os
import sys
from typing import Any

from prometheus_client import start_http_server
from twisted.internet.task import LoopingCall, react

import txpika
from txpika.instruments.prometheus import PrometheusInstrument


async def main(reactor: Any, port: str = "9100") -> None:
    server, _ = start_http_server(int(port), "127.0.0.1")
    uri = os.environ.get("TXPIKA_URI", "amqp://localhost")
    connection = await txpika.connect(uri, reactor, instrument=PrometheusInstrument())
    channel = await connection.channel()
    queue = (await channel.queue_declare(exclusive=True)).queue
    await channel.confirm_select()
    await channel.basic_consume(queue, lambda delivery: delivery.ack())
    publishing = LoopingCall(lambda: channel.basic_publish("", queue, b"tick"))
    publishing.clock = reactor
    print(f"http://127.0.0.1:{server.server_port}/metrics", flush=True)
    await publishing.start(1.0)


react(main, sys.argv[1:])
