"""Tests that what is written at the end of a read need not wait for the reactor, and overtakes nothing."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from twisted.internet import main
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from txpika.core.wire import MAX_CORKED, Wire
from txpika.interfaces import IPromptTransport
from txpika.prompt import PromptTransport, prompt
from txpika.protocol import AMQPProtocol
from txpika.spec import Connection as Methods
from txpika.test.fakes import method
from txpika.test.socket_pair import arrived, socket_pair


class Reactor(Clock):
    """
    Knows who wants to write.

    @ivar asked: How often somebody began to want that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()
        self.problem: object = None
        self.asked = 0

    def addReader(self, reader: object) -> None:
        pass

    def removeReader(self, reader: object) -> None:
        pass

    def addWriter(self, writer: object) -> None:
        self.asked += writer not in self.writers
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)

    def turn(self) -> None:
        """All who want to write do."""
        for writer in list(self.writers):
            self.problem = self.problem or writer.doWrite()


class SocketTestCase(SynchronousTestCase):
    """One end of a pair of sockets is Twisted's, the other the test's."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        ours, self.peer = socket_pair(self)
        made: Any = Connection
        self.below: Any = made(ours, Protocol(), self.reactor)
        self.below.connected = True
        self.below.getPeer = lambda: UNIXAddress(None)
        self.below.logstr = "test"

    def take(self) -> bytes:
        """What has arrived at the other end."""
        return arrived(self.peer)


class PromptTransportTests(SocketTestCase):
    """The transport by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.transport = prompt(self.below)

    def test_interface(self) -> None:
        self.assertIsInstance(self.transport, PromptTransport)
        self.assertTrue(verifyObject(IPromptTransport, self.transport))

    def test_at_once(self) -> None:
        self.transport.writeNow(b"now")
        self.assertEqual((self.take(), self.reactor.asked), (b"now", 0))

    def test_nothing_is_overtaken(self) -> None:
        self.transport.write(b"a")
        self.transport.writeNow(b"b")
        self.transport.write(b"c")
        self.assertEqual(self.take(), b"")
        self.reactor.turn()
        self.assertEqual(self.take(), b"abc")
        self.transport.writeNow(b"d")
        self.assertEqual(self.take(), b"d")

    def test_nor_what_the_socket_has_not_taken(self) -> None:
        data = bytes(range(256)) * 1024
        self.transport.writeNow(data)
        self.transport.writeNow(b"behind")
        taken = self.take()
        self.assertLess(0, len(taken))
        while self.reactor.writers:
            self.transport.writeNow(b"")
            self.reactor.turn()
            taken += self.take()
        self.assertEqual(taken, data + b"behind")

    def test_the_socket_is_full(self) -> None:
        while self.below.writeSomeData(bytes(1024)):
            pass
        self.transport.writeNow(b"last")
        self.take()
        self.reactor.turn()
        self.assertEqual(self.take(), b"last")

    def test_the_peer_is_gone(self) -> None:
        """It is the reactor that finds out, in its turn, as ever."""
        self.peer.close()
        self.transport.writeNow(b"x")
        self.assertEqual(len(self.reactor.writers), 1)
        self.reactor.turn()
        self.assertIsInstance(self.reactor.problem, ConnectionLost)

    def test_disconnected(self) -> None:
        self.below.connected = False
        self.transport.writeNow(b"x")
        self.assertEqual((self.take(), self.reactor.asked), (b"", 0))

    def test_a_transport_that_has_turned_to_TLS(self) -> None:
        """Nothing goes to the socket in plain, whoever did that."""
        written: list[bytes] = []
        self.below.TLS = True
        self.transport.write = self.below.write = written.append
        self.transport.writeNow(b"secret")
        self.assertEqual((self.take(), written), (b"", [b"secret"]))

    def test_closed_while_who_writes_is_paused(self) -> None:
        """
        As C{ClientService} does. Twisted asks for more before it closes, and closes when that is written: what is not
        written but sent would keep it open for ever.
        """
        transport, held = self.transport, [b"last"]

        class Producer:
            def pauseProducing(self) -> None:
                pass

            def resumeProducing(self) -> None:
                if held:
                    transport.writeNow(held.pop())

        self.transport.registerProducer(Producer(), True)
        data = bytes(2 * self.below.bufferSize)
        self.transport.write(data)
        self.assertTrue(self.below.producerPaused)
        self.below.loseConnection()
        taken = b""
        while self.reactor.writers and self.reactor.problem is None:
            self.reactor.turn()
            taken += self.take()
        self.assertEqual(taken, data + b"last")
        self.assertIs(self.reactor.problem, main.CONNECTION_DONE)

    def test_aborted(self) -> None:
        self.below.abortConnection()
        self.transport.writeNow(b"never")
        self.assertEqual(self.take(), b"")

    def test_transports_with_a_write_of_their_own(self) -> None:
        """Whatever that does, it is not passed by."""

        class Counting(Connection):
            def write(self, data: bytes) -> None: ...

        counting: Any = Counting.__new__(Counting)
        self.assertIs(prompt(counting), counting)
        self.below.write = lambda data: None
        self.assertIs(prompt(self.below), self.below)

    def test_others_stay_as_they_are(self) -> None:
        class Unknown(Connection):
            """Of a Twisted that buffers in another way."""

            _tempDataLen = property()

        other: Any = StringTransport()
        unknown: Any = Unknown.__new__(Unknown)
        for transport in (other, unknown):
            self.assertIs(prompt(transport), transport)


class SmallPiecesTests(SynchronousTestCase):
    """The system sends small pieces at once where there is such a choice."""

    class Transport(StringTransport):
        """Writes down what is chosen."""

        chosen: bool | None = None

        def setTcpNoDelay(self, enabled: bool) -> None:
            self.chosen = enabled

    def choice(self, peer: object, problem: OSError | None = None) -> bool | None:
        transport: Any = self.Transport(peerAddress=peer)
        directlyProvides(transport, ITCPTransport)
        if problem is not None:
            transport.setTcpNoDelay = Mock(side_effect=problem)
        protocol: Any = AMQPProtocol(clock=Clock())
        protocol.makeConnection(transport)
        self.addCleanup(protocol.abort)
        self.assertEqual(transport.value()[:4], b"AMQP")
        chosen: bool | None = transport.chosen
        return chosen

    def test_network(self) -> None:
        for kind in (IPv4Address, IPv6Address):
            self.assertIs(self.choice(kind("TCP", "::1", 5672)), True)

    def test_unix_sockets_have_none(self) -> None:
        self.assertIsNone(self.choice(UNIXAddress(b"/tmp/broker")))

    def test_the_peer_is_gone_already(self) -> None:
        self.choice(IPv4Address("TCP", "127.0.0.1", 5672), OSError(22, "Invalid argument"))


class ProtocolTests(SocketTestCase):
    """A connection on it."""

    def test_an_answer_takes_no_turn_of_the_reactor(self) -> None:
        protocol = AMQPProtocol(clock=self.reactor)
        connect: Any = protocol.makeConnection
        connect(self.below)
        self.reactor.turn()
        self.assertEqual(self.take(), b"AMQP\0\0\x09\x01")
        asked = self.reactor.asked
        protocol.dataReceived(method(0, Methods.Start(0, 9, {}, b"PLAIN", b"en_US")))
        self.assertIn(b"guest\0guest", self.take())
        protocol.dataReceived(method(0, Methods.Tune(2047, 131072, 0)))
        self.assertEqual(len(self.take()), 20 + 16, "tune-ok and open, for one read")
        self.assertEqual(self.reactor.asked, asked)
        protocol.abort()


class Recorder:
    """Writes down which way things went."""

    def __init__(self) -> None:
        self.went: list[tuple[str, bytes]] = []

    def write(self, data: bytes) -> None:
        self.went.append(("write", data))

    def writeNow(self, data: bytes) -> None:
        self.went.append(("now", data))


class WireTests(SynchronousTestCase):
    """Which way what is written takes."""

    def setUp(self) -> None:
        self.transport: Any = Recorder()
        directlyProvides(self.transport, IPromptTransport)
        self.wire = Wire()
        connected: Any = self.wire.connected
        connected(self.transport)

    def went(self) -> list[tuple[str, bytes]]:
        went: list[tuple[str, bytes]] = self.transport.went
        self.transport.went = []
        return went

    def test_between_reads(self) -> None:
        """More may follow in this turn, and leaves with it."""
        self.wire.write(b"x")
        self.assertEqual(self.went(), [("write", b"x")])

    def test_in_a_read(self) -> None:
        self.wire.cork()
        self.wire.write(b"a")
        self.wire.write(b"b")
        self.wire.uncork()
        self.assertEqual(self.went(), [("now", b"ab")])

    def test_a_great_deal_in_a_read(self) -> None:
        """Whoever writes and writes, as the network takes it all, would keep the reactor from anything else."""
        large = bytes(MAX_CORKED + 1)
        self.wire.cork()
        self.wire.write(large)
        self.wire.write(b"a")
        self.wire.uncork()
        self.assertEqual(self.went(), [("write", large), ("now", b"a")])

    def test_watched(self) -> None:
        seen: list[bytes] = []
        self.wire.cork()
        self.wire.write(b"a")
        self.wire.tap(lambda ours, data: seen.append(data))
        self.wire.uncork()
        self.assertEqual((seen, self.went()), ([b"a"], [("write", b"a")]))
        self.wire.untap()
        self.wire.cork()
        self.wire.write(b"b")
        self.wire.uncork()
        self.assertEqual((seen, self.went()), ([b"a"], [("now", b"b")]))

    def test_cut(self) -> None:
        self.wire.cork()
        self.wire.write(b"a")
        self.wire.cut()
        self.wire.write(b"b")
        self.wire.uncork()
        self.assertEqual(self.went(), [])
