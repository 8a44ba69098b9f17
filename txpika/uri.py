# -*- test-case-name: txpika.test.test_uri -*-
"""
Read AMQP URIs (rabbitmq.com/docs/uri-spec, rabbitmq.com/docs/uri-query-parameters).

Owns the syntax; what the values mean, and their limits, is in L{txpika.parameters}, L{txpika.tls} and
L{txpika.credentials}. No error shows any part of the URI that may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from txpika.credentials import AMQPlainCredentials, ExternalCredentials, PlainCredentials
from txpika.parameters import ConnectionParameters
from txpika.tls import TLSOptions

if TYPE_CHECKING:
    from hyperlink import DecodedURL

#: What a URI may not have in it: spaces and control characters, C{#}, and a C{%} that escapes nothing, or NUL. The
#: parser would take each as text or as the end.
_ILLEGAL = re.compile(r"[\s\x00-\x1f\x7f#]|%(?![0-9A-Fa-f]{2})|%00")
#: Query names with a whole number, and the argument of L{ConnectionParameters} each is.
_NUMBERS = {"heartbeat": "heartbeat", "channel_max": "channel_max", "frame_max": "frame_max"}
#: Query names of amqps:// only, and the argument of L{TLSOptions} each is.
_TLS = {
    "cacertfile": "cafile",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "server_name_indication": "server_name",
}
#: What C{auth_mechanism} may be, in lower case, for those with a user and a password.
_MECHANISMS = {"plain": PlainCredentials, "amqplain": AMQPlainCredentials}


def parse_uri(uri: str) -> ConnectionParameters:
    """
    @param uri: C{amqp://user:password@host:port/vhost?name=value}, each part after the scheme optional, user, password
        and virtual host percent-encoded; C{amqps://} for TLS. No path means the virtual host C{/}, a path of C{/} the
        one with an empty name. Query names are RabbitMQ's: C{heartbeat} (seconds), C{connection_timeout}
        (milliseconds), C{channel_max}, C{frame_max} (bytes), C{connection_name}, C{auth_mechanism} (C{plain},
        C{amqplain} or C{external}); with C{amqps://} also C{cacertfile}, C{certfile}, C{keyfile} (paths), C{verify}
        (C{verify_peer} and nothing else) and C{server_name_indication}.
    @return: The parameters.
    @raise TypeError: when C{uri} is no str.
    @raise ValueError: when it is no such URI; the text says which part, and shows nothing of it but the scheme and the
        names in the query.
    """
    try:
        refusal, parameters = None, ConnectionParameters(**_arguments(uri))
    except (TypeError, ValueError) as error:
        # Raised anew, below: the frames that it came through have the URI in their names, which tracebacks may show.
        refusal = type(error)(*error.args)
    finally:
        del uri
    if refusal is not None:
        raise refusal
    return parameters


class URLParameters(ConnectionParameters):
    """What L{parse_uri} returns, under pika's name for it. A path of C{/} names the empty virtual host."""

    def __init__(self, url: str) -> None:
        """
        @param url: An AMQP URI; see L{parse_uri}.
        @raise TypeError: when it is no str.
        @raise ValueError: when it is no such URI.
        """
        try:
            vars(self).update(vars(parse_uri(url)))
        finally:
            del url  # tracebacks may show what is in a name


def _arguments(uri: str) -> dict[str, Any]:
    if not isinstance(uri, str):
        raise TypeError(f"the AMQP URI must be str, not {type(uri).__name__}")
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("amqp", "amqps"):
        raise ValueError("an AMQP URI begins with amqp:// or amqps://")
    if _ILLEGAL.search(rest):
        raise ValueError("the AMQP URI has a space, a control character, a '#' or a stray '%' in it: percent-encode it")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        raise ValueError("the AMQP URI has an '@' after its host: percent-encode it, and '/' and '?' in a password")
    if authority.count("@") > 1 or (authority.partition("@")[0].count(":") > 1 and "@" in authority):
        raise ValueError("user or password in the AMQP URI has an '@' or a ':' in it: percent-encode it")
    url = _parse(f"{scheme}://{rest}")
    if "," in url.host:
        raise ValueError("the AMQP URI names several hosts, it names one; ConnectionParameters take a list of hosts")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("the port in the AMQP URI must be from 1 to 65535")
    query = _query(url.query)
    arguments: dict[str, Any] = {"port": url.port}
    if url.host:
        arguments["host"] = url.host
    arguments["credentials"] = _credentials(url, "@" in authority, query.pop("auth_mechanism", None))
    if len(url.path) > 1:
        raise ValueError("the virtual host in the AMQP URI has a '/' in it: percent-encode it as %2F")
    # The parser gives an empty path before a query the same form as "/".
    if rest[len(authority) :].startswith("/"):
        arguments["virtual_host"] = url.path[0]
    arguments["tls"] = _tls(query, scheme)
    return arguments | query


def _parse(uri: str) -> DecodedURL:
    from hyperlink import DecodedURL  # 20 ms, which only those who use a URI pay

    try:
        return DecodedURL.from_text(uri)
    except ValueError:
        # Its text quotes the URI.
        raise ValueError("the AMQP URI has a host, a port or an escape that cannot be read") from None


def _credentials(url: DecodedURL, given: bool, mechanism: str | None) -> object:
    """
    @param given: There is a user in the URI, or could be.
    @param mechanism: What C{auth_mechanism} says, C{None} when nothing.
    """
    name = "plain" if mechanism is None else mechanism.lower()
    if name == "external":
        if given:
            raise ValueError("auth_mechanism=external in the AMQP URI takes the user from the certificate: name none")
        return ExternalCredentials()
    if name not in _MECHANISMS:
        raise ValueError("auth_mechanism in the AMQP URI must be plain, amqplain or external")
    username, password = (*url.userinfo, "", "")[:2]
    if len(url.userinfo) < 2:
        password = "guest"
    return _MECHANISMS[name](username or "guest", password)


def _query(query: tuple[tuple[str, str | None], ...]) -> dict[str, Any]:
    """@return: Values by argument of L{ConnectionParameters} or by name of the query, in the form each has there."""
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
        elif name in ("connection_name", "auth_mechanism", "verify") or name in _TLS:
            arguments[name] = value or ""
        else:
            raise ValueError(f"the AMQP URI has {name[:32]!r} in its query, which txpika does not know")
    return arguments


def _tls(query: dict[str, Any], scheme: str) -> TLSOptions | None:
    """Take what is about TLS out of C{query}."""
    names = sorted(query.keys() & {*_TLS, "verify"})
    if scheme != "amqps":
        if names:
            raise ValueError(f"{names[0]} in the AMQP URI is about TLS: that is amqps://")
        return None
    if query.pop("verify", "verify_peer") != "verify_peer":
        raise ValueError(
            "verify in the AMQP URI must be verify_peer: a URI cannot turn verification off, a program can"
            " by TLSOptions.without_verification()"
        )
    for name in names:
        if not query.get(name, "verify"):
            raise ValueError(f"{name} in the AMQP URI is empty")
    return TLSOptions(**{_TLS[name]: query.pop(name) for name in names if name in _TLS})


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise ValueError(f"{name} in the AMQP URI is no whole number")
    return int(value)


def parameters_of(url_or_parameters: object) -> ConnectionParameters:
    """
    @param url_or_parameters: An AMQP URI, parameters, or C{None} for the defaults.
    @raise ValueError: when the URI is invalid.
    @raise TypeError: when it is anything else.
    """
    try:
        if url_or_parameters is None:
            return ConnectionParameters()
        if isinstance(url_or_parameters, ConnectionParameters):
            return url_or_parameters
        if isinstance(url_or_parameters, str):
            return parse_uri(url_or_parameters)
        kind = type(url_or_parameters).__name__
        hint = ": several hosts go into ConnectionParameters(hosts=[...])" if kind in ("list", "tuple") else ""
        raise TypeError(f"parameters must be an AMQP URI, ConnectionParameters or None, not {kind}{hint}")
    finally:
        del url_or_parameters  # tracebacks may show what is in a name, and this may have a password in it
