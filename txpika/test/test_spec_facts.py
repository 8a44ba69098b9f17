"""
The table of facts against the protocol's own XML, field by field, and what the package shows of them.

The XML is in Debian's package C{amqp-specs}. Where the table differs on purpose, L{NAMES} and L{RABBITMQ} say so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from glob import glob
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import txpika
from txpika import spec
from txpika.spec import _constants, generate
from txpika.test.strategies import FACTS, METHODS, method_class

PATTERN = "/usr/share/amqp/specs/0-9-1-rabbit/*.xml"

#: Fields that go by another name: the one users of RabbitMQ know, and names of what has become reserved.
#: Where the method is C{*} it is so everywhere.
NAMES = {
    ("*", "no-wait"): "nowait",
    ("connection.open", "reserved-1"): "capabilities",
    ("connection.open", "reserved-2"): "insist",
    ("connection.open-ok", "reserved-1"): "known-hosts",
    ("channel.open", "reserved-1"): "out-of-band",
    ("channel.open-ok", "reserved-1"): "channel-id",
    ("basic.get-empty", "reserved-1"): "cluster-id",
    ("*", "reserved-1"): "ticket",
    ("basic", "reserved"): "cluster-id",
}

#: Methods that RabbitMQ added after the XML was written.
RABBITMQ = {
    "connection.blocked",
    "connection.unblocked",
    "connection.update-secret",
    "connection.update-secret-ok",
}

#: Constants that differ: basic.return's code 312 is missing; RabbitMQ 4.1 doubled the smallest frame, and the XML's
#: number goes by another name.
CONSTANTS: dict[str, int | None] = {"no-route": None, "frame-min-size": 4096, "frame-min-size-accepted": None}

#: Replies that the XML does not tell: recover is older there than its recover-ok.
REPLIES = {"basic.recover": ["recover-ok"]}


def xml() -> ElementTree.Element:
    """
    The protocol's XML.

    @raise SkipTest: It is not installed. In CI that is a failure.
    """
    found = glob(PATTERN)
    if found:
        return ElementTree.parse(found[0]).getroot()
    missing = f"no {PATTERN}: install Debian's package amqp-specs"
    if "CI" in os.environ or "TXPIKA_CI" in os.environ:
        raise AssertionError(missing)
    raise SkipTest(missing)


def renamed(place: str, name: str) -> str:
    """What the table calls a field of the XML."""
    return NAMES.get((place, name), NAMES.get(("*", name), name))


class XMLTests(SynchronousTestCase):
    """Nothing in the table is from memory."""

    def setUp(self) -> None:
        self.xml = xml()
        self.wire = {domain.attrib["name"]: domain.attrib["type"] for domain in self.xml.findall("domain")}
        self.classes: dict[str, dict[str, Any]] = {klass["name"]: klass for klass in FACTS["class"]}

    def fields(self, place: str, element: ElementTree.Element) -> list[tuple[str, str, bool]]:
        """Name, wire type and whether it is reserved, of each field of a class or method of the XML."""
        return [
            (
                renamed(place, field.attrib["name"]),
                self.wire[field.attrib.get("domain") or field.attrib["type"]],
                field.attrib.get("reserved") == "1",
            )
            for field in element.findall("field")
        ]

    def ours(self, entries: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
        """The same, of the table."""
        return [
            (entry["name"], FACTS["domain"][entry["domain"]]["wire"], entry.get("reserved", False)) for entry in entries
        ]

    def test_classes(self) -> None:
        theirs = {klass.attrib["name"]: int(klass.attrib["index"]) for klass in self.xml.findall("class")}
        self.assertEqual({name: klass["id"] for name, klass in self.classes.items()}, theirs)

    def test_methods_and_their_numbers(self) -> None:
        theirs = {
            f"{klass.attrib['name']}.{method.attrib['name']}": int(method.attrib["index"])
            for klass in self.xml.findall("class")
            for method in klass.findall("method")
        }
        ours = {
            f"{name}.{method['name']}": method["id"]
            for name, klass in self.classes.items()
            for method in klass["method"]
        }
        self.assertEqual(set(ours) - set(theirs), RABBITMQ)
        self.assertEqual({name: number for name, number in ours.items() if name not in RABBITMQ}, theirs)

    def test_fields_replies_peers_and_content(self) -> None:
        compared = 0
        for klass in self.xml.findall("class"):
            ours = {method["name"]: method for method in self.classes[klass.attrib["name"]]["method"]}
            for method in klass.findall("method"):
                name = f"{klass.attrib['name']}.{method.attrib['name']}"
                mine = ours[method.attrib["name"]]
                self.assertEqual(self.ours(mine.get("fields", [])), self.fields(name, method), name)
                replies = REPLIES.get(name, [reply.attrib["name"] for reply in method.findall("response")])
                self.assertEqual(mine.get("replies", []), replies, name)
                peers = sorted(chassis.attrib["name"] for chassis in method.findall("chassis"))
                self.assertEqual(sorted(mine["accepted-by"]), peers, name)
                self.assertEqual(mine.get("content", False), method.attrib.get("content") == "1", name)
                compared += 1
        self.assertEqual(compared, len(METHODS) - len(RABBITMQ))

    def test_properties_in_their_order(self) -> None:
        for klass in self.xml.findall("class"):
            name = klass.attrib["name"]
            self.assertEqual(self.ours(self.classes[name].get("properties", [])), self.fields(name, klass), name)

    def test_constants(self) -> None:
        theirs = {
            constant.attrib["name"]: (int(constant.attrib["value"]), constant.attrib.get("class", ""))
            for constant in self.xml.findall("constant")
        }
        ours = {f"frame-{name}": (value, "") for name, value in FACTS["frame"].items()}
        kinds = {"soft": "soft-error", "hard": "hard-error", "success": ""}
        ours |= {name: (fact["code"], kinds[fact["kind"]]) for name, fact in FACTS["reply-code"].items()}
        different = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
        self.assertEqual({name: theirs.get(name, (None, ""))[0] for name in different}, CONSTANTS)

    def test_protocol(self) -> None:
        keys = ("major", "minor", "revision", "port")
        self.assertEqual(
            {key: FACTS["protocol"][key] for key in keys}, {key: int(self.xml.attrib[key]) for key in keys}
        )

    def test_no_difference_is_out_of_date(self) -> None:
        """Each entry of L{NAMES} is about a field that exists."""
        seen = set()
        for klass in self.xml.findall("class"):
            for place, element in [
                (klass.attrib["name"], klass),
                *((f"{klass.attrib['name']}.{method.attrib['name']}", method) for method in klass.findall("method")),
            ]:
                for field in element.findall("field"):
                    name = field.attrib["name"]
                    seen.add((place, name) if (place, name) in NAMES else ("*", name))
        self.assertEqual(set(NAMES) - seen, set())


class BeyondTheXMLTests(SynchronousTestCase):
    """RabbitMQ's own, written down once more."""

    def test_methods_of_rabbitmq(self) -> None:
        for method, index, fields, replies in (
            (spec.Connection.Blocked, 0x000A003C, ("reason",), ()),
            (spec.Connection.Unblocked, 0x000A003D, (), ()),
            (spec.Connection.UpdateSecret, 0x000A0046, ("new_secret", "reason"), (0x000A0047,)),
            (spec.Connection.UpdateSecretOk, 0x000A0047, (), ()),
        ):
            self.assertEqual((method.INDEX, method.FIELDS, method.REPLIES), (index, fields, replies))
        self.assertTrue(spec.Connection.Blocked.FROM_SERVER and not spec.Connection.Blocked.FROM_CLIENT)
        self.assertTrue(spec.Connection.Unblocked.FROM_SERVER and not spec.Connection.Unblocked.FROM_CLIENT)
        self.assertTrue(spec.Connection.UpdateSecret.FROM_CLIENT and not spec.Connection.UpdateSecret.FROM_SERVER)
        self.assertTrue(spec.Connection.UpdateSecretOk.FROM_SERVER and not spec.Connection.UpdateSecretOk.FROM_CLIENT)

    def test_what_both_sides_send(self) -> None:
        for method in (spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Cancel, spec.Basic.CancelOk, spec.Channel.Flow):
            self.assertTrue(method.FROM_SERVER and method.FROM_CLIENT, method.NAME)

    def test_constants(self) -> None:
        self.assertEqual(spec.PROTOCOL_HEADER, b"AMQP\0\0\x09\x01")
        self.assertEqual((spec.PORT, spec.PORT_TLS), (5672, 5671))
        self.assertEqual((spec.FRAME_MIN_SIZE, spec.FRAME_MIN_SIZE_ACCEPTED), (8192, 4096))
        self.assertEqual((spec.FRAME_METHOD, spec.FRAME_HEADER, spec.FRAME_BODY, spec.FRAME_HEARTBEAT), (1, 2, 3, 8))
        self.assertEqual(spec.FRAME_END, 0xCE)
        self.assertEqual((spec.TRANSIENT_DELIVERY_MODE, spec.PERSISTENT_DELIVERY_MODE), (1, 2))

    def test_reply_codes(self) -> None:
        self.assertEqual(spec.REPLY_NAMES[404], "NOT_FOUND")
        self.assertEqual(spec.REPLY_NAMES[312], "NO_ROUTE")
        self.assertEqual(spec.SOFT_ERRORS, {311, 312, 313, 403, 404, 405, 406})
        self.assertEqual(spec.HARD_ERRORS, {320, 402, 501, 502, 503, 504, 505, 506, 530, 540, 541})
        self.assertEqual(set(spec.REPLY_NAMES), {200} | spec.SOFT_ERRORS | spec.HARD_ERRORS)
        for code, name in spec.REPLY_NAMES.items():
            self.assertEqual(getattr(spec, name), code)


class PackageTests(SynchronousTestCase):
    """C{txpika.spec} shows all of it, and loads little."""

    def test_every_method_has_its_class(self) -> None:
        for fact in METHODS:
            method = method_class(fact)
            self.assertEqual(method.NAME, f"{generate.camel(fact.class_name)}.{generate.camel(fact.name)}")
            self.assertEqual(method.INDEX, method.CLASS_ID << 16 | method.METHOD_ID)
            self.assertEqual(method.INDEX, fact.index)
            self.assertIs(spec.METHODS[fact.index], method)
        self.assertEqual(len(spec.METHODS), len(METHODS))

    def test_every_class_has_its_name_and_number(self) -> None:
        for fact in FACTS["class"]:
            klass = getattr(spec, generate.camel(fact["name"]))
            self.assertEqual((klass.NAME, klass.INDEX), (generate.camel(fact["name"]), fact["id"]))

    def test_each_reply_comes_from_the_other_side_and_asks_for_nothing(self) -> None:
        for method in spec.METHODS.values():
            for index in method.REPLIES:
                reply = spec.METHODS[index]
                self.assertEqual(reply.REPLIES, ())
                self.assertEqual(reply.CLASS_ID, method.CLASS_ID)
                self.assertTrue(reply.FROM_SERVER or not method.FROM_CLIENT, reply.NAME)
                self.assertTrue(reply.FROM_CLIENT or not method.FROM_SERVER, reply.NAME)

    def test_all_constants_and_classes_are_shown(self) -> None:
        generated = {name for name in vars(_constants) if name.isupper()}
        generated |= {generate.camel(klass["name"]) for klass in FACTS["class"]}
        self.assertEqual(generated - set(spec.__all__), set())
        for name in spec.__all__:
            self.assertTrue(hasattr(spec, name), name)

    def test_importing_it_loads_little(self) -> None:
        """A blocking script starts faster than the slowest module it loads."""
        program = (
            "import sys; before = set(sys.modules); import txpika.spec; "
            "print(' '.join(sorted(set(sys.modules) - before)))"
        )
        root = str(Path(txpika.__path__[0]).parent)
        loaded = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": root},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        self.assertIn("txpika.spec", loaded)
        heavy = {"twisted", "zope", "decimal", "datetime", "dataclasses", "inspect", "tomllib", "logging", "ssl"}
        self.assertEqual({name.partition(".")[0] for name in loaded} & heavy, set())
