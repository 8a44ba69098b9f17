# -*- test-case-name: txpika.test.test_service -*-
"""
A connection that heals itself, as a Twisted service.

Owns its life from C{startService} to C{stopService}, and its state in between. How long to wait is up to
L{txpika.backoff}, what to set up again to L{txpika.recovery}, when to dial to C{ClientService}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from twisted.application.internet import ClientService
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from txpika.backoff import Backoff
from txpika.endpoint import BrokerEndpoint, is_final
from txpika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    CallTimeout,
    CloseReason,
    HandshakeError,
    NotConnected,
)
from txpika.interim import Allowance
from txpika.parameters import ConnectionParameters, seconds
from txpika.protocol import AMQPFactory, AMQPProtocol
from txpika.recovery import Recovery
from txpika.spec import ACCESS_REFUSED, NOT_ALLOWED, Method
from txpika.surviving import ObservedSurvivingChannel, SurvivingChannel
from txpika.topology import Topology

#: C{"stopped"}: never started. C{"connecting"}: an attempt is under way. C{"waiting"}: until the next attempt.
#: C{"recovering"}: there is a connection, and what there was before is set up again. C{"open"}: it can be used.
#: C{"draining"}: C{stopService} waits for what is under way. C{"closed"}: it is done.
State = Literal["stopped", "connecting", "waiting", "recovering", "open", "draining", "closed"]

#: How long consumers' functions may take to finish when the service stops, in seconds.
DEFAULT_DRAIN_TIMEOUT = 30.0


class IServiceListener(Interface):
    """Is told what happens to an L{AMQPService}. What a method raises is logged, and has no other effect."""

    def state_changed(service: Any, state: str, error: Exception | None) -> None:
        """
        @param state: The new one, a L{State}.
        @param error: Why there is no connection, when C{state} is C{"waiting"}.
        """

    def queue_renamed(service: Any, old: str, new: str) -> None:
        """A queue named by the broker has got another name: bindings and consumers have followed."""

    def left_out(service: Any, method: Method, error: Exception) -> None:
        """
        Something was not set up again, because the broker refused it. All else was.

        @param method: The method that set it up at first, or would have done so.
        @param error: Why, with the broker's code and text.
        """


@implementer(IServiceListener)
class ServiceListener:
    """Does nothing at each event; subclass it, and override what you want to know."""

    def state_changed(self, service: AMQPService, state: str, error: Exception | None) -> None:
        """See L{IServiceListener}."""

    def queue_renamed(self, service: AMQPService, old: str, new: str) -> None:
        """See L{IServiceListener}."""

    def left_out(self, service: AMQPService, method: Method, error: Exception) -> None:
        """See L{IServiceListener}."""


class _Factory(AMQPFactory):
    """Makes connections that tell the service when they fail."""

    def __init__(self, service: AMQPService, instrument: Any) -> None:
        super().__init__(service.parameters, service.clock, instrument=instrument)
        self._service = service

    def buildProtocol(self, addr: IAddress | None) -> AMQPProtocol:
        """@return: A new one."""
        protocol = super().buildProtocol(addr)
        protocol.on_failing(lambda reason: self._service.connection_failing(protocol, reason))
        return protocol


@implementer(IStreamClientEndpoint)
class _Attempts:
    """The endpoint of the service's C{ClientService}: tells the service of each attempt."""

    def __init__(self, service: AMQPService, endpoint: BrokerEndpoint) -> None:
        self._service = service
        self._endpoint = endpoint

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """As of the endpoint."""
        self._service.attempt_begins()
        return self._endpoint.connect(protocolFactory).addErrback(self._service.attempt_failed)

    def __repr__(self) -> str:
        return repr(self._endpoint)


class AMQPService(Service):
    """
    Keeps a connection to a broker, from C{startService} to C{stopService}, whatever happens to network or broker.

    What its channels (L{channel}) have declared, bound and consumed is set up again on each new connection;
    see L{SurvivingChannel} for details, and for what becomes of messages meanwhile. Any method may be called in any
    state.

    @ivar parameters: What it was made with.
    @ivar clock: Where timers come from.
    @ivar state: A L{State}.
    @ivar last_error: Why there was no connection the last time there was none.
    @ivar connection: The open L{AMQPProtocol}; C{None} while there is none. Channels made by its own C{channel()} end
        with it.
    @ivar topology: What its channels have declared.
    @ivar recovers: See L{__init__}.
    @ivar allowance: For messages that wait.
    """

    _log = Logger()

    def __init__(
        self,
        url_or_parameters: str | ConnectionParameters | None = None,
        reactor: Any = None,
        *,
        endpoint: Any = None,
        instrument: Any = None,
        listener: Any = None,
        recovers: Callable[[Method], bool] | None = None,
        publish_wait: float = 0.0,
        drain_timeout: float = DEFAULT_DRAIN_TIMEOUT,
        backoff: Backoff | None = None,
    ) -> None:
        """
        @param url_or_parameters: An AMQP URI (see L{txpika.parse_uri}), or L{ConnectionParameters}; by default
            RabbitMQ's guest on this machine.
        @param reactor: An C{IReactorTCP} and C{IReactorTime}; by default the global one.
        @param endpoint: See L{BrokerEndpoint}.
        @param instrument: Is told what happens on its connections: an L{IInstrument}, or several.
        @param listener: Is told what happens to the service: an L{IServiceListener}.
        @param recovers: Asked of each method that would be repeated on a new connection (C{Exchange.Declare},
            C{Queue.Declare}, C{Queue.Bind}, C{Exchange.Bind}, C{Basic.Consume}); those for which it returns C{False}
            are not, and such a consumer ends with L{ConsumerCancelled}.
        @param publish_wait: How long a publish without a connection waits for one, in seconds, before it fails with
            L{NotConnected}; 0 for not at all. At most C{max_held} bytes wait.
        @param drain_timeout: How long consumers' functions may take to finish in C{stopService}, in seconds.
        @param backoff: Other delays between attempts to connect.
        @raise ValueError: when the URI is invalid, or an argument is outside its limits.
        @raise TypeError: when an argument is of a wrong type.
        """
        if reactor is None:
            from twisted.internet import reactor
        if listener is not None and not IServiceListener.providedBy(listener):
            raise TypeError(f"listener must provide IServiceListener, {type(listener).__name__} does not")
        if recovers is not None and not callable(recovers):
            raise TypeError(f"recovers must be callable or None, not {type(recovers).__name__}")
        if publish_wait:
            seconds("publish_wait", publish_wait)
        self._drain_timeout = seconds("drain_timeout", drain_timeout)
        try:
            dial = BrokerEndpoint(url_or_parameters, reactor, endpoint=endpoint, prepare=self._prepare)
        finally:
            del url_or_parameters  # tracebacks may show what is in a name
        self.parameters = dial.parameters
        self.clock: Any = reactor
        self.state: State = "stopped"
        self.last_error: Exception | None = None
        self.connection: AMQPProtocol | None = None
        self.recovers = recovers
        self.allowance = Allowance(self.clock, float(publish_wait), self.parameters.max_held)
        self._listener: Any = listener or ServiceListener()
        self._backoff = backoff or Backoff()
        self._client = ClientService(_Attempts(self, dial), _Factory(self, instrument), self._delay, self.clock)
        self._waiters: list[Deferred[AMQPProtocol]] = []
        self._stops: list[Deferred[None]] = []
        self._begin()

    def _begin(self) -> None:
        self.topology = Topology(self.recovers)
        self._recovery = Recovery(self.topology, self.clock, self._left_out, self._renamed)
        self._channels: dict[SurvivingChannel, None] = {}
        self._preparing: AMQPProtocol | None = None
        self._latest: AMQPProtocol | None = None  # on which everything was set up, and that may be closing
        self._opened_at = 0.0
        self._connections = 0

    # What a program asks for

    @property
    def reconnects(self) -> int:
        """How many connections there have been after the first."""
        return max(self._connections - 1, 0)

    def when_open(self) -> Deferred[AMQPProtocol]:
        """
        @return: Fires with the connection, at once or when there is one and everything is set up again on it. Fails
            with L{NotConnected} when the service is stopped.
        """
        if self.connection is not None and self.state == "open":
            return succeed(self.connection)
        if self._stopping and not self.running:
            return fail(NotConnected("the service is stopped"))
        waiter: Deferred[AMQPProtocol] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def channel(self, *, timeout: float | None = None) -> Deferred[SurvivingChannel]:
        """
        Open a channel that survives its connection. Waits until there is one.

        @param timeout: How long to wait in all, in seconds.
        @return: Fires with it. Fails with L{NotConnected} when the service is stopped, with
            L{txpika.exceptions.NoFreeChannels}, with L{CallTimeout}.
        """
        if timeout is not None:
            seconds("timeout", timeout)
        opening = Deferred.fromCoroutine(self._open_channel())
        if timeout is not None:
            text = f"Channel.Open: no channel within {timeout:g} seconds"
            opening.addTimeout(timeout, self.clock, lambda _result, _timeout: Failure(CallTimeout(text, "not sent")))
        return opening

    @property
    def channels(self) -> tuple[SurvivingChannel, ...]:
        """Those that are not closed."""
        return tuple(self._channels)

    async def _open_channel(self) -> SurvivingChannel:
        while True:
            connection = await self.when_open()
            try:
                channel = await connection.attach(partial(self._face, connection))
            except AMQPConnectionError:
                if self._stopping or self.connection is connection:
                    raise
            else:
                self._channels[channel] = None
                return channel

    def _face(self, connection: AMQPProtocol, core: Any) -> SurvivingChannel:
        if connection.observer is None:
            return SurvivingChannel(core, connection, self)
        return ObservedSurvivingChannel(core, connection, self, connection.observer)

    def forget(self, channel: SurvivingChannel) -> None:
        """A channel is closed for good."""
        self._channels.pop(channel, None)

    # IService

    def startService(self) -> None:
        """Begin to connect; if it is stopping, once it has stopped. Harmless when already started."""
        if self.running:
            return
        Service.startService(self)
        if self.state != "draining":
            self._start()

    def _start(self) -> None:
        self._begin()
        self.state = "stopped"
        self._client.startService()

    def stopService(self) -> Deferred[None]:
        """
        Stop in an orderly way: no more deliveries come, consumers' functions finish within C{drain_timeout}, acks are
        written, what was published is confirmed and the connection closed within C{close_timeout}.

        @return: Fires with C{None} when all that is done, or the time is up. Never fails.
        """
        if not self.running and self.state != "draining":
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        if self.running:
            Service.stopService(self)
            if self.state != "draining":
                self._set_state("draining", None)
                Deferred.fromCoroutine(self._stop()).addErrback(self._stop_failed).addCallback(self._stop_ended)
            self._fail_waiters()
        return stopped

    @property
    def _stopping(self) -> bool:
        return self.state in ("draining", "closed")

    async def _stop(self) -> None:
        # The client service may be what asks for this, and cannot be turned to then.
        turn: Deferred[None] = deferLater(self.clock, 0)
        gone = Deferred.fromCoroutine(self._leave(turn))
        consumers = [consumer for channel in self._channels for consumer in channel.workers]
        left = await gatherResults([self._drain(consumer) for consumer in consumers])
        if any(left):
            self._log.warn("{count} deliveries were still being handled at the end of drain_timeout", count=sum(left))
        if self.connection is not None:
            self.connection.close()
        await turn
        if self._latest is not None:  # it may not have been open yet
            self._latest.close()
        await gone

    async def _leave(self, turn: Deferred[None]) -> None:
        """No attempt from now on, not even if the connection ends while functions are still running."""
        await turn
        if self._latest is not None:
            await self._latest.closed
        # It must be stopped before it is told of a loss: otherwise it would wait for another attempt.
        await self._client.stopService()

    def _drain(self, consumer: Any) -> Deferred[int]:
        def failed(failure: Failure) -> int:
            if failure.check(AMQPError) is None:
                self._log.failure("A consumer could not be stopped in the orderly way", failure)
            return 0

        draining: Deferred[int] = consumer.drain(self._drain_timeout)
        return draining.addErrback(failed)

    def _stop_failed(self, failure: Failure) -> None:
        self._log.failure("Stopping the service failed", failure)

    def _stop_ended(self, _result: object) -> None:
        self.connection = self._preparing = None
        reason = NotConnected("the service is stopped")
        for channel in self.channels:
            channel.finish(reason)
        stops, self._stops = self._stops, []
        self._set_state("closed", None)
        if self.running and self.state == "closed":
            self._start()
        for stopped in stops:
            stopped.callback(None)

    def _fail_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(NotConnected("the service is stopped"))

    # What happens to connections

    def attempt_begins(self) -> None:
        """An attempt to connect."""
        if not self._stopping:
            self._set_state("connecting", None)

    def attempt_failed(self, failure: Failure) -> Failure:
        """It came to nothing."""
        self._preparing = None
        error: Any = failure.value
        if not self._stopping and not isinstance(error, CancelledError):
            hopeless = is_hopeless(error)
            self._backoff.failed(hopeless)
            if hopeless:
                self._log.error("The broker does not let us in, trying again slowly: {error}", error=error)
            elif not isinstance(error, AMQPError):
                self._log.failure("An attempt to connect failed in an unexpected way", failure)
            else:
                self._log.warn("Cannot connect: {error}", error=error)
            self._waits(error)
        return failure

    def _delay(self, _attempts: int) -> float:
        return self._backoff.delay()

    async def _prepare_on(self, connection: AMQPProtocol) -> None:
        if self._stopping:
            raise NotConnected("the service is stopped")
        self._preparing = connection
        self._set_state("recovering", None)
        await self._recovery.run(connection, self._channels)
        if self._preparing is not connection:
            return  # it is lost, and so is the attempt
        self._latest = connection
        # Not from in here, where the client service does not know of the connection yet: programs are about to hear.
        self.clock.callLater(0, self._open, connection)

    def _prepare(self, connection: AMQPProtocol) -> Deferred[None]:
        return Deferred.fromCoroutine(self._prepare_on(connection))

    def _open(self, connection: AMQPProtocol) -> None:
        if self._preparing is not connection or self._stopping:
            return
        self._preparing = None
        self.connection = connection
        self._opened_at = self.clock.seconds()
        self._connections += 1
        begins = [channel.resume() for channel in self.channels]
        self._set_state("open", None)
        for begin in begins:
            if begin is not None:
                begin()
        while self._waiters and self.connection is connection:
            self._waiters.pop(0).callback(connection)

    def connection_failing(self, connection: AMQPProtocol, reason: CloseReason) -> None:
        """A connection is over, and nothing on it has been told yet."""
        if connection is self._preparing:
            self._preparing = None
        elif connection is not self.connection:
            return  # in its handshake: an attempt is about to fail
        was_open, self.connection = self.connection is connection, None
        if self._stopping:
            return
        tells = [channel.suspend(reason) for channel in self.channels]
        if connection is self._latest:  # else an attempt is about to fail
            self._backoff.lost(self.clock.seconds() - self._opened_at if was_open else 0.0)
            self._log.warn("The connection is lost: {reason}", reason=reason)
            self._waits(reason)
        for tell in tells:
            if tell is not None:
                tell()

    def _waits(self, error: Exception) -> None:
        self.last_error = error
        self._set_state("waiting", error)

    # What others hear

    def _set_state(self, state: State, error: Exception | None) -> None:
        self.state = state
        self._tell(self._listener.state_changed, state, error)

    def _renamed(self, old: str, new: str) -> None:
        for channel in self._channels:
            channel.record.renamed(old, new)
        self._tell(self._listener.queue_renamed, old, new)

    def _left_out(self, method: Method, error: Exception) -> None:
        self._log.error("Not set up again: {method!r}: {error}", method=method, error=error)
        self._tell(self._listener.left_out, method, error)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            function(self, *arguments)
        except Exception:
            self._log.failure("A listener of the service raised")

    def __repr__(self) -> str:
        return f"<AMQPService {self.parameters!r} {self.state}>"


def is_hopeless(error: BaseException) -> bool:
    """Whether the next attempt will fail as well, unless somebody changes something."""
    if isinstance(error, AuthenticationError) and error.initiator == "local" and error.__cause__ is not None:
        return False  # the program's own function failed: what that asks may be back in a moment
    return is_final(error) or (isinstance(error, HandshakeError) and error.reply_code in (ACCESS_REFUSED, NOT_ALLOWED))
