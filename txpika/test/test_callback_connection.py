"""Tests for connections of the callback API, against a broker by script: their life, and who hears of it."""

from __future__ import annotations

import inspect
import logging
import ssl
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import frames, log
from txpika.adapters.blocking_connection import BlockingConnection
from txpika.adapters.callback import BaseConnection
from txpika.adapters.failures import failure
from txpika.adapters.loop import IOLoop
from txpika.adapters.select_connection import SelectConnection
from txpika.callback import CallbackManager
from txpika.credentials import ExternalCredentials, PlainCredentials
from txpika.exceptions import (
    AuthenticationError,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    HandshakeTimeout,
    HeartbeatTimeout,
    NoFreeChannels,
    NotConnected,
    TLSError,
    TLSVerifyError,
)
from txpika.parameters import ConnectionParameters
from txpika.reconnection_strategies import SimpleReconnectionStrategy
from txpika.spec import Basic, Connection, Queue
from txpika.test.fakes import CallbackPeer, FakeConnection, Transport, method


def raises(*_: object) -> None:
    """A callback of a program with a mistake in it."""
    raise RuntimeError("a mistake of the program")


class SignatureTests(SynchronousTestCase):
    """Arguments by position, as programs of 2011 rely on them."""

    EXPECTED: ClassVar[dict[Any, str]] = {
        SelectConnection: "parameters=None, on_open_callback=None, reconnection_strategy=None",
        BlockingConnection: "parameters=None, reconnection_strategy=None",
        BlockingConnection.channel: "channel_number=None",
        BaseConnection.add_backpressure_callback: "callback",
        BaseConnection.add_on_close_callback: "callback",
        BaseConnection.add_on_open_callback: "callback",
        BaseConnection.add_timeout: "delay_sec, callback",
        BaseConnection.channel: "on_open_callback=None, channel_number=None",
        BaseConnection.close: "code=200, text='Normal shutdown'",
        BaseConnection.erase_credentials: "",
        BaseConnection.reconnect: "",
        BaseConnection.remove_timeout: "timeout_id",
        BaseConnection.set_backpressure_multiplier: "value=10",
        ConnectionParameters: "host=None, port=None, virtual_host='/', credentials=None, channel_max=0, "
        "frame_max=131072, heartbeat=60",
        IOLoop.add_timeout: "deadline, callback",
        PlainCredentials: "username, password",
        SelectConnection.flush_outbound: "",
        SimpleReconnectionStrategy: "initial_retry_delay=1.0, multiplier=2.0, max_delay=30.0, jitter=0.5",
    }

    def test_all(self) -> None:
        for function, expected in self.EXPECTED.items():
            parameters = [
                each.name if each.default is each.empty else f"{each.name}={each.default!r}"
                for each in inspect.signature(function).parameters.values()
                if each.kind is each.POSITIONAL_OR_KEYWORD and each.name != "self"
            ]
            self.assertEqual(", ".join(parameters), expected, function)


class OpenTests(SynchronousTestCase):
    """From the first attempt to an open connection."""

    def test_it_dials_when_it_is_made(self) -> None:
        peer = CallbackPeer()
        self.assertEqual((peer.face.dialled, peer.header), (1, b"AMQP\x00\x00\x09\x01"))

    def test_open(self) -> None:
        peer = CallbackPeer()
        face = peer.face
        self.assertEqual((face.is_open, face.is_closed, face.is_closing, peer.told), (False, False, False, []))
        peer.open(heartbeat=30)
        self.assertEqual((face.is_open, face.open, face.is_closed, face.closed), (True, True, False, False))
        self.assertEqual((peer.told, face.closing, face.reason, face.state), (["open"], False, None, "open"))
        self.assertEqual(face.server_properties["product"], "RabbitMQ")
        self.assertEqual((face.heartbeat, face.known_hosts, face.parameters.port), (30, "", 5672))
        self.assertEqual(face.bytes_sent, len(peer.transport.data))
        self.assertGreater(face.bytes_received, 0)
        self.assertGreaterEqual(face.frames_sent, 3)
        self.assertGreaterEqual(face.suggested_buffer_size, 65536)
        self.assertIsInstance(face.callbacks, CallbackManager)

    def test_parameters(self) -> None:
        clock = CallbackPeer().clock
        self.assertEqual(FakeConnection(clock).parameters.host, "localhost")
        self.assertEqual(FakeConnection(clock, "amqp://me:pw@broker.example:1234").parameters.port, 1234)
        self.assertRaises(TypeError, FakeConnection, clock, 5672)
        self.assertRaises(ValueError, FakeConnection, clock, "http://broker.example")
        self.assertRaises(TypeError, FakeConnection, clock, None, "no function")

    def test_who_comes_late_hears_at_once(self) -> None:
        heard: list[Any] = []
        peer = CallbackPeer()
        peer.face.add_on_open_callback(heard.append)
        peer.open()
        peer.face.add_on_open_callback(lambda connection: heard.append("late"))
        self.assertEqual(heard, [peer.face, "late"])

    def test_a_callback_that_raises_hurts_nobody(self) -> None:
        peer = CallbackPeer()
        peer.face.add_on_open_callback(raises)
        heard: list[Any] = []
        peer.face.add_on_open_callback(heard.append)
        with self.assertLogs("txpika", logging.ERROR):
            peer.open()
        self.assertEqual((heard, peer.face.is_open), ([peer.face], True))

    def test_calls_before_it_is_open(self) -> None:
        clock = CallbackPeer().clock
        face = FakeConnection(clock)
        self.assertIn("not open yet", str(self.assertRaises(NotConnected, face.channel)))
        face._transport_made(Transport())
        self.assertRaises(NotConnected, face.channel)

    def test_too_many_channels(self) -> None:
        peer = CallbackPeer().open(channel_max=1)
        peer.open_channel()
        self.assertRaises(NoFreeChannels, peer.face.channel)

    def test_credentials_that_are_asked_for(self) -> None:
        asked: list[int] = []

        def ask() -> Any:
            asked.append(1)
            return PlainCredentials("me", "secret")

        peer = CallbackPeer(ConnectionParameters(credentials=ask))
        peer.start()
        self.assertIn(b"\0me\0secret", peer.transport.data)
        self.assertEqual(asked, [1])

    def test_credentials_that_cannot_be_had(self) -> None:
        async def later() -> None:
            raise AssertionError("never waited for")

        def failing() -> None:
            raise OSError("hunter2")

        for ask in (failing, lambda: "hunter2", lambda: later().close()):
            peer = CallbackPeer(ConnectionParameters(credentials=ask))
            peer.connection.connection_lost(None)
            (error,) = peer.told
            self.assertIsInstance(error, AuthenticationError)
            self.assertNotIn("hunter2", str(error))

    def test_nobody_answers(self) -> None:
        face = FakeConnection(CallbackPeer().clock)
        face._transport_failed([("a.example", OSError("refused")), ("b.example", OSError("timed out"))])
        (error,) = face.unheard
        self.assertIsInstance(error, ConnectFailed)
        self.assertEqual(str(error), "cannot connect to a.example: refused; b.example: timed out")
        self.assertEqual((face.is_closed, face.reason), (True, error))
        assert isinstance(error, ConnectFailed)
        self.assertEqual([str(each) for each in error.errors], ["a.example: refused", "b.example: timed out"])

    def test_the_most_telling_of_several_failures(self) -> None:
        errors = [
            ("a", OSError("refused")),
            ("b", ssl.SSLError("wrong version number")),
            ("c", ssl.SSLCertVerificationError("expired")),
            ("d", OSError("refused")),
        ]
        for count, expected in ((1, ConnectFailed), (2, TLSError), (3, TLSVerifyError), (4, TLSVerifyError)):
            reason = failure(errors[:count])
            self.assertIs(type(reason), expected)
            self.assertIs(reason.__cause__, errors[min(count, 3) - 1][1])
            self.assertEqual(str(reason).count(": "), count)

    def test_the_handshake_takes_too_long(self) -> None:
        peer = CallbackPeer(ConnectionParameters(connection_timeout=10))
        peer.clock.advance(9)
        self.assertEqual(peer.transport.events, [])
        peer.clock.advance(1)
        peer.lose()
        self.assertIsInstance(peer.told[0], HandshakeTimeout)


class CloseTests(SynchronousTestCase):
    """The end, from either side."""

    def setUp(self) -> None:
        self.peer = CallbackPeer().open()
        self.face = self.peer.face

    def test_close(self) -> None:
        self.face.close()
        self.assertEqual(self.peer.methods(), [Connection.Close(200, "Normal shutdown")])
        self.assertEqual((self.face.closing, self.face.is_closing), ((200, "Normal shutdown"), True))
        self.assertEqual((self.face.is_open, self.face.is_closed, self.peer.told), (False, False, ["open"]))
        self.face.close()
        self.peer.send(method(0, Connection.CloseOk()))
        self.peer.lose()
        self.face.close()
        self.assertEqual((self.peer.methods(), self.peer.told), ([], ["open", "closed"]))
        self.assertEqual((self.face.is_closed, self.face.closed, self.face.is_closing), (True, True, False))
        self.assertIsInstance(self.face.reason, ConnectionClosed)

    def test_code_and_text(self) -> None:
        self.face.close(541, "enough")
        self.assertEqual(self.peer.methods(), [Connection.Close(541, "enough")])
        self.assertEqual(self.face.closing, (541, "enough"))

    def test_what_is_under_way_may_end(self) -> None:
        channel = self.peer.open_channel()
        heard: list[Any] = []
        channel.queue_declare(heard.append, queue="q")
        self.face.close()
        self.assertEqual(self.peer.names(), ["Queue.Declare"])
        self.peer.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.assertEqual((len(heard), self.peer.names()), (1, ["Connection.Close"]))

    def test_bug_05_with_an_open_channel(self) -> None:
        channel = self.peer.open_channel()
        closed: list[Any] = []
        channel.add_on_close_callback(lambda *told: closed.append(told))
        self.face.close()
        self.assertEqual((closed, channel.is_open), ([(200, "Normal shutdown")], False))

    def test_bug_06_the_broker_closes(self) -> None:
        """It is answered, and nothing is sent after that."""
        channel = self.peer.open_channel()
        self.peer.send(method(0, Connection.Close(320, "CONNECTION_FORCED", 0, 0)))
        self.assertEqual(self.peer.methods(), [Connection.CloseOk()])
        self.assertRaises(ConnectionClosed, channel.queue_declare)
        self.assertRaises(ConnectionClosed, self.face.channel)
        self.assertEqual(self.peer.methods(), [])
        self.peer.lose()
        self.assertEqual((self.peer.told, self.face.closing), (["open", "closed"], (320, "CONNECTION_FORCED")))
        self.assertEqual((type(self.face.reason), self.face.is_closed), (ConnectionClosed, True))

    def test_bug_17_the_network_goes(self) -> None:
        """Channel and connection hear of it."""
        channel = self.peer.open_channel()
        closed: list[Any] = []
        channel.add_on_close_callback(lambda *told: closed.append(told))
        self.peer.lose()
        self.assertEqual((self.peer.told, len(closed), self.peer.face.unheard), (["open", "closed"], 1, []))
        self.assertIsInstance(self.face.reason, ConnectionLost)

    def test_before_there_is_a_transport(self) -> None:
        errors: list[Any] = []
        face = FakeConnection(self.peer.clock, on_open_error_callback=lambda _, error: errors.append(error))
        face.close()
        self.assertEqual((face.stopped, face.is_closed, face.unheard, len(errors)), (1, True, [], 1))
        face.close()
        self.assertEqual(len(errors), 1)

    def test_in_the_handshake(self) -> None:
        peer = CallbackPeer()
        peer.start()
        peer.face.close()
        self.assertEqual(peer.transport.events, ["lose"])
        peer.lose()
        self.assertEqual((len(peer.told), peer.face.is_closed, peer.face.unheard), (1, True, []))

    def test_the_answer_never_comes(self) -> None:
        self.face.close()
        self.peer.clock.advance(self.face.parameters.close_timeout)
        self.assertEqual(self.peer.transport.events, ["abort"])
        self.peer.lose()
        self.assertEqual(self.peer.told, ["open", "closed"])

    def test_nobody_listens(self) -> None:
        face = FakeConnection(self.peer.clock)
        face._transport_made(Transport())
        face._core.connection_lost(ConnectionResetError("reset"))
        self.assertEqual(face.unheard, [face.reason])

    def test_nobody_listens_to_the_programs_own_close(self) -> None:
        face = FakeConnection(self.peer.clock)
        face._transport_made(Transport())
        face.close()
        face._core.connection_lost(None)
        self.assertEqual(face.unheard, [])

    def test_erase_credentials_is_harmless(self) -> None:
        self.face.erase_credentials()
        self.assertTrue(self.face.is_open)


class TellTests(SynchronousTestCase):
    """What else is told."""

    def setUp(self) -> None:
        self.peer = CallbackPeer().open()
        self.face = self.peer.face
        self.heard: list[Any] = []

    def test_blocked(self) -> None:
        self.face.add_on_connection_blocked_callback(self.heard.append)
        self.face.add_on_connection_unblocked_callback(self.heard.append)
        self.peer.send(method(0, Connection.Blocked("low on memory")) + method(0, Connection.Unblocked()))
        blocked, unblocked = self.heard
        self.assertEqual((type(blocked), blocked.method.reason), (frames.Method, "low on memory"))
        self.assertEqual(unblocked.method, Connection.Unblocked())

    def test_blocked_and_nobody_listens(self) -> None:
        with self.assertLogs("txpika.adapters.callback", logging.WARNING) as logged:
            self.peer.send(method(0, Connection.Blocked("low on memory")))
        self.assertIn("low on memory", logged.output[0])

    def test_update_secret(self) -> None:
        self.face.update_secret("new", "expires", self.heard.append)
        self.assertEqual(self.peer.methods(), [Connection.UpdateSecret(b"new", "expires")])
        self.peer.send(method(0, Connection.UpdateSecretOk()))
        self.assertEqual(self.heard[0].method, Connection.UpdateSecretOk())

    def test_backpressure(self) -> None:
        """Told without arguments, after a flush that leaves too much, on the connection and on each channel alike."""
        channel = self.peer.open_channel()
        self.face.add_backpressure_callback(lambda: self.heard.append("connection"))
        channel.add_backpressure_callback(lambda: self.heard.append("channel"))
        average = self.face.bytes_sent / self.face.frames_sent
        flushed = self.peer.connection.backpressure.flushed
        flushed(int(9 * average))
        self.assertEqual(self.heard, [])
        flushed(int(11 * average))
        self.assertEqual(self.heard, ["connection", "channel"])
        self.heard.clear()
        channel.set_backpressure_multiplier(20)
        flushed(int(11 * average))
        self.assertEqual(self.heard, [])
        self.face.set_backpressure_multiplier(1)
        flushed(int(11 * average))
        self.assertEqual(len(self.heard), 2)
        self.assertRaises(ValueError, channel.set_backpressure_multiplier, 0)
        self.assertRaises(TypeError, self.face.add_backpressure_callback, None)

    def test_backpressure_in_another_life(self) -> None:
        self.face.add_backpressure_callback(lambda: self.heard.append(1))
        self.face.set_backpressure_multiplier(2)
        self.peer.lose()
        self.face.reconnect()
        self.peer.again().open()
        average = self.face.bytes_sent / self.face.frames_sent
        self.peer.connection.backpressure.flushed(int(3 * average))
        self.assertEqual(self.heard, [1])

    def test_a_backpressure_callback_that_raises(self) -> None:
        self.face.add_backpressure_callback(raises)
        self.face.add_backpressure_callback(lambda: self.heard.append(1))
        with self.assertLogs("txpika.adapters.callback", logging.ERROR):
            self.peer.connection.backpressure.flushed(10**9)
        self.assertEqual(self.heard, [1])

    def test_timeouts(self) -> None:
        self.face.add_timeout(2, lambda: self.heard.append(2))
        self.face.add_timeout(1, lambda: self.heard.append(1))
        removed = self.face.add_timeout(1, raises)
        self.face.remove_timeout(removed)
        self.peer.clock.advance(1)
        self.assertEqual(self.heard, [1])
        self.peer.clock.advance(1)
        self.assertEqual(self.heard, [1, 2])
        self.assertRaises(TypeError, self.face.add_timeout, 1, None)
        for error, wrong in ((ValueError, float("nan")), (TypeError, "1"), (TypeError, None)):
            self.assertIn("delay_sec", str(self.assertRaises(error, self.face.add_timeout, wrong, raises)))

    def test_bug_17_timers_at_the_same_moment(self) -> None:
        """Each has an id of its own, and one may remove itself."""
        loop = IOLoop("select")
        self.addCleanup(loop.close)
        timers: list[Any] = []

        def once() -> None:
            loop.remove_timeout(timers[0])
            self.heard.append("once")

        timers += [loop.add_timeout(0, once) for _ in range(2)]
        timers.append(loop.add_timeout(0, raises))
        loop.remove_timeout(timers[2])
        loop.run_once(0)
        self.assertEqual(self.heard, ["once", "once"])


class HeartbeatTests(SynchronousTestCase):
    """Bug 2."""

    def test_bug_02_it_is_sent(self) -> None:
        peer = CallbackPeer().open(heartbeat=60)
        peer.frames()
        peer.clock.pump([10, 10, 10, 10])
        self.assertIn((8, 0, b""), peer.frames())

    def test_bug_02_the_peer_falls_silent(self) -> None:
        peer = CallbackPeer().open(heartbeat=10)
        peer.clock.pump([5] * 5)
        peer.lose()
        self.assertEqual(peer.told, ["open", "closed"])
        self.assertIsInstance(peer.face.reason, HeartbeatTimeout)

    def test_bug_02_both_say_none(self) -> None:
        peer = CallbackPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.assertEqual(peer.face.heartbeat, 0)
        peer.clock.pump([60] * 10)
        self.assertEqual((peer.face.is_open, peer.frames()), (True, []))


class BugTests(SynchronousTestCase):
    """Those of 2011 that are about the whole connection."""

    def test_bug_01_two_connections_have_nothing_to_do_with_each_other(self) -> None:
        one, other = CallbackPeer(), CallbackPeer()
        one.start()
        self.assertEqual((one.names(), other.names()), (["Connection.StartOk"], []))
        one.tune()
        one.send(method(0, Connection.OpenOk()))
        self.assertEqual((one.told, other.told), (["open"], []))
        other.open()
        channels = [peer.open_channel() for peer in (one, other)]
        self.assertEqual([each.channel_number for each in channels], [1, 1])
        heard: list[Any] = []
        channels[0].add_on_return_callback(raises)
        channels[0].queue_declare(raises, queue="q")
        channels[1].queue_declare(heard.append, queue="q")
        other.send(method(1, Queue.DeclareOk("q", 0, 0)))
        self.assertEqual(len(heard), 1)
        one.lose()
        self.assertEqual((one.told, other.told, other.face.is_open), (["open", "closed"], ["open"], True))
        self.assertIsNot(one.face.callbacks, other.face.callbacks)

    def test_bug_01_two_loops(self) -> None:
        loops = [IOLoop("select") for _ in range(2)]
        heard: list[int] = []
        for loop in loops:
            self.addCleanup(loop.close)
        loops[0].add_callback(lambda: heard.append(0))
        loops[1].run_once(0)
        self.assertEqual(heard, [])

    def test_bug_10_frames_of_unknown_channels(self) -> None:
        """They end the connection in the orderly way; no exception leaves C{data_received}."""
        peer = CallbackPeer().open()
        peer.send(method(7, Basic.CancelOk("tag")))
        self.assertEqual(peer.names(), ["Connection.Close"])
        peer.send(method(0, Connection.CloseOk()))
        peer.lose()
        self.assertEqual((peer.told, peer.face.closing[0]), (["open", "closed"], 504))  # type: ignore[index]

    def test_bug_16_no_mechanism_in_common(self) -> None:
        peer = CallbackPeer(ConnectionParameters(credentials=ExternalCredentials()))
        peer.start()
        peer.lose()
        (error,) = peer.told
        self.assertIsInstance(error, AuthenticationError)
        self.assertIn("EXTERNAL", str(error))

    def test_bug_16_log_has_its_functions(self) -> None:
        with self.assertLogs("txpika", logging.INFO) as logged:
            log.warn("one")
            log.warning("two")
            log.info("three")
        self.assertEqual([record.getMessage() for record in logged.records], ["one", "two", "three"])

    def test_what_import_as_pika_gives(self) -> None:
        for name in (
            "BasicProperties",
            "BlockingConnection",
            "ConnectionParameters",
            "PlainCredentials",
            "ReconnectionStrategy",
            "SelectConnection",
            "SimpleReconnectionStrategy",
        ):
            self.assertTrue(callable(getattr(txpika, name)), name)
