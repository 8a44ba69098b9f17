"""
Tests for what L{txpika.topology} notes of one channel, and for the rules of RabbitMQ that it goes by.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import ChannelClosed
from txpika.spec import Basic, Confirm, Exchange, Queue, Tx
from txpika.test import broker
from txpika.test.live import Live, failure_of
from txpika.topology import ChannelRecord, Topology


class ChannelTests(SynchronousTestCase):
    """What a channel was like."""

    def setUp(self) -> None:
        self.channel = ChannelRecord()

    def test_a_new_channel(self) -> None:
        self.assertEqual(self.channel.steps(), [])
        self.assertEqual((self.channel.mode, self.channel.last_queue), ("", ""))

    def test_modes(self) -> None:
        self.channel.record(Confirm.Select(nowait=True))
        self.assertEqual((self.channel.mode, self.channel.steps()), ("confirm", [Confirm.Select()]))
        self.channel = ChannelRecord()
        self.channel.record(Tx.Select())
        self.assertEqual((self.channel.mode, self.channel.steps()), ("tx", [Tx.Select()]))

    def test_each_consumer_gets_its_own_limit_back(self) -> None:
        """The one for all first; each of the others once, before the consumers it is for; the present one last."""
        one, two, three = (Basic.Qos(prefetch_count=count) for count in (1, 2, 3))
        shared = Basic.Qos(prefetch_count=100, global_=True)
        self.channel.consuming("a", Basic.Consume(queue="q"))
        for qos, tags in ((one, "bc"), (shared, "d"), (two, "e"), (two, "f"), (three, "")):
            self.channel.record(qos)
            for tag in tags:
                self.channel.consuming(tag, Basic.Consume(queue="q", consumer_tag=tag))
        self.channel.record(Confirm.Select())
        a, b, c, d, e, f = (Basic.Consume(queue="q", consumer_tag=tag) for tag in "abcdef")
        self.assertEqual(self.channel.steps(), [shared, Confirm.Select(), a, one, b, c, d, two, e, f, three])
        self.channel.record(two)
        self.assertEqual(self.channel.steps()[-2:], [e, f])

    def test_a_limit_without_consumers(self) -> None:
        self.channel.record(Basic.Qos(prefetch_count=5))
        self.channel.record(Basic.Qos(prefetch_count=6))
        self.assertEqual(self.channel.steps(), [Basic.Qos(prefetch_count=6)])

    def test_no_limit_is_said_again(self) -> None:
        """The broker may have a default of its own."""
        self.channel.record(Basic.Qos(prefetch_count=0))
        self.assertEqual(self.channel.steps(), [Basic.Qos(prefetch_count=0)])

    def test_the_program_changes_its_methods_afterwards(self) -> None:
        qos, table = Basic.Qos(prefetch_count=5), {"x-priority": 1}
        consume = Basic.Consume(queue="q", nowait=True, no_ack=True, arguments=table)
        self.channel.record(qos)
        self.channel.consuming("tag", consume)
        qos.prefetch_count, consume.queue, table["x-priority"] = 6, "other", 2
        kept = Basic.Consume(queue="q", consumer_tag="tag", no_ack=True, arguments={"x-priority": 1})
        self.assertEqual(self.channel.steps(), [Basic.Qos(prefetch_count=5), kept])
        self.assertEqual((consume.consumer_tag, consume.nowait), ("", True))

    def test_cancelled(self) -> None:
        self.channel.consuming("a", Basic.Consume(queue="q"))
        self.channel.consuming("b", Basic.Consume(queue="r"))
        self.assertEqual(self.channel.cancelled("a"), "q")
        self.assertIsNone(self.channel.cancelled("a"))
        self.assertEqual(self.channel.steps(), [Basic.Consume(queue="r", consumer_tag="b")])
        self.assertEqual(repr(self.channel), "<ChannelRecord of 1 consumers>")

    def test_a_tag_used_again(self) -> None:
        """It is another consumer, the last of all."""
        self.channel.consuming("a", Basic.Consume(queue="q"))
        self.channel.consuming("b", Basic.Consume(queue="q"))
        self.channel.record(Basic.Qos(prefetch_count=5))
        self.channel.consuming("a", Basic.Consume(queue="r"))
        first, again = Basic.Consume(queue="q", consumer_tag="b"), Basic.Consume(queue="r", consumer_tag="a")
        self.assertEqual(self.channel.steps(), [first, Basic.Qos(prefetch_count=5), again])

    def test_consumers_of_a_queue_with_a_new_name(self) -> None:
        self.channel.record(Queue.Declare(), Queue.DeclareOk("amq.gen-1"))
        self.channel.consuming("a", Basic.Consume(queue="amq.gen-1"))
        self.channel.consuming("b", Basic.Consume(queue="q"))
        under_way = self.channel.steps()
        self.channel.renamed("amq.gen-1", "amq.gen-2")
        self.assertEqual(self.channel.last_queue, "amq.gen-2")
        for steps in (under_way, self.channel.steps()):
            self.assertEqual([getattr(method, "queue", None) for method in steps], ["amq.gen-2", "q"])
        self.assertEqual(self.channel.cancelled("a"), "amq.gen-2")

    def test_consumers_that_the_program_does_not_want_back(self) -> None:
        self.channel = ChannelRecord(lambda method: getattr(method, "queue", "") != "q")
        self.channel.record(Basic.Qos(prefetch_count=1))
        self.channel.consuming("a", Basic.Consume(queue="q"))
        self.channel.record(Basic.Qos(prefetch_count=2))
        self.channel.consuming("b", Basic.Consume(queue="r"))
        wanted = Basic.Consume(queue="r", consumer_tag="b")
        self.assertEqual(self.channel.steps(), [Basic.Qos(prefetch_count=2), wanted])
        self.assertEqual(list(self.channel.consumers), ["a", "b"])

    def test_a_consumer_of_a_queue_whose_name_nobody_knows(self) -> None:
        """Sent as it is, the broker would close the new channel, with all the others' consumers."""
        self.channel.consuming("a", Basic.Consume())
        self.assertEqual(self.channel.steps(), [])
        self.assertEqual(list(self.channel.consumers), ["a"])


class LastQueueTests(SynchronousTestCase):
    """What C{""} means where the name of a queue belongs."""

    def setUp(self) -> None:
        self.channel = ChannelRecord()
        self.channel.record(Queue.Declare(), Queue.DeclareOk("amq.gen-1"))

    def test_each_method_that_takes_it(self) -> None:
        for kind in (Queue.Purge, Queue.Delete, Basic.Consume, Basic.Get):
            method = kind()
            self.assertEqual(self.channel.resolve(method), kind(queue="amq.gen-1"))
            self.assertEqual(method, kind(), "the program's own is not touched")
            named = kind(queue="q")
            self.assertIs(self.channel.resolve(named), named)

    def test_the_routing_key_too(self) -> None:
        """Only where both are empty."""
        for kind in (Queue.Bind, Queue.Unbind):
            self.assertEqual(
                self.channel.resolve(kind(exchange="x", arguments={"a": 1})),
                kind(queue="amq.gen-1", exchange="x", routing_key="amq.gen-1", arguments={"a": 1}),
            )
            self.assertEqual(
                self.channel.resolve(kind(exchange="x", routing_key="k")),
                kind(queue="amq.gen-1", exchange="x", routing_key="k"),
            )
            named = kind(queue="q", exchange="x")
            self.assertIs(self.channel.resolve(named), named)

    def test_other_methods(self) -> None:
        for method in (Queue.Declare(), Queue.Declare(passive=True), Basic.Publish(), Exchange.Bind()):
            self.assertIs(self.channel.resolve(method), method)

    def test_the_last_one_counts(self) -> None:
        for method, reply in (
            (Queue.Declare(queue="q"), Queue.DeclareOk("q")),
            (Queue.Declare(queue="r", passive=True), Queue.DeclareOk("r")),
            (Queue.Declare(queue="s", nowait=True), None),
        ):
            self.channel.record(method, reply)
            self.assertEqual(self.channel.resolve(Basic.Get()), Basic.Get(queue=method.queue))
        self.channel.record(Queue.Delete(queue="s"), Queue.DeleteOk())
        self.assertEqual(self.channel.last_queue, "s", "as for the broker")

    def test_before_the_first(self) -> None:
        method = Basic.Get()
        self.assertIs(ChannelRecord().resolve(method), method)

    def test_a_name_that_nobody_waited_for(self) -> None:
        """The broker knows what C{""} means now, and it is not the queue before that one."""
        self.channel.record(Queue.Declare(nowait=True))
        method = Queue.Delete()
        self.assertIs(self.channel.resolve(method), method)


class RabbitMQTests(Live):
    """That the rules are RabbitMQ's."""

    def bindings(self, queue: str) -> list[str]:
        """Routing keys, without the binding that each queue has."""
        listed = broker.ctl("list_bindings", "source_name", "destination_name", "routing_key")
        rows = [row.split("\t") for row in listed.splitlines()]
        return [key for source, destination, key in rows if source and destination == queue]

    async def test_both_names_left_out(self) -> None:
        """Also where it says so nowhere, in C{queue.unbind}."""
        name = (await self.channel.queue_declare("", exclusive=True)).queue
        await self.channel.queue_bind("", "amq.topic", "")
        await self.channel.queue_bind("", "amq.topic", "k")
        self.assertEqual(sorted(self.bindings(name)), sorted([name, "k"]))
        await self.channel.queue_unbind("", "amq.topic", "")
        self.assertEqual(self.bindings(name), ["k"])

    async def test_a_passive_declaration_and_a_deletion(self) -> None:
        """The one sets what C{""} means; the other does not."""
        await self.channel.queue_declare("", exclusive=True)
        await self.channel.queue_declare(self.queue, passive=True)
        await self.channel.queue_bind("", "amq.topic", "k")
        self.assertEqual(self.bindings(self.queue), ["k"])
        await self.channel.queue_delete((await self.channel.queue_declare("", exclusive=True)).queue)
        error = await failure_of(self.channel.queue_purge(""), ChannelClosed)
        self.assertEqual(error.reply_code, 404)
        self.assertIn("amq.gen", str(error))

    async def test_which_bindings_are_the_same(self) -> None:
        topology = Topology()
        inner: list[dict[str, Any]] = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": True, "b": 2}]
        for table in (*inner, *({"n": each} for each in inner)):
            await self.channel.queue_bind(self.queue, "amq.headers", "k", arguments=table)
            topology.record(Queue.Bind(queue=self.queue, exchange="amq.headers", routing_key="k", arguments=table))
        self.assertEqual(len(self.bindings(self.queue)), len(topology.bindings))
