# -*- test-case-name: txpika.test.test_memory_handshake -*-
"""
The broker's side of one connection: bytes in, bytes out.

Owns the handshake, the channels by number, and how an error becomes C{channel.close} or C{connection.close}. Knows a
transport and a clock, and no loop: whatever a client sends, nothing is raised to who brings its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txpika.core.content import Content
from txpika.core.heartbeat import Heartbeat
from txpika.exceptions import DecodeError, ProtocolError
from txpika.interfaces import ITransport
from txpika.spec import (
    CHANNEL_ERROR,
    NOT_ALLOWED,
    PROTOCOL_HEADER,
    REPLY_NAMES,
    UNEXPECTED_FRAME,
    Basic,
    Channel,
    Connection,
    Method,
    decode_method,
)
from txpika.testing.channel import MAX_MESSAGE_SIZE, ServerChannel
from txpika.testing.errors import Refused, check_text
from txpika.testing.greeting import Limits, start
from txpika.testing.handshake import shake_hands
from txpika.testing.methods import HANDLERS, unimplemented
from txpika.testing.publishing import Publishing
from txpika.testing.receiver import ServerReceiver
from txpika.testing.sending import method_frame, reply_text

if TYPE_CHECKING:
    from txpika.testing.broker import MemoryBroker
    from txpika.testing.virtual_host import VirtualHost

#: Seconds that a client has for the handshake, and to answer a C{connection.close}.
HANDSHAKE_TIMEOUT = 10.0
CLOSE_TIMEOUT = 30.0
_CLOSE_OK = Connection.CloseOk().encode()[:4]
_CLOSE = Connection.Close().encode()[:4]


class ServerConnection(Publishing):
    """
    @ivar virtual_host: Where it is.
    @ivar capabilities: What the client says it understands.
    @ivar frame_max: Largest whole frame, in bytes.
    @ivar held: The transport takes no more: nothing is delivered.
    @ivar blocked: C{connection.blocked} was sent.
    @ivar limits: What was proposed, or agreed on.
    @ivar stalled: An alarm is on, and nothing is read.
    @ivar bytes_received: Total, in bytes.
    """

    def __init__(self, broker: MemoryBroker, transport: ITransport) -> None:
        super().__init__(broker, transport)
        self.virtual_host: VirtualHost | None = None
        self.capabilities: dict[str, Any] = {}
        self.limits = broker.limits
        self.frame_max = broker.limits.frame_max
        self.held = False
        self.blocked = False
        self.stalled = False
        self.bytes_received = 0
        self._receiver = ServerReceiver(self)
        self._heartbeat: Heartbeat | None = None
        self._timer: Any = broker.clock.callLater(HANDSHAKE_TIMEOUT, self._expired)
        transport.registerProducer(self, True)

    # From the transport

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self.bytes_received += len(data)
        self._guarded(self._receiver.receive, data)

    def connection_lost(self) -> None:
        """The transport is gone."""
        if self._transport is not None:
            self._end()
            self.broker.flush()

    def pauseProducing(self) -> None:
        """The transport has enough for now."""
        self._hold(True)

    def resumeProducing(self) -> None:
        """It takes more."""
        self._hold(False)
        for channel in list(self.channels.values()):
            channel.unpark()
        self.broker.flush()

    def stopProducing(self) -> None:
        """It is gone; L{connection_lost} comes."""
        self._hold(True)

    def _hold(self, held: bool) -> None:
        self.held = held
        for channel in self.channels.values():
            channel.held = held

    def _guarded(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except ProtocolError as error:
            self.close(error.reply_code, f"{REPLY_NAMES[error.reply_code]} - {error.reply_text}")
        self.broker.flush()

    def say(self, method: Method) -> None:
        """A method on channel 0."""
        self.send(method_frame(0, method))

    def _limit_reached(self) -> None:
        self._lose()

    def limit_frames(self, count: int) -> None:
        """A fault: it is cut after so many more frames of the client."""
        self._receiver.last_frame = self._receiver.frames + count

    # From the receiver

    def greeted(self, header: bytes) -> None:
        """The first bytes."""
        if header != PROTOCOL_HEADER:
            self.send(PROTOCOL_HEADER)
            self._lose()
            return
        self.state = "starting"
        self.say(start())

    def cut(self) -> None:
        """A fault: that was the last frame."""
        self.broker.flush()
        self.abort()

    def method_received(self, number: int, payload: bytes) -> None:
        """A method frame."""
        if self.state == "closing":
            if payload[:4] == _CLOSE_OK:
                self._lose()
            elif payload[:4] == _CLOSE:
                self.say(Connection.CloseOk())
            return
        try:
            method, _ = decode_method(payload)
        except DecodeError as error:
            raise ProtocolError(f"cannot decode a method: {error}", error.reply_code) from None
        if isinstance(method, Connection.Close) and not number:
            self._closed_by_client()
        elif self.state != "open":
            self._guard(None, method, shake_hands, self, number, method)
        elif number:
            self._channel_method(number, method)
        else:
            self._guard(None, method, self._connection_method, method)

    def _guard(self, channel: ServerChannel | None, method: Method, function: Any, *arguments: Any) -> None:
        """Call, and turn what is refused into a close that blames C{method}."""
        try:
            function(*arguments)
        except Refused as error:
            self.refuse(channel, error, method.CLASS_ID, method.METHOD_ID)

    def refuse(self, channel: ServerChannel | None, error: Refused, class_id: int, method_id: int) -> None:
        """Close what C{error} is about."""
        if channel is None or error.is_hard:
            self.close(error.reply_code, error.reply_text, class_id, method_id)
        else:
            self.close_channel(channel, error.reply_code, error.reply_text, class_id, method_id)

    # From the handshake

    def tuned(self, limits: Limits) -> None:
        """Limits are agreed on."""
        self.limits = limits
        self.frame_max = limits.frame_max
        self._receiver.tuned(limits.frame_max)

    def beats(self, heartbeat: Heartbeat) -> None:
        """There are heartbeats."""
        self._heartbeat = heartbeat
        heartbeat.start()

    def opened(self, virtual_host: VirtualHost) -> None:
        """It is open."""
        self.virtual_host = virtual_host
        self.state = "open"
        self._stop_timer()

    # Connection

    def _connection_method(self, method: Method) -> None:
        if isinstance(method, Connection.UpdateSecret):
            self.say(Connection.UpdateSecretOk())
        else:
            raise Refused(CHANNEL_ERROR, "unexpected method in connection state running")

    def _closed_by_client(self) -> None:
        self._end_channels()
        self.say(Connection.CloseOk())
        self._lose()

    # Channels

    def _channel_method(self, number: int, method: Method) -> None:
        channel = self.channels.get(number)
        if channel is None:
            self._guard(None, method, self._open_channel, number, method)
        elif channel.closing:
            if isinstance(method, Channel.CloseOk):
                del self.channels[number]
            elif isinstance(method, Channel.Close):
                channel.send(Channel.CloseOk())
            elif isinstance(method, Channel.Open):
                self._guard(channel, method, self._dispatch, channel, method)
        elif channel.content is not None:
            raise ProtocolError("a method within a message", UNEXPECTED_FRAME)
        else:
            self._guard(channel, method, self._dispatch, channel, method)

    def _open_channel(self, number: int, method: Method) -> None:
        if not isinstance(method, Channel.Open):
            raise Refused(CHANNEL_ERROR, "expected 'channel.open'")
        if len(self.channels) >= self.limits.channel_max:
            count, limit = len(self.channels), self.limits.channel_max
            text = f"number of channels opened ({count}) has reached the negotiated channel_max ({limit})"
            raise Refused(NOT_ALLOWED, text)
        channel = self.channels[number] = ServerChannel(number, self)
        channel.send(Channel.OpenOk())

    def _dispatch(self, channel: ServerChannel, method: Method) -> None:
        handler = HANDLERS.get(type(method))
        if handler is not None:
            check_text(method)
            reply = handler(channel, method)
            if reply is not None and not getattr(method, "nowait", False):
                channel.send(reply)
        elif isinstance(method, Basic.Publish):
            channel.content = Content(method, MAX_MESSAGE_SIZE)
            if self.broker.faults.alarm is not None:
                self._stall(self.broker.faults.alarm)
        elif isinstance(method, Channel.Close):
            self._receiver.forget()
            channel.end()
            channel.send(Channel.CloseOk())
            del self.channels[channel.number]
        elif isinstance(method, Channel.Open):
            raise Refused(CHANNEL_ERROR, "second 'channel.open' seen")
        else:
            raise unimplemented()

    # Alarms

    def _stall(self, reason: str) -> None:
        """An alarm is on: read no more from who publishes, as RabbitMQ does. What was read after the method waits."""
        self.block(reason)
        self.stalled = True
        self._receiver.pause()
        if self._transport is not None:
            self._transport.pauseProducing()

    def block(self, reason: str) -> None:
        """Tell the client that it is blocked, if it knows of such things."""
        if not self.blocked and self.state == "open":
            self.blocked = True
            if self.capabilities.get("connection.blocked") is True:
                self.say(Connection.Blocked(reply_text(reason)))

    def unblock(self) -> None:
        """It is not any more."""
        if self.blocked:
            self.blocked = False
            if self.capabilities.get("connection.blocked") is True:
                self.say(Connection.Unblocked())
        if self.stalled:
            self.stalled = False
            if self._transport is not None:
                self._transport.resumeProducing()
            self._guarded(self._receiver.resume)

    # Ends

    def close_channel(
        self, channel: ServerChannel, reply_code: int, text: str, class_id: int = 0, method_id: int = 0
    ) -> None:
        """Close a channel, and wait for the client's answer."""
        channel.confirms.flush()
        self._receiver.forget()
        channel.closing = True
        channel.send(Channel.Close(reply_code, reply_text(text), class_id, method_id))
        channel.end()

    def close(self, reply_code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        """Close the connection, and wait for the client's answer."""
        if self.state in ("closing", "closed"):
            return
        self.state = "closing"
        self._receiver.forget()
        self._stop_timer()
        for channel in self.channels.values():
            channel.confirms.flush()
        self._end_channels()
        self.say(Connection.Close(reply_code, reply_text(text), class_id, method_id))
        self._timer = self.broker.clock.callLater(CLOSE_TIMEOUT, self._expired)

    def _end_channels(self) -> None:
        """All channels go, and the queues that are the connection's own."""
        # Before anything is requeued, so that it goes to nobody who is about to go as well.
        self._hold(True)
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.end()
        if self.virtual_host is not None:
            for queue in [each for each in self.virtual_host.queues.values() if each.owner is self]:
                self.virtual_host.delete_queue(queue)

    def _lose(self) -> None:
        """Close the transport, after what was written."""
        self._write()
        transport = self._transport
        self._end()
        if transport is not None:
            transport.unregisterProducer()
            transport.loseConnection()

    def abort(self) -> None:
        """Drop the transport at once."""
        transport = self._transport
        self._end()
        if transport is not None:
            transport.unregisterProducer()
            transport.abortConnection()
        self.broker.flush()

    def _end(self) -> None:
        self.state = "closed"
        self._transport = None
        self._receiver.halt()
        self._stop_timer()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self._end_channels()
        self._out.clear()
        self.broker.connections.pop(self, None)

    def _expired(self) -> None:
        self._timer = None
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
