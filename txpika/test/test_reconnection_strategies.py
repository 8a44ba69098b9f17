"""Tests for L{txpika.reconnection_strategies}."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any
from weakref import ref

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass, verifyObject

from txpika.exceptions import NotConnected
from txpika.interfaces import IReconnectionStrategy
from txpika.reconnection_strategies import (
    STABLE,
    NullReconnectionStrategy,
    ReconnectionStrategy,
    SimpleReconnectionStrategy,
)


class FakeConnection:
    """
    As much of a connection as a strategy sees.

    @ivar attempts: When it was told to connect, in seconds.
    """

    def __init__(self, strategy: Any, clock: Clock) -> None:
        self.strategy, self.clock = strategy, clock
        self.attempts: list[float] = []
        self.error: Exception | None = None

    def add_timeout(self, delay: float, callback: Callable[[], None]) -> Any:
        return self.clock.callLater(delay, callback)

    def remove_timeout(self, timer: Any) -> None:
        timer.cancel()

    def reconnect(self) -> None:
        self.attempts.append(self.clock.seconds())
        if self.error is not None:
            raise self.error
        self.strategy.on_connect_attempt(self)

    def succeed(self) -> None:
        self.strategy.on_transport_connected(self)
        self.strategy.on_connection_open(self)

    def fail(self) -> None:
        self.strategy.on_connect_attempt_failure(self)

    def lose(self) -> None:
        """What an open connection tells when its transport is gone."""
        self.strategy.on_transport_disconnected(self)
        self.strategy.on_connection_closed(self)


class ClosingConnection(FakeConnection):
    """One that knows who closed it."""

    user_closed = False


class SimpleTests(SynchronousTestCase):
    """Delays of 1, 2, 4, 8, 10, 10 seconds, without jitter."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.strategy = self.make()
        self.conn = FakeConnection(self.strategy, self.clock)
        self.strategy.on_connect_attempt(self.conn)

    def make(self, **arguments: Any) -> SimpleReconnectionStrategy:
        return SimpleReconnectionStrategy(**{"max_delay": 10, "jitter": 0, "clock": self.clock.seconds, **arguments})

    def test_delays_grow_from_one_failed_attempt_to_the_next(self) -> None:
        for _ in range(6):
            self.conn.fail()
            self.clock.advance(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds())
        self.assertEqual(self.conn.attempts, [1, 3, 7, 15, 25, 35])

    def test_a_lost_connection_is_made_again_once_however_many_hooks_tell(self) -> None:
        self.conn.succeed()
        self.clock.advance(STABLE)
        for _ in range(3):
            self.conn.lose()
            self.conn.fail()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.conn.attempts, [STABLE + 1])

    def test_a_stable_connection_sets_the_delay_back(self) -> None:
        self.conn.fail()
        self.clock.advance(1)
        self.conn.fail()
        self.clock.advance(2)
        self.conn.succeed()
        self.clock.advance(STABLE)
        self.conn.lose()
        self.clock.advance(1)
        self.assertEqual(self.conn.attempts, [1, 3, 4 + STABLE])

    def test_one_that_is_thrown_out_at_once_does_not(self) -> None:
        """A broker that takes the login and then closes, each time."""
        waits = []
        for _ in range(5):
            self.conn.succeed()
            self.clock.advance(STABLE - 1)
            self.conn.lose()
            (timer,) = self.clock.getDelayedCalls()
            waits.append(timer.getTime() - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [1, 2, 4, 8, 10])

    def test_one_that_was_open_for_a_moment_does_not_shorten_later_delays(self) -> None:
        self.conn.succeed()
        waits = []
        for _ in range(4):
            self.conn.lose()
            (timer,) = self.clock.getDelayedCalls()
            waits.append(timer.getTime() - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [1, 2, 4, 8])

    def test_jitter_is_a_fraction_of_the_delay(self) -> None:
        for chance, expected in ((0.0, 1.0), (0.5, 1.25), (1.0, 1.5)):
            strategy = self.make(jitter=0.5, random=lambda chance=chance: chance)
            strategy.on_connect_attempt_failure(FakeConnection(strategy, self.clock))
            (timer,) = self.clock.getDelayedCalls()
            self.assertEqual(timer.getTime() - self.clock.seconds(), expected)
            timer.cancel()

    def test_no_timer_is_left_when_somebody_else_connects(self) -> None:
        self.conn.fail()
        self.conn.reconnect()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.conn.lose()
        self.conn.succeed()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_is_final(self) -> None:
        other = FakeConnection(self.strategy, self.clock)
        self.conn.fail()
        other.fail()
        self.assertTrue(self.strategy.is_active)
        self.strategy.stop()
        self.assertFalse(self.strategy.is_active)
        self.conn.lose()
        self.strategy.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_the_user_closed_stays_closed(self) -> None:
        """In 2011 it was connected again."""
        conn = ClosingConnection(self.strategy, self.clock)
        conn.succeed()
        conn.user_closed = True
        conn.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_close_while_it_waits_is_final_whether_told_or_not(self) -> None:
        told, untold = (ClosingConnection(self.strategy, self.clock) for _ in range(2))
        for conn in (told, untold):
            conn.fail()
            conn.user_closed = True
        told.lose()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(60)
        self.assertEqual(told.attempts + untold.attempts, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_attempt_that_cannot_begin_is_one_that_failed(self) -> None:
        for error in (NotConnected("not ended"), OSError("no network")):
            conn = FakeConnection(self.strategy, self.clock)
            conn.error = error
            conn.fail()
            with self.assertLogs("txpika.reconnection_strategies", "WARNING") as logs:
                self.clock.advance(1)
            self.assertIn(str(error), logs.output[0])
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
            conn.error = None
            self.clock.advance(2)
            self.assertEqual(len(conn.attempts), 2)

    def test_a_fault_of_the_program_is_not_hidden(self) -> None:
        self.conn.error = ZeroDivisionError()
        self.conn.fail()
        self.assertRaises(ZeroDivisionError, self.clock.advance, 1)

    def test_each_connection_has_delays_of_its_own(self) -> None:
        other = FakeConnection(self.strategy, self.clock)
        self.conn.fail()
        self.clock.advance(1)
        self.conn.fail()
        other.fail()
        self.clock.advance(1)
        self.assertEqual(other.attempts, [2])
        self.clock.advance(1)
        self.assertEqual(self.conn.attempts, [1, 3])

    def test_no_connection_is_kept_alive(self) -> None:
        conn = FakeConnection(self.strategy, self.clock)
        conn.succeed()
        gone = ref(conn)
        del conn
        gc.collect()
        self.assertIsNone(gone())

    @given(st.lists(st.sampled_from(["reconnect", "succeed", "fail", "lose", "transport", "wait"]), max_size=40))
    def test_never_two_timers(self, events: list[str]) -> None:
        clock = Clock()
        strategy = SimpleReconnectionStrategy(clock=clock.seconds)
        conn = FakeConnection(strategy, clock)
        for event in events:
            if event == "wait":
                clock.advance(7)
            elif event == "transport":
                strategy.on_transport_disconnected(conn)
            else:
                getattr(conn, event)()
            self.assertLessEqual(len(clock.getDelayedCalls()), 1)
            if event in ("fail", "lose", "transport"):
                self.assertEqual(len(clock.getDelayedCalls()), 1)
            elif event in ("succeed", "reconnect"):
                self.assertEqual(clock.getDelayedCalls(), [])

    def test_wrong_arguments_are_told_by_name(self) -> None:
        for name, values in (
            ("initial_retry_delay", (0, -1, math.inf, math.nan, "1", True)),
            ("multiplier", (0.5, math.nan, math.inf, None, True)),
            ("max_delay", (0, 0.5, math.nan, "x")),
            ("jitter", (-0.1, math.inf, "x", False)),
        ):
            for value in values:
                arguments: Any = {name: value}
                try:
                    SimpleReconnectionStrategy(**arguments)
                except (ValueError, TypeError) as error:
                    self.assertTrue(str(error).startswith(name), error)
                    self.assertIs(type(error), TypeError if isinstance(value, str | bool | None) else ValueError)
                else:
                    self.fail(f"{name}={value!r} was taken")

    def test_defaults_of_2011(self) -> None:
        strategy = SimpleReconnectionStrategy()
        self.assertEqual(
            (strategy.initial_retry_delay, strategy.multiplier, strategy.max_delay, strategy.jitter),
            (1.0, 2.0, 30.0, 0.5),
        )


class InterfaceTests(SynchronousTestCase):
    """All are what connections expect."""

    def test_they_provide_the_interface(self) -> None:
        for cls in (ReconnectionStrategy, NullReconnectionStrategy, SimpleReconnectionStrategy):
            verifyClass(IReconnectionStrategy, cls)
            verifyObject(IReconnectionStrategy, cls())

    def test_the_plain_ones_never_connect(self) -> None:
        clock = Clock()
        for strategy in (ReconnectionStrategy(), NullReconnectionStrategy()):
            conn = FakeConnection(strategy, clock)
            conn.reconnect()
            conn.succeed()
            conn.lose()
            conn.fail()
            self.assertEqual((strategy.can_reconnect, strategy.is_active), (False, False))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_subclass_says_by_one_word_that_it_connects(self) -> None:
        class Mine(ReconnectionStrategy):
            can_reconnect = True

        self.assertTrue(Mine().is_active)
