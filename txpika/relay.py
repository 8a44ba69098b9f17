# -*- test-case-name: txpika.test.test_relay -*-
"""
Move messages from a queue on one broker to an exchange on another.

Owns that none is lost: a message is acknowledged at its source when the target has confirmed it, and not before. So one
may come twice, when a connection is lost between the two. Knows both brokers as L{AMQPService}s only.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.exceptions import AMQPError, DecodeError, NackError, ReturnedError, StaleDelivery
from txpika.message import Delivery
from txpika.parameters import integer, text
from txpika.service import AMQPService
from txpika.spec import BasicProperties
from txpika.surviving import SurvivingChannel

#: Names of the relays that a message has passed, in its headers.
PASSED = "x-txpika-relays"
#: Where the C{user_id} of a message goes, which the target would take for that of the relay, and refuse
#: (rabbitmq.com/docs/validated-user-id).
USER_ID = "x-txpika-relay-user-id"
#: Messages under way at a time, by default.
DEFAULT_WINDOW = 200
#: The first wait before something is tried again, and the longest, in seconds.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0


class Unfit(Exception):
    """The message cannot be moved, now or later."""


class Relay(Service):
    """
    Takes from a queue, publishes to an exchange, and acknowledges.

    Messages keep their properties and, unless told otherwise, their routing key. A message that the target refuses, or
    that no queue there takes, stays at its source, and is tried again. One that has passed this relay before is in a
    loop: it is rejected, that is dead-lettered or dropped, and so is one whose properties make no sense.

    @ivar relay_name: What it is called in the headers of messages.
    @ivar source: Where messages come from. It is started and stopped with the relay, and so is L{target}.
    @ivar target: Where they go to.
    @ivar moved: How many the target has confirmed.
    @ivar retried: How many times one was published again.
    @ivar rejected: How many were rejected.
    """

    _log = Logger()

    def __init__(
        self,
        source: AMQPService,
        queue: str,
        target: AMQPService,
        exchange: str,
        routing_key: str | None = None,
        *,
        relay_name: str = "",
        window: int = DEFAULT_WINDOW,
    ) -> None:
        """
        @param queue: Where messages come from, on C{source}.
        @param target: May be another service for the same broker.
        @param exchange: Where they go to, on C{target}; C{""} for the default exchange.
        @param routing_key: That of all of them; C{None} leaves each its own.
        @param relay_name: By default made of both ends.
        @param window: How many messages may be under way.
        @raise ValueError: when an argument is outside its limits.
        @raise TypeError: when an argument is of a wrong type.
        """
        for name, service in (("source", source), ("target", target)):
            if not isinstance(service, AMQPService):
                raise TypeError(f"{name} must be AMQPService, not {type(service).__name__}")
        self.source = source
        self.target = target
        self._queue = text("queue", queue)
        self._exchange = text("exchange", exchange)
        self._routing_key = None if routing_key is None else text("routing_key", routing_key)
        self._window = integer("window", window, 1, 65535)
        self.relay_name = text("relay_name", relay_name) or (
            f"{_place(source)}/{queue} to {_place(target)}/{exchange}/{routing_key or ''}"
        )
        self.moved = 0
        self.retried = 0
        self.rejected = 0
        self._channel: SurvivingChannel | None = None
        self._waiting: list[Deferred[SurvivingChannel]] = []  # for a channel to the target
        self._sleeps: set[Deferred[None]] = set()
        self._stopped: Deferred[None] | None = None

    # IService

    def startService(self) -> None:
        """Begin to connect to both. Harmless when it has."""
        if self.running:
            return
        Service.startService(self)
        self._stopped = None
        self.target.startService()
        self.source.startService()
        Deferred.fromCoroutine(self._consume()).addErrback(
            lambda failure: self._log.failure("The relay {name!r} has failed", failure, name=self.relay_name)
        )

    def stopService(self) -> Deferred[None]:
        """
        Take no more messages, and let those under way come to their end, within C{drain_timeout} of the source. What
        has not stays where it was.

        @return: Fires with C{None} when both services have stopped. Never fails.
        """
        if not self.running and self._stopped is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        if self._stopped is None:
            Service.stopService(self)
            self._stopped = Deferred.fromCoroutine(self._stop())
        self._stopped.addBoth(lambda _: done.callback(None))
        return done

    async def _stop(self) -> None:
        await self.source.stopService()
        for sleep in list(self._sleeps):
            sleep.cancel()
        await self.target.stopService()

    # The source

    async def _consume(self) -> None:
        wait = FIRST_WAIT
        channel: SurvivingChannel | None = None
        while self.running:
            try:
                if channel is None or channel not in self.source.channels:
                    channel = await self.source.channel()
                    await channel.basic_qos(self._window)
                consumer = await channel.basic_consume(self._queue, self._move)
                wait = FIRST_WAIT
                reason: Exception | None = await consumer.closed
            except AMQPError as error:
                reason = error
            if not self.running:
                return
            self._log.error("No messages from queue {queue!r}: {reason}", queue=self._queue, reason=reason)
            with suppress(CancelledError):
                await self._sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _move(self, delivery: Delivery) -> None:
        try:
            await self._publish(delivery, self._properties(delivery))
        except Unfit as error:
            self.rejected += 1
            self._log.error("Rejected {delivery!r}: {error}", delivery=delivery, error=error)
            with suppress(StaleDelivery):
                delivery.reject()
        except CancelledError:
            pass  # the relay stops: it stays where it is

    def _properties(self, delivery: Delivery) -> BasicProperties:
        """
        @return: Those of the message, with a note that it was here.
        @raise Unfit: when it was here before, or they make no sense.
        """
        properties = copy(delivery.properties)
        try:
            properties.decode()
        except DecodeError as error:
            raise Unfit(f"its properties make no sense: {error}") from error
        headers = dict(properties.headers or {})
        passed = headers.get(PASSED)
        passed = list(passed) if isinstance(passed, list) else []
        if self.relay_name in passed:
            raise Unfit(f"it has passed relay {self.relay_name!r} before")
        headers[PASSED] = [*passed, self.relay_name]
        if properties.user_id is not None:
            headers[USER_ID], properties.user_id = properties.user_id, None
        properties.headers = headers
        return properties

    # The target

    async def _publish(self, delivery: Delivery, properties: BasicProperties) -> None:
        """
        Until the target has it, and then acknowledge; or until the source has taken the message back.

        @raise Unfit: when it cannot be written.
        """
        key = delivery.routing_key if self._routing_key is None else self._routing_key
        wait = FIRST_WAIT
        while not _taken_back(delivery):
            try:
                channel = await self._ready()
                if _taken_back(delivery):
                    return
                await channel.basic_publish(self._exchange, key, delivery.body, properties, mandatory=True)
            except (TypeError, ValueError) as error:
                raise Unfit(f"it cannot be published again: {error}") from error
            except AMQPError as error:
                if not self.target.running:
                    return
                self.retried += 1
                if isinstance(error, NackError | ReturnedError) or self.target.state == "open":
                    self._log.warn("Trying {delivery!r} again: {error}", delivery=delivery, error=error)
                    await self._sleep(wait)
                    wait = min(wait * 2, LONGEST_WAIT)
            else:
                self.moved += 1
                with suppress(StaleDelivery):
                    delivery.ack()
                return

    async def _ready(self) -> SurvivingChannel:
        """
        @return: A channel in confirm mode, on a connection.
        @raise AMQPError: when the target is stopped, or refuses.
        """
        await self.target.when_open()
        if self._channel is not None and self._channel.is_open:
            return self._channel
        ready: Deferred[SurvivingChannel] = Deferred(self._waiting.remove)
        self._waiting.append(ready)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._open()).addBoth(self._opened)
        return await ready

    async def _open(self) -> SurvivingChannel:
        channel = await self.target.channel()
        await channel.confirm_select()
        return channel

    def _opened(self, result: Any) -> None:
        """Tell all who wait, in the order in which they came: so messages keep theirs."""
        if not isinstance(result, Failure):
            self._channel = result
        waiting, self._waiting = self._waiting, []
        for ready in waiting:
            ready.callback(result)

    def _sleep(self, seconds: float) -> Deferred[None]:
        timer = self.target.clock.callLater(seconds, lambda: slept.callback(None))
        slept: Deferred[None] = Deferred(lambda _: timer.cancel())
        self._sleeps.add(slept)

        def awake(result: Any) -> Any:
            self._sleeps.discard(slept)
            return result

        return slept.addBoth(awake)

    def __repr__(self) -> str:
        return f"<Relay {self.relay_name!r} {self.moved} moved, {self.retried} retried, {self.rejected} rejected>"


def _taken_back(delivery: Delivery) -> bool:
    """Whether the source has, with the connection that it came on: it will come again."""
    return delivery.settled


def _place(service: AMQPService) -> str:
    parameters = service.parameters
    return f"{parameters.host}:{parameters.port}/{parameters.virtual_host}"
