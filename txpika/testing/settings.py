# -*- test-case-name: txpika.test.test_memory_errors -*-
"""
The arguments of C{queue.declare} that the broker in memory knows.

Owns what each may be, what RabbitMQ says where it is not, and the same as settings of a queue. Knows no queue.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from txpika.testing.errors import Refused, failed, named
from txpika.testing.message import MAX_TTL
from txpika.testing.tables import Arguments, is_number, require_equal, type_name

#: Largest C{x-max-priority}.
MAX_PRIORITY = 255

DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX = "drop-head", "reject-publish", "reject-publish-dlx"

#: Arguments that only queues of another type have.
_FOREIGN = (
    "x-delivery-limit",
    "x-initial-cluster-size",
    "x-max-age",
    "x-max-in-memory-bytes",
    "x-max-in-memory-length",
    "x-queue-leader-locator",
    "x-quorum-initial-group-size",
    "x-stream-max-segment-size-bytes",
)
#: Arguments in which a declaration must agree with the queue that there is.
_COMPARED = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-master-locator",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
)


class Settings(NamedTuple):
    """
    @ivar ttl: How long a message may wait, in seconds; C{None} for ever.
    @ivar expires: How long the queue may be without use, in seconds; C{None} for ever.
    @ivar max_length: Messages that may wait; C{None} for any number.
    @ivar max_bytes: Bytes of bodies that may wait; C{None} for any number.
    @ivar overflow: What happens to the next one.
    @ivar dead_letter_exchange: Where messages go that are dropped; C{None} for nowhere.
    @ivar dead_letter_key: With which routing key; C{None} for their own.
    @ivar max_priority: Highest priority; 0 for a queue without.
    @ivar single_active: One consumer at a time.
    """

    ttl: float | None = None
    expires: float | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = DROP_HEAD
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_priority: int = 0
    single_active: bool = False


def settings_of(name: str, virtual_host: str, arguments: Arguments) -> Settings:
    """
    @param name: Of the queue.
    @raise Refused: RabbitMQ would make no queue of it.
    """
    reader = _Reader(named("queue", name, virtual_host), arguments)
    for foreign in _FOREIGN:
        if foreign in arguments:
            raise failed(f"invalid arg '{foreign}' for {reader.what} of queue type rabbit_classic_queue")
    ttl, expires = reader.number("x-message-ttl", 0, MAX_TTL), reader.number("x-expires", 1, MAX_TTL)
    reader.word("x-queue-mode", "queue mode", ("default", "lazy"))
    if "x-queue-version" in arguments:
        version = reader.number("x-queue-version", 0, 2**63)
        if version not in (1, 2):
            raise reader.invalid("x-queue-version", f"\"unsupported queue version '{version}'\"")
    reader.word("x-queue-type", "queue type", ("classic",))
    exchange = arguments.get("x-dead-letter-exchange")
    if "x-dead-letter-exchange" in arguments and not isinstance(exchange, str):
        raise failed(f"invalid type '{type_name(exchange)}' for arg 'x-dead-letter-exchange' in {reader.what}")
    key = reader.text("x-dead-letter-routing-key")
    if key is not None and exchange is None:
        raise reader.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
    overflow = reader.text("x-overflow")
    if overflow is not None and overflow not in (DROP_HEAD, REJECT_PUBLISH, REJECT_PUBLISH_DLX):
        raise reader.invalid("x-overflow", "invalid_overflow")
    single = arguments.get("x-single-active-consumer", False)
    if not isinstance(single, bool):
        raise reader.unacceptable("x-single-active-consumer")
    return Settings(
        ttl=None if ttl is None else ttl / 1000,
        expires=None if expires is None else expires / 1000,
        max_length=reader.number("x-max-length", 0, 2**63),
        max_bytes=reader.number("x-max-length-bytes", 0, 2**63),
        overflow=overflow or DROP_HEAD,
        dead_letter_exchange=exchange if isinstance(exchange, str) else None,
        dead_letter_key=key,
        max_priority=reader.priority() or 0,
        single_active=single,
    )


def require_same(name: str, virtual_host: str, current: Arguments, received: Arguments) -> None:
    """@raise Refused: A queue that was declared with C{current} is not what C{received} asks for."""
    for key in _COMPARED:
        have, want = current, received
        if key == "x-queue-type":
            have, want = {key: "classic", **current}, {key: "classic", **received}
        require_equal(key, named("queue", name, virtual_host), have, want)


class _Reader:
    """
    @ivar what: Whose arguments they are, in the words of texts.
    """

    def __init__(self, what: str, arguments: Arguments) -> None:
        self.what = what
        self._arguments = arguments

    def invalid(self, key: str, why: str) -> Refused:
        return failed(f"invalid arg '{key}' for {self.what}: {why}")

    def unacceptable(self, key: str) -> Refused:
        return self.invalid(key, f"{{unacceptable_type,{type_name(self._arguments[key])}}}")

    def _integer(self, key: str) -> int | None:
        if key not in self._arguments:
            return None
        value: Any = self._arguments[key]
        if not is_number(value):
            raise self.invalid(key, f'"expected integer, got {type_name(value)}"')
        return int(value)

    def number(self, key: str, low: int, high: int) -> int | None:
        value = self._integer(key)
        if value is not None:
            if value < 0:
                raise self.invalid(key, f"{{value_negative,{value}}}")
            if value < low:
                raise self.invalid(key, f"{{value_zero,{value}}}")
            if value > high:
                raise self.invalid(key, f"{{value_too_large,{value}}}")
        return value

    def priority(self) -> int | None:
        value = self.number("x-max-priority", 0, 2**63)
        if value is not None and value > MAX_PRIORITY:
            raise self.invalid("x-max-priority", f"{{max_value_exceeded,{value}}}")
        return value

    def text(self, key: str) -> str | None:
        if key not in self._arguments:
            return None
        value = self._arguments[key]
        if not isinstance(value, str):
            raise self.unacceptable(key)
        return value

    def word(self, key: str, what: str, known: tuple[str, ...]) -> None:
        value = self.text(key)
        if value is not None and value not in known:
            raise self.invalid(key, f"\"unsupported {what} '{value}'\"")
