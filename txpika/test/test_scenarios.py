"""The scenarios on every adapter, and on every poller of our own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.trial.unittest import SynchronousTestCase

from txpika.test import broker, scenarios
from txpika.test.drivers import DRIVERS, Driver
from txpika.test.scenarios import FallsSilent, outage, silence
from txpika.test.test_loop import with_kqueue


class KQueueToo(scenarios.Scenarios):
    """With a kqueue where the system has none."""

    def setUp(self) -> None:
        with_kqueue(self.patch)
        super().setUp()


for _name, _make in DRIVERS.items():
    _members = {"make_driver": staticmethod(_make), "__doc__": f"On {_name}.", "__module__": __name__}
    globals()[f"{_name}Tests"] = type(f"{_name}Tests", (KQueueToo,), _members)
del KQueueToo


class TogetherTests(SynchronousTestCase):
    """What takes long, on all adapters at the same time."""

    def together(
        self, scenario: Callable[[Driver], Iterator[None]], meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """All of them up to where they stop, then C{meanwhile}, then each to its end."""
        with_kqueue(self.patch)
        running = []
        for name, make in DRIVERS.items():
            driver = make()
            self.addCleanup(driver.dispose)
            steps = scenario(driver)
            next(steps)
            running.append((name, steps))
        meanwhile()
        for name, steps in running:
            with self.subTest(adapter=name):
                self.assertIs(next(steps, None), None)

    def test_an_outage_and_the_way_back(self) -> None:
        uri = broker.require_broker()
        self.together(
            lambda driver: outage(driver, uri),
            lambda: broker.ctl("close_all_connections", "the scenario wants it"),
        )

    def test_a_peer_that_falls_silent(self) -> None:
        peer = FallsSilent()
        self.addCleanup(peer.close)
        self.together(lambda driver: silence(driver, peer.port))
