# -*- test-case-name: txpika.test.test_engine -*-
"""
What leaves one channel, in the order it was asked for.

Owns the queue of calls and messages, and what in it may be written now. Knows the connection it writes to; not what the
broker's answers mean, which is L{txpika.core.channel}'s.

Order is the rule all else follows (AMQP 0-9-1 section 4.7 with the channel as the unit): what is called first is
written first. While a synchronous method waits for its reply, or a message for the gate, what comes later waits in the
queue behind it. C{clear} says that nothing of that kind is in the way, so that the hot paths test one attribute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any

from txpika.core.calls import Call, HeldPublish
from txpika.core.confirms import KEY_BYTES, Confirms, Key
from txpika.core.gate import WINDOW, Gate
from txpika.core.outbound import (
    BASIC_CONTENT,
    END,
    END_THEN_BODY,
    NO_PROPERTIES,
    MessageEncoder,
    encode,
    frame,
    snapshot,
)
from txpika.exceptions import CloseReason, OutboundBufferFull
from txpika.spec import FRAME_METHOD, Method

if TYPE_CHECKING:
    from txpika.core.acks import Acks
    from txpika.core.connection import Connection


#: The queue of a channel that has needed none so far: an empty deque takes 760 bytes.
_NO_QUEUE: Any = ()


class Outbox:
    """
    @ivar number: The channel's number on the wire.
    @ivar clear: The channel is open, and nothing written now would overtake anything.
    @ivar gate: Whether messages may be written, as far as this channel is concerned.
    @ivar acks: Its acks, which leave before whatever is asked for after them.
    @ivar confirms: Those of confirm mode; C{None} when it is not on.
    @ivar over: Nothing leaves any more, whatever still waits in the queue.
    @ivar waiting: The call whose reply is awaited.
    @ivar reason: Why nothing can be asked for any more.
    """

    __slots__ = (
        "_connection",
        "_encoder",
        "_gate",
        "_intake",
        "_max_body",
        "_new",
        "_open",
        "_queue",
        "_routes",
        "_thread",
        "_underway",
        "_window",
        "_wire",
        "_withdrawn",
        "acks",
        "clear",
        "confirms",
        "gate",
        "number",
        "over",
        "reason",
        "waiting",
    )

    def __init__(self, connection: Connection, number: int, completion: Callable[..., Any]) -> None:
        """
        @param completion: See L{txpika.core.channel.Channel}.
        """
        self._connection = connection
        self._wire = connection.wire
        self._intake = connection.intake
        self._underway = connection.underway
        self._gate = connection.gate
        self._new = completion
        self._thread = connection.thread
        self._open = False
        self._queue: deque[Call | HeldPublish] = _NO_QUEUE
        self._withdrawn = 0
        self._encoder = MessageEncoder(number, connection.tuned.frame_max)
        self._routes = self._encoder.routes
        self._max_body = connection.tuned.frame_max - 8
        self._window = connection.parameters.confirm_window
        self.acks: Acks
        self.number = number
        self.over = False
        self.clear = False
        self.gate = Gate(self._gate_changed)
        self.confirms: Confirms | None = None
        self.waiting: Call | None = None
        self.reason: CloseReason | None = None

    @property
    def idle(self) -> bool:
        """Nothing is under way: no call, no held message, no publish that waits for its outcome."""
        return self.waiting is None and not self._queue and not (self.confirms and self.confirms.unconfirmed)

    # Publishing

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Any = None, mandatory: bool = False
    ) -> Any:
        """
        Publish one message.

        @param body: bytes, or a bytearray or memoryview, of which a copy is taken.
        @param properties: L{BasicProperties}, or C{None} for none.
        @return: C{None} when the message was written and nothing more will be heard of it; else a completion. In
            confirm mode it ends with the outcome; otherwise, when the message is written.
        @raise ValueError: when an argument is outside its limits; nothing is written then.
        @raise TypeError: when an argument is of the wrong type.
        @raise CloseReason: when the channel is closed.
        @raise OutboundBufferFull: when too many bytes wait already.
        @raise WrongThread: when called from a thread other than the connection's.
        """
        if get_ident() != self._thread:  # 0.04 us
            self._connection.check_thread()
        if body.__class__ is not bytes:
            body = snapshot(body)
        try:
            route = self._routes[exchange, routing_key, mandatory]
        except (KeyError, TypeError):
            route = self._encoder.learn_route(exchange, routing_key, mandatory)
        if properties is None:
            encoded = NO_PROPERTIES
        else:
            try:
                encoded = properties._encoded or properties.encode()
            except AttributeError:
                encoded = encode(properties)
        prefix, packs = route
        try:
            pack = packs[len(encoded)]
        except KeyError:
            pack = self._encoder.learn_pack(route, encoded)
        size = len(body)
        if 0 < size <= self._max_body:
            header = pack(prefix, len(encoded) + 12, BASIC_CONTENT, size, encoded, END_THEN_BODY, self.number, size)
            pieces: Sequence[Any] = (header, body, END)
            frames = 3
        else:
            pieces = self._encoder.pieces(prefix, encoded, body)
            frames = 2 + -(-size // self._max_body)
        if self.clear and self._gate.open:
            wire = self._wire
            data = b"".join(pieces)
            wire.bytes_sent += len(data)
            wire.frames_sent += frames
            wire.write(data)
            confirms = self.confirms
            if confirms is None:
                return None
            completion = self._new()
            confirms.last = last = confirms.last + 1
            confirms.unconfirmed[last] = completion
            if mandatory:
                confirms.expect_return((exchange, routing_key, encoded, size, body[:KEY_BYTES]))
            if len(confirms.unconfirmed) >= self._window:
                self.gate.close(WINDOW)
            return completion
        key = (exchange, routing_key, encoded, size, body[:KEY_BYTES]) if mandatory else None
        return self._publish_later(pieces, frames, key)

    def _publish_later(self, pieces: Sequence[Any], frames: int, key: Key | None) -> Any:
        """Something is in the way: acks to be written first, a call that waits, a closed gate, the end."""
        self.check()
        if self.confirms is not None and self not in self._underway.members:
            self._connection.need_answers(self)
            self.update()
        self.acks.write()
        held = HeldPublish(self, pieces, frames, key)
        if self.clear and self._gate.open:
            if self.confirms is not None:
                held.completion = self._new(held.cancel)
            self._write_publish(held, b"".join(pieces))
            return held.completion
        connection = self._connection
        if connection.held + held.size > connection.parameters.max_held:
            raise OutboundBufferFull(
                f"{connection.held} bytes of messages wait to be written, {held.size} more are over the limit of"
                f" {connection.parameters.max_held}: {self._why_held()}"
            )
        connection.held += held.size
        held.completion = self._new(held.cancel)
        if self._queue is _NO_QUEUE:
            self._queue = deque()
        self._queue.append(held)
        self.clear = False
        connection.holding[self] = None
        connection.blocking.holds(held)
        if self not in self._underway.members:
            connection.need_answers(self)  # the gate may be opened by what the broker sends
        return held.completion

    def publish_within(self, timeout: float, *arguments: Any) -> Any:
        """
        L{publish}, but wait for its outcome no longer than C{timeout} seconds: then it is L{CallTimeout}.
        """
        completion = self.publish(*arguments)
        if completion is None:
            return None
        held = self.latest_held()
        if held is None:
            assert self.confirms is not None
            held = self._written(self.confirms, self.confirms.last)
        held.limit(self._connection.clock, timeout, "Basic.Publish")
        return completion

    def latest_held(self) -> HeldPublish | None:
        """
        Call this right after L{publish} has returned a completion.

        @return: What waits for that message; C{None} when it was written at once and only its outcome is awaited.
        """
        held: object
        if self._queue:
            held = self._queue[-1]
        elif self.confirms is not None:
            held = self.confirms.unconfirmed.get(self.confirms.last)
        else:
            return None
        return held if isinstance(held, HeldPublish) else None

    def withdraw(self, held: HeldPublish) -> None:
        """A waiting message was given up: let its bytes go, and its place in the queue before such places are many."""
        self._connection.held -= held.discard()
        self._withdrawn += 1
        queue = self._queue
        if self._withdrawn * 2 > len(queue):  # fewer than two are visited for each one given up
            left = [item for item in queue if not (isinstance(item, HeldPublish) and item.cancelled)]
            queue.clear()
            queue.extend(left)
            self._withdrawn = 0
        self.advance()  # a call behind it may have its turn now
        self._connection.check_drained()

    def expire(self, now: float, timeout: float) -> float | None:
        """
        The broker blocks the connection: give up the messages that have waited for C{timeout} seconds by C{now}, on the
        connection's clock.

        @return: Since when the oldest of those left has waited.
        """
        expired = []
        oldest = None
        for item in self._queue:
            if isinstance(item, HeldPublish) and not item.cancelled:
                if item.since + timeout > now:
                    oldest = item.since
                    break
                expired.append(item)
        for item in expired:
            item.block(timeout)
        return oldest

    def give_up_unconfirmed(self, timeout: float) -> None:
        """
        The broker blocks the connection, and has not confirmed what was written before. The numbers stay taken: its
        verdict may still come, and nobody hears it.
        """
        if self.confirms is None:
            return
        unconfirmed = self.confirms.unconfirmed
        for number, completion in list(unconfirmed.items()):
            if number not in unconfirmed:
                continue  # the channel ended from inside one of these
            if isinstance(completion, HeldPublish):
                completion.block(timeout)
                continue
            self._written(self.confirms, number).block(timeout)

    def _written(self, confirms: Confirms, number: int) -> HeldPublish:
        """@return: What stands, from now on, between a written message and whoever waits for its outcome."""
        held = HeldPublish(self, (), 0, None)
        held.written = True
        held.completion, confirms.unconfirmed[number] = confirms.unconfirmed[number], held
        return held

    def _why_held(self) -> str:
        reasons = sorted(self._gate.reasons | self.gate.reasons)
        return f"the gate is closed ({', '.join(reasons)})" if reasons else "a call waits for its reply"

    def _write_publish(self, held: HeldPublish, data: bytes) -> None:
        self._wire.send(data, held.frames)
        held.written = True
        held.pieces = ()
        if self.confirms is not None:
            self.confirms.expect(held)
            if held.key is not None:
                self.confirms.expect_return(held.key)
            if len(self.confirms.unconfirmed) >= self._window:
                self.gate.close(WINDOW)

    # Calls

    def call(
        self,
        method: Method,
        finish: Callable[[Any, bool], Any] | None = None,
        timeout: float | None = None,
        optional: bool = True,
    ) -> Any:
        """
        Write a method, when its turn comes.

        @param finish: Given the reply and whether the caller gave up, makes the result; runs before anything that is
            queued behind. The reply is C{None} when there is none: the method was written and nothing answers it, or
            it was given up before its turn and never will be written.
        @param timeout: The completion fails with L{CallTimeout} after this many seconds.
        @param optional: Do not write it if it is given up before its turn.
        @return: A completion that ends with C{finish}'s result, or the reply; C{None} when C{method} has no reply,
            or asks for none (C{nowait}).
        @raise ValueError: when an argument of the method is outside its limits.
        @raise TypeError: when it is of the wrong type.
        @raise CloseReason: when the channel is closed.
        """
        data = frame(FRAME_METHOD, self.number, method.encode())
        if len(data) > self._connection.tuned.frame_max:
            raise ValueError(f"{method.NAME}: {len(data)} bytes are over the frame_max of the connection")
        if self.reason is not None or get_ident() != self._thread:
            self.check()
        replies = method.REPLIES
        if replies and getattr(method, "nowait", False):
            replies = ()
        call = Call(data, replies, finish, optional)
        if replies:
            if self not in self._underway.members:
                self._connection.need_answers(self)
            call.completion = self._new(call.cancel)
            if timeout is not None:
                call.limit(self._connection.clock, timeout, method.NAME)
        completion = call.completion
        if self._queue or self.waiting is not None or self.acks.pending:
            self._enqueue(call)
        else:
            self._write_call(call)  # as C{_enqueue} would: most calls find nothing ahead of them
        return completion

    def _enqueue(self, call: Call) -> None:
        if self.acks.pending:
            self.acks.write()
        if self._queue or self.waiting is not None:
            if self._queue is _NO_QUEUE:
                self._queue = deque()
            self._queue.append(call)
        else:
            self._write_call(call)

    def _write_call(self, call: Call) -> None:
        if call.replies:
            self.waiting = call
            self.clear = False
        wire = self._wire  # its C{send} in place, for speed
        wire.bytes_sent += len(call.data)
        wire.frames_sent += 1
        wire.write(call.data)
        call.written = True
        if not call.replies and call.finish is not None:
            call.finish(None, False)
            self.update()  # it may have turned confirms on

    def write(self, data: bytes) -> None:
        """Write frames that nothing answers, when their turn comes."""
        self._enqueue(Call(data))
        if self.confirms is not None and self not in self._underway.members and not self._intake.paused:
            # It was found idle and dropped: put it back, so that it is clear again and further acks leave together.
            self._underway.begins(self)
            self.update()

    def write_method(self, method: Method) -> None:
        """Answer the broker, at once: what it asks for does not wait for a turn."""
        self.write_now(method.encode())

    def write_now(self, payload: bytes) -> None:
        """As L{write_method}, for an encoded method."""
        self._wire.send(frame(FRAME_METHOD, self.number, payload))

    def advance(self, answered: Call | None = None, result: Any = None) -> None:
        """
        Write what waits in the queue, as far as it may be written.

        @param answered: The call all that waited for, and C{result} what came of it. Whoever waits for it is told when
            the way is clear again, and before whoever waits for a message behind it: they could still cancel the call,
            and what the broker did for it would be nobody's.
        """
        queue = self._queue
        written: list[HeldPublish] = []
        unwritten: list[tuple[HeldPublish, MemoryError]] = []
        try:
            while queue and self.waiting is None and not self.over:
                item = queue[0]
                held = isinstance(item, HeldPublish)
                if held and not item.cancelled and not (self._gate.open and self.gate.open):
                    break
                queue.popleft()
                if isinstance(item, HeldPublish):
                    self._connection.held -= item.size
                    if item.cancelled:
                        self._withdrawn -= 1
                        continue
                    try:
                        data = b"".join(item.pieces)
                    except MemoryError as error:
                        item.discard()
                        unwritten.append((item, error))
                        continue
                    self._write_publish(item, data)
                    if self.confirms is None:
                        written.append(item)
                elif not (item.cancelled and item.optional):
                    self._write_call(item)
                elif item.finish is not None:
                    item.finish(None, True)
        finally:
            if not queue:
                self._connection.holding.pop(self, None)
            self.update()
            # Only now that the way is clear again: whoever publishes from here takes the direct road.
            if answered is not None:
                end = answered.errback if isinstance(result, Exception) else answered.callback
                end(result)
            for item in written:
                item.callback(None)
            for item, no_memory in unwritten:
                item.errback(no_memory)

    def update(self) -> None:
        """Something that C{clear} depends on has changed."""
        self.clear = (
            self._open
            and self.waiting is None
            and not self._queue
            and not self.acks.pending
            and self.gate.open
            and self.reason is None
            and (self.confirms is None or self in self._underway.members)
        )

    def _gate_changed(self) -> None:
        if self.gate.open:
            self.advance()
        else:
            self.update()

    def check(self) -> None:
        """
        @raise CloseReason: when it is closed or closing.
        @raise WrongThread: when called from a thread other than the connection's.
        """
        self._connection.check_thread()
        if self.reason is not None:
            raise self.reason.with_outcome("not sent")

    def open(self) -> None:
        """The channel is open."""
        self._open = True

    # The end

    def stop(self, reason: CloseReason) -> None:
        """Nothing can be asked for or acked any more. What was asked for before may still be written."""
        self.reason = self.reason or reason
        self.clear = False
        self.acks.end()

    def close(self, call: Call, at_once: bool) -> None:
        """
        Write the last call, C{channel.close}.

        @param at_once: Fail all that was asked for before it.
        """
        if at_once:
            asked_for = self._take_all()
            self._write_call(call)
            self._fail(*asked_for)
        else:
            self._enqueue(call)

    def fail(self) -> None:
        """Whatever still waits is told the reason, once."""
        self._fail(*self._take_all())

    def _take_all(self) -> tuple[Call | None, deque[Call | HeldPublish]]:
        waiting, self.waiting = self.waiting, None
        queue, self._queue = self._queue, deque()
        self._connection.holding.pop(self, None)
        return waiting, queue

    def _fail(self, waiting: Call | None, queue: deque[Call | HeldPublish]) -> None:
        reason = self.reason
        assert reason is not None
        if self.confirms is not None:
            self.confirms.abandon(reason)
        if waiting is not None:
            waiting.errback(reason.with_outcome("closed"))
        for item in queue:
            if isinstance(item, HeldPublish):
                self._connection.held -= item.discard()
            item.errback(reason.with_outcome("not sent"))
