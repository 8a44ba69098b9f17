# -*- test-case-name: txpika.test.test_engine -*-
"""
One channel of the engine: calls in, methods and messages out.

Owns the order of what is written on it, the queue of calls behind a synchronous method, and who consumes. Knows the
connection below it; nothing of Deferreds, callbacks' arguments or loops.

Order is the rule all else follows (AMQP 0-9-1 section 4.7 with the channel as the unit): what is called first is
written first. While a synchronous method waits for its reply, or a message for the gate, what comes later waits in the
queue behind it. C{clear} says that nothing of that kind is in the way, so that the hot paths test one attribute.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txpika.core.acks import Acks
from txpika.core.calls import Call, HeldPublish
from txpika.core.confirms import Confirms
from txpika.core.consumers import Consumers
from txpika.core.content import Content
from txpika.core.gate import FLOW, WINDOW, Gate
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
from txpika.core.states import AWAITING_CHANNEL_OPEN_OK, CHANNEL, CLOSE, CLOSED, CLOSING, LOST, OPEN
from txpika.exceptions import (
    ChannelClosed,
    CloseReason,
    MessageTooLarge,
    OutboundBufferFull,
    ProtocolError,
)
from txpika.message import Delivery, ReturnedMessage
from txpika.spec import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    FRAME_METHOD,
    PRECONDITION_FAILED,
    UNEXPECTED_FRAME,
    Basic,
    Confirm,
    Method,
)
from txpika.spec import Channel as Methods

if TYPE_CHECKING:
    from txpika.core.connection import Connection

_ACK_ARGUMENTS = struct.Struct(">QB")
#: Class and method of a confirmation, and the size of its payload.
_CONFIRMED = b"\x00\x3c\x00\x50"
_CONTENT_INDEXES = (Basic.Deliver.INDEX, Basic.GetOk.INDEX, Basic.Return.INDEX)


class Channel:
    """
    @ivar number: Its number on the wire.
    @ivar clear: It is open, and nothing written now would overtake anything.
    @ivar face: What the user knows as the channel; a L{txpika.core.listeners.ChannelListener}.
    @ivar consumers: Who takes its deliveries.
    @ivar acks: Of its deliveries.
    @ivar content: The message that is arriving.
    @ivar confirms: Of confirm mode; C{None} when it is not on.
    @ivar reason: Why it is closed or closing.
    @ivar ended: It is closed.
    @ivar opened: The completion of its opening.
    """

    def __init__(self, connection: Connection, number: int, completion: Callable[..., Any]) -> None:
        """
        Open it.

        @param number: Its number on the wire, from 1.
        @param completion: Makes what each call returns, an L{ICompletion}; may be called with a canceller, which it
            calls with itself when its caller stops waiting.
        """
        self._connection = connection
        self._gate = connection.gate
        self._new = completion
        self.number = number
        self.face: Any = None
        self.state = AWAITING_CHANNEL_OPEN_OK
        self.clear = False
        self.ended = False
        self.reason: CloseReason | None = None
        self.gate = Gate(self._gate_changed)
        self._queue: deque[Call | HeldPublish] = deque()
        self._encoder = MessageEncoder(number, connection.tuned.frame_max)
        self._routes = self._encoder.routes
        self._max_body = connection.tuned.frame_max - 8
        self._window = connection.parameters.confirm_window
        self.confirms: Confirms | None = None
        self.consumers = Consumers(self, connection)
        self.content: Content | None = None
        self.acks = Acks(self, connection)
        self._waiting: Call | None = None
        self.opened = self.call(Methods.Open(), self._opened)

    def _opened(self, _reply: Method | None, cancelled: bool) -> Any:
        if cancelled:
            self.close()
        return self.face

    @property
    def idle(self) -> bool:
        """Nothing is under way: no call, no held message, no publish without its outcome."""
        return self._waiting is None and not self._queue and not (self.confirms and self.confirms.unconfirmed)

    # Publishing

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Any = None, mandatory: bool = False
    ) -> Any:
        """
        Publish one message.

        @param body: bytes, or a bytearray or memoryview, of which a copy is taken.
        @param properties: L{BasicProperties}, or C{None} for none.
        @return: C{None} when the message was written and nothing more will be heard of it; else a completion. In
            confirm mode that ends with its outcome; without, when the message is written.
        @raise ValueError: when an argument is outside its limits; nothing is written then.
        @raise TypeError: when an argument is of a wrong type.
        @raise CloseReason: when the channel is closed.
        @raise OutboundBufferFull: when too many bytes wait already.
        """
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
            data = b"".join((header, body, END))
        else:
            data = self._encoder.frames(prefix, encoded, body)
        if self.clear and self._gate.open:
            connection = self._connection
            connection.bytes_sent += len(data)
            connection.write(data)
            confirms = self.confirms
            if confirms is None:
                return None
            completion = self._new()
            confirms.last = last = confirms.last + 1
            confirms.unconfirmed[last] = completion
            if mandatory:
                confirms.expect_return((exchange, routing_key, encoded))
            if len(confirms.unconfirmed) >= self._window:
                self.gate.close(WINDOW)
            return completion
        return self._publish_later(data, (exchange, routing_key, encoded) if mandatory else None)

    def _publish_later(self, data: bytes, key: tuple[str, str, bytes] | None) -> Any:
        """Something is in the way: acks to be written first, a call that waits, a closed gate, the end."""
        self.check()
        self.acks.write()
        held = HeldPublish(data, key)
        if self.clear and self._gate.open:
            if self.confirms is not None:
                held.completion = self._new(held.cancel)
            self._write_publish(held)
            return held.completion
        connection = self._connection
        if connection.held + len(data) > connection.parameters.max_held:
            raise OutboundBufferFull(
                f"{connection.held} bytes of messages wait to be written, {len(data)} more are over the limit of"
                f" {connection.parameters.max_held}: {self._why_held()}"
            )
        connection.held += len(data)
        held.completion = self._new(held.cancel)
        self._queue.append(held)
        self.clear = False
        connection.holding[self] = None
        return held.completion

    def _why_held(self) -> str:
        reasons = sorted(self._gate.reasons | self.gate.reasons)
        return f"the gate is closed ({', '.join(reasons)})" if reasons else "a call waits for its reply"

    def _write_publish(self, held: HeldPublish) -> None:
        self._connection.send(held.data)
        if self.confirms is not None:
            self.confirms.expect(held)
            if held.key is not None:
                self.confirms.expect_return(held.key)
            if len(self.confirms.unconfirmed) >= self._window:
                self.gate.close(WINDOW)

    # Calls

    def call(self, method: Method, finish: Callable[[Any, bool], Any] | None = None) -> Any:
        """
        Write a method, when its turn comes.

        @param finish: Given the reply and whether the caller gave up, makes the result; runs before anything that is
            queued behind. Given C{None} when the caller gave up before the method was written, which then never is.
        @return: A completion that ends with C{finish}'s result, or the reply; C{None} when C{method} has no reply,
            or asks for none (C{nowait}).
        @raise ValueError: when an argument of the method is outside its limits.
        @raise TypeError: when it is of a wrong type.
        @raise CloseReason: when the channel is closed.
        """
        data = frame(FRAME_METHOD, self.number, method.encode())
        if len(data) > self._connection.tuned.frame_max:
            raise ValueError(f"{method.NAME}: {len(data)} bytes are over the frame_max of the connection")
        self.check()
        replies = () if getattr(method, "nowait", False) else method.REPLIES
        call = Call(data, replies, finish)
        if replies:
            call.completion = self._new(call.cancel)
        completion = call.completion
        self._enqueue(call)
        return completion

    def _enqueue(self, call: Call) -> None:
        self.acks.write()
        if self._queue or self._waiting is not None:
            self._queue.append(call)
        else:
            self._write_call(call)

    def _write_call(self, call: Call) -> None:
        if call.replies:
            self._waiting = call
            self.clear = False
        self._connection.send(call.data)

    def write(self, data: bytes) -> None:
        """Frames that nothing answers, in their turn."""
        self._enqueue(Call(data))

    def write_method(self, method: Method) -> None:
        """Answer the broker, at once: what it asks for does not wait for a turn."""
        self._connection.send(frame(FRAME_METHOD, self.number, method.encode()))

    def advance(self) -> None:
        """Write what waits in the queue, as far as it may be written."""
        queue = self._queue
        written: list[HeldPublish] = []
        while queue and self._waiting is None:
            item = queue[0]
            held = isinstance(item, HeldPublish)
            if held and not item.cancelled and not (self._gate.open and self.gate.open):
                break
            queue.popleft()
            if isinstance(item, HeldPublish):
                self._connection.held -= len(item.data)
                if not item.cancelled:
                    self._write_publish(item)
                    written.append(item)
            elif not (item.cancelled and item.replies):
                self._write_call(item)
            elif item.finish is not None:
                item.finish(None, True)
        if not queue:
            self._connection.holding.pop(self, None)
        self.update()
        if self.confirms is None:
            # Only now, when the way is clear again: who publishes from here takes the direct road.
            for item in written:
                item.callback(None)

    def update(self) -> None:
        """Something that C{clear} depends on has changed."""
        self.clear = (
            self.state == OPEN
            and self._waiting is None
            and not self._queue
            and not self.acks.pending
            and self.gate.open
            and self.reason is None
        )

    def _gate_changed(self) -> None:
        if self.gate.open:
            self.advance()
        else:
            self.update()

    def check(self) -> None:
        """@raise CloseReason: when it is closed or closing."""
        if self.reason is not None:
            raise self.reason.with_outcome("not sent")

    def confirm_select(self) -> Any:
        """
        C{confirm.select}. Once is enough, more are harmless.

        @return: A completion that ends with C{Confirm.SelectOk}.
        """

        def selected(reply: Method | None, _cancelled: bool) -> Any:
            if reply is not None and self.confirms is None:
                self.confirms = Confirms()
            return reply

        return self.call(Confirm.Select(False), selected)

    def get(self, queue: str, no_ack: bool) -> Any:
        """
        C{basic.get}.

        @return: A completion that ends with a L{Delivery}, or with C{Basic.GetEmpty}.
        """

        def got(reply: Any, cancelled: bool) -> Any:
            delivery = reply.delivery if isinstance(reply, MessageTooLarge) else reply
            if isinstance(delivery, Delivery) and not no_ack and self.reason is None:
                self.acks.unacked[delivery.delivery_tag] = None
                if delivery is not reply:
                    delivery.reject(requeue=False)
                elif cancelled:
                    delivery.nack(requeue=True)
            return reply

        return self.call(Basic.Get(0, queue, no_ack), got)

    # What the broker sent

    def method_received(self, payload: bytes) -> None:
        """
        A method frame for this channel.

        @raise ProtocolError: when it is out of place or does not decode.
        """
        if self.content is not None:
            raise ProtocolError(f"a method inside the content of a message on channel {self.number}", UNEXPECTED_FRAME)
        if payload.startswith(_CONFIRMED) and len(payload) == 13:
            number, multiple = _ACK_ARGUMENTS.unpack_from(payload, 4)
            self._settled(number, bool(multiple & 1), True)
            return
        method = self._connection.decode(payload)
        if method.CLASS_ID == 10 or not method.FROM_SERVER:
            raise ProtocolError(f"{method.NAME} on channel {self.number}", COMMAND_INVALID)
        if method.CLASS_ID == 20:
            self._channel_method(method)
        elif method.CONTENT:
            self._content_announced(method)
        elif isinstance(method, Basic.Ack | Basic.Nack):
            self._settled(method.delivery_tag, method.multiple, isinstance(method, Basic.Ack))
        elif isinstance(method, Basic.Cancel):
            self.consumers.cancelled(method)
        else:
            self._replied(method)

    def _channel_method(self, method: Method) -> None:
        if (self.state, method.NAME) not in CHANNEL:
            raise ProtocolError(f"{method.NAME} on channel {self.number}, which is {self.state}", CHANNEL_ERROR)
        self.state = CHANNEL[self.state, method.NAME]
        if isinstance(method, Methods.Close):
            self.write_method(Methods.CloseOk())
            if self.state == CLOSED:
                self.end(
                    ChannelClosed(
                        method.reply_text, method.reply_code, method.class_id, method.method_id, initiator="peer"
                    )
                )
        elif isinstance(method, Methods.Flow):
            self.write_method(Methods.FlowOk(method.active))
            if method.active:
                self.gate.reopen(FLOW)
            else:
                self.gate.close(FLOW)
        else:
            self._replied(method)

    def _replied(self, method: Method) -> None:
        call = self._waiting
        if call is None or method.INDEX not in call.replies:
            if self.state == CLOSING:
                return  # on its way when this side gave the channel up
            raise ProtocolError(f"{method.NAME} on channel {self.number}, which nothing asked for", COMMAND_INVALID)
        self._complete(call, method)

    def _complete(self, call: Call, reply: Any) -> None:
        self._waiting = None
        result = call.finish(reply, call.cancelled) if call.finish is not None else reply
        completion, call.completion = call.completion, None
        if self.state == CLOSED:
            self.end(self.reason or ChannelClosed("closed"))
        else:
            self.advance()
        if isinstance(result, Exception) and completion is not None:
            completion.errback(result)
        elif completion is not None:
            completion.callback(result)
        self._connection.check_drained()

    def _settled(self, number: int, multiple: bool, acked: bool) -> None:
        confirms = self.confirms
        if confirms is None or self.state != OPEN:
            return
        if not confirms.settle(number, multiple, acked):
            self.fail(f"the broker settled publish {number}, which is not outstanding", PRECONDITION_FAILED)
            return
        if not self.gate.open and len(confirms.unconfirmed) < self._window:
            self.gate.reopen(WINDOW)
        if self._connection.draining:
            self._connection.check_drained()

    def _content_announced(self, method: Method) -> None:
        asked = self._waiting is not None and method.INDEX in self._waiting.replies
        if isinstance(method, Basic.GetOk) and not asked and self.state != CLOSING:
            raise ProtocolError(f"{method.NAME} on channel {self.number}, which nothing asked for", COMMAND_INVALID)
        if isinstance(method, Basic.Deliver | Basic.GetOk):
            if method.delivery_tag != self.acks.delivered + 1:
                raise ProtocolError(
                    f"delivery {method.delivery_tag} after {self.acks.delivered} on channel {self.number}",
                    UNEXPECTED_FRAME,
                )
            self.acks.delivered = method.delivery_tag
        self.content = Content(method, self._connection.parameters.max_body_size if self.reason is None else -1)

    def header_received(self, payload: bytes) -> None:
        """
        A content header frame for this channel.

        @raise ProtocolError: when it is out of place or does not decode.
        """
        if self.content is None:
            raise ProtocolError(f"a content header on channel {self.number} without a method", UNEXPECTED_FRAME)
        self.content.header(payload)
        self.body_finished()

    def body_started(self, size: int) -> Content:
        """
        A body frame begins.

        @return: What takes its bytes.
        @raise ProtocolError: when it is out of place.
        """
        if self.content is None:
            raise ProtocolError(f"a body frame on channel {self.number} without a method", UNEXPECTED_FRAME)
        self.content.frame(size)
        return self.content

    def body_finished(self) -> None:
        """A header or body frame is over: the message may be whole."""
        content = self.content
        if content is None or not content.complete:
            return
        self.content = None
        method, body = content.method, content.body()
        if isinstance(method, Basic.GetOk):
            self._got(method, content, body)
        elif self.reason is not None:
            return  # nobody takes it any more, and the broker requeues it when the channel is closed
        elif isinstance(method, Basic.Deliver):
            self.consumers.delivered(method, content, body)
        elif isinstance(method, Basic.Return):
            self._returned(method, content.raw_properties, body)

    def _got(self, method: Basic.GetOk, content: Content, body: bytes) -> None:
        call = self._waiting
        if call is None or method.INDEX not in call.replies:
            return  # this side gave the channel up
        delivery = self.delivery(method, content, body, "", True)
        delivery.message_count = method.message_count
        self._complete(call, MessageTooLarge(delivery, content.size) if content.too_large else delivery)

    def delivery(
        self, method: Basic.Deliver | Basic.GetOk, content: Content, body: bytes, consumer_tag: str, no_ack: bool
    ) -> Delivery:
        """Make a delivery of what arrived; unless C{no_ack}, it waits for its ack from now on."""
        if not no_ack:
            self.acks.unacked[method.delivery_tag] = None
        route = (method.redelivered, method.exchange, method.routing_key)
        return Delivery(self.acks, consumer_tag, method.delivery_tag, route, content.raw_properties, body)

    def _returned(self, method: Basic.Return, raw_properties: bytes, body: bytes) -> None:
        message = ReturnedMessage(
            method.reply_code, method.reply_text, method.exchange, method.routing_key, raw_properties, body
        )
        key = (method.exchange, method.routing_key, raw_properties)
        if self.confirms is None or not self.confirms.returned(key, message):
            self.face.returned(message)

    # The end

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """
        Close it, after what was called before. Its listener hears when it is done. Deliveries not yet acknowledged
        go back to their queue. Harmless when it is closed or closing.
        """
        if self.reason is None:
            call = self._close_call(ChannelClosed(reply_text, reply_code))
            self._stop()
            self._enqueue(call)

    def fail(self, text: str, reply_code: int) -> None:
        """The broker did on this channel what cannot be: everything on it fails, and it is closed with that code."""
        if self.reason is None:
            call = self._close_call(ChannelClosed(text, reply_code))
            self._stop()
            self._fail_calls()
            self._write_call(call)

    def _close_call(self, reason: CloseReason) -> Call:
        self.acks.write()
        self.reason = reason
        self.state = CHANNEL[self.state, CLOSE]
        method = Methods.Close(reason.reply_code, reason.reply_text, 0, 0)
        return Call(frame(FRAME_METHOD, self.number, method.encode()), (Methods.CloseOk.INDEX,))

    def lost(self, reason: CloseReason) -> None:
        """The connection is closed, and so is this channel."""
        if self.state != CLOSED:
            self.state = CHANNEL[self.state, LOST]
            self.end(reason)

    def end(self, reason: CloseReason) -> None:
        """Nothing more will happen on this channel: everything that waits for something hears so, once."""
        reason = self.reason = self.reason or reason
        self.content = None
        self._connection.release(self)
        self._stop()
        self._fail_calls()
        self.ended = True
        self.face.ended(reason)

    def _stop(self) -> None:
        """No more deliveries, no more acks."""
        self.clear = False
        self.acks.end()
        self.consumers.end(self.reason)

    def _fail_calls(self) -> None:
        reason = self.reason
        assert reason is not None
        waiting, self._waiting = self._waiting, None
        queue, self._queue = self._queue, deque()
        self._connection.holding.pop(self, None)
        if self.confirms is not None:
            self.confirms.abandon(reason)
        if waiting is not None and waiting.completion is not None:
            waiting.completion.errback(reason.with_outcome("closed"))
        for item in queue:
            if isinstance(item, HeldPublish):
                self._connection.held -= len(item.data)
            if item.completion is not None:
                item.completion.errback(reason.with_outcome("not sent"))
