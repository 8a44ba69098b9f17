# -*- test-case-name: txpika.test.test_lanes -*-
"""
A way to an exchange that is there again whenever it can be.

Owns one channel in confirm mode, and the opening of another when the broker has closed it. Those who need it meanwhile
wait, and go on in the order in which they came. Knows nothing of messages.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txpika.declaring import Declaration, declare
from txpika.service import AMQPService
from txpika.surviving import SurvivingChannel


class Lane:
    """
    @ivar error: Why it could not be opened the last time; C{None} when it could.
    @ivar opened: How often it was.
    """

    def __init__(self, service: AMQPService, exchange: str, declarations: tuple[Declaration, ...] = ()) -> None:
        """
        @param service: Where channels come from.
        @param exchange: What must be there, C{""} for the default exchange.
        @param declarations: What is declared before that.
        """
        self.error: Exception | None = None
        self.opened = 0
        self._service = service
        self._exchange = exchange
        self._declarations = declarations
        self._channel: SurvivingChannel | None = None
        self._opening = False
        self._waiting: list[Deferred[SurvivingChannel]] = []

    async def ready(self) -> SurvivingChannel:
        """
        @return: Its channel, on a connection.
        @raise AMQPError: when the service is stopped, or the broker refuses.
        """
        await self._service.when_open()
        if self._channel is not None and self._channel.is_open:
            return self._channel
        ready: Deferred[SurvivingChannel] = Deferred(self._waiting.remove)
        self._waiting.append(ready)
        if not self._opening:
            self._opening = True
            Deferred.fromCoroutine(self._open()).addBoth(self._ended)
        return await ready

    async def _open(self) -> SurvivingChannel:
        channel = await self._service.channel()
        try:
            await declare(channel, self._declarations)
            if self._exchange:
                # Else the first publish would tell, and with it all that were written after it would fail.
                await channel.exchange_declare(self._exchange, passive=True)
            await channel.confirm_select()
        except BaseException:
            # It would survive, one for each try.
            channel.close().addErrback(lambda failure: None)
            raise
        return channel

    def _ended(self, result: Any) -> None:
        self._opening = False
        if isinstance(result, Failure):
            self.error = result.value if isinstance(result.value, Exception) else None
        else:
            self._channel, self.error = result, None
            self.opened += 1
        waiting, self._waiting = self._waiting, []
        for ready in waiting:  # one that goes on may cancel others, which takes them out of here
            ready.callback(result)
