# -*- test-case-name: txpika.test.test_spec_facts -*-
"""
AMQP 0-9-1 as RabbitMQ speaks it: methods, properties, tables and numbers, to and from bytes.

Owns the layout of everything inside a frame's payload. Knows no frame, no state and no transport.
"""

from __future__ import annotations

from txpika.spec._constants import (
    ACCESS_REFUSED,
    CHANNEL_ERROR,
    COMMAND_INVALID,
    CONNECTION_FORCED,
    CONTENT_TOO_LARGE,
    FRAME_BODY,
    FRAME_END,
    FRAME_ERROR,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_MIN_SIZE,
    FRAME_MIN_SIZE_ACCEPTED,
    HARD_ERRORS,
    INTERNAL_ERROR,
    INVALID_PATH,
    NO_CONSUMERS,
    NO_ROUTE,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PERSISTENT_DELIVERY_MODE,
    PORT,
    PORT_TLS,
    PRECONDITION_FAILED,
    PROTOCOL_HEADER,
    REPLY_NAMES,
    REPLY_SUCCESS,
    RESOURCE_ERROR,
    RESOURCE_LOCKED,
    SOFT_ERRORS,
    SYNTAX_ERROR,
    TRANSIENT_DELIVERY_MODE,
    UNEXPECTED_FRAME,
)
from txpika.spec._methods import (
    METHODS,
    Basic,
    Channel,
    Confirm,
    Connection,
    Exchange,
    Queue,
    Tx,
)
from txpika.spec._properties import (
    BasicProperties,
)
from txpika.spec.base import (
    Method,
    Properties,
)
from txpika.spec.lookup import (
    decode_method,
)
from txpika.spec.table import (
    MAX_TABLE_DEPTH,
    MAX_TABLE_ITEMS,
    decode_table,
    encode_table,
)
from txpika.spec.wire import (
    MAX_SHORTSTR,
    Timestamp,
)

__all__ = [
    "ACCESS_REFUSED",
    "CHANNEL_ERROR",
    "COMMAND_INVALID",
    "CONNECTION_FORCED",
    "CONTENT_TOO_LARGE",
    "FRAME_BODY",
    "FRAME_END",
    "FRAME_ERROR",
    "FRAME_HEADER",
    "FRAME_HEARTBEAT",
    "FRAME_METHOD",
    "FRAME_MIN_SIZE",
    "FRAME_MIN_SIZE_ACCEPTED",
    "HARD_ERRORS",
    "INTERNAL_ERROR",
    "INVALID_PATH",
    "MAX_SHORTSTR",
    "MAX_TABLE_DEPTH",
    "MAX_TABLE_ITEMS",
    "METHODS",
    "NOT_ALLOWED",
    "NOT_FOUND",
    "NOT_IMPLEMENTED",
    "NO_CONSUMERS",
    "NO_ROUTE",
    "PERSISTENT_DELIVERY_MODE",
    "PORT",
    "PORT_TLS",
    "PRECONDITION_FAILED",
    "PROTOCOL_HEADER",
    "REPLY_NAMES",
    "REPLY_SUCCESS",
    "RESOURCE_ERROR",
    "RESOURCE_LOCKED",
    "SOFT_ERRORS",
    "SYNTAX_ERROR",
    "TRANSIENT_DELIVERY_MODE",
    "UNEXPECTED_FRAME",
    "Basic",
    "BasicProperties",
    "Channel",
    "Confirm",
    "Connection",
    "Exchange",
    "Method",
    "Properties",
    "Queue",
    "Timestamp",
    "Tx",
    "decode_method",
    "decode_table",
    "encode_table",
]
