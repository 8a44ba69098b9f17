# -*- test-case-name: txpika.test.test_broker_tap -*-
"""Tests for C{twist txpika-broker}, as a process."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

import txpika
from txpika import broker_tap
from txpika.broker_tap import BrokerService, Options
from txpika.exceptions import AuthenticationError, HandshakeError
from txpika.test.commands import Command
from txpika.test.live import failure_of
from txpika.test.test_consumer_service import Ending, ListeningReactor

ANY_PORT = "tcp:0:interface=127.0.0.1"


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def options(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(arguments)
        return options

    def test_defaults(self) -> None:
        options = self.options()
        self.assertEqual(options.endpoints, ["tcp:5672:interface=127.0.0.1"])
        self.assertEqual((options.users, options.virtual_hosts), ({"guest": "guest"}, []))

    def test_several_of_each(self) -> None:
        options = self.options(
            *("--listen", "tcp:1", "--listen", "tcp:2", "--user", "a:b:c", "--user", "d:"),
            *("--virtual-host", "one", "--virtual-host", "two"),
        )
        self.assertEqual(options.endpoints, ["tcp:1", "tcp:2"])
        self.assertEqual((options.users, options.virtual_hosts), ({"a": "b:c", "d": ""}, ["one", "two"]))

    def test_wrong_ones(self) -> None:
        for arguments in (["--listen", "x:1"], ["--user", "a"], ["--user", ":b"], ["--virtual-host", ""], ["more"]):
            error = self.assertRaises(SystemExit, self.options, *arguments)
            self.assertEqual(error.code, 64)


class ServiceTests(SynchronousTestCase):
    """What the program runs, without a process."""

    def setUp(self) -> None:
        self.reactor = ListeningReactor()
        self.ending = Ending()
        options = Options()
        options.parseOptions(["--listen", "tcp:5001", "--listen", "tcp:5002"])
        self.service = BrokerService(options, self.reactor, cast(Any, self.ending))

    def test_started_again_before_it_has_stopped(self) -> None:
        """Its ports are not free before."""
        self.service.startService()
        self.assertEqual(self.reactor.taken, [5001, 5002])
        stopped = self.service.stopService()
        self.service.startService()
        self.assertNoResult(stopped)
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual((self.reactor.taken, self.ending.failures), ([5001, 5002], []))
        stopped = self.service.stopService()
        self.service.startService()
        self.service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.reactor.taken, self.ending.failures), ([], []))

    def test_stopped_before_the_reactor_runs(self) -> None:
        later: list[Callable[[], None]] = []
        self.patch(self.reactor, "callWhenRunning", later.append)
        self.service.startService()
        self.successResultOf(self.service.stopService())
        for function in later:
            function()
        self.assertEqual(self.reactor.taken, [])

    def test_stopped_while_it_begins_to_listen(self) -> None:
        self.patch(broker_tap, "serverFromString", lambda reactor, description: self)
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.ending.failures, [])

    def listen(self, factory: object) -> Deferred[object]:
        """Of an endpoint that takes its time."""
        return Deferred()


class ProcessTests(TestCase):
    """The program."""

    timeout = 60

    async def start(self, *arguments: str) -> tuple[Command, int]:
        folder = Path(self.mktemp())
        folder.mkdir()
        command = Command(folder, "twist", "--log-format=text", "txpika-broker", "--listen", ANY_PORT, *arguments)
        await command.says("listens at ")
        found = re.search(r"listens at .*port=(\d+)", command.stdout)
        assert found is not None
        return command, int(found[1])

    async def stop(self, command: Command) -> None:
        command.signal("TERM")
        self.assertEqual(await command.ended, 0, command.stderr)

    async def test_there_and_back(self) -> None:
        command, port = await self.start()
        connection = await txpika.connect(f"amqp://127.0.0.1:{port}")
        channel = await connection.channel()
        await channel.queue_declare("q")
        await channel.confirm_select()
        await channel.basic_publish("", "q", b"hello", mandatory=True)
        async for delivery in await channel.basic_consume("q"):
            self.assertEqual(delivery.body, b"hello")
            delivery.ack()
            break
        gone = connection.closed
        await self.stop(command)
        await gone

    async def test_users_and_virtual_hosts(self) -> None:
        command, port = await self.start("--user", "joe:secret", "--virtual-host", "v")
        connection = await txpika.connect(f"amqp://joe:secret@127.0.0.1:{port}/v")
        await connection.close()
        await failure_of(txpika.connect(f"amqp://127.0.0.1:{port}"), AuthenticationError)
        await failure_of(txpika.connect(f"amqp://joe:secret@127.0.0.1:{port}/other"), HandshakeError)
        await self.stop(command)

    async def test_a_port_that_is_taken(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            command = Command(folder, "twist", "txpika-broker", "--listen", f"tcp:{port}:interface=127.0.0.1")
            code = await command.ended
        self.assertEqual(code, 69)
        self.assertEqual(len(command.stderr.splitlines()), 1)
        self.assertIn(f"--listen tcp:{port}", command.stderr)
