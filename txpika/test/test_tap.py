"""Tests for C{twist txpika-consumer} and C{twistd txpika-consumer}: real processes, and a real RabbitMQ."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

import txpika
from txpika.test import broker
from txpika.test.commands import TXPIKA_FOLDER, Command, health, page

#: How an operator starts one in the foreground, with logs that a test can read.
RUNNERS = (("twist", "--log-format", "text"), ("twistd", "-n", "--pidfile="))

HANDLERS = """
import os
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

notes = open("notes", "a", buffering=1)

def plain(delivery):
    notes.write(f"{delivery.body.decode()} {delivery.redelivered}\\n")

def bad(delivery):
    notes.write(f"{delivery.body.decode()} {delivery.redelivered}\\n")
    raise ValueError("no good")

def never(delivery):
    print("at work", flush=True)
    return Deferred()

async def slow(delivery):
    from twisted.internet import reactor
    print("at work on", delivery.body.decode(), flush=True)
    while not os.path.exists("go"):
        await deferLater(reactor, 0.02)
    plain(delivery)

async def held(delivery):
    from twisted.internet import reactor
    if os.path.exists("hold"):
        print("held", flush=True)
        while os.path.exists("hold"):
            await deferLater(reactor, 0.02)
    plain(delivery)

class Made:
    def __init__(self):
        self.prefix = "made"
    async def __call__(self, delivery):
        notes.write(f"{self.prefix} {delivery.body.decode()}\\n")

def fails():
    raise OSError("no database")
"""


class TapTestCase(TestCase):
    """Queues of its own, and a folder with handlers."""

    timeout = 120

    def setUp(self) -> None:
        self.uri = broker.require_broker()
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(parents=True)
        (self.folder / "handlers.py").write_text(HANDLERS)
        # Short, as a UNIX socket's path must be.
        self.socket = os.path.relpath(self.folder / "health")
        self.queue = f"tap-{uuid.uuid4().hex}"
        self.commands: list[Command] = []
        self.addCleanup(self.end_all)

    async def end_all(self) -> None:
        for command in self.commands:
            if not command.ended.called:
                command.signal("KILL")
                await command.ended

    async def channel(self) -> Any:
        """A channel in confirm mode, to prepare and to look with."""
        connection = await txpika.connect(self.uri)
        self.addCleanup(connection.close)
        channel = await connection.channel()
        await channel.confirm_select()
        return channel

    async def with_queue(self, *queues: str) -> Any:
        channel = await self.channel()
        for queue in queues or (self.queue,):
            await channel.queue_declare(queue, durable=True)
            self.addCleanup(self.delete, queue)
        return channel

    async def delete(self, queue: str) -> None:
        channel = await self.channel()
        await channel.queue_delete(queue)

    async def publish(self, channel: Any, *bodies: str, queue: str = "") -> None:
        properties = txpika.BasicProperties(delivery_mode=2)
        await gatherResults(
            [channel.basic_publish("", queue or self.queue, body.encode(), properties) for body in bodies]
        )

    def start(self, handler: str, *arguments: str, runner: tuple[str, ...] = RUNNERS[0], **environment: str) -> Command:
        environment.setdefault("TXPIKA_URI", self.uri)
        more = ("--queue", self.queue, "--handler", f"handlers.{handler}", *arguments)
        command = Command(self.folder, *runner, "txpika-consumer", *more, **environment)
        self.commands.append(command)
        return command

    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    async def until(self, what: Any) -> None:
        """Ask again and again until it is so; the test's time-out bounds it."""
        while not await what():
            await deferLater(reactor, 0.05)

    def assertOneLine(self, command: Command, *said: str) -> None:
        """It is all that was said on stderr."""
        self.assertEqual(command.stderr.count("\n"), 1, command.stderr)
        self.assertTrue(command.stderr.startswith("txpika-consumer: "), command.stderr)
        for text in said:
            self.assertIn(text, command.stderr)
        self.assertNotIn("Traceback", command.stderr)


class LifeTests(TapTestCase):
    """A consumer that does its work and is stopped."""

    async def test_consumes_and_drains(self) -> None:
        """What is at work is finished and acknowledged, the rest stays in the queue."""
        channel = await self.with_queue()
        for runner in (*RUNNERS, ("twist", "--reactor", "asyncio", "--log-format", "text")):
            for name in ("notes", "go"):
                (self.folder / name).unlink(missing_ok=True)
            await self.publish(channel, "one", "two", "three")
            command = self.start("slow", "--concurrency", "2", runner=runner)
            await command.says("at work on one")
            await command.says("at work on two")
            command.signal("TERM")
            await command.says("Draining: no more deliveries, 2 at work")
            (self.folder / "go").touch()
            self.assertEqual(await command.ended, 0, command.stderr)
            self.assertEqual(sorted(self.notes()), ["one False", "two False"])
            self.assertEqual((await channel.queue_purge(self.queue)).message_count, 1)
            self.assertEqual(command.stderr, "")

    async def test_several_queues_by_themselves(self) -> None:
        other = f"{self.queue}-other"
        channel = await self.with_queue(self.queue, other)
        command = self.start("plain", "--queue", other, "--prefetch", "3")
        await command.says(f"Consuming from queue {self.queue!r}")
        await command.says(f"Consuming from queue {other!r}")
        listed = [
            line.split("\t") for line in broker.ctl("list_consumers", "queue_name", "prefetch_count").splitlines()
        ]
        self.assertLessEqual({(self.queue, "3"), (other, "3")}, {(queue, count) for queue, count in listed})
        await channel.queue_delete(other)
        await command.says(f"No consumer on queue {other!r}")
        await self.publish(channel, "still")
        await channel.queue_declare(other, durable=True)
        await self.until_consumed(command, other)
        await self.publish(channel, "again", queue=other)
        await self.until_notes("still False", "again False")
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)

    async def until_consumed(self, command: Command, queue: str) -> None:
        async def twice() -> bool:
            return command.stdout.count(f"Consuming from queue {queue!r}") == 2

        await self.until(twice)

    async def until_notes(self, *lines: str) -> None:
        async def noted() -> bool:
            return set(lines) <= set(self.notes())

        await self.until(noted)

    async def test_a_factory_and_a_file_with_the_uri(self) -> None:
        channel = await self.with_queue()
        await self.publish(channel, "one")
        (self.folder / "uri").write_text(f"{self.uri}\n")
        command = self.start("Made", "--uri-file", "uri", TXPIKA_URI="")
        await self.until_notes("made one")
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)

    async def test_what_is_declared(self) -> None:
        (self.folder / "topology.toml").write_text(
            f'[[exchanges]]\nexchange = "{self.queue}"\nauto_delete = true\n'
            f'[[queues]]\nqueue = "{self.queue}"\ndurable = true\n'
            f'[[bindings]]\nqueue = "{self.queue}"\nexchange = "{self.queue}"\nrouting_key = "k"\n'
        )
        command = self.start("plain", "--declare", "topology.toml", runner=RUNNERS[1])
        self.addCleanup(self.delete, self.queue)
        await command.says("Consuming")
        channel = await self.channel()
        await channel.basic_publish(self.queue, "k", b"routed", mandatory=True)
        await self.until_notes("routed False")
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)

    async def test_drain_timeout(self) -> None:
        """What is still at work then is delivered to somebody else, and the exit code tells."""
        channel = await self.with_queue()
        await self.publish(channel, "one")
        command = self.start("never", "--drain-timeout", "0.2")
        await command.says("at work")
        command.signal("TERM")
        self.assertEqual(await command.ended, 75)
        self.assertOneLine(command, "still at work after 0.2 s, to be delivered again: 1")
        delivery = await channel.basic_get(self.queue, no_ack=True)
        self.assertEqual((delivery.body, delivery.redelivered), (b"one", True))

    async def test_the_password_is_nowhere(self) -> None:
        await self.with_queue()
        password = self.uri.partition("@")[0].rpartition(":")[2]
        command = self.start("plain", "--health", "unix:health", "--uri", self.uri, TXPIKA_URI="")
        await command.says("Consuming")
        self.assertNotIn(password, str(await health(self.socket)))
        broker.ctl("close_all_connections", "maintenance")
        await command.says("maintenance")
        command.signal("TERM")
        await command.ended
        self.assertNotIn(password, command.stdout + command.stderr)

    async def test_as_a_daemon(self) -> None:
        channel = await self.with_queue()
        await self.publish(channel, "one")
        command = self.start("plain", runner=("twistd", "--pidfile=pid", "--logfile=log"))
        self.assertEqual((await command.ended, command.stdout, command.stderr), (0, "", ""))
        await self.until_notes("one False")
        pid = self.folder / "pid"
        self.addCleanup(self.kill, pid)
        os.kill(int(pid.read_text()), signal.SIGTERM)
        await self.until(lambda: succeed(not pid.exists()))
        self.assertIn("Draining", (self.folder / "log").read_text())
        self.assertEqual((await channel.queue_purge(self.queue)).message_count, 0)

    def kill(self, pid: Path) -> None:
        if pid.exists():
            os.kill(int(pid.read_text()), signal.SIGKILL)


class HealthTests(TapTestCase):
    """What it says of itself."""

    async def test_health(self) -> None:
        channel = await self.with_queue()
        command = self.start("bad", "--on-error", "reject", "--health", "unix:health")
        await command.says("Consuming")
        counts = {"consuming": True, "running": 0, "handled": 0, "failed": 0}
        well = {"state": "open", "queues": {self.queue: counts}, "reconnects": 0, "last_error": None}
        self.assertEqual(await health(self.socket), (200, well))
        await self.publish(channel, "one")
        await self.until(self.failed_one)
        await channel.queue_delete(self.queue)
        await command.says("No consumer on queue")
        code, content = await health(self.socket)
        self.assertEqual((code, content["state"], content["queues"][self.queue]["consuming"]), (503, "open", False))
        await channel.queue_declare(self.queue, durable=True)
        await self.until(self.is_well)

    async def failed_one(self) -> bool:
        return bool((await health(self.socket))[1]["queues"][self.queue]["failed"] == 1)

    async def is_well(self) -> bool:
        return (await health(self.socket))[0] == 200

    async def test_without_a_broker(self) -> None:
        command = self.start("plain", "--health", "unix:health", TXPIKA_URI="amqp://guest@127.0.0.1:1")
        await command.says("Cannot connect")
        code, content = await health(self.socket)
        self.assertEqual((code, content["state"]), (503, "waiting"))
        self.assertFalse(content["queues"][self.queue]["consuming"])
        self.assertIn("127.0.0.1:1", content["last_error"])
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)

    async def test_metrics(self) -> None:
        channel = await self.with_queue()
        command = self.start("plain", "--health", "unix:health")
        await command.says("Consuming")
        await self.publish(channel, "one")
        await self.until(self.delivered_one)

    async def delivered_one(self) -> bool:
        code, body = await page(self.socket, "/metrics")
        self.assertEqual(code, 200)
        return b"txpika_delivered_messages_total 1.0" in body

    async def test_without_prometheus_client(self) -> None:
        await self.with_queue()
        (self.folder / "prometheus_client.py").write_text("raise ModuleNotFoundError(name='prometheus_client')")
        command = self.start("plain", "--health", "unix:health", PYTHONPATH=f"{self.folder}:{TXPIKA_FOLDER}")
        await command.says("Consuming")
        code, body = await page(self.socket, "/metrics")
        self.assertEqual((code, b"prometheus-client" in body), (404, True))

    async def test_an_endpoint_in_use(self) -> None:
        (self.folder / "health").write_text("not a socket")
        for runner in RUNNERS:
            command = self.start("plain", "--health", "unix:health", runner=runner)
            self.assertEqual(await command.ended, 64, command.stdout)
            self.assertOneLine(command, "--health unix:health: ")


class FailureTests(TapTestCase):
    """One line on stderr, and an exit code other than 0, whichever runs it."""

    async def both(self, code: int, *said: str, handler: str = "plain", arguments: Any = (), **more: str) -> None:
        for runner in RUNNERS:
            command = self.start(handler, *arguments, runner=runner, **more)
            self.assertEqual(await command.ended, code, command.stdout + command.stderr)
            self.assertOneLine(command, *said)

    async def test_refused_login(self) -> None:
        where = self.uri.rpartition("@")[2]
        await self.both(77, "ACCESS_REFUSED", TXPIKA_URI=f"amqp://nobody:hidden@{where}")
        for command in self.commands:
            self.assertNotIn("hidden", command.stdout + command.stderr)

    async def test_a_virtual_host_that_is_not_there(self) -> None:
        await self.both(77, "nowhere", TXPIKA_URI=f"{self.uri.rpartition('/')[0]}/nowhere")

    async def test_a_queue_that_is_not_there(self) -> None:
        await self.both(69, f"queue {self.queue!r}", "404 NOT_FOUND")

    async def test_a_declaration_that_is_refused(self) -> None:
        await self.with_queue()
        (self.folder / "topology.json").write_text(f'{{"queues": [{{"queue": "{self.queue}", "durable": false}}]}}')
        await self.both(
            69, "topology.json: queues[0]: 406 PRECONDITION_FAILED", arguments=("--declare", "topology.json")
        )

    async def test_a_handler_that_cannot_be_imported(self) -> None:
        await self.both(64, "handlers has no 'absent'", handler="absent")

    async def test_a_factory_that_fails(self) -> None:
        await self.with_queue()
        await self.both(64, "handlers.fails()", "OSError: no database", handler="fails()")

    async def test_bad_options(self) -> None:
        await self.both(64, "--prefetch", arguments=("--prefetch", "many"))
        await self.both(64, "--nonsense", arguments=("--nonsense",))

    async def test_stop_on_error(self) -> None:
        """The message is in the queue again, and was handled once."""
        channel = await self.with_queue()
        for runner in RUNNERS:
            (self.folder / "notes").unlink(missing_ok=True)
            await self.publish(channel, "one", "two")
            command = self.start("bad", "--on-error", "stop", "--concurrency", "1", runner=runner)
            self.assertEqual(await command.ended, 70)
            self.assertOneLine(command, f"queue {self.queue!r}", "ValueError: no good")
            self.assertEqual(self.notes(), ["one False"])
            self.assertEqual((await channel.queue_purge(self.queue)).message_count, 2)

    async def test_the_password_is_changed_later(self) -> None:
        """That is no reason to end: somebody will notice, and change it back."""
        await self.with_queue()
        user = f"tap-{uuid.uuid4().hex[:8]}"
        await deferToThread(broker.ctl, "add_user", user, "first")
        self.addCleanup(deferToThread, broker.ctl, "delete_user", user)
        await deferToThread(broker.ctl, "set_permissions", user, ".*", ".*", ".*")
        where = self.uri.rpartition("@")[2]
        command = self.start("plain", TXPIKA_URI=f"amqp://{user}:first@{where}")
        await command.says("Consuming")
        await deferToThread(broker.ctl, "change_password", user, "second")
        await deferToThread(broker.ctl, "close_all_user_connections", user, "maintenance")
        await command.says("trying again slowly")
        self.assertFalse(command.ended.called)
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)


class WalkthroughTests(TapTestCase):
    """What docs/services.rst promises, from the beginning to the end."""

    timeout = 300
    count = 10_000

    async def test_ten_thousand_messages_and_a_restart(self) -> None:
        channel = await self.with_queue()
        command = self.start("held", "--prefetch", "50", "--drain-timeout", "10", "--health", "unix:health")
        await command.says("Consuming")
        bodies = [str(number) for number in range(self.count)]
        half = self.count // 2
        for first in range(0, half, 500):
            await self.publish(channel, *bodies[first : first + 500])
            if first == half - 1000:
                (self.folder / "hold").touch()
        # With the handler at work on deliveries that will not be acknowledged.
        await command.says("held")
        await deferToThread(broker.ctl, "stop_app")
        self.assertEqual((await health(self.socket))[0], 503)
        (self.folder / "hold").unlink()
        await deferToThread(broker.ctl, "start_app")
        channel = await self.channel()
        for first in range(half, self.count, 500):
            await self.publish(channel, *bodies[first : first + 500])
        await self.until(lambda: self.noted(self.count))
        ending = command.ended
        began = reactor.seconds()
        command.signal("TERM")
        self.assertEqual(await ending, 0, command.stderr)
        self.assertLess(reactor.seconds() - began, 10)
        self.assertEqual((await channel.queue_declare(self.queue, passive=True)).message_count, 0)
        firsts: set[str] = set()
        again = 0
        for body, redelivered in (line.split() for line in self.notes()):
            self.assertTrue(body not in firsts or redelivered == "True", f"{body} came twice as if it were new")
            again += body in firsts
            firsts.add(body)
        self.assertEqual(len(firsts), self.count)
        self.assertTrue(1 <= again <= 50, again)  # no more than the prefetch count, and the test tests something

    async def noted(self, count: int) -> bool:
        return len({line.split()[0] for line in self.notes()}) >= count


class ExampleTests(TapTestCase):
    """examples/consumer.tac and the systemd unit."""

    def setUp(self) -> None:
        super().setUp()
        self.examples = Path(__file__).resolve().parents[2] / "examples"
        if not self.examples.is_dir():
            raise SkipTest("the examples are in the repository, not in an installed txpika")

    async def test_tac(self) -> None:
        for name in ("consumer.tac", "worker.py", "topology.toml"):
            shutil.copy(self.examples / name, self.folder)
        command = Command(self.folder, "twistd", "-n", "--pidfile=", "-y", "consumer.tac", TXPIKA_URI=self.uri)
        self.commands.append(command)
        self.addCleanup(self.delete, "work")
        await command.says("Consuming from queue 'work'")
        channel = await self.channel()
        await channel.basic_publish("orders", "order.new", b"an order", mandatory=True)
        await command.says("an order")
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)

    async def test_unit(self) -> None:
        """Its command line is one that is understood."""
        unit = (self.examples / "txpika-consumer.service").read_text().replace("\\\n", "")
        (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        _, *arguments = line.partition("=")[2].split()
        for name in ("worker.py", "topology.toml"):
            shutil.copy(self.examples / name, self.folder)
        (self.folder / "uri").write_text("amqp://guest@127.0.0.1:1")
        arguments = [word.replace("${CREDENTIALS_DIRECTORY}", str(self.folder)) for word in arguments]
        arguments = [word.replace("tcp:9999", "tcp:0") for word in arguments]
        command = Command(self.folder, "twist", *arguments)
        self.commands.append(command)
        await command.says("Cannot connect")
        command.signal("TERM")
        self.assertEqual(await command.ended, 0)
