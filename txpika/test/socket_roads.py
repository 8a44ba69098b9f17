"""
The hot roads of the callback API, as C{SelectConnection} has it, and of blocking connections, over a socket in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from txpika import BlockingConnection, SelectConnection
from txpika.test.memory_socket import ObligingPeer
from txpika.test.roads import (
    BATCH,
    BODY,
    DECLARED,
    LARGE,
    PROPERTIES,
    QUIET,
    Face,
    Road,
    acks,
    again,
    deliveries,
    gotten,
    returned,
)


class SocketFace(Face):
    """What both faces over a socket have in common."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.peer = ObligingPeer()
        self.peer.serve(stack)
        self.socket = self.peer.socket

    @property
    def writes(self) -> int:
        return self.socket.sends

    def _answering(self, run: Callable[[], object], prepare: Callable[[], list[bytes]]) -> Road:
        """Each that is sent is answered by the next reply."""
        waiting: Iterator[bytes] = iter(())

        def batch(replies: list[bytes]) -> None:
            nonlocal waiting
            waiting = iter(replies)
            for _ in range(BATCH):
                run()

        self.socket.on_send = lambda data: self.socket.give(next(waiting))
        return Road(batch, prepare)

    def _silent(self, road: Road) -> Road:
        """Nothing that is sent is answered."""
        self.socket.on_send = lambda data: None
        return road


class SelectFace(SocketFace):
    """The channel of C{SelectConnection}."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.connection = SelectConnection(QUIET, custom_ioloop=None)
        self.loop = self.connection.ioloop
        stack.callback(self.loop.close)
        while not self.connection.is_open:
            self._turn()
        self.channel: Any = self.connection.channel(lambda channel: None)
        self._turns(4)

    def _turn(self) -> None:
        self.loop.run_once(0)

    def _turns(self, count: int) -> None:
        for _ in range(count):
            self.loop.run_once(0)

    def _consuming(self, on_message: Callable[..., object], no_ack: bool = True) -> None:
        self.channel.basic_consume(on_message, "q", no_ack=no_ack, consumer_tag="t")
        self._turns(4)

    def _reading(self, prepare: Callable[[], bytes]) -> Road:
        def run(data: bytes) -> None:
            self.socket.give(data)
            self._turns(2)

        return self._silent(Road(run, prepare))

    def publish(self) -> Road:
        def batch(_nothing: None) -> None:
            for _ in range(BATCH):
                self.channel.basic_publish("", "q", BODY, PROPERTIES)
                self.done += 1
            self._turn()

        return self._silent(Road(batch))

    def publish_large(self) -> Road:
        def run(_: None) -> None:
            self.channel.basic_publish("", "q", LARGE, PROPERTIES)
            self._turn()
            self.done += 1

        return self._silent(Road(run, messages=1))

    def _confirmed(self, prepare: Callable[[], bytes], mandatory: bool = False) -> Road:
        self.channel.confirm_delivery(self._count)
        self._turns(4)

        def run(confirmations: bytes) -> None:
            for _ in range(BATCH):
                self.channel.basic_publish("", "q", BODY, PROPERTIES, mandatory)
            self._turn()
            self.socket.give(confirmations)
            self._turn()

        return self._silent(Road(run, prepare))

    def confirmed_one_by_one(self) -> Road:
        return self._confirmed(acks().joined)

    def confirmed_together(self) -> Road:
        return self._confirmed(acks(multiple=True).only_last)

    def mandatory(self) -> Road:
        return self._confirmed(acks(multiple=True).only_last, mandatory=True)

    def mandatory_returned(self) -> Road:
        return self._confirmed(returned(), mandatory=True)

    def deliver(self) -> Road:
        self._consuming(self._count)
        return self._reading(deliveries().joined)

    def deliver_large(self) -> Road:
        self._consuming(self._count)

        def run(messages: list[bytes]) -> None:
            for message in messages:
                self.socket.give(message)
            self._turns(4)

        source = deliveries(LARGE)
        return self._silent(Road(run, lambda: source.each(1), 1))

    def deliver_split(self) -> Road:
        self._consuming(self._count)

        def run(halves: list[bytes]) -> None:
            for half in halves:
                self.socket.give(half)
                self._turn()

        return self._silent(Road(run, deliveries().halves))

    def deliver_and_ack(self) -> Road:
        def on_message(channel: Any, deliver: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(deliver.delivery_tag)
            self.done += 1

        self._consuming(on_message, no_ack=False)
        return self._reading(deliveries().joined)

    def get(self) -> Road:
        def run() -> None:
            self.channel.basic_get(self._count, queue="q", no_ack=True)
            self._turns(2)

        return self._answering(run, gotten().each)

    def declare(self) -> Road:
        def run() -> None:
            self.channel.queue_declare(self._count, queue="q", passive=True)
            self._turns(2)

        return self._answering(run, again(DECLARED))


class BlockingFace(SocketFace):
    """The channel of C{BlockingConnection}, without a thread of its own."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.connection = BlockingConnection(QUIET)
        stack.callback(self.connection.waiter.close)
        self.channel: Any = self.connection.channel()

    def _reading(self, prepare: Callable[[], Any]) -> Road:
        def run(data: bytes) -> None:
            self.socket.give(data)
            self.connection.process_data_events(0)

        return self._silent(Road(run, prepare))

    def publish(self) -> Road:
        def batch(_nothing: None) -> None:
            for _ in range(BATCH):
                self.channel.basic_publish("", "q", BODY, PROPERTIES)
                self.done += 1
            self.connection.process_data_events(0)  # what was put off until a turn of the loop is part of the cost

        return self._silent(Road(batch))

    def publish_large(self) -> Road:
        def run(_: None) -> None:
            self.channel.basic_publish("", "q", LARGE, PROPERTIES)
            self.connection.process_data_events(0)
            self.done += 1

        return self._silent(Road(run, messages=1))

    def publish_many(self) -> Road:
        """With confirms, all in one call."""
        self.channel.confirm_delivery()
        messages = [("", "q", BODY, PROPERTIES)] * BATCH

        def run(confirmation: bytes) -> None:
            self.socket.on_send = lambda data: self.socket.give(confirmation)
            self.done += self.channel.publish_many(messages).count(None)

        return Road(run, acks(multiple=True).only_last)

    def _confirmed(self, mandatory: bool) -> Road:
        self.channel.confirm_delivery()

        def run() -> None:
            self.channel.basic_publish("", "q", BODY, PROPERTIES, mandatory)
            self.done += 1

        return self._answering(run, acks().each)

    def confirmed_one_by_one(self) -> Road:
        return self._confirmed(False)

    def mandatory(self) -> Road:
        return self._confirmed(True)

    def _consume(self, on_message: Callable[..., object], no_ack: bool = True) -> None:
        self.channel.basic_consume(on_message, "q", no_ack=no_ack, consumer_tag="t", block=False)

    def deliver(self) -> Road:
        self._consume(self._count)
        return self._reading(deliveries().joined)

    def deliver_large(self) -> Road:
        self._consume(self._count)

        def run(messages: list[bytes]) -> None:
            for message in messages:
                self.socket.give(message)
            self.connection.process_data_events(None)

        source = deliveries(LARGE)
        return self._silent(Road(run, lambda: source.each(1), 1))

    def deliver_split(self) -> Road:
        self._consume(self._count)

        def run(halves: list[bytes]) -> None:
            for half in halves:
                self.socket.give(half)
                self.connection.process_data_events(0)

        return self._silent(Road(run, deliveries().halves))

    def deliver_and_ack(self) -> Road:
        def on_message(channel: Any, deliver: Any, properties: Any, body: bytes) -> None:
            channel.basic_ack(deliver.delivery_tag)
            self.done += 1

        self._consume(on_message, no_ack=False)
        return self._reading(deliveries().joined)

    def iterate_and_ack(self) -> Road:
        messages = self.channel.consume("q", consumer_tag="t")

        def run(data: bytes) -> None:
            self.socket.give(data)
            for _ in range(BATCH):
                deliver, _properties, _body = next(messages)
                self.channel.basic_ack(deliver.delivery_tag)
                self.done += 1

        return self._silent(Road(run, deliveries().joined))

    def get(self) -> Road:
        def run() -> None:
            self.channel.basic_get(queue="q", no_ack=True)
            self.done += 1

        return self._answering(run, gotten().each)

    def declare(self) -> Road:
        def run() -> None:
            self.channel.queue_declare(queue="q", passive=True)
            self.done += 1

        return self._answering(run, again(DECLARED))
