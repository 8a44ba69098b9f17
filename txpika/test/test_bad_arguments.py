"""
Tests for wrong arguments: each is refused at the call by its name, nothing is written, nothing changes.
"""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import warnings
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import (
    AMQPProtocol,
    BasicProperties,
    ConnectionParameters,
    ExternalCredentials,
    PlainCredentials,
    TLSOptions,
    URLParameters,
    parse_uri,
)
from txpika.channel import Channel
from txpika.exceptions import ChannelClosed, StaleDelivery
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods
from txpika.test.counting import count_calls
from txpika.test.fakes import Peer, RecordingConsumer, TwistedPeer, deliver, method


class ChannelArgumentTests(SynchronousTestCase):
    """The methods of the Twisted face."""

    def setUp(self) -> None:
        self.peer = Peer().open()
        self.core = self.peer.channel()
        connection: Any = None
        self.channel = Channel(self.core, connection)

    def refused(self, error: type[Exception], named: str, name: str, *arguments: Any, **more: Any) -> None:
        raised = self.assertRaises(error, getattr(self.channel, name), *arguments, **more)
        self.assertIn(named, str(raised))
        self.assertEqual(self.peer.frames(), [])
        self.assertTrue(self.core.outbox.clear)
        self.assertEqual(self.core.outbox.confirms, None)

    def test_B75_names_over_255_bytes(self) -> None:
        for long in ("x" * 256, "\u2603" * 100):
            self.refused(ValueError, "routing_key", "basic_publish", "", long, b"x")
            self.refused(ValueError, "exchange", "basic_publish", long, "q", b"x")
            self.refused(ValueError, "queue", "queue_declare", long)
            self.refused(ValueError, "consumer_tag", "basic_consume", "q", consumer_tag=long)

    def test_B76_names_of_255_bytes(self) -> None:
        self.channel.basic_publish("x" * 255, "\u2603" * 85, b"x")
        self.assertEqual(self.peer.names(), ["Basic.Publish"])

    def test_B77_surrogates_and_nul(self) -> None:
        for bad in ("\udc80", "a\0b"):
            self.refused(ValueError, "routing_key", "basic_publish", "", bad, b"x")
            self.refused(ValueError, "queue", "queue_bind", bad, "x")

    def test_B78_names_that_are_no_str(self) -> None:
        wrong: list[Any] = [None, 1, b"q", [], {}]
        for bad in wrong:
            self.refused(TypeError, "routing_key", "basic_publish", "", bad, b"x")
            self.refused(TypeError, "queue", "queue_declare", bad)

    def test_B79_B80_headers_that_no_table_takes(self) -> None:
        wrong: list[Any] = [{1: "x"}, {"k": object()}, {"k": [{"n": {1, 2}}]}]
        for bad in wrong:
            self.refused(TypeError, "headers", "basic_publish", "", "q", b"x", BasicProperties(headers=bad))
        self.refused(ValueError, "headers", "basic_publish", "", "q", b"x", BasicProperties(headers={"k" * 256: 1}))
        self.refused(TypeError, "arguments.x", "queue_declare", "q", arguments={"x": 1j})

    def test_B86_tables_too_deep_or_in_themselves(self) -> None:
        """Refused at the call, by name, and never by a C{RecursionError}."""
        circle: dict[str, Any] = {}
        circle["self"] = [circle]
        deep: Any = 1
        for _ in range(10_000):
            deep = {"k": deep}
        for bad in (circle, deep):
            self.refused(ValueError, "headers", "basic_publish", "", "q", b"x", BasicProperties(headers=bad))
            self.refused(ValueError, "arguments", "queue_declare", "q", arguments=bad)
            self.refused(ValueError, "arguments", "exchange_declare", "e", arguments=bad)
            self.refused(ValueError, "arguments", "queue_bind", "q", "e", arguments=bad)
            self.refused(ValueError, "arguments", "basic_consume", "q", arguments=bad)
            error = self.assertRaises(ValueError, ConnectionParameters, client_properties=bad)
            self.assertIn("client_properties", str(error))

    def test_B87_properties_that_fit_no_frame(self) -> None:
        huge = BasicProperties(headers={"k": "x" * 140_000})
        self.refused(ValueError, "properties", "basic_publish", "", "q", b"x", huge)
        self.refused(ValueError, "frame_max", "queue_declare", "q", arguments={"k": "x" * 140_000})

    def test_B88_bodies(self) -> None:
        for bad in ("text", None, 1, [b"x"]):
            self.refused(TypeError, "body", "basic_publish", "", "q", bad)
        body = bytearray(b"before")
        self.peer.transport.producer.pauseProducing()
        for view in (body, memoryview(body)):
            self.channel.basic_publish("", "q", view)  # type: ignore[arg-type]
        body[:] = b"after!"
        self.peer.transport.producer.resumeProducing()
        self.assertEqual([p for kind, _, p in self.peer.frames() if kind == 3], [b"before"] * 2)

    def test_properties_that_are_none(self) -> None:
        for bad in ({"delivery_mode": 2}, 2, "x"):
            self.refused(TypeError, "BasicProperties", "basic_publish", "", "q", b"x", bad)

    def test_B90_properties_outside_their_limits(self) -> None:
        for name, bad in (
            ("priority", 256),
            ("priority", -1),
            ("delivery_mode", 0),
            ("delivery_mode", 3),
            ("expiration", "abc"),
            ("expiration", "1.5"),
            ("expiration", "-1"),
        ):
            values: dict[str, Any] = {name: bad}
            self.refused(ValueError, name, "basic_publish", "", "q", b"x", BasicProperties(**values))
        values = {"expiration": 5}
        self.refused(TypeError, "expiration", "basic_publish", "", "q", b"x", BasicProperties(**values))

    def test_B91_prefetch(self) -> None:
        self.refused(ValueError, "prefetch_count", "basic_qos", -1)
        self.refused(ValueError, "prefetch_count", "basic_qos", 65536)
        self.refused(TypeError, "prefetch_count", "basic_qos", True)

    def test_B92_tags_there_is_nothing_to_settle_for(self) -> None:
        for tag in (0, -1, 2**64, 1):
            for name in ("basic_ack", "basic_nack", "basic_reject"):
                self.refused(StaleDelivery, str(tag), name, tag)

    def test_B106_consumer_tags(self) -> None:
        self.channel.basic_consume("q", consumer_tag="mine", no_ack=True)
        self.peer.frames()
        raised = self.assertRaises(ValueError, self.channel.basic_consume, "q", consumer_tag="mine")
        self.assertIn("mine", str(raised))
        self.assertRaises(ValueError, self.channel.basic_cancel, "no such")
        self.assertEqual(self.peer.frames(), [])

    def test_B107_what_is_no_function(self) -> None:
        self.refused(TypeError, "on_delivery", "basic_consume", "q", 7)

    def test_B110_reply_codes_and_texts(self) -> None:
        peer = TwistedPeer().open()
        channel = peer.open_face()
        timers = len(peer.clock.getDelayedCalls())
        wrong: list[Any] = [b"x", None]
        for closing in (channel, peer.protocol):
            for code in (-1, 65536):
                self.assertIn("reply_code", str(self.assertRaises(ValueError, closing.close, code)))
            for text in wrong:
                self.assertIn("reply_text", str(self.assertRaises(TypeError, closing.close, 200, text)))
            for text in ("a\0b", "\udc80"):
                self.assertIn("reply_text", str(self.assertRaises(ValueError, closing.close, 200, text)))
        self.assertEqual((peer.frames(), len(peer.clock.getDelayedCalls())), ([], timers))
        self.assertTrue(channel.is_open and peer.protocol.is_open)
        channel.close(311, "x" + "\u2603" * 100)
        peer.send(method(1, ChannelMethods.CloseOk()))
        peer.protocol.close(65535, "\u2603" * 100)
        self.assertEqual(
            peer.methods(),
            [
                ChannelMethods.Close(311, "x" + "\u2603" * 84, 0, 0),
                ConnectionMethods.Close(65535, "\u2603" * 85, 0, 0),
            ],
        )

    def test_closed_is_a_failure_and_not_raised(self) -> None:
        self.channel.close()
        self.peer.frames()
        for call in (
            self.channel.queue_declare("q"),
            self.channel.basic_publish("", "q", b"x"),
            self.channel.basic_consume("q"),
            self.channel.basic_get("q"),
        ):
            error = self.failureResultOf(call, ChannelClosed).value
            self.assertEqual(error.outcome, "not sent")
        self.assertEqual(self.peer.frames(), [])


class ParameterTests(SynchronousTestCase):
    """What is said about a connection before there is one."""

    def refused(self, error: type[Exception], name: str, *values: Any) -> None:
        for value in values:
            arguments = {name.partition("[")[0]: value}
            self.assertIn(name, str(self.assertRaises(error, ConnectionParameters, **arguments)))

    def test_B94_frame_max(self) -> None:
        self.refused(ValueError, "frame_max", 0, 100, 4095, 2**31)
        self.refused(TypeError, "frame_max", "131072", True, 1.5)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ConnectionParameters(frame_max=4096)
        self.assertIn("4.1", str(caught[0].message))

    def test_B95_heartbeat(self) -> None:
        self.refused(ValueError, "heartbeat", -1, 65536)
        self.refused(TypeError, "heartbeat", 1.5, True, "abc")
        self.assertEqual(ConnectionParameters(heartbeat=65535).heartbeat, 65535)

    def test_B96_numbers(self) -> None:
        self.refused(ValueError, "channel_max", -1, 65536)
        self.refused(ValueError, "port", 0, -1, 70000)
        self.refused(ValueError, "connection_timeout", -1, 0, float("nan"), float("inf"))
        self.refused(TypeError, "connection_timeout", None, "1")

    def test_B97_virtual_host(self) -> None:
        self.refused(ValueError, "virtual_host", "x" * 256)
        self.assertEqual(ConnectionParameters(virtual_host="").virtual_host, "")

    def test_B98_B99_credentials(self) -> None:
        self.refused(TypeError, "credentials", "me:hunter2", PlainCredentials, ("me", "hunter2"))
        self.assertEqual(ConnectionParameters().credentials, PlainCredentials("guest", "guest"))

    def test_hosts(self) -> None:
        self.refused(ValueError, "host", "", "a\0", "a:5672", "[::1]", "x" * 256, "\udc80")
        self.refused(TypeError, "host", 1, b"localhost")
        self.refused(TypeError, "hosts", "a", {"a": 1}, 5)
        self.refused(
            TypeError, "hosts[0]", [1], [b"a"], [("a",)], [("a", 1, 2)], [(1, "a")], [("a", "1")], [("a", True)]
        )
        self.refused(ValueError, "hosts[1]", ["a", ""], ["a", ("b", 0)], ["a", ("b", 65536)], ["a", "b:5672"])
        self.refused(ValueError, "hosts", [])
        self.assertRaises(ValueError, ConnectionParameters, "a", hosts=["b"])
        parameters = ConnectionParameters(hosts=["::1", ("b", 1), "fe80::1%eth0"], port=7)
        self.assertEqual(parameters.hosts, (("::1", 7), ("b", 1), ("fe80::1%eth0", 7)))
        self.assertEqual((parameters.host, parameters.port), ("::1", 7))
        self.assertIn("amqp://[::1]:7,b:1,", repr(parameters))
        self.assertEqual(ConnectionParameters().hosts, (("localhost", 5672),))

    def test_tls(self) -> None:
        self.refused(TypeError, "tls", True, "ca.pem", {})
        self.assertEqual(ConnectionParameters(tls=TLSOptions()).port, 5671)
        self.assertEqual(ConnectionParameters(tls=TLSOptions(), hosts=["a", ("b", 1)]).hosts, (("a", 5671), ("b", 1)))

    def test_connection_name(self) -> None:
        self.refused(ValueError, "connection_name", "x" * 256, "a\0", "\udc80")
        self.refused(TypeError, "connection_name", 1, None)

    def test_B109_client_properties(self) -> None:
        self.refused(ValueError, "client_properties", {"k": "x" * 5000})
        self.refused(TypeError, "client_properties", {"k": object()})
        for wrong in ([1], "x", 5):
            raised = self.assertRaises(TypeError, ConnectionParameters, client_properties=wrong)
            self.assertEqual(str(raised), f"client_properties must be a Mapping or None, not {type(wrong).__name__}")


class SetParameterTests(SynchronousTestCase):
    """What a program sets after it has made its parameters, as those for pika do."""

    def refused(self, parameters: Any, name: str, value: object) -> str:
        error = self.assertRaises(AttributeError, setattr, parameters, name, value)
        self.assertNotIn(name, vars(parameters))
        return str(error)

    def test_names_of_pika_are_refused_and_ours_named(self) -> None:
        """A hosting company's snippet set C{ssl_options}: the connection was made in plain text, without a word."""
        parameters: Any = URLParameters("amqp://broker")
        for name in ("ssl_options", "ssl"):
            self.assertIn("set tls to TLSOptions", self.refused(parameters, name, {"cert_reqs": 2}))
        self.assertIn("set blocked_timeout", self.refused(parameters, "blocked_connection_timeout", 300))
        for name in ("socket_timeout", "stack_timeout"):
            self.assertIn("set connection_timeout", self.refused(parameters, name, 5))
        for name in ("connection_attempts", "retry_delay"):
            self.assertIn("reconnection strategy, or use AMQPService", self.refused(parameters, name, 5))

    def test_a_subclass_of_the_program_has_what_it_likes(self) -> None:
        class Regional(ConnectionParameters):
            """Knows where its broker is."""

        parameters: Any = Regional("broker")
        parameters.region = "eu"
        self.assertEqual(parameters.region, "eu")
        self.refused(parameters, "ssl_options", {})
        self.assertRaises(TypeError, setattr, parameters, "heartbeat", "x")

    def test_a_misspelled_name(self) -> None:
        for parameters in (ConnectionParameters(), URLParameters("amqp://broker")):
            text = self.refused(parameters, "hearbeat", 30)
            self.assertEqual(text, f"{type(parameters).__name__} has no attribute 'hearbeat'")

    def test_each_argument_is_checked_as_in_the_constructor(self) -> None:
        """C{p.heartbeat = "x"} was an error deep in the engine."""
        wrong: dict[str, object] = {
            "host": "a:1",
            "hosts": [("a", 0)],
            "port": "5672",
            "virtual_host": 1,
            "credentials": "hunter2",
            "channel_max": -1,
            "frame_max": 0,
            "heartbeat": "x",
            "tls": True,
            "connection_timeout": 0,
            "close_timeout": None,
            "connection_name": 1,
            "client_properties": [1],
            "locale": None,
            "confirm_window": 0,
            "max_held": -1,
            "max_body_size": 1.5,
            "blocked_timeout": -1,
        }
        self.assertEqual({*wrong}, {*inspect.signature(ConnectionParameters).parameters})
        for name, value in wrong.items():
            at_once = self.assertRaises((TypeError, ValueError), ConnectionParameters, **{name: value})
            parameters = ConnectionParameters(heartbeat=33)
            before = repr(parameters), dict(vars(parameters))
            later = self.assertRaises(type(at_once), setattr, parameters, name, value)
            self.assertEqual(str(later), str(at_once))
            self.assertEqual((repr(parameters), vars(parameters)), before)

    def test_what_is_right_is_kept(self) -> None:
        parameters = URLParameters("amqp://broker:7/v")
        parameters.tls = options = TLSOptions()
        parameters.heartbeat = 30
        parameters.blocked_timeout = 300
        parameters.credentials = PlainCredentials("me", "hunter2")
        self.assertEqual((parameters.tls, parameters.heartbeat, parameters.blocked_timeout), (options, 30, 300))
        self.assertIn("amqps://broker:7 ", repr(parameters))

    def test_hosts(self) -> None:
        parameters = ConnectionParameters(hosts=["a", ("b", 2)], port=1)
        parameters.port = 3
        self.assertEqual(parameters.hosts, (("a", 3), ("b", 3)))
        parameters.hosts = ["c", ("d", 4)]
        self.assertEqual(parameters.hosts, (("c", 3), ("d", 4)))
        parameters.host = "e"
        self.assertEqual(parameters.hosts, (("e", 3),))

    def test_warnings_name_the_line_of_the_program(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            parameters = ConnectionParameters(heartbeat=1, frame_max=4096)
            parameters.heartbeat = 2
            parameters.frame_max = 4097
        self.assertEqual([each.filename for each in caught], [__file__] * 4)

    def test_copies(self) -> None:
        one = ConnectionParameters("a", 7, heartbeat=33, credentials=ExternalCredentials())
        for parameters in (one, URLParameters("amqp://a:7?heartbeat=33&auth_mechanism=external")):
            for other in (copy.copy(parameters), copy.deepcopy(parameters), pickle.loads(pickle.dumps(parameters))):
                self.assertIs(type(other), type(parameters))
                self.assertEqual((repr(other), other.heartbeat), (repr(parameters), 33))
                other.host = "b"
                self.assertEqual((other.hosts, parameters.hosts), ((("b", 7),), (("a", 7),)))

    def test_a_subclass_has_attributes_of_its_own(self) -> None:
        class Ours(ConnectionParameters):
            region = "here"

        parameters = Ours()
        parameters.region = "there"
        self.assertEqual(parameters.region, "there")


class EvaluationTests(SynchronousTestCase):
    """What a URI says is data."""

    def test_B105_nothing_is_evaluated(self) -> None:
        for name in ("heartbeat", "channel_max", "frame_max", "connection_timeout"):
            for value in ("__import__('os')", "1+1", "[1]", "0x10", "1e3", "1_000", "True", "None", "%7B%7D"):
                self.assertIn(name, str(self.assertRaises(ValueError, parse_uri, f"amqp://h?{name}={value}")))
        for value in ("__import__('os')", "{'a': 1}", "None"):
            self.assertEqual(parse_uri(f"amqp://h?connection_name={value.replace(' ', '%20')}").connection_name, value)
        evaluating = {"eval", "exec", "literal_eval", "compile", "loads", "__import__"}
        modules = [path for path in Path(txpika.__path__[0]).rglob("*.py") if "test" not in path.parts]
        self.assertGreater(len(modules), 30)
        for path in modules:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    function = node.func
                    called = getattr(function, "id", None) or getattr(function, "attr", None)
                    module = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
                    if module in ("json", "re", "tomllib"):
                        continue
                    self.assertNotIn(called, evaluating, f"{path}:{node.lineno}")


class CallCountTests(SynchronousTestCase):
    """Calls of Python functions for each message on the hot paths; a new one costs about 50 ns of each message."""

    def setUp(self) -> None:
        self.peer = Peer().open()
        self.core = self.peer.channel()
        connection: Any = None
        self.channel = Channel(self.core, connection)

    def test_publish(self) -> None:
        written: list[bytes] = []
        self.peer.connection.wire.write = written.append
        properties = BasicProperties(delivery_mode=2)
        self.channel.basic_publish("", "q", b"x", properties)

        def hundred() -> None:
            for _ in range(100):
                self.channel.basic_publish("", "q", b"x", properties)

        # basic_publish, publish, and Deferred.__init__, callback and its one helper in succeed()
        self.assertLessEqual(count_calls(hundred), 100 * 5 + 10)

    def count_of_deliveries(self, no_ack: bool, on_delivery: Any) -> int:
        """Calls for 100 deliveries in one read, after the first."""
        consumer = RecordingConsumer(no_ack)
        consumer.then = on_delivery
        self.peer.consume(self.core, consumer)
        self.peer.send(deliver(1, consumer.consumer_tag, 1, b"x"))
        data = b"".join(deliver(1, consumer.consumer_tag, number, b"x") for number in range(2, 102))
        return count_calls(lambda: self.peer.connection.data_received(data))

    def test_delivery(self) -> None:
        """Delivery.__init__, the consumer's deliver, and what it calls."""
        bodies: list[bytes] = []
        self.assertLessEqual(self.count_of_deliveries(True, lambda d: bodies.append(d.body)), 100 * 3 + 30)
        self.assertEqual(len(bodies), 101)

    def test_delivery_and_ack(self) -> None:
        """The same, the delivery's ack and the channel's."""
        self.assertLessEqual(self.count_of_deliveries(False, lambda d: d.ack()), 100 * 5 + 30)
        self.assertEqual(self.peer.names(), ["Basic.Ack"] * 2)


class ImportTests(SynchronousTestCase):
    """The names at the top."""

    def test_names(self) -> None:
        import txpika

        for name in txpika.__all__:
            self.assertIsNotNone(getattr(txpika, name))
        self.assertIn("connect", dir(txpika))
        self.assertRaises(AttributeError, getattr, txpika, "no_such_name")
        self.assertIs(txpika.AMQPProtocol, AMQPProtocol)
