"""Tests for what is measured, and promised."""

from __future__ import annotations

import pkgutil

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import scenarios
from benchmarks.__main__ import can_be_judged
from benchmarks.clients import PROGRAMS, importing
from benchmarks.scenario import PIKA, RABBITMQ_C, TXPIKA, at
from benchmarks.scenarios import SCENARIOS, chosen
from benchmarks.test.made_up import scenario

#: What we promise: the scenario, what is compared, whose, with whose, and the limit. None may be lost, or loosened.
PROMISED = {
    ("publish", "cpu", TXPIKA, RABBITMQ_C, 1.0),
    ("publish", "cpu", TXPIKA, PIKA, 0.30),
    ("publish", "cpu", "txpika select", "pika select", 0.50),
    ("publish", "cpu", "txpika blocking", "pika blocking", 0.50),
    ("publish", "wall", TXPIKA, RABBITMQ_C, 1.15),
    ("confirmed", "cpu", TXPIKA, PIKA, 0.40),
    ("mandatory", "cpu", TXPIKA, TXPIKA, 1.30),
    ("consume", "cpu", TXPIKA, RABBITMQ_C, 1.4),
    ("consume", "cpu", TXPIKA, PIKA, 0.35),
    ("consume", "wall", TXPIKA, RABBITMQ_C, 1.15),
    ("auto_ack", "cpu", TXPIKA, RABBITMQ_C, 2.2),
    ("auto_ack", "cpu", TXPIKA, PIKA, 0.40),
    ("auto_ack", "cpu", "txpika select", "pika select", 0.50),
    ("auto_ack", "cpu", "txpika blocking", "pika blocking", 0.50),
    ("auto_ack", "wall", TXPIKA, RABBITMQ_C, 1.15),
    ("declare", "cpu", "txpika blocking", "py-amqp", 1.0),
    ("declare", "cpu", TXPIKA, "pika twisted", 0.60),
    ("declare", "cpu", "txpika select", "pika select", 0.60),
    ("declare", "cpu", "txpika blocking", "pika blocking", 0.60),
    ("declare", "cpu", "txpika asyncio", "pika asyncio", 0.60),
    ("publish_1mb", "cpu", TXPIKA, "py-amqp", 1.0),
    ("publish_1mb", "cpu", TXPIKA, PIKA, 0.35),
    ("auto_ack_1mb", "cpu", TXPIKA, "py-amqp", 1.0),
    ("auto_ack_1mb", "cpu", TXPIKA, PIKA, 0.35),
    ("flat_channels", "cpu", at(TXPIKA, 1_000), at(TXPIKA, 1), 1.5),
    ("flat_consumers", "cpu", at(TXPIKA, 1_000), at(TXPIKA, 1), 1.5),
    ("flat_unacked", "cpu", at(TXPIKA, 100_000), at(TXPIKA, 10), 1.3),
    ("flat_unconfirmed", "cpu", at(TXPIKA, 100_000), at(TXPIKA, 10), 1.5),
    ("memory_publish", "grown", TXPIKA, "", 30e6),
    ("memory_receive", "grown", TXPIKA, "", 30e6),
    ("memory_receive", "grown", TXPIKA, "", 2.2 * 15 * 1024 * 1024),
    ("footprint_connections", "each", TXPIKA, "", 60e3),
    ("footprint_channels", "each", TXPIKA, "", 4e3),
    ("imports", "cpu", "txpika", "", 0.015),
    ("imports", "cpu", "txpika blocking", "pika", 1.0),
}


class ScenarioTests(SynchronousTestCase):
    """What there is."""

    def test_each_module_is_found(self) -> None:
        """A file in the folder is a scenario with the file's name, a text for the page and a place of its own."""
        self.assertEqual(
            {each.key for each in SCENARIOS}, {one.name for one in pkgutil.iter_modules(scenarios.__path__)}
        )
        self.assertTrue(all(each.about for each in SCENARIOS))
        self.assertEqual(len({each.order for each in SCENARIOS}), len(SCENARIOS))

    def test_promises(self) -> None:
        """All promises are there, and nothing else is promised."""
        found = {
            (each.key, promise.what, promise.ours, promise.to, promise.at_most)
            for each in SCENARIOS
            for promise in each.promises
        }
        self.assertEqual(found, PROMISED)

    def test_promises_can_be_judged(self) -> None:
        """Whatever a promise needs is measured in a whole run."""
        for each in SCENARIOS:
            for promise in each.promises:
                self.assertTrue(can_be_judged(promise, each, list(SCENARIOS)), (each.key, promise))

    def test_peers(self) -> None:
        """Who takes part can be measured, and who takes part in a quick run takes part in others."""
        for each in SCENARIOS:
            known = set(importing.PROGRAMS) if each.program == "importing" else {*PROGRAMS, RABBITMQ_C}
            self.assertLessEqual(set(each.peers), known, each.key)
            self.assertLessEqual(set(each.quick), set(each.peers), each.key)

    def test_everybody_takes_part(self) -> None:
        """In what all can do, all do."""
        for key in ("publish", "confirmed", "consume", "auto_ack", "declare", "publish_1mb", "auto_ack_1mb"):
            self.assertEqual(set(chosen(key)[0].peers), {*PROGRAMS, RABBITMQ_C}, key)

    def test_as_many_as_was_promised(self) -> None:
        """Footprints are of two thousand things."""
        for key in ("footprint_connections", "footprint_channels"):
            self.assertEqual(chosen(key)[0].peers[TXPIKA], 2_000)


class ChoiceTests(SynchronousTestCase):
    """Which of them are measured."""

    def test_all(self) -> None:
        """No keys mean all scenarios."""
        self.assertEqual(chosen(""), list(SCENARIOS))

    def test_comparison_comes_along(self) -> None:
        """A scenario that is compared with another brings that, in the order of the tables."""
        self.assertEqual([one.key for one in chosen("mandatory,publish")], ["publish", "confirmed", "mandatory"])

    def test_unknown(self) -> None:
        """A key that is not a scenario's is named."""
        error = self.assertRaises(ValueError, chosen, "publish,nonsense")
        self.assertTrue(str(error).startswith("no such scenario: nonsense; "))

    def test_quick(self) -> None:
        """A quick run takes half the messages and few peers, but measures memory with as many messages."""
        self.assertEqual(scenario(quick=(TXPIKA,)).smaller().peers, {TXPIKA: 5})
        self.assertEqual(scenario(quick=(TXPIKA,), metric="grown").smaller().peers, {TXPIKA: 10})

    def test_names(self) -> None:
        """Figures have the name of the peer, or one for each point."""
        self.assertEqual(scenario().names(TXPIKA), [TXPIKA])
        self.assertEqual(scenario(points=(1, 1_000)).names("a"), ["a at 1", "a at 1,000"])
