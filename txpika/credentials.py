# -*- test-case-name: txpika.test.test_bad_arguments -*-
"""
Who this program is to the broker.

Owns secrets, and that nobody sees them: no repr, str, format or traceback of what is here shows one. Other mechanisms
are other classes that implement L{txpika.interfaces.ICredentials}.
"""

from __future__ import annotations

from zope.interface import implementer

from txpika.interfaces import ICredentials


@implementer(ICredentials)
class PlainCredentials:
    """
    A user name and a password, sent as SASL PLAIN (RFC 4616). Without TLS anybody on the way can read them.
    """

    mechanisms = ("PLAIN",)
    __slots__ = ("__password", "username")

    def __init__(self, username: str, password: str) -> None:
        """
        @param username: The user, without NUL characters.
        @param password: The password, without NUL characters.
        @raise TypeError: when either is not a str.
        @raise ValueError: when either holds a NUL, which would shift the fields of PLAIN, or a lone surrogate.
        """
        for name, value in (("username", username), ("password", password)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be str, not {type(value).__name__}")
            if "\0" in value:
                raise ValueError(f"{name} contains a NUL character")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{name} contains a lone surrogate") from None
        self.username = username
        self.__password = password

    def response(self, mechanism: str) -> bytes:
        """@return: The initial response of PLAIN."""
        return b"\0" + self.username.encode() + b"\0" + self.__password.encode()

    def challenge(self, mechanism: str, challenge: bytes) -> bytes:
        """@raise ValueError: always, PLAIN knows no challenge."""
        raise ValueError(f"the broker sent a challenge, which {mechanism} does not know")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlainCredentials):
            return NotImplemented
        return self.response("PLAIN") == other.response("PLAIN")

    def __hash__(self) -> int:
        return hash(self.username)

    def __repr__(self) -> str:
        return f"PlainCredentials({self.username!r}, <redacted>)"
