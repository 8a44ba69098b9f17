# -*- test-case-name: txpika.test.test_tornado_connection -*-
"""
A callback connection on Tornado's loop.

Owns the choice of the loop. Tornado's is asyncio's in another dress, so all else is L{AsyncioConnection}'s. Importing
this does not import Tornado: making a connection does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.adapters.asyncio_connection import AsyncioConnection, current_loop
from txpika.parameters import ConnectionParameters


def tornado_loop(custom: Any = None) -> Any:
    """
    @param custom: The program's own, or C{None} for Tornado's current one.
    @return: The loop.
    @raise ImportError: when there is no Tornado.
    @raise TypeError: when C{custom} is not a Tornado loop.
    """
    try:
        from tornado.ioloop import IOLoop
    except ImportError as error:
        raise ImportError("TornadoConnection needs Tornado: pip install 'txpika[tornado]'") from error
    if custom is None:
        current_loop()  # around which Tornado's is made, if there is none yet
        return IOLoop.current()
    if not isinstance(custom, IOLoop):
        raise TypeError(f"custom_ioloop must be a tornado.ioloop.IOLoop, not {type(custom).__name__}")
    return custom


class TornadoConnection(AsyncioConnection):
    """
    See L{AsyncioConnection}. Run it with C{connection.ioloop.start()}.

    @ivar ioloop: Tornado's loop.
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
        @param custom_ioloop: The program's own C{tornado.ioloop.IOLoop}; C{None} is C{IOLoop.current()}.
        @raise ImportError: when there is no Tornado.
        """
        loop = tornado_loop(custom_ioloop)
        super().__init__(
            parameters,
            on_open_callback,
            reconnection_strategy,
            on_open_error_callback=on_open_error_callback,
            on_close_callback=on_close_callback,
            custom_ioloop=loop.asyncio_loop,
        )
        self.ioloop = loop
