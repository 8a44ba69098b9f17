#!/usr/bin/env python3
# -*- test-case-name: txpika.test.test_packaging -*-
"""
Installs txpika in the two ways people do, each into an empty venv, and checks what must work there.

    python tools/check_install.py

Run by C{make check-install}. A wheel and an editable install differ in how Python finds them, and Twisted finds plugins
in its own way, so what works from a checkout proves neither. Not part of the test suite, as it fetches dependencies.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

#: What must hold in either installation; run in an empty folder.
PROGRAM = """
import sys
from importlib.metadata import version
from importlib.resources import files
import txpika
assert txpika.BasicProperties
assert "twisted.internet.reactor" not in sys.modules, "importing txpika installed a reactor"
from txpika._version import __version__
assert version("txpika") == __version__, (version("txpika"), __version__)
assert files("txpika").joinpath("py.typed").is_file(), "py.typed is missing"
assert files("txpika.spec").joinpath("amqp0_9_1.toml").is_file(), "the table of facts is missing"
import twisted.plugins
from twisted.plugin import getCache
seen = getCache(twisted.plugins)
assert "txpika_plugin" in seen, "Twisted does not see the plugin file"
assert "twisted_trial" in seen, "Twisted no longer sees its own plugins"
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
commands = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
for name in ("txpika-consumer", "txpika-relay", "txpika-broker"):
    assert name in commands, sorted(commands)
    commands[name].options()
assert "twisted.internet.reactor" not in sys.modules, "looking for plugins installed a reactor"
"""

#: Twisted shares its plugins folder with us: taking txpika away must not harm it.
AFTERWARDS = """
import importlib.util
import twisted.plugins
from twisted.plugin import getCache
seen = getCache(twisted.plugins)
assert "twisted_trial" in seen and "txpika_plugin" not in seen, sorted(seen)
assert importlib.util.find_spec("txpika") is None
"""


def run(folder: Path, *command: str | Path) -> str:
    """
    Run a command in C{folder}.

    @return: What it printed.
    @raise SystemExit: It failed; what it said is printed.
    """
    done = subprocess.run(list(map(str, command)), cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:200]}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(folder: Path, name: str, *what: str | Path) -> None:
    """
    Install into a new venv, and check.

    @param folder: Where the venv goes.
    @param name: For the venv, and for the reader.
    @param what: Arguments of C{pip install}.
    """
    environment = folder / name
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    empty = folder / f"{name}-empty"
    empty.mkdir()
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    run(empty, *pip, "install", *what)
    run(empty, python, "-c", PROGRAM)
    twist = environment / "bin" / "twist"
    listed = run(empty, twist, "--help")
    for command in ("txpika-consumer", "txpika-relay", "txpika-broker"):
        if command not in listed:
            sys.exit(f"{name}: twist --help does not list {command}")
        run(empty, twist, command, "--help")
        run(empty, environment / "bin" / "twistd", command, "--help")
    run(empty, *pip, "uninstall", "--yes", "txpika")
    run(empty, python, "-c", AFTERWARDS)
    print(f"{name}: ok")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="txpika-install-") as temp:
        folder = Path(temp)
        # From a copy: setuptools would leave a build folder here, and put its contents into the next wheel.
        ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "_trial_temp*")
        shutil.copytree(REPOSITORY, folder / "source", ignore=ignored)
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
        run(REPOSITORY, *pip, "wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
        (wheel,) = folder.glob("*.whl")
        check(folder, "wheel", wheel)
        check(folder, "editable", "--editable", REPOSITORY)


if __name__ == "__main__":
    main()
