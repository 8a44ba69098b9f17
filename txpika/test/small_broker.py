"""
A broker with nothing but exchanges, queues, bindings and consumers, for the tests of what is set up again.

Written from RabbitMQ's rules, not from L{txpika.topology}, and without its indexes: it looks through all it has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from txpika.spec import Basic, Exchange, Method, Queue
from txpika.test.strategies import typed

#: As each virtual host has them.
PREDEFINED = ("", "amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match")


class Refused(Exception):
    """What a broker closes a channel for."""


class Bound(NamedTuple):
    """A binding."""

    kind: str
    destination: str
    source: str
    key: str
    arguments: object


class Consuming(NamedTuple):
    """A consumer."""

    tag: str
    queue: str
    prefetch: int


class SmallBroker:
    """
    One virtual host, and of one connection one channel.

    @ivar orphans: Tags of consumers that ended with their queue, of which nobody has been told yet.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange.Declare] = {}
        self.queues: dict[str, Queue.Declare] = {}
        self.bindings: list[Bound] = []
        self.consumers: list[Consuming] = []
        self.orphans: list[str] = []
        self.last = ""
        self.prefetch = 0
        self.given = 0

    def state(self) -> tuple[object, ...]:
        """All there is, in an order that means nothing."""
        return (
            {name: looks(method) for name, method in self.exchanges.items()},
            {name: looks(method) for name, method in self.queues.items()},
            sorted(self.bindings, key=repr),
            sorted(self.consumers),
        )

    def disconnect(self) -> None:
        """The client's connection is lost."""
        ended, self.consumers = {each.queue for each in self.consumers}, []
        for name, queue in list(self.queues.items()):
            if queue.exclusive or (queue.auto_delete and name in ended):
                self.delete_queue(name)
        self.orphans, self.last, self.prefetch = [], "", 0

    def apply(self, method: Method) -> Method | None:
        """@raise Refused: It does not succeed, and changes nothing."""
        act = getattr(self, type(method).__qualname__.replace(".", "_").lower())
        reply: Method | None = act(method)
        return reply

    def exchange_declare(self, method: Exchange.Declare) -> None:
        if method.exchange in PREDEFINED:
            return
        if method.exchange not in self.exchanges:
            if method.passive or method.exchange.startswith("amq."):
                raise Refused
            self.exchanges[method.exchange] = type(method).decode(method.encode(), 4)
        elif not method.passive and looks(self.exchanges[method.exchange]) != looks(method):
            raise Refused

    def exchange_delete(self, method: Exchange.Delete) -> None:
        if method.exchange in PREDEFINED:
            raise Refused
        if method.if_unused and any(each.source == method.exchange for each in self.bindings):
            raise Refused
        self.delete_exchange(method.exchange)

    def queue_declare(self, method: Queue.Declare) -> Queue.DeclareOk:
        name = method.queue
        if not name:
            self.given += 1
            name = f"amq.gen-{self.given}"
        if name not in self.queues:
            if method.passive or method.queue.startswith("amq."):
                raise Refused
            self.queues[name] = type(method).decode(method.encode(), 4)
        elif not method.passive and looks(self.queues[name]) != looks(method):
            raise Refused
        self.last = name
        return Queue.DeclareOk(name)

    def queue_delete(self, method: Queue.Delete) -> None:
        name = self.expand(method.queue)
        if method.if_unused and any(each.queue == name for each in self.consumers):
            raise Refused
        self.delete_queue(name)

    def queue_bind(self, method: Queue.Bind) -> None:
        key = method.routing_key or ("" if method.queue else self.last)
        self.bind("queue", self.expand(method.queue), method.exchange, key, method.arguments)

    def queue_unbind(self, method: Queue.Unbind) -> None:
        key = method.routing_key or ("" if method.queue else self.last)
        self.unbind(Bound("queue", self.expand(method.queue), method.exchange, key, arguments(method)))

    def exchange_bind(self, method: Exchange.Bind) -> None:
        self.bind("exchange", method.destination, method.source, method.routing_key, method.arguments)

    def exchange_unbind(self, method: Exchange.Unbind) -> None:
        self.unbind(Bound("exchange", method.destination, method.source, method.routing_key, arguments(method)))

    def basic_qos(self, method: Basic.Qos) -> None:
        self.prefetch = method.prefetch_count

    def basic_consume(self, method: Basic.Consume) -> None:
        name = self.expand(method.queue)
        if name not in self.queues or any(each.tag == method.consumer_tag for each in self.consumers):
            raise Refused
        self.consumers.append(Consuming(method.consumer_tag, name, self.prefetch))

    def cancel(self, tag: str) -> None:
        """The client cancels a consumer."""
        (ended,) = [each for each in self.consumers if each.tag == tag]
        self.consumers.remove(ended)
        queue = self.queues[ended.queue]
        if queue.auto_delete and not any(each.queue == ended.queue for each in self.consumers):
            self.delete_queue(ended.queue)

    def expand(self, queue: str) -> str:
        if not queue and not self.last:
            raise Refused
        return queue or self.last

    def bind(self, kind: str, destination: str, source: str, key: str, table: Any) -> None:
        there = self.queues if kind == "queue" else (*self.exchanges, *PREDEFINED)
        if destination not in there or source not in (*self.exchanges, *PREDEFINED) or "" in (destination, source):
            raise Refused
        bound = Bound(kind, destination, source, key, typed(dict(sorted(table.items()))))
        if bound not in self.bindings:
            self.bindings.append(bound)

    def unbind(self, bound: Bound) -> None:
        if bound in self.bindings:
            self.bindings.remove(bound)
            self.source_lost_one(bound.source)

    def source_lost_one(self, name: str) -> None:
        exchange = self.exchanges.get(name)
        if exchange is not None and exchange.auto_delete and not any(each.source == name for each in self.bindings):
            self.delete_exchange(name)

    def delete_exchange(self, name: str) -> None:
        self.exchanges.pop(name, None)
        self.forget([each for each in self.bindings if name == each.source or ("exchange", name) == each[:2]])

    def delete_queue(self, name: str) -> None:
        self.queues.pop(name, None)
        self.orphans += [each.tag for each in self.consumers if each.queue == name]
        self.consumers = [each for each in self.consumers if each.queue != name]
        self.forget([each for each in self.bindings if ("queue", name) == each[:2]])

    def forget(self, gone: list[Bound]) -> None:
        self.bindings = [each for each in self.bindings if each not in gone]
        for each in gone:
            self.source_lost_one(each.source)


def looks(method: Exchange.Declare | Queue.Declare) -> list[object]:
    """What a declaration makes, apart from how it is called."""
    left_out = ("ticket", "exchange", "queue", "passive", "nowait")
    return [typed(getattr(method, name)) for name in method.FIELDS if name not in left_out]


def arguments(method: Queue.Unbind | Exchange.Unbind) -> object:
    return typed(dict(sorted(method.arguments.items())))
