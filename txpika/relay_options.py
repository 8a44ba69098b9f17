# -*- test-case-name: txpika.test.test_relay_options -*-
"""
The options of C{twist txpika-relay}.

Owns their names, defaults and limits. Everything is checked here, before anything is dialled; errors end the program
with one line, see L{txpika.command_options}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.python.usage import UsageError

from txpika.command_options import COMMON, CommandOptions, short
from txpika.declaring import Declaration, DeclarationError, read
from txpika.parameters import ConnectionParameters
from txpika.relay import DEFAULT_WINDOW

NAME = "txpika-relay"

#: The environment variables that hold the URIs when no options do.
SOURCE_VARIABLE = "TXPIKA_SOURCE_URI"
TARGET_VARIABLE = "TXPIKA_TARGET_URI"


class Options(CommandOptions):
    """
    @ivar source: Where messages come from.
    @ivar target: Where they go to.
    @ivar window: How many may be under way.
    @ivar source_declarations: What is declared at the source before anything is taken.
    @ivar target_declarations: The same at the target, before anything is published.
    """

    NAME = NAME
    source: ConnectionParameters
    target: ConnectionParameters
    window: int
    source_declarations: tuple[Declaration, ...]
    target_declarations: tuple[Declaration, ...]

    synopsis = "--queue QUEUE --exchange EXCHANGE [options]"
    longdesc = (
        "Moves messages from a queue on one broker to an exchange on another, each at least once: it is acknowledged"
        " when the target has confirmed it. Addresses and passwords of the brokers come from"
        f" {SOURCE_VARIABLE} and {TARGET_VARIABLE}, from files, or from --source-uri and --target-uri, which others on"
        " this machine can see. On SIGTERM it takes no more messages, finishes those under way, and exits with 0."
    )

    optParameters: ClassVar[list[list[Any]]] = [
        ["source-uri-file", None, None, "File that holds the source's AMQP URI and nothing else"],
        ["target-uri-file", None, None, "The same for the target"],
        ["queue", None, None, "Queue that messages are taken from"],
        ["exchange", None, None, "Exchange that they go to, '' for the default exchange"],
        ["routing-key", None, None, "Routing key for all of them; without it, each keeps its own"],
        ["window", None, DEFAULT_WINDOW, "Messages under way at a time"],
        ["name", None, "", "Name of this relay in message headers; by default made from both ends"],
        ["declare-source", None, None, "TOML or JSON file with what to declare at the source first"],
        ["declare-target", None, None, "The same for the target"],
        *COMMON,
    ]

    def opt_source_uri(self, uri: str) -> None:
        """AMQP URI of the source: amqp://user:password@host:port/vhost"""
        self.take_uri("source-uri", uri)

    def opt_target_uri(self, uri: str) -> None:
        """AMQP URI of the target"""
        self.take_uri("target-uri", uri)

    def postOptions(self) -> None:
        """@raise UsageError: when anything is wrong or missing."""
        for name in ("queue", "exchange"):
            if self[name] is None:
                raise UsageError(f"--{name} is missing, see --help")
            short(name, self[name], empty=name == "exchange")
        for name in ("routing-key", "name"):
            if self[name] is not None:
                short(name, self[name], empty=True)
        self.source = self.find_uri("source-uri", SOURCE_VARIABLE)
        self.target = self.find_uri("target-uri", TARGET_VARIABLE)
        self._check_apart()
        super().postOptions()
        self.window = self.whole("window", 1, 65535)
        try:
            self.source_declarations, self.target_declarations = (
                () if self[name] is None else tuple(read(self[name])) for name in ("declare-source", "declare-target")
            )
        except DeclarationError as error:
            raise UsageError(str(error)) from error

    def _check_apart(self) -> None:
        source, target = ((each.host, each.port, each.virtual_host) for each in (self.source, self.target))
        if source == target and not self["exchange"] and self["routing-key"] == self["queue"]:
            raise UsageError("messages would go into the queue that they are taken from")
