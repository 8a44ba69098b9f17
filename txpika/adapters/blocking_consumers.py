# -*- test-case-name: txpika.test.test_blocking_consumers,txpika.test.test_blocking_connection -*-
"""
Where a blocking channel's messages go: to a function of the program, or to an iteration over them.

Owns which of the waiting messages are still due: one that needs an ack but no longer waits for it is not handed over.
It was settled meanwhile, or its channel has ended and the broker has it. What is written is the engine's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txpika.adapters.blocking_events import MAX_EVENTS
from txpika.adapters.methods import deliver_of
from txpika.exceptions import ChannelClosed, CloseReason, ConnectionClosed
from txpika.message import Delivery
from txpika.spec import BasicProperties

if TYPE_CHECKING:
    from txpika.adapters.blocking_channel import BlockingChannel
    from txpika.core.acks import Acks

#: What a message looks like to a program: C{Basic.Deliver} or C{Basic.GetOk}, properties, body.
Message = tuple[Any, BasicProperties, bytes]


def message_of(delivery: Delivery) -> Message:
    """@return: What a pika program expects."""
    return deliver_of(delivery), delivery.properties, delivery.body


def raise_unless_ours(reason: CloseReason) -> None:
    """
    Do nothing when the program itself has closed the channel or the connection, in the orderly way.

    @raise CloseReason: C{reason}, when the end was another.
    """
    orderly = isinstance(reason, ChannelClosed | ConnectionClosed) and reason.reply_code == 200
    if not orderly or reason.initiator != "local":
        raise reason.with_outcome("closed")


class Consumer:
    """
    Deliveries to one consumer tag, each an event of its connection. A L{txpika.core.listeners.Consumer}.

    @ivar hand_over: Called with each message when its turn comes.
    """

    def __init__(
        self, channel: BlockingChannel, acks: Acks, function: Callable[..., object], tag: str, no_ack: bool
    ) -> None:
        """
        @param acks: Of the channel.
        @param function: Called with the channel, and the three parts of each message.
        """
        self._channel = channel
        self.consumer_tag = tag
        self.no_ack = no_ack
        self.reason: CloseReason | None = None

        def hand_over(message: Message) -> None:
            if no_ack or acks.waits_for(message[0].delivery_tag):
                function(channel, *message)

        self.hand_over: Callable[[Message], None] = hand_over

    def deliver(self, delivery: Delivery) -> None:
        """One message."""
        self._channel.connection.event(self, self.hand_over, message_of(delivery))

    def ended(self, reason: CloseReason | None) -> None:
        """No more deliveries."""
        self.reason = reason
        self._channel.connection.event(self, self._channel.consumer_ended, self)

    @staticmethod
    def unseen(channel: BlockingChannel) -> list[Message]:
        """@return: Those that wait for their turn, of all consumers of C{channel}."""
        return [
            arguments[0]
            for owner, function, arguments in channel.connection.waiting()
            if isinstance(owner, Consumer) and owner._channel is channel and function is owner.hand_over
        ]


class Iterated:
    """
    Keeps the deliveries to one consumer tag until the program asks for them. A L{txpika.core.listeners.Consumer}.

    @ivar over: No more deliveries come.
    """

    def __init__(self, channel: BlockingChannel, acks: Acks, asked: tuple[Any, ...], tag: str, no_ack: bool) -> None:
        """
        @param acks: Of the channel.
        @param asked: The arguments of C{consume} that it was made for.
        """
        self._channel = channel
        self._acks = acks
        self._messages: deque[Message] = deque()
        self.asked = asked
        self.consumer_tag = tag
        self.no_ack = no_ack
        self.reason: CloseReason | None = None
        self.over = False
        self._full = False

    def __len__(self) -> int:
        return len(self._messages)

    def deliver(self, delivery: Delivery) -> None:
        """One message."""
        if len(self._messages) >= MAX_EVENTS - 1 and not self.over:  # before another thread can take it, and make room
            self._full = True
            self._channel.connection.hold(self)
        self._messages.append(message_of(delivery))
        self._channel.connection.waiter.notify()

    def ended(self, reason: CloseReason | None) -> None:
        """No more deliveries."""
        self.reason = reason
        self.over = True
        self._channel.connection.gone(self)
        self._channel.connection.event(self, self._channel.consumer_ended, self)

    def take(self) -> Message | None:
        """@return: The next message; C{None} when there is none."""
        while self._messages:
            if self._full and len(self._messages) <= MAX_EVENTS // 2 and not self.over:
                self._make_room()
            message = self._messages.popleft()
            self._channel.connection.patience.taken += 1
            if self.no_ack or self._acks.waits_for(message[0].delivery_tag):
                return message
        return None

    def _make_room(self) -> None:
        self._full = False  # first: the loop's thread may fill it again at once
        try:
            self._channel.connection.release(self)
        except BaseException:
            self._full = True
            raise

    def unseen(self) -> list[Message]:
        """@return: Those that wait for their turn."""
        return list(self._messages)

    def give_up(self) -> list[Message]:
        """@return: All messages that are left."""
        messages = list(self._messages)
        self._messages.clear()
        if not self.over:
            self._channel.connection.release(self)
        return messages
