# -*- test-case-name: txpika.test.test_tap -*-
"""
C{twist txpika-consumer} and C{twistd txpika-consumer}: consume from queues, with a handler named on the command line.

Owns what comes before the first delivery and after the last one, and what the process says of itself meanwhile. Options
are L{txpika.tap_options}', one queue is L{txpika.queue_consumer}'s, the connection L{txpika.service}'s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.exceptions import AuthenticationError, HandshakeError, TLSError, TLSVerifyError
from txpika.handling import OnDelivery
from txpika.last_words import NOPERM, SOFTWARE, TEMPFAIL, UNAVAILABLE, USAGE, Ending
from txpika.queue_consumer import QueueConsumer, described
from txpika.service import AMQPService, ServiceListener
from txpika.spec import ACCESS_REFUSED, NOT_ALLOWED, Method
from txpika.tap_options import NAME, Options

if TYPE_CHECKING:
    from txpika.events import Instrument

__all__ = ["ConsumerService", "Options", "makeService"]


class _Listener(ServiceListener):
    """Hears the connection's service for the L{ConsumerService}."""

    def __init__(self, owner: ConsumerService) -> None:
        self._owner = owner

    def state_changed(self, service: AMQPService, state: str, error: Exception | None) -> None:
        self._owner.state_changed(state, error)

    def left_out(self, service: AMQPService, method: Method, error: Exception) -> None:
        self._owner.last_error = error


class ConsumerService(Service):
    """
    What the command runs: a connection, a consumer for each queue, and the page that tells how they are.

    @ivar queues: By name.
    @ivar last_error: What last went wrong, outside the handler.
    """

    _log = Logger()

    def __init__(self, options: Options, reactor: Any, ending: Ending, *, endpoint: Any = None) -> None:
        """
        @param options: Parsed.
        @param ending: Told when the process is to end.
        @param endpoint: See L{AMQPService}.
        """
        self.setName(NAME)  # type: ignore[no-untyped-call]
        self.queues: dict[str, QueueConsumer] = {}
        self.last_error: Exception | None = None
        self._options = options
        self._reactor = reactor
        self._ending = ending
        self._metrics: Callable[[], bytes] | None = None
        instrument = None
        if options["health"] is not None:
            instrument, self._metrics = _prometheus()
        self._amqp = AMQPService(
            options.parameters,
            reactor,
            endpoint=endpoint,
            instrument=instrument,
            listener=_Listener(self),
            drain_timeout=options.drain_timeout,
        )
        self._was_open = False
        self._port: Any = None
        self._starting: Deferred[None] = succeed(None)

    # IService

    def startService(self) -> None:
        """Connect, and consume."""
        super().startService()  # type: ignore[no-untyped-call]
        self._ending.on_sigterm()
        # twist and twistd start services first, then logging, then the reactor.
        self._reactor.callWhenRunning(self._begin)

    def stopService(self) -> Deferred[None]:
        """
        Finish: no more deliveries, the handler ends those it is at work on, and their acks are written.

        @return: Fires with C{None} when that is done, or its time is over.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        self._starting.cancel()
        for consumer in self.queues.values():
            consumer.stop()
        return Deferred.fromCoroutine(self._stop())

    def _begin(self) -> None:
        if self.running:
            self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._not_started)

    async def _start(self) -> None:
        if self._options["health"] is not None:
            from txpika.health import health_site  # and with it all of twisted.web

            site = health_site(self.health, self._metrics)
            try:
                self._port = await serverFromString(self._reactor, self._options["health"]).listen(site)
            except Exception as error:
                self._ending.fail(USAGE, f"--health {self._options['health']}: {error}")
                return
        self._amqp.startService()
        try:
            handler = await self._options.source.make()
        except CancelledError:
            raise
        except Exception as error:
            self._log.failure("The factory of the handler failed")
            self._ending.fail(USAGE, f"handler {self._options.source.name!r}: {_typed(error)}")
            return
        self._consume(handler)

    def _consume(self, handler: OnDelivery) -> None:
        for queue in self._options.queues:
            self.queues[queue] = consumer = QueueConsumer(
                self._amqp, queue, handler, self._options.terms, self._reactor, self._refused, self._handler_failed
            )
            consumer.start()

    def _not_started(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("The consumer could not be started", failure)
            self._ending.fail(SOFTWARE, _typed(failure.value))

    async def _stop(self) -> None:
        self._log.info("Draining: no more deliveries, {running} at work", running=self._running())
        await self._amqp.stopService()
        # To the end there is somebody to ask what it is still waiting for.
        if self._port is not None:
            await self._port.stopListening()
        if self._running():
            text = f"still at work after {self._options.drain_timeout:g} s, to be delivered again: {self._running()}"
            self._ending.fail(TEMPFAIL, text)

    def _running(self) -> int:
        return sum(consumer.running for consumer in self.queues.values())

    # What others tell

    def state_changed(self, state: str, error: Exception | None) -> None:
        """The connection's service is in another state."""
        if error is not None:
            self.last_error = error
        if state == "open":
            self._was_open = True
            self._log.info("Connected")
        elif error is not None and not self._was_open and _refused(error):
            self._ending.fail(NOPERM, f"the broker refused the connection: {error}")

    def _refused(self, queue: str, error: Exception) -> None:
        self.last_error = error
        self._ending.fail(UNAVAILABLE, f"queue {queue!r}: {described(error)}")

    def _handler_failed(self, queue: str, failure: Failure) -> None:
        self._ending.fail(SOFTWARE, f"the handler failed on a delivery from queue {queue!r}: {_typed(failure.value)}")

    # What is told to others

    def health(self) -> tuple[bool, dict[str, object]]:
        """@return: Whether there is a connection and a consumer on each queue, and what there is to say."""
        queues = {
            name: {
                "consuming": self._amqp.state == "open" and consumer.consuming,
                "running": consumer.running,
                "handled": consumer.handled,
                "failed": consumer.failed,
            }
            for name, consumer in ((name, self.queues.get(name)) for name in self._options.queues)
            if consumer is not None
        }
        well = len(queues) == len(self._options.queues) and all(queue["consuming"] for queue in queues.values())
        return well, {
            "state": self._amqp.state,
            "queues": queues,
            "reconnects": self._amqp.reconnects,
            "last_error": None if self.last_error is None else str(self.last_error),
        }


def _refused(error: Exception) -> bool:
    """Whether the first attempt to connect was refused in a way that time does not heal."""
    if isinstance(error, AuthenticationError):
        return error.initiator != "network"
    if isinstance(error, TLSError):
        return isinstance(error, TLSVerifyError) or error.initiator == "local"
    return isinstance(error, HandshakeError) and error.reply_code in (ACCESS_REFUSED, NOT_ALLOWED)


def _typed(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}"


@cache  # prometheus-client's registry takes one only
def _prometheus() -> tuple[Instrument | None, Callable[[], bytes] | None]:
    """@return: What measures, and what gives the page; C{None} for both when prometheus-client is not installed."""
    try:
        from prometheus_client import REGISTRY, generate_latest

        from txpika.instruments.prometheus import PrometheusInstrument
    except ModuleNotFoundError:
        return None, None
    return PrometheusInstrument(), lambda: generate_latest(REGISTRY)


def makeService(options: Options) -> ConsumerService:
    """
    @param options: Parsed.
    @return: What the command runs.
    """
    from twisted.internet import reactor

    return ConsumerService(options, reactor, Ending(NAME, reactor))
