# -*- test-case-name: txpika.test.test_memory_network -*-
"""
What one connection of the broker in memory has to say.

Owns the frames that were made and not yet handed to the transport, so that what one read brings about leaves in one
write, and the confirmations that leave after all else. Knows bytes, and whom to tell that there are some.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from txpika.interfaces import ITransport

if TYPE_CHECKING:
    from txpika.testing.broker import MemoryBroker
    from txpika.testing.confirms import Confirms

#: What is written is handed to the transport at the latest when it is this much, in bytes.
MAX_CORKED = 64 * 1024


class Outgoing(ABC):
    """
    @ivar broker: Calls L{flush} in time.
    @ivar bytes_sent: Total, in bytes.
    @ivar send_limit: After so many more methods it sends, messages and all, it is closed; C{None} for never.
    @ivar confirming: Channels' confirmations to send.
    """

    def __init__(self, broker: MemoryBroker, transport: ITransport) -> None:
        self.broker = broker
        self.bytes_sent = 0
        self.send_limit: int | None = None
        self.confirming: list[Confirms] = []
        self._transport: ITransport | None = transport
        self._out: list[bytes] = []
        self._out_size = 0
        self._dirty = False

    def send(self, data: bytes) -> None:
        """Whole frames: a method, or a message."""
        self._out.append(data)
        self._out_size += len(data)
        if not self._dirty:
            self._dirty = True
            self.broker.dirty.append(self)
        if self.send_limit is not None:
            self.send_limit -= 1
            if self.send_limit <= 0:
                self.send_limit = None
                self._limit_reached()
        elif self._out_size > MAX_CORKED:
            self._write()

    def confirms(self, confirms: Confirms) -> None:
        """A channel has confirmations to send when all else is done."""
        self.confirming.append(confirms)
        if not self._dirty:
            self._dirty = True
            self.broker.dirty.append(self)

    def flush(self) -> None:
        """Let go what was collected."""
        self._dirty = False
        if self.confirming:
            confirming, self.confirming = self.confirming, []
            for each in confirming:
                each.flush()
            self._dirty = False
        self._write()

    def _write(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        if data and self._transport is not None:
            self.bytes_sent += len(data)
            self._transport.write(data)

    @abstractmethod
    def _limit_reached(self) -> None:
        """L{send_limit} is reached: what was said so far is the last."""
