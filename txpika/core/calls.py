# -*- test-case-name: txpika.test.test_engine -*-
"""
What waits in the queue of a channel: calls, and messages held back.

Owns nothing but their data; L{txpika.core.channel} decides when each is written. Cancelling only marks: what was not
yet written then never is, and the reply to what was is swallowed when it comes, so that the channel stays in step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Call:
    """
    One method that was or will be written, and who waits for its reply.

    @ivar data: The frames, ready to write.
    @ivar replies: C{INDEX} of each method that answers it; empty when nothing does.
    @ivar completion: Who waits, an L{ICompletion}; C{None} when nobody does, or nobody does any more.
    @ivar finish: Turns the reply into the result; told whether somebody still waits.
    @ivar cancelled: Nobody waits any more.
    """

    __slots__ = ("cancelled", "completion", "data", "finish", "replies")

    def __init__(
        self, data: bytes, replies: tuple[int, ...] = (), finish: Callable[[Any, bool], Any] | None = None
    ) -> None:
        self.data = data
        self.replies = replies
        self.finish = finish
        self.completion: Any = None
        self.cancelled = False

    def cancel(self, _completion: Any = None) -> None:
        """Nobody waits any more. Fits as the canceller of a Deferred."""
        self.cancelled = True
        self.completion = None


class HeldPublish:
    """
    One message that waits for its turn or for the gate.

    @ivar data: Its frames, ready to write.
    @ivar key: What a return of it would look like; C{None} when it is not mandatory.
    @ivar completion: Who waits, an L{ICompletion}.
    @ivar cancelled: Nobody waits any more: do not write it.
    """

    __slots__ = ("cancelled", "completion", "data", "key")

    def __init__(self, data: bytes, key: tuple[str, str, bytes] | None) -> None:
        self.data = data
        self.key = key
        self.completion: Any = None
        self.cancelled = False

    def cancel(self, _completion: Any = None) -> None:
        """Nobody waits any more. Fits as the canceller of a Deferred."""
        self.cancelled = True
        self.completion = None

    def callback(self, result: Any) -> None:
        """The outcome of the message, when it was held and then written: pass it on unless nobody waits any more."""
        if self.completion is not None:
            self.completion.callback(result)

    def errback(self, exception: BaseException) -> None:
        """As L{callback}, for a failure."""
        if self.completion is not None:
            self.completion.errback(exception)
