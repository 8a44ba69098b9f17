"""Tests for the options of C{twist txpika-consumer}."""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from txpika import last_words
from txpika._version import __version__
from txpika.queue_consumer import POLICIES, Terms
from txpika.tap_options import VARIABLE, Options

URI = "amqp://somebody:hidden%40word@broker.example:5673/orders"
HANDLER = ("--handler", "builtins.print")


class OptionsTests(SynchronousTestCase):
    """What can be said, and what is refused."""

    def setUp(self) -> None:
        os.environ.pop(VARIABLE, None)
        self.stderr = StringIO()
        self.patch(sys, "stderr", self.stderr)

    def set_variable(self, value: str) -> None:
        os.environ[VARIABLE] = value
        self.addCleanup(os.environ.pop, VARIABLE, None)

    def file(self, text: str | bytes) -> str:
        os.makedirs(folder := self.mktemp())
        path = os.path.join(folder, "uri")
        with open(path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return path

    def parsed(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(["--queue", "work", *HANDLER, *arguments])
        return options

    def refused(self, *arguments: str) -> str:
        """@return: The one line."""
        self.stderr.truncate(self.stderr.seek(0))
        error = self.assertRaises(SystemExit, Options().parseOptions, arguments)
        self.assertEqual(error.code, 64)
        line, end = self.stderr.getvalue()[:-1], self.stderr.getvalue()[-1:]
        self.assertEqual((end, line.count("\n")), ("\n", 0))
        self.assertTrue(line.startswith("txpika-consumer: "), line)
        self.assertNotIn("hidden", line)
        return line

    def assertRefused(self, *arguments: str, said: str) -> None:
        self.assertIn(said, self.refused("--queue", "work", *HANDLER, "--uri", URI, *arguments))

    def test_defaults(self) -> None:
        options = self.parsed("--uri", URI)
        self.assertEqual(options.queues, ["work"])
        self.assertEqual(options.source.name, "builtins.print")
        self.assertEqual(options.terms, Terms(100, 0, "requeue-once", ()))
        self.assertEqual(options.drain_timeout, 30.0)
        self.assertIs(options["health"], None)

    def test_all_of_them(self) -> None:
        path = os.path.join(os.path.dirname(self.file("")), "topology.json")
        with open(path, "w") as file:
            file.write('{"queues": [{"queue": "work"}]}')
        more = ("--on-error", "stop", "--drain-timeout", "2.5", "--health", "tcp:0", "--declare", path)
        options = self.parsed("--uri", URI, "--queue", "more", "--prefetch=5", "--concurrency=2", *more)
        self.assertEqual(options.queues, ["work", "more"])
        terms = options.terms
        self.assertEqual((terms.prefetch, terms.concurrency, terms.on_error), (5, 2, "stop"))
        self.assertEqual(terms.declarations[0].arguments, {"queue": "work"})
        self.assertEqual((options.drain_timeout, options["health"]), (2.5, "tcp:0"))

    def test_the_uri_from_each_source(self) -> None:
        for arguments, variable in (
            (("--uri", URI), ""),
            (("--uri-file", self.file(f"\n  {URI}\n\n")), ""),
            ((), URI),
            (("--uri", URI), "amqp://elsewhere"),  # options go first
            (("--uri-file", self.file(URI)), "amqp://elsewhere"),
        ):
            self.set_variable(variable)
            parameters = self.parsed(*arguments).parameters
            self.assertEqual(
                (parameters.host, parameters.port, parameters.virtual_host), ("broker.example", 5673, "orders")
            )

    def test_no_password_in_any_repr(self) -> None:
        for arguments in (("--uri", URI), ("--uri-file", self.file(URI))):
            options = self.parsed(*arguments)
            for text in (repr(options), str(options), repr(vars(options)), repr(dict(options))):
                self.assertNotIn("hidden", text)

    def test_no_uri(self) -> None:
        for variable in (None, ""):
            if variable is not None:
                self.set_variable(variable)
            self.assertIn(VARIABLE, self.refused("--queue", "work", *HANDLER))

    def test_bad_uris(self) -> None:
        """By the source, and without any part of it."""
        bad = "amqp://somebody:hidden@word@broker.example"
        self.assertIn("--uri: ", self.refused("--queue", "work", *HANDLER, "--uri", bad))
        path = self.file(bad)
        self.assertIn(f"--uri-file {path}: ", self.refused("--queue", "work", *HANDLER, "--uri-file", path))
        self.set_variable(bad)
        self.assertIn(f"{VARIABLE}: ", self.refused("--queue", "work", *HANDLER))

    def test_bad_files(self) -> None:
        for path, said in (
            ("nowhere/uri", "No such file"),
            (self.file(""), "amqp://"),
            (self.file(b"\xff\xfe"), "UTF-8"),
            (self.mktemp(), "No such file"),
        ):
            self.assertIn(said, self.refused("--queue", "work", *HANDLER, "--uri-file", path))
        self.assertRefused("--uri-file", self.file(URI), said="both")

    def test_what_is_missing(self) -> None:
        self.assertIn("--queue is missing", self.refused("--uri", URI, *HANDLER))
        self.assertIn("--handler is missing", self.refused("--uri", URI, "--queue", "work"))

    def test_wrong_values(self) -> None:
        for value in ("-1", "x", "65536", "1.5", "", "²", "9" * 5000):
            self.assertRefused("--prefetch", value, said="--prefetch must be a whole number from 0 to 65535")
            self.assertRefused("--concurrency", value, said="--concurrency must be a whole number")
        for value in ("0", "-1", "x", "", "nan", "inf"):
            self.assertRefused("--drain-timeout", value, said="--drain-timeout must be a number of seconds")
        self.assertRefused("--on-error", "ignore", said="requeue-once, reject, requeue, stop")
        self.assertRefused("--queue", "", said="--queue")
        self.assertRefused("--queue", "q" * 256, said="--queue")
        self.assertRefused("--queue", "work", said="twice")
        self.assertRefused("--health", "9999x", said="--health 9999x: ")
        self.assertRefused("--health", "tcp:", said="--health tcp:: ")
        self.assertRefused("--declare", "nowhere.toml", said="nowhere.toml: No such file")
        self.assertRefused("--handler", "nowhere.handle", said="handler 'nowhere.handle': there is no module 'nowhere'")
        self.assertRefused("--nonsense", said="--nonsense")

    def test_arguments_that_belong_nowhere_are_not_shown(self) -> None:
        self.assertRefused(URI, said="1 argument(s) belong to no option")

    def test_version(self) -> None:
        stdout = StringIO()
        self.patch(sys, "stdout", stdout)
        self.assertEqual(self.assertRaises(SystemExit, Options().parseOptions, ["--version"]).code, 0)
        self.assertEqual(stdout.getvalue(), f"txpika {__version__}\n")

    def test_the_page_tells_of_every_option_and_exit_code(self) -> None:
        path = Path(__file__).resolve().parents[2] / "docs" / "services.rst"
        if not path.exists():
            raise SkipTest("only in a checkout of the repository")
        text = path.read_text().partition("Relaying\n--------\n")[0]
        defaults = {str(name): default for name, _, default, *_ in Options.optParameters}
        for name in (*defaults, "uri", "queue"):
            default = defaults.get(name)
            value = "" if default is None else f" {default:g}" if isinstance(default, float) else f" {default}"
            self.assertIn(f"``--{name}{value}", text)
        for policy in POLICIES:
            self.assertIn(f"``{policy}``:", text)
        codes = {value for name, value in vars(last_words).items() if name.isupper() and isinstance(value, int)}
        self.assertEqual({int(code) for code in re.findall(r"^(\d+)  ", text, re.MULTILINE)}, {0, *codes})
        for included in re.findall(r"literalinclude:: (\S+)", text):
            self.assertTrue((path.parent / included).is_file(), included)

    def test_help_tells_of_every_option(self) -> None:
        text = str(Options())
        names: list[Any] = [parameter[0] for parameter in Options.optParameters]
        for name in (*names, "uri", "queue"):
            self.assertIn(f"--{name}=", text)
