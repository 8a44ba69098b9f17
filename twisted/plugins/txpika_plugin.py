# -*- test-case-name: txpika.test.test_packaging -*-
"""
What C{twist} and C{twistd} find of txpika.

Twisted imports this file whenever it looks for any plugin, so it imports nothing heavy and never a reactor. The folders
above it must not have an C{__init__.py}.
"""

from twisted.application.service import ServiceMaker

consumer = ServiceMaker(
    "txpika consumer",
    "txpika.tap",
    "Call a Python function with each message from RabbitMQ queues.",
    "txpika-consumer",
)

relay = ServiceMaker(
    "txpika relay",
    "txpika.relay_tap",
    "Move messages from a queue on one RabbitMQ to an exchange on another.",
    "txpika-relay",
)

broker = ServiceMaker(
    "txpika broker",
    "txpika.broker_tap",
    "A broker in memory, for tests and demonstrations.",
    "txpika-broker",
)
