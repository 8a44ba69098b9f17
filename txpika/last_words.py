# -*- test-case-name: txpika.test.test_last_words -*-
"""
How the process of a C{twist} or C{twistd} command ends: with which exit code, and with which last line.

Owns that. Both programs end with 0 after C{reactor.stop}, and swallow whatever is raised before; after a signal they
kill themselves with the same signal, whether what it asked for was done or not.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

# Exit codes, as in sysexits.h.

#: Options, files or the handler are wrong: nothing was dialled.
USAGE = 64
#: The broker refused a declaration or a consumer.
UNAVAILABLE = 69
#: The handler failed, and that was to stop the program.
SOFTWARE = 70
#: Not all was done when the drain time-out passed.
TEMPFAIL = 75
#: The broker refused the login, or its certificate was refused.
NOPERM = 77


def leave(name: str, text: str, code: int = USAGE) -> NoReturn:
    """
    End the program before it has begun.

    @param name: Which command speaks.
    @param text: Why; line breaks become spaces.
    """
    sys.stderr.write(f"{name}: {one_line(text)}\n")
    raise SystemExit(code)


def one_line(text: str) -> str:
    """@return: The text, without line breaks or other control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


class Ending:
    """
    Stops the reactor, and remembers what the process is to end with.

    @ivar code: The exit code.
    @ivar text: The last line, C{""} for none.
    """

    _log = Logger()

    def __init__(
        self, name: str, reactor: Any, at_exit: Callable[[Callable[[], object]], object] = atexit.register
    ) -> None:
        """
        @param name: Which command speaks.
        @param reactor: What runs it.
        @param at_exit: For tests: what takes the function that ends the process, instead of L{atexit}.
        """
        self.code = 0
        self.text = ""
        self._name = name
        self._reactor = reactor
        self._at_exit: Callable[[Callable[[], object]], object] = at_exit

    def on_sigterm(self) -> None:
        """
        From when the reactor runs, SIGTERM stops it, as before, but is no reason to die of when that is done. Does
        nothing in a thread, where there are no signals.
        """
        self._reactor.callWhenRunning(self._listen)

    def _listen(self) -> None:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, lambda number, frame: self._reactor.callFromThread(self.stop))

    def stop(self) -> None:
        """Stop the reactor: once it runs, and only once."""
        self._reactor.callWhenRunning(self._stop)

    def _stop(self) -> None:
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def fail(self, code: int, text: str) -> None:
        """
        Stop, and end with this code, after this line on stderr. The first failure counts, later ones are only logged.

        @param text: Why.
        """
        text = one_line(text)
        # Not before: twist and twistd begin to log after they have started the service.
        self._reactor.callWhenRunning(lambda: self._log.critical("{text}", text=text))
        if not self.code:
            self.code = code
            self.text = text
            # The last to register is the first to be called, and nothing that was called must be called again.
            self._reactor.addSystemEventTrigger("after", "shutdown", self._at_exit, self._end)
        self.stop()

    def _end(self) -> None:
        # By atexit, as nothing that the reactor calls can choose the exit code. os._exit would leave out what others
        # have registered: so they go first, as at the end of a process of multiprocessing.
        atexit.unregister(self._end)
        atexit._run_exitfuncs()
        # Not sys.stderr, which twistd and twist make a part of the log.
        for stream, text in (sys.stdout, ""), (sys.__stdout__, ""), (sys.__stderr__, f"{self._name}: {self.text}\n"):
            with suppress(OSError, ValueError):  # it may be closed
                if stream is not None:
                    stream.write(text)
                    stream.flush()
        os._exit(self.code)
