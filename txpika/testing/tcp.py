# -*- test-case-name: txpika.test.test_memory_tcp -*-
"""
The broker in memory behind any server endpoint of Twisted: TCP, a Unix socket, TLS.

Knows Twisted's transports, and nothing of AMQP.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from txpika.testing.broker import MemoryBroker
from txpika.testing.connection import ServerConnection


class BrokerProtocol(Protocol):
    """One connection of a client."""

    connection: ServerConnection

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def connectionMade(self) -> None:
        """There is a transport; the client speaks first."""
        transport: Any = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.connection = self._broker.connect(transport)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        self.connection.data_received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        self.connection.connection_lost()


class BrokerFactory(Factory):
    """
    Lets a broker listen::

        broker = MemoryBroker(reactor)
        port = await serverFromString(reactor, "tcp:5672:interface=127.0.0.1").listen(BrokerFactory(broker))

    @ivar broker: The broker.
    """

    noisy = False

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker

    def buildProtocol(self, addr: IAddress | None) -> BrokerProtocol:
        """@return: A protocol for a new connection."""
        protocol = BrokerProtocol(self.broker)
        protocol.factory = self
        return protocol
