"""What tests of instruments have in common: one that keeps all it is told, and a connection that tells it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txpika import ConnectionParameters
from txpika.consumer import Consumer
from txpika.events import Sample
from txpika.interfaces import IInstrument
from txpika.spec import Basic, Confirm
from txpika.test.fakes import TwistedPeer, deliver, method

EVENTS = sorted(name for name, _ in IInstrument.namesAndDescriptions())
QUIET = ConnectionParameters(heartbeat=0)


@implementer(IInstrument)
class Recorder:
    """Keeps all it is told: the name of the event, and its arguments."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if name not in EVENTS:
            raise AttributeError(name)
        return lambda *arguments: self.events.append((name, *arguments))

    def take(self, *names: str) -> list[tuple[Any, ...]]:
        """The arguments of such events since the last look; with several names, the name before them."""
        taken = [event[len(names) == 1 :] for event in self.events if event[0] in names]
        self.events = [event for event in self.events if event[0] not in names]
        return taken

    def names(self) -> list[str]:
        return [event[0] for event in self.events]


class Observed(SynchronousTestCase):
    """An open connection with an instrument, and a channel."""

    parameters = QUIET

    def setUp(self) -> None:
        self.told = Recorder()
        self.peer = TwistedPeer(self.parameters, self.told).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.tag = 0

    def pass_time(self, seconds: float) -> None:
        self.peer.clock.advance(seconds)

    def confirming(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.frames()

    def sample(self) -> Sample:
        observer = self.peer.protocol._observer
        assert observer is not None
        return observer.connection.sample()

    def consume(self, on_delivery: Any = None, **more: Any) -> Consumer:
        consuming = self.channel.basic_consume("work", on_delivery, consumer_tag="t", **more)
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        return self.successResultOf(consuming)

    def deliver(self, *bodies: bytes) -> None:
        """All in one read."""
        data = b""
        for body in bodies:
            self.tag += 1
            data += deliver(1, "t", self.tag, body, "key")
        self.peer.send(data)
