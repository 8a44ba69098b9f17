"""Tests for the examples and for what the README says of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import indent
from uuid import uuid4

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

import txpika
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


class HelperExampleTests(TestCase):
    """Those of the page C{docs/helpers.rst}."""

    timeout = 60

    def setUp(self) -> None:
        if not EXAMPLES.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")
        self.uri = broker.require_broker()
        self.prefix = f"example-{uuid4().hex}"

        self.addCleanup(lambda: ensureDeferred(self._delete()))

    async def _delete(self) -> None:
        connection = await txpika.connect(self.uri)
        channel = await connection.channel()
        for suffix in ("", "-work", "-events", "-wait", "-parked"):
            await channel.queue_delete(self.prefix + suffix)
        await connection.close()

    def run_example(self, name: str, *arguments: str) -> Program:
        return Program(str(EXAMPLES / name), self.prefix, *arguments, TXPIKA_URI=self.uri)

    async def test_rpc(self) -> None:
        client = self.run_example("rpc_client.py")
        self.assertEqual(await client.ended, 0, client.output)
        self.assertEqual(client.output, f"NO_ROUTE: there is no queue {self.prefix}\n".encode())
        server = self.run_example("rpc_server.py")
        await server.printed(b"serving")
        client = self.run_example("rpc_client.py")
        self.assertEqual(await client.ended, 0, client.output)
        error, squares = client.output.splitlines()
        self.assertTrue(error.startswith(b"error: invalid literal"), error)
        self.assertEqual(squares, b"0 1 4 9 16 25 36 49 64 81")
        assert server.transport is not None
        server.transport.signalProcess("TERM")
        self.assertEqual(await server.ended, 0, server.output)

    async def test_queue_arguments(self) -> None:
        program = self.run_example("queue_arguments.py")
        self.assertEqual(await program.ended, 0, program.output)
        *events, refused = program.output.splitlines()
        self.assertEqual(events, [b"event 0", b"event 1", b"event 2"])
        self.assertIn(b"message_ttl and queue_type='stream' do not go together", refused)

    async def test_dead_letters(self) -> None:
        program = self.run_example("dead_letters.py", "1")
        self.assertEqual(await program.ended, 0, program.output)
        *attempts, parked = program.output.splitlines()
        self.assertEqual(attempts, [b"attempt %d at a hopeless case" % attempt for attempt in (1, 2, 3)])
        self.assertIn(f"queue='{self.prefix}-work', reason='rejected'".encode(), parked)


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
