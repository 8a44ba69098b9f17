# -*- test-case-name: txpika.test.test_interim -*-
"""
What a channel that survives its connection has in the place of the engine's channel while there is none.

Owns what is called meanwhile: messages may wait, for as long and for as many bytes as they were promised; everything
else fails, and says that nothing was written. Knows nothing of how there will be a connection again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any, NoReturn

from twisted.internet.defer import Deferred

from txpika.core.outbound import snapshot
from txpika.exceptions import AMQPError, CallTimeout, CloseReason, NotConnected, OutboundBufferFull, StaleDelivery
from txpika.interfaces import Clock
from txpika.spec import Basic, BasicProperties

#: Counted for each message that waits, beside its body, in bytes: what Python takes for it.
OVERHEAD = 1024


class Waiting:
    """
    A message that waits for a connection.

    @ivar arguments: Of C{publish}.
    @ivar size: What it is counted for, in bytes.
    @ivar deadline: When it is given up, in seconds of the clock.
    @ivar limited: Whether that is how long its caller waits for all of it; else only for a connection.
    @ivar timer: Runs until then, and while it waits.
    @ivar written: Whether a byte of it may have been.
    @ivar through: What its publish on the new connection ends with.
    @ivar done: Ends with its outcome.
    """

    def __init__(
        self, arguments: tuple[Any, ...], deadline: float, limited: bool, withdraw: Callable[[Waiting], None]
    ) -> None:
        self.arguments = arguments
        self.size = len(arguments[2]) + OVERHEAD
        self.deadline = deadline
        self.limited = limited
        self.timer: Any = None
        self.written = False
        self.through: Deferred[None] | None = None
        self.done: Deferred[None] = Deferred(self._cancelled)
        self._withdraw = withdraw

    def _cancelled(self, _done: Deferred[None]) -> None:
        if self.timer is not None:
            self._withdraw(self)
        elif self.through is not None:
            self.through.cancel()

    def tell(self, end: Deferred[None] | Exception | None) -> None:
        """Its outcome is known, or who will know it. Harmless when it was given up a moment ago."""
        if isinstance(end, Deferred):
            if self.done.called:
                end.addErrback(lambda _: None)
            else:
                end.chainDeferred(self.done)
        elif self.done.called:
            pass
        elif end is None:
            self.done.callback(None)
        else:
            self.done.errback(end)


class Allowance:
    """
    For how long messages may wait for a connection, and how many bytes of them; shared by the channels of a service.

    @ivar seconds: How long, 0 for not at all.
    @ivar size: How many bytes.
    @ivar held: How many wait now.
    """

    def __init__(self, clock: Clock, seconds: float, size: int) -> None:
        self.clock = clock
        self.seconds = seconds
        self.size = size
        self.held = 0


class Interim:
    """
    Stands in for a L{txpika.core.channel.Channel}, its outbox, its consumers and its acks.

    @ivar number: The last number of the channel on the wire.
    @ivar mode: As of the channel.
    @ivar reason: Why nothing can be called.
    @ivar ended: The channel was closed for good.
    """

    state = "between two connections"
    confirms = None
    recovering = 0

    def __init__(self, number: int, mode: str, reason: CloseReason, allowance: Allowance) -> None:
        """
        @param reason: Why there is no connection.
        """
        self.number = number
        self.mode = mode
        self.reason: CloseReason = NotConnected(f"there is no connection for now: {reason}")
        self.reason.__cause__ = reason
        self.ended = False
        self.outbox = self.consumers = self.acks = self
        self._allowance = allowance
        self._waiting: deque[Waiting] = deque()

    def check_thread(self) -> None:
        """There is nothing to keep apart: whoever comes from another thread is told so by the next connection."""

    def redirected(self) -> None:
        """Nobody remembers where deliveries go."""

    def _refuse(self, *_arguments: object, **_more: object) -> NoReturn:
        raise self.reason.with_outcome("not sent")

    call = get = recover = confirm_select = consume = cancel = tx_commit = tx_rollback = _refuse

    def ack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """@raise StaleDelivery: always: what was delivered before is settled by its own methods."""
        raise StaleDelivery(f"there is no delivery {delivery_tag}, as there is no connection")

    nack = reject = ack

    def waits_for(self, delivery_tag: int) -> bool:
        """@return: C{False}."""
        return False

    # Messages

    def publish(self, *arguments: Any) -> Deferred[None]:
        """As the outbox does, when there is a connection again in time."""
        return self._wait(self._allowance.seconds, False, *arguments)

    def publish_within(self, timeout: float, *arguments: Any) -> Deferred[None]:
        """The same, waited for no longer than that, in seconds."""
        return self._wait(timeout, True, *arguments)

    def latest_held(self) -> Waiting | None:
        """@return: The message that waits since the last call."""
        return self._waiting[-1] if self._waiting else None

    def _wait(
        self,
        seconds: float,
        limited: bool,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
    ) -> Deferred[None]:
        body = snapshot(body)
        Basic.Publish(0, exchange, routing_key, mandatory, False).encode()  # which finds what is wrong with them
        if properties is not None:
            if not isinstance(properties, BasicProperties):
                raise TypeError(f"properties must be BasicProperties or None, not {type(properties).__name__}")
            properties.encode()
            properties = copy(properties)
        allowance = self._allowance
        if not allowance.seconds or self.ended:
            self._refuse()
        patience = min(seconds, allowance.seconds)
        waiting = Waiting(
            (exchange, routing_key, body, properties, mandatory),
            allowance.clock.seconds() + patience,
            limited and seconds <= allowance.seconds,
            self._withdraw,
        )
        if allowance.held + waiting.size > allowance.size:
            raise OutboundBufferFull(
                f"{allowance.held} bytes of messages wait for a connection, {waiting.size} more are over the limit of"
                f" {allowance.size}"
            )
        waiting.timer = allowance.clock.callLater(patience, self._expired, waiting)
        allowance.held += waiting.size
        self._waiting.append(waiting)
        return waiting.done

    def _withdraw(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        self._let_go(waiting)

    def _let_go(self, waiting: Waiting) -> None:
        self._allowance.held -= waiting.size
        waiting.timer, timer = None, waiting.timer
        if timer is not None:
            timer.cancel()

    def _expired(self, waiting: Waiting) -> None:
        waiting.timer = None
        self._withdraw(waiting)
        error: AMQPError = self.reason.with_outcome("not sent")
        if waiting.limited:
            error = CallTimeout("Basic.Publish: no connection in time", "not sent")
        waiting.done.errback(error)

    def hand_over(self, publish: Callable[..., Any], publish_within: Callable[..., Any]) -> Callable[[], None]:
        """
        There is a connection: let all that waits go, in its order.

        @param publish: Of the outbox, and so C{publish_within}.
        @return: To be called when that is done on all channels: it tells those who waited, who may publish more.
        """
        all_waiting, self._waiting = self._waiting, deque()
        now = self._allowance.clock.seconds()
        ends: list[tuple[Waiting, Any]] = []
        for waiting in all_waiting:
            self._let_go(waiting)
            end: Any
            try:
                if waiting.limited:
                    end = publish_within(max(waiting.deadline - now, 0.001), *waiting.arguments)
                else:
                    end = publish(*waiting.arguments)
                waiting.written = True
            except (AMQPError, ValueError) as error:  # it may not fit into frames that are smaller now
                end = error
            if isinstance(end, Deferred):
                waiting.through = end
            ends.append((waiting, end))

        def tell() -> None:
            for waiting, end in ends:
                waiting.tell(end)

        return tell

    def end(self, reason: CloseReason) -> None:
        """The channel is closed for good: everything that waits hears so."""
        self.ended = True
        self.reason = reason
        all_waiting, self._waiting = self._waiting, deque()
        for waiting in all_waiting:
            self._let_go(waiting)
        for waiting in all_waiting:
            waiting.tell(reason.with_outcome("not sent"))
