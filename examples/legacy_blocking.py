"""
The blocking program that pika's README had in 2011: it sends one message to the queue C{test_q}.

Only the import line differs.
"""

import txpika as pika

parameters = pika.ConnectionParameters("localhost")
conn = pika.BlockingConnection(parameters)
ch = conn.channel()
ch.exchange_declare(exchange="test_x", type="fanout", durable=False)
ch.queue_declare(queue="test_q", durable=True, exclusive=False, auto_delete=False)
ch.queue_bind(queue="test_q", exchange="test_x", routing_key="")
ch.basic_publish(
    exchange="test_x",
    routing_key="",
    body="Hello World!",
    properties=pika.BasicProperties(content_type="text/plain", delivery_mode=2),
)
conn.close()
