# -*- test-case-name: txpika.test.test_engine -*-
"""
The messages that arrive on one channel: deliveries, answers to C{basic.get}, and returned messages.

Owns the message being put together and where it goes once it is whole. Knows its channel; not how bytes become frames,
nor what is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from txpika.core.acks import NoAcks
from txpika.core.confirms import KEY_BYTES
from txpika.core.content import Content
from txpika.core.states import CLOSING
from txpika.exceptions import MessageTooLarge, ProtocolError
from txpika.message import Delivery, GotDelivery, ReturnedMessage, Settling
from txpika.spec import COMMAND_INVALID, UNEXPECTED_FRAME, Basic, Method

if TYPE_CHECKING:
    from txpika.core.channel import Channel

Kind = TypeVar("Kind", bound=Delivery)


class Arrivals:
    """
    @ivar content: The message that is arriving; C{None} between messages.
    """

    __slots__ = ("_channel", "_max_body_size", "content")

    def __init__(self, channel: Channel, max_body_size: int) -> None:
        """
        @param max_body_size: Largest body that is kept, in bytes.
        """
        self._channel = channel
        self._max_body_size = max_body_size
        self.content: Content | None = None

    def announced(self, method: Method) -> None:
        """
        A method that announces a message.

        @raise ProtocolError: when nobody asked for it, or its delivery tag is out of order.
        """
        channel = self._channel
        if isinstance(method, Basic.GetOk) and not channel.awaits(method) and channel.state != CLOSING:
            raise ProtocolError(f"{method.NAME} on channel {channel.number}, which nothing asked for", COMMAND_INVALID)
        if isinstance(method, Basic.Deliver | Basic.GetOk):
            channel.acks.announced(method.delivery_tag, channel.consumers.takes_direct_replies(method))
        unwanted = isinstance(method, Basic.Deliver) and channel.reason is not None
        self.content = Content(method, -1 if unwanted else self._max_body_size)

    def header_received(self, payload: bytes) -> None:
        """
        A content header frame.

        @raise ProtocolError: when it is out of place or does not decode.
        """
        if self.content is None:
            raise ProtocolError(
                f"a content header on channel {self._channel.number} without a method", UNEXPECTED_FRAME
            )
        self.content.header(payload)
        self.body_finished()

    def body_started(self, size: int) -> Content:
        """
        A body frame begins.

        @return: What takes its bytes.
        @raise ProtocolError: when it is out of place.
        """
        if self.content is None:
            raise ProtocolError(f"a body frame on channel {self._channel.number} without a method", UNEXPECTED_FRAME)
        self.content.frame(size)
        return self.content

    def body_finished(self) -> None:
        """A header or body frame is over: the message may be whole."""
        content = self.content
        if content is None or not content.complete:
            return
        self.content = None
        channel = self._channel
        method, body = content.method, content.body()
        if isinstance(method, Basic.GetOk):
            self._got(method, content, body)
        elif isinstance(method, Basic.Return):
            self._returned(method, content, body)
        elif isinstance(method, Basic.Deliver) and channel.reason is None:
            channel.consumers.delivered(method, content, body)
        # Otherwise nobody takes it any more, and the broker requeues it when the channel is closed.

    def _got(self, method: Basic.GetOk, content: Content, body: bytes) -> None:
        delivery = self.delivery(GotDelivery, method, content, body, "", True)
        delivery.message_count = method.message_count
        self._channel.got(method, MessageTooLarge(delivery, content.size) if content.too_large else delivery)

    def delivery(
        self,
        kind: type[Kind],
        method: Basic.Deliver | Basic.GetOk,
        content: Content,
        body: bytes,
        consumer_tag: str,
        no_ack: bool,
    ) -> Kind:
        """Make a C{kind} of what arrived; unless C{no_ack}, it waits for its ack from now on."""
        acks: Settling = self._channel.acks
        if not no_ack:
            self._channel.acks.unacked[method.delivery_tag] = None
        elif self._channel.consumers.takes_direct_replies(method):
            acks = NoAcks(self._channel.acks)
        route = (method.redelivered, method.exchange, method.routing_key)
        return kind(acks, consumer_tag, method.delivery_tag, route, content.raw_properties, body)

    def _returned(self, method: Basic.Return, content: Content, body: bytes) -> None:
        properties = content.raw_properties
        message = ReturnedMessage(
            method.reply_code, method.reply_text, method.exchange, method.routing_key, properties, body
        )
        key = (method.exchange, method.routing_key, properties, content.size, body[:KEY_BYTES])
        confirms = self._channel.outbox.confirms
        if confirms is None or not confirms.returned(key, message, not content.too_large):
            self._channel.face.returned(message)
