# -*- test-case-name: txpika.test.test_memory_handshake -*-
"""
What the broker in memory says to a client before a connection is open, and what it wants to hear.

Owns SASL and the limits that are agreed on. Pure functions of what both sides said; the order of the conversation is in
L{txpika.testing.connection}.
"""

from __future__ import annotations

from typing import NamedTuple

from txpika._version import __version__
from txpika.exceptions import DecodeError
from txpika.spec import ACCESS_REFUSED, COMMAND_INVALID, FRAME_MIN_SIZE_ACCEPTED, NOT_ALLOWED, Connection, decode_table
from txpika.testing.errors import Refused

MECHANISMS = ("PLAIN", "AMQPLAIN")

#: As RabbitMQ announces them.
CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "consumer_priorities": True,
    "direct_reply_to": True,
    "exchange_exchange_bindings": True,
    "per_consumer_qos": True,
    "publisher_confirms": True,
}


class Limits(NamedTuple):
    """
    @ivar channel_max: Highest number of channels.
    @ivar frame_max: Largest whole frame, in bytes.
    @ivar heartbeat: Heartbeat time-out, in seconds, 0 for none.
    """

    channel_max: int = 2047
    frame_max: int = 131072
    heartbeat: int = 60


#: RabbitMQ's defaults.
LIMITS = Limits()


def start() -> Connection.Start:
    """@return: The greeting."""
    properties = {
        "capabilities": CAPABILITIES,
        "cluster_name": "txpika@memory",
        "copyright": "MPL 2.0",
        "information": "A broker in memory, for tests",
        "platform": f"txpika.testing {__version__}",
        # There are clients that look for these two.
        "product": "RabbitMQ",
        "version": "3.10.8",
    }
    return Connection.Start(0, 9, properties, " ".join(MECHANISMS).encode("ascii"), b"en_US")


def login(mechanism: str, response: bytes) -> tuple[str, str]:
    """
    @return: User and password.
    @raise Refused: They are none.
    """
    if mechanism == "PLAIN":
        pieces = response.split(b"\0")
        if len(pieces) == 3:
            return _text(mechanism, pieces[1]), _text(mechanism, pieces[2])
    elif mechanism == "AMQPLAIN":
        try:
            table, _ = decode_table(len(response).to_bytes(4, "big") + response, 0, len(response) + 4)
        except DecodeError:
            table = {}
        user, password = table.get("LOGIN"), table.get("PASSWORD")
        if isinstance(user, str) and isinstance(password, str):
            return user, password
    else:
        raise Refused(COMMAND_INVALID, "an unknown authentication mechanism")
    raise refused(mechanism)


def _text(mechanism: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(mechanism) from None


def refused(mechanism: str) -> Refused:
    """Who it is, or pretends to be, is not let in."""
    return Refused(
        ACCESS_REFUSED,
        f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile.",
    )


def agreed(offer: Limits, answer: Connection.TuneOk) -> Limits:
    """
    @raise Refused: The client wants more than there is, or less than works.
    """
    for name, low in (("frame_max", FRAME_MIN_SIZE_ACCEPTED), ("channel_max", 1)):
        high, value = getattr(offer, name), getattr(answer, name)
        if value < low:
            raise Refused(NOT_ALLOWED, f"negotiated {name} = {value} is lower than the minimum allowed value ({low})")
        if value > high:
            raise Refused(NOT_ALLOWED, f"negotiated {name} = {value} is higher than the maximum allowed value ({high})")
    return Limits(answer.channel_max, answer.frame_max, answer.heartbeat)
