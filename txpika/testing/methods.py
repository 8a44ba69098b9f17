# -*- test-case-name: txpika.test.test_memory_errors -*-
"""
What each method of a client does, on a channel of the broker in memory.

Owns the conversation: which answer comes, and before what. Each function takes the channel and the method, and returns
the answer; C{None} where it gave it itself, or there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.core.consumers import REPLY_TO
from txpika.spec import (
    COMMAND_INVALID,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    Basic,
    Channel,
    Confirm,
    Exchange,
    Method,
    Queue,
    Tx,
)
from txpika.testing.channel import ServerChannel
from txpika.testing.errors import Refused, failed, in_exclusive_use, named
from txpika.testing.queues import Queue as TheQueue
from txpika.testing.rotation import Consumer
from txpika.testing.tables import is_number, type_name
from txpika.testing.virtual_host import not_the_default

Handler = Callable[[ServerChannel, Any], Method | None]


def unimplemented() -> Refused:
    """A method that no client sends, or not there."""
    return Refused(COMMAND_INVALID, "unimplemented method")


def _one_line(name: str) -> str:
    """@return: A name as RabbitMQ takes it in a declaration: without line ends."""
    return name.replace("\r", "").replace("\n", "")


def _answer(channel: ServerChannel, asked: Any, answer: Method) -> None:
    """Answer now, before what happens next."""
    if not getattr(asked, "nowait", False):
        channel.send(answer)


# Exchanges


def exchange_declare(channel: ServerChannel, method: Exchange.Declare) -> Method:
    method.exchange = _one_line(method.exchange)
    not_the_default(method.exchange)
    if method.passive:
        channel.virtual_host.exchange(method.exchange)
    else:
        channel.virtual_host.declare_exchange(
            method.exchange, method.type, method.durable, method.auto_delete, method.internal, method.arguments
        )
    return Exchange.DeclareOk()


def exchange_delete(channel: ServerChannel, method: Exchange.Delete) -> Method:
    channel.virtual_host.delete_exchange(method.exchange, method.if_unused)
    return Exchange.DeleteOk()


def exchange_bind(channel: ServerChannel, method: Exchange.Bind) -> Method:
    for name in (method.destination, method.source):
        not_the_default(name)
    virtual_host = channel.virtual_host
    virtual_host.exchange(method.source)
    virtual_host.exchange(method.destination)
    virtual_host.bind("exchange", method.destination, method.source, method.routing_key, method.arguments)
    return Exchange.BindOk()


def exchange_unbind(channel: ServerChannel, method: Exchange.Unbind) -> Method:
    for name in (method.destination, method.source):
        not_the_default(name)
    channel.virtual_host.unbind("exchange", method.destination, method.source, method.routing_key, method.arguments)
    return Exchange.UnbindOk()


# Queues


def queue_declare(channel: ServerChannel, method: Queue.Declare) -> Method:
    virtual_host = channel.virtual_host
    name = _one_line(method.queue)
    if name.startswith(REPLY_TO):
        # Passive or not, it asks whether somebody waits there for replies.
        if name == REPLY_TO or channel.connection.broker.is_reply_name(virtual_host, name):
            return Queue.DeclareOk(name, 0, 1)
        raise channel.missing_queue(name)
    if method.passive:
        queue = virtual_host.queue(name, channel.connection)
        queue.used()
    else:
        queue = virtual_host.declare_queue(
            name, method.durable, method.exclusive, method.auto_delete, method.arguments, channel.connection
        )
    channel.last_queue = queue.name
    return Queue.DeclareOk(queue.name, len(queue.backlog), len(queue.rotation))


def queue_bind(channel: ServerChannel, method: Queue.Bind) -> Method:
    not_the_default(method.exchange)
    name = channel.queue_name(method.queue)
    channel.virtual_host.exchange(method.exchange)
    queue = channel.queue(name)
    key = method.routing_key or ("" if method.queue else name)
    channel.virtual_host.bind("queue", queue.name, method.exchange, key, method.arguments)
    return Queue.BindOk()


def queue_unbind(channel: ServerChannel, method: Queue.Unbind) -> Method:
    not_the_default(method.exchange)
    name = channel.queue_name(method.queue)
    key = method.routing_key or ("" if method.queue else name)
    if channel.virtual_host.bound("queue", name, method.exchange, key, method.arguments):
        # Whose queue it is matters only where there is something to undo, as in RabbitMQ.
        channel.queue(name)
        channel.virtual_host.unbind("queue", name, method.exchange, key, method.arguments)
    return Queue.UnbindOk()


def queue_purge(channel: ServerChannel, method: Queue.Purge) -> Method:
    return Queue.PurgeOk(channel.queue(method.queue).purge())


def queue_delete(channel: ServerChannel, method: Queue.Delete) -> Method | None:
    virtual_host = channel.virtual_host
    name = channel.queue_name(method.queue)
    if name not in virtual_host.queues:
        return Queue.DeleteOk(0)
    queue = channel.queue(name)
    what = named("queue", name, virtual_host.name)
    if method.if_unused and queue.rotation:
        raise failed(f"{what} in use")
    if method.if_empty and queue.backlog:
        raise failed(f"{what} not empty")
    # Consumers hear of it afterwards.
    _answer(channel, method, Queue.DeleteOk(len(queue.backlog)))
    virtual_host.delete_queue(queue)
    return None


# Consuming


def basic_qos(channel: ServerChannel, method: Basic.Qos) -> Method | None:
    if method.prefetch_size:
        raise Refused(NOT_IMPLEMENTED, f"prefetch_size!=0 ({method.prefetch_size})")
    if not method.global_:
        channel.prefetch = method.prefetch_count
        return Basic.QosOk()
    _answer(channel, method, Basic.QosOk())
    channel.limit = method.prefetch_count
    channel.unpark()
    return None


def basic_consume(channel: ServerChannel, method: Basic.Consume) -> Method | None:
    if method.queue == REPLY_TO:
        return _consume_replies(channel, method)
    queue = channel.queue(method.queue)
    tag = _tag(channel, method.consumer_tag)
    what = named("queue", queue.name, channel.virtual_host.name)
    priority: Any = method.arguments.get("x-priority", 0)
    if not is_number(priority):
        raise failed(f"invalid arg 'x-priority' for {what}: \"expected integer, got {type_name(priority)}\"")
    cancels = method.arguments.get("x-cancel-on-ha-failover", False)
    if not isinstance(cancels, bool):
        raise failed(f"invalid arg 'x-cancel-on-ha-failover' for {what}: {{unacceptable_type,{type_name(cancels)}}}")
    _check_exclusive(queue, method.exclusive, channel.virtual_host.name)
    consumer = Consumer(channel, queue, tag, method.no_ack, method.exclusive, priority, channel.prefetch)
    _answer(channel, method, Basic.ConsumeOk(tag))
    channel.add(consumer)
    queue.run()
    return None


def _tag(channel: ServerChannel, tag: str) -> str:
    if tag in channel.consumers:
        raise Refused(NOT_ALLOWED, f"attempt to reuse consumer tag '{tag}'")
    return tag or channel.virtual_host.invent("amq.ctag-")


def _check_exclusive(queue: TheQueue, exclusive: bool, virtual_host: str) -> None:
    """@raise Refused: There is an exclusive consumer, or there cannot be."""
    others = queue.rotation.everyone
    if any(each.exclusive for each in others) or (exclusive and (others or queue.settings.single_active)):
        raise in_exclusive_use(queue.name, virtual_host)


def _consume_replies(channel: ServerChannel, method: Basic.Consume) -> Method:
    if not method.no_ack:
        raise failed("reply consumer cannot acknowledge")
    if channel.reply_consumer is not None:
        raise failed("reply consumer already set")
    tag = _tag(channel, method.consumer_tag)
    channel.reply_consumer = Consumer(channel, None, tag, no_ack=True)
    channel.add(channel.reply_consumer)
    channel.reply_name = channel.virtual_host.invent(f"{REPLY_TO}.")
    channel.connection.broker.reply_channels[channel.virtual_host, channel.reply_name] = channel
    return Basic.ConsumeOk(tag)


def basic_cancel(channel: ServerChannel, method: Basic.Cancel) -> Method:
    consumer = channel.consumers.get(method.consumer_tag)
    if consumer is not None:
        channel.remove(consumer)
    return Basic.CancelOk(method.consumer_tag)


def basic_get(channel: ServerChannel, method: Basic.Get) -> Method | None:
    queue = channel.queue(method.queue)
    entry = queue.get(method.no_ack)
    if entry is None:
        return Basic.GetEmpty()
    channel.got(queue, entry, method.no_ack)
    return None


# Settling


def basic_ack(channel: ServerChannel, method: Basic.Ack) -> None:
    channel.settle(method.delivery_tag, method.multiple, "ack")


def basic_nack(channel: ServerChannel, method: Basic.Nack) -> None:
    channel.settle(method.delivery_tag, method.multiple, "requeue" if method.requeue else "reject")


def basic_reject(channel: ServerChannel, method: Basic.Reject) -> None:
    channel.settle(method.delivery_tag, False, "requeue" if method.requeue else "reject")


def basic_recover(channel: ServerChannel, method: Basic.Recover | Basic.RecoverAsync) -> None:
    if not method.requeue:
        raise Refused(NOT_IMPLEMENTED, "requeue=false")
    if isinstance(method, Basic.Recover):
        channel.send(Basic.RecoverOk())
    channel.requeue_all()


# Modes


def confirm_select(channel: ServerChannel, method: Confirm.Select) -> Method:
    if channel.mode == "tx":
        raise failed("cannot switch from tx to confirm mode")
    channel.mode = "confirm"
    return Confirm.SelectOk()


def tx_select(channel: ServerChannel, method: Tx.Select) -> Method:
    if channel.mode == "confirm":
        raise failed("cannot switch from confirm to tx mode")
    channel.mode = "tx"
    return Tx.SelectOk()


def tx_commit(channel: ServerChannel, method: Tx.Commit) -> Method:
    _require_tx(channel)
    channel.commit()
    return Tx.CommitOk()


def tx_rollback(channel: ServerChannel, method: Tx.Rollback) -> Method:
    _require_tx(channel)
    channel.rollback()
    return Tx.RollbackOk()


def _require_tx(channel: ServerChannel) -> None:
    if channel.mode != "tx":
        raise failed("channel is not transactional")


def channel_flow(channel: ServerChannel, method: Channel.Flow) -> Method:
    if not method.active:
        raise Refused(NOT_IMPLEMENTED, "active=false")
    return Channel.FlowOk(True)


HANDLERS: dict[type[Method], Handler] = {
    Basic.Ack: basic_ack,
    Basic.Cancel: basic_cancel,
    Basic.Consume: basic_consume,
    Basic.Get: basic_get,
    Basic.Nack: basic_nack,
    Basic.Qos: basic_qos,
    Basic.Recover: basic_recover,
    Basic.RecoverAsync: basic_recover,
    Basic.Reject: basic_reject,
    Channel.Flow: channel_flow,
    Confirm.Select: confirm_select,
    Exchange.Bind: exchange_bind,
    Exchange.Declare: exchange_declare,
    Exchange.Delete: exchange_delete,
    Exchange.Unbind: exchange_unbind,
    Queue.Bind: queue_bind,
    Queue.Declare: queue_declare,
    Queue.Delete: queue_delete,
    Queue.Purge: queue_purge,
    Queue.Unbind: queue_unbind,
    Tx.Commit: tx_commit,
    Tx.Rollback: tx_rollback,
    Tx.Select: tx_select,
}
