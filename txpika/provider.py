# -*- test-case-name: txpika.test.test_credentials -*-
"""
Ask a program for its credentials, at each attempt to connect.

Owns what its function may return, and what becomes of a failure. Knows nothing of the connection that they are for.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from txpika.exceptions import AuthenticationError
from txpika.interfaces import ICredentials


async def ask(function: Callable[[], Any]) -> Any:
    """
    @param function: Gives an L{ICredentials}, or a Deferred or a coroutine of one.
    @return: An L{ICredentials}.
    @raise AuthenticationError: when the function fails, or gives something else. The text does not tell what, which may
        be a secret; who looks for it finds its own exception as the cause.
    """
    try:
        result = function()
        if isawaitable(result):
            result = await result
    except Exception as error:
        raise AuthenticationError(f"the function for credentials failed: {type(error).__name__}") from error
    if not ICredentials.providedBy(result):
        kind = type(result).__name__
        del result  # tracebacks may show what is in a name
        raise AuthenticationError(f"the function for credentials gave {kind}, which does not provide ICredentials")
    return result
