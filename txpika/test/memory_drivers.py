"""
The two brokers that scenarios run on, the one in memory and RabbitMQ, behind one small interface.

A scenario is a class with tests in it, mixed with L{InMemory} and again with L{OnRabbitMQ}. Where they differ on
purpose the scenario asks C{is_memory}; L{DIFFERENCES} says why.
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import Basic, Channel, Confirm, Queue
from txpika.test import broker
from txpika.test.plain_client import DEADLINE, PlainClient, Silence, Socket
from txpika.testing.broker import MemoryBroker

#: Where the broker in memory is otherwise than RabbitMQ 3.10, and why.
DIFFERENCES = {
    "closes in words": "What RabbitMQ answers by dropping the connection without a word (limits out of range, no such "
    "SASL mechanism, methods that do not exist, arguments that make no sense) ends with connection.close here: a test "
    "that runs into it should be told why.",
    "codes of the specification": "Frames out of place end with the codes of the specification (501, 503, 504, 505), "
    "where RabbitMQ has one code for several of them.",
    "text is UTF-8": "Names that are not UTF-8, or have a NUL in them, end with 501, where RabbitMQ takes any bytes. "
    "Routing keys of messages may be any bytes here, too.",
    "classic queues only": "x-queue-type quorum and stream are refused as RabbitMQ refuses an unknown type.",
    "no permissions": "A user may do everything in a virtual host that it may enter.",
    "at once": "Things happen in the order in which a client asks for them, also between channels and connections; "
    "RabbitMQ gives no such promise.",
}


class Way:
    """The way to the broker in memory: a transport for the broker, and what a client needs of one."""

    def __init__(self, memory: MemoryBroker, clock: Clock) -> None:
        self._clock = clock
        self._data = b""
        self.closed = False
        self.reading = True
        self.producer: Any = None
        self.connection = memory.connect(self)  # type: ignore[arg-type]

    # A transport

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        assert self.producer is None
        self.closed = True

    abortConnection = loseConnection

    # A client's way; C{write} is of both

    def write(self, data: bytes) -> None:
        self._data += data

    def send(self, data: bytes) -> None:
        if not self.closed:
            self.connection.data_received(data)

    def read(self) -> bytes:
        """What came. When there is nothing, time passes until there is."""
        deadline = self._clock.seconds() + DEADLINE
        while not self._data and not self.closed:
            times = [call.getTime() for call in self._clock.getDelayedCalls()]
            if not times or min(times) > deadline:
                raise Silence
            self._clock.advance(max(0.0, min(times) - self._clock.seconds()))
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.connection_lost()


class Scenario(SynchronousTestCase):
    """What both have in common."""

    is_memory: bool
    #: It is RabbitMQ 4.0 or later, which the broker in memory is not: it keeps to the words of 3.10.
    is_later = False
    #: A SASL PLAIN response that lets a client in, and whose it is.
    response: bytes
    user: str

    def way(self) -> Any:
        """A way to the broker."""
        raise NotImplementedError

    def name(self, name: str = "q") -> str:
        """A name that no other test has."""
        return f"{self._id}-{name}"

    def setUp(self) -> None:
        self._id = uuid.uuid4().hex[:12]

    def stranger(self) -> PlainClient:
        """A client that has not said anything."""
        client = PlainClient(self.way())
        self.addCleanup(client.close)
        return client

    def connected(self, **arguments: Any) -> PlainClient:
        """A client with an open connection."""
        return self.stranger().handshake(**{"response": self.response, **arguments})

    def client(self, *numbers: int) -> PlainClient:
        """A client with open channels, by default number 1."""
        return self.connected().open(*numbers)

    def declared(self, client: PlainClient, name: str = "q", /, **arguments: Any) -> str:
        """Declare a queue, on channel 1. C{x_max_length=5} is an argument of that name with dashes."""
        extra = {key.replace("_", "-"): value for key, value in arguments.items() if key.startswith("x_")}
        plain = {key: value for key, value in arguments.items() if not key.startswith("x_")}
        queue = self.name(name)
        client.call(1, Queue.Declare(0, queue, arguments=extra, **plain), Queue.DeclareOk)
        return queue

    def confirming(self, client: PlainClient, number: int = 1) -> None:
        client.call(number, Confirm.Select(), Confirm.SelectOk)

    def consume(self, client: PlainClient, queue: str, tag: str = "t", number: int = 1, **arguments: Any) -> None:
        client.call(number, Basic.Consume(0, queue, tag, **arguments), Basic.ConsumeOk)

    def get(self, client: PlainClient, queue: str, no_ack: bool = True, number: int = 1) -> Any:
        """The next message, C{None} when there is none."""
        client.send(number, Basic.Get(0, queue, no_ack))
        heard = client.next(number)
        if isinstance(heard.method, Basic.GetEmpty):
            return None
        self.assertIsInstance(heard.method, Basic.GetOk)
        return heard

    def bodies(self, client: PlainClient, queue: str) -> list[bytes]:
        """All that waits in a queue, which is empty then."""
        found = []
        while (heard := self.get(client, queue)) is not None:
            found.append(heard.body)
        return found

    def deliveries(self, client: PlainClient, count: int, number: int = 1) -> list[bytes]:
        """The bodies of the next deliveries."""
        return [client.message(number).body for _ in range(count)]

    def quiet(self, client: PlainClient, number: int = 1) -> None:
        """Nothing more comes on the channel before the answer to what is asked now."""
        client.call(number, Channel.Flow(True), Channel.FlowOk)

    def count(self, client: PlainClient, queue: str, number: int = 1) -> tuple[int, int]:
        """How many messages and consumers a queue has."""
        ok = client.call(number, Queue.Declare(0, queue, passive=True), Queue.DeclareOk)
        return ok.message_count, ok.consumer_count

    def refused(self, client: PlainClient, number: int, code: int, text: str) -> Any:
        """The channel, or the connection for number 0, is closed with these words."""
        close = client.next(number).method
        self.assertEqual((close.NAME.split(".")[1], close.reply_code, close.reply_text), ("Close", code, text))
        return close


class InMemory(Scenario):
    """A broker for each test."""

    is_memory = True
    response = b"\0guest\0guest"
    user = "guest"

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock)

    def tearDown(self) -> None:
        self.assertEqual(self.broker.dirty, [])

    def way(self) -> Any:
        return Both(Way(self.broker, self.clock))


class Both:
    """A client's view of a way: writing is sending."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.write = way.send
        self.read = way.read
        self.close = way.close


class OnRabbitMQ(Scenario):
    """The one that the tests run against."""

    is_memory = False

    def setUp(self) -> None:
        super().setUp()
        self._where = urlsplit(broker.require_broker())
        self.user, password = unquote(self._where.username or ""), unquote(self._where.password or "")
        self.response = f"\0{self.user}\0{password}".encode()
        version = self.connected().start.server_properties["version"]
        self.is_later = int(version.partition(".")[0]) >= 4

    def way(self) -> Any:
        assert self._where.hostname is not None and self._where.port is not None
        return Socket(self._where.hostname, self._where.port)
