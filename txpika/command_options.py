# -*- test-case-name: txpika.test.test_tap_options -*-
"""
What the options of all commands of C{twist} and C{twistd} have in common.

Owns how wrong ones end the program, with one line, and where a URI comes from. No text and no repr shows any part of
the URI that may hold a password. Knows no command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from math import isfinite
from typing import Any, ClassVar, NoReturn, cast

from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from txpika._version import __version__
from txpika.last_words import leave
from txpika.parameters import ConnectionParameters, text
from txpika.uri import parse_uri

DEFAULT_DRAIN_TIMEOUT = 30.0

#: The rows of C{optParameters} that all commands have.
COMMON: list[list[Any]] = [
    ["drain-timeout", None, DEFAULT_DRAIN_TIMEOUT, "Seconds that finishing may take after SIGTERM"],
    ["health", None, None, "Serve /health and /metrics at this endpoint, e.g. tcp:9999:interface=127.0.0.1"],
]


class CommandOptions(UsageOptions):
    """
    @cvar NAME: That of the command.
    @ivar drain_timeout: How long an orderly end may take, in seconds.
    """

    NAME: ClassVar[str]
    drain_timeout: float

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given: dict[str, ConnectionParameters] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except UsageError as error:
            # Else twist would print its own help after it, and twistd before.
            leave(self.NAME, str(error))

    def opt_version(self) -> NoReturn:
        """Print txpika's version, and exit"""
        print(f"txpika {__version__}")
        sys.exit(0)

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            # Not shown: it may be the URI.
            raise UsageError(f"{len(arguments)} argument(s) belong to no option")

    def postOptions(self) -> None:
        """@raise UsageError: when anything is wrong or missing."""
        self.drain_timeout = _seconds("drain-timeout", self["drain-timeout"])
        if self["health"] is not None:
            check_endpoint("--health", self["health"])

    def take_uri(self, option: str, uri: str) -> None:
        """
        A URI was given. It is not kept among the options, whose repr would show it.

        @param option: The option, without C{--}.
        """
        self._given[option] = _parsed(f"--{option}", uri)

    def find_uri(self, option: str, variable: str) -> ConnectionParameters:
        """
        @param option: The option for the URI; with C{-file} after its name, the one for the file that holds it.
        @param variable: The environment variable used when neither is given.
        @return: Where to connect to.
        @raise UsageError: when there is none, or it is wrong.
        """
        path = self[f"{option}-file"]
        if option in self._given:
            if path is not None:
                raise UsageError(f"--{option} and --{option}-file are both given")
            return self._given[option]
        if path is not None:
            return _parsed(f"--{option}-file {path}", _content(f"--{option}-file {path}", path))
        if os.environ.get(variable):
            return _parsed(variable, os.environ[variable])
        raise UsageError(f"there is no AMQP URI: set {variable}, or give --{option}-file or --{option}")

    def whole(self, name: str, low: int, high: int) -> int:
        """
        @return: The value of an option, which must be a whole number.
        @raise UsageError: when it is none, or outside its limits.
        """
        said = str(self[name])
        if not (said.isascii() and said.isdigit() and len(said) < 12 and low <= int(said) <= high):
            raise UsageError(f"--{name} must be a whole number from {low} to {high}")
        return int(said)


def short(name: str, value: str, empty: bool = False) -> str:
    """
    @param name: The option's, without C{--}.
    @param empty: It may be C{""}.
    @return: C{value}, which the broker can take for a name.
    @raise UsageError: when it cannot.
    """
    if not (value or empty) or len(value.encode("utf-8", "surrogateescape")) > 255:
        raise UsageError(f"--{name} must be {0 if empty else 1} to 255 bytes")
    try:
        return text(f"--{name}", value)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _content(option: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(65536).strip()
    except OSError as error:
        raise UsageError(f"{option}: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"{option}: is no UTF-8") from None


def check_endpoint(option: str, description: str) -> None:
    """@raise UsageError: when that is not a server endpoint."""
    try:
        # Only its form: the reactor is installed, or chosen, later.
        serverFromString(cast(Any, None), description)
    except Exception as error:
        raise UsageError(f"{option} {description}: {error}") from error


def _parsed(source: str, uri: str) -> ConnectionParameters:
    try:
        return parse_uri(uri)
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{source}: {error}") from None


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    if not (seconds > 0 and isfinite(seconds)):
        raise UsageError(f"--{name} must be a number of seconds above 0")
    return seconds
