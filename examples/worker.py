"""
A handler for C{twist txpika-consumer}. It may also return a Deferred, or be a plain function.
"""

import txpika


async def handle(delivery: txpika.Delivery) -> None:
    print(delivery.body.decode(), flush=True)
