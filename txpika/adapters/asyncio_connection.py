# -*- test-case-name: txpika.test.test_asyncio_connection -*-
"""
A connection of callbacks on an event loop of asyncio: the standard library's, or one that does as that does.

Owns the choice of the loop, and dialling by the loop's own means. Importing this does not import asyncio: making a
connection does.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from random import shuffle
from typing import TYPE_CHECKING, Any, TypeVar

from txpika.adapters.asyncio_transport import AsyncioClock, TransportAdapter
from txpika.adapters.callback import BaseConnection
from txpika.exceptions import CloseReason
from txpika.parameters import ConnectionParameters

if TYPE_CHECKING:
    import asyncio
    from ssl import SSLContext

    from txpika.core.connection import Connection as Core

_T = TypeVar("_T")


def current_loop() -> asyncio.AbstractEventLoop:
    """@return: The loop that runs; else this thread's own; else a new one, which becomes that."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # as 3.12 and 3.13 say that there is none
            loop = asyncio.get_event_loop()
    except (RuntimeError, DeprecationWarning):
        loop = None
    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    return loop


class AsyncioConnection(BaseConnection):
    """
    See L{txpika.adapters.callback.BaseConnection}. It lives on the loop it is given, on the one that runs, or on this
    thread's own, which C{connection.ioloop.run_forever()} runs; it never stops a loop. Other threads call in by
    L{add_callback_threadsafe}. An end that no callback hears of goes to the loop's exception handler.
    A function for credentials may be C{async}.

    @ivar ioloop: Its loop.
    """

    def __init__(
        self,
        parameters: ConnectionParameters | str | None = None,
        on_open_callback: Callable[[Any], object] | None = None,
        reconnection_strategy: Any = None,
        *,
        on_open_error_callback: Callable[[Any, Exception], object] | None = None,
        on_close_callback: Callable[[Any], object] | None = None,
        custom_ioloop: Any = None,
    ) -> None:
        """
        @param custom_ioloop: The program's own loop of asyncio.
        """
        import asyncio

        if custom_ioloop is not None and not isinstance(custom_ioloop, asyncio.AbstractEventLoop):
            raise TypeError(f"custom_ioloop must be a loop of asyncio, not {type(custom_ioloop).__name__}")
        self._loop: asyncio.AbstractEventLoop = current_loop() if custom_ioloop is None else custom_ioloop
        self._clock = AsyncioClock(self._loop)
        self._dialling: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._transport: TransportAdapter | None = None
        self.ioloop: Any = self._loop
        super().__init__(
            parameters,
            on_open_callback,
            reconnection_strategy,
            on_open_error_callback=on_open_error_callback,
            on_close_callback=on_close_callback,
        )

    @property
    def clock(self) -> AsyncioClock:
        """Its loop's."""
        return self._clock

    def _dial(self) -> None:
        self._dialling = self._loop.create_task(self._dial_hosts(self._core))

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()

    async def _dial_hosts(self, core: Core) -> None:
        hosts = list(self.parameters.hosts)
        shuffle(hosts)
        errors: list[tuple[str, Any]] = []
        try:
            context = self._make_context()
        except OSError as error:
            errors.append((hosts[0][0], error))
            hosts.clear()
        while hosts:
            host, port = hosts.pop(0)
            try:
                looking = self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = await self._within_share(looking, 1 + len(hosts))
            except (OSError, ValueError) as error:
                errors.append((host, error))
                continue
            while addresses:
                address = addresses.pop(0)
                try:
                    trying = self._try(core, host, address, context)
                    await self._within_share(trying, 1 + len(addresses) + len(hosts))
                except Exception as error:  # a loop may have errors of its own, and the next host may answer
                    errors.append((host, error))
                if core is not self._core or not self._attempting:
                    return
        self._transport_failed(errors)

    async def _within_share(self, work: Awaitable[_T], among: int) -> _T:
        """
        Do C{work} in its share of the time that is left.

        @raise TimeoutError: when it takes longer.
        """
        import asyncio

        share = (self._deadline - self._loop.time()) / among
        try:
            async with asyncio.timeout(share):
                return await work
        except TimeoutError as error:
            raise (error if str(error) else TimeoutError("timed out")) from None

    def _make_context(self) -> SSLContext | None:
        from txpika.adapters.stdlib_tls import make_context

        return None if self.parameters.tls is None else make_context(self.parameters.tls)

    async def _try(self, core: Core, host: str, address: Any, context: SSLContext | None) -> None:
        family, kind, number, _, where = address
        sock = socket.socket(family, kind, number)
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        options = self.parameters.tls
        name = None if options is None else options.server_name or host
        adapter = TransportAdapter(self._loop, core, self._connected)
        loop: Any = self._loop  # whose type wants a subclass of asyncio.Protocol, and the loop itself does not
        await loop.create_connection(lambda: adapter, sock=sock, ssl=context, server_hostname=name)

    def _connected(self, transport: TransportAdapter) -> None:
        if transport.core is self._core and self._attempting:
            self._transport = transport
            self._transport_made(transport)
        else:
            transport.abortConnection()  # it was closed while it became connected

    def _credentials_given(self, credentials: Any) -> None:
        if isawaitable(credentials):
            self._asking = self._loop.create_task(self._await_credentials(self._core, credentials))
        else:
            super()._credentials_given(credentials)

    async def _await_credentials(self, core: Core, credentials: Awaitable[Any]) -> None:
        try:
            given = await credentials
        except Exception as error:
            if core is self._core:
                self._no_credentials(error)
        else:
            if core is self._core:
                super()._credentials_given(given)

    def ended(self, reason: CloseReason) -> None:
        """The transport is gone."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        super().ended(reason)

    def _unheard(self, reason: Exception) -> None:
        self._loop.call_exception_handler({"message": f"{self!r} has ended: {reason}", "exception": reason})

    @property
    def outbound_buffer(self) -> range:
        """Has the length of what waits to be sent, in bytes."""
        return range(0 if self._transport is None else self._transport.buffered)

    def flush_outbound(self) -> None:
        """Hand what was written to the transport; this happens by itself at the end of the loop's turn."""
        if self._transport is not None:
            self._transport.flush()

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call C{callback} in the connection's thread, soon: the one way in from another thread."""
        self._loop.call_soon_threadsafe(callback)
