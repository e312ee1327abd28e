"""How the differences between two revisions are written: for people, for scripts of ``cvmfs_server diff``, as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cli.output import printable, say, shown_size, write_json, write_line
from gateway.cli.tag import shown_time

if TYPE_CHECKING:
    from functions.cvmfs.counters import Counters
    from functions.cvmfs.difference import Aspect, CatalogDifference, Difference, TreeComparison
    from functions.cvmfs.entry import Entry
    from functions.cvmfs.revisions import Revision

NESTED_CATALOG = "nested-catalog"
"""The word for: a nested catalog begins here in one of the revisions only."""

_LETTERS = {
    "link-count": "I",
    "size": "S",
    "mode": "M",
    "timestamp": "T",
    "symlink-target": "L",
    "content": "C",
    NESTED_CATALOG: "N",
    "xattrs": "X",
    "external-file": "E",
    "hidden": "H",
    "direct-io": "D",
    "owner": "O",
}
"""What ``cvmfs_server diff -m`` writes for each word; the last two are ours (``cmd_diff.cc: PrintDifferences``)."""

_COUNTED = {"F": "regular files", "S": "symlinks", "D": "directories", "N": "nested catalogs"}


@dataclass(frozen=True, slots=True)
class Change:
    """One path: how its entry differs, if it does, and the nested catalogs that begin there, if they differ."""

    path: str
    entry: Difference | None
    catalog: CatalogDifference | None
    aspects: tuple[Aspect, ...]

    @property
    def old(self) -> Entry | None:
        """The older entry, if there is one."""
        return None if self.entry is None else self.entry.old

    @property
    def new(self) -> Entry | None:
        """The newer entry, if there is one."""
        return None if self.entry is None else self.entry.new

    @property
    def sign(self) -> str:
        """A, M or D: added, modified or deleted."""
        if self.entry is None or (self.entry.old and self.entry.new):
            return "M"
        return "A" if self.entry.old is None else "D"

    @property
    def begins_or_ends(self) -> bool:
        """Whether a nested catalog begins here in one of the revisions only."""
        return self.catalog is not None and (self.catalog.old is None or self.catalog.new is None)

    @property
    def words(self) -> list[str]:
        """In what a modified path differs."""
        return [aspect.value for aspect in self.aspects] + ([NESTED_CATALOG] if self.begins_or_ends else [])


def changes_of(comparison: TreeComparison, *, ignore_timediff: bool) -> Iterator[Change]:
    """The differences by path: that of the catalog with that of the directory it begins at."""
    from functions.cvmfs.difference import Aspect, CatalogDifference  # noqa: PLC0415

    catalog: CatalogDifference | None = None
    for item in comparison:
        if catalog is not None and catalog.path != item.path:
            yield Change(catalog.path, None, catalog, ())
            catalog = None
        if isinstance(item, CatalogDifference):
            catalog = item
            continue
        aspects = tuple(aspect for aspect in item.aspects if not (ignore_timediff and aspect is Aspect.TIME))
        if aspects or item.old is None or item.new is None:
            yield Change(item.path, item, catalog, aspects)
            catalog = None
    if catalog is not None:
        yield Change(catalog.path, None, catalog, ())


# For people


def write_for_people(
    revisions: tuple[Revision, Revision],
    changes: Iterator[Change],
    delta: Counters | None,
    *,
    catalogs: bool,
    header: bool,
) -> None:
    """A line for every path; where nested catalogs begin and end only with `catalogs`."""
    if header:
        write_line(f"From {_described(revisions[0])} to {_described(revisions[1])}")
    counts = dict.fromkeys("AMD", 0)
    for change in changes:
        if change.entry is not None:
            counts[change.sign] += 1
        elif not (catalogs and change.begins_or_ends):
            continue
        path = printable(change.path or "/") if sys.stdout.isatty() else change.path or "/"
        write_line(f"{change.sign} {path} ({_detail(change, catalogs=catalogs)})")
    shown = f"{counts['A']:,} added, {counts['M']:,} modified, {counts['D']:,} removed"
    numbers = "" if delta is None else f"; {_in_words(delta)}"
    say(f"{revisions[0].name} to {revisions[1].name}: {shown}{numbers}.")


def _detail(change: Change, *, catalogs: bool) -> str:
    old, new = change.old, change.new
    nested = ", nested-catalog" if catalogs and change.begins_or_ends else ""
    if old is None or new is None:
        entry = old or new
        if entry is None:
            return f"directory: {NESTED_CATALOG}"
        return _kind(entry) + (f", {shown_size(entry.size)}" if entry.is_regular else "") + nested
    kind = _kind(old) if _kind(old) == _kind(new) else f"{_kind(old)} to {_kind(new)}"
    sizes = f"; {shown_size(old.size)} to {shown_size(new.size)}" if old.is_regular and old.size != new.size else ""
    return f"{kind}: {', '.join(aspect.value for aspect in change.aspects)}{nested}{sizes}"


def _kind(entry: Entry) -> str:
    if entry.is_directory:
        return "directory"
    if entry.is_regular:
        return "file"
    return "symlink" if entry.is_symlink else "special"


def _described(revision: Revision) -> str:
    return f"{revision.name} (revision {revision.number}, {shown_time(revision.timestamp)})"


def _in_words(delta: Counters) -> str:
    numbers = ", ".join(f"{what} {number:+,}" for what, number in _totals(delta).items())
    return f"{numbers}, bytes {delta.file_size:+,}"


def _totals(delta: Counters) -> dict[str, int]:
    # A mount point is an entry of two catalogs, but one directory.
    return dict(
        zip(_COUNTED.values(), (delta.regular, delta.symlink, delta.dir - delta.nested, delta.nested), strict=True)
    )


# For programs


def write_for_machines(changes: Iterator[Change], delta: Counters | None, *, header: bool) -> None:
    """As ``cmd_diff.cc: DiffReporter`` does."""
    if header:
        write_line("# A added, R removed, M[what] modified, S statistics; F file, S symlink, D directory, U other")
    if delta is not None:
        for letter, number in zip(_COUNTED, _totals(delta).values(), strict=True):
            write_line(f"S {letter} {number}")
    for change in changes:
        old, new = change.old, change.new
        if change.entry is None:
            if change.begins_or_ends:
                write_line(f"M[N] D {change.path}")
        elif new is None or old is None:
            entry, sign, letter = (new, "+", "A") if new is not None else (old, "-", "R")
            assert entry is not None
            write_line(f"{letter} {_type_letter(entry)} {change.path} {sign}{entry.size}")
        else:
            kinds = dict.fromkeys((_type_letter(old), _type_letter(new)))
            what = "".join(letter for word, letter in _LETTERS.items() if word in change.words)
            write_line(f"M[{what}] {''.join(kinds)} {change.path}")


def _type_letter(entry: Entry) -> str:
    return {"directory": "D", "file": "F", "symlink": "S"}.get(_kind(entry), "U")


def write_as_json(
    revisions: tuple[Revision, Revision], changes: Iterator[Change], delta: Counters | None, *, signatures_checked: bool
) -> None:
    """Everything, as one value; ``counters`` has those that differ, new minus old."""
    found = list(changes)
    write_json(
        {
            "from": _revision_members(revisions[0]),
            "to": _revision_members(revisions[1]),
            "counters": None
            if delta is None
            else {name: number for name, number in delta.as_mapping().items() if number},
            "changes": [_change_members(change) for change in found if change.entry is not None],
            "catalogs": [_catalog_members(change.catalog) for change in found if change.catalog is not None],
            "signatures_checked": signatures_checked,
        }
    )


def _revision_members(revision: Revision) -> dict[str, object]:
    return {
        "name": revision.name,
        "revision": revision.number,
        "root_hash": str(revision.root),
        "time": shown_time(revision.timestamp),
    }


def _change_members(change: Change) -> dict[str, object]:
    return {
        "kind": {"A": "add", "M": "modify", "D": "remove"}[change.sign],
        "path": change.path,
        "aspects": [aspect.value for aspect in change.aspects],
        "old": _entry_members(change.old),
        "new": _entry_members(change.new),
    }


def _entry_members(entry: Entry | None) -> dict[str, object] | None:
    if entry is None:
        return None
    return {
        "type": _kind(entry),
        "mode": f"{entry.mode:o}",
        "size": entry.size,
        "time": shown_time(entry.mtime),
        "target": entry.symlink or None,
        "digest": None if entry.digest is None else str(entry.digest),
    }


def _catalog_members(catalog: CatalogDifference) -> dict[str, object]:
    return {
        "path": catalog.path,
        "old": None if catalog.old is None else str(catalog.old.digest),
        "new": None if catalog.new is None else str(catalog.new.digest),
    }
