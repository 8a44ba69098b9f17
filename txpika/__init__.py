# -*- test-case-name: txpika.test.test_packaging -*-
"""
txpika: an AMQP 0-9-1 client for RabbitMQ, Twisted first.

Each public name is imported from its module when it is first used, so that a program pays only for the loop it runs on,
and importing this installs no reactor.
"""

from __future__ import annotations

from txpika._version import __version__

TYPE_CHECKING = False  # type checkers take it for true by its name; importing it from typing costs 5 ms
if TYPE_CHECKING:
    from txpika.channel import Channel
    from txpika.consumer import Consumer
    from txpika.credentials import PlainCredentials
    from txpika.endpoint import connect
    from txpika.events import Instrument
    from txpika.message import Delivery, ReturnedMessage
    from txpika.parameters import ConnectionParameters
    from txpika.protocol import AMQPFactory, AMQPProtocol
    from txpika.spec import BasicProperties
    from txpika.uri import parse_uri

_HOMES = {
    "AMQPFactory": "txpika.protocol",
    "AMQPProtocol": "txpika.protocol",
    "BasicProperties": "txpika.spec",
    "Channel": "txpika.channel",
    "ConnectionParameters": "txpika.parameters",
    "Consumer": "txpika.consumer",
    "Delivery": "txpika.message",
    "Instrument": "txpika.events",
    "PlainCredentials": "txpika.credentials",
    "ReturnedMessage": "txpika.message",
    "connect": "txpika.endpoint",
    "parse_uri": "txpika.uri",
}

__all__ = [
    "AMQPFactory",
    "AMQPProtocol",
    "BasicProperties",
    "Channel",
    "ConnectionParameters",
    "Consumer",
    "Delivery",
    "Instrument",
    "PlainCredentials",
    "ReturnedMessage",
    "__version__",
    "connect",
    "parse_uri",
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
