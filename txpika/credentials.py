# -*- test-case-name: txpika.test.test_secrets -*-
"""
Who this program is to the broker.

Owns secrets, and keeps them hidden: no repr, str, format, pickle or traceback of what is here shows one. For other
mechanisms, other classes implement L{txpika.interfaces.ICredentials}.
"""

from __future__ import annotations

from typing import NoReturn, Self

from zope.interface import implementer

from txpika.interfaces import ICredentials
from txpika.spec import encode_table


class Secret:
    """
    A text that shows itself only to callers of L{reveal}. It cannot be pickled; a copy is the secret itself.
    """

    __slots__ = ("__text",)

    def __init__(self, name: str, text: str) -> None:
        """
        @param name: What it is called in error texts.
        @param text: The secret, without NUL characters.
        @raise TypeError: when it is not a str.
        @raise ValueError: when it holds a NUL or a lone surrogate.
        """
        refusal = refused(name, text)
        if refusal is not None:
            del text  # tracebacks may show what is in a name
            raise refusal
        self.__text = text

    def reveal(self) -> str:
        """@return: The secret. Do not keep it in a variable: tracebacks may show those."""
        return self.__text

    def __eq__(self, other: object) -> bool:
        return self.__text == other.__text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(Secret)

    def __repr__(self) -> str:
        return "<redacted>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


def refused(name: str, value: object) -> Exception | None:
    """
    @return: What to raise when C{value} is no str, or holds a NUL, which would shift the fields of PLAIN, or a lone
        surrogate. It is returned so that no traceback leads through here, where C{value} has a name.
    """
    if not isinstance(value, str):
        return TypeError(f"{name} must be str, not {type(value).__name__}")
    if "\0" in value:
        return ValueError(f"{name} contains a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        return ValueError(f"{name} contains a lone surrogate")
    return None


@implementer(ICredentials)
class PlainCredentials:
    """
    A user name and a password, sent as SASL PLAIN (RFC 4616). Without TLS anybody on the way can read them.
    """

    mechanisms: tuple[str, ...] = ("PLAIN",)
    __slots__ = ("_password", "username")

    def __init__(self, username: str, password: str) -> None:
        """
        @param username: The user, without NUL characters.
        @param password: The password, without NUL characters.
        @raise TypeError: when either is not a str.
        @raise ValueError: when either holds a NUL, which would shift the fields of PLAIN, or a lone surrogate.
        """
        refusal = refused("username", username) or refused("password", password)
        if refusal is not None:
            del username, password
            raise refusal
        self.username = username
        self._password = Secret("password", password)

    def response(self, mechanism: str) -> bytes:
        """@return: The initial response of PLAIN."""
        return b"\0" + self.username.encode() + b"\0" + self._password.reveal().encode()

    def challenge(self, mechanism: str, challenge: bytes) -> bytes:
        """@raise ValueError: always, there is no challenge in this mechanism."""
        raise ValueError(f"the broker sent a challenge, which {mechanism} does not know")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (self.username, self._password) == (other.username, other._password)

    def __hash__(self) -> int:
        return hash(self.username)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, <redacted>)"


class AMQPlainCredentials(PlainCredentials):
    """
    A user name and a password, sent as RabbitMQ's AMQPLAIN: PLAIN as a table. For brokers that offer nothing else.
    """

    mechanisms = ("AMQPLAIN",)
    __slots__ = ()

    def response(self, mechanism: str) -> bytes:
        """@return: The table of AMQPLAIN, without its length."""
        return encode_table({"LOGIN": self.username, "PASSWORD": self._password.reveal()}, "AMQPLAIN")[4:]


@implementer(ICredentials)
class ExternalCredentials:
    """
    No name and no password: the broker takes the user from the client certificate of the TLS connection (SASL EXTERNAL,
    RabbitMQ's plugin C{rabbitmq_auth_mechanism_ssl}).
    """

    mechanisms = ("EXTERNAL",)
    __slots__ = ()

    def response(self, mechanism: str) -> bytes:
        """@return: Nothing: the certificate says it all."""
        return b""

    def challenge(self, mechanism: str, challenge: bytes) -> bytes:
        """@raise ValueError: always, there is no challenge in this mechanism."""
        raise ValueError(f"the broker sent a challenge, which {mechanism} does not know")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExternalCredentials) or NotImplemented

    def __hash__(self) -> int:
        return hash(ExternalCredentials)

    def __repr__(self) -> str:
        return "ExternalCredentials()"
