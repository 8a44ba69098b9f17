"""
Calls in another thread, for tests of what threads may do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Seconds after which a call that should have ended is taken to hang.
PATIENCE = 20.0


def in_another_thread(call: Callable[[], object]) -> BaseException | None:
    """
    @return: What C{call} raised there; C{None} when it did not.
    @raise AssertionError: It hangs.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it hangs"
    return errors[0] if errors else None
