# -*- test-case-name: txpika.test.test_tap_options -*-
"""
The options of C{twist txpika-consumer}.

Owns their names, defaults and limits, and where the URI comes from. All is checked here, before anything is dialled;
what is wrong ends the program with one line. No text and no repr has any part of the URI that may hold a password.
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
from txpika.declaring import DeclarationError, read
from txpika.last_words import leave
from txpika.loading import HandlerSource, LoadError, find
from txpika.parameters import ConnectionParameters
from txpika.queue_consumer import POLICIES, Policy, Terms
from txpika.uri import parse_uri

NAME = "txpika-consumer"

#: The variable that holds the URI, when no option does.
VARIABLE = "TXPIKA_URI"

DEFAULT_PREFETCH = 100
DEFAULT_DRAIN_TIMEOUT = 30.0


class Options(UsageOptions):
    """
    @ivar parameters: Where to connect to.
    @ivar queues: From which queues to consume.
    @ivar source: Where the handler comes from.
    @ivar terms: How the queues are consumed.
    @ivar drain_timeout: How long an end in good order may take, in seconds.
    """

    parameters: ConnectionParameters
    source: HandlerSource
    terms: Terms
    drain_timeout: float

    synopsis = "--queue QUEUE --handler PACKAGE.MODULE.CALLABLE [options]"
    longdesc = (
        "Calls a handler with each message from RabbitMQ queues, and comes back when the broker does."
        f" Where the broker is, and the password, come from {VARIABLE}, from --uri-file, or from --uri, which others"
        " on this machine can see. SIGTERM: no more messages, those at work are finished, and it exits with 0."
    )

    optParameters: ClassVar[list[list[Any]]] = [
        ["uri-file", None, None, "File that holds the AMQP URI and nothing else"],
        ["handler", None, None, "What is called with each delivery; a class or name() is called once to make it"],
        ["prefetch", None, DEFAULT_PREFETCH, "Messages sent ahead for each queue, 0 for no limit"],
        ["concurrency", None, 0, "Messages handled at once for each queue, 0 for no limit but --prefetch"],
        ["on-error", None, POLICIES[0], f"What becomes of a message whose handler failed: {', '.join(POLICIES)}"],
        ["declare", None, None, "TOML or JSON file with exchanges, queues and bindings to declare first"],
        ["drain-timeout", None, DEFAULT_DRAIN_TIMEOUT, "Seconds that finishing may take after SIGTERM"],
        ["health", None, None, "Serve /health and /metrics at this endpoint, e.g. tcp:9999:interface=127.0.0.1"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queues: list[str] = []
        self._given: ConnectionParameters | None = None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except UsageError as error:
            # Else twist would print its own help after it, and twistd before.
            leave(NAME, str(error))

    def opt_uri(self, uri: str) -> None:
        """AMQP URI: amqp://user:password@host:port/vhost"""
        self._given = _parsed("--uri", uri)

    def opt_queue(self, queue: str) -> None:
        """Queue to consume from; may be given several times"""
        if not queue or len(queue.encode("utf-8", "surrogateescape")) > 255:
            raise UsageError("--queue must be 1 to 255 bytes")
        if queue in self.queues:
            raise UsageError(f"--queue {queue} is given twice")
        self.queues.append(queue)

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
        if not self.queues:
            raise UsageError("--queue is missing, see --help")
        if not self["handler"]:
            raise UsageError("--handler is missing, see --help")
        self.parameters = self._parameters()
        self.drain_timeout = _seconds("drain-timeout", self["drain-timeout"])
        policy = self["on-error"]
        if policy not in POLICIES:
            raise UsageError(f"--on-error must be one of {', '.join(POLICIES)}")
        prefetch = _whole("prefetch", self["prefetch"], 65535)
        concurrency = _whole("concurrency", self["concurrency"], 65535)
        if self["health"] is not None:
            self._check_health(self["health"])
        try:
            declarations = () if self["declare"] is None else tuple(read(self["declare"]))
            self.terms = Terms(prefetch, concurrency, cast(Policy, policy), declarations)
            self.source = find(self["handler"])
        except (DeclarationError, LoadError) as error:
            raise UsageError(str(error)) from error

    def _parameters(self) -> ConnectionParameters:
        path = self["uri-file"]
        if self._given is not None:
            if path is not None:
                raise UsageError("--uri and --uri-file are both given")
            return self._given
        if path is not None:
            try:
                with open(path, encoding="utf-8") as file:
                    content = file.read(65536).strip()
            except OSError as error:
                raise UsageError(f"--uri-file {path}: {error.strerror or error}") from None
            except ValueError:
                raise UsageError(f"--uri-file {path}: is no UTF-8") from None
            return _parsed(f"--uri-file {path}", content)
        if os.environ.get(VARIABLE):
            return _parsed(VARIABLE, os.environ[VARIABLE])
        raise UsageError(f"there is no AMQP URI: set {VARIABLE}, or give --uri-file or --uri")

    def _check_health(self, description: str) -> None:
        try:
            # Only its form: the reactor is installed, or chosen, later.
            serverFromString(cast(Any, None), description)
        except Exception as error:
            raise UsageError(f"--health {description}: {error}") from error


def _parsed(source: str, uri: str) -> ConnectionParameters:
    try:
        return parse_uri(uri)
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{source}: {error}") from None


def _whole(name: str, value: object, high: int) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= high):
        raise UsageError(f"--{name} must be a whole number from 0 to {high}")
    return int(text)


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    if not (seconds > 0 and isfinite(seconds)):
        raise UsageError(f"--{name} must be a number of seconds above 0")
    return seconds
