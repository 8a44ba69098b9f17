"""
A program that never goes away: it takes orders from one queue, puts bills into another, and survives its broker.

Kill the broker, cut the network, restart either: it goes on. Interrupt it, and it finishes the work under way.
"""

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika


class Report(txpika.ServiceListener):
    """Prints what happens to the connection."""

    def state_changed(self, service: txpika.AMQPService, state: str, error: Exception | None) -> None:
        print(state, "" if error is None else error, flush=True)


async def main(reactor: Any) -> None:
    service = txpika.AMQPService(
        os.environ.get("TXPIKA_URI", "amqp://localhost"), reactor, listener=Report(), publish_wait=30
    )
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)  # an Application does so by itself
    service.startService()
    channel = await service.channel()
    await channel.queue_declare("orders", durable=True)
    await channel.queue_declare("bills", durable=True)
    await channel.confirm_select()
    await channel.basic_qos(prefetch_count=20)

    async def bill(order: txpika.Delivery) -> None:
        await channel.basic_publish("", "bills", b"bill for " + order.body, txpika.BasicProperties(delivery_mode=2))

    await channel.basic_consume("orders", bill, ack="on-success")
    print("taking orders", flush=True)
    await Deferred[None]()


react(main)
