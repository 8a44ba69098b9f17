# -*- test-case-name: txpika.test.test_asyncio_connection -*-
"""
Connect on an asyncio loop: each address of each host in turn, until one answers.

Owns the sockets that are being connected, until a transport has them. Knows a loop; nothing of AMQP. Importing this
does not import asyncio.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from txpika.tls import TLSOptions

if TYPE_CHECKING:
    import asyncio
    from ssl import SSLContext

_T = TypeVar("_T")


class AsyncioDialling:
    """
    One attempt at all addresses of all hosts.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hosts: Sequence[tuple[str, int]],
        timeout: float,
        tls: TLSOptions | None,
        make_protocol: Callable[[], Any],
        failed: Callable[[list[tuple[str, Any]]], object],
    ) -> None:
        """
        @param hosts: Names or addresses, each with a port, in the order to try them.
        @param timeout: For all of it, in seconds. A look-up, or an address, takes at most its share of what is left.
        @param make_protocol: Makes a protocol for each address, whose C{connected} is true from its
            C{connection_made} on. That is the sign of success.
        @param failed: Otherwise called once with what went wrong, by host.
        """
        self._loop = loop
        self._hosts = list(hosts)
        self._deadline = loop.time() + timeout
        self._tls = tls
        self._make_protocol = make_protocol
        self._failed = failed
        self._errors: list[tuple[str, Any]] = []
        self._task = loop.create_task(self._dial())

    def cancel(self) -> None:
        """Give up; a protocol may still get its connection if that is there already."""
        self._task.cancel()

    async def _dial(self) -> None:
        try:
            context = self._make_context()
        except OSError as error:
            self._errors.append((self._hosts[0][0], error))
            self._hosts.clear()
        while self._hosts:
            host, port = self._hosts.pop(0)
            if await self._try_host(host, port, context):
                return
        self._failed(self._errors)

    def _make_context(self) -> SSLContext | None:
        from txpika.adapters.stdlib_tls import make_context

        return None if self._tls is None else make_context(self._tls)

    async def _try_host(self, host: str, port: int, context: SSLContext | None) -> bool:
        """@return: Whether there is a connection."""
        try:
            looking = self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = await self._within_share(looking, 1)
        except (OSError, ValueError) as error:
            self._errors.append((host, error))
            return False
        while addresses:
            address = addresses.pop(0)
            protocol = self._make_protocol()
            try:
                await self._within_share(self._try(protocol, host, address, context), 1 + len(addresses))
            except Exception as error:  # a loop may have errors of its own, and the next host may answer
                self._errors.append((host, error))
            if protocol.connected:
                return True
        return False

    async def _within_share(self, work: Awaitable[_T], among: int) -> _T:
        """
        Do C{work} within its share of the time that is left.

        @param among: How many things there are to do for this host, this one included.
        @raise TimeoutError: when it takes longer.
        """
        import asyncio

        share = (self._deadline - self._loop.time()) / (among + len(self._hosts))
        try:
            async with asyncio.timeout(share):
                return await work
        except TimeoutError as error:
            raise (error if str(error) else TimeoutError("timed out")) from None

    async def _try(self, protocol: Any, host: str, address: Any, context: SSLContext | None) -> None:
        family, kind, number, _, where = address
        sock = socket.socket(family, kind, number)
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        name = None if self._tls is None else self._tls.server_name or host
        await self._loop.create_connection(lambda: protocol, sock=sock, ssl=context, server_hostname=name)
