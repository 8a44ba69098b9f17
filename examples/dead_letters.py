"""
Try again later, three times: work that fails waits in a second queue, whose messages expire back into the first.

RabbitMQ counts the rounds in C{x-death}. The names of the queues begin with the first argument.
"""

import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika
from txpika import QueueArguments, x_death_count, x_first_death

ATTEMPTS = 3


async def main(reactor: object, prefix: str = "example", delay: str = "200") -> None:
    connection = await txpika.connect(os.environ.get("TXPIKA_URI", "amqp://localhost"), reactor)
    channel = await connection.channel()
    work, wait, parked = f"{prefix}-work", f"{prefix}-wait", f"{prefix}-parked"
    there = QueueArguments(dead_letter_exchange="", dead_letter_routing_key=wait)
    and_back = QueueArguments(message_ttl=int(delay), dead_letter_exchange="", dead_letter_routing_key=work)
    await channel.queue_declare(work, durable=True, arguments=there)
    await channel.queue_declare(wait, durable=True, arguments=and_back)
    await channel.queue_declare(parked, durable=True)
    await channel.confirm_select()
    done: Deferred[None] = Deferred()

    async def on_delivery(delivery: txpika.Delivery) -> None:
        failures = x_death_count(delivery.properties, queue=work, reason="rejected")
        print(f"attempt {failures + 1} at {delivery.body.decode()}")
        if failures + 1 < ATTEMPTS:
            delivery.reject()  # it comes again when its time in the other queue is over
            return
        # It leaves this queue only once it is safe where it is parked.
        await channel.basic_publish("", parked, delivery.body, delivery.properties, mandatory=True)
        delivery.ack()
        print(f"parked; it first died of {x_first_death(delivery.properties)}")
        done.callback(None)

    await channel.basic_consume(work, on_delivery)
    await channel.basic_publish("", work, b"a hopeless case")
    await done
    await connection.close()


react(main, sys.argv[1:])
