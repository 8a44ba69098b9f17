# -*- test-case-name: txpika.test.test_live -*-
"""
Messages that came from the broker: deliveries and returns.

Owns how they look to a program. What is costly is decoded on first use; a message whose properties make no sense shows
up only then, and affects nothing else.
"""

from __future__ import annotations

from typing import Any, Protocol

from txpika.spec import BasicProperties

#: How a delivery was routed: redelivered, exchange, routing key. Shared by all deliveries that came the same way.
Route = tuple[bool, str, str]


class Settling(Protocol):
    """What a delivery needs from the channel it came on."""

    @property
    def face(self) -> Any: ...
    def waits_for(self, delivery_tag: int) -> bool: ...
    def ack(self, delivery_tag: int, multiple: bool = False) -> None: ...
    def nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None: ...
    def reject(self, delivery_tag: int, requeue: bool = True) -> None: ...


class Delivery:
    """
    One message from a queue, by C{basic.deliver} or C{basic.get-ok}.

    @ivar body: The message body: bytes, whole.
    @ivar delivery_tag: The broker's number for it on this channel.
    @ivar consumer_tag: Which consumer it is for; C{""} when it came by C{basic_get}.
    @ivar message_count: Messages left in the queue, for C{basic_get}; else C{None}.
    """

    __slots__ = ("_channel", "_properties", "_raw_properties", "_route", "body", "consumer_tag", "delivery_tag")

    message_count: int | None = None

    def __init__(
        self,
        channel: Settling,
        consumer_tag: str,
        delivery_tag: int,
        route: Route,
        raw_properties: bytes,
        body: bytes,
    ) -> None:
        self._channel = channel
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self._route = route
        self._raw_properties = raw_properties
        self._properties: BasicProperties | None = None
        self.body = body

    @property
    def channel(self) -> Any:
        """The channel it came on, as its user knows it."""
        return self._channel.face

    @property
    def redelivered(self) -> bool:
        """Whether the broker delivered it before, to anyone."""
        return self._route[0]

    @property
    def exchange(self) -> str:
        """The exchange it was published to, C{""} for the default one."""
        return self._route[1]

    @property
    def routing_key(self) -> str:
        """The routing key it was published with."""
        return self._route[2]

    @property
    def properties(self) -> BasicProperties:
        """
        Its properties. They are decoded when the first of them is read.

        @raise DecodeError: by reading a property, when the publisher's bytes make no sense. The broker forwards them
            as they are, so this says nothing about the connection; reject the message.
        """
        if self._properties is None:
            self._properties = BasicProperties.from_wire(self._raw_properties)
        return self._properties

    @property
    def encoded_properties(self) -> bytes:
        """The same, as the publisher wrote them."""
        return self._raw_properties

    @property
    def settled(self) -> bool:
        """Whether it needs no ack, nack or reject: it got one, or never needed any, or its channel is gone."""
        return not self._channel.waits_for(self.delivery_tag)

    def ack(self, multiple: bool = False) -> None:
        """
        Acknowledge it.

        @param multiple: Also every earlier unsettled delivery of this channel.
        @raise StaleDelivery: when it is settled already, needs no ack, or its channel is closed. Nothing is written.
        """
        self._channel.ack(self.delivery_tag, multiple)

    def nack(self, requeue: bool = True, multiple: bool = False) -> None:
        """
        Give it back (RabbitMQ's C{basic.nack}).

        @param requeue: Into its queue; else it is dead-lettered or dropped.
        @param multiple: Also every earlier unsettled delivery of this channel.
        @raise StaleDelivery: as L{ack}.
        """
        self._channel.nack(self.delivery_tag, multiple, requeue)

    def reject(self, requeue: bool = False) -> None:
        """
        Refuse it.

        @param requeue: Back into its queue; else, by default, it is dead-lettered or dropped.
        @raise StaleDelivery: as L{ack}.
        """
        self._channel.reject(self.delivery_tag, requeue)

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.delivery_tag} exchange={self.exchange!r} routing_key={self.routing_key!r}"
            f" redelivered={self.redelivered} body of {len(self.body)} bytes>"
        )


class GotDelivery(Delivery):
    """One from C{basic.get-ok}, which says how many messages are left. The others save the slot for it (0.02 us)."""

    __slots__ = ("message_count",)

    message_count: int | None


class ReturnedMessage:
    """
    A mandatory message that no queue took.

    @ivar reply_code: Why: 312 for no route.
    @ivar reply_text: The same as text.
    @ivar exchange: The exchange it was published to.
    @ivar routing_key: The routing key it was published with.
    @ivar body: Its body: bytes.
    """

    __slots__ = ("_properties", "_raw_properties", "body", "exchange", "reply_code", "reply_text", "routing_key")

    def __init__(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, raw_properties: bytes, body: bytes
    ) -> None:
        self.reply_code = reply_code
        self.reply_text = reply_text
        self.exchange = exchange
        self.routing_key = routing_key
        self._raw_properties = raw_properties
        self._properties: BasicProperties | None = None
        self.body = body

    @property
    def properties(self) -> BasicProperties:
        """Its properties, decoded on first use, as L{Delivery.properties}."""
        if self._properties is None:
            self._properties = BasicProperties.from_wire(self._raw_properties)
        return self._properties

    def __repr__(self) -> str:
        return (
            f"<ReturnedMessage {self.reply_code} {self.reply_text!r} exchange={self.exchange!r}"
            f" routing_key={self.routing_key!r} body of {len(self.body)} bytes>"
        )
