# -*- test-case-name: txpika.test.test_states -*-
"""
What others implement for the engine, as zope interfaces.

Twisted's transports, reactors and Deferreds provide the first four as they stand. Checked where things are wired up and
in tests, never for each frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zope.interface import Attribute, Interface


class ITransport(Interface):
    """A stream of bytes to the broker. All calls come from the loop's own thread."""

    def write(data: bytes) -> None:
        """Send C{data}, all of it, in order, some time. May call the producer's C{pauseProducing} before it returns."""

    def loseConnection() -> None:
        """Send what was written, then close."""

    def abortConnection() -> None:
        """Close at once; what was written may be lost."""

    def registerProducer(producer: Any, streaming: bool) -> None:
        """Tell C{producer} to pause when too much is buffered, and to resume when it drained."""

    def pauseProducing() -> None:
        """Stop reading."""

    def resumeProducing() -> None:
        """Read again."""

    def unregisterProducer() -> None:
        """Forget the producer. Under TLS, L{loseConnection} takes effect only after this."""


class IDelayedCall(Interface):
    """One pending timer."""

    def cancel() -> None:
        """Make it not happen. Call at most once, before it has happened."""


class IClock(Interface):
    """Monotonic time."""

    def seconds() -> float:
        """Seconds since some fixed moment."""

    def callLater(delay: float, callable: Callable[..., Any], *args: Any) -> Any:
        """Call C{callable(*args)} in C{delay} seconds. Returns an L{IDelayedCall}."""


class Clock(Protocol):
    """L{IClock} as a type: what fits without saying so, e.g. Twisted's own clocks."""

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
        """The answer to one C{connection.secure}. Raises L{ValueError} when the mechanism knows no challenge."""
