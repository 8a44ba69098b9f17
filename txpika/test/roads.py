"""
What the hot roads of all faces have in common. A road is a batch of messages that can be run again and again, for
whoever counts what it costs. L{txpika.test.twisted_roads} and L{txpika.test.socket_roads} have them.

What a batch needs of the broker is made before it is run, so that it is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import FunctionType
from typing import Any, NamedTuple

from txpika import BasicProperties, ConnectionParameters
from txpika.spec import Basic, Method, Queue
from txpika.test.fakes import content, method

#: Messages in a batch of small ones.
BATCH = 100
BODY = b"x" * 100
LARGE = b"x" * 2**20
#: As much as transports read at once.
READ = 64 * 1024

PROPERTIES = BasicProperties(delivery_mode=1)
DECLARED = Queue.DeclareOk("q", 0, 0)
QUIET = ConnectionParameters(heartbeat=0)
_NUMBER = 0x0102030405060708


class Road(NamedTuple):
    """
    @ivar run: Runs one batch, given what C{prepare} has made for it.
    @ivar prepare: Makes what the broker sends.
    @ivar messages: How many a batch has.
    """

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None
    messages: int = BATCH


class Numbered:
    """The same frames with rising numbers: delivery tags, or those of publishes."""

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self._frames = make(_NUMBER)
        self._at = self._frames.index(_NUMBER.to_bytes(8, "big"))
        self._last = 0

    def each(self, count: int = BATCH) -> list[bytes]:
        """The next ones."""
        first, self._last = self._last + 1, self._last + count
        begin, end = self._frames[: self._at], self._frames[self._at + 8 :]
        return [begin + number.to_bytes(8, "big") + end for number in range(first, self._last + 1)]

    def joined(self) -> bytes:
        """The next ones, in one read."""
        return b"".join(self.each())

    def only_last(self) -> bytes:
        """Of the next ones only the last."""
        return self.each()[-1]

    def halves(self) -> list[bytes]:
        """The next ones, each in two reads."""
        return [half for each in self.each() for half in (each[: len(each) // 2], each[len(each) // 2 :])]

    def pieces(self) -> list[bytes]:
        """The next one, as transports read what is large."""
        (data,) = self.each(1)
        return [data[at : at + READ] for at in range(0, len(data), READ)]


def acks(multiple: bool = False) -> Numbered:
    """The broker's confirmations."""
    return Numbered(lambda number: method(1, Basic.Ack(number, multiple)))


def deliveries(body: bytes = BODY) -> Numbered:
    """To the consumer C{"t"}, with properties as they are common."""
    properties = BasicProperties(content_type="text/plain", delivery_mode=1).encode()
    return Numbered(lambda number: content(1, Basic.Deliver("t", number, False, "", "q"), body, properties))


def gotten() -> Numbered:
    """The answers to C{basic.get}."""
    return Numbered(lambda number: content(1, Basic.GetOk(number, False, "", "q", 0), BODY))


def returned() -> Callable[[], bytes]:
    """All of a batch come back, and are acked."""
    back = content(1, Basic.Return(312, "NO_ROUTE", "", "q"), BODY, PROPERTIES.encode())
    confirmed = acks()
    return lambda: b"".join(back + ack for ack in confirmed.each())


def again(reply: Method) -> Callable[[], list[bytes]]:
    """The same answer for each."""
    data = method(1, reply)
    return lambda: [data] * BATCH


class Face:
    """
    One connection with one channel. Each public method of a subclass's own makes ready for one road, a L{Road}; one
    face is for one of them.

    @ivar done: How many messages have come to their end.
    """

    def __init__(self, stack: ExitStack) -> None:
        """
        @param stack: At whose end all is cleared away.
        """
        self.done = 0

    @property
    def writes(self) -> int:
        """How often something was written so far."""
        raise NotImplementedError

    @classmethod
    def roads(cls) -> list[str]:
        """The names of all of them."""
        return [name for name, made in vars(cls).items() if isinstance(made, FunctionType) and name[0] != "_"]

    def road(self, name: str) -> Road:
        """Made ready, with a few batches behind it."""
        road: Road = getattr(self, name)()
        self._begin()
        for _ in range(2):
            road.run(road.prepare())
        return road

    def _begin(self) -> None:
        """From now on messages pass."""

    def _count(self, *_: object) -> None:
        """One more has come to its end."""
        self.done += 1
