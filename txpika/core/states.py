# -*- test-case-name: txpika.test.test_states -*-
"""
Every state a connection and a channel can be in, and what leads from one to the next.

All that affects the state of either is in these two tables. An event is the name of a method the broker sent, or one of
the words for what this side did or what the network did. What is not in a table must not happen: if it is a method, it
is the broker's fault (503, or 504 for a channel); if it is a call, the caller's.

AMQP 0-9-1 sections 2.2.4 (connection) and 2.2.5 (channel).
"""

from __future__ import annotations

from typing import Final

# A connection.
AWAITING_CREDENTIALS: Final = "awaiting the program's credentials"
AWAITING_START: Final = "awaiting connection.start"
AWAITING_TUNE: Final = "awaiting connection.tune"
AWAITING_OPEN_OK: Final = "awaiting connection.open-ok"
# A connection or a channel.
OPEN: Final = "open"
CLOSING: Final = "closing"
CLOSED: Final = "closed"
# A channel.
AWAITING_CHANNEL_OPEN_OK: Final = "awaiting channel.open-ok"

#: The credentials are known: this side sends the protocol header.
BEGIN: Final = "begin"
#: This side sends C{connection.close} or C{channel.close}.
CLOSE: Final = "close"
#: The transport is gone, or was given up. For a channel: its connection is gone.
LOST: Final = "lost"

CONNECTION: Final[dict[tuple[str, str], str]] = {
    (AWAITING_CREDENTIALS, BEGIN): AWAITING_START,
    (AWAITING_START, "Connection.Start"): AWAITING_TUNE,
    (AWAITING_TUNE, "Connection.Secure"): AWAITING_TUNE,
    (AWAITING_TUNE, "Connection.Tune"): AWAITING_OPEN_OK,
    (AWAITING_OPEN_OK, "Connection.OpenOk"): OPEN,
    (OPEN, "Connection.Blocked"): OPEN,
    (OPEN, "Connection.Unblocked"): OPEN,
    (OPEN, "Connection.UpdateSecretOk"): OPEN,
    # The broker closes; close-ok goes out and nothing after it (2.2.4, rule "no more after close").
    (AWAITING_START, "Connection.Close"): CLOSED,
    (AWAITING_TUNE, "Connection.Close"): CLOSED,
    (AWAITING_OPEN_OK, "Connection.Close"): CLOSED,
    (OPEN, "Connection.Close"): CLOSED,
    # This side closes. A close from the broker that crosses ours is answered; its close-ok still ends it.
    (OPEN, CLOSE): CLOSING,
    (CLOSING, "Connection.Close"): CLOSING,
    (CLOSING, "Connection.CloseOk"): CLOSED,
    # Before it is open this side closes by dropping the transport.
    (AWAITING_CREDENTIALS, CLOSE): CLOSED,
    (AWAITING_START, CLOSE): CLOSED,
    (AWAITING_TUNE, CLOSE): CLOSED,
    (AWAITING_OPEN_OK, CLOSE): CLOSED,
    (AWAITING_CREDENTIALS, LOST): CLOSED,
    (AWAITING_START, LOST): CLOSED,
    (AWAITING_TUNE, LOST): CLOSED,
    (AWAITING_OPEN_OK, LOST): CLOSED,
    (OPEN, LOST): CLOSED,
    (CLOSING, LOST): CLOSED,
}

CHANNEL: Final[dict[tuple[str, str], str]] = {
    (AWAITING_CHANNEL_OPEN_OK, "Channel.OpenOk"): OPEN,
    (AWAITING_CHANNEL_OPEN_OK, "Channel.Close"): CLOSED,
    (OPEN, "Channel.Flow"): OPEN,
    (OPEN, "Channel.FlowOk"): OPEN,
    (OPEN, "Channel.Close"): CLOSED,
    (AWAITING_CHANNEL_OPEN_OK, CLOSE): CLOSING,
    (OPEN, CLOSE): CLOSING,
    (CLOSING, "Channel.OpenOk"): CLOSING,
    (CLOSING, "Channel.Flow"): CLOSING,
    (CLOSING, "Channel.FlowOk"): CLOSING,
    (CLOSING, "Channel.Close"): CLOSING,
    (CLOSING, "Channel.CloseOk"): CLOSED,
    (AWAITING_CHANNEL_OPEN_OK, LOST): CLOSED,
    (OPEN, LOST): CLOSED,
    (CLOSING, LOST): CLOSED,
}
