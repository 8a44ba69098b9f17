# -*- test-case-name: txpika.test.test_blocking_connection -*-
"""
The methods of a blocking channel that are just a question and an answer.

Owns their names, arguments and results. How to wait for the answer is the connection's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from txpika.adapters.checking import Arguments, refuse_ticket
from txpika.parameters import seconds
from txpika.spec import Basic, Confirm, Exchange, Method, Queue, Tx

if TYPE_CHECKING:
    from txpika.adapters.blocking_connection import BlockingConnection
    from txpika.adapters.waiting import Box
    from txpika.core.channel import Channel as Core


class BlockingMethods:
    """
    The base of L{txpika.adapters.blocking_channel.BlockingChannel}.

    @ivar connection: The connection it belongs to.
    """

    def __init__(self, connection: BlockingConnection, core: Core) -> None:
        self.connection = connection
        self._core = core
        self._waiter = connection.waiter  # that of this life of the connection; the next may have another

    def _do(self, function: Callable[..., Box | None], *arguments: Any, **more: Any) -> Any:
        timeout = more.get("timeout")
        if timeout is not None:
            seconds("timeout", timeout)
        return self.connection.result_of(self._waiter.send(lambda: function(*arguments, **more)))

    def _call(self, method: Method, timeout: float | None) -> Any:
        if timeout is not None:
            seconds("timeout", timeout)
        return self.connection.result_of(self._waiter.send(self._core.call, method, None, timeout))

    # Exchanges

    def exchange_declare(
        self,
        ticket: int = 0,
        exchange: str = "",
        type: str = "direct",
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        exchange_type: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Exchange.DeclareOk:
        """C{exchange.declare}; the type may also be given as C{exchange_type}."""
        refuse_ticket(ticket)
        kind = type if exchange_type is None else exchange_type
        table = arguments or {}
        method = Exchange.Declare(0, exchange, kind, passive, durable, auto_delete, internal, nowait, table)
        reply: Exchange.DeclareOk = self._call(method, timeout)
        return reply

    def exchange_delete(
        self,
        ticket: int = 0,
        exchange: str = "",
        if_unused: bool = False,
        nowait: bool = False,
        *,
        timeout: float | None = None,
    ) -> Exchange.DeleteOk:
        """C{exchange.delete}."""
        refuse_ticket(ticket)
        reply: Exchange.DeleteOk = self._call(Exchange.Delete(0, exchange, if_unused, nowait), timeout)
        return reply

    def exchange_bind(
        self,
        destination: str = "",
        source: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Exchange.BindOk:
        """C{exchange.bind} of RabbitMQ: messages of C{source} go to C{destination} too."""
        method = Exchange.Bind(0, destination, source, routing_key, nowait, arguments or {})
        reply: Exchange.BindOk = self._call(method, timeout)
        return reply

    def exchange_unbind(
        self,
        destination: str = "",
        source: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Exchange.UnbindOk:
        """C{exchange.unbind} of RabbitMQ."""
        method = Exchange.Unbind(0, destination, source, routing_key, nowait, arguments or {})
        reply: Exchange.UnbindOk = self._call(method, timeout)
        return reply

    # Queues

    def queue_declare(
        self,
        ticket: int = 0,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Queue.DeclareOk:
        """C{queue.declare}; the answer has C{queue}, C{message_count} and C{consumer_count}."""
        refuse_ticket(ticket)
        table = arguments or {}
        method = Queue.Declare(0, queue, passive, durable, exclusive, auto_delete, nowait, table)
        reply: Queue.DeclareOk = self._call(method, timeout)
        return reply

    def queue_bind(
        self,
        ticket: int = 0,
        queue: str = "",
        exchange: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Queue.BindOk:
        """C{queue.bind}."""
        refuse_ticket(ticket)
        reply: Queue.BindOk = self._call(Queue.Bind(0, queue, exchange, routing_key, nowait, arguments or {}), timeout)
        return reply

    def queue_unbind(
        self,
        ticket: int = 0,
        queue: str = "",
        exchange: str = "",
        routing_key: str = "",
        arguments: Arguments = None,
        *,
        timeout: float | None = None,
    ) -> Queue.UnbindOk:
        """C{queue.unbind}."""
        refuse_ticket(ticket)
        reply: Queue.UnbindOk = self._call(Queue.Unbind(0, queue, exchange, routing_key, arguments or {}), timeout)
        return reply

    def queue_purge(
        self, ticket: int = 0, queue: str = "", nowait: bool = False, *, timeout: float | None = None
    ) -> Queue.PurgeOk:
        """C{queue.purge}; the answer has C{message_count}."""
        refuse_ticket(ticket)
        reply: Queue.PurgeOk = self._call(Queue.Purge(0, queue, nowait), timeout)
        return reply

    def queue_delete(
        self,
        ticket: int = 0,
        queue: str = "",
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
        *,
        timeout: float | None = None,
    ) -> Queue.DeleteOk:
        """C{queue.delete}; the answer has C{message_count}."""
        refuse_ticket(ticket)
        reply: Queue.DeleteOk = self._call(Queue.Delete(0, queue, if_unused, if_empty, nowait), timeout)
        return reply

    # Modes

    def confirm_delivery(self, nowait: bool = False, *, timeout: float | None = None) -> Confirm.SelectOk:
        """Confirm mode: from now on L{basic_publish} returns when the broker has taken the message."""
        reply: Confirm.SelectOk = self._do(self._core.confirm_select, nowait, timeout=timeout)
        return reply

    def tx_select(self, *, timeout: float | None = None) -> Tx.SelectOk:
        """C{tx.select}."""
        reply: Tx.SelectOk = self._do(self._core.tx_select, timeout=timeout)
        return reply

    def tx_commit(self, *, timeout: float | None = None) -> Tx.CommitOk:
        """C{tx.commit}."""
        reply: Tx.CommitOk = self._do(self._core.tx_commit, timeout=timeout)
        return reply

    def tx_rollback(self, *, timeout: float | None = None) -> Tx.RollbackOk:
        """C{tx.rollback}."""
        reply: Tx.RollbackOk = self._do(self._core.tx_rollback, timeout=timeout)
        return reply

    # Deliveries

    def basic_qos(
        self,
        prefetch_size: int = 0,
        prefetch_count: int = 0,
        global_: bool = False,
        global_qos: bool | None = None,
        *,
        timeout: float | None = None,
    ) -> Basic.QosOk:
        """C{basic.qos}; C{global_} may be given as C{global_qos}. RabbitMQ implements only a C{prefetch_size} of 0."""
        method = Basic.Qos(prefetch_size, prefetch_count, global_ if global_qos is None else global_qos)
        reply: Basic.QosOk = self._call(method, timeout)
        return reply

    def basic_recover(self, requeue: bool = True, *, timeout: float | None = None) -> Basic.RecoverOk:
        """C{basic.recover}. @raise ValueError: when C{requeue} is false: RabbitMQ does not implement that."""
        if not requeue:
            raise ValueError("requeue is false: RabbitMQ does not implement that")
        reply: Basic.RecoverOk = self._do(self._core.recover, timeout=timeout)
        return reply
