"""``.cvmfsdirtab``: rules that say which directories start nested catalogs.

One rule a line: ``/sw/*/lib`` wants a catalog in each such directory, ``! */.git`` wants none where it applies, ``#``
begins a comment. ``*`` and ``?`` stay within one component of a wanted path; in ``!`` rules ``*`` also crosses slashes.
A backslash makes ``*``, ``?`` and itself ordinary. Names with a leading dot are matched like all others. ``[a-z]`` in a
wanted path is a set of characters, in ``!`` rules it is not: so glob(3) and the regular expressions of the official
tools have it (``path_filters/dirtab.cc``, ``pathspec.cc``, ``swissknife_sync.cc: DetermineNestedCatalogCandidates``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate

from functions.cvmfs.entry import decode_text

DIRTAB_PATH = "/.cvmfsdirtab"

DIRTAB_LIMIT = 1 << 20
"""Bytes of content: a larger file is no dirtab."""

RULES_LIMIT = 1_000
"""Every new directory is held against every rule of its depth."""

FAULTS_SHOWN = 10
"""A file that is no dirtab at all has as many faults as lines."""

_PATTERN_SHOWN = 60
_BLANKS = " \t\r"
_WILDCARDS = frozenset("*?")
_ESCAPE = "\\"


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a wanted path: a `name`, or a `pattern` of names."""

    name: str
    pattern: re.Pattern[str] | None

    def matches(self, name: str) -> bool:
        """Whether a name is meant."""
        return self.name == name if self.pattern is None else self.pattern.match(name) is not None


@dataclass(frozen=True, slots=True)
class WantedRule:
    """A rule that wants catalogs; `text` is how its author wrote it."""

    text: str
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Descent:
    """The rules that may still apply at or below a directory, which is `depth` components below the root."""

    rules: tuple[WantedRule, ...]
    depth: int = 0

    def into(self, name: str) -> Descent:
        """The descent into a directory of this name."""
        rules = [rule for rule in self.deeper() if rule.components[self.depth].matches(name)]
        return Descent(tuple(rules), self.depth + 1)

    def arrived(self) -> list[WantedRule]:
        """The rules that want this very directory."""
        return [rule for rule in self.rules if len(rule.components) == self.depth]

    def deeper(self) -> list[WantedRule]:
        """The rules that want directories below it."""
        return [rule for rule in self.rules if len(rule.components) > self.depth]

    def names(self) -> set[str] | None:
        """The only names to look at, or None if the whole directory has to be listed."""
        components = [rule.components[self.depth] for rule in self.deeper()]
        return None if any(one.pattern for one in components) else {one.name for one in components}


@dataclass(frozen=True, slots=True)
class Dirtab:
    """The rules of a dirtab, or its `faults`: with a single one no rule applies, as with the official tools."""

    wanted: tuple[WantedRule, ...] = ()
    unwanted: tuple[re.Pattern[str], ...] = ()
    faults: tuple[str, ...] = ()
    _by_depth: Mapping[int, list[WantedRule]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, content: bytes) -> Dirtab:
        """Read a dirtab; what is wrong with it is in `faults`, each with its line number."""
        if len(content) > DIRTAB_LIMIT:
            return cls(faults=(f"it has {len(content)} bytes, at most {DIRTAB_LIMIT} are read",))
        lines = [_Line(number, line) for number, line in enumerate(decode_text(content).split("\n"), start=1)]
        rules = [line for line in lines if line.pattern]
        if len(rules) > RULES_LIMIT:
            return cls(faults=(f"it has {len(rules)} rules, at most {RULES_LIMIT} are possible",))
        faults = [fault for line in rules if (fault := line.fault())]
        if not faults:
            faults = _contradictions(rules)
        if len(faults) > FAULTS_SHOWN:
            faults = [*faults[:FAULTS_SHOWN], f"{len(faults) - FAULTS_SHOWN} more lines are wrong"]
        if faults:
            return cls(faults=tuple(faults))
        wanted = tuple(WantedRule(line.pattern, _components(line)) for line in rules if not line.negated)
        unwanted = tuple(re.compile(_relaxed(line)) for line in rules if line.negated)
        by_depth: dict[int, list[WantedRule]] = defaultdict(list)
        for rule in wanted:
            by_depth[len(rule.components)].append(rule)
        return cls(wanted, unwanted, (), dict(by_depth))

    def matches(self, path: str) -> bool:
        """Whether a nested catalog is wanted in the directory at `path`."""
        names = path.split("/")[1:]
        return any(
            all(component.matches(name) for component, name in zip(rule.components, names, strict=True))
            for rule in self._by_depth.get(len(names), ())
        ) and not self.excludes(path)

    def excludes(self, path: str) -> bool:
        """Whether a ``!`` rule applies to the directory at `path`."""
        return any(pattern.match(path) for pattern in self.unwanted)

    def descent(self, path: str = "") -> Descent:
        """The rules for the directory at `path` and all below it."""
        descent = Descent(self.wanted)
        for name in path.split("/")[1:]:
            descent = descent.into(name)
        return descent


_Token = tuple[str, bool]
"""A character, and whether it is a wildcard."""


class _Line:
    """One line: its pattern, empty for comments, and what the pattern consists of."""

    def __init__(self, number: int, text: str) -> None:
        stripped = text.strip(_BLANKS)
        self.number = number
        self.negated = stripped.startswith("!")
        self.pattern = "" if stripped.startswith("#") else stripped.removeprefix("!").strip(_BLANKS)
        self.absolute = self.pattern.startswith("/")
        self.is_escaped_well = True
        self.tokens = [self._tokens_of(component) for component in self.pattern.split("/") if component]

    @property
    def shown(self) -> str:
        """The pattern as it is told to its author, who may have sent anything."""
        return repr(self.pattern if len(self.pattern) <= _PATTERN_SHOWN else f"{self.pattern[:_PATTERN_SHOWN]}…")

    def fault(self) -> str:
        """What is wrong with the rule, or an empty string."""
        if not self.is_escaped_well:
            return self._fault(r"a backslash stands before something else than *, ? or \ ")
        if not self.tokens:
            return self._fault("it names no directory below the root")
        if not self.absolute and not self.negated:
            return self._fault("only rules with '!' may begin without a slash")
        return ""

    def _fault(self, what: str) -> str:
        return f"line {self.number}: {self.shown}: {what.rstrip()}"

    def _tokens_of(self, component: str) -> tuple[_Token, ...]:
        tokens: list[_Token] = []
        escaped = False
        for character in component:
            if escaped:
                self.is_escaped_well &= character in _WILDCARDS or character == _ESCAPE
                tokens.append((character, False))
                escaped = False
            elif character == _ESCAPE:
                escaped = True
            else:
                tokens.append((character, character in _WILDCARDS))
        self.is_escaped_well &= not escaped
        return tuple(tokens)


def _contradictions(rules: list[_Line]) -> list[str]:
    """Rules that are there with and without ``!`` (``dirtab.cc: CheckRuleValidity``)."""
    seen = {(line.absolute, *line.tokens): line for line in rules if not line.negated}
    faults = []
    for line in rules:
        other = seen.get((line.absolute, *line.tokens)) if line.negated else None
        if other is not None:
            faults.append(f"line {line.number}: {line.shown} is unwanted here and wanted in line {other.number}")
    return faults


def _components(line: _Line) -> tuple[Component, ...]:
    components = []
    for tokens in line.tokens:
        name = "".join(character for character, _ in tokens)
        if "[" in name or any(is_wildcard for _, is_wildcard in tokens):
            glob = "".join(
                f"[{character}]" if character in _WILDCARDS and not wild else character for character, wild in tokens
            )
            components.append(Component(name, re.compile(translate(glob))))
        else:
            components.append(Component(name, None))
    return tuple(components)


def _relaxed(line: _Line) -> str:
    """The expression of a ``!`` rule: anchored at both ends, a star crosses slashes, a question mark does not."""
    parts = ["".join(_relaxed_token(*token) for token in tokens) for tokens in line.tokens]
    return translate(("/" if line.absolute else "") + "/".join(parts))


def _relaxed_token(character: str, is_wildcard: bool) -> str:
    if is_wildcard:
        return "*" if character == "*" else "[!/]"
    return f"[{character}]" if character in "*?[" else character
