# -*- test-case-name: txpika.test.test_consumer -*-
"""
One consumer, as a Twisted program sees it.

Owns its life, and how deliveries reach the program: through a L{txpika.handling.Handler}, or by C{async for}. Knows the
channel's face it belongs to, but no methods or frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.exceptions import AMQPError, CallTimeout, CloseReason, ConsumerCancelled, StaleDelivery
from txpika.handling import Handler
from txpika.message import Delivery
from txpika.parameters import seconds

if TYPE_CHECKING:
    from txpika.channel import Channel

#: Deliveries that may wait in a consumer before its connection stops reading, unless C{buffer_size} says otherwise.
DEFAULT_BUFFER_SIZE = 1000
_NO_BUFFER: Any = ()


class Consumer:
    """
    What L{txpika.channel.Channel.basic_consume} fires with.

    Without a function of its own it is an asynchronous iterator of L{Delivery}::

        async for delivery in await channel.basic_consume("work"):
            delivery.ack()

    The loop ends when the consumer is cancelled with L{cancel}, and raises when the broker cancels it
    (L{txpika.exceptions.ConsumerCancelled}) or the channel ends. As an asynchronous context manager it is cancelled at
    the end of the block.

    @ivar consumer_tag: Its name on the channel.
    @ivar no_ack: The broker expects no acknowledgements.
    @ivar buffer_size: How many deliveries may wait before the connection reads no more.
    @ivar deliver: Where the channel puts its deliveries.
    """

    _log = Logger()

    def __init__(
        self,
        channel: Channel,
        consumer_tag: str,
        handler: Handler | None,
        no_ack: bool,
        buffer_size: int = DEFAULT_BUFFER_SIZE,
        of_stream: bool = False,
    ) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.no_ack = no_ack
        self._handler = handler
        self.buffer_size = buffer_size
        self._of_stream = of_stream
        self._full = False
        # Of those that are iterated over only: an empty deque takes 760 bytes.
        self._buffer: deque[Delivery] = deque() if handler is None else _NO_BUFFER
        self._waiters: list[Deferred[None]] = []
        self._given: Delivery | None = None  # to the body of a loop, which has not asked for another yet
        self._asked: list[Deferred[None]] = []
        self._ended = False
        self._reason: CloseReason | None = None
        self._ends: list[Deferred[CloseReason | None]] = []
        self.deliver: Callable[[Delivery], None]
        if handler is None:
            self.deliver = self._keep
        else:
            handler.taken = self._emptied
            self.deliver = handler.deliver_simply if handler.simple else self._hand_over

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

    @property
    def running(self) -> int:
        """How many deliveries its function, or the body of a loop that iterates over it, is working on."""
        if self._handler is not None:
            return self._handler.running
        return int(self._given is not None and not self._given.settled)

    def cancel(self, timeout: float | None = None) -> Deferred[None]:
        """
        Stop deliveries. Those that the program has not yet got go back to their queue; with C{no_ack}, where nothing
        can go back, it still gets them. Harmless when it has ended.

        @param timeout: How long to wait for the broker, in seconds.
        @return: Fires with C{None} when the broker agreed.
        """
        if self._ended:
            return succeed(None)
        return self.channel.basic_cancel(self.consumer_tag, timeout=timeout)

    def drain(self, deadline: float = 30.0) -> Deferred[int]:
        """
        Stop in an orderly way: no more deliveries come, those whose turn has not come go back to their queue, running
        functions finish, and their acks are written. With C{no_ack} nothing can go back: all that came is handled. If a
        loop iterates over it, the body is waited for, unless it has settled its delivery already.

        @param deadline: How long all that may take, in seconds. What still runs then goes on, but is not waited for.
        @return: Fires with how many functions still ran at the deadline, 0 if all went well, even if the channel or the
            connection ends meanwhile. Fails with L{txpika.exceptions.CallTimeout} when the broker has not answered by
            then: deliveries may still come, and go back.
        @raise ValueError: when C{deadline} is not above 0.
        """
        seconds("deadline", deadline)
        self.channel.check_thread()

        def stopped(result: Failure | None) -> int | Failure:
            if result is not None:
                result.trap(CallTimeout)
                if not self._ended:
                    return result
            return self.running

        draining = Deferred.fromCoroutine(self._drain())
        return self.channel.connection.limited(draining, deadline, "Basic.Cancel").addBoth(stopped)

    async def _drain(self) -> None:
        if self._handler is not None and not self.no_ack:
            self._handler.stop()
            self.deliver = self._hand_over
            self.channel.redirected()
        with suppress(AMQPError):
            await self.cancel()
        if self._handler is not None:
            await self._handler.when_idle()
        elif self._given is not None and not self._given.settled:
            asked: Deferred[None] = Deferred(self._asked.remove)
            self._asked.append(asked)
            await asked

    def ended(self, reason: CloseReason | None) -> None:
        """The channel says that there will be no more deliveries."""
        self._ended = True
        self._reason = reason
        if not self.no_ack:  # else the broker has no copy any more, and the program may still get them
            unseen = self._take_buffer() if self._handler is None else self._handler.take_waiting()
            if self.channel.is_open:
                self.give_back(unseen)
        self._room()
        heard = bool(self._waiters)
        self._wake(len(self._waiters))
        ends, self._ends = self._ends, []
        if isinstance(reason, ConsumerCancelled) and not ends and not heard:
            self._log.warn("No more deliveries to consumer {tag!r}: {reason}", tag=self.consumer_tag, reason=reason)
        for end in ends:
            end.callback(reason)

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """The program does not get them: they go back to their queue."""
        for delivery in deliveries:
            with suppress(StaleDelivery):  # the program acked it unseen, by a multiple ack
                if self._of_stream:
                    delivery.ack()  # a stream keeps them anyway, and takes nothing back
                else:
                    delivery.nack(requeue=True)

    # Where the channel survives its connection

    def interrupted(self) -> None:
        """
        The connection is lost, and deliveries will come on another. The broker takes back those that the program has
        not yet got; with C{no_ack} it has no copies any more, and the program still gets them.
        """
        self._full = False
        if not self.no_ack:
            if self._handler is None:
                self._take_buffer()
            else:
                self._handler.take_waiting()

    def resumed(self) -> None:
        """There is another connection, on which deliveries are about to come."""
        self._filled(len(self._buffer) if self._handler is None else self._handler.waiting)

    # What waits

    def _filled(self, waiting: int) -> None:
        if waiting >= self.buffer_size and not self._full and not self._ended:
            self._full = True
            self.channel.connection.pause_reading(self)

    def _emptied(self, waiting: int) -> None:
        if self._full and waiting <= self.buffer_size // 2:
            self._room()

    def _room(self) -> None:
        if self._full:
            self._full = False
            self.channel.connection.resume_reading(self)

    # A function of the program's

    def _hand_over(self, delivery: Delivery) -> None:
        handler = self._handler
        assert handler is not None
        handler.deliver(delivery)
        self._filled(handler.waiting)

    # Iteration

    def _keep(self, delivery: Delivery) -> None:
        self._buffer.append(delivery)
        self._filled(len(self._buffer))
        self._wake(1)

    def _take_buffer(self) -> list[Delivery]:
        taken = list(self._buffer)
        self._buffer.clear()
        return taken

    def _wake(self, count: int) -> None:
        while count and self._waiters:  # one that is woken may cancel others
            count -= 1
            self._waiters.pop(0).callback(None)

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Delivery:
        if self._handler is not None:
            raise TypeError("this consumer has a function of its own; make one without to iterate")
        self._given = None
        asked, self._asked = self._asked, []
        for each in asked:
            each.callback(None)
        while not self._buffer:
            if self._ended:
                if self._reason is None:
                    raise StopAsyncIteration
                raise self._reason.with_outcome("closed")
            waiter: Deferred[None] = Deferred(self._waiters.remove)
            self._waiters.append(waiter)
            await waiter
        self._given = delivery = self._buffer.popleft()
        self._emptied(len(self._buffer))
        return delivery

    async def __aenter__(self) -> Consumer:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.cancel()

    def __repr__(self) -> str:
        return f"<Consumer {self.consumer_tag!r}{' ended' if self._ended else ''}>"
