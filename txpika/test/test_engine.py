"""Tests for the engine as a whole: the scripts of a broker in, what its user notices out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.core.wire import MAX_CORKED
from txpika.exceptions import (
    ChannelClosed,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    HeartbeatTimeout,
    NackError,
    NoFreeChannels,
    NotConnected,
    OutboundBufferFull,
    OutcomeUnknown,
    ProtocolError,
    ReturnedError,
    StaleDelivery,
)
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties, Confirm, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import Peer, RecordingConsumer, content, deliver, frame, method


class OrderTests(SynchronousTestCase):
    """What is called first is written first; each call ends once."""

    def setUp(self) -> None:
        self.peer = Peer().open()
        self.channel = self.peer.channel()

    def test_calls_behind_a_synchronous_one_wait(self) -> None:
        consumer = self.peer.consume(self.channel, RecordingConsumer())
        self.peer.send(deliver(1, consumer.consumer_tag, 1, b"x"))
        declared = self.channel.call(Queue.Declare(0, "a"))
        published = self.channel.publish("", "a", b"body")
        consumer.deliveries[0].ack()
        bound = self.channel.call(Queue.Bind(0, "a", "x"))
        self.assertEqual(self.peer.names(), ["Queue.Declare"])
        self.assertNoResult(published)
        self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)))
        self.assertEqual(self.peer.names(), ["Basic.Publish", "Basic.Ack", "Queue.Bind"])
        self.assertEqual(self.successResultOf(declared).queue, "a")
        self.assertIsNone(self.successResultOf(published))
        self.peer.send(method(1, Queue.BindOk()))
        self.successResultOf(bound)

    def test_other_channels_are_not_held_up(self) -> None:
        other = self.peer.channel()
        self.channel.call(Queue.Declare(0, "a"))
        self.assertIsNone(other.publish("", "a", b"body"))
        self.assertEqual(self.peer.names(), ["Queue.Declare", "Basic.Publish"])

    def test_nowait_waits_for_nothing(self) -> None:
        self.assertIsNone(self.channel.call(Queue.Purge(0, "a", True)))
        self.assertIsNone(self.channel.publish("", "a", b"body"))
        self.assertEqual(self.peer.names(), ["Queue.Purge", "Basic.Publish"])

    def test_cancelled_call_leaves_the_channel_in_step(self) -> None:
        first = self.channel.call(Queue.Declare(0, "a"))
        second = self.channel.call(Queue.Declare(0, "b"))
        third = self.channel.call(Queue.Declare(0, "c"))
        for each in (first, second):
            each.cancel()
            self.failureResultOf(each)
        self.peer.send(method(1, Queue.DeclareOk("a", 0, 0)))
        self.assertNoResult(third)
        self.peer.send(method(1, Queue.DeclareOk("c", 0, 0)))
        self.assertEqual(self.successResultOf(third).queue, "c")
        self.assertEqual([m.queue for m in self.peer.methods() if isinstance(m, Queue.Declare)], ["a", "c"])

    def test_consume_cancelled_in_flight_is_undone(self) -> None:
        consumer = RecordingConsumer()
        consuming = self.channel.consumers.consume(consumer, "q")
        consuming.cancel()
        self.failureResultOf(consuming)
        self.peer.send(method(1, Basic.ConsumeOk(consumer.consumer_tag)) + deliver(1, consumer.consumer_tag, 1, b"x"))
        self.assertEqual(self.peer.names(), ["Basic.Consume", "Basic.Cancel", "Basic.Nack"])
        self.assertEqual(consumer.deliveries, [])

    def test_get_cancelled_in_flight_goes_back(self) -> None:
        got = self.channel.get("q", False)
        got.cancel()
        self.failureResultOf(got)
        self.peer.send(content(1, Basic.GetOk(1, False, "", "q", 0), b"x"))
        self.assertEqual(self.peer.methods()[1:], [Basic.Nack(1, False, True)])

    def test_channel_error_fails_its_calls_and_no_others(self) -> None:
        other = self.peer.channel()
        theirs = other.call(Queue.Declare(0, "o"))
        waiting, queued = self.channel.call(Queue.Declare(0, "a")), self.channel.call(Queue.Purge(0, "a"))
        held = self.channel.publish("", "a", b"x")
        self.peer.send(method(1, ChannelMethods.Close(404, "NOT_FOUND", 50, 10)))
        for each, outcome in ((waiting, "closed"), (queued, "not sent"), (held, "not sent")):
            error = self.failureResultOf(each, ChannelClosed).value
            self.assertEqual(
                (error.reply_code, error.reply_text, error.class_id, error.method_id, error.initiator, error.outcome),
                (404, "NOT_FOUND", 50, 10, "peer", outcome),
            )
        self.assertRaises(ChannelClosed, self.channel.publish, "", "a", b"x")
        self.assertRaises(ChannelClosed, self.channel.call, Queue.Purge(0, "a"))
        self.assertNoResult(theirs)
        self.assertEqual(self.peer.connection.held, 0)

    def test_connection_lost_fails_everything_once(self) -> None:
        consumer = self.peer.consume(self.channel, RecordingConsumer())
        self.peer.send(deliver(1, consumer.consumer_tag, 1, b"x"))
        waiting = self.channel.call(Queue.Declare(0, "a"))
        self.peer.lose()
        self.failureResultOf(waiting, ConnectionLost)
        self.assertIsInstance(consumer.ends[0], ConnectionLost)
        self.assertRaises(StaleDelivery, consumer.deliveries[0].ack)
        self.assertIsInstance(self.peer.events[-1], ConnectionLost)
        self.assertRaises(ConnectionLost, self.peer.connection.open_channel, None)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def turn_to_another(self, end: Callable[[Peer], None]) -> None:
        """A program that hears of the end on one channel turns to another, which it has not heard of."""
        peer = Peer().open()
        first, second = peer.channel(), peer.channel()
        consumer = peer.consume(second, RecordingConsumer())
        peer.send(deliver(2, consumer.consumer_tag, 1, b"x"))
        waiting = first.call(Queue.Declare(0, "a"))
        peer.frames()

        def turn(_failure: object) -> None:
            reason = type(peer.connection.reason)
            self.assertRaises(reason, second.publish, "", "a", b"x")
            self.assertRaises(reason, second.call, Queue.Purge(0, "a", True))
            self.assertRaises(StaleDelivery, consumer.deliveries[0].ack)

        waiting.addErrback(turn)
        end(peer)
        self.assertIsNone(self.successResultOf(waiting))
        self.assertNotIn(2, [number for _, number, _ in peer.frames()])

    def test_the_end_of_all_channels_at_once(self) -> None:
        self.turn_to_another(lambda peer: peer.send(method(0, ConnectionMethods.Close(320, "bye", 0, 0))))
        self.turn_to_another(lambda peer: peer.send(method(1, ConnectionMethods.Blocked("on a wrong channel"))))
        self.turn_to_another(lambda peer: peer.lose())

    def test_channel_numbers_are_used_again_after_close_ok_only(self) -> None:
        peer = Peer(ConnectionParameters(channel_max=1)).open()
        channel = peer.channel()
        channel.close()
        self.assertRaises(NoFreeChannels, peer.connection.open_channel, None)
        peer.send(method(1, ChannelMethods.CloseOk()))
        self.assertEqual(peer.channel().number, 1)

    def test_properties_changed_between_publishes(self) -> None:
        properties = BasicProperties(headers={"n": 1})
        self.channel.publish("", "q", b"x", properties)
        assert properties.headers is not None
        properties.headers["n"] = 2
        self.channel.publish("", "q", b"x", properties)
        properties.priority = 3
        self.channel.publish("", "q", b"x", properties)
        sent = [BasicProperties.from_wire(payload[12:]) for kind, _, payload in self.peer.frames() if kind == 2]
        self.assertEqual([(p.headers, p.priority) for p in sent], [({"n": 1}, None), ({"n": 2}, None), ({"n": 2}, 3)])

    @given(st.sampled_from([0, 1, 4087, 4088, 4089, 8176, 8177, 20000]), st.booleans())
    @settings(deadline=None, max_examples=20)
    def test_B89_bodies_are_cut_to_the_size_of_a_frame(self, size: int, again: bool) -> None:
        peer = Peer(ConnectionParameters(frame_max=8192)).open(frame_max=4096)
        channel = peer.channel()
        body = bytes(i % 251 for i in range(size))
        for _ in range(1 + again):
            channel.publish("x", "q", body, BasicProperties(delivery_mode=2), True)
            (_, _, publish), (kind, _, head), *bodies = peer.frames()
            self.assertEqual(publish, Basic.Publish(0, "x", "q", True).encode())
            self.assertEqual((kind, head), (2, struct.pack(">HHQHB", 60, 0, size, 0x1000, 2)))
            self.assertEqual(b"".join(payload for _, _, payload in bodies), body)
            self.assertEqual(len(bodies), -(-size // 4088))


class ConfirmTests(SynchronousTestCase):
    """One outcome a publish, and its own."""

    def setUp(self) -> None:
        self.peer = Peer(ConnectionParameters(confirm_window=5)).open()
        self.channel = self.peer.channel()
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.peer.frames()

    def publish(self, body: bytes, key: str = "q", mandatory: bool = False) -> Any:
        return self.channel.publish("", key, body, None, mandatory)

    def back(self, body: bytes, key: str) -> bytes:
        return content(1, Basic.Return(312, "NO_ROUTE", "", key), body)

    def test_B43_multiple_and_single(self) -> None:
        one, two, three = (self.publish(b"%d" % i) for i in range(3))
        self.peer.send(method(1, Basic.Ack(2)))
        self.assertNoResult(one)
        self.successResultOf(two)
        self.peer.send(method(1, Basic.Ack(2, True)))
        self.successResultOf(one)
        self.peer.send(method(1, Basic.Nack(3)))
        self.failureResultOf(three, NackError)

    def test_B45_returns_then_one_multiple_ack(self) -> None:
        one, two, three = self.publish(b"1"), self.publish(b"2", "x", True), self.publish(b"3", "y", True)
        self.peer.send(self.back(b"2", "x") + self.back(b"3", "y") + method(1, Basic.Ack(3, True)))
        self.successResultOf(one)
        for each, body in ((two, b"2"), (three, b"3")):
            self.assertEqual(self.failureResultOf(each, ReturnedError).value.message.body, body)
        self.assertEqual(self.channel.face.messages, [])

    def test_returned_while_the_channel_closes(self) -> None:
        published = self.publish(b"1", "x", True)
        self.channel.close()
        self.peer.send(self.back(b"1", "x") + method(1, Basic.Ack(1)) + method(1, ChannelMethods.CloseOk()))
        self.assertEqual(self.failureResultOf(published, ReturnedError).value.message.body, b"1")
        other = self.peer.channel()
        other.publish("", "x", b"2", None, True)
        other.close()
        self.peer.send(content(other.number, Basic.Return(312, "NO_ROUTE", "", "x"), b"2"))
        self.assertEqual([message.body for message in other.face.messages], [b"2"])

    def test_unknown_when_the_connection_ends(self) -> None:
        one, returned = self.publish(b"1"), self.publish(b"2", "x", True)
        self.peer.send(self.back(b"2", "x"))
        self.peer.lose()
        error = self.failureResultOf(one, OutcomeUnknown).value
        self.assertEqual(error.outcome, "unknown")
        self.assertIsInstance(error.__cause__, ConnectionLost)
        self.failureResultOf(returned, ReturnedError)

    def test_a_full_window_holds_the_next_back(self) -> None:
        first = [self.publish(b"%d" % i) for i in range(5)]
        sixth = self.publish(b"5")
        self.assertEqual(len(self.peer.methods()), 5)
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(first[0])
        self.assertEqual(len(self.peer.methods()), 1)
        self.peer.send(method(1, Basic.Ack(6, True)))
        self.successResultOf(sixth)

    def test_close_waits_for_confirmations(self) -> None:
        published = self.publish(b"1")
        self.peer.connection.close()
        self.assertEqual(self.peer.names(), ["Basic.Publish"])
        self.assertRaises(NotConnected, self.peer.connection.open_channel, None)
        self.peer.send(method(1, Basic.Ack(1)))
        self.successResultOf(published)
        self.assertEqual(self.peer.names(), ["Connection.Close"])

    def test_close_does_not_wait_for_ever(self) -> None:
        published = self.publish(b"1")
        self.peer.connection.close()
        self.peer.clock.advance(8)
        self.failureResultOf(published, OutcomeUnknown)
        self.assertEqual(self.peer.names(), ["Basic.Publish", "Connection.Close"])
        self.peer.clock.advance(2)
        self.assertEqual(self.peer.transport.events, ["abort"])
        self.peer.lose()
        self.assertIsInstance(self.peer.events[-1], ConnectionClosed)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    @given(st.lists(st.tuples(st.sampled_from("anr"), st.booleans()), min_size=1, max_size=5), st.randoms())
    @settings(deadline=None, max_examples=100)
    def test_every_grouping_gives_each_its_own(self, fates: list[tuple[str, bool]], random: Any) -> None:
        """Acked, nacked or returned, in any order and grouping that tells the truth."""
        self.setUp()
        published = [self.publish(b"%d" % i, f"k{i % 2}", fate == "r") for i, (fate, _) in enumerate(fates)]
        for i, (fate, _) in enumerate(fates):
            if fate == "r":
                self.peer.send(self.back(b"%d" % i, f"k{i % 2}"))
        left = list(range(len(fates)))
        while left:
            pick = random.choice(left)
            acked = fates[pick][0] != "n"
            group = [i for i in left if i <= pick]
            multiple = fates[pick][1] and all((fates[i][0] != "n") == acked for i in group)
            answer = Basic.Ack(pick + 1, multiple) if acked else Basic.Nack(pick + 1, multiple, False)
            self.peer.send(method(1, answer))
            for i in group if multiple else [pick]:
                left.remove(i)
                if fates[i][0] == "a":
                    self.successResultOf(published[i])
                elif fates[i][0] == "n":
                    self.failureResultOf(published[i], NackError)
                else:
                    message = self.failureResultOf(published[i], ReturnedError).value.message
                    self.assertEqual(message.body, b"%d" % i)
            for i in left:
                self.assertNoResult(published[i])


class GateTests(SynchronousTestCase):
    """Publishing waits for whoever cannot take more, and memory is bounded."""

    def setUp(self) -> None:
        self.peer = Peer(ConnectionParameters(max_held=1000)).open()
        self.channel = self.peer.channel()

    def test_transport_that_pauses_and_resumes(self) -> None:
        self.peer.transport.producer.pauseProducing()
        published = [self.channel.publish("", "q", b"%d" % i) for i in range(3)]
        self.assertEqual(self.peer.names(), [])
        for each in published:
            self.assertNoResult(each)
        self.peer.transport.producer.resumeProducing()
        self.assertEqual([p for kind, _, p in self.peer.frames() if kind == 3], [b"0", b"1", b"2"])
        for each in published:
            self.successResultOf(each)
        self.assertEqual(self.peer.connection.held, 0)
        self.assertIsNone(self.channel.publish("", "q", b"3"))

    def pause_inside_write(self) -> None:
        write = self.peer.transport.write

        def pausing(data: bytes) -> None:
            write(data)
            self.peer.transport.producer.pauseProducing()

        wire = self.peer.connection.wire
        wire._through = wire.write = pausing

    def test_transport_that_pauses_inside_write(self) -> None:
        self.peer = Peer(ConnectionParameters()).open()
        self.channel = self.peer.channel()
        self.peer.transport.producer.pauseProducing()
        held = [self.channel.publish("", "q", b"x" * MAX_CORKED) for _ in range(3)]
        self.pause_inside_write()
        for count in range(1, 4):
            self.peer.transport.producer.resumeProducing()
            self.assertEqual(self.peer.names(), ["Basic.Publish"])
            self.assertEqual([each.called for each in held], [True] * count + [False] * (3 - count))

    def test_what_resuming_lets_go_leaves_together(self) -> None:
        self.peer.transport.producer.pauseProducing()
        held = [self.channel.publish("", "q", b"%d" % i) for i in range(3)]
        held[1].addCallback(lambda _: self.channel.publish("", "q", b"more"))
        written: list[bytes] = []
        wire = self.peer.connection.wire
        wire._through = wire._through_now = written.append
        self.peer.transport.producer.resumeProducing()
        self.assertEqual(len(written), 1)
        self.assertIn(b"more", written[0])
        self.assertTrue(all(each.called for each in held))
        self.channel.publish("", "q", b"alone")
        self.assertEqual(len(written), 2)

    def test_alarm_and_flow(self) -> None:
        for shut, opened in (
            (method(0, ConnectionMethods.Blocked("x")), method(0, ConnectionMethods.Unblocked())),
            (method(1, ChannelMethods.Flow(False)), method(1, ChannelMethods.Flow(True))),
        ):
            self.peer.send(shut)
            published = self.channel.publish("", "q", b"x")
            self.assertNotIn("Basic.Publish", self.peer.names())
            self.peer.send(opened)
            self.assertIn("Basic.Publish", self.peer.names())
            self.successResultOf(published)

    def test_too_much_held_fails_by_name_and_cancelled_is_never_written(self) -> None:
        self.peer.transport.producer.pauseProducing()
        published = self.channel.publish("", "q", b"x" * 900)
        self.assertRaises(OutboundBufferFull, self.channel.publish, "", "q", b"x" * 900)
        published.cancel()
        self.failureResultOf(published)
        self.peer.transport.producer.resumeProducing()
        self.assertEqual(self.peer.names(), [])
        self.assertEqual(self.peer.connection.held, 0)


class AckTests(SynchronousTestCase):
    """Nothing is acked that the program did not ack, and nothing twice."""

    def setUp(self) -> None:
        self.peer = Peer().open()
        self.channel = self.peer.channel()

    def test_acks_of_one_read_leave_as_one(self) -> None:
        consumer = self.peer.consume(self.channel, RecordingConsumer(acks=True))
        self.peer.send(b"".join(deliver(1, consumer.consumer_tag, tag, b"x") for tag in range(1, 51)))
        self.assertEqual(self.peer.methods(), [Basic.Ack(50, True)])
        self.peer.send(deliver(1, consumer.consumer_tag, 51, b"x"))
        self.assertEqual(self.peer.methods(), [Basic.Ack(51, False)])

    def test_a_second_ack_is_stale(self) -> None:
        consumer = self.peer.consume(self.channel, RecordingConsumer(acks=True))
        self.peer.send(deliver(1, consumer.consumer_tag, 1, b"x"))
        self.peer.frames()
        for again in (consumer.deliveries[0].ack, consumer.deliveries[0].nack, consumer.deliveries[0].reject):
            self.assertRaises(StaleDelivery, again)
        self.assertRaises(StaleDelivery, self.channel.acks.ack, 99)
        self.assertEqual(self.peer.frames(), [])

    @given(st.data())
    @settings(deadline=None, max_examples=100)
    def test_the_wire_says_what_the_program_said(self, data: st.DataObject) -> None:
        """A broker that keeps count: any order of ack, nack, reject, and deliveries that need none in between."""
        self.setUp()
        acking = self.peer.consume(self.channel, RecordingConsumer())
        silent = self.peer.consume(self.channel, RecordingConsumer(no_ack=True))
        kinds = data.draw(st.lists(st.booleans(), min_size=1, max_size=12))
        actions = data.draw(st.permutations([tag for tag, needs in enumerate(kinds, 1) if needs]))
        settled: dict[int, str] = {}

        def act(delivery: Any) -> None:
            """Settle the next few, inside the read."""
            ready = {d.delivery_tag: d for d in acking.deliveries}
            for tag in [tag for tag in actions if tag in ready and tag not in settled][: data.draw(st.integers(0, 3))]:
                settled[tag] = data.draw(st.sampled_from(("ack", "nack", "reject")))
                getattr(ready[tag], settled[tag])()

        acking.then = act
        self.peer.send(
            b"".join(
                deliver(1, (acking if needs else silent).consumer_tag, tag, b"x") for tag, needs in enumerate(kinds, 1)
            )
        )
        unacked = {tag for tag, needs in enumerate(kinds, 1) if needs}
        heard: dict[int, str] = {}
        for each in self.peer.methods():
            assert isinstance(each, Basic.Ack | Basic.Nack | Basic.Reject)
            multiple = getattr(each, "multiple", False)
            tags = {tag for tag in unacked if tag == each.delivery_tag or (multiple and tag < each.delivery_tag)}
            self.assertIn(each.delivery_tag, unacked, "RabbitMQ answers an unknown tag with 406")
            unacked -= tags
            heard.update(dict.fromkeys(tags, each.NAME.partition(".")[2].lower()))
        self.assertEqual(heard, settled)


class StreamTests(SynchronousTestCase):
    """However a stream is cut, the same things happen; whatever is done to it, nothing else than an error does."""

    bodies = (b"", b"x", b"y" * 100, b"z" * 9000, b"w" * 100, b"")

    def stream(self) -> bytes:
        properties = BasicProperties(content_type="a/b", headers={"k": [1, {"n": None}]}).encode()
        return b"".join(
            content(1, Basic.Deliver("ctag1.1", tag, tag == 3, "ex", f"key{tag % 2}"), body, properties, 4096)
            + frame(8, 0, b"")
            for tag, body in enumerate(self.bodies, 1)
        )

    def received(self, cuts: list[int], data: bytes) -> tuple[Peer, list[Any]]:
        peer = Peer().open(frame_max=4096)
        consumer = peer.consume(peer.channel(), RecordingConsumer(acks=True))
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            peer.connection.data_received(data[start:stop])
        return peer, [
            (d.delivery_tag, d.redelivered, d.exchange, d.routing_key, d.body, d.properties.headers)
            for d in consumer.deliveries
        ]

    def test_whole(self) -> None:
        _, received = self.received([], self.stream())
        self.assertEqual([each[4] for each in received], list(self.bodies))

    @given(st.lists(st.integers(1, 10000), max_size=20))
    @settings(deadline=None, max_examples=50)
    def test_any_cut_gives_the_same(self, cuts: list[int]) -> None:
        data = self.stream()
        cuts = sorted({cut for cut in cuts if cut < len(data)})
        self.assertEqual(self.received(cuts, data)[1], self.received([], data)[1])

    def test_one_by_one_gives_the_same(self) -> None:
        data = self.stream()
        self.assertEqual(self.received(list(range(1, len(data))), data)[1], self.received([], data)[1])

    @given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(("flip", "drop", "double")))
    @settings(deadline=None, max_examples=200)
    def test_noise_ends_in_an_error_of_ours(self, at: int, mask: int, how: str) -> None:
        data = bytearray(self.stream())
        at %= len(data)
        if how == "flip":
            data[at] ^= mask
        elif how == "drop":
            del data[at]
        else:
            data.insert(at, data[at])
        peer = Peer().open(frame_max=4096)
        peer.consume(peer.channel(), RecordingConsumer())
        for half in (bytes(data[:at]), bytes(data[at:])):
            peer.connection.data_received(half)
        if peer.connection.reason is not None:
            self.assertIsInstance(peer.connection.reason, ProtocolError)


class LifeTests(SynchronousTestCase):
    """Heartbeats, the end, and what consumers hear."""

    def test_heartbeats_go_out_and_silence_ends_it(self) -> None:
        peer = Peer(ConnectionParameters(heartbeat=10)).open()
        peer.clock.advance(5)
        self.assertEqual(peer.frames(), [(8, 0, b"")])
        peer.clock.pump([5] * 3)
        self.assertEqual(peer.transport.events, ["abort"])
        peer.lose()
        self.assertIsInstance(peer.events[-1], HeartbeatTimeout)
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_orderly_close(self) -> None:
        peer = Peer().open()
        channel = peer.channel()
        peer.connection.close()
        peer.connection.close()
        self.assertEqual(peer.names(), ["Connection.Close"])
        self.assertEqual(len(channel.face.reasons), 1)
        peer.send(method(0, ConnectionMethods.CloseOk()))
        self.assertEqual(peer.transport.events, ["lose"])
        peer.lose()
        self.assertIsInstance(peer.events[-1], ConnectionClosed)
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_the_broker_closes(self) -> None:
        peer = Peer().open()
        waiting = peer.channel().call(Queue.Declare(0, "a"))
        peer.frames()
        peer.send(method(0, ConnectionMethods.Close(320, "CONNECTION_FORCED - maint", 0, 0)))
        error = self.failureResultOf(waiting, ConnectionClosed).value
        self.assertEqual((error.reply_code, error.reply_text), (320, "CONNECTION_FORCED - maint"))
        self.assertEqual(peer.names(), ["Connection.CloseOk"])
        self.assertEqual(peer.transport.events, ["lose"])

    def test_consumer_cancelled_by_the_broker(self) -> None:
        peer = Peer().open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer())
        peer.send(method(1, Basic.Cancel(consumer.consumer_tag, True)))
        (reason,) = consumer.ends
        assert isinstance(reason, ConsumerCancelled)
        self.assertEqual((reason.initiator, peer.names()), ("peer", []))

    def test_a_consumer_that_aborts_gets_no_more(self) -> None:
        peer = Peer().open()
        consumer = peer.consume(peer.channel(), RecordingConsumer())
        consumer.then = lambda _: peer.connection.abort()
        peer.send(b"".join(deliver(1, consumer.consumer_tag, tag, b"x") for tag in range(1, 4)))
        self.assertEqual(len(consumer.deliveries), 1)
