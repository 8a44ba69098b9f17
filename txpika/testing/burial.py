# -*- test-case-name: txpika.test.test_memory_deaths -*-
"""
What becomes of a message when it is dead-lettered, as RabbitMQ's classic queues write it (rabbitmq.com/docs/dlx).

Owns the headers C{x-death} and C{x-first-death-*}, and the rule by which messages that go in circles by themselves are
dropped. L{txpika.deaths} reads what this writes. Knows no exchange and no queue but by name.
"""

from __future__ import annotations

from typing import Any

from txpika.spec import BasicProperties, Timestamp
from txpika.testing.message import Message, Traits, route_of, written

Headers = dict[str, Any]


def buried(message: Message, queue: str, reason: str, exchange: str, key: str | None, seconds: float) -> Message:
    """
    @param queue: Where it was dropped.
    @param exchange: Where it goes.
    @param key: With which routing key; C{None} for all that it has.
    @param seconds: The time, since 1970.
    @return: The message that goes there.
    @raise txpika.testing.errors.Refused: Its headers cannot be written again.
    """
    raw = message.traits.raw
    properties = BasicProperties.from_wire(raw)
    headers = dict(properties.headers or {})
    info: Headers = {
        "reason": reason,
        "queue": queue,
        "time": Timestamp(int(seconds)),
        "exchange": message.exchange,
        "routing-keys": [message.routing_key, *_cc(headers)],
    }
    if properties.expiration is not None:
        info["original-expiration"] = properties.expiration
    _add(headers, info)
    keys, route = message.keys, route_of(exchange, message.routing_key)
    if key is not None:
        keys, route = (key,), route_of(exchange, key)
        headers.pop("CC", None)
    properties.headers = headers
    properties.expiration = None
    raw = written(properties)
    properties = BasicProperties.from_wire(raw)
    properties.decode()
    traits = Traits(raw, properties, (), message.traits.priority, None, None)
    return Message(route, traits, message.body, keys)


def _cc(headers: Headers) -> list[str]:
    value = headers.get("CC")
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _add(headers: Headers, info: Headers) -> None:
    deaths = headers.get("x-death")
    if not isinstance(deaths, list):
        if "x-death" not in headers:
            for name in ("reason", "queue", "exchange"):
                headers[f"x-first-death-{name}"] = info[name]
        headers["x-death"] = [{"count": 1, **info}]
        return
    deaths = [{"count": 1, **death} if isinstance(death, dict) else death for death in deaths]
    for death in deaths:
        if isinstance(death, dict) and all(death.get(name) == info[name] for name in ("queue", "reason")):
            count = death.get("count")
            counted = count + 1 if isinstance(count, int) and not isinstance(count, bool) else 2
            headers["x-death"] = [{**death, "count": counted}, *(each for each in deaths if each is not death)]
            return
    headers["x-death"] = [{"count": 1, **info}, *deaths]


def goes_in_circles(message: Message, queue: str) -> bool:
    """
    @param message: It was dead-lettered, for another reason than that a consumer rejected it.
    @return: Whether it was dropped from C{queue} before, and no consumer has rejected it since.
    """
    deaths = (message.properties.headers or {}).get("x-death")
    for death in deaths if isinstance(deaths, list) else ():
        if isinstance(death, dict):
            if death.get("reason") == "rejected":
                return False
            if death.get("queue") == queue:
                return True
    return False
