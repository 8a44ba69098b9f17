# -*- test-case-name: txpika.test.test_memory_routing -*-
"""
A message on its way through the broker in memory, and what the broker itself reads of its properties.

Owns the checks that RabbitMQ makes of a message that is published. Knows neither exchanges nor queues; a message goes
through all of them as it came, but for the header C{BCC}, which is taken out.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any, NamedTuple

from txpika.exceptions import DecodeError
from txpika.spec import INTERNAL_ERROR, BasicProperties
from txpika.testing.errors import Refused, failed

#: Longest C{expiration} and TTL that RabbitMQ takes, in milliseconds: ten years.
MAX_TTL = 315_360_000_000
#: Properties remembered after they were checked. More than this many different ones and they start anew.
MAX_REMEMBERED = 1024
#: Those over so many bytes are not remembered.
MAX_REMEMBERED_SIZE = 1024

_FLAGS = Struct(">H")
_INTEGER = re.compile(r"[+-]?[0-9]+")


class Route(NamedTuple):
    """
    How a message was published; shared by all messages that were published alike.

    @ivar exchange: The exchange's name.
    @ivar routing_key: The routing key.
    @ivar wire: Both, as they stand in methods.
    """

    exchange: str
    routing_key: str
    wire: bytes


def route_of(exchange: str, routing_key: str) -> Route:
    """@return: The L{Route}; text with surrogates goes back to the bytes it came from."""
    names = [text.encode("utf-8", "surrogateescape") for text in (exchange, routing_key)]
    return Route(exchange, routing_key, b"".join(bytes((len(name),)) + name for name in names))


class Traits(NamedTuple):
    """
    What the broker wants to know of properties.

    @ivar raw: The properties that are passed on.
    @ivar properties: The same, decoded; nobody may change them.
    @ivar more_keys: What stands in the headers C{CC} and C{BCC}.
    @ivar priority: 0 when there is none.
    @ivar ttl: How long it may wait in a queue, in seconds; C{None} for ever.
    @ivar reply_to: Where the answer is to go; C{None} when that is nowhere.
    """

    raw: bytes
    properties: BasicProperties
    more_keys: tuple[str, ...]
    priority: int
    ttl: float | None
    reply_to: str | None


class Message:
    """
    @ivar route: How it was published, or dead-lettered, last.
    @ivar traits: Of its properties.
    @ivar body: Its body: bytes.
    @ivar keys: The routing keys by which exchanges route it.
    """

    __slots__ = ("body", "keys", "route", "traits")

    def __init__(self, route: Route, traits: Traits, body: bytes, keys: tuple[str, ...]) -> None:
        self.route = route
        self.traits = traits
        self.body = body
        self.keys = keys

    @property
    def exchange(self) -> str:
        """The exchange it was published to."""
        return self.route.exchange

    @property
    def routing_key(self) -> str:
        """The routing key it was published with."""
        return self.route.routing_key

    @property
    def properties(self) -> BasicProperties:
        """Its properties. They may be shared with other messages: do not change them."""
        return self.traits.properties

    def __repr__(self) -> str:
        return (
            f"<Message exchange={self.exchange!r} routing_key={self.routing_key!r} body of {len(self.body)} bytes,"
            f" {self.properties!r}>"
        )


class Inspector:
    """Checks properties, each kind of them once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Traits] = {}

    def traits(self, raw: bytes, user: str) -> Traits:
        """
        @param raw: Property flags and values, as they came.
        @param user: Who publishes.
        @raise Refused: The broker takes no message with such properties from that user.
        """
        traits = self._known.get(raw)
        if traits is None:
            properties = BasicProperties.from_wire(raw)
            try:
                properties.decode()
            except DecodeError as error:
                # RabbitMQ says no more than "INTERNAL_ERROR".
                raise Refused(INTERNAL_ERROR, str(error)) from None
            if _FLAGS.unpack_from(raw)[0] & 1:
                raise Refused(INTERNAL_ERROR, "more property flags than there are properties")
            traits = _traits(raw, properties)
            if len(raw) <= MAX_REMEMBERED_SIZE:
                if len(self._known) >= MAX_REMEMBERED:
                    self._known.clear()
                self._known[raw] = traits
        claimed = traits.properties.user_id
        if claimed is not None and claimed != user:
            raise failed(f"user_id property set to '{claimed}' but authenticated user was '{user}'")
        return traits


def _traits(raw: bytes, properties: BasicProperties) -> Traits:
    if properties.delivery_mode not in (None, 1, 2):
        raise failed(f"invalid message: {{delivery_mode_unknown,{properties.delivery_mode}}}")
    ttl = None if properties.expiration is None else _ttl(properties.expiration)
    headers = properties.headers
    more_keys: tuple[str, ...] = ()
    if headers:
        more_keys = (*_keys(headers, "CC"), *_keys(headers, "BCC"))
        if "BCC" in headers:
            raw = without_table_key(raw, properties, "BCC")
            properties = BasicProperties.from_wire(raw)
            properties.decode()
    return Traits(raw, properties, more_keys, properties.priority or 0, ttl, properties.reply_to)


def _ttl(expiration: str) -> float:
    parsed = _INTEGER.match(expiration)
    if parsed is None:
        raise failed(f"invalid expiration '{expiration}': no_integer")
    rest = expiration[parsed.end() :]
    if rest:
        raise failed(f"invalid expiration '{expiration}': {{leftover_string,\"{rest}\"}}")
    milliseconds = int(parsed[0])
    if milliseconds < 0:
        raise failed(f"invalid expiration '{expiration}': {{value_negative,{milliseconds}}}")
    if milliseconds > MAX_TTL:
        raise failed(f"invalid expiration '{expiration}': {{value_too_large,{milliseconds}}}")
    return milliseconds / 1000


def _keys(headers: dict[str, Any], name: str) -> list[str]:
    value = headers.get(name)
    if name not in headers:
        return []
    if not isinstance(value, list):
        from txpika.testing.tables import type_name

        raise failed(f'invalid message: {{unacceptable_type_in_header,"{name}",{type_name(value)}}}')
    return [each for each in value if isinstance(each, str)]


def without_table_key(raw: bytes, properties: BasicProperties, name: str) -> bytes:
    """
    @return: The properties without one of their headers.
    @raise Refused: what is left cannot be written again: a text that is not UTF-8, a number that is none.
    """
    copied = BasicProperties.from_wire(raw)
    copied.headers = {key: value for key, value in (properties.headers or {}).items() if key != name}
    return written(copied)


def written(properties: BasicProperties) -> bytes:
    """
    @return: Changed properties as bytes.
    @raise Refused: They cannot be written.
    """
    try:
        return properties.encode()
    except (TypeError, ValueError) as error:
        raise Refused(INTERNAL_ERROR, str(error)) from None
