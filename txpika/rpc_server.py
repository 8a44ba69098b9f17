# -*- test-case-name: txpika.test.test_rpc_server -*-
"""
Answer requests: the other end of L{txpika.rpc_client}, and of any other client that sets C{reply_to}.

Owns what is sent to whom for one request. When requests are handled, how many at once, and how they are acknowledged is
up to L{txpika.handling}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from typing import TYPE_CHECKING

from txpika.handling import OnError, requeues
from txpika.message import Delivery
from txpika.spec import BasicProperties

if TYPE_CHECKING:
    from txpika.channel import Channel

#: A reply: its body, or body and properties, or C{None} for none.
Reply = bytes | bytearray | memoryview | tuple[bytes, BasicProperties] | None

#: What makes a reply to a request.
OnRequest = Callable[[Delivery], Reply | Awaitable[Reply]]

#: What makes a reply to a request whose handler failed.
ToReply = Callable[[Delivery, Exception], Reply]


class RPCServer:
    """
    What L{txpika.channel.Channel.rpc_server} does with each request.

    The handler returns the body of the reply, or a pair of body and L{BasicProperties}, which are not changed: a copy
    gets the request's C{correlation_id}. The reply goes to the queue in the request's C{reply_to}, by the default
    exchange, and then the request is acknowledged: if the server dies in between, the request is handled again. For
    C{None} no reply is sent; a request without C{reply_to} is handled and gets none.

    A reply whose queue or requester is gone is dropped by the broker. In confirm mode the request is acknowledged when
    the broker has taken the reply; a refused one (C{basic.nack}) counts as a failure of the handler, except that
    C{error_reply} is not called.

    A request whose C{reply_to} or C{correlation_id} makes no sense (is not UTF-8, or does not decode) cannot be
    answered, and fails likewise. RabbitMQ 3.10 closes the connection of the replier (541) when C{reply_to} looks like a
    direct reply-to address but is none of its own; let only those publish requests who will not make one up.
    """

    def __init__(
        self, channel: Channel, handler: OnRequest, on_error: OnError = "reject", error_reply: ToReply | None = None
    ) -> None:
        """
        @raise TypeError: when C{handler} or C{error_reply} is not callable.
        """
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {type(handler).__name__}")
        if error_reply is not None and not callable(error_reply):
            raise TypeError(f"error_reply must be callable or None, not {type(error_reply).__name__}")
        self._channel = channel
        self._handler = handler
        self._on_error: OnError = on_error
        self._error_reply = error_reply

    async def answer(self, request: Delivery) -> None:
        """
        Handle one request, up to its reply; the consumer acknowledges it.
        """
        properties = request.properties
        address, correlation_id = properties.reply_to, properties.correlation_id
        try:
            result = self._handler(request)
            if isinstance(result, Awaitable):
                result = await result
            reply = _checked(result, correlation_id)
        except Exception as error:
            if self._error_reply is not None and not requeues(self._on_error, request):
                await self._send(address, _checked(self._error_reply(request, error), correlation_id))
            raise
        await self._send(address, reply)

    async def _send(self, address: str | None, reply: tuple[bytes, BasicProperties] | None) -> None:
        if reply is not None and address:
            await self._channel.basic_publish("", address, *reply)


def _checked(result: object, correlation_id: str | None) -> tuple[bytes, BasicProperties] | None:
    """
    @return: Body and properties of a reply.
    @raise TypeError: when C{result} is not a L{Reply}.
    """
    if result is None:
        return None
    body, given = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    properties = BasicProperties() if given is None else copy(given)
    if not isinstance(body, bytes | bytearray | memoryview) or not isinstance(properties, BasicProperties):
        raise TypeError(
            "a handler of requests must return bytes, a pair of bytes and BasicProperties, or None,"
            f" not {type(result).__name__}"
        )
    if correlation_id is not None:
        properties.correlation_id = correlation_id
    return bytes(body), properties
