# -*- test-case-name: txpika.test.test_surviving,txpika.test.test_surviving_calls -*-
"""
A channel that survives its connection.

Owns what it takes to go on with another one: its consumers, and the record of what was done on it. Everything else is
as for other channels. L{txpika.service} tells it when there is a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from twisted.internet.defer import Deferred, succeed

from txpika.channel import Channel
from txpika.consumer import Consumer
from txpika.core.acks import Acks, check_tag
from txpika.core.consumers import REPLY_TO
from txpika.declarations import Arguments
from txpika.exceptions import ChannelClosed, CloseReason, ConnectionClosed, ConsumerCancelled, UnknownConsumerTag
from txpika.instrumenting import ObservedChannel, ObservedConsumer
from txpika.interim import Allowance, Interim
from txpika.message import Delivery
from txpika.patience import Patience
from txpika.spec import Basic, Confirm, Method, Queue, Tx
from txpika.subscription import Subscription
from txpika.topology import ChannelRecord, Topology, snapshot

if TYPE_CHECKING:
    from txpika.core.channel import Channel as Core
    from txpika.protocol import AMQPProtocol

#: Called with a method that could not be repeated on a new connection, and why.
LeftOut = Callable[[Method, Exception], None]


class Home(Protocol):
    """
    Who keeps a surviving channel.

    @ivar topology: What its channels declare is recorded here.
    @ivar recovers: Whether a method is to be repeated on a new connection; C{None} when all are.
    @ivar allowance: For messages that wait.
    """

    topology: Topology
    recovers: Callable[[Method], bool] | None
    allowance: Allowance

    def forget(self, channel: SurvivingChannel) -> None:
        """It is closed for good."""


class SurvivingChannel(Channel):
    """
    What L{txpika.service.AMQPService.channel} fires with.

    It is used like any L{Channel}. When its connection is lost, calls under way fail, and publishes end as they would
    on any channel: unconfirmed ones with L{txpika.exceptions.OutcomeUnknown}. On the next connection quality of
    service, confirm mode, consumers and what was declared on it are set up again: the same consumers go on, with the
    same functions and the same loops. Unacknowledged deliveries come again; acknowledging the old ones has no effect,
    and writes nothing. In between, calls fail with L{txpika.exceptions.NotConnected}, except that publishes may wait
    (C{publish_wait} of the service), and that L{close} and the cancelling of consumers take effect at once.

    C{""} for a queue is the one declared last, as on any channel, and still is on the next connection. It is none
    after the connection was lost before that declaration was answered.

    It ends when the program closes it, when the broker does, as for a passive declaration of something missing, and
    when the service stops.

    @ivar record: What was done on it.
    """

    def __init__(self, core: Core, connection: AMQPProtocol, home: Home, *more: Any) -> None:
        super().__init__(core, connection, *more)
        self.record = ChannelRecord(home.recovers)
        self._home = home
        self._consumers: dict[str, Consumer] = {}
        self._cancelling: set[str] = set()
        # Calls that are to be answered, in order, each with what is to be recorded of what was called behind it.
        self._unanswered: list[tuple[Method, list[Callable[[], None]]]] = []
        self._declaring = 0  # how many queue.declare are among all these
        self._last_tag = 0
        self._in_vain = 0
        # What made the broker close the connection: left out until there was one that stayed.
        self._fatal: list[Method] = []
        self._lapsed: Acks | None = None  # of the last connection that was lost
        self._interim: Interim | None = None  # while there is no connection, and then C{_core} too
        self._next: tuple[Core, AMQPProtocol, list[Subscription]] | None = None

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Those that have not ended."""
        return tuple(self._consumers.values())

    @property
    def workers(self) -> tuple[Consumer, ...]:
        """The same without that of direct replies, for which functions of others may wait."""
        replies = {tag for tag, method in self.record.consumers.items() if method.queue == REPLY_TO}
        return tuple(consumer for tag, consumer in self._consumers.items() if tag not in replies)

    @property
    def settled_in_vain(self) -> int:
        """How many deliveries of lost connections were acknowledged after the loss, to no effect."""
        return self._in_vain + (0 if self._lapsed is None else self._lapsed.in_vain)

    # What is recorded

    def call(self, method: Method, timeout: float | None = None) -> Deferred[Any]:
        """As in L{Channel}; recorded when the broker has done it, in the order of the calls."""
        method = snapshot(method if self._declaring else self.record.resolve(method))
        unanswered = self._unanswered

        def done(reply: Method | None, _cancelled: bool) -> Method | None:
            _, behind = unanswered.pop(0)
            recorded(reply, reply is not None)  # also when nobody waits for it any more
            for each in behind:
                each()
            return reply

        def recorded(reply: Method | None, succeeded: bool) -> None:
            self._declaring -= declares
            if succeeded:
                named = self.record.resolve(method)
                self.record.record(named, reply)
                self._home.topology.record(named, reply)

        def call(timeout: float | None) -> Any:
            waits = bool(method.REPLIES) and not getattr(method, "nowait", False)
            completion = self._core.call(method, done if waits else None, timeout)
            self._declaring += declares
            if waits:
                unanswered.append((method, []))
            else:
                self._in_turn(lambda: recorded(None, True))
            return completion

        declares = isinstance(method, Queue.Declare)
        return self._do(call, timeout=timeout)

    def _in_turn(self, function: Callable[[], None]) -> None:
        """Call it when what was called before is recorded: now, or before what is called next is."""
        if self._unanswered:
            self._unanswered[-1][1].append(function)
        else:
            function()

    @property
    def _last_queue(self) -> str:
        """What is to be sent for C{""}: that, while only the broker knows the name of the queue declared last."""
        return "" if self._declaring else self.record.last_queue

    def basic_get(self, queue: str, no_ack: bool = False, *, timeout: float | None = None) -> Deferred[Delivery | None]:
        """As L{Channel.basic_get}."""
        return super().basic_get(queue or self._last_queue, no_ack, timeout=timeout)

    def tx_select(self, *, timeout: float | None = None) -> Deferred[Tx.SelectOk]:
        """@raise ValueError: always: half of a transaction would be lost with a connection, with nobody told."""
        raise ValueError(
            "a transaction does not survive a connection: use confirm mode, or a channel of the connection"
        )

    # Consuming

    def _consume(
        self,
        consumer: Consumer,
        queue: str,
        exclusive: bool,
        arguments: Arguments,
        nowait: bool,
        timeout: float | None,
    ) -> Deferred[Any]:
        if not consumer.consumer_tag:
            # Not of the engine's making: its next channel would make the same ones again.
            self._last_tag += 1
            consumer.consumer_tag = f"txpika.{self._last_tag}"
        queue = queue or self._last_queue
        subscription = Subscription(self, self._core, consumer)
        method = snapshot(
            Basic.Consume(0, queue, consumer.consumer_tag, False, consumer.no_ack, exclusive, False, arguments or {})
        )
        consuming = self._do(
            self._core.consumers.consume, subscription, queue, exclusive, arguments, nowait=nowait, timeout=timeout
        )

        def named() -> None:
            nonlocal method
            method = self.record.resolve(method)

        def consumes(_result: object) -> None:
            if subscription.over:
                return  # cancelled right behind, by its tag
            self._consumers[consumer.consumer_tag] = consumer
            if nowait:
                self._in_turn(recorded)
            else:
                recorded()

        def recorded() -> None:
            if self._consumers.get(consumer.consumer_tag) is consumer:
                self.record.consuming(consumer.consumer_tag, method)
                self._home.topology.consumer_added(method.queue)

        self._in_turn(named)
        return consuming.addCallback(consumes)

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, *, timeout: float | None = None) -> Deferred[None]:
        """
        As L{Channel.basic_cancel}; it takes effect at once without a connection, or when the connection is lost before
        the broker has agreed.
        """
        consumer = self._consumers.get(consumer_tag)
        if self._interim is None:
            try:
                cancelling = super().basic_cancel(consumer_tag, nowait, timeout=timeout)
            except UnknownConsumerTag:
                if consumer is None:
                    raise
                # It was not set up again: the broker does not know it.
            else:
                if consumer is not None and self._consumers.get(consumer_tag) is consumer:
                    self._cancelling.add(consumer_tag)
                return cancelling
        if consumer is None:
            raise UnknownConsumerTag(f"no consumer {consumer_tag!r} on this channel")
        self._end_consumer(consumer, None)
        return succeed(None)

    def subscription_ended(self, core: Core, consumer: Consumer, reason: CloseReason | None) -> None:
        """
        The engine says that a consumer gets no more deliveries on one connection. That is its end, unless the
        connection ended, or the channel is still being set up again on a new one.
        """
        if core is self._core or isinstance(reason, ConsumerCancelled):
            self._end_consumer(consumer, reason)

    def consumes(self, core: Core, consumer: Consumer) -> bool:
        """@return: Whether C{consumer} has not ended, and C{core} is what the channel goes on with."""
        return self._core is core and core.reason is None and self._consumers.get(consumer.consumer_tag) is consumer

    def _end_consumer(self, consumer: Consumer, reason: CloseReason | None, started: bool = True) -> None:
        """@param started: See L{Topology.consumer_gone}."""
        self._forget_consumer(consumer, started)
        consumer.ended(reason)

    def _forget_consumer(self, consumer: Consumer, started: bool = True) -> None:
        tag = consumer.consumer_tag
        if self._consumers.get(tag) is consumer:
            del self._consumers[tag]
            self._cancelling.discard(tag)
            queue = self.record.cancelled(tag)
            if queue is not None:
                self._home.topology.consumer_gone(queue, started)

    # Settling by number

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """
        As L{Channel.basic_ack}, for all deliveries so far.

        @raise ValueError: when C{delivery_tag} is not 0: a number does not tell on which connection it was delivered.
            L{Delivery.ack} does.
        """
        self._refuse_number(delivery_tag, "ack")
        super().basic_ack(delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """
        As L{Channel.basic_nack}, for all deliveries so far.

        @raise ValueError: as L{basic_ack}.
        """
        self._refuse_number(delivery_tag, "nack")
        super().basic_nack(delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """@raise ValueError: as L{basic_ack}, always."""
        self._refuse_number(delivery_tag or 1, "reject")

    @staticmethod
    def _refuse_number(delivery_tag: int, method: str) -> None:
        check_tag(delivery_tag)
        if delivery_tag:
            raise ValueError(
                f"delivery_tag is {delivery_tag}: a number does not tell on which connection it was delivered;"
                f" call {method}() of the delivery"
            )

    # The connection is lost, and there is another

    def suspend(self, reason: CloseReason) -> Callable[[], None] | None:
        """
        The connection is lost, and nothing on it has been told yet.

        @return: To be called when all channels know: it tells the program.
        """
        if self._interim is not None:
            self._next = None
            return None
        core = self._core
        if core.reason is not None:
            return None  # it was closing: that is its end
        if self._lapsed is not None:
            self._in_vain += self._lapsed.in_vain
        self._lapsed = core.acks
        core.acks.lapse()
        self.record.mode = "confirm" if core.mode == "confirm" else ""
        self._interim = Interim(core.number, core.mode, reason, self._home.allowance)
        self._core = cast("Core", self._interim)
        self._give_up_unanswered()
        cancelled = [self._consumers[tag] for tag in list(self._cancelling)]
        for consumer in cancelled:
            self._forget_consumer(consumer)
        for consumer in self.consumers:
            consumer.interrupted()

        if self._rpc is not None and not self._rpc.is_open:
            self._rpc.ended = True  # its opening was given up, or its end is under way

        def tell() -> None:
            for consumer in cancelled:
                consumer.ended(None)
            if self._rpc is not None:
                self._rpc.interrupted(reason)

        return tell

    def _give_up_unanswered(self) -> None:
        """These fail. What was called behind them with C{nowait} succeeded at once, and so is to be set up again."""
        unanswered, self._unanswered = self._unanswered, []
        for method, behind in unanswered:
            if isinstance(method, Queue.Declare):
                self.record.last_queue = ""  # its name may never be known
            for each in behind:
                each()
        self._declaring = 0

    async def restore(self, connection: AMQPProtocol, left_out: LeftOut, timeout: float) -> None:
        """
        Set it up on another connection. It cannot be used there before L{resume}.

        @param left_out: Told of what the broker refuses; all else is set up.
        @param timeout: How long each call may take, in seconds.
        @raise AMQPError: when the connection is lost, or a call takes too long.
        """
        refused = list(self._fatal)
        patience: dict[bytes, Patience] = {}
        while True:
            cores: list[Core] = []

            def made(core: Core, cores: list[Core] = cores) -> SurvivingChannel:
                cores.append(core)
                return self

            await connection.attach(made, timeout)
            core = cores[0]
            subscriptions: list[Subscription] = []
            method: Method = Confirm.Select(False)
            try:
                for method in self.record.steps():
                    if method not in refused:
                        await self._repeat(core, connection, method, subscriptions, timeout)
                if self._interim is None or self._interim.ended:
                    core.close()  # the program closed it meanwhile
                else:
                    self._next = (core, connection, subscriptions)
                return
            except ChannelClosed as error:
                if error.initiator != "peer":
                    raise
                if _is_taken(method, error):
                    # By the consumer of the connection before, as the broker has not noticed yet that that is gone.
                    waits = patience.setdefault(method.encode(), Patience(connection.clock, connection.heartbeat))
                    if await waits.lasts():
                        continue
                refused.append(method)
                self._refused(method, error, left_out)
            except ConnectionClosed as error:
                if error.blames(method):
                    # It would close each next connection, too.
                    self._fatal.append(method)
                    self._refused(method, error, left_out)
                raise

    def _refused(self, method: Method, error: CloseReason, left_out: LeftOut) -> None:
        left_out(method, error)
        consumer = self._consumers.get(getattr(method, "consumer_tag", ""))
        if consumer is not None:
            self._end_consumer(consumer, error, started=False)

    async def _repeat(
        self,
        core: Core,
        connection: AMQPProtocol,
        method: Method,
        subscriptions: list[Subscription],
        timeout: float,
    ) -> None:
        if not isinstance(method, Basic.Consume):
            select = isinstance(method, Confirm.Select)
            await (core.confirm_select(False, timeout) if select else core.call(method, None, timeout))
            return
        consumer = self._consumers.get(method.consumer_tag)
        if consumer is None:
            return  # cancelled a moment ago
        subscription = Subscription(self, core, consumer, connection)
        subscriptions.append(subscription)
        await core.consumers.consume(subscription, method.queue, method.exclusive, method.arguments, timeout=timeout)

    def resume(self) -> Callable[[], None] | None:
        """
        Go on with the connection for which L{restore} was called, unless that is lost again.

        @return: To be called when all channels do: it tells the program, and lets it have what was delivered meanwhile.
        """
        interim = self._interim
        if self._next is None or interim is None:
            return None
        core, connection, subscriptions = self._next
        self._next = None
        self._fatal.clear()
        closed, over = core.reason, core.ended  # by the broker, since it was set up
        self._move(core, connection)
        tell = interim.hand_over(core.publish, core.outbox.publish_within)
        if self._rpc is not None:
            self._rpc.resumed()
        left_out = self._consumers.copy()
        for subscription in subscriptions:
            if self._consumers.get(subscription.consumer_tag) is subscription.consumer:
                del left_out[subscription.consumer_tag]
                self._set_up(subscription.consumer)

        def begin() -> None:
            tell()
            if closed is not None:
                for consumer in self.consumers:
                    self._end_consumer(consumer, closed)
                if over:
                    self._over(closed)
                return
            for tag, consumer in left_out.items():
                if self._consumers.get(tag) is consumer:
                    text = f"consumer {tag!r} was not set up again on the new connection"
                    self._end_consumer(consumer, ConsumerCancelled(text), started=False)
            for subscription in subscriptions:
                if self._core is not core or core.reason is not None:
                    return
                if self.consumes(core, subscription.consumer):
                    subscription.begin()
                else:
                    subscription.give_up()

        return begin

    def _move(self, core: Core, connection: AMQPProtocol) -> None:
        self._core, self._interim = core, None
        self.connection = connection

    def _set_up(self, consumer: Consumer) -> None:
        consumer.resumed()

    # The end

    def close(
        self, reply_code: int = 200, reply_text: str = "Normal shutdown", *, timeout: float | None = None
    ) -> Deferred[None]:
        """As L{Channel.close}; without a connection it takes effect at once."""
        if self._interim is not None:
            self.finish(ChannelClosed(reply_text, reply_code))
            return succeed(None)
        return super().close(reply_code, reply_text, timeout=timeout)

    def finish(self, reason: CloseReason) -> None:
        """Nothing more will happen on it: there will be no connection for it. No effect when there is one."""
        interim = self._interim
        if interim is None or interim.ended:
            return
        if self._next is not None:
            core, self._next = self._next[0], None
            core.close()
        interim.end(reason)
        for consumer in self.consumers:
            self._end_consumer(consumer, reason)
        self._over(reason)

    def ended(self, reason: CloseReason) -> None:
        """The engine's channel is closed, and not because of its connection."""
        if self._interim is None:
            self._over(reason)

    def _over(self, reason: CloseReason) -> None:
        self._home.forget(self)
        super().ended(reason)


def _is_taken(method: Method, error: ChannelClosed) -> bool:
    """Whether an exclusive consumer was refused because there is another; the code alone may mean other things."""
    return isinstance(method, Basic.Consume) and method.exclusive and "exclusive use" in error.reply_text


class ObservedSurvivingChannel(SurvivingChannel, ObservedChannel):
    """The same, whose messages instruments hear of."""

    def suspend(self, reason: CloseReason) -> Callable[[], None] | None:
        """As for others; and what was delivered is no longer to be settled on this connection."""
        tell = super().suspend(reason)
        if tell is not None:
            self.unsettled.clear()
        return tell

    def _move(self, core: Core, connection: AMQPProtocol) -> None:
        super()._move(core, connection)
        assert connection.observer is not None
        self.observe(connection.observer)

    def _set_up(self, consumer: Consumer) -> None:
        assert isinstance(consumer, ObservedConsumer)
        consumer.observe(self)
        super()._set_up(consumer)
