# -*- test-case-name: benchmarks.test.test_processes -*-
"""
One measurement of txpika's C{SelectConnection} or C{AsyncioConnection}: callbacks.

Publishes come in chunks between two turns of the loop, as with pika, though txpika's queue has a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import txpika
from benchmarks.clients.callbacks import CallbackProgram
from benchmarks.measure import Task


class TxpikaCallbackProgram(CallbackProgram):
    """On the API of callbacks."""

    library = "txpika"

    def __init__(self, task: Task) -> None:
        """
        @param task: What to measure.
        """
        super().__init__(task)
        self.properties = txpika.BasicProperties(delivery_mode=1)
        self.made: Any = {"select": txpika.SelectConnection, "asyncio": txpika.AsyncioConnection}[task.adapter]

    def connect(self, on_open: Callable[[Any], object]) -> Any:
        return self.made(
            self.task.uri, on_open, on_open_error_callback=self.on_failure, on_close_callback=self.on_close
        )

    def on_failure(self, connection: Any, error: object) -> None:
        """There is no connection."""
        raise SystemExit(f"txpika: {error!r}")

    def on_close(self, connection: Any) -> None:
        """It ended, as it should when everything was measured."""
        self.stop_loop()

    def run_loop(self) -> None:
        if self.task.adapter == "asyncio":
            self.connection.ioloop.run_forever()
        else:
            self.connection.ioloop.start()

    def stop_loop(self) -> None:
        self.connection.ioloop.stop()

    def soon(self, call: Callable[[], object]) -> None:
        self.connection.ioloop.call_later(0, call)

    def open_channel(self, on_open: Callable[[Any], object]) -> None:
        self.connection.channel(on_open)

    def ask(self, on_answer: Callable[[Any], object]) -> None:
        self.channel.queue_declare(on_answer, queue=self.task.queue, passive=True)

    def qos(self, on_answer: Callable[[Any], object]) -> None:
        self.channel.basic_qos(on_answer, prefetch_count=self.task.prefetch, global_=self.together)

    def start_consumer(self, on_message: Callable[..., object], on_started: Callable[[Any], object]) -> None:
        no_ack = self.task.action == "auto_ack"
        self.channel.basic_consume(on_message, queue=self.task.queue, no_ack=no_ack, callback=on_started)

    def select_confirms(self, on_confirm: Callable[[Any], object], on_selected: Callable[[Any], object]) -> None:
        self.channel.confirm_delivery(on_confirm)
        on_selected(None)  # what is called from here on comes after it


if __name__ == "__main__":
    TxpikaCallbackProgram(Task.from_stdin()).run()
