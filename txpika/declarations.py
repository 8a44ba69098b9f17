# -*- test-case-name: txpika.test.test_channel -*-
"""
What a channel can do about exchanges and queues, as a Twisted program sees it.

Owns the names, arguments and results of these methods, and how a call becomes a Deferred. The rest of the channel
builds on this, in L{txpika.channel}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed

from txpika.arguments import QueueArguments
from txpika.exceptions import AMQPError, WrongThread
from txpika.parameters import seconds
from txpika.results import Written
from txpika.spec import Exchange, Method, Queue

if TYPE_CHECKING:
    from txpika.core.channel import Channel as Core

_T = TypeVar("_T")
Arguments = Mapping[str, object] | None


class Declarations:
    """The base of L{txpika.channel.Channel}, which documents all of this as a whole."""

    def __init__(self, channel: Core) -> None:
        self._core = channel

    def _do(self, function: Callable[..., Deferred[_T] | None], *arguments: Any, **more: Any) -> Deferred[_T]:
        """What the engine raises because of its state becomes a failure; because of an argument, it is raised."""
        timeout = more.get("timeout")
        if timeout is not None:
            seconds("timeout", timeout)
        try:
            result = function(*arguments, **more)
        except (WrongThread, ValueError):
            raise  # some errors about arguments are AMQPErrors too; and in another thread a Deferred would be of no use
        except AMQPError as error:
            return fail(error)
        return succeed(None) if result is None else result  # type: ignore[arg-type]

    def call(self, method: Method, timeout: float | None = None) -> Deferred[Any]:
        """
        Send any method of class C{exchange} or C{queue}, or C{Basic.Qos}, as an object; the methods below make these.

        @param timeout: How long to wait for the broker, in seconds.
        @return: Fires with its reply; with C{None}, at once, when it has C{nowait}.
        """
        # As L{_do}, in place: a program may do nothing else all day long.
        if timeout is not None:
            seconds("timeout", timeout)
        try:
            result = self._core.call(method, timeout=timeout)
        except WrongThread:
            raise
        except AMQPError as error:
            return fail(error)
        return Written() if result is None else result

    # Exchanges

    def exchange_declare(
        self,
        exchange: str,
        exchange_type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Deferred[Exchange.DeclareOk]:
        """
        C{exchange.declare}: create an exchange, or check that it is there.

        @param exchange: Its name.
        @param exchange_type: C{direct}, C{fanout}, C{topic}, C{headers}, or one from a plugin of the broker.
        @param passive: Only check that it exists (404 if not).
        @param durable: It survives a restart of the broker.
        @param auto_delete: The broker deletes it when nothing is bound to it any more.
        @param internal: Only other exchanges can publish to it.
        @param arguments: More arguments, e.g. C{alternate-exchange}.
        @return: Fires with C{Exchange.DeclareOk}.
        """
        table = arguments or {}
        return self.call(
            Exchange.Declare(0, exchange, exchange_type, passive, durable, auto_delete, internal, nowait, table),
            timeout,
        )

    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False, *, timeout: float | None = None
    ) -> Deferred[Exchange.DeleteOk]:
        """
        C{exchange.delete}.

        @param if_unused: Only if nothing is bound to it (406 if something is).
        @return: Fires with C{Exchange.DeleteOk}.
        """
        return self.call(Exchange.Delete(0, exchange, if_unused, nowait), timeout)

    def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Deferred[Exchange.BindOk]:
        """
        RabbitMQ's C{exchange.bind} (rabbitmq.com/docs/e2e): route messages from one exchange to another.

        @param destination: The exchange they go to.
        @param source: The exchange they come from.
        @param routing_key: Which messages, in a way that depends on the type of the source.
        @param arguments: For a source of type C{headers}, which headers.
        @return: Fires with C{Exchange.BindOk}.
        """
        return self.call(Exchange.Bind(0, destination, source, routing_key, nowait, arguments or {}), timeout)

    def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Deferred[Exchange.UnbindOk]:
        """
        RabbitMQ's C{exchange.unbind}: undo an L{exchange_bind} made with the same arguments.

        @return: Fires with C{Exchange.UnbindOk}.
        """
        return self.call(Exchange.Unbind(0, destination, source, routing_key, nowait, arguments or {}), timeout)

    # Queues

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Deferred[Queue.DeclareOk]:
        """
        C{queue.declare}: create a queue, or check that it is there.

        @param queue: Its name; C{""} lets the broker choose one, which the result has.
        @param passive: Only check that it exists (404 if not).
        @param durable: It survives a restart of the broker.
        @param exclusive: Only this connection can use it, and it is deleted with the connection.
        @param auto_delete: The broker deletes it when its last consumer is gone.
        @param arguments: More arguments: L{QueueArguments}, or any mapping, e.g. with C{x-queue-type}.
        @return: Fires with C{Queue.DeclareOk}: C{queue}, C{message_count}, C{consumer_count}.
        @raise ValueError: when a queue of the type in L{QueueArguments} cannot have these properties.
        """
        if arguments is not None and not passive and isinstance(arguments, QueueArguments):
            arguments.check_declare(queue, durable, exclusive, auto_delete)
        table = arguments or {}
        return self.call(Queue.Declare(0, queue, passive, durable, exclusive, auto_delete, nowait, table), timeout)

    def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Deferred[Queue.BindOk]:
        """
        C{queue.bind}: route messages from an exchange to a queue.

        @param queue: The queue; C{""} for the last one declared on this channel.
        @param exchange: The exchange.
        @param routing_key: Which messages, in a way that depends on the type of the exchange.
        @param arguments: For an exchange of type C{headers}, which headers.
        @return: Fires with C{Queue.BindOk}.
        """
        return self.call(Queue.Bind(0, queue, exchange, routing_key, nowait, arguments or {}), timeout)

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Deferred[Queue.UnbindOk]:
        """
        C{queue.unbind}: undo a L{queue_bind} made with the same arguments. The protocol has no C{nowait} here.

        @return: Fires with C{Queue.UnbindOk}.
        """
        return self.call(Queue.Unbind(0, queue, exchange, routing_key, arguments or {}), timeout)

    def queue_purge(self, queue: str, nowait: bool = False, *, timeout: float | None = None) -> Deferred[Queue.PurgeOk]:
        """
        C{queue.purge}: drop its messages, except those delivered and not yet acknowledged.

        @return: Fires with C{Queue.PurgeOk}: C{message_count}.
        """
        return self.call(Queue.Purge(0, queue, nowait), timeout)

    def queue_delete(
        self,
        queue: str,
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
        *,
        timeout: float | None = None,
    ) -> Deferred[Queue.DeleteOk]:
        """
        C{queue.delete}.

        @param if_unused: Only if it has no consumers (406 if it has).
        @param if_empty: Only if it has no messages (406 if it has).
        @return: Fires with C{Queue.DeleteOk}: C{message_count}.
        """
        return self.call(Queue.Delete(0, queue, if_unused, if_empty, nowait), timeout)
