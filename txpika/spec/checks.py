# -*- test-case-name: txpika.test.test_properties -*-
"""
What RabbitMQ requires of particular properties beyond their wire type.

Owns the rules whose breach costs a publisher its channel (406) though the message was well-formed. Each such function
takes the place, in the generated code, of the one for the plain wire type.
"""

from __future__ import annotations

from txpika.spec.wire import encode_octet, encode_shortstr


def encode_delivery_mode(value: int, where: str) -> bytes:
    """
    @param value: 1 (transient) or 2 (persistent).
    @raise ValueError: It is another number.
    @raise TypeError: It is not an int.
    """
    data = encode_octet(value, where)
    if value not in (1, 2):
        raise ValueError(f"{where} must be 1 (transient) or 2 (persistent)")
    return data


def encode_expiration(value: str, where: str) -> bytes:
    """
    @param value: Milliseconds, as decimal digits (rabbitmq.com/docs/ttl).
    @raise ValueError: It contains anything but digits.
    @raise TypeError: It is not a str.
    """
    data = encode_shortstr(value, where)
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{where} must be a number of milliseconds in decimal digits")
    return data
