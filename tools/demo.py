"""
What C{make demo} shows: messages through a broker, published with confirms and consumed with acks.

The broker's URI is in the environment, C{TXPIKA_URI} or C{TXPIKA_TEST_URI}, where a list of processes does not show its
password. Without one, the broker is txpika's own, in memory, in this process. Exits with status 0 when every message
came through, else with one line on standard error and status 1.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import react

import txpika
from txpika.exceptions import AMQPError

MESSAGES = 20_000
BODY_SIZE = 100  # bytes
WINDOW = 500  # messages waiting for their confirmation
PREFETCH = 500  # messages delivered ahead of their ack
UNUSED_FOR = 60_000  # milliseconds without a consumer after which the broker deletes the queue


def cpu_seconds() -> float:
    """@return: CPU time of this process so far, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Demo:
    """
    One run, and its counts.

    @ivar elsewhere: The broker is in another process.
    """

    queue: str
    bar: Any
    elsewhere: bool
    sent: int = 0
    confirmed: int = 0
    acked: int = 0
    received: set[bytes] = field(default_factory=set)
    finished: Deferred[None] = field(default_factory=Deferred)

    async def run(self, connection: txpika.AMQPProtocol) -> None:
        """Publish all and consume all; fail if the connection ends before that."""
        connection.closed.addCallback(self.connection_closed)
        consuming = await connection.channel()
        # Durable, yet soon gone when somebody ends this program midway.
        await consuming.queue_declare(self.queue, durable=True, arguments={"x-expires": UNUSED_FOR})
        try:
            await consuming.basic_qos(prefetch_count=PREFETCH)
            await consuming.basic_consume(self.queue, self.on_delivery)
            await self.publish_all(await connection.channel())
            await self.finished
        finally:
            if connection.is_open:
                await (await connection.channel()).queue_delete(self.queue)

    def connection_closed(self, reason: Exception) -> None:
        """Nothing more will come."""
        if not self.finished.called:
            self.finished.errback(reason)

    async def publish_all(self, channel: txpika.Channel) -> None:
        """Publish with confirms, a window of them outstanding."""
        await channel.confirm_select()
        properties = txpika.BasicProperties(delivery_mode=2)
        window = DeferredSemaphore(WINDOW)
        for number in range(MESSAGES):
            await window.acquire()
            self.sent += 1
            body = b"%0*d" % (BODY_SIZE, number)
            published = channel.basic_publish("", self.queue, body, properties)
            published.addCallback(self.on_confirmed).addErrback(self.on_refused)
            published.addBoth(lambda _: window.release())

    def on_confirmed(self, _: None) -> None:
        """The broker has taken one message."""
        self.confirmed += 1
        self.check()

    def on_refused(self, failure: Any) -> None:
        """The broker has refused one: there is no use in going on."""
        if not self.finished.called:
            self.finished.errback(failure)

    def on_delivery(self, delivery: txpika.Delivery) -> None:
        """One message came back."""
        self.received.add(delivery.body)
        delivery.ack()
        self.acked += 1
        self.bar.update()
        self.check()

    def check(self) -> None:
        """Done when all are confirmed and have come back."""
        if self.confirmed == MESSAGES == self.acked and not self.finished.called:
            self.finished.callback(None)

    def table(self, seconds: float, cpu: float) -> str:
        """@return: The result, for a reader."""
        rows: Mapping[str, str] = {
            "sent": f"{self.sent}",
            "confirmed": f"{self.confirmed}",
            "received": f"{len(self.received)}",
            "acked": f"{self.acked}",
            "lost": f"{self.confirmed - len(self.received)}",
            "seconds": f"{seconds:.2f}",
            "messages a second": f"{self.acked / seconds:.0f}",
            f"CPU a message, {'client only' if self.elsewhere else 'with broker'}": f"{cpu / MESSAGES * 1e6:.1f} us",
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}} {value}" for name, value in rows.items())


async def own_broker(reactor: Any) -> str:
    """@return: The URI of a broker in memory, which ends with this process."""
    from txpika.testing import BrokerFactory, MemoryBroker

    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(BrokerFactory(MemoryBroker(reactor)))
    reactor.addSystemEventTrigger("before", "shutdown", port.stopListening)
    return f"amqp://127.0.0.1:{port.getHost().port}"


async def main(reactor: Any) -> None:
    """Connect, run, report."""
    uri = os.environ.get("TXPIKA_URI") or os.environ.get("TXPIKA_TEST_URI")
    interrupted: list[bool] = []
    reactor.addSystemEventTrigger("before", "shutdown", interrupted.append, True)
    try:
        connection = await txpika.connect(uri or await own_broker(reactor), reactor)
        version = connection.server_properties.get("version", "of unknown version")
        broker = f"RabbitMQ {version}" if uri else "txpika's broker in memory"
        print(f"connected to {broker}: {MESSAGES} persistent messages of {BODY_SIZE} bytes")
        with tqdm(total=MESSAGES, unit="msg", disable=not sys.stderr.isatty(), leave=False) as bar:
            demo = Demo(f"txpika-demo-{uuid.uuid4().hex[:12]}", bar, bool(uri))
            started, cpu = time.monotonic(), cpu_seconds()
            await demo.run(connection)
            seconds, cpu = time.monotonic() - started, cpu_seconds() - cpu
        await connection.close()
    except (AMQPError, ValueError) as error:
        print(f"demo: {'interrupted' if interrupted else error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(demo.table(seconds, cpu))
    if demo.acked != MESSAGES or len(demo.received) != MESSAGES:
        raise SystemExit(1)


if __name__ == "__main__":
    react(main)
