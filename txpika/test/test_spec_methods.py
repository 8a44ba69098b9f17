"""Tests for the generated methods, L{txpika.spec.base} and L{txpika.spec.lookup}."""

from __future__ import annotations

import copy
import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txpika.exceptions import DecodeError
from txpika.spec import (
    METHODS,
    Basic,
    Channel,
    Confirm,
    Connection,
    Exchange,
    Method,
    Queue,
    Tx,
    decode_method,
)
from txpika.spec.base import MAX_SHOWN, shown
from txpika.test.strategies import FALSE_LENGTHS, damaged, examples, method_of, methods, typed
from txpika.test.strategies import METHODS as FACTS


def octets(text: str) -> bytes:
    """Hexadecimal digits, with words of ASCII in quotes between them."""
    pieces = text.split("'")
    return b"".join(
        piece.encode("ascii") if number % 2 else bytes.fromhex(piece) for number, piece in enumerate(pieces)
    )


#: Methods and their payloads, written from the protocol's own definitions (sections 1.3 to 1.8 and 4.2).
GOLDEN: tuple[tuple[Method, str], ...] = (
    (
        Connection.Start(0, 9, {"ok": True}, b"PLAIN AMQPLAIN", b"en_US"),
        "000a 000a 00 09 00000005 02'okt'01 0000000e'PLAIN AMQPLAIN' 00000005'en_US'",
    ),
    (
        Connection.StartOk({}, "PLAIN", b"\0guest\0guest", "en_US"),
        "000a 000b 00000000 05'PLAIN' 0000000c 00'guest' 00'guest' 05'en_US'",
    ),
    (Connection.Secure(b"who?"), "000a 0014 00000004'who?'"),
    (Connection.SecureOk(b"me"), "000a 0015 00000002'me'"),
    (Connection.Tune(2047, 131072, 60), "000a 001e 07ff 00020000 003c"),
    (Connection.TuneOk(2047, 131072, 60), "000a 001f 07ff 00020000 003c"),
    (Connection.Open("/"), "000a 0028 01'/' 00 00"),
    (Connection.Open("v", "x", True), "000a 0028 01'v' 01'x' 01"),
    (Connection.OpenOk(), "000a 0029 00"),
    (Connection.Close(320, "CONNECTION_FORCED", 60, 40), "000a 0032 0140 11'CONNECTION_FORCED' 003c 0028"),
    (Connection.CloseOk(), "000a 0033"),
    (Connection.Blocked("low on memory"), "000a 003c 0d'low on memory'"),
    (Connection.Unblocked(), "000a 003d"),
    (Connection.UpdateSecret(b"token", "old"), "000a 0046 00000005'token' 03'old'"),
    (Connection.UpdateSecretOk(), "000a 0047"),
    (Channel.Open(), "0014 000a 00"),
    (Channel.OpenOk(), "0014 000b 00000000"),
    (Channel.Flow(True), "0014 0014 01"),
    (Channel.FlowOk(False), "0014 0015 00"),
    (Channel.Close(404, "NOT_FOUND", 50, 10), "0014 0028 0194 09'NOT_FOUND' 0032 000a"),
    (Channel.CloseOk(), "0014 0029"),
    (
        Exchange.Declare(0, "e", "topic", False, True, False, True, False, {"a": None}),
        "0028 000a 0000 01'e' 05'topic' 0a 00000003 01'aV'",
    ),
    (
        Exchange.Declare(exchange="e", passive=True, auto_delete=True, nowait=True),
        "0028 000a 0000 01'e' 06'direct' 15 00000000",
    ),
    (Exchange.DeclareOk(), "0028 000b"),
    (Exchange.Delete(0, "e", True, False), "0028 0014 0000 01'e' 01"),
    (Exchange.DeleteOk(), "0028 0015"),
    (Exchange.Bind(0, "to", "from", "key", False, {}), "0028 001e 0000 02'to' 04'from' 03'key' 00 00000000"),
    (Exchange.BindOk(), "0028 001f"),
    (Exchange.Unbind(0, "to", "from", "key", True, {}), "0028 0028 0000 02'to' 04'from' 03'key' 01 00000000"),
    (Exchange.UnbindOk(), "0028 0033"),
    (Queue.Declare(0, "q", False, True, False, False, False, {}), "0032 000a 0000 01'q' 02 00000000"),
    (Queue.Declare(passive=True, exclusive=True, nowait=True), "0032 000a 0000 00 15 00000000"),
    (Queue.Declare(auto_delete=True, durable=True), "0032 000a 0000 00 0a 00000000"),
    (Queue.DeclareOk("q", 5, 2), "0032 000b 01'q' 00000005 00000002"),
    (Queue.Bind(0, "q", "e", "key", False, {}), "0032 0014 0000 01'q' 01'e' 03'key' 00 00000000"),
    (Queue.BindOk(), "0032 0015"),
    (Queue.Purge(0, "q", True), "0032 001e 0000 01'q' 01"),
    (Queue.PurgeOk(7), "0032 001f 00000007"),
    (Queue.Delete(0, "q", False, True, False), "0032 0028 0000 01'q' 02"),
    (Queue.DeleteOk(7), "0032 0029 00000007"),
    (Queue.Unbind(0, "q", "e", "key", {}), "0032 0032 0000 01'q' 01'e' 03'key' 00000000"),
    (Queue.UnbindOk(), "0032 0033"),
    (Basic.Qos(0, 100, True), "003c 000a 00000000 0064 01"),
    (Basic.QosOk(), "003c 000b"),
    (Basic.Consume(0, "q", "t", False, True, False, False, {}), "003c 0014 0000 01'q' 01't' 02 00000000"),
    (Basic.Consume(queue="q", no_local=True, exclusive=True), "003c 0014 0000 01'q' 00 05 00000000"),
    (Basic.ConsumeOk("t"), "003c 0015 01't'"),
    (Basic.Cancel("t", True), "003c 001e 01't' 01"),
    (Basic.CancelOk("t"), "003c 001f 01't'"),
    (Basic.Publish(0, "e", "key", True, False), "003c 0028 0000 01'e' 03'key' 01"),
    (Basic.Publish(0, "", "q", False, True), "003c 0028 0000 00 01'q' 02"),
    (Basic.Return(312, "NO_ROUTE", "e", "key"), "003c 0032 0138 08'NO_ROUTE' 01'e' 03'key'"),
    (Basic.Deliver("t", 2**64 - 1, True, "e", "key"), "003c 003c 01't' ffffffffffffffff 01 01'e' 03'key'"),
    (Basic.Get(0, "q", True), "003c 0046 0000 01'q' 01"),
    (Basic.GetOk(1, False, "e", "key", 9), "003c 0047 0000000000000001 00 01'e' 03'key' 00000009"),
    (Basic.GetEmpty(), "003c 0048 00"),
    (Basic.Ack(258, True), "003c 0050 0000000000000102 01"),
    (Basic.Reject(1, False), "003c 005a 0000000000000001 00"),
    (Basic.RecoverAsync(True), "003c 0064 01"),
    (Basic.Recover(True), "003c 006e 01"),
    (Basic.RecoverOk(), "003c 006f"),
    (Basic.Nack(1, False, True), "003c 0078 0000000000000001 02"),
    (Basic.Nack(1, True, False), "003c 0078 0000000000000001 01"),
    (Confirm.Select(True), "0055 000a 01"),
    (Confirm.SelectOk(), "0055 000b"),
    (Tx.Select(), "005a 000a"),
    (Tx.SelectOk(), "005a 000b"),
    (Tx.Commit(), "005a 0014"),
    (Tx.CommitOk(), "005a 0015"),
    (Tx.Rollback(), "005a 001e"),
    (Tx.RollbackOk(), "005a 001f"),
)


class GoldenTests(SynchronousTestCase):
    """What is written is what the protocol says, and read back from there."""

    def test_writing(self) -> None:
        for method, wire in GOLDEN:
            self.assertEqual(method.encode().hex(), octets(wire).hex(), method.NAME)

    def test_reading(self) -> None:
        for method, wire in GOLDEN:
            self.assertEqual(decode_method(octets(wire)), (method, 0), method.NAME)
            self.assertEqual(type(method).decode(b"????" + octets(wire)[4:], 4), method)

    def test_no_method_is_missing(self) -> None:
        self.assertEqual({method.INDEX for method, _ in GOLDEN}, {fact.index for fact in FACTS})

    def test_defaults(self) -> None:
        self.assertEqual(Queue.Bind(), Queue.Bind(0, "", "", "", False, {}))
        self.assertEqual(Exchange.Declare().type, "direct")
        self.assertEqual(Connection.Open().virtual_host, "/")
        self.assertEqual((Basic.Nack().requeue, Basic.Reject().requeue, Basic.Recover().requeue), (True, True, False))
        self.assertEqual(Connection.StartOk(response=b"").mechanism, "PLAIN")

    def test_two_methods_do_not_share_their_empty_table(self) -> None:
        self.assertIsNot(Queue.Declare().arguments, Queue.Declare().arguments)


class RoundTripTests(SynchronousTestCase):
    """Any arguments, of every method."""

    def test_every_method(self) -> None:
        for fact in FACTS:

            @examples(8)
            @given(method_of(fact))
            def round_trip(method: Method) -> None:
                decoded, left = decode_method(method.encode())
                self.assertEqual(left, 0)
                self.assertEqual(decoded, method)
                for name in method.FIELDS:
                    self.assertEqual(typed(getattr(decoded, name)), typed(getattr(method, name)))
                self.assertEqual(decoded.encode(), method.encode())

            round_trip()

    @examples(60)
    @given(methods, st.binary(max_size=20))
    def test_B73_bytes_after_the_arguments_are_counted(self, method: Method, more: bytes) -> None:
        self.assertEqual(decode_method(method.encode() + more), (method, len(more)))


class DamageTests(SynchronousTestCase):
    """Any bytes are a method, or a L{DecodeError}."""

    def assertSound(self, payload: bytes) -> None:
        """It can be read, and then also shown and compared, or it is a decode error."""
        try:
            method, left = decode_method(payload)
        except DecodeError as error:
            self.assertIn(error.reply_code, (501, 502, 503))
        else:
            self.assertTrue(0 <= left <= len(payload) - 4)
            self.assertIn(method.NAME, repr(method))

    def test_no_prefix_is_a_method(self) -> None:
        for method, wire in GOLDEN:
            payload = octets(wire)
            for end in range(len(payload)):
                error = self.assertRaises(DecodeError, decode_method, payload[:end])
                self.assertEqual(error.reply_code, 501, f"{method.NAME} up to {end}")

    @examples(250)
    @given(damaged(methods.map(lambda method: method.encode())))
    def test_damage(self, payload: bytes) -> None:
        self.assertSound(payload)

    @examples(60)
    @given(methods.map(lambda method: method.encode()), st.sampled_from(FALSE_LENGTHS))
    def test_false_lengths(self, payload: bytes, length: bytes) -> None:
        for at in range(4, len(payload) - 3):
            self.assertSound(payload[:at] + length + payload[at + 4 :])

    @examples(150)
    @given(st.sampled_from(FACTS), st.binary(max_size=40))
    def test_noise(self, fact: Any, arguments: bytes) -> None:
        self.assertSound(fact.index.to_bytes(4, "big") + arguments)

    def test_offsets_past_the_end(self) -> None:
        for method in METHODS.values():
            if method.FIELDS:
                for offset in (3, 4, 100, 2**40):
                    self.assertRaises(DecodeError, method.decode, b"abc", offset)

    def test_B51_short_strings_past_the_end(self) -> None:
        for wire in (
            "0032 000b 05'q' 00000005 00000002",
            "003c 0015 ff't'",
            "003c 0032 0138 08'NO_ROUTE' 01'e' 04'key'",
            "003c 0032 0138 08'NO_ROUTE' ff'e' 03'key'",
            "000a 003c 0e'low on memory'",
        ):
            self.assertEqual(self.assertRaises(DecodeError, decode_method, octets(wire)).reply_code, 501)

    def test_B52_long_strings_past_the_end(self) -> None:
        for length in ("00000005", "7fffffff", "80000000", "ffffffff"):
            for wire in (f"000a 0014 {length}'who?'", f"000a 000a 00 09 00000000 {length} 'abcd' 00000000"):
                if length != "00000005" or "'who?'" in wire:
                    self.assertEqual(self.assertRaises(DecodeError, decode_method, octets(wire)).reply_code, 501)

    def test_B07_less_than_two_ids(self) -> None:
        for size in range(4):
            self.assertEqual(self.assertRaises(DecodeError, decode_method, bytes(size)).reply_code, 501)

    def test_B32_unknown_methods(self) -> None:
        for class_id, method_id in ((99, 10), (10, 99), (0, 0), (65535, 65535), (30, 10)):
            payload = class_id.to_bytes(2, "big") + method_id.to_bytes(2, "big")
            error = self.assertRaises(DecodeError, decode_method, payload)
            self.assertEqual(error.reply_code, 503)
            self.assertEqual(str(error), f"there is no method {method_id} of class {class_id}")

    def test_B74_reserved_fields_may_hold_anything(self) -> None:
        for wire, method in (
            ("000a 0029 05'hosts'", Connection.OpenOk("hosts")),
            ("0014 000b 00000003 ff00ff", Channel.OpenOk(b"\xff\0\xff")),
            ("003c 0048 07'cluster'", Basic.GetEmpty("cluster")),
            ("0032 001e ffff 01'q' 00", Queue.Purge(0xFFFF, "q")),
            # The bits of an octet that stand for nothing.
            ("0014 0014 ff", Channel.Flow(True)),
            ("0014 0014 fe", Channel.Flow(False)),
        ):
            self.assertEqual(decode_method(octets(wire)), (method, 0))


class TextTests(SynchronousTestCase):
    """What is not UTF-8, and how all of it is shown."""

    def test_B69_identifiers_keep_their_bytes(self) -> None:
        deliver, _ = decode_method(octets("003c 003c 02'c'ff 0000000000000001 00 02'e'fe 02'k'80"))
        assert isinstance(deliver, Basic.Deliver)
        names = (deliver.consumer_tag, deliver.exchange, deliver.routing_key)
        self.assertEqual(names, ("c\udcff", "e\udcfe", "k\udc80"))
        self.assertEqual([name.encode("utf-8", "surrogateescape") for name in names], [b"c\xff", b"e\xfe", b"k\x80"])
        # It cannot be sent again: what is sent is UTF-8.
        self.assertRaises(ValueError, deliver.encode)

    def test_B69_texts_are_for_people(self) -> None:
        close, _ = decode_method(octets("0014 0028 0194 03'a'ff'b' 0000 0000"))
        blocked, _ = decode_method(octets("000a 003c 03'a'ff'b'"))
        returned, _ = decode_method(octets("003c 0032 0138 03'a'ff'b' 00 00"))
        assert isinstance(close, Channel.Close)
        assert isinstance(blocked, Connection.Blocked)
        assert isinstance(returned, Basic.Return)
        self.assertEqual({close.reply_text, blocked.reason, returned.reply_text}, {"a\ufffdb"})

    def test_B70_repr_is_one_line_of_printable_characters(self) -> None:
        reason = "a\0\r\n\x1b[31m\u202e\u2028"
        wire = reason.encode()
        method, _ = decode_method(octets("000a 003c") + bytes([len(wire)]) + wire)
        assert isinstance(method, Connection.Blocked)
        self.assertEqual(method.reason, reason)
        self.assertEqual(repr(method), r"<Connection.Blocked(reason='a\x00\r\n\x1b[31m\u202e\u2028')>")

    def test_repr_shows_no_secret(self) -> None:
        secret = b"hunter2"
        for method in (
            Connection.StartOk(response=secret),
            Connection.Secure(secret),
            Connection.SecureOk(secret),
            Connection.UpdateSecret(secret, "because"),
        ):
            for text in (repr(method), str(method), f"{method}", repr([method])):
                self.assertIn("<redacted>", text)
                self.assertNotIn("hunter2", text)
        self.assertIn("because", repr(Connection.UpdateSecret(secret, "because")))

    def test_no_error_shows_a_secret(self) -> None:
        error = self.assertRaises(TypeError, Connection.SecureOk("hunter2").encode)  # type: ignore[arg-type]
        self.assertEqual(str(error), "connection.secure-ok: response must be bytes, not str")

    def test_repr_is_short_whatever_is_in_it(self) -> None:
        deep: Any = {}
        for _ in range(5000):
            deep = {"k": [deep]}

        class Broken:
            def __repr__(self) -> str:
                raise RuntimeError("no")

        class Chatty:
            def __repr__(self) -> str:
                return "two\nlines" * 100000

        for arguments in ({str(n): "x" * 1000 for n in range(5000)}, deep, {"b": Broken()}, {"c": Chatty()}):
            text = repr(Queue.Declare(arguments=arguments))
            self.assertTrue(len(text) < 200 + MAX_SHOWN, len(text))
            self.assertNotIn("\n", text)
        # Python refuses to write out integers of so many digits.
        text = repr(Basic.Ack(10**5000))
        self.assertTrue(len(text) < 200 + MAX_SHOWN, len(text))
        while deep:
            deep = deep["k"][0]

    def test_how_one_value_is_shown(self) -> None:
        class Own:
            def __init__(self, text: str) -> None:
                self.text = text

            def __repr__(self) -> str:
                return self.text

        self.assertEqual(shown("a\n"), r"'a\n'")
        self.assertEqual(shown(Own("a\n\u202e'\x00b")), r"a\n\u202e'\x00b")
        self.assertEqual(shown("x" * 198), "'" + "x" * 198 + "'")
        self.assertEqual(len(shown("x" * 199)), 200)
        self.assertEqual(shown(Own("x" * 200)), "x" * 200)
        # Two backslashes for one: longer again after it was cut to size.
        self.assertEqual(shown(Own("\n" * 101)), r"\n" * 98 + r"\...")
        self.assertEqual(shown(list(range(20))), str(list(range(20))))
        self.assertEqual(shown(list(range(21))), str(list(range(20)))[:-1] + ", ...]")
        self.assertEqual(shown(dict.fromkeys(range(21), 1)), str(dict.fromkeys(range(20), 1))[:-1] + ", ...}")
        self.assertEqual(shown([[[[[[[1]]]]]]]), "[[[[[[[...]]]]]]]")

    def test_equality(self) -> None:
        self.assertEqual(Basic.Ack(1, True), Basic.Ack(1, True))
        self.assertNotEqual(Basic.Ack(1, True), Basic.Ack(1, False))
        self.assertNotEqual(Basic.Ack(1, False), Basic.Reject(1, False))
        self.assertNotEqual(Tx.Select(), Tx.Commit())
        self.assertNotEqual(Tx.Select(), "Tx.Select")
        self.assertRaises(TypeError, hash, Tx.Select())

    def test_copy_and_pickle(self) -> None:
        method = Queue.Declare(queue="q", arguments={"a": 1})
        self.assertEqual(copy.deepcopy(method), method)
        self.assertEqual(pickle.loads(pickle.dumps(method)), method)


class ArgumentTests(SynchronousTestCase):
    """Wrong arguments are refused when a method is written, by the name of both."""

    def assertWrong(self, kind: type[Exception], method: Method, text: str) -> None:
        """C{method} cannot be written, for this reason."""
        error = self.assertRaises(kind, method.encode)
        self.assertIs(type(error), kind)
        self.assertEqual(str(error), text)

    def test_B75_names_are_limited_in_bytes_of_utf8(self) -> None:
        for size, name in ((256, "x" * 256), (300, "\u2603" * 100)):
            for method, argument in (
                (Queue.Declare(queue=name), "queue.declare: queue"),
                (Basic.Publish(routing_key=name), "basic.publish: routing_key"),
                (Basic.Publish(exchange=name), "basic.publish: exchange"),
                (Basic.Consume(consumer_tag=name), "basic.consume: consumer_tag"),
                (Exchange.Bind(source=name), "exchange.bind: source"),
                (Connection.Open(name), "connection.open: virtual_host"),
            ):
                self.assertWrong(ValueError, method, f"{argument} is {size} bytes of UTF-8, at most 255")

    def test_B76_255_bytes_fit(self) -> None:
        for name in ("x" * 255, "\u2603" * 85):
            self.assertEqual(decode_method(Queue.Declare(queue=name).encode())[0], Queue.Declare(queue=name))

    def test_B77_surrogates_and_nul(self) -> None:
        lone = "basic.publish: routing_key has a lone surrogate, which UTF-8 cannot carry"
        self.assertWrong(ValueError, Basic.Publish(routing_key="\udc80"), lone)
        self.assertWrong(ValueError, Basic.Publish(routing_key="a\0b"), "basic.publish: routing_key has a NUL")

    def test_B78_text_is_str(self) -> None:
        for value in (None, 5, b"\xff", b"key"):
            text = f"basic.publish: routing_key must be str, not {type(value).__name__}"
            self.assertWrong(TypeError, Basic.Publish(routing_key=value), text)  # type: ignore[arg-type]

    def test_B91_ranges(self) -> None:
        for value in (-1, 65536):
            text = "basic.qos: prefetch_count must be between 0 and 65535"
            self.assertWrong(ValueError, Basic.Qos(prefetch_count=value), text)
        self.assertWrong(TypeError, Basic.Qos(prefetch_count=True), "basic.qos: prefetch_count must be int, not bool")
        text = "basic.ack: delivery_tag must be between 0 and 18446744073709551615"
        for value in (-1, 2**64):
            self.assertWrong(ValueError, Basic.Ack(value), text)

    def test_bits_are_bool(self) -> None:
        for value in (1, 0, None, "yes"):
            text = f"queue.declare: durable must be bool, not {type(value).__name__}"
            self.assertWrong(TypeError, Queue.Declare(durable=value), text)  # type: ignore[arg-type]

    def test_tables_are_mappings(self) -> None:
        text = "queue.declare: arguments must be a mapping, not list"
        self.assertWrong(TypeError, Queue.Declare(arguments=[]), text)  # type: ignore[arg-type]
        text = "queue.declare: arguments.x-max-length does not fit into 64 bits with a sign"
        self.assertWrong(ValueError, Queue.Declare(arguments={"x-max-length": 2**63}), text)
