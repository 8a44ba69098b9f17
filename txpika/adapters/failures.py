# -*- test-case-name: txpika.test.test_callback_connection -*-
"""
What a program is told when it could not be connected.

Owns the choice of the exception. Recognizes TLS errors by name, so that the ssl module is not imported without need.
"""

from __future__ import annotations

from collections.abc import Sequence

from txpika.exceptions import AMQPConnectionError, ConnectFailed, TLSError, TLSVerifyError


def _why(text: str, error: BaseException) -> AMQPConnectionError:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "SSLCertVerificationError" in names:
        reason: AMQPConnectionError = TLSVerifyError(text, initiator="network")
    elif "SSLError" in names:
        reason = TLSError(text, initiator="network")
    else:
        reason = ConnectFailed(text, initiator="network")
    reason.__cause__ = error
    return reason


def failure(errors: Sequence[tuple[str, BaseException]]) -> AMQPConnectionError:
    """
    @param errors: What went wrong with each host or address, in the order they were tried; at least one.
    @return: L{TLSVerifyError} when somebody answered whose certificate was not accepted; else L{TLSError} when somebody
        answered with whom TLS failed; else L{ConnectFailed}, which has the errors of all hosts.
    """
    text = "cannot connect to " + "; ".join(f"{host}: {error}" for host, error in errors)
    each = [_why(f"{host}: {error}", error) for host, error in errors]
    for kind in (TLSVerifyError, TLSError):
        for reason in each:
            if isinstance(reason, kind):
                assert reason.__cause__ is not None
                return _why(text, reason.__cause__)
    reason = _why(text, errors[-1][1])
    if isinstance(reason, ConnectFailed) and len(each) > 1:
        reason.errors = tuple(each)
    return reason
