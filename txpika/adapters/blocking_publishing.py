# -*- test-case-name: txpika.test.test_blocking_publishing -*-
"""
Publishing many messages from a program that waits, and what became of each.

Owns how many are under way, and that each has an outcome, even when the channel ends among them. Knows a channel of the
engine, and how to wait; what is written, and when, is the engine's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any

from txpika.adapters.checking import encoded
from txpika.exceptions import CloseReason, OutboundBufferFull

if TYPE_CHECKING:
    from txpika.adapters.blocking_connection import BlockingConnection
    from txpika.adapters.waiting import Box, Waiter
    from txpika.core.channel import Channel as Core

#: Messages passed on at a time. With a thread, each handover costs a hundred times what a message does.
MAX_BATCH = 100


class Many:
    """
    One call of C{publish_many}.

    @ivar outcomes: What became of each so far.
    """

    def __init__(self, connection: BlockingConnection, waiter: Waiter, core: Core) -> None:
        self._connection = connection
        self._waiter = waiter
        self._core = core
        self._window = connection.parameters.confirm_window
        self._batch: deque[Any] = deque()
        self._under_way: deque[tuple[int, Box]] = deque()
        self._ended = False
        self.outcomes: list[BaseException | None] = []

    def publish(self, messages: Iterable[Any]) -> None:
        """
        Publish all, and wait for their outcomes.

        @param messages: If it has no length, it may be endless, so it is asked for no more when the channel has ended.
        @raise Exception: what C{messages} raises, once what it gave before is settled.
        """
        failure: Exception | None = None
        each = iter(messages)
        endless = not isinstance(messages, Sized)
        while True:
            if failure is None and not (self._ended and endless):
                try:
                    self._batch.extend(islice(each, min(self._window, MAX_BATCH) - len(self._batch)))
                except Exception as error:
                    failure = error
            if not self._batch:
                break
            self._pass_on()
            if self._batch or len(self._under_way) >= self._window:
                self._settle(len(self._under_way) // 2)
        self._settle(0)
        if failure is not None:
            raise failure

    def _pass_on(self) -> None:
        try:
            self._waiter.send(self._write)
        except CloseReason as reason:  # of the channel; or the thread that would write has ended
            self._ended = True
            self.outcomes += [reason.with_outcome("not sent") for _ in self._batch]
            self._batch.clear()

    def _write(self) -> None:
        """In the loop's thread: publish the batch, as far as there is room."""
        while self._batch:
            box: Box | None = None
            outcome: Exception | None = None
            try:
                box = self._publish(self._batch[0])
            except OutboundBufferFull as error:
                if self._under_way:
                    return  # when some of those have left, there will be room
                outcome = error
            except (TypeError, ValueError) as error:
                outcome = error
            self._batch.popleft()
            self.outcomes.append(outcome and outcome.with_traceback(None))
            if box is not None:
                self._under_way.append((len(self.outcomes) - 1, box))

    def _publish(self, message: Any) -> Box | None:
        if not isinstance(message, tuple | list):
            raise TypeError(f"a message must be exchange, routing key and body, not {type(message).__name__}")
        if not 3 <= len(message) <= 5:
            text = "a message must be exchange, routing key, body and, if need be, properties and mandatory"
            raise ValueError(f"{text}, not {len(message)} values")
        exchange, routing_key, body, *more = message
        if body.__class__ is not bytes:
            body = encoded(body)
        box: Box | None = self._core.publish(exchange, routing_key, body, *more)
        return box

    def _settle(self, left: int) -> None:
        """Wait until no more than C{left} are under way."""
        while len(self._under_way) > left:
            number, box = self._under_way.popleft()
            self._connection.wait_for(box)
            self.outcomes[number] = box.error
