"""Confirmations, returns, transactions and direct replies, on RabbitMQ and on the broker in memory."""

from __future__ import annotations

from txpika.spec import Basic, Channel, Confirm, Exchange, Queue, Tx
from txpika.test.fakes import content, frame, method
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario
from txpika.test.plain_client import PlainClient

REPLY_TO = "amq.rabbitmq.reply-to"


class PublishingScenarios(Scenario):
    """One client, mostly."""

    def test_a_return_comes_before_the_confirmation(self) -> None:
        client = self.client()
        self.confirming(client)
        client.publish(1, "amq.direct", self.name("none"), b"body", True, priority=1)
        heard = client.message(1, Basic.Return)
        self.assertEqual(heard.method, Basic.Return(312, "NO_ROUTE", "amq.direct", self.name("none")))
        self.assertEqual((heard.body, heard.properties.priority), (b"body", 1))
        self.assertEqual(client.expect(1, Basic.Ack), Basic.Ack(1, False))
        # Without anybody's wish it is dropped, and confirmed.
        client.publish(1, "amq.direct", self.name("none"))
        self.assertEqual(client.expect(1, Basic.Ack), Basic.Ack(2, False))

    def test_confirmations_count_from_when_they_are_wanted(self) -> None:
        client = self.client()
        queue = self.declared(client)
        client.publish(1, "", queue, b"1")
        self.confirming(client)
        client.publish(1, "", queue, b"2")
        self.assertEqual(client.expect(1, Basic.Ack).delivery_tag, 1)
        client.send(1, Confirm.Select(True))
        client.publish(1, "", queue, b"3")
        self.assertEqual(client.expect(1, Basic.Ack).delivery_tag, 2)

    def test_many_confirmations(self) -> None:
        client = self.client()
        self.confirming(client)
        queue = self.declared(client)
        for number in range(500):
            client.publish(1, "", queue, b"%d" % number)
        waiting = set(range(1, 501))
        while waiting:
            ack = client.expect(1, Basic.Ack)
            waiting -= {tag for tag in waiting if tag <= ack.delivery_tag} if ack.multiple else {ack.delivery_tag}
        self.assertEqual(self.bodies(client, queue), [b"%d" % number for number in range(500)])

    def test_a_transaction(self) -> None:
        client, other = self.client(), self.client()
        queue = self.declared(client)
        client.call(1, Tx.Select(), Tx.SelectOk)
        client.publish(1, "", queue, b"1")
        client.publish(1, "", self.name("none"), b"returned", True)
        self.quiet(client)
        self.assertEqual(self.count(other, queue), (0, 0))
        client.send(1, Tx.Commit())
        self.assertEqual(client.message(1, Basic.Return).body, b"returned")
        client.expect(1, Tx.CommitOk)
        self.assertEqual(self.bodies(other, queue), [b"1"])
        client.publish(1, "", queue, b"2")
        client.call(1, Tx.Rollback(), Tx.RollbackOk)
        client.call(1, Tx.Commit(), Tx.CommitOk)
        self.assertEqual(self.count(other, queue), (0, 0))

    def test_acks_in_a_transaction(self) -> None:
        client, other = self.client(), self.client()
        queue = self.declared(client)
        for body in (b"1", b"2", b"3"):
            client.publish(1, "", queue, body)
        client.call(1, Tx.Select(), Tx.SelectOk)
        for _ in range(3):
            self.get(client, queue, no_ack=False)
        client.send(1, Basic.Nack(2, True, True))
        self.quiet(client)
        self.assertEqual(self.count(other, queue), (0, 0))
        client.call(1, Tx.Rollback(), Tx.RollbackOk)
        client.send(1, Basic.Ack(1), Basic.Reject(3, True))
        client.call(1, Tx.Commit(), Tx.CommitOk)
        self.assertEqual(self.bodies(other, queue), [b"3"])
        client.call(1, Channel.Close(200, "", 0, 0), Channel.CloseOk)
        self.assertEqual(self.bodies(other, queue), [b"2"])

    def test_rejects_in_a_transaction_go_in_the_order_of_the_deliveries(self) -> None:
        client, other = self.client(), self.client()
        dead = self.declared(client, "dead")
        queue = self.declared(client, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
        for number in range(5):
            client.publish(1, "", queue, b"%d" % number)
        client.call(1, Tx.Select(), Tx.SelectOk)
        for _ in range(5):
            self.get(client, queue, no_ack=False)
        client.send(1, Basic.Reject(3, False), Basic.Nack(1, False, False), Basic.Nack(4, True, False))
        client.send(1, Basic.Ack(5))
        client.call(1, Tx.Commit(), Tx.CommitOk)
        self.assertEqual(self.bodies(other, dead), [b"0", b"1", b"2", b"3"])

    def test_what_was_rolled_back_has_its_old_place(self) -> None:
        client, other = self.client(), self.client()
        queue = self.declared(client)
        for body in (b"1", b"2", b"3"):
            client.publish(1, "", queue, body)
        client.call(1, Tx.Select(), Tx.SelectOk)
        for _ in range(3):
            self.get(client, queue, no_ack=False)
        client.send(1, Basic.Ack(1))
        client.call(1, Tx.Rollback(), Tx.RollbackOk)
        client.send(1, Basic.Ack(2, True))
        client.call(1, Tx.Commit(), Tx.CommitOk)
        client.call(1, Channel.Close(200, "", 0, 0), Channel.CloseOk)
        self.assertEqual(self.bodies(other, queue), [b"3"])

    def test_a_transaction_that_ends_with_its_channel(self) -> None:
        client, other = self.client(), self.client()
        queue = self.declared(client)
        client.publish(1, "", queue, b"1")
        client.call(1, Tx.Select(), Tx.SelectOk)
        self.get(client, queue, no_ack=False)
        client.send(1, Basic.Ack(1))
        client.publish(1, "", queue, b"2")
        client.call(1, Channel.Close(200, "", 0, 0), Channel.CloseOk)
        self.assertEqual(self.bodies(other, queue), [b"1"])

    def test_a_missing_exchange_in_a_transaction(self) -> None:
        client = self.client()
        client.call(1, Tx.Select(), Tx.SelectOk)
        client.publish(1, self.name("none"), "k")
        self.refused(client, 1, 404, f"NOT_FOUND - no exchange '{self.name('none')}' in vhost '/'")

    def test_bindings_that_change_before_the_commit(self) -> None:
        """A message has its way from when it was published; only the names at its end are looked up later."""
        client, other = self.client(), self.client()
        old, new, exchange = self.declared(client, "old"), self.declared(client, "new"), self.name("x")
        client.call(1, Exchange.Declare(0, exchange, "fanout"), Exchange.DeclareOk)
        client.call(1, Queue.Bind(0, old, exchange), Queue.BindOk)
        client.call(1, Tx.Select(), Tx.SelectOk)
        client.publish(1, exchange, "", b"1")
        client.publish(1, exchange, "", b"2", headers={"a": 1})
        client.publish(1, "amq.direct", self.name("later"), b"returned", mandatory=True)
        if not self.is_later:  # which looks for names at once
            client.publish(1, "", self.name("later"), b"3", mandatory=True)
        self.quiet(client)
        other.call(1, Queue.Unbind(0, old, exchange), Queue.UnbindOk)
        other.call(1, Queue.Bind(0, new, exchange), Queue.BindOk)
        later = self.declared(other, "later")
        other.call(1, Queue.Bind(0, later, "amq.direct", later), Queue.BindOk)
        client.send(1, Tx.Commit())
        self.assertEqual(client.message(1, Basic.Return).body, b"returned")
        client.expect(1, Tx.CommitOk)
        found = [self.bodies(other, queue) for queue in (old, new, later)]
        self.assertEqual(found, [[b"1", b"2"], [], [] if self.is_later else [b"3"]])

    def test_an_exchange_that_goes_before_the_commit(self) -> None:
        client, other = self.client(), self.client()
        exchange = self.name("x")
        client.call(1, Exchange.Declare(0, exchange, "fanout"), Exchange.DeclareOk)
        client.call(1, Tx.Select(), Tx.SelectOk)
        client.publish(1, exchange, "k")
        self.quiet(client)
        other.call(1, Exchange.Delete(0, exchange), Exchange.DeleteOk)
        client.call(1, Tx.Commit(), Tx.CommitOk)

    def test_declaring_where_direct_replies_go(self) -> None:
        """It is there for who declares it, passively or not, as long as somebody consumes."""
        client = self.client()
        for passive in (False, True):
            ok = client.call(1, Queue.Declare(0, "amq.rabbitmq.reply-to", passive), Queue.DeclareOk)
            self.assertEqual((ok.message_count, ok.consumer_count), (0, 1))
        name = "amq.rabbitmq.reply-to.none"
        client.send(1, Queue.Declare(0, name))
        self.refused(client, 1, 404, f"NOT_FOUND - no queue '{name}' in vhost '/'")

    def test_direct_replies(self) -> None:
        client, server = self.client(1, 2), self.client()
        queue = self.declared(client)
        self.consume(client, REPLY_TO, "replies", no_ack=True)
        client.publish(1, "", queue, b"ask", reply_to=REPLY_TO, correlation_id="c")
        self.consume(server, queue, no_ack=True)
        asked = server.message(1)
        reply_to = asked.properties.reply_to
        self.assertTrue(reply_to.startswith(f"{REPLY_TO}."))
        self.assertEqual(server.call(1, Queue.Declare(0, reply_to, passive=True), Queue.DeclareOk).consumer_count, 1)
        server.publish(1, "", reply_to, b"answer", correlation_id="c")
        heard = client.message(1)
        self.assertEqual((heard.body, heard.properties.correlation_id), (b"answer", "c"))
        self.assertEqual(heard.method, Basic.Deliver("replies", 1, False, "", reply_to))
        # Nobody is there any more; RabbitMQ says NO_ROUTE to who wants to know it also when there is.
        client.call(1, Basic.Cancel("replies"), Basic.CancelOk)
        server.publish(1, "", reply_to, b"late", True)
        self.assertEqual(server.message(1, Basic.Return).body, b"late")
        self.consume(client, REPLY_TO, "again", no_ack=True)

    def test_its_own_user(self) -> None:
        client = self.client()
        queue = self.declared(client)
        client.publish(1, "", queue, b"m", user_id=self.user)
        self.assertEqual(self.get(client, queue).properties.user_id, self.user)

    def test_properties_go_through_as_they_came(self) -> None:
        """Tables that only their reader finds odd, too."""
        client = self.client()
        queue = self.declared(client)
        raw = b"\x20\x40\x00\x00\x00\x0a\x01aF\x00\x00\x00\x03\x01bV" + b"\xff" * 8
        client.publish(1, "", queue, b"m", raw=raw)
        heard = self.get(client, queue)
        self.assertEqual(heard.properties.headers, {"a": {"b": None}})
        self.assertEqual(heard.properties.timestamp, 2**64 - 1)

    def test_many_frames(self) -> None:
        """A body in odd pieces, empty ones among them; another channel in between."""
        client = self.client(1, 2)
        queue = self.declared(client)
        whole = content(1, Basic.Publish(0, "", queue), b"")[:-22]
        self.assertEqual(whole[-1], 0xCE)
        header = frame(2, 1, b"\x00\x3c\x00\x00" + (9).to_bytes(8, "big") + b"\0\0")
        pieces = [b"12", b"", b"345", b"6789"]
        for piece in (whole, header, *(frame(3, 1, each) for each in pieces)):
            client.raw(piece)
            client.call(2, Basic.Qos(0, 1), Basic.QosOk)
        self.assertEqual(self.bodies(client, queue), [b"123456789"])

    def test_it_is_too_late(self) -> None:
        """What is on its way when a channel closes is for nobody, and the channel can be opened again."""
        client = self.client()
        queue = self.declared(client)
        body = content(1, Basic.Publish(0, "", queue), b"late")
        client.raw(body)
        self.assertEqual(self.count(client, queue), (1, 0))
        client.raw(method(1, Queue.Declare(0, self.name("none"), passive=True)) + body + method(1, Basic.Qos(0, 1)))
        self.assertEqual(client.next(1).method.reply_code, 404)
        client.raw(body + method(1, Channel.CloseOk()))
        client.open(1)
        self.assertEqual(self.bodies(client, queue), [b"late"])

    def test_both_close(self) -> None:
        client: PlainClient = self.client()
        client.send(1, Queue.Declare(0, self.name("none"), passive=True), Channel.Close(200, "", 0, 0))
        self.assertEqual(client.next(1).method.reply_code, 404)
        client.expect(1, Channel.CloseOk)
        client.send(1, Channel.CloseOk())
        client.open(1)

    def test_open_before_it_is_closed(self) -> None:
        client = self.client()
        client.send(1, Queue.Declare(0, self.name("none"), passive=True), Channel.Open())
        self.assertEqual(client.next(1).method.reply_code, 404)
        self.refused(client, 1, 504, "CHANNEL_ERROR - second 'channel.open' seen")


class PublishingInMemoryTests(PublishingScenarios, InMemory):
    def test_confirmations_in_order(self) -> None:
        """Those of one read: what is in a row together, and a refusal in its place."""
        client = self.client()
        self.confirming(client)
        queue = self.declared(client, x_max_length=2, x_overflow="reject-publish")
        one = content(1, Basic.Publish(0, "", queue), b"m")
        client.raw(one * 3 + method(1, Queue.Purge(0, queue)) + one)
        said = [client.next(1).method for _ in range(4)]
        purged = said.pop([each.NAME for each in said].index("Queue.PurgeOk"))
        self.assertEqual(purged.message_count, 2)
        self.assertEqual(said, [Basic.Ack(2, True), Basic.Nack(3, False, True), Basic.Ack(4, False)])


class PublishingOnRabbitMQTests(PublishingScenarios, OnRabbitMQ):
    pass


del Scenario, PublishingScenarios
