"""Two publishers changed the same path: what that is called, and how the attributes of directories come together.

"Ours" is the publish that is being merged, the later one; "theirs" is what has become live meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

from functions.cvmfs.entry import Entry, EntryFlag

T = TypeVar("T")


class ConflictKind(Enum):
    """What both sides did to a path; the value is its name for programs."""

    BOTH_MODIFIED = "both-modified"
    ADDED_TWICE = "added-twice"
    MODIFIED_REMOVED = "modified-removed"
    REMOVED_MODIFIED = "removed-modified"
    FILE_DIRECTORY = "file-directory"
    PARENT_REMOVED = "parent-removed"

    @property
    def outcome(self) -> str:
        """What happened and what came of it, for a person."""
        return _OUTCOMES[self]


_OUTCOMES = {
    ConflictKind.BOTH_MODIFIED: "another publisher changed it too; it is as published here",
    ConflictKind.ADDED_TWICE: "another publisher added it too; it is as published here",
    ConflictKind.MODIFIED_REMOVED: "another publisher removed it; it is there again, as published here",
    ConflictKind.REMOVED_MODIFIED: "another publisher changed it; it is removed, as published here",
    ConflictKind.FILE_DIRECTORY: "a file on one side, a directory on the other; it is as published here",
    ConflictKind.PARENT_REMOVED: "a directory that one publisher removed and another put something into; it stays",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """One path that both sides changed, differently."""

    path: str
    kind: ConflictKind


@dataclass(slots=True)
class MergeReport:
    """What a merge did: the paths both sides changed, and those outside the lease, whose changes were left out.

    `added`, `modified` and `removed` count entries that were edited one by one (a directory is removed as one);
    `swapped` counts nested catalogs that were taken over as they are.
    """

    conflicts: list[Conflict] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    added: int = 0
    modified: int = 0
    removed: int = 0
    swapped: int = 0


def merged_directory(base: Entry | None, ours: Entry, theirs: Entry) -> tuple[Entry, bool]:
    """The attributes of a directory from both sides, and whether both changed one to different values: then it is ours.

    The time of a directory changes with what is in it, so where both changed it the later one holds, without conflict.
    """
    clashes: list[bool] = []

    def pick(value: Callable[[Entry], T]) -> T:
        mine, other = value(ours), value(theirs)
        if base is not None and mine == value(base):
            return other
        clashes.append(mine != other and (base is None or other != value(base)))
        return mine

    timed = _timed(base, ours, theirs)
    merged = replace(
        theirs,
        mode=pick(lambda entry: entry.mode),
        uid=pick(lambda entry: entry.uid),
        gid=pick(lambda entry: entry.gid),
        xattrs=pick(lambda entry: entry.xattrs),
        extra_flags=theirs.extra_flags & ~EntryFlag.HIDDEN | pick(lambda entry: entry.extra_flags & EntryFlag.HIDDEN),
        size=timed.size,
        mtime=timed.mtime,
        mtime_ns=timed.mtime_ns,
    )
    return merged, any(clashes)


def _timed(base: Entry | None, ours: Entry, theirs: Entry) -> Entry:
    """The side whose time, and size, hold."""
    if base is not None and _timing(ours) == _timing(base):
        return theirs
    if base is not None and _timing(theirs) == _timing(base):
        return ours
    return max(theirs, ours, key=_timing)


def _timing(entry: Entry) -> tuple[int, int, int]:
    return entry.mtime, entry.mtime_ns or 0, entry.size
