"""
Tests of a consumer, without a broker: C{python -m twisted.trial test_worker.py}, in the folder of this file.

The consumer under test is an ordinary function for C{channel.basic_consume}. It sends what it makes of each order to
the next queue, and refuses what it does not understand.
"""

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.testing import connected_channel


async def bill(order: txpika.Delivery) -> None:
    """The code under test."""
    if not order.body.isdigit():
        order.reject()
        return
    await order.channel.basic_publish("", "bills", b"pay %d" % (2 * int(order.body)))
    order.ack()


class BillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network, self.channel = connected_channel()
        for queue in ("orders", "bills"):
            self.network.result_of(self.channel.queue_declare(queue))

    def order(self, body: bytes) -> None:
        self.network.result_of(self.channel.basic_publish("", "orders", body))

    def ready(self, queue: str) -> list[bytes]:
        return [message.body for message in self.network.broker.ready(queue)]

    def test_a_bill_for_each_order(self) -> None:
        self.network.result_of(self.channel.basic_consume("orders", bill))
        for body in (b"1", b"20"):
            self.order(body)
        self.network.pump()
        self.assertEqual(self.ready("bills"), [b"pay 2", b"pay 40"])
        self.assertEqual(self.network.broker.unacked("orders"), [])

    def test_what_is_no_order_is_refused(self) -> None:
        self.network.result_of(self.channel.basic_consume("orders", bill))
        self.order(b"nonsense")
        self.network.pump()
        self.assertEqual((self.ready("bills"), self.ready("orders")), ([], []))

    def test_an_order_survives_the_network(self) -> None:
        """One that was taken but not acknowledged when the connection was lost comes again."""
        self.network.result_of(self.channel.basic_consume("orders", lambda order: None))
        self.order(b"1")
        self.network.pump()
        self.network.cut()
        self.assertEqual(self.ready("orders"), [b"1"])
