"""The functional tests pika had in 2011, by their names, against a real RabbitMQ; and the bugs of its blocking side."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.adapters import select_connection
from txpika.adapters.loop import POLLERS, EPollPoller
from txpika.exceptions import AMQPConnectionError, ChannelClosed, ConnectFailed, ConnectionClosed
from txpika.test import broker
from txpika.test.drivers import DRIVERS, Driver, LoopDriver, Refused
from txpika.test.scenarios import FallsSilent
from txpika.test.test_loop import with_kqueue


class FunctionalTests(SynchronousTestCase):
    """
    C{client_flow}, C{consume_cancel} and the C{send_} ones.

    @cvar make_driver: What they run on.
    """

    make_driver: ClassVar[Callable[[], Driver]] = functools.partial(LoopDriver, "SelectConnection")

    def setUp(self) -> None:
        self.driver = type(self).make_driver()
        self.addCleanup(self.driver.dispose)
        self.driver.connect(txpika.parse_uri(broker.require_broker()))
        self.channel = self.driver.channel()
        self.queue = self.driver.call(self.channel, "queue_declare", exclusive=True).queue
        self.body = f"a message at {time.time()}"

    def send(self, body: str = "") -> None:
        properties = txpika.BasicProperties(content_type="text/plain", delivery_mode=1)
        self.channel.basic_publish(exchange="", routing_key=self.queue, body=body or self.body, properties=properties)

    def test_client_flow(self) -> None:
        """Nothing but what is already the case can be asked for; the answer says so."""
        if not self.driver.calls_back:
            self.assertFalse(hasattr(self.channel, "flow"), "if it is there, test it")
            return
        answers: list[bool] = []
        self.channel.flow(answers.append, True)
        self.driver.until(lambda: answers)
        self.assertEqual(answers, [True])
        self.assertRaises(ValueError, self.channel.flow, answers.append, False)

    def test_consume_cancel(self) -> None:
        bodies: list[bytes] = []

        def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            bodies.append(body)

        tag = self.driver.consume(self.channel, on_message, self.queue, no_ack=True)
        self.send("before")
        self.driver.until(lambda: bodies)
        self.assertIn(tag, self.channel.consumer_tags)
        self.driver.call(self.channel, "basic_cancel", consumer_tag=tag)
        self.assertNotIn(tag, self.channel.consumer_tags)
        self.send("after")
        self.assertEqual(self.driver.get(self.channel, self.queue)[2], b"after")
        self.assertEqual(bodies, [b"before"])

    def test_send_consume(self) -> None:
        messages: list[Any] = []
        self.driver.consume(self.channel, lambda *message: messages.append(message), queue=self.queue)
        self.send()
        self.driver.until(lambda: messages)
        ((channel, method, properties, body),) = messages
        channel.basic_ack(delivery_tag=method.delivery_tag)
        self.assertEqual((properties.content_type, body.decode()), ("text/plain", self.body))

    def test_send_get(self) -> None:
        self.send()
        method, properties, body = self.driver.get(self.channel, self.queue)
        self.assertEqual((method.NAME, properties.delivery_mode, body.decode()), ("Basic.GetOk", 1, self.body))

    def test_send_get_reject_get(self) -> None:
        self.send()
        method, _, body = self.driver.get(self.channel, self.queue)
        self.assertEqual((method.redelivered, body.decode()), (False, self.body))
        self.channel.basic_reject(method.delivery_tag)
        method, _, body = self.driver.get(self.channel, self.queue)
        self.assertEqual((method.redelivered, body.decode()), (True, self.body))

    def test_send_invalid(self) -> None:
        """To an exchange that is not there: the broker closes the channel."""
        self.channel.basic_publish(exchange="no such exchange", routing_key="", body=self.body)
        error = self.assertRaises(Refused, self.driver.call, self.channel, "queue_purge", queue=self.queue)
        self.assertEqual(error.code, 404)
        self.assertIn("no such exchange", error.text)

    def test_send_return(self) -> None:
        returned: list[Any] = []
        self.channel.add_on_return_callback(lambda *told: returned.append(told))
        self.channel.basic_publish(exchange="", routing_key="no such queue", body=self.body, mandatory=True)
        self.driver.until(lambda: returned)
        (told,) = returned
        method = told[0].method if self.driver.calls_back else told[1]
        self.assertEqual((method.NAME, method.reply_code, told[-1].decode()), ("Basic.Return", 312, self.body))


for _name, _make in DRIVERS.items():
    # The pollers of our loop have their own tests below.
    if _name not in ("Select", "Poll", "EPoll", "KQueue"):
        _members = {"make_driver": staticmethod(_make), "__doc__": f"On {_name}.", "__module__": __name__}
        globals()[f"{_name}FunctionalTests"] = type(f"{_name}FunctionalTests", (FunctionalTests,), _members)


class AdapterTests(SynchronousTestCase):
    """
    C{async}, C{linux} and C{bsd}, and their C{timers}: connecting by C{SELECT_TYPE}, and time.

    @cvar poller: What C{SELECT_TYPE} is set to, and the class it stands for.
    """

    poller: ClassVar[tuple[str, str]] = ("select", "SelectPoller")

    def setUp(self) -> None:
        self.patch(select_connection, "SELECT_TYPE", self.poller[0])
        self.uri = broker.require_broker()

    def connect(self, *arguments: Any) -> Any:
        connection = txpika.SelectConnection(self.uri, *arguments)
        self.addCleanup(connection.ioloop.close)
        return connection

    def test_connection(self) -> None:
        told: list[str] = []

        def on_open(connection: Any) -> None:
            told.append("open")
            connection.close()

        connection = self.connect(on_open)
        connection.add_on_close_callback(lambda closed: closed.ioloop.stop())
        connection.ioloop.start()
        self.assertEqual((told, connection.is_closed, connection.closing[0]), (["open"], True, 200))
        self.assertEqual(type(connection.ioloop.poller).__name__, self.poller[1])
        self.assertEqual(connection.ioloop.poller_type, self.poller[0])

    def test_nobody_there_and_nobody_to_hear_it(self) -> None:
        """Whoever runs the loop does."""
        connection = txpika.SelectConnection(txpika.ConnectionParameters("127.0.0.1", 1))
        self.addCleanup(connection.ioloop.close)
        error = self.assertRaises(ConnectFailed, connection.ioloop.start)
        self.assertIs(connection.reason, error)

    def test_timers(self) -> None:
        """Relative ones of the connection, absolute ones of the loop, and one that is taken back."""
        told: list[str] = []
        connection = self.connect()
        started = time.monotonic()
        connection.add_timeout(0.02, lambda: told.append("relative"))
        connection.ioloop.add_timeout(time.time() + 0.04, lambda: told.append("absolute"))
        gone = connection.add_timeout(0.01, lambda: told.append("never"))
        connection.remove_timeout(gone)
        connection.add_timeout(0.06, connection.close)
        connection.add_on_close_callback(lambda closed: closed.ioloop.stop())
        connection.ioloop.start()
        self.assertEqual(told, ["relative", "absolute"])
        self.assertGreater(time.monotonic() - started, 0.05)


class PollAdapterTests(AdapterTests):
    """The same by C{poll(2)}."""

    poller = ("poll", "PollPoller")


class EPollAdapterTests(AdapterTests):
    """The same by C{epoll(7)}, where there is one."""

    poller = ("epoll", "EPollPoller") if EPollPoller.available() else ("poll", "PollPoller")


class KQueueAdapterTests(AdapterTests):
    """The same by C{kqueue(2)}, or a fake of it."""

    poller = ("kqueue", "KQueuePoller")

    def setUp(self) -> None:
        with_kqueue(self.patch)
        super().setUp()


class ReadmeTests(SynchronousTestCase):
    """What the best poller is, when nothing is said."""

    def test_bug_08_the_default_works(self) -> None:
        self.assertIsNone(select_connection.SELECT_TYPE)
        connection = txpika.SelectConnection(broker.require_broker(), lambda opened: opened.close())
        self.addCleanup(connection.ioloop.close)
        connection.add_on_close_callback(lambda closed: closed.ioloop.stop())
        connection.ioloop.loop()
        best = next(poller.NAME for poller in POLLERS if poller.available())
        self.assertEqual(connection.ioloop.poller_type, best)
        self.assertTrue(connection.is_closed)


class BlockingBugTests(SynchronousTestCase):
    """Those of the blocking connection."""

    def connect(self) -> txpika.BlockingConnection:
        connection = txpika.BlockingConnection(broker.require_broker())
        self.addCleanup(connection.close)
        return connection

    def test_bug_03_a_broker_with_heartbeats(self) -> None:
        peer = FallsSilent()
        self.addCleanup(peer.close)
        connection = txpika.BlockingConnection(txpika.ConnectionParameters("127.0.0.1", peer.port))
        self.addCleanup(connection.close)
        self.assertTrue(connection.is_open)
        self.assertRaises(AMQPConnectionError, connection.sleep, 10)
        self.assertRaises(AMQPConnectionError, connection.process_data_events)

    def test_bug_04_get(self) -> None:
        channel = self.connect().channel()
        queue = channel.queue_declare(exclusive=True).queue
        method, properties, body = channel.basic_get(queue=queue)
        self.assertEqual((method.NAME, properties, body), ("Basic.GetEmpty", None, None))
        channel.basic_publish("", queue, b"body")
        method, properties, body = channel.basic_get(0, queue, True)
        self.assertEqual((method.NAME, properties, body), ("Basic.GetOk", txpika.BasicProperties(), b"body"))

    def test_bug_05_close_with_an_open_channel(self) -> None:
        connection = self.connect()
        channel = connection.channel()
        self.assertEqual(channel.queue_declare(exclusive=True).NAME, "Queue.DeclareOk")
        connection.close()
        self.assertEqual((connection.is_open, channel.is_open), (False, False))
        connection.close()
        self.assertRaises(ConnectionClosed, channel.queue_declare)

    def test_what_all_connections_have(self) -> None:
        connection = self.connect()
        opened: list[Any] = []
        connection.add_on_open_callback(opened.append)
        self.assertEqual((connection.open, connection.closed, connection.closing), (True, False, False))
        self.assertEqual((connection.state, connection.known_hosts, connection.heartbeat), ("open", "", 60))
        self.assertEqual(connection.server_properties["product"], "RabbitMQ")
        sent = connection.bytes_sent
        connection.channel()
        self.assertGreater(connection.bytes_sent, sent)
        self.assertGreater(min(connection.frames_sent, connection.bytes_received), 0)
        connection.flush_outbound()
        connection.erase_credentials()
        connection.close(200, "enough")
        self.assertEqual((connection.open, connection.closed, connection.closing), (False, True, (200, "enough")))
        connection.reconnect()
        connection.process_data_events()
        self.assertEqual(opened, [connection] * 2)

    def test_backpressure(self) -> None:
        connection = self.connect()
        pressed: list[int] = []
        connection.add_backpressure_callback(lambda: pressed.append(1))
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        connection.set_backpressure_multiplier(0.001)
        channel.publish_many([("", queue, b"x" * 1_000_000)] * 40)
        connection.set_backpressure_multiplier(10**9)
        connection.process_data_events()
        count = len(pressed)
        self.assertGreater(count, 0)
        channel.publish_many([("", queue, b"x" * 1_000_000)] * 20)
        connection.process_data_events()
        self.assertEqual(len(pressed), count)

    def test_a_refusal_is_raised_where_it_was_asked_for(self) -> None:
        connection = self.connect()
        error = self.assertRaises(ChannelClosed, connection.channel().queue_purge, queue="no such queue")
        self.assertEqual(error.reply_code, 404)
        self.assertTrue(connection.channel().is_open)

    def test_consume_blocks_until_stop_consuming(self) -> None:
        channel = self.connect().channel()
        queue = channel.queue_declare(exclusive=True).queue
        bodies: list[bytes] = []

        def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            bodies.append(body)
            channel.basic_ack(method.delivery_tag)
            if len(bodies) == 3:
                channel.stop_consuming()

        for number in range(3):
            channel.basic_publish("", queue, b"%d" % number)
        channel.basic_consume(consumer=handle, queue=queue)
        self.assertEqual((bodies, channel.consumer_tags), ([b"0", b"1", b"2"], []))
