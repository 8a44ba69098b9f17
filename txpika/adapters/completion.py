# -*- test-case-name: txpika.test.test_callback_channel -*-
"""
Where the result of one call goes in the callback API: to one of two functions.

Owns nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from txpika.interfaces import ICompletion


def _nobody(result: Any) -> None:
    """Nobody cares."""


@implementer(ICompletion)
class Completion:
    """
    @ivar callback: Takes the result.
    @ivar errback: Takes the exception. By default nobody does: in the callback API, whoever must know of the end of a
        channel listens for that, and it ends all calls at once.
    """

    __slots__ = ("callback", "cancel", "errback")

    def __init__(self, cancel: Callable[[Any], object] = _nobody) -> None:
        """
        @param cancel: Call it with the completion when the result is no longer of interest.
        """
        self.cancel = cancel
        self.callback: Callable[[Any], None] = _nobody
        self.errback: Callable[[BaseException], None] = _nobody
