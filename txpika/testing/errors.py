# -*- test-case-name: txpika.test.test_memory_errors -*-
"""
What the broker in memory refuses, with the codes and the texts that RabbitMQ has for it.

Owns the exception that ends a channel or a connection, and those texts that more than one place needs. Knows no channel
and no connection: whoever reads from a client turns the exception into C{channel.close} or C{connection.close}.
"""

from __future__ import annotations

from txpika.spec import (
    ACCESS_REFUSED,
    FRAME_ERROR,
    HARD_ERRORS,
    NOT_FOUND,
    PRECONDITION_FAILED,
    REPLY_NAMES,
    RESOURCE_LOCKED,
    Method,
)


class Refused(Exception):
    """
    A client asked for something that it does not get.

    @ivar reply_code: AMQP reply code.
    @ivar reply_text: As RabbitMQ writes it, the name of the code first.
    @ivar is_hard: It ends the connection, not only the channel.
    """

    def __init__(self, reply_code: int, text: str) -> None:
        """
        @param text: Without the name of the code.
        """
        super().__init__(reply_code, text)
        self.reply_code = reply_code
        self.reply_text = f"{REPLY_NAMES[reply_code]} - {text}"
        self.is_hard = reply_code in HARD_ERRORS


def named(kind: str, name: str, virtual_host: str) -> str:
    """@return: What RabbitMQ calls a queue or an exchange in its texts."""
    return f"{kind} '{name}' in vhost '{virtual_host}'"


def missing(kind: str, name: str, virtual_host: str) -> Refused:
    """There is no such queue or exchange."""
    return Refused(NOT_FOUND, f"no {named(kind, name, virtual_host)}")


def locked(name: str, virtual_host: str) -> Refused:
    """The queue is another connection's own."""
    return Refused(
        RESOURCE_LOCKED,
        f"cannot obtain exclusive access to locked {named('queue', name, virtual_host)}. It could be originally "
        "declared on another connection or the exclusive property value does not match that of the original "
        "declaration.",
    )


def in_exclusive_use(name: str, virtual_host: str) -> Refused:
    """There is a consumer that wants to be the only one, or this one does and is not."""
    return Refused(ACCESS_REFUSED, f"{named('queue', name, virtual_host)} in exclusive use")


def reserved(kind: str, name: str) -> Refused:
    """Names with that prefix are the broker's."""
    return Refused(ACCESS_REFUSED, f"{kind} name '{name}' contains reserved prefix 'amq.*'")


def failed(text: str) -> Refused:
    """A precondition does not hold."""
    return Refused(PRECONDITION_FAILED, text)


def check_text(method: Method) -> None:
    """@raise Refused: There is text in it that is not UTF-8, or has a NUL. RabbitMQ takes it; here nobody needs it."""
    for name in method.FIELDS:
        value = getattr(method, name)
        if isinstance(value, str):
            try:
                whole = b"\0" not in value.encode("utf-8")
            except UnicodeEncodeError:
                whole = False
            if not whole:
                raise Refused(FRAME_ERROR, f"{name} is not UTF-8, or has a NUL")
