# -*- test-case-name: txpika.test.test_opentelemetry -*-
"""
OpenTelemetry's names for messaging with RabbitMQ.

Owns every name that L{txpika.instruments.opentelemetry} gives away, and how a destination is written. They follow the
semantic conventions at commit 384d661 of open-telemetry/semantic-conventions (docs/messaging/rabbitmq.md, which builds
on messaging-spans.md and messaging-metrics.md). Those are in status Development: they may change, and then these do,
with a news fragment.
"""

from __future__ import annotations

SYSTEM = "messaging.system"
RABBITMQ = "rabbitmq"

OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"

#: Values of C{messaging.operation.name}: what AMQP calls it.
PUBLISH = "publish"
RECEIVE = "receive"
DELIVER = "deliver"
PROCESS = "process"

#: Values of C{messaging.operation.type}.
TYPE_SEND = "send"
TYPE_RECEIVE = "receive"
TYPE_PROCESS = "process"
TYPE_SETTLE = "settle"

DESTINATION_NAME = "messaging.destination.name"
DESTINATION_TEMPLATE = "messaging.destination.template"
ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
DELIVERY_TAG = "messaging.rabbitmq.message.delivery_tag"
MESSAGE_ID = "messaging.message.id"
CONVERSATION_ID = "messaging.message.conversation_id"
BODY_SIZE = "messaging.message.body.size"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
PEER_ADDRESS = "network.peer.address"
PEER_PORT = "network.peer.port"
ERROR_TYPE = "error.type"

OPERATION_DURATION = "messaging.client.operation.duration"
SENT_MESSAGES = "messaging.client.sent.messages"
CONSUMED_MESSAGES = "messaging.client.consumed.messages"
PROCESS_DURATION = "messaging.process.duration"

#: Boundaries of both histograms, in seconds.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

#: The destination of what goes through the default exchange with an empty routing key.
DEFAULT_DESTINATION = "amq.default"


def destination(*parts: str) -> str:
    """
    @param parts: Exchange, routing key, and for a consumer the queue; any may be empty.
    @return: The value of C{messaging.destination.name}: those that are not empty, equal ones once, joined by colons.
    """
    return ":".join(dict.fromkeys(part for part in parts if part)) or DEFAULT_DESTINATION


def error_type(error: BaseException) -> str:
    """@return: The value of C{error.type}: the full name of its class, or the bare one of a builtin."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
