# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of pika's C{SelectConnection} or C{AsyncioConnection}: callbacks.

Publishes come in chunks between two turns of the loop: pika queues without bound what is published in one turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from benchmarks.clients.callbacks import CallbackProgram
from benchmarks.measure import Task


class PikaCallbackProgram(CallbackProgram):
    """On the API of callbacks."""

    library = "pika"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.properties: Any = pika.BasicProperties(delivery_mode=1)
        self.made: Any = {"select": pika.SelectConnection, "asyncio": AsyncioConnection}[task.adapter]
        self.loop: Any = None
        self.error: object = None

    def connect(self, on_open: Callable[[Any], object]) -> Any:
        connection = self.made(
            pika.URLParameters(self.task.uri),
            on_open_callback=on_open,
            on_open_error_callback=self.on_failure,
            on_close_callback=self.on_close,
            custom_ioloop=self.loop,
        )
        self.loop = connection.ioloop
        return connection

    def on_failure(self, connection: Any, error: object) -> None:
        """There is no connection."""
        self.error = error
        self.stop_loop()

    def on_close(self, connection: Any, reason: object) -> None:
        """It ended, as it should when everything was measured."""
        self.stop_loop()

    def run_loop(self) -> None:
        if self.task.adapter == "asyncio":
            self.loop.run_forever()
        else:
            self.loop.start()
        if self.error is not None:
            raise SystemExit(f"pika: {self.error!r}")

    def stop_loop(self) -> None:
        self.loop.stop()

    def soon(self, call: Callable[[], object]) -> None:
        self.loop.call_later(0, call)

    def open_channel(self, on_open: Callable[[Any], object]) -> None:
        self.connection.channel(on_open_callback=on_open)

    def ask(self, on_answer: Callable[[Any], object]) -> None:
        self.channel.queue_declare(self.task.queue, passive=True, callback=on_answer)

    def qos(self, on_answer: Callable[[Any], object]) -> None:
        self.channel.basic_qos(prefetch_count=self.task.prefetch, global_qos=self.together, callback=on_answer)

    def start_consumer(self, on_message: Callable[..., object], on_started: Callable[[Any], object]) -> None:
        auto_ack = self.task.action == "auto_ack"
        self.channel.basic_consume(self.task.queue, on_message, auto_ack, callback=on_started)

    def select_confirms(self, on_confirm: Callable[[Any], object], on_selected: Callable[[Any], object]) -> None:
        self.channel.confirm_delivery(on_confirm, callback=on_selected)


if __name__ == "__main__":
    PikaCallbackProgram(Task.from_stdin()).run()
