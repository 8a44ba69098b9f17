# -*- test-case-name: txpika.test.test_callback_channel -*-
"""
One channel, as a callback program knows it: the methods of pika's channel of 2011, and later ones.

Owns the names, arguments and callbacks of the methods. What order they are written in, and what their replies are, is
the engine's business; who is to be told of what is kept by the connection's L{CallbackManager}.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from txpika import frames
from txpika.adapters.checking import (
    Arguments,
    OnMessage,
    check_callback,
    encoded,
    need_handler,
    reason_of,
    refuse_ticket,
)
from txpika.adapters.methods import deliver_of, get_ok_of, return_of
from txpika.core.acks import check_tag
from txpika.exceptions import ChannelClosed, CloseReason, MessageTooLarge, NackError, ReturnedError, StaleDelivery
from txpika.message import Delivery, ReturnedMessage
from txpika.spec import Basic, BasicProperties, Exchange, Method, Queue
from txpika.spec import Channel as Methods

if TYPE_CHECKING:
    from txpika.adapters.callback import BaseConnection
    from txpika.adapters.completion import Completion
    from txpika.core.channel import Channel as Core

#: Called with a L{frames.Method} whose C{method} is the reply.
OnReply = Callable[[frames.Method], object] | None

_log = logging.getLogger("txpika.adapters.callback")

# Keys of the callback manager that are not methods.
ON_CLOSE = "_on_channel_close"
ON_RETURN = "_on_basic_return"
ON_CANCEL = "_on_basic_cancel"
ON_FLOW = "_on_channel_flow"


def call(callback: Callable[..., object] | None, *arguments: Any) -> None:
    """Call a program's callback. What it raises is logged, and harms nobody else."""
    if callback is not None:
        try:
            callback(*arguments)
        except Exception:
            _log.exception("%r raised", callback)


class Consumer:
    """Where deliveries to one consumer tag go. A L{txpika.core.listeners.Consumer}."""

    __slots__ = ("_callback", "_channel", "consumer_tag", "no_ack")

    def __init__(self, channel: Channel, callback: OnMessage, consumer_tag: str, no_ack: bool) -> None:
        self._channel = channel
        self._callback = callback
        self.consumer_tag = consumer_tag
        self.no_ack = no_ack

    def deliver(self, delivery: Delivery) -> None:
        """One message."""
        try:
            self._callback(self._channel, deliver_of(delivery), delivery.properties, delivery.body)
        except Exception:
            _log.exception("consumer %r raised on delivery %d", self.consumer_tag, delivery.delivery_tag)

    def ended(self, reason: CloseReason | None) -> None:
        """No more deliveries."""
        self._channel.consumer_ended(self.consumer_tag, reason)


class Channel:
    """
    What C{connection.channel()} returns, and passes to its callback.

    It can be used at once: what is called before the broker has opened it waits for that, in order. Wrong arguments
    raise L{ValueError} or L{TypeError} at the call; a call on a closed channel raises the reason. A C{callback} gets a
    frame whose C{method} is the broker's reply; it is not called when the channel ends first, which a callback of
    L{add_on_close_callback} is told.

    @ivar connection: The connection it belongs to.
    @ivar closing: C{False}, or code and text of its close.
    """

    def __init__(self, connection: BaseConnection, core: Core) -> None:
        self.connection = connection
        self._core = core
        self._publish = core.publish
        self._callbacks = connection.callbacks
        self._tags: dict[str, None] = {}
        self._confirmed: Callable[[frames.Method], object] | None = None
        self._published = 0
        self.closing: bool | tuple[int, str] = False

    @property
    def channel_number(self) -> int:
        """Its number on the wire."""
        return self._core.number

    @property
    def transport(self) -> Channel:
        """Itself: in 2011 this was another object with the same methods."""
        return self

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._core.reason is None

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._core.ended

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of its consumers."""
        return list(self._tags)

    def __int__(self) -> int:
        return self.channel_number

    # Callbacks

    def add_callback(self, callback: Callable[..., object], replies: Iterable[Any], one_shot: bool = False) -> None:
        """
        Call C{callback} with the frame of each reply of one of these kinds.

        @param replies: Method classes, e.g. C{[spec.Basic.GetEmpty]}.
        @param one_shot: Only for the first.
        """
        check_callback(callback)
        for reply in replies:
            self._callbacks.add(self.channel_number, reply, callback, one_shot)

    def add_on_close_callback(self, callback: Callable[[int, str], object]) -> None:
        """Call C{callback} with code and text when the channel, or the connection, is closed, by whomever."""
        check_callback(callback)
        self._callbacks.add(self.channel_number, ON_CLOSE, callback, False)

    def add_on_return_callback(self, callback: Callable[..., object]) -> None:
        """
        Call C{callback} with each returned message: the frame of C{Basic.Return}, the frame of its header, whose
        C{properties} are the message's, and the body.
        """
        check_callback(callback)
        self._callbacks.add(self.channel_number, ON_RETURN, callback, False)

    def add_on_cancel_callback(self, callback: Callable[[frames.Method], object]) -> None:
        """Call C{callback} with each C{Basic.Cancel} frame from the broker, as when the queue was deleted."""
        check_callback(callback)
        self._callbacks.add(self.channel_number, ON_CANCEL, callback, False)

    def add_on_flow_callback(self, callback: Callable[[bool], object]) -> None:
        """Call C{callback} with C{False} when the broker stops publishes, C{True} when it lets them go on."""
        check_callback(callback)
        self._callbacks.add(self.channel_number, ON_FLOW, callback, False)

    def add_backpressure_callback(self, callback: Callable[[], object]) -> None:
        """As L{BaseConnection.add_backpressure_callback}."""
        self.connection.add_backpressure_callback(callback)

    def set_backpressure_multiplier(self, value: float = 10) -> None:
        """As L{BaseConnection.set_backpressure_multiplier}."""
        self.connection.set_backpressure_multiplier(value)

    # Calls

    def _rpc(self, callback: OnReply, method: Method) -> None:
        check_callback(callback)
        self._answer(callback, self._core.call(method))

    def _answer(self, callback: OnReply, done: Completion | None) -> None:
        """Have C{callback} called when C{done} is; never with C{nowait}, where there is nothing to wait for."""
        if done is not None:
            done.callback = partial(self._replied, callback)

    def _replied(self, callback: OnReply, reply: Method) -> None:
        frame = frames.Method(self.channel_number, reply)
        call(callback, frame)
        self._callbacks.process(self.channel_number, reply, self, frame)

    def exchange_declare(
        self,
        callback: OnReply = None,
        ticket: int = 0,
        exchange: str = "",
        type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        exchange_type: str | None = None,
    ) -> None:
        """
        C{exchange.declare}.

        @param type: C{direct}, C{fanout}, C{topic}, C{headers}; may also be given as C{exchange_type}.
        """
        refuse_ticket(ticket)
        kind = type if exchange_type is None else exchange_type
        table = arguments or {}
        method = Exchange.Declare(0, exchange, kind, passive, durable, auto_delete, internal, nowait, table)
        self._rpc(callback, method)

    def exchange_delete(
        self,
        callback: OnReply = None,
        ticket: int = 0,
        exchange: str = "",
        if_unused: bool = False,
        nowait: bool = False,
    ) -> None:
        """C{exchange.delete}."""
        refuse_ticket(ticket)
        self._rpc(callback, Exchange.Delete(0, exchange, if_unused, nowait))

    def exchange_bind(
        self,
        callback: OnReply = None,
        destination: str = "",
        source: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> None:
        """C{exchange.bind} of RabbitMQ: messages of C{source} go to C{destination} too."""
        self._rpc(callback, Exchange.Bind(0, destination, source, routing_key, nowait, arguments or {}))

    def exchange_unbind(
        self,
        callback: OnReply = None,
        destination: str = "",
        source: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> None:
        """C{exchange.unbind} of RabbitMQ."""
        self._rpc(callback, Exchange.Unbind(0, destination, source, routing_key, nowait, arguments or {}))

    def queue_declare(
        self,
        callback: OnReply = None,
        ticket: int = 0,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> None:
        """C{queue.declare}; the reply has C{queue}, C{message_count} and C{consumer_count}."""
        refuse_ticket(ticket)
        table = arguments or {}
        self._rpc(callback, Queue.Declare(0, queue, passive, durable, exclusive, auto_delete, nowait, table))

    def queue_bind(
        self,
        callback: OnReply = None,
        ticket: int = 0,
        queue: str = "",
        exchange: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
    ) -> None:
        """C{queue.bind}."""
        refuse_ticket(ticket)
        self._rpc(callback, Queue.Bind(0, queue, exchange, routing_key, nowait, arguments or {}))

    def queue_unbind(
        self,
        callback: OnReply = None,
        ticket: int = 0,
        queue: str = "",
        exchange: str = "",
        routing_key: str = "",
        arguments: Arguments = None,
    ) -> None:
        """C{queue.unbind}."""
        refuse_ticket(ticket)
        self._rpc(callback, Queue.Unbind(0, queue, exchange, routing_key, arguments or {}))

    def queue_purge(self, callback: OnReply = None, ticket: int = 0, queue: str = "", nowait: bool = False) -> None:
        """C{queue.purge}; the reply has C{message_count}."""
        refuse_ticket(ticket)
        self._rpc(callback, Queue.Purge(0, queue, nowait))

    def queue_delete(
        self,
        callback: OnReply = None,
        ticket: int = 0,
        queue: str = "",
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
    ) -> None:
        """C{queue.delete}; the reply has C{message_count}."""
        refuse_ticket(ticket)
        self._rpc(callback, Queue.Delete(0, queue, if_unused, if_empty, nowait))

    def tx_select(self, callback: OnReply = None) -> None:
        """C{tx.select}."""
        check_callback(callback)
        self._answer(callback, self._core.tx_select())

    def tx_commit(self, callback: OnReply = None) -> None:
        """C{tx.commit}. @raise ValueError: without L{tx_select}."""
        check_callback(callback)
        self._answer(callback, self._core.tx_commit())

    def tx_rollback(self, callback: OnReply = None) -> None:
        """C{tx.rollback}. @raise ValueError: without L{tx_select}."""
        check_callback(callback)
        self._answer(callback, self._core.tx_rollback())

    def flow(self, callback: Callable[[bool], object] | None = None, active: bool = True) -> None:
        """
        C{channel.flow}. RabbitMQ lets no client stop it (use L{basic_qos}), so this can only ask for what is.

        @param callback: Called with C{active}.
        @raise ValueError: when C{active} is false: RabbitMQ would close the connection (540).
        """
        if not active:
            raise ValueError("active is false: RabbitMQ does not implement that; limit the deliveries by basic_qos")
        check_callback(callback)
        done = self._core.call(Methods.Flow(True))
        done.callback = lambda reply: call(callback, reply.active)

    # Publishing

    def confirm_delivery(self, callback: OnReply = None, nowait: bool = False) -> None:
        """
        Turn on confirm mode. Harmless when it is on.

        @param callback: Called for each message published from now on, with the frame of a C{Basic.Ack} or
            C{Basic.Nack} whose C{delivery_tag} counts the publishes of this channel from 1; one frame per message. A
            returned message goes to the callbacks of L{add_on_return_callback} first.
        """
        check_callback(callback)
        self._core.confirm_select(nowait)
        self._confirmed = callback or self._confirmed or (lambda frame: None)

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | str,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
        immediate: bool = False,
    ) -> None:
        """
        C{basic.publish}, in its turn: after what was called on this channel before.

        @param body: bytes-like; a str is sent as UTF-8.
        @param immediate: RabbitMQ does not implement it.
        @raise OutboundBufferFull: when too many bytes wait to be written already.
        """
        if immediate:
            raise ValueError("immediate is true: RabbitMQ does not implement that")
        if body.__class__ is not bytes:
            body = encoded(body)  # type: ignore[assignment]
        done = self._publish(exchange, routing_key, body, properties, mandatory)  # type: ignore[arg-type]
        if self._confirmed is not None and done is not None:
            self._published += 1
            done.callback = partial(self._settled, self._published)
            done.errback = partial(self._refused, self._published)

    def _settled(self, number: int, _result: None) -> None:
        frame = frames.Method(self.channel_number, Basic.Ack(number))
        call(self._confirmed, frame)
        self._callbacks.process(self.channel_number, Basic.Ack, self, frame)

    def _refused(self, number: int, error: BaseException) -> None:
        if isinstance(error, ReturnedError):
            self.returned(error.message)
            self._settled(number, None)
        elif isinstance(error, NackError):
            frame = frames.Method(self.channel_number, Basic.Nack(number))
            call(self._confirmed, frame)
            self._callbacks.process(self.channel_number, Basic.Nack, self, frame)
        # Otherwise the channel or the connection has ended; those who listen for that are told.

    # Consuming

    def basic_qos(
        self,
        callback: OnReply = None,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_: bool = False,
        global_qos: bool | None = None,
        all_channels: bool | None = None,
    ) -> None:
        """
        C{basic.qos}.

        @param prefetch_size: RabbitMQ implements only 0, no limit.
        @param global_: For the channel; else for each consumer started later. Or C{global_qos}, or C{all_channels}.
        """
        given = [each for each in (global_qos, all_channels) if each is not None]
        self._rpc(callback, Basic.Qos(prefetch_size, prefetch_count, given[0] if given else global_))

    def basic_consume(
        self,
        consumer_callback: OnMessage | None = None,
        queue: str = "",
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
        consumer: OnMessage | None = None,
        nowait: bool = False,
        callback: OnReply = None,
    ) -> str:
        """
        C{basic.consume}.

        @param consumer_callback: Called with channel, method, properties and body of each message; or C{consumer}.
        @param callback: Called with the frame of the reply.
        @return: The consumer tag.
        @raise TypeError: when the consumer is C{async}, or not callable.
        @raise DuplicateConsumerTag: when the tag is in use on this channel.
        """
        on_message = consumer_callback if consumer is None else consumer
        need_handler("consumer_callback", on_message)
        assert on_message is not None
        check_callback(callback)
        taker = Consumer(self, on_message, consumer_tag or "", no_ack)
        done = self._core.consumers.consume(taker, queue, exclusive, arguments, nowait=nowait)
        self._tags[taker.consumer_tag] = None
        if done is not None:
            reply = Basic.ConsumeOk(taker.consumer_tag)
            done.callback = lambda _consumer: self._replied(callback, reply)
        return taker.consumer_tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, callback: OnReply = None) -> None:
        """
        C{basic.cancel}.

        @raise UnknownConsumerTag: when there is no such consumer on this channel.
        """
        check_callback(callback)
        done = self._core.consumers.cancel(consumer_tag, nowait)
        if done is not None:
            reply = Basic.CancelOk(consumer_tag)
            done.callback = lambda _result: self._replied(callback, reply)

    def basic_get(
        self,
        callback: OnMessage | None = None,
        ticket: int = 0,
        queue: str = "",
        no_ack: bool = False,
    ) -> None:
        """
        C{basic.get}.

        @param callback: Called with channel, method, properties and body when there is a message. When there is none,
            only callbacks added by L{add_callback} for C{Basic.GetEmpty} are called.
        """
        refuse_ticket(ticket)
        check_callback(callback)
        done = self._core.get(queue, no_ack)
        done.callback = partial(self._got, callback)
        done.errback = lambda error: self.dropped(error) if isinstance(error, MessageTooLarge) else None

    def _got(self, callback: OnMessage | None, result: Any) -> None:
        if isinstance(result, Delivery):
            method = get_ok_of(result)
            call(callback, self, method, result.properties, result.body)
            self._callbacks.process(self.channel_number, method, self, self, method, result.properties, result.body)
        else:
            frame = frames.Method(self.channel_number, result)
            self._callbacks.process(self.channel_number, result, self, frame)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """
        C{basic.ack}.

        @raise StaleDelivery: when there is nothing to acknowledge under that tag.
        @raise CloseReason: when the channel has ended.
        """
        check_tag(delivery_tag)
        try:
            self._core.acks.ack(delivery_tag, multiple)
        except StaleDelivery as error:
            raise reason_of(error) from None

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """C{basic.nack} of RabbitMQ. @raise StaleDelivery: as L{basic_ack}."""
        check_tag(delivery_tag)
        try:
            self._core.acks.nack(delivery_tag, multiple, requeue)
        except StaleDelivery as error:
            raise reason_of(error) from None

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """C{basic.reject}. @raise StaleDelivery: as L{basic_ack}."""
        check_tag(delivery_tag)
        try:
            self._core.acks.reject(delivery_tag, requeue)
        except StaleDelivery as error:
            raise reason_of(error) from None

    def basic_recover(self, callback: OnReply = None, requeue: bool = True) -> None:
        """
        C{basic.recover}.

        @raise ValueError: when C{requeue} is false: RabbitMQ would close the connection (540).
        """
        check_callback(callback)
        if not requeue:
            raise ValueError("requeue is false: RabbitMQ does not implement that")
        self._answer(callback, self._core.recover())

    def basic_recover_async(self, requeue: bool = True) -> None:
        """Today the same as L{basic_recover}, without a callback."""
        self.basic_recover(None, requeue)

    # The end

    def close(self, code: int = 200, text: str = "Normal shutdown", from_server: bool = False) -> None:
        """
        Close it, after all calls made before. Harmless when it is closed.

        @param code: 0, the default of pika in 2011, is sent as 200.
        @param from_server: Ignored: only programs call this now.
        """
        if not self.closing:
            self.closing = (code or 200, text)
        self._core.close(code or 200, text)

    # What the engine tells

    def returned(self, message: ReturnedMessage) -> None:
        """A message came back."""
        number = self.channel_number
        frame = frames.Method(number, return_of(message))
        header = frames.Header(number, len(message.body), message.properties)
        heard = self._callbacks.process(number, ON_RETURN, self, frame, header, message.body)
        if not heard and self._confirmed is None:
            _log.warning("a mandatory message came back and nobody listens (add_on_return_callback): %r", message)

    def dropped(self, error: MessageTooLarge) -> None:
        """A message was too large, and is not handed over."""
        _log.error("not handed over: %s", error)

    def flow_changed(self, active: bool) -> None:
        """The broker stopped publishes, or lets them go on."""
        self._callbacks.process(self.channel_number, ON_FLOW, self, active)

    def consumer_ended(self, consumer_tag: str, reason: CloseReason | None) -> None:
        """One of the consumers has ended."""
        self._tags.pop(consumer_tag, None)
        if reason is not None and self.is_open:
            frame = frames.Method(self.channel_number, Basic.Cancel(consumer_tag))
            if not self._callbacks.process(self.channel_number, ON_CANCEL, self, frame):
                _log.warning("no more deliveries to consumer %r: %s", consumer_tag, reason)

    def ended(self, reason: CloseReason) -> None:
        """The engine's channel is closed."""
        code, text = reason.reply_code or 200, reason.reply_text
        self.closing = self.closing or (code, text)
        # All of them taken first, for one may open a channel of the same number, with callbacks of its own.
        hearing = self._callbacks.take(self.channel_number, ON_CLOSE)
        self.connection.channel_ended(self)
        for callback in hearing:
            call(callback, code, text)
        if not hearing and isinstance(reason, ChannelClosed) and reason.initiator == "peer":
            _log.warning("the broker closed channel %d: %s", self.channel_number, reason)

    def __repr__(self) -> str:
        return f"<Channel {self.channel_number} {self._core.state}>"
