# -*- test-case-name: txpika.test.test_topology,txpika.test.test_topology_channel,txpika.test.test_topology_model -*-
"""
What a program has set up at the broker, so that it can be set up again on a new connection.

Owns which exchanges, queues and bindings there should be (L{Topology}), and what was done on one channel
(L{ChannelRecord}). It is told which methods have succeeded, and says which to send. Knows no connection, no channel and
no time: its caller sends the methods and deals with failures.

It follows what the broker does by itself: a queue's bindings go with it, an auto-delete queue with its last consumer,
an auto-delete exchange with the last binding from it. It sees only this program's part: an auto-delete exchange that is
kept by bindings of others is considered gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from typing import Literal, NamedTuple, TypeVar

from txpika.spec import Basic, Confirm, Exchange, Method, Queue, Tx, encode_table

_M = TypeVar("_M", bound=Method)
Recovers = Callable[[Method], bool]
Binding = Queue.Bind | Exchange.Bind

#: Kind of destination, destination, source, routing key, and the arguments as bytes.
Identity = tuple[Literal["queue", "exchange"], str, str, str, bytes]
#: One end of a binding: its destination, by kind, or the exchange it comes from.
End = tuple[Literal["queue", "exchange", "from"], str]

#: The prefix of names that the broker reserves for itself (AMQP 0-9-1, C{exchange.declare} and C{queue.declare}).
RESERVED = "amq."


class Step(NamedTuple):
    """
    One thing to do on a new connection.

    @ivar method: What to send; it will be answered.
    @ivar name: The present name of the exchange or queue, C{""} for a binding. A queue that the broker named has C{""}
        in C{method.queue}: it will get another name, to be passed to L{Topology.renamed}.
    """

    method: Method
    name: str


def snapshot(method: _M) -> _M:
    """
    @return: A copy that shares nothing with C{method}, its arguments as the broker reads them.
    @raise ValueError: when an argument is out of range.
    @raise TypeError: when an argument is of a wrong type.
    """
    return type(method).decode(method.encode(), 4)  # after the numbers of class and method


def _identity(method: Binding | Queue.Unbind | Exchange.Unbind) -> Identity:
    """
    What makes two bindings the same. The order of the arguments does not matter on the outermost level, as in
    RabbitMQ's C{sort_field_table}; their types do, so they are compared as bytes: C{1 == True == 1.0}.
    """
    arguments = encode_table(dict(sorted(method.arguments.items())))
    if isinstance(method, (Queue.Bind, Queue.Unbind)):
        return "queue", method.queue, method.exchange, method.routing_key, arguments
    return "exchange", method.destination, method.source, method.routing_key, arguments


class _Bindings:
    """All bindings in the order they were made, to be found by identity or by either end."""

    def __init__(self) -> None:
        self._numbers = count()
        self._all: dict[Identity, tuple[int, Binding]] = {}
        # The inner dicts are sets that keep an order.
        self._at: dict[End, dict[Identity, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def in_order(self) -> list[Binding]:
        return [binding for _, binding in sorted(self._all.values(), key=lambda numbered: numbered[0])]

    def any_at(self, end: End) -> bool:
        return end in self._at

    def at(self, end: End) -> list[Identity]:
        return list(self._at.get(end, ()))

    def add(self, binding: Binding, number: int | None = None) -> None:
        """
        Of two that are the same the first keeps its place.

        @param number: Its place, when it had one before.
        """
        identity = _identity(binding)
        if number is None:
            number = next(self._numbers)
        if identity in self._all and self._all[identity][0] < number:
            return
        self._all[identity] = number, binding
        for end in self._ends(identity):
            self._at.setdefault(end, {})[identity] = None

    def remove(self, identity: Identity) -> tuple[int, Binding] | None:
        """@return: Its place and itself, C{None} when there is no such."""
        removed = self._all.pop(identity, None)
        if removed is not None:
            for end in self._ends(identity):
                del self._at[end][identity]
                if not self._at[end]:
                    del self._at[end]
        return removed

    @staticmethod
    def _ends(identity: Identity) -> tuple[End, End]:
        kind, destination, source, _, _ = identity
        return (kind, destination), ("from", source)


class _Declared(NamedTuple):
    """
    A queue.

    @ivar number: Its place among the queues.
    @ivar method: With its present name, even if the broker chose that.
    @ivar by_broker: The broker chose the name.
    """

    number: int
    method: Queue.Declare
    by_broker: bool


class Topology:
    """
    The exchanges, queues and bindings that a program relies on, from all its channels together.

    Methods are copied when they are recorded. Later changes to the originals change nothing here.

    @ivar recovers: Asked whether what a method once set up is to be set up again; C{None} for everything. It is given
        the method as recorded, a queue always with its present name, and must not change it.
    """

    def __init__(self, recovers: Recovers | None = None) -> None:
        self.recovers = recovers
        self._numbers = count()
        self._exchanges: dict[str, Exchange.Declare] = {}
        self._queues: dict[str, _Declared] = {}
        self._bindings = _Bindings()
        self._consumers: dict[str, int] = {}
        # Of queues that were deleted, maybe to be declared again before their consumers' end is known.
        self._orphans: dict[str, int] = {}

    @property
    def exchanges(self) -> Mapping[str, Exchange.Declare]:
        """By name, in the order they were declared."""
        return dict(self._exchanges)

    @property
    def queues(self) -> Mapping[str, Queue.Declare]:
        """By the name they have at present, in the order they were declared."""
        return {declared.method.queue: declared.method for declared in self._queues_in_order()}

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """In the order they were made."""
        return tuple(self._bindings.in_order())

    # What happened

    def record(self, method: Method, reply: Method | None = None) -> None:
        """
        A method has succeeded. Those that set up or take down nothing are ignored; so are passive declarations, what
        the broker itself has set up, and anything about a queue whose name is not known.

        @param method: With the queue's name in place of C{""} (L{ChannelRecord.resolve}).
        @param reply: What the broker answered; C{None} when it was not to answer.
        @raise ValueError: when an argument is out of range, which the broker would not have accepted.
        @raise TypeError: when an argument is of a wrong type.
        """
        match method:
            case Exchange.Declare(passive=False) if _own(method.exchange):
                declared = snapshot(method)
                declared.nowait = False
                self._exchanges[declared.exchange] = declared
            case Exchange.Delete() if _own(method.exchange):
                self._exchange_gone(method.exchange)
            case Queue.Declare(passive=False):
                self._queue_declared(method, reply)
            case Queue.Delete():
                self._queue_gone(method.queue)
            case Queue.Bind(queue=""):
                pass
            case Queue.Bind() | Exchange.Bind():
                bound = snapshot(method)
                bound.nowait = False
                self._bindings.add(bound)
            case Queue.Unbind() | Exchange.Unbind():
                self._remove([_identity(method)])

    def consumer_added(self, queue: str) -> None:
        """@param queue: The present name of the queue that a new consumer consumes from."""
        self._consumers[queue] = self._consumers.get(queue, 0) + 1

    def consumer_gone(self, queue: str, started: bool = True) -> None:
        """
        A consumer has ended, whether by the program, its channel, or the broker: called once for each
        L{consumer_added}. Also for a consumer that ended with its queue, even if that is known late, when another queue
        of that name already has consumers of its own. A consumer that only lost its connection has not ended.

        @param started: Whether it was there on the present connection: an auto-delete queue that was declared again,
            and has had no consumer since, stays.
        """
        if _one_less(self._orphans, queue):
            return
        if _one_less(self._consumers, queue) and queue not in self._consumers and started:
            declared = self._queues.get(queue)
            if declared is not None and declared.method.auto_delete:
                self._queue_gone(queue)

    def renamed(self, old: str, new: str) -> None:
        """
        A queue that the broker names was declared anew. Its bindings follow, even those in a L{plan} made before, and
        so does a routing key that was the queue's name. Harmless when there is no such queue.
        """
        declared = self._queues.pop(old, None)
        if declared is not None:
            declared.method.queue = new
            self._queues[new] = declared
        consumers = self._consumers.pop(old, 0)
        if consumers:
            self._consumers[new] = self._consumers.get(new, 0) + consumers
        for identity in self._bindings.at(("queue", old)):
            removed = self._bindings.remove(identity)
            assert removed is not None
            number, binding = removed
            assert isinstance(binding, Queue.Bind)
            binding.queue = new
            if binding.routing_key == old:
                binding.routing_key = new
            self._bindings.add(binding, number)

    def outlives(self, queue: str) -> bool:
        """
        @return: Whether a queue of that present name may be there still when the connection it was declared on is lost:
            it is not exclusive, and does not go with the last consumer, which is lost with the connection.
        """
        declared = self._queues.get(queue)
        if declared is None or declared.method.exclusive:
            return False
        return not (declared.method.auto_delete and queue in self._consumers)

    def _queue_declared(self, method: Queue.Declare, reply: Method | None) -> None:
        declared = snapshot(method)
        declared.nowait = False
        by_broker = not method.queue
        if by_broker:
            if not isinstance(reply, Queue.DeclareOk):
                return  # nobody knows what it is called
            declared.queue = reply.queue
        elif method.queue.startswith(RESERVED):
            return  # the broker lets nobody create it; it was there, e.g. for direct replies
        known = self._queues.get(declared.queue)
        number = next(self._numbers) if known is None else known.number
        self._queues[declared.queue] = _Declared(number, declared, by_broker)

    def _queue_gone(self, name: str) -> None:
        self._queues.pop(name, None)
        orphans = self._consumers.pop(name, 0)
        if orphans:
            self._orphans[name] = self._orphans.get(name, 0) + orphans
        self._remove(self._bindings.at(("queue", name)))

    def _exchange_gone(self, name: str) -> None:
        self._exchanges.pop(name, None)
        self._remove(self._bindings.at(("from", name)) + self._bindings.at(("exchange", name)))

    def _remove(self, identities: list[Identity]) -> None:
        """Remove bindings, and the exchanges that go with their last one, and the bindings of those, and so on."""
        while identities:
            identity = identities.pop()
            source = identity[2]
            if self._bindings.remove(identity) is None or self._bindings.any_at(("from", source)):
                continue
            exchange = self._exchanges.get(source)
            if exchange is not None and exchange.auto_delete:
                del self._exchanges[source]
                identities += self._bindings.at(("exchange", source))

    # What is to be done

    def plan(self) -> list[Step]:
        """
        @return: What sets up all of it on an empty broker: exchanges, then queues, then bindings, each in the order
            they were first recorded. Where the filter leaves out a queue that the broker named, its bindings are left
            out as well.
        @raise Exception: What the filter raises.
        """
        steps = [Step(method, name) for name, method in self._exchanges.items() if self._wanted(method)]
        nameless: set[str] = set()
        for _, method, by_broker in self._queues_in_order():
            if not self._wanted(method):
                if by_broker:
                    nameless.add(method.queue)
                continue
            step = Step(method, method.queue)
            if by_broker:
                anew = snapshot(method)
                anew.queue = ""
                step = Step(anew, method.queue)
            steps.append(step)
        for binding in self._bindings.in_order():
            if not (isinstance(binding, Queue.Bind) and binding.queue in nameless) and self._wanted(binding):
                steps.append(Step(binding, ""))
        return steps

    def _wanted(self, method: Method) -> bool:
        return self.recovers is None or self.recovers(method)

    def _queues_in_order(self) -> list[_Declared]:
        return sorted(self._queues.values(), key=lambda declared: declared.number)

    def __repr__(self) -> str:
        return (
            f"<Topology of {len(self._exchanges)} exchanges, {len(self._queues)} queues, "
            f"{len(self._bindings)} bindings>"
        )


def _one_less(counts: dict[str, int], name: str) -> bool:
    """@return: Whether there was one to take away."""
    left = counts.pop(name, 0) - 1
    if left > 0:
        counts[name] = left
    return left >= 0


def _own(exchange: str) -> bool:
    """Whether it may be the program's, and not one that every virtual host has."""
    return bool(exchange) and not exchange.startswith(RESERVED)


class ChannelRecord:
    """
    What was done on one channel, so that another can take its place.

    @ivar recovers: As in L{Topology}; asked for each consumer.
    @ivar mode: What was selected, C{"confirm"} or C{"tx"}; C{""} for neither.
    @ivar last_queue: Which queue C{""} means on this channel: the one declared last (AMQP 0-9-1, C{queue.bind}). C{""}
        when there was none, or its name is not known.
    """

    def __init__(self, recovers: Recovers | None = None) -> None:
        self.recovers = recovers
        self.mode: Literal["", "confirm", "tx"] = ""
        self.last_queue = ""
        self._shared_qos: Basic.Qos | None = None
        self._qos: Basic.Qos | None = None
        # Each with the limit that was in force when it was started; None for the broker's own.
        self._consumers: dict[str, tuple[Basic.Consume, Basic.Qos | None]] = {}

    @property
    def consumers(self) -> Mapping[str, Basic.Consume]:
        """By tag, in the order they were started."""
        return {tag: method for tag, (method, _) in self._consumers.items()}

    def record(self, method: Method, reply: Method | None = None) -> None:
        """
        A method has succeeded on this channel. Those that change nothing about the channel are ignored.

        @param reply: What the broker answered; C{None} when it was not to answer.
        """
        match method:
            case Basic.Qos(global_=True):
                self._shared_qos = snapshot(method)
            case Basic.Qos():
                self._qos = snapshot(method)
            case Confirm.Select():
                self.mode = "confirm"
            case Tx.Select():
                self.mode = "tx"
            case Queue.Declare():
                self.last_queue = reply.queue if isinstance(reply, Queue.DeclareOk) else method.queue

    def consuming(self, consumer_tag: str, method: Basic.Consume) -> None:
        """
        A consumer was started.

        @param consumer_tag: Its name, even if the broker chose it.
        @param method: With the queue's name in place of C{""} (L{resolve}).
        """
        consume = snapshot(method)
        consume.consumer_tag = consumer_tag
        consume.nowait = False
        self._consumers.pop(consumer_tag, None)
        self._consumers[consumer_tag] = consume, self._qos

    def cancelled(self, consumer_tag: str) -> str | None:
        """
        A consumer has ended.

        @return: What it consumed from, C{None} when there is no such consumer.
        """
        ended = self._consumers.pop(consumer_tag, None)
        return None if ended is None else ended[0].queue

    def renamed(self, old: str, new: str) -> None:
        """A queue that the broker names was declared anew; consumers follow, even in L{steps} made before."""
        if self.last_queue == old:
            self.last_queue = new
        for method, _ in self._consumers.values():
            if method.queue == old:
                method.queue = new

    def steps(self) -> list[Method]:
        """
        @return: What makes a new channel like this one, to be sent in this order, each to be answered. A consumer of a
            queue whose name is not known is left out; its tag is in L{consumers}.
        @raise Exception: What the filter raises.
        """
        steps: list[Method] = []
        if self._shared_qos is not None:
            steps.append(self._shared_qos)
        if self.mode:
            steps.append(Confirm.Select() if self.mode == "confirm" else Tx.Select())
        sent: Basic.Qos | None = None
        for method, qos in self._consumers.values():
            if not method.queue or not (self.recovers is None or self.recovers(method)):
                continue
            if qos is not None and qos != sent:
                steps.append(qos)
                sent = qos
            steps.append(method)
        if self._qos is not None and self._qos != sent:
            steps.append(self._qos)
        return steps

    def resolve(self, method: _M) -> _M:
        """
        Put a name in place of C{""} for a queue, as the broker would: on the channel that takes this one's place, it
        would not know what was declared last. In C{queue.bind} and C{queue.unbind} an empty routing key becomes that
        name, too.

        @return: Another object, or C{method} itself when there is nothing to do.
        @raise ValueError: when an argument is out of range.
        @raise TypeError: when an argument is of a wrong type.
        """
        name = self.last_queue
        match method:
            case (
                Queue.Bind(queue="")
                | Queue.Unbind(queue="")
                | Queue.Purge(queue="")
                | Queue.Delete(queue="")
                | Basic.Consume(queue="")
                | Basic.Get(queue="")
            ) if name:
                resolved = snapshot(method)
                resolved.queue = name
                if isinstance(resolved, (Queue.Bind, Queue.Unbind)) and not resolved.routing_key:
                    resolved.routing_key = name
                return resolved
        return method

    def __repr__(self) -> str:
        return f"<ChannelRecord of {len(self._consumers)} consumers{', ' if self.mode else ''}{self.mode}>"
