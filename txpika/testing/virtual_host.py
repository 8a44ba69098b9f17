# -*- test-case-name: txpika.test.test_memory_routing -*-
"""
One virtual host of the broker in memory: its exchanges, queues and bindings by name, and the way of a message through
them.

Owns what is declared, bound and deleted, and what goes with what. Knows of a connection only whether a queue is its
own.
"""

from __future__ import annotations

import base64
import random
from collections import deque
from collections.abc import Callable

from txpika.interfaces import Clock
from txpika.spec import ACCESS_REFUSED, COMMAND_INVALID
from txpika.testing.burial import buried, goes_in_circles
from txpika.testing.errors import Refused, failed, locked, missing, named, reserved
from txpika.testing.exchanges import PREDEFINED, TYPES, Binding, Destination, Exchange, Kind
from txpika.testing.message import Message
from txpika.testing.queues import Queue, Reason
from txpika.testing.rotation import Consumer
from txpika.testing.settings import require_same, settings_of
from txpika.testing.tables import Arguments, frozen, inequivalent, require_equal, require_same_flag, type_name

NO_ARGUMENTS: Arguments = {}


class VirtualHost:
    """
    @ivar name: Its name.
    @ivar exchanges: By name.
    @ivar queues: By name.
    @ivar changes: Counts what changes the way of messages, so that whoever remembers a way knows when to forget it.
    @ivar orphaned: Called with the consumers that end with a queue.
    """

    def __init__(self, name: str, clock: Clock, orphaned: Callable[[list[Consumer]], None]) -> None:
        self.name = name
        self.orphaned = orphaned
        self.changes = 0
        self.exchanges: dict[str, Exchange] = {
            each: TYPES[kind](each, True, False, False, NO_ARGUMENTS) for each, kind in PREDEFINED.items()
        }
        self.queues: dict[str, Queue] = {}
        self._clock = clock
        self._bindings: dict[Destination, dict[Binding, None]] = {}
        self._deaths: deque[tuple[Queue, Message, Reason]] = deque()
        self._burying = False
        # Names differ from those that RabbitMQ would give, and not from run to run.
        self._random = random.Random(name)

    def invent(self, prefix: str) -> str:
        """@return: A name that nobody has, such as C{amq.gen-7aaEARLhP3F6V9LJ19fJwQ}."""
        return prefix + base64.urlsafe_b64encode(self._random.randbytes(16)).decode("ascii").rstrip("=")

    # Exchanges

    def exchange(self, name: str) -> Exchange:
        """@raise Refused: There is none."""
        exchange = self.exchanges.get(name)
        if exchange is None:
            raise missing("exchange", name, self.name)
        return exchange

    def declare_exchange(
        self, name: str, kind: str, durable: bool, auto_delete: bool, internal: bool, arguments: Arguments
    ) -> Exchange:
        """@raise Refused: It is there and otherwise, or cannot be."""
        if kind not in TYPES:
            raise Refused(COMMAND_INVALID, f"unknown exchange type '{kind}'")
        not_the_default(name)
        exchange = self.exchanges.get(name)
        what = named("exchange", name, self.name)
        if exchange is not None:
            if exchange.type != kind:
                raise inequivalent("type", what, f"'{kind}'", f"'{exchange.type}'")
            require_same_flag("durable", what, exchange.durable, durable)
            require_same_flag("auto_delete", what, exchange.auto_delete, auto_delete)
            require_same_flag("internal", what, exchange.internal, internal)
            require_equal("alternate-exchange", what, exchange.arguments, arguments)
            return exchange
        if name.startswith("amq."):
            raise reserved("exchange", name)
        alternate = arguments.get("alternate-exchange", "")
        if not isinstance(alternate, str):
            raise failed(f"invalid type '{type_name(alternate)}' for arg 'alternate-exchange' in {what}")
        self.changes += 1
        exchange = self.exchanges[name] = TYPES[kind](name, durable, auto_delete, internal, arguments)
        return exchange

    def delete_exchange(self, name: str, if_unused: bool = False) -> None:
        """Harmless when there is none. @raise Refused: It must stay."""
        not_the_default(name)
        if name.startswith("amq."):
            raise Refused(ACCESS_REFUSED, f"deletion of system {named('exchange', name, self.name)} not allowed")
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise failed(f"{named('exchange', name, self.name)} in use")
        self._remove_exchange(exchange)

    def _remove_exchange(self, exchange: Exchange) -> None:
        todo = [exchange]
        while todo:
            gone = todo.pop()
            if self.exchanges.pop(gone.name, None) is None:
                continue
            self.changes += 1
            for binding in gone.bindings:
                self._forget(binding)
            todo += self._unbind_all(("exchange", gone.name))

    # Queues

    def queue(self, name: str, owner: object) -> Queue:
        """
        @param owner: The connection that wants to use it.
        @raise Refused: There is none, or it is another's.
        """
        queue = self.queues.get(name)
        if queue is None:
            raise missing("queue", name, self.name)
        if queue.owner not in (None, owner):
            raise locked(name, self.name)
        return queue

    def declare_queue(
        self, name: str, durable: bool, exclusive: bool, auto_delete: bool, arguments: Arguments, owner: object
    ) -> Queue:
        """
        @param name: C{""} for one that is made up.
        @raise Refused: It is there and otherwise, or cannot be.
        """
        queue = self.queues.get(name)
        if queue is not None:
            what = named("queue", name, self.name)
            if queue.owner is not (owner if exclusive else None):
                raise locked(name, self.name)
            require_same_flag("durable", what, queue.durable, durable)
            require_same_flag("auto_delete", what, queue.auto_delete, auto_delete)
            require_same(name, self.name, queue.arguments, arguments)
            queue.used()
            return queue
        if name.startswith("amq."):
            raise reserved("queue", name)
        name = name or self.invent("amq.gen-")
        settings = settings_of(name, self.name, arguments)
        self.changes += 1
        queue = self.queues[name] = Queue(
            name,
            durable,
            owner if exclusive else None,
            auto_delete,
            arguments,
            settings,
            self._clock,
            self._bury,
            self.delete_queue,
        )
        return queue

    def delete_queue(self, queue: Queue) -> int:
        """
        With its bindings and consumers.

        @return: How many messages waited in it.
        """
        del self.queues[queue.name]
        self.changes += 1
        for exchange in self._unbind_all(("queue", queue.name)):
            self._remove_exchange(exchange)
        count = queue.delete()
        self.orphaned(list(queue.rotation.everyone))
        return count

    # Bindings

    def bind(self, kind: Kind, name: str, source: str, key: str, arguments: Arguments) -> None:
        """
        @param kind: What is bound: its C{name} is known to be there.
        @raise Refused: There is no such source, or a binding like that makes no sense.
        """
        exchange = self.exchange(source)
        exchange.check(arguments)
        binding = Binding(source, (kind, name), key, frozen(arguments))
        self.changes += 1
        exchange.add(binding, arguments)
        self._bindings.setdefault(binding.destination, {})[binding] = None

    def bound(self, kind: Kind, name: str, source: str, key: str, arguments: Arguments) -> bool:
        """@return: Whether there is such a binding."""
        exchange = self.exchanges.get(source)
        return exchange is not None and Binding(source, (kind, name), key, frozen(arguments)) in exchange.bindings

    def unbind(self, kind: Kind, name: str, source: str, key: str, arguments: Arguments) -> None:
        """Harmless when it is not bound."""
        exchange = self.exchanges.get(source)
        binding = Binding(source, (kind, name), key, frozen(arguments))
        if exchange is not None and exchange.remove(binding):
            self.changes += 1
            self._forget(binding)
            if exchange.auto_delete and not exchange.bindings:
                self._remove_exchange(exchange)

    def _forget(self, binding: Binding) -> None:
        bound = self._bindings.get(binding.destination)
        if bound is not None:
            bound.pop(binding, None)
            if not bound:
                del self._bindings[binding.destination]

    def _unbind_all(self, destination: Destination) -> list[Exchange]:
        """@return: The exchanges that go, as that was their last binding."""
        last: list[Exchange] = []
        for binding in self._bindings.pop(destination, ()):
            exchange = self.exchanges.get(binding.source)
            if exchange is not None and exchange.remove(binding) and exchange.auto_delete and not exchange.bindings:
                last.append(exchange)
        return last

    # Messages

    def route(self, message: Message, exchange: Exchange) -> list[Queue]:
        """
        @return: The queues that C{message} comes to, each once. Only who publishes to the default exchange gets
            anywhere by it: as an alternate exchange it has no bindings, as in RabbitMQ.
        """
        if exchange.name == "":
            return [self.queues[key] for key in dict.fromkeys(message.keys) if key in self.queues]
        found: dict[Queue, None] = {}
        seen = {exchange.name}
        todo = [exchange]
        while todo:
            each = todo.pop()
            destinations: dict[Destination, None] = dict.fromkeys(each.route(message))
            if not destinations and each.alternate is not None:
                destinations = {("exchange", each.alternate): None}
            for kind, name in destinations:
                if kind == "queue":
                    queue = self.queues.get(name)
                    if queue is not None:
                        found[queue] = None
                elif name not in seen:
                    seen.add(name)
                    further = self.exchanges.get(name)
                    if further is not None:
                        todo.append(further)
        return list(found)

    def _bury(self, queue: Queue, message: Message, reason: Reason) -> None:
        """
        Dead-letter a message. A chain of queues that each drop what they get may be long, so it is gone through in a
        loop.
        """
        if queue.settings.dead_letter_exchange is None:
            return
        self._deaths.append((queue, message, reason))
        if self._burying:
            return
        self._burying = True
        try:
            while self._deaths:
                self._dead_letter(*self._deaths.popleft())
        finally:
            self._burying = False

    def _dead_letter(self, queue: Queue, message: Message, reason: Reason) -> None:
        name = queue.settings.dead_letter_exchange
        exchange = self.exchanges.get(name) if name is not None else None
        if exchange is None:
            return
        try:
            dead = buried(
                message, queue.name, reason, exchange.name, queue.settings.dead_letter_key, self._clock.seconds()
            )
        except Refused:
            return  # nobody is there to be told
        for target in self.route(dead, exchange):
            if reason == "rejected" or not goes_in_circles(dead, target.name):
                target.publish(dead)


def not_the_default(name: str) -> None:
    """@raise Refused: The exchange is the default one, with which nobody may do that."""
    if not name:
        raise Refused(ACCESS_REFUSED, "operation not permitted on the default exchange")
