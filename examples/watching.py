"""
An instrument of your own: it says which messages did not arrive or took long, and how the connection ended.
"""

import os
from contextlib import suppress

from twisted.internet.task import react

import txpika
from txpika.events import ObservedConnection, Publication, PublishOutcome
from txpika.exceptions import CloseReason, ReturnedError


class Watch(txpika.Instrument):
    def outcome(
        self, publication: Publication, outcome: PublishOutcome, seconds: float, error: BaseException | None
    ) -> None:
        if error is not None or seconds > 1:
            print(f"{publication.routing_key}: {outcome} after {seconds:.3f} seconds")

    def disconnected(self, connection: ObservedConnection, reason: CloseReason, seconds: float) -> None:
        print(f"{connection.name}: {reason}")


async def main(reactor: object) -> None:
    parameters = txpika.parse_uri(os.environ.get("TXPIKA_URI", "amqp://localhost"))
    parameters.connection_name = "watched"
    connection = await txpika.connect(parameters, reactor, instrument=Watch())
    channel = await connection.channel()
    queue = (await channel.queue_declare(exclusive=True)).queue
    await channel.confirm_select()
    await channel.basic_publish("", queue, b"arrives", mandatory=True)
    with suppress(ReturnedError):
        await channel.basic_publish("", "nobody-listens", b"comes back", mandatory=True)
    await connection.close()


react(main)
