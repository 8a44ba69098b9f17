# -*- test-case-name: txpika.test.test_blocking_connection -*-
"""
One channel, for programs that wait: each method returns the broker's answer.

Owns the names, arguments and results of the methods, and which consumers are being served. How to wait is the
connection's business; what is written when, the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from txpika.adapters.blocking_consumers import Consumer, Iterated, Message, raise_unless_ours
from txpika.adapters.blocking_methods import BlockingMethods
from txpika.adapters.blocking_publishing import Many
from txpika.adapters.checking import (
    Arguments,
    OnMessage,
    encoded,
    need_callback,
    need_handler,
    reason_of,
    refuse_ticket,
)
from txpika.adapters.methods import get_ok_of, return_of
from txpika.core.acks import check_tag
from txpika.exceptions import CloseReason, MessageTooLarge, StaleDelivery, UnknownConsumerTag
from txpika.message import Delivery, ReturnedMessage
from txpika.parameters import seconds
from txpika.spec import Basic, BasicProperties
from txpika.spec.wire import check_bit

if TYPE_CHECKING:
    from txpika.adapters.blocking_connection import BlockingConnection
    from txpika.core.channel import Channel as Core


class BlockingChannel(BlockingMethods):
    """
    What C{connection.channel()} returns.

    Each method waits for the broker and returns its answer: C{queue_declare} the C{Queue.DeclareOk}, and so on;
    C{None} with C{nowait}. Most take C{timeout}, in seconds, and raise L{txpika.exceptions.CallTimeout} when that is
    over. Wrong arguments raise L{ValueError} or L{TypeError} before a byte is written; what the broker refuses raises
    L{txpika.exceptions.ChannelClosed} with its code and text, and the channel is closed.

    Methods whose first argument is C{callback} in other adapters have none here. C{ticket} is accepted and ignored.

    @ivar connection: The connection it belongs to.
    """

    def __init__(self, connection: BlockingConnection, core: Core) -> None:
        super().__init__(connection, core)
        self._consumers: dict[str, Consumer | Iterated] = {}
        self._serving = False
        self._generator: Iterated | None = None
        self._on_return: list[Callable[..., object]] = []
        self._on_cancel: list[Callable[..., object]] = []
        self._on_close: list[Callable[[int, str], object]] = []

    @property
    def channel_number(self) -> int:
        """Its number on the wire."""
        return self._core.number

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._core.reason is None

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._core.ended

    @property
    def closing(self) -> bool | tuple[int, str]:
        """C{False}, or code and text of its close."""
        reason = self._core.reason
        return False if reason is None else (reason.reply_code or 200, reason.reply_text)

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of its consumers."""
        return list(self._consumers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        if self.is_open:
            self.close()

    # Publishing

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes | str,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
        immediate: bool = False,
        *,
        timeout: float | None = None,
    ) -> None:
        """
        C{basic.publish}. Waits while the network, or the broker, takes no more; in confirm mode, until the broker has
        taken this message.

        @param body: bytes-like; a str is sent as UTF-8.
        @param immediate: RabbitMQ does not implement it.
        @raise NackError: in confirm mode, when the broker refused it.
        @raise ReturnedError: in confirm mode, when it is mandatory and no queue took it.
        @raise OutcomeUnknown: when the connection or the channel ended before the broker settled it.
        """
        if immediate:
            raise ValueError("immediate is true: RabbitMQ does not implement that")
        if body.__class__ is not bytes:
            body = encoded(body)  # type: ignore[assignment]
        if timeout is None:
            box = self._waiter.send(self._core.publish, exchange, routing_key, body, properties, mandatory)
        else:
            arguments = (seconds("timeout", timeout), exchange, routing_key, body, properties, mandatory)
            box = self._waiter.send(self._core.outbox.publish_within, *arguments)
        if box is not None:
            self.connection.result_of(box)

    def publish_many(self, messages: Iterable[tuple[Any, ...]]) -> list[BaseException | None]:
        """
        Publish many messages, in confirm mode with as many outstanding as C{confirm_window} allows.

        @param messages: The arguments of L{basic_publish} for each: exchange, routing key and body, and optionally
            properties and C{mandatory}.
        @return: For each, in order, C{None} when it was taken (without confirm mode: written), or the exception that
            L{basic_publish} would have raised: one with wrong arguments, or the end of the channel, does not lose the
            outcomes of the others. When the channel ends, C{messages} without a length, such as a generator, are asked
            for no more: the list then ends with a L{CloseReason}, and has no entry for what was not asked for. Each
            message of a list, or of anything with a length, has an outcome.
        @raise Exception: what C{messages} raises, once what it gave before has been published and settled.
        """
        many = Many(self.connection, self._waiter, self._core)
        many.publish(messages)
        return many.outcomes

    def add_on_return_callback(self, callback: Callable[..., object]) -> None:
        """
        Without confirm mode: call C{callback} with channel, C{Basic.Return}, properties and body of each returned
        message, while events are handed over.
        """
        need_callback(callback)
        self._on_return.append(callback)

    # Messages

    def basic_get(
        self, ticket: int = 0, queue: str = "", no_ack: bool = False, *, timeout: float | None = None
    ) -> tuple[Any, BasicProperties | None, bytes | None]:
        """
        C{basic.get}.

        @return: C{Basic.GetOk}, properties and body; or C{Basic.GetEmpty}, C{None}, C{None}.
        @raise MessageTooLarge: when it is over C{max_body_size}; unless C{no_ack}, it has been rejected.
        """
        refuse_ticket(ticket)
        result = self._do(self._core.get, queue, no_ack, timeout=timeout)
        if not isinstance(result, Delivery):
            return result, None, None
        return get_ok_of(result), result.properties, result.body

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """
        C{basic.ack}.

        @param delivery_tag: 0 with C{multiple} for all that were handed over.
        @param multiple: Settle all unsettled ones of this channel before it, too.
        @raise StaleDelivery: when there is nothing to acknowledge under that tag.
        @raise CloseReason: when the channel has ended.
        """
        check_tag(delivery_tag)
        try:
            if multiple and not delivery_tag:
                check_bit(multiple, "basic.ack: multiple")
                self._waiter.send(self._settle_seen, self._core.acks.ack)
            else:
                self._waiter.send(self._core.acks.ack, delivery_tag, multiple)
        except StaleDelivery as error:
            raise reason_of(error) from None

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """C{basic.nack} of RabbitMQ. @raise StaleDelivery: as L{basic_ack}."""
        check_tag(delivery_tag)
        try:
            if multiple and not delivery_tag:
                check_bit(multiple, "basic.nack: multiple")
                check_bit(requeue, "basic.nack: requeue")
                self._waiter.send(self._settle_seen, partial(self._core.acks.nack, requeue=requeue))
            else:
                self._waiter.send(self._core.acks.nack, delivery_tag, multiple, requeue)
        except StaleDelivery as error:
            raise reason_of(error) from None

    def basic_reject(self, delivery_tag: int = 0, requeue: bool = True) -> None:
        """C{basic.reject}. @raise StaleDelivery: as L{basic_ack}."""
        check_tag(delivery_tag)
        try:
            self._waiter.send(self._core.acks.reject, delivery_tag, requeue)
        except StaleDelivery as error:
            raise reason_of(error) from None

    def _settle_seen(self, settle: Callable[[int, bool], object]) -> None:
        """
        In the loop's thread: settle all that were handed over, and none of those that wait for their turn.

        @param settle: Called with a delivery tag, and whether all before it are meant, too.
        @raise StaleDelivery: when there are none.
        """
        messages = Consumer.unseen(self)
        for iterated in {*self._consumers.values(), self._generator}:
            if isinstance(iterated, Iterated):
                messages += iterated.unseen()
        unacked = self._core.acks.unacked
        unseen = {method.delivery_tag for method, _, _ in messages}
        unseen.intersection_update(unacked)
        seen = [tag for tag in unacked if tag not in unseen]
        if not unseen:
            settle(0, True)
        elif not seen:
            settle(0, False)  # which raises
        elif seen[-1] < min(unseen):
            settle(seen[-1], True)
        else:
            for tag in seen:
                settle(tag, False)

    # Consumers

    def basic_consume(
        self,
        consumer: OnMessage | None = None,
        queue: str = "",
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str | None = None,
        arguments: Arguments = None,
        consumer_callback: OnMessage | None = None,
        *,
        block: bool = True,
        timeout: float | None = None,
    ) -> str:
        """
        C{basic.consume}: call C{consumer} with channel, method, properties and body of each message.

        @param consumer: May be given as C{consumer_callback}. What it raises comes out of what hands over events.
        @param block: Go on to L{start_consuming} at once, as pika did in 2011.
        @return: The consumer tag; with C{block}, once L{start_consuming} has returned.
        @raise TypeError: when C{consumer} is C{async}, or not callable.
        @raise CloseReason: as L{start_consuming}.
        """
        function = consumer if consumer_callback is None else consumer_callback
        need_handler("consumer", function)
        assert function is not None
        taker = Consumer(self, self._core.acks, function, consumer_tag or "", no_ack)
        self._consume(taker, queue, exclusive, arguments, timeout)
        if block:
            self.start_consuming()
        return taker.consumer_tag

    def _consume(
        self, taker: Consumer | Iterated, queue: str, exclusive: bool, arguments: Arguments, timeout: float | None
    ) -> None:
        def consume(*arguments: Any, **more: Any) -> Any:
            # Known from the beginning: it may have ended before anybody is told that it began.
            completion = self._core.consumers.consume(taker, *arguments, **more)
            self._consumers[taker.consumer_tag] = taker
            return completion

        try:
            self._do(consume, queue, exclusive, arguments, timeout=timeout)
        except BaseException:
            if self._consumers.get(taker.consumer_tag) is taker:
                del self._consumers[taker.consumer_tag]
            raise

    def start_consuming(self) -> None:
        """
        Hand over messages until L{stop_consuming}, or until the program closes the channel or the connection.

        @raise ConsumerCancelled: when the broker has cancelled the last of the consumers.
        @raise CloseReason: when the channel or the connection ends in another way, or is closed with a code other than
            200.
        @raise RuntimeError: when it is called from inside itself.
        """
        if self._serving:
            raise RuntimeError("start_consuming was called from inside start_consuming")
        self._serving = True
        last: Consumer | Iterated | None = None
        try:
            while self._serving:
                if not self._consumers:
                    if last is not None and last.reason is not None:
                        raise_unless_ours(last.reason)
                    return
                last = next(reversed(self._consumers.values()))
                self.connection.patience.wait(self._waiter, self._something, None)
                if not self.connection.dispatch(lambda: self._serving) and self._over():
                    return
        finally:
            self._serving = False

    def _something(self) -> bool:
        """There is something to hand over, or no reason left to wait for it."""
        return self.connection.something() or not self._serving or not self._consumers or self._core.ended

    def _over(self) -> bool:
        """
        @return: Whether the channel has ended, as the program wanted.
        @raise CloseReason: when it has ended in another way.
        """
        if self._core.ended:
            assert self._core.reason is not None
            raise_unless_ours(self._core.reason)
        else:
            self.connection.check()
        return self._core.ended

    def stop_consuming(self, consumer_tag: str | None = None) -> None:
        """
        Cancel one consumer, or all of them: L{start_consuming} returns when none is left. Call it from a handler of
        messages or signals, or, with C{io_thread}, from any thread. Harmless when the channel is closed.

        @raise UnknownConsumerTag: when C{consumer_tag} is not one of this channel's.
        """
        if self._waiter.busy:
            self._waiter.put_off(lambda: self.stop_consuming(consumer_tag))
            return
        for tag in list(self._consumers) if consumer_tag is None else [consumer_tag]:
            if not self.is_open:
                break
            try:
                self.basic_cancel(tag)
            except UnknownConsumerTag:
                if consumer_tag is not None:
                    raise
                self._consumers.pop(tag, None)  # the broker cancelled it first
        if not self._consumers or not self.is_open:
            self._serving = False
            self.connection.waiter.notify()

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, *, timeout: float | None = None) -> None:
        """
        C{basic.cancel}. Messages for it that were not yet handed over go back to their queue.

        @raise UnknownConsumerTag: when there is no such consumer on this channel.
        """
        self._do(self._core.consumers.cancel, consumer_tag, nowait, timeout=timeout)
        consumer = self._consumers.pop(consumer_tag, None)
        if isinstance(consumer, Consumer) and not consumer.no_ack:
            self._give_back(self.connection.withdraw(consumer.hand_over))

    def _give_back(self, messages: Iterable[Message]) -> int:
        """Have the broker put them back into their queue; return how many there were."""
        tags = [method.delivery_tag for method, _, _ in messages]

        def nack() -> int:
            waiting = [tag for tag in tags if self._core.acks.waits_for(tag)]
            for tag in waiting:
                self._core.acks.nack(tag, False, True)
            return len(waiting)

        if not self.is_open:
            return len(tags)
        return self._waiter.send(nack)

    def consumer_ended(self, consumer: Consumer | Iterated) -> None:
        """One of them has ended, and its earlier deliveries have been handed over."""
        known = self._consumers.pop(consumer.consumer_tag, None)
        if known is not None and consumer.reason is not None:
            for callback in self._on_cancel:
                callback(Basic.Cancel(consumer.consumer_tag))

    def add_on_cancel_callback(self, callback: Callable[[Any], object]) -> None:
        """Call C{callback} with a C{Basic.Cancel} when the broker cancels a consumer."""
        need_callback(callback)
        self._on_cancel.append(callback)

    def consume(
        self,
        queue: str,
        no_ack: bool = False,
        exclusive: bool = False,
        arguments: Arguments = None,
        inactivity_timeout: float | None = None,
        consumer_tag: str | None = None,
    ) -> Iterator[tuple[Any, Any, Any]]:
        """
        Iterate over messages as they come: C{Basic.Deliver}, properties and body. Leaving the loop keeps the consumer,
        and another C{consume} goes on with it; L{cancel} ends it, and so does closing the channel or the connection.

        @param inactivity_timeout: After this many seconds without a message the next item is C{(None, None, None)};
            with 0, when there is none now.
        @raise ConsumerCancelled: when the broker has cancelled the consumer.
        @raise CloseReason: when the channel or the connection ends in another way, as with L{start_consuming}.
        @raise ValueError: when the earlier consumer it would go on with is of another queue or kind.
        """
        if inactivity_timeout is not None and (inactivity_timeout != 0 or inactivity_timeout is False):
            seconds("inactivity_timeout", inactivity_timeout)
        asked = (queue, no_ack, exclusive)
        if self._generator is None:
            generator = Iterated(self, self._core.acks, asked, consumer_tag or "", no_ack)
            self._consume(generator, queue, exclusive, arguments, None)
            self._generator = generator
        elif self._generator.asked != asked:
            was = ", ".join(map(repr, self._generator.asked))
            raise ValueError(f"consume goes on with its consumer of ({was}): cancel() that first")
        return self._iterate(self._generator, inactivity_timeout)

    def _iterate(self, consumer: Iterated, inactivity_timeout: float | None) -> Iterator[tuple[Any, Any, Any]]:
        connection = self.connection
        loop = connection.waiter.loop

        def something() -> bool:
            return bool(consumer) or consumer.over or connection.something() or self._generator is not consumer

        while True:
            since = loop.seconds()
            connection.waiter.look()
            connection.dispatch()
            last = False
            while (message := consumer.take()) is None:
                if self._generator is not consumer:
                    return
                if consumer.over:
                    self._generator = None
                    if consumer.reason is not None:
                        raise_unless_ours(consumer.reason)
                    return
                if last:
                    break
                left = None if inactivity_timeout is None else max(0.0, since + inactivity_timeout - loop.seconds())
                last = left == 0
                connection.patience.wait(connection.waiter, something, left)
                connection.dispatch()
            yield message or (None, None, None)

    def cancel(self) -> int:
        """
        End L{consume}. Messages that were not yet iterated over go back to their queue.

        @return: How many those were.
        """
        consumer, self._generator = self._generator, None
        if consumer is None:
            return 0
        if not consumer.over and self.is_open:
            self._do(self._core.consumers.cancel, consumer.consumer_tag)
        self._consumers.pop(consumer.consumer_tag, None)
        messages = consumer.give_up()
        return len(messages) if consumer.no_ack else self._give_back(messages)

    # The end

    def add_on_close_callback(self, callback: Callable[[int, str], object]) -> None:
        """
        Call C{callback} with code and text when the channel, or the connection, is closed, by whomever; while events
        are handed over.
        """
        need_callback(callback)
        self._on_close.append(callback)

    def close(self, code: int = 200, text: str = "Normal shutdown") -> None:
        """Close it, after all calls made before. Harmless when it is closed."""
        if self._core.ended:
            return
        if self._waiter.busy:
            self._waiter.put_off(lambda: self.close(code, text))
            return
        self._waiter.call(self._core.close, code or 200, text)
        self._waiter.wait(lambda: self._core.ended)

    # What the engine tells

    def returned(self, message: ReturnedMessage) -> None:
        """A message came back, without confirm mode."""
        method = return_of(message)
        for callback in self._on_return:
            self.connection.event(None, callback, self, method, message.properties, message.body)

    def dropped(self, error: MessageTooLarge) -> None:
        """A message was too large, and is not handed over. Whoever hands over events is told."""

        def tell() -> None:
            raise error

        self.connection.event(None, tell)

    def flow_changed(self, active: bool) -> None:
        """The broker stopped publishes, or lets them go on: the engine holds them meanwhile."""

    def ended(self, reason: CloseReason) -> None:
        """The engine's channel is closed."""
        for callback in self._on_close:
            self.connection.event(None, callback, reason.reply_code or 200, reason.reply_text)
        self.connection.waiter.notify()

    def __repr__(self) -> str:
        return f"<BlockingChannel {self.channel_number} {self._core.state}>"
