# -*- test-case-name: txpika.test.test_states -*-
"""
What others implement for the engine, as zope interfaces.

Twisted's transports, reactors and Deferreds provide the first four as they are. Checked where things are wired up and
in tests, never for each frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from txpika.events import Arrival, ObservedConnection, Publication, PublishOutcome, Settlement
    from txpika.exceptions import CloseReason


class ITransport(Interface):
    """A stream of bytes to the broker. All calls come from the loop's own thread."""

    def write(data: bytes) -> None:
        """Send all of C{data}, in order, eventually. May call the producer's C{pauseProducing} before it returns."""

    def loseConnection() -> None:
        """Send what was written, then close."""

    def abortConnection() -> None:
        """Close at once; what was written may be lost."""

    def registerProducer(producer: Any, streaming: bool) -> None:
        """Tell C{producer} to pause when too much is buffered, and to resume when the buffer has drained."""

    def pauseProducing() -> None:
        """Stop reading."""

    def resumeProducing() -> None:
        """Read again."""

    def unregisterProducer() -> None:
        """Forget the producer. Under TLS, L{loseConnection} takes effect only after this."""


class IPromptTransport(ITransport):
    """A transport that can send without waiting for the loop."""

    def writeNow(data: bytes) -> None:
        """As C{write}, when nothing will follow soon: pass it to the socket at once, if nothing waits before it."""


class IDelayedCall(Interface):
    """One pending timer."""

    def cancel() -> None:
        """Stop it. Call at most once, before it has fired."""


class IClock(Interface):
    """Monotonic time."""

    def seconds() -> float:
        """Seconds since some fixed moment."""

    def callLater(delay: float, callable: Callable[..., Any], *args: Any) -> Any:
        """Call C{callable(*args)} in C{delay} seconds. Returns an L{IDelayedCall}."""


class Clock(Protocol):
    """L{IClock} as a type: fits without declaring it, as Twisted's own clocks do."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: Any) -> Any: ...


class ICompletion(Interface):
    """Where the result of one call goes: a Deferred, a pair of callbacks, a box. Exactly one method is called, once."""

    def callback(result: Any) -> None:
        """The call succeeded."""

    def errback(exception: BaseException) -> None:
        """The call failed."""


class ICredentials(Interface):
    """Answers the broker's challenge in one or more SASL mechanisms."""

    mechanisms = Attribute("Names of the SASL mechanisms these credentials can answer, best first: a tuple of str.")

    def response(mechanism: str) -> bytes:
        """The initial response, sent in C{connection.start-ok}."""

    def challenge(mechanism: str, challenge: bytes) -> bytes:
        """The answer to one C{connection.secure}. Raises L{ValueError} when the mechanism has no challenges."""


class IInstrument(Interface):
    """
    Is told what happens on connections, as it happens: to count it, to time it, to trace it.

    L{txpika.events.Instrument} does nothing at each event; subclass it, and override the methods you need.

    Durations are seconds of the connection's clock, and never negative. All calls come from the loop's own thread, most
    of them on hot paths: return quickly, and never block. What a method raises is logged once for each method and has
    no other effect. No method may use the connection that it is told about.
    """

    def connected(connection: ObservedConnection, seconds: float) -> None:
        """
        A connection is open. C{connection.reconnects} tells whether it replaces an earlier one.

        @param seconds: How long the handshake took, from when the transport was there.
        """

    def disconnected(connection: ObservedConnection, reason: CloseReason, seconds: float) -> None:
        """
        A connection is gone, and everything on it has ended. Told once for each that had a transport, even if it never
        opened.

        @param reason: Why, with the broker's code and text if it gave any.
        @param seconds: How long it was open; 0.0 when L{connected} was never called for it.
        """

    def blocked(connection: ObservedConnection, reason: str) -> None:
        """
        The broker takes no messages of this connection for now (C{connection.blocked}).

        @param reason: The alarm, in the broker's words.
        """

    def unblocked(connection: ObservedConnection, seconds: float) -> None:
        """
        It takes them again, or the connection is gone.

        @param seconds: How long it was blocked.
        """

    def published(publication: Publication) -> None:
        """
        A program publishes. Nothing is encoded yet: what is assigned to C{publication.properties} will be sent. Assign
        a changed copy; the object itself is the program's. Exactly one L{outcome} follows.
        """

    def outcome(publication: Publication, outcome: PublishOutcome, seconds: float, error: BaseException | None) -> None:
        """
        What became of it.

        @param outcome: C{"acked"}, C{"nacked"}, C{"returned"} by the broker, in confirm mode. C{"written"}: it is on
            its way, and without confirm mode nothing more will be known. C{"unknown"}: it was written, and its outcome
            is not known. C{"not sent"}: no byte of it was written.
        @param seconds: Since L{published}.
        @param error: The error that the program gets; C{None} for C{"acked"} and C{"written"}.
        """

    def delivered(arrival: Arrival) -> None:
        """
        A message arrived for this program: for a consumer, before its turn there, or by C{basic_get}.
        """

    def handling(arrival: Arrival) -> None:
        """
        The function of a consumer is about to be called with it, in a context of its own (C{contextvars}): a variable
        set here has that value in the function and in all that it awaits, and nowhere else. Not told for a consumer
        that is iterated over.
        """

    def handled(arrival: Arrival, seconds: float, error: BaseException | None) -> None:
        """
        The function has ended, with what it returned.

        @param seconds: Since L{handling}.
        @param error: What it failed with; C{None} when it did not.
        """

    def settled(arrival: Arrival, how: Settlement, requeue: bool, seconds: float) -> None:
        """
        A delivery was settled, alone or together with others (C{multiple}); told once for each. In a transaction it is
        told when the program settles it, whatever becomes of the transaction.

        @param how: C{"ack"}, C{"nack"} or C{"reject"}.
        @param requeue: It goes back into its queue; C{False} for an ack.
        @param seconds: Since L{delivered}.
        """


class IReconnectionStrategy(Interface):
    """
    Decides when a connection of the callback API is made again. Each hook is called with that connection, in its
    thread, and must not raise; none of them waits.
    """

    can_reconnect = Attribute("Whether this kind of strategy ever makes a connection again: a bool.")
    is_active = Attribute("Whether this one will, if the connection fails or is lost now: a bool.")

    def on_connect_attempt(conn: Any) -> None:
        """An attempt to connect begins."""

    def on_connect_attempt_failure(conn: Any) -> None:
        """The attempt failed, before the connection was open."""

    def on_transport_connected(conn: Any) -> None:
        """There is a transport; the handshake begins."""

    def on_transport_disconnected(conn: Any) -> None:
        """The transport is gone, for whatever reason. L{on_connection_closed} may or may not follow."""

    def on_connection_open(conn: Any) -> None:
        """The handshake is over."""

    def on_connection_closed(conn: Any) -> None:
        """A connection that was open is gone."""
