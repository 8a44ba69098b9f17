"""
Ask C{rpc_server.py} for squares, one and then many at once.

The queue is named by the first argument. When nobody serves it, this fails at once if the queue does not exist, and
after five seconds if it does.
"""

import os
import sys

from twisted.internet.defer import gatherResults
from twisted.internet.task import react

import txpika
from txpika.exceptions import CallTimeout, ReturnedError


async def main(reactor: object, queue: str = "squares") -> None:
    connection = await txpika.connect(os.environ.get("TXPIKA_URI", "amqp://localhost"), reactor)
    channel = await connection.channel()
    rpc = await channel.rpc_client()
    try:
        reply = await rpc.call("", queue, b"seven", timeout=5)
    except ReturnedError as error:
        print(f"{error.message.reply_text}: there is no queue {queue}")
    except CallTimeout:
        print("nobody answers")
    else:
        print(f"{reply.properties.type}: {reply.body.decode()}")
        replies = await gatherResults([rpc.call("", queue, b"%d" % number, timeout=5) for number in range(10)])
        print(*(reply.body.decode() for reply in replies))
    await connection.close()


react(main, sys.argv[1:])
