# -*- test-case-name: txpika.test.test_engine -*-
"""
What the engine tells those above it, besides the results of their calls.

Structural types only: whoever has these methods fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from txpika.exceptions import CloseReason, MessageTooLarge
from txpika.message import Delivery, ReturnedMessage


class Consumer(Protocol):
    """Where deliveries go. Neither method may raise."""

    consumer_tag: str
    no_ack: bool

    @property
    def deliver(self) -> Callable[[Delivery], None]:
        """Takes one delivery."""

    def ended(self, reason: CloseReason | None) -> None:
        """There will be no more; C{None} when this program cancelled it."""


class ChannelListener(Protocol):
    """What the user's face of a channel hears besides the results of its calls. No method may raise."""

    def returned(self, message: ReturnedMessage) -> None:
        """A message came back that belongs to no publish in confirm mode."""

    def dropped(self, error: MessageTooLarge) -> None:
        """A message for a consumer was over the limit: its body was not kept, and it does not go back to its queue."""

    def flow_changed(self, active: bool) -> None:
        """The broker stopped the channel's publishes (C{channel.flow}), or lets them go on. The engine holds them."""

    def ended(self, reason: CloseReason) -> None:
        """The channel is closed; all its calls have ended."""


class ConnectionListener(Protocol):
    """What the user's face of a connection hears. No method may raise."""

    def opened(self) -> None:
        """The handshake is over: channels can be opened."""

    def blocked(self, reason: str) -> None:
        """The broker has a resource alarm and takes no messages for now."""

    def unblocked(self) -> None:
        """It takes them again."""

    def ended(self, reason: CloseReason) -> None:
        """The transport is gone. Everything on the connection has ended. Told once, even when it never opened."""
