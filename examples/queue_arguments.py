"""
Queues with arguments: a quorum queue for work, a stream to read again, and what is refused before it is sent.

The names of both queues begin with the first argument.
"""

import os
import sys

from twisted.internet.task import react

import txpika
from txpika import ConsumerArguments, QueueArguments


async def main(reactor: object, prefix: str = "example") -> None:
    connection = await txpika.connect(os.environ.get("TXPIKA_URI", "amqp://localhost"), reactor)
    channel = await connection.channel()
    await channel.confirm_select()

    # Replicated work: at most 10,000 messages, each given to a consumer at most three times.
    work = QueueArguments(
        queue_type="quorum",
        max_length=10_000,
        overflow="reject-publish",
        delivery_limit=2,
        dead_letter_exchange="amq.fanout",
    )
    await channel.queue_declare(f"{prefix}-work", durable=True, arguments=work)

    # A log of events: a week of them, at most 10 GB.
    events = QueueArguments(queue_type="stream", max_age="7D", max_length_bytes=10_000_000_000)
    await channel.queue_declare(f"{prefix}-events", durable=True, arguments=events)
    for number in range(3):
        await channel.basic_publish("", f"{prefix}-events", b"event %d" % number)

    # Read it from the beginning. A stream requires a prefetch count and acknowledgements.
    await channel.basic_qos(prefetch_count=100)
    arguments = ConsumerArguments(stream_offset="first")
    async with await channel.basic_consume(f"{prefix}-events", arguments=arguments) as consumer:
        for _ in range(3):
            delivery = await consumer.__anext__()
            print(delivery.body.decode())
            delivery.ack()

    # RabbitMQ would close the channel for this one.
    try:
        QueueArguments(queue_type="stream", message_ttl=60_000)
    except ValueError as error:
        print(error)
    await connection.close()


react(main, sys.argv[1:])
