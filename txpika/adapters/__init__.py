# -*- test-case-name: txpika.test.test_packaging -*-
"""
The connections that are not Twisted's, one module per loop.

Each name is imported from its module when it is first used, and what a loop needs when a connection is made: C{from
txpika.adapters import *} imports neither asyncio nor Tornado nor asyncore.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true by its name; importing it from typing costs 5 ms
if TYPE_CHECKING:
    from txpika.adapters.asyncio_connection import AsyncioConnection
    from txpika.adapters.asyncore_connection import AsyncoreConnection
    from txpika.adapters.base_connection import BaseConnection
    from txpika.adapters.blocking_connection import BlockingConnection
    from txpika.adapters.loop import IOLoop
    from txpika.adapters.select_connection import SelectConnection
    from txpika.adapters.tornado_connection import TornadoConnection

_HOMES = {
    "AsyncioConnection": "asyncio_connection",
    "AsyncoreConnection": "asyncore_connection",
    "BaseConnection": "base_connection",
    "BlockingConnection": "blocking_connection",
    "IOLoop": "loop",
    "SelectConnection": "select_connection",
    "TornadoConnection": "tornado_connection",
}

__all__ = [
    "AsyncioConnection",
    "AsyncoreConnection",
    "BaseConnection",
    "BlockingConnection",
    "IOLoop",
    "SelectConnection",
    "TornadoConnection",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None and name not in _HOMES.values():
        raise AttributeError(f"module 'txpika.adapters' has no attribute {name!r}")
    from importlib import import_module

    if home is None:
        return import_module(f"txpika.adapters.{name}")
    value = globals()[name] = getattr(import_module(f"txpika.adapters.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
