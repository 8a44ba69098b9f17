# -*- test-case-name: txpika.test.test_engine -*-
"""
One connection of the engine: bytes of the broker in, bytes for it out.

Owns the handshake, the close from either side, the channels' numbers, the heartbeat, and what happens when the broker
breaks the protocol. Knows a transport and a clock; nothing of how either works, or of who uses the channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from txpika.core.acks import Acks
from txpika.core.channel import Channel
from txpika.core.content import Content
from txpika.core.frames import FrameReceiver
from txpika.core.gate import BLOCKED, TRANSPORT, Gate
from txpika.core.handshake import Tuned, start_ok, tune
from txpika.core.heartbeat import Heartbeat
from txpika.core.listeners import ConnectionListener
from txpika.core.outbound import frame
from txpika.core.states import (
    AWAITING_OPEN_OK,
    AWAITING_START,
    AWAITING_TUNE,
    CLOSE,
    CLOSED,
    CLOSING,
    CONNECTION,
    LOST,
    OPEN,
)
from txpika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    CloseReason,
    ConnectionClosed,
    ConnectionLost,
    DecodeError,
    FramingError,
    HandshakeError,
    HandshakeTimeout,
    HeartbeatTimeout,
    NoFreeChannels,
    NotConnected,
    ProtocolError,
)
from txpika.interfaces import Clock, ICredentials, ITransport
from txpika.parameters import MIN_FRAME_MAX, ConnectionParameters
from txpika.spec import (
    ACCESS_REFUSED,
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

#: Bytes collected while a read is processed before they are handed to the transport without waiting for its end.
MAX_CORKED = 64 * 1024
#: How long frames for a channel that is closed are put down to being on their way, in seconds.
LATE_FRAMES = 30.0
#: Part of the close timeout that calls and confirmations under way may take before C{connection.close} is sent.
DRAIN_SHARE = 0.8
#: How long the transport may take to flush and close once the protocol is over, in seconds.
FLUSH_TIMEOUT = 5.0

#: What it means that the transport goes away in a state of the handshake. RabbitMQ before 3.3, and a client that does
#: not announce C{authentication_failure_close}, learn of a refused login only this way.
_LOST_IN_HANDSHAKE: dict[str, tuple[type[AMQPConnectionError], str]] = {
    AWAITING_START: (HandshakeError, ", before the broker said anything: is it an AMQP port, and one without TLS?"),
    AWAITING_TUNE: (AuthenticationError, ", while logging in: are user and password right?"),
    AWAITING_OPEN_OK: (HandshakeError, ", while opening the virtual host"),
}
_HEARTBEAT_FRAME = bytes((FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END))


def _discard(data: bytes) -> None:
    """Where bytes go when there is nobody to send them to."""


class Connection:
    """
    @ivar state: One of L{txpika.core.states}.
    @ivar reason: Why it is closed or closing; C{None} while it is not.
    @ivar tuned: What was agreed on.
    @ivar channels: Open channels by number.
    @ivar gate: Whether messages may be written; closed by the transport and by resource alarms.
    @ivar bytes_sent: Total, in bytes.
    @ivar bytes_received: Total, in bytes.
    @ivar server_properties: What the broker says of itself.
    @ivar reading: Bytes of the broker are being processed right now: what is written leaves at the end of that.
    @ivar draining: L{close} was called and waits for what is under way.
    @ivar held: Bytes of messages that wait in channels.
    @ivar holding: The channels they wait in.
    @ivar acking: Those with acks to write when the read is over.
    @ivar ignored: Counts, by kind, what the broker sent in vain and was let pass.
    """

    def __init__(self, parameters: ConnectionParameters, clock: Clock, listener: ConnectionListener) -> None:
        self.parameters = parameters
        self._clock = clock
        self._listener = listener
        self._transport: ITransport | None = None
        self._through: Callable[[bytes], None] = _discard
        self._corked: list[bytes] = []
        self._corked_size = 0
        self._receiver = FrameReceiver(self, parameters.max_body_size)
        self._start_ok = Methods.StartOk()
        self._closing_with: CloseReason = ConnectionClosed("")
        self._heartbeat: Heartbeat | None = None
        self._timers: dict[str, Any] = {}
        self._free: deque[int] = deque()
        self._highest = 0
        self._late: dict[int, float] = {}
        self.write: Callable[[bytes], None] = _discard
        self.state = AWAITING_START
        self.reason: CloseReason | None = None
        self.tuned = Tuned(0, MIN_FRAME_MAX, 0)
        self.channels: dict[int, Channel] = {}
        self.gate = Gate(self._gate_changed)
        self.bytes_sent = 0
        self.bytes_received = 0
        self.server_properties: Mapping[str, Any] = {}
        self.reading = False
        self.draining = False
        self.held = 0
        self.holding: dict[Channel, None] = {}
        self.acking: list[Acks] = []
        self.ignored: dict[str, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether channels can be opened."""
        return self.state == OPEN and not self.draining

    # The transport

    def connection_made(self, transport: ITransport) -> None:
        """
        There is a transport: begin the handshake.
        """
        self._transport = transport
        self._through = self.write = transport.write
        transport.registerProducer(self, True)
        self._start_timer("handshake", self.parameters.connection_timeout, self._handshake_too_long)
        self.send(PROTOCOL_HEADER)

    def data_received(self, data: bytes) -> None:
        """
        Bytes of the broker, any number.
        """
        self.bytes_received += len(data)
        if self.reading:
            raise RuntimeError("data_received called from inside data_received")
        self.reading = True
        self.write = self._cork
        try:
            self._receiver.receive(data)
        except FramingError as error:
            self._abort(error)
        except ProtocolError as error:
            self._protocol_error(error)
        except HandshakeError as error:
            self._abort(error)
        except BaseException:
            # Somebody's callback let it through, which none may. Where in the bytes we are is lost with it.
            self._abort(ConnectionLost("a callback raised through the protocol engine", initiator="local"))
            raise
        finally:
            self.reading = False
            self._uncork()

    def connection_lost(self, reason: BaseException | None = None) -> None:
        """
        The transport is gone.

        @param reason: What it said about that.
        """
        if self._transport is None:
            return
        self._transport = None
        if self.state != CLOSED:
            text = "the network connection was lost" if reason is None else f"the network connection was lost: {reason}"
            error, hint = _LOST_IN_HANDSHAKE.get(self.state, (ConnectionLost, ""))
            self._finish(error(text + hint, initiator="network"), LOST)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        assert self.reason is not None
        self._listener.ended(self.reason)

    def pauseProducing(self) -> None:
        """The transport buffers enough: hold messages back. It may say so from inside C{write}."""
        self.gate.close(TRANSPORT)

    def resumeProducing(self) -> None:
        """The transport takes more."""
        self.gate.reopen(TRANSPORT)

    def stopProducing(self) -> None:
        """The transport will take no more; L{connection_lost} follows."""
        self.gate.close(TRANSPORT)

    def _cork(self, data: bytes) -> None:
        """What C{write} is while a read is processed: all of it leaves in one write of the transport."""
        self._corked.append(data)
        self._corked_size += len(data)
        if self._corked_size > MAX_CORKED:
            self._flush_corked()

    def _uncork(self) -> None:
        self._write_acks()
        self.write = self._through
        self._flush_corked()

    def _flush_corked(self) -> None:
        if self._corked:
            data = self._corked[0] if len(self._corked) == 1 else b"".join(self._corked)
            self._corked.clear()
            self._corked_size = 0
            self._through(data)

    def send(self, data: bytes) -> None:
        """Write whole frames."""
        self.bytes_sent += len(data)
        self.write(data)

    # Frames, as the receiver reports them

    def method_received(self, number: int, payload: bytes) -> None:
        """
        A method frame.

        @raise ProtocolError: when it is out of place or does not decode.
        """
        if not number:
            self._connection_method(payload)
            return
        channel = self.channels.get(number)
        if channel is not None:
            channel.method_received(payload)
        else:
            self._no_channel(number)

    def header_received(self, number: int, payload: bytes) -> None:
        """
        A content header frame.

        @raise ProtocolError: when it is out of place or does not decode.
        """
        channel = self.channels.get(number)
        if channel is not None:
            channel.header_received(payload)
        else:
            self._no_channel(number)

    def body_started(self, number: int, size: int) -> Content | None:
        """
        A body frame begins.

        @raise ProtocolError: when it is out of place.
        """
        channel = self.channels.get(number)
        if channel is not None:
            return channel.body_started(size)
        self._no_channel(number)
        return None

    def body_finished(self, number: int) -> None:
        """A body frame is over."""
        channel = self.channels.get(number)
        if channel is not None:
            channel.body_finished()

    def _no_channel(self, number: int) -> None:
        if not number:
            raise ProtocolError("content on channel 0", CHANNEL_ERROR)
        closed_at = self._late.get(number)
        late = closed_at is not None and self._clock.seconds() - closed_at < LATE_FRAMES
        if not late and self.state != CLOSING:
            raise ProtocolError(f"a frame on channel {number}, which is not open", CHANNEL_ERROR)
        self.ignore("frame of a closed channel")

    def ignore(self, what: str) -> None:
        """Count something of the broker's that is let pass."""
        self.ignored[what] = self.ignored.get(what, 0) + 1

    def decode(self, payload: bytes) -> Method:
        """
        @raise ProtocolError: when it does not decode.
        """
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
        else:
            self._unblocked()

    def _send_method(self, method: Method) -> None:
        self.send(frame(FRAME_METHOD, 0, method.encode()))

    # The handshake

    def _start(self, start: Methods.Start) -> None:
        self.server_properties = start.server_properties
        self._start_ok = start_ok(self.parameters, start)
        self._send_method(self._start_ok)

    def _secure(self, secure: Methods.Secure) -> None:
        mechanism = self._start_ok.mechanism
        try:
            response = ICredentials(self.parameters.credentials).challenge(mechanism, secure.challenge)
        except ValueError as error:
            raise AuthenticationError(str(error)) from error
        self._send_method(Methods.SecureOk(response))

    def _tune(self, offer: Methods.Tune) -> None:
        self.tuned = agreed = tune(self.parameters, offer)
        self._receiver.tuned(agreed.frame_max)
        self._send_method(Methods.TuneOk(agreed.channel_max, agreed.frame_max, agreed.heartbeat))
        self._send_method(Methods.Open(self.parameters.virtual_host))

    def _opened(self) -> None:
        self._stop_timer("handshake")
        if self.tuned.heartbeat:
            self._heartbeat = Heartbeat(self._clock, self.tuned.heartbeat, self, self._beat, self._silent)
            self._heartbeat.start()
        self._listener.opened()

    def _handshake_too_long(self) -> None:
        self._abort(
            HandshakeTimeout(
                f"no open connection within {self.parameters.connection_timeout} seconds: {self.state}"
                " (a peer that is no AMQP broker may wait for something else)",
                initiator="network",
            )
        )

    def _beat(self) -> None:
        self.send(_HEARTBEAT_FRAME)

    def _silent(self, silence: float) -> None:
        self._abort(
            HeartbeatTimeout(f"the broker sent nothing for {silence:g} seconds, heartbeat is {self.tuned.heartbeat}")
        )

    # Events of an open connection

    def _blocked(self, method: Methods.Blocked) -> None:
        if BLOCKED not in self.gate.reasons:
            self.gate.close(BLOCKED)
            self._listener.blocked(method.reason)

    def _unblocked(self) -> None:
        if BLOCKED in self.gate.reasons:
            self.gate.reopen(BLOCKED)
            self._listener.unblocked()

    def _gate_changed(self) -> None:
        if self.gate.open:
            for channel in list(self.holding):
                channel.advance()

    # Channels

    def open_channel(self, completion: Callable[..., Any]) -> Channel:
        """
        Open a channel with a free number.

        @param completion: See L{Channel.__init__}. The channel's C{opened} ends with its C{face}, which the caller
            sets.
        @raise CloseReason: when the connection is not open.
        @raise NoFreeChannels: when all numbers are in use.
        """
        self._check_open()
        if len(self.channels) >= self.tuned.channel_max:
            raise NoFreeChannels(f"all {self.tuned.channel_max} channels of the connection are open")
        if self._free:
            number = self._free.popleft()
        else:
            number = self._highest = self._highest + 1
        self._late.pop(number, None)
        channel = self.channels[number] = Channel(self, number, completion)
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
            self._free.append(channel.number)
            self._late[channel.number] = self._clock.seconds()
        self.check_drained()

    def forget_targets(self) -> None:
        """A consumer is gone."""
        self._receiver.forget()

    # The end

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """
        Close it: let what is under way end, then say so to the broker, then hang up. All of it takes at most
        C{close_timeout}; the listener hears of it at the end. Harmless when it is closed or closing.
        """
        if self.draining or self.state in (CLOSING, CLOSED):
            return
        reason = ConnectionClosed(reply_text, reply_code)
        timeout = self.parameters.close_timeout
        self._start_timer("close", timeout, self._give_up)
        if self.state != OPEN:
            self._finish(reason, CLOSE)
            self._hang_up()
            return
        self.draining = True
        self._closing_with = reason
        self._start_timer("drain", timeout * DRAIN_SHARE, self._send_close)
        self.check_drained()

    def check_drained(self) -> None:
        """Something ended: if it is the last that a close waits for, go on with that."""
        if self.draining and self.state == OPEN and all(channel.idle for channel in self.channels.values()):
            self._send_close()

    def _send_close(self) -> None:
        self._stop_timer("drain")
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
        self._receiver.halt()
        self._start_timer("close", FLUSH_TIMEOUT, self._give_up)
        self._leave(error)

    def _closed_by_broker(self, method: Methods.Close, following: str) -> None:
        if following == CLOSING:
            self._send_method(Methods.CloseOk())
            return
        failed_login = self.state == AWAITING_TUNE and method.reply_code == ACCESS_REFUSED
        error = ConnectionClosed if self.state == OPEN else AuthenticationError if failed_login else HandshakeError
        self._write_acks()
        self._send_method(Methods.CloseOk())
        self._finish(
            error(method.reply_text, method.reply_code, method.class_id, method.method_id, initiator="peer"),
            method.NAME,
        )
        self._hang_up()

    def _write_acks(self) -> None:
        for acks in self.acking:
            acks.write()
        self.acking.clear()

    def _finish(self, reason: CloseReason, event: str) -> None:
        """Nothing more goes out, and everything that waits for something hears why, once."""
        self.state = CONNECTION[self.state, event]
        self.reason = self.reason or reason
        if self.state == CLOSED:
            self._receiver.halt()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self._stop_timer("handshake")
        self._stop_timer("drain")
        for channel in list(self.channels.values()):
            channel.lost(self.reason)

    def _abort(self, reason: CloseReason) -> None:
        """Nothing can be said to the broker any more."""
        if self.state != CLOSED:
            self._finish(reason, LOST)
        self._corked.clear()
        self._corked_size = 0
        self._through = self.write = _discard
        if self._transport is not None:
            self._transport.unregisterProducer()
            self._transport.abortConnection()

    def _hang_up(self) -> None:
        """The protocol is over: flush, and close the transport."""
        self.state = CLOSED
        self._receiver.halt()
        self._flush_corked()
        self._through = self.write = _discard
        if self._transport is not None:
            self._start_timer("close", FLUSH_TIMEOUT, self._give_up)
            self._transport.unregisterProducer()  # before loseConnection, which under TLS waits for it
            self._transport.loseConnection()

    def abort(self) -> None:
        """Drop the transport at once, without a word to the broker."""
        self._abort(ConnectionLost("the connection was aborted", initiator="local"))

    def _give_up(self) -> None:
        self._abort(self.reason or ConnectionLost("the broker did not answer connection.close in time"))

    # Timers

    def _start_timer(self, name: str, delay: float, function: Callable[[], None]) -> None:
        self._stop_timer(name)

        def fire() -> None:
            del self._timers[name]
            function()

        self._timers[name] = self._clock.callLater(delay, fire)

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
