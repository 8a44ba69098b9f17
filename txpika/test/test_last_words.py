"""Tests for how the process of a command ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika.last_words import Ending, one_line

#: Ends as the argument says, in a process of its own.
PROGRAM = """
import atexit, sys
from twisted.internet import reactor
from twisted.logger import globalLogBeginner
from txpika.last_words import Ending
ending = Ending("command", reactor)
ending.on_sigterm()
atexit.register(lambda: print("registered before", flush=True))
what = sys.argv[1]
if what == "fail":
    ending.fail(70, "all is\\nlost")
    ending.fail(64, "another thing")
    atexit.register(lambda: print("registered after"))
elif what == "stop":
    ending.stop()
    ending.stop()
elif what == "signal":
    import os, signal
    reactor.callWhenRunning(lambda: reactor.callLater(0, os.kill, os.getpid(), signal.SIGTERM))
elif what == "closed":
    sys.stderr.close()
    sys.__stderr__ = None
    reactor.callWhenRunning(ending.fail, 75, "nobody hears")
globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)
reactor.run()
print("after the reactor")
"""


class FakeReactor:
    """Runs when it is told to."""

    def __init__(self) -> None:
        self.running = False
        self.stops = 0
        self.after: list[Callable[[], object]] = []
        self._waiting: list[Callable[[], None]] = []

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        if self.running:
            function()
        else:
            self._waiting.append(function)

    def addSystemEventTrigger(
        self, phase: str, event: str, function: Callable[..., object], *arguments: object
    ) -> None:
        assert (phase, event) == ("after", "shutdown")
        self.after.append(lambda: function(*arguments))

    def run(self) -> None:
        self.running = True
        for function in self._waiting:
            function()

    def stop(self) -> None:
        if self.stops:
            raise ReactorNotRunning
        self.stops += 1


class EndingTests(SynchronousTestCase):
    """Which failure counts, and when the reactor stops."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.registered: list[Any] = []
        self.ending = Ending("command", self.reactor, self.registered.append)

    def test_the_first_failure_counts(self) -> None:
        with capturedLogs() as events:
            self.ending.fail(70, "the first")
            self.ending.fail(64, "the second")
            self.assertEqual(events, [])  # nobody logs yet
            self.reactor.run()
        self.assertEqual((self.ending.code, self.ending.text, len(self.reactor.after)), (70, "the first", 1))
        self.assertEqual(self.registered, [])
        self.reactor.after[0]()
        self.assertEqual(len(self.registered), 1)
        self.assertEqual([event["text"] for event in events], ["the first", "the second"])

    def test_before_the_reactor_runs(self) -> None:
        self.ending.fail(70, "at once")
        self.assertEqual(self.reactor.stops, 0)
        self.reactor.run()
        self.assertEqual(self.reactor.stops, 1)

    def test_while_it_stops_already(self) -> None:
        self.reactor.run()
        self.ending.stop()
        self.ending.stop()
        self.ending.fail(75, "not all was done")
        self.assertEqual((self.reactor.stops, self.ending.code), (1, 75))

    def test_no_failure_registers_nothing(self) -> None:
        self.reactor.run()
        self.ending.stop()
        self.assertEqual((self.registered, self.reactor.after), ([], []))

    def test_one_line(self) -> None:
        self.assertEqual(one_line(" a\r\nb\t\x1b[31mc  d\u2028e "), "a b [31mc d e")


class ProcessTests(SynchronousTestCase):
    """The same in a process."""

    def ran(self, what: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, what],
            env={**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    def test_failure(self) -> None:
        """What was registered with atexit, before and after, runs; what was printed is there; the line is last."""
        code, stdout, stderr = self.ran("fail")
        self.assertEqual((code, stderr), (70, "command: all is lost\n"))
        self.assertEqual(sorted(stdout.splitlines()), ["after the reactor", "registered after", "registered before"])

    def test_stop(self) -> None:
        self.assertEqual(self.ran("stop"), (0, "after the reactor\nregistered before\n", ""))

    def test_sigterm(self) -> None:
        self.assertEqual(self.ran("signal"), (0, "after the reactor\nregistered before\n", ""))

    def test_without_stderr(self) -> None:
        code, _, stderr = self.ran("closed")
        self.assertEqual((code, stderr), (75, ""))
