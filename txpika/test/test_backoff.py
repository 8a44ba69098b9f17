# -*- test-case-name: txpika.test.test_backoff -*-
"""Tests for L{txpika.backoff}."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from txpika.backoff import STABLE, Backoff


class BackoffTests(SynchronousTestCase):
    """Delays between attempts, in seconds."""

    def test_doubles_up_to_a_limit(self) -> None:
        backoff = Backoff(chance=lambda: 0.0)
        delays = []
        for _ in range(9):
            backoff.failed()
            delays.append(backoff.delay())
        self.assertEqual(delays, [0.5, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_never_overflows(self) -> None:
        backoff = Backoff(chance=lambda: 0.0)
        for _ in range(10_000):
            backoff.failed()
        self.assertEqual(backoff.delay(), 30)

    def test_begins_anew_when_it_has_worked(self) -> None:
        backoff = Backoff(chance=lambda: 0.0)
        for _ in range(5):
            backoff.failed()
        backoff.lost(STABLE - 0.1)
        self.assertEqual(backoff.delay(), 16)
        backoff.lost(STABLE)
        self.assertEqual(backoff.delay(), 0.5)

    def test_hopeless_is_slow_at_once_and_until_it_is_not(self) -> None:
        backoff = Backoff(chance=lambda: 0.0)
        backoff.failed(hopeless=True)
        self.assertEqual(backoff.delay(), 30)
        backoff.failed()
        self.assertEqual(backoff.delay(), 1)

    def test_F61_many_that_lost_the_same_broker_spread(self) -> None:
        chance = random.Random(1)
        delays = []
        for _ in range(200):
            backoff = Backoff(chance=chance.random)
            for _ in range(4):
                backoff.failed()
            delays.append(backoff.delay())
        self.assertGreater(min(delays), 2)
        self.assertLessEqual(max(delays), 4)
        self.assertGreater(max(delays) - min(delays), 0.5 * max(delays) * 0.9)
