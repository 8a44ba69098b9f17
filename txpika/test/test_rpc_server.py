"""Tests for requests and their replies, seen from who answers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.exceptions import NackError
from txpika.handling import OnError
from txpika.parameters import ConnectionParameters
from txpika.rpc_server import Reply
from txpika.spec import Basic, BasicProperties, Confirm, Method, decode_method
from txpika.test.fakes import TwistedPeer, content, method


class Broken(Exception):
    """The handler's own."""


class Answering(SynchronousTestCase):
    """A server on the only channel of a scripted broker."""

    def setUp(self) -> None:
        self.peer = TwistedPeer(ConnectionParameters(heartbeat=0)).open(heartbeat=0)
        self.channel = self.peer.open_face()
        self.tag = 0

    def serve(self, handler: Any, **more: Any) -> txpika.Consumer:
        starting = self.channel.rpc_server("q", handler, consumer_tag="t", **more)
        self.peer.send(method(1, Basic.ConsumeOk("t")))
        self.peer.frames()
        return self.successResultOf(starting)

    def ask(
        self,
        body: bytes = b"request",
        reply_to: str | None = "replies",
        correlation_id: str | None = "c",
        redelivered: bool = False,
        raw: bytes | None = None,
    ) -> None:
        self.tag += 1
        encoded = BasicProperties(reply_to=reply_to, correlation_id=correlation_id).encode() if raw is None else raw
        self.peer.send(content(1, Basic.Deliver("t", self.tag, redelivered, "", "q"), body, encoded))

    def sent(self) -> list[Any]:
        """What was sent since the last look: methods, a publish with its properties and body."""
        found: list[Any] = []
        for (kind, _, payload), following in pairwise([*self.peer.frames(), (0, 0, b""), (0, 0, b"")]):
            if kind == 1:
                found.append(decode_method(payload)[0])
            elif kind == 2:
                body = following[2] if following[0] == 3 else b""
                found[-1] = (found[-1].exchange, found[-1].routing_key, BasicProperties.from_wire(payload[12:]), body)
        return found

    def answered(self, body: bytes, settled: Method, address: str = "replies") -> BasicProperties:
        """There is a reply, and then the request is settled."""
        (exchange, routing_key, properties, sent), settling = self.sent()
        self.assertEqual((exchange, routing_key, sent, settling), ("", address, body, settled))
        assert isinstance(properties, BasicProperties)
        return properties


class ReplyTests(Answering):
    """What a handler returns."""

    def test_bytes(self) -> None:
        for body in (b"answer", b"", bytearray(b"answer"), memoryview(b"answer")):
            self.setUp()
            self.serve(lambda request, body=body: body)
            self.ask()
            self.assertEqual(self.answered(bytes(body), Basic.Ack(1)), BasicProperties(correlation_id="c"))

    def test_the_handler_gets_the_request(self) -> None:
        self.serve(lambda request: request.body + request.properties.correlation_id.encode())
        self.ask(b"body of ", correlation_id="x")
        self.answered(b"body of x", Basic.Ack(1))

    def test_properties_are_sent_and_not_altered(self) -> None:
        given = BasicProperties(content_type="text/plain", headers={"a": 1}, correlation_id="of the handler")
        before = given.encode()
        self.serve(lambda request: (b"answer", given))
        self.ask()
        sent = self.answered(b"answer", Basic.Ack(1))
        self.assertEqual(sent, BasicProperties(content_type="text/plain", headers={"a": 1}, correlation_id="c"))
        self.assertEqual((given.encode(), given.correlation_id), (before, "of the handler"))
        self.ask(correlation_id=None)
        self.assertEqual(self.answered(b"answer", Basic.Ack(2)).correlation_id, "of the handler")

    def test_a_deferred(self) -> None:
        result: Deferred[Reply] = Deferred()
        self.serve(lambda request: result)
        self.ask()
        self.assertEqual(self.sent(), [])
        result.callback(b"later")
        self.answered(b"later", Basic.Ack(1))

    def test_async(self) -> None:
        waiting: Deferred[bytes] = Deferred()

        async def handler(request: txpika.Delivery) -> tuple[bytes, BasicProperties]:
            return await waiting, BasicProperties(type="t")

        self.serve(handler)
        self.ask()
        self.assertEqual(self.sent(), [])
        waiting.callback(b"later")
        self.assertEqual(self.answered(b"later", Basic.Ack(1)), BasicProperties(type="t", correlation_id="c"))

    def test_no_reply(self) -> None:
        self.serve(lambda request: None)
        self.ask()
        self.assertEqual(self.sent(), [Basic.Ack(1)])

    def test_nobody_to_reply_to(self) -> None:
        handled = []
        self.serve(lambda request: handled.append(request.body) or b"answer")  # type: ignore[func-returns-value]
        self.ask(b"1", reply_to=None)
        self.ask(b"2", reply_to="")
        self.assertEqual((self.sent(), handled), ([Basic.Ack(1), Basic.Ack(2)], [b"1", b"2"]))

    def test_a_handler_that_settles_by_itself(self) -> None:
        def handler(request: txpika.Delivery) -> bytes:
            request.ack()
            return b"answer"

        self.serve(handler)
        self.ask()
        ack, (_, _, _, body) = self.sent()
        self.assertEqual((ack, body), (Basic.Ack(1), b"answer"))


class ConcurrencyTests(Answering):
    """Several requests."""

    def setUp(self) -> None:
        super().setUp()
        self.working: list[Deferred[bytes]] = []

    def work(self, request: object) -> Deferred[bytes]:
        self.working.append(Deferred())
        return self.working[-1]

    def test_as_many_at_once_as_it_says(self) -> None:
        self.serve(self.work, concurrency=2)
        for _ in range(3):
            self.ask()
        self.assertEqual(len(self.working), 2)
        self.working[1].callback(b"second")
        self.assertEqual(len(self.working), 3)
        self.answered(b"second", Basic.Ack(2))

    def test_drain_waits_for_replies(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        consumer = self.serve(self.work, concurrency=1)
        self.ask()
        self.ask()
        draining = consumer.drain()
        self.peer.send(method(1, Basic.CancelOk("t")))
        self.sent()
        self.working[0].callback(b"answer")
        self.assertNoResult(draining)
        ((_, _, _, body),) = self.sent()
        self.assertEqual(body, b"answer")
        self.peer.send(method(1, Basic.Ack(1)))
        self.assertEqual(self.successResultOf(draining), 0)
        self.assertEqual((self.sent(), len(self.working)), ([Basic.Ack(1)], 1))


class FailureTests(Answering):
    """A request that cannot be answered."""

    def break_down(self, request: txpika.Delivery) -> bytes:
        raise Broken("of the program")

    def logged(self, error: type[Exception] = Broken) -> None:
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_rejected_and_nothing_else(self) -> None:
        self.serve(self.break_down)
        self.ask()
        self.assertEqual(self.sent(), [Basic.Reject(1, False)])
        self.logged()

    def test_other_policies(self) -> None:
        policies: tuple[tuple[OnError, bool, Method], ...] = (
            ("requeue", True, Basic.Nack(1, False, True)),
            ("requeue-once", False, Basic.Nack(1, False, True)),
            ("requeue-once", True, Basic.Reject(1, False)),
        )
        for policy, redelivered, settled in policies:
            self.setUp()
            self.serve(self.break_down, on_error=policy)
            self.ask(redelivered=redelivered)
            self.assertEqual(self.sent(), [settled])
            self.logged()

    def test_a_deferred_that_fails(self) -> None:
        result: Deferred[bytes] = Deferred()
        self.serve(lambda request: result)
        self.ask()
        result.errback(Broken("of the program"))
        self.assertEqual(self.sent(), [Basic.Reject(1, False)])
        self.logged()

    def test_an_error_reply(self) -> None:
        self.serve(
            self.break_down, error_reply=lambda request, error: (str(error).encode(), BasicProperties(type="error"))
        )
        self.ask()
        properties = self.answered(b"of the program", Basic.Reject(1, False))
        self.assertEqual(properties, BasicProperties(type="error", correlation_id="c"))
        self.logged()

    def test_no_error_reply_to_a_request_that_comes_again(self) -> None:
        self.serve(self.break_down, error_reply=lambda request, error: b"error", on_error="requeue-once")
        self.ask()
        self.assertEqual(self.sent(), [Basic.Nack(1, False, True)])
        self.logged()
        self.ask(redelivered=True)
        self.answered(b"error", Basic.Reject(2, False))
        self.logged()

    def test_an_error_reply_that_fails(self) -> None:
        def error_reply(request: object, error: object) -> bytes:
            raise LookupError("nor this")

        self.serve(self.break_down, error_reply=error_reply)
        self.ask()
        self.assertEqual(self.sent(), [Basic.Reject(1, False)])
        self.logged(LookupError)

    def test_results_that_are_no_reply(self) -> None:
        for wrong in ("text", 1, [b"x"], (b"x",), (b"x", {"type": "t"}), ("x", BasicProperties())):
            self.setUp()
            self.serve(lambda request, wrong=wrong: wrong)
            self.ask()
            self.assertEqual(self.sent(), [Basic.Reject(1, False)])
            self.logged(TypeError)

    def test_a_reply_that_does_not_encode(self) -> None:
        self.serve(lambda request: (b"", BasicProperties(priority=256)))
        self.ask()
        self.assertEqual(self.sent(), [Basic.Reject(1, False)])
        self.logged(ValueError)

    def test_requests_whose_properties_make_no_sense(self) -> None:
        handled: list[object] = []
        self.serve(lambda request: handled.append(request) or b"answer", error_reply=lambda request, error: b"error")  # type: ignore[func-returns-value]
        self.ask(raw=b"\x02\x00\xff")
        self.assertEqual((self.sent(), handled), ([Basic.Reject(1, False)], []))
        self.logged(txpika.exceptions.DecodeError)
        for raw in (b"\x02\x00\x01\xff", b"\x06\x00\x01\xff\x01q"):
            self.ask(raw=raw)
            self.assertEqual(self.sent(), [Basic.Reject(self.tag, False)])
            self.logged(ValueError)

    def test_a_reply_that_the_broker_refuses(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.serve(lambda request: b"answer", error_reply=lambda request, error: b"error")
        self.ask()
        self.assertEqual(len(self.sent()), 1)
        self.peer.send(method(1, Basic.Nack(1)))
        self.assertEqual(self.sent(), [Basic.Reject(1, False)])
        self.logged(NackError)

    def test_acknowledged_when_the_broker_has_the_reply(self) -> None:
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        self.serve(lambda request: b"answer")
        self.ask()
        self.assertEqual(len(self.sent()), 1)
        self.peer.send(method(1, Basic.Ack(1)))
        self.assertEqual(self.sent(), [Basic.Ack(1)])

    def test_the_channel_ends_while_a_request_is_handled(self) -> None:
        result: Deferred[bytes] = Deferred()
        self.serve(lambda request: result)
        self.ask()
        self.peer.lose()
        result.callback(b"too late")
        self.logged(txpika.exceptions.ConnectionLost)

    def test_wrong_arguments(self) -> None:
        def handler(request: object) -> bytes:
            return b""

        wrong: Any = "text"
        self.assertRaises(TypeError, self.channel.rpc_server, "q", wrong)
        self.assertRaises(TypeError, self.channel.rpc_server, "q", handler, error_reply=wrong)
        self.assertRaises(TypeError, self.channel.rpc_server, "q", handler, no_such=1)
        self.assertRaises(TypeError, self.channel.rpc_server, "q", handler, ack="explicit")
        self.assertRaises(ValueError, self.channel.rpc_server, "q", handler, on_error=wrong)
        self.assertRaises(ValueError, self.channel.rpc_server, "q", handler, no_ack=True)
        self.assertRaises(ValueError, self.channel.rpc_server, "q", handler, concurrency=-1)
        self.assertEqual(self.peer.methods()[1:], [])
