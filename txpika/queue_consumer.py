# -*- test-case-name: txpika.test.test_queue_consumer -*-
"""
One queue to be consumed for as long as the program runs.

Owns a channel of its own, so that neither its prefetch count nor its end affects another queue; the counts of what was
handled; and the retries, with growing delays, whenever the broker ended consumer or channel. Restoring the connection,
and consumers with it, is up to the service.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.declaring import Declaration, declare, described, is_refusal
from txpika.exceptions import AMQPError, StaleDelivery
from txpika.handling import FATAL, OnDelivery, OnError, watch
from txpika.message import Delivery

if TYPE_CHECKING:
    from txpika.channel import Channel
    from txpika.consumer import Consumer

#: What becomes of a delivery whose handler failed: as in L{OnError}, or C{"stop"}: it goes back into its queue, and the
#: program ends.
Policy = Literal["requeue-once", "reject", "requeue", "stop"]
POLICIES: tuple[Policy, ...] = ("requeue-once", "reject", "requeue", "stop")

#: Delay before the first retry, and the longest between two retries, in seconds; with jitter.
FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0


class Channels(Protocol):
    """Where channels come from, when there is a connection: L{txpika.service.AMQPService}."""

    def channel(self) -> Deferred[Any]: ...


@dataclass(frozen=True)
class Terms:
    """
    How queues are consumed; applied to each of them separately.

    @ivar prefetch: Deliveries the broker sends ahead of their acknowledgement, 0 for no limit.
    @ivar concurrency: Deliveries handled at once, 0 for no limit but C{prefetch}.
    @ivar on_error: What becomes of a delivery whose handler failed.
    @ivar declarations: What is declared before consuming.
    """

    prefetch: int = 100
    concurrency: int = 0
    on_error: Policy = "requeue-once"
    declarations: tuple[Declaration, ...] = ()


class QueueConsumer:
    """
    @ivar queue: Its name.
    @ivar running: How many deliveries the handler is working on.
    @ivar handled: How many it is done with.
    @ivar failed: How many it failed on.
    """

    _log = Logger()

    def __init__(
        self,
        channels: Channels,
        queue: str,
        handler: OnDelivery,
        terms: Terms,
        clock: IReactorTime,
        refused: Callable[[str, Exception], None],
        stop: Callable[[str, Failure], None],
    ) -> None:
        """
        @param channels: Where a channel comes from.
        @param handler: What is called with each delivery.
        @param refused: Called with the queue and the error when the broker refuses before anything was ever consumed:
            this is not tried again.
        @param stop: Called with the queue when the handler failed in a way that ends the program.
        """
        self.queue = queue
        self.running = 0
        self.handled = 0
        self.failed = 0
        self._channels = channels
        self._handler = handler
        self._terms = terms
        self._clock = clock
        self._refused = refused
        self._stop = stop
        self._delay = backoffPolicy(FIRST_DELAY, LONGEST_DELAY, 2.0)
        self._failures = 0
        self._consumer: Consumer | None = None
        self._consumed = False
        self._stopping = False
        self._life: Deferred[None] | None = None

    @property
    def consuming(self) -> bool:
        """Whether there is a consumer. While the connection is down, one that will be restored counts."""
        return self._consumer is not None

    def start(self) -> None:
        """Begin to consume."""
        self._life = Deferred.fromCoroutine(self._live())
        self._life.addErrback(self._ended)

    def stop(self) -> None:
        """
        Do not begin again. The present consumer goes on until the service ends it.
        """
        self._stopping = True
        if self._life is not None and self._consumer is None:
            self._life.cancel()

    def _ended(self, failure: Failure) -> None:
        if not (self._stopping and failure.check(CancelledError, AMQPError)):
            self._log.failure("Consuming from queue {queue!r} ended", failure, queue=self.queue)
            self._refused(self.queue, cast(Exception, failure.value))

    # Its life

    async def _live(self) -> None:
        while not self._stopping:
            channel = None
            try:
                channel = await self._channels.channel()
                ended = await self._consume(channel)
            except (ValueError, TypeError) as error:  # what no broker would take
                self._refused(self.queue, error)
                return
            except AMQPError as error:
                if self._stopping or self._refuses(error):
                    return
                ended = error
            self._consumer = None
            if channel is not None and not self._stopping:
                channel.close().addErrback(lambda failure: None)
            if not self._stopping:
                await self._wait(ended)

    async def _consume(self, channel: Channel) -> Exception | None:
        """@return: Why there are no more deliveries, C{None} when this program wants none."""
        await declare(channel, self._terms.declarations)
        await channel.basic_qos(self._terms.prefetch)
        began = self._clock.seconds()
        on_error: OnError = "requeue" if self._terms.on_error == "stop" else self._terms.on_error
        self._consumer = await channel.basic_consume(
            self.queue, self._deliver, ack="on-success", on_error=on_error, concurrency=self._terms.concurrency
        )
        self._consumed = True
        self._log.info("Consuming from queue {queue!r}", queue=self.queue)
        reason = await self._consumer.closed
        if self._clock.seconds() - began >= LONGEST_DELAY:
            self._failures = 0
        return reason

    def _refuses(self, error: AMQPError) -> bool:
        """Whether to give up: the broker refused the very first try, and it was not the network that failed."""
        if self._consumed or not is_refusal(error):
            return False
        self._refused(self.queue, error)
        return True

    async def _wait(self, reason: Exception | None) -> None:
        delay = self._delay(self._failures)
        self._failures += 1
        self._log.warn(
            "No consumer on queue {queue!r}: {reason}; trying again in {delay:.1f} s",
            queue=self.queue,
            reason="cancelled" if reason is None else described(reason),
            delay=delay,
        )
        await deferLater(self._clock, delay)

    # Deliveries

    def _deliver(self, delivery: Delivery) -> Deferred[None] | None:
        self.running += 1
        try:
            result = self._handler(delivery)
        except BaseException:
            failure = Failure()
            self._done(failure, delivery, None)
            if isinstance(failure.value, FATAL):
                return None
            raise
        if result is None:
            self._done(None, delivery, None)
            return None
        done: Deferred[None] = Deferred()
        watch(result, lambda failure, delivery: self._done(failure, delivery, done), delivery)
        return done

    def _done(self, failure: Failure | None, delivery: Delivery, done: Deferred[None] | None) -> None:
        self.running -= 1
        if failure is None:
            self.handled += 1
        else:
            self._fail(failure, delivery)
        if done is not None:
            done.callback(failure)  # with a Failure, it fails

    def _fail(self, failure: Failure, delivery: Delivery) -> None:
        self.failed += 1
        if self._terms.on_error != "stop" and not isinstance(failure.value, FATAL):
            return
        # The cancel must be written before the delivery goes back, or it would come again at once.
        self.stop()
        if self._consumer is not None:
            self._consumer.drain().addErrback(lambda failure: None)
        with suppress(StaleDelivery):
            delivery.nack(requeue=True)
        self._stop(self.queue, failure)
