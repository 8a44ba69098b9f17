# -*- test-case-name: txpika.test.test_log -*-
"""
What C{pika.log} was in 2011, on Python's own logging: everything goes to the logger C{txpika}.

Owns that logger's level, and what each frame looks like in a log. At L{DEBUG} every frame of every connection is shown,
those of connections made before too; at any other level the frames go by unseen, and it costs nothing that they could
be seen. The level counts as set by L{setup} or L{set_level}; what is set past them is heard at the next call of either.

Passwords and tokens are never shown. Of the body of a message the first bytes are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from txpika import frames, taps
from txpika.exceptions import FramingError, ProtocolError
from txpika.spec.base import shown

_P = ParamSpec("_P")
_T = TypeVar("_T")

DEBUG = logging.DEBUG
INFO = logging.INFO
WARNING = logging.WARNING
WARN = logging.WARNING
ERROR = logging.ERROR
CRITICAL = logging.CRITICAL

#: How much of a body is shown, in bytes.
SHOWN_OF_BODY = 64

logger = logging.getLogger("txpika")
_wire_logger = logging.getLogger("txpika.wire")
_call_logger = logging.getLogger("txpika.call")

debug = logger.debug
info = logger.info
warning = logger.warning
#: L{warning} by its older name.
warn = logger.warning
error = logger.error
critical = logger.critical

FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
_COLORS = {DEBUG: 36, INFO: 32, WARNING: 33, ERROR: 31, CRITICAL: 35}
_own: logging.Handler | None = None


class _Colored(logging.Formatter):
    """The whole line in the color of its level."""

    def format(self, record: logging.LogRecord) -> str:
        """@return: The line between two escape sequences of ANSI terminals."""
        return f"\033[{_COLORS.get(record.levelno, 0)}m{super().format(record)}\033[0m"


def setup(level: int | str = INFO, color: bool = False) -> None:
    """
    Show messages of this level and above; with L{DEBUG}, frames.

    They go to standard error, unless the program has handlers of its own for them: then there, in their format.

    @param level: A level of C{logging}, as a number or by its name.
    @param color: Show levels in colors of an ANSI terminal.
    @raise ValueError: when there is no level of that name.
    @raise TypeError: when C{level} is neither int nor str.
    """
    global _own
    set_level(level)
    if _own is None and not logger.hasHandlers():
        _own = logging.StreamHandler()
        logger.addHandler(_own)
    if _own is not None:
        _own.setFormatter((_Colored if color else logging.Formatter)(FORMAT))


def set_level(level: int | str) -> None:
    """
    As L{setup}, and leave handlers alone.

    @raise ValueError: when there is no level of that name.
    @raise TypeError: when C{level} is neither int nor str.
    """
    logger.setLevel(level)
    taps.watch(_WireTap if logger.isEnabledFor(DEBUG) else None)


def add_wire(wire: taps.Tappable) -> None:
    """
    Show the frames of C{wire} too, whenever frames are shown. Connections of txpika see to that themselves. It is not
    kept alive by this.
    """
    taps.add(wire)


def method_call(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """
    Decorate a function so that each of its calls is shown at L{DEBUG}, with its arguments.

    @return: The decorated function, which does the same.
    """
    name = f"{method.__module__}.{method.__qualname__}"

    @wraps(method)
    def logged(*args: _P.args, **keywords: _P.kwargs) -> _T:
        if _call_logger.isEnabledFor(DEBUG):
            given = [*map(shown, args), *(f"{key}={shown(value)}" for key, value in keywords.items())]
            _call_logger.debug("%s(%s)", name, ", ".join(given))
        return method(*args, **keywords)

    return logged


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe(frame: frames.Frame | frames.ProtocolHeader) -> str:
    """
    @return: One line of printable characters, without a password or a token, with the first bytes of a body.
    """
    if isinstance(frame, frames.Body):
        fragment = frame.fragment[:SHOWN_OF_BODY]
        return f"{frame!r}: {fragment!r}{'...' if len(frame.fragment) > SHOWN_OF_BODY else ''}"
    return _printable(repr(frame))


class _WireTap:
    """Cuts what one wire carries into frames, and logs them. What it is shown may begin within a frame."""

    def __init__(self, wire: taps.Tappable) -> None:
        self._wire = wire
        self._name = _printable(wire.name)
        self._received: bytearray | None = None
        self._skip = 0
        self._logging = False

    def __call__(self, sent: bool, data: bytes) -> None:
        """Bytes go by. Does not raise."""
        try:
            if sent:
                self._show(">", data)
            else:
                self._receive(data)
        except Exception:
            # A handler or a filter that raises must not cost the connection.
            self._wire.untap()
            text = f"{self._name}: frames are not shown any more, as a handler or a filter of the log raised"
            if logging.lastResort is not None:
                logging.lastResort.handle(logging.makeLogRecord({"name": _wire_logger.name, "msg": text}))

    def _receive(self, data: bytes) -> None:
        if self._received is None:
            tail, self._skip = self._wire.behind()
            self._received = bytearray(tail)
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._received += data
        have = len(self._received)
        # Not before the frame is whole: else a large one that comes in small pieces is copied for each of them.
        if have >= 8 and (self._received[0] not in frames.KINDS or have >= 8 + int.from_bytes(self._received[3:7])):
            del self._received[: self._show("<", bytes(self._received))]

    def _show(self, direction: str, data: bytes) -> int:
        """
        Log the frames in C{data}.

        @return: How many bytes were whole frames.
        """
        offset = 0
        while offset < len(data):
            try:
                consumed, frame = frames.decode_frame(data, offset)
            except FramingError as problem:
                consumed, line = len(data) - offset, f"bytes that are no frame: {_printable(problem.reply_text)}"
            except ProtocolError as problem:
                consumed = frames.OVERHEAD + int.from_bytes(data[offset + 3 : offset + 7])
                line = f"a frame that makes no sense: {_printable(problem.reply_text)}"
            else:
                if frame is None:
                    break
                line = describe(frame)
            self._say(direction, line)
            offset += consumed
        return offset

    def _say(self, direction: str, line: str) -> None:
        # A handler may send what it handles over this very connection.
        if not self._logging:
            self._logging = True
            try:
                _wire_logger.debug("%s %s %s", self._name, direction, line)
            finally:
                self._logging = False
