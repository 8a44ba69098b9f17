"""
Servers in this process, for tests of how a connection is made: brokers that let everybody in, and others.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from txpika.spec import Connection, Method, decode_method
from txpika.test.fakes import method


class TalkerFactory(Factory):
    """
    @ivar received: What came in on the last connection.
    @ivar made: The last connection.
    @ivar gone: Fires when it is gone.
    """

    noisy = False

    def __init__(self) -> None:
        self.received = b""
        self.count = 0
        self.made: Any = None
        self.gone: Deferred[None] = Deferred()


class Talker(Protocol):
    """Says one thing when it is connected, and listens."""

    def connectionMade(self) -> None:
        self.factory.count += 1
        self.factory.made = self

    def dataReceived(self, data: bytes) -> None:
        self.factory.received += data

    def connectionLost(self, reason: object = None) -> None:
        gone, self.factory.gone = self.factory.gone, Deferred()
        gone.callback(None)


class Silent(TalkerFactory):
    """Servers that say nothing."""

    protocol = Talker


class SaysFirst(Talker):
    def connectionMade(self) -> None:
        super().connectionMade()
        assert self.transport is not None and isinstance(self.factory, Saying)
        self.transport.write(self.factory.says)


class Saying(TalkerFactory):
    """Servers that say one thing."""

    protocol = SaysFirst

    def __init__(self, says: bytes) -> None:
        super().__init__()
        self.says = says


class MiniBroker(Talker):
    """Lets everybody in."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self._buffer += data
        if self._buffer.startswith(b"AMQP"):
            self._buffer = self._buffer[8:]
            self._send(Connection.Start(0, 9, {"product": "mini"}, b"PLAIN AMQPLAIN EXTERNAL", b"en_US"))
        while len(self._buffer) >= 7:
            end = 8 + int.from_bytes(self._buffer[3:7], "big")
            if len(self._buffer) < end:
                return
            self._answer(decode_method(self._buffer[7 : end - 1])[0])
            self._buffer = self._buffer[end:]

    def _answer(self, asked: Method) -> None:
        assert self.transport is not None and isinstance(self.factory, MiniBrokers)
        self.factory.methods.append(asked)
        if isinstance(asked, Connection.StartOk):
            self._send(Connection.Tune(2047, 131072, 0))
        elif isinstance(asked, Connection.Open):
            self._send(Connection.OpenOk())
        elif isinstance(asked, Connection.Close):
            self._send(Connection.CloseOk())
            self.transport.loseConnection()

    def _send(self, answer: Method) -> None:
        assert self.transport is not None
        self.transport.write(method(0, answer))


class MiniBrokers(TalkerFactory):
    """
    Brokers that let everybody in.

    @ivar methods: What they were sent.
    """

    protocol = MiniBroker

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[Method] = []
