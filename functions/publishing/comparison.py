"""A bucket held against a repository: which keys have to be looked at again, and why.

Both sides come in key order and are read once, side by side, so the size of neither matters. Nothing is read of any
object: an object is what its etag, size and LastModified say, as they stand in the attributes of its entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from functions.cvmfs.entry import encode_text
from functions.errors import UploadRefused
from functions.ports import ObjectInfo
from functions.publishing.keys import Target, TargetKind
from functions.publishing.sourced_entries import SourcedEntry


class Expected(Protocol):
    """What the rules of now make of objects."""

    @property
    def permissions(self) -> str:
        """Which of them decide the permissions of entries, as these say themselves."""

    def wanted(self, key: str) -> Target | None:
        """Where the object of a key belongs: None if nowhere; raises UploadRefused if it cannot be."""


class Reason(StrEnum):
    """Why a key has to be looked at again."""

    NEW = "new"
    REPLACED = "replaced"
    """Another etag or size."""
    REWRITTEN = "written again"
    """The same content at another time: its metadata may be others."""
    MOVED = "belongs elsewhere"
    """The rules of now put it at another path, or make something else of it, or leave it out."""
    RULES = "other rules"
    """The rules of now give it other permissions."""
    GONE = "gone"
    REFUSED = "refused"
    """It cannot be published, which the user has not been told yet."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key for which bucket and repository differ: `path` is where it is, or is to be; `info` None if it is gone."""

    key: str
    reason: Reason
    path: str = ""
    info: ObjectInfo | None = None
    is_elsewhere: bool = False
    """Whether a look at the key does not lead to `path`, so that the entry there has to be removed without one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One key: the object that a bucket has of it, and the entries that a repository has of that."""

    key: str
    info: ObjectInfo | None = None
    entries: tuple[SourcedEntry, ...] = ()


@dataclass(slots=True)
class Tally:
    """How much has been read of both sides, and what came of it: see ``reconciliations.Counts``."""

    objects: int = 0
    entries: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    kept: int = 0
    held: int = 0
    refused: int = 0

    def count(self, reason: Reason) -> None:
        """Count a difference."""
        if reason is Reason.GONE:
            self.gone += 1
        elif reason in {Reason.NEW, Reason.REFUSED}:
            self.new += 1
        else:
            self.changed += 1


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Objects and sourced entries, both in byte order of their keys, paired by key; `tally` counts on the way."""

    objects: Iterable[ObjectInfo]
    entries: Iterable[SourcedEntry]
    tally: Tally = field(default_factory=Tally)

    def __iter__(self) -> Iterator[Pair]:
        """Every key of either side, once."""
        objects, entries = iter(self.objects), iter(self.entries)
        info, entry = next(objects, None), next(entries, None)
        while info is not None or entry is not None:
            key = _first(None if info is None else info.key, None if entry is None else entry.key)
            here: ObjectInfo | None = None
            if info is not None and info.key == key:
                here, info = info, next(objects, None)
                self.tally.objects += 1
            found: list[SourcedEntry] = []
            while entry is not None and entry.key == key:
                found.append(entry)
                entry = next(entries, None)
            self.tally.entries += len(found)
            yield Pair(key, here, tuple(found))


def judge(pair: Pair, expected: Expected) -> Difference | None:
    """What is to be done about a key; None if bucket and repository agree on it."""
    try:
        target = expected.wanted(pair.key)
    except UploadRefused:
        return _judge_refused(pair)
    path = "" if target is None else target.path
    elsewhere = tuple(entry.path for entry in pair.entries if entry.path != path)
    if pair.info is None:
        return _gone(pair, path)
    if target is None:
        return Difference(pair.key, Reason.MOVED, elsewhere[0], pair.info) if elsewhere else None
    here = next((entry for entry in pair.entries if entry.path == path), None)
    reason = _difference(pair.info, here, target, expected.permissions)
    if elsewhere and reason in {None, Reason.NEW}:
        reason = Reason.MOVED
    return None if reason is None else Difference(pair.key, reason, path, pair.info)


def _judge_refused(pair: Pair) -> Difference:
    if pair.info is None:
        return _gone(pair, "")
    return Difference(pair.key, Reason.REFUSED, pair.entries[0].path if pair.entries else "", pair.info)


def _gone(pair: Pair, path: str) -> Difference:
    """An entry at `path`, where a look at the key leads to, or else the first one elsewhere; others come next time."""
    if any(entry.path == path for entry in pair.entries):
        return Difference(pair.key, Reason.GONE, path)
    return Difference(pair.key, Reason.GONE, pair.entries[0].path, is_elsewhere=True)


def _difference(info: ObjectInfo, entry: SourcedEntry | None, target: Target, permissions: str) -> Reason | None:
    if entry is None:
        return Reason.NEW
    if (target.kind is TargetKind.ARCHIVE) != entry.is_archive:
        return Reason.MOVED
    rewritten = Reason.REWRITTEN if int(info.modified.timestamp()) != entry.modified else None
    if entry.is_noted:
        return rewritten
    if info.etag != entry.etag or (target.kind is TargetKind.FILE and entry.is_file and info.size != entry.size):
        return Reason.REPLACED
    if entry.permissions != permissions:
        return Reason.RULES
    return rewritten


def _first(one: str | None, other: str | None) -> str:
    if one is None or other is None:
        return one if one is not None else str(other)
    return one if encode_text(one) <= encode_text(other) else other
