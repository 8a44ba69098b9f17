"""
Tests for the rule that each publish has one outcome, its own: whatever the broker, the network and the program do, in
whichever order (invariant 3 of the design).

A small model of a broker reads what the client wrote, and does what brokers may do. What it did is what each Deferred
must have said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika import BasicProperties, ConnectionParameters
from txpika.channel import Channel
from txpika.exceptions import (
    CallTimeout,
    CloseReason,
    NackError,
    OutcomeUnknown,
    ReturnedError,
)
from txpika.spec import Basic, Confirm, Queue, decode_method
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import TwistedPeer, content, method

WINDOW = 4
LIMIT = 5.0  # seconds


@dataclass
class Publish:
    """
    One message of the program's.

    @ivar expected: What its Deferred must have said by now; empty while it must not have said a thing.
    @ivar heard: What it did say.
    """

    channel: int
    body: bytes
    mandatory: bool
    deadline: float | None
    number: int = 0  # on the wire; 0 before
    returned: bool = False
    settled: bool = False
    expected: str = ""
    heard: list[str] = field(default_factory=list)
    deferred: Any = None

    def expect(self, outcome: str) -> None:
        self.expected = self.expected or outcome


def outcome_of(result: Any) -> str:
    """What a Deferred said, in a word."""
    if result is None:
        return "acked"
    error = result.value
    if isinstance(error, ReturnedError):
        return f"returned {error.message.body!r}"
    if isinstance(error, CallTimeout | CancelledError):
        return type(error).__name__
    if isinstance(error, NackError):
        return "nacked"
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    assert isinstance(error, CloseReason), result
    return error.outcome


class Script:
    """
    The program on two channels in confirm mode, and the broker. Each method whose name begins with C{do_} is one step;
    those that make no sense at the time do nothing.
    """

    def __init__(self) -> None:
        parameters = ConnectionParameters(heartbeat=0, confirm_window=WINDOW)
        self.peer = TwistedPeer(parameters).open(heartbeat=0)
        self.properties = BasicProperties(delivery_mode=2, headers={"a": 1})
        self.unaltered = self.properties.encode()
        self.channels: dict[int, Channel] = {}
        self.publishes: list[Publish] = []
        self.calls: Counter[int] = Counter()
        self.closing: set[int] = set()
        self.lost = False
        for _ in range(2):
            face = self.peer.open_face()
            face.confirm_select()
            self.peer.send(method(face.channel_number, Confirm.SelectOk()))
            self.channels[face.channel_number] = face
        self.peer.frames()

    # What is on the wire

    def read_wire(self) -> None:
        """Number what was written."""
        for kind, number, payload in self.peer.frames():
            if kind == 1:
                name = decode_method(payload)[0].NAME
                if name == "Queue.Declare":
                    self.calls[number] += 1
                elif name == "Channel.Close":
                    self.closing.add(number)
            elif kind == 3:
                waiting = [each for each in self.publishes if each.body == payload and not each.number]
                same = next(each for each in waiting if each.channel == number)
                assert not any(
                    each.number and self.publishes.index(each) > self.publishes.index(same)
                    for each in self.publishes
                    if each.channel == number
                ), "written out of turn"
                same.number = 1 + sum(1 for each in self.publishes if each.channel == number and each.number)

    def written(self, number: int) -> list[Publish]:
        """The unsettled ones of a channel that the broker has seen."""
        return [each for each in self.publishes if each.channel == number and each.number and not each.settled]

    def send(self, data: bytes) -> None:
        self.peer.send(data)
        self.read_wire()

    # The program

    def do_publish(self, number: int, choice: int, mandatory: bool, limited: bool) -> None:
        if self.lost or number not in self.channels or len(self.publishes) > 30:
            return
        face = self.channels[number]
        # Bodies repeat, so that some publishes look alike; on one channel, three kinds.
        body = b"%d on %d" % (choice % 3, number) if choice % 2 else b"only %d" % len(self.publishes)
        timeout = LIMIT if limited else None
        deadline = self.peer.clock.seconds() + LIMIT if limited else None
        publish = Publish(number, body, mandatory, deadline)
        self.publishes.append(publish)
        done = face.basic_publish("", "q", body, self.properties, mandatory, timeout=timeout)
        publish.deferred = done
        done.addBoth(lambda result: publish.heard.append(outcome_of(result)))
        self.read_wire()
        if number in self.closing or not face.is_open:
            publish.expect("not sent")

    def do_cancel(self, choice: int) -> None:
        waiting = [each for each in self.publishes if not each.expected]
        if waiting:
            chosen = waiting[choice % len(waiting)]
            chosen.expect("CancelledError")
            chosen.deferred.cancel()
            self.read_wire()

    def do_call(self, number: int) -> None:
        if number in self.channels and not self.lost:
            self.channels[number].queue_declare("q", passive=True).addErrback(lambda failure: None)
            self.read_wire()

    def do_close(self, number: int) -> None:
        if number in self.channels and not self.lost:
            self.channels[number].close()
            self.read_wire()

    # The broker, the network, time

    def do_settle(self, number: int, choice: int, multiple: bool, acked: bool, zero: bool) -> None:
        waiting = self.written(number)
        if self.lost or not waiting or number not in self.channels:
            return
        chosen = waiting[choice % len(waiting)]
        tag = chosen.number
        concerned = [each for each in waiting if each.number <= tag] if multiple else [chosen]
        if multiple and zero:
            tag, concerned = 0, waiting
        for each in concerned:
            each.settled = True
            each.expect(f"returned {each.body!r}" if each.returned else "acked" if acked else "nacked")
        answer = Basic.Ack(tag, multiple) if acked else Basic.Nack(tag, multiple, False)
        self.send(method(number, answer))

    def do_settle_again(self, number: int) -> None:
        """A multiple ack whose own tag is settled: it still settles those before it."""
        settled = [each for each in self.publishes if each.channel == number and each.settled]
        if self.lost or not settled or number not in self.channels:
            return
        tag = settled[-1].number
        for each in self.written(number):
            if each.number <= tag:
                each.settled = True
                each.expect(f"returned {each.body!r}" if each.returned else "acked")
        self.send(method(number, Basic.Ack(tag, True)))

    def do_return(self, number: int, choice: int) -> None:
        candidates = [each for each in self.written(number) if each.mandatory and not each.returned]
        if self.lost or not candidates or number not in self.channels:
            return
        body = candidates[choice % len(candidates)].body
        next(each for each in candidates if each.body == body).returned = True  # of those alike, the first
        self.send(content(number, Basic.Return(312, "NO_ROUTE", "", "q"), body, self.unaltered))

    def do_answer(self, number: int) -> None:
        if self.calls[number] and not self.lost and number in self.channels:
            self.calls[number] -= 1
            self.send(method(number, Queue.DeclareOk("q", 0, 0)))

    def do_answer_close(self, number: int) -> None:
        if number in self.closing and number in self.channels and not self.calls[number] and not self.lost:
            self.end_of(number)
            self.send(method(number, ChannelMethods.CloseOk()))

    def do_close_by_broker(self, number: int) -> None:
        if number in self.channels and number not in self.closing and not self.lost:
            self.end_of(number)
            self.send(method(number, ChannelMethods.Close(404, "NOT_FOUND", 60, 40)))

    def do_pause(self) -> None:
        if not self.lost:
            self.peer.transport.producer.pauseProducing()

    def do_resume(self) -> None:
        if not self.lost:
            self.peer.transport.producer.resumeProducing()
            self.read_wire()

    def do_block(self) -> None:
        if not self.lost:
            self.send(method(0, ConnectionMethods.Blocked("low on memory")))

    def do_unblock(self) -> None:
        if not self.lost:
            self.send(method(0, ConnectionMethods.Unblocked()))

    def do_wait(self) -> None:
        now = self.peer.clock.seconds() + 3
        for each in self.publishes:
            if each.deadline is not None and each.deadline <= now:
                each.expect("CallTimeout")
        self.peer.clock.advance(3)
        self.read_wire()

    def do_lose(self) -> None:
        if not self.lost:
            self.lost = True
            for number in list(self.channels):
                self.end_of(number)
            self.peer.lose()

    def end_of(self, number: int) -> None:
        """The channel goes, and with it the hope for its outcomes."""
        del self.channels[number]
        for each in self.publishes:
            if each.channel == number:
                each.settled = True
                returned = f"returned {each.body!r}"
                each.expect(returned if each.returned else "unknown" if each.number else "not sent")

    # What must hold

    def check(self) -> None:
        """After each step."""
        for each in self.publishes:
            assert each.heard == ([each.expected] if each.expected else []), (each, self.publishes)
        assert self.properties.encode() == self.unaltered
        assert not any(isinstance(event, Exception) for event in self.peer.events) or self.lost, self.peer.events
        if not self.lost:
            self.check_pace()

    def check_pace(self) -> None:
        """The window is never exceeded, and what waits waits for a reason."""
        blocked = bool(self.peer.connection.gate.reasons)
        for number in self.channels:
            assert len(self.written(number)) <= WINDOW
            waiting = [each for each in self.publishes if each.channel == number and not each.number and not each.heard]
            full = len(self.written(number)) == WINDOW
            assert not waiting or blocked or full or self.calls[number] or number in self.closing
            outbox = self.channels[number]._core.outbox
            assert self.calls[number] or number in self.closing or not outbox.idle or outbox.clear or blocked

    def end(self) -> None:
        """When all is over."""
        self.do_lose()
        self.check()
        assert all(each.heard for each in self.publishes)
        assert (self.peer.connection.held, self.peer.connection.holding) == (0, {})
        assert not self.peer.clock.getDelayedCalls()


NUMBER = st.sampled_from([1, 2])
CHOICE = st.integers(0, 7)
STEPS = st.one_of(
    st.tuples(st.just("publish"), NUMBER, CHOICE, st.booleans(), st.booleans()),
    st.tuples(st.just("publish"), NUMBER, CHOICE, st.just(True), st.just(False)),
    st.tuples(st.just("settle"), NUMBER, CHOICE, st.booleans(), st.booleans(), st.booleans()),
    st.tuples(st.just("settle"), NUMBER, CHOICE, st.booleans(), st.just(True), st.just(False)),
    st.tuples(st.just("return"), NUMBER, CHOICE),
    st.tuples(st.just("settle_again"), NUMBER),
    st.tuples(st.just("cancel"), CHOICE),
    st.tuples(st.sampled_from(["call", "answer", "close", "answer_close"]), NUMBER),
    st.tuples(st.sampled_from(["pause", "resume", "block", "unblock", "wait"])),
    st.tuples(st.sampled_from(["resume", "unblock"])),
)
RARE = st.one_of(st.tuples(st.just("close_by_broker"), NUMBER), st.tuples(st.just("lose")))


def play(steps: list[tuple[Any, ...]]) -> Script:
    """Take the steps, and look after each."""
    script = Script()
    for name, *arguments in steps:
        getattr(script, f"do_{name}")(*arguments)
        script.check()
    script.end()
    return script


class OutcomeTests(SynchronousTestCase):
    """Scripts that hypothesis makes, and those that were worth writing down."""

    @settings(derandomize=True, deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))
    @given(st.lists(STEPS, max_size=40), RARE, st.lists(STEPS, max_size=10))
    def test_whatever_happens(self, before: list[Any], rare: Any, after: list[Any]) -> None:
        play([*before, rare, *after])

    def heard(self, *steps: tuple[Any, ...]) -> list[str]:
        return [each.heard[0] for each in play(list(steps)).publishes]

    PUBLISH = ("publish", 1, 0, True, False)  # a body of its own
    ALIKE = ("publish", 1, 1, True, False)  # like the others

    def test_returns_before_one_multiple_ack(self) -> None:
        heard = self.heard(
            self.PUBLISH, self.PUBLISH, self.PUBLISH, ("return", 1, 1), ("settle", 1, 2, True, True, False)
        )
        self.assertEqual(heard, ["acked", "returned b'only 1'", "acked"])

    def test_both_returned_before_one_multiple_ack(self) -> None:
        heard = self.heard(
            self.ALIKE, self.ALIKE, ("return", 1, 0), ("return", 1, 0), ("settle", 1, 1, True, True, False)
        )
        self.assertEqual(heard, ["returned b'1 on 1'"] * 2)

    def test_a_return_of_the_second_while_the_first_waits(self) -> None:
        """Same exchange, routing key and properties; the queue went away between them, and the disk is slow."""
        heard = self.heard(
            self.PUBLISH,
            self.PUBLISH,
            ("return", 1, 1),
            ("settle", 1, 1, False, True, False),
            ("settle", 1, 0, False, True, False),
        )
        self.assertEqual(heard, ["acked", "returned b'only 1'"])

    def test_returned_then_the_connection_is_lost(self) -> None:
        heard = self.heard(self.PUBLISH, self.PUBLISH, ("return", 1, 0))
        self.assertEqual(heard, ["returned b'only 0'", "unknown"])

    def test_returned_after_it_was_held(self) -> None:
        heard = self.heard(("pause",), self.PUBLISH, ("resume",), ("return", 1, 0), ("settle", 1, 0, True, True, True))
        self.assertEqual(heard, ["returned b'only 0'"])

    def test_the_window_holds_for_those_that_were_held(self) -> None:
        first = ("settle", 1, 0, False, True, False)
        heard = self.heard(("block",), *[self.PUBLISH] * (WINDOW + 2), ("unblock",), first)
        self.assertEqual(heard, ["acked"] + ["unknown"] * WINDOW + ["not sent"])

    def test_given_up_before_a_call(self) -> None:
        script = Script()
        script.do_pause()
        script.do_publish(1, 0, True, False)
        script.do_call(1)
        self.assertEqual(script.calls[1], 0, "it waits for its turn")
        script.do_cancel(0)
        self.assertEqual(script.calls[1], 1)

    def test_closed_by_both_while_one_waits_for_the_window(self) -> None:
        heard = self.heard(*[self.PUBLISH] * (WINDOW + 1), ("close", 1), ("close_by_broker", 1))
        self.assertEqual(heard, ["unknown"] * WINDOW + ["not sent"])

    def test_returned_while_the_channel_closes(self) -> None:
        heard = self.heard(self.PUBLISH, ("close", 1), ("return", 1, 0), ("answer_close", 1))
        self.assertEqual(heard, ["returned b'only 0'"])

    def test_refused(self) -> None:
        heard = self.heard(self.PUBLISH, self.PUBLISH, ("settle", 1, 1, True, False, False))
        self.assertEqual(heard, ["nacked", "nacked"])

    def test_not_sent_beyond_the_window(self) -> None:
        heard = self.heard(*[self.PUBLISH] * (WINDOW + 1))
        self.assertEqual(heard, ["unknown"] * WINDOW + ["not sent"])


class TooLargeTests(SynchronousTestCase):
    """A returned message over C{max_body_size}: its body is not kept, its outcome is."""

    def test_returned(self) -> None:
        peer = TwistedPeer(ConnectionParameters(max_body_size=10)).open()
        channel = peer.open_face()
        channel.confirm_select()
        peer.send(method(1, Confirm.SelectOk()))
        first: Deferred[None] = channel.basic_publish("", "q", b"x" * 11, mandatory=True)
        second: Deferred[None] = channel.basic_publish("", "q", b"x" * 300_000, mandatory=True)
        peer.send(content(1, Basic.Return(312, "NO_ROUTE", "", "q"), b"x" * 300_000) + method(1, Basic.Ack(2, True)))
        self.successResultOf(first)
        error = self.failureResultOf(second, ReturnedError).value
        self.assertEqual((error.message.reply_code, error.message.body), (312, b""))


class NumberUsedAgainTests(SynchronousTestCase):
    """A channel has the number of one that is closed, and neither has a consumer."""

    def test_its_confirmations_are_its_own(self) -> None:
        peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0, channel_max=1)
        for _ in range(3):
            channel = peer.open_face()
            peer.confirming(channel)
            published = [channel.basic_publish("", "q", b"x") for _ in range(3)]
            for number, done in enumerate(published, 1):
                self.assertNoResult(done)
                peer.send(method(1, Basic.Ack(number)))
                self.assertIsNone(self.successResultOf(done))
            channel.close()
            peer.send(method(1, ChannelMethods.CloseOk()))
            self.assertFalse(channel.is_open)
