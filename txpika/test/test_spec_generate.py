"""Tests for L{txpika.spec.generate}."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika.spec import generate
from txpika.test.strategies import FACTS

FILES = ["_constants.py", "_methods.py", "_properties.py"]


class CommandTests(SynchronousTestCase):
    """C{python -m txpika.spec.generate}, with and without C{--check}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.facts = self.folder / "facts.toml"
        self.facts.write_bytes(generate.FACTS.read_bytes())

    def run_command(
        self, *arguments: str, program: tuple[str, ...] = ("-m", "txpika.spec.generate")
    ) -> tuple[int, str]:
        """Exit status and standard error of the command, as a user would run it."""
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            env={**os.environ, "PYTHONPATH": str(generate.HERE.parent.parent)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    def run_here(self, *arguments: str) -> int:
        """Exit status, with the copied facts and an own folder."""
        with contextlib.redirect_stderr(io.StringIO()):
            return generate.main(["--facts", str(self.facts), "--output", str(self.folder), *arguments])

    def test_the_tree_is_up_to_date(self) -> None:
        self.assertEqual(self.run_command("--check"), (0, ""))

    def test_as_a_plain_program_when_there_is_no_codec(self) -> None:
        program = (str(generate.HERE / "generate.py"),)
        self.assertEqual(self.run_command("--output", str(self.folder), program=program), (0, ""))
        for name in FILES:
            self.assertEqual((self.folder / name).read_bytes(), (generate.HERE / name).read_bytes())

    def test_check_writes_nothing_and_names_what_is_missing(self) -> None:
        status, error = self.run_command("--check", "--output", str(self.folder))
        self.assertEqual(status, 1)
        self.assertEqual(
            error, "_constants.py, _methods.py, _properties.py: stale. Run: python -m txpika.spec.generate\n"
        )
        self.assertEqual([path.name for path in self.folder.iterdir()], ["facts.toml"])

    def test_a_changed_fact_makes_it_stale_until_it_is_generated(self) -> None:
        self.assertEqual(self.run_here(), 0)
        self.assertEqual(self.run_here("--check"), 0)
        text = self.facts.read_text()
        for old, new in (
            ("not-found = { code = 404", "not-found = { code = 414"),
            ('name = "prefetch-count", domain = "short"', 'name = "prefetch-count", domain = "long"'),
            ('{ name = "app-id", domain = "shortstr"', '{ name = "app-id", domain = "longlong"'),
        ):
            self.assertEqual(text.count(old), 1, old)
            self.facts.write_text(text.replace(old, new))
            self.assertEqual(self.run_here("--check"), 1, old)
            self.assertEqual(self.run_here(), 0)
            self.assertEqual(self.run_here("--check"), 0)
            self.facts.write_text(text)
            self.assertEqual(self.run_here(), 0)

    def test_an_edit_makes_it_stale(self) -> None:
        self.assertEqual(self.run_here(), 0)
        for name in FILES:
            path = self.folder / name
            whole = path.read_bytes()
            path.write_bytes(whole + b"\n")
            self.assertEqual(self.run_here("--check"), 1, name)
            path.write_bytes(whole)


class FactsTests(SynchronousTestCase):
    """A table that contradicts itself is refused, not generated from."""

    def assertContradiction(self, change: Callable[[dict[str, Any]], object], text: str) -> None:
        """After C{change} nothing is generated."""
        facts = copy.deepcopy(FACTS)
        change(facts)
        error = self.assertRaises(generate.FactsError, generate.generate, facts)
        self.assertIn(text, str(error))

    def test_unknown_domain(self) -> None:
        self.assertContradiction(lambda facts: facts["domain"].pop("queue-name"), "there is no domain queue-name")

    def test_unknown_wire_type(self) -> None:
        self.assertContradiction(lambda facts: facts["domain"]["short"].update(wire="word"), "the domain short has")

    def test_unknown_reply(self) -> None:
        method = "connection.start has an unknown reply begin-ok"
        self.assertContradiction(lambda facts: facts["class"][0]["method"][0].update(replies=["begin-ok"]), method)

    def test_a_number_twice(self) -> None:
        self.assertContradiction(
            lambda facts: facts["class"][0]["method"][1].update(id=10), "two methods of connection"
        )

    def test_too_many_properties(self) -> None:
        def add(facts: dict[str, Any]) -> None:
            next(klass for klass in facts["class"] if klass["name"] == "basic")["properties"].append(
                {"name": "more", "domain": "shortstr"}
            )

        self.assertContradiction(add, "more properties than one word of flags")


class LayoutTests(SynchronousTestCase):
    """What is generated from facts that the protocol does not have, but might."""

    def facts_with(self, fields: list[dict[str, Any]]) -> dict[str, Any]:
        """The facts, and one more method of the class C{tx}."""
        facts = copy.deepcopy(FACTS)
        method = {"name": "try", "id": 99, "accepted-by": ["server"], "fields": fields}
        next(klass for klass in facts["class"] if klass["name"] == "tx")["method"].append(method)
        return facts

    def method(self, fields: list[dict[str, Any]]) -> Any:
        """The class of that method."""
        module: dict[str, Any] = {"__name__": "generated"}
        exec(generate.generate(self.facts_with(fields))["_methods.py"], module)
        return module["Tx"].Try

    def test_more_bits_than_an_octet_holds(self) -> None:
        method = self.method([{"name": f"bit-{number}", "domain": "bit"} for number in range(17)])
        value = method(bit_0=True, bit_9=True, bit_15=True, bit_16=True)
        self.assertEqual(value.encode().hex(), "005a0063" + "01" + "82" + "01")
        self.assertEqual(method.read(value.encode(), 4), (value, 7))

    def test_bits_apart_have_an_octet_each(self) -> None:
        method = self.method(
            [
                {"name": "first", "domain": "bit"},
                {"name": "number", "domain": "short"},
                {"name": "second", "domain": "bit"},
                {"name": "name", "domain": "shortstr"},
                {"name": "third", "domain": "bit"},
            ]
        )
        value = method(True, 0x0102, True, "x", True)
        self.assertEqual(value.encode().hex(), "005a0063" + "01" + "0102" + "01" + "0178" + "01")
        self.assertEqual(method.read(value.encode(), 4), (value, 11))

    def test_a_word_of_python_gets_an_underscore(self) -> None:
        self.assertEqual(self.method([{"name": "in", "domain": "bit"}]).FIELDS, ("in_",))
