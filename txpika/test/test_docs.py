"""Tests for what the docs say: that it is all there is, and that it is so."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import exceptions, spec
from txpika.adapters import callback_channel
from txpika.adapters.blocking_channel import BlockingChannel
from txpika.test.strategies import METHODS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"

#: Whose methods the page's words for an object are.
CLASSES = {
    "connection": txpika.AMQPProtocol,
    "channel": txpika.Channel,
    "consumer": txpika.Consumer,
    "delivery": txpika.Delivery,
}


class MethodsPageTests(SynchronousTestCase):
    """C{docs/methods.rst}."""

    def setUp(self) -> None:
        page = DOCS / "methods.rst"
        if not page.exists():
            raise SkipTest("only in a checkout of the repository")
        self.text = page.read_text()
        self.literals = re.findall(r"``([^`]+)``", self.text)

    def test_every_method_of_the_protocol_is_there(self) -> None:
        named = set()
        for cell in re.findall(r"^   \* - (``.*)$", self.text, re.MULTILINE):
            names = re.findall(r"``([^`]+)``", cell)
            class_name = names[0].partition(".")[0]
            named |= {name if "." in name else f"{class_name}.{name}" for name in names}
        methods = {f"{method.class_name}.{method.name}" for method in METHODS}
        self.assertEqual(named - {"basic.recover-async"}, methods - {"basic.recover-async"})

    def test_every_call_exists_with_those_arguments(self) -> None:
        calls = 0
        for literal in self.literals:
            match = re.fullmatch(r"(connection|channel|consumer|delivery)\.(\w+)(?:\((.*)\))?", literal)
            if match is None or f"{match[1]}.{match[2]}".replace("_", "-") in self.protocol_names():
                continue
            name, arguments = match[2], match[3]
            self.assertTrue(
                hasattr(CLASSES[match[1]], name) or name.startswith("on_"), f"{literal}: there is no such thing"
            )
            if arguments and not name.startswith("on_"):
                parameters = inspect.signature(getattr(CLASSES[match[1]], name)).parameters
                for argument in arguments.split(", "):
                    self.assertIn(argument.rstrip("="), parameters, literal)
                calls += 1
        self.assertGreater(calls, 15)

    def protocol_names(self) -> set[str]:
        return {f"{method.class_name}.{method.name}" for method in METHODS}

    def test_every_public_call_of_a_channel_is_there(self) -> None:
        prefixes = ("basic_", "queue_", "exchange_", "tx_", "confirm_")
        for name in dir(txpika.Channel):
            if name.startswith(prefixes):
                self.assertIn(f"channel.{name}(", self.text)

    def test_results_and_errors_exist(self) -> None:
        for literal in self.literals:
            if re.fullmatch(r"[A-Z]\w+\.[A-Z]\w+", literal):
                class_name, _, method = literal.partition(".")
                self.assertTrue(hasattr(getattr(spec, class_name), method), literal)
            elif re.fullmatch(r"[A-Z]\w+", literal) and literal not in ("None", "CancelledError"):
                builtin = literal in ("ValueError", "TypeError")
                self.assertTrue(builtin or hasattr(exceptions, literal) or hasattr(txpika, literal), literal)


class CallbacksPageTests(SynchronousTestCase):
    """C{docs/callbacks.rst}."""

    def setUp(self) -> None:
        page = DOCS / "callbacks.rst"
        if not page.exists():
            raise SkipTest("only in a checkout of the repository")
        self.text = page.read_text()

    def test_calls_exist_with_those_arguments(self) -> None:
        owners: dict[str, type] = {
            "connection": txpika.SelectConnection,
            "channel": callback_channel.Channel,
            "blocking": txpika.BlockingConnection,
            "blocking_channel": BlockingChannel,
        }
        found = re.findall(r"``(connection|channel|blocking|blocking_channel)\.(\w+)\(([^`]*)\)``", self.text)
        self.assertGreater(len(found), 25)
        for owner, name, arguments in found:
            parameters = inspect.signature(getattr(owners[owner], name)).parameters
            for argument in filter(None, (each.partition("=")[0] for each in arguments.split(", "))):
                self.assertTrue(argument in (*parameters, "f"), f"{owner}.{name}({argument})")

    def test_included_files_are_there(self) -> None:
        included = re.findall(r"literalinclude:: (\S+)", self.text)
        self.assertEqual(len(included), 4)
        for path in included:
            self.assertTrue((DOCS / path).is_file(), path)

    def test_errors_exist(self) -> None:
        for name in re.findall(r"``(\w+(?:Closed|Lost|Error|Connected|Full|Thread))``", self.text):
            self.assertTrue(hasattr(exceptions, name) or hasattr(builtins, name), name)

    def test_every_numbered_bug_has_its_test(self) -> None:
        folder = Path(__file__).parent
        tests = "".join(path.read_text() for path in folder.glob("test_*.py"))
        named = {int(number) for number in re.findall(r"def test_bug_(\d+)_", tests)}
        self.assertEqual(named, set(range(1, 18)))
        rows = re.findall(r"^(\d+)(?:, (\d+))?  +\S", self.text, re.MULTILINE)
        self.assertEqual({int(number) for row in rows for number in row if number}, named)
