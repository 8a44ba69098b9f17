"""
Tests of a program on C{AMQPService}, without a broker and without waiting: the network fails when a test says so, and
time passes when it says so.
"""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.testing import MemoryNetwork


class Greeter:
    """The code under test: greets whoever comes."""

    def __init__(self, service: txpika.AMQPService) -> None:
        self.service = service
        self.greeted: list[str] = []

    async def begin(self) -> None:
        channel = await self.service.channel()
        await channel.queue_declare("guests", durable=True)
        await channel.basic_consume("guests", self.greet, ack="on-success")

    def greet(self, guest: txpika.Delivery) -> None:
        self.greeted.append(guest.body.decode())


class GreeterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.service = txpika.AMQPService(reactor=self.network.clock, endpoint=self.network.endpoint())
        self.greeter = Greeter(self.service)

    def arrives(self, guest: bytes) -> None:
        channel = self.network.channel()
        self.network.result_of(channel.basic_publish("", "guests", guest))
        self.network.result_of(channel.connection.close())

    def test_greets_also_after_an_outage(self) -> None:
        self.service.startService()
        self.network.result_of(self.greeter.begin())
        self.arrives(b"Ada")
        self.network.cut()
        self.arrives(b"Grace")
        self.assertEqual(self.greeter.greeted, ["Ada"])
        self.network.advance(1)
        self.assertEqual(self.greeter.greeted, ["Ada", "Grace"])

    def test_begins_when_there_is_a_broker(self) -> None:
        self.network.reachable = False
        self.service.startService()
        beginning = Deferred.fromCoroutine(self.greeter.begin())
        self.network.advance(60)
        self.assertNoResult(beginning)
        self.network.reachable = True
        self.network.advance(30)
        self.successResultOf(beginning)

    def tearDown(self) -> None:
        self.network.result_of(self.service.stopService())
        self.assertEqual(self.network.clock.getDelayedCalls(), [])
