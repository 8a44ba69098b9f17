"""Tests for TLS, against servers in this process: who is let in, and what those hear who are not."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.application.internet import ClientService
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate, CertificateOptions, ContextFactory, PrivateCertificate
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase

import txpika
from txpika.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    HandshakeError,
    HandshakeTimeout,
    TLSError,
    TLSVerifyError,
)
from txpika.secure import ConnectionCreator, explained
from txpika.spec import Connection
from txpika.test.authority import Authority
from txpika.test.live import E, failure_of
from txpika.test.servers import MiniBrokers, Saying, Silent, TalkerFactory
from txpika.tls import UNVERIFIED, TLSOptions

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
PASSWORD = "hunter2-canary"


class TLSTests(TestCase):
    """A server with one certificate, and who connects to it."""

    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority(self.mktemp())
        self.tls = TLSOptions(cafile=self.authority.cafile)

    def listen(self, factory: TalkerFactory, context: Any = None) -> int:
        """@return: The port of a server, with TLS where there is a C{context}."""
        listening: Any = reactor
        if context is None:
            port = listening.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = listening.listenSSL(0, factory, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def options(self, pem: str, **more: Any) -> CertificateOptions:
        """A server's side of TLS."""
        with open(pem, "rb") as file:
            mine = PrivateCertificate.loadPEM(file.read())
        return CertificateOptions(mine.privateKey.original, mine.original, **more)

    def parameters(self, port: int, **more: Any) -> txpika.ConnectionParameters:
        more = {"tls": self.tls, "credentials": txpika.PlainCredentials("me", PASSWORD), **more}
        if "hosts" not in more:
            more = {"host": "localhost", "port": port, **more}
        return txpika.ConnectionParameters(**more)

    async def fails(self, port: int, expected: type[E], *texts: str, endpoint: Any = None, **more: Any) -> E:
        """Connecting fails so, and the error says so."""
        error = await failure_of(txpika.connect(self.parameters(port, **more), endpoint=endpoint), expected)
        self.assertIs(type(error), expected)
        self.assertNotIn(PASSWORD, "".join(traceback.format_exception(error)))
        for text in texts:
            self.assertIn(text, str(error))
        return error

    async def refused(self, pem: str, *texts: str, **more: Any) -> None:
        """A server with such a certificate is refused, and hears nothing."""
        brokers = MiniBrokers()
        gone = brokers.gone
        port = self.listen(brokers, self.options(pem))
        error = await self.fails(port, TLSVerifyError, *texts, **more)
        self.assertEqual(error.initiator, "network")
        await gone
        self.assertEqual((brokers.received, brokers.count), (b"", 1))

    async def let_in(self, pem: str, **more: Any) -> tuple[MiniBrokers, Any]:
        """A server with such a certificate is talked to."""
        brokers = MiniBrokers()
        context = self.options(pem)
        names: list[object] = []
        plain = context.getContext()
        plain.set_tlsext_servername_callback(lambda connection: names.append(connection.get_servername()))
        connection = await txpika.connect(self.parameters(self.listen(brokers, context), **more))
        gone = brokers.gone
        await connection.close()
        await gone
        return brokers, names[0] if names else None


class VerificationTests(TLSTests):
    """The broker's certificate."""

    async def test_F70_the_right_name(self) -> None:
        brokers, name = await self.let_in(self.authority.issue("localhost"))
        self.assertEqual(name, b"localhost")
        self.assertIn(PASSWORD.encode(), brokers.received)

    async def test_F70_a_wild_card(self) -> None:
        await self.let_in(self.authority.issue("*.example.org"), tls=self.named("a.example.org"))
        await self.refused(self.authority.issue("*.example.org"), "b.a.example.org", tls=self.named("b.a.example.org"))

    def named(self, name: str) -> TLSOptions:
        return TLSOptions(cafile=self.authority.cafile, server_name=name)

    async def test_F70_an_address_needs_the_address_and_is_not_told(self) -> None:
        _, name = await self.let_in(self.authority.issue("127.0.0.1"), host="127.0.0.1")
        self.assertIsNone(name)
        await self.refused(self.authority.issue("localhost"), "not for '127.0.0.1'", host="127.0.0.1")
        # A name that looks like the address is not the address.
        await self.refused(self.authority.issue(common_name="127.0.0.1"), "127.0.0.1", host="127.0.0.1")
        await self.refused(self.authority.issue("127.0.0.1"), "not for 'localhost'")

    async def test_F70_addresses_of_ipv6(self) -> None:
        pem = self.authority.issue("::1", "fe80::1")
        for name in ("::1", "0:0:0:0:0:0:0:1", "fe80::1%lo"):
            self.assertIsNone((await self.let_in(pem, tls=self.named(name)))[1])
        await self.refused(pem, "not for '::2'", tls=self.named("::2"))

    async def test_F70_another_name(self) -> None:
        await self.refused(self.authority.issue("example.org"), "not for 'localhost'")

    async def test_F70_a_common_name_only(self) -> None:
        await self.refused(self.authority.issue(common_name="localhost"), "not for 'localhost'")

    async def test_server_name_is_what_is_verified_and_told(self) -> None:
        pem = self.authority.issue("broker.example.org")
        _, name = await self.let_in(pem, tls=self.named("broker.example.org"))
        self.assertEqual(name, b"broker.example.org")
        await self.refused(self.authority.issue("localhost"), "not for 'broker", tls=self.named("broker.example.org"))

    async def test_names_beyond_ascii(self) -> None:
        _, name = await self.let_in(self.authority.issue("b\u00fccher.example"), tls=self.named("B\u00fccher.example."))
        self.assertEqual(name, b"xn--bcher-kva.example")
        await self.fails(1, TLSError, "no host name", tls=self.named("\u2603.example"))

    async def test_F69_out_of_date(self) -> None:
        await self.refused(self.authority.issue("localhost", not_after=NOW - DAY), "has expired")
        await self.refused(self.authority.issue("localhost", not_before=NOW + DAY), "is not valid yet")

    async def test_F69_an_authority_nobody_knows(self) -> None:
        stranger = Authority(self.mktemp())
        await self.refused(stranger.issue("localhost"), "not among the trusted")
        await self.refused(self.authority.issue("localhost"), "not among the trusted", tls=TLSOptions())

    async def test_F69_signed_by_itself(self) -> None:
        stranger = Authority(self.mktemp())
        # An authority's own certificate, with its key, as a server's.
        stranger._ca.private_key_pem.write_to_path(f"{stranger.cafile}.key")
        with open(f"{stranger.cafile}.both", "wb") as both:
            for part in (f"{stranger.cafile}.key", stranger.cafile):
                with open(part, "rb") as file:
                    both.write(file.read())
        await self.refused(f"{stranger.cafile}.both", "signed by itself")

    async def test_F71_the_name_is_that_of_the_host_dialled(self) -> None:
        """Also of the second one, when the first one is away: it has the first one's certificate."""
        brokers = MiniBrokers()
        pem = self.authority.issue("localhost")
        port = self.listen(brokers, self.options(pem))
        hosts = [("localhost", 1), ("127.0.0.1", port)]
        parameters = self.parameters(port, hosts=hosts)
        for backwards in (True, False):

            def order(hosts: list[tuple[str, int]], backwards: bool = backwards) -> None:
                hosts.sort(reverse=backwards)

            endpoint = txpika.BrokerEndpoint(parameters, shuffle=order)
            failed = await failure_of(endpoint.connect(txpika.AMQPFactory(parameters)), ConnectFailed)
            self.assertEqual({type(error) for error in failed.errors}, {TLSVerifyError, ConnectFailed})
            self.assertIn("not for '127.0.0.1'", str(failed))
        self.assertEqual((brokers.received, brokers.count), (b"", 2))

    async def test_F75_each_attempt_reads_the_files_and_verifies(self) -> None:
        """A certificate replaced by a bad one is refused; a new authority in the file is taken."""
        pem = self.authority.issue("localhost")
        await self.let_in(pem)
        stranger = Authority(self.mktemp())
        other = stranger.issue("localhost")
        await self.refused(other, "not among the trusted")
        with open(stranger.cafile, "rb") as new, open(self.authority.cafile, "ab") as old:
            old.write(new.read())
        await self.let_in(other)
        await self.let_in(pem)

    async def test_anything_that_goes_wrong_while_verifying_is_a_no(self) -> None:
        with patch("txpika.secure.verify_certificate_hostname", side_effect=RuntimeError("odd")):
            await self.refused(self.authority.issue("localhost"), "not for 'localhost'", "odd")
        with patch.object(ConnectionCreator, "_names_host", side_effect=RuntimeError("odd")):
            await self.refused(self.authority.issue("localhost"), "cannot be checked: RuntimeError")

    async def test_without_verification(self) -> None:
        """By name, with a warning, and then anybody is believed."""
        stranger = Authority(self.mktemp())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tls = TLSOptions.without_verification()
        self.assertEqual([(str(each.message)[:24], each.filename) for each in caught], [(UNVERIFIED[:24], __file__)])
        await self.let_in(stranger.issue("example.org", not_after=NOW - DAY), tls=tls)


class VersionTests(TLSTests):
    """TLS that is not safe is no TLS."""

    def old(self, ciphers: bytes, highest: int) -> ContextFactory:
        """A server's side with nothing better than this."""
        with open(self.authority.issue("localhost"), "rb") as file:
            mine = PrivateCertificate.loadPEM(file.read())
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(mine.original)
        context.use_privatekey(mine.privateKey.original)
        context.set_cipher_list(ciphers)
        context.set_max_proto_version(highest)
        factory = ContextFactory()
        factory.getContext = lambda: context  # type: ignore[method-assign]
        return factory

    def control(self, port: int, ciphers: str, version: ssl.TLSVersion) -> str:
        """A client that takes it: the server does what the test says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = version
        context.set_ciphers(ciphers)
        with socket.create_connection(("127.0.0.1", port), 10) as plain, context.wrap_socket(plain) as secured:
            cipher = secured.cipher()
            assert cipher is not None
            return f"{secured.version()} {cipher[0]}"

    async def unsafe(self, ciphers: bytes, highest: int, version: ssl.TLSVersion) -> str:
        brokers = MiniBrokers()
        port = self.listen(brokers, self.old(ciphers, highest))
        gone = brokers.gone
        taken = await deferToThread(self.control, port, ciphers.decode(), version)
        await gone
        gone = brokers.gone
        await self.fails(port, TLSError, "TLS failed: ")
        await gone
        self.assertEqual((brokers.received, brokers.count), (b"", 2))
        return taken

    async def test_F72_tls_1_1(self) -> None:
        taken = await self.unsafe(b"ALL:@SECLEVEL=0", SSL.TLS1_1_VERSION, ssl.TLSVersion.TLSv1_1)
        self.assertTrue(taken.startswith("TLSv1.1 "), taken)

    async def test_F72_ciphers_without_a_certificate_or_without_encryption(self) -> None:
        for ciphers in (b"aNULL:@SECLEVEL=0", b"eNULL:!aNULL:@SECLEVEL=0"):
            taken = await self.unsafe(ciphers, SSL.TLS1_2_VERSION, ssl.TLSVersion.TLSv1_2)
            self.assertTrue("NULL" in taken or "ADH" in taken or "AECDH" in taken, taken)

    async def test_tls_1_2_is_taken(self) -> None:
        brokers = MiniBrokers()
        port = self.listen(brokers, self.old(b"ECDHE+AESGCM", SSL.TLS1_2_VERSION))
        connection = await txpika.connect(self.parameters(port))
        assert connection.transport is not None
        handle: Any = connection.transport
        self.assertEqual(handle.getHandle().get_protocol_version_name(), "TLSv1.2")
        await connection.close()


class ClientCertificateTests(TLSTests):
    """A broker that wants to know who is there."""

    async def strict(self, **files: Any) -> MiniBrokers:
        brokers = MiniBrokers()
        with open(self.authority.cafile, "rb") as file:
            root = Certificate.loadPEM(file.read())
        context = self.options(self.authority.issue("localhost"), trustRoot=root)
        port = self.listen(brokers, context)
        tls = TLSOptions(cafile=self.authority.cafile, **files)
        connection = await txpika.connect(self.parameters(port, tls=tls, connection_timeout=5))
        await connection.close()
        return brokers

    async def test_F73_none(self) -> None:
        # OpenSSL's alert; or the end of the connection, should that come first.
        error = await failure_of(self.strict(), HandshakeError)
        self.assertIn("certificate", str(error))

    async def test_F73_of_an_unknown_authority(self) -> None:
        stranger = Authority(self.mktemp())
        error = await failure_of(self.strict(certfile=stranger.issue("me@example.org")), HandshakeError)
        self.assertIn("TLS", str(error))

    async def test_F73_the_right_one(self) -> None:
        brokers = await self.strict(certfile=self.authority.issue("me@example.org"))
        self.assertIn(Connection.OpenOk.NAME.replace("Ok", ""), [each.NAME for each in brokers.methods])

    async def test_key_in_a_file_of_its_own_and_encrypted(self) -> None:
        pem = self.authority.issue("me@example.org")
        with open(pem, "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD.encode()),
        )
        with open(f"{pem}.key", "wb") as file:
            file.write(encrypted)
        await self.strict(certfile=pem, keyfile=f"{pem}.key", keyfile_password=PASSWORD)
        for wrong in ({}, {"keyfile_password": "wrong"}):
            error = await failure_of(self.strict(certfile=pem, keyfile=f"{pem}.key", **wrong), TLSError)
            self.assertIn(f"keyfile '{pem}.key' holds no key", str(error))
            self.assertEqual(error.initiator, "local")

    async def test_files_that_are_none(self) -> None:
        pem = self.authority.issue("me@example.org")
        other = self.authority.issue("me@example.org")
        for files, text in (
            ({"certfile": "/no/such"}, "certfile '/no/such' cannot be read: No such file"),
            ({"certfile": pem, "keyfile": "/no/such"}, "keyfile '/no/such' cannot be read"),
            ({"certfile": __file__}, "holds no certificate"),
            ({"certfile": pem, "keyfile": self.authority.cafile}, "holds no key"),
            ({"certfile": pem, "keyfile": other}, "do not belong together"),
        ):
            error = await failure_of(self.strict(**files), TLSError)
            self.assertIn(text, str(error))
            self.assertEqual(error.initiator, "local")
        for cafile, text in ((__file__, "holds no certificates"), ("/no/such", "cannot be read")):
            await self.fails(1, TLSError, text, tls=TLSOptions(cafile=cafile))


class OtherPeerTests(TLSTests):
    """Peers that speak no TLS, or nothing else."""

    async def test_F06_plain_to_tls(self) -> None:
        silent = Silent()
        port = self.listen(silent, self.options(self.authority.issue("localhost")))
        error = await failure_of(txpika.connect(self.parameters(port, tls=None)), HandshakeError)
        # OpenSSL 3.2 to 3.5 answer with an alert, others hang up.
        self.assertRegex(str(error), r"one without TLS\?|seems to be a TLS server")

    async def test_F06_tls_to_plain(self) -> None:
        for answer in (
            b"AMQP\x00\x00\x09\x01",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\0" * 64,
        ):
            await self.fails(self.listen(Saying(answer)), TLSError, "does not speak TLS", "amqp://")

    def test_F06_what_openssl_says_behind_the_reason(self) -> None:
        """Versions 3.2 to 3.5 have it that the record layer failed, behind why it did."""
        said = [("SSL routines", "", "wrong version number"), ("SSL routines", "", "record layer failure")]
        self.assertIn("does not speak TLS", str(explained(SSL.Error(said))))
        self.assertIn("record layer", str(explained(SSL.Error(said[1:]))))

    async def test_silence(self) -> None:
        silent = Silent()
        gone = silent.gone
        await self.fails(self.listen(silent), HandshakeTimeout, "0.5 seconds", connection_timeout=0.5)
        await gone
        self.assertEqual(silent.received[:1], b"\x16")
        self.assertNotIn(b"AMQP", silent.received)

    async def test_hangs_up(self) -> None:
        """In the TLS handshake, and right after it, where a broker hangs up that wants a client certificate."""
        for context, expected, text in (
            (None, TLSError, "during the TLS handshake"),
            (self.options(self.authority.issue("localhost")), HandshakeError, "does it want a client certificate"),
        ):
            silent = Silent()
            port = self.listen(silent, context)
            failing = failure_of(txpika.connect(self.parameters(port)), expected)
            heard = self.until(lambda silent=silent: silent.received)  # type: ignore[misc]
            await heard
            silent.made.transport.abortConnection()
            self.assertIn(text, str(await failing))

    async def until(self, condition: Callable[[], object]) -> None:
        """Until it holds."""
        while not condition():
            await deferLater(reactor, 0.01)

    async def test_F74_no_close_notify(self) -> None:
        """An open connection that ends without a word is lost, not closed."""
        brokers = MiniBrokers()
        port = self.listen(brokers, self.options(self.authority.issue("localhost")))
        for ending in ("loseConnection", "abortConnection"):
            connection = await txpika.connect(self.parameters(port))
            getattr(brokers.made.transport.transport, ending)()
            self.assertIsInstance(await connection.closed, ConnectionLost)

    async def test_a_program_without_credentials(self) -> None:
        """The connection ends before TLS has begun."""
        brokers = MiniBrokers()
        port = self.listen(brokers, self.options(self.authority.issue("localhost")))
        gone = brokers.gone
        await self.fails(port, AuthenticationError, "function", credentials=lambda: None)
        await gone
        self.assertEqual(brokers.received, b"")

    async def test_a_service_can_be_stopped(self) -> None:
        """C{ClientService} closes a transport that is not its own."""
        brokers = MiniBrokers()
        parameters = self.parameters(self.listen(brokers, self.options(self.authority.issue("localhost"))))
        service = ClientService(txpika.BrokerEndpoint(parameters), txpika.AMQPFactory(parameters))
        service.startService()
        connection: Any = await service.whenConnected()
        gone = brokers.gone
        await deferLater(reactor, 0)
        await service.stopService()
        self.assertIsInstance(await connection.closed, ConnectionLost)
        await gone

    async def test_publishing_waits_for_the_network(self) -> None:
        """The transport's call for less is heard through TLS."""
        brokers = MiniBrokers()
        port = self.listen(brokers, self.options(self.authority.issue("localhost")))
        connection = await txpika.connect(self.parameters(port))
        brokers.made.transport.pauseProducing()
        gate = connection._core.gate
        written = 0
        while gate.open and written < 100:
            assert connection.transport is not None
            connection.transport.write(b"\0" * 2**20)
            written += 1
            await deferLater(reactor, 0.01)
        self.assertLess(written, 100)
        connection.abort()
        await connection.closed

    async def test_a_unix_socket(self) -> None:
        """TLS through an endpoint of the program: the certificate is for the host of the parameters."""
        path = self.mktemp()[-90:]
        brokers = MiniBrokers()
        listening: Any = reactor
        context = self.options(self.authority.issue("localhost"))
        port = listening.listenUNIX(path, TLSMemoryBIOFactory(context, False, brokers))
        self.addCleanup(port.stopListening)
        endpoint = UNIXClientEndpoint(listening, path)
        connection = await txpika.connect(self.parameters(1), endpoint=endpoint)
        await connection.close()
        await self.fails(1, TLSVerifyError, "not for 'other'", host="other", endpoint=endpoint)

    async def test_parameters_with_tls_over_an_endpoint_without(self) -> None:
        """Nothing is sent in the clear because somebody took the wrong endpoint."""
        brokers = MiniBrokers()
        gone = brokers.gone
        parameters = self.parameters(self.listen(brokers))
        plain = HostnameEndpoint(reactor, "127.0.0.1", parameters.port)
        protocol: Any = await plain.connect(txpika.AMQPFactory(parameters))
        try:
            await protocol.when_open()
        except TLSError as error:
            self.assertIn("without", str(error))
        await gone
        self.assertEqual(brokers.received, b"")

    async def test_an_endpoint_of_twisteds_with_tls(self) -> None:
        """Errors have the same types."""
        pem = self.authority.issue("localhost")
        port = self.listen(MiniBrokers(), self.options(pem))
        for name, error in (("localhost", None), ("other", TLSVerifyError)):
            creator = ConnectionCreator(TLSOptions(cafile=self.authority.cafile), name)
            secured = wrapClientTLS(creator, HostnameEndpoint(reactor, "127.0.0.1", port))
            protocol: Any = await secured.connect(txpika.AMQPFactory(self.parameters(port)))
            try:
                await protocol.when_open()
            except AMQPError as raised:
                self.assertIs(type(raised), error)
            else:
                self.assertIsNone(error)
                await protocol.close()


#: Connects to the port that is its argument, first without TLS and then with it, as if pyOpenSSL were not installed.
WITHOUT_PYOPENSSL = """
import sys
sys.modules["OpenSSL"] = None
from twisted.internet.task import react
import txpika

async def main(reactor, port):
    connection = await txpika.connect(txpika.ConnectionParameters(port=int(port)), reactor)
    await connection.close()
    assert "txpika.secure" not in sys.modules
    parameters = txpika.parse_uri(f"amqps://me:hunter2@localhost:{port}")
    for each in (parameters, txpika.ConnectionParameters(hosts=["localhost", "::1"], tls=parameters.tls)):
        try:
            await txpika.connect(each, reactor)
        except txpika.exceptions.TLSError as error:
            print(error.initiator, error)

react(main, sys.argv[1:])
"""


class MissingTests(TLSTests):
    """Without pyOpenSSL."""

    async def test_a_plain_connection_does_without_and_the_other_says_what_to_install(self) -> None:
        port = self.listen(MiniBrokers())
        program = [sys.executable, "-W", "ignore", "-c", WITHOUT_PYOPENSSL, str(port)]
        done = await deferToThread(subprocess.run, program, capture_output=True, text=True)
        line = "local TLS needs OpenSSL, which is missing: pip install 'txpika[tls]'\n"
        self.assertEqual((done.returncode, done.stdout), (0, line * 2), done.stderr)
