"""
Every adapter of the callback API and the blocking facade, behind one small interface, for scenarios written once.

Owns how a step is waited for: by running the adapter's own loop until a condition or a deadline. To put another adapter
through all scenarios, add one line to L{DRIVERS}.
"""

from __future__ import annotations

import asyncio
import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import txpika
from txpika.adapters.loop import IOLoop
from txpika.exceptions import CloseReason, NackError, ReturnedError
from txpika.spec import Basic

#: Seconds one step may take.
DEADLINE = 30.0
#: Seconds between two looks at a condition that no event of the loop tells of.
LOOK = 0.002

#: Exchange, routing key and body; properties and mandatory if need be.
Publish = tuple[Any, ...]


class Refused(Exception):
    """The broker closed the channel for what was asked."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


class Driver(ABC):
    """
    One adapter and its connection.

    @cvar calls_back: What happens is told by callbacks; else methods wait.
    @ivar any_thread: Its methods may be called from any thread.
    @ivar connection: The present one.
    @ivar opened: How often it was told to be open.
    @ivar closed: How often it was told to be closed.
    @ivar errors: Why attempts to connect failed.
    """

    calls_back: ClassVar[bool]

    def __init__(self) -> None:
        self.connection: Any = None
        self.any_thread = False
        self.opened = 0
        self.closed = 0
        self.errors: list[Exception] = []

    @abstractmethod
    def begin(self, parameters: txpika.ConnectionParameters, strategy: Any = None) -> None:
        """Make a connection; it may not be open yet."""

    def connect(self, parameters: txpika.ConnectionParameters, strategy: Any = None) -> None:
        """Until it is open. @raise Exception: Why it is not."""
        self.begin(parameters, strategy)
        self.until(lambda: self.opened or self.errors)
        if self.errors:
            raise self.errors[-1]

    @abstractmethod
    def until(self, condition: Callable[[], object], pause: float = LOOK) -> None:
        """Run until it is true, with a look each C{pause} seconds. @raise AssertionError: nothing comes of it."""

    @abstractmethod
    def channel(self) -> Any:
        """An open one."""

    @abstractmethod
    def call(self, channel: Any, name: str, **arguments: Any) -> Any:
        """A method of the channel that the broker answers; the answer. @raise Refused: it closed the channel."""

    @abstractmethod
    def get(self, channel: Any, queue: str, no_ack: bool = False) -> tuple[Any, Any, Any]:
        """C{Basic.GetOk}, properties and body, or C{Basic.GetEmpty} and nothing."""

    @abstractmethod
    def consume(self, channel: Any, on_message: Callable[..., object], queue: str, **arguments: Any) -> str:
        """The consumer tag, once the broker has answered."""

    @abstractmethod
    def publish_confirmed(self, channel: Any, messages: Iterable[Publish]) -> list[str]:
        """The first ones on this channel, in confirm mode: C{acked}, C{nacked} or C{returned}, for each."""

    @abstractmethod
    def publish(self, channel: Any, messages: Iterable[Publish]) -> None:
        """Without confirm mode, all at once."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection, and wait for the end."""

    @abstractmethod
    def dispose(self) -> None:
        """Close what is open, and let go of the loop."""


class LoopDriver(Driver):
    """A class of the callback API on its loop, run by C{start()} or C{run_forever()}."""

    calls_back = True

    def __init__(self, name: str, make_loop: Callable[[], Any] | None = None) -> None:
        """
        @param name: Of the class, among txpika's public names.
        @param make_loop: A loop of its own; C{None}: the one it takes by itself.
        """
        super().__init__()
        self._class = getattr(txpika, name)
        self._loop = None if make_loop is None else make_loop()

    def begin(self, parameters: txpika.ConnectionParameters, strategy: Any = None) -> None:
        loop = {} if self._loop is None else {"custom_ioloop": self._loop}
        self.opened, self.closed, self.errors = 0, 0, []
        self.connection = self._class(
            parameters,
            self._on_open,
            strategy,
            on_open_error_callback=lambda connection, error: self.errors.append(error),
            on_close_callback=self._on_close,
            **loop,
        )

    def _on_open(self, connection: Any) -> None:
        assert connection is self.connection
        self.opened += 1

    def _on_close(self, connection: Any) -> None:
        assert connection is self.connection
        self.closed += 1

    def until(self, condition: Callable[[], object], pause: float = LOOK) -> None:
        connection, loop = self.connection, self.connection.ioloop
        deadline = time.monotonic() + DEADLINE

        def look() -> None:
            if condition() or time.monotonic() > deadline:
                loop.stop()
            else:
                connection.add_timeout(pause, look)

        if not condition():
            connection.add_timeout(0, look)
            (loop.start if hasattr(loop, "start") else loop.run_forever)()
        assert condition(), f"nothing came of it within {DEADLINE} seconds: {connection!r}"

    def channel(self) -> Any:
        opened: list[Any] = []
        channel = self.connection.channel(opened.append)
        channel.add_on_close_callback(lambda code, text: None)
        self.until(lambda: opened)
        assert opened == [channel]
        return channel

    def _answer(self, channel: Any, answers: list[Any]) -> Any:
        self.until(lambda: answers or channel.is_closed)
        if not answers:
            raise Refused(*channel.closing)
        return answers[0]

    def call(self, channel: Any, name: str, **arguments: Any) -> Any:
        answers: list[Any] = []
        getattr(channel, name)(callback=answers.append, **arguments)
        frame = self._answer(channel, answers)
        assert frame.channel_number == channel.channel_number
        return frame.method

    def get(self, channel: Any, queue: str, no_ack: bool = False) -> tuple[Any, Any, Any]:
        answers: list[Any] = []
        empty: list[Any] = []
        channel.add_callback(empty.append, [Basic.GetEmpty], one_shot=True)
        channel.basic_get(lambda *message: answers.append(message), queue=queue, no_ack=no_ack)
        self.until(lambda: answers or empty or channel.is_closed)
        if answers:
            where, method, properties, body = answers[0]
            assert where is channel
            self.connection.callbacks.remove(channel.channel_number, Basic.GetEmpty, empty.append)
            return method, properties, body
        if not empty:
            raise Refused(*channel.closing)
        return empty[0].method, None, None

    def consume(self, channel: Any, on_message: Callable[..., object], queue: str, **arguments: Any) -> str:
        answers: list[Any] = []
        tag = channel.basic_consume(on_message, queue, callback=answers.append, **arguments)
        assert self._answer(channel, answers).method.consumer_tag == tag
        return str(tag)

    def publish_confirmed(self, channel: Any, messages: Iterable[Publish]) -> list[str]:
        said: dict[int, str] = {}
        returned: list[Any] = []

        def settled(frame: Any) -> None:
            # A message that comes back is told of just before its confirmation.
            word = {"Basic.Ack": "acked", "Basic.Nack": "nacked"}[frame.method.NAME]
            assert frame.method.delivery_tag not in said
            said[frame.method.delivery_tag] = "returned" if returned else word
            returned.clear()

        channel.confirm_delivery(settled)
        channel.add_on_return_callback(lambda *message: returned.append(message))
        count = 0
        for message in messages:
            channel.basic_publish(*message)
            count += 1
        self.until(lambda: len(said) == count or channel.is_closed)
        return [said[number] for number in range(1, count + 1)]

    def publish(self, channel: Any, messages: Iterable[Publish]) -> None:
        for message in messages:
            channel.basic_publish(*message)

    def close(self) -> None:
        self.connection.close()
        self.until(lambda: self.connection.is_closed and self.connection.state != "connecting")

    def dispose(self) -> None:
        if self.connection is not None:
            self.close()
            self._loop = self.connection.ioloop
        if self._loop is not None:
            self._loop.close()


class BlockingDriver(Driver):
    """C{BlockingConnection}, with or without a thread of its own."""

    calls_back = False

    def __init__(self, io_thread: bool) -> None:
        super().__init__()
        self._io_thread = self.any_thread = io_thread

    def begin(self, parameters: txpika.ConnectionParameters, strategy: Any = None) -> None:
        self.opened, self.closed, self.errors = 0, 0, []
        try:
            self.connection = txpika.BlockingConnection(parameters, strategy, io_thread=self._io_thread)
        except Exception as error:
            self.errors.append(error)
            return
        self.connection.add_on_close_callback(self._on_close)
        self.opened += 1

    def _on_close(self, connection: Any) -> None:
        assert connection is self.connection
        self.closed += 1

    def until(self, condition: Callable[[], object], pause: float = LOOK) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition() and time.monotonic() < deadline:
            if self.connection.is_closed and not self.connection.something():
                break
            self.connection.process_data_events(pause)
        assert condition(), f"nothing came of it within {DEADLINE} seconds: {self.connection!r}"

    def channel(self) -> Any:
        return self.connection.channel()

    def _refusal(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        try:
            return function(*arguments, **more)
        except CloseReason as error:
            if error.initiator == "peer":
                raise Refused(error.reply_code, error.reply_text) from error
            raise

    def call(self, channel: Any, name: str, **arguments: Any) -> Any:
        return self._refusal(getattr(channel, name), **arguments)

    def get(self, channel: Any, queue: str, no_ack: bool = False) -> tuple[Any, Any, Any]:
        got: tuple[Any, Any, Any] = self._refusal(channel.basic_get, queue=queue, no_ack=no_ack)
        return got

    def consume(self, channel: Any, on_message: Callable[..., object], queue: str, **arguments: Any) -> str:
        tag: str = self._refusal(channel.basic_consume, on_message, queue, block=False, **arguments)
        return tag

    def publish_confirmed(self, channel: Any, messages: Iterable[Publish]) -> list[str]:
        channel.confirm_delivery()
        words = {type(None): "acked", NackError: "nacked", ReturnedError: "returned"}
        return [words[type(outcome)] for outcome in channel.publish_many(messages)]

    def publish(self, channel: Any, messages: Iterable[Publish]) -> None:
        assert not any(channel.publish_many(messages))

    def close(self) -> None:
        self.connection.close()

    def dispose(self) -> None:
        if self.connection is not None:
            self.connection.close()


def on_poller(name: str) -> Callable[[], Driver]:
    """C{SelectConnection} on one of the pollers."""
    return functools.partial(LoopDriver, "SelectConnection", functools.partial(IOLoop, name))


def on_asyncio() -> Driver:
    """C{AsyncioConnection}, on a loop of its own."""
    return LoopDriver("AsyncioConnection", asyncio.new_event_loop)


def on_tornado() -> Driver:
    """C{TornadoConnection}, on a loop of its own."""
    from tornado.ioloop import IOLoop as TornadoLoop

    return LoopDriver("TornadoConnection", lambda: TornadoLoop(make_current=False))


def on_asyncore() -> Driver:
    """C{AsyncoreConnection}, on the loop it takes by itself."""
    return LoopDriver("AsyncoreConnection")


#: All that scenarios run on, by the name of their test class. One line makes it one more.
DRIVERS: dict[str, Callable[[], Driver]] = {
    "Select": on_poller("select"),
    "Poll": on_poller("poll"),
    "EPoll": on_poller("epoll"),
    "KQueue": on_poller("kqueue"),
    "Asyncio": on_asyncio,
    "Tornado": on_tornado,
    "Asyncore": on_asyncore,
    "Blocking": functools.partial(BlockingDriver, False),
    "BlockingThread": functools.partial(BlockingDriver, True),
}
