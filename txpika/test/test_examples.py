"""Tests for the examples and for what the README says of them."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from pathlib import Path
from textwrap import indent
from typing import Any
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

import txpika
from txpika import uri
from txpika.test import broker
from txpika.test.authority import secure_broker

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


#: Runs a program as it is, with other parameters than those of C{ConnectionParameters("localhost")}.
LEADING_ELSEWHERE = """
import os, runpy, sys, txpika

def elsewhere(host):
    assert host == "localhost"
    return txpika.parse_uri(os.environ["TXPIKA_URI"])

txpika.ConnectionParameters = elsewhere
runpy.run_path(sys.argv[1], run_name="__main__")
"""


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

    def test_a_service_survives_its_broker(self) -> Deferred[None]:
        return ensureDeferred(self._service())

    async def _service(self) -> None:
        program = Program(str(EXAMPLES / "service.py"), TXPIKA_URI=self.uri)
        await program.printed(b"open \ntaking orders\n")
        program.output = b""
        broker.ctl("stop_app")
        await program.printed(b"waiting ")
        broker.ctl("start_app")
        await program.printed(b"recovering \nopen \n")
        connection = await txpika.connect(self.uri)
        channel = await connection.channel()
        await channel.basic_publish("", "orders", b"tea")
        async for delivery in await channel.basic_consume("bills", no_ack=True):
            self.assertEqual(delivery.body, b"bill for tea")
            break
        assert program.transport is not None
        program.transport.signalProcess("INT")
        await program.printed(b"draining \nclosed \n")
        await program.ended
        for queue in ("orders", "bills"):
            self.assertEqual((await channel.queue_delete(queue)).message_count, 0)
        await connection.close()


class ConnectingTests(TestCase):
    """The examples of docs/connecting.rst, and what that says."""

    timeout = 60

    def setUp(self) -> None:
        if not EXAMPLES.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")
        self.uri = broker.require_broker()
        self.parameters = txpika.parse_uri(self.uri)
        credentials: Any = self.parameters.credentials
        self.user = {"BROKER_USER": credentials.username, "BROKER_PASSWORD": credentials._password.reveal()}

    async def test_tls(self) -> None:
        secure = secure_broker(self.mktemp())
        for port, host, said in (
            (secure.strict_port, "localhost", "connected to RabbitMQ\n"),
            (secure.other_port, "localhost", "not our broker: the certificate of the broker is not for 'localhost'\n"),
        ):
            certfile = secure.authority.issue("me@example.org")
            arguments = (host, str(port), secure.authority.cafile, certfile)
            program = Program(str(EXAMPLES / "tls.py"), *arguments, **self.user)
            self.assertEqual((await program.ended, program.output.decode()), (0, said))

    async def test_several_hosts(self) -> None:
        address = f"{self.parameters.host}:{self.parameters.port}"
        program = Program(str(EXAMPLES / "several_hosts.py"), "127.0.0.1:1", address, **self.user)
        self.assertEqual((await program.ended, program.output[:12]), (0, b"connected to"))
        program = Program(str(EXAMPLES / "several_hosts.py"), "127.0.0.1:1", "127.0.0.1:2", **self.user)
        self.assertEqual((await program.ended, program.output.count(b"cannot connect to 127.0.0.1:")), (0, 2))

    async def test_fresh_credentials(self) -> None:
        user = f"user-{uuid.uuid4().hex}"
        broker.ctl("add_user", user, "first")
        self.addCleanup(broker.ctl, "delete_user", user)
        broker.ctl("set_permissions", user, ".*", ".*", ".*")
        file = Path(self.mktemp()).resolve()
        file.write_text("first\n")
        where = (self.parameters.host, str(self.parameters.port))
        program = Program(str(EXAMPLES / "fresh_credentials.py"), *where, user, str(file))
        await program.printed(b"open\n")
        file.write_text("second\n")
        broker.ctl("change_password", user, "second")
        broker.ctl("close_all_connections", "new password")
        await program.printed(b"open\nopen\n")
        assert program.transport is not None
        program.transport.signalProcess("TERM")
        await program.ended

    async def test_unix_socket(self) -> None:
        path = self.mktemp()[-90:]
        forward = ProxyFactory(self.parameters.host, self.parameters.port)
        listening = await UNIXServerEndpoint(reactor, path).listen(forward)
        self.addCleanup(listening.stopListening)
        program = Program(str(EXAMPLES / "unix_socket.py"), path, TXPIKA_URI=self.uri)
        self.assertEqual((await program.ended, program.output), (0, b"connected to RabbitMQ\n"))

    def test_the_page_names_every_query_name_and_files_that_are_there(self) -> None:
        page = (REPOSITORY / "docs" / "connecting.rst").read_text()
        for name in (*uri._NUMBERS, *uri._TLS, "connection_timeout", "connection_name", "auth_mechanism", "verify"):
            self.assertIn(f"\n``{name}``", page)
        included = re.findall(r"literalinclude:: (\S+)", page)
        self.assertEqual(len(included), 5)
        for path in included:
            self.assertTrue((REPOSITORY / "docs" / path).is_file(), path)


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

    async def test_without_a_broker(self) -> None:
        demo = REPOSITORY / "tools" / "demo.py"
        if not demo.is_file():
            raise SkipTest("the demo is in the repository, not in an installed txpika")
        program = Program(str(demo), TXPIKA_URI="", TXPIKA_TEST_URI="")
        self.assertEqual(await program.ended, 0, program.output)
        first, *rows = program.output.decode().splitlines()
        self.assertIn(first, (REPOSITORY / "README.rst").read_text())
        self.assertEqual(rows[4].split(), ["lost", "0"])

    async def test_refused(self) -> None:
        await self._fails("amqp://me:hunter2@127.0.0.1:1", b"cannot connect to 127.0.0.1:1")

    async def test_wrong_uri(self) -> None:
        await self._fails("http://me:hunter2@127.0.0.1", b"begins with amqp://")

    async def test_wrong_password(self) -> None:
        _, _, address = broker.require_broker().rpartition("@")
        await self._fails(f"amqp://nobody:hunter2@{address}", b"403 ACCESS_REFUSED")


class TestingExampleTests(TestCase):
    """Those of docs/testing.rst, which are tests."""

    timeout = 60

    async def test_they_pass(self) -> None:
        if not EXAMPLES.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")
        folder = self.mktemp()
        paths = os.pathsep.join((str(EXAMPLES), str(REPOSITORY)))
        program = Program(
            *("-m", "twisted.trial", "--temp-directory", folder, "test_worker", "test_greeter"), PYTHONPATH=paths
        )
        self.assertEqual(await program.ended, 0, program.output)
        self.assertIn(b"PASSED (successes=5)", program.output)


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


class CallbackExampleTests(TestCase):
    """Those of the callback API and of the blocking one, and the two programs of 2011."""

    timeout = 60

    def setUp(self) -> Any:
        if not EXAMPLES.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")
        self.uri = broker.require_broker()
        return ensureDeferred(self._connect())

    async def _connect(self) -> None:
        connection = await txpika.connect(self.uri)
        self.addCleanup(connection.close)
        self.channel = await connection.channel()

    def run_example(self, name: str, *arguments: str) -> Program:
        return Program(str(EXAMPLES / name), *arguments, TXPIKA_URI=self.uri)

    def run_legacy_example(self, name: str) -> Program:
        """They connect to this machine's usual port; here that leads to the broker of the tests."""
        return Program("-c", LEADING_ELSEWHERE, str(EXAMPLES / name), TXPIKA_URI=self.uri)

    async def interrupted(self, program: Program) -> None:
        assert program.transport is not None
        program.transport.signalProcess("INT")
        self.assertEqual(await program.ended, 0, program.output)

    def queue(self, name: str) -> str:
        self.addCleanup(self._delete, name)
        return name

    async def _delete(self, queue: str) -> None:
        connection = await txpika.connect(self.uri)
        await (await connection.channel()).queue_delete(queue)
        await connection.close()

    def test_legacy_asynchronous(self) -> Deferred[None]:
        return ensureDeferred(self._legacy_asynchronous())

    async def _legacy_asynchronous(self) -> None:
        queue = self.queue("test")
        program = self.run_legacy_example("legacy_asynchronous.py")
        await program.printed(b"waiting for messages in test\n")
        properties = txpika.BasicProperties(content_type="text/plain")
        for body in (b"1", b"2"):
            await self.channel.basic_publish("", queue, body, properties)
            await program.printed(b"a message of type text/plain through test b'%b'\n" % body)
        # It prints, and then acknowledges.
        while "test\t0" not in broker.ctl("list_queues", "name", "messages_unacknowledged").splitlines():
            pass
        await self.interrupted(program)
        self.assertIsNone(await self.channel.basic_get(queue), "both were acknowledged")

    def test_legacy_blocking(self) -> Deferred[None]:
        return ensureDeferred(self._legacy_blocking())

    async def _legacy_blocking(self) -> None:
        self.addCleanup(lambda: self.channel.exchange_delete("test_x"))
        queue = self.queue("test_q")
        for _ in range(2):  # again with what is there already
            program = self.run_legacy_example("legacy_blocking.py")
            self.assertEqual((await program.ended, program.output), (0, b""))
            got = await self.channel.basic_get(queue, no_ack=True)
            assert got is not None
            self.assertEqual(
                (got.body, got.properties.content_type, got.exchange), (b"Hello World!", "text/plain", "test_x")
            )

    def test_the_legacy_programs_differ_from_2011_in_one_line_only(self) -> None:
        for name in ("legacy_asynchronous.py", "legacy_blocking.py"):
            program = (EXAMPLES / name).read_text().partition('"""\n\n')[2]
            self.assertEqual(re.findall(".*txpika.*", program, re.IGNORECASE), ["import txpika as pika"])

    def test_reconnecting(self) -> Deferred[None]:
        return ensureDeferred(self._reconnecting())

    async def _reconnecting(self) -> None:
        source, sink = (self.queue(f"example-{uuid.uuid4().hex}") for _ in range(2))
        program = self.run_example("callback_reconnecting.py", source, sink)
        await program.printed(b"consuming\n")
        name = (await self.channel.queue_declare(sink, passive=True)).queue
        self.assertEqual(name, sink)
        broker.ctl("close_all_connections", "the example is tested")
        await program.printed(b"consuming\nchannel closed: 320 CONNECTION_FORCED - the example is tested\n")
        await self._connect()
        await program.printed(b"closed: 320 CONNECTION_FORCED - the example is tested\nconsuming\n")
        await self.channel.basic_publish("", source, b"hello")
        consumer = await self.channel.basic_consume(sink, no_ack=True)
        async for delivery in consumer:
            self.assertEqual(delivery.body, b"HELLO")
            break
        await self.channel.queue_delete(sink)
        await self.channel.basic_publish("", source, b"alone")
        await program.printed(b"nobody wants b'ALONE'\n")
        await self.interrupted(program)
        self.assertTrue(program.output.endswith(b"closed: 200 Normal shutdown\n"), program.output)

    def test_blocking_worker(self) -> Deferred[None]:
        return ensureDeferred(self._blocking_worker())

    async def _blocking_worker(self) -> None:
        program = self.run_example("blocking_worker.py")
        self.assertEqual(await program.ended, 0, program.output)
        expected = b"taken: 1000 not taken: 0\ndone: 1000 handed back: 0\ncame back: NO_ROUTE\n"
        self.assertEqual(program.output, expected)
