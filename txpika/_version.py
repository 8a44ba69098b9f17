# -*- test-case-name: txpika.test.test_packaging -*-
"""The version, in the one place that packaging and program both read."""

from __future__ import annotations

__version__ = "0.1.0"
