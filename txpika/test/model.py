# -*- test-case-name: txpika.test.test_outcomes -*-
"""
A broker that does as it pleases within the rules, and a book of what each call must have ended with by now.

Owns those rules, written down a second time and without the engine: what may be written, when and in which order, and
what becomes of each publish. L{World.check} compares them with what the Twisted face did, after each step. In each step
the book is brought up to date first, and then the engine is told.

The protocol leaves open whose message a returned one is when several on their way look alike. It is taken for the
earliest, which is the truth as long as messages that look alike are routed alike; here they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Confirm, Method, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.book import NEVER, Call, Lane, Publish, described, properties
from txpika.test.fakes import TwistedPeer, frame, method

#: Messages, and bytes: a few fill either.
WINDOW = 3
MAX_HELD = 500
#: In seconds. Time goes by in whole ones, so that a time-out of the one kind is never due together with the other.
BLOCKED_TIMEOUT = 3.25
TIMEOUTS = (None, 1.5, 4.5)
#: What calls under way may take of the default C{close_timeout}, in seconds.
DRAIN = 8.0


class World:
    """
    A program, the engine, and a broker.

    @ivar stream: What the broker sent and the engine has not read yet: bytes, and what these must do.
    @ivar over: The connection has ended.
    """

    def __init__(self, lanes: int = 2) -> None:
        parameters = ConnectionParameters(
            heartbeat=0, confirm_window=WINDOW, max_held=MAX_HELD, blocked_timeout=BLOCKED_TIMEOUT
        )
        self.peer = TwistedPeer(parameters).open(heartbeat=0)
        self.properties = properties()
        self.stream: list[tuple[bytes, Callable[[], None]]] = []
        self.calls: list[Call] = []
        self.results: dict[str, list[str]] = {}
        self.deferreds: dict[str, Deferred[Any]] = {}
        self.holding: list[Lane] = []
        self.held = 0
        self.now = 0.0
        self.paused = False
        self.blocked_at = NEVER
        self.drained_by = NEVER
        self.over = False
        self.writes: list[bytes] = []
        self.lanes = [self._lane() for _ in range(lanes)]

    def _lane(self) -> Lane:
        face = self.peer.open_face()
        lane = Lane(face.channel_number, face)
        face.on_return = lambda message: lane.on_return.append(message.body.decode())
        return lane

    def check(self) -> None:
        """What was written, in each lane, and what has ended, is what the book says."""
        seen: dict[int, bytes] = {lane.number: b"" for lane in self.lanes} | {0: b""}
        for kind, number, payload in self.peer.frames():
            seen[number] += frame(kind, number, payload)
        written = {lane.number: b"".join(lane.writes) for lane in self.lanes} | {0: b"".join(self.writes)}
        assert seen == written, (seen, written)
        expected = {call.name: [call.expected] if call.expected else [] for call in self.calls}
        assert self.results == expected, {k: (v, expected.get(k)) for k, v in self.results.items() if v != expected[k]}
        assert self.peer.connection.held == self.held, (self.peer.connection.held, self.held)
        for lane in self.lanes:
            lane.writes.clear()
            assert lane.on_return == lane.came_back
        self.writes.clear()

    # The program

    def publish(self, lane: Lane, timeout: float | None = None, **more: Any) -> None:
        """C{basic_publish}."""
        deadline = NEVER if timeout is None else self.now + timeout
        publish = Publish(lane, f"m{len(self.calls)}", deadline=deadline, **more)
        self._expect_publish(publish)
        self._really_publish(publish, timeout)
        self.check()

    def _expect_publish(self, publish: Publish) -> None:
        lane = publish.lane
        self.calls.append(publish)
        if lane.state != "open":
            self._end(publish, f"{lane.reason} not sent")
        elif not lane.queue and self._may_write(lane, publish):
            self._write(lane, publish)
            if not publish.confirmed:
                self._end(publish, "ok")
        elif self.held + publish.size > MAX_HELD:
            self._end(publish, "OutboundBufferFull not sent")
        else:
            self.held += publish.size
            publish.since = 0.0 if self.blocked_at == NEVER else self.now
            lane.queue.append(publish)
            if lane not in self.holding:
                self.holding.append(lane)

    def _really_publish(self, publish: Publish, timeout: float | None = None) -> None:
        results = self.results[publish.name] = []
        shared = self.properties[publish.look]
        done = publish.lane.face.basic_publish(
            *publish.route, publish.name.encode(), shared, publish.mandatory, timeout=timeout
        )
        self.deferreds[publish.name] = done

        def ended(result: object) -> None:
            results.append(described(result))
            if publish.then is not None:
                self._really_publish(self._child(publish))

        done.addBoth(ended)

    def _child(self, publish: Publish) -> Publish:
        assert publish.then is not None
        return Publish(publish.then, publish.name + "+")

    def _call(self, lane: Lane, written: Method, answer: Method | None, really: Callable[[], Deferred[Any]]) -> None:
        call = Call(lane, f"c{len(self.calls)}", method=written, answer=answer)
        self.calls.append(call)
        if lane.state == "open":
            if call.closes:
                lane.state, lane.reason = "closing", "ChannelClosed 200"
            lane.queue.append(call)
            self._pump(lane)
            if answer is None:
                self._end(call, "ok")
        else:
            self._end(call, f"{lane.reason} not sent")
        results = self.results[call.name] = []
        self.deferreds[call.name] = done = really()
        done.addBoth(lambda result: results.append(described(result)))
        self.check()

    def declare(self, lane: Lane) -> None:
        """C{queue_declare}, whose answer names the queue."""
        name = f"q{len(self.calls)}"
        really = lane.face.queue_declare
        self._call(lane, Queue.Declare(0, name), Queue.DeclareOk(name, 0, 0), lambda: really(name))

    def confirm(self, lane: Lane, nowait: bool = False) -> None:
        """
        C{confirm_select}. With C{nowait} only before the first publish: else a message from before confirm mode may
        come back after one that looks like it was published in that mode.
        """
        nowait = nowait and not any(isinstance(call, Publish) and call.lane is lane for call in self.calls)
        answer = None if nowait else Confirm.SelectOk()
        self._call(lane, Confirm.Select(nowait), answer, lambda: lane.face.confirm_select(nowait))

    def close_channel(self, lane: Lane) -> None:
        """C{channel.close}."""
        if lane.state == "open":
            written = ChannelMethods.Close(200, "Normal shutdown", 0, 0)
            self._call(lane, written, ChannelMethods.CloseOk(), lane.face.close)

    def cancel(self, call: Call) -> None:
        """Cancel its Deferred. Only of what makes a difference then."""
        if not call.expected and (isinstance(call, Publish) or isinstance(call.method, Queue.Declare)):
            self._give_up(call, "CancelledError")
            self.deferreds[call.name].cancel()
            self.check()

    def close(self) -> None:
        """C{connection.close}."""
        if not self.over:
            self.drained_by = min(self.drained_by, self.now + DRAIN)
            self._check_drained()
            self.peer.protocol.close()
            self.check()

    # What must happen

    def _end(self, call: Call, what: str) -> None:
        if not call.expected:
            call.expected = what
            if isinstance(call, Publish) and call.then is not None:
                self._expect_publish(self._child(call))

    def _give_up(self, call: Call, why: str) -> None:
        lane = call.lane
        if call in lane.queue:
            lane.queue.remove(call)
            self._unhold(call)
            self._pump(lane)
            self._check_drained()
        self._end(call, why)

    def _unhold(self, call: Call) -> None:
        if isinstance(call, Publish):
            self.held -= call.size

    def _may_write(self, lane: Lane, call: Call) -> bool:
        if lane.waiting is not None:
            return False
        gates = self.paused, self.blocked_at != NEVER, not lane.flowing, lane.full
        return not any(gates) or not isinstance(call, Publish)

    def _write(self, lane: Lane, call: Call) -> None:
        call.written = True
        lane.writes.append(call.frames)
        if not isinstance(call, Publish):
            if call.answer is None:
                lane.confirming = True
            else:
                lane.waiting = call
                if call.closes or not lane.broken:
                    lane.unanswered = call
            return
        call.confirmed = lane.confirming
        if lane.confirming:
            lane.last += 1
            lane.unconfirmed[lane.last] = call
            lane.full = len(lane.unconfirmed) >= WINDOW
            if not lane.broken:
                lane.unsettled[lane.last] = call
        elif call.comes_back and not lane.broken:
            lane.going_back.append(call)

    def _pump(self, lane: Lane) -> None:
        """All that may be written by now is."""
        done = []
        while lane.queue and self._may_write(lane, lane.queue[0]):
            call = lane.queue.pop(0)
            self._unhold(call)
            self._write(lane, call)
            if isinstance(call, Publish) and not call.confirmed:
                done.append(call)
        if not lane.queue and lane in self.holding:
            self.holding.remove(lane)
        for call in done:
            self._end(call, "ok")

    def _pump_all(self) -> None:
        for lane in list(self.holding):
            self._pump(lane)

    def _check_drained(self) -> None:
        if not self.over and self.drained_by != NEVER and all(lane.idle for lane in self.lanes):
            self._send_close()

    def _send_close(self) -> None:
        self.writes.append(method(0, ConnectionMethods.Close(200, "Normal shutdown", 0, 0)))
        self._end_all("ConnectionClosed 200")

    def _end_all(self, reason: str) -> None:
        self.over = True
        self.stream.clear()
        self._end_lanes([lane for lane in self.lanes if not lane.ended], reason)

    def _end_lanes(self, lanes: list[Lane], reason: str) -> None:
        for lane in lanes:
            lane.state, lane.reason = "ended", lane.reason or reason
        self._check_drained()
        for lane in lanes:
            if lane in self.holding:
                self.holding.remove(lane)
            calls = [*lane.unconfirmed.values(), *([lane.waiting] if lane.waiting else []), *lane.queue]
            queue, lane.queue, lane.unconfirmed, lane.waiting = lane.queue, [], {}, None
            for call in calls:
                if call in queue:
                    self._unhold(call)
                if call.closes:
                    what = "ok"
                elif not call.written:
                    what = f"{lane.reason} not sent"
                elif isinstance(call, Publish):
                    what = call.outcome(f"unknown for {lane.reason}")
                else:
                    what = f"{lane.reason} closed"
                self._end(call, what)

    # The broker: what it sends, and what that must do when it is read

    def settle(self, lane: Lane, number: int, multiple: bool, acked: bool) -> None:
        """C{basic.ack} or C{basic.nack}, after the returns that come before it. A C{number} may be settled already."""
        numbers = [each for each in lane.unsettled if each == number or (multiple and each < number)]
        for each in numbers:
            self.send_back(lane, lane.unsettled[each])
        for each in numbers:
            del lane.unsettled[each]
        answer = Basic.Ack(number, multiple) if acked else Basic.Nack(number, multiple, False)

        def settled() -> None:
            if not lane.ended:
                for each in numbers:
                    publish = lane.unconfirmed.pop(each)
                    self._end(publish, publish.outcome("ok" if acked else "NackError nacked"))
                if lane.full and len(lane.unconfirmed) < WINDOW:
                    lane.full = False
                    self._pump(lane)
                self._check_drained()

        self.stream.append((method(lane.number, answer), settled))

    def settle_all(self, lane: Lane, acked: bool) -> None:
        """All so far, which is number 0. The program must not be ahead of the broker then."""
        if lane.unsettled:
            for publish in list(lane.unsettled.values()):
                self.send_back(lane, publish)
            self.deliver(len(self.stream))
        if lane.unsettled:
            self.settle(lane, max(lane.unsettled), True, acked)
            (_, effect) = self.stream.pop()
            answer = Basic.Ack(0, True) if acked else Basic.Nack(0, True, False)
            self.stream.append((method(lane.number, answer), effect))
            self.deliver(len(self.stream))

    def send_back(self, lane: Lane, publish: Publish) -> None:
        """C{basic.return} of a message, and before that of those that look like it and came before it."""
        if publish.comes_back:
            for each in list(lane.unsettled.values()):
                if each.comes_back and not each.sent_back and (each.route, each.look) == (publish.route, publish.look):
                    each.sent_back = True
                    self.stream.append((each.back, each.come_back))
                if each is publish:
                    break

    def send_back_unconfirmed(self, lane: Lane) -> None:
        """C{basic.return} of a message from before confirm mode."""
        if lane.going_back:
            publish = lane.going_back.pop(0)
            self.stream.append((publish.back, lambda: None if lane.ended else lane.came_back.append(publish.name)))

    def answer(self, lane: Lane) -> None:
        """Reply to the call on the wire; what was published before it has come back by then."""
        call, lane.unanswered = lane.unanswered, None
        if call is None:
            return
        assert call.answer is not None
        while lane.going_back:
            self.send_back_unconfirmed(lane)

        def answered() -> None:
            if lane.ended:
                return
            lane.waiting = None
            if call.closes:
                self._end(call, "ok")
                self._end_lanes([lane], lane.reason)
                return
            lane.confirming = lane.confirming or isinstance(call.method, Confirm.Select)
            self._pump(lane)
            self._end(call, f"ok {call.answer!r}")
            self._check_drained()

        self.stream.append((method(lane.number, call.answer), answered))

    def flow(self, lane: Lane, active: bool) -> None:
        """C{channel.flow}."""

        def changed() -> None:
            if not lane.ended:
                if lane.waiting is None or not lane.waiting.closes:  # else the broker has forgotten the channel
                    lane.writes.append(method(lane.number, ChannelMethods.FlowOk(active)))
                lane.flowing = active
                self._pump(lane)

        if not lane.broken and not lane.ended:
            self.stream.append((method(lane.number, ChannelMethods.Flow(active)), changed))

    def break_channel(self, lane: Lane) -> None:
        """C{channel.close}: of what it has not answered, only a close will be."""
        if lane.broken or lane.ended:
            return
        lane.broken = True
        lane.unsettled, lane.going_back = {}, []
        if lane.unanswered is not None and not lane.unanswered.closes:
            lane.unanswered = None

        def closed() -> None:
            if lane.ended:
                return
            lane.writes.append(method(lane.number, ChannelMethods.CloseOk()))
            lane.reason = "ChannelClosed 404"
            if lane.waiting is None or not lane.waiting.closes:  # else ours crossed it, and will be answered
                self._end_lanes([lane], lane.reason)

        self.stream.append((method(lane.number, ChannelMethods.Close(404, "NOT_FOUND", 60, 40)), closed))

    def block(self, blocked: bool) -> None:
        """C{connection.blocked} or C{connection.unblocked}."""

        def changed() -> None:
            if not blocked:
                self.blocked_at = NEVER
                self._pump_all()
            elif self.blocked_at == NEVER:
                self.blocked_at = self.now

        answer = ConnectionMethods.Blocked("memory") if blocked else ConnectionMethods.Unblocked()
        self.stream.append((method(0, answer), changed))

    def deliver(self, count: int, cut: int = 0) -> None:
        """The engine reads so much of what was sent, in one piece or in two."""
        events, self.stream[:count] = self.stream[:count], []
        data = b"".join(data for data, _ in events)
        for _, effect in events:
            if not self.over:
                effect()
        cut %= len(data) + 1
        for part in (data[:cut], data[cut:]):
            if part:
                self.peer.send(part)
        self.check()

    # The network, and time

    def pause(self, paused: bool) -> None:
        """The transport has enough, or takes more."""
        if paused != self.paused and not self.over:
            self.paused = paused
            if not paused:
                self._pump_all()
            producer = self.peer.transport.producer
            (producer.pauseProducing if paused else producer.resumeProducing)()
            self.check()

    def wait(self) -> None:
        """A second goes by."""
        self.now += 1
        due: list[tuple[float, bool, int, Publish]] = []
        for number, lane in enumerate(self.lanes):
            for call in [*lane.queue, *lane.unconfirmed.values()]:
                if isinstance(call, Publish) and not call.expected:
                    due.append((call.deadline, False, self.calls.index(call), call))
                    since = self.blocked_at if call.written else max(self.blocked_at, call.since)
                    due.append((since + BLOCKED_TIMEOUT, call.written, number, call))
        for when, _, _, call in sorted(due, key=lambda each: each[:3]):
            if when <= self.now and not call.expected:
                kind = "CallTimeout" if when == call.deadline else "PublishBlocked"
                self._give_up(call, f"{kind} {'unknown' if call.written else 'not sent'}")
        if self.drained_by <= self.now and not self.over:
            self._send_close()
        self.peer.clock.advance(1)
        self.check()

    def abort(self) -> None:
        """C{connection.abort}."""
        if not self.over:
            self._end_all("ConnectionLost 0")
            self.peer.protocol.abort()
            self.check()

    def lose(self) -> None:
        """The network connection is lost, with all that is still on its way."""
        if not self.over:
            self._end_all("ConnectionLost 0")
        self.peer.lose()
        self.check()

    def throw_out(self) -> None:
        """C{connection.close} by the broker, after all that it sent before."""
        self.deliver(len(self.stream))
        if not self.over:
            self.writes.append(method(0, ConnectionMethods.CloseOk()))
            self._end_all("ConnectionClosed 320")
            self.peer.send(method(0, ConnectionMethods.Close(320, "maintenance", 0, 0)))
            self.check()
