# -*- test-case-name: txpika.test.test_service,txpika.test.test_service_troubles -*-
"""
How long to ask again for what the broker keeps for a connection of which it has not noticed that it is gone.

Owns the numbers. Knows no broker: it is asked whether to try again, and waits in between.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

#: The first and the longest wait before the next try, in seconds.
FIRST_WAIT, LONGEST_WAIT = 0.25, 5.0
#: For so many of its heartbeat time-outs the broker may not notice that a connection is gone
#: (rabbitmq.com/docs/heartbeats); and the least to wait, in seconds, for there may be no heartbeats.
HEARTBEATS, LEAST_PATIENCE = 3, 10.0


class Patience:
    """
    With one such thing.
    """

    def __init__(self, clock: IReactorTime, heartbeat: int) -> None:
        """
        @param heartbeat: The heartbeat time-out of the connection, in seconds; 0 for none.
        """
        self._clock = clock
        self._until = clock.seconds() + max(LEAST_PATIENCE, HEARTBEATS * heartbeat)
        self._wait = FIRST_WAIT

    async def lasts(self) -> bool:
        """
        Wait before the next try.

        @return: Whether there is to be one.
        """
        if self._clock.seconds() >= self._until:
            return False
        await deferLater(self._clock, self._wait)
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        return True
