# -*- test-case-name: txpika.test.test_packaging -*-
"""
txpika: an AMQP 0-9-1 client for RabbitMQ, Twisted first.

Each public name is imported from its module when it is first used, so that a program pays only for the loop it runs on,
and importing this installs no reactor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from txpika._version import __version__

if TYPE_CHECKING:
    from txpika.arguments import ConsumerArguments, QueueArguments
    from txpika.channel import Channel
    from txpika.consumer import Consumer
    from txpika.credentials import PlainCredentials
    from txpika.deaths import Death, DeathEvent, x_death, x_death_count, x_first_death, x_last_death
    from txpika.endpoint import connect
    from txpika.message import Delivery, ReturnedMessage
    from txpika.parameters import ConnectionParameters
    from txpika.protocol import AMQPFactory, AMQPProtocol
    from txpika.rpc_client import RPCClient
    from txpika.spec import BasicProperties
    from txpika.uri import parse_uri

_HOMES = {
    "AMQPFactory": "txpika.protocol",
    "AMQPProtocol": "txpika.protocol",
    "BasicProperties": "txpika.spec",
    "Channel": "txpika.channel",
    "ConnectionParameters": "txpika.parameters",
    "Consumer": "txpika.consumer",
    "ConsumerArguments": "txpika.arguments",
    "Death": "txpika.deaths",
    "DeathEvent": "txpika.deaths",
    "Delivery": "txpika.message",
    "PlainCredentials": "txpika.credentials",
    "QueueArguments": "txpika.arguments",
    "RPCClient": "txpika.rpc_client",
    "ReturnedMessage": "txpika.message",
    "connect": "txpika.endpoint",
    "parse_uri": "txpika.uri",
    "x_death": "txpika.deaths",
    "x_death_count": "txpika.deaths",
    "x_first_death": "txpika.deaths",
    "x_last_death": "txpika.deaths",
}

__all__ = [
    "AMQPFactory",
    "AMQPProtocol",
    "BasicProperties",
    "Channel",
    "ConnectionParameters",
    "Consumer",
    "ConsumerArguments",
    "Death",
    "DeathEvent",
    "Delivery",
    "PlainCredentials",
    "QueueArguments",
    "RPCClient",
    "ReturnedMessage",
    "__version__",
    "connect",
    "parse_uri",
    "x_death",
    "x_death_count",
    "x_first_death",
    "x_last_death",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'txpika' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
