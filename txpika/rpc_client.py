# -*- test-case-name: txpika.test.test_rpc_client -*-
"""
Requests and their replies, over RabbitMQ's direct reply-to (rabbitmq.com/docs/direct-reply-to).

Owns the calls of one channel that wait for a reply: how each is told from the others, and how each ends. Knows the
channel's face it belongs to, but nothing of what requests mean.

RabbitMQ replaces C{amq.rabbitmq.reply-to} in each request with an address of its own. So a returned request is not what
was published, and the channel cannot tell whose it is, not even in confirm mode: its publish seems to have succeeded.
Here it is recognized by its correlation id.
"""

from __future__ import annotations

import os
from copy import copy
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from txpika.core.consumers import REPLY_TO
from txpika.exceptions import (
    CallTimeout,
    CloseReason,
    ConsumerCancelled,
    DecodeError,
    MessageTooLarge,
    Outcome,
    OutcomeUnknown,
    ReturnedError,
)
from txpika.message import Delivery, ReturnedMessage
from txpika.parameters import seconds
from txpika.spec import BasicProperties

if TYPE_CHECKING:
    from txpika.channel import Channel
    from txpika.consumer import Consumer

#: How long a call waits for its reply by default, in seconds.
DEFAULT_CALL_TIMEOUT = 30.0


class _Call:
    """
    One request, and the Deferred for its reply.

    @ivar published: The publish, while its outcome is not known.
    @ivar timer: Runs once that is known.
    @ivar deadline: By when the reply must be here, in seconds of the clock; C{None} for no limit.
    """

    __slots__ = ("_client", "correlation_id", "deadline", "published", "reply", "timeout", "timer")

    def __init__(self, client: RPCClient, correlation_id: str, timeout: float | None, deadline: float | None) -> None:
        self._client = client
        self.correlation_id = correlation_id
        self.timeout = timeout
        self.deadline = deadline
        self.published: Deferred[None] | None = None
        self.timer: Any = None
        self.reply: Deferred[Delivery] = Deferred(self._given_up)

    def _given_up(self, _reply: Deferred[Delivery]) -> None:
        self._client.forget(self)

    def stop(self) -> None:
        """It has ended: nothing runs for it any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        # One not yet written never is.
        published, self.published = self.published, None
        if published is not None:
            published.cancel()


class RPCClient:
    """
    What L{txpika.channel.Channel.rpc_client} fires with::

        async with await channel.rpc_client() as rpc:
            reply = await rpc.call("", "squares", b"7", timeout=5)
            print(reply.body)

    Any number of calls may be under way. It uses the channel as it is: in confirm mode a call also fails when the
    broker refuses its request. It ends with its channel, or with L{close}.

    @ivar channel: The channel it belongs to.
    @ivar late: How many replies came that nobody waited for, or no longer.
    @ivar ended: The broker no longer knows of it, and the channel can have another.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.late = 0
        # Nobody else can make up a correlation id: a server of one request cannot answer another.
        self._prefix = os.urandom(8).hex()
        self._last = 0
        self._calls: dict[str, _Call] = {}
        self._consumer: Consumer | None = None
        self._reason: CloseReason | None = None
        self.ended = False

    def open(self, timeout: float | None) -> Deferred[RPCClient]:
        """
        Begin to consume replies; called by the channel.

        @param timeout: How long to wait for the broker, in seconds.
        """
        consuming = self.channel.basic_consume(REPLY_TO, self._replied, no_ack=True, timeout=timeout)
        return consuming.addCallbacks(self._opened, self._not_opened)

    def _not_opened(self, failure: Failure) -> Failure:
        if failure.check(CloseReason) is not None:  # else the broker may have agreed all the same
            self.ended = True
        return failure

    def _opened(self, consumer: Consumer) -> RPCClient:
        self._consumer = consumer
        consumer.closed.addCallback(self._ended)
        return self

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._consumer is not None and self._reason is None

    @property
    def pending(self) -> int:
        """How many calls wait for their reply."""
        return len(self._calls)

    def call(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties | None = None,
        *,
        timeout: float | None = DEFAULT_CALL_TIMEOUT,
    ) -> Deferred[Delivery]:
        """
        Send a request and wait for its reply. Cancelling the Deferred forgets the call: a request not yet written never
        is, and a reply that still comes is dropped.

        @param exchange: Where to; C{""} is the default exchange, which routes to the queue named C{routing_key}.
        @param routing_key: Selects the queue, in a way that depends on the exchange.
        @param body: The request: bytes, or a bytearray or memoryview, of which a copy is taken.
        @param properties: Its properties. They are not changed: a copy gets C{correlation_id} and C{reply_to}. With
            C{expiration} the broker drops a request that nobody has taken by then.
        @param timeout: How long to wait in all, in seconds; C{None} for as long as the channel lives.
        @return: Fires with the reply, a L{Delivery} that needs no ack. It fails with
            L{txpika.exceptions.ReturnedError}, at once, when no queue takes the request; with
            L{txpika.exceptions.CallTimeout}; with L{txpika.exceptions.NackError} in confirm mode, when the broker
            refuses it; with L{txpika.exceptions.MessageTooLarge} when the reply is over C{max_body_size}; with the
            reason when the channel or the connection ended; with L{txpika.exceptions.ConsumerCancelled} when this
            client was closed; and with whatever else L{txpika.channel.Channel.basic_publish} fails with. C{outcome}
            tells whether the request was sent.
        @raise ValueError: when an argument is outside its limits, C{properties} have a C{correlation_id} or C{reply_to}
            of their own, or the channel is in transaction mode.
        @raise TypeError: when an argument is of a wrong type.
        """
        deadline = None
        if timeout is not None:
            deadline = self.channel.connection.clock.seconds() + seconds("timeout", timeout)
        self._last += 1
        correlation_id = f"{self._prefix}.{self._last:x}.{os.urandom(8).hex()}"
        request = _request(properties, correlation_id)
        if self.channel.mode == "tx":
            raise ValueError("the channel is in transaction mode: requests would wait for tx_commit")
        if self._reason is not None:
            return fail(self._reason.with_outcome("not sent"))
        call = _Call(self, correlation_id, timeout, deadline)
        published = self.channel.basic_publish(exchange, routing_key, body, request, True, timeout=timeout)
        call.published = published
        if not self._calls:
            self.channel.connection.expect_message(self)
        self._calls[correlation_id] = call
        published.addCallbacks(self._published, self._not_published, callbackArgs=(call,), errbackArgs=(call,))
        return call.reply

    def close(self, *, timeout: float | None = None) -> Deferred[None]:
        """
        Take no more replies: calls that wait for one fail. Harmless when it is closed, or its channel is.

        @param timeout: How long to wait for the broker, in seconds.
        @return: Fires with C{None} when the broker agreed. The channel can then have another client.
        @raise ValueError: when C{timeout} is not above 0.
        """
        assert self._consumer is not None
        cancelled = self._consumer.cancel(timeout)
        if self._reason is None:
            self._stop(ConsumerCancelled("the RPC client was closed"))
        return cancelled

    async def __aenter__(self) -> RPCClient:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    # How a call ends

    def forget(self, call: _Call) -> bool:
        """
        Nobody waits for its reply any more.

        @return: Whether somebody did.
        """
        if self._calls.pop(call.correlation_id, None) is None:
            return False
        if not self._calls:
            self.channel.connection.expect_no_message(self)
        call.stop()
        return True

    def _fail(self, call: _Call, error: BaseException | Failure) -> None:
        if self.forget(call):
            call.reply.errback(error)

    def _published(self, _result: None, call: _Call) -> None:
        call.published = None
        if call.correlation_id not in self._calls:
            return
        if self._reason is not None:
            self._fail(call, self._reason.with_outcome("unknown"))
        elif call.deadline is not None:
            clock = self.channel.connection.clock
            call.timer = clock.callLater(max(0.0, call.deadline - clock.seconds()), self._expired, call)

    def _not_published(self, failure: Failure, call: _Call) -> None:
        call.published = None
        error = failure.value
        if isinstance(error, CallTimeout):
            self._time_out(call, error.outcome)
        elif isinstance(error, OutcomeUnknown) and isinstance(error.__cause__, CloseReason):
            self._fail(call, error.__cause__.with_outcome("unknown"))
        else:
            self._fail(call, failure)

    def _expired(self, call: _Call) -> None:
        call.timer = None
        self._time_out(call, "unknown")

    def _time_out(self, call: _Call, outcome: Outcome) -> None:
        self._fail(call, CallTimeout(f"no reply within {call.timeout:g} seconds", outcome))

    def _replied(self, reply: Delivery) -> None:
        call = self._calls.get(_correlation_id(reply))
        if call is None:
            self.late += 1
        else:
            self.forget(call)
            call.reply.callback(reply)

    def dropped(self, error: MessageTooLarge) -> bool:
        """
        A message for a consumer of the channel was over C{max_body_size}.

        @return: Whether a call waited for it.
        """
        call = self._calls.get(_correlation_id(error.delivery))
        if call is None:
            return False
        self._fail(call, error)
        return True

    def returned(self, message: ReturnedMessage) -> bool:
        """
        A message of the channel came back.

        @return: Whether it was a request of this client.
        """
        correlation_id = _correlation_id(message)
        if not correlation_id.startswith(self._prefix):
            return False
        call = self._calls.get(correlation_id)
        if call is not None:
            self._fail(call, ReturnedError(message))
        return True

    def _ended(self, reason: CloseReason | None) -> None:
        """There will be no more replies; C{None} when L{close}, or this program in another way, ended them."""
        self.ended = True
        if self._reason is None:
            self._stop(reason or ConsumerCancelled("the consumer of replies was cancelled"))

    def interrupted(self, reason: CloseReason) -> None:
        """
        The connection is lost, and the channel goes on with another: replies to what was sent will not come. For a
        request not yet confirmed, or not yet written, the outcome of its publish is about to tell.
        """
        for call in list(self._calls.values()):
            if call.published is None:
                self._fail(call, reason.with_outcome("unknown"))

    def resumed(self) -> None:
        """The channel is on another connection, which takes replies."""
        if self._calls:
            self.channel.connection.expect_message(self)

    def _stop(self, reason: CloseReason) -> None:
        self._reason = reason
        for call in list(self._calls.values()):
            if call.published is None:
                self._fail(call, reason.with_outcome("unknown"))
            elif self.channel.is_open:
                # In confirm mode it may be written already; without, what is pending is not.
                self._fail(call, reason.with_outcome("unknown" if self.channel.mode == "confirm" else "not sent"))
            # Else the channel is about to tell what became of its publish.

    def __repr__(self) -> str:
        return f"<RPCClient on {self.channel!r}, {self.pending} pending, {self.late} late>"


def _correlation_id(message: Delivery | ReturnedMessage) -> str:
    """@return: C{""} where there is none."""
    try:
        return message.properties.correlation_id or ""
    except DecodeError:
        return ""


def _request(properties: BasicProperties | None, correlation_id: str) -> BasicProperties:
    """
    @return: Properties of a request; a copy of those given.
    @raise ValueError: when those given set what is for the client to set, or cannot be decoded.
    @raise TypeError: when they are not L{BasicProperties}.
    """
    if properties is None:
        return BasicProperties(correlation_id=correlation_id, reply_to=REPLY_TO)
    if not isinstance(properties, BasicProperties):
        raise TypeError(f"properties must be BasicProperties or None, not {type(properties).__name__}")
    request = copy(properties)
    try:
        request.decode()
    except DecodeError as error:
        raise ValueError("properties cannot be decoded") from error
    for name in ("correlation_id", "reply_to"):
        if getattr(request, name) is not None:
            raise ValueError(f"properties have a {name}, which is for the client to set")
    request.correlation_id = correlation_id
    request.reply_to = REPLY_TO
    return request
