"""Tests for connecting to a real RabbitMQ: TLS, mechanisms, credentials that change, hosts, other ways there."""

from __future__ import annotations

import os
import uuid
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint, clientFromString
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import TestCase

import txpika
from txpika.exceptions import AuthenticationError, ConnectFailed, HandshakeError, TLSError, TLSVerifyError
from txpika.test import broker
from txpika.test.authority import Authority, secure_broker
from txpika.test.live import failure_of
from txpika.tls import TLSOptions


class Live(TestCase):
    """There is a broker, and what its URI says of it."""

    timeout = 60

    def setUp(self) -> None:
        self.parameters = txpika.parse_uri(broker.require_broker())
        self.name = f"test-{uuid.uuid4().hex}"

    def with_(self, **more: Any) -> txpika.ConnectionParameters:
        """Parameters of the broker, some of them others."""
        ours = self.parameters
        if "hosts" not in more:
            more = {"host": ours.host, "port": ours.port, **more}
        return txpika.ConnectionParameters(
            **{"credentials": ours.credentials, "connection_name": self.name, "connection_timeout": 10, **more}
        )

    async def listed(self, *columns: str) -> list[str]:
        """What the broker says of the connection of the test."""
        while True:
            for line in broker.ctl("list_connections", "client_properties", *columns).splitlines():
                properties, *values = line.split("\t")
                if self.name in properties:
                    return [*values, properties]
            await deferLater(reactor, 0.05)


class TLSTests(Live):
    """RabbitMQ's TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.secure = secure_broker(self.mktemp())
        self.authority = self.secure.authority

    def secured(self, port: int = 0, /, **options: Any) -> txpika.ConnectionParameters:
        more: dict[str, Any] = {"host": "localhost", "port": port or self.secure.port}
        more |= {name: options.pop(name) for name in ("host", "credentials") if name in options}
        return self.with_(tls=TLSOptions(**{"cafile": self.authority.cafile, **options}), **more)

    async def test_a_uri(self) -> None:
        name = self.name
        _, _, rest = broker.require_broker().partition("://")
        user, _, _ = rest.rpartition("@")
        connection = await txpika.connect(
            f"amqps://{user}@localhost:{self.secure.port}/%2F?cacertfile={self.authority.cafile.replace('/', '%2F')}"
            f"&verify=verify_peer&connection_name={name}"
        )
        secured, version, mechanism, _ = await self.listed("ssl", "ssl_protocol", "auth_mechanism")
        self.assertEqual((secured, mechanism), ("true", "PLAIN"))
        self.assertIn(version, ("tlsv1.2", "tlsv1.3"))
        transport: Any = connection.transport
        self.assertTrue(transport.getTcpNoDelay())
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue
        await channel.confirm_select()
        body = bytes(range(256)) * 8192
        await channel.basic_publish("", queue, body)
        got = await channel.basic_get(queue, no_ack=True)
        assert got is not None
        self.assertEqual(got.body, body)
        await connection.close()

    async def test_an_address(self) -> None:
        connection = await txpika.connect(self.secured(host="127.0.0.1"))
        await connection.close()

    async def test_wrong_host(self) -> None:
        error = await failure_of(txpika.connect(self.secured(self.secure.other_port)), TLSVerifyError)
        self.assertIn("not for 'localhost'", str(error))
        connection = await txpika.connect(self.secured(self.secure.other_port, server_name="example.org"))
        await connection.close()

    async def test_expired(self) -> None:
        error = await failure_of(txpika.connect(self.secured(self.secure.expired_port)), TLSVerifyError)
        self.assertIn("has expired", str(error))

    async def test_an_unknown_authority(self) -> None:
        for options in ({"cafile": Authority(self.mktemp()).cafile}, {"cafile": None}):
            error = await failure_of(txpika.connect(self.secured(**options)), TLSVerifyError)
            self.assertIn("not among the trusted", str(error))

    async def test_a_client_certificate(self) -> None:
        error = await failure_of(txpika.connect(self.secured(self.secure.strict_port)), HandshakeError)
        self.assertIn("certificate", str(error))
        stranger = Authority(self.mktemp()).issue(common_name=self.secure.client)
        await failure_of(txpika.connect(self.secured(self.secure.strict_port, certfile=stranger)), HandshakeError)
        mine = self.authority.issue("me@example.org", common_name="somebody")
        connection = await txpika.connect(self.secured(self.secure.strict_port, certfile=mine))
        await connection.close()

    async def test_external(self) -> None:
        mine = self.authority.issue("me@example.org", common_name=self.secure.client)
        external = txpika.ExternalCredentials()
        connection = await txpika.connect(self.secured(certfile=mine, credentials=external))
        self.assertEqual((await self.listed("user", "auth_mechanism"))[:2], [self.secure.client, "EXTERNAL"])
        await connection.close()
        nobody = self.authority.issue("me@example.org", common_name="no-such-user")
        error = await failure_of(
            txpika.connect(self.secured(certfile=nobody, credentials=external)), AuthenticationError
        )
        self.assertEqual(error.reply_code, 403)
        error = await failure_of(txpika.connect(self.secured(credentials=external)), AuthenticationError)
        self.assertIn("EXTERNAL", str(error))

    async def test_a_wrong_password(self) -> None:
        wrong = txpika.PlainCredentials("guest", "hunter2")
        error = await failure_of(txpika.connect(self.secured(credentials=wrong)), AuthenticationError)
        self.assertEqual(error.reply_code, 403)

    async def test_F06_each_spoken_to_as_the_other(self) -> None:
        """And the answer comes at once."""
        before = reactor.seconds()
        error: Exception = await failure_of(txpika.connect(self.with_(port=self.secure.port)), HandshakeError)
        self.assertIn("TLS", str(error))
        error = await failure_of(txpika.connect(self.secured(self.parameters.port)), TLSError)
        self.assertIn("does not speak TLS", str(error))
        self.assertLess(reactor.seconds() - before, 5)

    async def test_through_a_unix_socket(self) -> None:
        path = self.mktemp()[-90:]
        listening = await UNIXServerEndpoint(reactor, path).listen(ProxyFactory("127.0.0.1", self.secure.port))
        self.addCleanup(listening.stopListening)
        endpoint = UNIXClientEndpoint(reactor, path)
        connection = await txpika.connect(self.secured(), endpoint=endpoint)
        await connection.close()
        await failure_of(txpika.connect(self.secured(host="other"), endpoint=endpoint), TLSVerifyError)

    async def test_an_endpoint_of_twisteds(self) -> None:
        """C{tls:} of C{clientFromString}, which does it all itself."""
        with open(self.authority.cafile, "rb") as file:
            roots = self.mktemp()
            os.mkdir(roots)
            with open(f"{roots}/ca.pem", "wb") as copy:
                copy.write(file.read())
        endpoint = clientFromString(reactor, f"tls:localhost:{self.secure.port}:trustRoots={roots}")
        protocol: Any = await endpoint.connect(txpika.AMQPFactory(self.secured()))
        await protocol.when_open()
        await protocol.close()


class MechanismTests(Live):
    """Who this program is."""

    async def test_amqplain(self) -> None:
        ours: Any = self.parameters.credentials
        credentials = txpika.AMQPlainCredentials(ours.username, ours._password.reveal())
        connection = await txpika.connect(self.with_(credentials=credentials))
        self.assertEqual((await self.listed("user", "auth_mechanism"))[:2], [ours.username, "AMQPLAIN"])
        await connection.close()
        wrong = txpika.AMQPlainCredentials(ours.username, "wrong")
        error = await failure_of(txpika.connect(self.with_(credentials=wrong)), AuthenticationError)
        self.assertEqual(error.reply_code, 403)

    async def test_what_the_broker_shows(self) -> None:
        connection = await txpika.connect(self.with_(client_properties={"purpose": "a test", "version": "of the test"}))
        (shown,) = await self.listed()
        for text in ('"txpika"', '"a test"', '"of the test"', f'"{self.name}"'):
            self.assertIn(text, shown)
        await connection.close()

    async def test_a_password_that_changes(self) -> None:
        """The program is asked again when the service reconnects."""
        user = self.name
        broker.ctl("add_user", user, "first")
        self.addCleanup(broker.ctl, "delete_user", user)
        broker.ctl("set_permissions", user, ".*", ".*", ".*")
        passwords = ["first", "second"]

        async def credentials() -> txpika.PlainCredentials:
            await deferLater(reactor, 0)
            return txpika.PlainCredentials(user, passwords.pop(0))

        parameters = self.with_(credentials=credentials)
        service = ClientService(
            txpika.BrokerEndpoint(parameters), txpika.AMQPFactory(parameters), retryPolicy=lambda attempt: 0.05
        )
        service.startService()
        connection: Any = await service.whenConnected()
        broker.ctl("change_password", user, "second")
        broker.ctl("close_all_connections", "new password")
        await connection.closed
        await deferLater(reactor, 0)
        again: Any = await service.whenConnected()
        self.assertIsNot(again, connection)
        self.assertEqual(passwords, [])
        await again.channel()
        await deferLater(reactor, 0)
        await service.stopService()


class HostTests(Live):
    """Ways to a broker."""

    async def test_F02_the_first_host_is_away(self) -> None:
        hosts = [("127.0.0.1", 1), (self.parameters.host, self.parameters.port)]
        endpoint = txpika.BrokerEndpoint(self.with_(hosts=hosts), shuffle=list.sort)
        connection = await endpoint.connect(txpika.AMQPFactory(endpoint.parameters))
        self.assertEqual(connection.server_properties["product"], "RabbitMQ")
        await connection.close()

    async def test_all_hosts_are_away(self) -> None:
        error = await failure_of(txpika.connect(self.with_(hosts=[("127.0.0.1", 1), ("127.0.0.1", 2)])), ConnectFailed)
        self.assertEqual(len(error.errors), 2)

    async def test_a_unix_socket(self) -> None:
        path = self.mktemp()[-90:]
        forward = ProxyFactory(self.parameters.host, self.parameters.port)
        listening = await UNIXServerEndpoint(reactor, path).listen(forward)
        self.addCleanup(listening.stopListening)
        connection = await txpika.connect(self.with_(), endpoint=UNIXClientEndpoint(reactor, path))
        await connection.channel()
        await connection.close()

    async def test_cancelled_on_the_way(self) -> None:
        """At each step of it: the broker is left with nothing, and the program with its own error."""
        outcomes = set()
        for turns in range(12):
            connecting = txpika.connect(self.with_())
            for _ in range(turns):
                await deferLater(reactor, 0.0005)
            connecting.cancel()
            try:
                connection = await connecting
            except CancelledError:
                outcomes.add("cancelled")
            else:
                outcomes.add("open")
                await connection.close()
        self.assertIn("cancelled", outcomes)
