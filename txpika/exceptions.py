# -*- test-case-name: txpika.test.test_engine -*-
"""
Every exception txpika raises or fails a Deferred with, besides L{ValueError} and L{TypeError} for wrong arguments.

The tree has one branch per cause: the connection ended, the channel ended, one publish did not reach a queue, the
peer's bytes make no sense. An exception has all that is known in attributes; its text is one line without a secret.
"""

from __future__ import annotations

from typing import Any, Literal

#: Who ended a connection or a channel: this program, the broker, or the network between them.
Initiator = Literal["local", "peer", "network"]

#: What became of a message or a call. C{"not sent"}: no byte of it was written. C{"unknown"}: it was written, but what
#: the broker did with it is not known. C{"nacked"}, C{"returned"}: the broker refused it, or no queue wanted it.
#: C{"closed"}: not about a message.
Outcome = Literal["not sent", "unknown", "nacked", "returned", "closed"]


class AMQPError(Exception):
    """
    The root of everything below.

    @ivar outcome: What became of the message or call that failed.
    """

    outcome: Outcome = "closed"


class CloseReason(AMQPError):
    """
    A connection or a channel ended, or a call could not outlive one that did.

    @ivar reply_code: AMQP reply code, 0 where none was exchanged (AMQP 0-9-1 section 1.2).
    @ivar reply_text: The text with the code, with undecodable bytes replaced.
    @ivar class_id: Class of the method the closing peer blames, 0 for none.
    @ivar method_id: The method within that class, 0 for none.
    @ivar initiator: Who ended it.
    """

    def __init__(
        self,
        reply_text: str,
        reply_code: int = 0,
        class_id: int = 0,
        method_id: int = 0,
        initiator: Initiator = "local",
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(reply_text)
        self.reply_text = reply_text
        self.reply_code = reply_code
        self.class_id = class_id
        self.method_id = method_id
        self.initiator: Initiator = initiator
        if outcome is not None:
            self.outcome = outcome

    def blames(self, method: Any) -> bool:
        """
        @param method: One that was under way.
        @return: Whether the peer closed because of a method of that kind.
        """
        return self.initiator == "peer" and (self.class_id, self.method_id) == (method.CLASS_ID, method.METHOD_ID)

    def with_outcome(self, outcome: Outcome) -> CloseReason:
        """
        @return: A fresh exception of the same type and reason, for one more waiting call.
        """
        copy = type(self).__new__(type(self))
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        copy.outcome = outcome
        copy.__cause__ = self.__cause__
        return copy

    def __str__(self) -> str:
        text = self.reply_text.encode("unicode_escape", "backslashreplace").decode("ascii")
        if not self.reply_code:
            return text
        blamed = f" (class {self.class_id}, method {self.method_id})" if self.class_id else ""
        return f"{self.reply_code} {text}{blamed}, closed by {self.initiator}"


class AMQPConnectionError(CloseReason):
    """The connection could not be made, or is gone."""


class ConnectFailed(AMQPConnectionError):
    """
    No transport could be made: unknown name, nobody listens, nobody answers. C{__cause__} is the loop's error.

    @ivar errors: Where several hosts were tried: the error of each, in the order they were tried.
    """

    errors: tuple[CloseReason, ...] = ()


class ConnectionClosed(AMQPConnectionError):
    """The connection was open and one side closed it in the orderly way, with a code and a text."""


class ConnectionLost(AMQPConnectionError):
    """The transport went away without a C{connection.close}: the network, or a peer that died."""

    def __init__(
        self,
        reply_text: str,
        reply_code: int = 0,
        class_id: int = 0,
        method_id: int = 0,
        initiator: Initiator = "network",
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(reply_text, reply_code, class_id, method_id, initiator, outcome)


class HeartbeatTimeout(ConnectionLost):
    """The peer sent nothing for two heartbeat time-outs and is considered dead."""


class HandshakeError(AMQPConnectionError):
    """The connection ended, or was refused, before C{connection.open-ok}."""


class HandshakeTimeout(HandshakeError):
    """The peer did not finish the handshake within its deadline."""


class IncompatibleProtocolError(HandshakeError):
    """The peer speaks something other than AMQP 0-9-1: HTTP, TLS, SSH, another AMQP."""


class ProtocolVersionMismatch(IncompatibleProtocolError):
    """
    The peer answered with a protocol header of its own.

    @ivar offered: The four octets after C{AMQP}, e.g. C{(3, 1, 0, 0)}.
    """

    offered: tuple[int, ...] = ()


class TLSError(HandshakeError):
    """
    TLS could not be set up: the peer speaks none, or none that is safe, hung up during its handshake, or refused this
    program's certificate; or this program lacks what TLS needs (then C{initiator} is C{"local"}). No AMQP was sent.
    """


class TLSVerifyError(TLSError):
    """The peer's certificate was not accepted: it is for another host, out of date, or from no trusted authority."""


class AuthenticationError(HandshakeError):
    """
    The broker refused the credentials (C{initiator} is C{"peer"}). Or it offers no mechanism they can answer, or the
    credentials, or the function for them, failed (C{"local"}).
    """


class ProtocolError(AMQPConnectionError):
    """The peer broke the protocol; C{reply_code} says how (501, 502, 503, 504, 505), and the connection was closed."""


class FramingError(ProtocolError):
    """The peer's bytes cannot be cut into frames. Nothing more can be sent to it (AMQP 0-9-1 section 4.2.3)."""


class NotConnected(AMQPConnectionError):
    """The call needs an open connection and there is none (any more). Nothing was written."""

    outcome: Outcome = "not sent"


class NoFreeChannels(AMQPError):
    """All channel numbers the broker allows are in use. Nothing was written."""

    outcome: Outcome = "not sent"


class InvalidChannelNumber(AMQPError, ValueError):
    """The requested channel number is in use, or above what the broker allows. Nothing was written."""

    outcome: Outcome = "not sent"


class ChannelError(CloseReason):
    """The channel, not the connection, is the cause."""


class ChannelClosed(ChannelError):
    """The channel is closed: by the broker, whose code, text and blamed method are here, or by this program."""


class ConsumerCancelled(ChannelError):
    """The consumer has ended. C{initiator} C{"peer"}: the broker cancelled it, e.g. because its queue was deleted."""


class PublishError(AMQPError):
    """A message was published and did not safely reach a queue, or whether it did is unknown."""


class NackError(PublishError):
    """The broker refused responsibility for the message (C{basic.nack})."""

    outcome: Outcome = "nacked"


class ReturnedError(PublishError):
    """
    No queue took the mandatory message.

    @ivar message: The L{txpika.message.ReturnedMessage}, with the broker's code and text.
    """

    outcome: Outcome = "returned"

    def __init__(self, message: Any) -> None:
        super().__init__(str(message))
        self.message = message


class OutcomeUnknown(PublishError, CloseReason):
    """
    The message was written, and channel or connection ended before the broker answered; C{__cause__} is why. Always one
    of the two kinds below.
    """

    outcome: Outcome = "unknown"


class ConnectionOutcomeUnknown(OutcomeUnknown, AMQPConnectionError):
    """L{OutcomeUnknown}, as the connection ended: caught with whatever else says so."""


class ChannelOutcomeUnknown(OutcomeUnknown, ChannelError):
    """L{OutcomeUnknown}, as the channel ended: caught with whatever else says so."""


class OutboundBufferFull(PublishError):
    """Publishing is held up and the bytes waiting have reached their limit. Nothing of this message was written."""

    outcome: Outcome = "not sent"


class PublishBlocked(PublishError):
    """
    The broker has blocked the connection (C{connection.blocked}) for longer than C{blocked_timeout}. C{outcome} tells
    whether the message had been written.
    """

    def __init__(self, text: str, outcome: Outcome = "not sent") -> None:
        super().__init__(text)
        self.outcome = outcome


class CallTimeout(AMQPError, TimeoutError):
    """
    The broker did not answer within the C{timeout} of the call. A later answer is ignored. C{outcome} tells whether the
    call was written.
    """

    def __init__(self, text: str, outcome: Outcome = "unknown") -> None:
        super().__init__(text)
        self.outcome = outcome


class WrongThread(AMQPError, RuntimeError):
    """
    A connection was used from a thread other than its own; nothing happened. With Twisted, use
    C{reactor.callFromThread} or C{blockingCallFromThread}.
    """

    outcome: Outcome = "not sent"


class RecursiveOperationDetected(AMQPError, RuntimeError):
    """A call came from inside one still running: from a signal handler, or from a transport that was giving bytes."""


class StaleDelivery(AMQPError):
    """The delivery was settled before, or its channel is gone: there is nothing to acknowledge. Nothing was written."""

    outcome: Outcome = "not sent"


class MessageTooLarge(AMQPError):
    """
    A message was over C{max_body_size}. Its body was dropped as it arrived, and it was rejected without requeueing.

    @ivar delivery: The L{txpika.message.Delivery}, with an empty body; settled.
    @ivar size: Size of the body, in bytes.
    """

    def __init__(self, delivery: Any, size: int) -> None:
        super().__init__(f"a message of {size} bytes from exchange {delivery.exchange!r} is over max_body_size")
        self.delivery = delivery
        self.size = size


class DecodeError(AMQPError):
    """
    Bytes from the peer that make no sense.

    In a method they close the connection with L{reply_code}. In the properties of a message they concern that message
    alone: reading a property raises this, and the connection stays open.

    @ivar reply_code: 501 where lengths do not add up, 502 for an illegal value.
    """

    def __init__(self, text: str, reply_code: int = 501) -> None:
        super().__init__(text)
        self.reply_code = reply_code


# Wrong arguments with a class of their own. They are raised at the call, before a byte is written.


class DuplicateConsumerTag(AMQPError, ValueError):
    """The C{consumer_tag} is already that of another consumer of the channel."""

    outcome: Outcome = "not sent"


class UnknownConsumerTag(AMQPError, ValueError):
    """The channel has no consumer of that C{consumer_tag}."""

    outcome: Outcome = "not sent"


class InvalidTableError(ValueError, TypeError):
    """
    L{txpika.table.encode_table} was given a table that cannot be written: a key or a value has a type or size not
    allowed in one. Elsewhere such a table is a L{ValueError} or a L{TypeError}; this is both.
    """


# The names of pika's exceptions of 2011, each an alias of what is raised here in that case.

#: The broker refused the credentials.
LoginError = AuthenticationError
#: Anything about a channel.
AMQPChannelError = ChannelError
#: The peer broke the protocol, in whatever way.
ProtocolSyntaxError = ProtocolError
#: A frame came out of turn.
UnexpectedFrameError = ProtocolError
#: More bytes of a body came than its header had announced.
BodyTooLongError = ProtocolError
#: Bytes that cannot be cut into frames.
InvalidFrameError = FramingError
#: The peer answered with something that is no AMQP 0-9-1; L{ProtocolVersionMismatch} is a kind of it.
InvalidProtocolHeader = IncompatibleProtocolError
#: The peer's bytes are no table.
TableDecodingError = DecodeError


class ChannelBlocked(ChannelError):
    """Never raised: calls made while a channel is blocked wait for their turn. For C{except} clauses of 2011."""


class MethodNotImplemented(AMQPError):
    """Never raised: an unknown method is a L{ProtocolError} with code 503. For C{except} clauses of 2011."""


class ChannelTransportError(AMQPError):
    """Never raised: replies are told apart by their order. For C{except} clauses of 2011."""


class CallbackReplyAlreadyRegistered(ChannelTransportError):
    """Never raised: the same callback for the same reply is called once. For C{except} clauses of 2011."""
