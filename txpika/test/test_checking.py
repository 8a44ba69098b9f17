"""Tests for arguments that programs for later versions of pika, or for asyncio, pass to channels."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import AsyncMock, Mock

from twisted.trial.unittest import SynchronousTestCase

from txpika.adapters.checking import need_handler
from txpika.test.fakes import CallbackPeer
from txpika.test.test_blocking_connection import BlockingTestCase


async def on_message(*_: Any) -> None:
    """As programs for aio-pika have it."""


async def on_message_with_yield(*_: Any) -> Any:
    """Makes an asynchronous generator, in which nothing runs before somebody asks for what it yields."""
    yield


class Handling:
    """Handlers of other kinds."""

    async def on_message(self, *_: Any) -> None:
        """One message."""

    async def __call__(self, *_: Any) -> None:
        """One message."""


class HandlerTests(SynchronousTestCase):
    """What may be a handler of messages."""

    def test_async(self) -> None:
        """It was called and never awaited: no message was handled, and all that told so was a C{RuntimeWarning}."""
        many = [on_message, on_message_with_yield, Handling().on_message, Handling(), AsyncMock()]
        for handler in (*many, partial(partial(on_message), 1)):
            error = self.assertRaises(TypeError, need_handler, "consumer", handler)
            self.assertIn("consumer is async, and is never awaited here", str(error))

    def test_plain(self) -> None:
        plain: list[Any] = [lambda *_: None, partial(print, "x"), print, [].append, Mock(), Handling]
        for handler in plain:
            need_handler("consumer", handler)

    def test_not_callable(self) -> None:
        for wrong in (None, "x"):
            error = self.assertRaises(TypeError, need_handler, "consumer", wrong)
            self.assertEqual(str(error), f"consumer must be callable, not {type(wrong).__name__}")


class CallbackTests(SynchronousTestCase):
    """Channels with callbacks."""

    def setUp(self) -> None:
        self.peer = CallbackPeer().open()
        self.channel: Any = self.peer.open_channel()
        self.peer.methods()

    def test_async_handler(self) -> None:
        error = self.assertRaises(TypeError, self.channel.basic_consume, on_message, queue="q")
        self.assertIn("consumer_callback is async", str(error))
        self.assertEqual((self.peer.methods(), self.channel.consumer_tags), ([], []))

    def test_queue_in_the_place_of_a_ticket(self) -> None:
        error = self.assertRaises(TypeError, self.channel.queue_declare, None, "work")
        self.assertEqual(str(error), "ticket must be int, not str: pass queue=... and the like by name")

    def test_wrong_body(self) -> None:
        error = self.assertRaises(TypeError, self.channel.basic_publish, "", "q", {"a": 1})
        self.assertEqual(str(error), "body must be str, bytes, bytearray or memoryview, not dict")
        self.assertEqual(self.peer.methods(), [])


class BlockingTests(BlockingTestCase):
    """Channels that wait."""

    def test_async_handler(self) -> None:
        error = self.assertRaises(TypeError, self.channel.basic_consume, on_message, queue=self.queue)
        self.assertIn("consumer is async", str(error))
        self.assertEqual(self.channel.consumer_tags, [])

    def test_queue_in_the_place_of_a_ticket(self) -> None:
        """C{channel.queue_declare("work")} is what pika has taken since 2012."""
        declare: Any = self.channel.queue_declare
        error = self.assertRaises(TypeError, declare, "work")
        self.assertEqual(str(error), "ticket must be int, not str: pass queue=... and the like by name")

    def test_wrong_body(self) -> None:
        text = "body must be str, bytes, bytearray or memoryview, not dict"
        error = self.assertRaises(TypeError, self.channel.basic_publish, "", self.queue, {"a": 1})
        self.assertEqual(str(error), text)
        outcomes = self.channel.publish_many([("", self.queue, {"a": 1}), ("", self.queue, "\u00e9")])
        self.assertEqual([str(outcome) for outcome in outcomes], [text, "None"])
        self.until(lambda: self.depth() == 1)
        self.assertEqual(self.channel.basic_get(queue=self.queue)[2], "\u00e9".encode())
