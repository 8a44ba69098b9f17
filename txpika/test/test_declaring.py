"""Tests for declaring what a file says."""

from __future__ import annotations

import inspect
import json
import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from txpika.channel import Channel
from txpika.declaring import (
    EXCHANGE,
    EXCHANGE_BINDING,
    QUEUE,
    QUEUE_BINDING,
    Declaration,
    DeclarationError,
    declare,
    read,
)
from txpika.exceptions import ChannelClosed

TOML = """
[[bindings]]
queue = "work"
exchange = "orders"
routing_key = "#"

[[queues]]
queue = "work"
durable = true
arguments = { x-queue-type = "quorum", x-delivery-limit = 5 }

[[exchanges]]
exchange = "orders"
exchange_type = "topic"

[[bindings]]
destination = "orders"
source = "amq.topic"
"""


class RecordingChannel:
    """Takes any call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Deferred[Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Deferred[Any]:
            self.calls.append((name, arguments))
            return self.answers.pop(0) if self.answers else succeed(None)

        return call


class ReadTests(SynchronousTestCase):
    """What a file may hold."""

    def file(self, text: str, suffix: str = ".toml") -> str:
        os.makedirs(folder := self.mktemp())
        path = os.path.join(folder, f"topology{suffix}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def assertRefused(self, text: str, *said: str, suffix: str = ".toml") -> None:
        path = self.file(text, suffix)
        error = self.assertRaises(DeclarationError, read, path)
        for word in (path, *said):
            self.assertIn(word, str(error))

    def test_order_is_exchanges_queues_bindings(self) -> None:
        found = read(self.file(TOML))
        self.assertEqual(
            [(each.method, each.where.rpartition(": ")[2]) for each in found],
            [
                ("exchange_declare", "exchanges[0]"),
                ("queue_declare", "queues[0]"),
                ("queue_bind", "bindings[0]"),
                ("exchange_bind", "bindings[1]"),
            ],
        )
        self.assertEqual(found[1].arguments["arguments"], {"x-queue-type": "quorum", "x-delivery-limit": 5})

    def test_json_says_the_same(self) -> None:
        import tomllib

        toml = read(self.file(TOML))
        found = read(self.file(json.dumps(tomllib.loads(TOML)), ".json"))
        self.assertEqual(
            [(each.method, each.arguments) for each in found], [(each.method, each.arguments) for each in toml]
        )

    def test_an_empty_file_declares_nothing(self) -> None:
        self.assertEqual(read(self.file("")), [])

    def test_keys_are_the_arguments_of_the_methods(self) -> None:
        for kind in (EXCHANGE, QUEUE, QUEUE_BINDING, EXCHANGE_BINDING):
            arguments = set(inspect.signature(getattr(Channel, kind.method)).parameters) - {"self"}
            # Without an answer nobody would hear that something was refused.
            self.assertEqual({*kind.names, *kind.more}, arguments - {"nowait", "timeout"})

    def test_unknown_keys(self) -> None:
        self.assertRefused('[[queues]]\nqueue = "a"\ndurabel = true', "queues[0]", "'durabel'", "durable")
        self.assertRefused('[[queues]]\nqueue = "a"\nnowait = true', "queues[0]", "'nowait'")
        self.assertRefused('[[bindings]]\nqueue = "a"\nexchange = "b"\nsource = "c"', "bindings[0]", "'source'")
        self.assertRefused("queue = []", "'queue'", "queues")

    def test_wrong_types(self) -> None:
        self.assertRefused('[[queues]]\nqueue = "a"\n[[queues]]\nqueue = "b"\ndurable = "yes"', "queues[1]: durable")
        self.assertRefused("[[exchanges]]\nexchange = 1", "exchanges[0]: exchange must be a string")
        self.assertRefused('[[exchanges]]\nexchange = "a"\narguments = []', "exchanges[0]: arguments must be a table")
        self.assertRefused("queues = 1", "queues must be a list")
        self.assertRefused("queues = [1]", "queues[0] must be a table")
        self.assertRefused("[]", "must be a table", suffix=".json")

    def test_missing_names(self) -> None:
        self.assertRefused("[[queues]]\ndurable = true", "queues[0]: queue is missing")
        self.assertRefused('[[queues]]\nqueue = ""', "queues[0]: queue is empty")
        self.assertRefused('[[bindings]]\nrouting_key = "a"', "bindings[0]", "either")
        self.assertRefused('[[bindings]]\nqueue = "a"\ndestination = "b"', "bindings[0]", "either")

    def test_what_cannot_be_written(self) -> None:
        self.assertRefused(f'[[queues]]\nqueue = "{"a" * 256}"', "queues[0]", "255")
        self.assertRefused('{"queues": [{"queue": "a", "arguments": {"x": NaN}}]}', "queues[0]", suffix=".json")

    def test_what_is_no_such_file(self) -> None:
        self.assertRefused("queues = [", "is no TOML")
        self.assertRefused("{", "is no JSON", suffix=".json")
        self.assertRefused("", ".toml or .json", suffix=".yaml")
        error = self.assertRaises(DeclarationError, read, "nowhere/a.toml")
        self.assertEqual(str(error), "nowhere/a.toml: No such file or directory")


class DeclareTests(SynchronousTestCase):
    """What is said to the broker."""

    def test_one_after_the_other(self) -> None:
        channel: Any = RecordingChannel()
        first: Deferred[None] = Deferred()
        channel.answers.append(first)
        declarations = [Declaration("queue_declare", {"queue": name}, name) for name in ("a", "b")]
        done = Deferred.fromCoroutine(declare(channel, declarations))
        self.assertEqual(channel.calls, [("queue_declare", {"queue": "a"})])
        self.assertNoResult(done)
        first.callback(None)
        self.assertEqual(channel.calls[1:], [("queue_declare", {"queue": "b"})])
        self.assertIsNone(self.successResultOf(done))

    def test_a_refusal_names_the_entry_and_is_the_end(self) -> None:
        channel: Any = RecordingChannel()
        channel.answers.append(fail(ChannelClosed("PRECONDITION_FAILED", 406, 50, 10, "peer")))
        declarations = [Declaration("queue_declare", {"queue": name}, f"file: {name}") for name in ("a", "b")]
        failure = self.failureResultOf(Deferred.fromCoroutine(declare(channel, declarations)), ChannelClosed)
        self.assertEqual(failure.value.__notes__, ["file: a"])
        self.assertEqual(len(channel.calls), 1)
