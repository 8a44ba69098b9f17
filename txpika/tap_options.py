# -*- test-case-name: txpika.test.test_tap_options -*-
"""
The options of C{twist txpika-consumer}.

Owns their names, defaults and limits. Everything is checked here, before anything is dialled; errors end the program
with one line, see L{txpika.command_options}.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from twisted.python.usage import UsageError

from txpika.command_options import COMMON, CommandOptions, short
from txpika.declaring import DeclarationError, read
from txpika.loading import HandlerSource, LoadError, find
from txpika.parameters import ConnectionParameters
from txpika.queue_consumer import POLICIES, Policy, Terms

NAME = "txpika-consumer"

#: The environment variable that holds the URI when no option does.
VARIABLE = "TXPIKA_URI"

DEFAULT_PREFETCH = 100


class Options(CommandOptions):
    """
    @ivar parameters: Where to connect to.
    @ivar queues: The queues to consume from.
    @ivar source: Where the handler comes from.
    @ivar terms: How the queues are consumed.
    """

    NAME = NAME
    parameters: ConnectionParameters
    source: HandlerSource
    terms: Terms

    synopsis = "--queue QUEUE --handler PACKAGE.MODULE.CALLABLE [options]"
    longdesc = (
        "Calls a handler with each message from RabbitMQ queues, and reconnects when the broker is back."
        f" Address and password of the broker come from {VARIABLE}, from --uri-file, or from --uri, which others"
        " on this machine can see. On SIGTERM it takes no more messages, finishes those under way, and exits with 0."
    )

    optParameters: ClassVar[list[list[Any]]] = [
        ["uri-file", None, None, "File that holds the AMQP URI and nothing else"],
        ["handler", None, None, "Called with each delivery; a class, or name(), is called once to make the handler"],
        ["prefetch", None, DEFAULT_PREFETCH, "Messages sent ahead for each queue, 0 for no limit"],
        ["concurrency", None, 0, "Messages handled at once for each queue, 0 to be limited only by --prefetch"],
        ["on-error", None, POLICIES[0], f"What becomes of a message whose handler failed: {', '.join(POLICIES)}"],
        ["declare", None, None, "TOML or JSON file with exchanges, queues and bindings to declare first"],
        *COMMON,
    ]

    def __init__(self) -> None:
        super().__init__()
        self.queues: list[str] = []

    def opt_uri(self, uri: str) -> None:
        """AMQP URI: amqp://user:password@host:port/vhost"""
        self.take_uri("uri", uri)

    def opt_queue(self, queue: str) -> None:
        """Queue to consume from; may be given several times"""
        short("queue", queue)
        if queue in self.queues:
            raise UsageError(f"--queue {queue} is given twice")
        self.queues.append(queue)

    def postOptions(self) -> None:
        """@raise UsageError: when anything is wrong or missing."""
        if not self.queues:
            raise UsageError("--queue is missing, see --help")
        if not self["handler"]:
            raise UsageError("--handler is missing, see --help")
        self.parameters = self.find_uri("uri", VARIABLE)
        super().postOptions()
        policy = self["on-error"]
        if policy not in POLICIES:
            raise UsageError(f"--on-error must be one of {', '.join(POLICIES)}")
        prefetch = self.whole("prefetch", 0, 65535)
        concurrency = self.whole("concurrency", 0, 65535)
        try:
            declarations = () if self["declare"] is None else tuple(read(self["declare"]))
            self.terms = Terms(prefetch, concurrency, cast(Policy, policy), declarations)
            self.source = find(self["handler"])
        except (DeclarationError, LoadError) as error:
            raise UsageError(str(error)) from error
