# -*- test-case-name: txpika.test.test_spec_methods -*-
"""
What generated methods, and generated properties, have in common: how they compare, copy and show themselves.

Knows no particular method and no wire format; both are in the generated modules.
"""

from __future__ import annotations

from abc import abstractmethod

from txpika.exceptions import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Self

#: How much of one value C{repr} shows, in characters.
MAX_SHOWN = 200

#: How many items of a table or an array C{repr} shows at most.
MAX_SHOWN_ITEMS = 20


def shown(value: object) -> str:
    """
    @return: C{repr(value)}, of limited length and on one line, whatever C{value} is.
    """
    from reprlib import Repr

    # Level by level, so that a huge or deep value is not first written out in full.
    bounded = Repr()
    bounded.maxstring = bounded.maxother = bounded.maxlong = MAX_SHOWN
    bounded.maxdict = bounded.maxlist = MAX_SHOWN_ITEMS
    try:
        text = bounded.repr(value)
    except Exception:
        text = f"<{type(value).__name__} without repr>"
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


class Method:
    """
    One AMQP method with its arguments, as attributes.

    Without the metaclass of C{abc}, which makes C{isinstance} five times as slow (0.25 us on 3.11); mypy knows what is
    abstract without it.

    @cvar NAME: As in C{"Queue.DeclareOk"}.
    @cvar INDEX: Class and method number in one: C{CLASS_ID << 16 | METHOD_ID}.
    @cvar CLASS_ID: The class's number.
    @cvar METHOD_ID: The method's number within its class.
    @cvar REPLIES: The C{INDEX} of each method that may answer this one; empty when nothing answers it.
    @cvar CONTENT: Whether a content header and a body follow.
    @cvar FROM_SERVER: Whether a server may send it.
    @cvar FROM_CLIENT: Whether a client may send it.
    @cvar FIELDS: The names of its arguments, in their order.
    @cvar SECRETS: Arguments that C{repr} does not show.
    """

    __slots__ = ()

    NAME: ClassVar[str]
    INDEX: ClassVar[int]
    CLASS_ID: ClassVar[int]
    METHOD_ID: ClassVar[int]
    REPLIES: ClassVar[tuple[int, ...]] = ()
    CONTENT: ClassVar[bool] = False
    FROM_SERVER: ClassVar[bool] = False
    FROM_CLIENT: ClassVar[bool] = False
    FIELDS: ClassVar[tuple[str, ...]] = ()
    SECRETS: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def encode(self) -> bytes:
        """
        @return: The payload of its method frame: class id, method id, arguments.
        @raise ValueError: An argument is out of range; the text names method and argument.
        @raise TypeError: An argument is of the wrong type.
        """

    @classmethod
    @abstractmethod
    def read(cls, payload: bytes, offset: int) -> tuple[Self, int]:
        """
        @param payload: The payload of a method frame.
        @param offset: Where the arguments begin, after the two ids.
        @return: The method, and the offset after its last argument. Bytes left over there are harmless: some peers
            send them.
        @raise DecodeError: The arguments make no sense. Nothing else is raised.
        """

    @classmethod
    def decode(cls, payload: bytes, offset: int) -> Self:
        """
        As L{read}, for those who do not count what is left over.

        @raise DecodeError: The arguments make no sense.
        """
        return cls.read(payload, offset)[0]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.FIELDS)

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={'<redacted>' if name in self.SECRETS else shown(getattr(self, name))}" for name in self.FIELDS
        )
        return f"<{self.NAME}({arguments})>"


class Properties:
    """
    The properties of a message.

    They hold values, or the bytes they were read from, or both. What came from the wire is not looked at before the
    first property is read: most of it never is, and what cannot be decoded concerns nobody but its reader.
    """

    __slots__ = ("_encoded", "_raw")

    #: The names of the properties, in the order of their flags.
    NAMES: ClassVar[tuple[str, ...]] = ()

    #: What L{encode} returned last, or would return. None when it has to be worked out.
    _encoded: bytes | None
    #: What the values have yet to be read from. None when that is done, or they never came from there.
    _raw: bytes | None

    @classmethod
    def from_wire(cls, raw: bytes) -> Self:
        """
        @param raw: What stands in a content header after the body size: property flags and values. Not looked at yet.
        """
        self = cls.__new__(cls)
        self._raw = self._encoded = raw
        return self

    @abstractmethod
    def encode(self) -> bytes:
        """
        @return: What stands in a content header after the body size: property flags and values.
        @raise ValueError: A value is out of range; the text names the property.
        @raise TypeError: A value is of the wrong type.
        """

    @abstractmethod
    def decode(self) -> None:
        """
        Read the values from the wire's bytes now, if that is still to be done. Reading any property does the same.

        @raise DecodeError: They make no sense; it will be raised each time.
        """

    def _values(self) -> list[object]:
        self.decode()
        return [getattr(self, "_" + name) for name in self.NAMES]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Properties) or self.NAMES is not other.NAMES:
            return NotImplemented
        if self._raw is not None and self._raw == other._raw:
            return True
        try:
            return self._values() == other._values()
        except DecodeError:
            return False

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        if self._raw is None:
            # The copy shares what is mutable, so neither may go on relying on bytes made before it was shared.
            for name, value in zip(self.NAMES, self._values(), strict=True):
                if isinstance(value, dict):
                    self._encoded = None
                setattr(copied, "_" + name, value)
        copied._raw, copied._encoded = self._raw, self._encoded
        return copied

    def __repr__(self) -> str:
        name = type(self).__name__
        try:
            values = self._values()
        except DecodeError as error:
            return f"<{name}, undecodable: {error}>"
        pairs = zip(self.NAMES, values, strict=True)
        return f"<{name}({', '.join(f'{name}={shown(value)}' for name, value in pairs if value is not None)})>"
