"""Tests for what is remembered of frames: it must not lead anywhere that the general road would not."""

from __future__ import annotations

import struct

from twisted.trial.unittest import SynchronousTestCase

from txpika.core import frames, shortcuts
from txpika.core.channel import Channel
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties
from txpika.spec import Channel as ChannelMethods
from txpika.test.counting import count_calls, count_lines
from txpika.test.fakes import Peer, RecordingConsumer, content, deliver, deliveries, frame, method


class PiecesTests(SynchronousTestCase):
    """A large frame in many reads."""

    def test_few_are_kept(self) -> None:
        peer = Peer(ConnectionParameters()).open()
        peer.consume(peer.channel(), RecordingConsumer())
        receiver = peer.connection.receiver
        large = BasicProperties(headers={str(number): "x" * 1000 for number in range(100)}).encode()
        data = content(1, Basic.Deliver("ctag1.1", 1, False, "", "q"), b"x", large)
        most = 0
        for at in range(0, len(data), 8):
            peer.connection.data_received(data[at : at + 8])
            most = max(most, len(receiver._pieces))
            self.assertLessEqual(receiver.buffered, at + 8)
        self.assertEqual(receiver.buffered, 0)
        self.assertEqual(most, frames.MAX_PIECES - 1)


class ShortcutTests(SynchronousTestCase):
    """Deliveries to consumers on two channels, which came the same way before."""

    def setUp(self) -> None:
        self.peer = Peer(ConnectionParameters()).open()
        self.channels = [self.peer.channel(), self.peer.channel()]
        self.consumers = [self.consume(channel) for channel in self.channels]
        for number in (1, 2):
            self.peer.send(deliver(number, "t", 1, b"x"))

    def consume(self, channel: Channel, tag: str = "t") -> RecordingConsumer:
        consumer = RecordingConsumer()
        consumer.consumer_tag = tag
        return self.peer.consume(channel, consumer)

    def bodies(self) -> list[list[bytes]]:
        return [[delivery.body for delivery in consumer.deliveries] for consumer in self.consumers]

    def test_the_header_of_another_channel(self, before: bytes = b"", of_second: int = 1) -> None:
        header = struct.pack(">HHQ", 60, 0, 1) + b"\0\0"
        announced = frame(1, 1, Basic.Deliver("t", 2, False, "", "q").encode())
        self.peer.send(before + announced + frame(2, 2, header) + frame(3, 1, b"x"))
        self.assertEqual(self.bodies(), [[b"x"], [b"x"] * of_second])
        assert self.peer.connection.reason is not None
        self.assertEqual(self.peer.connection.reason.reply_code, 505)

    def test_the_header_of_the_channel_before(self) -> None:
        """It is just like the one that was right a moment ago."""
        self.test_the_header_of_another_channel(deliver(2, "t", 2, b"x"), 2)

    def test_the_body_of_another_channel(self) -> None:
        header = struct.pack(">HHQ", 60, 0, 1) + b"\0\0"
        announced = frame(1, 1, Basic.Deliver("t", 2, False, "", "q").encode())
        self.peer.send(announced + frame(2, 1, header) + frame(3, 2, b"x"))
        self.assertEqual(self.bodies(), [[b"x"], [b"x"]])
        assert self.peer.connection.reason is not None
        self.assertEqual(self.peer.connection.reason.reply_code, 505)

    def test_the_content_of_another_channel(self) -> None:
        """All but the method is of the channel whose deliveries came before."""
        self.peer.send(deliver(2, "t", 2, b"x") + deliver(1, "t", 2, b"x")[:20] + deliver(2, "t", 3, b"x")[20:])
        self.assertEqual(self.bodies(), [[b"x"], [b"x", b"x"]])
        assert self.peer.connection.reason is not None
        self.assertEqual(self.peer.connection.reason.reply_code, 505)

    def test_content_of_another_class(self) -> None:
        """On a way that is not known yet, so that it would be learned."""
        announced = frame(1, 1, Basic.Deliver("t", 2, False, "", "other").encode())
        self.peer.send(announced + frame(2, 1, struct.pack(">HHQ", 61, 0, 1) + b"\0\0") + frame(3, 1, b"x"))
        self.assertEqual(self.bodies()[0], [b"x"])
        assert self.peer.connection.reason is not None
        self.assertEqual(self.peer.connection.reason.reply_code, 501)

    def test_properties_that_look_like_the_end_of_the_header(self) -> None:
        """What a publisher writes into its properties stays there, even where those of the message before ended."""
        forged = b"\xce" + frame(3, 1, b"x") + deliver(1, "t", 6, b"forged")
        crafted = BasicProperties(headers={"k": forged}).encode()
        usual, as_long = (BasicProperties(headers={"k": b"z" * size}).encode() for size in (0, len(forged)))
        self.assertEqual((len(usual), len(as_long)), (crafted.index(forged), len(crafted)))
        sent = [
            content(1, Basic.Deliver("t", tag, False, "", "q"), b"x", properties)
            for tag, properties in enumerate((usual, as_long, usual, crafted, usual), 2)
        ]
        self.peer.send(b"".join(sent[:2]))
        self.peer.send(b"".join(sent[2:]))
        self.assertEqual(self.bodies()[0], [b"x"] * 6)
        self.assertEqual(self.consumers[0].deliveries[4].encoded_properties, crafted)

    def test_an_empty_body_frame_is_no_property(self) -> None:
        """It may stand before the one that is not, where eight octets more of properties were."""
        none, more = (BasicProperties(type=text).encode() for text in (None, "1234567"))
        self.assertEqual(len(more) - len(none), len(frame(3, 1, b"")))
        plain, with_more = (
            content(1, Basic.Deliver("t", tag, False, "", "q"), b"x", each) for tag, each in ((2, none), (3, more))
        )
        last = content(1, Basic.Deliver("t", 4, False, "", "q"), b"x", none)
        at = len(last) - len(frame(3, 1, b"x"))
        self.peer.send(plain + with_more + last[:at] + frame(3, 1, b"") + last[at:])
        self.assertEqual([each.encoded_properties for each in self.consumers[0].deliveries[1:]], [none, more, none])

    def test_an_empty_body_frame(self) -> None:
        """A message without a body ends with its header, so the frame belongs to nothing."""
        self.peer.send(deliver(1, "t", 2, b"") + frame(3, 1, b"") + deliver(1, "t", 3, b"x"))
        self.assertEqual(self.bodies()[0], [b"x", b""])
        assert self.peer.connection.reason is not None
        self.assertEqual(self.peer.connection.reason.reply_code, 505)

    def test_a_delivery_in_the_middle_of_another(self) -> None:
        announced = frame(1, 1, Basic.Deliver("t", 2, False, "", "q").encode())
        self.peer.send(announced + deliver(1, "t", 3, b"x"))
        self.assertEqual(self.bodies()[0], [b"x"])
        assert self.peer.connection.reason is not None
        self.assertEqual(self.peer.connection.reason.reply_code, 505)

    def test_one_that_cancels_in_the_middle_of_a_run(self) -> None:
        """What comes for it later in the same read is not its any more, and goes back."""
        self.consumers[0].then = lambda delivery: self.channels[0].consumers.cancel("t", nowait=True)
        self.peer.send(deliveries(2, *[b"y"] * 5))
        self.assertEqual(self.bodies()[0], [b"x", b"y"])
        refused = [each.delivery_tag for each in self.peer.methods() if isinstance(each, Basic.Reject | Basic.Nack)]
        self.assertEqual(refused, [3, 4, 5, 6])

    def test_one_that_cancels_its_neighbour_in_the_middle_of_a_run(self) -> None:
        neighbour = self.consume(self.channels[0], "u")
        self.peer.send(deliver(1, "u", 2, b"x"))
        neighbour.then = lambda delivery: self.channels[0].consumers.cancel("t", nowait=True)
        self.peer.send(deliver(1, "t", 3, b"y") + deliver(1, "u", 4, b"y") + deliver(1, "t", 5, b"y"))
        self.assertEqual(self.bodies()[0], [b"x", b"y"])
        self.assertEqual([delivery.body for delivery in neighbour.deliveries], [b"x", b"y"])
        refused = [each.delivery_tag for each in self.peer.methods() if isinstance(each, Basic.Reject | Basic.Nack)]
        self.assertEqual(refused, [5])

    def test_a_run_goes_on_after_something_was_forgotten(self) -> None:
        """It costs what it did before, which is less than one after the other."""

        def lines(*reads: bytes) -> int:
            return count_lines(lambda: self.peer.send_each(reads))

        before = lines(deliveries(2, *[b"y"] * 100))
        self.channels[1].consumers.cancel("t", nowait=True)
        self.assertLess(lines(deliveries(102, *[b"y"] * 100)), before * 1.1)
        self.assertLess(before * 2, lines(*[deliver(1, "t", tag, b"y") for tag in range(202, 302)]))

    def test_all_is_forgotten_in_the_middle(self) -> None:
        """However much there is to remember, each comes once, in order."""
        self.patch(shortcuts, "MAX_REMEMBERED", 3)
        wanted, sent = [], b""
        for tag in range(2, 60):
            body = b"%d" % tag
            key = "k" * (tag % 7)
            properties = BasicProperties(message_id="i" * (tag % 5)).encode()
            sent += content(1, Basic.Deliver("t", tag, False, "", key), body, properties)
            wanted.append(body)
            if tag in (20, 21, 23, 59):  # one in a read, or some, or many
                self.peer.send(sent)
                sent = b""
        self.assertEqual(self.bodies()[0][1:], wanted)
        kept = self.peer.connection.receiver._shortcuts
        layouts = [layout for shape in kept.shapes.values() for layout in shape.layouts.values()]
        keys = [key for known in kept._known.values() for key in known.keys]
        for remembered in (kept.shapes, keys, layouts, [route for layout in layouts for route in layout[-1]]):
            self.assertLessEqual(len(remembered), 4)

    def test_all_in_one_read(self) -> None:
        self.patch(shortcuts, "MAX_REMEMBERED", 2)
        self.peer.send(b"".join(deliver(1, "t", tag, b"%d" % tag, routing_key=f"key{tag % 5}") for tag in range(2, 30)))
        self.assertEqual(self.bodies()[0][1:], [b"%d" % tag for tag in range(2, 30)])

    def test_the_end_of_one_consumer_costs_the_others_nothing(self) -> None:
        consumers = {tag: self.consume(self.channels[0], tag) for tag in "abc"}
        self.consumers[0].deliveries.clear()
        tags = iter(range(2, 100))

        def one_each() -> int:
            data = b"".join(deliver(1, tag, next(tags), b"x") for tag in "bc")
            return count_calls(lambda: self.peer.connection.data_received(data))

        one_each()
        before = one_each()
        self.channels[0].consumers.cancel("a")
        self.peer.send(method(1, Basic.CancelOk("a")))
        self.assertEqual(one_each(), before)
        self.assertEqual([len(consumers[tag].deliveries) for tag in "abc"], [0, 3, 3])

    def test_many_sizes_of_headers_cost_no_more(self) -> None:
        tags = iter(range(2, 10_000))

        def of_sizes(sizes: range) -> float:
            data = b"".join(
                content(
                    1, Basic.Deliver("t", next(tags), False, "", "q"), b"x", BasicProperties(type="t" * size).encode()
                )
                for size in sizes
            )
            return count_calls(lambda: self.peer.connection.data_received(data)) / len(sizes)

        of_sizes(range(200))
        self.assertLess(of_sizes(range(200)), 1.3 * of_sizes(range(3)))

    def test_each_way_is_learned_once(self) -> None:
        routes = [content(1, Basic.Deliver("t", tag, False, "", f"key{tag}"), b"x", b"\0\0") for tag in range(2, 52)]
        calls = count_calls(lambda: self.peer.send(b"".join(routes)))
        self.assertEqual(len(self.bodies()[0]), 51)
        self.assertLess(calls, 11 * len(routes))  # PyPy makes a few more than CPython

    def test_a_number_that_is_used_again(self) -> None:
        self.channels[0].close()
        self.peer.send(method(1, ChannelMethods.CloseOk()))
        again = self.peer.channel()
        while again.number != 1:
            again = self.peer.channel()
        consumer = self.consume(again)
        for tag in (1, 2):  # the first of the new channel, and the second, which the old one would wait for
            self.peer.send(deliver(1, "t", tag, b"new"))
        self.assertEqual([delivery.body for delivery in consumer.deliveries], [b"new", b"new"])
        self.assertEqual(self.bodies()[0], [b"x"])
