# -*- test-case-name: txpika.test.test_toxics -*-
"""
One direction of a connection between a client and a broker, and what may befall the bytes on it.

Owns the cutting into frames, the triggers that wait for one, and the faults. Knows no socket: it is given bytes, and
gives them to an L{Out}. Faults have Toxiproxy's names where it has them (github.com/Shopify/toxiproxy#toxics).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Collection
from typing import Any, Literal, Protocol

from twisted.internet.defer import Deferred

from txpika.exceptions import DecodeError
from txpika.spec import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, METHODS, Method
from txpika.spec import decode_method as decode

Direction = Literal["upstream", "downstream"]

#: A frame that is no method.
Plain = Literal["header", "body", "heartbeat"]

#: What a trigger or a record is about: a method's class, or another kind of frame.
Kind = type[Method] | Plain

#: One frame that passed: number of the pair, number of the channel, and the method or what else it was; C{"method"} is
#: one that cannot be decoded.
Seen = tuple[int, int, Method | str]

#: Bytes that may wait in a flow before its source is read no more.
MAX_WAITING = 1 << 20

PROTOCOL_HEADER_SIZE = 8

_FRAME = struct.Struct(">BHI")
_INDEX = struct.Struct(">I")
_NAMES: dict[int, Plain] = {FRAME_HEADER: "header", FRAME_BODY: "body", FRAME_HEARTBEAT: "heartbeat"}

#: In the place of bytes: nothing more comes, and: the connection ends here.
_FIN: Literal["fin"] = "fin"
_CUT: Literal["cut"] = "cut"

#: Seconds that are none, for a clock whose sums are not exact.
_NO_TIME = 1e-9


class Trigger:
    """
    Waits for the C{nth} frame of a kind.

    @ivar key: The method's C{INDEX}, or what else the frame is.
    @ivar action: What is done then.
    @ivar done: Fires with the number of the pair when that is done; cancel it to wait no longer.
    """

    def __init__(self, rules: Rules, frame: Kind, nth: int, action: Literal["before", "after", "drop"]) -> None:
        if nth < 1:
            raise ValueError("nth counts from 1")
        self.key: int | str = frame if isinstance(frame, str) else frame.INDEX
        self.action = action
        self.done: Deferred[int] = Deferred(lambda _: rules.triggers.remove(self) if self in rules.triggers else None)
        self._left = nth
        rules.triggers.append(self)

    def counts(self, key: int | str) -> bool:
        """
        @return: Whether this is the frame it waits for.
        """
        if key != self.key:
            return False
        self._left -= 1
        return not self._left


class Rules:
    """
    What is to be done to all flows of one direction.

    @ivar latency: Seconds that each read of bytes is late.
    @ivar slice: Bytes of one write at most, 0 for no limit; each has a turn of the reactor of its own.
    @ivar slice_delay: Seconds between two of them.
    @ivar coalesce: Bytes that are waited for, to be written as one.
    @ivar coalesce_seconds: How long, at most.
    @ivar blackhole: Whole frames vanish.
    @ivar limit: Bytes after which a new flow is cut; C{None} for no limit.
    @ivar record: What is remembered in C{seen}: everything, nothing, or those kinds of frames.
    """

    def __init__(self, record: bool | Collection[Kind] = False) -> None:
        self.record = record
        self.triggers: list[Trigger] = []
        self.seen: list[Seen] = []
        self.heal()

    def heal(self) -> None:
        """No fault any more. Triggers stay."""
        self.latency = self.slice_delay = self.coalesce_seconds = 0.0
        self.slice = self.coalesce = 0
        self.blackhole = False
        self.limit: int | None = None

    @property
    def delays(self) -> bool:
        """Whether bytes may have to wait."""
        return bool(self.latency or self.slice or self.coalesce)

    def wants(self, key: int | str) -> bool:
        """Whether such a frame is remembered."""
        if isinstance(self.record, bool):
            return self.record
        return (METHODS.get(key) if isinstance(key, int) else key) in self.record


class Out(Protocol):
    """Where a flow leads, and its way back to where it comes from."""

    def write(self, data: bytes) -> None:
        """Bytes for the destination; never none."""

    def finish(self) -> None:
        """There are no more."""

    def cut(self) -> None:
        """The connection ends here: what was written arrives, and nothing goes back."""

    def hold(self) -> None:
        """Too much waits: read no more of the source."""

    def release(self) -> None:
        """Read on."""


class Flow:
    """
    The bytes of one pair in one direction. Whole frames are passed on, in as many pieces as they came in; what does not
    look like AMQP is passed on as it comes.

    @ivar left: Bytes until it is cut; C{None} for no limit.
    @ivar forwarded: Bytes that went out.
    @ivar matched: Triggers that found their frame here.
    @ivar ended: It was told that nothing more comes, or that it is over.
    """

    def __init__(self, number: int, rules: Rules, clock: Any, out: Out, header: bool) -> None:
        """
        @param number: The pair's.
        @param clock: C{IReactorTime}.
        @param header: The stream begins with the client's protocol header.
        """
        self.left = rules.limit
        self.forwarded = 0
        self.matched: list[Trigger] = []
        self.ended = False
        self._number = number
        self._rules = rules
        self._clock = clock
        self._out = out
        self._header = header
        self._buffer = bytearray()
        self._raw = False
        self._dropping = False
        self._waiting: deque[tuple[float, bytes | Literal["fin", "cut"]]] = deque()
        self._held = 0
        self._at = 0
        self._call: Any = None
        self._holding = False

    # Bytes in

    def received(self, data: bytes) -> None:
        """More of the source's bytes."""
        if self.ended:
            return
        buffer = self._buffer
        buffer += data
        found: list[Trigger] = []
        del buffer[: self._walk(buffer, found)]
        if self._raw:
            self._pass(buffer, 0, len(buffer))
            buffer.clear()
        for trigger in found:
            trigger.done.callback(self._number)

    def _walk(self, buffer: bytearray, found: list[Trigger]) -> int:
        """
        Pass on what is whole.

        @param found: Gets the triggers that have happened.
        @return: Where what is not whole begins.
        """
        begin = offset = 0
        end = len(buffer)
        if self._header and not self._raw and end >= PROTOCOL_HEADER_SIZE:
            self._header = False
            self._raw = not buffer.startswith(b"AMQP")
            offset = 0 if self._raw else PROTOCOL_HEADER_SIZE
        while end - offset >= 8 and not (self._raw or self._header or self.ended):
            kind, channel, size = _FRAME.unpack_from(buffer, offset)
            stop = offset + size + 8
            if kind != FRAME_METHOD and kind not in _NAMES:
                self._raw = True
                break
            if stop > end:
                break
            if buffer[stop - 1] != FRAME_END:
                self._raw = True
                break
            if self._swallows:
                offset = begin = stop
                continue
            rules = self._rules
            if rules.triggers or rules.record:
                key = _key(kind, buffer, offset, size)
                hits = [each for each in rules.triggers if each.counts(key)]
                if rules.wants(key) and (not hits or hits[0].action == "after"):
                    rules.seen.append((self._number, channel, _shown(key, buffer, offset, stop)))
                if hits:
                    self._hit(hits, found, buffer, begin, offset, stop)
                    begin = stop
            offset = stop
        self._pass(buffer, begin, offset)
        return offset

    @property
    def _swallows(self) -> bool:
        return self._rules.blackhole or self._dropping

    def _hit(
        self, hits: list[Trigger], found: list[Trigger], buffer: bytearray, begin: int, offset: int, stop: int
    ) -> None:
        """Do what the first of C{hits} is there for; the others only tell that it happened."""
        for trigger in hits:
            self._rules.triggers.remove(trigger)
        action = hits[0].action
        self._pass(buffer, begin, stop if action == "after" else offset)
        if action == "drop":
            found += hits
            self._dropping = True
        else:
            self.matched += hits
            self.ended = True
            self._push(_CUT)

    def _pass(self, buffer: bytearray, begin: int, end: int) -> None:
        if begin < end and not self._swallows:
            self._push(bytes(buffer[begin:end]))

    def finish(self) -> None:
        """No more bytes come."""
        if not self.ended:
            self._pass(self._buffer, 0, len(self._buffer))
            self.ended = True
            self._push(_FIN)

    def cut(self) -> None:
        """The source is gone, and nothing can be said to it any more."""
        if not self.ended:
            self._pass(self._buffer, 0, len(self._buffer))
            self.ended = True
        self._push(_CUT)

    def stop(self) -> None:
        """What waits is dropped, and what comes."""
        self.ended = True
        self._waiting.clear()
        self._held = 0
        self._unschedule()

    # Bytes out

    def changed(self) -> None:
        """The rules are other ones: what waits may have waited long enough."""
        self._run()

    def _push(self, item: bytes | Literal["fin", "cut"]) -> None:
        if self._rules.delays:
            self._waiting.append((self._clock.seconds(), item))
            self._held += len(item) if isinstance(item, bytes) else 0
            if self._call is None or self._rules.coalesce:
                self._run()
            self._check_room()
        else:
            self._put(item)

    def _unschedule(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _run(self) -> None:
        self._unschedule()
        while self._waiting:
            wait = self._due() - self._clock.seconds()
            if wait > _NO_TIME:
                self._schedule(wait)
                break
            self._put(self._take())
            if self._rules.slice and self._waiting:
                self._schedule(self._rules.slice_delay)
                break
        self._check_room()

    def _schedule(self, wait: float) -> None:
        self._call = self._clock.callLater(wait, self._called)

    def _called(self) -> None:
        self._call = None
        self._run()

    def _due(self) -> float:
        at = self._waiting[0][0] + self._rules.latency
        if self._rules.coalesce and self._held < self._rules.coalesce:
            at += self._rules.coalesce_seconds
        return at

    def _take(self) -> bytes | Literal["fin", "cut"]:
        """@return: What is to be written next, as one."""
        item = self._waiting[0][1]
        if not isinstance(item, bytes):
            self._waiting.popleft()
            return item
        stop = min(self._at + self._rules.slice, len(item)) if self._rules.slice else len(item)
        pieces = [item[self._at : stop]]
        self._at = stop
        if stop == len(item):
            self._waiting.popleft()
            self._at = 0
            if self._rules.coalesce:
                pieces += self._ready()
        taken = b"".join(pieces)
        self._held -= len(taken)
        return taken

    def _ready(self) -> list[bytes]:
        pieces = []
        now = self._clock.seconds() - self._rules.latency + _NO_TIME
        while self._waiting:
            at, item = self._waiting[0]
            if at > now or not isinstance(item, bytes):
                break
            self._waiting.popleft()
            pieces.append(item)
        return pieces

    def _check_room(self) -> None:
        limit = max(MAX_WAITING, self._rules.coalesce)
        if not self._holding and self._held > limit:
            self._holding = True
            self._out.hold()
        elif self._holding and self._held <= limit // 2:
            self._holding = False
            self._out.release()

    def _put(self, item: bytes | Literal["fin", "cut"]) -> None:
        if not isinstance(item, bytes):
            self._out.finish() if item == _FIN else self._out.cut()
            return
        left = self.left
        if left is not None:
            item = item[:left]
            self.left = left - len(item)
        if item:
            self.forwarded += len(item)
            self._out.write(item)
        if self.left == 0:
            self._out.cut()


def _key(kind: int, buffer: bytearray, offset: int, size: int) -> int | str:
    """@return: What triggers and records know the frame by."""
    if kind != FRAME_METHOD:
        return _NAMES[kind]
    index: int = _INDEX.unpack_from(buffer, offset + 7)[0] if size >= _INDEX.size else 0
    return index


def _shown(key: int | str, buffer: bytearray, offset: int, stop: int) -> Method | str:
    if isinstance(key, str):
        return key
    try:
        return decode(bytes(buffer[offset + 7 : stop - 1]))[0]
    except DecodeError:
        return "method"
