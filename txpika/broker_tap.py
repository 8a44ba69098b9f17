# -*- test-case-name: txpika.test.test_broker_tap -*-
"""
C{twist txpika-broker} and C{twistd txpika-broker}: the in-memory broker, for any AMQP 0-9-1 client in any language.

Owns the options and the life of the process. The broker is that of L{txpika.testing}: for tests and demonstrations,
with nothing on disk.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.usage import UsageError

from txpika.command_options import CommandOptions, check_endpoint, short
from txpika.last_words import UNAVAILABLE, Ending
from txpika.orderly import OrderlyService
from txpika.testing import BrokerFactory, MemoryBroker

NAME = "txpika-broker"
#: Where it listens unless told otherwise: at AMQP's port, for this machine only.
DEFAULT_ENDPOINT = "tcp:5672:interface=127.0.0.1"

__all__ = ["BrokerService", "Options", "makeService"]


class Options(CommandOptions):
    """
    @ivar endpoints: Where to listen, as Twisted's server strings.
    @ivar users: Passwords by name.
    @ivar virtual_hosts: Their names.
    """

    NAME = NAME

    synopsis = "[--listen ENDPOINT] [options]"
    longdesc = (
        "An in-memory broker for tests and demonstrations: AMQP 0-9-1 as RabbitMQ speaks it, without disk or cluster."
        " Everything in it is gone when it ends."
    )
    optParameters: ClassVar[list[list[Any]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: list[str] = []
        self.users: dict[str, str] = {}
        self.virtual_hosts: list[str] = []

    def opt_listen(self, endpoint: str) -> None:
        """Where to listen; may be given several times [default: tcp:5672:interface=127.0.0.1]"""
        check_endpoint("--listen", endpoint)
        self.endpoints.append(endpoint)

    def opt_user(self, user: str) -> None:
        """NAME:PASSWORD that may log in; may be given several times [default: guest:guest]"""
        name, colon, password = user.partition(":")
        if not colon:
            raise UsageError("--user must be NAME:PASSWORD")
        self.users[short("user", name)] = password

    def opt_virtual_host(self, name: str) -> None:
        """A virtual host besides /; may be given several times"""
        self.virtual_hosts.append(short("virtual-host", name))

    def postOptions(self) -> None:
        """There is nothing that must be given."""
        self.endpoints = self.endpoints or [DEFAULT_ENDPOINT]
        self.users = self.users or {"guest": "guest"}


class BrokerService(OrderlyService):
    """
    What the command runs.

    @ivar broker: The broker.
    """

    _log = Logger()

    def __init__(self, options: Options, reactor: Any, ending: Ending) -> None:
        """
        @param options: Parsed.
        @param ending: Told when the process is to end.
        """
        super().__init__()
        self.setName(NAME)  # type: ignore[no-untyped-call]
        self.broker = MemoryBroker(reactor, users=options.users, virtual_hosts=("/", *options.virtual_hosts))
        self._endpoints = options.endpoints
        self._reactor = reactor
        self._ending = ending
        self._ports: list[Any] = []
        self._listening: Deferred[None] | None = None

    # Its life; see OrderlyService

    def on_start(self) -> None:
        """Listen, when the reactor runs."""
        self._ending.on_sigterm()
        self._reactor.callWhenRunning(self._begin)

    async def on_stop(self) -> None:
        """Listen no more, and drop all connections."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
        ports, self._ports = self._ports, []
        self.broker.close()
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def _begin(self) -> None:
        if self.is_active() and self._listening is None:  # it may have been stopped and started before the reactor ran
            self._listening = Deferred.fromCoroutine(self._listen())

    async def _listen(self) -> None:
        for description in self._endpoints:
            try:
                port = await serverFromString(self._reactor, description).listen(BrokerFactory(self.broker))
            except CancelledError:
                return
            except Exception as error:
                self._ending.fail(UNAVAILABLE, f"--listen {description}: {error}")
                return
            self._ports.append(port)
            self._log.info("A broker in memory listens at {address}", address=port.getHost())


def makeService(options: Options) -> BrokerService:
    """
    @param options: Parsed.
    @return: What the command runs.
    """
    from twisted.internet import reactor

    return BrokerService(options, reactor, Ending(NAME, reactor))
