"""Tests for the metrics: what a scrape shows of what happened."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import SkipTest

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

import txpika
from txpika import ConnectionParameters
from txpika.instruments.prometheus import PrometheusInstrument
from txpika.message import Delivery
from txpika.spec import Basic, Confirm, Connection
from txpika.test import broker
from txpika.test.fakes import TwistedPeer, content, deliver, method
from txpika.test.instruments import QUIET

REPOSITORY = Path(__file__).resolve().parents[2]

#: A new interpreter finds txpika where this one does.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])}


class PrometheusTests(SynchronousTestCase):
    """An instrument with a registry of its own, and a connection."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.instrument = PrometheusInstrument(self.registry, buckets=(0.1, 1, 10))
        self.peer = self.connect()
        self.channel = self.peer.open_face()

    def connect(self) -> TwistedPeer:
        return TwistedPeer(QUIET, self.instrument).open(heartbeat=0)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"txpika_{name}", labels)

    def values(self, *names: str) -> list[float | None]:
        return [self.value(name) for name in names]

    def consume(self, on_delivery: Any = None, **more: Any) -> None:
        self.channel.basic_consume("some-queue", on_delivery, consumer_tag="t", **more)
        self.peer.send(method(1, Basic.ConsumeOk("t")))

    def test_publishing(self) -> None:
        self.successResultOf(self.channel.basic_publish("", "q", b"12345"))
        self.channel.confirm_select()
        self.peer.send(method(1, Confirm.SelectOk()))
        publishes = [self.channel.basic_publish("", "q", b"1", mandatory=True) for _ in range(4)]
        self.assertEqual(self.values("published_messages_total", "published_bytes_total"), [5, 9])
        self.assertEqual(self.value("unconfirmed_messages"), 4)
        self.peer.clock.advance(0.5)
        self.peer.send(method(1, Basic.Ack(1)))
        self.peer.send(content(1, Basic.Return(312, "NO_ROUTE", "", "q"), b"1") + method(1, Basic.Ack(2)))
        self.peer.clock.advance(2)
        self.peer.send(method(1, Basic.Nack(3)))
        self.peer.transport.producer.pauseProducing()
        publishes.append(self.channel.basic_publish("", "q", bytes(100)))
        held = self.value("held_bytes")
        assert held is not None
        self.assertGreater(held, 100)
        self.peer.lose()
        for publish in publishes[1:]:
            self.failureResultOf(publish)
        outcomes = {
            name: self.value("publish_outcomes_total", outcome=name)
            for name in ("written", "acked", "nacked", "returned", "unknown", "not_sent")
        }
        self.assertEqual(outcomes, {"written": 1, "acked": 1, "nacked": 1, "returned": 1, "unknown": 1, "not_sent": 1})
        buckets = [
            self.value("publish_confirm_duration_seconds_bucket", le=bound) for bound in ("0.1", "1.0", "10.0", "+Inf")
        ]
        self.assertEqual(buckets, [0, 2, 3, 3])
        self.assertEqual(
            self.values("publish_confirm_duration_seconds_count", "publish_confirm_duration_seconds_sum"), [3, 3.5]
        )
        self.assertEqual(self.values("unconfirmed_messages", "held_bytes"), [0, 0])

    def test_consuming(self) -> None:
        def on_delivery(delivery: Delivery) -> None:
            self.peer.clock.advance(0.5)
            if delivery.body == b"ack":
                delivery.ack()
            elif delivery.body == b"nack":
                delivery.nack()
            elif delivery.body == b"reject":
                delivery.reject()
            else:
                raise RuntimeError("of the program")

        self.consume(on_delivery)
        for tag, body in enumerate((b"ack", b"nack", b"reject", b"raise"), 1):
            self.peer.send(content(1, Basic.Deliver("t", tag, tag > 2, "", "q"), body))
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(
            self.values("delivered_messages_total", "delivered_bytes_total", "redelivered_messages_total"), [4, 18, 2]
        )
        self.assertEqual(self.value("unsettled_messages"), 1)
        for how, requeue, count in (
            ("ack", "false", 1),
            ("nack", "true", 1),
            ("nack", "false", 0),
            ("reject", "false", 1),
            ("reject", "true", 0),
        ):
            self.assertEqual(self.value("settled_messages_total", how=how, requeue=requeue), count)
        self.assertEqual(self.value("handler_duration_seconds_count", result="success"), 3)
        self.assertEqual(self.value("handler_duration_seconds_sum", result="failure"), 0.5)
        self.assertEqual(self.values("settle_duration_seconds_count", "settle_duration_seconds_sum"), [3, 1.5])

    def test_connections(self) -> None:
        second = self.connect()
        second.open_face()
        second.send(method(0, Connection.Blocked("disk")))
        second.clock.advance(5)
        self.assertEqual(
            self.values("connections", "channels", "blocked_connections", "connections_opened_total"), [2, 2, 1, 2]
        )
        self.assertEqual(self.value("blocked_seconds_total"), 5)
        self.peer.transport.producer.pauseProducing()
        self.peer.clock.advance(2)
        self.assertEqual(self.value("write_paused_seconds_total"), 2)
        second.lose()
        self.assertEqual(
            self.values("connections", "channels", "blocked_connections", "connections_opened_total"), [1, 1, 0, 2]
        )
        self.assertEqual(self.values("blocked_seconds_total", "write_paused_seconds_total"), [5, 2])
        self.assertEqual(self.value("connections_closed_total", reason="ConnectionLost", initiator="network"), 1)
        self.assertEqual(self.values("handshake_duration_seconds_count"), [2])

    def test_totals_stay_when_connections_go(self) -> None:
        before = self.values("sent_bytes_total", "received_bytes_total")
        self.assertEqual(before[0], len(self.peer.transport.data))
        assert before[1] is not None
        self.assertGreater(before[1], 100)
        self.peer.lose()
        self.assertEqual(self.values("sent_bytes_total", "received_bytes_total"), before)
        self.connect()
        self.assertGreater(self.value("sent_bytes_total") or 0, before[0] or 0)

    def test_reconnects(self) -> None:
        factory = txpika.AMQPFactory(QUIET, self.peer.clock, instrument=self.instrument)

        class BuiltPeer(TwistedPeer):
            def connect(self, parameters: ConnectionParameters, transport: Any) -> Any:
                self.protocol = factory.buildProtocol(None)
                self.protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
                return self.protocol._core

        for expected in (0, 1, 2):
            peer = BuiltPeer().open(heartbeat=0)
            self.assertEqual(self.value("reconnects_total"), expected)
            peer.lose()
        BuiltPeer().lose()
        self.assertEqual(self.values("reconnects_total", "connections_opened_total"), [2, 4])
        self.assertEqual(self.value("connections_closed_total", reason="HandshakeError", initiator="network"), 1)

    def test_names(self) -> None:
        """Rules of prometheus.io/docs/practices/naming, for all of them; and those promised are there."""
        shown = {family.name: family for family in text_string_to_metric_families(self.exposition())}
        for family in self.registry.collect():
            self.assertTrue(family.name.startswith("txpika_"), family.name)
            self.assertTrue(family.documentation, family.name)
            if family.type == "counter":
                self.assertTrue(all(sample.name.endswith("_total") for sample in family.samples), family.name)
            if family.type == "histogram":
                self.assertTrue(family.name.endswith("_seconds"), family.name)
            self.assertIn(family.name, shown)
        samples = {sample.name for family in self.registry.collect() for sample in family.samples}
        promised = {
            "txpika_published_messages_total",
            "txpika_delivered_messages_total",
            "txpika_unconfirmed_messages",
            "txpika_write_paused_seconds_total",
            "txpika_reconnects_total",
            "txpika_publish_confirm_duration_seconds_bucket",
        }
        self.assertLessEqual(promised, samples)

    def test_the_documentation_lists_them_all(self) -> None:
        page = REPOSITORY / "docs" / "instruments.rst"
        if not page.is_file():
            raise SkipTest("the documentation is in the repository, not in an installed txpika")
        rows = re.findall(r"^``(txpika_\w+)`` +(\w+)", page.read_text(), re.MULTILINE)
        names = [
            (family.name + ("_total" if family.type == "counter" else ""), family.type)
            for family in self.registry.collect()
        ]
        self.assertEqual(rows, names)

    def exposition(self) -> str:
        return generate_latest(self.registry).decode()

    def test_no_label_grows_with_messages(self) -> None:
        before = self.exposition().count("\n")
        self.consume(lambda delivery: delivery.ack())
        for number in range(1, 50):
            self.channel.basic_publish(f"exchange-{number}", f"key-{number}", b"x")
            self.peer.send(deliver(1, "t", number, b"x", f"key-{number}"))
        text = self.exposition()
        self.assertEqual(text.count("\n"), before)
        for word in ("key-", "exchange-", "some-queue"):
            self.assertNotIn(word, text)

    def test_a_registry_takes_one(self) -> None:
        self.assertRaises(ValueError, PrometheusInstrument, self.registry)
        other = CollectorRegistry()
        unregistered = PrometheusInstrument(None)
        other.register(unregistered)
        self.assertEqual(other.get_sample_value("txpika_connections"), 0)

    def test_buckets_ascend(self) -> None:
        for wrong in ((), (1, 1), (2, 1)):
            self.assertIn("buckets", str(self.assertRaises(ValueError, PrometheusInstrument, None, wrong)))

    def test_scraped_from_another_thread(self) -> None:
        """Nothing that a connection does meanwhile upsets a scrape, or lets a total go back."""
        raised: list[BaseException] = []
        totals: list[float] = []
        done = False

        def scrape() -> None:
            try:
                while not done:
                    generate_latest(self.registry)
                    totals.append(self.value("received_bytes_total") or 0)
            except BaseException as error:
                raised.append(error)

        thread = Thread(target=scrape)
        switching = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            thread.start()
            for _ in range(50):
                peer = self.connect()
                for _ in range(5):
                    peer.open_face().confirm_select().addErrback(lambda _failure: None)
                peer.lose()
        finally:
            done = True
            thread.join()
            sys.setswitchinterval(switching)
        self.assertEqual(raised, [])
        self.assertGreater(len(totals), 1)
        self.assertEqual(totals, sorted(totals))


class MissingTests(SynchronousTestCase):
    """Without the package."""

    def test_one_line_names_the_extra(self) -> None:
        program = "import sys; sys.modules['prometheus_client'] = None; import txpika.instruments.prometheus"
        done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        last = done.stderr.splitlines()[-1]
        self.assertTrue(last.startswith("ModuleNotFoundError: "), last)
        self.assertIn("pip install txpika[prometheus]", last)
        self.assertNotIn("During handling", done.stderr)


class LiveTests(TestCase):
    """Against a real RabbitMQ."""

    timeout = 60

    async def test_there_and_back(self) -> None:
        registry = CollectorRegistry()
        connection = await txpika.connect(broker.require_broker(), instrument=PrometheusInstrument(registry))
        self.addCleanup(connection.close)
        channel = await connection.channel()
        queue = (await channel.queue_declare(f"test-{uuid.uuid4().hex}", exclusive=True)).queue
        await channel.confirm_select()
        all_here: Deferred[None] = Deferred()
        count = 0

        def on_delivery(delivery: Delivery) -> None:
            nonlocal count
            delivery.ack()
            count += 1
            if count == 100:
                all_here.callback(None)

        await channel.basic_consume(queue, on_delivery)
        for _ in range(100):
            await channel.basic_publish("", queue, b"0123456789")
        await all_here
        self.assertEqual(registry.get_sample_value("txpika_publish_outcomes_total", {"outcome": "acked"}), 100)
        for name, value in (
            ("connections", 1),
            ("channels", 1),
            ("published_bytes_total", 1000),
            ("publish_confirm_duration_seconds_count", 100),
            ("delivered_messages_total", 100),
            ("settle_duration_seconds_count", 100),
            ("unsettled_messages", 0),
            ("unconfirmed_messages", 0),
        ):
            self.assertEqual(registry.get_sample_value(f"txpika_{name}"), value, name)
        took = registry.get_sample_value("txpika_publish_confirm_duration_seconds_sum")
        assert took is not None
        self.assertGreater(took, 0)
        await connection.close()
        closed = {"reason": "ConnectionClosed", "initiator": "local"}
        self.assertEqual(registry.get_sample_value("txpika_connections_closed_total", closed), 1)
        self.assertEqual(registry.get_sample_value("txpika_connections"), 0)
