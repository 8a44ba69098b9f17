# -*- test-case-name: txpika.test.test_packaging -*-
"""
txpika: an AMQP 0-9-1 client for RabbitMQ, Twisted first.

Each public name is imported from its module on first use, so that a program pays only for the loop it runs on, and
importing txpika installs no reactor.
"""

from __future__ import annotations

from txpika._version import __version__

TYPE_CHECKING = False  # type checkers take it for true by its name; importing it from typing costs 5 ms
if TYPE_CHECKING:
    # Without object: under that name it would hide Python's own here.
    from txpika import (
        adapters,
        callback,
        channel,
        connection,
        credentials,
        exceptions,
        frames,
        heartbeat,
        log,
        reconnection_strategies,
        simplebuffer,
        spec,
        table,
    )
    from txpika.adapters.asyncio_connection import AsyncioConnection
    from txpika.adapters.asyncore_connection import AsyncoreConnection
    from txpika.adapters.base_connection import BaseConnection
    from txpika.adapters.blocking_connection import BlockingConnection
    from txpika.adapters.loop import IOLoop
    from txpika.adapters.select_connection import SelectConnection
    from txpika.adapters.tornado_connection import TornadoConnection
    from txpika.arguments import ConsumerArguments, QueueArguments
    from txpika.channel import Channel
    from txpika.consumer import Consumer
    from txpika.credentials import AMQPlainCredentials, ExternalCredentials, PlainCredentials
    from txpika.deaths import Death, DeathEvent, x_death, x_death_count, x_first_death, x_last_death
    from txpika.endpoint import BrokerEndpoint, connect
    from txpika.events import Instrument
    from txpika.message import Delivery, ReturnedMessage
    from txpika.parameters import ConnectionParameters
    from txpika.protocol import AMQPFactory, AMQPProtocol
    from txpika.reconnection_strategies import (
        NullReconnectionStrategy,
        ReconnectionStrategy,
        SimpleReconnectionStrategy,
    )
    from txpika.rpc_client import RPCClient
    from txpika.service import AMQPService, ServiceListener
    from txpika.spec import BasicProperties
    from txpika.tls import TLSOptions
    from txpika.uri import URLParameters, parse_uri

_HOMES = {
    "AMQPFactory": "txpika.protocol",
    "AMQPProtocol": "txpika.protocol",
    "AMQPService": "txpika.service",
    "AMQPlainCredentials": "txpika.credentials",
    "AsyncioConnection": "txpika.adapters.asyncio_connection",
    "AsyncoreConnection": "txpika.adapters.asyncore_connection",
    "BaseConnection": "txpika.adapters.base_connection",
    "BasicProperties": "txpika.spec",
    "BlockingConnection": "txpika.adapters.blocking_connection",
    "BrokerEndpoint": "txpika.endpoint",
    "Channel": "txpika.channel",
    "ConnectionParameters": "txpika.parameters",
    "Consumer": "txpika.consumer",
    "ConsumerArguments": "txpika.arguments",
    "Death": "txpika.deaths",
    "DeathEvent": "txpika.deaths",
    "Delivery": "txpika.message",
    "ExternalCredentials": "txpika.credentials",
    "IOLoop": "txpika.adapters.loop",
    "Instrument": "txpika.events",
    "NullReconnectionStrategy": "txpika.reconnection_strategies",
    "PlainCredentials": "txpika.credentials",
    "ReconnectionStrategy": "txpika.reconnection_strategies",
    "QueueArguments": "txpika.arguments",
    "RPCClient": "txpika.rpc_client",
    "ReturnedMessage": "txpika.message",
    "SelectConnection": "txpika.adapters.select_connection",
    "ServiceListener": "txpika.service",
    "SimpleReconnectionStrategy": "txpika.reconnection_strategies",
    "TLSOptions": "txpika.tls",
    "TornadoConnection": "txpika.adapters.tornado_connection",
    "URLParameters": "txpika.uri",
    "connect": "txpika.endpoint",
    "parse_uri": "txpika.uri",
    "x_death": "txpika.deaths",
    "x_death_count": "txpika.deaths",
    "x_first_death": "txpika.deaths",
    "x_last_death": "txpika.deaths",
}

#: Modules that programs of pika use without an import of their own.
_MODULES = frozenset(
    {
        *("adapters", "callback", "channel", "connection", "credentials", "exceptions", "frames", "heartbeat", "log"),
        *("object", "reconnection_strategies", "simplebuffer", "spec", "table"),
    }
)

# Without object, which an import of all names would put in the place of Python's own.
__all__ = [
    "AMQPFactory",
    "AMQPProtocol",
    "AMQPService",
    "AMQPlainCredentials",
    "AsyncioConnection",
    "AsyncoreConnection",
    "BaseConnection",
    "BasicProperties",
    "BlockingConnection",
    "BrokerEndpoint",
    "Channel",
    "ConnectionParameters",
    "Consumer",
    "ConsumerArguments",
    "Death",
    "DeathEvent",
    "Delivery",
    "ExternalCredentials",
    "IOLoop",
    "Instrument",
    "NullReconnectionStrategy",
    "PlainCredentials",
    "QueueArguments",
    "RPCClient",
    "ReconnectionStrategy",
    "ReturnedMessage",
    "SelectConnection",
    "ServiceListener",
    "SimpleReconnectionStrategy",
    "TLSOptions",
    "TornadoConnection",
    "URLParameters",
    "__version__",
    "adapters",
    "callback",
    "channel",
    "connect",
    "connection",
    "credentials",
    "exceptions",
    "frames",
    "heartbeat",
    "log",
    "parse_uri",
    "reconnection_strategies",
    "simplebuffer",
    "spec",
    "table",
    "x_death",
    "x_death_count",
    "x_first_death",
    "x_last_death",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None and name not in _MODULES:
        raise AttributeError(f"module 'txpika' has no attribute {name!r}")
    from importlib import import_module

    if home is None:
        return import_module(f"txpika.{name}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
