# -*- test-case-name: txpika.test.test_channel -*-
"""
One channel, as a Twisted program sees it: each method of AMQP, returning a Deferred.

Owns the names, arguments and results of the methods. The order they are written in, and their replies, are the
engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from txpika.arguments import ConsumerArguments
from txpika.consumer import DEFAULT_BUFFER_SIZE, Consumer
from txpika.core.acks import check_tag
from txpika.core.consumers import STREAM_OFFSET
from txpika.declarations import Arguments, Declarations
from txpika.exceptions import AMQPError, ChannelClosed, CloseReason, MessageTooLarge, WrongThread
from txpika.handling import AckPolicy, Handler, OnDelivery, OnError, make_handler
from txpika.message import Delivery, ReturnedMessage
from txpika.parameters import integer, seconds
from txpika.results import Written
from txpika.rpc_client import RPCClient
from txpika.rpc_server import OnRequest, RPCServer, ToReply
from txpika.spec import Basic, BasicProperties, Confirm, Tx

if TYPE_CHECKING:
    from txpika.core.channel import Channel as Core
    from txpika.protocol import AMQPProtocol


class Channel(Declarations):
    """
    What L{txpika.protocol.AMQPProtocol.channel} fires with.

    Methods of one channel are written in the order they are called, and one that waits for the broker's answer holds up
    later ones. Wrong arguments raise L{ValueError} or L{TypeError} at the call, before a byte is written. Everything
    else fails the Deferred: L{txpika.exceptions.ChannelClosed} and L{txpika.exceptions.AMQPConnectionError} say why
    with code and text. If the Deferred of a call is cancelled, the reply to a call already written is ignored, and one
    not yet written never is (except C{tx}, C{basic.recover} and C{basic.cancel}, which always are). With C{timeout}, in
    seconds, a call gives up by itself, with L{txpika.exceptions.CallTimeout}. With C{nowait} the broker sends no reply:
    the Deferred fires at once with C{None}, and an error closes the channel.

    @ivar connection: The protocol it belongs to.
    @ivar on_return: Called with each L{ReturnedMessage} that is not the outcome of a publish in confirm mode.
    """

    _log = Logger()

    def __init__(self, channel: Core, connection: AMQPProtocol) -> None:
        super().__init__(channel)
        self.connection = connection
        self.on_return: Callable[[ReturnedMessage], None] | None = None
        self._ends: list[Deferred[CloseReason]] = []
        self._rpc: RPCClient | None = None

    @property
    def channel_number(self) -> int:
        """Its number on the wire."""
        return self._core.number

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._core.reason is None

    @property
    def mode(self) -> str:
        """C{"confirm"} after L{confirm_select}, C{"tx"} after L{tx_select}, else C{""}."""
        return self._core.mode

    @property
    def closed(self) -> Deferred[CloseReason]:
        """Fires with the reason when the channel is closed; never fails. Each access makes a new Deferred."""
        if self._core.ended:
            assert self._core.reason is not None
            return succeed(self._core.reason)
        waiter: Deferred[CloseReason] = Deferred(self._ends.remove)
        self._ends.append(waiter)
        return waiter

    # Publishing

    def confirm_select(self, nowait: bool = False, *, timeout: float | None = None) -> Deferred[Confirm.SelectOk]:
        """
        Confirm mode: from now on the broker tells what became of each message (rabbitmq.com/docs/confirms). Harmless
        when already on.

        @return: Fires with C{Confirm.SelectOk}.
        @raise ValueError: in transaction mode.
        """
        return self._do(self._core.confirm_select, nowait, timeout=timeout)

    def basic_publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties | None = None,
        mandatory: bool = False,
        *,
        timeout: float | None = None,
    ) -> Deferred[None]:
        """
        C{basic.publish}. Await it: that paces a publisher that is faster than the network or the broker.

        @param exchange: Where to; C{""} is the default exchange, which routes to the queue named C{routing_key}.
        @param routing_key: Selects the queues, in a way that depends on the exchange.
        @param body: The message: bytes, or a bytearray or memoryview, of which a copy is taken.
        @param properties: Its properties. One object may serve many messages, and is encoded once for all of them.
        @param mandatory: Return it if no queue takes it.
        @return: Fires with C{None}: in confirm mode when the broker has taken responsibility, without it when the
            message is on its way. In confirm mode it fails with L{txpika.exceptions.NackError} when the broker refused,
            with L{txpika.exceptions.ReturnedError} when no queue took the message, and with
            L{txpika.exceptions.OutcomeUnknown} when connection or channel ended first. In either mode it fails with
            L{txpika.exceptions.OutboundBufferFull} when too many bytes wait to be written, and with
            L{txpika.exceptions.PublishBlocked} when the broker blocks the connection for longer than
            C{blocked_timeout}.
        @raise ValueError: when a name is over 255 bytes of UTF-8, or a property is outside its limits.
        @raise TypeError: when an argument is of a wrong type.
        """
        if timeout is not None:
            return self._do(
                self._core.outbox.publish_within,
                seconds("timeout", timeout),
                exchange,
                routing_key,
                body,
                properties,
                mandatory,
            )
        # In place and not through _do: this is a hot path.
        try:
            done: Deferred[None] | None = self._core.publish(exchange, routing_key, body, properties, mandatory)
        except WrongThread:
            raise
        except AMQPError as error:
            return fail(error)
        return Written() if done is None else done

    # Transactions

    def tx_select(self, *, timeout: float | None = None) -> Deferred[Tx.SelectOk]:
        """
        C{tx.select}: publishes and acknowledgements on this channel take effect only with L{tx_commit}. Confirm mode is
        the better way to be sure of a publish (rabbitmq.com/docs/semantics#tx).

        @return: Fires with C{Tx.SelectOk}.
        @raise ValueError: in confirm mode.
        """
        return self._do(self._core.tx_select, timeout=timeout)

    def tx_commit(self, *, timeout: float | None = None) -> Deferred[Tx.CommitOk]:
        """
        C{tx.commit}.

        @return: Fires with C{Tx.CommitOk}.
        @raise ValueError: without L{tx_select}.
        """
        return self._do(self._core.tx_commit, timeout=timeout)

    def tx_rollback(self, *, timeout: float | None = None) -> Deferred[Tx.RollbackOk]:
        """
        C{tx.rollback}: drop what was published since the last commit. Deliveries acknowledged since then can be
        acknowledged again; L{basic_recover} has them delivered again.

        @return: Fires with C{Tx.RollbackOk}.
        @raise ValueError: without L{tx_select}.
        """
        return self._do(self._core.tx_rollback, timeout=timeout)

    # Consuming

    def basic_qos(
        self, prefetch_count: int = 0, global_qos: bool = False, *, timeout: float | None = None
    ) -> Deferred[Basic.QosOk]:
        """
        C{basic.qos}: how many messages the broker sends ahead of their acknowledgement.

        @param prefetch_count: Messages, 0 to 65535; 0 for no limit.
        @param global_qos: For the channel as a whole; else for each consumer started after this
            (rabbitmq.com/docs/consumer-prefetch). RabbitMQ 4.3 refuses it unless told otherwise.
        @return: Fires with C{Basic.QosOk}.
        """
        return self.call(Basic.Qos(0, prefetch_count, global_qos), timeout)

    def basic_consume(
        self,
        queue: str,
        on_delivery: OnDelivery | None = None,
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str = "",
        arguments: Arguments = None,
        *,
        nowait: bool = False,
        concurrency: int = 0,
        ack: AckPolicy = "explicit",
        on_error: OnError = "requeue-once",
        buffer_size: int = DEFAULT_BUFFER_SIZE,
        timeout: float | None = None,
    ) -> Deferred[Consumer]:
        """
        C{basic.consume}: have messages delivered as they arrive.

        @param queue: Its name.
        @param on_delivery: Called with each L{Delivery}; may return a Deferred, or be C{async}. What it raises or fails
            with is logged. Without it the consumer is an asynchronous iterator.
        @param no_ack: A message is done once it was sent; it need not, and cannot, be acknowledged.
        @param exclusive: No other consumer on this queue (403 if there is one).
        @param consumer_tag: A name of its own on this channel; C{""} makes one.
        @param arguments: More arguments: L{ConsumerArguments}, or any mapping, e.g. with C{x-priority}.
        @param concurrency: How many deliveries C{on_delivery} may handle at once; 0 for no limit. Others wait their
            turn, up to C{buffer_size}.
        @param ack: C{"explicit"}: the program acknowledges each delivery. C{"on-success"}: the consumer does once
            C{on_delivery} has finished, unless that settled it already.
        @param on_error: With C{"on-success"}, what becomes of a delivery whose function failed:
            C{"requeue-once"} (a redelivered one is rejected), C{"requeue"}, C{"reject"}. From a stream it is
            acknowledged, since a stream takes nothing back; C{arguments} must then have C{x-stream-offset}.
        @param buffer_size: Deliveries that may wait in the consumer, for their turn or to be iterated over. When they
            reach this number, the connection reads no more until they are down to half of it, unless somebody waits for
            an answer from the broker. With a lower prefetch count (L{basic_qos}) the connection's other consumers go on
            meanwhile.
        @return: Fires with the L{Consumer}.
        @raise ValueError: when C{consumer_tag} is in use on this channel, or an argument contradicts another.
        """
        if isinstance(arguments, ConsumerArguments):
            arguments.check_consume(no_ack)
        of_stream = isinstance(arguments, Mapping) and STREAM_OFFSET in arguments
        handler = None
        if on_delivery is not None:
            handler = make_handler(on_delivery, concurrency, ack, on_error, no_ack, of_stream)
        elif concurrency or ack != "explicit":
            raise ValueError("concurrency and ack are about on_delivery, and there is none")
        integer("buffer_size", buffer_size, 1, 2**31)
        consumer = self._consumer(queue, consumer_tag, handler, no_ack, buffer_size, of_stream)
        consuming = self._consume(consumer, queue, exclusive, arguments, nowait, timeout)
        return consuming.addCallback(lambda _: consumer)

    def _consume(
        self,
        consumer: Consumer,
        queue: str,
        exclusive: bool,
        arguments: Arguments,
        nowait: bool,
        timeout: float | None,
    ) -> Deferred[Any]:
        """@return: Fires when the broker agreed."""
        return self._do(
            self._core.consumers.consume, consumer, queue, exclusive, arguments, nowait=nowait, timeout=timeout
        )

    def _consumer(
        self, queue: str, consumer_tag: str, handler: Handler | None, no_ack: bool, buffer_size: int, of_stream: bool
    ) -> Consumer:
        """@return: What takes the deliveries from C{queue}, whose name is not needed here."""
        return Consumer(self, consumer_tag, handler, no_ack, buffer_size, of_stream)

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, *, timeout: float | None = None) -> Deferred[None]:
        """
        C{basic.cancel}: no more deliveries to a consumer.

        @return: Fires with C{None} when the broker agreed.
        @raise ValueError: when there is no such consumer on this channel.
        """
        return self._do(self._core.consumers.cancel, consumer_tag, nowait, timeout=timeout)

    def basic_get(self, queue: str, no_ack: bool = False, *, timeout: float | None = None) -> Deferred[Delivery | None]:
        """
        C{basic.get}: one message, if there is one. To take messages as they arrive, consume.

        @param no_ack: The message is done once it was sent.
        @return: Fires with the L{Delivery}, or C{None} when the queue is empty. Fails with
            L{txpika.exceptions.MessageTooLarge} when the message is over C{max_body_size}; it is then rejected.
        """
        reply: Deferred[Any] = self._do(self._core.get, queue, no_ack, timeout=timeout)
        return reply.addCallback(lambda got: got if isinstance(got, Delivery) else None)

    def basic_ack(self, delivery_tag: int = 0, multiple: bool = False) -> None:
        """
        C{basic.ack}; L{Delivery.ack} is the easier way.

        @param delivery_tag: That of an unsettled delivery of this channel; 0 with C{multiple} for all so far.
        @param multiple: Also all unsettled ones before it.
        @raise StaleDelivery: when there is no such delivery. Nothing is written.
        """
        check_tag(delivery_tag)
        self._core.acks.ack(delivery_tag, multiple)

    def basic_nack(self, delivery_tag: int = 0, multiple: bool = False, requeue: bool = True) -> None:
        """
        RabbitMQ's C{basic.nack}; L{Delivery.nack} is the easier way.

        @param requeue: Back into the queue; else dead-lettered or dropped.
        @raise StaleDelivery: as L{basic_ack}.
        """
        check_tag(delivery_tag)
        self._core.acks.nack(delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """
        C{basic.reject}; L{Delivery.reject} is the easier way.

        @param requeue: Back into the queue; else dead-lettered or dropped.
        @raise StaleDelivery: as L{basic_ack}.
        """
        check_tag(delivery_tag)
        self._core.acks.reject(delivery_tag, requeue)

    def basic_recover(self, requeue: bool = True, *, timeout: float | None = None) -> Deferred[Basic.RecoverOk]:
        """
        C{basic.recover}: all deliveries of this channel that are not acknowledged go back to their queues, to be
        delivered again to whoever consumes there. They cannot be acknowledged any more.

        @param requeue: RabbitMQ implements only true.
        @return: Fires with C{Basic.RecoverOk}.
        @raise ValueError: when C{requeue} is false; RabbitMQ would close the connection (540).
        """
        if not requeue:
            raise ValueError("requeue is false: RabbitMQ does not implement that")
        return self._do(self._core.recover, timeout=timeout)

    # Requests and replies

    def rpc_client(self, *, timeout: float | None = None) -> Deferred[RPCClient]:
        """
        Prepare to send requests and to get their replies, by direct reply-to.

        @return: Fires with an L{RPCClient}.
        @raise ValueError: when this channel has one already (the broker allows one per channel), or is in transaction
            mode.
        """
        if self.mode == "tx":
            raise ValueError("the channel is in transaction mode: requests would wait for tx_commit")
        if self.is_open and self._rpc is not None and not self._rpc.ended:
            raise ValueError("the channel has an RPC client already, or the opening of one was given up")
        client = RPCClient(self)
        opening = client.open(timeout)
        if self.is_open:
            self._rpc = client
        return opening

    def rpc_server(
        self,
        queue: str,
        handler: OnRequest,
        *,
        on_error: OnError = "reject",
        error_reply: ToReply | None = None,
        **more: Any,
    ) -> Deferred[Consumer]:
        """
        Answer the requests in a queue. L{basic_qos} before this limits how many the broker sends ahead.

        @param queue: Where requests come from.
        @param handler: Called with each request, a L{Delivery}; what it returns is the reply, see L{RPCServer}. May
            return a Deferred of that, or be C{async}.
        @param on_error: What becomes of a request whose handler failed: C{"reject"} (it is dead-lettered or dropped),
            C{"requeue-once"} or C{"requeue"}, as for L{basic_consume}.
        @param error_reply: Called with such a request and the exception, unless the request goes back into the queue;
            what it returns is the reply. Without it, the requester learns nothing until its time-out.
        @param more: As for L{basic_consume}: C{concurrency}, C{buffer_size}, C{consumer_tag}, C{timeout} and others.
        @return: Fires with the L{Consumer}, to C{cancel} or to C{drain}.
        @raise ValueError: when an argument contradicts another, or the channel is in transaction mode.
        """
        if self.mode == "tx":
            raise ValueError("the channel is in transaction mode: replies would wait for tx_commit")
        server = RPCServer(self, handler, on_error, error_reply)
        return self.basic_consume(queue, server.answer, ack="on-success", on_error=on_error, **more)

    # The end

    def close(
        self, reply_code: int = 200, reply_text: str = "Normal shutdown", *, timeout: float | None = None
    ) -> Deferred[None]:
        """
        Close it, after all calls made before. Deliveries not yet acknowledged go back to their queue. Harmless when it
        is closed.

        @param reply_code: For the broker's log, 0 to 65535.
        @param reply_text: The same; cut to 255 bytes of UTF-8.
        @return: Fires with C{None} when it is closed, even if its connection ended first.
        """
        if timeout is not None:
            seconds("timeout", timeout)
        self._core.close(reply_code, reply_text)
        closed = self.closed.addCallback(lambda reason: None)
        return closed if timeout is None else self.connection.limited(closed, timeout, "Channel.Close")

    # For its consumers

    def check_thread(self) -> None:
        """@raise WrongThread: when called from a thread other than the connection's."""
        self._core.check_thread()

    def redirected(self) -> None:
        """Deliveries to one of the consumers go another way from now on."""
        self._core.consumers.redirected()

    # What the engine tells

    def returned(self, message: ReturnedMessage) -> None:
        """A message came back that is not the outcome of a publish in confirm mode."""
        if self._rpc is not None and self._rpc.returned(message):
            return
        if self.on_return is None:
            # Not as "message": that key of a log event is Twisted's own.
            self._log.warn("A mandatory message came back and nobody listens (on_return): {back!r}", back=message)
            return
        try:
            self.on_return(message)
        except Exception:
            self._log.failure("on_return raised on {back!r}", back=message)

    def flow_changed(self, active: bool) -> None:
        """The broker stopped publishes, or lets them go on: they wait on their own."""

    def dropped(self, error: MessageTooLarge) -> None:
        """A message for a consumer was too large."""
        if self._rpc is not None and self._rpc.dropped(error):
            return
        self._log.error("Rejected: {error}", error=error)

    def ended(self, reason: CloseReason) -> None:
        """The engine's channel is closed."""
        ends, self._ends = self._ends, []
        if isinstance(reason, ChannelClosed) and reason.initiator == "peer" and not ends:
            # A publish without confirms to an exchange that is not there, say, fails no Deferred.
            self._log.warn("The broker closed channel {number}: {reason}", number=self.channel_number, reason=reason)
        for end in ends:
            end.callback(reason)

    def __repr__(self) -> str:
        return f"<Channel {self.channel_number} {self._core.state}>"
