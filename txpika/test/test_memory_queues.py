"""Queues: names, lives and limits, on RabbitMQ and on the broker in memory."""

from __future__ import annotations

from txpika.spec import Basic, Queue
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario
from txpika.test.plain_client import PlainClient


class QueueScenarios(Scenario):
    """One queue, mostly."""

    tag: int

    def publish(
        self, client: PlainClient, queue: str, *bodies: bytes, confirmed: str = "", **properties: object
    ) -> None:
        """
        Each to the queue, and wait for all confirmations. C{confirmed} says how each ends: C{"a"} for an ack, C{"n"}
        for a nack; by default all are acks.
        """
        for body in bodies:
            client.publish(1, "", queue, body, **properties)  # type: ignore[arg-type]
        first, last = self.tag + 1, self.tag + len(bodies)
        waiting = dict.fromkeys(range(first, last + 1))
        said: dict[int, str] = {}
        while waiting:
            method = client.next(1).method
            done = [tag for tag in waiting if tag <= method.delivery_tag] if method.multiple else [method.delivery_tag]
            for tag in done:
                del waiting[tag]
                said[tag] = "a" if isinstance(method, Basic.Ack) else "n"
        self.tag = last
        self.assertEqual("".join(said[tag] for tag in range(first, last + 1)), confirmed or "a" * len(bodies))

    def setUp(self) -> None:
        super().setUp()
        self.tag = 0

    def publisher(self) -> PlainClient:
        """A client in confirm mode: what it publishes is there when it goes on."""
        client = self.client()
        self.confirming(client)
        self.tag = 0
        return client

    def gone(self, queue: str) -> None:
        client = self.client()
        client.send(1, Queue.Declare(0, queue, passive=True))
        self.refused(client, 1, 404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")

    def test_counts(self) -> None:
        client = self.publisher()
        queue = self.declared(client)
        self.assertEqual(self.count(client, queue), (0, 0))
        self.publish(client, queue, b"1", b"2", b"3")
        self.assertEqual(self.count(client, queue), (3, 0))
        heard = self.get(client, queue, no_ack=False)
        self.assertEqual((heard.body, heard.method.message_count), (b"1", 2))
        self.assertEqual(self.count(client, queue), (2, 0))
        self.assertEqual(client.call(1, Queue.Purge(0, queue), Queue.PurgeOk).message_count, 2)
        client.send(1, Basic.Nack(heard.method.delivery_tag, False, True))
        self.assertEqual(client.call(1, Queue.Delete(0, queue), Queue.DeleteOk).message_count, 1)
        self.gone(queue)

    def test_a_name_with_line_ends(self) -> None:
        client = self.client()
        queue = self.name()
        ok = client.call(1, Queue.Declare(0, f"\r{queue}\r\n"), Queue.DeclareOk)
        self.assertEqual(ok.queue, queue)
        self.assertEqual(self.count(client, queue), (0, 0))

    def test_delete_if_empty(self) -> None:
        client = self.publisher()
        queue = self.declared(client)
        self.publish(client, queue, b"1")
        client.send(1, Queue.Delete(0, queue, if_empty=True))
        self.refused(client, 1, 406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty")

    def test_exclusive(self) -> None:
        """It goes with its connection, not with its channel."""
        client = self.client(1, 2)
        queue = self.declared(client, exclusive=True)
        client.call(1, Queue.Declare(0, queue, exclusive=True), Queue.DeclareOk)
        self.assertEqual(self.count(client, queue, 2), (0, 0))
        client.close()
        for _ in range(100):
            other = self.client()
            other.send(1, Queue.Declare(0, queue, passive=True))
            close = other.next(1).method
            other.close()
            if close.reply_code == 404:
                return
        self.fail("it is still there")

    def test_auto_delete(self) -> None:
        """It goes with its last consumer, not before the first."""
        client = self.client(1, 2)
        self.confirming(client)
        queue = self.declared(client, auto_delete=True)
        self.publish(client, queue, b"1")
        self.assertEqual(self.get(client, queue).body, b"1")
        self.consume(client, queue, "a")
        self.consume(client, queue, "b", 2)
        client.call(1, Basic.Cancel("a"), Basic.CancelOk)
        self.assertEqual(self.count(client, queue), (0, 1))
        client.call(2, Basic.Cancel("b"), Basic.CancelOk)
        self.gone(queue)

    def test_durable_and_server_named(self) -> None:
        client = self.publisher()
        queue = self.declared(client, durable=True)
        client.call(1, Queue.Declare(0, queue, durable=True), Queue.DeclareOk)
        names = {client.call(1, Queue.Declare(0, "", exclusive=True), Queue.DeclareOk).queue for _ in range(3)}
        self.assertEqual(len(names), 3)
        self.assertTrue(all(name.startswith("amq.gen-") and len(name) == 30 for name in names))
        client.call(1, Queue.Delete(0, queue), Queue.DeleteOk)

    def test_max_length(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_max_length=2)
        self.publish(client, queue, b"1", b"2", b"3", b"4", confirmed="aaaa")
        self.assertEqual(self.bodies(client, queue), [b"3", b"4"])

    def test_max_length_counts_what_waits(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_max_length=2)
        self.publish(client, queue, b"1", b"2", confirmed="aa")
        first = self.get(client, queue, no_ack=False)
        self.publish(client, queue, b"3", confirmed="a")
        self.assertEqual(self.count(client, queue), (2, 0))
        # Back in its place, it is the first that has to go.
        client.send(1, Basic.Reject(first.method.delivery_tag, True))
        self.assertEqual(self.bodies(client, queue), [b"2", b"3"])

    def test_max_length_bytes(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_max_length_bytes=10)
        self.publish(client, queue, b"1" * 4, b"2" * 4, b"3" * 4, confirmed="aaa")
        self.assertEqual(self.bodies(client, queue), [b"2" * 4, b"3" * 4])
        client = self.publisher()
        self.publish(client, queue, b"4" * 11)
        self.publish(client, queue, b"5")
        self.assertEqual(self.bodies(client, queue), [b"5"])

    def test_reject_publish(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_max_length=2, x_overflow="reject-publish")
        self.publish(client, queue, b"1", b"2", b"3", confirmed="aan")
        self.assertEqual(self.bodies(client, queue), [b"1", b"2"])

    def test_reject_publish_bytes(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_max_length_bytes=10, x_overflow="reject-publish")
        self.publish(client, queue, b"1" * 8, b"2" * 3, b"3" * 2, confirmed="ana")
        self.assertEqual(self.bodies(client, queue), [b"1" * 8, b"3" * 2])

    def test_what_comes_back_to_a_full_queue(self) -> None:
        """A queue that refuses publishes drops nothing that it has taken."""
        for overflow in ("reject-publish", "reject-publish-dlx"):
            client = self.publisher()
            queue = self.declared(client, overflow, x_max_length=1, x_overflow=overflow)
            self.publish(client, queue, b"1")
            first = self.get(client, queue, no_ack=False)
            self.publish(client, queue, b"2", b"3", confirmed="an")
            client.send(1, Basic.Reject(first.method.delivery_tag, True))
            self.assertEqual(self.bodies(client, queue), [b"1", b"2"])

    def test_one_of_two_queues_is_full(self) -> None:
        """Then the message is refused, and is in the other all the same."""
        client = self.publisher()
        full = self.declared(client, "full", x_max_length=0, x_overflow="reject-publish")
        other = self.declared(client, "other")
        self.publish(client, other, b"1", confirmed="n", headers={"CC": [full]})
        self.assertEqual((self.bodies(client, full), self.bodies(client, other)), ([], [b"1"]))

    def test_priorities(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_max_priority=5)
        for body, priority in ((b"a", None), (b"b", 1), (b"c", 5), (b"d", 9), (b"e", 1), (b"f", 0)):
            self.publish(client, queue, body, priority=priority)
        first = self.get(client, queue, no_ack=False)
        self.assertEqual(first.body, b"c")
        self.publish(client, queue, b"g", priority=255)
        client.send(1, Basic.Nack(first.method.delivery_tag, False, True))
        self.assertEqual(self.bodies(client, queue), [b"c", b"d", b"g", b"b", b"e", b"a", b"f"])

    def test_without_priorities(self) -> None:
        client = self.publisher()
        queue = self.declared(client)
        self.publish(client, queue, b"a", priority=1)
        self.publish(client, queue, b"b", priority=9)
        self.assertEqual(self.bodies(client, queue), [b"a", b"b"])

    def test_max_length_with_priorities(self) -> None:
        """The head goes, and that has the highest priority."""
        client = self.publisher()
        queue = self.declared(client, x_max_priority=5, x_max_length=2)
        for body, priority in ((b"a", 1), (b"b", 5), (b"c", 2)):
            self.publish(client, queue, body, priority=priority)
        self.assertEqual(self.bodies(client, queue), [b"c", b"a"])

    def test_messages_that_expire_at_once(self) -> None:
        client = self.publisher()
        queue = self.declared(client)
        self.publish(client, queue, b"1", expiration="0")
        self.assertEqual(self.bodies(client, queue), [])
        other = self.client()
        self.consume(other, queue, no_ack=True)
        self.publish(client, queue, b"2", expiration="0")
        self.assertEqual(self.deliveries(other, 1), [b"2"])

    def test_a_queue_expires(self) -> None:
        """When nobody uses it; meanwhile time passes."""
        client = self.publisher()
        queue = self.declared(client, x_expires=1500)
        for _ in range(2):
            self.pass_time(client, 900)
            self.count(client, queue)
        self.consume(client, queue)
        self.pass_time(client, 1700)
        self.assertEqual(self.count(client, queue), (0, 1))
        client.call(1, Basic.Cancel("t"), Basic.CancelOk)
        self.pass_time(client, 2500)
        client.send(1, Queue.Declare(0, queue, passive=True))
        self.refused(client, 1, 404, f"NOT_FOUND - no queue '{queue}' in vhost '/'")

    def pass_time(self, client: PlainClient, milliseconds: int) -> None:
        """As long as a message takes to expire, which another queue then gets."""
        dead = self.declared(client, "timed")
        timer = self.declared(client, "timer", x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
        other = self.client()
        self.consume(other, dead, no_ack=True)
        self.publish(client, timer, b"", expiration=str(milliseconds))
        other.message(1)
        other.close()

    def test_messages_expire(self) -> None:
        client = self.publisher()
        queue = self.declared(client, x_message_ttl=1500)
        self.publish(client, queue, b"1")
        self.publish(client, queue, b"2", expiration="50")
        self.publish(client, queue, b"3", expiration="60000")
        self.assertEqual(self.count(client, queue), (3, 0))
        # What expires earlier waits behind what does not.
        self.pass_time(client, 300)
        self.assertEqual(self.count(client, queue), (3, 0))
        self.pass_time(client, 1700)
        self.assertEqual(self.count(client, queue), (0, 0))

    def test_messages_of_a_lower_priority_expire_later(self) -> None:
        """As with each message, one that waits behind another expires when it is the first."""
        client = self.publisher()
        queue = self.declared(client, x_max_priority=5)
        self.publish(client, queue, b"urgent", priority=5)
        self.publish(client, queue, b"1", b"2", expiration="50")
        self.pass_time(client, 300)
        self.assertEqual(self.count(client, queue), (3, 0))
        self.assertEqual(self.get(client, queue).body, b"urgent")
        self.assertEqual(self.bodies(client, queue), [])

    def test_a_message_that_comes_back_has_its_old_time(self) -> None:
        client = self.publisher()
        queue = self.declared(client)
        self.publish(client, queue, b"1", expiration="1000")
        self.publish(client, queue, b"2")
        heard = self.get(client, queue, no_ack=False)
        self.pass_time(client, 1300)
        client.send(1, Basic.Nack(heard.method.delivery_tag, False, True))
        self.assertEqual(self.bodies(client, queue), [b"2"])


class QueuesInMemoryTests(QueueScenarios, InMemory):
    pass


class QueuesOnRabbitMQTests(QueueScenarios, OnRabbitMQ):
    pass


del Scenario, QueueScenarios
