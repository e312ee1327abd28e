"""What a repository may hold, and how much of that is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from events.change import ChangeRecord
from functions.cvmfs.catalog import Counters
from functions.cvmfs.entry import Entry, parent_path
from functions.publishing.tree import CatalogTree

QUOTA_FILES = "quota-files"
QUOTA_BYTES = "quota-bytes"
QUOTA_CODES = frozenset({QUOTA_FILES, QUOTA_BYTES})


@dataclass(frozen=True, slots=True)
class Quota:
    """How many files, links and directories, and how many bytes of content a repository may hold; None is no limit."""

    files: int | None = None
    content_bytes: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.files is not None or self.content_bytes is not None


UNLIMITED = Quota()


@dataclass(frozen=True, slots=True)
class Extent:
    """A number of files, links and directories, and the bytes of content in them; differences may be negative."""

    files: int = 0
    content_bytes: int = 0

    @classmethod
    def of(cls, counters: Counters) -> Extent:
        """What catalogs count."""
        return cls(counters.entries, counters.file_size)

    def __add__(self, other: Extent) -> Extent:
        return Extent(self.files + other.files, self.content_bytes + other.content_bytes)

    def __sub__(self, other: Extent) -> Extent:
        return Extent(self.files - other.files, self.content_bytes - other.content_bytes)


class Room:
    """The room that is left in a repository while a batch is applied to it."""

    def __init__(self, quota: Quota, taken: Extent) -> None:
        self._quota = quota
        self._taken = taken

    @property
    def is_limited(self) -> bool:
        """Whether anything has to be counted at all."""
        return self._quota.is_limited

    def refusal(self, growth: Extent) -> tuple[str, str] | None:
        """The code and the reason for which a growth cannot be, or None; what does not grow always fits."""
        files, content_bytes = self._quota.files, self._quota.content_bytes
        after = self._taken + growth
        if files is not None and growth.files > 0 and after.files > files:
            return QUOTA_FILES, f"the repository would hold {after.files} files and directories, {files} are allowed"
        if content_bytes is not None and growth.content_bytes > 0 and after.content_bytes > content_bytes:
            return QUOTA_BYTES, f"the repository would hold {after.content_bytes} bytes, {content_bytes} are allowed"
        return None

    def take(self, growth: Extent) -> None:
        """Note a growth, or what was freed."""
        self._taken += growth


def growth_of(tree: CatalogTree, record: ChangeRecord, wanted: Entry) -> Extent:
    """By how much a record that enters something makes a repository grow, directories that it implies included."""
    if record.tree is None:
        after = Extent.of(Counters.of(wanted))
    else:
        after = Extent.of(Counters.of_mapping(record.tree.counters))
    missing = 0
    path = parent_path(record.path)
    while path and tree.lookup(path) is None:
        missing += 1
        path = parent_path(path)
    existing = tree.lookup(record.path)
    if existing is None:
        before = Extent()
    elif existing.is_directory and wanted.is_directory and record.tree is None:
        before = Extent(1)
    else:
        before = extent_below(tree, record.path)
    return after - before + Extent(missing)


def extent_below(tree: CatalogTree, path: str) -> Extent:
    """What is at a path and below it."""
    entry = tree.lookup(path)
    if entry is not None and entry.is_nested_root:
        return Extent.of(tree.catalog_holding(path).total_counters)
    return _sum(entry for _, entry in tree.walk(path))


def _sum(entries: Iterable[Entry]) -> Extent:
    return Extent.of(Counters.tally(entries))
