"""
Calls and channels as the model of L{txpika.test.model} keeps them in its book.

Owns what is remembered of each, and how an outcome is put in words. Knows nothing of what leads to one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.python.failure import Failure

from txpika.channel import Channel as Face
from txpika.exceptions import AMQPError, CloseReason, OutcomeUnknown, ReturnedError
from txpika.spec import Basic, BasicProperties, Method
from txpika.spec import Channel as ChannelMethods
from txpika.test.fakes import content, method

#: Where messages go. No queue takes those of the last two.
ROUTES = (("", "here"), ("x", "here"), ("", "lost"), ("x", "lost"))

NEVER = float("inf")


def properties() -> list[BasicProperties | None]:
    """What messages are published with, made anew."""
    return [
        None,
        BasicProperties(delivery_mode=2, headers={"n": [1, None]}),
        BasicProperties(content_type="text/plain"),
    ]


ENCODED = [b"\0\0" if each is None else each.encode() for each in properties()]


def described(result: object) -> str:
    """What a Deferred ended with, in a few words."""
    if not isinstance(result, Failure):
        return "ok" if result is None else f"ok {result!r}"
    error = result.value
    if isinstance(error, ReturnedError):
        message = error.message
        return f"returned {message.exchange}/{message.routing_key} {message.body.decode()}"
    if isinstance(error, OutcomeUnknown):
        return f"{error.outcome} for {type(error.__cause__).__name__} {error.reply_code}"
    if isinstance(error, CloseReason):
        return f"{type(error).__name__} {error.reply_code} {error.outcome}"
    return f"{type(error).__name__} {error.outcome}" if isinstance(error, AMQPError) else type(error).__name__


@dataclass(eq=False)
class Call:
    """
    One call of the program, on its way through its channel.

    @ivar name: Unlike all others.
    @ivar expected: What it must have ended with; empty while it must not have ended.
    @ivar answer: What the broker says to it; C{None} for what it does not answer.
    """

    lane: Lane
    name: str
    written: bool = False
    expected: str = ""
    method: Method | None = None
    answer: Method | None = None

    @property
    def closes(self) -> bool:
        return isinstance(self.method, ChannelMethods.Close)

    @property
    def frames(self) -> bytes:
        assert self.method is not None
        return method(self.lane.number, self.method)


@dataclass(eq=False)
class Publish(Call):
    """
    One message; its body is its name.

    @ivar then: Where its callback publishes once more.
    @ivar deadline: When its own C{timeout} is over.
    @ivar since: When it began to be held, if the connection was blocked then.
    @ivar confirmed: It was written in confirm mode.
    @ivar sent_back: The broker returned it.
    @ivar returned: That was read.
    """

    route: tuple[str, str] = ROUTES[0]
    look: int = 0
    mandatory: bool = False
    then: Lane | None = None
    deadline: float = NEVER
    since: float = 0.0
    confirmed: bool = False
    sent_back: bool = False
    returned: bool = False

    @property
    def frames(self) -> bytes:
        written = Basic.Publish(0, *self.route, self.mandatory)
        return content(self.lane.number, written, self.name.encode(), ENCODED[self.look])

    @property
    def size(self) -> int:
        return len(self.frames)

    @property
    def comes_back(self) -> bool:
        return self.mandatory and self.route in ROUTES[2:]

    @property
    def back(self) -> bytes:
        method = Basic.Return(312, "NO_ROUTE", *self.route)
        return content(self.lane.number, method, self.name.encode(), ENCODED[self.look])

    def come_back(self) -> None:
        self.returned = True

    def outcome(self, otherwise: str) -> str:
        return f"returned {'/'.join(self.route)} {self.name}" if self.returned else otherwise


@dataclass(eq=False)
class Lane:
    """
    One channel. What the program knows of it, and after that what the broker knows, who may be ahead.

    @ivar reason: Why it is closed or closing.
    @ivar queue: Calls not yet written.
    @ivar waiting: The call whose answer is awaited.
    @ivar full: The confirm window is.
    @ivar unconfirmed: Publishes without the broker's word, by number.
    @ivar came_back: Names of messages that C{on_return} must have got.
    @ivar writes: Frames that must be seen on the wire at the next check.
    @ivar unsettled: As C{unconfirmed}, but of the broker.
    @ivar unanswered: A call the broker has not answered.
    @ivar going_back: Messages from before confirm mode that it has to return.
    @ivar broken: It closed the channel, and takes nothing more.
    """

    number: int
    face: Face
    state: str = "open"
    reason: str = ""
    queue: list[Call] = field(default_factory=list)
    waiting: Call | None = None
    flowing: bool = True
    full: bool = False
    confirming: bool = False
    last: int = 0
    unconfirmed: dict[int, Publish] = field(default_factory=dict)
    came_back: list[str] = field(default_factory=list)
    on_return: list[str] = field(default_factory=list)
    writes: list[bytes] = field(default_factory=list)

    unsettled: dict[int, Publish] = field(default_factory=dict)
    unanswered: Call | None = None
    going_back: list[Publish] = field(default_factory=list)
    broken: bool = False

    @property
    def ended(self) -> bool:
        return self.state == "ended"

    @property
    def idle(self) -> bool:
        return self.ended or not (self.queue or self.waiting or self.unconfirmed)
