# -*- test-case-name: txpika.test.test_bad_arguments -*-
"""
Everything a program says about a connection before there is one.

Owns the defaults, the limits and their checks. A wrong value is refused here, by the name of its argument.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

from txpika.credentials import PlainCredentials
from txpika.interfaces import ICredentials
from txpika.spec import PORT, encode_table

#: Smallest frame_max AMQP 0-9-1 allows, in bytes (frame-min-size). RabbitMQ before 4.1 takes it.
MIN_FRAME_MAX = 4096
#: Smallest frame_max RabbitMQ takes from 4.1 on, in bytes.
RECOMMENDED_MIN_FRAME_MAX = 8192
#: RabbitMQ's own default, in bytes (rabbitmq.com/docs/networking).
DEFAULT_FRAME_MAX = 131072
#: Largest frame_max this side would hold in one piece, in bytes.
MAX_FRAME_MAX = 2**31 - 1
#: RabbitMQ's default heartbeat timeout, in seconds (rabbitmq.com/docs/heartbeats).
DEFAULT_HEARTBEAT = 60
#: Below this many seconds a heartbeat timeout gives false alarms (the same page).
LEAST_SANE_HEARTBEAT = 5
#: From the first SYN to C{connection.open-ok}, in seconds. RabbitMQ itself allows 10 for the handshake.
DEFAULT_CONNECTION_TIMEOUT = 15.0
#: How long an orderly close may take before the transport is aborted, in seconds.
DEFAULT_CLOSE_TIMEOUT = 10.0
#: Messages that may wait for their confirmation on one channel before publishing waits.
DEFAULT_CONFIRM_WINDOW = 1024
#: Largest message body taken, in bytes; a larger one is dropped as it arrives and rejected. RabbitMQ's own limit is
#: 512 MiB, and 16 MiB since 4.0 unless raised (C{max_message_size}).
DEFAULT_MAX_BODY_SIZE = 64 * 1024 * 1024
#: Bytes of messages that may wait for the gate on one connection.
DEFAULT_MAX_HELD = 64 * 1024 * 1024


def integer(name: str, value: object, low: int, high: int) -> int:
    """
    @return: C{value}, when it is an int from C{low} to C{high}.
    @raise TypeError: when it is no int; a bool is none.
    @raise ValueError: when it is outside.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, it must be from {low} to {high}")
    return value


def seconds(name: str, value: object) -> float:
    """
    @return: C{value}, when it is a finite number of seconds above 0.
    @raise TypeError: when it is no number.
    @raise ValueError: when it is 0, negative, infinite or NaN.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not isfinite(value) or value <= 0:
        raise ValueError(f"{name} is {value}, it must be above 0 seconds and finite")
    return value


def text(name: str, value: object) -> str:
    """
    @return: C{value}, when it is a str of at most 255 bytes of UTF-8, AMQP's short string, without NUL.
    @raise TypeError: when it is no str.
    @raise ValueError: when it is longer, or holds a NUL or a lone surrogate.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name} contains a lone surrogate") from None
    if size > 255:
        raise ValueError(f"{name} is {size} bytes of UTF-8, at most 255")
    if "\0" in value:
        raise ValueError(f"{name} contains a NUL character")
    return value


def cut_text(name: str, value: object) -> str:
    """
    @return: C{value}, cut between two characters where it is over 255 bytes of UTF-8: for what is only read by people.
    @raise TypeError: when it is no str.
    @raise ValueError: when it holds a NUL or a lone surrogate.
    """
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):  # which is refused below, by name
            value = value.encode()[:255].decode("utf-8", "ignore")
    return text(name, value)


class ConnectionParameters:
    """
    Where to connect, as whom, and with which limits.

    All arguments are attributes of the same names.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = PORT,
        virtual_host: str = "/",
        credentials: Any = None,
        channel_max: int = 0,
        frame_max: int = DEFAULT_FRAME_MAX,
        heartbeat: int = DEFAULT_HEARTBEAT,
        *,
        connection_timeout: float = DEFAULT_CONNECTION_TIMEOUT,
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT,
        connection_name: str = "",
        client_properties: Mapping[str, object] | None = None,
        locale: str = "en_US",
        confirm_window: int = DEFAULT_CONFIRM_WINDOW,
        max_held: int = DEFAULT_MAX_HELD,
        max_body_size: int = DEFAULT_MAX_BODY_SIZE,
        blocked_timeout: float | None = None,
    ) -> None:
        """
        @param host: Name or address of the broker.
        @param port: Its TCP port, 1 to 65535.
        @param virtual_host: Virtual host, at most 255 bytes of UTF-8. C{""} and C{"/"} are two different ones.
        @param credentials: An L{ICredentials}; C{None} is the user C{guest}, whom RabbitMQ lets in from its own
            machine only.
        @param channel_max: Most channels this side wants, 1 to 65535; 0 takes as many as the broker allows.
        @param frame_max: Largest frame this side wants, in bytes, from 4096. RabbitMQ 4.1 and later refuse less than
            8192. The broker's limit holds where it is lower.
        @param heartbeat: Heartbeat timeout this side wants, in seconds, 0 to 65535. The lower one of both peers
            holds; if one of them says 0, the other's; 0 only if both do.
        @param connection_timeout: Longest time from the first packet to an open connection, in seconds.
        @param close_timeout: Longest time an orderly close may take, in seconds.
        @param connection_name: Shown by the broker in its list of connections.
        @param client_properties: More entries for, or other values in, the table the client introduces itself with.
        @param locale: Language of the broker's texts.
        @param confirm_window: Most messages of one channel that wait for their confirmation.
        @param max_held: Most bytes of messages that wait for the gate to open.
        @param max_body_size: Largest message body taken, in bytes; a larger one is rejected unread.
        @param blocked_timeout: How long a publish waits while the broker has blocked the connection, in seconds, before
            it fails with L{txpika.exceptions.PublishBlocked}; C{None} for as long as that takes.
        @raise ValueError: when a value is outside its limits.
        @raise TypeError: when a value is of a wrong type.
        """
        self.host = text("host", host)
        if not host:
            raise ValueError("host is empty")
        self.port = integer("port", port, 1, 65535)
        self.virtual_host = text("virtual_host", virtual_host)
        self.credentials = PlainCredentials("guest", "guest") if credentials is None else credentials
        if not ICredentials.providedBy(self.credentials):
            raise TypeError(f"credentials must provide ICredentials, {type(credentials).__name__} does not")
        self.channel_max = integer("channel_max", channel_max, 0, 65535)
        self.frame_max = integer("frame_max", frame_max, MIN_FRAME_MAX, MAX_FRAME_MAX)
        if frame_max < RECOMMENDED_MIN_FRAME_MAX:
            warnings.warn(
                f"frame_max is {frame_max}: RabbitMQ 4.1 and later refuse less than {RECOMMENDED_MIN_FRAME_MAX} bytes",
                stacklevel=2,
            )
        self.heartbeat = integer("heartbeat", heartbeat, 0, 65535)
        if 0 < heartbeat < LEAST_SANE_HEARTBEAT:
            warnings.warn(
                f"heartbeat is {heartbeat}: below {LEAST_SANE_HEARTBEAT} seconds a busy moment looks like a dead peer",
                stacklevel=2,
            )
        self.connection_timeout = seconds("connection_timeout", connection_timeout)
        self.close_timeout = seconds("close_timeout", close_timeout)
        self.connection_name = connection_name
        if not isinstance(connection_name, str):
            raise TypeError(f"connection_name must be str, not {type(connection_name).__name__}")
        self.client_properties = dict(client_properties or {})
        if len(encode_table(self.client_properties, "client_properties")) > MIN_FRAME_MAX // 2:
            raise ValueError(f"client_properties are over {MIN_FRAME_MAX // 2} bytes when encoded")
        self.locale = text("locale", locale)
        self.confirm_window = integer("confirm_window", confirm_window, 1, 2**31)
        self.max_held = integer("max_held", max_held, 0, 2**63)
        self.blocked_timeout = None if blocked_timeout is None else seconds("blocked_timeout", blocked_timeout)
        self.max_body_size = integer("max_body_size", max_body_size, 0, 2**63)

    def __repr__(self) -> str:
        return (
            f"<ConnectionParameters {self.host}:{self.port} virtual_host={self.virtual_host!r}"
            f" credentials={self.credentials!r}>"
        )
