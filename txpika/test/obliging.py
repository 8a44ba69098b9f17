"""
A broker in memory that agrees to everything, unless it was told otherwise, for tests of what connects again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from txpika.spec import Basic, Channel, Confirm, Connection, Exchange, Method, Queue, decode_method
from txpika.test.fakes import Transport, content, method

#: What makes the answer to a method; C{None} for none.
Answer = Callable[["Line", int, Any], Method | None]

ANSWERS: dict[type[Method], Answer] = {
    Connection.StartOk: lambda line, number, asked: Connection.Tune(2047, 131072, line.broker.heartbeat),
    Connection.Open: lambda line, number, asked: Connection.OpenOk(),
    Channel.Open: lambda line, number, asked: Channel.OpenOk(),
    Channel.Close: lambda line, number, asked: Channel.CloseOk(),
    Confirm.Select: lambda line, number, asked: Confirm.SelectOk(),
    Exchange.Declare: lambda line, number, asked: Exchange.DeclareOk(),
    Exchange.Delete: lambda line, number, asked: Exchange.DeleteOk(),
    Exchange.Bind: lambda line, number, asked: Exchange.BindOk(),
    Queue.Declare: lambda line, number, asked: Queue.DeclareOk(asked.queue or line.broker.name(), 0, 0),
    Queue.Bind: lambda line, number, asked: Queue.BindOk(),
    Queue.Unbind: lambda line, number, asked: Queue.UnbindOk(),
    Queue.Delete: lambda line, number, asked: Queue.DeleteOk(0),
    Basic.Qos: lambda line, number, asked: Basic.QosOk(),
    Basic.Consume: lambda line, number, asked: Basic.ConsumeOk(asked.consumer_tag),
    Basic.Cancel: lambda line, number, asked: Basic.CancelOk(asked.consumer_tag),
}


def refusal(reply_code: int, reply_text: str = "refused") -> Answer:
    """Close the channel in the place of an answer."""
    return lambda line, number, asked: Channel.Close(reply_code, reply_text, asked.CLASS_ID, asked.METHOD_ID)


class Line:
    """
    One connection to it.

    @ivar transport: The client's.
    @ivar methods: What the client sent, with the channels, but for the handshake.
    @ivar bodies: Of the messages that it published.
    @ivar properties: Of the same, as they came.
    """

    def __init__(self, broker: ObligingBroker, outer: Any) -> None:
        self.broker: ObligingBroker = broker
        self.outer = outer
        self.transport = Transport()
        self.methods: list[tuple[int, Method]] = []
        self.bodies: list[bytes] = []
        self.properties: list[bytes] = []
        self.lost = False
        self._read = 8
        self._published: dict[int, int] = {}
        self._tags: dict[int, int] = {}
        self._confirming: set[int] = set()
        self._deaf: set[int] = set()  # channels that it has closed, and does not listen to any more
        outer.makeConnection(self.transport)

    def send(self, number: int, said: Method) -> None:
        """A method to the client."""
        self.outer.dataReceived(method(number, said))

    def deliver(self, body: bytes, tag: str = "", redelivered: bool = False, properties: bytes = b"\0\0") -> None:
        """A message to a consumer, by default to the one that was made last."""
        for number, asked in reversed(self.methods):
            if isinstance(asked, Basic.Consume) and tag in ("", asked.consumer_tag):
                self._tags[number] = delivery_tag = self._tags.get(number, 0) + 1
                deliver = Basic.Deliver(asked.consumer_tag, delivery_tag, redelivered, "", asked.queue)
                self.outer.dataReceived(content(number, deliver, body, properties))
                return
        raise AssertionError("nobody consumes")

    def sent(self, *kinds: type[Method]) -> list[Method]:
        """What the client sent of these kinds; C{Basic.Deliver} and the like have no place here."""
        return [each for _, each in self.methods if isinstance(each, kinds)]

    def lose(self) -> None:
        """The network is gone."""
        self.lost = True
        self.transport.producer = None
        self.outer.connectionLost(Failure(ConnectionResetError("reset")))

    def _lost(self) -> bool:
        return self.lost

    def pump(self) -> bool:
        """Take what the client sent. @return: Whether there was any."""
        if self.lost:
            return False
        began = self._read
        while self._read + 7 <= len(self.transport.data):
            data = self.transport.data
            kind, number = data[self._read], int.from_bytes(data[self._read + 1 : self._read + 3], "big")
            start = self._read + 7
            end = start + int.from_bytes(data[start - 4 : start], "big")
            self._read = end + 1
            if kind == 1:
                self._method(number, decode_method(data[start:end])[0])
            elif kind == 2:
                self.properties.append(data[start + 12 : end])
                if not any(data[start + 4 : start + 12]):  # no body follows
                    self._taken(number, b"")
            elif kind == 3:
                self.bodies.append(data[start:end])
                self._taken(number, data[start:end])
            if self._lost():
                return True
        if {"lose", "abort"} & set(self.transport.events):
            self.lose()
            return True
        return self._read != began

    def _method(self, number: int, asked: Method) -> None:
        if not isinstance(asked, Connection.StartOk | Connection.TuneOk | Connection.Open):
            self.methods.append((number, asked))
        if isinstance(asked, Confirm.Select):
            self._confirming.add(number)
        if isinstance(asked, Connection.Close):
            self.send(0, Connection.CloseOk())
            return
        if isinstance(asked, Channel.Open):
            self._published[number] = self._tags[number] = 0
            self._confirming.discard(number)
        if isinstance(asked, Channel.CloseOk):
            self._deaf.discard(number)
        if number in self._deaf:
            return
        answer = self.broker.answers.get(type(asked))
        said = None if answer is None or getattr(asked, "nowait", False) else answer(self, number, asked)
        if said is not None:
            self.send(0 if said.CLASS_ID == 10 else number, said)

    def _taken(self, number: int, body: bytes) -> None:
        """A message is whole."""
        if number in self._deaf:
            return
        said = self.broker.refuses.get(body)
        if said is not None:
            self._deaf.add(number)
            self.send(0 if said.CLASS_ID == 10 else number, said)
        elif number in self._confirming and self.broker.confirms:
            self._published[number] += 1
            self.send(number, Basic.Ack(self._published[number]))


@implementer(IStreamClientEndpoint)
class ObligingBroker:
    """
    The endpoint that leads to it, too.

    @ivar lines: All connections so far.
    @ivar answers: How it answers each kind of method; to be changed.
    @ivar up: Whether there is anybody to connect to.
    @ivar confirms: Whether it confirms messages.
    @ivar refuses: What it says, in the place of a confirmation, to a message with such a body.
    @ivar heartbeat: What it proposes, in seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lines: list[Line] = []
        self.answers = dict(ANSWERS)
        self.up = True
        self.confirms = True
        self.refuses: dict[bytes, Method] = {}
        self.heartbeat: int = 0
        self._names = 0

    @property
    def line(self) -> Line:
        """The last connection."""
        return self.lines[-1]

    def name(self) -> str:
        """A name for a queue."""
        self._names += 1
        return f"amq.gen-{self._names}"

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """As an endpoint."""
        if not self.up:
            return fail(ConnectionRefusedError())
        protocol = protocolFactory.buildProtocol(None)
        line = Line(self, protocol)
        self.lines.append(line)
        line.send(0, Connection.Start(0, 9, {"product": "obliging"}, b"PLAIN", b"en_US"))
        return succeed(protocol)

    def run(self, seconds: float = 0.0) -> None:
        """Let so much time pass, and everybody say what they have to say."""
        self.clock.advance(seconds)
        while True:
            progress = [line.pump() for line in list(self.lines)]
            self.clock.advance(0)
            if not any(progress):
                return
