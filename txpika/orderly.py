# -*- test-case-name: txpika.test.test_orderly -*-
"""
A service whose stop takes time, and that may be started again before it is over.

Owns the order of starts and stops. What they are is up to subclasses. L{txpika.service} does it in the same way, where
it is part of its states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure


class OrderlyService(Service, ABC):
    """Subclasses override L{on_start} and L{on_stop}. These are called in turn, each when the one before is over."""

    _log = Logger()

    def __init__(self) -> None:
        self._stops: list[Deferred[None]] = []  # who waits for the stop that is under way

    def is_active(self) -> bool:
        """@return: Whether it is started, and no stop is under way. C{running} is whether it is meant to be started."""
        return bool(self.running) and not self._stops

    @abstractmethod
    def on_start(self) -> None:
        """Begin."""

    @abstractmethod
    async def on_stop(self) -> None:
        """Finish in good order."""

    # IService

    def startService(self) -> None:
        """Begin; if it is stopping, once it has stopped. Harmless when already started."""
        if self.running:
            return
        super().startService()  # type: ignore[no-untyped-call]
        if self.is_active():
            self.on_start()

    def stopService(self) -> Deferred[None]:
        """
        Finish in good order. If it is stopping and was started again meanwhile, it stays stopped.

        @return: Fires with C{None} when it has stopped. Never fails.
        """
        if not self.running and not self._stops:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if len(self._stops) == 1:
            Deferred.fromCoroutine(self.on_stop()).addErrback(self._stop_failed).addCallback(self._stop_ended)
        return stopped

    def _stop_failed(self, failure: Failure) -> None:
        self._log.failure("Stopping {service!r} failed", failure, service=self)

    def _stop_ended(self, _result: object) -> None:
        stops, self._stops = self._stops, []
        if self.is_active():
            self.on_start()
        for stopped in stops:
            stopped.callback(None)
