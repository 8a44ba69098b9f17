# -*- test-case-name: txpika.test.test_heartbeat_checker -*-
"""
What all methods, and all properties, are: under the name that pika's module for it had in 2011.
"""

from __future__ import annotations

from txpika.spec import Method, Properties

__all__ = ["Method", "Properties"]
