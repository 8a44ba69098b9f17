"""Where messages go: exchanges, bindings and what goes with them, on RabbitMQ and on the broker in memory."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import Basic, Exchange, Queue, Timestamp
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario
from txpika.testing.topics import Topics

#: Pattern, keys that it matches, keys that it does not.
TOPICS = [
    ("a.b", ["a.b"], ["a", "a.b.c", "", "a.*", "a.#"]),
    ("a.*", ["a.b", "a."], ["a", "a.b.c", "b.a"]),
    ("*", ["a", "*", "#"], ["", "a.b"]),
    ("#", ["", "a", "a.b", "..", "a.b.c"], []),
    ("a.#", ["a", "a.b", "a.b.c"], ["b", "", "b.a"]),
    ("#.a", ["a", "b.a", "c.b.a", "a.a"], ["b", "a.b"]),
    ("#.a.#", ["a", "b.a.c", "a.b", "b.a"], ["b", ""]),
    ("*.#", ["a", "a.b"], [""]),
    ("#.*", ["a", "a.b"], [""]),
    ("a.*.#.c", ["a.b.c", "a.b.x.y.c"], ["a.c", "a.b"]),
    ("", [""], ["a", "."]),
    ("..", [".."], [".", "", "..."]),
    ("#.#", ["", "a", "a.b"], []),
]


#: Arguments of a binding, headers of messages that it takes, and of others.
HeadersCase = tuple[dict[str, object], list[dict[str, object]], list[dict[str, object]]]
OF_TYPES: list[HeadersCase] = [
    ({"a": 1}, [{"a": 1.0}], [{"a": Decimal("1.0")}, {"a": "1"}, {"a": [1]}]),
    ({"a": Decimal("1.0")}, [{"a": Decimal("1.0")}], [{"a": Decimal("1.00")}, {"a": 1}]),
    ({"a": "x"}, [{"a": b"x"}], [{"a": b"y"}, {"a": None}]),
    ({"a": b"x"}, [{"a": "x"}], [{"a": ["x"]}]),
    ({"a": Timestamp(1)}, [{"a": 1}, {"a": Timestamp(1)}], [{"a": True}]),
    ({"a": [1, "x"]}, [{"a": [1, "x"]}], [{"a": [1]}, {"a": [1.0, "x"]}, {"a": {"b": 1}}]),
    ({"a": {"b": 1}}, [{"a": {"b": 1}}], [{"a": {"b": 2}}, {"a": []}]),
]


class RoutingScenarios(Scenario):
    """Published with C{mandatory}, so that a message which goes nowhere comes back."""

    def setUp(self) -> None:
        super().setUp()
        if type(self).__name__.startswith("Routing"):
            self.one = self.client()

    def exchange(self, kind: str, name: str = "x", **arguments: Any) -> str:
        exchange = self.name(name)
        table = {key.replace("_", "-"): value for key, value in arguments.pop("arguments", {}).items()}
        declare = Exchange.Declare(0, exchange, kind, arguments=table, **arguments)
        self.one.call(1, declare, Exchange.DeclareOk)
        return exchange

    def queue(self, name: str = "q") -> str:
        return self.declared(self.one, name, exclusive=True)

    def bind(self, queue: str, exchange: str, key: str = "", arguments: Any = None) -> None:
        self.one.call(1, Queue.Bind(0, queue, exchange, key, arguments=arguments or {}), Queue.BindOk)

    def unbind(self, queue: str, exchange: str, key: str = "", arguments: Any = None) -> None:
        self.one.call(1, Queue.Unbind(0, queue, exchange, key, arguments=arguments or {}), Queue.UnbindOk)

    def bind_exchange(self, destination: str, source: str, key: str = "") -> None:
        self.one.call(1, Exchange.Bind(0, destination, source, key), Exchange.BindOk)

    def goes(self, exchange: str, key: str, *queues: str, **properties: Any) -> None:
        """A message published so comes to these queues, once to each."""
        self.one.publish(1, exchange, key, b"m", True, **properties)
        if not queues:
            self.assertEqual(self.one.message(1, Basic.Return).method.reply_code, 312)
        self.assertEqual({queue: self.bodies(self.one, queue) for queue in self.queues}, self.expected(queues))

    def expected(self, queues: tuple[str, ...]) -> dict[str, list[bytes]]:
        return {queue: [b"m"] if queue in queues else [] for queue in self.queues}

    def missing(self, exchange: str) -> None:
        """It is not there; the channel ends by that."""
        self.one.send(1, Exchange.Declare(0, exchange, passive=True))
        self.refused(self.one, 1, 404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'")

    queues: list[str]

    def test_the_default_exchange(self) -> None:
        self.queues = [self.queue("a"), self.queue("b")]
        a, b = self.queues
        self.goes("", a, a)
        self.goes("", b, b)
        self.goes("", self.name("none"))

    def test_direct(self) -> None:
        x = self.exchange("direct")
        a, b = self.queues = [self.queue("a"), self.queue("b")]
        self.bind(a, x, "k")
        self.bind(b, x, "k")
        self.bind(b, x, "l")
        self.bind(b, x, "l")
        self.goes(x, "k", a, b)
        self.goes(x, "l", b)
        self.goes(x, "m")
        self.unbind(b, x, "k")
        self.goes(x, "k", a)
        self.goes(x, "l", b)
        self.unbind(b, x, "l")
        self.goes(x, "l")

    def test_bindings_that_differ_in_arguments(self) -> None:
        """They are two, and a message comes once all the same."""
        x = self.exchange("direct")
        (a,) = self.queues = [self.queue("a")]
        self.bind(a, x, "k")
        self.bind(a, x, "k", {"a": 1})
        self.goes(x, "k", a)
        self.unbind(a, x, "k")
        self.goes(x, "k", a)
        self.unbind(a, x, "k", {"a": 2})
        self.goes(x, "k", a)
        self.unbind(a, x, "k", {"a": 1})
        self.goes(x, "k")

    def test_fanout(self) -> None:
        x = self.exchange("fanout")
        a, b = self.queues = [self.queue("a"), self.queue("b")]
        self.bind(a, x, "k")
        self.bind(b, x, "l")
        self.goes(x, "whatever", a, b)
        self.unbind(a, x, "k")
        self.goes(x, "", b)

    def test_topic(self) -> None:
        for pattern, matches, others in TOPICS:
            self._id += "t"
            x = self.exchange("topic")
            (a,) = self.queues = [self.queue("a")]
            self.bind(a, x, pattern)
            for key in matches:
                self.goes(x, key, a)
            for key in others:
                self.goes(x, key)
            self.unbind(a, x, pattern)
            self.goes(x, "a")

    def test_headers(self) -> None:
        x = self.exchange("headers")
        cases: list[HeadersCase] = [
            ({"a": 1, "b": "x"}, [{"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 1}], [{"a": 1}, {"a": 2, "b": "x"}, {}]),
            ({"x-match": "any", "a": 1, "b": "x"}, [{"a": 1}, {"b": "x", "a": 2}], [{"a": 2}, {}, {"c": 1}]),
            ({"x-match": "all", "a": None}, [{"a": 1}, {"a": "z"}], [{"b": 1}]),
            ({"x-match": "all", "a": True}, [{"a": True}], [{"a": 1}, {"a": False}]),
            ({"x-match": "any", "x-a": 1, "b": 1}, [{"b": 1}], [{"x-a": 1}]),
            ({"x-match": "any-with-x", "x-a": 1, "b": 1}, [{"b": 1}, {"x-a": 1}], [{"b": 2}]),
            ({"x-match": "all", "x-a": 1, "b": 1}, [{"b": 1}], [{"x-a": 1}]),
            ({"x-match": "all-with-x", "x-a": 1, "b": 1}, [{"b": 1, "x-a": 1}], [{"b": 1}]),
            ({}, [{"a": 1}, {}], []),
            ({"x-match": "any"}, [], [{"a": 1}, {}]),
        ]
        if not self.is_later:  # which sees the types of values in another way
            cases += OF_TYPES
        for number, (arguments, matches, others) in enumerate(cases):
            (a,) = self.queues = [self.queue(f"a{number}")]
            self.bind(a, x, "", arguments)
            for headers in matches:
                self.goes(x, "", a, headers=headers)
            for headers in others:
                self.goes(x, "", headers=headers)
            self.unbind(a, x, "", arguments)

    def test_a_message_without_headers(self) -> None:
        (a,) = self.queues = [self.queue("a")]
        x = self.exchange("headers")
        self.bind(a, x)
        self.goes(x, "", a)
        self.unbind(a, x)
        self.bind(a, x, "", {"x-match": "any", "a": 1})
        self.goes(x, "")

    def test_exchange_to_exchange(self) -> None:
        first, second = self.exchange("topic", "first"), self.exchange("direct", "second")
        a, b = self.queues = [self.queue("a"), self.queue("b")]
        self.bind_exchange(second, first, "a.#")
        self.bind(a, second, "a.b")
        self.bind(b, first, "a.b")
        self.goes(first, "a.b", a, b)
        self.goes(first, "a.c")
        self.goes(second, "a.b", a)
        self.one.call(1, Exchange.Unbind(0, second, first, "a.#"), Exchange.UnbindOk)
        self.goes(first, "a.b", b)

    def test_exchanges_in_a_ring(self) -> None:
        first, second = self.exchange("fanout", "first"), self.exchange("fanout", "second")
        a, _ = self.queues = [self.queue("a"), self.queue("b")]
        self.bind_exchange(second, first)
        self.bind_exchange(first, second)
        self.goes(first, "k")
        self.bind(a, second)
        self.goes(first, "k", a)

    def test_alternate_exchange(self) -> None:
        last = self.exchange("fanout", "last")
        middle = self.exchange("direct", "middle", arguments={"alternate_exchange": last})
        first = self.exchange("direct", "first", arguments={"alternate_exchange": middle})
        a, b, c = self.queues = [self.queue("a"), self.queue("b"), self.queue("c")]
        self.bind(a, first, "k")
        self.bind(b, middle, "l")
        self.goes(first, "m")
        self.bind(c, last)
        self.goes(first, "k", a)
        self.goes(first, "l", b)
        self.goes(first, "m", c)

    def test_an_alternate_exchange_that_is_not_there(self) -> None:
        self.queues = []
        self.goes(self.exchange("direct", arguments={"alternate_exchange": self.name("none")}), "k")

    def test_the_default_exchange_as_an_alternate_exchange(self) -> None:
        """It leads nowhere: it has no bindings that could be asked."""
        a = self.queue("a")
        self.queues = [a]
        self.goes(self.exchange("direct", arguments={"alternate_exchange": ""}), a)

    def test_an_internal_exchange(self) -> None:
        outer, inner = self.exchange("fanout", "outer"), self.exchange("fanout", "inner", internal=True)
        (a,) = self.queues = [self.queue("a")]
        self.bind_exchange(inner, outer)
        self.bind(a, inner)
        self.goes(outer, "k", a)

    def test_predefined_exchanges(self) -> None:
        (a,) = self.queues = [self.queue("a")]
        for exchange, key in (("amq.direct", a), ("amq.topic", f"{a}.#"), ("amq.fanout", ""), ("amq.headers", "")):
            arguments = {"for": a} if exchange == "amq.headers" else {}
            self.bind(a, exchange, key, arguments)
            self.goes(exchange, a, a, headers={"for": a})
            self.unbind(a, exchange, key, arguments)
        self.bind(a, "amq.match", "", {"for": a})
        self.goes("amq.match", "", a, headers={"for": a})

    def test_more_routing_keys(self) -> None:
        """C{CC} and C{BCC}; what is in C{BCC} nobody sees."""
        a, b, c = self.queues = [self.queue("a"), self.queue("b"), self.queue("c")]
        self.goes("", a, a, b, c, headers={"CC": [b, a], "BCC": [c]})
        self.goes("", self.name("none"), c, headers={"BCC": [c, 1]})
        x = self.exchange("direct")
        self.bind(b, x, "l")
        self.bind(c, x, "m")
        self.goes(x, "k", b, c, headers={"CC": ["l"], "BCC": ["m"]})
        self.one.publish(1, "", a, b"", headers={"CC": [b], "BCC": [c], "z": 1})
        for queue in self.queues:
            heard = self.get(self.one, queue)
            self.assertEqual(heard.properties.headers, {"CC": [b], "z": 1})
            self.assertEqual(heard.method.routing_key, a)

    def test_auto_delete(self) -> None:
        """It goes with its last binding, not before the first."""
        x = self.exchange("direct", auto_delete=True)
        (a,) = self.queues = [self.queue("a")]
        self.one.call(1, Exchange.Declare(0, x, passive=True), Exchange.DeclareOk)
        self.bind(a, x, "k")
        self.bind(a, x, "l")
        self.unbind(a, x, "k")
        self.goes(x, "l", a)
        self.unbind(a, x, "l")
        self.missing(x)

    def test_auto_delete_in_a_row(self) -> None:
        """A queue goes, and with it all that led only to it."""
        first = self.exchange("fanout", "first", auto_delete=True)
        second = self.exchange("fanout", "second", auto_delete=True)
        stays = self.exchange("fanout", "stays")
        queue = self.queue()
        self.bind_exchange(second, first)
        self.bind_exchange(second, stays)
        self.bind(queue, second)
        self.one.call(1, Queue.Delete(0, queue), Queue.DeleteOk)
        self.queues = []
        self.goes(stays, "k")
        self.missing(second)
        self.one = self.client()
        self.missing(first)

    def test_deleting_an_exchange(self) -> None:
        """Its bindings go too, and do not come back with one of the same name."""
        first, second = self.exchange("fanout", "first"), self.exchange("fanout", "second")
        (a,) = self.queues = [self.queue("a")]
        self.bind_exchange(second, first)
        self.bind(a, second)
        self.goes(first, "k", a)
        self.one.call(1, Exchange.Delete(0, second), Exchange.DeleteOk)
        self.goes(first, "k")
        self.exchange("fanout", "second")
        self.goes(first, "k")
        self.goes(second, "k")

    def test_a_queue_that_is_declared_again(self) -> None:
        x = self.exchange("fanout")
        (a,) = self.queues = [self.queue("a")]
        self.bind(a, x)
        self.one.call(1, Queue.Delete(0, a), Queue.DeleteOk)
        self.queue("a")
        self.goes(x, "k")
        self.goes("", a, a)

    def test_binding_without_names(self) -> None:
        """The last queue that was declared, and its name as the key."""
        x = self.exchange("direct")
        ok = self.one.call(1, Queue.Declare(0, "", exclusive=True), Queue.DeclareOk)
        self.assertTrue(ok.queue.startswith("amq.gen-"))
        (a,) = self.queues = [ok.queue]
        self.bind("", x, "")
        self.goes(x, ok.queue, a)
        self.goes(x, "")
        self.unbind("", x, "")
        self.goes(x, ok.queue)
        self.one.call(1, Queue.Bind(0, ok.queue, x, ""), Queue.BindOk)
        self.goes(x, "", a)

    def test_routes_that_change_between_messages(self) -> None:
        """The way that is remembered for the next message alike is not taken when things have changed."""
        x = self.exchange("direct")
        a, b = self.queues = [self.queue("a"), self.queue("b")]
        self.goes(x, "k")
        self.bind(a, x, "k")
        self.goes(x, "k", a)
        self.bind(b, x, "k")
        self.goes(x, "k", a, b)
        self.one.call(1, Queue.Delete(0, a), Queue.DeleteOk)
        self.queues = [b]
        self.goes(x, "k", b)
        self.one.call(1, Exchange.Delete(0, x), Exchange.DeleteOk)
        self.one.publish(1, x, "k")
        self.refused(self.one, 1, 404, f"NOT_FOUND - no exchange '{x}' in vhost '/'")


class RoutingInMemoryTests(RoutingScenarios, InMemory):
    pass


class RoutingOnRabbitMQTests(RoutingScenarios, OnRabbitMQ):
    pass


class TopicsTests(SynchronousTestCase):
    """The tree."""

    def test_it_is_empty_again(self) -> None:
        topics: Topics[int] = Topics()
        for number, (pattern, _, _) in enumerate(TOPICS):
            topics.add(pattern, number)
        for number, (pattern, _, _) in enumerate(TOPICS):
            topics.remove(pattern, number)
        self.assertEqual((topics._root.children, topics._root.values), ({}, {}))

    def test_many_ways_to_match(self) -> None:
        """A pattern that matches in very many ways takes no longer for that."""
        topics: Topics[int] = Topics()
        topics.add(".".join("#" * 120), 1)
        topics.add("#.*" * 40 + ".#.b", 2)
        self.assertEqual(topics.match(".".join("a" * 120)), {1: None})


del Scenario, RoutingScenarios
