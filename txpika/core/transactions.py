# -*- test-case-name: txpika.test.test_transactions -*-
"""
What a channel in transaction mode remembers of its deliveries.

Owns nothing else. RabbitMQ makes deliveries that were acknowledged within a transaction unacknowledged again when it
is rolled back (AMQP 0-9-1, tx.rollback), so they must not be forgotten before it is committed.
"""

from __future__ import annotations

from typing import Any


class Uncommitted(dict[int, None]):
    """
    Unacknowledged delivery tags; those taken out are kept until L{take}.

    A dictionary that takes notes, so that channels without transactions, which have a plain one, pay nothing.
    """

    def __init__(self, unacked: dict[int, None]) -> None:
        super().__init__(unacked)
        self._settled: list[int] = []

    def __delitem__(self, tag: int) -> None:
        super().__delitem__(tag)
        self._settled.append(tag)

    def pop(self, tag: int, default: Any = None) -> Any:
        """As in a dictionary, but C{default} is returned even for a tag that was there."""
        if tag in self:
            del self[tag]
        return default

    def take(self) -> list[int]:
        """@return: The tags that were taken out since the last call."""
        settled, self._settled = self._settled, []
        return settled
