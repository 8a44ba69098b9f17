import os

from twisted.internet.task import react

import txpika


async def main(reactor: object) -> None:
    connection = await txpika.connect(os.environ.get("TXPIKA_URI", "amqp://localhost"), reactor)
    channel = await connection.channel()
    await channel.queue_declare("greetings", durable=True)
    await channel.confirm_select()
    await channel.basic_publish("", "greetings", b"hello", txpika.BasicProperties(delivery_mode=2))
    async for delivery in await channel.basic_consume("greetings"):
        print(delivery.body.decode())
        delivery.ack()
        break
    await connection.close()


react(main)
