# -*- test-case-name: txpika.test.test_marks -*-
"""
What a relay writes into the properties of a message.

Owns these marks, and that all else goes on byte for byte as it came: also what txpika would write in another way, or
not at all, such as text that is not UTF-8. Knows bytes only.
"""

from __future__ import annotations

from txpika.exceptions import DecodeError
from txpika.spec import BasicProperties
from txpika.spec.table import encode_table, split_table
from txpika.spec.wire import LONG, SHORT

#: Names of the relays that a message has passed, in its headers.
PASSED = "x-txpika-relays"
#: Where the C{user_id} of a message goes, which the target would take for that of the relay, and refuse
#: (rabbitmq.com/docs/validated-user-id).
USER_ID = "x-txpika-relay-user-id"
#: More routing keys of a message (rabbitmq.com/docs/sender-selected), and where they go when the relay has its own one:
#: they would be more ways into the target. A queue that dead-letters with a routing key of its own drops them, too.
CC = "CC"
MOVED_CC = "x-txpika-relay-cc"

#: The properties in their order: a short string, a table, an octet, a timestamp.
_FIELDS = "ssFoossssTssss"
_HEADERS, _USER_ID = 2, 11


class Unfit(Exception):
    """The message cannot be moved, now or later."""


def marked(raw: bytes, relay_name: str, own_key: bool) -> BasicProperties:
    """
    @param raw: Properties, as they came.
    @param relay_name: Who marks them.
    @param own_key: The relay has its own routing key.
    @return: They with the marks.
    @raise Unfit: when the message was here before, or they make no sense.
    """
    read = BasicProperties.from_wire(raw)
    try:
        read.decode()
    except DecodeError as error:
        raise Unfit(f"its properties make no sense: {error}") from error
    passed = (read.headers or {}).get(PASSED)
    names = [name for name in passed if isinstance(name, str)] if isinstance(passed, list) else []
    if relay_name in names:
        raise Unfit(f"it has passed relay {relay_name!r} before")
    fields = _split(raw)
    headers = fields[_HEADERS]
    entries = [] if headers is None else split_table(headers)
    marks: dict[str, object] = {PASSED: [*names, relay_name]}
    moved: list[tuple[bytes, bytes]] = []
    user_id, fields[_USER_ID] = fields[_USER_ID], None
    if user_id is not None:
        moved.append((USER_ID.encode(), b"S" + LONG.pack(user_id[0]) + user_id[1:]))
    if own_key:
        moved += [(MOVED_CC.encode(), value) for key, value in entries if key == CC.encode()]
        entries = [(key, value) for key, value in entries if key != CC.encode()]
    new = {PASSED.encode(), *(key for key, _ in moved)}
    kept = [(key, value) for key, value in entries if key not in new]
    try:
        own = encode_table(marks)[4:]
    except ValueError as error:
        raise Unfit(f"its properties make no sense: {error}") from error
    table = b"".join(bytes((len(key),)) + key + value for key, value in (*kept, *moved)) + own
    fields[_HEADERS] = LONG.pack(len(table)) + table
    return BasicProperties.from_wire(_joined(fields))


def _split(raw: bytes) -> list[bytes | None]:
    """@return: Each field, C{None} for those that are not there."""
    flags = SHORT.unpack_from(raw)[0]
    fields: list[bytes | None] = []
    offset = 2
    for number, kind in enumerate(_FIELDS):
        if not flags & 0x8000 >> number:
            fields.append(None)
            continue
        if kind == "s":
            end = offset + 1 + raw[offset]
        elif kind == "F":
            end = offset + 4 + LONG.unpack_from(raw, offset)[0]
        else:
            end = offset + (1 if kind == "o" else 8)
        fields.append(raw[offset:end])
        offset = end
    return fields


def _joined(fields: list[bytes | None]) -> bytes:
    flags = sum(0x8000 >> number for number, field in enumerate(fields) if field is not None)
    return SHORT.pack(flags) + b"".join(field for field in fields if field is not None)
