"""
A reactor without a network, on which a test decides what becomes of each attempt to connect.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from txpika.core.connection import Connection
from txpika.parameters import ConnectionParameters
from txpika.test.fakes import Peer, Transport


@implementer(IReactorPluggableNameResolver)
class Reactor(MemoryReactorClock):
    """
    @ivar names: Addresses by host name, beside the addresses themselves; a name without any is looked up for ever.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nameResolver: Any = self
        self.names: dict[str, list[str]] = {}

    def installNameResolver(self, resolver: Any) -> Any:
        """There is one already."""
        raise AssertionError

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *more: Any) -> Any:
        """Look up a name, at once."""
        try:
            found = [str(ip_address(hostName))]
        except ValueError:
            found = self.names.get(hostName, ["192.0.2.1"])
        receiver.resolutionBegan(None)
        for each in found:
            receiver.addressResolved(IPv4Address("TCP", each, portNumber))
        if found:
            receiver.resolutionComplete()

    @property
    def dialled(self) -> list[tuple[str, int]]:
        """Addresses that were connected to so far."""
        return [(host, port) for host, port, *_ in self.tcpClients]

    def refuse(self) -> None:
        """Nobody listens at the last one, and the endpoint has no other address."""
        connector: Any = None
        self.tcpClients[-1][2].clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
        self.advance(HostnameEndpoint._DEFAULT_ATTEMPT_DELAY)

    def accept(self, number: int = -1) -> Host:
        """There is a broker at the last one."""
        return Host(self, number)


class Connected(Transport):
    """Tells the protocol of its end, as sockets do: later."""

    protocol: Any = None
    clock: Any = None

    def abortConnection(self) -> None:
        super().abortConnection()
        self.clock.callLater(0, self.end)

    def loseConnection(self) -> None:
        # Not as the engine does it: there may be a producer still.
        self.events.append("lose")
        self.clock.callLater(0, self.end)

    def end(self, reason: BaseException | None = None) -> None:
        """It is gone."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason or ConnectionResetError("gone")))


class Host(Peer):
    """A broker that a program has connected to on a L{Reactor}."""

    def __init__(self, reactor: Reactor, number: int) -> None:
        self._reactor = reactor
        self._number = number
        super().__init__()

    def connect(self, parameters: ConnectionParameters, transport: Any) -> Connection:
        self.clock = self._reactor
        _, _, factory, *_ = self._reactor.tcpClients[self._number]
        self.transport = connected = Connected()
        connected.clock = self._reactor
        connected.protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5672))
        connected.protocol.makeConnection(connected)
        return None  # type: ignore[return-value]

    def send(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)  # type: ignore[attr-defined]

    def lose(self) -> None:
        self.transport.end()  # type: ignore[attr-defined]

    @property
    def hung_up(self) -> bool:
        """The client has dropped it."""
        return "abort" in self.transport.events
