"""Tests for consumers of streams: what they do not take."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import ConsumerArguments
from txpika.core.consumers import MAX_GONE
from txpika.parameters import ConnectionParameters
from txpika.spec import Basic
from txpika.test.fakes import TwistedPeer, deliver, method


class StreamConsumerTests(SynchronousTestCase):
    """A stream keeps its messages: RabbitMQ closes the connection for a C{nack} or C{reject}, so there is none."""

    def setUp(self) -> None:
        parameters = ConnectionParameters(heartbeat=0, max_body_size=10)
        self.peer = TwistedPeer(parameters).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.tag = 0

    def consume(self, arguments: Any, tag: str = "t", **more: Any) -> txpika.Consumer:
        consuming = self.channel.basic_consume("q", consumer_tag=tag, arguments=arguments, **more)
        self.peer.send(method(1, Basic.ConsumeOk(tag)))
        self.peer.frames()
        return self.successResultOf(consuming)

    def deliver(self, body: bytes = b"x") -> None:
        self.tag += 1
        self.peer.send(deliver(1, "t", self.tag, body))

    def settled(self, arguments: Any) -> list[str]:
        """How each delivery is settled that the program does not take, one after the other."""
        self.setUp()
        consumer = self.consume(arguments)
        self.deliver(b"x" * 11)
        self.deliver()
        consumer.cancel()
        self.peer.send(method(1, Basic.CancelOk("t")))
        self.deliver()
        names = self.peer.names()
        for on_error in ("requeue", "reject"):
            self.consume(arguments, on_delivery=lambda delivery: 1 // 0, ack="on-success", on_error=on_error)
            self.deliver()
            self.channel.basic_cancel("t")
            names += self.peer.names()
            self.peer.send(method(1, Basic.CancelOk("t")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        return [name for name in names if name != "Basic.Cancel"]

    def test_streams(self) -> None:
        for arguments in (ConsumerArguments(stream_offset="next"), {"x-stream-offset": 5}):
            self.assertEqual(self.settled(arguments), ["Basic.Ack"] * 5)

    def test_queues(self) -> None:
        queues: tuple[Any, ...] = (None, ConsumerArguments(priority=1), {})
        for arguments in queues:
            self.assertEqual(
                self.settled(arguments),
                ["Basic.Reject", "Basic.Nack", "Basic.Nack", "Basic.Nack", "Basic.Reject"],
            )

    def test_a_tag_that_is_used_again(self) -> None:
        self.settled(ConsumerArguments(stream_offset="next"))
        self.consume(None)
        self.deliver(b"x" * 11)
        self.assertEqual(self.peer.names(), ["Basic.Reject"])

    def test_more_than_are_remembered_of_those_that_are_gone(self) -> None:
        """Those that are there are never forgotten; those that are gone are some time."""
        arguments = {"x-stream-offset": "next"}
        self.consume(arguments)
        for number in range(2 * MAX_GONE):
            self.consume(arguments, f"other{number}")
        self.deliver(b"x" * 11)
        self.assertEqual(self.peer.names(), ["Basic.Ack"])
        for number in range(2 * MAX_GONE):
            self.channel.basic_cancel(f"other{number}")
            self.peer.send(method(1, Basic.CancelOk(f"other{number}")))
        for number in range(2):
            self.consume(arguments, f"another{number}")
        self.assertLess(len(self.peer.connection.channels[1].consumers._of_streams), MAX_GONE)
