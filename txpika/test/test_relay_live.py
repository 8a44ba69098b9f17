"""Tests for C{twist txpika-relay} between real brokers: as a process, and in this one between two virtual hosts."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

import txpika
from txpika.backoff import Backoff
from txpika.marks import PASSED, USER_ID
from txpika.relay import Relay
from txpika.service import AMQPService
from txpika.spec import BasicProperties
from txpika.test import broker
from txpika.test.commands import Command, health, page
from txpika.test.ledger import Ledger
from txpika.test.own_node import OwnNode
from txpika.test.test_tap import RUNNERS, TapTestCase

PERSISTENT = BasicProperties(delivery_mode=2)


class RelayTestCase(TapTestCase):
    """A queue at the source, and one of the same name at the target."""

    def relay(self, *arguments: str, runner: tuple[str, ...] = RUNNERS[0], **environment: str) -> Command:
        environment = {"TXPIKA_SOURCE_URI": self.uri, "TXPIKA_TARGET_URI": self.uri, **environment}
        more = ("--queue", self.queue, "--exchange", "", *arguments)
        command = Command(self.folder, *runner, "txpika-relay", *more, **environment)
        self.commands.append(command)
        return command

    async def connected(self, uri: str) -> Any:
        """A channel in confirm mode."""
        connection = await txpika.connect(uri)
        self.addCleanup(connection.close)
        channel = await connection.channel()
        await channel.confirm_select()
        return channel

    async def publish_all(self, ledger: Ledger, channel: Any, number: int) -> None:
        for _ in range(0, number, 500):
            publishes = [ledger.publish(channel, "", self.queue, b"body", PERSISTENT, True) for _ in range(500)]
            await gatherResults([Deferred.fromCoroutine(publish) for publish in publishes])

    async def moved(self, number: int) -> bool:
        return bool((await health(self.socket))[1]["moved"] >= number)

    async def take_all(self, ledger: Ledger, channel: Any, queue: str) -> int:
        """@return: How many messages there were, all of them booked."""
        taken = 0
        expected = (await channel.queue_declare(queue, passive=True)).message_count
        async with await channel.basic_consume(queue, no_ack=True) as deliveries:
            while taken < expected:
                ledger.received(await anext(deliveries))
                taken += 1
        return taken


class WalkthroughTests(RelayTestCase):
    """Ten thousand messages, and a target that dies in the middle."""

    timeout = 300
    total = 10_000
    window = 200

    async def test_the_target_is_killed(self) -> None:
        node = OwnNode()
        self.addCleanup(node.close)
        await node.start()
        await (await self.connected(node.uri)).queue_declare(self.queue, durable=True)
        await node.flush()
        source = await self.with_queue()
        ledger = Ledger()
        (self.folder / "target").write_text(node.uri)
        more = ("--target-uri-file", "target", "--health", "unix:health")
        command = self.relay(*more, TXPIKA_TARGET_URI="")
        await command.says("Moving messages")
        publishing = Deferred.fromCoroutine(self.publish_all(ledger, source, self.total))
        await self.until(lambda: self.moved(self.total // 5))
        await node.kill()
        await command.says("Cannot connect")
        await publishing
        await self.until(self.window_is_full)
        code, content = await health(self.socket)
        self.assertEqual((code, content["source"]["consuming"], content["target"]["publishing"]), (503, True, False))
        self.assertLess(content["moved"], self.total)
        await node.start()
        target = await self.connected(node.uri)
        await self.until(lambda: self.moved(self.total))
        command.signal("TERM")
        self.assertEqual((await command.ended, command.stderr), (0, ""), command.stdout)
        self.assertEqual((await source.queue_declare(self.queue, passive=True)).message_count, 0)
        copies = await self.take_all(ledger, target, self.queue)
        report = ledger.report()
        self.assertEqual((report.lost, report.unexpected, len(ledger.confirmed)), ([], [], self.total), str(report))
        # What was under way at the target's death may be there twice.
        self.assertTrue(self.total <= copies <= self.total + self.window, copies)

    async def window_is_full(self) -> bool:
        return bool((await health(self.socket))[1]["under_way"] == self.window)


class CommandTests(RelayTestCase):
    """It is started and stopped, and says what is wrong."""

    async def test_drains(self) -> None:
        """In the middle of work: no message is at both ends, and none at neither."""
        other = f"{self.queue}-other"
        channel = await self.with_queue(self.queue, other)
        for runner in RUNNERS:
            ledger = Ledger()
            await self.publish_all(ledger, channel, 5000)
            more = ("--routing-key", other, "--name", uuid.uuid4().hex, "--health", "unix:health")
            command = self.relay(*more, runner=runner)
            await command.says("Moving messages")
            await self.until(lambda: self.moved(500))
            command.signal("TERM")
            self.assertEqual((await command.ended, command.stderr), (0, ""))
            moved = await self.take_all(ledger, channel, other)
            left = await self.take_all(ledger, channel, self.queue)
            self.assertEqual(moved + left, 5000)
            self.assertGreater(left, 0)
            ledger.check()

    async def test_what_is_wrong(self) -> None:
        """One line on stderr, and the exit code, whichever runs it."""
        await self.with_queue()
        stranger = f"amqp://nobody:hidden@{self.uri.rpartition('@')[2]}"
        for runner in RUNNERS:
            for code, said, command in (
                (64, "--window", self.relay("--window", "many", runner=runner)),
                (69, "queue 'absent' of the source: 404", self.relay("--queue", "absent", runner=runner)),
                (69, "exchange 'absent' of the target: 404", self.relay("--exchange", "absent", runner=runner)),
                (77, "the source refused the connection", self.relay(runner=runner, TXPIKA_SOURCE_URI=stranger)),
                (77, "the target refused the connection", self.relay(runner=runner, TXPIKA_TARGET_URI=stranger)),
            ):
                self.assertEqual(await command.ended, code, command.stdout + command.stderr)
                self.assertEqual(command.stderr.count("\n"), 1, command.stderr)
                self.assertTrue(command.stderr.startswith("txpika-relay: "), command.stderr)
                self.assertIn(said, command.stderr)
                self.assertNotIn("hidden", command.stdout + command.stderr)

    async def test_metrics_and_declarations(self) -> None:
        (self.folder / "source.toml").write_text(f'[[queues]]\nqueue = "{self.queue}"\ndurable = true\n')
        target = f"{self.queue}-target"
        (self.folder / "target.toml").write_text(
            f'[[exchanges]]\nexchange = "{target}"\nauto_delete = true\n'
            f'[[queues]]\nqueue = "{target}"\ndurable = true\n'
            f'[[bindings]]\nqueue = "{target}"\nexchange = "{target}"\nrouting_key = "k"\n'
        )
        more = ("--declare-source", "source.toml", "--declare-target", "target.toml", "--health", "unix:health")
        command = self.relay("--exchange", target, "--routing-key", "k", *more)
        for queue in (self.queue, target):
            self.addCleanup(self.delete, queue)
        await command.says("Moving messages")
        channel = await self.channel()
        await self.publish(channel, "one")
        await self.until(lambda: self.moved(1))
        self.assertEqual((await channel.basic_get(target, no_ack=True)).body, b"one")
        code, body = await page(self.socket, "/metrics")
        self.assertEqual((code, b"txpika_delivered_messages_total 1.0" in body), (200, True))
        self.assertIn(b'txpika_publish_outcomes_total{outcome="acked"} 1.0', body)


class VirtualHostTests(RelayTestCase):
    """Two virtual hosts, and the relay in this process."""

    async def begin(self, **more: Any) -> Relay:
        """The queue is in both, bound to C{amq.fanout} in the other one."""
        other = f"relay-{uuid.uuid4().hex[:8]}"
        self.other_uri = f"{self.uri.rpartition('/')[0]}/{other}"
        await self.ctl("add_vhost", other)
        self.addCleanup(self.ctl, "delete_vhost", other)
        await self.ctl("set_permissions", "-p", other, self.uri.partition("//")[2].partition(":")[0], ".*", ".*", ".*")
        self.source = await self.with_queue()
        self.target = await self.connected(self.other_uri)
        await self.target.queue_declare(self.queue, durable=True)
        await self.target.queue_bind(self.queue, "amq.fanout")
        services = [AMQPService(uri, reactor, backoff=Backoff(0.05, 0.5)) for uri in (self.uri, self.other_uri)]
        relay = Relay(services[0], self.queue, services[1], "amq.fanout", relay_name="there to here", **more)
        self.addCleanup(relay.stopService)
        return relay

    async def ctl(self, *arguments: str) -> str:
        return await deferToThread(broker.ctl, *arguments)

    async def moved_by(self, relay: Relay, number: int) -> bool:
        return relay.moved >= number

    async def test_what_arrives(self) -> None:
        relay = await self.begin()
        relay.startService()
        user = self.uri.partition("//")[2].partition(":")[0]
        sent = BasicProperties(
            content_type="text/plain", delivery_mode=2, message_id="m", expiration="60000", headers={"a": [1, None]}
        )
        sent.user_id = user
        await self.source.basic_publish("", self.queue, b"one", sent, mandatory=True)
        await self.until(lambda: self.moved_by(relay, 1))
        got = await self.target.basic_get(self.queue, no_ack=True)
        self.assertEqual((got.body, got.exchange, got.routing_key), (b"one", "amq.fanout", self.queue))
        expected = BasicProperties(
            content_type="text/plain",
            delivery_mode=2,
            message_id="m",
            expiration="60000",
            headers={"a": [1, None], PASSED: ["there to here"], USER_ID: user},
        )
        self.assertEqual(got.properties, expected)

    async def limit(self, size: str) -> None:
        """The largest message the broker takes. RabbitMQ from 4.0 on looks at the second of these."""
        both = f"application:set_env(rabbit, max_message_size, {size}), persistent_term:put(max_message_size, {size})"
        await self.ctl("eval", f"{both}.")

    async def test_a_message_over_the_targets_limit(self) -> None:
        """It is dead-lettered, and all others arrive."""
        relay = await self.begin()
        await self.source.queue_delete(self.queue)
        dead = f"{self.queue}-dead"
        await self.source.queue_declare(dead, exclusive=True)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        await self.source.queue_declare(self.queue, durable=True, arguments=arguments)
        ledger = Ledger()
        await self.publish_all(ledger, self.source, 500)
        huge = await ledger.publish(self.source, "", self.queue, bytes(2000), PERSISTENT, True)
        await self.publish_all(ledger, self.source, 500)
        limit = await self.ctl("eval", "{ok, Size} = application:get_env(rabbit, max_message_size), Size.")
        self.addCleanup(self.limit, limit.strip())
        await self.limit("1000")
        relay.startService()
        await self.until(lambda: self.moved_by(relay, 1000))
        await relay.stopService()
        self.assertEqual(relay.rejected, 1)
        (rejected,) = [await self.source.basic_get(dead, no_ack=True)]
        self.assertEqual(rejected.properties.message_id, huge)
        ledger.received(rejected)
        await self.take_all(ledger, self.target, self.queue)
        self.assertEqual(ledger.report().lost, [])

    async def test_a_queue_that_comes_later(self) -> None:
        """No queue at the target takes the message at first: it waits for one."""
        relay = await self.begin()
        await self.target.queue_unbind(self.queue, "amq.fanout")
        await self.publish(self.source, "one")
        relay.startService()
        await self.until(lambda: self.retried_by(relay))
        self.assertEqual((relay.moved, relay.under_way), (0, 1))
        await self.target.queue_bind(self.queue, "amq.fanout")
        await self.until(lambda: self.moved_by(relay, 1))
        self.assertEqual((await self.target.basic_get(self.queue, no_ack=True)).body, b"one")

    async def retried_by(self, relay: Relay) -> bool:
        return relay.retried > 0

    async def test_there_and_back(self) -> None:
        """Two relays in a ring: what has gone round is not taken a second time."""
        relay = await self.begin()
        await self.target.queue_unbind(self.queue, "amq.fanout")
        back = f"{self.queue}-back"
        await self.target.queue_declare(back, durable=True)
        await self.target.queue_bind(back, "amq.fanout")
        services = [AMQPService(uri, reactor) for uri in (self.other_uri, self.uri)]
        other = Relay(services[0], back, services[1], "", self.queue, relay_name="here to there")
        self.addCleanup(other.stopService)
        relay.startService()
        other.startService()
        await self.publish(self.source, "one", "two", "three")

        async def rejected() -> bool:
            return relay.rejected == 3

        await self.until(rejected)
        self.assertEqual((relay.moved, other.moved, other.rejected), (3, 3, 0))
