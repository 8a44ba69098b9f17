"""
Tests for what is set up again on a new connection: all that the program has set up, and nothing that is gone.
"""

from __future__ import annotations

import gc
from itertools import pairwise
from time import process_time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import Basic, Confirm, Exchange, Method, Queue
from txpika.test.counting import SKIP
from txpika.topology import Step, Topology, snapshot


class Recorded(SynchronousTestCase):
    """A program whose methods have all succeeded."""

    def setUp(self) -> None:
        self.topology = Topology()

    def record(self, *methods: Method) -> None:
        for method in methods:
            reply = Queue.DeclareOk(method.queue) if isinstance(method, Queue.Declare) else None
            self.topology.record(method, reply)

    def server_named(self, name: str, **more: Any) -> None:
        self.topology.record(Queue.Declare(**more), Queue.DeclareOk(name))

    def planned(self) -> list[Method]:
        return [step.method for step in self.topology.plan()]

    def names(self) -> list[str]:
        """Exchanges and queues, and bindings as C{source>destination}."""
        found = []
        for method, name in self.topology.plan():
            if isinstance(method, Queue.Bind):
                name = f"{method.exchange}>{method.queue}"
            elif isinstance(method, Exchange.Bind):
                name = f"{method.source}>{method.destination}"
            found.append(name)
        return found


class DeclaringTests(Recorded):
    """What is set up."""

    def test_nothing(self) -> None:
        self.assertEqual(self.topology.plan(), [])

    def test_exchanges_before_queues_before_bindings(self) -> None:
        """Whatever the order they were made in; among each other they keep it."""
        self.record(
            Queue.Declare(queue="q2"),
            Queue.Bind(queue="q2", exchange="amq.topic"),
            Exchange.Declare(exchange="x2"),
            Exchange.Declare(exchange="x1"),
            Exchange.Bind(destination="x1", source="x2"),
            Queue.Declare(queue="q1"),
            Queue.Bind(queue="q1", exchange="x1"),
        )
        self.assertEqual(self.names(), ["x2", "x1", "q2", "q1", "amq.topic>q2", "x2>x1", "x1>q1"])

    def test_all_arguments_come_back(self) -> None:
        methods: list[Method] = [
            Exchange.Declare(0, "x", "topic", False, True, True, True, False, {"alternate-exchange": "y"}),
            Queue.Declare(0, "q", False, True, True, True, False, {"x-max-length": 7}),
            Queue.Bind(0, "q", "x", "a.*", False, {"h": [1, {"n": None}]}),
            Exchange.Bind(0, "y", "x", "b.#", False, {"x-match": "any"}),
        ]
        self.record(*methods)
        self.assertEqual(self.planned(), methods)

    def test_what_was_written_without_an_answer_is_sent_with_one(self) -> None:
        for method in (
            Exchange.Declare(exchange="x", nowait=True),
            Queue.Declare(queue="q", nowait=True),
            Queue.Bind(queue="q", exchange="x", nowait=True),
            Exchange.Bind(destination="amq.topic", source="x", nowait=True),
        ):
            self.topology.record(method)
            self.assertTrue(method.nowait, "the program's own is not touched")
        self.assertEqual([getattr(method, "nowait", None) for method in self.planned()], [False] * 4)

    def test_passive_declarations_create_nothing(self) -> None:
        self.record(Exchange.Declare(exchange="x", passive=True), Queue.Declare(queue="q", passive=True))
        self.assertEqual(self.topology.plan(), [])

    def test_what_each_broker_has(self) -> None:
        """Predefined exchanges and the queue for direct replies, which the broker lets one declare; not bindings."""
        self.record(
            Exchange.Declare(exchange="amq.topic", type="topic", durable=True),
            Exchange.Declare(exchange=""),
            Queue.Declare(queue="amq.rabbitmq.reply-to.g1h2.x"),
            Queue.Declare(queue="q"),
            Queue.Bind(queue="q", exchange="amq.topic"),
            Exchange.Bind(destination="amq.fanout", source="amq.topic"),
        )
        self.record(Exchange.Delete(exchange="amq.topic"))  # refused, as the broker will say later
        self.assertEqual(self.names(), ["q", "amq.topic>q", "amq.topic>amq.fanout"])

    def test_declared_twice(self) -> None:
        """The last one counts, in the place of the first."""
        self.record(Queue.Declare(queue="q"), Queue.Declare(queue="r"))
        self.record(Queue.Declare(queue="q", arguments={"x-expires": 1000}))
        self.record(Exchange.Declare(exchange="x"), Exchange.Declare(exchange="x", arguments={"later": True}))
        self.assertEqual(self.names(), ["x", "q", "r"])
        self.assertEqual(self.topology.queues["q"].arguments, {"x-expires": 1000})
        self.assertEqual(self.topology.exchanges["x"].arguments, {"later": True})

    def test_the_program_changes_its_arguments_afterwards(self) -> None:
        inner: dict[str, Any] = {"n": [1]}
        table: dict[str, Any] = {"h": inner}
        methods = (
            Exchange.Declare(exchange="x", arguments=table),
            Queue.Declare(queue="q", arguments=table),
            Queue.Bind(queue="q", exchange="x", arguments=table),
            Exchange.Bind(destination="x", source="x", arguments=table),
        )
        self.record(*methods)
        inner["n"].append(2)
        table["h2"] = 1
        methods[2].routing_key = "changed"
        self.assertEqual([getattr(m, "arguments", None) for m in self.planned()], [{"h": {"n": [1]}}] * 4)
        self.assertEqual(self.topology.bindings[0].routing_key, "")
        self.assertEqual(table, {"h": {"n": [1, 2]}, "h2": 1}, "nor is the program's own changed")

    def test_other_methods(self) -> None:
        self.record(Basic.Qos(), Confirm.Select(), Queue.Purge(queue="q"), Basic.Publish(), Basic.Consume(queue="q"))
        self.assertEqual(self.topology.plan(), [])

    def test_exclusive_and_auto_delete_queues_come_back(self) -> None:
        self.record(Queue.Declare(queue="q", exclusive=True), Queue.Declare(queue="r", auto_delete=True))
        self.assertEqual(self.names(), ["q", "r"])

    def test_queues_that_may_outlive_their_connection(self) -> None:
        self.record(Queue.Declare(queue="q", durable=True), Queue.Declare(queue="mine", exclusive=True))
        self.record(Queue.Declare(queue="r", auto_delete=True), Queue.Declare(queue="s", auto_delete=True))
        self.topology.consumer_added("q")
        self.topology.consumer_added("s")
        names = ("q", "mine", "r", "s", "unknown")
        self.assertEqual([name for name in names if self.topology.outlives(name)], ["q", "r"])

    def test_to_look_at(self) -> None:
        self.record(
            Exchange.Declare(exchange="x"), Queue.Declare(queue="q", nowait=True), Queue.Bind(queue="q", exchange="x")
        )
        self.assertEqual(self.topology.exchanges, {"x": Exchange.Declare(exchange="x")})
        self.assertEqual(self.topology.queues, {"q": Queue.Declare(queue="q")})
        self.assertEqual(self.topology.bindings, (Queue.Bind(queue="q", exchange="x"),))
        self.assertEqual(repr(self.topology), "<Topology of 1 exchanges, 1 queues, 1 bindings>")

    def test_wrong_arguments(self) -> None:
        for table, error in (({"a": object()}, TypeError), ({"a": 2**64}, ValueError)):
            with self.assertRaises(error):
                self.topology.record(Queue.Declare(queue="q", arguments=table))
        self.assertEqual(self.topology.plan(), [])

    def test_a_snapshot_is_no_part_of_what_it_was_taken_of(self) -> None:
        method = Queue.Bind(1, "q", "x", "k", True, {"a": [1]})
        taken = snapshot(method)
        self.assertEqual(taken, method)
        self.assertIsNot(taken.arguments, method.arguments)


class BindingTests(Recorded):
    """Which bindings are the same one."""

    def count(self, *tables: dict[str, Any]) -> int:
        self.topology = Topology()
        self.record(*(Queue.Bind(queue="q", exchange="amq.headers", arguments=table) for table in tables))
        return len(self.topology.bindings)

    def test_headers_in_another_order(self) -> None:
        self.assertEqual(self.count({"a": 1, "b": 2}, {"b": 2, "a": 1}), 1)
        self.record(Queue.Unbind(queue="q", exchange="amq.headers", arguments={"b": 2, "a": 1}))
        self.assertEqual(self.topology.bindings, ())

    def test_values_that_only_python_takes_for_equal(self) -> None:
        self.assertEqual(self.count({"a": 1}, {"a": True}, {"a": 1.0}), 3)

    def test_each_part_counts(self) -> None:
        self.record(
            Queue.Bind(queue="q", exchange="x", routing_key="k"),
            Queue.Bind(queue="q", exchange="x", routing_key="l"),
            Queue.Bind(queue="q", exchange="y", routing_key="k"),
            Queue.Bind(queue="r", exchange="x", routing_key="k"),
            Exchange.Bind(destination="q", source="x", routing_key="k"),
            Queue.Bind(queue="q", exchange="x", routing_key="k", arguments={"a": 1}),
            Queue.Bind(queue="q", exchange="x", routing_key="k"),  # again
        )
        self.assertEqual(len(self.topology.bindings), 6)
        self.record(Queue.Unbind(queue="q", exchange="x", routing_key="k"))
        self.assertEqual(self.names(), ["x>q", "y>q", "x>r", "x>q", "x>q"])
        self.record(Exchange.Unbind(destination="q", source="x", routing_key="k"))
        self.assertEqual(self.names(), ["x>q", "y>q", "x>r", "x>q"])

    def test_bound_again(self) -> None:
        """Once, in its first place."""
        self.record(*(Queue.Bind(queue=name, exchange="x") for name in "qrq"))
        self.assertEqual(self.names(), ["x>q", "x>r"])

    def test_unbound_what_was_never_bound(self) -> None:
        self.record(Exchange.Declare(exchange="x", auto_delete=True), Queue.Unbind(queue="q", exchange="x"))
        self.assertEqual(self.names(), ["x"])

    def test_a_queue_whose_name_nobody_knows(self) -> None:
        """Declared without waiting for its name, and called C{""} ever since."""
        self.topology.record(Queue.Declare(nowait=True))
        self.record(Queue.Bind(exchange="x"))
        self.assertEqual(self.topology.plan(), [])
        self.record(Queue.Unbind(exchange="x"), Queue.Delete())
        self.assertEqual(self.topology.plan(), [])


class DeletingTests(Recorded):
    """What is gone does not come back."""

    def test_a_deleted_queue_takes_its_bindings(self) -> None:
        self.record(
            Queue.Declare(queue="q"),
            Queue.Declare(queue="r"),
            Queue.Bind(queue="q", exchange="amq.topic"),
            Queue.Bind(queue="r", exchange="amq.topic"),
            Exchange.Bind(destination="q", source="amq.topic"),  # an exchange of the same name
            Queue.Delete(queue="q"),
        )
        self.assertEqual(self.names(), ["r", "amq.topic>r", "amq.topic>q"])

    def test_a_deleted_exchange_takes_its_bindings_at_either_end(self) -> None:
        self.record(
            Exchange.Declare(exchange="x"),
            Exchange.Declare(exchange="y"),
            Queue.Declare(queue="x"),
            Queue.Bind(queue="x", exchange="x"),
            Queue.Bind(queue="x", exchange="y"),
            Exchange.Bind(destination="x", source="y"),
            Exchange.Bind(destination="y", source="x"),
            Exchange.Delete(exchange="x"),
        )
        self.assertEqual(self.names(), ["y", "x", "y>x"])
        self.assertIsInstance(self.topology.bindings[0], Queue.Bind)

    def test_deleted_and_declared_again(self) -> None:
        """It comes back, at the end, without its bindings."""
        self.record(
            Queue.Declare(queue="q"),
            Queue.Bind(queue="q", exchange="amq.topic"),
            Queue.Declare(queue="r"),
            Queue.Delete(queue="q"),
            Queue.Declare(queue="q"),
        )
        self.assertEqual(self.names(), ["r", "q"])

    def test_deleted_what_is_not_there(self) -> None:
        self.record(Queue.Delete(queue="q"), Exchange.Delete(exchange="x"))
        self.assertEqual(self.topology.plan(), [])

    def test_the_last_binding_takes_an_auto_delete_exchange(self) -> None:
        self.record(
            Exchange.Declare(exchange="x", auto_delete=True),
            Exchange.Declare(exchange="y"),
            Queue.Declare(queue="q"),
            Queue.Bind(queue="q", exchange="x", routing_key="k"),
            Queue.Bind(queue="q", exchange="x", routing_key="l"),
            Queue.Bind(queue="q", exchange="y"),
            Exchange.Bind(destination="x", source="amq.topic"),
            Queue.Unbind(queue="q", exchange="x", routing_key="k"),
        )
        self.assertEqual(self.names(), ["x", "y", "q", "x>q", "y>q", "amq.topic>x"])
        self.record(Queue.Unbind(queue="q", exchange="y"))
        self.record(Queue.Unbind(queue="q", exchange="x", routing_key="l"))
        self.assertEqual(self.names(), ["y", "q"])

    def test_what_leads_to_an_auto_delete_exchange_does_not_keep_it(self) -> None:
        self.record(Exchange.Declare(exchange="x", auto_delete=True))
        self.record(Exchange.Bind(destination="x", source="amq.topic"))
        self.record(Exchange.Unbind(destination="x", source="amq.topic"))
        self.assertEqual(self.names(), ["x"], "it never had a binding of its own to lose")

    def test_a_chain_of_auto_delete_exchanges(self) -> None:
        """Far longer than Python calls itself."""
        links = [f"x{number}" for number in range(3000)]
        self.record(*(Exchange.Declare(exchange=name, auto_delete=True) for name in links))
        self.record(*(Exchange.Bind(destination=b, source=a) for a, b in pairwise(links)))
        self.record(Queue.Declare(queue="q"), Queue.Bind(queue="q", exchange=links[-1]), Queue.Delete(queue="q"))
        self.assertEqual(self.topology.plan(), [])

    def test_a_ring_of_auto_delete_exchanges(self) -> None:
        self.record(*(Exchange.Declare(exchange=name, auto_delete=True) for name in "abc"))
        self.record(*(Exchange.Bind(destination=b, source=a) for a, b in ("ab", "bc", "ca", "cc")))
        self.record(Exchange.Unbind(destination="b", source="a"))
        self.assertEqual(self.names(), ["b", "c", "b>c", "c>c"])
        self.record(Exchange.Unbind(destination="c", source="b"))
        self.assertEqual(self.names(), ["c", "c>c"])
        self.record(Exchange.Unbind(destination="c", source="c"))
        self.assertEqual(self.names(), [])

    def test_a_deleted_exchange_takes_the_auto_delete_ones_before_it(self) -> None:
        self.record(
            Exchange.Declare(exchange="a", auto_delete=True),
            Exchange.Declare(exchange="b"),
            Exchange.Declare(exchange="c", auto_delete=True),
            Exchange.Bind(destination="b", source="a"),
            Exchange.Bind(destination="c", source="b"),
            Exchange.Delete(exchange="b"),
        )
        self.assertEqual(self.names(), ["c"])


class ConsumerTests(Recorded):
    """Auto-delete queues and their consumers."""

    def auto_delete(self) -> None:
        self.record(
            Exchange.Declare(exchange="x", auto_delete=True),
            Queue.Declare(queue="q", auto_delete=True),
            Queue.Bind(queue="q", exchange="x"),
        )

    def test_the_last_consumer_takes_its_queue(self) -> None:
        self.auto_delete()
        for _ in range(2):
            self.topology.consumer_added("q")
        self.topology.consumer_gone("q")
        self.assertEqual(self.names(), ["x", "q", "x>q"])
        self.topology.consumer_gone("q")
        self.assertEqual(self.names(), [])

    def test_an_auto_delete_queue_waits_for_its_first_consumer(self) -> None:
        self.auto_delete()
        self.topology.consumer_gone("q")
        self.assertEqual(self.names(), ["x", "q", "x>q"])

    def test_another_queue_stays(self) -> None:
        self.record(Queue.Declare(queue="q"), Queue.Declare(queue="r", exclusive=True))
        for name in "qrs":
            self.topology.consumer_added(name)
            self.topology.consumer_gone(name)
            self.topology.consumer_gone(name)
        self.assertEqual(self.names(), ["q", "r"])

    def test_declared_after_its_consumer(self) -> None:
        self.topology.consumer_added("q")
        self.auto_delete()
        self.topology.consumer_gone("q")
        self.assertEqual(self.names(), [])

    def test_the_end_of_a_consumer_is_known_after_its_queue_was_declared_again(self) -> None:
        """Delete and declare on one channel, twice, while the broker's word to consumers of another is on its way."""
        self.auto_delete()
        for _ in range(2):
            self.topology.consumer_added("q")
            self.record(Queue.Delete(queue="q"), Queue.Declare(queue="q", auto_delete=True))
        self.topology.consumer_added("q")
        for _ in range(2):
            self.topology.consumer_gone("q")
            self.assertEqual(self.names(), ["q"])
        self.topology.consumer_gone("q")
        self.assertEqual(self.names(), [])

    def test_the_end_of_a_consumer_is_known_before_another_begins(self) -> None:
        """Of a queue that was deleted twice, each time with its consumer."""
        self.auto_delete()
        for _ in range(2):
            self.topology.consumer_added("q")
            self.record(Queue.Delete(queue="q"), Queue.Declare(queue="q", auto_delete=True))
        for _ in range(2):
            self.topology.consumer_gone("q")
        self.assertEqual(self.names(), ["q"], "as long as it waits for its first")
        self.topology.consumer_added("q")
        self.topology.consumer_gone("q")
        self.assertEqual(self.names(), [])

    def test_the_end_of_a_consumer_is_known_after_its_queue_is_gone(self) -> None:
        self.auto_delete()
        self.topology.consumer_added("q")
        self.record(Queue.Delete(queue="q"))
        self.topology.consumer_gone("q")
        self.auto_delete()
        self.assertEqual(self.names(), ["x", "q", "x>q"])


class RenamingTests(Recorded):
    """Queues that the broker names."""

    def setUp(self) -> None:
        super().setUp()
        self.server_named("amq.gen-1", exclusive=True)
        self.record(
            Queue.Declare(queue="q"),
            Queue.Bind(queue="amq.gen-1", exchange="amq.topic", routing_key="k"),
            Queue.Bind(queue="amq.gen-1", exchange="amq.topic", routing_key="amq.gen-1"),
            Queue.Bind(queue="q", exchange="amq.topic", routing_key="amq.gen-1"),
        )

    def bindings(self) -> list[tuple[str, str]]:
        return [(each.queue, each.routing_key) for each in self.topology.bindings if isinstance(each, Queue.Bind)]

    def test_the_broker_is_asked_for_a_name_again(self) -> None:
        self.assertEqual(self.topology.plan()[0], Step(Queue.Declare(exclusive=True), "amq.gen-1"))
        self.assertEqual(list(self.topology.queues), ["amq.gen-1", "q"])

    def test_bindings_follow(self) -> None:
        """So does the routing key that is the queue's name. Places stay."""
        self.topology.renamed("amq.gen-1", "amq.gen-2")
        self.assertEqual(self.topology.plan()[0], Step(Queue.Declare(exclusive=True), "amq.gen-2"))
        self.assertEqual(list(self.topology.queues), ["amq.gen-2", "q"])
        self.assertEqual(self.bindings(), [("amq.gen-2", "k"), ("amq.gen-2", "amq.gen-2"), ("q", "amq.gen-1")])
        self.record(Queue.Unbind(queue="amq.gen-2", exchange="amq.topic", routing_key="k"))
        self.assertEqual(self.bindings(), [("amq.gen-2", "amq.gen-2"), ("q", "amq.gen-1")])
        self.record(Queue.Delete(queue="amq.gen-2"))
        self.assertEqual(self.names(), ["q", "amq.topic>q"])

    def test_a_plan_under_way_follows(self) -> None:
        plan = self.topology.plan()
        self.topology.renamed("amq.gen-1", "amq.gen-2")
        queues = [getattr(method, "queue", None) for method, _ in plan]
        self.assertEqual(queues, ["", "q", "amq.gen-2", "amq.gen-2", "q"])

    def test_renamed_again_and_again(self) -> None:
        for number in range(1, 5):
            self.topology.renamed(f"amq.gen-{number}", f"amq.gen-{number + 1}")
        self.assertEqual(self.names(), ["amq.gen-5", "q", "amq.topic>amq.gen-5", "amq.topic>amq.gen-5", "amq.topic>q"])

    def test_its_consumers_follow(self) -> None:
        self.server_named("amq.gen-8", auto_delete=True)
        self.topology.consumer_added("amq.gen-8")
        self.topology.consumer_added("amq.gen-9")  # a new one, who is quick
        self.topology.renamed("amq.gen-8", "amq.gen-9")
        self.topology.consumer_gone("amq.gen-9")
        self.assertIn("amq.gen-9", self.topology.queues)
        self.topology.consumer_gone("amq.gen-9")
        self.assertNotIn("amq.gen-9", self.topology.queues)

    def test_nothing_of_that_name(self) -> None:
        before = self.topology.plan()
        self.topology.renamed("amq.gen-7", "amq.gen-8")
        self.topology.renamed("q", "q")
        self.assertEqual(self.topology.plan(), before)

    def test_recorded_anew_as_well(self) -> None:
        """Who records the new declaration too, and its bindings, has them once."""
        self.server_named("amq.gen-2", exclusive=True)
        self.record(Queue.Bind(queue="amq.gen-2", exchange="amq.topic", routing_key="k"))
        self.topology.renamed("amq.gen-1", "amq.gen-2")
        self.assertEqual(self.names(), ["amq.gen-2", "q", *["amq.topic>amq.gen-2"] * 2, "amq.topic>q"])
        self.assertEqual(sorted(self.bindings()), [("amq.gen-2", "amq.gen-2"), ("amq.gen-2", "k"), ("q", "amq.gen-1")])


class FilterTests(Recorded):
    """What the program does not want back."""

    def test_each_is_asked_for(self) -> None:
        asked: list[Method] = []

        def durable(method: Method) -> bool:
            asked.append(method)
            return bool(getattr(method, "durable", True))

        self.topology = Topology(durable)
        self.record(
            Exchange.Declare(exchange="x", durable=True),
            Exchange.Declare(exchange="y"),
            Queue.Declare(queue="q", durable=True, nowait=True),
            Queue.Declare(queue="r"),
            Queue.Bind(queue="r", exchange="x"),
        )
        self.assertEqual(self.names(), ["x", "q", "x>r"])
        kinds = ["Exchange.Declare"] * 2 + ["Queue.Declare"] * 2 + ["Queue.Bind"]
        self.assertEqual([method.NAME for method in asked], kinds)
        self.assertEqual(list(self.topology.queues), ["q", "r"], "what is left out is not forgotten")

    def test_a_queue_that_the_broker_named(self) -> None:
        """It is known by its present name, and nothing can be bound to it when it is left out."""
        asked: list[str] = []

        def none_of_the_brokers(method: Method) -> bool:
            asked.append(getattr(method, "queue", ""))
            return not (isinstance(method, Queue.Declare) and method.queue == "amq.gen-1")

        self.topology = Topology(none_of_the_brokers)
        self.server_named("amq.gen-1")
        self.server_named("amq.gen-2")
        self.record(Queue.Bind(queue="amq.gen-1", exchange="x"), Queue.Bind(queue="amq.gen-2", exchange="x"))
        self.assertEqual(self.names(), ["amq.gen-2", "x>amq.gen-2"])
        self.assertEqual(asked, ["amq.gen-1", "amq.gen-2", "amq.gen-2"])

    def test_what_it_raises_is_not_hidden(self) -> None:
        def broken(method: Method) -> bool:
            raise LookupError(method.NAME)

        self.topology = Topology(broken)
        self.record(Queue.Declare(queue="q"))
        self.assertRaises(LookupError, self.topology.plan)


class CostTests(SynchronousTestCase):
    """A program with very many bindings."""

    def seconds(self, others: int) -> float:
        """What it takes to bind, unbind and delete 300 queues beside so many other bindings, in CPU seconds."""
        topology = Topology()
        for number in range(others):
            topology.record(Queue.Bind(queue="many", exchange="amq.topic", routing_key=str(number)))
        best = float("inf")
        gc.disable()
        self.addCleanup(gc.enable)
        for _ in range(3):
            begun = process_time()
            for number in range(300):
                name = f"q{number}"
                topology.record(Queue.Declare(queue=name), Queue.DeclareOk(name))
                for key in "ab":
                    topology.record(Queue.Bind(queue=name, exchange="amq.topic", routing_key=key))
                topology.record(Queue.Unbind(queue=name, exchange="amq.topic", routing_key="a"))
                topology.renamed(name, name + "'")
                topology.record(Queue.Delete(queue=name + "'"))
            best = min(best, process_time() - begun)
        self.assertEqual(len(topology.bindings), others)
        return best

    def test_one_queue_costs_the_same_among_many_bindings(self) -> None:
        """32 times as many; anything that looks through all of them takes far more than 4 times as long."""
        self.assertLess(self.seconds(32_000), 4 * self.seconds(1000))

    # PyPy's collector goes through all there is, again and again.
    test_one_queue_costs_the_same_among_many_bindings.skip = SKIP  # type: ignore[attr-defined]
