# -*- test-case-name: txpika.test.test_asyncio_connection -*-
"""
A callback connection on an asyncio event loop: the standard library's, or a compatible one.

Owns the choice of the loop, and how dialling, transport and engine come together on it. Importing this does not import
asyncio: making a connection does.
"""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from random import shuffle
from typing import TYPE_CHECKING, Any

from txpika.adapters.asyncio_dial import AsyncioDialling
from txpika.adapters.asyncio_transport import AsyncioClock, TransportAdapter
from txpika.adapters.callback import BaseConnection
from txpika.exceptions import CloseReason
from txpika.parameters import ConnectionParameters
from txpika.provider import refusal

if TYPE_CHECKING:
    import asyncio

    from txpika.core.connection import Connection as Core


def current_loop() -> asyncio.AbstractEventLoop:
    """@return: The running loop; else this thread's own; else a new one, which becomes this thread's."""
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
    See L{txpika.adapters.callback.BaseConnection}. It runs on the loop it is given, else on the running one, else on
    this thread's own, which C{connection.ioloop.run_forever()} runs; it never stops a loop. Other threads may call only
    L{add_callback_threadsafe}. An end that no callback is told of goes to the loop's exception handler.
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
        @param custom_ioloop: The program's own asyncio loop.
        """
        import asyncio

        if custom_ioloop is not None and not isinstance(custom_ioloop, asyncio.AbstractEventLoop):
            raise TypeError(f"custom_ioloop must be a loop of asyncio, not {type(custom_ioloop).__name__}")
        self._loop: asyncio.AbstractEventLoop = current_loop() if custom_ioloop is None else custom_ioloop
        self._clock = AsyncioClock(self._loop)
        self._dialling: AsyncioDialling | None = None
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
        hosts = list(self.parameters.hosts)
        shuffle(hosts)
        adapter = partial(TransportAdapter, self._loop, self._core, self._connected)
        timeout, tls = self.parameters.connection_timeout, self.parameters.tls
        self._dialling = AsyncioDialling(self._loop, hosts, timeout, tls, adapter, self._transport_failed)

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()

    def _connected(self, transport: TransportAdapter) -> None:
        if transport.core is self._core and self._attempting:
            self._transport = transport
            self._transport_made(transport)
        else:
            transport.abortConnection()  # it was closed while it was being connected

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
                core.abort(refusal(error))
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
        """Hand what was written to the transport; this happens anyway at the end of the loop's turn."""
        if self._transport is not None:
            self._transport.flush()

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call C{callback} in the connection's thread, soon: the one method that other threads may call."""
        self._loop.call_soon_threadsafe(callback)
