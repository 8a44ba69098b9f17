# -*- test-case-name: txpika.test.test_callback_connection -*-
"""
A callback connection on our own loop: C{select}, C{poll}, C{epoll} or C{kqueue}.

Owns the choice of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.adapters.loop import (
    ERROR,
    READ,
    WRITE,
    EPollPoller,
    IOLoop,
    KQueuePoller,
    PollPoller,
    SelectPoller,
)
from txpika.adapters.socket_connection import SocketConnection
from txpika.parameters import ConnectionParameters

__all__ = [
    "ERROR",
    "READ",
    "SELECT_TYPE",
    "WRITE",
    "EPollPoller",
    "IOLoop",
    "KQueuePoller",
    "PollPoller",
    "SelectConnection",
    "SelectPoller",
]

#: Which poller new loops wait with: C{"select"}, C{"poll"}, C{"epoll"}, C{"kqueue"}; C{None} for the best there is.
SELECT_TYPE: str | None = None


class SelectConnection(SocketConnection):
    """
    See L{txpika.adapters.callback.BaseConnection}. Run it with C{connection.ioloop.start()}.

    Unless it is given a loop, it shares one with all others that were not. Other threads may call only
    L{add_callback_threadsafe}; whatever else they call raises L{txpika.exceptions.WrongThread}.
    """

    def __init__(
        self,
        parameters: ConnectionParameters | str | None = None,
        on_open_callback: Callable[[Any], object] | None = None,
        reconnection_strategy: Any = None,
        *,
        on_open_error_callback: Callable[[Any, Exception], object] | None = None,
        on_close_callback: Callable[[Any], object] | None = None,
        custom_ioloop: IOLoop | None = None,
    ) -> None:
        """
        @param custom_ioloop: The program's own L{IOLoop}.
        """
        super().__init__(
            IOLoop.instance(SELECT_TYPE) if custom_ioloop is None else custom_ioloop,
            parameters,
            on_open_callback,
            reconnection_strategy,
            on_open_error_callback=on_open_error_callback,
            on_close_callback=on_close_callback,
        )
