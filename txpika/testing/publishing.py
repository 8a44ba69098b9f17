# -*- test-case-name: txpika.test.test_memory_publishing -*-
"""
Messages that arrive on one connection of the broker in memory.

Owns what may be said in which order until a message is whole, on the short road and on the general one, and that
nothing is published where it may not be. Knows channels by number; of the other methods of a connection nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from txpika.core.content import Content
from txpika.exceptions import DecodeError, ProtocolError
from txpika.interfaces import ITransport
from txpika.spec import CHANNEL_ERROR, UNEXPECTED_FRAME, Basic
from txpika.testing.channel import MAX_MESSAGE_SIZE, ServerChannel, Target
from txpika.testing.errors import Refused, failed
from txpika.testing.outgoing import Outgoing
from txpika.testing.receiver import Publish

if TYPE_CHECKING:
    from txpika.testing.broker import MemoryBroker


class Publishing(Outgoing):
    """
    @ivar state: C{"greeting"}, C{"starting"}, C{"tuning"}, C{"opening"}, C{"open"}, C{"closing"} or C{"closed"}.
    @ivar user: Who it is, when it has logged in.
    @ivar channels: Those that are open, by number.
    """

    def __init__(self, broker: MemoryBroker, transport: ITransport) -> None:
        super().__init__(broker, transport)
        self.state = "greeting"
        self.user = ""
        self.channels: dict[int, ServerChannel] = {}

    @abstractmethod
    def refuse(self, channel: ServerChannel | None, error: Refused, class_id: int, method_id: int) -> None:
        """Close what C{error} is about."""

    def publisher(self, number: int, payload: bytes) -> Publish | None:
        """See L{txpika.testing.receiver.Sink}."""
        channel = self.channels.get(number)
        if channel is None or channel.closing or self.state != "open" or self.broker.faults.alarm is not None:
            return None
        try:
            target = Target(Basic.Publish.decode(payload, 4))
        except (DecodeError, Refused):
            return None
        return partial(self._publish, channel, target)

    def _publish(self, channel: ServerChannel, target: Target, raw: bytes, body: bytes) -> bool:
        if channel.content is not None or self.broker.faults.alarm is not None:
            return False
        try:
            channel.publish(target, raw, body)
        except Refused as error:
            self.refuse(channel, error, Basic.Publish.CLASS_ID, Basic.Publish.METHOD_ID)
        return True

    def header_received(self, number: int, payload: bytes) -> None:
        """A content header frame."""
        channel = self._receiving(number)
        if channel is not None:
            assert channel.content is not None
            channel.content.header(payload)
            self._content_grew(channel, channel.content)

    def body_received(self, number: int, payload: bytes) -> None:
        """A body frame."""
        channel = self._receiving(number)
        if channel is not None:
            assert channel.content is not None
            channel.content.frame(len(payload))
            channel.content.piece(payload, 0, len(payload))
            self._content_grew(channel, channel.content)

    def _receiving(self, number: int) -> ServerChannel | None:
        """@return: The channel, where a message is arriving; C{None} when what comes there is for nobody."""
        if self.state == "closing":
            return None
        channel = self.channels.get(number) if self.state == "open" else None
        if channel is None:
            raise ProtocolError("a message where no channel is open", CHANNEL_ERROR)
        if channel.closing:
            return None
        if channel.content is None:
            raise ProtocolError("a header or body frame without a method", UNEXPECTED_FRAME)
        return channel

    def _content_grew(self, channel: ServerChannel, content: Content) -> None:
        if content.too_large:
            text = f"message size {content.size} is larger than configured max size {MAX_MESSAGE_SIZE}"
            self.refuse(channel, failed(text), Basic.Publish.CLASS_ID, Basic.Publish.METHOD_ID)
        elif content.complete:
            channel.content = None
            method = content.method
            assert isinstance(method, Basic.Publish)
            try:
                channel.publish(Target(method), content.raw_properties, content.body())
            except Refused as error:
                self.refuse(channel, error, Basic.Publish.CLASS_ID, Basic.Publish.METHOD_ID)
