# -*- test-case-name: txpika.test.test_live -*-
"""
One consumer, as a Twisted program knows it.

Owns how deliveries reach the program: by a call of its function each, or by C{async for}. Knows the channel's face it
belongs to; nothing of methods or frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from txpika.exceptions import CloseReason, StaleDelivery
from txpika.message import Delivery

if TYPE_CHECKING:
    from txpika.channel import Channel

#: What a program does with a delivery. It may return a Deferred, or be C{async}; what that ends with is ignored.
OnDelivery = Callable[[Delivery], Awaitable[object] | None]


class Consumer:
    """
    What L{txpika.channel.Channel.basic_consume} ends with.

    Without a function of its own it is an asynchronous iterator of L{Delivery}::

        async for delivery in await channel.basic_consume("work"):
            delivery.ack()

    That ends when the consumer was cancelled with L{cancel}, and raises when the broker cancelled it
    (L{txpika.exceptions.ConsumerCancelled}) or the channel ended. As an asynchronous context manager it is cancelled at
    the end of the block.

    @ivar consumer_tag: Its name on the channel.
    @ivar no_ack: The broker expects no acknowledgements.
    @ivar deliver: Where the channel puts its deliveries.
    """

    _log = Logger()

    def __init__(self, channel: Channel, consumer_tag: str, on_delivery: OnDelivery | None, no_ack: bool) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.no_ack = no_ack
        self._on_delivery = on_delivery
        self._buffer: deque[Delivery] = deque()
        self._waiters: deque[Deferred[None]] = deque()
        self._ended = False
        self._reason: CloseReason | None = None
        self._ends: list[Deferred[CloseReason | None]] = []
        self.deliver: Callable[[Delivery], None] = self._keep if on_delivery is None else self._call

    @property
    def closed(self) -> Deferred[CloseReason | None]:
        """
        Fires when there will be no more deliveries, with the reason, or C{None} when this program cancelled it. Each
        access makes a new Deferred.
        """
        if self._ended:
            return succeed(self._reason)
        waiter: Deferred[CloseReason | None] = Deferred(self._ends.remove)
        self._ends.append(waiter)
        return waiter

    def cancel(self) -> Deferred[None]:
        """
        Stop deliveries. Those that were not yet taken from the iterator go back to their queue. Harmless when it has
        ended.

        @return: Fires with C{None} when the broker agreed.
        """
        if self._ended:
            return succeed(None)
        return self.channel.basic_cancel(self.consumer_tag)

    def ended(self, reason: CloseReason | None) -> None:
        """The channel says that there will be no more deliveries."""
        self._ended = True
        self._reason = reason
        if reason is None and not self.no_ack:
            for delivery in self._buffer:
                with suppress(StaleDelivery):  # the program acked it unseen, by a multiple ack
                    delivery.nack(requeue=True)
        if reason is not None or not self.no_ack:
            self._buffer.clear()
        self._wake(len(self._waiters))
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(reason)

    # A function of the program's

    def _call(self, delivery: Delivery) -> None:
        try:
            result = self._on_delivery(delivery)  # type: ignore[misc]
            if result is not None:
                self._watch(result, delivery)
        except Exception:
            self._log.failure(
                "The function of consumer {tag!r} raised on {delivery!r}", tag=self.consumer_tag, delivery=delivery
            )

    def _watch(self, result: Awaitable[object], delivery: Delivery) -> None:
        """Let a Deferred or a coroutine run to its end, which may be a failure."""
        done = result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)  # type: ignore[arg-type]

        def failed(failure: Any) -> None:
            self._log.failure(
                "The function of consumer {tag!r} failed on {delivery!r}",
                failure,
                tag=self.consumer_tag,
                delivery=delivery,
            )

        done.addErrback(failed)

    # Iteration

    def _keep(self, delivery: Delivery) -> None:
        self._buffer.append(delivery)
        self._wake(1)

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._waiters))):
            self._waiters.popleft().callback(None)

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Delivery:
        if self._on_delivery is not None:
            raise TypeError("this consumer has a function of its own; make one without to iterate")
        while not self._buffer:
            if self._ended:
                if self._reason is None:
                    raise StopAsyncIteration
                raise self._reason.with_outcome("closed")
            waiter: Deferred[None] = Deferred(self._waiters.remove)
            self._waiters.append(waiter)
            await waiter
        return self._buffer.popleft()

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.cancel()

    def __repr__(self) -> str:
        return f"<Consumer {self.consumer_tag!r}{' ended' if self._ended else ''}>"
