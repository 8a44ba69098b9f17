# -*- test-case-name: txpika.test.test_legacy_names -*-
"""
Where pika programs of 2011 find what a connection is made with, and its base class.

Owns nothing: each is of another module.
"""

from txpika.adapters.callback import BaseConnection
from txpika.credentials import PlainCredentials
from txpika.parameters import ConnectionParameters

__all__ = ["Connection", "ConnectionParameters", "PlainCredentials"]

Connection = BaseConnection
