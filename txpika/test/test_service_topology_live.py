# -*- test-case-name: txpika.test.test_service_topology_live -*-
"""
Tests for L{txpika.service} with a real RabbitMQ: what is set up again, when the broker has changed meanwhile, or when
the connection is cut while that is under way.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import txpika
from txpika.exceptions import AuthenticationError, ChannelClosed, ConsumerCancelled, NotConnected
from txpika.message import Delivery
from txpika.spec import RESOURCE_LOCKED, Basic, Channel, Confirm, Exchange, Method, Queue
from txpika.surviving import SurvivingChannel
from txpika.test.test_service_live import ServiceLive


class TopologyTests(ServiceLive):
    """A topology of some exchanges, queues, bindings and consumers."""

    async def begin(self) -> None:
        await super().begin()
        self.direct = await txpika.connect(self.broker_uri)
        self.addCleanup(self.direct.close)
        self.other = await self.direct.channel()
        self.channel: SurvivingChannel = await self.service.channel()
        self.refused: list[str] = []
        self.renamed: list[tuple[str, str]] = []
        self.patch(self.watch, "left_out", lambda _service, method, _error: self.refused.append(method.NAME))
        self.patch(self.watch, "queue_renamed", lambda _service, *names: self.renamed.append(names))

    async def bounce(self) -> None:
        opened = self.watch.next("open")
        self.proxy.reset()
        await opened

    async def declare(self) -> str:
        """An exchange bound to a queue, both durable and of one name."""
        name = f"{self.queue}-topology"
        await self.channel.exchange_declare(name, "topic", durable=True)
        await self.channel.queue_declare(name, durable=True)
        await self.channel.queue_bind(name, name, "a.#")
        self.addCleanup(self.remove, name)
        return name

    async def remove(self, name: str) -> None:
        connection = await txpika.connect(self.broker_uri)
        channel = await connection.channel()
        await channel.queue_delete(name)
        await channel.exchange_delete(name)
        await connection.close()

    async def until(self, true: Any) -> None:
        while not true():
            await deferLater(reactor, 0.01)

    async def test_F42_the_queue_is_deleted(self) -> None:
        name = await self.declare()
        consumer = await self.channel.basic_consume(name, print)
        ended = consumer.closed
        await self.other.queue_delete(name)
        self.assertIsInstance(await ended, ConsumerCancelled)
        await self.bounce()
        self.assertEqual(self.channel.consumers, ())
        self.assertNotIn(name, await self.ctl("list_consumers", "queue_name"))

    async def test_F49_the_password_is_another_when_it_comes_back(self) -> None:
        uri = txpika.parse_uri(self.broker_uri)
        credentials: Any = uri.credentials
        user, password = credentials.username, credentials._password.reveal()
        await self.proxy.down()
        await self.ctl("change_password", user, "another")
        self.addCleanup(self.ctl, "change_password", user, password)
        refused = self.watch.next("waiting")
        await self.proxy.up()
        await self.until(lambda: isinstance(self.service.last_error, AuthenticationError))
        await refused
        states = len(self.watch.states)
        await deferLater(reactor, 0.2)  # to see that nothing happens: the next attempt is as late as can be
        self.assertEqual(len(self.watch.states), states)
        await self.ctl("change_password", user, password)
        await self.service.when_open()
        await self.publish(5)
        await self.settled()

    async def test_F50_all_has_changed(self) -> None:
        name = await self.declare()
        await self.proxy.down()
        await self.other.queue_delete(name)
        await self.other.queue_declare(name, durable=True, arguments={"x-max-length": 5})
        await self.other.exchange_delete(name)
        await self.other.exchange_declare(name, "fanout", durable=True)
        await self.proxy.up()
        await self.service.when_open()
        self.assertEqual(self.refused, ["Exchange.Declare", "Queue.Declare"])
        await self.publish(5)
        await self.settled()

    async def test_F51_an_exclusive_queue_of_a_connection_that_lingers(self) -> None:
        name = f"{self.queue}-mine"
        await self.channel.queue_declare(name, exclusive=True)
        got: list[Delivery] = []
        await self.channel.basic_consume(name, got.append, no_ack=True)
        await self.proxy.down()
        lingering = await txpika.connect(self.broker_uri)  # as the broker has it that was not told of the end
        locked = False
        while not locked:
            try:
                await (await lingering.channel()).queue_declare(name, exclusive=True)
                locked = True
            except ChannelClosed as error:  # it is still that of the service
                self.assertEqual(error.reply_code, RESOURCE_LOCKED)
        self.proxy.record([Queue.Declare])
        await self.proxy.up()
        await self.until(lambda: len([True for *_, m in self.proxy.seen("upstream") if getattr(m, "exclusive", 0)]) > 1)
        self.assertEqual(self.service.state, "recovering")
        await lingering.close()
        await self.service.when_open()
        self.assertEqual(self.refused, [])
        await self.other.basic_publish("", name, b"now")
        await self.until(lambda: got)
        self.assertEqual([each.body for each in got], [b"now"])

    async def test_F55_ack_multiple_across_the_cut(self) -> None:
        name = await self.declare()
        got: list[Delivery] = []
        await self.channel.basic_consume(name, got.append)
        for _ in range(5):
            await self.publisher.basic_publish(name, "a.b", b"x")
        await self.until(lambda: len(got) == 5)
        await self.bounce()
        await self.until(lambda: len(got) == 10)
        got[4].ack(multiple=True)
        got[9].ack(multiple=True)
        await self.channel.queue_declare(name, passive=True)
        acks = [(pair, method) for pair, _, method in self.proxy.seen("upstream") if isinstance(method, Basic.Ack)]
        self.assertEqual(acks, [(2, Basic.Ack(5, True))])

    async def test_F56_a_queue_that_the_broker_names(self) -> None:
        await self.channel.queue_declare("", exclusive=True)
        await self.channel.queue_bind("", "amq.topic", "f56.*")
        got: list[Delivery] = []
        consumer = await self.channel.basic_consume("", got.append, no_ack=True)
        await self.bounce()
        self.assertEqual(len(self.renamed), 1)
        await self.other.basic_publish("amq.topic", "f56.x", b"x")
        await self.until(lambda: got)
        self.assertEqual(self.channel.consumers, (consumer,))

    async def test_a_queue_that_the_broker_named_and_that_outlives_the_connection(self) -> None:
        """Nothing in it is left behind; and when it is gone, there is another."""
        name = (await self.channel.queue_declare("", durable=True)).queue
        self.addCleanup(self.other.queue_delete, name)
        await self.channel.queue_bind("", "amq.topic", "outlives.*")
        await self.proxy.down()
        await self.other.confirm_select()
        await self.other.basic_publish("amq.topic", "outlives.x", b"kept")
        await self.proxy.up()
        await self.service.when_open()
        got = await self.channel.basic_get("")
        assert got is not None
        self.assertEqual((got.body, self.renamed, self.refused), (b"kept", [], []))
        got.ack()
        await self.other.queue_delete(name)
        await self.bounce()
        [(old, new)] = self.renamed
        self.assertEqual((old, self.refused), (name, []))
        self.addCleanup(self.other.queue_delete, new)
        await self.other.basic_publish("amq.topic", "outlives.x", b"another", mandatory=True)

    async def test_which_queue_was_declared_last_when_nobody_waited_for_it(self) -> None:
        """The broker knows; afterwards, so does the channel."""
        await self.channel.queue_declare("", exclusive=True)
        got: list[Delivery] = []
        made: list[Deferred[Any]] = [
            self.channel.queue_declare("", exclusive=True),
            self.channel.queue_bind("", "amq.topic", "last.*"),
            self.channel.basic_consume("", got.append, no_ack=True),
        ]
        queue, _, consumer = [await each for each in made]
        await self.other.basic_publish("", queue.queue, b"named")
        await self.other.basic_publish("amq.topic", "last.x", b"bound")
        await self.until(lambda: len(got) == 2)
        await self.bounce()
        self.assertEqual(len(self.renamed), 2)
        await self.other.basic_publish("", dict(self.renamed)[queue.queue], b"named")
        await self.other.basic_publish("amq.topic", "last.x", b"bound")
        await self.until(lambda: len(got) == 4)
        self.assertEqual([each.body for each in got], [b"named", b"bound"] * 2)
        self.assertEqual(self.channel.consumers, (consumer,))

    async def test_F57_what_is_gone_stays_away(self) -> None:
        name = await self.declare()
        other = f"{name}-auto"
        await self.channel.exchange_declare(other, "fanout", auto_delete=True)
        await self.channel.queue_declare(other, auto_delete=True)
        await self.channel.queue_bind(other, other)
        consumer = await self.channel.basic_consume(other, print)
        await consumer.cancel()
        await self.channel.queue_unbind(name, name, "a.#")
        await self.bounce()
        self.assertEqual(self.refused, [])
        self.assertNotIn(other, await self.ctl("list_queues", "name"))
        self.assertNotIn(other, await self.ctl("list_exchanges", "name"))
        listed = await self.ctl("list_bindings", "source_name", "destination_name")
        self.assertNotIn(f"{name}\t{name}", listed)

    async def test_F58_cut_at_every_call_of_the_recovery(self) -> None:
        name = await self.declare()
        await self.channel.confirm_select()
        await self.channel.basic_qos(7)
        consumers = [await self.channel.basic_consume(name, lambda delivery: delivery.ack()) for _ in range(3)]
        calls: list[type[Method]] = [
            *(Exchange.Declare, Queue.Declare, Queue.Bind, Channel.Open, Confirm.Select, Basic.Qos, Basic.Consume),
            *(Exchange.DeclareOk, Queue.DeclareOk, Queue.BindOk, Channel.OpenOk, Basic.QosOk, Basic.ConsumeOk),
        ]
        for call in calls:
            for nth in (1, 2):
                if nth == 2 and call in (Exchange.Declare, Exchange.DeclareOk, Queue.Bind, Queue.BindOk):
                    continue
                cut = self.proxy.cut_after(call, nth)
                self.proxy.reset()
                await cut
                await self.service.when_open()
        listed = (await self.ctl("list_consumers", "queue_name")).split()
        self.assertEqual((listed.count(name), listed.count(self.queue)), (3, 1))
        self.assertEqual(self.channel.consumers, tuple(consumers))
        self.assertEqual(self.refused, [])
        await self.publish(20)
        await self.settled()

    async def test_F59_stopped_while_it_recovers(self) -> None:
        name = await self.declare()
        ended: list[Deferred[Any]] = [(await self.channel.basic_consume(name, print)).closed, self.channel.closed]
        for call in (Exchange.Declare, Basic.Consume):
            dropped = self.proxy.drop_after(call)
            self.proxy.reset()
            await dropped
            self.assertEqual(self.service.state, "recovering")
            await self.service.stopService()
            self.assertEqual(self.service.state, "closed")
            for each in ended:
                await each
            await self.until(lambda: not self.proxy.connections)
            self.service.startService()
            self.channel = await self.service.channel()
            await self.declare()
            ended = [(await self.channel.basic_consume(name, print)).closed, self.channel.closed]

    async def test_F60_calls_while_it_recovers_are_made_or_not(self) -> None:
        await self.declare()
        tried: list[Deferred[Any]] = []
        names = [f"{self.queue}-{n}" for n in range(200)]

        async def keep_declaring() -> None:
            for name in names:
                tried.append(self.channel.queue_declare(name, exclusive=True))
                await deferLater(reactor, 0.005)

        declaring = Deferred.fromCoroutine(keep_declaring())
        for _ in range(3):
            await deferLater(reactor, 0.05)
            await self.bounce()
        await declaring
        await self.service.when_open()
        made = set()
        for name, each in zip(names, tried, strict=True):
            try:
                await each
                made.add(name)
            except NotConnected as error:
                self.assertEqual(error.outcome, "not sent")
            except txpika.exceptions.AMQPConnectionError:
                pass  # cut while it was under way: nobody knows
        await self.bounce()
        listed = set((await self.ctl("list_queues", "name")).split())
        self.assertLessEqual(made, listed)
        self.assertGreater(len(made), 20)
