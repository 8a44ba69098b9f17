# -*- test-case-name: txpika.test.test_asyncore_connection -*-
"""
A callback connection among asyncore dispatchers, on either's loop.

Owns the choice of the loop. Importing this does not import asyncore: making a connection does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.adapters.asyncore_loop import AsyncoreLoop
from txpika.adapters.socket_connection import SocketConnection
from txpika.parameters import ConnectionParameters


class AsyncoreConnection(SocketConnection):
    """
    See L{txpika.adapters.callback.BaseConnection}. Run it with C{connection.ioloop.start()}, which serves the program's
    own dispatchers too, or with C{asyncore.loop()}; see L{AsyncoreLoop}.
    """

    def __init__(
        self,
        parameters: ConnectionParameters | str | None = None,
        on_open_callback: Callable[[Any], object] | None = None,
        reconnection_strategy: Any = None,
        *,
        on_open_error_callback: Callable[[Any, Exception], object] | None = None,
        on_close_callback: Callable[[Any], object] | None = None,
        custom_ioloop: AsyncoreLoop | None = None,
    ) -> None:
        """
        @param custom_ioloop: The program's own L{AsyncoreLoop}.
        @raise ImportError: when there is no asyncore.
        """
        super().__init__(
            AsyncoreLoop.instance() if custom_ioloop is None else custom_ioloop,
            parameters,
            on_open_callback,
            reconnection_strategy,
            on_open_error_callback=on_open_error_callback,
            on_close_callback=on_close_callback,
        )
