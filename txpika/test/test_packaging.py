"""Tests for what is built and installed: the wheel, Twisted's plugins folder, and what an import brings along."""

from __future__ import annotations

import json
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import txpika
from txpika._version import __version__

REPOSITORY = Path(__file__).resolve().parent.parent.parent

#: What a program needs on some loops only.
LOOPS = ("asyncio", "ssl", "tornado", "asyncore")
ADAPTERS = ("asyncio", "asyncore", "blocking", "select", "tornado")
UNNEEDED = ("twisted", *LOOPS, *(f"txpika.adapters.{name}_connection" for name in ADAPTERS))

#: Imports the modules named on standard input one by one; prints which of them were first to load what.
IMPORT_EACH = """
import importlib, json, sys
names, unwanted = json.load(sys.stdin)
blame = {}
for name in names:
    importlib.import_module(name)
    for module in unwanted:
        if module in sys.modules:
            blame.setdefault(module, name)
json.dump(blame, sys.stdout)
"""


def project() -> dict[str, Any]:
    """pyproject.toml, for the tests that make sense in a checkout only."""
    path = REPOSITORY / "pyproject.toml"
    if not path.exists():
        raise SkipTest("only in a checkout of the repository")
    return tomllib.loads(path.read_text())


def every_module() -> list[str]:
    """The names of all modules of txpika, without its tests, and of its plugin file."""
    found = [module.name for module in pkgutil.walk_packages(txpika.__path__, "txpika.")]
    return ["txpika", *(name for name in found if not name.startswith("txpika.test")), "twisted.plugins.txpika_plugin"]


def run_python(program: str, cwd: str, given: object = None) -> str:
    """
    Run a program in a new interpreter, which finds txpika where this one does.

    @raise AssertionError: It failed; the text is what it said.
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])},
        input=json.dumps(given),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class ImportTests(SynchronousTestCase):
    """What importing txpika brings along."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def first_to_import(self, names: list[str], *unwanted: str) -> object:
        return json.loads(run_python(IMPORT_EACH, self.folder, [names, unwanted]))

    def test_the_walk_finds_the_modules(self) -> None:
        self.assertLessEqual(
            {"txpika", "txpika.core.heartbeat", "txpika.spec.generate", "twisted.plugins.txpika_plugin"},
            set(every_module()),
        )

    def test_no_module_installs_a_reactor(self) -> None:
        self.assertEqual(self.first_to_import(every_module(), "twisted.internet.reactor"), {})

    def test_the_top_level_name_of_a_class_installs_no_reactor(self) -> None:
        program = 'import sys, txpika; txpika.BasicProperties; assert "twisted.internet.reactor" not in sys.modules'
        run_python(program, self.folder)

    def test_the_lower_floors_do_without_twisted(self) -> None:
        (contract,) = (
            contract
            for contract in project()["tool"]["importlinter"]["contracts"]
            if contract.get("forbidden_modules") == ["twisted"]
        )
        packages = tuple(contract["source_modules"])
        names = [name for name in every_module() if name.startswith(packages)]
        self.assertGreater(len(names), len(packages))
        self.assertEqual(self.first_to_import(names, "twisted"), {})
        below = [name for name in names if not name.startswith("txpika.adapters")]  # those have loops of their own
        self.assertEqual(self.first_to_import(below, "asyncio", "ssl"), {})


class AdapterTests(SynchronousTestCase):
    """Adapters by name: from C{txpika} and from C{txpika.adapters}."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def loaded(self, program: str) -> set[str]:
        """@return: Which modules there are after a program, of those that are not to be there without need."""
        wanted = f"import sys\n{program}\nprint(*({set(UNNEEDED)!r} & set(sys.modules)))"
        return set(run_python(wanted, self.folder).split())

    def test_each_name_imports_its_own_module_only(self) -> None:
        homes = {name: home.rsplit(".", 1)[1] for name, home in txpika._HOMES.items() if ".adapters." in home}
        self.assertEqual(homes, txpika.adapters._HOMES)
        self.assertEqual(set(homes), set(txpika.adapters.__all__))
        self.assertLessEqual(set(homes), set(txpika.__all__))
        connections = set(homes.values()) - {"loop", "base_connection"}
        also = {"tornado_connection": {"asyncio_connection"}}
        for name, home in homes.items():
            allowed = {f"txpika.adapters.{each}" for each in {home, *also.get(home, ())} & connections}
            for program in (f"import txpika; txpika.{name}", f"from txpika.adapters import {name}"):
                self.assertEqual(self.loaded(program), allowed, program)

    def test_all_of_them_at_once_import_no_loop(self) -> None:
        """Each example of 2011 begins so."""
        loaded = self.loaded("from txpika.adapters import *\nSelectConnection, AsyncoreConnection, IOLoop")
        self.assertEqual(loaded & {"twisted", *LOOPS}, set())

    def test_a_module_of_adapters_by_attribute(self) -> None:
        """As in C{pika.adapters.select_connection.SELECT_TYPE = "poll"}."""
        program = "import txpika as pika; pika.adapters.select_connection.SELECT_TYPE = 'poll'\n"
        program += "assert pika.IOLoop is pika.adapters.IOLoop and 'IOLoop' in dir(pika.adapters)\n"
        program += "assert not hasattr(pika.adapters, 'nothing')"
        self.assertEqual(self.loaded(program), {"txpika.adapters.select_connection"})

    def test_without_what_a_loop_needs(self) -> None:
        """The name can be imported; making one says what to install."""
        for name, missing in (("TornadoConnection", "tornado"), ("AsyncoreConnection", "asyncore")):
            program = f"""
import sys
sys.modules[{missing!r}] = None
from txpika.adapters import *
try:
    {name}()
except ImportError as error:
    print(error)
"""
            self.assertIn(f"pip install 'txpika[{missing}]'", run_python(program, self.folder))
            self.assertIn(missing, project()["project"]["optional-dependencies"])


class StartTests(SynchronousTestCase):
    """How soon a small script can begin."""

    #: What a connection that waits is made of. Each of these is needed at once; what is needed rarely is imported where
    #: it is: C{inspect} alone takes 7 ms.
    PARTS = "heapq, importlib, logging, random, selectors, socket, struct, threading, zope.interface"

    def loaded(self, program: str) -> set[str]:
        """@return: The modules there are after a program that were not there before it."""
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        asked = f"import sys\nbefore = set(sys.modules)\n{program}\nprint(*(set(sys.modules) - before))"
        return set(run_python(asked, self.folder).split())

    def test_txpika_alone_is_next_to_nothing(self) -> None:
        self.assertEqual(self.loaded("import txpika"), {"__future__", "txpika", "txpika._version"})

    def test_a_blocking_script_loads_what_it_needs(self) -> None:
        parts = self.loaded(f"import __future__, {self.PARTS}")
        loaded = self.loaded("import txpika; txpika.BlockingConnection")
        self.assertEqual({name for name in loaded - parts if not name.startswith("txpika")}, set())
        own = {name for name in loaded if name.startswith("txpika")}
        self.assertEqual({name for name in own if ".callback" in name or ".testing" in name}, set())
        self.assertLessEqual(len(own), 70)

    def cpu(self, program: str) -> float:
        """CPU time of one run, in seconds, with bytecode as an installed package has it."""
        environment = {**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = os.path.abspath(self.folder)
        timed = f"import time; before = time.process_time(); {program}; print(time.process_time() - before)"
        run = [sys.executable, "-c", timed]
        return float(subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout)

    def test_a_blocking_script_starts_faster_than_with_pika(self) -> None:
        """The least of several runs in turn, as the machine may be busy; the first ones make the bytecode."""
        self.folder = self.mktemp()
        programs = ("import txpika; txpika.BlockingConnection", "import pika")
        runs = [[self.cpu(program) for program in programs] for _ in range(10)]
        ours, theirs = (min(column) for column in zip(*runs[1:], strict=True))
        self.assertLess(ours, theirs)


class WheelTests(SynchronousTestCase):
    """The wheel, built without the network from a copy of the sources."""

    def setUp(self) -> None:
        project()
        self.folder = Path(self.mktemp()).resolve()
        source = self.folder / "source"
        source.mkdir(parents=True)
        for name in ("pyproject.toml", "setup.py", "README.rst", "LICENSE"):
            shutil.copy(REPOSITORY / name, source)
        for name in ("txpika", "twisted", "tools", "benchmarks"):
            shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        # A cache that Twisted may have left in a checkout.
        (source / "twisted" / "plugins" / "dropin.cache").write_bytes(b"")
        offline = ("--no-index", "--no-deps", "--no-build-isolation")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", str(self.folder), str(source)]
        done = subprocess.run(pip, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        (self.wheel,) = self.folder.glob("*.whl")

    def test_contents_are_the_sources_and_nothing_else(self) -> None:
        expected = {
            str(path.relative_to(REPOSITORY))
            for path in (REPOSITORY / "txpika").rglob("*")
            if path.suffix in {".py", ".toml"} or path.name == "py.typed"
        }
        self.assertLessEqual({"txpika/py.typed", "txpika/spec/amqp0_9_1.toml", "txpika/test/__init__.py"}, expected)
        expected.add("twisted/plugins/txpika_plugin.py")
        with zipfile.ZipFile(self.wheel) as archive:
            names = archive.namelist()
        information = f"txpika-{__version__}.dist-info/"
        self.assertEqual({name for name in names if not name.startswith(information)}, expected)
        self.assertIn(f"{information}licenses/LICENSE", names)

    def test_metadata(self) -> None:
        with zipfile.ZipFile(self.wheel) as archive:
            lines = archive.read(f"txpika-{__version__}.dist-info/METADATA").decode().splitlines()
        for line in (
            "Name: txpika",
            f"Version: {__version__}",
            "Requires-Python: >=3.11",
            "License-Expression: MPL-2.0",
            "Requires-Dist: Twisted>=24.11",
        ):
            self.assertIn(line, lines)


class PluginTests(SynchronousTestCase):
    """Twisted finds the plugin file of the installed txpika, editable or not."""

    def test_the_folder_is_where_twisted_looks(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        # -P and no PYTHONPATH: only what is installed counts, not what lies in the current folder.
        program = (
            "import importlib.util, os, twisted.plugins\n"
            "print(importlib.util.find_spec('txpika') is not None)\n"
            "print(*[p for p in twisted.plugins.__path__ if os.path.exists(os.path.join(p, 'txpika_plugin.py'))])"
        )
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        python = [sys.executable, "-P", "-c", program]
        done = subprocess.run(python, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        installed, found = done.stdout.splitlines()
        if installed != "True":
            raise SkipTest("txpika is not installed: run `make venv`")
        self.assertEqual(len(found.split()), 1)

    def twist(self, *arguments: str) -> str:
        """@return: What C{twist} prints, in an empty folder."""
        folder = self.mktemp()
        os.mkdir(folder)
        done = subprocess.run(
            [sys.executable, os.path.join(os.path.dirname(sys.executable), "twist"), *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.path.dirname(txpika.__path__[0])},
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_twist_lists_the_commands_and_knows_their_options(self) -> None:
        listed = self.twist("--help")
        for command in ("txpika-consumer", "txpika-relay"):
            self.assertIn(command, listed)
            self.assertIn("--queue=", self.twist(command, "--help"))

    def test_to_find_the_commands_nothing_is_imported(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        program = (
            "import json, sys\n"
            "from twisted.application.service import IServiceMaker\n"
            "from twisted.plugin import getPlugins\n"
            "found = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}\n"
            "loaded = sorted({'txpika', 'twisted.internet.reactor'} & set(sys.modules))\n"
            "makers = [found['txpika-consumer'], found['txpika-relay']]\n"
            "print(json.dumps([loaded, *(maker.options.__name__ + maker.makeService.__name__ for maker in makers),"
            " 'twisted.internet.reactor' in sys.modules]))"
        )
        self.assertEqual(json.loads(run_python(program, folder)), [[], *["OptionsmakeService"] * 2, False])

    def test_our_folders_do_not_hide_twisteds(self) -> None:
        project()
        for folder in ("twisted", "twisted/plugins"):
            self.assertFalse((REPOSITORY / folder / "__init__.py").exists())
