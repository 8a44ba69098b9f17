"""
What hypothesis makes up for the tests: values of every wire type, methods, tables, properties, and damage to bytes.

The methods come from the table of facts, not from the generated code, so that a method that was forgotten is missed.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from txpika import spec
from txpika.spec import generate

T = TypeVar("T", bound=Callable[..., None])

FACTS: dict[str, Any] = tomllib.loads(generate.FACTS.read_text(encoding="utf-8"))


def examples(count: int) -> Callable[[T], T]:
    """Run a test with so many examples; the same ones each time in CI, where nobody can look into a surprise."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize="CI" in os.environ,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def text(max_bytes: int, min_size: int = 0) -> st.SearchStrategy[str]:
    """Text without surrogates or NUL, of so many bytes of UTF-8."""
    characters = st.characters(codec="utf-8", exclude_characters="\0")
    return st.text(characters, min_size=min_size, max_size=max_bytes // 4)


shortstrs = text(255)

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    text(400),
    st.binary(max_size=40),
    st.integers(0, 2**64 - 1).map(spec.Timestamp),
    st.builds(
        lambda mantissa, scale: Decimal(f"{mantissa}E-{scale}"),
        st.integers(-(2**31) + 1, 2**31 - 1),
        st.integers(0, 255),
    ).filter(lambda value: bool(value) or not value.is_signed()),
)

values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text(60, min_size=1), inner, max_size=4),
    max_leaves=12,
)

tables: st.SearchStrategy[dict[str, Any]] = st.dictionaries(text(60, min_size=1), values, max_size=5)

WIRE: dict[tuple[str, str], st.SearchStrategy[Any]] = {
    ("bit", "bool"): st.booleans(),
    ("octet", "int"): st.integers(0, 2**8 - 1),
    ("short", "int"): st.integers(0, 2**16 - 1),
    ("long", "int"): st.integers(0, 2**32 - 1),
    ("longlong", "int"): st.integers(0, 2**64 - 1),
    ("shortstr", "identifier"): shortstrs,
    ("shortstr", "text"): shortstrs,
    ("longstr", "bytes"): st.binary(max_size=300),
    ("table", "table"): tables,
}


def method_class(fact: generate.Method) -> type[spec.Method]:
    """The generated class of a method in the table of facts."""
    found: type[spec.Method] = getattr(getattr(spec, generate.camel(fact.class_name)), generate.camel(fact.name))
    return found


def method_of(fact: generate.Method) -> st.SearchStrategy[spec.Method]:
    """Any arguments of one method."""
    arguments = {field.attribute: WIRE[field.wire, field.reads] for field in fact.fields}
    return st.builds(method_class(fact), **arguments)


METHODS = generate.methods_of(FACTS)

methods: st.SearchStrategy[spec.Method] = st.sampled_from(METHODS).flatmap(method_of)

property_values: dict[str, st.SearchStrategy[Any]] = {
    name: st.none() | strategy
    for name, strategy in {
        "content_type": shortstrs,
        "content_encoding": shortstrs,
        "headers": tables,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": shortstrs,
        "reply_to": shortstrs,
        "expiration": st.integers(0, 2**64).map(str),
        "message_id": shortstrs,
        "timestamp": st.integers(0, 2**64 - 1) | st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),
        "type": shortstrs,
        "user_id": shortstrs,
        "app_id": shortstrs,
        "cluster_id": shortstrs,
    }.items()
}

properties: st.SearchStrategy[spec.BasicProperties] = st.builds(spec.BasicProperties, **property_values)


def typed(value: object) -> object:
    """A value with the type of everything in it: C{True == 1}, but C{typed(True) != typed(1)}."""
    if isinstance(value, dict):
        return dict, [(key, typed(item)) for key, item in value.items()]
    if isinstance(value, list):
        return list, [typed(item) for item in value]
    # By repr, for NaN equals nothing and 0.0 equals -0.0.
    return type(value), repr(value)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes after a few cuts, flips, insertions, repetitions and false lengths."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["cut", "flip", "insert", "repeat", "length"]))
        if kind == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 8))]
        elif kind == "length":
            data[at : at + 4] = draw(st.sampled_from(FALSE_LENGTHS))
    return bytes(data)


#: What a hostile length might be: nothing, the largest number with and without a sign, and the smallest negative one.
FALSE_LENGTHS = [number.to_bytes(4, "big") for number in (0, 1, 2**31 - 1, 2**31, 2**32 - 1)]
