# -*- test-case-name: benchmarks.test.test_processes -*-
"""
txpika with many publishes outstanding, on a transport in memory, against a broker that is a list of prepared bytes.

A real broker cannot be told to leave so many unconfirmed. This one confirms the oldest ten whenever ten more were
published: five of them one by one, the newest of these first, and then all ten by one frame that covers several. Run as
C{python -m benchmarks.clients.prepared} with a L{Task} on standard input; C{window} is how many are outstanding.
"""

from __future__ import annotations

import struct
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
    payload = method.encode()
    return struct.pack(">BHI", 1, number, len(payload)) + payload + b"\xce"


def confirms(first: int) -> bytes:
    """What the broker sends for so many publishes from this one on."""
    some = [frame(1, Basic.Ack(tag)) for tag in reversed(range(first, first + STEP // 2))]
    return b"".join([*some, frame(1, Basic.Ack(first + STEP - 1, True))])


class PreparedProgram:
    """One measurement."""

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        self.task = task
        self.clock = Clock()
        self.transport = Transport()
        self.confirmed = 0
        parameters = txpika.ConnectionParameters()
        parameters.confirm_window = task.window + STEP
        self.protocol = AMQPProtocol(parameters, self.clock)
        self.protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call, arg-type]
        capabilities = {"publisher_confirms": True, "basic.nack": True}
        self.send(0, ConnectionMethods.Start(0, 9, {"capabilities": capabilities}, b"PLAIN", b"en_US"))
        self.send(0, ConnectionMethods.Tune(2047, FRAME_MAX, 0))
        self.send(0, ConnectionMethods.OpenOk())
        self.channel = self.answered(self.protocol.channel(), ChannelMethods.OpenOk())
        self.answered(self.channel.confirm_select(), Confirm.SelectOk())

    def send(self, number: int, method: Method) -> None:
        """The broker says something."""
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

    def publish(self, messages: int) -> None:
        """Publish so many at once."""
        properties = self.properties
        for _ in range(messages):
            done = self.channel.basic_publish("", self.task.queue, self.body, properties)
            done.addCallback(self.on_confirm)
        self.clock.advance(0)

    def on_confirm(self, _result: object) -> None:
        """The broker has taken one."""
        self.confirmed += 1

    def steps(self, prepared: list[bytes]) -> None:
        """Publish some, and have as many of the oldest confirmed, again and again."""
        for data in prepared:
            self.publish(STEP)
            self.protocol.dataReceived(data)

    def run(self) -> None:
        """Measure, and print."""
        task = self.task
        self.properties = txpika.BasicProperties(delivery_mode=1)
        self.body = b"x" * task.size
        prepared = [confirms(first) for first in range(1, task.warmup + task.messages, STEP)]
        meter = Meter(task)
        for start in range(0, task.window, STEP):
            self.publish(min(STEP, task.window - start))
        self.steps(prepared[: task.warmup // STEP])
        meter.start()
        self.steps(prepared[task.warmup // STEP :])
        assert self.confirmed == task.warmup + task.messages, self.confirmed
        meter.stop("txpika")


if __name__ == "__main__":
    PreparedProgram(Task.from_stdin()).run()
