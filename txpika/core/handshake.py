# -*- test-case-name: txpika.test.test_hostile_peer -*-
"""
What the two peers agree on before a connection is open.

Owns the rules: which SASL mechanism, which limits, how this client introduces itself. Pure functions of what both sides
said; the order of the conversation is in L{txpika.core.states}.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from txpika._version import __version__
from txpika.core.states import AWAITING_CREDENTIALS, AWAITING_OPEN_OK, AWAITING_START, AWAITING_TUNE
from txpika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    ProtocolError,
    ProtocolVersionMismatch,
)
from txpika.interfaces import ICredentials
from txpika.parameters import MIN_FRAME_MAX, ConnectionParameters
from txpika.spec import ACCESS_REFUSED, SYNTAX_ERROR, Connection

#: RabbitMQ's extensions this client understands (rabbitmq.com/docs/consumers#capabilities).
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}
#: The states before an open connection.
IN_HANDSHAKE = frozenset((AWAITING_CREDENTIALS, AWAITING_START, AWAITING_TUNE, AWAITING_OPEN_OK))
#: Channel numbers are 16 bits wide and 0 is the connection's own.
MAX_CHANNELS = 65535


class Tuned(NamedTuple):
    """
    @ivar channel_max: Highest channel number.
    @ivar frame_max: Largest whole frame, in bytes.
    @ivar heartbeat: Heartbeat timeout, in seconds, 0 for none.
    """

    channel_max: int
    frame_max: int
    heartbeat: int


def client_properties(parameters: ConnectionParameters) -> dict[str, object]:
    """@return: The table this client introduces itself with."""
    properties: dict[str, object] = {
        "product": "txpika",
        "version": __version__,
        "platform": "Python",
        "information": "AMQP 0-9-1 client, MPL 2.0",
        "capabilities": CAPABILITIES,
    }
    if parameters.connection_name:
        properties["connection_name"] = parameters.connection_name
    return properties | parameters.client_properties


def start_ok(
    parameters: ConnectionParameters, credentials: ICredentials, start: Connection.Start
) -> Connection.StartOk:
    """
    Answer the broker's greeting.

    @raise ProtocolVersionMismatch: when the greeting is not for AMQP 0-9.
    @raise AuthenticationError: when it offers no mechanism the credentials can answer, or they fail.
    """
    if (start.version_major, start.version_minor) != (0, 9):
        raise ProtocolVersionMismatch(
            f"the broker greets with AMQP {start.version_major}-{start.version_minor}, not 0-9", initiator="peer"
        )
    offered = start.mechanisms.decode("ascii", "replace").split()
    for mechanism in credentials.mechanisms:
        if mechanism in offered:
            break
    else:
        raise AuthenticationError(
            f"the broker offers the mechanisms {offered[:20]}, the credentials know {list(credentials.mechanisms)}"
        )
    response = _answer(credentials, mechanism, None)
    return Connection.StartOk(client_properties(parameters), mechanism, response, parameters.locale)


def secure_ok(credentials: ICredentials, mechanism: str, challenge: bytes) -> Connection.SecureOk:
    """
    Answer a challenge.

    @raise AuthenticationError: when the credentials know no answer.
    """
    return Connection.SecureOk(_answer(credentials, mechanism, challenge))


def _answer(credentials: ICredentials, mechanism: str, challenge: bytes | None) -> bytes:
    """
    @raise AuthenticationError: when the credentials raise, or answer with anything but bytes; the answer is not
        shown.
    """
    arguments = (mechanism,) if challenge is None else (mechanism, challenge)
    ask: Any = credentials.response if challenge is None else credentials.challenge
    try:
        response = ask(*arguments)
    except Exception as error:
        # Not its text, which may hold a secret.
        text = f"the credentials raised {type(error).__name__} in the mechanism {mechanism}"
        if challenge is not None and isinstance(error, ValueError):
            text = f"the broker sent a challenge, which the credentials do not know in the mechanism {mechanism}"
        raise AuthenticationError(text) from error
    if not isinstance(response, bytes):
        kind = type(response).__name__
        del response  # tracebacks may show what is in a name
        raise AuthenticationError(f"the credentials answered {mechanism} with {kind}, not with bytes")
    return response


def lost(state: str, parameters: ConnectionParameters, reason: BaseException | None) -> AMQPConnectionError:
    """
    What it means when the transport is lost in C{state}.

    With RabbitMQ before 3.3, or a client that does not announce C{authentication_failure_close}, this is the only sign
    of a refused login.

    @param reason: What the transport said about it. If it is an error of ours, it says it all.
    """
    if isinstance(reason, AMQPConnectionError) and state in IN_HANDSHAKE:
        return reason
    text = "the network connection was lost" if reason is None else f"the network connection was lost: {reason}"
    kind: type[AMQPConnectionError] = HandshakeError if state in IN_HANDSHAKE else ConnectionLost
    if state == AWAITING_START:
        port = "one without TLS" if parameters.tls is None else "one with TLS, and does it want a client certificate"
        text += f", before the broker said anything: is it an AMQP port, and {port}?"
    elif state == AWAITING_TUNE:
        kind = AuthenticationError
        text += ", while logging in: are user and password right?"
    elif state == AWAITING_OPEN_OK:
        text += ", while opening the virtual host"
    return kind(text, initiator="network")


def too_late(state: str, parameters: ConnectionParameters) -> HandshakeTimeout:
    """What it means when the time for the handshake is over in C{state}."""
    return HandshakeTimeout(
        f"no open connection within {parameters.connection_timeout} seconds: {state}"
        " (a peer that is no AMQP broker may wait for something else)",
        initiator="network",
    )


def closed(state: str, close: Connection.Close, parameters: ConnectionParameters) -> AMQPConnectionError:
    """What it means when the broker closes in C{state}."""
    kind: type[AMQPConnectionError] = HandshakeError if state in IN_HANDSHAKE else ConnectionClosed
    if state == AWAITING_TUNE and close.reply_code == ACCESS_REFUSED:
        kind = AuthenticationError
    text = close.reply_text
    if state == AWAITING_OPEN_OK and not parameters.virtual_host:
        text += " (the virtual host '' was asked for; if a URI ends in '/', leave that out for '/', or write %2F)"
    return kind(text, close.reply_code, close.class_id, close.method_id, initiator="peer")


def tune(parameters: ConnectionParameters, offer: Connection.Tune) -> Tuned:
    """
    Agree on limits: the lower of both, where 0 means that a peer has none. For the heartbeat, RabbitMQ's rule: the
    other's value if either says 0, else the lower one (rabbitmq.com/docs/heartbeats).

    @raise ProtocolError: 502 when the broker wants frames below the smallest AMQP 0-9-1 allows.
    """
    if 0 < offer.frame_max < MIN_FRAME_MAX:
        raise ProtocolError(f"the broker offers a frame_max of {offer.frame_max}, below {MIN_FRAME_MAX}", SYNTAX_ERROR)
    lower = max if 0 in (parameters.heartbeat, offer.heartbeat) else min
    return Tuned(
        channel_max=min(parameters.channel_max or MAX_CHANNELS, offer.channel_max or MAX_CHANNELS),
        frame_max=min(parameters.frame_max, offer.frame_max or parameters.frame_max),
        heartbeat=lower(parameters.heartbeat, offer.heartbeat),
    )
