# -*- test-case-name: txpika.test.test_sockets -*-
"""
TLS by the standard library, for the adapters that are not Twisted's.

Owns the translation of L{TLSOptions} into an C{ssl.SSLContext}. Knows nothing of loops.
"""

from __future__ import annotations

import os
import ssl

from txpika.tls import TLSOptions


def make_context(options: TLSOptions) -> ssl.SSLContext:
    """
    @return: A context for TLS 1.2 or later that verifies the broker's certificate and the name in it, unless
        C{options} say otherwise.
    @raise OSError: when a file cannot be read, or is not what it should be.
    """
    try:
        return _make_context(options)
    except OSError as error:
        if error.errno and not error.strerror:  # as PyPy leaves it
            raise OSError(error.errno, os.strerror(error.errno)) from None
        raise


def _make_context(options: TLSOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.certfile is not None:
        password = options.keyfile_password
        # Without a function OpenSSL asks the terminal for the password of an encrypted key, and waits.
        context.load_cert_chain(options.certfile, options.keyfile, str if password is None else password.reveal)
    return context
