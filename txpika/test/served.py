"""
What the tests of services share: a service by the clock, and a broker in memory that agrees to everything.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txpika.backoff import Backoff
from txpika.parameters import ConnectionParameters
from txpika.service import AMQPService, ServiceListener
from txpika.spec import Method
from txpika.surviving import SurvivingChannel
from txpika.test.obliging import ObligingBroker


class Listener(ServiceListener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.errors: list[Exception | None] = []
        self.renamed: list[tuple[str, str]] = []
        self.refused: list[tuple[str, Exception]] = []

    def state_changed(self, service: AMQPService, state: str, error: Exception | None) -> None:
        assert service.state == state
        self.states.append(state)
        self.errors.append(error)

    def queue_renamed(self, service: AMQPService, old: str, new: str) -> None:
        self.renamed.append((old, new))

    def left_out(self, service: AMQPService, method: Method, error: Exception) -> None:
        self.refused.append((method.NAME, error))


class ServiceTestCase(SynchronousTestCase):
    """A service, and a broker that agrees to everything."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.broker = ObligingBroker(self.clock)
        self.listener = Listener()
        self.service = self.make()

    def make(self, **more: Any) -> AMQPService:
        parameters = more.pop("parameters", None) or ConnectionParameters(heartbeat=0)
        return AMQPService(
            parameters,
            self.clock,
            endpoint=self.broker,
            listener=self.listener,
            backoff=Backoff(chance=lambda: 0.0),
            **more,
        )

    def start(self) -> None:
        self.service.startService()
        self.broker.run()

    def result(self, waited: Deferred[Any]) -> Any:
        self.broker.run()
        return self.successResultOf(waited)

    def failure(self, waited: Deferred[Any], *kinds: type[Exception]) -> Any:
        self.broker.run()
        return self.failureResultOf(waited, *kinds).value

    def channel(self) -> SurvivingChannel:
        channel: SurvivingChannel = self.result(self.service.channel())
        return channel

    def lose(self) -> None:
        """The network is gone."""
        self.broker.line.lose()
        self.broker.run()

    def heal(self) -> None:
        """The next attempt to connect."""
        self.broker.run(0.5)

    def stop(self) -> None:
        """It stops, and nothing is left."""
        self.result(self.service.stopService())
        self.assertEqual(self.service.state, "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SurvivingTestCase(ServiceTestCase):
    """A service that is open, and one of its channels."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.make(**self.arguments())
        self.start()
        self.chan = self.channel()

    def arguments(self) -> dict[str, Any]:
        """Of the service."""
        return {}

    def bounce(self) -> None:
        """The network is gone, and comes back."""
        self.lose()
        self.heal()
        self.assertEqual(self.service.state, "open")
