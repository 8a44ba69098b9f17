"""The broker in memory behind TCP: for txpika, and for another client."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

import txpika
from txpika.exceptions import ChannelClosed, ConnectionClosed
from txpika.testing import BrokerFactory, MemoryBroker


class ListeningTests(TestCase):
    """On a port of its own."""

    timeout = 60

    def setUp(self) -> Any:
        return Deferred.fromCoroutine(self.listen())

    async def listen(self) -> None:
        self.broker = MemoryBroker(reactor)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(BrokerFactory(self.broker))
        self.port: int = port.getHost().port
        self.uri = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        self.addCleanup(port.stopListening)
        self.addCleanup(self.broker.close)

    async def test_txpika(self) -> None:
        connection = await txpika.connect(self.uri)
        channel = await connection.channel()
        await channel.confirm_select()
        await channel.queue_declare("q")
        await channel.basic_qos(prefetch_count=50)
        body = b"x" * 300_000
        await channel.basic_publish("", "q", body)
        async with await channel.basic_consume("q") as consumer:
            async for delivery in consumer:
                self.assertEqual(delivery.body, body)
                delivery.ack()
                break
        with self.assertRaises(ChannelClosed):
            await channel.queue_declare("none", passive=True)
        await connection.close()
        self.assertEqual(list(self.broker.connections), [])

    async def test_closed_by_the_broker(self) -> None:
        connection = await txpika.connect(self.uri)
        self.broker.faults.close_connections()
        self.assertIsInstance(await connection.closed, ConnectionClosed)

    async def test_a_consumer_that_does_not_read(self) -> None:
        """What is for it waits in the queue, not in the broker's buffers."""
        connection, other = await txpika.connect(self.uri), await txpika.connect(self.uri)
        channel = await connection.channel()
        await channel.confirm_select()
        await channel.queue_declare("q")
        slow: Any = await other.channel()
        got: list[Any] = []
        full: Deferred[None] = Deferred()

        def on_delivery(delivery: Any) -> None:
            got.append(delivery)
            if len(got) == 400:
                full.callback(None)

        await slow.basic_consume("q", on_delivery, no_ack=True)
        other.transport.pauseProducing()  # type: ignore[union-attr]
        for _ in range(400):
            await channel.basic_publish("", "q", b"x" * 100_000)
        self.assertGreater(len(self.broker.ready("q")), 100)
        other.transport.resumeProducing()  # type: ignore[union-attr]
        await full
        self.assertEqual(self.broker.ready("q"), [])
        await connection.close()
        await other.close()

    async def test_pika(self) -> None:
        """Another client, as it is with RabbitMQ."""
        try:
            import pika
        except ImportError:
            raise SkipTest("pika is not installed") from None
        self.assertEqual(await deferToThread(with_pika, pika, self.port), EXPECTED)


#: What L{with_pika} saw.
EXPECTED: list[Any] = [
    ("declared", 0),
    "confirmed",
    ("unroutable", 1),
    ("got", b"hello", "text/plain", {"a": 1}),
    ("consumed", [b"0", b"1", b"2"]),
    ("redelivered", b"2", True),
    ("closed", 404, "NOT_FOUND - no queue 'none' in vhost '/'"),
    ("closed", 406, 50),
    ("cancelled", True),
    ("large", 1_000_000),
    ("ended", True),
]


def with_pika(pika: Any, port: int) -> list[Any]:
    """Publish, consume, confirm, and be refused."""
    seen: list[Any] = []
    parameters = pika.ConnectionParameters("127.0.0.1", port, credentials=pika.PlainCredentials("guest", "guest"))
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    seen.append(("declared", channel.queue_declare("q").method.message_count))
    channel.confirm_delivery()
    properties = pika.BasicProperties(content_type="text/plain", headers={"a": 1})
    channel.basic_publish("", "q", b"hello", properties, mandatory=True)
    seen.append("confirmed")
    try:
        channel.basic_publish("", "none", b"hello", mandatory=True)
    except pika.exceptions.UnroutableError as error:
        seen.append(("unroutable", len(error.messages)))
    _, got, body = channel.basic_get("q", auto_ack=True)
    seen.append(("got", body, got.content_type, got.headers))
    for number in range(3):
        channel.basic_publish("", "q", b"%d" % number)
    channel.basic_qos(prefetch_count=1)
    bodies = []
    for method, _, body in channel.consume("q", inactivity_timeout=10):
        bodies.append(body)
        if len(bodies) == 3:
            channel.basic_nack(method.delivery_tag, requeue=True)
            break
        channel.basic_ack(method.delivery_tag)
    channel.cancel()
    seen.append(("consumed", bodies))
    method, _, body = channel.basic_get("q", auto_ack=True)
    seen.append(("redelivered", body, method.redelivered))
    for declare, by in (({"queue": "none", "passive": True}, True), ({"queue": "q", "durable": True}, False)):
        try:
            connection.channel().queue_declare(**declare)
        except pika.exceptions.ChannelClosedByBroker as error:
            seen.append(("closed", error.reply_code, error.reply_text if by else 50))
    cancelled: list[bool] = []
    channel.add_on_cancel_callback(lambda method: cancelled.append(True))
    channel.basic_consume("q", lambda *_: None)
    connection.channel().queue_delete("q")
    while not cancelled:
        connection.process_data_events(1)
    seen.append(("cancelled", cancelled[0]))
    channel.queue_declare("large")
    channel.basic_publish("", "large", b"x" * 1_000_000)
    seen.append(("large", len(channel.basic_get("large", auto_ack=True)[2])))
    connection.close()
    seen.append(("ended", connection.is_closed))
    return seen
