"""Tests for AMQP URIs: what each part means, and what is none. Passwords in them are tested in test_secrets."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika import (
    AMQPlainCredentials,
    ConnectionParameters,
    ExternalCredentials,
    PlainCredentials,
    TLSOptions,
    URLParameters,
    parse_uri,
)
from txpika.uri import parameters_of


class URITests(SynchronousTestCase):
    """RabbitMQ's URI, and what is none."""

    def test_whole(self) -> None:
        parameters = parse_uri(
            "AMQP://us%40er:p%3Aw%2F@[::1]:1234/v%2Fh?heartbeat=7&connection_timeout=1500&channel_max=9"
            "&frame_max=8192&connection_name=a%20b"
        )
        self.assertEqual((parameters.host, parameters.port, parameters.virtual_host), ("::1", 1234, "v/h"))
        self.assertEqual(parameters.credentials.response("PLAIN"), b"\0us@er\0p:w/")
        self.assertEqual((parameters.heartbeat, parameters.connection_timeout), (7, 1.5))
        self.assertEqual((parameters.channel_max, parameters.frame_max), (9, 8192))
        self.assertEqual(parameters.connection_name, "a b")

    def test_as_a_class(self) -> None:
        uri = "amqps://u:p@h:1/v?heartbeat=7&cacertfile=%2Fca.pem"
        parameters = URLParameters(uri)
        self.assertIsInstance(parameters, ConnectionParameters)
        known = parse_uri(uri)
        for name in ("hosts", "virtual_host", "heartbeat", "frame_max", "connection_timeout"):
            self.assertEqual(getattr(parameters, name), getattr(known, name), name)
        self.assertEqual(parameters.credentials.response("PLAIN"), b"\0u\0p")
        assert parameters.tls is not None
        self.assertEqual(parameters.tls.cafile, "/ca.pem")
        self.assertRaises(ValueError, URLParameters, "http://h")
        self.assertRaises(TypeError, URLParameters, None)

    def test_B100_the_three_virtual_hosts(self) -> None:
        for uri, expected in (("amqp://h", "/"), ("amqp://h/", ""), ("amqp://h/%2f", "/"), ("amqp://h/v", "v")):
            self.assertEqual(parse_uri(uri).virtual_host, expected)

    def test_B101_parts_left_out(self) -> None:
        self.assertEqual(parse_uri("amqp://").host, "localhost")
        self.assertEqual(parse_uri("amqp://u@h").credentials.username, "u")
        self.assertEqual((parse_uri("amqp://h").port, parse_uri("amqp://h:1").port), (5672, 1))

    def test_the_three_virtual_hosts_with_a_query(self) -> None:
        for uri, expected in (
            ("amqp://h?heartbeat=9", "/"),
            ("amqp://h/?heartbeat=9", ""),
            ("amqp://h/v?heartbeat=9", "v"),
        ):
            parameters = parse_uri(uri)
            self.assertEqual((parameters.virtual_host, parameters.heartbeat), (expected, 9))

    def test_what_is_neither_a_uri_nor_parameters(self) -> None:
        """Later versions of pika take a list of parameters, one for each host."""
        for wrong in ([ConnectionParameters("a"), ConnectionParameters("b")], ("amqp://a",)):
            error = self.assertRaises(TypeError, parameters_of, wrong)
            kind = type(wrong).__name__
            text = f"parameters must be an AMQP URI, ConnectionParameters or None, not {kind}"
            self.assertEqual(str(error), f"{text}: several hosts go into ConnectionParameters(hosts=[...])")
        error = self.assertRaises(TypeError, parameters_of, 5)
        self.assertEqual(str(error), "parameters must be an AMQP URI, ConnectionParameters or None, not int")

    def test_ports(self) -> None:
        for uri, expected in (("amqp://h", 5672), ("amqps://h", 5671), ("amqps://h:1", 1), ("AMQPS://[::1]", 5671)):
            self.assertEqual(parse_uri(uri).port, expected)

    def test_default_user(self) -> None:
        for uri in ("amqp://h", "amqp://@h", "amqp://guest@h", "amqp://guest:guest@h"):
            self.assertEqual(parse_uri(uri).credentials, PlainCredentials("guest", "guest"))
        self.assertEqual(parse_uri("amqp://u:@h").credentials, PlainCredentials("u", ""))

    def test_mechanisms(self) -> None:
        for value, expected in (
            ("plain", PlainCredentials("u", "p")),
            ("PLAIN", PlainCredentials("u", "p")),
            ("amqplain", AMQPlainCredentials("u", "p")),
            ("AmqPlain", AMQPlainCredentials("u", "p")),
        ):
            self.assertEqual(parse_uri(f"amqp://u:p@h?auth_mechanism={value}").credentials, expected)
        self.assertEqual(parse_uri("amqps://h?auth_mechanism=EXTERNAL").credentials, ExternalCredentials())
        self.refused("auth_mechanism", "amqp://h?auth_mechanism=gssapi", "amqp://h?auth_mechanism=")
        self.refused("auth_mechanism", "amqps://u@h?auth_mechanism=external", "amqps://u:p@h?auth_mechanism=external")

    def test_tls(self) -> None:
        self.assertIsNone(parse_uri("amqp://h").tls)
        self.assertEqual(parse_uri("amqps://h").tls, TLSOptions())
        self.assertEqual(parse_uri("amqps://h?verify=verify_peer").tls, TLSOptions())
        self.assertEqual(
            parse_uri(
                "amqps://h?cacertfile=%2Fa%20b%2Fca.pem&certfile=c.pem&keyfile=k.pem&server_name_indication=name"
            ).tls,
            TLSOptions(cafile="/a b/ca.pem", certfile="c.pem", keyfile="k.pem", server_name="name"),
        )

    def test_B103_verification_cannot_be_turned_off(self) -> None:
        for value in ("verify_none", "none", "VERIFY_NONE", "", "false", "0", "no", "verify_peer%20"):
            self.refused("without_verification", f"amqps://h?verify={value}")
        self.refused("twice", "amqps://h?verify=verify_peer&verify=verify_none")
        # A file's name stays a file's name.
        parameters = parse_uri("amqps://h?cacertfile=ca.pem%26verify%3Dverify_none")
        self.assertEqual(parameters.tls, TLSOptions(cafile="ca.pem&verify=verify_none"))
        self.refused("fail_if_no_peer_cert", "amqps://h?fail_if_no_peer_cert=false")

    def test_tls_in_a_uri_without(self) -> None:
        """Whoever wrote that thinks that it is safe."""
        for name in ("cacertfile", "certfile", "keyfile", "server_name_indication", "verify"):
            self.refused(f"{name} in the AMQP URI is about TLS", f"amqp://h?{name}=verify_peer")

    def test_B103_names(self) -> None:
        for name in ("heartbeat", "channel_max", "frame_max", "connection_timeout", "connection_name", "cacertfile"):
            self.refused(f"{name!r} twice", f"amqps://h?{name}=10000&{name}=10000")
        for name in ("cafile", "ssl_options", "Heartbeat", "heart beat", "password", "x" * 99, ""):
            self.refused("does not know", f"amqps://h?{name.replace(' ', '%20')}=1")
        self.refused("keyfile", "amqps://h?keyfile=k.pem", "amqps://h?certfile=c.pem&keyfile=")
        self.refused("server_name", "amqps://h?server_name_indication=a%20b", "amqps://h?server_name_indication")

    def test_B102_B103_B104_what_is_refused(self) -> None:
        for text, *uris in (
            ("percent-encode", "amqp://u:p%zz@h", "amqp://u:p%00@h", "amqp://u:p#w@h", "amqp://u:p @h", "amqp://h/\t"),
            ("cannot be read", "amqp://u:p%ff@h", "amqp://h:abc", "amqp://[::1", "amqp://[fe80::1%25eth0]"),
            ("port", "amqp://h:0", "amqp://h:65536", "amqp://h:99999", "amqp://h:-1"),
            ("'@' or a ':'", "amqp://u:p:q@h", "amqp://u:p@x@h"),
            ("'@' after its host", "amqp://u:p/q@h", "amqp://u:p?q@h", "amqp://h/a@b"),
            ("%2F", "amqp://h/a/b", "amqp://h//"),
            ("list of hosts", "amqp://h1,h2", "amqp://h1,h2:1/"),
            ("no whole number", "amqp://h?heartbeat=-1", "amqp://h?heartbeat=1.5", "amqp://h?frame_max="),
            ("heartbeat is 65536", "amqp://h?heartbeat=65536"),
            ("frame_max is 100", "amqp://h?frame_max=100"),
            ("connection_timeout is 0", "amqp://h?connection_timeout=0"),
            ("amqp:// or amqps://", "http://h", "amqp+ssl://h", "amqpx://h", "u:p@h", "", "amqp:h", "amqp:/h"),
        ):
            self.refused(text, *uris)
        not_text: Any = b"amqp://h"
        self.assertRaises(TypeError, parse_uri, not_text)

    def refused(self, text: str, *uris: str) -> None:
        for uri in uris:
            self.assertIn(text, str(self.assertRaises(ValueError, parse_uri, uri)), uri)

    @given(st.text(max_size=40))
    def test_B105_any_text_is_parameters_or_a_value_error(self, text: str) -> None:
        """And nothing that a URI says is run or imported."""
        before = set(sys.modules)
        for uri in (f"amqp://{text}", f"amqps://h?cacertfile={text}", f"amqp://h/{text}"):
            with contextlib.suppress(ValueError):
                parse_uri(uri)
        self.assertLessEqual({name for name in set(sys.modules) - before if "." not in name}, {"hyperlink", "idna"})
