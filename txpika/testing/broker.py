# -*- test-case-name: txpika.test.test_memory_network -*-
"""
An in-memory broker that looks like RabbitMQ to clients: for tests, first steps and demonstrations.

Owns users, virtual hosts and connections, and what a test may look at. Knows a clock and transports, and no loop.

To its clients it is RabbitMQ 3.10, error texts included, with these exceptions:

 - it keeps nothing on disk, and knows no cluster, no policies and no plugins;
 - all queues are classic ones: C{x-queue-type} C{quorum} and C{stream} are refused as an unknown type is;
 - a user may do everything in a virtual host that it may enter;
 - things happen at once and in the order in which clients ask for them, even across channels and connections: when a
   queue's single active consumer is cancelled, the next one gets what waits right then, in RabbitMQ when something else
   happens to the queue;
 - where RabbitMQ drops a connection without a word (invalid limits, methods that do not exist, arguments that make no
   sense), C{connection.close} says why; frames out of place get the codes of the specification;
 - bytes after the properties of a message are accepted, where RabbitMQ fails with an internal error;
 - names must be UTF-8 without NUL; routing keys of messages may be any bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from txpika.core.consumers import REPLY_TO
from txpika.interfaces import Clock, ITransport
from txpika.testing.backlog import Entry
from txpika.testing.channel import ServerChannel
from txpika.testing.connection import ServerConnection
from txpika.testing.faults import Faults
from txpika.testing.greeting import LIMITS, Limits
from txpika.testing.message import Inspector, Message
from txpika.testing.outgoing import Outgoing
from txpika.testing.queues import Queue
from txpika.testing.rotation import Consumer
from txpika.testing.virtual_host import VirtualHost


class _Turns:
    """The clock for parts with timers of their own: what those make connections send leaves when they have fired."""

    def __init__(self, clock: Clock, flush: Callable[[], None]) -> None:
        self.seconds = clock.seconds
        self._clock = clock
        self._flush = flush

    def callLater(self, delay: float, callable: Callable[..., Any], /, *arguments: Any) -> Any:
        return self._clock.callLater(delay, self._fire, callable, *arguments)

    def _fire(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)
        self._flush()


class MemoryBroker:
    """
    The broker.

    Give its connections a transport with L{connect}; L{txpika.testing.memory} does it without a network and
    L{txpika.testing.tcp} with one.

    @ivar clock: Where time comes from.
    @ivar limits: What it proposes in C{connection.tune}.
    @ivar virtual_hosts: By name.
    @ivar connections: Those whose transport is open, in the order they came.
    @ivar faults: What else may happen to clients.
    @ivar published: The last messages that clients published, the latest at the end; C{None} when none are kept.
    @ivar inspector: Checks properties.
    @ivar dirty: Connections with something to send.
    @ivar reply_channels: Who takes replies directly, by virtual host and routing key.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        users: Mapping[str, str] | None = None,
        virtual_hosts: Iterable[str] = ("/",),
        limits: Limits = LIMITS,
        keep_published: int = 0,
    ) -> None:
        """
        @param clock: A reactor, or a C{twisted.internet.task.Clock}.
        @param users: Passwords by name; by default RabbitMQ's C{guest}, whose password is C{guest}.
        @param virtual_hosts: Their names. Every user may enter all of them, see L{restrict}.
        @param limits: What it proposes in C{connection.tune}.
        @param keep_published: How many messages L{published} keeps.
        """
        self.clock = clock
        self._turns = _Turns(clock, self.flush)
        self.limits = limits
        self.virtual_hosts: dict[str, VirtualHost] = {}
        for name in virtual_hosts:
            self.add_virtual_host(name)
        self.connections: dict[ServerConnection, None] = {}
        self.faults = Faults(self)
        self.published: deque[Message] | None = deque(maxlen=keep_published) if keep_published else None
        self.inspector = Inspector()
        self.dirty: list[Outgoing] = []
        self.reply_channels: dict[tuple[VirtualHost, str], ServerChannel] = {}
        self._users = {"guest": "guest"} if users is None else dict(users)
        self._admitted: dict[str, frozenset[str]] = {}

    # What there is

    def add_user(self, name: str, password: str) -> None:
        """Add a user, or change the password of one."""
        self._users[name] = password

    def add_virtual_host(self, name: str) -> VirtualHost:
        """@return: The new one, or the existing one."""
        if name not in self.virtual_hosts:
            self.virtual_hosts[name] = VirtualHost(name, self._turns, self._orphaned)
        return self.virtual_hosts[name]

    def restrict(self, user: str, virtual_hosts: Iterable[str]) -> None:
        """C{user} may enter only these virtual hosts."""
        self._admitted[user] = frozenset(virtual_hosts)

    def knows(self, user: str, password: str) -> bool:
        """Whether that is the user's password."""
        return user in self._users and self._users[user] == password

    def admits(self, user: str, virtual_host: str) -> bool:
        """Whether the user may enter."""
        return virtual_host in self._admitted.get(user, self.virtual_hosts)

    # Connections

    def connect(self, transport: ITransport) -> ServerConnection:
        """
        A client has connected.

        @return: What takes its bytes.
        """
        connection = ServerConnection(self, transport)
        self.connections[connection] = None
        if self.faults.refusing:
            connection.abort()
        return connection

    def flush(self) -> None:
        """Send what connections have to send. Called at the end of anything that may have given them something to
        send."""
        while self.dirty:
            dirty, self.dirty = self.dirty, []
            for connection in dirty:
                connection.flush()

    def close(self) -> None:
        """Drop all connections, with everything that belongs to them; durable things stay."""
        self.faults.drop_connections()

    def _orphaned(self, consumers: list[Consumer]) -> None:
        for consumer in consumers:
            consumer.channel.orphaned(consumer)

    # Replies to a channel directly

    def is_reply_name(self, virtual_host: VirtualHost, name: str) -> bool:
        """Whether replies can be published with this routing key."""
        return (virtual_host, name) in self.reply_channels

    def reply(self, virtual_host: VirtualHost, message: Message) -> None:
        """Deliver a message that was published to the default exchange and found no queue, if it is such a reply."""
        for key in message.keys:
            if key.startswith(REPLY_TO):
                channel = self.reply_channels.get((virtual_host, key))
                if channel is not None and channel.reply_consumer is not None and not channel.closing:
                    channel.deliver(channel.reply_consumer, Entry(message, 0, None))

    # For tests to look at

    def queue(self, name: str, virtual_host: str = "/") -> Queue:
        """
        @raise KeyError: There is none.
        """
        return self.virtual_hosts[virtual_host].queues[name]

    def ready(self, queue: str, virtual_host: str = "/") -> list[Message]:
        """@return: The messages that wait in a queue, the next one first."""
        return [entry.message for entry in self.queue(queue, virtual_host).backlog.entries()]

    def unacked(self, queue: str, virtual_host: str = "/") -> list[Message]:
        """@return: The messages of a queue that are delivered and not settled, in the order of the queue."""
        wanted = self.queue(queue, virtual_host)
        found = [
            entry
            for connection in self.connections
            for channel in connection.channels.values()
            for entry, origin, _ in channel.all_unacked()
            if origin is wanted
        ]
        return [entry.message for entry in sorted(found, key=lambda entry: entry.number)]

    def published_to(self, exchange: str, routing_key: str | None = None) -> list[Message]:
        """
        @param routing_key: C{None} for any.
        @return: Those of the messages kept in L{published} that were published there.
        """
        return [
            each
            for each in self.published or ()
            if each.exchange == exchange and routing_key in (None, each.routing_key)
        ]

    def __repr__(self) -> str:
        return f"<MemoryBroker {len(self.connections)} connections, virtual hosts {sorted(self.virtual_hosts)}>"
