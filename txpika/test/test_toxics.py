"""Tests for what may befall the bytes in a proxy."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.test.fakes import frame
from txpika.test.proxied import HEADER, HEARTBEAT, PUBLISHES, SESSION, Bench


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

    def test_blackhole_takes_all(self) -> None:
        for data in (HEADER, b"GET / HTTP/1.0"):
            bench = Bench()
            bench.proxy.blackhole()
            bench.upstream(data)
            self.assertEqual(bench.broker.writes, [])

    def test_coalesce_does_not_hurry_what_is_late(self) -> None:
        bench = Bench()
        bench.proxy.latency(1)
        bench.proxy.coalesce(10, 5)
        bench.upstream(HEADER + HEARTBEAT)
        bench.clock.advance(0.5)
        bench.upstream(HEARTBEAT * 2)
        bench.clock.advance(0.5)
        self.assertEqual(bench.broker.writes, [HEADER + HEARTBEAT])
        bench.clock.advance(0.5)
        self.assertEqual(bench.broker.writes, [HEADER + HEARTBEAT, HEARTBEAT * 2])

    def test_the_size_of_pieces_is_the_last_one_said(self) -> None:
        bench = Bench()
        bench.proxy.coalesce(1000, 5, "upstream")
        bench.proxy.slicer(4, "upstream")
        bench.upstream(HEADER)
        self.assertEqual(bench.broker.writes, [HEADER[:4]])
        bench.proxy.coalesce(16, 5, "upstream")
        bench.upstream(HEARTBEAT * 2)
        self.assertEqual(bench.broker.writes[1:], [HEADER[4:] + HEARTBEAT * 2])

    def test_limit_data_ends(self) -> None:
        bench = Bench()
        bench.proxy.limit_data(10)
        bench.upstream(HEADER)
        bench.proxy.heal()
        bench.upstream(HEARTBEAT)
        other, _, upstream = bench.join()
        other.client.dataReceived(HEADER + HEARTBEAT)
        self.assertEqual((bench.broker.data, upstream.data), (HEADER + HEARTBEAT,) * 2)

    def test_limit_data(self) -> None:
        session = b"".join(SESSION)
        for limit in range(len(session) + 1):
            for step in (0, 1, 7):
                bench = Bench()
                bench.proxy.limit_data(limit, "upstream")
                bench.upstream(session, step)
                self.assertEqual(bench.broker.data, session[:limit])
                self.assertEqual((bench.client.events, bench.broker.events), (["abort"], ["fin"]))

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
