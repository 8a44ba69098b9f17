"""
Tests that the work for a message does not grow with what else there is on its connection. They count lines of Python,
not time; what C{list} or C{dict} do in one line is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.channel import Channel
from txpika.core import wire
from txpika.core.acks import LEAP
from txpika.message import Delivery
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties
from txpika.spec import Channel as Methods
from txpika.test.counting import count_lines
from txpika.test.fakes import CallbackPeer, TwistedPeer, deliver, frame, method

PROPERTIES = BasicProperties(delivery_mode=1)

#: What is done, made ready: run it to do it.
Work = Callable[[], object]


class Watched(dict[Any, Any]):
    """
    A dictionary that can be seen to be walked through.

    @ivar seen: How many keys were looked at by iterating.
    """

    seen = 0

    def __iter__(self) -> Iterator[Any]:
        for key in super().__iter__():
            self.seen += 1
            yield key


def acks(number: int, first: int, last: int) -> list[bytes]:
    """The broker's confirmation of each publish from C{first} to before C{last}."""
    return [method(number, Basic.Ack(tag)) for tag in range(first, last)]


class FlatTestCase(SynchronousTestCase):
    """A connection that forgets what is written to it."""

    def peer(self, **parameters: Any) -> TwistedPeer:
        peer = TwistedPeer(ConnectionParameters(heartbeat=0, **parameters)).open(heartbeat=0)
        self.deafen(peer)
        return peer

    def deafen(self, peer: Any) -> None:
        """The transport of C{peer} keeps nothing from now on, as to keep it takes longer and longer."""
        out = peer.connection.wire
        peer.transport.write = out._out = out._through = out.write = out._through_now = lambda data: None

    def channel(self, peer: TwistedPeer, confirms: bool = False) -> Channel:
        opened = peer.protocol.channel()
        number = next(reversed(peer.connection.channels))
        peer.send(method(number, Methods.OpenOk()))
        channel = self.successResultOf(opened)
        if confirms:
            peer.confirming(channel)
        return channel

    def assert_flat(self, work: Callable[[int], Work], few: int, many: int) -> None:
        """
        Half as much again is let pass: what is like the one before may take a shorter road.

        @param work: Makes ready what is to be done the same number of times, where there are so many.
        """
        with_few, with_many = count_lines(work(few)), count_lines(work(many))
        self.assertGreater(with_few, 1000)
        self.assertLess(with_many, with_few * 1.5, f"with {few} it takes {with_few}")


class ManyChannelsTests(FlatTestCase):
    """From one channel to a thousand."""

    def test_publishing(self) -> None:
        def work(count: int) -> Work:
            peer = self.peer()
            publishes = [self.channel(peer).basic_publish for _ in range(count)] * (1000 // count)
            for publish in publishes:
                publish("", "q", b"x", PROPERTIES)
            return lambda: [publish("", "q", b"x", PROPERTIES) for publish in publishes]

        self.assert_flat(work, 1, 1000)

    def test_confirms(self) -> None:
        def work(count: int) -> Work:
            peer = self.peer()
            channels = [self.channel(peer, confirms=True) for _ in range(count)]
            each = 1000 // count

            def publish() -> None:
                for channel in channels:
                    for _ in range(each):
                        channel.basic_publish("", "q", b"x", PROPERTIES)

            def confirm(first: int) -> bytes:
                return b"".join(b"".join(acks(channel.channel_number, first, first + each)) for channel in channels)

            publish()
            peer.send(confirm(1))
            answers = confirm(1 + each)

            def once_more() -> None:
                publish()
                peer.send(answers)

            return once_more

        self.assert_flat(work, 1, 1000)

    def test_confirms_while_reading_is_paused(self) -> None:
        """One consumer has enough: reading goes on for each confirmation, and pauses again."""

        def work(count: int) -> Work:
            peer = self.peer()
            channels = [self.channel(peer, confirms=True) for _ in range(count)]
            peer.connection.intake.hold(self)
            answers = acks(1, 1, 601)

            def publish() -> None:
                for _ in range(300):
                    answer = answers.pop(0)
                    channels[0].basic_publish("", "q", b"x", PROPERTIES)
                    self.assertTrue(peer.transport.reading)
                    peer.send(answer)
                    self.assertFalse(peer.transport.reading)

            publish()
            return publish

        self.assert_flat(work, 1, 1000)

    def test_one_waits_for_long_while_others_go_on(self) -> None:
        """Somebody has enough, so each read ends with the question whether anybody waits."""

        def work(count: int) -> Work:
            peer = self.peer()
            channels = [self.channel(peer, confirms=True) for _ in range(count)]
            channels[-1].queue_declare("q")
            for channel in channels[:-1]:
                channel.basic_publish("", "q", b"x", PROPERTIES)
                peer.send(method(channel.channel_number, Basic.Ack(1)))
            peer.connection.intake.hold(self)

            def read() -> None:
                for _ in range(300):
                    peer.send(frame(8, 0, b""))
                    self.assertTrue(peer.transport.reading)

            read()
            return read

        self.assert_flat(work, 2, 1000)

    def test_a_close_that_waits_for_them(self) -> None:
        def work(count: int) -> Work:
            peer = self.peer()
            channels = [self.channel(peer, confirms=True) for _ in range(count)]
            each = 1000 // count
            for channel in channels:
                for _ in range(each):
                    channel.basic_publish("", "q", b"x", PROPERTIES)
            peer.protocol.close()
            answers = [answer for channel in channels for answer in acks(channel.channel_number, 1, each + 1)]
            del answers[-1]
            return partial(peer.send_each, answers)

        self.assert_flat(work, 1, 1000)

    def test_messages_that_wait_for_the_transport(self) -> None:
        """It takes three at a time, each as it is written."""
        self.patch(wire, "MAX_CORKED", 0)
        for count in (1, 1000):
            peer = self.peer()
            peer.connection.holding = holding = Watched()
            channels = [self.channel(peer) for _ in range(count)]
            peer.connection.pauseProducing()
            for number in range(3000):
                channels[number % count].basic_publish("", "q", b"x", PROPERTIES)
            self.assertEqual(len(holding), count)
            written: list[bytes] = []

            def write(data: bytes) -> None:
                written.append(data)  # noqa: B023
                if not len(written) % 3:  # noqa: B023
                    peer.connection.pauseProducing()  # noqa: B023

            peer.connection.wire._through = peer.connection.wire.write = write
            turns = 0
            while holding:
                turns += 1
                peer.connection.resumeProducing()
            self.assertEqual(len(written), 3000)
            self.assertLessEqual(turns, 1001)
            self.assertLessEqual(holding.seen, 3000 + turns)


class ManyConsumersTests(FlatTestCase):
    """From one consumer to a thousand."""

    def consuming(self, peer: TwistedPeer, channel: Channel, tags: list[str], take: Any, **more: Any) -> None:
        for tag in tags:
            channel.basic_consume("q", take, consumer_tag=tag, **more)
            peer.send(method(channel.channel_number, Basic.ConsumeOk(tag)))

    def test_of_one_channel(self) -> None:
        for no_ack in (True, False):

            def work(count: int) -> Work:
                peer = self.peer()
                channel = self.channel(peer)
                tags = [f"tag{number:04}" for number in range(count)]

                def take(delivery: Delivery) -> None:
                    if not no_ack:  # noqa: B023
                        delivery.ack()

                self.consuming(peer, channel, tags, take, no_ack=no_ack)  # noqa: B023

                def data(first: int) -> bytes:
                    return b"".join(
                        deliver(1, tags[n % count], n, b"x", f"q{n % count:04}") for n in range(first, first + 1000)
                    )

                peer.send(data(1))
                more = data(1001)
                return lambda: peer.send(more)

            self.assert_flat(work, 1, 1000)

    def test_of_as_many_channels(self) -> None:
        """Each channel has an ack of its own to write, so there is one read for each message here."""

        def work(count: int) -> Work:
            peer = self.peer()
            channels = [self.channel(peer) for _ in range(count)]
            for channel in channels:
                self.consuming(peer, channel, ["tag"], lambda delivery: delivery.ack())
            each = 1000 // count

            def data(first: int) -> list[bytes]:
                return [deliver(c.channel_number, "tag", n, b"x") for c in channels for n in range(first, first + each)]

            for read in data(1):
                peer.send(read)
            more = data(1 + each)
            return partial(peer.send_each, more)

        self.assert_flat(work, 1, 1000)

    def test_channels_without_one_come_and_go(self) -> None:
        """What was learned of the consumers of others need not be learned anew."""

        def work(count: int) -> Work:
            peer = self.peer()
            channel = self.channel(peer)
            tags = [f"tag{number:04}" for number in range(1000)]
            self.consuming(peer, channel, tags, lambda delivery: None, no_ack=True)

            def data(first: int) -> bytes:
                return b"".join(deliver(1, tags[n % 1000], n, b"x") for n in range(first, first + 1000))

            peer.send(data(1))
            for _ in range(count):
                other = self.channel(peer)
                other.close()
                peer.send(method(other.channel_number, Methods.CloseOk()))
            more = data(1001)
            return lambda: peer.send(more)

        self.assert_flat(work, 0, 1)

    def test_callbacks(self) -> None:
        def work(count: int) -> Work:
            peer = CallbackPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
            self.deafen(peer)
            opened: list[Any] = []
            peer.face.channel(opened.append)
            peer.send(method(1, Methods.OpenOk()))
            (channel,) = opened
            tags = [f"tag{number:04}" for number in range(count)]
            for tag in tags:
                channel.basic_consume(
                    lambda channel, how, *_: channel.basic_ack(how.delivery_tag), "q", consumer_tag=tag
                )
                peer.send(method(1, Basic.ConsumeOk(tag)))

            def data(first: int) -> bytes:
                return b"".join(deliver(1, tags[n % count], n, b"x") for n in range(first, first + 1000))

            peer.send(data(1))
            more = data(1001)
            return lambda: peer.send(more)

        self.assert_flat(work, 1, 1000)


class ManyUnackedTests(FlatTestCase):
    """From ten deliveries that wait for their ack to many thousands."""

    MESSAGES = 5000

    def setUp(self) -> None:
        self.got: list[Delivery] = []

    def consuming(self) -> TwistedPeer:
        peer = self.peer()
        self.opened = self.channel(peer)
        peer.connection.channels[1].acks.unacked = self.unacked = Watched()
        self.got = []
        self.opened.basic_consume("q", self.got.append, consumer_tag="t")
        peer.send(method(1, Basic.ConsumeOk("t")))
        return peer

    def check(self, order: Callable[[list[Delivery]], list[Delivery]], **settling: Any) -> None:
        """
        @param order: Of deliveries that came, in which order to ack which.
        @param settling: Arguments of the ack.
        """

        def work(count: int) -> Work:
            peer = self.consuming()
            data = [deliver(1, "t", tag, b"x") for tag in range(1, self.MESSAGES + 1)]
            reads = [b"".join(data[at : at + 10]) for at in range(0, len(data), 10)]

            def deliver_and_ack() -> None:
                for read in reads:
                    peer.send(read)
                    if len(self.got) == count:
                        for delivery in order(self.got):
                            delivery.ack(**settling)
                        self.got.clear()
                self.assertEqual((self.got, self.unacked), ([], {}))

            return deliver_and_ack

        self.assert_flat(work, 10, self.MESSAGES)
        self.assertLess(self.unacked.seen, 20)

    def test_acks_in_order(self) -> None:
        self.check(lambda got: got)

    def test_acks_in_reverse_order(self) -> None:
        self.check(lambda got: got[::-1])

    def test_acks_at_random(self) -> None:
        self.check(lambda got: Random(7).sample(got, len(got)))

    def test_several_at_once(self) -> None:
        self.check(lambda got: got[9::10], multiple=True)

    def test_every_second_one_is_kept_for_long(self) -> None:
        """What was delivered later is acked long before it: nobody walks over what lies between."""

        def work(count: int) -> Work:
            peer = self.consuming()
            pairs = [
                deliver(1, "t", tag, b"x") + deliver(1, "t", tag + 1, b"x")
                for tag in range(1, 2 * count + self.MESSAGES, 2)
            ]
            for pair in pairs[:count]:
                peer.send(pair)
                self.got.pop().ack()

            def deliver_and_ack() -> None:
                for pair in pairs[count:]:
                    peer.send(pair)
                    self.got.pop().ack()
                    self.got.pop(0).ack()

            return deliver_and_ack

        self.assert_flat(work, 10, self.MESSAGES)
        self.assertLess(self.unacked.seen, 20)

    def test_after_a_backlog_among_deliveries_that_need_no_ack(self) -> None:
        """
        A dictionary that was large stays so, and to find its first key passes over all that were before: it is asked
        for that once in many tags only.
        """
        peer = self.consuming()
        self.opened.basic_consume("q", lambda delivery: None, consumer_tag="n", no_ack=True)
        peer.send(method(1, Basic.ConsumeOk("n")))
        for tag in range(1, 1001):
            peer.send(deliver(1, "t", tag, b"x"))
        for delivery in self.got:
            delivery.ack()
        self.got.clear()
        seen = self.unacked.seen
        for tag in range(1001, 4001, 3):
            peer.send(deliver(1, "n", tag, b"x") + deliver(1, "t", tag + 1, b"x") + deliver(1, "t", tag + 2, b"x"))
            self.got.pop(0).ack()
            self.got.pop(0).ack()
        self.assertEqual(self.unacked, {})
        self.assertEqual(self.unacked.seen, seen)
        self.assertEqual(peer.connection.channels[1].acks._settled, 4000)

    def test_many_without_an_ack_are_passed_over_at_once(self) -> None:
        peer = self.consuming()
        self.opened.basic_consume("q", lambda delivery: None, consumer_tag="n", no_ack=True)
        peer.send(method(1, Basic.ConsumeOk("n")))
        peer.send(deliver(1, "t", 1, b"x"))
        peer.send(b"".join(deliver(1, "n", tag, b"x") for tag in range(2, 5002)))
        peer.send(deliver(1, "t", 5002, b"x") + deliver(1, "t", 5003, b"x") + deliver(1, "t", 5004, b"x"))
        self.got[0].ack()
        self.assertLess(count_lines(self.got[2].ack), 3 * LEAP)  # to pass over each: 10,000 lines
        self.assertEqual(peer.connection.channels[1].acks._settled, 5001)


class ManyOutstandingTests(FlatTestCase):
    """From ten publishes whose outcome is not known yet to many thousands."""

    MESSAGES = 5000

    def check(self, order: Callable[[list[bytes]], list[bytes]], mandatory: bool = False) -> None:
        def work(count: int) -> Work:
            peer = self.peer(confirm_window=2 * self.MESSAGES)
            channel = self.channel(peer, confirms=True)
            rounds = [b"".join(order(acks(1, first, first + count))) for first in range(1, self.MESSAGES + 1, count)]
            done: list[Deferred[None]] = []

            def publish() -> None:
                for answers in rounds:
                    for _ in range(count):
                        done.append(channel.basic_publish("", "q", b"x", PROPERTIES, mandatory))
                    for at in range(0, len(answers), 210):
                        peer.send(answers[at : at + 210])
                self.assertEqual(sum(each.called for each in done), self.MESSAGES)

            return publish

        self.assert_flat(work, 10, self.MESSAGES)

    def test_in_order(self) -> None:
        self.check(lambda answers: answers)

    def test_in_reverse_order(self) -> None:
        self.check(lambda answers: answers[::-1])

    def test_at_random(self) -> None:
        self.check(lambda answers: Random(7).sample(answers, len(answers)))

    def test_several_at_once(self) -> None:
        def tenth(answers: list[bytes]) -> list[bytes]:
            return [answer[:-2] + b"\x01\xce" for answer in answers[9::10]]

        self.check(tenth)

    def test_mandatory(self) -> None:
        self.check(lambda answers: answers, mandatory=True)
        self.check(lambda answers: answers[::-1], mandatory=True)
