# -*- test-case-name: txpika.test.test_loading -*-
"""
A handler by its name, as the command line gives it.

Owns how a name is looked up and what it may name. Knows nothing of queues.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred

from txpika.handling import OnDelivery


class LoadError(ValueError):
    """There is no such handler. The text is one line that says why."""


class HandlerSource:
    """
    Where a handler comes from: it is one, or it makes one.

    @ivar name: As it was given.
    """

    def __init__(self, name: str, target: Callable[..., Any], factory: bool) -> None:
        """
        @param target: What the name names.
        @param factory: It is called, once and without arguments, and what it gives is the handler.
        """
        self.name = name
        self._target = target
        self._factory = factory

    def make(self) -> Deferred[OnDelivery]:
        """
        @return: Fires with the handler. Fails with L{LoadError} when what the factory gave is none, and with whatever
            the factory raised.
        """
        if not self._factory:
            handler: Deferred[OnDelivery] = Deferred()
            handler.callback(self._target)
            return handler
        return maybeDeferred(self._call).addCallback(self._checked)

    def _call(self) -> object:
        made = self._target()
        if isinstance(made, Awaitable) and not isinstance(made, Deferred):
            return Deferred.fromCoroutine(_wait(made))
        return made

    def _checked(self, made: object) -> OnDelivery:
        check(self.name, f"what {self.name} gave", made, 1)
        return cast(OnDelivery, made)


async def _wait(made: Awaitable[object]) -> object:
    return await made


def find(name: str) -> HandlerSource:
    """
    @param name: C{package.module.callable} or C{package.module:callable}, where the callable takes one argument, a
        L{txpika.Delivery}. A class, or a name that ends in C{()}, is a factory: it is called with no argument, may be
        C{async} or return a Deferred, and gives the handler. Modules in the current folder are found too, after all
        others.
    @raise LoadError: when there is none.
    """
    path = name.removesuffix("()")
    words = path.replace(":", ".", 1).split(".")
    if len(words) < 2 or not all(word.isidentifier() for word in words):
        raise LoadError(f"handler {name!r} must be package.module.callable")
    module_words = path.partition(":")[0].split(".") if ":" in path else None
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    target: object
    target, rest = (_import(name, module_words), words[len(module_words) :]) if module_words else _search(name, words)
    known = ".".join(words[: len(words) - len(rest)])
    for word in rest:
        try:
            target = getattr(target, word)
        except AttributeError:
            raise LoadError(f"handler {name!r}: {known} has no {word!r}") from None
        known = f"{known}.{word}"
    factory = name.endswith("()") or inspect.isclass(target)
    check(name, known, target, 0 if factory else 1)
    return HandlerSource(name, cast(Callable[..., Any], target), factory)


def check(name: str, what: str, target: object, arguments: int) -> None:
    """@raise LoadError: when C{target} cannot be called with so many arguments."""
    if not callable(target):
        raise LoadError(f"handler {name!r}: {what} is a {type(target).__name__}, which cannot be called")
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise LoadError(f"handler {name!r}: {what} is a generator function, which nobody would run: make it async")
    try:
        inspect.signature(target).bind(*[None] * arguments)
    except TypeError:
        taken = "one argument, the delivery" if arguments else "no argument"
        raise LoadError(f"handler {name!r}: {what} cannot be called with {taken}") from None
    except ValueError:
        pass  # written in C: nobody knows


def _search(name: str, words: list[str]) -> tuple[object, list[str]]:
    """@return: The longest beginning of C{words} that is a module, and the other words."""
    for length in range(len(words) - 1, 0, -1):
        try:
            return _import(name, words[:length]), words[length:]
        except _NoSuchModule:
            if length == 1:
                raise
    raise AssertionError("there are two words at least")


class _NoSuchModule(LoadError):
    """No file has the name; what it may lack itself is another matter."""


def _import(name: str, words: list[str]) -> object:
    module = ".".join(words)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            raise _NoSuchModule(f"handler {name!r}: there is no module {error.name!r}") from error
        raise _broken(name, module, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, module, error) from error


def _broken(name: str, module: str, error: BaseException) -> LoadError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    text = " ".join(str(error).split())
    return LoadError(f"handler {name!r}: importing {module} failed: {type(error).__name__}: {text}{where}")
