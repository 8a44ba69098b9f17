# -*- test-case-name: txpika.test.test_memory_consuming -*-
"""
The broker's side of one channel: what is published on it, what is delivered to it, and how deliveries are settled.

Owns delivery tags, confirmations and the transaction of the channel. What its other methods do is in
L{txpika.testing.methods}. Knows the bytes of methods by L{txpika.testing.sending}; not how they leave.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from txpika.core.consumers import REPLY_TO
from txpika.core.content import Content
from txpika.spec import (
    ACCESS_REFUSED,
    NO_ROUTE,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    Basic,
    BasicProperties,
    Method,
)
from txpika.testing.backlog import Entry
from txpika.testing.confirms import Confirms
from txpika.testing.errors import Refused, failed, missing, named
from txpika.testing.message import Message, Route, route_of, written
from txpika.testing.queues import Queue
from txpika.testing.rotation import Consumer
from txpika.testing.sending import TAG, content_tail, deliver_head, get_ok, method_frame, returned

if TYPE_CHECKING:
    from txpika.testing.connection import ServerConnection

#: Largest body, in bytes, as RabbitMQ's C{max_message_size}.
MAX_MESSAGE_SIZE = 128 * 1024 * 1024
#: Routes that a consumer remembers; at this many it starts anew.
MAX_ROUTES = 1024

#: A delivery that waits for its ack; without a consumer it was got.
Unacked = tuple[Entry, Queue, Consumer | None]


class Target:
    """
    Where a C{basic.publish} leads.

    @ivar route: Exchange and routing key.
    @ivar keys: The routing key, as a message has them.
    @ivar mandatory: It must lead to a queue.
    @ivar changes: When L{queues} was found, as C{VirtualHost.changes}.
    @ivar queues: Where messages go that have no other routing keys, from an exchange that looks at nothing else.
    """

    __slots__ = ("changes", "keys", "mandatory", "queues", "route")

    def __init__(self, method: Basic.Publish) -> None:
        if method.immediate:
            raise Refused(NOT_IMPLEMENTED, "immediate=true")
        self.route: Route = route_of(method.exchange, method.routing_key)
        self.keys = (method.routing_key,)
        self.mandatory = method.mandatory
        self.changes = -1
        self.queues: list[Queue] = []


class Settled(NamedTuple):
    """
    Acks, nacks or rejects in a row, all alike, that wait for the end of their transaction. They take effect in the
    order of the tags, as in RabbitMQ.
    """

    entries: dict[int, Unacked]
    how: str


class ServerChannel:
    """
    @ivar number: Its number.
    @ivar mode: C{"plain"}, C{"confirm"} or C{"tx"}.
    @ivar content: The message that is arriving.
    @ivar closing: C{channel.close} was sent, and its answer did not come.
    @ivar consumers: By tag.
    @ivar parked: Those that could take no more when it was their turn.
    @ivar held: It takes no deliveries at all.
    @ivar prefetch: What C{basic.qos} set for consumers to come; 0 for no limit.
    @ivar limit: What it set for all consumers together; 0 for no limit.
    @ivar taken: Unacked deliveries of consumers.
    @ivar unacked: What waits for its ack, by delivery tag, in their order.
    @ivar confirms: Confirmations of what was published.
    @ivar last_queue: The queue that was declared last.
    @ivar reply_consumer: Who gets replies to the channel directly.
    @ivar reply_name: Where they are published to.
    """

    def __init__(self, number: int, connection: ServerConnection) -> None:
        self.number = number
        self.connection = connection
        assert connection.virtual_host is not None
        self.virtual_host = connection.virtual_host
        self.mode = "plain"
        self.content: Content | None = None
        self.closing = False
        self.consumers: dict[str, Consumer] = {}
        self.parked: dict[Consumer, None] = {}
        self.held = connection.held
        self.prefetch = 0
        self.limit = 0
        self.taken = 0
        self.unacked: OrderedDict[int, Unacked] = OrderedDict()
        self.last_queue = ""
        self.reply_consumer: Consumer | None = None
        self.reply_name = ""
        self._broker = connection.broker
        self._tag = 0
        self.confirms = Confirms(self)
        self._messages: list[tuple[Target, Message, Iterable[str]]] = []
        self._settled: list[Settled] = []

    def send(self, method: Method) -> None:
        """A method to the client."""
        self.connection.send(method_frame(self.number, method))

    # Publishing

    def publish(self, target: Target, raw: bytes, body: bytes) -> None:
        """
        A message of the client.

        @param raw: Its properties.
        @raise Refused: It cannot be published.
        """
        virtual_host, connection = self.virtual_host, self.connection
        if target.changes != virtual_host.changes:
            self._find(target)
        traits = self._broker.inspector.traits(raw, connection.user)
        if traits.reply_to == REPLY_TO:
            traits = self._broker.inspector.traits(self._with_reply_name(raw), connection.user)
        keys = (*target.keys, *traits.more_keys) if traits.more_keys else target.keys
        message = Message(target.route, traits, body, keys)
        if self.mode == "plain":
            self._route(target, message, self._queues(target, message))
        elif self.mode == "confirm":
            refused = self._broker.faults.refuses(message)
            self.confirms.add(not refused and self._route(target, message, self._queues(target, message)))
        else:
            # The default exchange leads to names, also of queues that are not there yet.
            found = [queue.name for queue in self._queues(target, message)] if target.route.exchange else keys
            self._messages.append((target, message, found))

    def _find(self, target: Target) -> None:
        """Find out where it leads, as things are."""
        virtual_host = self.virtual_host
        exchange = virtual_host.exchange(target.route.exchange)
        if exchange.internal:
            what = named("exchange", exchange.name, virtual_host.name)
            raise Refused(ACCESS_REFUSED, f"cannot publish to internal {what}")
        target.changes = virtual_host.changes
        traits = self._broker.inspector.traits(b"\0\0", self.connection.user)
        target.queues = virtual_host.route(Message(target.route, traits, b"", target.keys), exchange)

    def _with_reply_name(self, raw: bytes) -> bytes:
        if self.reply_consumer is None:
            raise failed("fast reply consumer does not exist")
        properties = BasicProperties.from_wire(raw)
        properties.reply_to = self.reply_name
        return written(properties)

    def _queues(self, target: Target, message: Message) -> list[Queue]:
        """@return: Where it goes, as things are."""
        if message.keys is target.keys and not message.properties.headers:
            return target.queues
        return self.virtual_host.route(message, self.virtual_host.exchange(target.route.exchange))

    def _route(self, target: Target, message: Message, queues: list[Queue]) -> bool:
        """@return: Whether every queue has taken it."""
        record = self._broker.published
        if record is not None:
            record.append(message)
        taken = True
        if not queues:
            if not target.route.exchange:
                self._broker.reply(self.virtual_host, message)
            if target.mandatory:
                head = returned(self.number, NO_ROUTE, "NO_ROUTE", message.route.wire)
                self._send_message(head, message)
        for queue in queues:
            if not queue.publish(message):
                taken = False
        return taken

    def _send_message(self, head: bytes, message: Message) -> None:
        tail = content_tail(self.number, message.traits.raw, message.body, self.connection.frame_max)
        self.connection.send(head + tail)

    # Delivering

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """A message for a consumer of this channel."""
        self._tag = tag = self._tag + 1
        message = entry.message
        if not consumer.no_ack:
            assert consumer.queue is not None
            consumer.unacked += 1
            self.taken += 1
            self.unacked[tag] = (entry, consumer.queue, consumer)
        wire = message.route.wire
        head = consumer.heads.get(wire)
        if head is None:
            if len(consumer.heads) >= MAX_ROUTES:
                consumer.heads.clear()
            head = consumer.heads[wire] = deliver_head(self.number, consumer.tag, wire)
        tail = content_tail(self.number, message.traits.raw, message.body, self.connection.frame_max)
        self.connection.send(b"".join((head[0], TAG.pack(tag, entry.redelivered), head[1], tail)))

    def got(self, queue: Queue, entry: Entry, no_ack: bool) -> None:
        """The answer to C{basic.get}."""
        self._tag = tag = self._tag + 1
        message = entry.message
        if not no_ack:
            self.unacked[tag] = (entry, queue, None)
        count = len(queue.backlog)
        self._send_message(get_ok(self.number, tag, entry.redelivered, message.route.wire, count), message)

    # Settling

    def settle(self, tag: int, multiple: bool, how: str) -> None:
        """
        @param tag: 0 with C{multiple} for all.
        @param how: C{"ack"}, C{"requeue"} or C{"reject"}.
        @raise Refused: There is no such delivery.
        """
        unacked = self.unacked
        if not multiple:
            found = unacked.pop(tag, None)
            if found is None:
                raise failed(f"unknown delivery tag {tag}")
            taken = {tag: found}
        else:
            if tag and tag not in unacked:
                raise failed(f"unknown delivery tag {tag}")
            taken = {}
            while unacked and (not tag or next(iter(unacked)) <= tag):
                key, found = unacked.popitem(last=False)
                taken[key] = found
        if self.mode == "tx":
            if self._settled and self._settled[-1].how == how:
                self._settled[-1].entries.update(taken)
            else:
                self._settled.append(Settled(taken, how))
        else:
            self._apply(taken.values(), how)

    def _apply(self, settled: Iterable[Unacked], how: str) -> None:
        back: dict[Queue, list[Entry]] = {}
        for entry, queue, consumer in settled:
            if consumer is not None:
                consumer.unacked -= 1
                self.taken -= 1
            if how == "ack":
                queue.settled(entry)
            elif how == "requeue":
                back.setdefault(queue, []).append(entry)
            else:
                queue.rejected(entry)
        for queue, entries in back.items():
            queue.requeue(entries)
        if self.parked:
            self.unpark()

    def unpark(self) -> None:
        """Consumers may take more than before."""
        for consumer in list(self.parked):
            if consumer in self.parked and consumer.ready and consumer.queue is not None:
                consumer.queue.unpark(consumer)

    def all_unacked(self) -> list[Unacked]:
        """@return: What waits for its ack, or for the end of a transaction that settles it."""
        return [*self.unacked.values(), *(each for some in self._settled for each in some.entries.values())]

    def requeue_all(self) -> None:
        """All that is unacked goes back."""
        unacked, self.unacked = self.unacked, OrderedDict()
        self._apply(unacked.values(), "requeue")

    # Transactions

    def commit(self) -> None:
        """
        Publish, and settle, what waited for this. Exchanges were asked when a message came: it goes to the queues that
        they said, as far as these are there now.
        """
        messages, self._messages = self._messages, []
        queues = self.virtual_host.queues
        for target, message, found in messages:
            self._route(target, message, [queues[name] for name in dict.fromkeys(found) if name in queues])
        settled, self._settled = self._settled, []
        for each in settled:
            self._apply([entry for _, entry in sorted(each.entries.items())], each.how)

    def rollback(self) -> None:
        """Forget it. What was settled waits for its ack again."""
        self._messages.clear()
        settled, self._settled = self._settled, []
        for each in settled:
            self.unacked.update(each.entries)
        self.unacked = OrderedDict(sorted(self.unacked.items()))

    # Its end

    def add(self, consumer: Consumer) -> None:
        """Another consumer."""
        self.consumers[consumer.tag] = consumer
        if consumer.queue is not None:
            consumer.queue.add(consumer)

    def remove(self, consumer: Consumer) -> None:
        """A consumer is cancelled; its queue may go with it."""
        del self.consumers[consumer.tag]
        queue = consumer.queue
        if queue is None:
            self._broker.reply_channels.pop((self.virtual_host, self.reply_name), None)
            self.reply_consumer = None
        elif queue.remove(consumer):
            self.virtual_host.delete_queue(queue)

    def orphaned(self, consumer: Consumer) -> None:
        """The queue of a consumer is gone."""
        if self.consumers.pop(consumer.tag, None) is not None:
            self.parked.pop(consumer, None)
            if self.connection.capabilities.get("consumer_cancel_notify") is True:
                self.send(Basic.Cancel(consumer.tag, True))

    def end(self) -> None:
        """Consumers go, and what is unacked goes back; what waits for a commit is undone."""
        self.held = True
        self.content = None
        self.confirms.forget()
        for consumer in list(self.consumers.values()):
            if self.consumers.get(consumer.tag) is consumer:
                self.remove(consumer)
        self.rollback()
        self.requeue_all()

    def queue(self, name: str) -> Queue:
        """
        @param name: C{""} for the one that was declared last.
        @raise Refused: There is none, or it is another connection's.
        """
        return self.virtual_host.queue(self.queue_name(name), self.connection)

    def queue_name(self, name: str) -> str:
        """@raise Refused: There is none for C{""}."""
        if name or self.last_queue:
            return name or self.last_queue
        raise Refused(NOT_FOUND, "no previously declared queue")

    def missing_queue(self, name: str) -> Refused:
        """@return: What to say of a queue that is not there."""
        return missing("queue", name, self.virtual_host.name)
