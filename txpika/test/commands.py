"""
Programs of Twisted's that run txpika's plugins, as an operator starts them, for tests.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.python.failure import Failure

import txpika

TXPIKA_FOLDER = os.path.dirname(txpika.__path__[0])

#: What tells commands where brokers are: a test says so itself.
VARIABLES = ("TXPIKA_URI", "TXPIKA_SOURCE_URI", "TXPIKA_TARGET_URI")


class Command(ProcessProtocol):
    """
    A program that runs.

    @ivar stdout: What it printed and logged so far.
    @ivar stderr: What it said on stderr so far.
    @ivar ended: Fires with its exit code, or with the number of the signal that killed it, negative.
    """

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        """
        @param folder: Where it runs; handlers are found there.
        @param arguments: C{"twist"} or C{"twistd"}, and what follows.
        """
        self.stdout = ""
        self.stderr = ""
        self.ended: Deferred[int] = Deferred()
        self._awaited: list[tuple[str, Deferred[None]]] = []
        program = os.path.join(os.path.dirname(sys.executable), arguments[0])
        inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, program, *arguments[1:]],
            env={**inherited, "PYTHONPATH": TXPIKA_FOLDER, **environment},
            path=str(folder),
        )

    def says(self, text: str) -> Deferred[None]:
        """Fires when C{text} is on stdout; fails when the program ended without."""
        said: Deferred[None] = Deferred()
        self._awaited.append((text, said))
        self._check()
        return said

    def signal(self, name: str) -> None:
        """C{"TERM"}, C{"KILL"} and so on."""
        assert self.transport is not None
        self.transport.signalProcess(name)

    def outReceived(self, data: bytes) -> None:
        self.stdout += data.decode()
        self._check()

    def errReceived(self, data: bytes) -> None:
        self.stderr += data.decode()

    def _check(self) -> None:
        for text, said in list(self._awaited):
            if text in self.stdout:
                self._awaited.remove((text, said))
                said.callback(None)

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self.ended.callback(value.exitCode if value.signal is None else -value.signal)
        awaited, self._awaited = self._awaited, []
        for text, said in awaited:
            said.errback(AssertionError(f"ended without saying {text!r}:\n{self.stdout}{self.stderr}"))


class _Page(Protocol):
    """Gets one page."""

    def __init__(self, path: str) -> None:
        self.page: Deferred[tuple[int, bytes]] = Deferred()
        self._path = path
        self._data = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(f"GET {self._path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionResetError())) -> None:  # noqa: B008
        head, _, body = self._data.partition(b"\r\n\r\n")
        self.page.callback((int(head.split()[1]), body))


async def page(socket: str, path: str) -> tuple[int, bytes]:
    """@return: Code and body of a page served at a UNIX socket."""
    protocol = await connectProtocol(UNIXClientEndpoint(reactor, socket), _Page(path))
    code, body = await protocol.page
    return code, body


async def health(socket: str) -> tuple[int, dict[str, Any]]:
    """@return: Code and content of C{/health}."""
    code, body = await page(socket, "/health")
    return code, json.loads(body)
