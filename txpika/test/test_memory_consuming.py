"""Consuming and settling, on RabbitMQ and on the broker in memory."""

from __future__ import annotations

from typing import Any

from txpika.spec import Basic, Channel, Queue
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario
from txpika.test.plain_client import CAPABILITIES, PlainClient


class ConsumingScenarios(Scenario):
    """What is published is confirmed, by another client, before anything else happens."""

    def setUp(self) -> None:
        super().setUp()
        self.publisher: Any = None

    def publish(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        if self.publisher is None:
            self.publisher = self.client()
            self.confirming(self.publisher)
            self.tag = 0
        for body in bodies:
            self.publisher.publish(1, "", queue, body, **properties)
        self.tag += len(bodies)
        waiting = set(range(self.tag - len(bodies) + 1, self.tag + 1))
        while waiting:
            ack = self.publisher.expect(1, Basic.Ack)
            waiting -= {tag for tag in waiting if tag <= ack.delivery_tag} if ack.multiple else {ack.delivery_tag}

    def qos(self, client: PlainClient, count: int, whole_channel: bool = False, number: int = 1) -> None:
        client.call(number, Basic.Qos(0, count, whole_channel), Basic.QosOk)

    def drain(self, client: PlainClient, queue: str, count: int) -> list[tuple[bytes, bool]]:
        """So many messages, got with no ack, and whether each was redelivered. Waits for what comes back."""
        found: list[tuple[bytes, bool]] = []
        while len(found) < count:
            heard = self.get(client, queue)
            if heard is not None:
                found.append((heard.body, heard.method.redelivered))
        return found

    def test_deliveries(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.publish(queue, b"1", priority=3, headers={"a": [1]})
        self.consume(client, queue, "tag")
        self.publish(queue, b"")
        first, second = client.message(1), client.message(1)
        self.assertEqual(first.method, Basic.Deliver("tag", 1, False, "", queue))
        self.assertEqual((first.properties.priority, first.properties.headers, first.body), (3, {"a": [1]}, b"1"))
        self.assertEqual((second.method.delivery_tag, second.body), (2, b""))

    def test_a_tag_is_made_up(self) -> None:
        client = self.client()
        queue = self.declared(client)
        ok = client.call(1, Basic.Consume(0, queue, ""), Basic.ConsumeOk)
        self.assertTrue(ok.consumer_tag.startswith("amq.ctag-") and len(ok.consumer_tag) == 31)
        self.publish(queue, b"1")
        self.assertEqual(client.message(1).method.consumer_tag, ok.consumer_tag)

    def test_nowait(self) -> None:
        client = self.client()
        queue = self.name()
        client.send(1, Queue.Declare(0, queue, nowait=True), Basic.Consume(0, queue, "t", nowait=True))
        self.quiet(client)
        self.publish(queue, b"1")
        self.assertEqual(self.deliveries(client, 1), [b"1"])
        client.send(1, Basic.Cancel("t", True))
        self.quiet(client)
        self.assertEqual(self.count(client, queue), (0, 0))

    def test_prefetch_of_a_consumer(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.qos(client, 2)
        self.consume(client, queue, "a")
        self.qos(client, 1)
        self.consume(client, queue, "b")
        self.publish(queue, *(b"%d" % number for number in range(8)))
        self.assertEqual(self.deliveries(client, 3), [b"0", b"1", b"2"])
        self.quiet(client)
        client.send(1, Basic.Ack(1))
        self.assertEqual(client.message(1).method, Basic.Deliver("a", 4, False, "", queue))
        client.send(1, Basic.Ack(2))
        self.assertEqual(client.message(1).method, Basic.Deliver("b", 5, False, "", queue))
        client.send(1, Basic.Ack(5, True))
        self.assertEqual(sorted(self.deliveries(client, 3)), [b"5", b"6", b"7"])
        self.quiet(client)

    def test_prefetch_of_a_channel(self) -> None:
        client = self.client(1, 2)
        queue = self.declared(client)
        self.qos(client, 3, True)
        self.consume(client, queue, "a")
        self.consume(client, queue, "b")
        self.publish(queue, *(b"%d" % number for number in range(8)))
        self.assertEqual(self.deliveries(client, 3), [b"0", b"1", b"2"])
        self.quiet(client)
        client.send(1, Basic.Ack(2, True))
        self.assertEqual(self.deliveries(client, 2), [b"3", b"4"])
        self.quiet(client)
        # More is allowed, and taken at once.
        self.qos(client, 5, True)
        self.assertEqual(self.deliveries(client, 2), [b"5", b"6"])
        self.quiet(client)
        # What is got, or delivered without acks, does not count.
        self.assertEqual(self.get(client, queue, False, 2).body, b"7")

    def test_without_acks(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.qos(client, 1)
        self.consume(client, queue, no_ack=True)
        self.publish(queue, b"1", b"2", b"3")
        self.assertEqual(self.deliveries(client, 3), [b"1", b"2", b"3"])
        client.send(1, Basic.Ack(1))
        self.refused(client, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1")

    def test_in_turn(self) -> None:
        client = self.client()
        queue = self.declared(client)
        for tag in "abc":
            self.consume(client, queue, tag)
        for turn in range(2):
            for tag in "abc":
                self.publish(queue, b"m")
                self.assertEqual(client.message(1).method.consumer_tag, tag, turn)

    def test_priorities(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.qos(client, 1)
        self.consume(client, queue, "low", arguments={"x-priority": -5})
        self.consume(client, queue, "normal")
        self.consume(client, queue, "high", arguments={"x-priority": 5})
        for tag in ("high", "normal", "low"):
            self.publish(queue, b"m")
            self.assertEqual(client.message(1).method.consumer_tag, tag)
        self.publish(queue, b"m")
        self.quiet(client)
        client.send(1, Basic.Ack(2))
        self.assertEqual(client.message(1).method.consumer_tag, "normal")

    def test_single_active_consumer(self) -> None:
        client = self.client(1, 2)
        queue = self.declared(client, x_single_active_consumer=True)
        self.consume(client, queue, "a")
        self.consume(client, queue, "b", 2)
        self.publish(queue, b"1", b"2")
        self.assertEqual(self.deliveries(client, 2), [b"1", b"2"])
        self.quiet(client, 2)
        self.assertEqual(self.count(client, queue), (0, 2))
        client.call(1, Basic.Cancel("a"), Basic.CancelOk)
        self.publish(queue, b"3")
        self.assertEqual(client.message(2).body, b"3")
        # What the first has not acked is still its own.
        client.send(1, Basic.Nack(2, True, True))
        self.assertEqual([client.message(2).body for _ in range(2)], [b"1", b"2"])

    def test_single_active_consumer_with_a_prefetch(self) -> None:
        """The others get nothing, however full the active one is."""
        client = self.client(1, 2)
        queue = self.declared(client, x_single_active_consumer=True)
        self.qos(client, 1)
        self.consume(client, queue, "a")
        self.consume(client, queue, "b", 2)
        self.publish(queue, b"1", b"2")
        self.assertEqual(self.deliveries(client, 1), [b"1"])
        self.quiet(client, 2)
        client.send(1, Basic.Ack(1))
        self.assertEqual(self.deliveries(client, 1), [b"2"])

    def test_exclusive_and_then_not(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.consume(client, queue, "a", exclusive=True)
        client.call(1, Basic.Cancel("a"), Basic.CancelOk)
        self.consume(client, queue, "b")
        self.publish(queue, b"1")
        self.assertEqual(client.message(1).method.consumer_tag, "b")

    def test_a_cancelled_consumer_keeps_what_it_has(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.consume(client, queue, "a")
        self.publish(queue, b"1", b"2")
        self.deliveries(client, 2)
        client.call(1, Basic.Cancel("a"), Basic.CancelOk)
        self.publish(queue, b"3")
        client.send(1, Basic.Ack(1), Basic.Nack(2, False, True))
        self.assertEqual(self.drain(client, queue, 2), [(b"2", True), (b"3", False)])

    def test_the_queue_is_deleted(self) -> None:
        """Consumers are told, in words only if they know them; what is unacked may still be acked."""
        client, plain = self.client(), self.connected(capabilities={**CAPABILITIES, "consumer_cancel_notify": False})
        plain.open(1)
        queue = self.declared(client)
        self.consume(client, queue, "a")
        self.consume(plain, queue, "b")
        self.publish(queue, b"1")
        self.deliveries(client, 1)
        client.call(1, Queue.Delete(0, queue), Queue.DeleteOk)
        self.assertEqual(client.expect(1, Basic.Cancel), Basic.Cancel("a", True))
        client.send(1, Basic.Nack(1, False, True))
        client.call(1, Basic.Cancel("a"), Basic.CancelOk)
        self.quiet(client)
        self.quiet(plain)

    def test_back_in_place(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.publish(queue, *(b"%d" % number for number in range(5)))
        for number in range(3):
            heard = self.get(client, queue, no_ack=False)
            self.assertEqual((heard.body, heard.method.delivery_tag), (b"%d" % number, number + 1))
        client.send(1, Basic.Nack(2, False, True), Basic.Reject(1, True))
        self.assertEqual(self.drain(client, queue, 4), [(b"0", True), (b"1", True), (b"3", False), (b"4", False)])
        client.send(1, Basic.Nack(0, True, True))
        self.assertEqual(self.drain(client, queue, 1), [(b"2", True)])

    def test_multiple(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.publish(queue, *(b"%d" % number for number in range(9)))
        self.consume(client, queue)
        self.deliveries(client, 9)
        client.send(1, Basic.Ack(2), Basic.Ack(4, True))
        client.call(1, Basic.Cancel("t"), Basic.CancelOk)
        client.send(1, Basic.Nack(6, True, False), Basic.Nack(8, False, True), Basic.Nack(0, True, True))
        self.assertEqual(self.drain(client, queue, 3), [(b"6", True), (b"7", True), (b"8", True)])
        self.assertEqual(self.count(client, queue), (0, 0))

    def test_multiple_up_to_what_is_settled(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.publish(queue, b"1", b"2")
        self.consume(client, queue)
        self.deliveries(client, 2)
        client.send(1, Basic.Ack(2), Basic.Ack(2, True))
        self.refused(client, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 2")

    def test_twice(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.publish(queue, b"1", b"2")
        self.consume(client, queue)
        self.deliveries(client, 2)
        client.send(1, Basic.Ack(1), Basic.Ack(1))
        self.refused(client, 1, 406, "PRECONDITION_FAILED - unknown delivery tag 1")
        client.send(1, Channel.CloseOk())
        # What was not acked when the channel closed is back.
        client.open(1)
        self.assertEqual(self.drain(client, queue, 1), [(b"2", True)])

    def test_recover(self) -> None:
        client = self.client()
        queue = self.declared(client)
        self.publish(queue, b"1", b"2", b"3")
        self.qos(client, 3)
        self.consume(client, queue)
        self.deliveries(client, 3)
        client.send(1, Basic.Ack(2), Basic.Recover(True))
        client.expect(1, Basic.RecoverOk)
        heard = [client.message(1) for _ in range(2)]
        self.assertEqual([each.body for each in heard], [b"1", b"3"])
        self.assertEqual([each.method.redelivered for each in heard], [True, True])
        self.assertEqual([each.method.delivery_tag for each in heard], [4, 5])
        client.send(1, Basic.RecoverAsync(True))
        self.assertEqual(self.deliveries(client, 2), [b"1", b"3"])

    def test_a_channel_is_closed(self) -> None:
        client = self.client(1, 2)
        queue = self.declared(client)
        self.publish(queue, b"1", b"2", b"3")
        self.qos(client, 2, number=2)
        self.consume(client, queue, number=2)
        self.deliveries(client, 2, 2)
        client.call(2, Channel.Close(200, "done", 0, 0), Channel.CloseOk)
        self.assertEqual(self.drain(client, queue, 3), [(b"1", True), (b"2", True), (b"3", False)])
        self.assertEqual(self.count(client, queue), (0, 0))

    def test_a_connection_is_lost(self) -> None:
        client, other = self.client(), self.client()
        queue = self.declared(client)
        self.publish(queue, b"1", b"2")
        self.consume(other, queue)
        self.deliveries(other, 2)
        other.close()
        self.assertEqual(self.drain(client, queue, 2), [(b"1", True), (b"2", True)])

    def test_a_consumer_takes_what_another_gives_back(self) -> None:
        client, other = self.client(), self.client()
        queue = self.declared(client)
        self.consume(client, queue)
        self.publish(queue, b"1", b"2")
        self.deliveries(client, 2)
        self.consume(other, queue)
        client.call(1, Basic.Cancel("t"), Basic.CancelOk)
        client.send(1, Basic.Nack(2, True, True))
        heard = [other.message(1) for _ in range(2)]
        self.assertEqual([(each.body, each.method.redelivered) for each in heard], [(b"1", True), (b"2", True)])

    def test_get_of_nothing(self) -> None:
        client = self.client()
        self.assertIsNone(self.get(client, self.declared(client)))

    def test_large_messages(self) -> None:
        """Cut to the size of a frame, in both directions."""
        client = self.client()
        queue = self.declared(client)
        self.consume(client, queue)
        step = 131072 - 8
        for size in (step - 1, step, step + 1, 3 * step + 5):
            body = bytes(number % 251 for number in range(size))
            client.publish(1, "", queue, body)
            self.assertEqual(client.message(1).body, body)


class ConsumingInMemoryTests(ConsumingScenarios, InMemory):
    pass


class ConsumingOnRabbitMQTests(ConsumingScenarios, OnRabbitMQ):
    pass


del Scenario, ConsumingScenarios
