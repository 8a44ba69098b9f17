# -*- test-case-name: txpika.test.test_service,txpika.test.test_service_troubles -*-
"""
Set up again on a new connection what there was on the one before.

Owns the order, and what becomes of an entity that the broker refuses: it is left out and reported, all else is set up.
What there was is L{txpika.topology}'s to know, when there is a connection L{txpika.service}'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from txpika.channel import Channel
from txpika.exceptions import ChannelClosed, ConnectionClosed, NoFreeChannels
from txpika.patience import Patience
from txpika.spec import RESOURCE_LOCKED, Queue
from txpika.spec import Channel as Methods
from txpika.surviving import LeftOut, SurvivingChannel
from txpika.topology import Step, Topology

if TYPE_CHECKING:
    from txpika.protocol import AMQPProtocol

#: How long one call may take, in seconds. A queue with members on several nodes may have to find a leader first.
CALL_TIMEOUT = 30.0


class Recovery:
    """
    One per service, for all its connections.
    """

    def __init__(
        self,
        topology: Topology,
        clock: IReactorTime,
        left_out: LeftOut,
        renamed: Callable[[str, str], None],
    ) -> None:
        """
        @param left_out: Told of what the broker refuses, with its reason.
        @param renamed: Told when a queue that the broker named has got another name: the old one and the new one.
        """
        self._topology = topology
        self._clock = clock
        self._left_out = left_out
        self._renamed = renamed
        # What made the broker close the connection: left out until there was one that stayed.
        self._fatal: set[bytes] = set()
        self._channel: Channel | None = None

    async def run(self, connection: AMQPProtocol, channels: Iterable[SurvivingChannel]) -> None:
        """
        Do it, first what was declared, then channel by channel, those with consumers last.

        @raise AMQPError: when the connection is lost meanwhile, or does not answer.
        """
        self._channel = None
        for step in self._topology.plan():  # whose bindings follow when a queue gets another name
            if not await self._is_there(connection, step):
                await self._take(connection, step)
        scratch: Channel | None = self._channel
        if scratch is not None and scratch.is_open:
            await scratch.close(timeout=CALL_TIMEOUT)
        # Consumers last: what is delivered waits until all is there, and is read as long as anything else is asked for.
        for channel in sorted(channels, key=lambda channel: bool(channel.consumers)):
            try:
                await channel.restore(connection, self._left_out, CALL_TIMEOUT)
            except NoFreeChannels as error:  # the broker allows fewer of them than the one before
                self._left_out(Methods.Open(), error)
                channel.finish(ChannelClosed(str(error)))
        self._fatal.clear()

    async def _scratch(self, connection: AMQPProtocol) -> Channel:
        if self._channel is None or not self._channel.is_open:
            self._channel = await connection.channel(timeout=CALL_TIMEOUT)
        return self._channel

    async def _is_there(self, connection: AMQPProtocol, step: Step) -> bool:
        """
        Whether a queue that the broker named is still there, with its messages. It cannot be declared by that name; and
        another in its place would leave it behind, bound as it is, to fill up.
        """
        look = Queue.Declare(queue=step.name, passive=True)
        by_broker = isinstance(step.method, Queue.Declare) and not step.method.queue
        if not by_broker or not self._topology.outlives(step.name) or look.encode() in self._fatal:
            return False
        channel = await self._scratch(connection)
        ended = channel.closed
        try:
            await channel.call(look, timeout=CALL_TIMEOUT)
        except ChannelClosed as error:
            if error.initiator != "peer":
                raise
            await ended
            return False
        except ConnectionClosed as error:
            if error.blames(look):
                self._fatal.add(look.encode())
            raise
        return True

    async def _take(self, connection: AMQPProtocol, step: Step) -> None:
        method = step.method
        if method.encode() in self._fatal:
            return
        patience = Patience(self._clock, connection.heartbeat)
        while True:
            channel = await self._scratch(connection)
            try:
                reply = await channel.call(method, timeout=CALL_TIMEOUT)
                break
            except ChannelClosed as error:
                if error.initiator != "peer":
                    raise
                locked = error.reply_code == RESOURCE_LOCKED and isinstance(method, Queue.Declare) and method.exclusive
                # It is the broker that has not noticed yet that the connection before is gone, which has the queue.
                if not locked or not await patience.lasts():
                    self._left_out(method, error)
                    return
            except ConnectionClosed as error:
                if error.blames(method):
                    # Such as an exchange of a type whose plugin is gone. It would close each next connection, too.
                    self._fatal.add(method.encode())
                    self._left_out(method, error)
                raise
        if isinstance(reply, Queue.DeclareOk) and reply.queue != step.name:
            self._topology.renamed(step.name, reply.queue)
            self._renamed(step.name, reply.queue)
