"""
Answer each request with the square of a number.

Runs until it is interrupted; then it takes no more requests, and finishes those it is working on. The queue is named by
the first argument. A request that is not a number is answered with an error, and rejected.
"""

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import txpika


async def square(request: txpika.Delivery) -> bytes:
    number = int(request.body)
    return b"%d" % (number * number)


def sorry(request: txpika.Delivery, error: Exception) -> tuple[bytes, txpika.BasicProperties]:
    return str(error).encode(), txpika.BasicProperties(type="error")


async def main(reactor: Any, queue: str = "squares") -> None:
    connection = await txpika.connect(os.environ.get("TXPIKA_URI", "amqp://localhost"), reactor)
    channel = await connection.channel()
    # Requests whose requester has given up are useless: none waits here for more than a minute.
    await channel.queue_declare(queue, durable=True, arguments=txpika.QueueArguments(message_ttl=60_000))
    await channel.basic_qos(prefetch_count=20)
    server = await channel.rpc_server(queue, square, concurrency=10, error_reply=sorry)

    async def stop() -> None:
        await server.drain(deadline=10)
        await connection.close()

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    print("serving", flush=True)
    reason = await connection.closed
    if reason.initiator != "local":
        raise reason


react(main, sys.argv[1:])
