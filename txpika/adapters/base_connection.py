# -*- test-case-name: txpika.test.test_packaging -*-
"""
Where programs of pika find the class that all connections of callbacks are.

Owns nothing: it is L{txpika.adapters.callback}'s.
"""

from txpika.adapters.callback import BaseConnection

__all__ = ["BaseConnection"]
