"""
Counting of calls, of memory and of bytes copied, where time would depend on the machine.

Memory can be counted with CPython only: PyPy has no C{tracemalloc}, and its garbage is gone when it likes.
"""

from __future__ import annotations

import gc
import platform
import sys
from collections.abc import Callable, Iterable
from os.path import dirname, join
from typing import Any, NamedTuple, Self, SupportsIndex

import txpika

try:
    import tracemalloc
except ImportError:  # of PyPy
    tracemalloc = None  # type: ignore[assignment]

#: For C{skip} of tests that count memory, or calls of functions that another interpreter may write in Python.
SKIP = None if platform.python_implementation() == "CPython" else "counts what is as it is with CPython only"

_HERE = dirname(txpika.__file__)
_TESTS = join(_HERE, "test")
#: Python 3.11 calls a function for each of these, later ones do not.
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")


def count_calls(function: Callable[[], object]) -> int:
    """
    @return: How many Python functions are called by C{function}, itself included. What is not its doing, as the end of
        garbage that others left, is kept out.
    """
    calls = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    _profiled(function, profile)
    return calls


class Calls(NamedTuple):
    """
    Python functions called, and coroutines and generators resumed.

    @ivar own: Those of txpika, without its tests.
    @ivar others: Those of Twisted and of the standard library.
    """

    own: int
    others: int


def calls_of(function: Callable[[], object]) -> Calls:
    """@return: The calls by C{function}, by whose functions they are. Those of tests are not counted."""
    own = others = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal own, others
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(_TESTS) or code.co_name in _COMPREHENSIONS:
                return
            if code.co_filename.startswith(_HERE):
                own += 1
            else:
                others += 1

    _profiled(function, profile)
    return Calls(own, others)


def _profiled(function: Callable[[], object], profile: Callable[[Any, str, Any], None]) -> None:
    before = sys.getprofile()
    gc.collect()
    gc.disable()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
        gc.enable()


def peaks_of(function: Callable[[Any], object], arguments: Iterable[Any]) -> list[int]:
    """@return: For each argument, how many bytes more there are at most while C{function} runs with it."""
    peaks = []
    with Growth():  # which is without collections meanwhile: these empty the interpreter's lists of free objects
        for argument in arguments:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            function(argument)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    return peaks


class Growth:
    """
    Counts what Python's allocator gives out, as a context manager.

    @ivar size: How many bytes more there are at the end than at the beginning, without garbage.
    @ivar objects: How many objects.
    @ivar peak: How many bytes more there were at most meanwhile, with garbage.
    """

    def __init__(self) -> None:
        self.size = self.objects = self.peak = 0
        self._began = (0, 0)

    def begin(self) -> None:
        """Count from now on."""
        self._began = self._now()
        tracemalloc.reset_peak()

    def _now(self) -> tuple[int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()[0], sys.getallocatedblocks()

    def __enter__(self) -> Self:
        gc.collect()
        gc.disable()
        tracemalloc.start()
        self.begin()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.peak = tracemalloc.get_traced_memory()[1] - self._began[0]
        size, objects = self._now()
        self.size, self.objects = size - self._began[0], objects - self._began[1]
        tracemalloc.stop()
        gc.enable()


def garbage_of(function: Callable[[], object]) -> int:
    """@return: How many objects C{function} leaves that only the garbage collector can find."""
    gc.collect()
    gc.disable()
    try:
        function()
        return gc.collect()
    finally:
        gc.enable()


class Copying(bytes):
    """
    Bytes that count how many bytes are made of them by slicing and adding.

    What is made is of this kind too. Empty slices, and all of it, are made without copying, as of C{bytes}.

    @cvar copied: How many so far.
    """

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        piece = bytes.__getitem__(self, key)
        if not isinstance(piece, bytes):
            return piece
        if len(piece) == len(self):
            return self
        return self._made(piece)

    def __add__(self, other: Any) -> Copying:
        return self._made(bytes.__add__(self, other))

    def __radd__(self, other: Any) -> Copying:
        return self._made(bytes.__add__(other, self))

    def __mul__(self, times: SupportsIndex) -> Copying:
        return self._made(bytes.__mul__(self, times))

    @classmethod
    def _made(cls, piece: bytes) -> Copying:
        cls.copied += len(piece)
        return cls(piece)


def count_lines(function: Callable[[], object]) -> int:
    """
    @return: How many lines of Python run in C{function}: as L{count_calls}, and loops count too.
    """
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
        gc.enable()
    return lines
