"""
A client that says what it is told to say and keeps what it hears, for scenarios that run on RabbitMQ and on the broker
in memory alike. It waits by reading; a broker in memory has its clock moved on instead.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from txpika.spec import PROTOCOL_HEADER, Basic, BasicProperties, Channel, Connection, Method, decode_method
from txpika.test.fakes import content, frame, method

#: Seconds that anything may take.
DEADLINE = 20.0

#: What a client that knows all of RabbitMQ's extensions says of itself.
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}

M = TypeVar("M", bound=Method)


class Heard(NamedTuple):
    """A method of the broker, with the message that came with it."""

    number: int
    method: Any
    properties: Any
    body: bytes


class Gone(Exception):
    """The broker closed the transport."""


class Silence(Exception):
    """Nothing came."""


class Socket:
    """The way to a broker by TCP."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), DEADLINE)

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> bytes:
        """What comes next; C{b""} when there will be no more. @raise Silence: nothing came."""
        try:
            return self._socket.recv(65536)
        except TimeoutError:
            raise Silence from None
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._socket.close()


class PlainClient:
    """
    @ivar heard: What came and was not asked for yet.
    @ivar tuned: What the broker proposed.
    """

    def __init__(self, way: Any) -> None:
        self._way = way
        self._data = b""
        self.heard: deque[Heard] = deque()
        self.tuned: Any = None
        self.start: Any = None
        self._content: dict[int, list[Any]] = {}

    def handshake(
        self,
        virtual_host: str = "/",
        response: bytes = b"\0guest\0guest",
        mechanism: str = "PLAIN",
        capabilities: dict[str, bool] = CAPABILITIES,
        tune: Callable[[Any], Method] = lambda offer: Connection.TuneOk(offer.channel_max, offer.frame_max, 0),
    ) -> PlainClient:
        """Until it is open, or the broker has something against it."""
        self.raw(PROTOCOL_HEADER)
        self.start = self.read(Connection.Start).method
        self.send(0, Connection.StartOk({"capabilities": capabilities}, mechanism, response))
        self.tuned = self.read(Connection.Tune).method
        self.send(0, tune(self.tuned), Connection.Open(virtual_host))
        self.read(Connection.OpenOk)
        return self

    def open(self, *numbers: int) -> PlainClient:
        """Open channels."""
        for number in numbers or (1,):
            self.call(number, Channel.Open(), Channel.OpenOk)
        return self

    def raw(self, data: bytes) -> None:
        self._way.write(data)

    def send(self, number: int, *methods: Method) -> None:
        self.raw(b"".join(method(number, each) for each in methods))

    def publish(
        self,
        number: int,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        mandatory: bool = False,
        raw: bytes | None = None,
        **properties: Any,
    ) -> None:
        encoded = BasicProperties(**properties).encode() if raw is None else raw
        self.raw(content(number, Basic.Publish(0, exchange, routing_key, mandatory), body, encoded))

    def call(self, number: int, asked: Method, answer: type[M]) -> M:
        """The next thing heard on the channel must be the answer."""
        self.send(number, asked)
        return self.expect(number, answer)

    def expect(self, number: int, kind: type[M]) -> M:
        heard = self.next(number)
        assert isinstance(heard.method, kind), heard
        return heard.method

    def message(self, number: int, kind: type[Method] = Basic.Deliver) -> Heard:
        """The next thing heard there must be a message."""
        heard = self.next(number)
        assert isinstance(heard.method, kind), heard
        return heard

    def next(self, number: int) -> Heard:
        """The next on that channel; whatever others hear is kept."""
        while True:
            for heard in self.heard:
                if heard.number == number or isinstance(heard.method, Connection.Close):
                    self.heard.remove(heard)
                    return heard
            self._more()

    def read(self, kind: type[Method]) -> Heard:
        """The next thing heard must be of this kind."""
        while not self.heard:
            self._more()
        heard = self.heard.popleft()
        assert isinstance(heard.method, kind), heard
        return heard

    def ends(self) -> bool:
        """Read until the transport is closed."""
        try:
            while True:
                self._more()
        except Gone:
            return True

    def _more(self) -> None:
        data = self._way.read()
        if not data:
            raise Gone(list(self.heard))
        self._data += data
        while len(self._data) >= 7:
            kind, number, size = struct.unpack_from(">BHI", self._data)
            if self._data[:4] == b"AMQP":
                if len(self._data) >= 8:
                    raise Gone(self._data)
                return
            if len(self._data) < size + 8:
                return
            payload, self._data = self._data[7 : size + 7], self._data[size + 8 :]
            self._frame(kind, number, payload)

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        if kind == 1:
            said = decode_method(payload)[0]
            if said.CONTENT:
                self._content[number] = [said, None, -1, b""]
            else:
                self.heard.append(Heard(number, said, None, b""))
        elif kind in (2, 3):
            whole = self._content[number]
            if kind == 2:
                whole[1], whole[2] = BasicProperties.from_wire(payload[12:]), struct.unpack_from(">Q", payload, 4)[0]
            else:
                whole[3] += payload
            if len(whole[3]) == whole[2]:
                self.heard.append(Heard(number, whole[0], whole[1], whole[3]))

    def heartbeat(self) -> None:
        self.raw(frame(8, 0, b""))

    def close(self) -> None:
        self._way.close()
