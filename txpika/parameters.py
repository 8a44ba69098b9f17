# -*- test-case-name: txpika.test.test_bad_arguments -*-
"""
Everything a program says about a connection before there is one.

Owns the defaults, the limits and their checks. A wrong value is refused here, by the name of its argument.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Any

from txpika.credentials import ExternalCredentials, PlainCredentials
from txpika.interfaces import ICredentials
from txpika.spec import PORT, PORT_TLS, encode_table
from txpika.tls import TLSOptions

#: Smallest frame_max AMQP 0-9-1 allows, in bytes (frame-min-size). RabbitMQ before 4.1 accepts it.
MIN_FRAME_MAX = 4096
#: Smallest frame_max RabbitMQ accepts from 4.1 on, in bytes.
RECOMMENDED_MIN_FRAME_MAX = 8192
#: RabbitMQ's own default, in bytes (rabbitmq.com/docs/networking).
DEFAULT_FRAME_MAX = 131072
#: Largest frame_max this side would hold in one piece, in bytes.
MAX_FRAME_MAX = 2**31 - 1
#: RabbitMQ's default heartbeat timeout, in seconds (rabbitmq.com/docs/heartbeats).
DEFAULT_HEARTBEAT = 60
#: Below this many seconds a heartbeat timeout gives false alarms (the same page).
LEAST_SANE_HEARTBEAT = 5
#: From looking up a host's name to C{connection.open-ok}, in seconds. RabbitMQ itself allows 5 for TLS and 10 for AMQP.
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


def host_name(name: str, value: object) -> str:
    """
    @return: C{value}, when it can be a host: not empty, without brackets, and without a port.
    @raise TypeError: when it is no str.
    @raise ValueError: when it cannot.
    """
    host = text(name, value)
    if not host:
        raise ValueError(f"{name} is empty")
    if ":" in host or "[" in host:
        from ipaddress import ip_address  # takes 1.5 ms to load, and most programs have names

        try:
            ip_address(host)
        except ValueError:
            raise ValueError(f"{name} holds a ':' or '[' and is no IPv6 address: the port is said by itself") from None
    return host


def address(host: str, port: int) -> str:
    """@return: Both, as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hosts(hosts: object, port: int) -> tuple[tuple[str, int], ...]:
    """
    @param hosts: What a program gave as a list of hosts.
    @param port: The port of those without one.
    """
    if isinstance(hosts, str | bytes | Mapping) or not isinstance(hosts, Iterable):
        raise TypeError(f"hosts must be a list of hosts, not {type(hosts).__name__}")
    pairs = []
    for number, each in enumerate(hosts):
        name = f"hosts[{number}]"
        if isinstance(each, str):
            each = (each, port)
        if not isinstance(each, tuple | list) or len(each) != 2:
            raise TypeError(f"{name} must be a host, or a host and a port, not {type(each).__name__}")
        pairs.append((host_name(name, each[0]), integer(f"port of {name}", each[1], 1, 65535)))
    if not pairs:
        raise ValueError("hosts is empty")
    return tuple(pairs)


def _tls(name: str, value: object) -> TLSOptions | None:
    if value is not None and not isinstance(value, TLSOptions):
        raise TypeError(f"{name} must be TLSOptions or None, not {type(value).__name__}")
    return value


def _credentials(name: str, value: object) -> Any:
    asked = callable(value) and not isinstance(value, type)
    if not asked and value is not None and not ICredentials.providedBy(value):
        kind = type(value).__name__
        del value  # it may be a password, and tracebacks may show what is in a name
        raise TypeError(f"{name} must provide ICredentials or be a function that gives such, not {kind}")
    return PlainCredentials("guest", "guest") if value is None else value


def _frame_max(name: str, value: object) -> int:
    size = integer(name, value, MIN_FRAME_MAX, MAX_FRAME_MAX)
    if size < RECOMMENDED_MIN_FRAME_MAX:
        warnings.warn(
            f"{name} is {size}: RabbitMQ 4.1 and later refuse less than {RECOMMENDED_MIN_FRAME_MAX} bytes",
            stacklevel=_PROGRAM,
        )
    return size


def _heartbeat(name: str, value: object) -> int:
    timeout = integer(name, value, 0, 65535)
    if 0 < timeout < LEAST_SANE_HEARTBEAT:
        warnings.warn(
            f"{name} is {timeout}: below {LEAST_SANE_HEARTBEAT} seconds a busy moment looks like a dead peer",
            stacklevel=_PROGRAM,
        )
    return timeout


def _client_properties(name: str, value: object) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a Mapping or None, not {type(value).__name__}")
    table = dict(value or {})
    if len(encode_table(table, name)) > MIN_FRAME_MAX // 2:
        raise ValueError(f"{name} are over {MIN_FRAME_MAX // 2} bytes when encoded")
    return table


#: Where the program is, seen from a check: above L{ConnectionParameters._set} and what calls that.
_PROGRAM = 4
#: What is checked, in the constructor and when it is set later: by name, a function of name and value that returns what
#: is kept.
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "tls": _tls,
    "virtual_host": text,
    "credentials": _credentials,
    "channel_max": lambda name, value: integer(name, value, 0, 65535),
    "frame_max": _frame_max,
    "heartbeat": _heartbeat,
    "connection_timeout": seconds,
    "close_timeout": seconds,
    "connection_name": text,
    "client_properties": _client_properties,
    "locale": text,
    "confirm_window": lambda name, value: integer(name, value, 1, 2**31),
    "max_held": lambda name, value: integer(name, value, 0, 2**63),
    "blocked_timeout": lambda name, value: None if value is None else seconds(name, value),
    "max_body_size": lambda name, value: integer(name, value, 0, 2**63),
}
#: Of classes that have no attributes but these. A program's own subclass may have others.
_MODULES = ("txpika.parameters", "txpika.uri")
_STRATEGY = "give the connection a reconnection strategy, or use AMQPService"
#: What to use for pika's names that are none here.
_OURS = {
    "ssl": "set tls to TLSOptions",
    "ssl_options": "set tls to TLSOptions",
    "blocked_connection_timeout": "set blocked_timeout",
    "socket_timeout": "set connection_timeout",
    "stack_timeout": "set connection_timeout",
    "connection_attempts": _STRATEGY,
    "retry_delay": _STRATEGY,
}


class ConnectionParameters:
    """
    Where to connect, as whom, and with which limits.

    All arguments are attributes of the same names. They can be set, with the same checks, and take effect the next time
    a connection is made; C{max_held} at once, C{confirm_window} for the next channel. A service keeps the C{max_held}
    it was made with. C{tls} leaves the port as it is.
    """

    _hosts: tuple[tuple[str, int], ...]
    tls: TLSOptions | None
    virtual_host: str
    credentials: Any
    channel_max: int
    frame_max: int
    heartbeat: int
    connection_timeout: float
    close_timeout: float
    connection_name: str
    client_properties: dict[str, Any]
    locale: str
    confirm_window: int
    max_held: int
    blocked_timeout: float | None
    max_body_size: int

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        virtual_host: str = "/",
        credentials: Any = None,
        channel_max: int = 0,
        frame_max: int = DEFAULT_FRAME_MAX,
        heartbeat: int = DEFAULT_HEARTBEAT,
        *,
        hosts: Iterable[str | tuple[str, int]] | None = None,
        tls: TLSOptions | None = None,
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
        @param host: Name or address of the broker, by default C{localhost}; an IPv6 address without brackets.
        @param port: Its TCP port, 1 to 65535; by default 5672, with TLS 5671.
        @param virtual_host: Virtual host, at most 255 bytes of UTF-8. C{""} and C{"/"} are two different ones.
        @param credentials: An L{ICredentials}, e.g. L{txpika.PlainCredentials}; or a function without arguments that
            returns one, called at each attempt to connect. It may return a Deferred or be C{async}. C{None} is the user
            C{guest}, whom RabbitMQ lets in from its own machine only.
        @param channel_max: Most channels this side wants, 1 to 65535; 0 takes as many as the broker allows.
        @param frame_max: Largest frame this side wants, in bytes, from 4096. RabbitMQ 4.1 and later refuse less than
            8192. The broker's limit applies where it is lower.
        @param heartbeat: Heartbeat timeout this side wants, in seconds, 0 to 65535. The lower of both peers' applies;
            if one of them says 0, the other's; 0 only if both do.
        @param hosts: Several brokers of one cluster, instead of C{host}: names, or pairs of name and port. They are
            tried in a new random order at each attempt to connect, until one lets us in.
        @param tls: Speak TLS; C{None} for a connection that anybody on the way can read.
        @param connection_timeout: Longest time for one host, in seconds: name look-up, TCP, TLS and AMQP's handshake
            together. With L{txpika.adapters}, for all hosts together.
        @param close_timeout: Longest time an orderly close may take, in seconds.
        @param connection_name: Shown by the broker in its list of connections, at most 255 bytes of UTF-8.
        @param client_properties: More entries for, or other values in, the table the client introduces itself with.
        @param locale: Language of the broker's texts.
        @param confirm_window: Most messages of one channel that may wait for their confirmation.
        @param max_held: Most bytes of messages that may wait to be written.
        @param max_body_size: Largest message body taken, in bytes; a larger one is rejected unread.
        @param blocked_timeout: How long a publish waits while the broker has blocked the connection, in seconds, before
            it fails with L{txpika.exceptions.PublishBlocked}; C{None} for no limit.
        @raise ValueError: when a value is outside its limits.
        @raise TypeError: when a value is of a wrong type.
        """
        self._set("tls", tls)
        default = PORT if tls is None else PORT_TLS
        port = default if port is None else integer("port", port, 1, 65535)
        if host is not None and hosts is not None:
            raise ValueError("host and hosts are both given: give one of them")
        if hosts is None:
            hosts = [host_name("host", "localhost" if host is None else host)]
        self._keep_hosts(hosts, port)
        self._set("virtual_host", virtual_host)
        try:
            self._set("credentials", credentials)
        finally:
            del credentials  # tracebacks may show what is in a name
        self._set("channel_max", channel_max)
        self._set("frame_max", frame_max)
        self._set("heartbeat", heartbeat)
        self._set("connection_timeout", connection_timeout)
        self._set("close_timeout", close_timeout)
        self._set("connection_name", connection_name)
        self._set("client_properties", client_properties)
        self._set("locale", locale)
        self._set("confirm_window", confirm_window)
        self._set("max_held", max_held)
        self._set("blocked_timeout", blocked_timeout)
        self._set("max_body_size", max_body_size)

    def _set(self, name: str, value: object) -> None:
        try:
            vars(self)[name] = _CHECKS[name](name, value)
        finally:
            del value  # tracebacks may show what is in a name

    def _keep_hosts(self, hosts: object, port: int) -> None:
        vars(self)["_hosts"] = _hosts(hosts, port)

    if not TYPE_CHECKING:  # which would take it as leave to set any name

        def __setattr__(self, name, value):
            """
            @raise AttributeError: when there is no such argument.
            @raise ValueError: as the constructor, and L{TypeError}.
            """
            try:
                if name in _CHECKS:
                    self._set(name, value)
                elif hasattr(type(self), name) or (name not in _OURS and type(self).__module__ not in _MODULES):
                    super().__setattr__(name, value)
                elif name in _OURS:
                    raise AttributeError(f"{type(self).__name__} has no attribute {name!r}: {_OURS[name]}")
                else:
                    # Python then shows the name that is most like it.
                    raise AttributeError(f"{type(self).__name__} has no attribute {name!r}", name=name, obj=self)
            finally:
                del value  # tracebacks may show what is in a name

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """All hosts, as pairs of name and port. Those set without a port get that of the first one before."""
        return self._hosts

    @hosts.setter
    def hosts(self, hosts: Iterable[str | tuple[str, int]]) -> None:
        self._keep_hosts(hosts, self.port)

    @property
    def host(self) -> str:
        """The first host. Set, it is the only one."""
        return self._hosts[0][0]

    @host.setter
    def host(self, host: str) -> None:
        self._keep_hosts([host_name("host", host)], self.port)

    @property
    def port(self) -> int:
        """The port of the first host. Set, it is that of all."""
        return self._hosts[0][1]

    @port.setter
    def port(self, port: int) -> None:
        self._keep_hosts([host for host, _ in self._hosts], integer("port", port, 1, 65535))

    def __repr__(self) -> str:
        scheme = "amqp" if self.tls is None else "amqps"
        addresses = ",".join(address(*each) for each in self.hosts)
        ours = isinstance(self.credentials, PlainCredentials | ExternalCredentials)
        # What others call themselves may have a secret in it.
        credentials = repr(self.credentials) if ours else f"<{type(self.credentials).__name__}>"
        where = f"{scheme}://{addresses} virtual_host={self.virtual_host!r}"
        return f"<ConnectionParameters {where} credentials={credentials}>"
