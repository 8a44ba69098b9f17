"""
Tests for one outcome a publish: its own, once, whatever broker, network and program do in between.

Each step of each script is compared with the book of L{txpika.test.model}: what was written, what has ended, with what,
and how many bytes are held.
"""

from __future__ import annotations

from itertools import product

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.test.book import ROUTES, Lane, properties
from txpika.test.model import TIMEOUTS, World

#: What may happen in a step, the likelier the more often it is named.
STEPS = (
    *("publish",) * 8,
    *("settle",) * 5,
    *("deliver",) * 6,
    *("answer",) * 3,
    *("wait",) * 2,
    *("cancel", "declare", "send back", "settle all"),
    *("pause", "resume", "block", "unblock", "stop", "go"),
    *("confirm", "close channel", "break channel"),
)
#: How it ends.
ENDS = ("settled", "lost", "lost in a frame", "thrown out", "closed", "closed in vain", "aborted")
#: How each of the two channels begins.
BEGINNINGS = ("", "confirm", "confirm nowait")

#: Uniformly random octets are what finds most here; lists of steps are on average too short, and too much alike.
scripts = st.binary(min_size=60, max_size=150)


def step(world: World, what: str, a: int, b: int) -> None:
    """One of L{STEPS}, with two octets to choose by."""
    lane = world.lanes[a % 2]
    if what == "publish":
        then: tuple[Lane | None, ...] = (None, None, None, *world.lanes)
        world.publish(
            lane,
            TIMEOUTS[b % 3],
            route=ROUTES[a // 2 % 4],
            look=a // 8 % 3,
            mandatory=a >= 64,
            then=then[b // 3 % 5],
        )
    elif what == "settle" and lane.unsettled:
        # Any number up to the last, settled or not; one that is settled makes sense with "multiple" only.
        number = list(lane.unsettled)[b % len(lane.unsettled)] if b < 200 else 1 + b % lane.last
        world.settle(lane, number, number not in lane.unsettled or a >= 128, acked=b % 4 > 0)
    elif what == "settle all":
        world.settle_all(lane, acked=b % 4 > 0)
    elif what == "deliver" and world.stream:
        world.deliver(1 + a % len(world.stream), b)
    elif what == "answer":
        world.answer(lane)
    elif what == "cancel" and world.calls:
        world.cancel(world.calls[-1 - b % min(6, len(world.calls))])
    elif what == "declare":
        world.declare(lane)
    elif what == "send back":
        world.send_back_unconfirmed(lane)
        if lane.unsettled:
            world.send_back(lane, list(lane.unsettled.values())[b % len(lane.unsettled)])
    elif what == "wait":
        world.wait()
    elif what in ("pause", "resume"):
        world.pause(what == "pause")
    elif what in ("block", "unblock"):
        world.block(what == "block")
    elif what in ("stop", "go"):
        world.flow(lane, what == "go")
    elif what == "confirm":
        world.confirm(lane)
    elif what == "close channel":
        world.close_channel(lane)
    elif what == "break channel":
        world.break_channel(lane)


def settle_everything(world: World) -> None:
    """All gates open, and the broker answers whatever it is asked."""
    world.pause(False)
    world.block(False)
    for lane in world.lanes:
        world.flow(lane, True)
    while True:
        world.deliver(len(world.stream))
        for lane in world.lanes:
            world.answer(lane)
            if lane.unsettled:
                world.settle(lane, max(lane.unsettled), True, True)
        if not world.stream:
            break


def end(world: World, how: str) -> None:
    """One of L{ENDS}."""
    if how == "settled":
        settle_everything(world)
        assert all(call.expected for call in world.calls)
        assert not world.peer.clock.getDelayedCalls()
        world.close()
    elif how == "lost in a frame" and world.stream:
        data = world.stream[0][0]
        world.peer.send(data[: len(data) // 2])
    elif how == "thrown out":
        world.throw_out()
    elif how == "closed":
        world.close()
        settle_everything(world)
    elif how == "closed in vain":
        world.close()
        for _ in range(10):
            world.wait()
    elif how == "aborted":
        world.abort()
    world.lose()


class Outcomes(SynchronousTestCase):
    """What holds in the end, whatever happened."""

    def all_is_over(self, world: World) -> None:
        for call in world.calls:
            self.assertNotEqual(call.expected, "")
            self.assertEqual(world.results[call.name], [call.expected])
        self.assertEqual(world.peer.connection.held, 0)
        self.assertEqual(world.peer.clock.getDelayedCalls(), [])
        self.assertEqual(world.properties, properties())


class ScriptTests(Outcomes):
    """Two channels."""

    @given(scripts, st.sampled_from(BEGINNINGS), st.sampled_from(BEGINNINGS), st.sampled_from(ENDS))
    @settings(
        max_examples=2000,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def test_any_script(self, script: bytes, first: str, second: str, how: str) -> None:
        world = World()
        for lane, beginning in zip(world.lanes, (first, second), strict=True):
            if beginning:
                world.confirm(lane, beginning == "confirm nowait")
        for what, a, b in zip(script[::3], script[1::3], script[2::3], strict=False):
            note(f"{STEPS[what % len(STEPS)]} {a} {b}")
            step(world, STEPS[what % len(STEPS)], a, b)
        end(world, how)
        self.all_is_over(world)


class EveryOrderTests(Outcomes):
    """Three messages that look alike, in every order and grouping of the broker's word, and cut off at any point."""

    def replay(self, mandatory: tuple[bool, ...], path: list[tuple[int, bool]], at_once: bool) -> list[int]:
        """@return: Which are unsettled then."""
        world = World(1)
        (lane,) = world.lanes
        world.confirm(lane, True)
        for each in mandatory:
            world.publish(lane, route=ROUTES[2], look=1, mandatory=each)
        for number, multiple in path:
            world.settle(lane, number, multiple, acked=number != 2)
            if not at_once:
                world.deliver(len(world.stream))
        world.deliver(len(world.stream))
        left = list(lane.unsettled)
        world.lose()
        self.all_is_over(world)
        return left

    def explore(self, mandatory: tuple[bool, ...], path: list[tuple[int, bool]]) -> int:
        """@return: In how many ways it ended."""
        left = self.replay(mandatory, path, False)
        if not left:
            self.replay(mandatory, path, True)
            return 1
        choices = [(number, False) for number in left] + [(n, True) for n in (1, 2, 3) if n >= left[0]]
        return sum(self.explore(mandatory, [*path, choice]) for choice in choices)

    def test_every_order(self) -> None:
        for mandatory in product((True, False), repeat=3):
            self.assertEqual(self.explore(mandatory, []), 42)
