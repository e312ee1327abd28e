"""Patterns for paths, with the meaning they have in ``.gitignore``.

Own code, since the patterns are the users': a translation to regular expressions, as libraries make it, lets a pattern
with many stars keep a processor busy for hours. Here a path of n characters and a pattern of m cost n times m steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class PatternFault(ValueError):
    """A pattern that means nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class _Class:
    """``[a-z]`` or ``[!a-z]``."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def matches(self, character: str) -> bool:
        return any(first <= character <= last for first, last in self.ranges) is not self.negated


class _Star:
    """Any number of characters, or of path components."""


_STAR = _Star()
_ANY = _Class((), negated=True)

_Glob = tuple[str | _Class | _Star, ...]


@dataclass(frozen=True, slots=True)
class _Pattern:
    components: tuple[_Glob | _Star, ...]
    directories_only: bool
    includes: bool

    def matches(self, components: Sequence[str], *, is_directory: bool) -> bool:
        if self.directories_only and not is_directory:
            return False
        return _matches(self.components, components, _component_matches)


class Patterns:
    """Some patterns, in order: the last one that matches decides. Raises PatternFault."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._patterns = [parse_pattern(text) for text in texts]

    def excludes(self, path: str) -> bool:
        """Whether a path, relative and with a slash at its end for a directory, or one of those above it is matched.

        What is in a directory that is excluded cannot be included again.
        """
        if not self._patterns:
            return False
        components = path.rstrip("/").split("/")
        for depth in range(1, len(components) + 1):
            is_directory = depth < len(components) or path.endswith("/")
            if self._excludes(components[:depth], is_directory=is_directory):
                return True
        return False

    def _excludes(self, components: Sequence[str], *, is_directory: bool) -> bool:
        for pattern in reversed(self._patterns):
            if pattern.matches(components, is_directory=is_directory):
                return not pattern.includes
        return False


def parse_pattern(text: str) -> _Pattern:
    """Read one pattern; raises PatternFault."""
    includes = text.startswith("!")
    body = text.removeprefix("!")
    directories_only = body.endswith("/")
    body = body.rstrip("/")
    if not body:
        raise PatternFault(f"{text!r} names nothing")
    is_anchored = "/" in body
    parts = body.removeprefix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise PatternFault(f"{text!r} has an empty component, '.' or '..'")
    components: list[_Glob | _Star] = [] if is_anchored else [_STAR]
    components += [_STAR if part == "**" else _glob(part, text) for part in parts]
    if parts[-1] == "**":
        components.append((_STAR,))  # what is in the directory, and not the directory itself
    return _Pattern(tuple(components), directories_only, includes)


def _glob(part: str, text: str) -> _Glob:
    glob: list[str | _Class | _Star] = []
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            if not glob or glob[-1] is not _STAR:
                glob.append(_STAR)
        elif character == "?":
            glob.append(_ANY)
        elif character == "[":
            end = part.find("]", position + 2 if part[position : position + 1] in {"!", "^"} else position + 1)
            if end < 0:
                raise PatternFault(f"{text!r} has a '[' without ']'")
            glob.append(_class(part[position:end]))
            position = end + 1
        elif character == "\\":
            if position == len(part):
                raise PatternFault(f"{text!r} ends with a backslash")
            glob.append(part[position])
            position += 1
        else:
            glob.append(character)
    return tuple(glob)


def _class(body: str) -> _Class:
    negated = body[0] in {"!", "^"}
    body = body[1:] if negated else body
    ranges = []
    position = 0
    while position < len(body):
        is_range = body[position + 1 : position + 2] == "-" and position + 2 < len(body)
        ranges.append((body[position], body[position + 2 if is_range else position]))
        position += 3 if is_range else 1
    return _Class(tuple(ranges), negated)


def _component_matches(glob: _Glob, component: str) -> bool:
    return _matches(glob, component, _character_matches)


def _character_matches(expected: str | _Class, character: str) -> bool:
    return expected.matches(character) if isinstance(expected, _Class) else expected == character


def _matches(pattern: Sequence[Any], items: Sequence[str], one: Callable[[Any, str], bool]) -> bool:
    """Whether a sequence with stars matches: after a mismatch the last star takes one item more, earlier ones never."""
    at = position = 0
    star = taken = -1
    while position < len(items):
        part = pattern[at] if at < len(pattern) else None
        if isinstance(part, _Star):
            star, taken = at, position
            at += 1
        elif part is not None and one(part, items[position]):
            at, position = at + 1, position + 1
        elif star >= 0:
            taken += 1
            at, position = star + 1, taken
        else:
            return False
    return all(isinstance(part, _Star) for part in pattern[at:])
