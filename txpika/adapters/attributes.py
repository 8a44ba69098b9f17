# -*- test-case-name: txpika.test.test_callback_connection -*-
"""
What all callback connections, and the blocking one, show of the engine.

Owns the names that programs of 2011 read.
"""

from __future__ import annotations

from typing import Any

from txpika.core.connection import Connection as Core


class Attributes:
    """A connection with an engine."""

    _core: Core

    @property
    def server_properties(self) -> Any:
        """What the broker says about itself."""
        return self._core.server_properties

    @property
    def known_hosts(self) -> str:
        """Always empty: the protocol has given that up."""
        return ""

    @property
    def heartbeat(self) -> int:
        """Heartbeat timeout agreed on, in seconds; 0 for none."""
        return self._core.tuned.heartbeat

    @property
    def bytes_sent(self) -> int:
        """Total since it last began to connect."""
        return self._core.wire.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Total since it last began to connect."""
        return self._core.wire.bytes_received

    @property
    def frames_sent(self) -> int:
        """Total since it last began to connect."""
        return self._core.wire.frames_sent

    @property
    def suggested_buffer_size(self) -> int:
        """How many bytes to read at a time: a frame, or 64 KiB."""
        return max(self._core.tuned.frame_max, 65536)
