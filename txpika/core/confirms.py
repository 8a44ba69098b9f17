# -*- test-case-name: txpika.test.test_engine -*-
"""
Which publishes of one channel wait for the broker's verdict, and what it was.

Owns the sequence numbers of a channel in confirm mode (rabbitmq.com/docs/confirms). Knows completions and returned
messages; never a frame or the wire. A publish ends once: acked, nacked, returned, or unknown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from txpika.exceptions import (
    AMQPConnectionError,
    ChannelOutcomeUnknown,
    CloseReason,
    ConnectionOutcomeUnknown,
    NackError,
    ReturnedError,
)
from txpika.interfaces import ICompletion
from txpika.message import ReturnedMessage

#: What a returned message is matched by: exchange, routing key, encoded properties, size of the body and its first
#: L{KEY_BYTES}. The message itself is never marked. Without the body, a message returned because its queue went away
#: would be taken for an earlier one that reached the queue and waits for the broker's disk.
Key = tuple[str, str, bytes, int, bytes]
#: Enough of a body to tell most messages apart, in bytes; a body no longer than this is not copied for it.
KEY_BYTES = 256

#: Up to this many numbers are visited one by one, settled or not.
LEAP = 1000
#: Settled numbers tolerated among the keys of mandatory publishes before they are swept out.
SWEEP = 256


class Confirms:
    """
    @ivar last: The number of the latest publish; the first is 1.
    @ivar unconfirmed: Completion by number, for each publish not yet settled, in order.
    """

    __slots__ = (
        "_announce",
        "_lowest",
        "_mandatory",
        "_mandatory_count",
        "_returned",
        "_taking",
        "last",
        "unconfirmed",
    )

    def __init__(self, announce: Callable[..., None] | None = None) -> None:
        """
        @param announce: Called before several completions end with C{None}, in order: with L{unconfirmed}, their
            numbers (some of which may be gone), and a function that ends the completion of a number at once.
        """
        self._announce = announce
        self._taking = False
        self.last = 0
        self.unconfirmed: dict[int, Any] = {}
        self._lowest = 1
        self._mandatory: dict[Key, int | deque[int]] = {}  # a deque where several publishes look alike
        self._mandatory_count = 0
        self._returned: dict[int, ReturnedMessage] = {}

    def expect(self, completion: Any) -> int:
        """
        A message was written: its outcome goes to C{completion}. The publish path does the same in place.

        @param completion: An L{ICompletion}.
        @return: The number of this publish.
        """
        self.last += 1
        self.unconfirmed[self.last] = completion
        return self.last

    def expect_return(self, key: Key) -> None:
        """The latest publish was mandatory: it may come back."""
        if self._mandatory_count >= SWEEP + 2 * len(self.unconfirmed):
            self._sweep()
        self._mandatory_count += 1
        alike = self._mandatory.setdefault(key, self.last)
        if not isinstance(alike, int):
            alike.append(self.last)
        elif alike != self.last:
            self._mandatory[key] = deque((alike, self.last))

    def returned(self, key: Key, message: ReturnedMessage, whole: bool = True) -> bool:
        """
        A message came back: it belongs to the earliest mandatory publish like it that is neither settled nor returned.

        @param whole: Whether C{key} holds the beginning of the body; it does not when the body was over the limit.
        @return: Whether there is such a publish.
        """
        number = self._take(key) if whole else None
        if number is None:
            # Its body is unknown, or the broker has changed it: RabbitMQ strips the BCC header from what it returns.
            number = self._take_like(key)
        if number is not None:
            self._returned[number] = message
        return number is not None

    def _take(self, key: Key) -> int | None:
        """Take out the earliest unsettled publish of C{key}."""
        numbers = _several(self._mandatory.pop(key, None))
        while numbers:
            number = numbers.popleft()
            self._mandatory_count -= 1
            if number in self.unconfirmed:
                if numbers:
                    self._mandatory[key] = numbers
                return number
        return None

    def _take_like(self, key: Key) -> int | None:
        """Take out the earliest unsettled publish with exchange and routing key of C{key}, preferably of its size."""
        candidates = [
            (other[3] != key[3], number, other)
            for other, alike in self._mandatory.items()
            if other[:2] == key[:2]
            for number in _several(alike)
            if number in self.unconfirmed
        ]
        return self._take(min(candidates)[2]) if candidates else None

    def settle(self, number: int, multiple: bool, acked: bool) -> bool:
        """
        The broker's C{basic.ack} or C{basic.nack}.

        @param number: The publish it is about; 0 with C{multiple} means all so far.
        @param multiple: All unsettled publishes up to and including C{number}, which itself may be settled already.
        @return: C{False} when the broker names a publish that was never made or that it settled before.
        """
        if not multiple:
            completion = self.unconfirmed.pop(number, None)
            if completion is None:
                return False
            self._complete(number, completion, acked)
            return True
        if number == 0:
            number = self.last
        if number > self.last:
            return False
        # Each number is visited once in the life of the channel, however the broker groups them; or only those left,
        # where single acks have left few. Not for few numbers: a dictionary that was once large takes long to walk.
        numbers: Iterable[int] = range(self._lowest, number + 1)
        if number - self._lowest > max(2 * len(self.unconfirmed), LEAP):
            numbers = [each for each in self.unconfirmed if each <= number]
        self._lowest = max(self._lowest, number + 1)
        if acked and self._announce is not None and not self._returned:
            self._announce(self.unconfirmed, numbers, self._take_acked)
        for each in numbers:
            completion = self.unconfirmed.pop(each, None)
            if completion is not None:
                self._complete(each, completion, acked)
        return True

    def _take_acked(self, number: int) -> None:
        if self._taking:
            return  # one resumed by another waits its turn, or they would nest without end
        completion = self.unconfirmed.pop(number, None)
        if completion is not None:
            self._taking = True
            try:
                completion.callback(None)
            finally:
                self._taking = False

    def abandon(self, reason: CloseReason) -> None:
        """The channel or connection ended: what is unsettled is unknown, what was returned is returned."""
        unconfirmed = list(self.unconfirmed.items())
        self.unconfirmed.clear()
        kind = ConnectionOutcomeUnknown if isinstance(reason, AMQPConnectionError) else ChannelOutcomeUnknown
        for number, completion in unconfirmed:
            message = self._returned.pop(number, None)
            if message is not None:
                completion.errback(ReturnedError(message))
            else:
                unknown = kind(
                    reason.reply_text, reason.reply_code, reason.class_id, reason.method_id, reason.initiator
                )
                unknown.__cause__ = reason
                completion.errback(unknown)
        self._mandatory.clear()

    def _complete(self, number: int, completion: ICompletion, acked: bool) -> None:
        # RabbitMQ acks a message even after returning it: the return is its outcome.
        message = self._returned.pop(number, None) if self._returned else None
        if message is not None:
            completion.errback(ReturnedError(message))
        elif acked:
            completion.callback(None)
        else:
            completion.errback(NackError(f"the broker refused publish {number} of this channel (basic.nack)"))

    def _sweep(self) -> None:
        """Forget the keys of settled publishes, which were never returned."""
        kept: dict[Key, int | deque[int]] = {}
        self._mandatory_count = 0
        for key, alike in self._mandatory.items():
            left = deque(number for number in _several(alike) if number in self.unconfirmed)
            if left:
                kept[key] = left if len(left) > 1 else left[0]
                self._mandatory_count += len(left)
        self._mandatory = kept


def _several(alike: int | deque[int] | None) -> deque[int]:
    if isinstance(alike, int):
        return deque((alike,))
    return deque() if alike is None else alike
