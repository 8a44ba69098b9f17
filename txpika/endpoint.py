# -*- test-case-name: txpika.test.test_endpoint -*-
"""
From parameters to an open connection: hosts in turn, TCP, TLS and AMQP's handshake, all within one deadline per host.

Owns the order of the hosts, the deadline, and the error when none lets us in. Programs with an endpoint of their own
may pass it to L{connect}, or use L{txpika.protocol.AMQPFactory} with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IAddress, IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from txpika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ConnectFailed,
    TLSError,
)
from txpika.parameters import ConnectionParameters, address
from txpika.protocol import AMQPFactory, AMQPProtocol
from txpika.uri import parameters_of


def connect(
    url_or_parameters: str | ConnectionParameters | None = None,
    reactor: Any = None,
    *,
    endpoint: Any = None,
    instrument: Any = None,
) -> Deferred[AMQPProtocol]:
    """
    Connect to a broker.

    @param url_or_parameters: An AMQP URI (see L{txpika.parse_uri}), or L{ConnectionParameters}; by default RabbitMQ's
        guest on this machine.
    @param reactor: An C{IReactorTCP} and C{IReactorTime}; by default the global one.
    @param endpoint: See L{BrokerEndpoint}.
    @param instrument: Is told what happens on the connection: an L{txpika.interfaces.IInstrument}, or several.
    @return: Fires with an L{AMQPProtocol} after C{connection.open-ok}. Fails with L{txpika.exceptions.ConnectFailed}
        when no connection could be made, else with a L{txpika.exceptions.HandshakeError}:
        L{txpika.exceptions.AuthenticationError}, L{txpika.exceptions.TLSVerifyError}, L{txpika.exceptions.TLSError},
        L{txpika.exceptions.IncompatibleProtocolError}, L{txpika.exceptions.HandshakeTimeout}. When several hosts were
        tried, with an C{AuthenticationError}, or a C{ConnectFailed} that has each host's error in its C{errors}.
        Cancelling it drops the connection.
    @raise ValueError: when the URI is invalid.
    @raise TypeError: when it is anything else.
    """
    try:
        broker = BrokerEndpoint(url_or_parameters, reactor, endpoint=endpoint)
    finally:
        del url_or_parameters  # tracebacks may show what is in a name, and this may have a password in it
    return broker.connect(AMQPFactory(broker.parameters, broker.reactor, instrument=instrument))


@implementer(IStreamClientEndpoint)
class BrokerEndpoint:
    """
    An endpoint that leads to the broker of some parameters, for a C{ClientService} and the like.

    Unlike other endpoints, it is connected only once the AMQP connection is open: when the broker refuses us, the
    attempt has failed, and the next one comes after the service's back-off.

    @ivar parameters: What it was made with.
    @ivar reactor: What it runs on.
    """

    def __init__(
        self,
        url_or_parameters: str | ConnectionParameters | None = None,
        reactor: Any = None,
        *,
        endpoint: Any = None,
        shuffle: Callable[[list[tuple[str, int]]], None] = random.shuffle,
        prepare: Callable[[AMQPProtocol], Deferred[None]] | None = None,
    ) -> None:
        """
        @param url_or_parameters: An AMQP URI or L{ConnectionParameters}.
        @param reactor: An C{IReactorTCP} and C{IReactorTime}; by default the global one.
        @param endpoint: An C{IStreamClientEndpoint} that leads to the broker, instead of TCP to the host: a unix socket
            or a proxy. TLS, if the parameters ask for it, goes through it, and the certificate must be for their host.
        @param shuffle: Puts the list of hosts into the order for one attempt, in place.
        @param prepare: Called with each L{AMQPProtocol} when it is open. The attempt succeeds when the Deferred that
            this returns fires; when that fails, the connection is dropped and the attempt fails.
        @raise ValueError: when the URI is invalid, or there are several hosts and an endpoint.
        @raise TypeError: when an argument is of a wrong type.
        """
        try:
            self.parameters = parameters_of(url_or_parameters)
        finally:
            del url_or_parameters
        if endpoint is not None and not IStreamClientEndpoint.providedBy(endpoint):
            raise TypeError(f"endpoint must provide IStreamClientEndpoint, {type(endpoint).__name__} does not")
        if endpoint is not None and len(self.parameters.hosts) > 1:
            raise ValueError("an endpoint leads to one broker, the parameters name several hosts")
        if reactor is None:
            from twisted.internet import reactor
        self.reactor: Any = reactor
        self._endpoint = endpoint
        self._shuffle = shuffle
        self._prepare = prepare

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """
        @param protocolFactory: An L{AMQPFactory}, or a factory around one, such as C{ClientService} makes.
        @return: Fires with what it built: an open L{AMQPProtocol}, or a wrapper around one. Fails as L{connect} does.
        """
        return ensureDeferred(self._each_host(protocolFactory))

    async def _each_host(self, factory: Any) -> Any:
        hosts = list(self.parameters.hosts)
        self._shuffle(hosts)
        errors: list[AMQPConnectionError] = []
        for host in hosts:
            try:
                return await self._open(factory, *host)
            except AMQPConnectionError as error:
                if len(hosts) == 1 or is_final(error):
                    raise
                errors.append(error)
        told = "; ".join(f"{address(*host)}: {error}" for host, error in zip(hosts, errors, strict=True))
        failed = ConnectFailed(f"none of {len(hosts)} hosts lets us in: {told}", initiator="network")
        failed.errors = tuple(errors)
        raise failed from errors[-1]

    async def _open(self, factory: Any, host: str, port: int) -> Any:
        """Connect to one host, and log in."""
        deadline = self.reactor.seconds() + self.parameters.connection_timeout
        attempt = await self._dial(_AttemptFactory(factory), host, port)
        protocol = attempt.protocol
        protocol.limit_handshake(deadline - self.reactor.seconds())
        try:
            connection = await protocol.when_open()
            if self._prepare is not None:
                await self._prepare(connection)
                await protocol.when_open()  # it may have been lost as the last thing that was waited for
        except BaseException:
            protocol.abort()
            raise
        attempt.opened = True
        return protocol

    async def _dial(self, factory: _AttemptFactory, host: str, port: int) -> _Attempt:
        """
        @raise ConnectFailed: when there is no connection.
        @raise TLSError: when this program lacks what TLS needs.
        """
        timeout = self.parameters.connection_timeout
        where = address(host, port) if self._endpoint is None else f"the broker by {type(self._endpoint).__name__}"
        endpoint = self._endpoint or HostnameEndpoint(self.reactor, host, port, timeout=timeout)
        through: Any = factory
        if self.parameters.tls is not None:
            factory.creator = _secure().ConnectionCreator(self.parameters.tls, host)
            from twisted.protocols.tls import TLSMemoryBIOFactory

            through = TLSMemoryBIOFactory(factory.creator, True, factory, clock=self.reactor)

        def expired(_result: object, _timeout: float) -> Failure:
            error = ConnectFailed(f"cannot connect to {where} within {timeout:g} seconds", initiator="network")
            error.__cause__ = TimeoutError()
            return Failure(error)

        try:
            connected = await _impatient(endpoint.connect(through)).addTimeout(timeout, self.reactor, expired)
        except (CancelledError, ConnectFailed):
            raise
        except Exception as error:
            raise ConnectFailed(f"cannot connect to {where}: {error}", initiator="network") from error
        attempt = connected if self.parameters.tls is None else connected.wrappedProtocol
        assert isinstance(attempt, _Attempt)
        return attempt

    def __repr__(self) -> str:
        return f"<BrokerEndpoint {self.parameters!r}>"


def is_final(error: BaseException) -> bool:
    """Whether another host would say the same: brokers of one cluster know the same users, and our files are ours."""
    if isinstance(error, AuthenticationError):
        # RabbitMQ says so when it refuses a login. A connection lost in that moment may just be lost.
        return error.initiator != "network"
    return isinstance(error, TLSError) and error.initiator == "local"


def _impatient(connecting: Deferred[Any]) -> Deferred[Any]:
    """
    @param connecting: What an endpoint returned.
    @return: The same, but cancelling it ends it with C{CancelledError} at once, whatever the endpoint makes of that. A
        connection that comes all the same is dropped.
    """

    cancelled = False

    def cancel(_result: object) -> None:
        nonlocal cancelled
        cancelled = True
        connecting.cancel()

    def pass_on(result: Any) -> None:
        if not cancelled:
            patient.callback(result)
        elif not isinstance(result, Failure):
            result.transport.abortConnection()

    patient: Deferred[Any] = Deferred(cancel)
    connecting.addBoth(pass_on)
    return patient


def _secure() -> ModuleType:
    """
    @return: L{txpika.secure}, which only those load who use TLS.
    @raise TLSError: when what it needs is not installed.
    """
    try:
        from txpika import secure
    except ImportError as error:
        raise TLSError(f"TLS needs {error.name or 'pyOpenSSL'}, which is missing: pip install 'txpika[tls]'") from error
    return secure


@implementer(IHandshakeListener)
class _Attempt(Protocol):
    """
    Between the transport and a protocol that is not open yet.

    A factory around ours may tell its owner of each connection that is lost. C{ClientService} does, and knows no loss
    of one that it has not got: so losses go past it to the protocol, until the connection is open.

    @ivar protocol: What the program's factory built.
    @ivar opened: It has got it.
    """

    def __init__(self, protocol: Any, creator: Any) -> None:
        self.protocol = protocol
        self.opened = False
        self._creator = creator
        self._secured = False

    def connectionMade(self) -> None:
        """From now on bytes go straight to the protocol."""
        self.dataReceived = self.protocol.dataReceived  # type: ignore[method-assign]
        self.protocol.makeConnection(self.transport)

    def handshakeCompleted(self) -> None:
        """That of TLS."""
        self._secured = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the protocol, in the terms of TLS where it was about that."""
        if self.opened:
            self.protocol.connectionLost(reason)
            return
        if self._creator is not None:
            error = _secure().explained(reason.value, self._creator.problem, not self._secured)
            reason = reason if error is reason.value else Failure(error)
        self.protocol.attempt_failed(reason)


class _AttemptFactory(Factory):
    """
    Makes them.

    @ivar creator: The TLS side of the connection, when there is one.
    """

    noisy = False

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.creator: Any = None

    def doStart(self) -> None:
        """Pass it on."""
        self._factory.doStart()

    def doStop(self) -> None:
        """Pass it on."""
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> _Attempt | None:
        """@return: A new attempt, of a new protocol of the program's factory; C{None} when it makes none."""
        protocol = self._factory.buildProtocol(addr)
        return None if protocol is None else _Attempt(protocol, self.creator)
