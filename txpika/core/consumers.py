# -*- test-case-name: txpika.test.test_engine -*-
"""
Who consumes on one channel.

Owns the consumers by their tags, from before their C{basic.consume} is written to their end, whoever ends them. Knows
the channel their methods are written to.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from txpika.exceptions import (
    CloseReason,
    ConsumerCancelled,
    DuplicateConsumerTag,
    MessageTooLarge,
    UnknownConsumerTag,
)
from txpika.message import Delivery
from txpika.spec import Basic, Method

if TYPE_CHECKING:
    from txpika.core.channel import Channel
    from txpika.core.connection import Connection
    from txpika.core.content import Content

#: Not a real queue: direct replies go to whoever consumes from it (rabbitmq.com/docs/direct-reply-to).
REPLY_TO = "amq.rabbitmq.reply-to"
#: An argument that only the consumer of a stream has (rabbitmq.com/docs/streams#consuming).
STREAM_OFFSET = "x-stream-offset"
_CANCEL_OK = struct.pack(">HH", Basic.CancelOk.CLASS_ID, Basic.CancelOk.METHOD_ID)
_NONE: frozenset[str] = frozenset()
#: Tags remembered after their consumer is gone, for deliveries that were on their way.
MAX_GONE = 256


class Consumers:
    """
    The consumers of one channel.

    What a consumer does not take goes back to its queue. A stream keeps all it has and takes nothing back (RabbitMQ
    closes the connection, 540): there an ack does the same.
    """

    __slots__ = ("_by_tag", "_channel", "_connection", "_direct", "_gone", "_last_tag", "_of_streams")

    def __init__(self, channel: Channel, connection: Connection) -> None:
        self._channel = channel
        self._connection = connection
        self._by_tag: dict[bytes, Any] = {}
        self._gone: dict[bytes, bool] = {}
        self._direct = self._of_streams = _NONE
        self._last_tag = 0

    def get(self, tag: bytes) -> Any:
        """
        @return: The consumer that takes whatever comes for that tag, a L{txpika.core.listeners.Consumer}; C{None} when
            there is none, or when it is not that simple.
        """
        consumer = self._by_tag.get(tag)
        if consumer is None or consumer.consumer_tag in self._direct:
            return None
        return None if self._channel.acks.recovering and not consumer.no_ack else consumer

    def takes_direct_replies(self, method: Basic.Deliver | Basic.GetOk) -> bool:
        """@return: Whether the delivery is for a consumer of direct replies, or was for one that is gone."""
        return bool(self._direct) and isinstance(method, Basic.Deliver) and method.consumer_tag in self._direct

    def consume(
        self,
        consumer: Any,
        queue: str,
        exclusive: bool = False,
        arguments: Any = None,
        no_local: bool = False,
        nowait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """
        C{basic.consume}.

        @param consumer: A L{txpika.core.listeners.Consumer}. When its tag is empty it is given one.
        @return: A completion that ends with C{consumer}; C{None} with C{nowait}.
        @raise DuplicateConsumerTag: when its tag is in use on this channel.
        """
        if not consumer.consumer_tag:
            self._last_tag += 1
            consumer.consumer_tag = f"ctag{self._channel.number}.{self._last_tag}"
        method = Basic.Consume(
            0, queue, consumer.consumer_tag, no_local, consumer.no_ack, exclusive, nowait, arguments or {}
        )
        method.encode()
        self._channel.outbox.check()
        tag = consumer.consumer_tag.encode()
        if tag in self._by_tag:
            raise DuplicateConsumerTag(f"consumer_tag {consumer.consumer_tag!r} is in use on this channel")

        def consuming(reply: Method | None, cancelled: bool) -> Any:
            if cancelled:
                self._forget(tag)
                if reply is not None and self._channel.reason is None:
                    self._channel.call(Basic.Cancel(consumer.consumer_tag, True))
            return consumer

        completion = self._channel.call(method, consuming, timeout)
        self._by_tag[tag] = consumer
        self._direct = self._marked(self._direct, consumer.consumer_tag, queue == REPLY_TO)
        self._of_streams = self._marked(self._of_streams, consumer.consumer_tag, STREAM_OFFSET in method.arguments)
        return completion

    def _marked(self, tags: frozenset[str], tag: str, marked: bool) -> frozenset[str]:
        """@return: C{tags}, with C{tag} or without. Immutable, so that channels which have none share one."""
        if not marked:
            return tags - {tag} if tag in tags else tags
        if len(tags) >= MAX_GONE:  # make room
            tags = frozenset(each for each in tags if each.encode() in self._by_tag)
        return tags | {tag}

    def cancel(self, consumer_tag: str, nowait: bool = False, timeout: float | None = None) -> Any:
        """
        C{basic.cancel}. It is written even if its caller gives up.

        @return: A completion that ends with C{None} when no more deliveries can come; C{None} with C{nowait}.
        @raise UnknownConsumerTag: when there is no such consumer on this channel.
        """
        method = Basic.Cancel(consumer_tag, nowait)
        method.encode()
        self._channel.outbox.check()
        tag = consumer_tag.encode()
        if tag not in self._by_tag:
            raise UnknownConsumerTag(f"no consumer {consumer_tag!r} on this channel")

        def cancelled(_reply: Method | None, _gave_up: bool) -> None:
            consumer = self._forget(tag)
            if consumer is not None:
                consumer.ended(None)

        return self._channel.call(method, cancelled, timeout, optional=False)

    def redirected(self) -> None:
        """The C{deliver} of a consumer has changed: what was remembered of it is out of date."""
        self._connection.forget_shortcuts(self._channel.number)

    def _forget(self, tag: bytes) -> Any:
        consumer = self._by_tag.pop(tag, None)
        if consumer is not None:
            if len(self._gone) >= MAX_GONE:
                del self._gone[next(iter(self._gone))]
            self._gone[tag] = consumer.no_ack
            self._connection.forget_shortcuts(self._channel.number, tag)
        return consumer

    def cancelled(self, method: Basic.Cancel) -> None:
        """The broker cancelled one (rabbitmq.com/docs/consumer-cancel)."""
        tag = method.consumer_tag.encode("utf-8", "surrogateescape")
        if not method.nowait and self._channel.answers:
            # As it came: it may not be a name that this side could encode.
            payload = b"".join((_CANCEL_OK, bytes((len(tag),)), tag))
            self._channel.outbox.write_now(payload)
        consumer = self._forget(tag)
        if consumer is not None:
            consumer.ended(
                ConsumerCancelled(f"the broker cancelled consumer {consumer.consumer_tag!r}", initiator="peer")
            )

    def delivered(self, method: Basic.Deliver, content: Content, body: bytes) -> None:
        """A message for one arrived; one that nobody takes goes back to its queue, one that is too large does not."""
        tag = method.consumer_tag.encode("utf-8", "surrogateescape")
        consumer = self._by_tag.get(tag)
        no_ack = consumer.no_ack if consumer is not None else self._gone.get(tag, False)
        if self._channel.acks.recovering and not no_ack:
            return  # the broker takes it back
        delivery = self._channel.arrivals.delivery(Delivery, method, content, body, method.consumer_tag, no_ack)
        if content.too_large:
            if not no_ack:
                self._refuse(delivery, requeue=False)
            self._channel.face.dropped(MessageTooLarge(delivery, content.size))
        elif consumer is not None:
            consumer.deliver(delivery)
        elif not no_ack:
            self._refuse(delivery, requeue=True)

    def _refuse(self, delivery: Delivery, requeue: bool) -> None:
        if delivery.consumer_tag in self._of_streams:
            delivery.ack()
        elif requeue:
            delivery.nack(requeue=True)
        else:
            delivery.reject(requeue=False)

    def end(self, reason: CloseReason | None) -> None:
        """The channel is closing: there are no more deliveries."""
        if not self._by_tag:
            return
        consumers = list(self._by_tag.values())
        self._by_tag.clear()
        self._connection.forget_shortcuts(self._channel.number)
        for consumer in consumers:
            consumer.ended(reason)
