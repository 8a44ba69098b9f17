"""Tests for what a program says about TLS: a value, checked where it is made."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txpika import TLSOptions
from txpika.tls import UNVERIFIED


class OptionsTests(SynchronousTestCase):
    """One value."""

    def test_verifies_by_default(self) -> None:
        options = TLSOptions()
        self.assertTrue(options.verify)
        given = (options.cafile, options.certfile, options.keyfile, options.keyfile_password, options.server_name)
        self.assertEqual(given, (None,) * 5)

    def test_paths(self) -> None:
        options = TLSOptions(cafile=Path("/a/ca.pem"), certfile="c.pem", keyfile=Path("k.pem"))
        self.assertEqual((options.cafile, options.certfile, options.keyfile), ("/a/ca.pem", "c.pem", "k.pem"))

    def test_never_changes(self) -> None:
        options = TLSOptions()
        for change in (lambda: setattr(options, "verify", False), lambda: delattr(options, "verify")):
            self.assertRaises(AttributeError, change)
        self.assertTrue(options.verify)
        self.assertIs(copy.deepcopy(options), options)

    def test_equal(self) -> None:
        self.assertEqual(TLSOptions(cafile="a"), TLSOptions(cafile="a"))
        self.assertEqual(hash(TLSOptions(cafile="a")), hash(TLSOptions(cafile="a")))
        self.assertNotEqual(TLSOptions(cafile="a"), TLSOptions(cafile="b"))
        self.assertNotEqual(TLSOptions(), None)
        make: Any = TLSOptions.without_verification
        self.assertNotEqual(TLSOptions(), make())
        self.flushWarnings()

    def test_shows_itself(self) -> None:
        options = TLSOptions(certfile="c", keyfile_password="hunter2")
        self.assertEqual(repr(options), "TLSOptions(certfile='c', keyfile_password=<redacted>)")

    def test_without_verification_warns_whoever_asks_for_it(self) -> None:
        options = TLSOptions.without_verification(certfile="c", keyfile="k", server_name="n")
        (warning,) = self.flushWarnings()
        self.assertEqual((warning["message"], warning["category"]), (UNVERIFIED, UserWarning))
        self.assertEqual(Path(warning["filename"]).stem, "test_tls_options")
        self.assertFalse(options.verify)
        self.assertEqual(repr(options), "TLSOptions.without_verification(certfile='c', keyfile='k', server_name='n')")

    def test_what_is_refused(self) -> None:
        def refused(error: type[Exception], text: str, **arguments: Any) -> None:
            self.assertIn(text, str(self.assertRaises(error, TLSOptions, **arguments)))

        for name in ("cafile", "certfile", "keyfile"):
            refused(TypeError, name, **{name: 1})
            refused(TypeError, name, **{name: b"ca.pem"})
            refused(ValueError, name, **{name: ""})
            refused(ValueError, name, **{name: "a\0b"})
        refused(ValueError, "certfile", keyfile="k")
        refused(ValueError, "certfile", keyfile_password="p")
        refused(TypeError, "keyfile_password", certfile="c", keyfile_password=b"p")
        refused(TypeError, "server_name", server_name=b"n")
        for bad in ("", "a b", "a\n", "x" * 256):
            refused(ValueError, "server_name", server_name=bad)
        positional: Any = TLSOptions
        self.assertRaises(TypeError, positional, "ca.pem")
