# -*- test-case-name: txpika.test.test_checking,txpika.test.test_callback_channel -*-
"""
What the methods of all adapters require of their arguments.

Owns the checks and the types they have in common. Knows nothing of what the arguments are for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from txpika.exceptions import AMQPError, CloseReason, StaleDelivery

#: Called with the channel, C{Basic.Deliver} or C{Basic.GetOk}, the properties and the body of a message.
OnMessage = Callable[..., object]
Arguments = Mapping[str, object] | None
#: C{inspect.CO_COROUTINE} and C{CO_ASYNC_GENERATOR}, which mark the code of an C{async def}, without and with a
#: C{yield}; importing that module takes 5 ms.
_ASYNC = 0x80 | 0x200


def check_callback(callback: object, name: str = "callback") -> None:
    """@raise TypeError: when C{callback} is neither callable nor C{None}."""
    if callback is not None and not callable(callback):
        raise TypeError(f"{name} must be callable or None, not {type(callback).__name__}")


def need_callback(callback: object) -> None:
    """@raise TypeError: when C{callback} is not callable."""
    if not callable(callback):
        raise TypeError(f"callback must be callable, not {type(callback).__name__}")


def need_handler(name: str, handler: object) -> None:
    """
    @param handler: What a program wants its messages passed to.
    @raise TypeError: when it is not callable, or is C{async}.
    """
    if not callable(handler):
        raise TypeError(f"{name} must be callable, not {type(handler).__name__}")
    function: Any = handler
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if getattr(code, "co_flags", 0) & _ASYNC:
        raise TypeError(f"{name} is async, and is never awaited here: make it a plain function, or use txpika.connect")


def check_number(name: str, value: object) -> None:
    """
    @raise TypeError: when C{value} is not a number of seconds; a bool is not.
    @raise ValueError: when it is NaN, which is neither before nor after anything.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if value != value:
        raise ValueError(f"{name} is NaN, it must be a number of seconds")


def check_channel_number(number: object) -> None:
    """
    @raise TypeError: when C{number} is neither an int nor C{None}.
    @raise ValueError: when it is below 1.
    """
    if number is None:
        return
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"channel_number must be int or None, not {type(number).__name__}")
    if number < 1:
        raise ValueError(f"channel_number is {number}, channels are numbered from 1")


def check_strategy(strategy: object) -> None:
    """@raise TypeError: when C{strategy} is neither a reconnection strategy nor C{None}."""
    if strategy is not None and not callable(getattr(strategy, "on_connect_attempt", None)):
        raise TypeError(f"reconnection_strategy must be a ReconnectionStrategy or None, not {type(strategy).__name__}")


def refuse_ticket(ticket: object) -> None:
    """
    Access tickets are gone from the protocol; C{ticket} is accepted and ignored.

    @raise TypeError: when it is not an int: then it is another argument, where later versions of pika have it.
    """
    if not isinstance(ticket, int):
        raise TypeError(f"ticket must be int, not {type(ticket).__name__}: pass queue=... and the like by name")


def encoded(body: object) -> bytes | bytearray | memoryview:
    """
    @return: C{body}; a str as UTF-8.
    @raise TypeError: when it is neither that nor bytes-like.
    """
    if isinstance(body, str):
        return body.encode()
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"body must be str, bytes, bytearray or memoryview, not {type(body).__name__}")
    return body


def reason_of(error: StaleDelivery) -> AMQPError:
    """@return: What to raise for it: the reason of the end, as from every other call, if the channel has ended."""
    reason = error.__cause__
    return reason.with_outcome("not sent") if isinstance(reason, CloseReason) else error
