# -*- test-case-name: txpika.test.test_callback_connection,txpika.test.test_callback_reconnection -*-
"""
One connection, as a callback program knows it: pika's connection of 2011 on top of the engine.

Owns who is told of its life, and that a reconnection strategy can give it another one. Knows no loop and no socket:
those are the adapters', subclasses of L{BaseConnection}, each a clock and a way to a transport.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from txpika.adapters.attributes import Attributes
from txpika.adapters.callback_channel import Channel, call
from txpika.adapters.checking import check_callback, check_channel_number, check_number, check_strategy, need_callback
from txpika.adapters.completion import Completion
from txpika.adapters.failures import failure
from txpika.adapters.hooks import Hooks
from txpika.callback import CallbackManager
from txpika.core.connection import Connection as Core
from txpika.core.states import CLOSED
from txpika.exceptions import CloseReason, NotConnected
from txpika.frames import Method
from txpika.interfaces import ICredentials
from txpika.parameters import ConnectionParameters
from txpika.provider import objection, refusal
from txpika.reconnection_strategies import NullReconnectionStrategy
from txpika.spec import Basic, Exchange, Queue
from txpika.spec import Connection as Methods
from txpika.spec import Method as AnyMethod
from txpika.uri import parameters_of

_log = logging.getLogger("txpika.adapters.callback")

#: The connection's own number among those of channels.
_ZERO = 0
#: Methods that are just a question and an answer, all that L{BaseConnection.rpc} takes. Others affect the engine.
PLAIN_METHODS = {
    *(Exchange.Declare.NAME, Exchange.Delete.NAME, Exchange.Bind.NAME, Exchange.Unbind.NAME),
    *(Queue.Declare.NAME, Queue.Bind.NAME, Queue.Unbind.NAME, Queue.Purge.NAME, Queue.Delete.NAME),
    Basic.Qos.NAME,
}
ON_OPEN = "_on_connection_open"
ON_OPEN_ERROR = "_on_connection_open_error"
ON_CLOSE = "_on_connection_close"
ON_BLOCKED = "_on_connection_blocked"
ON_UNBLOCKED = "_on_connection_unblocked"


class BaseConnection(Hooks, Attributes):
    """
    The base class of all callback connections.

    It starts to connect when it is made, and calls back. Use it only from its loop's thread; each adapter says what
    other threads may call. What a callback raises is logged, and harms nobody else.

    An adapter implements C{clock}, C{_dial} and L{_stop_dialling}, and decides in L{_unheard} what becomes of an end
    that no callback was told of. One written for pika of 2011 has L{txpika.adapters.hooks} instead.

    @ivar parameters: What it was made with.
    @ivar callbacks: Who is to be told of what: a L{CallbackManager} of its own.
    @ivar reconnection: Its reconnection strategy.
    @ivar closing: C{False}, or code and text of its close.
    @ivar user_closed: This program closed it: no strategy brings it back.
    @ivar reason: Why it last ended, or could not be opened: an exception; C{None} before that.
    """

    def __init__(
        self,
        parameters: ConnectionParameters | str | None = None,
        on_open_callback: Callable[[Any], object] | None = None,
        reconnection_strategy: Any = None,
        *,
        on_open_error_callback: Callable[[Any, Exception], object] | None = None,
        on_close_callback: Callable[[Any], object] | None = None,
    ) -> None:
        """
        @param parameters: L{ConnectionParameters}, an AMQP URI, or C{None} for RabbitMQ's guest on this machine.
        @param on_open_callback: Called with the connection each time it is open.
        @param reconnection_strategy: See L{txpika.reconnection_strategies}; C{None} for none.
        @param on_open_error_callback: Called with the connection and an exception each time it cannot be opened.
        @param on_close_callback: Called with the connection each time it is closed, by whomever.
        @raise TypeError: when an argument is of the wrong type.
        @raise ValueError: when the URI is invalid.
        """
        try:
            self.parameters = parameters_of(parameters)
        finally:
            del parameters  # tracebacks may show what is in a name, and this may have a password in it
        check_strategy(reconnection_strategy)
        self.callbacks = CallbackManager()
        self.reconnection = NullReconnectionStrategy() if reconnection_strategy is None else reconnection_strategy
        self.closing: bool | tuple[int, str] = False
        self.user_closed = False
        self.reason: Exception | None = None
        self._core = Core(self.parameters, self.clock, self)
        self._attempting = False
        self._was_open = False
        self._channels: dict[int, Channel] = {}
        self._backpressure: list[Callable[[], object]] = []
        self._multiplier: float | None = None
        if on_open_callback is not None:
            self.add_on_open_callback(on_open_callback)
        if on_open_error_callback is not None:
            self.add_on_open_error_callback(on_open_error_callback)
        if on_close_callback is not None:
            self.add_on_close_callback(on_close_callback)
        self._attempt()

    # What an adapter implements, besides clock and _dial

    def _stop_dialling(self) -> None:
        """Give up making a transport."""

    def _unheard(self, reason: Exception) -> None:
        """The connection has ended, no strategy brings it back, and there was no callback to tell."""
        _log.error("%r: %s", self, reason)

    # One life

    def _attempt(self) -> None:
        self._attempting = True
        self._was_open = False
        self.closing = False
        self._core = Core(self.parameters, self.clock, self)
        for callback in self._backpressure:
            self._core.backpressure.add_callback(callback)
        if self._multiplier is not None:
            self._core.backpressure.set_multiplier(self._multiplier)
        self._deadline = self.clock.seconds() + self.parameters.connection_timeout
        self.reconnection.on_connect_attempt(self)
        self._dial()

    def _transport_made(self, transport: Any) -> None:
        """There is a transport: connected, and past its handshake if it is TLS."""
        self._attempting = False
        self._core.connection_made(transport)
        self._core.limit_handshake(self._deadline - self.clock.seconds())
        self.reconnection.on_transport_connected(self)
        if not ICredentials.providedBy(self.parameters.credentials):
            self._ask_for_credentials()

    def _ask_for_credentials(self) -> None:
        try:
            credentials = self.parameters.credentials()
        except Exception as error:
            self._core.abort(refusal(error))
        else:
            self._credentials_given(credentials)

    def _credentials_given(self, credentials: Any) -> None:
        """
        The function for credentials has returned. An adapter whose loop can await overrides this.

        @param credentials: What it returned.
        """
        wrong = objection(credentials)
        if wrong is None:
            self._core.begin(credentials)
        else:
            self._core.abort(wrong)

    def _transport_failed(self, errors: list[tuple[str, Any]]) -> None:
        """
        There is no transport.

        @param errors: What went wrong, by host.
        """
        self._attempting = False
        self._over(failure(errors))

    def reconnect(self) -> None:
        """
        Begin another life, with the same callbacks; channels of the last one stay closed. Strategies call this.

        @raise NotConnected: while the present life has not ended.
        """
        if self._attempting or not self.is_closed:
            raise NotConnected("the connection has not ended: close it first")
        self.user_closed = False
        self._attempt()

    # What the engine tells

    def opened(self) -> None:
        """The handshake is over."""
        self._was_open = True
        self.reason = None
        self.reconnection.on_connection_open(self)
        self.callbacks.process(_ZERO, ON_OPEN, self, self)

    def blocked(self, reason: str) -> None:
        """The broker takes no messages for want of memory or disk."""
        if not self.callbacks.process(_ZERO, ON_BLOCKED, self, Method(_ZERO, Methods.Blocked(reason))):
            _log.warning("%r: the broker takes no messages for now: %r", self, reason)

    def unblocked(self) -> None:
        """It takes them again."""
        self.callbacks.process(_ZERO, ON_UNBLOCKED, self, Method(_ZERO, Methods.Unblocked()))

    def ended(self, reason: CloseReason) -> None:
        """The transport is gone."""
        self.reconnection.on_transport_disconnected(self)
        self._over(reason)

    def _over(self, reason: CloseReason) -> None:
        life = self._core
        self.reason = reason
        self.closing = self.closing or (reason.reply_code or 200, reason.reply_text)
        if self._was_open:
            heard = self.callbacks.process(_ZERO, ON_CLOSE, self, self)
            over = self.reconnection.on_connection_closed
        else:
            heard = self.callbacks.process(_ZERO, ON_OPEN_ERROR, self, self, reason)
            over = self.reconnection.on_connect_attempt_failure
        if self._core is life:  # else one of those told has begun another one
            over(self)
        if heard or self.user_closed:
            return
        if self.reconnection.is_active:
            _log.warning("%r: %s", self, reason)
        else:
            self._unheard(reason)

    # State

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened."""
        return self._core.is_open and not self._attempting

    @property
    def is_closing(self) -> bool:
        """Whether its end has begun but is not over."""
        return bool(self.closing) and not self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether it has ended, or could not be opened."""
        return not self._attempting and self._core.wire.transport is None

    open = is_open
    closed = is_closed

    @property
    def state(self) -> str:
        """Its state, in words."""
        if self._attempting:
            return "connecting"
        return CLOSED if self.is_closed else self._core.state

    # Callbacks

    def add_on_open_callback(self, callback: Callable[[Any], object]) -> None:
        """Call C{callback} with the connection each time it opens, and at once if it is open now."""
        check_callback(callback)
        self.callbacks.add(_ZERO, ON_OPEN, callback, False)
        if self.is_open:
            call(callback, self)

    def add_on_close_callback(self, callback: Callable[[Any], object]) -> None:
        """Call C{callback} with the connection each time it is closed; C{closing} and C{reason} say why."""
        check_callback(callback)
        self.callbacks.add(_ZERO, ON_CLOSE, callback, False)

    def add_on_open_error_callback(self, callback: Callable[[Any, Exception], object]) -> None:
        """Call C{callback} with the connection and an exception each time it cannot be opened."""
        check_callback(callback)
        self.callbacks.add(_ZERO, ON_OPEN_ERROR, callback, False)

    def add_on_connection_blocked_callback(self, callback: Callable[[Method], object]) -> None:
        """Call C{callback} with the frame of each C{Connection.Blocked}, which has a C{reason}."""
        check_callback(callback)
        self.callbacks.add(_ZERO, ON_BLOCKED, callback, False)

    def add_on_connection_unblocked_callback(self, callback: Callable[[Method], object]) -> None:
        """Call C{callback} with the frame of each C{Connection.Unblocked}."""
        check_callback(callback)
        self.callbacks.add(_ZERO, ON_UNBLOCKED, callback, False)

    def add_backpressure_callback(self, callback: Callable[[], object]) -> None:
        """Call C{callback} after each flush that leaves more than the multiplier times the average frame unsent."""
        need_callback(callback)
        wrapped = partial(call, callback)
        self._backpressure.append(wrapped)
        self._core.backpressure.add_callback(wrapped)

    def set_backpressure_multiplier(self, value: float = 10) -> None:
        """@param value: How many average frames may wait to be sent."""
        self._core.backpressure.set_multiplier(value)
        self._multiplier = value

    # Calls

    def channel(
        self, on_open_callback: Callable[[Channel], object] | None = None, channel_number: int | None = None
    ) -> Channel:
        """
        Open a channel.

        @param on_open_callback: Called with it when the broker has opened it.
        @param channel_number: C{None} takes a free one.
        @return: The channel; calls on it wait for it to be opened.
        @raise CloseReason: when the connection is not open.
        @raise NoFreeChannels: when the broker allows no more.
        @raise InvalidChannelNumber: when that number is not free, or too high.
        """
        check_callback(on_open_callback, "on_open_callback")
        check_channel_number(channel_number)
        if self._attempting:
            raise NotConnected("the connection is not open yet")
        if self.is_closed and isinstance(self.reason, CloseReason):  # there may never have been a transport
            raise self.reason.with_outcome("not sent")
        core = self._core.open_channel(Completion, None, channel_number)
        core.face = channel = self._channels[core.number] = Channel(self, core)
        core.opened.callback = partial(call, on_open_callback)
        return channel

    def channel_ended(self, channel: Channel) -> None:
        """A channel is closed."""
        if self._channels.get(channel.channel_number) is channel:
            del self._channels[channel.channel_number]

    def update_secret(self, new_secret: str | bytes, reason: str = "", callback: Any = None) -> None:
        """
        C{connection.update-secret} of RabbitMQ: a new token before the old one expires.

        @param callback: Called with the frame of the reply.
        """
        check_callback(callback)
        secret = new_secret.encode() if isinstance(new_secret, str) else new_secret
        done = self._core.update_secret(Methods.UpdateSecret(secret, reason), Completion)
        done.callback = lambda reply: call(callback, Method(_ZERO, reply))

    def close(self, code: int = 200, text: str = "Normal shutdown") -> None:
        """
        Close it: what is under way may finish, then the broker is told, all within C{close_timeout}. Final: no strategy
        brings it back. Harmless when it is closed.
        """
        self.user_closed = True
        if self._attempting:
            self._attempting = False
            self._stop_dialling()
            self._over(NotConnected(text, code))
        elif self.is_closed:
            self.reconnection.on_connection_closed(self)  # it may be waiting to connect again
        else:
            self.closing = self.closing or (code, text)
            self._core.close(code, text)

    def erase_credentials(self) -> None:
        """Does nothing: the credentials show nobody their secret, and another life needs it."""

    # Methods as they are

    def send_method(self, channel_number: int, method: AnyMethod, content: tuple[Any, bytes] | None = None) -> None:
        """
        Write a method of the protocol, in its turn on its channel.

        @param content: For C{Basic.Publish}, properties and body.
        @raise ValueError: when there is no such channel, or the method has a call of its own that must be used.
        """
        if isinstance(method, Basic.Publish) and content is not None:
            properties, body = content
            channel = self._raw_channel(channel_number)
            channel.basic_publish(method.exchange, method.routing_key, body, properties, method.mandatory)
        else:
            self.rpc(channel_number, method)

    def rpc(
        self,
        channel_number: int,
        method: AnyMethod,
        callback: Callable[[Method], object] | None = None,
        acceptable_replies: Iterable[Any] = (),
    ) -> None:
        """
        Write a method, and call C{callback} with the frame of its reply.

        @param acceptable_replies: Not needed: the protocol says which they are. Others are refused.
        @raise ValueError: as L{send_method}, or when one of these is not a reply to the method.
        """
        channel = self._raw_channel(channel_number)
        if method.NAME not in PLAIN_METHODS:
            raise ValueError(f"{method.NAME} has a call of its own, of the channel or the connection: use that")
        strange = [each for each in acceptable_replies if each.INDEX not in method.REPLIES]
        if strange:
            raise ValueError(f"{strange[0].NAME} is no reply to {method.NAME}")
        channel._rpc(callback, method)

    def _raw_channel(self, channel_number: int) -> Channel:
        channel = self._channels.get(channel_number)
        if channel is None:
            raise ValueError(f"channel {channel_number} is not open on this connection")
        return channel

    # Timers

    def add_timeout(self, delay_sec: float, callback: Callable[[], object]) -> Any:
        """
        Call C{callback} in C{delay_sec} seconds.

        @return: For L{remove_timeout}.
        @raise TypeError: when an argument is of the wrong type.
        @raise ValueError: when C{delay_sec} is NaN.
        """
        check_number("delay_sec", delay_sec)
        need_callback(callback)
        return self.clock.callLater(delay_sec, call, callback)

    def remove_timeout(self, timeout_id: Any) -> None:
        """Undo L{add_timeout}. Harmless when it has happened."""
        timeout_id.cancel()

    def __repr__(self) -> str:
        host, port = self.parameters.host, self.parameters.port
        return f"<{type(self).__name__} {host}:{port} {self.state}>"
