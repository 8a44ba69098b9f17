"""Tests for L{txpika.log}, L{txpika.taps} and for watching a L{txpika.core.wire.Wire}."""

from __future__ import annotations

import gc
import io
import logging
import re
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import txpika as pika
from txpika import log, taps
from txpika.core.wire import Wire
from txpika.credentials import PlainCredentials
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic, BasicProperties
from txpika.test.counting import count_calls
from txpika.test.fakes import Peer, RecordingConsumer, Transport, TwistedPeer, deliver, frame, method


class Lines(logging.Handler):
    """
    Keeps what is logged.

    @ivar then: Called with each line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.then: Callable[[str], object] = lambda line: None

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.then(self.lines[-1])

    def take(self) -> list[str]:
        taken, self.lines = self.lines, []
        return taken


class LogTestCase(SynchronousTestCase):
    """The logger is as it was afterwards."""

    def setUp(self) -> None:
        logger = log.logger
        level, handlers, propagate, own = logger.level, logger.handlers[:], logger.propagate, log._own

        def restore() -> None:
            logger.handlers[:], logger.propagate, log._own = handlers, propagate, own
            log.set_level(level)

        self.addCleanup(restore)
        self.kept = Lines()
        logger.handlers[:], logger.propagate = [self.kept], False


class FrameLinesTests(LogTestCase):
    """What a log at DEBUG shows of one connection."""

    def setUp(self) -> None:
        super().setUp()
        self.parameters = ConnectionParameters(
            credentials=PlainCredentials("me", "hunter2"), connection_name="orders\n"
        )

    def parts(self) -> list[tuple[str, str]]:
        """Direction and frame of each line since the last look; all begin with the connection's name."""
        parts = []
        for line in self.kept.take():
            self.assertRegex(line, r"^orders\\n#\d+ [<>] ")
            self.assertTrue(line.isprintable(), line)
            _, direction, shown = line.split(" ", 2)
            parts.append((direction, shown))
        return parts

    def test_a_handshake_without_the_password(self) -> None:
        log.set_level(log.DEBUG)
        peer = TwistedPeer(self.parameters).open()
        peer.protocol.update_secret("hunter2", "soon")
        peer.send(frame(8, 0, b""))
        parts = self.parts()
        self.assertEqual(
            [(direction, re.sub(r"<frames.Method channel 0: |\(.*", "", line)) for direction, line in parts],
            [
                (">", "<frames.ProtocolHeader 0-9-1>"),
                ("<", "<Connection.Start"),
                (">", "<Connection.StartOk"),
                ("<", "<Connection.Tune"),
                (">", "<Connection.TuneOk"),
                (">", "<Connection.Open"),
                ("<", "<Connection.OpenOk"),
                (">", "<Connection.UpdateSecret"),
                ("<", "<frames.Heartbeat channel 0>"),
            ],
        )
        self.assertNotIn("hunter2", str(parts))
        self.assertIn("reason='soon'", parts[-2][1])

    def test_messages_with_the_begin_of_their_bodies(self) -> None:
        peer = Peer(self.parameters).open()
        channel = peer.channel()
        log.set_level(log.DEBUG)
        channel.publish("", "q", b"\n" * 70000, BasicProperties(headers={"a": "b\n"}))
        begin = repr(b"\n" * log.SHOWN_OF_BODY) + "..."
        self.assertEqual(
            self.parts(),
            [
                (">", f"<frames.Method channel 1: {Basic.Publish(0, '', 'q')!r}>"),
                (">", "<frames.Header channel 1: a body of 70000 bytes, <BasicProperties(headers={'a': 'b\\n'})>>"),
                (">", "<frames.Body channel 1: 70000 bytes>: " + begin),
            ],
        )

    def test_switched_on_and_off_while_the_connection_lives(self) -> None:
        peer = Peer(self.parameters).open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer(acks=True))
        steps: list[tuple[int | str, int]]
        steps = [(log.INFO, 0), (log.DEBUG, 4), (log.WARNING, 0), ("DEBUG", 4), (log.ERROR, 0)]
        for number, (level, lines) in enumerate(steps, 1):
            log.set_level(level)
            peer.send(deliver(1, consumer.consumer_tag, number, b"x"))
            self.assertEqual(len(self.parts()), lines, str(level))  # a delivery and its ack
        self.assertEqual(len(consumer.deliveries), 5)
        self.assertEqual(peer.names(), ["Basic.Ack"] * 5)

    def test_switched_on_by_a_callback_while_bytes_are_read(self) -> None:
        peer = Peer(self.parameters).open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer())
        consumer.then = lambda delivery: log.set_level(log.DEBUG) if delivery.delivery_tag == 1 else None
        stream = b"".join(deliver(1, consumer.consumer_tag, number, b"body" * 5000) for number in (1, 2, 3))
        peer.send(stream[:-1500])
        peer.send(stream[-1500:])
        self.assertEqual(len(consumer.deliveries), 3)
        self.assertEqual(self.parts(), [])  # the end of a frame whose begin nobody saw
        peer.send(deliver(1, consumer.consumer_tag, 4, b"z"))
        self.assertEqual([line.split(":")[0] for _, line in self.parts()][-1], "<frames.Body channel 1")

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_frames_are_found_wherever_it_begins(self, data: st.DataObject) -> None:
        """However the bytes are cut, and wherever in them the log is switched on: each whole frame after that."""
        log.set_level(log.INFO)
        peer = Peer(self.parameters).open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer())
        parts = [
            frame_
            for number in range(1, 4)
            for frame_ in (
                method(1, Basic.Deliver(consumer.consumer_tag, number, False, "", "q")),
                frame(2, 1, b"\0\x3c\0\0" + (3000).to_bytes(8) + b"\0\0"),
                frame(3, 1, b"a" * 2000),
                frame(3, 1, b"b" * 1000),
            )
        ]
        stream = b"".join(parts)
        cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
        begin = data.draw(st.sampled_from([0, *cuts]))
        self.kept.take()
        for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if start == begin:
                log.set_level(log.DEBUG)
            peer.send(stream[start:stop])
        starts = [sum(map(len, parts[:index])) for index in range(len(parts))]
        after = [index for index, start in enumerate(starts) if start >= begin]
        seen = [line for _, line in self.parts()]
        # A frame that began before may be shown too, if its begin was still at hand.
        self.assertIn(len(seen) - len(after), (0, 1))
        kinds = ("Method", "Header", "Body", "Body")
        shown = [re.sub(r"<frames\.(\w+).*", r"\1", line) for line in seen][len(seen) - len(after) :]
        self.assertEqual(shown, [kinds[index % 4] for index in after])
        self.assertEqual([d.body for d in consumer.deliveries], [b"a" * 2000 + b"b" * 1000] * 3)

    def test_what_is_no_frame_is_told_without_its_bytes(self) -> None:
        log.set_level(log.DEBUG)
        peer = Peer(self.parameters)
        self.parts()
        peer.send(b"HTTP/1.1 400 hunter2")
        self.assertEqual(self.parts(), [("<", "bytes that are no frame: a frame of unknown type 72")])
        peer = Peer(self.parameters).open()
        self.parts()
        peer.send(frame(1, 0, b"\0\x0a\0\xff") + frame(8, 0, b""))
        self.assertEqual(
            self.parts(),
            [
                ("<", "a frame that makes no sense: there is no method 255 of class 10"),
                ("<", "<frames.Heartbeat channel 0>"),
                (">", f"<frames.Method channel 0: {peer.methods()[-1]!r}>"),
            ],
        )

    def test_nothing_is_shown_of_what_is_not_sent_any_more(self) -> None:
        log.set_level(log.DEBUG)
        peer = Peer(self.parameters).open()
        peer.connection.abort()
        self.parts()
        log.set_level(log.INFO)
        log.set_level(log.DEBUG)
        peer.connection.wire.send(frame(8, 0, b""))
        self.assertEqual(self.parts(), [])
        self.assertEqual(peer.frames(), [])


class NeighboursTests(LogTestCase):
    """Handlers do as they like, and the connection lives."""

    def setUp(self) -> None:
        super().setUp()
        self.peer = Peer().open()
        self.channel = self.peer.channel()
        log.set_level(log.DEBUG)

    def test_a_handler_that_sends_over_the_same_connection(self) -> None:
        self.kept.then = lambda line: self.channel.publish("", "log", line.encode())
        self.channel.publish("", "q", b"x")
        self.assertEqual(len(self.kept.lines), 3)
        self.assertEqual(self.peer.names(), ["Basic.Publish"] * 4)

    def test_a_handler_that_raises_ends_the_lines_and_not_the_connection(self) -> None:
        def raises(line: str) -> None:
            raise ZeroDivisionError

        self.kept.then = raises
        stderr = io.StringIO()
        self.patch(sys, "stderr", stderr)
        self.channel.publish("", "q", b"x")
        self.assertIn("frames are not shown any more", stderr.getvalue())
        self.channel.publish("", "q", b"y")
        self.assertEqual(len(self.kept.lines), 1)
        self.assertEqual(self.peer.names(), ["Basic.Publish"] * 2)
        self.assertTrue(self.peer.connection.is_open)


class WireTests(LogTestCase):
    """What is in the way of the bytes, and when."""

    def test_nothing_is_in_the_way_when_nobody_watches(self) -> None:
        peer = Peer().open()
        wire, receiver = peer.connection.wire, peer.connection.receiver
        for _ in range(2):
            self.assertEqual((wire.write, wire.receive), (peer.transport.write, receiver.receive))
            log.set_level(log.DEBUG)
            self.assertNotEqual(wire.write, peer.transport.write)
            self.assertNotEqual(wire.receive, receiver.receive)
            log.set_level(log.INFO)

    def test_messages_cost_the_same_as_before_it_was_on(self) -> None:
        peer = Peer().open()
        channel = peer.channel()
        consumer = peer.consume(channel, RecordingConsumer(acks=True))
        properties = BasicProperties()
        number = 0

        def messages() -> None:
            nonlocal number
            for _ in range(50):
                number += 1
                channel.publish("", "q", b"x", properties)
                peer.connection.data_received(deliver(1, consumer.consumer_tag, number, b"x"))

        messages()
        before = count_calls(messages)
        log.set_level(log.DEBUG)
        during = count_calls(messages)
        log.set_level(log.INFO)
        self.assertLessEqual(count_calls(messages), before + 1)  # PyPy calls something more, once
        self.assertGreater(during, before * 2)

    def connected(self) -> tuple[Wire, Transport]:
        wire, transport = Wire(), Transport()
        any_transport: Any = transport
        wire.connected(any_transport)
        return wire, transport

    def test_what_is_collected_while_a_read_is_processed_is_shown_as_it_leaves(self) -> None:
        seen: list[tuple[bool, bytes]] = []
        wire, transport = self.connected()
        wire.cork()
        wire.send(b"a")
        wire.tap(lambda sent, data: seen.append((sent, data)))
        wire.send(b"b")
        self.assertEqual(seen, [])
        wire.uncork()
        wire.send(b"c")
        wire.untap()
        wire.send(b"d")
        self.assertEqual(seen, [(True, b"ab"), (True, b"c")])
        self.assertEqual(transport.data, b"abcd")

    def test_another_thread_does_not_get_between_the_bytes(self) -> None:
        """It takes effect at the end of the next read; order and cork are the connection's thread's."""
        seen: list[bytes] = []
        wire, transport = self.connected()
        thread = threading.Thread(target=wire.tap, args=(lambda sent, data: seen.append(data),))
        thread.start()
        thread.join()
        self.assertEqual(wire.write, transport.write)
        wire.cork()
        wire.send(b"a")
        wire.uncork()
        wire.send(b"b")
        self.assertEqual((seen, transport.data), ([b"a", b"b"], b"ab"))

    def test_wires_are_not_kept_alive(self) -> None:
        log.set_level(log.DEBUG)
        wire, _ = self.connected()
        gone = ref(wire)
        del wire
        gc.collect()
        self.assertIsNone(gone())
        log.set_level(log.INFO)

    def test_any_wire_can_be_added(self) -> None:
        class Mine:
            name = "mine"

            def __init__(self) -> None:
                self.taps: list[taps.Tap | None] = []

            def tap(self, tap: taps.Tap) -> None:
                self.taps.append(tap)

            def untap(self) -> None:
                self.taps.append(None)

            def behind(self) -> tuple[bytes, int]:
                return b"", 0

        mine = Mine()
        log.add_wire(mine)
        self.assertEqual(mine.taps, [])
        log.set_level(log.DEBUG)
        tap = mine.taps[-1]
        assert tap is not None
        tap(False, frame(8, 0, b""))
        self.assertEqual(self.kept.take(), ["mine < <frames.Heartbeat channel 0>"])
        log.set_level(log.INFO)
        self.assertIsNone(mine.taps[-1])
        log.set_level(log.DEBUG)
        late = Mine()
        log.add_wire(late)
        self.assertEqual(len(late.taps), 1)


class SetupTests(LogTestCase):
    """The functions of C{pika.log}."""

    def setUp(self) -> None:
        super().setUp()
        log.logger.handlers[:] = []
        log._own = None
        self.written = io.StringIO()
        self.patch(sys, "stderr", self.written)

    def stderr(self) -> str:
        return self.written.getvalue()

    def test_as_programs_use_it(self) -> None:
        pika.log.setup(pika.log.INFO)
        pika.log.debug("one")
        pika.log.info("two %s", "words")
        for function in (pika.log.warning, pika.log.warn, pika.log.error, pika.log.critical):
            function("%d", 3)
        lines = [line.split(" ", 2)[2] for line in self.stderr().splitlines()]
        self.assertEqual(
            lines,
            [
                "INFO     txpika: two words",
                "WARNING  txpika: 3",
                "WARNING  txpika: 3",
                "ERROR    txpika: 3",
                "CRITICAL txpika: 3",
            ],
        )

    def test_debug_shows_frames(self) -> None:
        pika.log.setup(pika.log.DEBUG)
        Peer()
        self.assertIn("localhost:5672#", self.stderr())
        self.assertIn("> <frames.ProtocolHeader 0-9-1>", self.stderr())

    def test_a_second_setup_does_not_double_lines(self) -> None:
        pika.log.setup(pika.log.ERROR)
        pika.log.setup(pika.log.INFO, color=True)
        pika.log.info("once")
        (line,) = self.stderr().splitlines()
        self.assertTrue(line.startswith("\033[32m") and line.endswith("once\033[0m"), line)
        pika.log.setup(pika.log.INFO)
        pika.log.info("plain")
        self.assertNotIn("\033", self.stderr().splitlines()[1])

    def test_handlers_of_the_program_are_left_to_it(self) -> None:
        log.logger.addHandler(self.kept)
        pika.log.setup(pika.log.INFO, color=True)
        pika.log.info("there")
        self.assertEqual((self.kept.lines, self.stderr()), (["there"], ""))

    def test_wrong_levels_are_refused_and_change_nothing(self) -> None:
        nothing: Any = None
        log.setup(log.ERROR)
        self.assertRaises(ValueError, log.setup, "LOUD")
        self.assertRaises(TypeError, log.setup, nothing)
        self.assertEqual(log.logger.level, log.ERROR)

    def test_method_calls(self) -> None:
        class Program:
            @pika.log.method_call
            def run(self, queue: str, *, times: int = 1) -> str:
                """Runs."""
                return queue * times

            def __repr__(self) -> str:
                return "<Program>"

        pika.log.setup(pika.log.INFO)
        self.assertEqual(Program().run("a\n", times=2), "a\na\n")
        self.assertEqual(self.stderr(), "")
        pika.log.setup(pika.log.DEBUG)
        self.assertEqual(Program().run("a\n", times=2), "a\na\n")
        (line,) = self.stderr().splitlines()
        self.assertIn("Program.run(<Program>, 'a\\n', times=2)", line)
        self.assertEqual((Program.run.__name__, Program.run.__doc__), ("run", "Runs."))
