"""Who wins where two objects want one path: the newer one, whatever was seen first.

S3 lets ``a`` and ``a/b`` exist together, ``x.tar`` and ``x.zip``, and a file older than the archive whose directory it
is in. Of two such objects the one with the higher rank is published (LastModified, then key). What is published is then
the same for every order of events: taking the objects of a bucket from the newest to the oldest, each enters unless a
newer one that entered is in its way. For that, whoever lost is looked at again when what beat it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from events.change import ChangeRecord
from functions.cvmfs.entry import Entry, parent_path
from functions.cvmfs.tree_view import Tree, walk
from functions.ports import ObjectInfo
from functions.publishing.keys import Target, TargetKind
from functions.publishing.sources import (
    Rank,
    is_archive,
    is_sourced,
    marker_rank,
    rank_of,
    rank_of_record,
    source_key,
)


@dataclass(frozen=True, slots=True)
class Claim:
    """An object that wants a path, as a file or as a directory; archives are directories."""

    path: str
    rank: Rank
    is_directory: bool
    is_archive: bool = False

    @classmethod
    def of(cls, record: ChangeRecord, wanted: Entry) -> Claim:
        """What a record that enters something claims."""
        return cls(record.path, rank_of_record(record), wanted.is_directory, record.tree is not None)

    @classmethod
    def of_entry(cls, path: str, entry: Entry) -> Claim:
        """What an entry has that came from an object."""
        return cls(path, rank_of(path, entry), entry.is_directory, is_archive(entry))

    @classmethod
    def of_object(cls, info: ObjectInfo, target: Target) -> Self:
        """What an object claims of which only its key and LastModified are known."""
        rank = int(info.modified.timestamp()), info.key
        unpacked = target.kind is TargetKind.ARCHIVE
        return cls(target.path, rank, unpacked or target.kind is TargetKind.DIRECTORY, unpacked)

    @property
    def key(self) -> str:
        """The key of the object."""
        return self.rank[1]


def clash_of(tree: Tree, claim: Claim) -> str | None:
    """Why an object has to stay out, or None."""
    path, rank = claim.path, claim.rank
    above = archive_above(tree, parent_path(path))
    if above is not None and rank_of(*above) > rank:
        return f"{path} is in the directory of an archive that is newer"
    in_the_way = file_above(tree, path)
    # A member of the archive gives way; an upload into its directory, or a file outside, has a rank of its own.
    if in_the_way is not None and (above is None or is_sourced(in_the_way[1])) and rank_of(*in_the_way) > rank:
        return f"{in_the_way[0]} is a newer file, so nothing can be below it"
    existing = tree.lookup(path)
    if existing is None or source_key(path, existing) == claim.key:
        return None
    if existing.is_directory and claim.is_directory:
        is_rival = claim.is_archive and is_archive(existing)
        return _taken(path, existing) if is_rival and rank_of(path, existing) > rank else None
    if existing.is_directory:
        is_newer = _has_newer_below(tree, path, rank)
        return f"{path} is a directory with newer files, so it cannot be a file" if is_newer else None
    if not is_sourced(existing) and (above is not None or not claim.is_directory):
        return None
    if rank_of(path, existing) <= rank:
        return None
    return f"{path} is a newer file, so it cannot be a directory" if claim.is_directory else _taken(path, existing)


def archive_above(tree: Tree, path: str) -> tuple[str, Entry] | None:
    """Path and root of the archive's tree that a directory is part of, if it is; it starts a nested catalog."""
    while mount := tree.catalog_holding(path).path:
        root = tree.lookup(mount)
        if root is not None and is_archive(root):
            return mount, root
        path = parent_path(mount)
    return None


def file_above(tree: Tree, path: str) -> tuple[str, Entry] | None:
    """What is no directory and stands where a path needs one."""
    path = parent_path(path)
    while path:
        entry = tree.lookup(path)
        if entry is not None:
            return None if entry.is_directory else (path, entry)
        path = parent_path(path)
    return None


def uploads_below(tree: Tree, path: str) -> list[tuple[str, Entry]]:
    """The entries below a directory that came from objects of their own, parents first.

    The members of an archive did not. An archive with nothing added, the usual case, has attributes on its root only.
    """
    top = tree.lookup(path)
    if top is None or (top.is_nested_root and tree.catalog_holding(path).total_counters.xattr <= bool(top.xattrs)):
        return []
    return [(below, entry) for below, entry in walk(tree, path) if below != path and is_sourced(entry)]


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same, or one is below the other: only then can their objects clash."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")


def _taken(path: str, existing: Entry) -> str:
    return f"{path} was taken by the newer {source_key(path, existing)}"


def _has_newer_below(tree: Tree, path: str, rank: Rank) -> bool:
    return any(
        rank < max(rank_of(below, entry), marker_rank(below, entry) or rank)
        for below, entry in walk(tree, path)
        if is_sourced(entry)
    )
