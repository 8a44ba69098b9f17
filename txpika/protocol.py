# -*- test-case-name: txpika.test.test_protocol -*-
"""
One connection, as a Twisted program knows it: an C{IProtocol} over the engine.

Owns nothing but the Deferreds that wait for it to open and to close. Works with every endpoint and transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from txpika.channel import Channel
from txpika.core.connection import Connection
from txpika.exceptions import AMQPError, AuthenticationError, CallTimeout, CloseReason, TLSError, WrongThread
from txpika.instrumenting import ObservedChannel, Observer, instruments_of
from txpika.interfaces import ICredentials
from txpika.parameters import ConnectionParameters, seconds
from txpika.prompt import prompt, send_small
from txpika.provider import ask
from txpika.results import Result
from txpika.spec import Connection as Methods
from txpika.uri import parameters_of

if TYPE_CHECKING:
    from txpika.core.channel import Channel as Core

_T = TypeVar("_T")
#: How many bytes Twisted's transports pass to the socket at a time. With their own 128 KiB a publish of 1 MB takes
#: 750 us of CPU, with this 450 (3.11, Twisted 26.10).
SEND_SIZE = 512 * 1024


class AMQPProtocol(Protocol):
    """
    A connection to a RabbitMQ broker.

    L{txpika.connect} gives an open one. One that an endpoint or a C{ClientService} made from an L{AMQPFactory} may
    still be in its handshake: L{channel} waits for that by itself, L{when_open} lets you wait.

    @ivar parameters: What it was made with.
    """

    _log = Logger()

    def __init__(
        self, parameters: str | ConnectionParameters | None = None, clock: Any = None, *, instrument: Any = None
    ) -> None:
        """
        @param parameters: An AMQP URI or L{ConnectionParameters}; the endpoint decides where to connect.
        @param clock: An C{IReactorTime}; by default the reactor.
        @param instrument: Is told what happens on it: an L{txpika.interfaces.IInstrument}, or several.
        @raise TypeError: when C{instrument} is anything else.
        """
        try:
            self.parameters = parameters_of(parameters)
        finally:
            del parameters
        if clock is None:
            from twisted.internet import reactor as clock
        self._clock: Any = clock
        self._observer: Observer | None = None
        if instrument is None:
            self._core = Connection(self.parameters, clock, self)
        else:
            self._observer = Observer(self.parameters, clock, self, instruments_of(instrument))
            self._core = self._observer.core
        self._opens: list[Deferred[AMQPProtocol]] = []
        self._ends: list[Deferred[CloseReason]] = []
        self._ended = False
        self._asking: Deferred[None] | None = None
        self._receiver = self._core.receiver
        self._read_size = self._receiver.read_size
        #: Called with the broker's reason when it stops taking messages because memory or disk is low.
        self.on_blocked: Callable[[str], None] | None = None
        #: Called when it takes them again.
        self.on_unblocked: Callable[[], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened."""
        return self._core.is_open

    @property
    def heartbeat(self) -> int:
        """The heartbeat time-out that was agreed on, in seconds; 0 for none, and before the handshake is over."""
        return self._core.tuned.heartbeat

    @property
    def server_properties(self) -> Mapping[str, Any]:
        """What the broker says about itself: product, version, capabilities and more; empty until it has."""
        return self._core.server_properties

    @property
    def closed(self) -> Deferred[CloseReason]:
        """
        Fires with the reason when the connection is gone and its transport closed; never fails. Each access makes a
        new Deferred.
        """
        if self._ended:
            assert self._core.reason is not None
            return succeed(self._core.reason)
        waiter: Deferred[CloseReason] = Deferred(self._ends.remove)
        self._ends.append(waiter)
        return waiter

    def when_open(self) -> Deferred[AMQPProtocol]:
        """
        @return: Fires with this protocol after C{connection.open-ok}; fails with what went wrong in the handshake.
        """
        self._core.check_thread()
        if self._core.reason is not None:
            return fail(self._core.reason.with_outcome("closed"))
        if self._core.is_open:
            return succeed(self)
        waiter: Deferred[AMQPProtocol] = Deferred(self._opens.remove)
        self._opens.append(waiter)
        return waiter

    def channel(self, *, timeout: float | None = None) -> Deferred[Channel]:
        """
        Open a channel. During the handshake this waits until that is over.

        @param timeout: How long to wait for the broker to open it, in seconds.
        @return: Fires with the L{Channel} after C{channel.open-ok}. Fails with L{txpika.exceptions.NoFreeChannels},
            L{txpika.exceptions.NotConnected}, or the reason why the connection ended.
        """
        return self.attach(self._face, timeout)

    def attach(self, face: Callable[[Core], _T], timeout: float | None = None) -> Deferred[_T]:
        """
        As L{channel}, for another kind of channel.

        @param face: Makes the channel that the user sees, from the engine's.
        @return: Fires with that.
        """
        if timeout is not None:
            seconds("timeout", timeout)
        if self._core.in_handshake:
            return self.when_open().addCallback(lambda _: self.attach(face, timeout))
        try:
            core = self._core.open_channel(Result, timeout)
        except WrongThread:
            raise
        except AMQPError as error:
            return fail(error)
        core.face = face(core)
        opened: Deferred[_T] = core.opened
        return opened

    def _face(self, core: Core) -> Channel:
        return Channel(core, self) if self._observer is None else ObservedChannel(core, self, self._observer)

    def update_secret(
        self, new_secret: str | bytes, reason: str = "", *, timeout: float | None = None
    ) -> Deferred[Methods.UpdateSecretOk]:
        """
        RabbitMQ's C{connection.update-secret}: continue with a new token when the old one is about to expire
        (rabbitmq.com/docs/oauth2).

        @param new_secret: What the broker's authentication backend expects; a str as UTF-8.
        @param reason: For the broker's log.
        @return: Fires with C{Connection.UpdateSecretOk}.
        """
        method = Methods.UpdateSecret(new_secret.encode() if isinstance(new_secret, str) else new_secret, reason)
        del new_secret  # tracebacks may show what is in a name
        if timeout is not None:
            seconds("timeout", timeout)
        try:
            updated: Deferred[Methods.UpdateSecretOk] = self._core.update_secret(method, Deferred, timeout)
        except WrongThread:
            raise
        except AMQPError as error:
            return fail(error)
        return updated

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> Deferred[None]:
        """
        Close the connection in an orderly way: calls and confirmations under way may finish, then the broker is told,
        then the transport is closed. All of it takes at most C{close_timeout} seconds, even when the broker has stopped
        reading. Harmless when it is closed.

        @param reply_code: For the broker's log, 0 to 65535.
        @param reply_text: The same; cut to 255 bytes of UTF-8.
        @return: Fires with C{None} when the transport is closed. Never fails.
        """
        closed = self.closed
        self._core.close(reply_code, reply_text)
        return closed.addCallback(lambda reason: None)

    def abort(self) -> None:
        """Drop the connection at once, without a word to the broker."""
        self._core.abort()

    # For channels, consumers and services

    @property
    def observer(self) -> Observer | None:
        """What tells the instruments; C{None} without any."""
        return self._observer

    def on_failing(self, function: Callable[[CloseReason], None]) -> None:
        """Call C{function} with the reason when the connection is over, before anything on it is told."""
        self._core.failing = function

    @property
    def clock(self) -> Any:
        """Where timers come from, an C{IReactorTime}."""
        return self._clock

    def limited(self, waited: Deferred[_T], timeout: float, what: str = "") -> Deferred[_T]:
        """
        Give up on C{waited} after C{timeout} seconds, by cancelling it: it then fails with L{CallTimeout}.

        @param what: Its name in the error.
        """

        def expired(_result: object, _timeout: float) -> Failure:
            return Failure(CallTimeout(f"{what}: no answer within {timeout:g} seconds"))

        return waited.addTimeout(timeout, self._clock, expired)

    def pause_reading(self, who: object) -> None:
        """C{who} has enough for now. Reading goes on as long as somebody waits for an answer from the broker."""
        self._core.intake.hold(who)

    def resume_reading(self, who: object) -> None:
        """C{who} takes more."""
        self._core.intake.release(who)

    def expect_message(self, who: object) -> None:
        """C{who} waits for a message: reading goes on, even if others have enough, until L{expect_no_message}."""
        self._core.intake.expect(who)

    def expect_no_message(self, who: object) -> None:
        """C{who} does not wait for one, or no longer does."""
        self._core.intake.expect_no_more(who)

    # IProtocol

    def connectionMade(self) -> None:
        """The transport is there: begin the handshake, when the credentials are known."""
        transport: Any = self.transport
        if isinstance(transport, FileDescriptor):
            transport.SEND_LIMIT = SEND_SIZE
        send_small(transport)
        if self._observer is not None:
            self._observer.made(transport)
        if ISSLTransport.providedBy(transport):
            from txpika import secure  # loaded only where TLS is used

            transport = secure.transport_of(transport)
        elif self.parameters.tls is not None:
            refusal = TLSError("the parameters want TLS, and the endpoint makes connections without: nothing was sent")
            self._core.connection_made(transport, refusal)
            return
        else:
            transport = prompt(transport)
        self._core.connection_made(transport)
        if not ICredentials.providedBy(self.parameters.credentials):
            self._asking = Deferred.fromCoroutine(ask(self.parameters.credentials))
            self._asking.addCallbacks(self._core.begin, self._refuse)

    def _refuse(self, failure: Failure) -> None:
        """There are no credentials."""
        if self._core.in_handshake:
            assert isinstance(failure.value, AuthenticationError)
            self._core.abort(failure.value)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the broker."""
        self._core.data_received(data)
        size = self._receiver.read_size
        if size != self._read_size:
            self._read_size = size
            transport: Any = self.transport
            if isinstance(transport, FileDescriptor):
                # How much the next read asks for; and for as long, how much it buffers before publishers must wait.
                transport.bufferSize = size

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone."""
        error: Any = reason.value
        if ISSLTransport.providedBy(self.transport):
            from txpika import secure

            error = secure.explained(error)
        self._core.connection_lost(error)

    # For L{txpika.endpoint}: an attempt to connect, which a factory around ours need not hear of

    def limit_handshake(self, timeout: float) -> None:
        """Give up when it is not open in C{timeout} seconds."""
        self._core.limit_handshake(timeout)

    def attempt_failed(self, reason: Failure) -> None:
        """As L{connectionLost}, for a connection that never was open."""
        self.connectionLost(reason)

    # What the engine tells

    def opened(self) -> None:
        """The handshake is over."""
        if self._observer is not None:
            self._observer.opened()
        opens, self._opens = self._opens, []
        for waiter in opens:
            waiter.callback(self)

    def blocked(self, reason: str) -> None:
        """The broker has a resource alarm."""
        self._log.warn("The broker takes no messages for now: {reason!r}", reason=reason)
        if self._observer is not None:
            self._observer.blocked(reason)
        self._tell(self.on_blocked, reason)

    def unblocked(self) -> None:
        """The alarm is over."""
        self._log.info("The broker takes messages again")
        if self._observer is not None:
            self._observer.unblocked()
        self._tell(self.on_unblocked)

    def _tell(self, function: Callable[..., None] | None, *arguments: Any) -> None:
        if function is not None:
            try:
                function(*arguments)
            except Exception:
                self._log.failure("A callback of the connection raised")

    def ended(self, reason: CloseReason) -> None:
        """Everything on the connection has ended and the transport is closed."""
        self._ended = True
        if self._asking is not None:
            self._asking.cancel()
        if self._observer is not None:
            self._observer.ended(reason)
        opens, self._opens = self._opens, []
        for waiter in opens:
            waiter.errback(reason.with_outcome("closed"))
        ends, self._ends = self._ends, []
        for end in ends:
            end.callback(reason)


class AMQPFactory(Factory):
    """
    Makes an L{AMQPProtocol} for each connection. Give it to any endpoint, or to a C{ClientService}.
    """

    protocol = AMQPProtocol
    noisy = False

    def __init__(
        self, parameters: str | ConnectionParameters | None = None, clock: Any = None, *, instrument: Any = None
    ) -> None:
        """
        @param parameters: An AMQP URI or L{ConnectionParameters}; the endpoint decides where to connect.
        @param clock: An C{IReactorTime}; by default the reactor.
        @param instrument: Is told what happens on its connections: an L{txpika.interfaces.IInstrument}, or several.
        @raise ValueError: when the URI is invalid.
        @raise TypeError: when C{instrument} is anything else.
        """
        try:
            self.parameters = parameters_of(parameters)
        finally:
            del parameters
        self._clock = clock
        self._instruments = None if instrument is None else instruments_of(instrument)

    def buildProtocol(self, addr: IAddress | None) -> AMQPProtocol:
        """@return: A new protocol with this factory's parameters."""
        if self._instruments is None:
            protocol = self.protocol(self.parameters, self._clock)
        else:
            protocol = self.protocol(self.parameters, self._clock, instrument=self._instruments)
        protocol.factory = self
        return protocol
