# -*- test-case-name: benchmarks.test.test_idle -*-
"""
Whether the machine has nothing else to do.

Owns the wait for that. Knows Linux's counters of what its processors did; elsewhere there is nothing to wait for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")
#: Seconds looked at in one go.
WINDOW = 0.1
#: The share of that for which all processors together may be at work.
MOST_BUSY = 0.05
#: Seconds after which the measurement begins all the same.
PATIENCE = 10.0


def processors(stat: Path = STAT) -> tuple[int, int]:
    """
    @return: For how long all processors were at work, and for how long there was nothing to do, in ticks.
    @raise OSError: This system does not say.
    """
    _, *ticks = stat.read_text(encoding="ascii").split("\n", 1)[0].split()
    numbers = [int(each) for each in ticks[:8]]
    idle = numbers[3] + numbers[4]  # and waiting for disks
    return sum(numbers) - idle, idle


def wait_until_idle(
    read: Callable[[], tuple[int, int]] = processors, sleep: Callable[[float], object] = time.sleep
) -> bool:
    """
    @return: Whether it became idle, as far as is known.
    """
    try:
        before = read()
        for _ in range(int(PATIENCE / WINDOW)):
            sleep(WINDOW)
            now = read()
            busy, idle = now[0] - before[0], now[1] - before[1]
            if busy <= MOST_BUSY * (busy + idle):
                return True
            before = now
    except OSError:
        return True
    return False
