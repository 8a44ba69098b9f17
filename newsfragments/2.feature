Publish to and consume from RabbitMQ with Twisted: ``txpika.connect``, channels, publisher confirms, consumers by callback or ``async for``.
