# -*- test-case-name: txpika.test.test_declaring -*-
"""
Exchanges, queues and bindings that a TOML or JSON file declares.

Owns the form of that file and its checks, which are done when it is read: whatever can be found wrong without asking
the broker is refused, naming file, entry and key. Knows channels by the names of their methods.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from txpika.declarations import Declarations
from txpika.exceptions import AMQPConnectionError
from txpika.spec import Method


class DeclarationError(ValueError):
    """The file is invalid. The text names file, entry and key."""


@dataclass(frozen=True)
class _Kind:
    """
    What one sort of entry may have.

    @ivar method: The channel's method it becomes; keys are names of its arguments.
    @ivar names: Keys with a name, which an entry must have.
    @ivar more: Other keys, and the type of each.
    """

    method: str
    names: tuple[str, ...]
    more: dict[str, type]


EXCHANGE = _Kind(
    "exchange_declare",
    ("exchange",),
    {
        "exchange_type": str,
        "passive": bool,
        "durable": bool,
        "auto_delete": bool,
        "internal": bool,
        "arguments": dict,
    },
)
QUEUE = _Kind(
    "queue_declare",
    ("queue",),
    {"passive": bool, "durable": bool, "exclusive": bool, "auto_delete": bool, "arguments": dict},
)
QUEUE_BINDING = _Kind("queue_bind", ("queue", "exchange"), {"routing_key": str, "arguments": dict})
EXCHANGE_BINDING = _Kind("exchange_bind", ("destination", "source"), {"routing_key": str, "arguments": dict})

#: The lists of a file, in the order in which they are declared: what is bound must exist first.
LISTS = ("exchanges", "queues", "bindings")

#: What readers of TOML or JSON call the types.
_WORDS = {str: "a string", bool: "true or false", dict: "a table"}


@dataclass(frozen=True)
class Declaration:
    """
    One entry.

    @ivar method: The channel's method it becomes.
    @ivar arguments: The arguments to call it with.
    @ivar where: Where it is in the file, for error texts.
    """

    method: str
    arguments: dict[str, Any]
    where: str


async def declare(channel: Declarations, declarations: Iterable[Declaration]) -> None:
    """
    Declare all of them, one after the other.

    @param channel: A L{txpika.channel.Channel}.
    @raise AMQPError: when the broker refused one, or the connection ended; a note says which entry that was.
    """
    for declaration in declarations:
        try:
            await getattr(channel, declaration.method)(**declaration.arguments)
        except Exception as error:
            error.add_note(declaration.where)
            raise


def is_refusal(error: Exception) -> bool:
    """@return: Whether it was the broker that refused, and not the network that failed."""
    return not isinstance(error, AMQPConnectionError) or bool(error.class_id)


def described(error: BaseException) -> str:
    """@return: An exception's text, and which entry of a file it is about."""
    return " ".join((*(f"{note}:" for note in getattr(error, "__notes__", ())), str(error) or type(error).__name__))


def read(path: str) -> list[Declaration]:
    """
    @param path: A file whose name ends in C{.toml} or C{.json}.
    @return: What it declares, in order.
    @raise DeclarationError: when it cannot be read, or something in it is wrong.
    """
    content = _load(path)
    if not isinstance(content, dict):
        raise DeclarationError(f"{path}: must be a table with the lists {', '.join(LISTS)}")
    for key in content:
        if key not in LISTS:
            raise DeclarationError(f"{path}: {key!r} is unknown, there are {', '.join(LISTS)}")
    found = []
    for name in LISTS:
        entries = content.get(name, [])
        if not isinstance(entries, list):
            raise DeclarationError(f"{path}: {name} must be a list of tables")
        found += [_entry(f"{path}: {name}[{index}]", name, entry) for index, entry in enumerate(entries)]
    return found


def _load(path: str) -> object:
    suffix = Path(path).suffix.lower()
    if suffix not in (".toml", ".json"):
        raise DeclarationError(f"{path}: its name must end in .toml or .json")
    try:
        text = Path(path).read_text("utf-8")
        return tomllib.loads(text) if suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise DeclarationError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # both parsers' errors, and that of UTF-8, are ValueErrors
        raise DeclarationError(f"{path}: is no {suffix[1:].upper()}: {error}") from error


def _entry(where: str, name: str, entry: object) -> Declaration:
    if not isinstance(entry, dict):
        raise DeclarationError(f"{where} must be a table")
    kind = _kind(where, name, entry)
    for key, value in entry.items():
        wanted = str if key in kind.names else kind.more.get(key)
        if wanted is None:
            keys = ", ".join((*kind.names, *kind.more))
            raise DeclarationError(f"{where}: {key!r} is unknown, there are {keys}")
        if not isinstance(value, wanted):
            raise DeclarationError(f"{where}: {key} must be {_WORDS[wanted]}")
    for key in kind.names:
        if not entry.get(key):
            raise DeclarationError(f"{where}: {key} is {'empty' if key in entry else 'missing'}")
    try:
        # As a channel would, but to no broker: this finds what cannot be written.
        getattr(Declarations(cast(Any, _Nowhere())), kind.method)(**entry)
    except (ValueError, TypeError) as error:
        raise DeclarationError(f"{where}: {error}") from error
    return Declaration(kind.method, entry, where)


def _kind(where: str, name: str, entry: dict[str, object]) -> _Kind:
    if name != "bindings":
        return EXCHANGE if name == "exchanges" else QUEUE
    if ("queue" in entry) == ("destination" in entry):
        raise DeclarationError(f"{where}: must have either queue and exchange, or destination and source")
    return QUEUE_BINDING if "queue" in entry else EXCHANGE_BINDING


class _Nowhere:
    """The engine's channel, as far as L{Declarations} know it, for trying out what can be encoded."""

    def call(self, method: Method, timeout: float | None) -> None:
        method.encode()
