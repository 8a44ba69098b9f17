"""Tests for the examples of the page C{docs/helpers.rst}."""

from __future__ import annotations

from uuid import uuid4

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SkipTest, TestCase

import txpika
from txpika.test import broker
from txpika.test.test_examples import EXAMPLES, Program


class HelperExampleTests(TestCase):
    """Each, as a reader would run it."""

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
