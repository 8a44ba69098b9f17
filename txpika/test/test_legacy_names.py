"""Tests for the names that programs of 2011 use: where they are, and that they stand for what happens."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import txpika as pika
from txpika import exceptions
from txpika.credentials import PlainCredentials
from txpika.exceptions import AMQPError
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.fakes import CallbackPeer, Peer, RecordingConsumer, TwistedPeer, frame, method

#: All of 2011, each with the class it was a kind of.
NAMES = {
    "AMQPConnectionError": "AMQPError",
    "LoginError": "AMQPConnectionError",
    "NoFreeChannels": "AMQPError",
    "ConnectionClosed": "AMQPConnectionError",
    "AMQPChannelError": "AMQPError",
    "ChannelBlocked": "AMQPChannelError",
    "DuplicateConsumerTag": "ValueError",
    "UnknownConsumerTag": "ValueError",
    "ChannelClosed": "AMQPChannelError",
    "InvalidChannelNumber": "AMQPError",
    "RecursiveOperationDetected": "AMQPError",
    "ProtocolSyntaxError": "AMQPError",
    "UnexpectedFrameError": "ProtocolSyntaxError",
    "ProtocolVersionMismatch": "InvalidProtocolHeader",
    "BodyTooLongError": "ProtocolSyntaxError",
    "InvalidFrameError": "ProtocolSyntaxError",
    "InvalidProtocolHeader": "AMQPConnectionError",
    "InvalidTableError": "ValueError",
    "TableDecodingError": "AMQPError",
    "MethodNotImplemented": "AMQPError",
    "ChannelTransportError": "AMQPError",
    "CallbackReplyAlreadyRegistered": "ChannelTransportError",
}


class ExceptionNamesTests(SynchronousTestCase):
    """Old C{except} clauses."""

    def ended(self, peer: Peer) -> BaseException:
        """Why the connection of C{peer} ended, in the words of who raises it."""
        reason = peer.connection.reason
        assert reason is not None
        return reason

    def test_all_are_there_with_their_kinds(self) -> None:
        for name, kind in NAMES.items():
            base = ValueError if kind == "ValueError" else getattr(exceptions, kind)
            self.assertTrue(issubclass(getattr(exceptions, name), base), name)

    def test_a_refused_login(self) -> None:
        peer = Peer(ConnectionParameters(credentials=PlainCredentials("me", "wrong")))
        peer.start()
        peer.send(method(0, ConnectionMethods.Close(403, "ACCESS_REFUSED")))
        self.assertIsInstance(self.ended(peer), exceptions.LoginError)

    def test_a_peer_of_another_kind(self) -> None:
        peer = Peer()
        peer.send(b"AMQP\x03\x01\x00\x00")
        self.assertIsInstance(self.ended(peer), exceptions.InvalidProtocolHeader)
        self.assertIsInstance(self.ended(peer), exceptions.ProtocolVersionMismatch)

    def test_what_the_peer_does_wrong(self) -> None:
        deliver = method(1, Basic.Deliver("ctag1.1", 1, False, "", "q"))
        header = frame(2, 1, b"\0\x3c\0\0" + (3).to_bytes(8) + b"\0\0")
        for kind, data in (
            (exceptions.UnexpectedFrameError, deliver + frame(3, 1, b"before the header")),
            (exceptions.BodyTooLongError, deliver + header + frame(3, 1, b"four")),
            (exceptions.InvalidFrameError, b"\x04" + bytes(7)),
            (exceptions.InvalidFrameError, frame(8, 0, b"")[:-1] + b"\0"),
        ):
            peer = Peer().open()
            peer.consume(peer.channel(), RecordingConsumer())
            peer.send(data)
            self.assertIsInstance(self.ended(peer), kind)
            self.assertIsInstance(self.ended(peer), exceptions.ProtocolSyntaxError)

    def test_a_closed_channel(self) -> None:
        peer = Peer().open()
        channel = peer.channel()
        peer.send(method(1, ChannelMethods.Close(404, "NOT_FOUND")))
        self.assertIsInstance(channel.reason, exceptions.ChannelClosed)
        self.assertIsInstance(channel.reason, exceptions.AMQPChannelError)

    def test_consumer_tags(self) -> None:
        peer = TwistedPeer().open()
        channel = peer.open_face()
        channel.basic_consume("q", lambda delivery: None, consumer_tag="mine")
        self.assertRaises(
            exceptions.DuplicateConsumerTag, channel.basic_consume, "q", lambda delivery: None, consumer_tag="mine"
        )
        self.assertRaises(exceptions.UnknownConsumerTag, peer.connection.channels[1].consumers.cancel, "other")
        self.assertRaises(exceptions.UnknownConsumerTag, channel.basic_cancel, "other")

    def test_consumer_tags_of_an_old_program(self) -> None:
        """It has C{except AMQPError} around all that it does."""
        channel = CallbackPeer().open().open_channel()
        channel.basic_consume(print, "q", consumer_tag="mine")
        self.assertRaises(AMQPError, channel.basic_consume, print, "q", consumer_tag="mine")
        error = self.assertRaises(AMQPError, channel.basic_cancel, "other")
        self.assertEqual(error.outcome, "not sent")

    def test_bytes_given_while_bytes_are_given(self) -> None:
        peer = Peer().open()
        errors: list[Exception] = []

        def again(delivery: object) -> None:
            try:
                peer.connection.data_received(b"")
            except AMQPError as error:
                errors.append(error)

        consumer = peer.consume(peer.channel(), RecordingConsumer())
        consumer.then = again
        peer.send(
            method(1, Basic.Deliver(consumer.consumer_tag, 1, False, "", "q"))
            + frame(2, 1, b"\0\x3c\0\0" + bytes(8) + b"\0\0")
        )
        self.assertIsInstance(errors[0], exceptions.RecursiveOperationDetected)
        self.assertIsInstance(errors[0], RuntimeError)


class TopLevelTests(SynchronousTestCase):
    """C{import txpika as pika}."""

    def test_modules_come_with_the_first_use(self) -> None:
        program = (
            "import sys, txpika as pika\n"
            "names = ['callback', 'connection', 'credentials', 'exceptions', 'frames', 'heartbeat', 'log', 'object',"
            " 'reconnection_strategies', 'simplebuffer', 'spec', 'table']\n"
            "assert not [n for n in names if 'txpika.' + n in sys.modules]\n"
            "pika.log.setup(pika.log.DEBUG)\n"
            "for name in names:\n"
            "    assert getattr(pika, name) is sys.modules['txpika.' + name]\n"
            "pika.SimpleReconnectionStrategy(), pika.ReconnectionStrategy, pika.NullReconnectionStrategy\n"
            "assert 'twisted' not in sys.modules\n"
            "assert pika.channel.Channel is pika.Channel\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_what_is_imported_from_the_module_of_connections(self) -> None:
        from txpika.connection import Connection, ConnectionParameters, PlainCredentials

        self.assertIs(Connection, pika.BaseConnection)
        self.assertIs(ConnectionParameters, pika.ConnectionParameters)
        self.assertIs(PlainCredentials, pika.PlainCredentials)
        self.assertEqual(pika.heartbeat.HeartbeatChecker.__module__, "txpika.heartbeat")

    def test_what_programs_spell_out(self) -> None:
        self.assertEqual(pika.spec.Basic.GetEmpty.NAME, "Basic.GetEmpty")
        self.assertIs(pika.exceptions.AMQPError, AMQPError)
        self.assertEqual(pika.callback.CallbackManager().pending(1, pika.spec.Basic.GetEmpty), None)
        self.assertEqual(pika.table.encode_table([], {}), 4)
        self.assertEqual(pika.frames.decode_frame(b""), (0, None))
