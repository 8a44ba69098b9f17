# -*- test-case-name: txpika.test.test_packaging -*-
"""
Where pika programs find the base class of all callback connections.

Owns nothing: it is L{txpika.adapters.callback}'s.
"""

from txpika.adapters.callback import BaseConnection

__all__ = ["BaseConnection"]
