"""
A consumer that reconnects: C{ClientService} makes the connections, and each one consumes anew.

Runs until it is interrupted. The queue is named by the first argument.
"""

import os
import sys
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika


def on_delivery(delivery: txpika.Delivery) -> None:
    print(delivery.body.decode(), flush=True)
    delivery.ack()


async def consume(connection: Any, queue: str) -> None:
    channel = await connection.channel()
    await channel.basic_qos(prefetch_count=100)
    await channel.queue_declare(queue, durable=True)
    consumer = await channel.basic_consume(queue, on_delivery)
    # When the broker ends it, because its queue was deleted, hang up, so that everything begins anew.
    consumer.closed.addCallback(lambda reason: connection.close())


async def prepare(connection: Any, queue: str) -> None:
    try:
        await consume(connection, queue)
    except BaseException:
        connection.abort()  # ClientService tries again with another one, and leaves this one to us
        raise


async def main(reactor: object, queue: str = "greetings") -> None:
    parameters = txpika.parse_uri(os.environ.get("TXPIKA_URI", "amqp://localhost"))
    service = ClientService(
        txpika.BrokerEndpoint(parameters, reactor),
        txpika.AMQPFactory(parameters, reactor),
        prepareConnection=lambda connection: Deferred.fromCoroutine(prepare(connection, queue)),
    )
    service.startService()
    await service.whenConnected(failAfterFailures=1)
    print("consuming", flush=True)
    await Deferred[None]()


react(main, sys.argv[1:])
