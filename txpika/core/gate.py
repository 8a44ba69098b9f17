# -*- test-case-name: txpika.test.test_engine -*-
"""
The one place that says whether a message may be written now.

A gate has any number of reasons to be closed and is open when it has none. The connection has one gate (its transport
is full; the broker blocked it), each channel another (the broker stopped its flow; its confirm window is full). Who
waits, and for what, is the channel's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

#: The transport buffers more than it likes and called C{pauseProducing}.
TRANSPORT: Literal["transport"] = "transport"
#: The broker sent C{connection.blocked}: a resource alarm (rabbitmq.com/docs/connection-blocked).
BLOCKED: Literal["blocked"] = "blocked"
#: The broker sent C{channel.flow} with C{active} false.
FLOW: Literal["flow"] = "flow"
#: As many messages as the confirm window allows wait for the broker's confirmation.
WINDOW: Literal["window"] = "window"

Reason = Literal["transport", "blocked", "flow", "window"]

#: Shared by all open gates and never changed: an empty set takes 216 bytes, and each channel has a gate.
_NO_REASON: set[Reason] = set()


class Gate:
    """
    @ivar open: Whether there is no reason to wait. Read for each message, hence a plain attribute.
    @ivar reasons: Why it is closed, empty when it is open.
    """

    __slots__ = ("_changed", "open", "reasons")

    def __init__(self, changed: Callable[[], None]) -> None:
        """
        @param changed: Called each time the gate opens or closes, not for a further reason to be closed.
        """
        self._changed = changed
        self.open = True
        self.reasons = _NO_REASON

    def close(self, reason: Reason) -> None:
        """Hold messages back for this reason. Harmless when they already are."""
        if self.open:
            self.open = False
            self.reasons = {reason}
            self._changed()
        else:
            self.reasons.add(reason)

    def reopen(self, reason: Reason) -> None:
        """This reason is gone. Harmless when it was not there."""
        if self.open:
            return
        self.reasons.discard(reason)
        if not self.reasons:
            self.open = True
            self.reasons = _NO_REASON
            self._changed()
