"""
Tests for L{txpika.topology} against L{txpika.test.small_broker}: whatever a program does, and however often it loses
its connection, what there was is there again, and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import Basic, Exchange, Method, Queue
from txpika.test.small_broker import Bound, Refused, SmallBroker
from txpika.topology import ChannelRecord, Topology

#: Set up by another program, and always there.
THEIRS = (Exchange.Declare(exchange="their x", type="topic"), Queue.Declare(queue="their q"))

TABLES: list[dict[str, Any]] = [{}, {}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": True, "b": 2}]

exchanges = st.sampled_from(["x1", "x2", "x3", "x1", "x2", "x3", "their x", "amq.topic"])
#: An index into what L{Program.queue} knows.
queues = st.integers(0, 7)
tables = st.sampled_from(TABLES)
keys = st.sampled_from(["", "k", "same"])
flags = st.booleans()


def virtual_host() -> SmallBroker:
    broker = SmallBroker()
    for method in THEIRS:
        broker.apply(method)
    broker.last = ""
    return broker


def set_up(
    broker: SmallBroker, topology: Topology, channel: ChannelRecord, most: int | None = None
) -> list[tuple[str, str]]:
    """
    What a service does on a new connection; each step must succeed.

    @param most: After how many steps the connection is lost again; C{None} when it is not.
    @return: Queues that have got new names: the old one, the new one.
    """
    names = []
    for method, name in topology.plan()[:most]:
        reply = broker.apply(method)
        if isinstance(reply, Queue.DeclareOk) and reply.queue != name:
            names.append((name, reply.queue))
            topology.renamed(name, reply.queue)
            channel.renamed(name, reply.queue)
    if most is None:
        for step in channel.steps():
            broker.apply(step)
    broker.last = ""
    return names


def with_names(state: tuple[Any, ...], new_names: list[tuple[str, str]]) -> tuple[object, ...]:
    """What L{SmallBroker.state} is to be when queues have got other names."""
    exchanges, queues, bindings, consumers = state
    names: dict[str, str] = {}
    for old, new in reversed(new_names):
        names[old] = names.get(new, new)

    def renamed(bound: Bound) -> Bound:
        new = names.get(bound.destination, bound.destination) if bound.kind == "queue" else bound.destination
        return bound._replace(destination=new, key=new if bound.key == bound.destination else bound.key)

    return (
        exchanges,
        {names.get(name, name): looks for name, looks in queues.items()},
        sorted(map(renamed, bindings), key=repr),
        sorted(each._replace(queue=names.get(each.queue, each.queue)) for each in consumers),
    )


class Program(RuleBasedStateMachine):
    """A program with one channel, and a service that takes notes."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = virtual_host()
        self.topology = Topology()
        self.channel = ChannelRecord()
        self.tags = 0

    def queue(self, choice: int) -> str:
        """A name, C{""}, or what the broker has named."""
        known = ["q1", "q2", "", "their q", *(name for name in self.broker.queues if name.startswith("amq."))]
        return known[choice % len(known)]

    def there(self, *names: str) -> None:
        """Declare exchanges and queues of this program, where they are not."""
        for name in names:
            if name.startswith("x") and name not in self.broker.exchanges:
                self.declare_exchange(name, name != "x3", False, False, {})
            elif name.startswith("q") and name not in self.broker.queues:
                self.declare_queue(int(name[1]) - 1, False, name == "q1", False, False)

    def do(self, method: Any, done: Callable[[Any], None] = lambda resolved: None) -> None:
        """Call it, and note it when it succeeds; then use its arguments for something else."""
        resolved: Any = self.channel.resolve(method)
        try:
            # The first channel is told "" as the program said it. On a later one the broker would not know.
            reply = self.broker.apply(method if self.broker.last else resolved)
        except Refused:
            return
        told: Method | None = None if getattr(method, "nowait", False) else reply
        self.topology.record(resolved, told)
        self.channel.record(resolved, told)
        done(resolved)
        if getattr(method, "arguments", None):
            method.arguments["changed"] = "afterwards"

    @rule(name=exchanges, auto_delete=flags, passive=st.sampled_from([False, False, True]), nowait=flags, table=tables)
    def declare_exchange(self, name: str, auto_delete: bool, passive: bool, nowait: bool, table: Any) -> None:
        self.do(Exchange.Declare(0, name, "topic", passive, False, auto_delete, False, nowait, dict(table)))

    @rule(name=exchanges, if_unused=flags)
    def delete_exchange(self, name: str, if_unused: bool) -> None:
        if name != "their x":
            self.do(Exchange.Delete(0, name, if_unused))

    @rule(
        choice=queues, exclusive=flags, auto_delete=flags, passive=st.sampled_from([False, False, True]), nowait=flags
    )
    def declare_queue(self, choice: int, exclusive: bool, auto_delete: bool, passive: bool, nowait: bool) -> None:
        name = self.queue(choice)
        if name or not passive:
            self.do(Queue.Declare(0, name, passive, False, exclusive, auto_delete, nowait and bool(name)))

    @rule(choice=queues, if_unused=flags)
    def delete_queue(self, choice: int, if_unused: bool) -> None:
        name = self.queue(choice)
        if (name or self.channel.last_queue) != "their q":
            self.do(Queue.Delete(0, name, if_unused))

    @rule(choice=queues, source=exchanges, key=keys, table=tables, nowait=flags)
    def bind_queue(self, choice: int, source: str, key: str, table: Any, nowait: bool) -> None:
        name = self.queue(choice)
        self.there(source, name)
        self.do(Queue.Bind(0, name, source, name if key == "same" else key, nowait, dict(table)))

    @rule(destination=exchanges, source=exchanges, key=keys, table=tables)
    def bind_exchange(self, destination: str, source: str, key: str, table: Any) -> None:
        self.there(source, destination)
        self.do(Exchange.Bind(0, destination, source, key, False, dict(table)))

    @rule(nowait=flags, exclusive=flags)
    def set_up_a_chain(self, nowait: bool, exclusive: bool) -> None:
        """Two auto-delete exchanges in a row, a queue of the broker's naming behind them, and one that consumes."""
        self.there("x1", "x2")
        self.do(Exchange.Bind(destination="x2", source="x1", nowait=nowait))
        self.do(Queue.Declare(auto_delete=True, exclusive=exclusive))
        self.do(Queue.Bind(exchange="x2", nowait=nowait))
        self.consume(2, nowait)

    @rule(choice=st.integers(0), other_way_round=flags)
    def unbind(self, choice: int, other_way_round: bool) -> None:
        """One of those that are known."""
        if not self.topology.bindings:
            return
        binding = self.topology.bindings[choice % len(self.topology.bindings)]
        table = dict(sorted(binding.arguments.items(), reverse=other_way_round))
        if isinstance(binding, Queue.Bind):
            name, key = binding.queue, binding.routing_key
            if name == self.channel.last_queue:
                name, key = "", "" if key == name else key
            self.do(Queue.Unbind(0, name, binding.exchange, key, table))
        else:
            self.do(Exchange.Unbind(0, binding.destination, binding.source, binding.routing_key, False, table))

    @rule(choice=queues, source=exchanges, key=keys, table=tables)
    def unbind_anything(self, choice: int, source: str, key: str, table: Any) -> None:
        name = self.queue(choice)
        self.do(Queue.Unbind(0, name, source, name if key == "same" else key, dict(table)))

    @rule(count=st.integers(0, 3))
    def limit(self, count: int) -> None:
        self.do(Basic.Qos(0, count))

    @rule(choice=queues, nowait=flags)
    def consume(self, choice: int, nowait: bool) -> None:
        self.tags += 1
        tag = f"c{self.tags}"

        def consuming(resolved: Basic.Consume) -> None:
            self.channel.consuming(tag, resolved)
            self.topology.consumer_added(resolved.queue)

        name = self.queue(choice)
        self.there(name)
        self.do(Basic.Consume(queue=name, consumer_tag=tag, nowait=nowait), consuming)

    @precondition(lambda self: self.broker.consumers)
    @rule(choice=st.integers(0))
    def cancel(self, choice: int) -> None:
        """What the broker has said on this channel before it answers is heard before."""
        self.hear_all()
        tag = self.broker.consumers[choice % len(self.broker.consumers)].tag
        self.broker.cancel(tag)
        self.ended(tag)

    @precondition(lambda self: self.broker.orphans)
    @rule()
    def hear_that_a_consumer_went_with_its_queue(self) -> None:
        self.ended(self.broker.orphans.pop(0))

    @rule(cuts=st.lists(st.integers(0, 12), max_size=2))
    def lose_the_connection(self, cuts: list[int]) -> None:
        """And perhaps the next one too, before all is set up."""
        self.hear_all()
        before = self.broker.state()
        limit = self.broker.prefetch
        names = []
        for most in (*cuts, None):
            self.broker.disconnect()
            names += set_up(self.broker, self.topology, self.channel, most)
        for name, _ in names:
            self.broker.delete_queue(name)  # if not exclusive it is still there, with nobody who knows its name
        assert self.broker.state() == with_names(before, names)
        assert self.broker.prefetch == limit

    def ended(self, tag: str) -> None:
        queue = self.channel.cancelled(tag)
        assert queue is not None
        self.topology.consumer_gone(queue)

    def hear_all(self) -> None:
        while self.broker.orphans:
            self.ended(self.broker.orphans.pop(0))

    @invariant()
    def all_of_it_would_come_back(self) -> None:
        """At a broker that has lost everything."""
        if self.broker.orphans:
            return
        empty = virtual_host()
        empty.given = 1000
        names = set_up(empty, *copy.deepcopy((self.topology, self.channel)))
        assert empty.state() == with_names(self.broker.state(), names)
        assert empty.prefetch == self.broker.prefetch

    @invariant()
    def the_empty_name_means_the_same(self) -> None:
        assert not self.broker.last or self.broker.last == self.channel.last_queue

    def teardown(self) -> None:
        self.hear_all()
        self.all_of_it_would_come_back()


class ModelTests(SynchronousTestCase):
    """A program that does anything."""

    def test_any_program(self) -> None:
        run_state_machine_as_test(
            Program,
            settings=settings(
                max_examples=100,
                stateful_step_count=50,
                deadline=None,
                phases=[Phase.generate],  # Phase.shrink too takes minutes, once there is a failure to look into
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
