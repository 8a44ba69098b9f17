"""Tests for the proxy that the tests of faults use."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost as TransportLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import Basic, Channel, Connection, Queue
from txpika.test import proxy
from txpika.test.fakes import content, frame, method
from txpika.test.proxy import ChaosProxy, Pair, Side

HEADER = b"AMQP\0\0\x09\x01"
URI = "amqp://u:p%40w@broker.example:5673/%2Fv?heartbeat=5"
HEARTBEAT = frame(8, 0, b"")


class Socket:
    """
    One end of a connection, without a network.

    @ivar writes: What was written, each write alone.
    @ivar events: What else was done.
    @ivar producer: Who writes to it.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.events: list[str] = []
        self.reading = True
        self.producer: Any = None
        self.streaming = False

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)

    def setTcpNoDelay(self, on: bool) -> None:
        assert on

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        assert data
        assert not self.events, self.events
        self.writes.append(data)

    def loseConnection(self) -> None:
        self.events.append("lose")

    def loseWriteConnection(self) -> None:
        assert self.producer is None
        self.events.append("fin")

    def abortConnection(self) -> None:
        self.events.append("abort")

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer, self.streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self.producer = None

    def startWriting(self) -> None:
        self.events.append("flush")

    def getHandle(self) -> None:
        return None

    def written(self) -> None:
        """All of it has left."""
        self.producer.resumeProducing()


class Bench:
    """A proxy with one pair on two L{Socket}s."""

    def __init__(self, **more: Any) -> None:
        self.clock = Clock()
        self.proxy = ChaosProxy(self.clock, URI, **more)
        self.dialled: list[tuple[Side, Deferred[Any]]] = []
        self.cancelled: list[Side] = []
        self.proxy._dial = self._dial  # type: ignore[method-assign]
        self.pair, self.client, self.broker = self.join()

    def _dial(self, side: Side) -> Deferred[Any]:
        dialling: Deferred[Any] = Deferred(lambda _: self.cancelled.append(side))
        self.dialled.append((side, dialling))
        return dialling

    def join(self) -> tuple[Pair, Socket, Socket]:
        """One more pair, connected."""
        pair = self.proxy.join()
        client, broker = Socket(), Socket()
        pair.client.makeConnection(client)
        held = not client.reading
        side, dialling = self.dialled[-1]
        side.makeConnection(broker)
        dialling.callback(None)
        assert held and client.reading, "read before there was a broker"
        return pair, client, broker

    def upstream(self, data: bytes, step: int = 0) -> None:
        """The client sends."""
        self._send(self.pair.client, data, step)

    def downstream(self, data: bytes, step: int = 0) -> None:
        """The broker sends."""
        self._send(self.pair.broker, data, step)

    def _send(self, side: Side, data: bytes, step: int) -> None:
        for start in range(0, len(data), step or len(data)):
            side.dataReceived(data[start : start + (step or len(data))])

    def lose(self, side: Side, how: type[Exception] = TransportLost) -> None:
        """A side is gone."""
        side.connectionLost(Failure(how()))


PUBLISHES = [content(1, Basic.Publish(0, "", f"q{number}"), b"body %d" % number) for number in range(3)]
#: What a client might send, cut where a trigger could cut it.
SESSION = [HEADER, method(0, Connection.StartOk({}, "PLAIN", b"\0u\0p", "en_US")), HEARTBEAT, *PUBLISHES]


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
        self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["flush"]))
        bench.broker.written()
        self.assertEqual(bench.broker.events, ["flush", "abort"])
        self.assertIsNone(bench.broker.producer)
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

    def test_a_trigger_works_once_and_may_be_cancelled(self) -> None:
        bench = Bench()
        waiting = bench.proxy.cut_before(Basic.Publish)
        waiting.cancel()
        self.failureResultOf(waiting)
        bench.proxy.drop_after(Basic.Ack, direction="downstream")
        bench.upstream(HEADER + PUBLISHES[0])
        self.assertEqual(bench.broker.data, HEADER + PUBLISHES[0])

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
        self.assertEqual((bench.broker.events, bench.client.events), (["abort"], ["flush"]))

    def test_latency_delays_a_cut(self) -> None:
        bench = Bench()
        bench.proxy.latency(2, "upstream")
        bench.proxy.cut_after(Basic.Publish)
        bench.upstream(HEADER + PUBLISHES[0])
        self.assertEqual((bench.client.events, bench.broker.writes), ([], []))
        bench.clock.advance(2)
        self.assertEqual(bench.broker.data, HEADER + method(1, Basic.Publish(0, "", "q0")))
        self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["flush"]))


class FaultTests(SynchronousTestCase):
    """What befalls bytes."""

    def test_bytes_pass(self) -> None:
        for step in range(60):
            bench = Bench()
            bench.upstream(b"".join(SESSION), step)
            bench.downstream(PUBLISHES[0], step)
            self.assertEqual((bench.broker.data, bench.client.data), (b"".join(SESSION), PUBLISHES[0]))
            self.assertEqual(bench.pair.upstream.forwarded, len(b"".join(SESSION)))

    def test_whole_frames_of_one_read_are_one_write(self) -> None:
        bench = Bench()
        bench.upstream(b"".join(SESSION))
        bench.upstream(HEARTBEAT[:5])
        bench.upstream(HEARTBEAT[5:] + HEARTBEAT)
        self.assertEqual(bench.broker.writes, [b"".join(SESSION), HEARTBEAT * 2])

    def test_what_is_no_amqp_passes_as_it_comes(self) -> None:
        for data in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", HEADER + b"\x07" * 8):
            bench = Bench()
            bench.upstream(data[:-1])
            bench.upstream(data[-1:])
            bench.downstream(b"AMQP\3\1\0\0")
            bench.upstream(b"more")
            self.assertEqual((bench.broker.data, bench.client.data), (data + b"more", b"AMQP\3\1\0\0"))

    def test_a_frame_without_its_end(self) -> None:
        bench = Bench(record=True)
        bench.upstream(HEADER + HEARTBEAT + HEARTBEAT[:-1] + b"x" + HEARTBEAT)
        self.assertEqual(bench.broker.data, HEADER + HEARTBEAT + HEARTBEAT[:-1] + b"x" + HEARTBEAT)
        self.assertEqual(bench.proxy.seen("upstream"), [(1, 0, "heartbeat")])

    def test_latency(self) -> None:
        bench = Bench()
        bench.proxy.latency(1.5, "downstream")
        bench.downstream(HEARTBEAT)
        bench.upstream(HEADER)
        self.assertEqual(bench.broker.writes, [HEADER])
        bench.clock.advance(1)
        bench.downstream(PUBLISHES[0])
        bench.pair.broker.readConnectionLost()
        self.assertEqual(bench.client.writes, [])
        bench.clock.advance(0.5)
        self.assertEqual((bench.client.writes, bench.client.events), ([HEARTBEAT], []))
        bench.clock.advance(1)
        self.assertEqual((bench.client.writes, bench.client.events), ([HEARTBEAT, PUBLISHES[0]], ["fin"]))

    def test_latency_ends(self) -> None:
        bench = Bench()
        bench.proxy.latency(100)
        bench.upstream(HEADER)
        bench.upstream(HEARTBEAT)
        bench.proxy.heal()
        bench.upstream(HEARTBEAT)
        self.assertEqual(bench.broker.writes, [HEADER, HEARTBEAT, HEARTBEAT])
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_slicer(self) -> None:
        bench = Bench()
        bench.proxy.slicer(3, "upstream")
        bench.upstream(HEADER + HEARTBEAT)
        self.assertEqual(bench.broker.writes, [HEADER[:3]])
        bench.upstream(HEARTBEAT)
        self.assertEqual(bench.broker.writes, [HEADER[:3]])
        while bench.clock.getDelayedCalls():
            bench.clock.advance(0)
        self.assertEqual([len(each) for each in bench.broker.writes], [3, 3, 3, 3, 3, 1, 3, 3, 2])
        self.assertEqual(bench.broker.data, HEADER + HEARTBEAT * 2)

    def test_bandwidth(self) -> None:
        bench = Bench()
        bench.proxy.bandwidth(100, "upstream")
        bench.upstream(HEADER + frame(3, 1, bytes(84)))
        for _ in range(9):
            bench.clock.advance(0.05)
        self.assertEqual(len(bench.broker.data), 50)
        for _ in range(10):
            bench.clock.advance(0.05)
        self.assertEqual((len(bench.broker.data), bench.clock.getDelayedCalls()), (100, []))

    def test_coalesce_waits_for_bytes(self) -> None:
        bench = Bench()
        bench.proxy.coalesce(24, 1)
        bench.upstream(HEADER)
        bench.upstream(HEARTBEAT)
        self.assertEqual(bench.broker.writes, [])
        bench.upstream(HEARTBEAT)
        self.assertEqual(bench.broker.writes, [HEADER + HEARTBEAT * 2])
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_coalesce_waits_no_longer_than_it_may(self) -> None:
        bench = Bench()
        bench.proxy.coalesce(1000, 1)
        bench.upstream(HEADER)
        bench.clock.advance(0.9)
        bench.upstream(HEARTBEAT)
        self.assertEqual(bench.broker.writes, [])
        bench.clock.advance(0.1)
        self.assertEqual(bench.broker.writes, [HEADER + HEARTBEAT])

    def test_blackhole(self) -> None:
        bench = Bench(record=True)
        bench.proxy.cut_before("heartbeat", 1, "upstream")
        bench.proxy.blackhole("upstream")
        bench.upstream(HEADER + HEARTBEAT)
        bench.upstream(HEARTBEAT[:4])
        bench.downstream(HEARTBEAT)
        self.assertEqual((bench.broker.data, bench.client.data), (b"", HEARTBEAT))
        bench.upstream(HEARTBEAT[4:])
        bench.proxy.heal()
        bench.upstream(PUBLISHES[0])
        self.assertEqual(bench.broker.data, PUBLISHES[0])
        self.assertEqual([seen[2] for seen in bench.proxy.seen("upstream")][1:], ["header", "body"])

    def test_limit_data(self) -> None:
        session = b"".join(SESSION)
        for limit in range(len(session) + 1):
            for step in (0, 1, 7):
                bench = Bench()
                bench.proxy.limit_data(limit, "upstream")
                bench.upstream(session, step)
                self.assertEqual(bench.broker.data, session[:limit])
                self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["flush"]))

    def test_limit_data_counts_from_now_on_and_for_new_pairs(self) -> None:
        bench = Bench()
        bench.upstream(HEADER + HEARTBEAT)
        bench.proxy.limit_data(20, "upstream")
        other, _, upstream = bench.join()
        bench.upstream(HEARTBEAT * 2)
        other.client.dataReceived(HEADER + HEARTBEAT * 2)
        self.assertEqual((len(bench.broker.data), len(upstream.data)), (32, 20))
        self.assertEqual(bench.broker.events, [])

    def test_wrong_arguments(self) -> None:
        proxy = Bench().proxy
        wrong: Any = "up"
        self.assertRaises(ValueError, proxy.blackhole, wrong)
        self.assertRaises(ValueError, proxy.latency, 0)
        self.assertRaises(ValueError, proxy.slicer, -1)

    def test_a_full_side_stops_the_other(self) -> None:
        bench = Bench()
        bench.broker.producer.pauseProducing()
        self.assertEqual((bench.client.reading, bench.broker.reading), (False, True))
        bench.broker.producer.resumeProducing()
        self.assertTrue(bench.client.reading)
        bench.client.producer.pauseProducing()
        self.assertEqual((bench.client.reading, bench.broker.reading), (True, False))

    def test_what_waits_is_bounded(self) -> None:
        bench = Bench()
        bench.proxy.latency(1, "upstream")
        bench.upstream(HEADER)
        body = frame(3, 1, bytes(1 << 18))
        for _ in range(3):
            bench.upstream(body)
        self.assertTrue(bench.client.reading)
        bench.upstream(body)
        self.assertFalse(bench.client.reading)
        bench.broker.producer.pauseProducing()
        bench.clock.advance(1)
        self.assertFalse(bench.client.reading)
        bench.broker.producer.resumeProducing()
        self.assertTrue(bench.client.reading)

    def test_small_pieces_of_a_large_frame_are_cheap(self) -> None:
        bench = Bench()
        body = frame(3, 1, bytes(1 << 18))
        bench.upstream(HEADER + body, 3)
        self.assertEqual(len(bench.broker.data), len(HEADER + body))
        bench.proxy.slicer(3, "upstream")
        bench.upstream(body)
        while bench.clock.getDelayedCalls():
            bench.clock.advance(0)
            bench.broker.writes.clear()
        self.assertEqual(bench.pair.upstream.forwarded, len(HEADER + body * 2))


class EndTests(SynchronousTestCase):
    """How a connection ends."""

    def test_both_sides_finish(self) -> None:
        for first, second in (("client", "broker"), ("broker", "client")):
            bench = Bench()
            bench.upstream(HEADER + HEARTBEAT[:3])
            getattr(bench.pair, first).readConnectionLost()
            self.assertEqual((getattr(bench, second).events, getattr(bench, first).events), (["fin"], []))
            self.assertEqual(bench.broker.data, HEADER + (HEARTBEAT[:3] if first == "client" else b""))
            getattr(bench.pair, second).readConnectionLost()
            self.assertEqual((bench.client.events, bench.broker.events), (["fin", "lose"], ["fin", "lose"]))
            bench.lose(bench.pair.client)
            bench.lose(bench.pair.broker)
            self.assertEqual(bench.proxy.connections, [])

    def test_one_side_finishes_and_the_other_goes_on(self) -> None:
        bench = Bench()
        bench.client.producer.pauseProducing()
        bench.pair.broker.readConnectionLost()
        bench.upstream(HEADER)
        self.assertEqual((bench.client.events, bench.broker.data), (["fin"], HEADER))
        self.assertFalse(bench.broker.reading, "would be told of the end again")

    def test_a_reset_is_passed_on_after_what_came_before_it(self) -> None:
        bench = Bench()
        bench.proxy.latency(1, "upstream")
        bench.upstream(HEADER)
        bench.lose(bench.pair.client)
        bench.downstream(HEARTBEAT)
        self.assertEqual((bench.broker.events, bench.client.writes), ([], []))
        bench.clock.advance(1)
        self.assertEqual((bench.broker.data, bench.broker.events), (HEADER, ["flush"]))
        bench.broker.written()
        self.assertEqual(bench.broker.events, ["flush", "abort"])

    def test_the_end_waits_for_what_is_under_way(self) -> None:
        left = [5, 5, 0]
        self.patch(proxy, "under_way", lambda handle: left.pop(0))
        bench = Bench()
        bench.proxy.cut_after("heartbeat", direction="upstream")
        bench.upstream(HEADER + HEARTBEAT)
        bench.broker.written()
        bench.clock.advance(proxy.LOOK_AGAIN)
        self.assertEqual(bench.broker.events, ["flush"])
        bench.clock.advance(proxy.LOOK_AGAIN)
        self.assertEqual(bench.broker.events, ["flush", "abort"])

    def test_a_reset_while_the_end_waits(self) -> None:
        self.patch(proxy, "under_way", lambda handle: 1)
        bench = Bench()
        bench.proxy.cut_after("heartbeat", direction="upstream")
        bench.upstream(HEADER + HEARTBEAT)
        bench.broker.written()
        bench.lose(bench.pair.client)
        bench.proxy.reset()
        self.assertEqual(bench.broker.events, ["flush", "abort"])
        bench.lose(bench.pair.broker)
        self.assertEqual((bench.clock.getDelayedCalls(), bench.proxy.connections), ([], []))

    def test_a_reset_after_a_fin(self) -> None:
        bench = Bench()
        bench.pair.client.readConnectionLost()
        bench.lose(bench.pair.client)
        self.assertEqual(bench.broker.events, ["fin", "flush"])

    def test_reset(self) -> None:
        bench = Bench()
        bench.proxy.latency(1)
        bench.upstream(HEADER)
        other, client, upstream = bench.join()
        bench.proxy.reset()
        for each in (bench.client, bench.broker, client, upstream):
            self.assertEqual((each.writes, each.events), ([], ["abort"]))
        gone = other.when_gone()
        bench.lose(other.client)
        self.assertNoResult(gone)
        bench.lose(other.broker)
        self.successResultOf(gone)
        self.successResultOf(other.when_gone())
        self.assertEqual(bench.proxy.connections, [bench.pair])
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_half_close(self) -> None:
        bench = Bench()
        bench.upstream(HEADER)
        bench.proxy.half_close("upstream")
        bench.upstream(HEARTBEAT)
        bench.downstream(HEARTBEAT)
        self.assertEqual((bench.broker.data, bench.broker.events), (HEADER, ["fin"]))
        self.assertEqual((bench.client.data, bench.client.events), (HEARTBEAT, []))
        bench.pair.broker.readConnectionLost()
        self.assertEqual(bench.client.events, ["fin"])
        bench.pair.client.readConnectionLost()
        self.assertEqual((bench.client.events, bench.broker.events), (["fin", "lose"], ["fin", "lose"]))

    def test_no_broker(self) -> None:
        bench = Bench()
        pair, client = bench.proxy.join(), Socket()
        pair.client.makeConnection(client)
        bench.proxy.half_close("both")
        bench.dialled[-1][1].errback(Failure(ConnectionRefusedError()))
        self.assertEqual(client.events, ["abort"])
        bench.lose(pair.client)
        self.assertEqual((bench.proxy.connections, bench.proxy.accepted), ([bench.pair], 2))

    def test_the_client_goes_while_the_broker_is_dialled(self) -> None:
        for how in ("lost", "reset"):
            bench = Bench()
            pair, client = bench.proxy.join(), Socket()
            pair.client.makeConnection(client)
            if how == "reset":
                bench.proxy.reset()
            bench.lose(pair.client)
            self.assertEqual((bench.cancelled, bench.proxy.connections), ([pair.broker], [bench.pair]))


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
