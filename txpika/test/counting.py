"""
Counting of calls, where time would depend on the machine.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any


def count_calls(function: Callable[[], object]) -> int:
    """
    @return: How many Python functions are called by C{function}, itself included. What is not its doing, as the end of
        garbage that others left, is kept out.
    """
    calls = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    gc.collect()
    gc.disable()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


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
