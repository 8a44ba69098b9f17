# -*- test-case-name: benchmarks.test.test_processes -*-
"""
The libraries: one measuring program for each library, or for each way of using it.

Each is run as C{python -m benchmarks.clients.with_x} with a L{benchmarks.measure.Task} on standard input, uses its
library through its ordinary public API with its ordinary settings, in the fastest way that is reasonable, and says in
its docstring what was tried. L{benchmarks.clients.base} and C{callbacks} hold what they share; C{rabbitmq_c.c} is the
one in C; L{PROGRAMS} lists them all.

What the libraries make is C{Any} here, whether or not they publish types: the benchmarks are also checked without them.
"""

from __future__ import annotations

import importlib.util

#: The module here that measures, by name: the library, and its adapter if it has several.
PROGRAMS = {
    "txpika twisted": "with_txpika",
    "txpika select": "with_txpika_callbacks",
    "txpika asyncio": "with_txpika_callbacks",
    "txpika blocking": "with_txpika_blocking",
    "pika twisted": "with_pika_twisted",
    "pika select": "with_pika_callbacks",
    "pika asyncio": "with_pika_callbacks",
    "pika blocking": "with_pika_blocking",
    "aio-pika": "with_aio_pika",
    "aiormq": "with_aiormq",
    "py-amqp": "with_py_amqp",
    "amqpstorm": "with_amqpstorm",
}

#: The name to import, where that is not the library's name.
_MODULES = {"aio-pika": "aio_pika", "py-amqp": "amqp"}


def library_of(name: str) -> str:
    """
    @return: The library of a peer, without its adapter.
    """
    return name.partition(" ")[0]


def is_installed(name: str) -> bool:
    """
    @return: Whether the library of a peer can be imported here.
    """
    library = library_of(name)
    return importlib.util.find_spec(_MODULES.get(library, library)) is not None
