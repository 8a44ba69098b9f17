# -*- test-case-name: txpika.test.test_relay,txpika.test.test_relay_restarts -*-
"""
Move messages from a queue on one broker to an exchange on another.

Ensures that none is lost: a message is acknowledged at its source when the target has confirmed it, and not before. So
one may arrive twice, when a connection is lost between the two. Also ensures that no message keeps others from being
moved. Knows both brokers only as L{AMQPService}s; the command is L{txpika.relay_tap}'s.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Literal

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.consumer import Consumer
from txpika.declaring import Declaration, declare, described, is_refusal
from txpika.exceptions import (
    AMQPError,
    ChannelClosed,
    DecodeError,
    NackError,
    NotConnected,
    OutcomeUnknown,
    ReturnedError,
    StaleDelivery,
)
from txpika.lanes import Lane
from txpika.marks import Unfit, marked
from txpika.message import Delivery
from txpika.orderly import OrderlyService
from txpika.parameters import integer, text
from txpika.service import AMQPService
from txpika.spec import CONNECTION_FORCED, PRECONDITION_FAILED, BasicProperties
from txpika.surviving import SurvivingChannel

#: Messages under way at a time, by default.
DEFAULT_WINDOW = 200
#: The first wait before something is tried again, and the longest, in seconds.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
#: What RabbitMQ says, with 406, about a message over its C{max_message_size}.
TOO_LARGE = "message size"

Side = Literal["source", "target"]


class RelayListener:
    """Is told what happens to a L{Relay}; subclass it, and override the methods you need."""

    def trouble(self, side: Side, error: Exception) -> None:
        """Something went wrong, and will be tried again."""

    def refused(self, side: Side, error: Exception) -> None:
        """A broker refused what is needed before anything can be moved. It is tried again all the same."""

    def failed(self, failure: Failure) -> None:
        """The relay has a fault, and moves nothing any more."""


class Move:
    """
    One message under way.

    @ivar task: What moves it, to be cancelled.
    @ivar published: The target has it, or is about to.
    @ivar alone: It is sent on its own: it was under way when the broker closed a channel or connection, and may cause
        that again.
    @ivar wait: How long until it is tried again, in seconds.
    @ivar moved_before: How many others were moved when it last failed on its own.
    """

    __slots__ = ("alone", "delivery", "moved_before", "published", "task", "wait")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.task: Deferred[None] | None = None
        self.published = False
        self.alone = False
        self.wait = FIRST_WAIT
        self.moved_before: int | None = None

    def cancel(self) -> None:
        """It stays at its source, or is back there."""
        if self.task is not None:
            self.task.cancel()


class Relay(OrderlyService):
    """
    Takes from a queue, publishes to an exchange, and acknowledges.

    Messages keep their properties and, unless told otherwise, their routing keys. A message that the target refuses, or
    that no queue there takes, stays at its source, and is tried again; it counts as under way meanwhile. One that has
    passed this relay before is in a loop: it is rejected, that is, dead-lettered or dropped. So is one whose properties
    make no sense, and one that the target can never take: it closes the channel with 406 because of its size, or while
    it takes others.

    @ivar relay_name: Its name in message headers.
    @ivar source: Where messages come from. Started and stopped with the relay, as is L{target}.
    @ivar target: Where they go to.
    @ivar moved: How many the target has confirmed.
    @ivar retried: How many times one was published again.
    @ivar rejected: How many were rejected.
    @ivar left: How many the target had not yet confirmed when the time for the last stop was up. They may arrive twice.
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
        source_declarations: tuple[Declaration, ...] = (),
        target_declarations: tuple[Declaration, ...] = (),
        listener: RelayListener | None = None,
    ) -> None:
        """
        @param queue: Where messages come from, on C{source}.
        @param target: May be another service for the same broker.
        @param exchange: Where they go to, on C{target}; C{""} for the default exchange.
        @param routing_key: For all of them; C{None} leaves each its own.
        @param relay_name: By default made from both ends.
        @param window: How many messages may be under way.
        @param source_declarations: What is declared before messages are taken.
        @param target_declarations: What is declared before messages are published.
        @raise ValueError: when an argument is outside its limits.
        @raise TypeError: when an argument is of a wrong type.
        """
        super().__init__()
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
        self.left = 0
        self._source_declarations = source_declarations
        self._listener = listener or RelayListener()
        self._main = Lane(target, exchange, target_declarations)
        self._aside = Lane(target, exchange)  # for those that go alone, one at a time
        self._turn = DeferredLock()
        self._consumer: Consumer | None = None
        self._consumed = False
        self._moves: dict[Move, None] = {}
        self._lives: list[Deferred[None]] = []

    @property
    def under_way(self) -> int:
        """How many messages were taken and are not yet moved."""
        return len(self._moves)

    @property
    def consuming(self) -> bool:
        """Whether messages come from the source."""
        return self._consumer is not None and self.source.state == "open"

    @property
    def publishing(self) -> bool:
        """Whether the target takes messages, as far as is known."""
        return bool(self._main.opened) and self._main.error is None and self.target.state == "open"

    # Its life; see OrderlyService

    def on_start(self) -> None:
        """Begin to connect to both."""
        self.target.startService()
        self.source.startService()
        lives = (self._open_target(), self._consume())
        self._lives = [Deferred.fromCoroutine(life).addErrback(self._failed) for life in lives]

    async def on_stop(self) -> None:
        """
        Take no more messages, and wait for the target to confirm those it was sent, within C{drain_timeout} of the
        source. All others stay where they were. Over when both services have stopped.
        """
        for move in list(self._moves):
            if not move.published:
                move.cancel()
        sent = [move for move in self._moves if not move.delivery.settled]
        await self.source.stopService()
        self.left = sum(move in self._moves for move in sent)
        for move in list(self._moves):
            move.cancel()
        for life in self._lives:
            life.cancel()
        await self.target.stopService()

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) and not self.is_active():
            return
        self._log.failure("The relay {name!r} has failed", failure, name=self.relay_name)
        self._listener.failed(failure)

    # The source

    async def _consume(self) -> None:
        wait = FIRST_WAIT
        channel: SurvivingChannel | None = None
        while self.is_active():
            try:
                if channel is None or channel not in self.source.channels:
                    channel = None
                    channel = await self._open_source()
                self._consumer = await channel.basic_consume(self._queue, self._take)
                self._consumed = True
                wait = FIRST_WAIT
                self._log.info("Moving messages from queue {queue!r}", queue=self._queue)
                reason: Exception | None = await self._consumer.closed
            except AMQPError as error:
                reason = error
            self._consumer = None
            if not self.is_active():
                return
            if reason is not None:
                self._trouble("source", reason, not self._consumed)
            self._log.error("No messages from queue {queue!r}: {reason}", queue=self._queue, reason=reason)
            await self._sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _open_source(self) -> SurvivingChannel:
        channel = await self.source.channel()
        try:
            await declare(channel, self._source_declarations)
            await channel.basic_qos(self._window)
        except BaseException:
            channel.close().addErrback(lambda failure: None)  # without its prefetch count it must not be used
            raise
        return channel

    def _take(self, delivery: Delivery) -> Deferred[None]:
        if len(self._moves) >= self._window:
            # The source has taken some back, and delivers them again: it must not be more and more that wait here.
            for old in list(self._moves):
                if old.delivery.settled:
                    old.cancel()
        move = Move(delivery)
        self._moves[move] = None

        def ended(result: Any) -> Any:
            del self._moves[move]
            return result

        move.task = Deferred.fromCoroutine(self._move(move)).addBoth(ended)
        return move.task

    async def _move(self, move: Move) -> None:
        delivery = move.delivery
        try:
            properties = marked(delivery.encoded_properties, self.relay_name, self._routing_key is not None)
            await self._publish(move, properties)
        except Unfit as error:
            self.rejected += 1
            self._log.error("Rejected {what}: {error}", what=_named(delivery), error=error)
            with suppress(StaleDelivery):
                delivery.reject()
        except CancelledError:
            pass  # it stays where it is

    # The target

    async def _open_target(self) -> None:
        """Opened before the first message comes, to know whether it refuses."""
        wait = FIRST_WAIT
        while self.is_active():
            try:
                await self._main.ready()
                return
            except AMQPError as error:
                if not self.is_active():
                    return
                self._trouble("target", error, True)
                self._log.error("Nothing can be published: {error}", error=described(error))
            await self._sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _publish(self, move: Move, properties: BasicProperties) -> None:
        """
        Try until the target has it, then acknowledge; or until the source has taken the message back.

        @raise Unfit: when it cannot be written, or the target can never take it.
        """
        while self.is_active() and not move.delivery.settled:
            try:
                if not move.alone:
                    sent = await self._send(move, self._main, properties)
                else:
                    async with self._turn:
                        sent = await self._send(move, self._aside, properties)
            except AMQPError as error:
                await self._not_moved(move, error)
            else:
                if sent:
                    self.moved += 1
                    with suppress(StaleDelivery):
                        move.delivery.ack()
                    return

    async def _send(self, move: Move, lane: Lane, properties: BasicProperties) -> bool:
        """@return: Whether the target has it; else the source has taken it back."""
        delivery = move.delivery
        channel = await lane.ready()
        if delivery.settled:
            return False
        key = delivery.routing_key if self._routing_key is None else self._routing_key
        try:
            publishing = channel.basic_publish(self._exchange, key, delivery.body, properties, mandatory=True)
        except (TypeError, ValueError) as error:
            raise Unfit(f"it cannot be published again: {error}") from error
        move.published = True
        try:
            await publishing
        finally:
            move.published = False
        return True

    async def _not_moved(self, move: Move, error: AMQPError) -> None:
        """
        Wait until it is to be tried again: for the target to come back, or for some time. One of them it must be: what
        fails at once would be tried again at once, for ever.

        @raise Unfit: when the target can never take it.
        """
        if not self.is_active():
            return
        self.retried += 1
        blamed = _blames(error)
        refused = isinstance(error, NackError | ReturnedError)
        if blamed and not move.alone:
            # One of those under way is to blame, and the broker does not say which.
            move.alone = True
            return
        if blamed and self._is_hopeless(move, error):
            raise Unfit(f"the target cannot take it: {error}") from error
        if not blamed and not refused and self.target.state != "open":
            with suppress(NotConnected):  # it is stopped, and nobody knows for how long
                await self.target.when_open()
                return
        self._listener.trouble("target", error)
        self._log.warn("Trying {what} again: {error}", what=_named(move.delivery), error=error)
        await self._sleep(move.wait)
        move.wait = min(move.wait * 2, LONGEST_WAIT)

    def _is_hopeless(self, move: Move, error: AMQPError) -> bool:
        """Whether the target will never take a message that was alone on its channel when that was closed."""
        cause = error.__cause__
        if not isinstance(cause, ChannelClosed) or cause.reply_code != PRECONDITION_FAILED:
            return False
        # With 406 it may refuse all messages, as when a plugin is missing: so others must have gone through meanwhile.
        before, move.moved_before = move.moved_before, self.moved
        return TOO_LARGE in cause.reply_text or (before is not None and self.moved > before)

    def _trouble(self, side: Side, error: Exception, at_first: bool) -> None:
        self._listener.trouble(side, error)
        if at_first and is_refusal(error):
            self._listener.refused(side, error)

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self.target.clock, seconds)

    def __repr__(self) -> str:
        return f"<Relay {self.relay_name!r} {self.moved} moved, {self.retried} retried, {self.rejected} rejected>"


def _blames(error: AMQPError) -> bool:
    """Whether the broker closed the channel or the connection, perhaps because of this message."""
    return isinstance(error, OutcomeUnknown) and error.initiator == "peer" and error.reply_code != CONNECTION_FORCED


def _named(delivery: Delivery) -> str:
    """@return: The message, so that an operator can find it."""
    try:
        message_id = delivery.properties.message_id
    except DecodeError:
        message_id = None
    return f"{delivery!r}" if message_id is None else f"{delivery!r} with message_id {message_id!r}"


def _place(service: AMQPService) -> str:
    parameters = service.parameters
    return f"{parameters.host}:{parameters.port}/{parameters.virtual_host}"
