# -*- test-case-name: txpika.test.test_prompt -*-
"""
Twisted's TCP and Unix transports as the engine's, with a way to the network that waits for neither reactor nor system.

Twisted's C{write} asks the reactor to say when the socket takes something, which it nearly always does: that takes a
turn of the reactor and two changes of what epoll watches. Without them a passive declare takes 0.84 of the CPU
(3.11, Twisted 26.10). Owns the one look at what Twisted has not sent yet; knows bytes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.tcp import Connection
from zope.interface import implementer

from txpika.interfaces import IPromptTransport

#: What Twisted 23.10 to 26.10 have, and none promises.
_PRIVATE = ("_tempDataLen", "TLS", "_writeDisconnecting", "_aborting")


@implementer(IPromptTransport)
class PromptTransport:
    """All of it is the transport's own, but for L{writeNow}."""

    def __init__(self, transport: Connection) -> None:
        """
        @param transport: Connected, and without TLS.
        """
        self._transport: Any = transport
        self.write = transport.write
        self.loseConnection = transport.loseConnection
        self.abortConnection = transport.abortConnection
        self.registerProducer = transport.registerProducer
        self.unregisterProducer = transport.unregisterProducer
        self.pauseProducing = transport.pauseProducing
        self.resumeProducing = transport.resumeProducing

    def writeNow(self, data: bytes) -> None:
        """
        Pass it to the socket. What that does not take, and what would overtake something, is written as ever. So is all
        when the connection is lost, which the reactor then finds out; and when it is being closed, which takes a write
        to come to its end.
        """
        transport = self._transport
        if transport.connected and not (
            transport._tempDataLen
            or transport.dataBuffer
            or transport.TLS
            or transport.disconnecting
            or transport._writeDisconnecting
            or transport._aborting
        ):
            sent = transport.writeSomeData(data)
            if sent == len(data):
                return
            if sent.__class__ is int and sent > 0:
                data = data[sent:]
        transport.write(data)


def send_small(transport: Any) -> None:
    """
    Have the system send small pieces at once (C{TCP_NODELAY}). By itself it holds one back until what went before is
    acknowledged, which the other side may put off by 40 ms.

    @param transport: Any; with TLS, too.
    """
    if ITCPTransport.providedBy(transport) and isinstance(transport.getPeer(), IPv4Address | IPv6Address):
        with suppress(OSError):  # the peer may be gone already, which the transport will find out
            transport.setTcpNoDelay(True)


def prompt(transport: Any) -> Any:
    """
    @param transport: One without TLS.
    @return: The same, as the engine is to see it: as it is, if what it does with what is written is not known.
    """
    if not isinstance(transport, Connection) or not all(hasattr(transport, name) for name in _PRIVATE):
        return transport
    own: Any = type(transport)
    return PromptTransport(transport) if own.write is Connection.write and "write" not in vars(transport) else transport
