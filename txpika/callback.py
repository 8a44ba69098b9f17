# -*- test-case-name: txpika.test.test_callback -*-
"""
Who wants to hear of what, for programs of callbacks.

Owns lists of callbacks, each under a prefix (mostly a channel number) and a key (mostly the name of a method), and the
rules of who hears. Each connection has one of its own. Knows nothing of what the events mean.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, NamedTuple

_log = logging.getLogger("txpika.callback")


class _Entry(NamedTuple):
    """One callback, and when it is called."""

    callback: Callable[..., object]
    one_shot: bool
    only_caller: object

    def hears(self, caller: object) -> bool:
        """Whether C{caller} is the one it wants, or is of the class it wants, or it wants any."""
        only = self.only_caller
        return only is None or only is caller or only is type(caller)


class CallbackManager:
    """
    Callbacks by prefix and key. For one thread, the connection's.

    A key may be a string, a method's class or object, or a frame; all that have the same name are the same key.
    """

    _instance: ClassVar[CallbackManager | None] = None

    def __init__(self) -> None:
        self._entries: dict[Hashable, dict[str, list[_Entry]]] = {}

    @classmethod
    def instance(cls) -> CallbackManager:
        """
        One for the whole process, made at the first call. No connection uses it: it is for old programs that keep
        callbacks of their own here.
        """
        if CallbackManager._instance is None:
            CallbackManager._instance = CallbackManager()
        return CallbackManager._instance

    def sanitize(self, key: object) -> str:
        """
        @return: The name that C{key} stands for: of the method within a frame, of a method or its class, of any other
            frame; the string itself.
        """
        for named in (getattr(key, "method", None), key):
            name = getattr(named, "NAME", None)
            if isinstance(name, str):
                return name
        return str(key)

    def add(
        self,
        prefix: Hashable,
        key: object,
        callback: Callable[..., object],
        one_shot: bool = True,
        only_caller: object = None,
    ) -> tuple[Hashable, str] | None:
        """
        Call C{callback} when L{process} is called with this prefix and key.

        @param one_shot: Only the first time.
        @param only_caller: Only when C{caller} is this object, or of this class; C{None} for any.
        @return: The prefix and the name of the key; C{None} when all of this was there already: it is called once.
        @raise TypeError: when C{callback} cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        name = self.sanitize(key)
        entry = _Entry(callback, bool(one_shot), only_caller)
        entries = self._entries.setdefault(prefix, {}).setdefault(name, [])
        if entry in entries:
            _log.debug("a callback for %s of %s was added a second time", name, prefix)
            return None
        entries.append(entry)
        return prefix, name

    def pending(self, prefix: Hashable, key: object) -> int | None:
        """@return: How many callbacks there are, C{None} for none."""
        return len(self._entries.get(prefix, {}).get(self.sanitize(key), ())) or None

    def process(self, prefix: Hashable, key: object, caller: object, *args: Any, **keywords: Any) -> bool:
        """
        Call all that want to hear, in the order they were added. Those that are to hear once are removed before the
        first is called. Of the others, one that is removed meanwhile does not hear any more. One that is added
        meanwhile hears the next time. What one raises is logged, and the others hear all the same.

        @param caller: Who says so.
        @param args: For each callback.
        @return: Whether there was one to hear.
        """
        of_prefix = self._entries.get(prefix)
        if of_prefix is None:
            return False
        name = self.sanitize(key)
        entries = of_prefix.get(name)
        if entries is None:
            return False
        hearing = [entry for entry in entries if entry.hears(caller)]
        once = {id(entry) for entry in hearing if entry.one_shot}
        if once:
            entries[:] = [entry for entry in entries if id(entry) not in once]
            self._tidy(prefix, name)
        for entry in hearing:
            if entry.one_shot or self._has(prefix, name, entry):
                self._call(entry.callback, name, args, keywords)
        return bool(hearing)

    def _call(
        self, callback: Callable[..., object], name: str, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        try:
            callback(*args, **keywords)
        except Exception:
            _log.exception("a callback for %s raised", name)

    def _has(self, prefix: Hashable, name: str, entry: _Entry) -> bool:
        return any(each is entry for each in self._entries.get(prefix, {}).get(name, ()))

    def remove(self, prefix: Hashable, key: object, callback: Callable[..., object] | None = None) -> bool:
        """
        @param callback: Which one, however it was added; C{None} for all.
        @return: Whether there was one.
        """
        name = self.sanitize(key)
        entries = self._entries.get(prefix, {}).get(name, [])
        kept = [] if callback is None else [entry for entry in entries if entry.callback != callback]
        removed = len(kept) < len(entries)
        if removed:
            entries[:] = kept
            self._tidy(prefix, name)
        return removed

    def take(self, prefix: Hashable, key: object) -> list[Callable[..., object]]:
        """
        Forget all callbacks of this prefix.

        @return: Those of them that would have heard of C{key}, in the order they were added.
        """
        entries = self._entries.pop(prefix, {}).get(self.sanitize(key), ())
        return [entry.callback for entry in entries]

    def clear(self, prefix: Hashable) -> None:
        """Forget all callbacks of this prefix. Harmless when there are none."""
        self._entries.pop(prefix, None)

    def _tidy(self, prefix: Hashable, name: str) -> None:
        of_prefix = self._entries[prefix]
        if not of_prefix[name]:
            del of_prefix[name]
            if not of_prefix:
                del self._entries[prefix]
