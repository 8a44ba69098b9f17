# -*- test-case-name: txpika.test.test_calls -*-
"""
What waits in the queue of a channel: calls, and messages held back.

Owns who waits for each, and for how long; L{txpika.core.outbox} decides when each is written. Giving up, or running out
of time, only marks an item: an optional one not yet written never will be, and the reply to a written one is swallowed
when it comes, so that the channel stays in step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from txpika.exceptions import CallTimeout, CloseReason, PublishBlocked
from txpika.interfaces import Clock

if TYPE_CHECKING:
    from txpika.core.confirms import Key
    from txpika.core.outbox import Outbox


class Waiting:
    """
    @ivar completion: Who waits, an L{ICompletion}; C{None} when nobody does, or no longer does.
    @ivar cancelled: Nobody waits any more.
    @ivar written: It is on its way to the broker.
    """

    __slots__ = ("_timer", "cancelled", "completion", "written")

    def __init__(self) -> None:
        self.completion: Any = None
        self.cancelled = False
        self.written = False
        self._timer: Any = None

    def cancel(self, _completion: Any = None) -> None:
        """Nobody waits any more. Fits as the canceller of a Deferred."""
        self._let_go()
        self.cancelled = True
        if not self.written:
            self.withdrawn()

    def withdrawn(self) -> None:
        """It was given up before it was written."""

    def limit(self, clock: Clock, timeout: float, what: str) -> None:
        """
        Wait no longer than that.

        @param timeout: In seconds.
        @param what: Its name in the error, L{CallTimeout}.
        """
        self._timer = clock.callLater(timeout, self._expire, timeout, what)

    def _expire(self, timeout: float, what: str) -> None:
        self._timer = None
        self.give_up(
            CallTimeout(f"{what}: no answer within {timeout:g} seconds", "unknown" if self.written else "not sent")
        )

    def give_up(self, error: BaseException) -> None:
        """Stop waiting, and tell whoever waited why."""
        completion = self._let_go()
        self.cancelled = True
        if not self.written:
            self.withdrawn()
        if completion is not None:
            completion.errback(error)

    def callback(self, result: Any) -> None:
        """The result: pass it on unless nobody waits any more."""
        completion, self.completion = self.completion, None  # L{_let_go} in place, for speed
        if self._timer is not None:
            self._stop_timer()
        if completion is not None:
            completion.callback(result)

    def errback(self, exception: BaseException) -> None:
        """As L{callback}, for a failure."""
        completion = self._let_go()
        if completion is not None:
            completion.errback(exception)

    def _let_go(self) -> Any:
        completion, self.completion = self.completion, None
        if self._timer is not None:
            self._stop_timer()
        return completion

    def _stop_timer(self) -> None:
        self._timer.cancel()
        self._timer = None


class Call(Waiting):
    """
    One method that was or will be written, and who waits for its reply.

    @ivar data: The frames, ready to write.
    @ivar replies: C{INDEX} of each method that answers it; empty when none does.
    @ivar finish: Turns the reply into the result; told whether the caller gave up. The reply is C{None} when there is
        none: the method was written and nothing answers it, or it was given up and never will be written.
    @ivar optional: Do not write it if it is given up before its turn.
    """

    __slots__ = ("data", "finish", "optional", "replies")

    def __init__(
        self,
        data: bytes,
        replies: tuple[int, ...] = (),
        finish: Callable[[Any, bool], Any] | None = None,
        optional: bool = True,
    ) -> None:
        # What L{Waiting.__init__} does, without calling it: saves 0.15 us per call (3.11).
        self.completion = None
        self.cancelled = self.written = False
        self._timer = None
        self.data = data
        self.replies = replies
        self.finish = finish
        self.optional = optional


class Unanswered:
    """Calls that were written and are answered in order, with nothing else in between: those of channel 0."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[Waiting] = deque()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def expect(self, completion: Callable[..., Any], clock: Clock, timeout: float | None, what: str) -> Any:
        """
        A call is being written.

        @param completion: Called with a canceller; makes what the result goes to.
        @param timeout: How long to wait, in seconds; C{None} for as long as it takes.
        @param what: Its name in an error.
        @return: What C{completion} made.
        """
        call = Waiting()
        call.completion = result = completion(call.cancel)
        if timeout is not None:
            call.limit(clock, timeout, what)
        call.written = True
        self._calls.append(call)
        return result

    def answered(self, method: Any) -> bool:
        """@return: Whether anything was waiting for an answer."""
        if not self._calls:
            return False
        self._calls.popleft().callback(method)
        return True

    def lost(self, reason: CloseReason) -> None:
        """There will be no answers."""
        while self._calls:
            self._calls.popleft().errback(reason.with_outcome("unknown"))


class HeldPublish(Waiting):
    """
    One message that waits for its turn or for the gate, and then, in confirm mode, for its outcome.

    @ivar pieces: Its frames, joined only when they are written: while it waits, its body is the program's own, not a
        copy. Empty when there is nothing left to write.
    @ivar frames: How many frames these are.
    @ivar size: Bytes of L{pieces}.
    @ivar key: What a return of it would look like; C{None} when it is not mandatory.
    @ivar since: When it began to wait, on the connection's clock; kept only while the connection is blocked.
    """

    __slots__ = ("_outbox", "frames", "key", "pieces", "since", "size")

    def __init__(self, outbox: Outbox, pieces: Sequence[Any], frames: int, key: Key | None) -> None:
        # What L{Waiting.__init__} does, without calling it, and no loop over three: saves 0.2 us per message (3.11).
        self.completion = None
        self.cancelled = self.written = False
        self._timer = None
        self._outbox = outbox
        self.pieces = pieces
        self.frames = frames
        self.size = len(pieces[0]) + len(pieces[1]) + 1 if frames == 3 else sum(map(len, pieces))
        self.key = key
        self.since = 0.0

    def discard(self) -> int:
        """@return: Its size in bytes; from now on there is nothing to write."""
        size, self.size, self.pieces = self.size, 0, ()
        return size

    def withdrawn(self) -> None:
        """Given up before it was written: let its bytes go."""
        self._outbox.withdraw(self)

    def block(self, timeout: float) -> None:
        """The broker has blocked the connection for longer than this may wait."""
        text = f"the broker has blocked the connection for {timeout:g} seconds"
        self.give_up(PublishBlocked(text, "unknown" if self.written else "not sent"))
