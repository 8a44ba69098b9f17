"""Tests for the proxy that the tests of faults use: cuts at a frame, and what it has seen."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txpika.spec import Basic, Channel, Queue
from txpika.test.fakes import frame, method
from txpika.test.proxied import HEADER, HEARTBEAT, PUBLISHES, SESSION, URI, Bench
from txpika.test.proxy import HOST, ChaosProxy
from txpika.test.toxics import Direction


class TriggerTests(SynchronousTestCase):
    """Frames are found and cut at, however the bytes come."""

    def bench(self, step: int, trigger: str, *arguments: Any) -> tuple[Bench, list[int]]:
        bench = Bench(record=True)
        fired: list[int] = []
        getattr(bench.proxy, trigger)(*arguments).addCallback(fired.append)
        bench.upstream(b"".join(SESSION), step)
        return bench, fired

    def each_step(self) -> range:
        return range(len(b"".join(SESSION)) + 1)

    def assertCut(self, bench: Bench, fired: list[int], expected: bytes) -> None:
        self.assertEqual(bench.broker.data, expected)
        self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["fin"]))
        bench.pair.broker.readConnectionLost()
        self.assertEqual(bench.broker.events, ["fin", "lose"])
        bench.lose(bench.pair.client)
        self.assertEqual((fired, bench.proxy.connections), ([], [bench.pair]))
        bench.lose(bench.pair.broker)
        self.assertEqual((fired, bench.proxy.connections), ([1], []))
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_cut_before(self) -> None:
        for step in self.each_step():
            bench, fired = self.bench(step, "cut_before", Basic.Publish, 2)
            self.assertCut(bench, fired, b"".join(SESSION[:4]))
            self.assertEqual([seen[2] for seen in bench.proxy.seen("upstream")][-2:], ["header", "body"])

    def test_cut_after(self) -> None:
        for step in self.each_step():
            bench, fired = self.bench(step, "cut_after", Basic.Publish, 2)
            self.assertCut(bench, fired, b"".join(SESSION[:4]) + method(1, Basic.Publish(0, "", "q1")))
            self.assertEqual(bench.proxy.seen("upstream")[-1], (1, 1, Basic.Publish(0, "", "q1")))

    def test_cut_between_header_and_body(self) -> None:
        for step in self.each_step():
            bench, fired = self.bench(step, "cut_before", "body", 3, "upstream")
            self.assertCut(bench, fired, b"".join(SESSION)[: -len(frame(3, 1, b"body 2"))])

    def test_cut_after_the_last_frame(self) -> None:
        for step in self.each_step():
            bench, fired = self.bench(step, "cut_after", "body", 3, "upstream")
            self.assertCut(bench, fired, b"".join(SESSION))

    def test_cut_at_a_heartbeat(self) -> None:
        bench, fired = self.bench(0, "cut_before", "heartbeat", 1, "upstream")
        self.assertCut(bench, fired, b"".join(SESSION[:2]))

    def test_drop_after(self) -> None:
        for step in self.each_step():
            bench, fired = self.bench(step, "drop_after", "header", 2, "upstream")
            self.assertEqual(bench.broker.data, b"".join(SESSION[:4]) + method(1, Basic.Publish(0, "", "q1")))
            self.assertEqual((fired, bench.client.events, bench.broker.events), ([1], [], []))
            self.assertEqual(bench.proxy.seen("upstream")[-1], (1, 1, Basic.Publish(0, "", "q1")))
            bench.downstream(HEARTBEAT)
            self.assertEqual(bench.client.data, HEARTBEAT)
            bench.proxy.heal()
            bench.upstream(HEARTBEAT)
            self.assertTrue(bench.broker.data.endswith(method(1, Basic.Publish(0, "", "q1"))))
            bench.proxy.reset()
            bench.lose(bench.pair.client)
            bench.lose(bench.pair.broker)
            self.assertEqual(fired, [1])

    def test_nothing_comes_back_after_a_cut(self) -> None:
        bench, _ = self.bench(0, "cut_after", Basic.Publish)
        bench.downstream(HEARTBEAT)
        self.assertEqual(bench.client.writes, [])

    def test_frames_are_counted_over_all_pairs(self) -> None:
        bench = Bench()
        bench.upstream(HEADER + PUBLISHES[0])
        fired: list[int] = []
        bench.proxy.cut_before(Basic.Publish, 3).addCallback(fired.append)
        other, client, upstream = bench.join()
        bench.upstream(PUBLISHES[0])
        other.client.dataReceived(HEADER + b"".join(PUBLISHES))
        self.assertEqual(upstream.data, HEADER + PUBLISHES[0])
        self.assertEqual((client.events, bench.client.events), (["abort"], []))
        bench.lose(other.client)
        bench.lose(other.broker)
        self.assertEqual(fired, [2])

    def test_two_triggers_at_one_frame(self) -> None:
        bench = Bench()
        fired: list[str] = []
        bench.proxy.drop_after(Basic.Publish).addCallback(lambda _: fired.append("drop"))
        bench.proxy.cut_after(Basic.Publish).addCallback(lambda _: fired.append("cut"))
        bench.upstream(HEADER + PUBLISHES[0])
        self.assertEqual((fired, bench.broker.data, bench.broker.events), (["drop", "cut"], HEADER, []))

    def test_a_trigger_where_the_limit_is(self) -> None:
        bench = Bench()
        bench.proxy.limit_data(len(HEADER), "upstream")
        bench.proxy.cut_before(Basic.Publish)
        bench.upstream(HEADER + PUBLISHES[0])
        self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["fin"]))

    def test_a_trigger_works_once_and_may_be_cancelled(self) -> None:
        bench = Bench()
        waiting = bench.proxy.cut_before(Basic.Publish)
        waiting.cancel()
        self.failureResultOf(waiting)
        bench.proxy.drop_after(Basic.Ack, direction="downstream")
        bench.upstream(HEADER + PUBLISHES[0])
        self.assertEqual(bench.broker.data, HEADER + PUBLISHES[0])
        bench.proxy.cut_after(Basic.Publish)
        bench.upstream(PUBLISHES[0])
        other, _, upstream = bench.join()
        other.client.dataReceived(HEADER + PUBLISHES[0])
        self.assertEqual(upstream.data, HEADER + PUBLISHES[0])
        self.assertEqual(bench.proxy._rules["upstream"].triggers, [])

    def test_the_direction_of_a_trigger(self) -> None:
        proxy = Bench().proxy
        for frame_ in (Basic.Ack, Channel.Flow, "body"):
            self.assertRaises(ValueError, proxy.cut_before, frame_)
        self.assertRaises(ValueError, proxy.cut_before, Basic.Publish, 0)
        bench, fired = Bench(), list[int]()
        bench.proxy.cut_before(Queue.DeclareOk).addCallback(fired.append)
        bench.upstream(HEADER)
        bench.downstream(HEARTBEAT + method(1, Queue.DeclareOk("q", 0, 0)))
        self.assertEqual(bench.client.data, HEARTBEAT)
        self.assertEqual((bench.broker.events, bench.client.events), (["abort"], ["fin"]))

    def test_latency_delays_a_cut(self) -> None:
        bench = Bench(record=True)
        bench.proxy.latency(2, "upstream")
        bench.proxy.cut_after(Basic.Publish)
        bench.upstream(HEADER + PUBLISHES[0])
        self.assertEqual((bench.client.events, bench.broker.writes), ([], []))
        bench.upstream(HEARTBEAT)
        bench.clock.advance(2)
        self.assertEqual(bench.broker.data, HEADER + method(1, Basic.Publish(0, "", "q0")))
        self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["fin"]))
        self.assertEqual(bench.proxy.seen("upstream"), [(1, 1, Basic.Publish(0, "", "q0"))])


class RecordTests(SynchronousTestCase):
    """What went by."""

    def test_seen(self) -> None:
        bench = Bench(record=True)
        bench.upstream(HEADER + PUBLISHES[0])
        bench.downstream(
            method(1, Basic.Ack(1, False)) + HEARTBEAT + frame(1, 5, b"\0\0") + frame(1, 5, b"\0\x3c\0\x3c")
        )
        other, _, _ = bench.join()
        other.client.dataReceived(HEADER + HEARTBEAT)
        self.assertEqual(
            bench.proxy.seen("upstream"),
            [(1, 1, Basic.Publish(0, "", "q0")), (1, 1, "header"), (1, 1, "body"), (2, 0, "heartbeat")],
        )
        self.assertEqual(
            bench.proxy.seen("downstream"),
            [(1, 1, Basic.Ack(1, False)), (1, 0, "heartbeat"), (1, 5, "method"), (1, 5, "method")],
        )

    def test_a_method_without_its_numbers(self) -> None:
        bench = Bench(record=True)
        bench.downstream(frame(1, 5, b""))
        self.assertEqual(bench.proxy.seen("downstream"), [(1, 5, "method")])

    def test_nothing_is_kept_unless_asked_for(self) -> None:
        bench = Bench()
        bench.upstream(HEADER + PUBLISHES[0])
        bench.proxy.record((Basic.Ack, "heartbeat"))
        bench.upstream(PUBLISHES[0] + method(1, Basic.Ack(3, False)) + HEARTBEAT)
        bench.proxy.record(False)
        bench.upstream(HEARTBEAT)
        self.assertEqual(bench.proxy.seen("upstream"), [(1, 1, Basic.Ack(3, False)), (1, 0, "heartbeat")])

    def test_uri(self) -> None:
        proxy = ChaosProxy(Clock(), URI)
        proxy.port = 1234
        self.assertEqual(proxy.uri, "amqp://u:p%40w@127.0.0.1:1234/%2Fv?heartbeat=5")
        self.assertEqual(proxy._target, ("broker.example", 5673))
        proxy = ChaosProxy(Clock(), "amqp://localhost")
        self.assertEqual((proxy.uri, proxy._target), ("amqp://127.0.0.1:0", ("localhost", 5672)))


class Talker(Protocol):
    """Sends what it is told to when it is connected, and keeps what it gets."""

    def __init__(self, says: bytes) -> None:
        self.says = says
        self.data = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.says)

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class SocketTests(TestCase):
    """Real sockets, and no broker."""

    timeout = 30

    async def cut(self, direction: Direction, upstream: bytes, downstream: bytes) -> tuple[bytes, bytes]:
        """@return: What server and client got until the first heartbeat in that direction, and with it."""
        server, client = Talker(downstream), Talker(upstream)
        factory = Factory.forProtocol(lambda: server)
        listening = await TCP4ServerEndpoint(reactor, 0, interface=HOST).listen(factory)
        proxy = ChaosProxy(reactor, f"amqp://{HOST}:{listening.getHost().port}")
        await proxy.start()
        cut = proxy.cut_after("heartbeat", direction=direction)
        await connectProtocol(HostnameEndpoint(reactor, HOST, proxy.port), client)
        await cut
        await server.lost
        await client.lost
        await proxy.stop()
        await listening.stopListening()
        return server.data, client.data

    async def test_what_comes_before_a_cut_arrives(self) -> None:
        for size in (0, 10, 100_000, 10_000_000):
            frames = frame(3, 1, bytes(size)) + HEARTBEAT
            server, _ = await self.cut("upstream", HEADER + frames * 2, frame(3, 1, bytes(3_000_000)))
            self.assertTrue(server == HEADER + frames, len(server))
            _, client = await self.cut("downstream", HEADER + frame(3, 1, bytes(3_000_000)), frames * 2)
            self.assertTrue(client == frames, len(client))
