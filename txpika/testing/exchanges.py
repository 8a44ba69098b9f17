# -*- test-case-name: txpika.test.test_memory_routing -*-
"""
Exchanges of the broker in memory: their types, their bindings, and where a message goes from one of them.

Owns the index that each type needs: no message is compared with every binding, but for type headers, as in RabbitMQ.
Knows destinations as pairs of a kind and a name; not what is behind the names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from txpika.testing.errors import failed
from txpika.testing.message import Message
from txpika.testing.tables import Arguments, frozen, type_name
from txpika.testing.topics import Topics

Kind = Literal["queue", "exchange"]
#: What a binding leads to.
Destination = tuple[Kind, str]

ALL, ANY, ALL_WITH_X, ANY_WITH_X = "all", "any", "all-with-x", "any-with-x"


class Binding(NamedTuple):
    """
    @ivar source: An exchange.
    @ivar destination: A queue, or an exchange.
    @ivar key: The binding's routing key.
    @ivar identity: What its arguments are told apart by (L{txpika.testing.tables.frozen}).
    """

    source: str
    destination: Destination
    key: str
    identity: object


class Exchange(ABC):
    """
    @cvar type: What the type is called.
    @ivar bindings: Those that begin here, with their arguments.
    @ivar alternate: Where messages go that no binding takes; C{None} when there is no such exchange.
    """

    type = ""

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Arguments) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        alternate = arguments.get("alternate-exchange")
        self.alternate = alternate if isinstance(alternate, str) else None
        self.bindings: dict[Binding, Arguments] = {}

    @abstractmethod
    def check(self, arguments: Arguments) -> None:
        """@raise Refused: A binding with such arguments makes no sense here."""

    def add(self, binding: Binding, arguments: Arguments) -> None:
        """Bind; harmless when it is bound."""
        if binding not in self.bindings:
            self.bindings[binding] = arguments
            self._added(binding)

    def remove(self, binding: Binding) -> bool:
        """@return: Whether it was bound."""
        if binding not in self.bindings:
            return False
        self._removed(binding)
        del self.bindings[binding]
        return True

    @abstractmethod
    def route(self, message: Message) -> Iterable[Destination]:
        """@return: Where the bindings send it; a destination may come more than once."""

    @abstractmethod
    def _added(self, binding: Binding) -> None:
        """One more."""

    @abstractmethod
    def _removed(self, binding: Binding) -> None:
        """One less."""


class DirectExchange(Exchange):
    """To bindings whose key is the message's."""

    type = "direct"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Arguments) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._by_key: dict[str, dict[Binding, None]] = {}

    def check(self, arguments: Arguments) -> None:
        """Any will do."""

    def route(self, message: Message) -> Iterable[Destination]:
        return [binding.destination for key in message.keys for binding in self._by_key.get(key, ())]

    def _added(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.key, {})[binding] = None

    def _removed(self, binding: Binding) -> None:
        bound = self._by_key[binding.key]
        del bound[binding]
        if not bound:
            del self._by_key[binding.key]


class FanoutExchange(Exchange):
    """To all bindings."""

    type = "fanout"

    def check(self, arguments: Arguments) -> None:
        """Any will do."""

    def route(self, message: Message) -> Iterable[Destination]:
        return [binding.destination for binding in self.bindings]

    def _added(self, binding: Binding) -> None:
        """Nothing more to do."""

    def _removed(self, binding: Binding) -> None:
        """Nothing more to do."""


class TopicExchange(Exchange):
    """To bindings whose key, a pattern, matches the message's."""

    type = "topic"

    def __init__(self, name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Arguments) -> None:
        super().__init__(name, durable, auto_delete, internal, arguments)
        self._topics: Topics[Binding] = Topics()

    def check(self, arguments: Arguments) -> None:
        """Any will do."""

    def route(self, message: Message) -> Iterable[Destination]:
        return [binding.destination for key in message.keys for binding in self._topics.match(key)]

    def _added(self, binding: Binding) -> None:
        self._topics.add(binding.key, binding)

    def _removed(self, binding: Binding) -> None:
        self._topics.remove(binding.key, binding)


class HeadersExchange(Exchange):
    """To bindings whose arguments agree with the message's headers."""

    type = "headers"

    def check(self, arguments: Arguments) -> None:
        if "x-match" not in arguments:
            return
        match = arguments["x-match"]
        if not isinstance(match, str):
            raise failed(f"Invalid x-match field type {type_name(match)} (value {match}); expected longstr")
        if match not in (ALL, ANY, ALL_WITH_X, ANY_WITH_X):
            raise failed(f'Invalid x-match field value <<"{match}">>; expected all, any, all-with-x, or any-with-x')

    def route(self, message: Message) -> Iterable[Destination]:
        headers = message.properties.headers or {}
        return [binding.destination for binding, wanted in self.bindings.items() if _agrees(wanted, headers)]

    def _added(self, binding: Binding) -> None:
        """Nothing more to do."""

    def _removed(self, binding: Binding) -> None:
        """Nothing more to do."""


def _agrees(wanted: Arguments, headers: Mapping[str, object]) -> bool:
    match = wanted.get("x-match", ALL)
    with_x = match in (ALL_WITH_X, ANY_WITH_X)
    wants = [(key, value) for key, value in wanted.items() if key != "x-match" and (with_x or key[:2] != "x-")]
    agreements = (
        key in headers and (value is None or _comparable(value) == _comparable(headers[key])) for key, value in wants
    )
    return any(agreements) if match in (ANY, ANY_WITH_X) else all(agreements)


def _comparable(value: object) -> object:
    """
    @return: What is equal exactly where the values are for RabbitMQ, which compares numbers by their value, but not
        with truth values, bytes as text, and decimals by their digits.
    """
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, Decimal):
        return value.as_tuple()
    if isinstance(value, int | float | bytes):
        return value
    return frozen(value)


TYPES: dict[str, type[Exchange]] = {
    each.type: each for each in (DirectExchange, FanoutExchange, TopicExchange, HeadersExchange)
}

#: What each virtual host has from the beginning. The default exchange has no bindings of its own: there a message's
#: routing key is the name of its queue.
PREDEFINED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}
