# -*- test-case-name: txpika.test.test_handling -*-
"""
Run a program's function on deliveries.

Owns how many run at once, which deliveries wait their turn, and what becomes of each when its function has ended. Knows
deliveries as things to settle, but nothing of consumers' lives or the wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isasyncgenfunction, isgeneratorfunction
from types import CoroutineType
from typing import Any, Literal

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.exceptions import StaleDelivery
from txpika.message import Delivery
from txpika.parameters import integer

#: What a program does with a delivery. It may return a Deferred or another awaitable, or be C{async}. The result of
#: that is ignored, and so is any other.
OnDelivery = Callable[[Delivery], object]

#: Who acknowledges: the program, with the methods of the delivery; or the consumer, when the function has ended.
AckPolicy = Literal["explicit", "on-success"]

#: What the consumer does with a delivery whose function failed. C{"requeue-once"}: back into its queue, unless it was
#: redelivered already; then it is rejected, that is, dead-lettered or dropped.
OnError = Literal["requeue-once", "requeue", "reject"]

#: What a function may raise to end the program. Anything else concerns the delivery alone, even asyncio's
#: C{CancelledError}, which is not an L{Exception}.
FATAL = (KeyboardInterrupt, SystemExit, GeneratorExit)

ACK_POLICIES: tuple[AckPolicy, ...] = ("explicit", "on-success")
ON_ERROR: tuple[OnError, ...] = ("requeue-once", "requeue", "reject")

#: What waits where none had to wait so far: an empty deque takes 760 bytes.
_NONE_WAITED: Any = ()


def requeues(on_error: OnError, delivery: Delivery) -> bool:
    """@return: Whether a delivery whose function failed goes back into its queue."""
    return on_error == "requeue" or (on_error == "requeue-once" and not delivery.redelivered)


class Handler:
    """
    @ivar function: What is called with each delivery.
    @ivar taken: Called with how many deliveries still wait, each time one's turn has come.
    @ivar running: How many deliveries are being handled.
    @ivar failed: How many have failed so far.
    """

    _log = Logger()

    def __init__(
        self,
        function: OnDelivery,
        concurrency: int = 0,
        ack: AckPolicy = "explicit",
        on_error: OnError = "requeue-once",
        of_stream: bool = False,
    ) -> None:
        """
        @param concurrency: How many may be handled at once; 0 for no limit.
        @param on_error: For the policy C{"on-success"} only.
        @param of_stream: The deliveries come from a stream, which takes none back.
        """
        self.function = function
        self._concurrency = concurrency
        self._acks = ack == "on-success"
        self._on_error: OnError = on_error
        self._of_stream = of_stream
        self._starting = False
        self._stopped = False
        self._waiting: deque[Delivery] = _NONE_WAITED
        self._idle: list[Deferred[None]] = []
        self.taken: Callable[[int], None] = lambda waiting: None
        self.running = 0
        self.failed = 0

    @property
    def waiting(self) -> int:
        """How many deliveries wait their turn."""
        return len(self._waiting)

    @property
    def simple(self) -> bool:
        """There is neither a limit nor anything to settle."""
        return not self._concurrency and not self._acks

    def deliver(self, delivery: Delivery) -> None:
        """Handle it, now or when its turn comes. Never raises an L{Exception} of the function's."""
        if self._waiting is _NONE_WAITED:
            self._waiting = deque()
        self._waiting.append(delivery)
        self._start()

    def deliver_simply(self, delivery: Delivery) -> None:
        """The same, where L{simple} holds: a hot path."""
        try:
            result = self.function(delivery)
        except FATAL:
            raise
        except BaseException:
            self._report(Failure(), delivery)
            return
        if result is not None:
            self.running += 1
            watch(result, self._ended, delivery)

    def take_waiting(self) -> list[Delivery]:
        """@return: The deliveries whose turn has not come. They will not be handled."""
        waiting, self._waiting = list(self._waiting), _NONE_WAITED
        return waiting

    def stop(self) -> None:
        """Those that wait never get their turn; L{take_waiting} has them."""
        self._stopped = True

    def when_idle(self) -> Deferred[None]:
        """@return: Fires when no function is running, and no delivery that came is still to be handled."""
        if self._idling:
            return succeed(None)
        idle: Deferred[None] = Deferred(self._idle.remove)
        self._idle.append(idle)
        return idle

    @property
    def _idling(self) -> bool:
        return not self.running and (self._stopped or not self._waiting)

    def _start(self) -> None:
        if self._starting:
            return  # a function that ended at once: the loop below goes on
        self._starting = True
        try:
            while self._waiting and not self._stopped and (not self._concurrency or self.running < self._concurrency):
                delivery = self._waiting.popleft()
                self.taken(len(self._waiting))
                self._run(delivery)
        finally:
            self._starting = False

    def _run(self, delivery: Delivery) -> None:
        self.running += 1
        try:
            result = self.function(delivery)
        except FATAL:
            self.running -= 1
            raise
        except BaseException:
            self._ended(Failure(), delivery)
        else:
            watch(result, self._ended, delivery)

    def _ended(self, failure: Failure | None, delivery: Delivery) -> None:
        self.running -= 1
        if failure is not None:
            self._report(failure, delivery)
        if self._acks:
            self._settle(failure, delivery)
        self._start()
        if self._idling:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    def _settle(self, failure: Failure | None, delivery: Delivery) -> None:
        # The function may have settled it by itself, and the channel may be gone: then the broker gives it back.
        with suppress(StaleDelivery):
            if failure is None or self._of_stream:
                delivery.ack()
            elif requeues(self._on_error, delivery):
                delivery.nack(requeue=True)
            else:
                delivery.reject(requeue=False)

    def _report(self, failure: Failure, delivery: Delivery) -> None:
        self.failed += 1
        self._log.failure(
            "The function of consumer {tag!r} failed on {delivery!r}",
            failure,
            tag=delivery.consumer_tag,
            delivery=delivery,
        )


def watch(result: object, ended: Callable[[Failure | None, Delivery], None], delivery: Delivery) -> None:
    """
    Let a Deferred or a coroutine run to its end, which may be a failure. Any other result is an end.

    @param result: What a function returned that was called with C{delivery}.
    @param ended: Called at the end, with the failure if it is one.
    """
    if isinstance(result, Deferred):
        done = result
    elif hasattr(type(result), "_asyncio_future_blocking"):  # how asyncio itself tells a future
        done = Deferred.fromFuture(result)  # type: ignore[arg-type]
    elif isinstance(result, CoroutineType):
        done = Deferred.fromCoroutine(result)
    elif isinstance(result, Awaitable):
        done = Deferred.fromCoroutine(_await(result))
    else:
        ended(None, delivery)
        return
    done.addCallbacks(lambda _result: ended(None, delivery), lambda failure: ended(failure, delivery))


async def _await(result: Awaitable[object]) -> object:
    return await result


def make_handler(
    function: OnDelivery,
    concurrency: int,
    ack: AckPolicy,
    on_error: OnError,
    no_ack: bool,
    of_stream: bool = False,
) -> Handler:
    """
    @return: A L{Handler}, once its arguments make sense.
    @raise TypeError: when one is of a wrong type.
    @raise ValueError: when one is outside its limits, or contradicts another.
    """
    if not callable(function):
        raise TypeError(f"on_delivery must be callable or None, not {type(function).__name__}")
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise TypeError("on_delivery is a generator function, which nobody would run: make it plain or async")
    if ack not in ACK_POLICIES:
        raise ValueError(f"ack is {ack!r}, it must be one of {ACK_POLICIES}")
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error is {on_error!r}, it must be one of {ON_ERROR}")
    if ack != "explicit" and no_ack:
        raise ValueError(f"ack is {ack!r} and no_ack is true: there is nothing to acknowledge")
    return Handler(function, integer("concurrency", concurrency, 0, 2**31), ack, on_error, of_stream)
