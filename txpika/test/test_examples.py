"""Tests for the examples and for what the README says of them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from textwrap import indent
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from txpika.test import broker

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


class Program(ProcessProtocol):
    """A program that runs, what it prints, and how it ends."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.output = b""
        self.ended: Deferred[int] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []
        reactor.spawnProcess(self, sys.executable, [sys.executable, *arguments], env={**os.environ, **environment})

    def printed(self, text: bytes) -> Deferred[None]:
        """Fires when C{text} was printed; fails when the program ended without."""
        done: Deferred[None] = Deferred()
        self._waiting.append((text, done))
        self._check()
        return done

    def _check(self) -> None:
        for text, done in list(self._waiting):
            if text in self.output:
                self._waiting.remove((text, done))
                done.callback(None)

    def outReceived(self, data: bytes) -> None:
        self.output += data
        self._check()

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(reason.value.exitCode)  # type: ignore[union-attr]
        waiting, self._waiting = self._waiting, []
        for text, done in waiting:
            done.errback(AssertionError(f"ended without printing {text!r}: {self.output.decode()}"))


class ExampleTests(TestCase):
    """Each example, as a reader would run it."""

    timeout = 60

    def setUp(self) -> None:
        if not EXAMPLES.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")
        self.uri = broker.require_broker()

    async def test_first(self) -> None:
        program = Program(str(EXAMPLES / "first.py"), TXPIKA_URI=self.uri)
        self.assertEqual((await program.ended, program.output), (0, b"hello\n"))

    def test_the_readme_shows_the_first_example(self) -> None:
        shown = indent((EXAMPLES / "first.py").read_text(), "    ")
        self.assertIn(shown, (REPOSITORY / "README.rst").read_text())

    def test_client_service_comes_back(self) -> Deferred[None]:
        return ensureDeferred(self._client_service())

    async def _client_service(self) -> None:
        import txpika

        connection = await txpika.connect(self.uri)
        self.addCleanup(connection.close)
        channel = await connection.channel()
        await channel.queue_declare("example-service", durable=True)
        program = Program(str(EXAMPLES / "client_service.py"), "example-service", TXPIKA_URI=self.uri)
        await program.printed(b"consuming")
        await channel.basic_publish("", "example-service", b"before")
        await program.printed(b"before\n")
        listed = broker.ctl("list_connections", "pid").split()
        self.assertGreaterEqual(len(listed), 2)
        broker.ctl("close_all_connections", "the example is tested")
        again = await txpika.connect(self.uri)
        self.addCleanup(again.close)
        channel = await again.channel()
        await channel.basic_publish("", "example-service", b"after")
        await program.printed(b"after\n")
        await channel.queue_delete("example-service")
        assert program.transport is not None
        program.transport.signalProcess("TERM")
        await program.ended


class InstrumentExampleTests(TestCase):
    """Those about instruments."""

    timeout = 60

    def setUp(self) -> None:
        if not EXAMPLES.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")
        self.uri = broker.require_broker()

    async def test_watching(self) -> None:
        program = Program(str(EXAMPLES / "watching.py"), TXPIKA_URI=self.uri)
        self.assertEqual(await program.ended, 0, program.output)
        returned, closed = program.output.decode().splitlines()
        self.assertRegex(returned, r"^nobody-listens: returned after 0\.\d+ seconds$")
        self.assertEqual(closed, "watched: 200 Normal shutdown, closed by local")

    def test_metrics(self) -> Deferred[None]:
        return ensureDeferred(self._metrics())

    async def _metrics(self) -> None:
        program = Program(str(EXAMPLES / "metrics.py"), "0", TXPIKA_URI=self.uri)
        await program.printed(b"/metrics\n")
        url = program.output.decode().strip()
        shown = ""
        while 'txpika_settled_messages_total{how="ack",requeue="false"} 1.0' not in shown:
            shown = await deferToThread(lambda: urlopen(url, timeout=30).read().decode())
        self.assertIn("txpika_connections 1.0", shown)
        assert program.transport is not None
        program.transport.signalProcess("TERM")
        await program.ended

    async def test_tracing(self) -> None:
        program = Program(str(EXAMPLES / "tracing.py"), TXPIKA_URI=self.uri)
        self.assertEqual(await program.ended, 0, program.output)
        text, spans = program.output.decode().lstrip(), []
        while text:
            span, end = json.JSONDecoder().raw_decode(text)
            spans.append(span)
            text = text[end:].lstrip()
        names = sorted(span["name"].split()[0] for span in spans)
        self.assertEqual(names, ["ack", "process", "publish", "request", "work"])
        self.assertEqual(len({span["context"]["trace_id"] for span in spans}), 1)


class DemoTests(TestCase):
    """C{make demo}'s program when there is nothing to show."""

    timeout = 60

    async def _fails(self, uri: str, said: bytes) -> None:
        demo = REPOSITORY / "tools" / "demo.py"
        if not demo.is_file():
            raise SkipTest("the demo is in the repository, not in an installed txpika")
        program = Program(str(demo), TXPIKA_URI=uri)
        self.assertEqual(await program.ended, 1)
        self.assertEqual(program.output.count(b"\n"), 1, program.output)
        self.assertIn(said, program.output)
        self.assertNotIn(b"hunter2", program.output)

    async def test_refused(self) -> None:
        await self._fails("amqp://me:hunter2@127.0.0.1:1", b"cannot connect to 127.0.0.1:1")

    async def test_wrong_uri(self) -> None:
        await self._fails("http://me:hunter2@127.0.0.1", b"begins with amqp://")

    async def test_wrong_password(self) -> None:
        _, _, address = broker.require_broker().rpartition("@")
        await self._fails(f"amqp://nobody:hunter2@{address}", b"403 ACCESS_REFUSED")
