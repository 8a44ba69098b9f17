# -*- test-case-name: txpika.test.test_bad_arguments -*-
"""
Read an AMQP URI (rabbitmq.com/docs/uri-spec, rabbitmq.com/docs/uri-query-parameters).

Owns the syntax; what the values mean, and their limits, is in L{txpika.parameters}. No error shows any part of the URI
that may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from txpika.credentials import PlainCredentials
from txpika.parameters import ConnectionParameters
from txpika.spec import PORT

if TYPE_CHECKING:
    from hyperlink import DecodedURL

#: What a URI may not have in it: spaces and control characters, C{#}, and a C{%} that escapes nothing, or NUL. The
#: parser would take each as text or as the end.
_ILLEGAL = re.compile(r"[\s\x00-\x1f#]|%(?![0-9A-Fa-f]{2})|%00")
#: Query names with a whole number, and the argument of L{ConnectionParameters} each is.
_NUMBERS = {"heartbeat": "heartbeat", "channel_max": "channel_max", "frame_max": "frame_max"}


def parse_uri(uri: str) -> ConnectionParameters:
    """
    @param uri: C{amqp://user:password@host:port/vhost?name=value}, each part after the scheme optional, user, password
        and virtual host percent-encoded. No path means the virtual host C{/}, a path of C{/} the one with an empty
        name. Query names are RabbitMQ's: C{heartbeat} (seconds), C{connection_timeout} (milliseconds), C{channel_max},
        C{frame_max} (bytes), C{connection_name}.
    @return: The parameters.
    @raise TypeError: when C{uri} is no str.
    @raise ValueError: when it is no such URI; the text says which part, and shows none of it but the scheme and
        names of queries.
    """
    if not isinstance(uri, str):
        raise TypeError(f"the AMQP URI must be str, not {type(uri).__name__}")
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("amqp", "amqps"):
        raise ValueError("an AMQP URI begins with amqp:// or amqps://")
    if scheme == "amqps":
        raise ValueError("amqps:// is not supported by this version of txpika")
    if _ILLEGAL.search(rest):
        raise ValueError("the AMQP URI has a space, a control character, a '#' or a stray '%' in it: percent-encode it")
    return ConnectionParameters(**_arguments(_parse(f"{scheme}://{rest}"), rest))


def _parse(uri: str) -> DecodedURL:
    from hyperlink import DecodedURL  # 20 ms, which only those who use a URI pay

    try:
        return DecodedURL.from_text(uri)
    except ValueError:
        # Its text quotes the URI.
        raise ValueError("the AMQP URI has a host, a port or an escape that cannot be read") from None


def _arguments(url: DecodedURL, rest: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {"port": PORT if url.port is None else url.port}
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        raise ValueError("the AMQP URI has an '@' after its host: percent-encode it, and '/' and '?' in a password")
    if authority.count("@") > 1 or (authority.partition("@")[0].count(":") > 1 and "@" in authority):
        raise ValueError("user or password in the AMQP URI has an '@' or a ':' in it: percent-encode it")
    if "," in url.host:
        raise ValueError("the AMQP URI names several hosts; it names one")
    if url.host:
        arguments["host"] = url.host
    if "@" in authority:
        username, password = (*url.userinfo, "", "")[:2]
        arguments["credentials"] = PlainCredentials(username or "guest", password if len(url.userinfo) > 1 else "guest")
    if len(url.path) > 1:
        raise ValueError("the virtual host in the AMQP URI has a '/' in it: percent-encode it as %2F")
    if url.path:
        arguments["virtual_host"] = url.path[0]
    arguments.update(_query(url.query))
    return arguments


def _query(query: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    seen: set[str] = set()
    for name, value in query:
        if name in seen:
            raise ValueError(f"the AMQP URI has {name[:32]!r} twice in its query")
        seen.add(name)
        if name in _NUMBERS:
            arguments[_NUMBERS[name]] = _number(name, value or "")
        elif name == "connection_timeout":
            arguments["connection_timeout"] = _number(name, value or "") / 1000
        elif name == "connection_name":
            arguments["connection_name"] = value or ""
        else:
            raise ValueError(f"the AMQP URI has {name[:32]!r} in its query, which txpika does not know")
    return arguments


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise ValueError(f"{name} in the AMQP URI is no whole number")
    return int(value)
