# -*- test-case-name: txpika.test.test_memory_network -*-
"""
What a test can make happen on the in-memory broker: alarms, refusals, cut connections.

Owns what is to happen next, and does what is to happen now. Each method takes effect at once; the bytes are on their
way to the clients when it returns. Knows the broker's connections, channels and queues.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from txpika.spec import CONNECTION_FORCED, PRECONDITION_FAILED, REPLY_NAMES

if TYPE_CHECKING:
    from txpika.testing.broker import MemoryBroker
    from txpika.testing.connection import ServerConnection
    from txpika.testing.message import Message


class Faults:
    """
    The faults of one broker, as C{MemoryBroker.faults}.

    @ivar alarm: Why connections that publish are blocked; C{None} when they are not.
    @ivar confirms_held: Confirmations are held back.
    @ivar nacks: How many more messages are to be refused.
    @ivar refusing: New connections are dropped at once.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self.alarm: str | None = None
        self.confirms_held = False
        self.nacks = 0
        self.refusing = False
        self._broker = broker
        self._next: list[tuple[str, int]] = []
        self._release: Any = None

    # Blocking

    def block(self, reason: str = "low on memory") -> None:
        """
        Send C{connection.blocked} to every connection that understands it, and nothing more: what they still publish is
        taken. L{raise_alarm} is what RabbitMQ does.
        """
        for connection in self._open():
            connection.block(reason)
        self._broker.flush()

    def unblock(self) -> None:
        """Send C{connection.unblocked} to those that were told they are blocked; the alarm, if any, is over."""
        self.alarm = None
        for connection in self._open():
            connection.unblock()
        self._broker.flush()

    def raise_alarm(self, reason: str = "low on memory") -> None:
        """
        A resource alarm, until L{unblock}. A connection is told when it next publishes; nothing it sends from that
        message on is read, as if the broker had stopped reading its socket (rabbitmq.com/docs/alarms). Connections that
        only consume notice nothing.
        """
        self.alarm = reason

    # Publishing

    def nack_next(self, count: int) -> None:
        """Refuse the next C{count} messages, on channels in confirm mode: they reach no queue."""
        self.nacks = count

    def refuses(self, message: Message) -> bool:
        """Whether this one is refused. For channels."""
        if self.nacks:
            self.nacks -= 1
            return True
        return False

    def hold_confirms(self, seconds: float | None = None) -> None:
        """
        Hold back all confirmations.

        @param seconds: After this time L{release_confirms} is called automatically; C{None} for never.
        """
        self.confirms_held = True
        self._stop_release()
        if seconds is not None:
            self._release = self._broker.clock.callLater(seconds, self._released)

    def release_confirms(self) -> None:
        """Send what was held back, in order, and hold back no more."""
        self._stop_release()
        self.confirms_held = False
        for connection in self._open():
            for channel in connection.channels.values():
                channel.confirms.release()
        self._broker.flush()

    def _released(self) -> None:
        self._release = None
        self.release_confirms()

    def _stop_release(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None

    # Ends

    def drop_connections(self, connection: ServerConnection | None = None) -> None:
        """
        Close the transport without a word.

        @param connection: Which; C{None} for all.
        """
        for each in self._chosen(connection):
            each.abort()

    def drop_after_received(self, frames: int, connection: ServerConnection | None = None) -> None:
        """
        Close the transport without a word after this many more frames from the client; the last one still takes effect.

        @param frames: From 1. Those of a handshake are not counted.
        @param connection: Which; C{None} for the next that opens.
        """
        self._later("received", frames, connection)

    def drop_after_sent(self, methods: int, connection: ServerConnection | None = None) -> None:
        """
        Close the transport without a word after this many more methods to the client; a message counts as part of its
        method.

        @param methods: From 1. Those of a handshake are not counted.
        @param connection: Which; C{None} for the next that opens.
        """
        self._later("sent", methods, connection)

    def close_connections(
        self,
        reply_code: int = CONNECTION_FORCED,
        reply_text: str = "Closed via management plugin",
        connection: ServerConnection | None = None,
    ) -> None:
        """
        Send C{connection.close}.

        @param connection: To which; C{None} for all.
        """
        for each in self._chosen(connection):
            each.close(reply_code, f"{REPLY_NAMES.get(reply_code, 'UNKNOWN')} - {reply_text}")
        self._broker.flush()

    def close_channels(
        self,
        reply_code: int = PRECONDITION_FAILED,
        reply_text: str = "closed by a test",
        connection: ServerConnection | None = None,
        number: int | None = None,
    ) -> None:
        """
        Send C{channel.close}.

        @param connection: On which; C{None} for all.
        @param number: Which channel; C{None} for all of them.
        """
        text = f"{REPLY_NAMES.get(reply_code, 'UNKNOWN')} - {reply_text}"
        for each in self._chosen(connection):
            for channel in list(each.channels.values()):
                if number in (None, channel.number) and not channel.closing:
                    each.close_channel(channel, reply_code, text)
        self._broker.flush()

    # Consumers and queues

    def cancel_consumers(self, queue: str, tag: str | None = None, virtual_host: str = "/") -> int:
        """
        Cancel consumers of a queue, as when a cluster node goes down.

        @param tag: Which; C{None} for all.
        @return: How many.
        """
        consumers = self._broker.queue(queue, virtual_host).rotation.everyone
        chosen = [each for each in consumers if tag in (None, each.tag)]
        for consumer in chosen:
            channel = consumer.channel
            channel.remove(consumer)
            channel.consumers[consumer.tag] = consumer
            channel.orphaned(consumer)
        self._broker.flush()
        return len(chosen)

    def forget_queue(self, name: str, virtual_host: str = "/") -> None:
        """Delete a queue with all its messages; its consumers are cancelled."""
        queue = self._broker.queue(name, virtual_host)
        self._broker.virtual_hosts[virtual_host].delete_queue(queue)
        self._broker.flush()

    # For connections

    def opened(self, connection: ServerConnection) -> None:
        """A connection opens: what was prepared for the next one is for it."""
        prepared, self._next = self._next, []
        for what, count in prepared:
            self._arm(connection, what, count)

    def _later(self, what: str, count: int, connection: ServerConnection | None) -> None:
        if count < 1:
            raise ValueError(f"at least one must be {what}")
        if connection is None:
            self._next.append((what, count))
        else:
            self._arm(connection, what, count)

    def _arm(self, connection: ServerConnection, what: str, count: int) -> None:
        if what == "sent":
            connection.send_limit = count
        else:
            connection.limit_frames(count)

    def _open(self) -> list[ServerConnection]:
        return [each for each in self._broker.connections if each.state == "open"]

    def _chosen(self, connection: ServerConnection | None) -> Iterable[ServerConnection]:
        return list(self._broker.connections) if connection is None else [connection]
