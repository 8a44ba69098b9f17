# -*- test-case-name: txpika.test.test_callback_channel -*-
"""
Messages as pika programs know them: by the method of the protocol that brought them.

Owns the translation. Deliveries and returned messages themselves are L{txpika.message}'s.
"""

from __future__ import annotations

from txpika.message import Delivery, ReturnedMessage
from txpika.spec import Basic


def deliver_of(delivery: Delivery) -> Basic.Deliver:
    """@return: The C{basic.deliver} that brought it."""
    redelivered, exchange, routing_key = delivery._route
    return Basic.Deliver(delivery.consumer_tag, delivery.delivery_tag, redelivered, exchange, routing_key)


def get_ok_of(delivery: Delivery) -> Basic.GetOk:
    """@return: The C{basic.get-ok} that brought it."""
    redelivered, exchange, routing_key = delivery._route
    return Basic.GetOk(delivery.delivery_tag, redelivered, exchange, routing_key, delivery.message_count or 0)


def return_of(message: ReturnedMessage) -> Basic.Return:
    """@return: The C{basic.return} that brought it."""
    return Basic.Return(message.reply_code, message.reply_text, message.exchange, message.routing_key)
