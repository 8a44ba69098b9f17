"""
A connection that reconnects, each time with the password that is in a file at that moment.

Arguments: host and port of the broker, the user, and the file that somebody else keeps up to date.
"""

import sys
from pathlib import Path

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

import txpika


async def main(reactor: object, host: str, port: str, user: str, file: str) -> None:
    async def credentials() -> txpika.PlainCredentials:
        # Called at each attempt to connect. Blocking calls belong in a thread, not in the reactor.
        return txpika.PlainCredentials(user, (await deferToThread(Path(file).read_text)).strip())

    async def opened(connection: txpika.AMQPProtocol) -> None:
        await connection.channel()
        print("open", flush=True)

    parameters = txpika.ConnectionParameters(host, int(port), credentials=credentials)
    service = ClientService(
        txpika.BrokerEndpoint(parameters, reactor),
        txpika.AMQPFactory(parameters, reactor),
        prepareConnection=lambda connection: Deferred.fromCoroutine(opened(connection)),  # type: ignore[arg-type]
    )
    service.startService()
    await service.whenConnected(failAfterFailures=3)
    await Deferred[None]()


react(main, sys.argv[1:])
