"""
Connect through a Twisted endpoint, here a unix socket that leads to a broker. Its path is the argument.
"""

import os
import sys

from twisted.internet.endpoints import clientFromString
from twisted.internet.task import react

import txpika


async def main(reactor: object, path: str) -> None:
    parameters = txpika.parse_uri(os.environ.get("TXPIKA_URI", "amqp://localhost"))
    endpoint = clientFromString(reactor, f"unix:{path}")
    connection = await txpika.connect(parameters, reactor, endpoint=endpoint)
    print("connected to", connection.server_properties["product"])
    await connection.close()


react(main, sys.argv[1:])
