# -*- test-case-name: txpika.test.test_blocking_connection -*-
"""
A connection for programs that wait: each method returns when it is done.

Owns the life of the connection, timers, and the order in which messages and other events reach the program. Its
channels are L{txpika.adapters.blocking_channel}'s.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial
from random import shuffle
from threading import Lock, get_ident
from types import TracebackType
from typing import Any, Self

from txpika.adapters.attributes import Attributes
from txpika.adapters.blocking_channel import BlockingChannel
from txpika.adapters.blocking_events import MAX_EVENTS, Event, Events, Later
from txpika.adapters.blocking_patience import Patience
from txpika.adapters.blocking_retry import Retry
from txpika.adapters.checking import check_channel_number, check_number, check_strategy, need_callback
from txpika.adapters.dial import Dialling, tls_of
from txpika.adapters.failures import failure
from txpika.adapters.sockets import SocketTransport
from txpika.adapters.waiting import Box, Running, Threaded, Waiter
from txpika.core.backpressure import DEFAULT_MULTIPLIER
from txpika.core.connection import Connection as Core
from txpika.exceptions import AuthenticationError, CloseReason, NotConnected
from txpika.interfaces import ICredentials
from txpika.parameters import ConnectionParameters, seconds
from txpika.provider import ask_now
from txpika.reconnection_strategies import NullReconnectionStrategy
from txpika.spec import Connection as Methods
from txpika.uri import parameters_of

_log = logging.getLogger("txpika.adapters.blocking")


class BlockingConnection(Attributes):
    """
    A connection that is open as soon as it has been made.

    Without C{io_thread} it belongs to the thread that made it, and serves the network while one of its methods waits: a
    program that does something else for longer than the heartbeat must call L{process_data_events} or L{sleep}
    meanwhile. With C{io_thread} a thread of its own serves the network, and methods may be called from any thread.

    Callbacks and message handlers run inside L{process_data_events}, L{sleep} and C{channel.start_consuming}, in the
    calling thread; what they raise comes out of that call, and does the connection no harm. A handler may itself call
    any of these: until it returns, it gets no other message of its consumer. As a context manager, the connection
    closes at the end of the block.

    A signal handler should call L{add_callback_threadsafe}. It may also call C{channel.stop_consuming} and the methods
    named C{close}: when it has interrupted the work of this connection, they take effect a moment later, when that is
    done. Other methods raise L{txpika.exceptions.RecursiveOperationDetected} then; an exception that the handler lets
    through ends the connection, whose work was left half done. With C{io_thread} it may call any method.

    In a child of the process that made it, it can only be closed: L{close} releases the child's descriptors and tells
    the broker nothing; other methods raise L{txpika.exceptions.WrongThread}. L{connect} works after that.

    @ivar parameters: What it was made with.
    """

    def __init__(
        self,
        parameters: ConnectionParameters | str | None = None,
        reconnection_strategy: Any = None,
        *,
        io_thread: bool = False,
    ) -> None:
        """
        Connect.

        @param parameters: L{ConnectionParameters}, an AMQP URI, or C{None} for RabbitMQ's guest on this machine.
        @param reconnection_strategy: When an attempt fails, it says whether and when another one is made; see
            L{txpika.reconnection_strategies}. A connection that was open and is lost is made again by L{reconnect}.
        @param io_thread: Serve the network in a thread of its own.
        @raise ConnectFailed: when there is nobody to talk to.
        @raise HandshakeError: when the broker does not let us in; L{txpika.exceptions.TLSVerifyError} when it is not
            the one that was asked for.
        @raise TypeError: when an argument is of the wrong type.
        @raise ValueError: when the URI is invalid.
        """
        try:
            self.parameters = parameters_of(parameters)
        finally:
            del parameters  # tracebacks may show what is in a name, and this may have a password in it
        check_strategy(reconnection_strategy)
        self._strategy = NullReconnectionStrategy() if reconnection_strategy is None else reconnection_strategy
        self._retry = Retry()
        self._make_waiter: type[Threaded | Running] = Threaded if io_thread else Running
        self.waiter: Waiter = self._make_waiter()
        self._events = Events()
        self._connecting = Lock()
        self._transport: SocketTransport | None = None
        self._holding = False
        self.patience = Patience()
        self._ended = True
        self._reason: CloseReason | None = None
        self._on_blocked: list[Callable[..., object]] = []
        self._on_unblocked: list[Callable[..., object]] = []
        self._on_close: list[Callable[..., object]] = []
        self._on_open: list[Callable[..., object]] = []
        self._backpressure: list[Callable[[], object]] = []
        self._multiplier: float = DEFAULT_MULTIPLIER
        try:
            self.connect()
        except BaseException:
            self.waiter.close()
            raise

    # Its life

    def connect(self) -> None:
        """
        Connect again, after it has ended. Earlier channels stay closed.

        @raise NotConnected: when it is open, or another thread is about to open it.
        """
        if not self._connecting.acquire(blocking=False):
            raise NotConnected("the connection is being made already")
        try:
            self._connect()
        finally:
            self._connecting.release()

    reconnect = connect

    def _connect(self) -> None:
        self._bury()
        if self.waiter.closed:
            self.waiter = self._make_waiter()
        self.waiter.check()
        if not self._ended:
            raise NotConnected("the connection has not ended: close it first")
        while True:
            self._strategy.on_connect_attempt(self._retry)
            try:
                self._attempt()
            except CloseReason as reason:
                self._strategy.on_connect_attempt_failure(self._retry)
                if self._retry.asked:  # else the program is told
                    _log.warning("%r: cannot connect: %s", self, reason)
                if not self._retry.wanted(self.waiter):
                    raise
            else:
                self._strategy.on_connection_open(self._retry)
                return

    def _bury(self) -> None:
        """If its thread was ended by what the program raised in it, clean up."""
        if self.waiter.closed and not self._ended:
            self._ended = True
            self._reason = AuthenticationError("the function for credentials ended the thread of the connection")
            if self._transport is not None:
                self._transport.abortConnection()

    def _attempt(self) -> None:
        opened = Box(self.waiter)
        self.waiter.call(self._dial, opened)
        self.waiter.wait(lambda: opened.done)
        opened.take()

    def _dial(self, opened: Box) -> None:
        self._opened = opened
        self._ended = False
        self._reason = None
        self._transport = None
        self._core = Core(self.parameters, self.waiter.loop, self)
        self.patience.intake = self._core.intake
        self._core.backpressure.set_multiplier(self._multiplier)
        self._core.backpressure.add_callback(self._pressed)
        hosts = list(self.parameters.hosts)
        shuffle(hosts)
        deadline = self.waiter.loop.seconds() + self.parameters.connection_timeout

        def connected(sock: socket.socket, _host: str) -> None:
            self._transport = SocketTransport(sock, self.waiter.loop, self._core)
            self._transport.flushed = self._core.backpressure.flushed
            self.waiter.hold, self.waiter.flush = self._transport.hold, self._transport.flush
            self._core.connection_made(self._transport)
            self._core.limit_handshake(deadline - self.waiter.loop.seconds())
            credentials: Any = self.parameters.credentials
            if not ICredentials.providedBy(credentials):
                self._begin(credentials)

        try:
            wrap_tls = tls_of(self.parameters)
        except OSError as error:
            self._not_connected([(hosts[0][0], error)])
            return
        timeout = self.parameters.connection_timeout
        Dialling(self.waiter.loop, hosts, timeout, connected, self._not_connected, wrap_tls)

    def _begin(self, ask: Callable[[], Any]) -> None:
        try:
            credentials = ask_now(ask)
        except AuthenticationError as error:
            self._core.abort(error)
        else:
            self._core.begin(credentials)

    def _not_connected(self, errors: list[tuple[str, OSError]]) -> None:
        self._ended = True
        self._reason = failure(errors)
        self._opened.errback(self._reason)

    def close(self, code: int = 200, text: str = "Normal shutdown") -> None:
        """
        Close it cleanly, within C{close_timeout}, and release its timers, its loop and its thread. Harmless when it is
        closed. L{connect} works after it.
        """
        if self.waiter.forked:
            self._abandon()
            return
        if self.waiter.busy:
            self.waiter.put_off(lambda: self.close(code, text))
            return
        self._bury()
        if not self._ended:
            self.waiter.call(self._core.close, code, text)
            self.waiter.wait(lambda: self._ended)
        assert self._reason is not None
        self.waiter.close(self._reason.with_outcome("closed"))

    def _abandon(self) -> None:
        """In a child of the process that made it."""
        self._ended = True
        self._reason = NotConnected("the connection belongs to the process that this one was forked from")
        self._connecting = Lock()
        if self._transport is not None:
            self._transport.abandon()
        self.waiter.close(self._reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type | None, _error: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened."""
        return self._core.is_open

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._ended

    @property
    def is_closing(self) -> bool:
        """Whether its end has begun but is not over."""
        return self.reason is not None and not self._ended

    @property
    def reason(self) -> CloseReason | None:
        """Why it has ended, or is about to."""
        return self._reason or self._core.reason

    open = is_open
    closed = is_closed

    @property
    def closing(self) -> bool | tuple[int, str]:
        """C{False}, or code and text of its close."""
        reason = self.reason
        return False if reason is None else (reason.reply_code or 200, reason.reply_text)

    @property
    def state(self) -> str:
        """Its state, in words."""
        return self._core.state

    # What can be asked for

    def channel(self, channel_number: int | None = None, *, timeout: float | None = None) -> BlockingChannel:
        """
        @param channel_number: C{None} takes a free one.
        @param timeout: How long to wait for the broker, in seconds.
        @return: An open channel.
        @raise CloseReason: when the connection is not open.
        @raise NoFreeChannels: when the broker allows no more.
        @raise InvalidChannelNumber: when that number is not free, or too high.
        """
        check_channel_number(channel_number)
        if timeout is not None:
            seconds("timeout", timeout)

        def open_channel() -> tuple[BlockingChannel, Any]:
            core = self._core.open_channel(partial(Box, self.waiter), timeout, channel_number)
            core.face = face = BlockingChannel(self, core)
            return face, core.opened

        channel, opened = self.waiter.call(open_channel)
        self.result_of(opened)
        return channel

    def update_secret(self, new_secret: str | bytes, reason: str = "") -> Methods.UpdateSecretOk:
        """C{connection.update-secret} of RabbitMQ: a new token before the old one expires."""
        method = Methods.UpdateSecret(new_secret.encode() if isinstance(new_secret, str) else new_secret, reason)
        del new_secret  # tracebacks may show what is in a name
        done = self.waiter.call(self._core.update_secret, method, partial(Box, self.waiter))
        reply: Methods.UpdateSecretOk = self.result_of(done)
        return reply

    def add_on_connection_blocked_callback(self, callback: Callable[[Any, str], object]) -> None:
        """Call C{callback} with the connection and the reason when the broker takes no messages for now."""
        need_callback(callback)
        self._on_blocked.append(callback)

    def add_on_connection_unblocked_callback(self, callback: Callable[[Any], object]) -> None:
        """Call C{callback} with the connection when the broker takes messages again."""
        need_callback(callback)
        self._on_unblocked.append(callback)

    def add_on_open_callback(self, callback: Callable[[Any], object]) -> None:
        """Call C{callback} with the connection each time it opens, and before this returns if it is open now."""
        need_callback(callback)
        self._on_open.append(callback)
        if self.is_open:
            callback(self)

    def add_backpressure_callback(self, callback: Callable[[], object]) -> None:
        """
        Call C{callback} after each flush that leaves more than the multiplier times the average frame unsent.
        Publishing waits by itself; this only lets the program know.
        """
        need_callback(callback)
        self._backpressure.append(callback)

    def set_backpressure_multiplier(self, value: float = DEFAULT_MULTIPLIER) -> None:
        """@param value: How many average frames may wait to be sent."""
        self._core.backpressure.set_multiplier(value)
        self._multiplier = value

    def _pressed(self) -> None:
        for callback in self._backpressure:
            self.event(None, callback)

    def add_on_close_callback(self, callback: Callable[[Any], object]) -> None:
        """Call C{callback} with the connection when it has ended."""
        need_callback(callback)
        self._on_close.append(callback)

    # Time and events

    def process_data_events(self, time_limit: float | None = 0) -> None:
        """
        Serve the network, and hand over what has come: messages, returns, timers.

        @param time_limit: Wait this many seconds for something to come; 0 only looks, C{None} waits for as long as it
            takes.
        @raise CloseReason: when the connection has ended, and there is nothing left to hand over.
        """
        if time_limit is not None:
            check_number("time_limit", time_limit)
        self.patience.wait(self.waiter, self.something, time_limit)
        if not self.dispatch():
            self.check()

    def sleep(self, duration: float) -> None:
        """
        L{process_data_events} for this many seconds.

        @raise CloseReason: when the connection ends meanwhile.
        """
        if duration != 0:
            seconds("duration", duration)
        deadline = self.waiter.loop.seconds() + duration
        while True:
            left = max(0.0, deadline - self.waiter.loop.seconds())
            self.patience.wait(self.waiter, self.something, left, pause=True)
            if not self.dispatch():
                self.check()
            if self.waiter.loop.seconds() >= deadline:
                return

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        """
        Call C{callback} in C{delay} seconds, while events are handed over.

        @return: For L{remove_timeout}.
        @raise TypeError: when an argument is of the wrong type.
        @raise ValueError: when C{delay} is NaN.
        @raise CloseReason: when it was closed: nothing hands over events any more.
        """
        check_number("delay", delay)
        need_callback(callback)
        if self.waiter.closed:
            self.check()
        later = Later(callback)
        later.timer = self.waiter.call(self.waiter.loop.callLater, delay, self.event, None, later)
        return later

    add_timeout = call_later

    def remove_timeout(self, timeout_id: Any) -> None:
        """Undo L{call_later}. Harmless when it has happened."""
        if not isinstance(timeout_id, Later):
            raise TypeError(f"timeout_id must be what call_later has returned, not {type(timeout_id).__name__}")
        if not self.waiter.closed:
            self.waiter.call(timeout_id.timer.cancel)
        timeout_id.cancel()

    def add_callback_threadsafe(self, callback: Callable[[], object]) -> None:
        """
        Have C{callback} called while events are handed over; call this from any thread. Without C{io_thread} it is the
        only method that other threads may call, and the one that signal handlers should.
        """
        need_callback(callback)
        if self.waiter.forked:
            self.waiter.check()
        self.waiter.loop.add_callback(lambda: self.event(None, callback))

    def something(self) -> bool:
        """There is something to hand over, or nothing more to come."""
        return self._events.ready() or self._ended

    def event(self, owner: object, function: Callable[..., object], *arguments: Any) -> None:
        """In the loop's thread: hand this over to the program, in its turn. See L{Events.add}."""
        if len(self._events) >= MAX_EVENTS - 1:  # before another thread can take it and so make room
            self._holding = True
            self.hold(self)
        self._events.add(owner, function, *arguments)
        self.waiter.notify()

    def withdraw(self, function: Callable[..., object]) -> list[Any]:
        """
        @return: The first arguments of the events that are calls of this very function, which are no longer made.
        """
        withdrawn = [arguments[0] for arguments in self._events.withdraw(function)]
        self._make_room()
        return withdrawn

    def waiting(self) -> list[Event]:
        """@return: The events that wait for their turn."""
        return self._events.all()

    def _make_room(self) -> None:
        """Some of the events have gone: if few are left, read on."""
        if self._holding and len(self._events) <= MAX_EVENTS // 2 and not self._ended:
            self._holding = False  # first: the loop's thread may hold it again at once
            try:
                self.release(self)
            except BaseException:
                self._holding = True
                raise

    def hold(self, who: object) -> None:
        """In the loop's thread: C{who} has enough for now, read no more."""
        self._core.intake.hold(who)

    def gone(self, who: object) -> None:
        """In the loop's thread: C{who} has ended, and no longer holds anybody up."""
        self._core.intake.release(who)

    def release(self, who: object) -> None:
        """C{who} takes more."""
        self.waiter.call(self._core.intake.release, who)

    def dispatch(self, while_true: Callable[[], object] = lambda: True) -> int:
        """
        Hand over what is there now. When that takes long, the network is served in between.

        @param while_true: Stop before the next one when this is false.
        @return: How many events that was.
        """
        count = 0
        waiter = self.waiter
        me = get_ident()
        nested = me in self.patience.handling
        here = not waiter.batching
        waiter.batching = True
        try:
            self.patience.handling.add(me)
            for _ in range(len(self._events)):
                if not while_true():
                    break
                self._make_room()  # which may raise, so nothing is taken before
                event = self._events.take()
                if event is None:
                    break
                count += 1
                if event[0] is not None:  # not a timer's, of which there may always be another
                    self.patience.taken += 1
                try:
                    event[1](*event[2])
                finally:
                    self._events.done(event)
                    self.waiter.notify()
                self.waiter.look()
        finally:
            if here:
                waiter.batching = False
            if not nested:
                self.patience.handling.discard(me)
        return count

    # For channels

    def result_of(self, box: Box | None) -> Any:
        """Wait for it; C{None} when there is none."""
        if box is None:
            return None
        try:
            self.waiter.wait(lambda: box.done)  # L{wait_for} in place: a program may do this all day long
        except BaseException:
            self._let_pass(box)
            raise
        return box.take()

    def wait_for(self, box: Box) -> None:
        """Wait until it is there. If the wait is interrupted, its result is dropped when it comes."""
        try:
            self.waiter.wait(lambda: box.done)
        except BaseException:
            self._let_pass(box)
            raise

    def _let_pass(self, box: Box) -> None:
        if not box.done:
            self.waiter.call(box.cancel, box)

    def check(self) -> None:
        """@raise CloseReason: when the connection has ended."""
        if self._ended:
            assert self._reason is not None
            raise self._reason.with_outcome("closed")

    def flush_outbound(self) -> None:
        """Send what waits, as far as the network takes it now."""
        if self._transport is not None:
            self.waiter.call(self._transport.flush)

    def erase_credentials(self) -> None:
        """Does nothing: the credentials show nobody their secret, and L{reconnect} needs it."""

    # What the engine tells

    def opened(self) -> None:
        """The handshake is over."""
        for callback in self._on_open:
            self.event(None, callback, self)
        self._opened.callback(None)

    def blocked(self, reason: str) -> None:
        """The broker takes no messages for now."""
        for callback in self._on_blocked:
            self.event(None, callback, self, reason)

    def unblocked(self) -> None:
        """It takes them again."""
        for callback in self._on_unblocked:
            self.event(None, callback, self)

    def ended(self, reason: CloseReason) -> None:
        """The transport is gone."""
        self._ended = True
        self._reason = reason
        if not self._opened.done:
            self._opened.errback(reason)
            return
        for callback in self._on_close:
            self.event(None, callback, self)
        self.waiter.notify()

    def __repr__(self) -> str:
        return f"<BlockingConnection {self.parameters.host}:{self.parameters.port} {self._core.state}>"
