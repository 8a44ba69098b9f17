# -*- test-case-name: txpika.test.test_hostile_peer -*-
"""
What the two peers agree on before a connection is open.

Owns the rules: which SASL mechanism, which limits, how this client introduces itself. Pure functions of what both sides
said; the order of the conversation is in L{txpika.core.states}.
"""

from __future__ import annotations

from typing import NamedTuple

from txpika._version import __version__
from txpika.exceptions import AuthenticationError, ProtocolError, ProtocolVersionMismatch
from txpika.interfaces import ICredentials
from txpika.parameters import MIN_FRAME_MAX, ConnectionParameters
from txpika.spec import SYNTAX_ERROR, Connection

#: RabbitMQ's extensions this client understands (rabbitmq.com/docs/consumers#capabilities).
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "exchange_exchange_bindings": True,
    "publisher_confirms": True,
}
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


def start_ok(parameters: ConnectionParameters, start: Connection.Start) -> Connection.StartOk:
    """
    Answer the broker's greeting.

    @raise ProtocolVersionMismatch: when it is not about AMQP 0-9.
    @raise AuthenticationError: when it offers no mechanism the credentials can answer.
    """
    if (start.version_major, start.version_minor) != (0, 9):
        raise ProtocolVersionMismatch(
            f"the broker greets with AMQP {start.version_major}-{start.version_minor}, not 0-9", initiator="peer"
        )
    offered = start.mechanisms.decode("ascii", "replace").split()
    credentials = ICredentials(parameters.credentials)
    for mechanism in credentials.mechanisms:
        if mechanism in offered:
            break
    else:
        raise AuthenticationError(
            f"the broker offers the mechanisms {offered[:20]}, the credentials know {list(credentials.mechanisms)}"
        )
    return Connection.StartOk(
        client_properties(parameters), mechanism, credentials.response(mechanism), parameters.locale
    )


def tune(parameters: ConnectionParameters, offer: Connection.Tune) -> Tuned:
    """
    Agree on limits: the lower of both, where 0 means that a peer has none. For the heartbeat RabbitMQ's rule holds: if
    either says 0 the other's value, else the lower one (rabbitmq.com/docs/heartbeats).

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
