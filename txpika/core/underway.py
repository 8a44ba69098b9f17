# -*- test-case-name: txpika.test.test_underway -*-
"""
Which channels of one connection may have something under way.

Owns the answer to whether anybody on the connection waits for the broker, at no cost for channels which do nothing,
however many there are. Knows channels as things that are idle or not; nothing of what they wait for.
"""

from __future__ import annotations

from typing import Protocol


class MayWait(Protocol):
    """What is known here of a channel's L{txpika.core.outbox.Outbox}."""

    @property
    def idle(self) -> bool:
        """Nothing is under way there."""

    def update(self) -> None:
        """It was found idle: from now on it must call L{Underway.begins} before it waits for anything."""


class Underway:
    """
    Whoever begins to wait is put in first. It is taken out when somebody asks and it waits no more, so each one put in
    is looked at in vain only once.

    @ivar members: Who may wait. Read it directly, to save a call; L{begins} and L{ends} change it.
    """

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: dict[MayWait, None] = {}

    def begins(self, member: MayWait) -> None:
        """Something may be under way there from now on. Harmless when it may already."""
        self.members[member] = None

    def ends(self, member: MayWait) -> None:
        """It is gone. Harmless when it was not there."""
        self.members.pop(member, None)

    def any(self) -> bool:
        """@return: Whether one of them waits for something."""
        while self.members:
            member, _ = self.members.popitem()
            if not member.idle:
                self.members[member] = None
                return True
            member.update()
        return False
