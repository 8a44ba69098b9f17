# -*- test-case-name: txpika.test.test_engine -*-
"""
One connection of the engine: bytes from the broker in, bytes to the broker out.

Owns the handshake, the close from either side, the channels' numbers, the heartbeat, and what happens when the broker
breaks the protocol. Knows a transport and a clock; nothing of how either works, or of who uses the channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from threading import get_ident
from typing import Any

from txpika.core.acks import Acks
from txpika.core.backpressure import Backpressure
from txpika.core.blocking import Blocking
from txpika.core.calls import Unanswered
from txpika.core.channel import Channel
from txpika.core.content import Content
from txpika.core.frames import FrameReceiver
from txpika.core.gate import BLOCKED, TRANSPORT, Gate
from txpika.core.handshake import IN_HANDSHAKE, Tuned, closed, lost, secure_ok, start_ok, too_late, tune
from txpika.core.heartbeat import Heartbeat
from txpika.core.intake import Intake
from txpika.core.listeners import ConnectionListener
from txpika.core.numbers import Numbers
from txpika.core.outbound import frame
from txpika.core.outbox import Outbox
from txpika.core.states import (
    AWAITING_CREDENTIALS,
    BEGIN,
    CLOSE,
    CLOSED,
    CLOSING,
    CONNECTION,
    LOST,
    OPEN,
)
from txpika.core.timers import Timers
from txpika.core.underway import Underway
from txpika.core.wire import Wire
from txpika.exceptions import (
    CloseReason,
    ConnectionClosed,
    ConnectionLost,
    DecodeError,
    FramingError,
    HandshakeError,
    HeartbeatTimeout,
    InvalidChannelNumber,
    NoFreeChannels,
    NotConnected,
    ProtocolError,
    RecursiveOperationDetected,
    WrongThread,
)
from txpika.interfaces import Clock, ICredentials, ITransport
from txpika.parameters import MIN_FRAME_MAX, ConnectionParameters, cut_text, integer
from txpika.spec import (
    CHANNEL_ERROR,
    COMMAND_INVALID,
    FRAME_END,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    PROTOCOL_HEADER,
    Method,
    decode_method,
)
from txpika.spec import Connection as Methods

#: Share of the close timeout that calls and confirmations under way may take before C{connection.close} is sent.
DRAIN_SHARE = 0.8
#: How long the transport may take to flush and close once the protocol is over, in seconds.
FLUSH_TIMEOUT = 5.0

_HEARTBEAT_FRAME = bytes((FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END))


class Connection:
    """
    @ivar state: One of L{txpika.core.states}.
    @ivar reason: Why it is closed or closing; C{None} while it is not.
    @ivar tuned: What was agreed on.
    @ivar receiver: Cuts what comes in into frames.
    @ivar channels: Open channels by number.
    @ivar gate: Whether messages may be written; closed by the transport and by resource alarms.
    @ivar wire: Where bytes leave, with totals of bytes and frames.
    @ivar clock: Where timers come from.
    @ivar thread: The only thread that may use it: the one its transport was made in.
    @ivar intake: Whether the transport reads.
    @ivar blocking: How long messages wait while the broker blocks the connection.
    @ivar backpressure: Whether too much is buffered, by the average size of a frame.
    @ivar server_properties: What the broker says about itself.
    @ivar failing: Called with the reason when it is over, before anything on it is told.
    @ivar reading: Bytes from the broker are being processed right now: what is written leaves when that is done.
    @ivar draining: L{close} was called and waits for what is under way.
    @ivar held: Bytes of messages that wait in channels.
    @ivar holding: The channels they wait in, next in turn first.
    @ivar underway: The channels that may wait for the broker.
    @ivar acking: Those with acks to write when the read is over.
    @ivar ignored: How often, by kind, something that the broker sent was ignored.
    """

    def __init__(self, parameters: ConnectionParameters, clock: Clock, listener: ConnectionListener) -> None:
        self.parameters = parameters
        self.clock = clock
        self._listener = listener
        self.receiver = FrameReceiver(self, parameters.max_body_size)
        self._credentials: Any = None
        self._mechanism = ""
        self._closing_with: CloseReason = ConnectionClosed("")
        self._heartbeat: Heartbeat | None = None
        self._timers = Timers(clock)
        self._numbers = Numbers(clock)
        self._secret_updates = Unanswered()
        self.wire = Wire(self.receiver, parameters.connection_name or f"{parameters.host}:{parameters.port}")
        self.thread = get_ident()
        self.state = AWAITING_CREDENTIALS
        self.reason: CloseReason | None = None
        self.failing: Callable[[CloseReason], None] | None = None
        self.tuned = Tuned(0, MIN_FRAME_MAX, 0)
        self.channels: dict[int, Channel] = {}
        self.gate = Gate(self._gate_changed)
        self.underway = Underway()
        self.intake = Intake(self._busy)
        self.blocking = Blocking(clock, parameters.blocked_timeout, self._outboxes)
        self.backpressure = Backpressure(self.wire, lambda: self.held)
        self.server_properties: Mapping[str, Any] = {}
        self.reading = False
        self.draining = False
        self.held = 0
        self.holding: dict[Outbox, None] = {}
        self.acking: list[Acks] = []
        self.ignored: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened."""
        return self.state == OPEN and not self.draining

    @property
    def read_size(self) -> int:
        """How many bytes the transport should read at a time."""
        return self.receiver.read_size

    @property
    def in_handshake(self) -> bool:
        """Whether it is not open yet but may still be."""
        return self.state in IN_HANDSHAKE

    # The transport

    def connection_made(self, transport: ITransport, refusal: CloseReason | None = None) -> None:
        """
        There is a transport: begin the handshake if the credentials are known; otherwise L{begin} does.

        @param refusal: Why nothing may be said over this transport, which is then dropped.
        """
        self.thread = get_ident()
        self.wire.connected(transport)
        self.intake.transport = transport
        transport.registerProducer(self, True)
        self.limit_handshake(self.parameters.connection_timeout)
        if refusal is not None or self.state == CLOSED:
            self._abort(refusal or self.reason or ConnectionLost("closed"))
        elif ICredentials.providedBy(self.parameters.credentials):
            self.begin(self.parameters.credentials)

    def limit_handshake(self, timeout: float) -> None:
        """@param timeout: What is left of the C{connection_timeout}, in seconds. Harmless when it is open."""
        if self.in_handshake:
            self._timers.start("handshake", max(timeout, 0.0), self._handshake_too_long)

    def begin(self, credentials: Any) -> None:
        """Begin to talk, logging in with C{credentials}, an L{ICredentials}. Harmless when the connection has ended."""
        if self.state == AWAITING_CREDENTIALS:
            self.state = CONNECTION[self.state, BEGIN]
            self._credentials = credentials
            self.wire.send(PROTOCOL_HEADER)

    def data_received(self, data: bytes) -> None:
        """Bytes from the broker, any number."""
        self.wire.bytes_received += len(data)
        if self.reading:
            raise RecursiveOperationDetected("data_received called from inside data_received")
        self.reading = True
        self.wire.cork()
        try:
            self.wire.receive(data)
        except (FramingError, HandshakeError) as error:
            self._abort(error)
        except ProtocolError as error:
            self._protocol_error(error)
        except BaseException:
            # A callback let it through, which none may do. Our place in the bytes is lost with it.
            self._abort(ConnectionLost("a callback raised through the protocol engine", initiator="local"))
            raise
        finally:
            self.reading = False
            try:
                if self.acking:
                    self._write_acks()
            finally:
                self.wire.uncork()
            if self.intake.full:
                self.intake.check()

    def connection_lost(self, reason: BaseException | None = None) -> None:
        """
        The transport is gone.

        @param reason: What it said about that.
        """
        if self.wire.transport is None:
            return
        self.wire.transport = self.intake.transport = None
        if self.state != CLOSED:
            self._finish(lost(self.state, self.parameters, reason), LOST)
        self._timers.stop_all()
        assert self.reason is not None
        self._listener.ended(self.reason)

    def pauseProducing(self) -> None:
        """The transport has buffered enough: hold messages back. It may say so from inside C{write}."""
        self.gate.close(TRANSPORT)

    def resumeProducing(self) -> None:
        """The transport takes more again."""
        self.wire.together(self.gate.reopen, TRANSPORT)

    def stopProducing(self) -> None:
        """The transport will take no more; L{connection_lost} follows."""
        self.gate.close(TRANSPORT)

    # Who uses it

    def check_thread(self) -> None:
        """@raise WrongThread: when called from a thread other than the connection's."""
        if get_ident() != self.thread:
            raise WrongThread("a connection was used from a thread that is not its own; nothing was done")

    def need_answers(self, outbox: Outbox | None = None) -> None:
        """Somebody begins to wait for the broker: a channel, or C{None} for the connection itself."""
        if outbox is not None:
            self.underway.begins(outbox)
        if self.intake.paused:
            self.intake.resume()

    def _busy(self) -> bool:
        return self.state != OPEN or self.draining or self._waiting()

    def _waiting(self) -> bool:
        return bool(self._secret_updates) or self.underway.any()

    def _outboxes(self) -> Iterable[Outbox]:
        return [channel.outbox for channel in self.channels.values()]

    # Frames, as the receiver reports them

    def method_received(self, number: int, payload: bytes) -> None:
        """A method frame. @raise ProtocolError: when it is out of place or does not decode."""
        if not number:
            self._connection_method(payload)
            return
        channel = self.channels.get(number)
        if channel is not None:
            channel.method_received(payload)
        else:
            self._no_channel(number)

    def header_received(self, number: int, payload: bytes) -> None:
        """A content header frame. @raise ProtocolError: when it is out of place or does not decode."""
        channel = self.channels.get(number)
        if channel is not None:
            channel.arrivals.header_received(payload)
        else:
            self._no_channel(number)

    def body_started(self, number: int, size: int) -> Content | None:
        """
        A body frame begins.

        @raise ProtocolError: when it is out of place.
        """
        channel = self.channels.get(number)
        if channel is not None:
            return channel.arrivals.body_started(size)
        self._no_channel(number)
        return None

    def body_finished(self, number: int) -> None:
        """A body frame is over."""
        channel = self.channels.get(number)
        if channel is not None:
            channel.arrivals.body_finished()

    def _no_channel(self, number: int) -> None:
        if not number:
            raise ProtocolError("content on channel 0", CHANNEL_ERROR)
        if not self._numbers.late(number) and self.state != CLOSING:
            raise ProtocolError(f"a frame on channel {number}, which is not open", CHANNEL_ERROR)
        self.ignore("frame of a closed channel")

    def ignore(self, what: str) -> None:
        """Count something from the broker that is ignored."""
        self.ignored[what] += 1

    def decode(self, payload: bytes) -> Method:
        """@raise ProtocolError: when it does not decode."""
        try:
            method, left_over = decode_method(payload)
        except DecodeError as error:
            raise ProtocolError(str(error), error.reply_code) from error
        if left_over:
            self.ignore("bytes after the arguments of a method")
        return method

    def _connection_method(self, payload: bytes) -> None:
        method = self.decode(payload)
        following = CONNECTION.get((self.state, method.NAME))
        if following is None:
            if self.state == CLOSING and method.CLASS_ID == 10:
                self.ignore("method after close")
                return
            raise ProtocolError(f"{method.NAME} on channel 0 of a connection that is {self.state}", COMMAND_INVALID)
        if isinstance(method, Methods.Start):
            self.state = following
            self._start(method)
        elif isinstance(method, Methods.Secure):
            self._secure(method)
        elif isinstance(method, Methods.Tune):
            self._tune(method)
            self.state = following
        elif isinstance(method, Methods.OpenOk):
            self.state = following
            self._opened()
        elif isinstance(method, Methods.Close):
            self._closed_by_broker(method, following)
        elif isinstance(method, Methods.CloseOk):
            self._hang_up()
        elif isinstance(method, Methods.Blocked):
            self._blocked(method)
        elif isinstance(method, Methods.Unblocked):
            self._unblocked()
        else:
            self._secret_updated(method)

    def _send_method(self, method: Method) -> None:
        self.wire.send(frame(FRAME_METHOD, 0, method.encode()))

    # The handshake

    def _start(self, start: Methods.Start) -> None:
        self.server_properties = start.server_properties
        method = start_ok(self.parameters, self._credentials, start)
        self._mechanism = method.mechanism
        self._send_method(method)

    def _secure(self, secure: Methods.Secure) -> None:
        self._send_method(secure_ok(self._credentials, self._mechanism, secure.challenge))

    def _tune(self, offer: Methods.Tune) -> None:
        self.tuned = agreed = tune(self.parameters, offer)
        self.receiver.tuned(agreed.frame_max)
        self._send_method(Methods.TuneOk(agreed.channel_max, agreed.frame_max, agreed.heartbeat))
        self._send_method(Methods.Open(self.parameters.virtual_host))

    def _opened(self) -> None:
        self._timers.stop("handshake")
        self._credentials = None
        if self.tuned.heartbeat:
            beat = partial(self.wire.send, _HEARTBEAT_FRAME)
            self._heartbeat = Heartbeat(
                self.clock, self.tuned.heartbeat, self.wire, beat, self._silent, lambda: self.intake.paused
            )
            self._heartbeat.start()
        self._listener.opened()

    def _handshake_too_long(self) -> None:
        self._abort(too_late(self.state, self.parameters))

    def _silent(self, silence: float) -> None:
        self._abort(
            HeartbeatTimeout(f"the broker sent nothing for {silence:g} seconds, heartbeat is {self.tuned.heartbeat}")
        )

    # Events of an open connection

    def _blocked(self, method: Methods.Blocked) -> None:
        if BLOCKED not in self.gate.reasons:
            self.gate.close(BLOCKED)
            self.blocking.blocked()
            self._listener.blocked(method.reason)

    def _unblocked(self) -> None:
        if BLOCKED in self.gate.reasons:
            self.blocking.stop()
            self.gate.reopen(BLOCKED)
            self._listener.unblocked()

    def _gate_changed(self) -> None:
        for _ in range(len(self.holding)):
            if not self.gate.open or not self.holding:
                break
            outbox = next(iter(self.holding))
            self.holding[outbox] = self.holding.pop(outbox)  # others go before it next time
            outbox.advance()

    def update_secret(
        self, method: Methods.UpdateSecret, completion: Callable[..., Any], timeout: float | None = None
    ) -> Any:
        """
        C{connection.update-secret}: a new token before the old one expires (rabbitmq.com/docs/oauth2).

        @param method: Does not show the secret, as bytes would in a traceback.
        @param completion: See L{Channel.__init__}.
        @return: A completion that ends with C{Connection.UpdateSecretOk}.
        @raise CloseReason: when the connection is not open.
        """
        size = len(method.encode()) + 8
        if size > self.tuned.frame_max > 0:
            raise ValueError(f"Connection.UpdateSecret: {size} bytes are over the frame_max of the connection")
        self.check_thread()
        self._check_open()
        self.need_answers()
        result = self._secret_updates.expect(completion, self.clock, timeout, "Connection.UpdateSecret")
        self._send_method(method)
        return result

    def _secret_updated(self, method: Method) -> None:
        if not self._secret_updates.answered(method):
            raise ProtocolError(f"{method.NAME}, which nothing asked for", COMMAND_INVALID)
        self.check_drained()

    # Channels

    def open_channel(
        self, completion: Callable[..., Any], timeout: float | None = None, number: int | None = None
    ) -> Channel:
        """
        Open a channel.

        @param number: Of the channel, from 1; C{None} takes a free one.
        @param completion: See L{Channel.__init__}. The channel's C{opened} ends with its C{face}, which the caller
            sets.
        @param timeout: How long to wait for the broker, in seconds.
        @raise CloseReason: when the connection is not open.
        @raise NoFreeChannels: when all numbers are in use.
        @raise InvalidChannelNumber: when that number is in use, or above what the broker allows.
        """
        self.check_thread()
        self._check_open()
        if len(self.channels) >= self.tuned.channel_max:
            raise NoFreeChannels(f"all {self.tuned.channel_max} channels of the connection are open")
        if number is not None and (number in self.channels or number > self.tuned.channel_max):
            raise InvalidChannelNumber(f"channel {number} is open, or over the highest, {self.tuned.channel_max}")
        number = self._numbers.take(number)
        channel = self.channels[number] = Channel(self, number, completion, timeout)
        return channel

    def _check_open(self) -> None:
        if self.reason is not None:
            raise self.reason.with_outcome("not sent")
        if self.draining:
            raise NotConnected("the connection is closing")
        if self.state != OPEN:
            raise NotConnected(f"the connection is not open yet: {self.state}")

    def release(self, channel: Channel) -> None:
        """A channel is closed: its number is free."""
        if self.channels.pop(channel.number, None) is not None:
            self._numbers.give_back(channel.number)
            self.receiver.forget(channel.number)
            self.underway.ends(channel.outbox)
        self.check_drained()

    def forget_shortcuts(self, number: int, consumer_tag: bytes | None = None) -> None:
        """What the short road knows of a consumer, or of a whole channel, no longer holds."""
        self.receiver.forget(number, consumer_tag)

    # The end

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """
        Close it: let what is under way finish, tell the broker, then hang up. All of it takes at most C{close_timeout};
        the listener is told at the end. Harmless when it is closed or closing.
        """
        self.check_thread()
        reason = ConnectionClosed(cut_text("reply_text", reply_text), integer("reply_code", reply_code, 0, 65535))
        if self.draining or self.state in (CLOSING, CLOSED):
            return
        self.need_answers()
        timeout = self.parameters.close_timeout
        self._timers.start("close", timeout, self._give_up)
        if self.state != OPEN:
            self._finish(reason, CLOSE)
            self._hang_up()
            if self.wire.transport is None:  # there never was one
                self._timers.stop_all()
                self._listener.ended(reason)
            return
        self.draining = True
        self._closing_with = reason
        self._timers.start("drain", timeout * DRAIN_SHARE, self._send_close)
        self.check_drained()

    def check_drained(self) -> None:
        """Something ended: if it was the last thing a close waits for, go on with that."""
        if self.draining and self.state == OPEN and not self._waiting():
            self._send_close()

    def _send_close(self) -> None:
        self._timers.stop("drain")
        self._leave(self._closing_with)

    def _leave(self, reason: CloseReason) -> None:
        """Say why, fail everything, wait for the answer."""
        method = Methods.Close(reason.reply_code, reason.reply_text, reason.class_id, reason.method_id)
        self._write_acks()
        self._send_method(method)
        self._finish(reason, CLOSE)

    def _protocol_error(self, error: ProtocolError) -> None:
        if self.state != OPEN:
            self._abort(error)
            return
        self.receiver.halt()
        self._timers.start("close", FLUSH_TIMEOUT, self._give_up)
        self._leave(error)

    def _closed_by_broker(self, method: Methods.Close, following: str) -> None:
        if following == CLOSING:
            self._send_method(Methods.CloseOk())
            return
        self._write_acks()
        self._send_method(Methods.CloseOk())
        self._finish(closed(self.state, method, self.parameters), method.NAME)
        self._hang_up()

    def _write_acks(self) -> None:
        for acks in self.acking:
            acks.write()
        self.acking.clear()

    def _finish(self, reason: CloseReason, event: str) -> None:
        """Nothing more goes out, and whatever still waits is told why, once."""
        self.state = CONNECTION[self.state, event]
        for outbox in self._outboxes():
            outbox.over = True
        if self.reason is None:
            self.reason = reason
            if self.failing is not None:
                self.failing(reason)
        if self.state == CLOSED:
            self.receiver.halt()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self._credentials = None
        self._timers.stop("handshake")
        self._timers.stop("drain")
        self.blocking.stop()
        for outbox in self._outboxes():
            outbox.stop(self.reason)  # all of them before anybody is told, who might turn to another channel
        self._secret_updates.lost(self.reason)
        for channel in list(self.channels.values()):
            channel.lost(self.reason)

    def _abort(self, reason: CloseReason) -> None:
        """Nothing can be said to the broker any more."""
        if self.state != CLOSED:
            self._finish(reason, LOST)
        self.wire.cut()
        if self.wire.transport is not None:
            self.wire.transport.unregisterProducer()
            self.wire.transport.abortConnection()

    def _hang_up(self) -> None:
        """The protocol is over: flush, and close the transport."""
        self.state = CLOSED
        self.receiver.halt()
        self.wire.flush()
        self.wire.cut()
        self.intake.resume()
        if self.wire.transport is not None:
            self._timers.start("close", FLUSH_TIMEOUT, self._give_up, sooner=True)
            self.wire.transport.unregisterProducer()  # before loseConnection, which under TLS waits for it
            self.wire.transport.loseConnection()

    def abort(self, reason: CloseReason | None = None) -> None:
        """Drop the transport at once, without a word to the broker."""
        self.check_thread()
        self._abort(reason or ConnectionLost("the connection was aborted", initiator="local"))

    def _give_up(self) -> None:
        self._abort(self.reason or ConnectionLost("the broker did not answer connection.close in time"))
