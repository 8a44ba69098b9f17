# -*- test-case-name: txpika.test.test_spec_methods -*-
"""
From the payload of a method frame to the method.

Knows that methods have numbers, and no method in particular.
"""

from __future__ import annotations

from txpika.exceptions import DecodeError
from txpika.spec._methods import METHODS
from txpika.spec.wire import LONG, truncated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from txpika.spec.base import Method


def decode_method(payload: bytes) -> tuple[Method, int]:
    """
    @param payload: The payload of a method frame.
    @return: The method, and how many bytes were left over after its last argument. They are harmless (some peers pad
        their methods) but worth counting.
    @raise DecodeError: 501 for arguments that are cut short, 502 for an illegal value in a table, 503 for a method
        that does not exist. Nothing else is raised.
    """
    if len(payload) < 4:
        raise truncated("a method")
    index = LONG.unpack_from(payload, 0)[0]
    method = METHODS.get(index)
    if method is None:
        raise DecodeError(f"there is no method {index & 0xFFFF} of class {index >> 16}", 503)
    decoded, end = method.read(payload, 4)
    return decoded, len(payload) - end
