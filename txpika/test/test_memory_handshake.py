"""Before a connection is open, and how it ends, on RabbitMQ and on the broker in memory."""

from __future__ import annotations

from typing import Any

from txpika.credentials import AMQPlainCredentials
from txpika.spec import PROTOCOL_HEADER, Basic, Channel, Connection
from txpika.test.fakes import content
from txpika.test.memory_drivers import InMemory, OnRabbitMQ, Scenario
from txpika.test.plain_client import Gone, PlainClient


class HandshakeScenarios(Scenario):
    """Each with a client of its own."""

    def ends_with(self, code: int, text: str, **arguments: Any) -> None:
        """The connection is closed in the handshake, with these words."""
        client = self.stranger()
        try:
            client.handshake(**{"response": self.response, **arguments})
        except AssertionError as error:
            close = error.args[0].method
            self.assertEqual((close.reply_code, close.reply_text), (code, text))
        else:
            self.fail("it was let in")

    def test_what_is_proposed(self) -> None:
        client = self.connected()
        self.assertEqual(client.tuned, Connection.Tune(2047, 131072, 60))
        self.assertEqual((client.start.version_major, client.start.version_minor), (0, 9))
        self.assertLessEqual({b"PLAIN", b"AMQPLAIN"}, set(client.start.mechanisms.split()))
        self.assertEqual(client.start.locales, b"en_US")
        for capability in ("basic.nack", "consumer_cancel_notify", "connection.blocked", "publisher_confirms"):
            self.assertIs(client.start.server_properties["capabilities"][capability], True)

    def test_a_wrong_password(self) -> None:
        text = (
            "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."
        )
        self.ends_with(403, text.format("PLAIN"), response=b"\0guest\0wrong")

    def test_a_wrong_password_of_an_old_client(self) -> None:
        """Who does not know that it may be told is not told."""
        client = self.stranger()
        self.assertRaises(Gone, client.handshake, response=b"\0guest\0wrong", capabilities={})
        self.assertEqual(list(client.heard), [])

    def test_amqplain(self) -> None:
        _, user, password = self.response.decode().split("\0")
        response = AMQPlainCredentials(user, password).response("AMQPLAIN")
        self.stranger().handshake(mechanism="AMQPLAIN", response=response).open(1)

    def test_no_such_virtual_host(self) -> None:
        self.ends_with(530, "NOT_ALLOWED - vhost nowhere not found", virtual_host="nowhere")

    def test_smaller_limits(self) -> None:
        """They hold for both sides, but not for header frames."""
        client = self.connected(tune=lambda offer: Connection.TuneOk(2, 4096, 0)).open(1)
        queue = self.declared(client)
        body = b"b" * 10000
        client.raw(content(1, Basic.Publish(0, "", queue), body, frame_max=4096))
        self.assertEqual(self.bodies(client, queue), [body])
        client.open(2)
        client.send(3, Channel.Open())
        text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)"
        self.refused(client, 0, 530, text)

    def test_another_protocol(self) -> None:
        for header in (b"AMQP\x00\x00\x09\x00", b"AMQP\x00\x03\x01\x00", b"AMQP\x02\x00\x00\x00"):
            client = self.stranger()
            client.raw(header)
            with self.assertRaises(Gone) as caught:
                client.read(Connection.Start)
            # From 4.0 on RabbitMQ speaks AMQP 1.0 too, and would rather, to some.
            answers = (PROTOCOL_HEADER, b"AMQP\3\1\0\0") if self.is_later else (PROTOCOL_HEADER,)
            self.assertIn(caught.exception.args[0], answers)

    def test_closing(self) -> None:
        client = self.client()
        client.call(0, Connection.Close(200, "done", 0, 0), Connection.CloseOk)
        if self.is_memory:  # RabbitMQ waits for the client, for a while
            self.assertTrue(client.ends())

    def test_heartbeats(self) -> None:
        """They come when nothing else does."""
        client = self.connected(tune=lambda offer: Connection.TuneOk(10, 131072, 1))
        while b"\x08\x00\x00\x00\x00\x00\x00\xce" not in client._way.read():
            pass

    def test_no_heartbeats(self) -> None:
        """The broker drops who is silent for too long."""
        client: PlainClient = self.connected(tune=lambda offer: Connection.TuneOk(10, 131072, 1))
        self.assertTrue(client.ends())


class HandshakeInMemoryTests(HandshakeScenarios, InMemory):
    """And what RabbitMQ does without a word."""

    def test_limits_that_are_none(self) -> None:
        for name, answer, what in (
            ("frame_max = 100", Connection.TuneOk(10, 100, 0), "lower than the minimum allowed value (4096)"),
            ("frame_max = 0", Connection.TuneOk(10, 0, 0), "lower than the minimum allowed value (4096)"),
            ("frame_max = 131073", Connection.TuneOk(10, 131073, 0), "higher than the maximum allowed value (131072)"),
            ("channel_max = 5000", Connection.TuneOk(5000, 4096, 0), "higher than the maximum allowed value (2047)"),
            ("channel_max = 0", Connection.TuneOk(0, 4096, 0), "lower than the minimum allowed value (1)"),
        ):
            text = f"NOT_ALLOWED - negotiated {name} is {what}"
            self.ends_with(530, text, tune=lambda offer, answer=answer: answer)

    def test_mechanisms_and_responses(self) -> None:
        refusal = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker"
        self.ends_with(503, "COMMAND_INVALID - an unknown authentication mechanism", mechanism="EXTERNAL")
        for mechanism in ("PLAIN", "AMQPLAIN"):
            for response in (
                b"",
                b"garbage",
                b"\0\xff\0\xff",
                b"\0guest",
                b"\x05LOGINS\x00\x00\x00\x05guest",
                b"\0\0\0\0",
            ):
                text = refusal.format(mechanism) + " logfile."
                self.ends_with(403, text, mechanism=mechanism, response=response)

    def test_users_and_virtual_hosts(self) -> None:
        self.broker.add_user("who", "secret")
        self.broker.add_virtual_host("there")
        self.connected(response=b"\0who\0secret", virtual_host="there")
        self.broker.restrict("who", ["there"])
        self.connected(response=b"\0who\0secret", virtual_host="there")
        text = "NOT_ALLOWED - access to vhost '/' refused for user 'who'"
        self.ends_with(530, text, response=b"\0who\0secret", virtual_host="/")

    def test_virtual_hosts_share_nothing(self) -> None:
        self.broker.add_virtual_host("there")
        here, there = self.client(), self.connected(virtual_host="there").open(1)
        queue = self.declared(here)
        self.assertEqual(self.declared(there), queue)
        there.publish(1, "", queue, b"m")
        self.assertEqual((self.bodies(here, queue), self.bodies(there, queue)), ([], [b"m"]))

    def test_too_slow(self) -> None:
        """The handshake takes no longer than ten seconds, however many bytes there are."""
        client = self.stranger()
        client.raw(PROTOCOL_HEADER)
        client.read(Connection.Start)
        self.clock.advance(9)
        client.raw(b"\x01")
        self.clock.advance(1)
        self.assertTrue(client.ends())
        self.assertEqual((self.broker.connections, self.clock.getDelayedCalls()), ({}, []))

    def test_who_does_not_answer_a_close(self) -> None:
        client = self.client()
        client.send(1, Channel.Open())
        self.refused(client, 0, 504, "CHANNEL_ERROR - second 'channel.open' seen")
        client.send(1, Basic.Qos(0, 1))
        self.clock.advance(30)
        self.assertTrue(client.ends())
        self.assertEqual((self.broker.connections, self.clock.getDelayedCalls()), ({}, []))

    def test_a_close_in_the_handshake(self) -> None:
        client = self.stranger()
        client.raw(PROTOCOL_HEADER)
        client.read(Connection.Start)
        client.send(0, Connection.Close(200, "", 0, 0))
        client.read(Connection.CloseOk)
        self.assertTrue(client.ends())

    def test_nothing_is_left(self) -> None:
        client = self.connected(tune=lambda offer: Connection.TuneOk(10, 131072, 10)).open(1)
        client.close()
        self.assertEqual((self.broker.connections, self.clock.getDelayedCalls()), ({}, []))


class HandshakeOnRabbitMQTests(HandshakeScenarios, OnRabbitMQ):
    pass


del Scenario, HandshakeScenarios
