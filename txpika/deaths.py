# -*- test-case-name: txpika.test.test_deaths -*-
"""
What a dead-lettered message says about its deaths (rabbitmq.com/docs/dlx#effects).

Owns the reading of the headers C{x-death}, C{x-first-death-*} and C{x-last-death-*}. They are headers like any others:
a publisher can make them up, and RabbitMQ before 4.0 counts on from what it finds there. So anything may be in them,
and what makes no sense is skipped; nothing here raises, except L{txpika.exceptions.DecodeError} for properties that
cannot be read at all.

Text that is not UTF-8 has surrogates (C{surrogateescape}), as everywhere in a message.
"""

from __future__ import annotations

from dataclasses import dataclass

from txpika.spec import BasicProperties, Timestamp


@dataclass(frozen=True, slots=True)
class Death:
    """
    How often a message was dead-lettered from one queue for one reason; an entry of C{x-death}.

    @ivar queue: The queue it was dead-lettered from.
    @ivar reason: C{"rejected"}, C{"expired"}, C{"maxlen"} or C{"delivery_limit"}; RabbitMQ may add more.
    @ivar count: How many times, from 1.
    @ivar exchange: The exchange it had been published to when that first happened; C{""} for the default one.
    @ivar routing_keys: The routing keys it had then, with those of the header C{CC}.
    @ivar time: When that first happened; C{None} where it is not known.
    @ivar original_expiration: The property C{expiration} it had then, in milliseconds as digits. RabbitMQ removes it,
        so that the message does not expire again. C{None} when there was none.
    """

    queue: str
    reason: str
    count: int
    exchange: str
    routing_keys: tuple[str, ...]
    time: Timestamp | None
    original_expiration: str | None


@dataclass(frozen=True, slots=True)
class DeathEvent:
    """
    One time that a message was dead-lettered.

    @ivar queue: The queue it was dead-lettered from.
    @ivar reason: As L{Death.reason}.
    @ivar exchange: The exchange it had been published to; C{""} for the default one.
    """

    queue: str
    reason: str
    exchange: str


def x_death(properties: BasicProperties) -> tuple[Death, ...]:
    """
    The deaths of a message, the latest first.

    An entry without text as C{queue} and C{reason}, or with a C{count} that is not a number from 1, is skipped.
    Anything else missing or of a wrong type is C{""}, C{()} or C{None}; without a C{count} it is one.

    @param properties: Of the delivery.
    @return: Empty when it was never dead-lettered.
    @raise DecodeError: when the properties make no sense.
    """
    entries = _headers(properties).get("x-death")
    if not isinstance(entries, list):
        return ()
    return tuple(death for death in map(_death, entries) if death is not None)


def x_death_count(properties: BasicProperties, queue: str | None = None, reason: str | None = None) -> int:
    """
    How often a message was dead-lettered::

        if x_death_count(delivery.properties, queue="orders", reason="rejected") >= 3:
            ...

    @param queue: From this queue only.
    @param reason: For this reason only.
    @return: The sum over its deaths; 0 when there are no such.
    @raise DecodeError: when the properties make no sense.
    """
    return sum(
        death.count for death in x_death(properties) if queue in (None, death.queue) and reason in (None, death.reason)
    )


def x_first_death(properties: BasicProperties) -> DeathEvent | None:
    """
    The first time a message was dead-lettered, from C{x-first-death-queue}, C{-reason} and C{-exchange}.

    @return: C{None} when it was never dead-lettered, or the headers are incomplete.
    @raise DecodeError: when the properties make no sense.
    """
    return _event(_headers(properties), "x-first-death-")


def x_last_death(properties: BasicProperties) -> DeathEvent | None:
    """
    The latest time a message was dead-lettered, from C{x-last-death-queue}, C{-reason} and C{-exchange}. RabbitMQ has
    them from 3.13 on; with an older one this is the first entry of C{x-death}, whose exchange is that of the first time
    from that queue for that reason.

    @return: C{None} when it was never dead-lettered, or the headers are incomplete.
    @raise DecodeError: when the properties make no sense.
    """
    event = _event(_headers(properties), "x-last-death-")
    if event is not None:
        return event
    deaths = x_death(properties)
    return DeathEvent(deaths[0].queue, deaths[0].reason, deaths[0].exchange) if deaths else None


def _headers(properties: BasicProperties) -> dict[str, object]:
    headers = properties.headers
    return headers if isinstance(headers, dict) else {}


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else None


def _death(entry: object) -> Death | None:
    if not isinstance(entry, dict):
        return None
    queue, reason = _text(entry.get("queue")), _text(entry.get("reason"))
    count = entry.get("count", 1)
    if queue is None or reason is None or not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return None
    keys = entry.get("routing-keys")
    time = entry.get("time")
    return Death(
        queue,
        reason,
        int(count),
        _text(entry.get("exchange")) or "",
        tuple(key for key in map(_text, keys) if key is not None) if isinstance(keys, list) else (),
        time if isinstance(time, Timestamp) else None,
        _text(entry.get("original-expiration")),
    )


def _event(headers: dict[str, object], prefix: str) -> DeathEvent | None:
    queue, reason, exchange = (_text(headers.get(prefix + name)) for name in ("queue", "reason", "exchange"))
    if queue is None or reason is None or exchange is None:
        return None
    return DeathEvent(queue, reason, exchange)
