"""Tests for the options of C{twist txpika-relay}."""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from txpika import last_words
from txpika.relay_options import SOURCE_VARIABLE, TARGET_VARIABLE, Options

SOURCE = "amqp://somebody:hidden%40word@source.example:5673/orders"
TARGET = "amqps://somebody:hidden@target.example/"
BOTH = ("--source-uri", SOURCE, "--target-uri", TARGET)
WHAT = ("--queue", "work", "--exchange", "in")


class OptionsTests(SynchronousTestCase):
    """What can be said, and what is refused."""

    def setUp(self) -> None:
        for variable in (SOURCE_VARIABLE, TARGET_VARIABLE):
            os.environ.pop(variable, None)
            self.addCleanup(os.environ.pop, variable, None)
        self.stderr = StringIO()
        self.patch(sys, "stderr", self.stderr)

    def file(self, name: str, text: str) -> str:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / name).write_text(text)
        return str(folder / name)

    def parsed(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(arguments)
        return options

    def assertRefused(self, *arguments: str, said: str) -> None:
        self.stderr.truncate(self.stderr.seek(0))
        error = self.assertRaises(SystemExit, Options().parseOptions, arguments)
        line = self.stderr.getvalue()
        self.assertEqual((error.code, line.count("\n"), line[-1:]), (64, 1, "\n"))
        self.assertTrue(line.startswith("txpika-relay: "), line)
        self.assertIn(said, line)
        self.assertNotIn("hidden", line)

    def test_defaults(self) -> None:
        options = self.parsed(*BOTH, *WHAT)
        self.assertEqual((options.source.host, options.source.virtual_host), ("source.example", "orders"))
        self.assertEqual((options.target.host, options.target.port), ("target.example", 5671))
        self.assertEqual((options["queue"], options["exchange"], options["routing-key"]), ("work", "in", None))
        self.assertEqual((options.window, options["name"], options.drain_timeout), (200, "", 30.0))
        self.assertEqual((options.source_declarations, options.target_declarations), ((), ()))
        for text in (repr(options), str(options), repr(vars(options))):
            self.assertNotIn("hidden", text)

    def test_all_of_them(self) -> None:
        source = self.file("source.json", '{"queues": [{"queue": "work"}]}')
        target = self.file("target.toml", '[[exchanges]]\nexchange = "in"\n')
        more = ("--window", "7", "--name", "north to south", "--routing-key", "", "--drain-timeout", "2.5")
        files = ("--declare-source", source, "--declare-target", target, "--health", "tcp:0")
        options = self.parsed(*BOTH, "--queue", "work", "--exchange", "", *more, *files)
        self.assertEqual((options.window, options["name"], options["routing-key"]), (7, "north to south", ""))
        self.assertEqual((options["exchange"], options.drain_timeout, options["health"]), ("", 2.5, "tcp:0"))
        self.assertEqual([each.arguments for each in options.source_declarations], [{"queue": "work"}])
        self.assertEqual([each.arguments for each in options.target_declarations], [{"exchange": "in"}])

    def test_uris_from_elsewhere(self) -> None:
        os.environ[SOURCE_VARIABLE] = SOURCE
        options = self.parsed("--target-uri-file", self.file("uri", f"{TARGET}\n"), *WHAT)
        self.assertEqual((options.source.host, options.target.host), ("source.example", "target.example"))
        os.environ[TARGET_VARIABLE] = "amqp://from.environment/"
        options = self.parsed("--source-uri-file", self.file("uri", "amqp://from.file/"), *WHAT)
        self.assertEqual((options.source.host, options.target.host), ("from.file", "from.environment"))

    def test_no_uri(self) -> None:
        self.assertRefused(*WHAT, "--target-uri", TARGET, said=f"set {SOURCE_VARIABLE}, or give --source-uri-file")
        self.assertRefused(*WHAT, "--source-uri", SOURCE, said=f"set {TARGET_VARIABLE}, or give --target-uri-file")
        os.environ["TXPIKA_URI"] = SOURCE
        self.addCleanup(os.environ.pop, "TXPIKA_URI")
        self.assertRefused(*WHAT, "--source-uri", SOURCE, said=f"set {TARGET_VARIABLE}")

    def test_bad_uris(self) -> None:
        bad = "amqp://somebody:hidden@word@broker.example"
        self.assertRefused(*WHAT, "--source-uri", bad, "--target-uri", TARGET, said="--source-uri: ")
        self.assertRefused(*WHAT, "--source-uri", SOURCE, "--target-uri", bad, said="--target-uri: ")
        os.environ[TARGET_VARIABLE] = bad
        self.assertRefused(*WHAT, "--source-uri", SOURCE, said=f"{TARGET_VARIABLE}: ")
        both = ("--target-uri-file", self.file("uri", TARGET))
        self.assertRefused(*WHAT, *BOTH, *both, said="--target-uri and --target-uri-file are both given")

    def test_what_is_missing_or_wrong(self) -> None:
        self.assertRefused(*BOTH, "--exchange", "in", said="--queue is missing")
        self.assertRefused(*BOTH, "--queue", "work", said="--exchange is missing")
        for value in ("0", "-1", "65536", "x"):
            self.assertRefused(*BOTH, *WHAT, "--window", value, said="--window must be a whole number from 1 to 65535")
        for name in ("queue", "exchange", "routing-key", "name"):
            self.assertRefused(*BOTH, *WHAT, f"--{name}", "n" * 256, said=f"--{name} must be ")
            self.assertRefused(*BOTH, *WHAT, f"--{name}", "\udc80", said=f"--{name} contains a lone surrogate")
        self.assertRefused(*BOTH, *WHAT, "--queue", "", said="--queue must be 1 to 255 bytes")
        self.assertRefused(*BOTH, *WHAT, "--health", "9999x", said="--health 9999x: ")
        self.assertRefused(*BOTH, *WHAT, "--drain-timeout", "0", said="--drain-timeout must be a number of seconds")
        for name in ("declare-source", "declare-target"):
            self.assertRefused(*BOTH, *WHAT, f"--{name}", "nowhere.toml", said="nowhere.toml: No such file")
        self.assertRefused(*BOTH, *WHAT, SOURCE, said="1 argument(s) belong to no option")

    def test_into_its_own_queue(self) -> None:
        """All messages would come back, and be rejected as in a loop."""
        own = ("--source-uri", SOURCE, "--target-uri", SOURCE, "--queue", "work", "--exchange", "")
        self.assertRefused(*own, "--routing-key", "work", said="into the queue that they are taken from")
        self.parsed(*own, "--routing-key", "other")
        self.parsed(*own)

    def test_the_page_tells_of_every_option_and_exit_code(self) -> None:
        path = Path(__file__).resolve().parents[2] / "docs" / "services.rst"
        if not path.exists():
            raise SkipTest("only in a checkout of the repository")
        text = path.read_text().partition("Relaying\n--------\n")[2]
        defaults = {str(name): default for name, _, default, *_ in Options.optParameters}
        for name in (*defaults, "source-uri", "target-uri"):
            default = defaults.get(name)
            value = "" if default in (None, "") else f" {default:g}"
            self.assertIn(f"``--{name}{value}", text)
        codes = {value for name, value in vars(last_words).items() if name.isupper() and isinstance(value, int)}
        self.assertEqual({int(code) for code in re.findall(r"^(\d+)  ", text, re.MULTILINE)}, {0, *codes})

    def test_help_tells_of_every_option(self) -> None:
        text = str(Options())
        for name in (*(parameter[0] for parameter in Options.optParameters), "source-uri", "target-uri"):
            self.assertIn(f"--{name}=", text)
