# -*- test-case-name: benchmarks.test.test_processes -*-
"""
txpika with a great many of something, on a transport in memory, against a broker that is a list of prepared bytes.

How RabbitMQ groups what it sends depends on how many there are, and so does the cost of reading it; nor can it be told
to leave a hundred thousand publishes unconfirmed. Here the same bytes arrive in the same portions at both ends.
Run as C{python -m benchmarks.clients.prepared} with a L{Task} on standard input. It heeds:

  - with the action C{confirmed}, C{window}, how many publishes are outstanding all the time. Whenever ten more have
    been published the oldest ten are confirmed: five of them one by one, the newest of these first, then all ten by a
    frame that covers several;
  - with C{consume}, C{consumers}, which get messages in turn and ack each; or C{held}, how many deliveries are unacked
    all the time: of every two deliveries, one is acked as it comes and one when it has become the oldest.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import txpika
from benchmarks.measure import Meter, Task
from txpika.protocol import AMQPProtocol
from txpika.spec import Basic, Confirm, Method
from txpika.spec import Channel as ChannelMethods
from txpika.spec import Connection as ConnectionMethods

#: Messages published, and then confirmed, in one go.
STEP = 10
#: Deliveries that arrive in one go, some 9 kB.
PORTION = 50
FRAME_MAX = 131_072


class Transport:
    """Counts what is written, and takes all of it."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def writeSequence(self, data: list[bytes]) -> None:
        self.written += sum(map(len, data))

    def loseConnection(self) -> None:
        pass

    def abortConnection(self) -> None:
        pass

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass


def frame(number: int, method: Method) -> bytes:
    """A method on a channel, as section 4.2.3 of the specification has it."""
    return _frame(1, number, method.encode())


def _frame(kind: int, number: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, number, len(payload)) + payload + b"\xce"


def confirms(first: int) -> bytes:
    """What the broker sends to confirm a step of publishes from this one on."""
    some = [frame(1, Basic.Ack(tag)) for tag in reversed(range(first, first + STEP // 2))]
    return b"".join([*some, frame(1, Basic.Ack(first + STEP - 1, True))])


def deliveries(first: int, queue: str, body: bytes, tags: list[str]) -> bytes:
    """What the broker sends as a portion of deliveries from this one on, to the consumers in turn."""
    delivery_mode_1 = struct.pack(">HHQHB", 60, 0, len(body), 0x1000, 1)
    content = _frame(2, 1, delivery_mode_1) + _frame(3, 1, body)
    return b"".join(
        frame(1, Basic.Deliver(tags[tag % len(tags)], tag, False, "", queue)) + content
        for tag in range(first, first + PORTION)
    )


class PreparedProgram:
    """One measurement."""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.meter = Meter(task)
        self.body = b"x" * task.size
        self.clock = Clock()
        self.transport = Transport()
        self.done = 0
        parameters = txpika.ConnectionParameters()
        parameters.confirm_window = task.window + STEP
        self.protocol = AMQPProtocol(parameters, self.clock)
        self.protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        capabilities = {"publisher_confirms": True, "basic.nack": True}
        self.send(0, ConnectionMethods.Start(0, 9, {"capabilities": capabilities}, b"PLAIN", b"en_US"))
        self.send(0, ConnectionMethods.Tune(2047, FRAME_MAX, 0))
        self.send(0, ConnectionMethods.OpenOk())
        self.channel = self.answered(self.protocol.channel(), ChannelMethods.OpenOk())

    def send(self, number: int, method: Method) -> None:
        """The broker sends a method."""
        self.protocol.dataReceived(frame(number, method))
        self.clock.advance(0)

    def answered(self, asked: Deferred[Any], method: Method) -> Any:
        """
        @return: What the client makes of the broker's answer.
        """
        self.clock.advance(0)
        self.send(1, method)
        results: list[Any] = []
        asked.addCallback(results.append)
        return results[0]

    def run(self) -> None:
        """Measure, and print."""
        task = self.task
        (self.confirmed if task.action == "confirmed" else self.consume)()
        assert self.done == task.warmup + task.messages, self.done
        self.meter.stop("txpika")

    def confirmed(self) -> None:
        """Publish some, and have as many of the oldest confirmed, again and again."""
        task = self.task
        self.properties = txpika.BasicProperties(delivery_mode=1)
        self.answered(self.channel.confirm_select(), Confirm.SelectOk())
        prepared = [confirms(first) for first in range(1, task.warmup + task.messages, STEP)]
        for start in range(0, task.window, STEP):
            self.publish(min(STEP, task.window - start))
        for number, data in enumerate(prepared):
            if number == task.warmup // STEP:
                self.meter.start()
            self.publish(STEP)
            self.protocol.dataReceived(data)

    def publish(self, messages: int) -> None:
        """Publish this many at once."""
        publish, queue, body, properties = self.channel.basic_publish, self.task.queue, self.body, self.properties
        for _ in range(messages):
            publish("", queue, body, properties).addCallback(self.on_confirm)
        self.clock.advance(0)

    def on_confirm(self, _result: object) -> None:
        """The broker has taken one."""
        self.done += 1

    def consume(self) -> None:
        """Take one portion after another."""
        task = self.task
        self.held: deque[txpika.Delivery] = deque()
        self.acks_itself = False
        before = -(-2 * task.held // PORTION) * PORTION  # half of which are acked at once
        tags = [f"consumer-{number}" for number in range(task.consumers or 1)]
        for tag in tags:
            started = self.channel.basic_consume(
                task.queue, self.on_held if task.held else self.on_delivery, consumer_tag=tag
            )
            self.answered(started, Basic.ConsumeOk(tag))
        for first in range(1, before + task.warmup, PORTION):
            self.receive(first, tags)
        prepared = [
            deliveries(before + task.warmup + first, task.queue, self.body, tags)
            for first in range(1, task.messages, PORTION)
        ]
        self.done = task.warmup
        self.meter.start()
        for data in prepared:
            self.protocol.dataReceived(data)
            self.clock.advance(0)

    def receive(self, first: int, tags: list[str]) -> None:
        """One portion, not prepared."""
        self.protocol.dataReceived(deliveries(first, self.task.queue, self.body, tags))
        self.clock.advance(0)

    def on_delivery(self, delivery: txpika.Delivery) -> None:
        """Ack, and count."""
        delivery.ack()
        self.done += 1

    def on_held(self, delivery: txpika.Delivery) -> None:
        """Ack this one, or keep it and ack the oldest instead; then count."""
        self.acks_itself = not self.acks_itself
        if self.acks_itself:
            delivery.ack()
        else:
            self.held.append(delivery)
            if len(self.held) > self.task.held:
                self.held.popleft().ack()
        self.done += 1


if __name__ == "__main__":
    PreparedProgram(Task.from_stdin()).run()
