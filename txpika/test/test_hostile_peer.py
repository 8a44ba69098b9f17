"""Tests for the handshake, and for a broker that breaks the protocol: each whole, and byte by byte."""

from __future__ import annotations

import struct
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.core.frames import MAX_HEADER_FRAME
from txpika.exceptions import (
    AuthenticationError,
    ChannelClosed,
    ConnectionLost,
    FramingError,
    HandshakeError,
    HandshakeTimeout,
    IncompatibleProtocolError,
    MessageTooLarge,
    OutcomeUnknown,
    ProtocolError,
    ProtocolVersionMismatch,
)
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, Confirm, Queue
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import Peer, RecordingConsumer, content, deliver, frame, method


class BothWays(SynchronousTestCase):
    """Each test runs with the broker's bytes whole, and one by one."""

    one_by_one = False

    def peer(self, **arguments: Any) -> Peer:
        return Peer(ConnectionParameters(**arguments), self.one_by_one)

    def open(self, **arguments: Any) -> Peer:
        return self.peer(**arguments).open()


class HandshakeTests(BothWays):
    """From the first byte to an open connection."""

    def test_a_whole_one(self) -> None:
        peer = self.peer(virtual_host="here", connection_name="me")
        self.assertEqual(peer.header, b"AMQP\x00\x00\x09\x01")
        peer.start()
        (start_ok,) = peer.methods()
        assert isinstance(start_ok, ConnectionMethods.StartOk)
        self.assertEqual((start_ok.mechanism, start_ok.response), ("PLAIN", b"\0guest\0guest"))
        self.assertEqual(start_ok.client_properties["connection_name"], "me")
        peer.tune(channel_max=100, frame_max=8192, heartbeat=30)
        tune_ok, opening = peer.methods()
        self.assertEqual(tune_ok, ConnectionMethods.TuneOk(100, 8192, 30))
        assert isinstance(opening, ConnectionMethods.Open)
        self.assertEqual(opening.virtual_host, "here")
        peer.send(method(0, ConnectionMethods.OpenOk()))
        self.assertEqual(peer.events, ["opened"])

    def test_limits(self) -> None:
        """The lower one holds, 0 is none; for the heartbeat 0 takes the other's."""
        cases = [
            ((2047, 131072, 60), (10, 4096, 30), (10, 4096, 30)),
            ((0, 131072, 0), (0, 0, 0), (65535, 131072, 0)),
            ((0, 8192, 0), (5, 2**32 - 1, 65535), (5, 8192, 65535)),
            ((7, 131072, 10), (0, 0, 0), (7, 131072, 10)),
        ]
        for ours, theirs, agreed in cases:
            peer = self.peer(channel_max=ours[0], frame_max=ours[1], heartbeat=ours[2])
            peer.start()
            peer.tune(*theirs)
            self.assertIn(ConnectionMethods.TuneOk(*agreed), peer.methods())

    def test_B49_frames_below_the_smallest_are_refused(self) -> None:
        for frame_max in (1, 8, 9, 4095):
            peer = self.peer()
            peer.start()
            peer.tune(frame_max=frame_max)
            peer.lose()
            (reason,) = peer.events
            self.assertIsInstance(reason, ProtocolError)
            self.assertEqual(reason.reply_code, 502)

    def test_refused_login(self) -> None:
        peer = self.peer()
        peer.start()
        peer.send(method(0, ConnectionMethods.Close(403, "ACCESS_REFUSED", 0, 0)))
        self.assertEqual(peer.names(), ["Connection.StartOk", "Connection.CloseOk"])
        peer.lose()
        self.assertIsInstance(peer.events[0], AuthenticationError)

    def test_cut_in_each_state(self) -> None:
        for steps, error in ((0, HandshakeError), (1, AuthenticationError), (2, HandshakeError)):
            peer = self.peer()
            for step in (peer.start, peer.tune)[:steps]:
                step()
            peer.lose()
            (reason,) = peer.events
            self.assertIs(type(reason), error)
            self.assertEqual(reason.initiator, "network")

    def test_no_mechanism_in_common(self) -> None:
        peer = self.peer()
        peer.send(method(0, ConnectionMethods.Start(0, 9, {}, b"GSSAPI", b"en_US")))
        peer.lose()
        self.assertIsInstance(peer.events[0], AuthenticationError)

    def test_a_challenge_nobody_can_answer(self) -> None:
        peer = self.peer()
        peer.start()
        peer.send(method(0, ConnectionMethods.Secure(b"?")))
        peer.lose()
        self.assertIsInstance(peer.events[0], AuthenticationError)

    def test_deadline_over_all_of_it(self) -> None:
        peer = self.peer(connection_timeout=7)
        peer.clock.advance(6)
        peer.start()
        peer.clock.advance(1)
        self.assertEqual(peer.transport.events, ["abort"])
        peer.lose()
        self.assertIsInstance(peer.events[0], HandshakeTimeout)
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_B14_another_amqp(self) -> None:
        for offered in ((0, 0, 9, 0), (3, 1, 0, 0), (1, 1, 8, 0)):
            peer = self.peer()
            peer.send(b"AMQP" + bytes(offered))
            peer.lose()
            (reason,) = peer.events
            self.assertIsInstance(reason, ProtocolVersionMismatch)
            self.assertEqual(reason.offered, offered)

    def test_B15_no_amqp_at_all(self) -> None:
        for first, what in (
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
            (b"\x15\x03\x03\x00\x02\x02\x46", "TLS"),
            (b"\x00\x00", "no AMQP broker"),
        ):
            peer = self.peer()
            peer.connection.data_received(first[:1] if self.one_by_one else first)
            self.assertEqual(peer.transport.events, ["abort"])
            peer.lose()
            (reason,) = peer.events
            self.assertIsInstance(reason, IncompatibleProtocolError)
            self.assertIn(what, str(reason))

    def test_B04_a_huge_frame_before_tune(self) -> None:
        peer = self.peer()
        peer.send(struct.pack(">BHI", 1, 0, 128 * 1024 + 1))
        peer.lose()
        self.assertEqual(peer.events[0].reply_code, 501)
        self.assertEqual(peer.connection.receiver.buffered, 0)


class HandshakeOneByOneTests(HandshakeTests):
    one_by_one = True


def header(size: int, class_id: int = 60, weight: int = 0) -> bytes:
    return frame(2, 1, struct.pack(">HHQH", class_id, weight, size, 0))


DELIVER = method(1, Basic.Deliver("ctag1.1", 1, False, "", "q"))


class ViolationTests(BothWays):
    """What a broken or hostile broker sends on an open connection with one channel and one consumer."""

    def violated(self, *data: bytes) -> tuple[Peer, Any]:
        peer = self.open()
        channel = peer.channel()
        peer.consume(channel, RecordingConsumer())
        waiting = channel.call(Queue.Declare(0, "q"))
        peer.frames()
        for each in data:
            if peer.connection.reason is None:
                peer.send(each)
        reason = self.failureResultOf(waiting).value
        self.assertIs(type(reason), type(peer.connection.reason))
        return peer, peer.connection.reason

    def assert_closed(self, code: int, *data: bytes) -> None:
        """Our C{connection.close} says so."""
        peer, reason = self.violated(*data)
        self.assertIs(type(reason), ProtocolError)
        (close,) = peer.methods()
        assert isinstance(close, ConnectionMethods.Close)
        self.assertEqual((close.reply_code, reason.reply_code), (code, code))
        peer.clock.advance(100)
        self.assertEqual(peer.transport.events, ["abort"])

    def assert_cut(self, *data: bytes) -> None:
        """Nothing can be said any more."""
        peer, reason = self.violated(*data)
        self.assertIs(type(reason), FramingError)
        self.assertEqual((peer.frames(), peer.transport.events), ([], ["abort"]))

    def test_B01_size_of_4_gib(self) -> None:
        self.assert_closed(501, struct.pack(">BHI", 1, 1, 2**32 - 1))

    def test_B03_body_frame_over_frame_max(self) -> None:
        self.assert_closed(501, DELIVER, header(2**20), struct.pack(">BHI", 3, 1, 131072 - 7))

    def test_B06_header_frame_over_the_limit(self) -> None:
        self.assert_closed(501, DELIVER, struct.pack(">BHI", 2, 1, MAX_HEADER_FRAME + 1))

    def test_B07_method_frame_too_short(self) -> None:
        for size in range(4):
            self.assert_closed(501, frame(1, 1, b"\0" * size))

    def test_B08_header_frame_too_short(self) -> None:
        for size in (0, 13):
            self.assert_closed(501, DELIVER, frame(2, 1, b"\0" * size))

    def test_B09_wrong_end_octet(self) -> None:
        for data in (frame(8, 0, b""), method(1, Queue.DeclareOk("q", 0, 0)), DELIVER + header(1) + frame(3, 1, b"x")):
            self.assert_cut(data[:-1] + b"\xcd")

    def test_B10_unknown_frame_types(self) -> None:
        for kind in (0, 4, 9, 255):
            self.assert_cut(frame(kind, 0, b""))

    def test_B11_heartbeat_with_payload(self) -> None:
        self.assert_closed(501, frame(8, 0, b"x"))

    def test_B12_heartbeat_on_a_channel(self) -> None:
        self.assert_closed(503, frame(8, 1, b""))

    def test_B13_protocol_header_after_the_handshake(self) -> None:
        self.assert_cut(b"AMQP\x00\x00\x09\x01")

    def test_B17_channel_that_is_not_open(self) -> None:
        for number in (2, 2048, 65535):
            self.assert_closed(504, method(number, Basic.Ack(1)))

    def test_B19_endless_empty_body_frames(self) -> None:
        self.assert_closed(505, DELIVER, header(1), frame(3, 1, b"") * 1001)

    def test_B21_content_without_method(self) -> None:
        self.assert_closed(505, frame(3, 1, b"x"))
        self.assert_closed(505, header(1))

    def test_B22_body_without_header(self) -> None:
        self.assert_closed(505, DELIVER, frame(3, 1, b"x"))

    def test_B23_method_inside_content(self) -> None:
        self.assert_closed(505, DELIVER, header(1), DELIVER)

    def test_B25_body_overrun(self) -> None:
        self.assert_closed(505, DELIVER, header(1), frame(3, 1, b"xx"))

    def test_B27_body_after_a_body_of_0(self) -> None:
        self.assert_closed(505, DELIVER, header(0), frame(3, 1, b"x"))

    def test_B28_header_of_another_class(self) -> None:
        self.assert_closed(501, DELIVER, header(1, class_id=50))

    def test_B29_header_weight(self) -> None:
        self.assert_closed(505, DELIVER, header(1, weight=1))

    def test_B30_content_on_channel_0(self) -> None:
        self.assert_closed(504, frame(2, 0, b"\0" * 14))
        self.assert_closed(504, frame(3, 0, b"x"))

    def test_B31_methods_on_the_wrong_kind_of_channel(self) -> None:
        self.assert_closed(503, method(1, ConnectionMethods.Blocked("x")))
        self.assert_closed(503, method(0, ChannelMethods.OpenOk()))

    def test_B32_unknown_methods(self) -> None:
        self.assert_closed(503, frame(1, 1, b"\0\x63\0\x01"))
        self.assert_closed(503, frame(1, 0, b"\0\x0a\0\x63"))

    def test_B33_methods_only_a_client_sends(self) -> None:
        self.assert_closed(503, method(1, Queue.Declare(0, "q")))
        self.assert_closed(503, method(1, Basic.Publish(0, "", "q")))

    def test_B34_replies_nothing_asked_for(self) -> None:
        self.assert_closed(503, method(1, Queue.BindOk()))
        self.assert_closed(503, content(1, Basic.GetOk(1, False, "", "q", 0), b"x"))

    def test_B35_a_second_handshake(self) -> None:
        self.assert_closed(503, method(0, ConnectionMethods.Tune(1, 8192, 1)))

    def test_B36_replies_of_another_state(self) -> None:
        self.assert_closed(504, method(1, ChannelMethods.OpenOk()))
        self.assert_closed(504, method(1, ChannelMethods.CloseOk()))

    def test_B40_delivery_tags_out_of_order(self) -> None:
        self.assert_closed(505, deliver(1, "ctag1.1", 0, b"x"))
        self.assert_closed(505, deliver(1, "ctag1.1", 1, b"x") + deliver(1, "ctag1.1", 1, b"x"))

    def test_B51_short_string_past_the_end(self) -> None:
        self.assert_closed(501, frame(1, 1, b"\0\x3c\0\x3c\xff"))


class ViolationOneByOneTests(ViolationTests):
    one_by_one = True


class ToleranceTests(BothWays):
    """Strange, and allowed."""

    def test_B05_header_frame_over_frame_max(self) -> None:
        peer = Peer(ConnectionParameters(frame_max=8192), self.one_by_one).open()
        consumer = peer.consume(peer.channel(), RecordingConsumer())
        text = b"x" * 200
        table = b"".join(b"\x04%04d" % i + b"S" + struct.pack(">I", 200) + text for i in range(100))
        properties = b"\x20\x00" + struct.pack(">I", len(table)) + table
        peer.send(content(1, Basic.Deliver("ctag1.1", 1, False, "", "q"), b"body", properties))
        headers = consumer.deliveries[0].properties.headers
        self.assertEqual(len(headers or {}), 100)

    def test_B02_B20_B24_bodies_as_large_as_may_be_and_interleaved(self) -> None:
        peer = self.open()
        one, two = peer.channel(), peer.channel()
        first, second = peer.consume(one, RecordingConsumer()), peer.consume(two, RecordingConsumer())
        large = bytes(range(256)) * 513  # more than one frame
        data = content(1, Basic.Deliver(first.consumer_tag, 1, False, "", "q"), large)
        other = deliver(2, second.consumer_tag, 1, b"other")
        head, cut = len(method(1, Basic.Deliver(first.consumer_tag, 1, False, "", "q"))) + 22, 131072
        peer.send(data[: head + cut] + other + frame(3, 1, b"") + data[head + cut :])
        self.assertEqual([d.body for d in first.deliveries], [large])
        self.assertEqual([d.body for d in second.deliveries], [b"other"])

    def test_B26_a_body_over_the_limit_is_rejected_and_life_goes_on(self) -> None:
        peer = self.open(max_body_size=10)
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer())
        peer.send(deliver(1, consumer.consumer_tag, 1, b"x" * 11) + deliver(1, consumer.consumer_tag, 2, b"x" * 10))
        self.assertEqual([d.delivery_tag for d in consumer.deliveries], [2])
        self.assertEqual(peer.methods(), [Basic.Reject(1, False)])
        self.assertIsInstance(channel.face.errors[0], MessageTooLarge)

    def test_B37_closes_that_cross(self) -> None:
        peer = self.open()
        channel = peer.channel()
        channel.close()
        peer.send(method(1, ChannelMethods.Close(404, "x", 0, 0)) + method(1, ChannelMethods.CloseOk()))
        self.assertEqual(peer.names(), ["Channel.Close", "Channel.CloseOk"])
        self.assertEqual(len(channel.face.reasons), 1)
        peer.connection.close()
        peer.send(method(0, ConnectionMethods.Close(320, "x", 0, 0)) + method(0, ConnectionMethods.CloseOk()))
        self.assertEqual(peer.names(), ["Connection.Close", "Connection.CloseOk"])
        self.assertEqual(peer.transport.events, ["lose"])
        peer.lose()
        self.assertEqual(len(peer.events), 2)

    def test_B37_a_close_that_meets_one_which_still_waits(self) -> None:
        peer = self.open()
        channel = peer.channel()
        declared = channel.call(Queue.Declare(0, "q", True))
        channel.close()
        peer.send(method(1, ChannelMethods.Close(404, "NOT_FOUND", 50, 10)))
        self.assertEqual(self.failureResultOf(declared, ChannelClosed).value.reply_code, 404)
        self.assertEqual(peer.names(), ["Queue.Declare", "Channel.CloseOk"])
        (reason,) = channel.face.reasons
        self.assertEqual((reason.reply_code, reason.class_id, reason.initiator), (404, 50, "peer"))
        self.assertEqual(peer.connection.channels, {})

    def test_B38_frames_after_close(self) -> None:
        peer = self.open()
        peer.channel()
        peer.send(method(0, ConnectionMethods.Close(320, "bye", 0, 0)) + b"\xff" * 100)
        self.assertEqual(peer.names(), ["Connection.CloseOk"])
        self.assertEqual(peer.transport.events, ["lose"])

    def test_B39_delivery_after_cancel_goes_back(self) -> None:
        peer = self.open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer())
        cancelled = channel.consumers.cancel(consumer.consumer_tag)
        peer.send(method(1, Basic.CancelOk(consumer.consumer_tag)) + deliver(1, consumer.consumer_tag, 1, b"x"))
        self.assertIsNone(self.successResultOf(cancelled))
        self.assertEqual(peer.methods(), [Basic.Cancel(consumer.consumer_tag), Basic.Nack(1, False, True)])
        self.assertEqual((consumer.deliveries, consumer.ends), ([], [None]))

    def test_B41_confirmation_of_what_was_not_published(self) -> None:
        peer = self.open()
        channel = peer.channel()
        selected = channel.confirm_select()
        peer.send(method(1, Confirm.SelectOk()))
        self.successResultOf(selected)
        published = channel.publish("", "q", b"x")
        peer.frames()
        peer.send(method(1, Basic.Ack(2)))
        self.failureResultOf(published, OutcomeUnknown)
        (close,) = peer.methods()
        assert isinstance(close, ChannelMethods.Close)
        self.assertEqual(close.reply_code, 406)
        self.assertIsNone(peer.connection.reason)

    def test_B16_the_end_in_the_middle_of_a_frame(self) -> None:
        peer = self.open()
        waiting = peer.channel().call(Queue.Declare(0, "q"))
        peer.send(method(1, Queue.DeclareOk("q", 0, 0))[:-5])
        peer.lose()
        self.failureResultOf(waiting, ConnectionLost)

    def test_B18_frames_on_every_channel_keep_no_state(self) -> None:
        peer = self.open()
        peer.send(method(2, Basic.Ack(1)) + b"".join(method(number, Basic.Ack(1)) for number in range(3, 50)))
        reason = peer.connection.reason
        assert isinstance(reason, ProtocolError)
        self.assertEqual((reason.reply_code, len(peer.connection.channels)), (504, 0))

    def test_B42_a_confirmation_of_everything_there_could_be(self) -> None:
        peer = self.open()
        channel = peer.channel()
        channel.confirm_select()
        peer.send(method(1, Confirm.SelectOk()))
        published = channel.publish("", "q", b"x")
        peer.frames()
        peer.send(method(1, Basic.Ack(2**64 - 1, True)))
        self.failureResultOf(published, OutcomeUnknown)
        self.assertEqual(peer.names(), ["Channel.Close"])

    def test_B44_confirmations_and_returns_nobody_waits_for(self) -> None:
        peer = self.open()
        channel = peer.channel()
        peer.send(method(1, Basic.Ack(1)) + method(1, Basic.Nack(1)))
        peer.send(content(1, Basic.Return(312, "NO_ROUTE", "", "q"), b"x"))
        self.assertEqual((peer.connection.reason, channel.reason), (None, None))
        self.assertEqual([message.body for message in channel.face.messages], [b"x"])

    def test_B47_flow(self) -> None:
        peer = self.open()
        channel = peer.channel()
        peer.send(method(1, ChannelMethods.Flow(False)))
        published = channel.publish("", "q", b"x")
        self.assertNoResult(published)
        peer.send(method(1, ChannelMethods.Flow(True)))
        self.successResultOf(published)
        self.assertEqual(peer.names(), ["Channel.FlowOk", "Channel.FlowOk", "Basic.Publish"])

    def test_B48_greetings(self) -> None:
        for greeting, error in (
            (ConnectionMethods.Start(0, 9, {}, b"", b"en_US"), AuthenticationError),
            (ConnectionMethods.Start(8, 0, {}, b"PLAIN", b"en_US"), ProtocolVersionMismatch),
        ):
            peer = self.peer()
            peer.send(method(0, greeting))
            peer.lose()
            self.assertIsInstance(peer.events[0], error)
        peer = self.peer()
        peer.send(method(0, ConnectionMethods.Start(0, 9, {"k": "x" * 100_000}, b"PLAIN", b"en_US")))
        self.assertEqual(peer.names(), ["Connection.StartOk"])

    def test_B73_bytes_after_the_arguments(self) -> None:
        peer = self.open()
        waiting = peer.channel().call(Queue.Declare(0, "q"))
        peer.send(frame(1, 1, Queue.DeclareOk("q", 1, 2).encode() + b"padding"))
        self.assertEqual(self.successResultOf(waiting).message_count, 1)
        self.assertEqual(sum(peer.connection.ignored.values()), 1)

    def test_B46_blocked_twice(self) -> None:
        peer = self.open()
        peer.send(method(0, ConnectionMethods.Unblocked()))
        peer.send(method(0, ConnectionMethods.Blocked("low on memory")) * 2)
        self.assertEqual(peer.events, ["opened", ("blocked", "low on memory")])

    def test_B50_close_with_any_code(self) -> None:
        for code in (0, 65535):
            peer = self.open()
            channel = peer.channel()
            peer.send(method(1, ChannelMethods.Close(code, "\x1b[31m\n", 99, 98)))
            (reason,) = channel.face.reasons
            self.assertEqual((reason.reply_code, reason.class_id, reason.method_id), (code, 99, 98))
            self.assertNotIn("\n", str(reason))


class ToleranceOneByOneTests(ToleranceTests):
    one_by_one = True
