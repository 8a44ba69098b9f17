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
