# -*- test-case-name: txpika.test.test_surviving,txpika.test.test_surviving_early -*-
"""
What a channel that survives its connection has between the engine and each of its consumers.

Owns the deliveries that come before everything is set up again. Whose end is whose is L{txpika.surviving}'s to know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from txpika.consumer import Consumer
from txpika.exceptions import CloseReason, UnknownConsumerTag
from txpika.message import Delivery

if TYPE_CHECKING:
    from txpika.core.channel import Channel as Core
    from txpika.protocol import AMQPProtocol


class Owner(Protocol):
    """What is known here of a L{txpika.surviving.SurvivingChannel}."""

    def subscription_ended(self, core: Core, consumer: Consumer, reason: CloseReason | None) -> None:
        """A consumer gets no more deliveries on one connection."""

    def consumes(self, core: Core, consumer: Consumer) -> bool:
        """@return: Whether it has not ended, and C{core} is what the channel goes on with."""


class Subscription:
    """
    Stands between the engine and a consumer, on one connection. A L{txpika.core.listeners.Consumer}.

    What is delivered before all channels are set up again waits until they are. When C{buffer_size} deliveries do, the
    connection reads no more, unless somebody waits for an answer, as when they wait in the consumer. More are not given
    back: they would come again at once, and again, until a quorum queue drops them at its delivery limit.

    @ivar over: There will be no more, on this connection.
    """

    def __init__(self, channel: Owner, core: Core, consumer: Consumer, early: AMQPProtocol | None = None) -> None:
        """@param early: The connection that it is set up on, when the channel is not there yet."""
        self.consumer_tag = consumer.consumer_tag
        self.no_ack = consumer.no_ack
        self.consumer = consumer
        self._channel = channel
        self._core = core
        self._connection = early
        self._early: deque[Delivery] | None = None if early is None else deque()
        self._unwanted = False
        self.over = False

    @property
    def deliver(self) -> Callable[[Delivery], None]:
        """Takes one delivery."""
        if self._unwanted:
            return self._give_back
        return self.consumer.deliver if self._early is None else self._keep

    def _keep(self, delivery: Delivery) -> None:
        assert self._early is not None and self._connection is not None
        self._early.append(delivery)
        if len(self._early) == self.consumer.buffer_size:
            self._connection.pause_reading(self)

    def _read_on(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading(self)

    def _give_back(self, *deliveries: Delivery) -> None:
        self.consumer.give_back(deliveries)

    def begin(self) -> None:
        """The channel is there."""
        early, self._early = self._early, None
        self._core.consumers.redirected()
        while early:
            if not self.no_ack and not self._channel.consumes(self._core, self.consumer):
                if self._core.reason is None:
                    self._give_back(*early)
                break
            self.consumer.deliver(early.popleft())
        self._read_on()  # unless the consumer has enough by now

    def give_up(self) -> None:
        """The consumer was cancelled meanwhile."""
        self._unwanted = True
        self._core.consumers.redirected()
        self._give_back(*self._early or ())
        self._early = None
        self._read_on()
        with suppress(UnknownConsumerTag):  # the broker cancelled it as well
            self._core.consumers.cancel(self.consumer_tag, True)

    def ended(self, reason: CloseReason | None) -> None:
        """There will be no more, on this connection."""
        self.over = True
        self._read_on()
        self._channel.subscription_ended(self._core, self.consumer, reason)
