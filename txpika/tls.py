# -*- test-case-name: txpika.test.test_tls_options -*-
"""
What a program says about TLS.

Owns the value and its checks. Knows no TLS library: L{txpika.secure} makes pyOpenSSL's out of it, for Twisted, and
L{txpika.adapters.stdlib_tls} the standard library's, for all others.
"""

from __future__ import annotations

import os
import warnings
from typing import NoReturn, Self

from txpika.credentials import Secret

#: What a program hears that does without verification.
UNVERIFIED = (
    "TLS without verification: anybody on the way to the broker can pretend to be it, and read user, password and"
    " messages"
)


def _path(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, not {type(value).__name__}")
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path of str, not of {type(path).__name__}")
    if not path or "\0" in path:
        raise ValueError(f"{name} is empty or contains a NUL character")
    return path


class TLSOptions:
    """
    How to speak TLS, 1.2 or later, with a broker whose certificate must be valid for the host dialled.

    An immutable value: two with the same arguments are equal. All arguments are attributes of the same names. The files
    are read at each attempt to connect, so renewed ones are picked up without a restart.

    @ivar verify: Whether the broker's certificate is verified: always, except with L{without_verification}.
    """

    __slots__ = ("cafile", "certfile", "keyfile", "keyfile_password", "server_name", "verify")

    cafile: str | None
    certfile: str | None
    keyfile: str | None
    keyfile_password: Secret | None
    server_name: str | None
    verify: bool

    def __init__(
        self,
        *,
        cafile: str | os.PathLike[str] | None = None,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        keyfile_password: str | None = None,
        server_name: str | None = None,
    ) -> None:
        """
        @param cafile: PEM file of the CA certificates that vouch for the broker; C{None} trusts whom the operating
            system trusts.
        @param certfile: PEM file of this program's own certificate, followed by any intermediate ones, for a broker
            that asks for one.
        @param keyfile: PEM file of its key; C{None} looks for it in C{certfile}.
        @param keyfile_password: The password that decrypts the key.
        @param server_name: The name that the broker's certificate must be for, also sent as SNI; C{None} is the host
            dialled. For a broker reached by a name other than its own.
        @raise TypeError: when an argument is of a wrong type.
        @raise ValueError: when a path or name is empty, or there is a key without a certificate.
        """
        try:
            password = None if keyfile_password is None else Secret("keyfile_password", keyfile_password)
        finally:
            del keyfile_password  # tracebacks may show what is in a name
        self._set("cafile", _path("cafile", cafile))
        self._set("certfile", _path("certfile", certfile))
        self._set("keyfile", _path("keyfile", keyfile))
        self._set("keyfile_password", password)
        if certfile is None and (keyfile is not None or password is not None):
            raise ValueError("keyfile and keyfile_password need a certfile")
        if server_name is not None and not isinstance(server_name, str):
            raise TypeError(f"server_name must be str, not {type(server_name).__name__}")
        if server_name is not None and (
            not 0 < len(server_name) < 256 or not server_name.isprintable() or " " in server_name
        ):
            raise ValueError("server_name is empty, longer than 255 characters, or holds spaces or control characters")
        self._set("server_name", server_name)
        self._set("verify", True)

    @classmethod
    def without_verification(
        cls,
        *,
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        keyfile_password: str | None = None,
        server_name: str | None = None,
    ) -> Self:
        """
        TLS with whoever answers: no certificate is checked. It protects against eavesdroppers only, not against a man
        in the middle; the user's password goes to whoever answers. Warns. There is no other way to do this, and none in
        a URI.
        """
        warnings.warn(UNVERIFIED, stacklevel=2)
        try:
            options = cls(
                certfile=certfile, keyfile=keyfile, keyfile_password=keyfile_password, server_name=server_name
            )
        finally:
            del keyfile_password
        options._set("verify", False)
        return options

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"TLSOptions do not change: cannot set {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"TLSOptions do not change: cannot delete {name}")

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, TLSOptions) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        values = zip(self.__slots__, self._values(), strict=True)
        given = [f"{name}={value!r}" for name, value in values if value is not None and name != "verify"]
        return f"TLSOptions{'' if self.verify else '.without_verification'}({', '.join(given)})"
