# -*- test-case-name: txpika.test.test_endpoint -*-
"""
Connect by one call.

Owns the way from a URI to an open connection. Programs with an endpoint of their own use
L{txpika.protocol.AMQPFactory} instead.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.python.failure import Failure

from txpika.exceptions import ConnectFailed
from txpika.parameters import ConnectionParameters
from txpika.protocol import AMQPFactory, AMQPProtocol, parameters_of


def connect(url_or_parameters: str | ConnectionParameters | None = None, reactor: Any = None) -> Deferred[AMQPProtocol]:
    """
    Connect to a broker.

    @param url_or_parameters: An AMQP URI (see L{txpika.parse_uri}), or L{ConnectionParameters}; by default RabbitMQ's
        guest on this machine.
    @param reactor: An C{IReactorTCP} and C{IReactorTime}; by default the global one.
    @return: Fires with an L{AMQPProtocol} after C{connection.open-ok}. Fails with
        L{txpika.exceptions.ConnectFailed} when there is nobody to talk to, else with a
        L{txpika.exceptions.HandshakeError}: L{txpika.exceptions.AuthenticationError},
        L{txpika.exceptions.IncompatibleProtocolError}, L{txpika.exceptions.HandshakeTimeout}. Cancelling it drops the
        connection.
    @raise ValueError: when the URI is none.
    @raise TypeError: when it is something else.
    """
    parameters = parameters_of(url_or_parameters)
    if reactor is None:
        from twisted.internet import reactor
    connecting = ensureDeferred(_connect(parameters, reactor))
    given_up = False

    def give_up(_connected: object) -> None:
        nonlocal given_up
        given_up = True
        connecting.cancel()

    def failed(failure: Failure) -> None:
        # What a cancelled attempt ends with depends on how far it came, and is of no interest.
        if not given_up:
            connected.errback(failure)

    connected: Deferred[AMQPProtocol] = Deferred(give_up)
    connecting.addCallbacks(connected.callback, failed)
    return connected


async def _connect(parameters: ConnectionParameters, reactor: Any) -> AMQPProtocol:
    endpoint = HostnameEndpoint(reactor, parameters.host, parameters.port, timeout=parameters.connection_timeout)
    try:
        protocol = await endpoint.connect(AMQPFactory(parameters, reactor))
    except (ConnectError, DNSLookupError) as error:
        raise ConnectFailed(f"cannot connect to {parameters.host}:{parameters.port}: {error}") from error
    assert isinstance(protocol, AMQPProtocol)
    try:
        return await protocol.when_open()
    except BaseException:
        protocol.abort()
        raise
