# -*- test-case-name: txpika.test.test_credentials -*-
"""
Ask a program for its credentials, at each attempt to connect.

Owns what its function may return, and what becomes of a failure. Knows nothing of the connection that they are for, nor
of its loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from txpika.exceptions import AuthenticationError
from txpika.interfaces import ICredentials


def refusal(error: Exception) -> AuthenticationError:
    """
    @return: What it means that the function raised. The text does not tell what, which may be a secret; who looks for
        it finds the program's own exception as the cause.
    """
    failed = AuthenticationError(f"the function for credentials failed: {type(error).__name__}")
    failed.__cause__ = error
    return failed


def objection(result: Any) -> AuthenticationError | None:
    """
    @param result: What the function gave.
    @return: What to fail with when that is no L{ICredentials}, which is not shown. It is returned so that no traceback
        leads through here, or through whoever has C{result} under a name.
    """
    if ICredentials.providedBy(result):
        return None
    return AuthenticationError(f"the function for credentials gave {type(result).__name__}, not ICredentials")


def ask_now(function: Callable[[], Any]) -> Any:
    """
    @param function: Gives an L{ICredentials}, at once.
    @return: An L{ICredentials}.
    @raise AuthenticationError: when the function fails, or gives something else.
    """
    try:
        result = function()
    except Exception as error:
        raise refusal(error) from error
    wrong = objection(result)
    if wrong is not None:
        del result  # tracebacks may show what is in a name
        raise wrong
    return result


async def ask(function: Callable[[], Any]) -> Any:
    """
    @param function: Gives an L{ICredentials}, or a Deferred or a coroutine of one.
    @return: An L{ICredentials}.
    @raise AuthenticationError: when the function fails, or gives something else.
    """
    from inspect import isawaitable  # takes 7 ms to load, and programs that cannot await never come here

    try:
        result = function()
        if isawaitable(result):
            result = await result
    except Exception as error:
        raise refusal(error) from error
    wrong = objection(result)
    if wrong is not None:
        del result  # tracebacks may show what is in a name
        raise wrong
    return result
