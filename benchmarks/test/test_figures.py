"""Tests for the arithmetic."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.figures import Spread, best_pika, error, losses, ratio, spread, value, verdict, verdicts
from benchmarks.scenario import PIKA, TXPIKA, Metric, Promise, at
from benchmarks.test.made_up import figures, scenario


def middle(found: Spread | None, factor: float = 1.0) -> float:
    """The median, which must be there."""
    assert found is not None
    return round(found.middle * factor, 6)


class SpreadTests(SynchronousTestCase):
    """Medians, and what is around them."""

    def test_median_a_message(self) -> None:
        """CPU and wall clock are medians, in seconds a message; the lowest and the highest are kept."""
        measured = figures(3.0, 100.0, 2.0)
        found = spread(measured, "cpu")
        self.assertEqual(middle(found, 1e6), 3.0)
        self.assertEqual(middle(spread(measured, "wall"), 1e6), 6.0)
        assert found is not None
        self.assertEqual([round(each * 1e6) for each in (found.low, found.high)], [2, 100])
        self.assertEqual(found.rounds, 3)

    def test_memory(self) -> None:
        """Growth is of the process, each of one thing in it; what Python counted is a thing's already."""
        (one,) = figures(1.0, grown=500, traced=40.0)
        metrics: tuple[Metric, ...] = ("grown", "each", "traced")
        self.assertEqual([value(one, metric) for metric in metrics], [500, 50, 40])
        self.assertIsNone(value(figures(1.0)[0], "traced"))

    def test_failures_are_no_figures(self) -> None:
        """A round that failed is left out, and can be asked for."""
        measured = [{"round": 0, "error": "no luck"}, *figures(4.0, first=1)]
        self.assertEqual(middle(spread(measured, "cpu"), 1e6), 4.0)
        self.assertEqual(error(measured), "no luck")
        self.assertIsNone(spread(measured[:1], "cpu"))

    def test_ratio_in_each_round(self) -> None:
        """A ratio is of figures of the same round: a bad minute of the machine, which both had, makes no difference."""
        ours, theirs = figures(5.0, 50.0, 5.0, 6.0), figures(10.0, 100.0, 10.0)
        found = ratio(ours, theirs, "cpu")
        assert found is not None
        self.assertEqual((middle(found), round(found.low, 6), round(found.high, 6), found.rounds), (0.5, 0.5, 0.5, 3))

    def test_ratio_of_different_rounds(self) -> None:
        """Rounds that only one of them has do not count."""
        self.assertIsNone(ratio(figures(5.0), figures(10.0, first=1), "cpu"))
        self.assertEqual(middle(ratio(figures(5.0, 6.0), figures(12.0, first=1), "cpu")), 0.5)


class BestPikaTests(SynchronousTestCase):
    """Which adapter stands for pika."""

    def test_least_cpu(self) -> None:
        """The one with the smallest median, whatever txpika's select adapter takes."""
        measured = {
            "txpika select": figures(1.0, 1.0, 1.0),
            "pika select": figures(9.0, 20.0, 21.0),
            "pika asyncio": figures(12.0, 12.0, 30.0),
        }
        self.assertEqual(best_pika(measured), "pika asyncio")
        self.assertEqual(best_pika({}), "")

    def test_one_that_failed_is_not_the_best(self) -> None:
        """An adapter that was measured in fewer rounds is not compared with: its figure may be luck."""
        measured = {"pika select": figures(1.0), "pika asyncio": figures(12.0, 12.0)}
        self.assertEqual(best_pika(measured), "pika asyncio")


class VerdictTests(SynchronousTestCase):
    """Promises."""

    def test_limit_of_a_ratio(self) -> None:
        """A promise is kept at exactly its ratio, missed above it, and neither without a figure."""
        one = scenario(promises=(Promise(0.5, to=PIKA),))
        for ours, met in ((figures(5.0), True), (figures(5.1), False), ([], None)):
            (found,) = verdicts([one], {"key": {TXPIKA: ours, "pika select": figures(10.0)}})
            self.assertIs(found.met, met)
            self.assertEqual(found.to, "pika select")

    def test_limit_of_memory(self) -> None:
        """Without anybody to compare with the limit is in bytes."""
        promise = Promise(100.0, "grown")
        for grown, met in ((100, True), (101, False)):
            found = verdict(scenario(), promise, {"key": {TXPIKA: figures(1.0, grown=grown)}})
            self.assertIs(found.met, met)
            self.assertEqual(found.to, "")

    def test_of_wall_clock(self) -> None:
        """What is compared is what the promise is about."""
        ours, theirs = figures(5.0, wall=8.0), figures(1.0, wall=10.0)
        found = verdict(
            scenario(), Promise(0.8, "wall", to="rabbitmq-c"), {"key": {TXPIKA: ours, "rabbitmq-c": theirs}}
        )
        self.assertIs(found.met, True)

    def test_of_another_scenario(self) -> None:
        """A promise may compare with our own figures in another scenario, whatever is in its own."""
        promise = Promise(1.3, to=TXPIKA, scenario="other")
        for ours, met in ((6.5, True), (6.6, False)):
            results = {"other": {TXPIKA: figures(5.0)}, "key": {TXPIKA: figures(ours)}}
            self.assertIs(verdict(scenario(), promise, results).met, met)
        self.assertIsNone(verdict(scenario(), promise, {"key": {TXPIKA: figures(1.0)}}).met)

    def test_of_two_points(self) -> None:
        """The cost at one end is compared with that at the other."""
        promise = Promise(1.25, ours=at(TXPIKA, 1_000), to=at(TXPIKA, 1))
        results = {"key": {at(TXPIKA, 1): figures(4.0), at(TXPIKA, 1_000): figures(5.1)}}
        found = verdict(scenario(points=(1, 1_000)), promise, results)
        self.assertEqual(middle(found.found), 1.275)
        self.assertIs(found.met, False)

    def test_a_peer_called_pika(self) -> None:
        """Where there is one called just pika, that one is meant, and none of its adapters."""
        measured = {"txpika blocking": figures(5.0), "pika": figures(10.0), "pika twisted": figures(1.0)}
        found = verdict(scenario(), Promise(1.0, ours="txpika blocking", to=PIKA), {"key": measured})
        self.assertEqual((found.to, middle(found.found)), ("pika", 0.5))

    def test_for_a_file(self) -> None:
        """What is written names the adapter that was the best."""
        results = {"key": {TXPIKA: figures(5.0), "pika select": figures(10.0)}}
        written = verdict(scenario(), Promise(0.5, to=PIKA), results).to_json()
        self.assertEqual((written["to"], written["at_most"], written["met"]), ("pika select", 0.5, True))


class LossTests(SynchronousTestCase):
    """Where somebody is cheaper."""

    def test_cheaper_in_cpu_and_wall(self) -> None:
        """Each respect counts for itself."""
        measured = {TXPIKA: figures(5.0, wall=1.0), "rabbitmq-c": figures(4.0, wall=2.0), "aiormq": figures(6.0)}
        found = losses([scenario()], {"key": {**measured, "aiormq": figures(6.0, wall=2.0)}})
        self.assertEqual(
            [(each.metric, each.theirs, middle(each.found)) for each in found], [("cpu", "rabbitmq-c", 1.25)]
        )

    def test_equal_is_no_loss(self) -> None:
        """Nor is it one to be cheaper than oneself."""
        measured = {TXPIKA: figures(5.0), "txpika select": figures(4.0), "rabbitmq-c": figures(4.98)}
        self.assertEqual(losses([scenario()], {"key": measured}), [])

    def test_other_ways_with_their_like(self) -> None:
        """An adapter is compared with those that serve the same kind of program."""
        measured = {
            TXPIKA: figures(1.0),
            "txpika blocking": figures(5.0),
            "txpika select": figures(5.0),
            "pika select": figures(4.0),
            "py-amqp": figures(3.0),
        }
        found = [(each.ours, each.theirs) for each in losses([scenario()], {"key": measured}) if each.metric == "cpu"]
        self.assertEqual(found, [("txpika blocking", "py-amqp"), ("txpika select", "pika select")])

    def test_at_the_same_point(self) -> None:
        """Many of ours are not compared with one of theirs."""
        measured = {
            at(TXPIKA, 1): figures(2.0),
            at(TXPIKA, 1_000): figures(5.0),
            "rabbitmq-c at 1": figures(3.0),
            "rabbitmq-c at 1,000": figures(4.0),
        }
        found = [(each.ours, each.theirs) for each in losses([scenario()], {"key": measured}) if each.metric == "cpu"]
        self.assertEqual(found, [(at(TXPIKA, 1_000), "rabbitmq-c at 1,000")])

    def test_memory(self) -> None:
        """Where memory is measured nothing else is compared; where things are opened their CPU is, too."""
        measured = {TXPIKA: figures(5.0, grown=50), "rabbitmq-c": figures(4.0, grown=40)}
        for metric, compared in (("grown", {"grown"}), ("each", {"each", "cpu"})):
            found = losses([scenario(metric=metric)], {"key": measured})
            self.assertEqual({each.metric for each in found}, compared)
