"""Tests for finding a handler by its name."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txpika.loading import HandlerSource, LoadError, find

MODULE = """
from twisted.internet.defer import succeed

def plain(delivery): return "plain"
async def coroutine(delivery): return "async"
def generator(delivery): yield
def none(): pass
def optional(delivery, more=None): pass
number = 1
made = []

class Counter:
    def __init__(self): made.append(self)
    def __call__(self, delivery): return "counter"
    def method(self, delivery): return "method"
    @staticmethod
    def static(delivery): return "static"

class Greedy:
    def __init__(self, argument): pass

def factory(): return plain
def later(): return succeed(plain)
async def later_still(): return plain
def wrong(): return 1
def raises(): raise OSError("no database")
bound = Counter().method
"""


class FindTests(SynchronousTestCase):
    """What a name may name."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(self.folder, "handlers_pkg"))
        self.write("handlers_mod", MODULE)
        self.write("handlers_pkg/__init__", "")
        self.write("handlers_pkg/inner", MODULE)
        self.write("handlers_broken", "import nowhere_to_be_found\n")
        self.write("handlers_raising", "def f():\n    raise RuntimeError('two\\nlines')\nf()\n")
        self.write("handlers_syntax", "def f(:\n")
        self.write("handlers_exit", "raise SystemExit(3)\n")
        self.patch(sys, "path", [self.folder, *sys.path])
        self.addCleanup(self.forget)

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.folder, f"{name}.py"), "w") as file:
            file.write(text)

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.startswith("handlers_")]:
            del sys.modules[name]

    def made(self, name: str) -> Any:
        return self.successResultOf(find(name).make())

    def assertRefused(self, name: str, *said: str) -> None:
        error = self.assertRaises(LoadError, find, name)
        for word in (repr(name), *said):
            self.assertIn(word, str(error))
        self.assertNotIn("\n", str(error))

    def test_functions(self) -> None:
        self.assertEqual(self.made("handlers_mod.plain")(None), "plain")
        self.assertEqual(self.made("handlers_mod:plain")(None), "plain")
        self.assertEqual(self.made("handlers_pkg.inner.plain")(None), "plain")
        self.assertEqual(self.made("handlers_pkg.inner:Counter.static")(None), "static")
        self.assertEqual(self.made("handlers_pkg.inner.Counter.static")(None), "static")
        self.assertEqual(self.made("handlers_mod.bound")(None), "method")
        self.made("handlers_mod.optional")
        self.assertEqual(
            self.successResultOf(Deferred.fromCoroutine(self.made("handlers_mod.coroutine")(None))), "async"
        )

    def test_a_class_is_called_once_when_it_is_made(self) -> None:
        source = find("handlers_mod.Counter")
        made = sys.modules["handlers_mod"].made
        self.assertEqual(len(made), 1)  # by the module itself
        handler = self.successResultOf(source.make())
        self.assertIs(made[1], handler)
        self.assertEqual(handler(None), "counter")  # type: ignore[arg-type]

    def test_parentheses_make_it_a_factory(self) -> None:
        for name in ("factory", "later", "later_still"):
            self.assertEqual(self.made(f"handlers_mod.{name}()")(None), "plain")
        self.assertEqual(self.made("handlers_mod:factory()")(None), "plain")

    def test_what_a_factory_gives_must_be_a_handler(self) -> None:
        failure = self.failureResultOf(find("handlers_mod.wrong()").make(), LoadError)
        self.assertIn("what handlers_mod.wrong() gave is a int", str(failure.value))
        self.failureResultOf(find("handlers_mod.raises()").make(), OSError)

    def test_what_is_not_there(self) -> None:
        self.assertRefused("handlers_nowhere.plain", "no module 'handlers_nowhere'")
        self.assertRefused("handlers_pkg.other:plain", "no module 'handlers_pkg.other'")
        self.assertRefused("handlers_pkg.other.plain", "handlers_pkg has no 'other'")
        self.assertRefused("handlers_mod.absent", "handlers_mod has no 'absent'")
        self.assertRefused("handlers_mod.Counter.absent", "handlers_mod.Counter has no 'absent'")

    def test_what_is_no_name(self) -> None:
        for name in ("plain", "", "a b.c", "handlers_mod.", ".plain", "a:b:c", "handlers_mod.plain(1)"):
            self.assertRefused(name, "package.module.callable")

    def test_what_is_no_handler(self) -> None:
        self.assertRefused("handlers_mod.number", "is a int")
        self.assertRefused("handlers_mod.generator", "generator")
        self.assertRefused("handlers_mod.none", "one argument")
        self.assertRefused("handlers_mod.Greedy", "no argument")
        self.assertRefused("handlers_mod.plain()", "no argument")

    def test_a_module_that_cannot_be_imported(self) -> None:
        self.assertRefused("handlers_broken.f", "nowhere_to_be_found", "handlers_broken.py, line 1")
        self.assertRefused("handlers_raising.f", "RuntimeError: two lines", "handlers_raising.py, line 2")
        self.assertRefused("handlers_syntax.f", "SyntaxError", "line 1")
        self.assertRefused("handlers_exit.f", "SystemExit")

    def test_the_current_folder_comes_last(self) -> None:
        self.patch(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
        self.made("handlers_mod.plain")
        self.assertEqual(sys.path[-1], os.getcwd())
        length = len(sys.path)
        self.made("handlers_mod.plain")
        self.assertEqual(len(sys.path), length)

    def test_a_function_in_c(self) -> None:
        self.assertEqual(self.successResultOf(HandlerSource("print", print, False).make()), print)
        self.assertEqual(self.made("builtins.print"), print)
