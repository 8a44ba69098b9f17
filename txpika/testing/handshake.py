# -*- test-case-name: txpika.test.test_memory_handshake -*-
"""
The way of one connection of the broker in memory to where it is open.

Owns the order of the conversation; what is said in it is in L{txpika.testing.greeting}. Knows what of a connection the
conversation decides, and nothing of channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from txpika.core.heartbeat import Heartbeat
from txpika.core.outbound import frame
from txpika.spec import CHANNEL_ERROR, FRAME_HEARTBEAT, NOT_ALLOWED, Connection, Method
from txpika.testing.errors import Refused, check_text
from txpika.testing.greeting import agreed, login, refused

if TYPE_CHECKING:
    from txpika.testing.connection import ServerConnection

#: What a client may say in each state before the connection is open.
STEPS: dict[str, type[Method]] = {
    "starting": Connection.StartOk,
    "tuning": Connection.TuneOk,
    "opening": Connection.Open,
}


def shake_hands(connection: ServerConnection, number: int, method: Method) -> None:
    """
    Take the next step.

    @param number: The channel that C{method} came on.
    @raise Refused: It is not its turn, or the broker wants no such connection.
    """
    if number or not isinstance(method, STEPS[connection.state]):
        raise Refused(CHANNEL_ERROR, f"unexpected method in connection state {connection.state}")
    check_text(method)
    if isinstance(method, Connection.StartOk):
        _start(connection, method)
    elif isinstance(method, Connection.TuneOk):
        _tune(connection, method)
    elif isinstance(method, Connection.Open):
        _open(connection, method)


def _start(connection: ServerConnection, method: Connection.StartOk) -> None:
    capabilities = method.client_properties.get("capabilities")
    connection.capabilities = capabilities if isinstance(capabilities, dict) else {}
    try:
        user, password = login(method.mechanism, method.response)
        if not connection.broker.knows(user, password):
            raise refused(method.mechanism)
    except Refused as error:
        if connection.capabilities.get("authentication_failure_close") is True:
            connection.close(error.reply_code, error.reply_text)
        else:
            connection.abort()
        return
    connection.user = user
    connection.state = "tuning"
    connection.say(Connection.Tune(*connection.limits))


def _tune(connection: ServerConnection, method: Connection.TuneOk) -> None:
    limits = agreed(connection.limits, method)
    connection.tuned(limits)
    connection.state = "opening"
    if limits.heartbeat:

        def send() -> None:
            connection.send(frame(FRAME_HEARTBEAT, 0, b""))
            connection.broker.flush()

        connection.beats(
            Heartbeat(
                connection.broker.clock,
                limits.heartbeat,
                connection,
                send,
                lambda silence: connection.abort(),
                lambda: connection.stalled,
            )
        )


def _open(connection: ServerConnection, method: Connection.Open) -> None:
    broker = connection.broker
    virtual_host = broker.virtual_hosts.get(method.virtual_host)
    if virtual_host is None:
        raise Refused(NOT_ALLOWED, f"vhost {method.virtual_host} not found")
    if not broker.admits(connection.user, method.virtual_host):
        raise Refused(NOT_ALLOWED, f"access to vhost '{method.virtual_host}' refused for user '{connection.user}'")
    connection.opened(virtual_host)
    connection.say(Connection.OpenOk())
    broker.faults.opened(connection)
