# -*- test-case-name: txpika.test.test_ledger -*-
"""
What a program was told of each of its messages, against what became of them.

Owns the books, and the rules that the two must agree by. A message is known by its C{message_id}, and goes to one
queue. Knows nothing of faults, brokers and reconnecting.
"""

from __future__ import annotations

import copy
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import count
from typing import Any

from txpika.exceptions import AMQPError, DecodeError
from txpika.message import Delivery
from txpika.spec import BasicProperties

#: Messages a report names of each kind.
MAX_NAMED = 10


class LedgerError(AssertionError):
    """The books do not balance; the text is the report."""


@dataclass(frozen=True)
class Report:
    """
    Names of messages, sorted.

    @ivar lost: Confirmed, and neither delivered nor in the queue.
    @ivar duplicated: There, as not redelivered, more often than they were published.
    @ivar unexpected: There, and never published.
    @ivar returned: There, and yet returned to the program.
    @ivar not_sent: There, and the program was told that no byte of it was written.
    @ivar recovered: There, of those whose outcome the program was not told. That is as it should be.
    @ivar pending: Without an outcome.
    @ivar totals: How many messages there were of each kind.
    """

    lost: list[str]
    duplicated: list[str]
    unexpected: list[str]
    returned: list[str]
    not_sent: list[str]
    recovered: list[str]
    pending: list[str]
    totals: Mapping[str, int]

    @property
    def balanced(self) -> bool:
        """Whether there is nothing wrong."""
        return not (self.lost or self.duplicated or self.unexpected or self.returned or self.not_sent)

    def __str__(self) -> str:
        lines = [", ".join(f"{number} {name}" for name, number in self.totals.items())]
        for field in fields(self)[:-1]:
            names = getattr(self, field.name)
            if names:
                more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
                lines.append(f"{field.name}: {len(names)}: {', '.join(names[:MAX_NAMED])}{more}")
        return "\n".join(lines)


class Ledger:
    """
    The books of one queue.

    @ivar outcomes: What each publish of each message ended with: C{"confirmed"}, or the C{outcome} of its exception, or
        C{""} while it has not.
    @ivar delivered: Of each message, whether each of its deliveries was a redelivered one, in their order.
    @ivar acks: How often each message was acknowledged.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, list[str]] = {}
        self.delivered: dict[str, list[bool]] = {}
        self.acks: Counter[str] = Counter()
        self._prefix = uuid.uuid4().hex[:8]
        self._numbers = count(1)

    # What was published. A message published again is what its last publish was.

    @property
    def attempted(self) -> set[str]:
        """All that were published, or tried to be."""
        return set(self.outcomes)

    @property
    def confirmed(self) -> set[str]:
        """The broker has taken responsibility."""
        return self._last("confirmed")

    @property
    def nacked(self) -> set[str]:
        """The broker refused."""
        return self._last("nacked")

    @property
    def returned(self) -> set[str]:
        """No queue took them."""
        return self._last("returned")

    @property
    def unknown(self) -> set[str]:
        """Written, and nothing was heard of them."""
        return self._last("unknown")

    @property
    def not_sent(self) -> set[str]:
        """Never written."""
        return self._last("not sent")

    @property
    def pending(self) -> set[str]:
        """Without an outcome yet."""
        return self._last("")

    def _last(self, outcome: str) -> set[str]:
        return {name for name, outcomes in self.outcomes.items() if outcomes[-1] == outcome}

    def attempt(self, again: str | None = None) -> tuple[str, Callable[[str], None]]:
        """
        Book one publish. L{publish} is the easier way.

        @param again: Name of a message that is published once more; by default it is a new one.
        @return: The message's name, and what is to be called with the outcome, once.
        @raise ValueError: when C{again} is confirmed, or has no outcome yet: it would be there twice by the program's
            own fault.
        """
        if again is None:
            name = f"{self._prefix}-{next(self._numbers)}"
        elif self.outcomes[again][-1] in ("", "confirmed"):
            raise ValueError(f"{again} is {self.outcomes[again][-1] or 'pending'}, and is not to be published again")
        else:
            name = again
        outcomes = self.outcomes.setdefault(name, [])
        index = len(outcomes)
        outcomes.append("")

        def ended(outcome: str) -> None:
            assert not outcomes[index], f"{name} has ended as {outcomes[index]}, and now as {outcome}"
            outcomes[index] = outcome

        return name, ended

    async def publish(
        self,
        channel: Any,
        exchange: str,
        routing_key: str,
        body: bytes = b"",
        properties: BasicProperties | None = None,
        mandatory: bool = False,
        *,
        timeout: float | None = None,
        again: str | None = None,
    ) -> str:
        """
        Publish a message, and book what became of it.

        @param channel: A L{txpika.channel.Channel} in confirm mode, or what looks like one.
        @param properties: They are copied, and the copy gets a C{message_id}.
        @param again: As in L{attempt}.
        @return: The message's name, whatever became of it.
        @raise ValueError: when the channel is not in confirm mode, and as L{attempt}.
        @raise Exception: what the publish failed with, when that is no exception about a message. If it was while it
            waited, it is booked as unknown.
        """
        if channel.mode != "confirm":
            raise ValueError("the channel is not in confirm mode: nobody would tell what became of the message")
        name, ended = self.attempt(again)
        properties = BasicProperties() if properties is None else copy.copy(properties)
        properties.message_id = name
        outcome = "not sent"
        try:
            publishing = channel.basic_publish(exchange, routing_key, body, properties, mandatory, timeout=timeout)
            outcome = "unknown"
            await publishing
            outcome = "confirmed"
        except AMQPError as error:
            if error.outcome == "closed":
                raise
            outcome = error.outcome
        finally:
            ended(outcome)
        return name

    # What was delivered

    def received(self, delivery: Delivery) -> str:
        """
        Book a delivery.

        @return: The message's name.
        """
        name = name_of(delivery)
        self.delivered.setdefault(name, []).append(delivery.redelivered)
        return name

    def acked(self, delivery: Delivery) -> None:
        """Book that a delivery was acknowledged."""
        self.acks[name_of(delivery)] += 1

    # The balance

    def report(self, remaining: Iterable[str | Delivery] = ()) -> Report:
        """
        @param remaining: What is in the queue now: what was got from it to see, or names of messages.
        """
        flags = {name: list(each) for name, each in self.delivered.items()}
        inside: Counter[str] = Counter()
        for message in remaining:
            name = message if isinstance(message, str) else name_of(message)
            inside[name] += 1
            if not isinstance(message, str):
                flags.setdefault(name, []).append(message.redelivered)
        there = flags.keys() | inside.keys()
        copies = {name: _copies(self.outcomes[name]) for name in there & self.outcomes.keys()}
        impossible = {name for name, number in copies.items() if not number}
        totals = {
            "attempted": len(self.outcomes),
            "confirmed": len(self.confirmed),
            "nacked": len(self.nacked),
            "returned": len(self.returned),
            "unknown": len(self.unknown),
            "not sent": len(self.not_sent),
            "delivered": len(self.delivered),
            "acked": len(self.acks),
            "remaining": len(inside),
        }
        return Report(
            lost=sorted(self.confirmed - there),
            duplicated=sorted(
                name
                for name, number in copies.items()
                if number and max(_firsts(flags.get(name, [])), inside[name]) > number
            ),
            unexpected=sorted(there - self.attempted),
            returned=sorted(name for name in impossible if "returned" in self.outcomes[name]),
            not_sent=sorted(name for name in impossible if "returned" not in self.outcomes[name]),
            recovered=sorted(name for name in there if "unknown" in self.outcomes.get(name, ())),
            pending=sorted(self.pending),
            totals=totals,
        )

    def check(self, remaining: Iterable[str | Delivery] = ()) -> Report:
        """
        See that nothing is lost, nothing there twice, and nothing there that should not be. A message may be there
        twice when it was published again after its outcome was unknown, or when the broker says that it is redelivered.

        @param remaining: As in L{report}.
        @return: The report.
        @raise LedgerError: when it is not so.
        """
        report = self.report(remaining)
        if not report.balanced:
            raise LedgerError(str(report))
        return report


def _copies(outcomes: list[str]) -> int:
    """@return: How many of a message there may be, after publishes that ended so."""
    return sum(outcome in ("", "confirmed", "unknown") for outcome in outcomes) or int("nacked" in outcomes)


def _firsts(flags: list[bool]) -> int:
    """
    @param flags: Whether each delivery of a message was a redelivered one.
    @return: How many copies of it there were at least. The first delivery is of one, whatever the broker says of it: an
        earlier one may have been lost on its way.
    """
    return len(flags[:1]) + flags[1:].count(False)


def name_of(delivery: Delivery) -> str:
    """
    @return: Its C{message_id}, or something that is no message's name.
    """
    try:
        return delivery.properties.message_id or "(without message_id)"
    except DecodeError:
        return "(undecodable)"
