"""
What the blocking connection adds to that of 2011: answers, confirmed messages, a loop over messages, and a thread that
serves the network while the program works.
"""

import os

import txpika

uri = os.environ.get("TXPIKA_URI", "amqp://localhost")
with txpika.BlockingConnection(uri, io_thread=True) as connection, connection.channel() as channel:
    queue = channel.queue_declare(exclusive=True).queue
    channel.confirm_delivery()
    outcomes = channel.publish_many(("", queue, f"task {number}") for number in range(1000))
    print("taken:", outcomes.count(None), "not taken:", len(outcomes) - outcomes.count(None))

    channel.basic_qos(prefetch_count=100)
    done = 0
    for method, _properties, _body in channel.consume(queue, inactivity_timeout=5):
        if method is None:
            break
        done += 1  # work as long as you like: heartbeats go on meanwhile
        channel.basic_ack(method.delivery_tag)
        if done == 1000:
            break
    print("done:", done, "handed back:", channel.cancel())

    try:
        channel.basic_publish("", "no such queue", b"", mandatory=True)
    except txpika.exceptions.ReturnedError as error:
        print("came back:", error.message.reply_text)
