"""Tests for the page C{docs/helpers.rst}: that it says what is so."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika import exceptions
from txpika.arguments import _NAMES
from txpika.test.test_arguments import TYPES

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


class HelpersPageTests(SynchronousTestCase):
    """Its examples, its table, and what it names."""

    def setUp(self) -> None:
        page = REPOSITORY / "docs" / "helpers.rst"
        if not page.is_file():
            raise SkipTest("the docs are in the repository, not in an installed txpika")
        self.text = page.read_text()

    def test_it_shows_its_examples(self) -> None:
        shown = re.findall(r"^\.\. literalinclude:: \.\./examples/(\S+)$", self.text, re.MULTILINE)
        self.assertEqual(shown, ["rpc_client.py", "rpc_server.py", "queue_arguments.py", "dead_letters.py"])
        for name in shown:
            self.assertTrue((EXAMPLES / name).is_file(), name)

    def test_the_table_of_arguments_is_the_code(self) -> None:
        rows = re.findall(
            r"^   \* - ``(\w+)``\n     - ``([^`]+)``.*\n     - ?(.*)\n     - ?(.*)\n     - ?(.*)\n",
            self.text,
            re.MULTILINE,
        )
        said = {name: {kind for kind, cell in zip(TYPES, cells, strict=True) if cell} for name, _, *cells in rows}
        self.assertEqual(said, {name: set(known.wire) for name, known in _NAMES.items()})
        for name, wire, *cells in rows:
            self.assertIn(wire, _NAMES[name].wire.values())
            for kind, cell in zip(TYPES, cells, strict=True):
                since = _NAMES[name].since.get(kind)
                self.assertEqual(cell, "" if not cell else "yes" if since is None else f"from {since[0]}.{since[1]}")

    def test_what_it_names_exists(self) -> None:
        for literal in re.findall(r"``([^`\n]+)``", self.text):
            match = re.fullmatch(r"(channel|rpc|txpika)\.(\w+)(?:\(.*\))?", literal)
            if match is not None:
                home = {"channel": txpika.Channel, "rpc": txpika.RPCClient, "txpika": txpika}[match[1]]
                self.assertTrue(hasattr(home, match[2]) or match[2] == "late", literal)
            elif re.fullmatch(r"[A-Z]\w+", literal) and literal not in ("None", "CancelledError"):
                known = (
                    hasattr(exceptions, literal) or hasattr(txpika, literal) or literal in ("ValueError", "TypeError")
                )
                self.assertTrue(known, literal)
