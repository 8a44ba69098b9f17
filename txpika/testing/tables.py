# -*- test-case-name: txpika.test.test_memory_errors -*-
"""
Tables of arguments: how RabbitMQ calls their types, how it compares them, what it says when two differ.

Knows values as L{txpika.spec.table} reads them, and no argument in particular.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from txpika.spec import Timestamp
from txpika.testing.errors import Refused, failed

Arguments = Mapping[str, object]


def type_name(value: object) -> str:
    """
    @return: RabbitMQ's word for the type. Whole numbers that came in fewer or more than 32 bits have other words there,
        which a decoded table does not tell.
    """
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Timestamp):
        return "timestamp"
    if isinstance(value, int):
        return "signedint" if -(2**31) <= value < 2**31 else "long"
    for kind, name in (
        (str, "longstr"),
        (float, "double"),
        (Decimal, "decimal"),
        (dict, "table"),
        (list, "array"),
        (bytes, "binary"),
    ):
        if isinstance(value, kind):
            return name
    return "void"


def is_number(value: object) -> bool:
    """Whether RabbitMQ takes it for a whole number."""
    return isinstance(value, int) and not isinstance(value, bool | Timestamp)


def frozen(value: object) -> object:
    """@return: Something hashable that is equal exactly where the values are, C{1}, C{1.0} and C{True} told apart."""
    if isinstance(value, Mapping):
        return ("table", tuple(sorted((key, frozen(each)) for key, each in value.items())))
    if isinstance(value, list):
        return ("array", tuple(frozen(each) for each in value))
    return (type_name(value), repr(value))


def require_equal(name: str, what: str, current: Arguments, received: Arguments) -> None:
    """
    @param name: Of the argument.
    @param what: Whose, in the words of the text.
    @raise Refused: The two tables differ in it.
    """
    have, want = current.get(name), received.get(name)
    same = (is_number(have) and is_number(want)) or type_name(have) == type_name(want)
    if (have == want and same) or (name not in current and name not in received):
        return
    if name in current and name in received and same:
        raise inequivalent(name, what, f"'{_shown(want)}'", f"'{_shown(have)}'")
    raise inequivalent(name, what, _told(received, name), _told(current, name))


def _told(table: Arguments, name: str) -> str:
    if name not in table:
        return "none"
    return f"the value '{_shown(table[name])}' of type '{type_name(table[name])}'"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def inequivalent(name: str, what: str, received: str, current: str) -> Refused:
    """Something is there already, and is otherwise."""
    return failed(f"inequivalent arg '{name}' for {what}: received {received} but current is {current}")


def require_same_flag(name: str, what: str, current: bool, received: bool) -> None:
    """@raise Refused: The two differ."""
    if current != received:
        raise inequivalent(name, what, f"'{str(received).lower()}'", f"'{str(current).lower()}'")
