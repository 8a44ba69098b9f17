# -*- test-case-name: txpika.test.test_memory_routing -*-
"""
Which patterns of topic exchanges match a routing key.

Words are separated by dots; C{*} stands for one word, C{#} for any number of them (rabbitmq.com/tutorials, part five).
Knows words; not what a pattern is bound to.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.values: dict[T, None] = {}


class Topics(Generic[T]):
    """Patterns and what each leads to, as a tree of words."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: str, value: T) -> None:
        """C{value} is reached by what C{pattern} matches."""
        node = self._root
        for word in pattern.split(".") if pattern else ():
            node = node.children.setdefault(word, _Node())
        node.values[value] = None

    def remove(self, pattern: str, value: T) -> None:
        """Not any more. Nodes that lead nowhere go as well."""
        path = [self._root]
        words = pattern.split(".") if pattern else []
        for word in words:
            path.append(path[-1].children[word])
        del path[-1].values[value]
        while words and not path[-1].values and not path[-1].children:
            path.pop()
            del path[-1].children[words.pop()]

    def match(self, key: str) -> dict[T, None]:
        """
        @return: What is reached by a routing key, each once. The time it takes depends on the patterns, not on how many
            ways there are to match one.
        """
        words = key.split(".") if key else []
        found: dict[T, None] = {}
        seen: set[tuple[int, int]] = set()
        todo: list[tuple[_Node[T], int]] = [(self._root, 0)]
        while todo:
            node, at = todo.pop()
            if (id(node), at) in seen:
                continue
            seen.add((id(node), at))
            if at == len(words):
                found.update(node.values)
            else:
                for word in (words[at], "*"):
                    child = node.children.get(word)
                    if child is not None:
                        todo.append((child, at + 1))
            rest = node.children.get("#")
            if rest is not None:
                todo += [(rest, stop) for stop in range(at, len(words) + 1)]
        return found
