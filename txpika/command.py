# -*- test-case-name: txpika.test.test_consumer_service -*-
"""
What the services behind all commands of C{twist} and C{twistd} have in common.

Owns when they begin, the page that tells how they are, and what it means when a broker refuses the first connection.
Knows connections as L{AMQPService}s; what is done with them is the command's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.command_options import CommandOptions
from txpika.exceptions import TLSVerifyError
from txpika.last_words import NOPERM, SOFTWARE, USAGE, Ending
from txpika.orderly import OrderlyService
from txpika.parameters import ConnectionParameters
from txpika.service import AMQPService, ServiceListener, is_hopeless
from txpika.spec import Method

if TYPE_CHECKING:
    from txpika.events import Instrument


class Link(ServiceListener):
    """
    A connection of the command's. A broker that refuses the first one ends the program; later ones are tried again.

    @ivar amqp: Its service.
    @ivar last_error: What last went wrong on it.
    """

    _log = Logger()

    def __init__(self, owner: CommandService, parameters: ConnectionParameters, name: str, endpoint: Any) -> None:
        """
        @param name: How lines call its broker.
        @param endpoint: See L{AMQPService}.
        """
        self.last_error: Exception | None = None
        self._name = name
        self._ending = owner.ending
        self._was_open = False
        self.amqp = AMQPService(
            parameters,
            owner.reactor,
            endpoint=endpoint,
            instrument=owner.instrument,
            listener=self,
            drain_timeout=owner.options.drain_timeout,
        )

    def state_changed(self, service: AMQPService, state: str, error: Exception | None) -> None:
        """See L{txpika.service.IServiceListener}."""
        if error is not None:
            self.last_error = error
        if state == "open":
            self._was_open = True
            self._log.info("Connected to {name}", name=self._name)
        elif error is not None and not self._was_open and _refused(error):
            self._ending.fail(NOPERM, f"{self._name} refused the connection: {error}")

    def left_out(self, service: AMQPService, method: Method, error: Exception) -> None:
        """See L{txpika.service.IServiceListener}."""
        self.last_error = error

    def health(self, **more: object) -> dict[str, object]:
        """@return: What there is to say of it, and C{more} after its state."""
        return {
            "state": self.amqp.state,
            **more,
            "reconnects": self.amqp.reconnects,
            "last_error": None if self.last_error is None else str(self.last_error),
        }


class CommandService(OrderlyService):
    """
    Subclasses override L{begin}, L{drain} and L{health}.

    @ivar options: Parsed.
    @ivar reactor: What runs it.
    @ivar ending: Told when the process is to end.
    @ivar instrument: For its connections; C{None} when nobody wants to know.
    """

    _log = Logger()

    def __init__(self, options: CommandOptions, reactor: Any, ending: Ending) -> None:
        super().__init__()
        self.setName(options.NAME)  # type: ignore[no-untyped-call]
        self.options = options
        self.reactor = reactor
        self.ending = ending
        self.instrument: Instrument | None = None
        self._metrics: Callable[[], bytes] | None = None
        if options["health"] is not None:
            self.instrument, self._metrics = _prometheus()
        self._port: Any = None
        self._starting: Deferred[None] | None = None

    @abstractmethod
    async def begin(self) -> None:
        """Do what the command is for. Cancelled when the service stops meanwhile."""

    @abstractmethod
    async def drain(self) -> None:
        """Finish in good order."""

    @abstractmethod
    def health(self) -> tuple[bool, dict[str, object]]:
        """@return: Whether all is well, and what there is to say."""

    # Its life; see OrderlyService

    def on_start(self) -> None:
        """Begin, when the reactor runs."""
        self.ending.on_sigterm()
        # twist and twistd start services first, then logging, then the reactor.
        self.reactor.callWhenRunning(self._begin)

    async def on_stop(self) -> None:
        """Finish, as L{drain} does it."""
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
        await self.drain()
        # To the end there is somebody to ask what it is still waiting for.
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

    def _begin(self) -> None:
        if self.is_active() and self._starting is None:  # it may have been stopped and started before the reactor ran
            self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._not_started)

    async def _start(self) -> None:
        if self.options["health"] is not None:
            from txpika.health import health_site  # and with it all of twisted.web

            site = health_site(self.health, self._metrics)
            try:
                self._port = await serverFromString(self.reactor, self.options["health"]).listen(site)
            except Exception as error:
                self.ending.fail(USAGE, f"--health {self.options['health']}: {error}")
                return
        await self.begin()

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("The service could not be started", failure)
            self.ending.fail(SOFTWARE, typed(failure.value))


def typed(error: BaseException | None) -> str:
    """@return: An exception's type and text."""
    return f"{type(error).__name__}: {error}"


def _refused(error: Exception) -> bool:
    """Whether the first attempt to connect was refused in a way that time does not heal."""
    return is_hopeless(error) or isinstance(error, TLSVerifyError)


@cache  # prometheus-client's registry takes one only
def _prometheus() -> tuple[Instrument | None, Callable[[], bytes] | None]:
    """@return: What measures, and what gives the page; C{None} for both when prometheus-client is not installed."""
    try:
        from prometheus_client import REGISTRY, generate_latest

        from txpika.instruments.prometheus import PrometheusInstrument
    except ModuleNotFoundError:
        return None, None
    return PrometheusInstrument(), lambda: generate_latest(REGISTRY)
