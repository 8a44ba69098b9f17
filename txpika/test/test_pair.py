"""Tests for the two connections that a proxy makes one: how they end."""

from __future__ import annotations

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txpika.test.proxied import HEADER, HEARTBEAT, Bench, Socket


class EndTests(SynchronousTestCase):
    """How a connection ends."""

    def test_small_writes_do_not_wait(self) -> None:
        bench = Bench()
        self.assertFalse(bench.client.delays or bench.broker.delays)

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
        self.assertEqual((bench.broker.data, bench.broker.events), (HEADER, ["fin"]))

    def test_who_is_left_is_read_to_its_end(self) -> None:
        bench = Bench()
        bench.client.producer.pauseProducing()
        self.assertFalse(bench.broker.reading)
        bench.lose(bench.pair.client)
        self.assertTrue(bench.broker.reading)
        bench.downstream(HEARTBEAT)
        self.assertEqual((bench.client.writes, bench.broker.events), ([], ["fin"]))
        bench.pair.broker.readConnectionLost()
        self.assertEqual(bench.broker.events, ["fin", "lose"])

    def test_who_is_left_has_finished_before(self) -> None:
        bench = Bench()
        bench.pair.broker.readConnectionLost()
        bench.lose(bench.pair.client)
        self.assertEqual(bench.broker.events, ["fin", "lose"])

    def test_a_reset_of_who_is_left(self) -> None:
        bench = Bench()
        bench.lose(bench.pair.client)
        bench.proxy.reset()
        self.assertEqual(bench.broker.events, ["fin", "abort"])
        bench.lose(bench.pair.broker)
        self.assertEqual(bench.proxy.connections, [])

    def test_a_reset_after_a_fin(self) -> None:
        bench = Bench()
        bench.pair.client.readConnectionLost()
        bench.lose(bench.pair.client)
        self.assertEqual(bench.broker.events, ["fin"])

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

    def test_half_close_of_a_full_side(self) -> None:
        bench = Bench()
        bench.broker.producer.pauseProducing()
        bench.proxy.half_close("upstream")
        self.assertTrue(bench.client.reading)

    def test_heal_after_reset(self) -> None:
        bench = Bench()
        bench.proxy.latency(1)
        bench.upstream(HEADER)
        bench.proxy.reset()
        bench.proxy.heal()
        self.assertEqual(bench.broker.writes, [])

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
        joined, client = bench.proxy.join(), Socket()
        joined.client.makeConnection(client)
        bench.proxy.half_close("both")
        bench.dialled[-1][1].errback(Failure(ConnectionRefusedError()))
        self.assertEqual(client.events, ["abort"])
        bench.lose(joined.client)
        self.assertEqual((bench.proxy.connections, bench.proxy.accepted), ([bench.pair], 2))

    def test_the_client_goes_while_the_broker_is_dialled(self) -> None:
        for how in ("lost", "reset"):
            bench = Bench()
            joined, client = bench.proxy.join(), Socket()
            joined.client.makeConnection(client)
            if how == "reset":
                bench.proxy.reset()
                self.assertEqual(bench.cancelled, [joined.broker])
            bench.lose(joined.client)
            self.assertEqual((bench.cancelled, bench.proxy.connections), ([joined.broker], [bench.pair]))
