"""A local tree and a repository's: what is new, what is other, what is gone.

The decision is a value: `plan_sync` compares what a file system shows with what the catalogs say and writes nothing.
Files are compared by size, mode and time of modification, as rsync does; only those that differ are read.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, base_name, parent_path, sorted_names
from functions.errors import TreeRefused
from functions.publishing.content import StoredContent
from functions.publishing.tree import CatalogTree

REFUSALS_SHOWN = 5
"""How many paths a refusal names."""

_NANOSECONDS = 10**9
_OWN_PREFIX = ".cvmfs"
_OWN_DIRECTORY = "/.cvmfs"
"""What ``cvmfs_server`` generates there nobody else may touch (``catalog_virtual.cc``)."""

_MARKERS = frozenset({MARKER_NAME, AUTO_MARKER_NAME})
_ALLOWED_TOP_LEVEL = frozenset({".cvmfsdirtab", ".cvmfsbundles", AUTO_MARKER_NAME})
_GRAFT_PREFIX = ".cvmfsgraft-"
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True, slots=True)
class TreeItem:
    """What `lstat` says of one path of a local tree; `path` is relative to its top, which is the empty string.

    `mode` is the complete ``st_mode``, `size` in bytes, `mtime_ns` in nanoseconds since the epoch, `target` a link's.
    """

    path: str
    mode: int
    size: int
    mtime_ns: int
    target: str = ""


class TreeSource(Protocol):
    """A local tree, read only; methods may be called from several threads.

    Raises TreeRefused for what is not there or cannot be read, TreeMoved for what changes meanwhile.
    """

    def items(self) -> Iterator[TreeItem]:
        """The top and everything below it, directories before what they hold."""

    def blocks(self, item: TreeItem) -> Iterator[bytes]:
        """The content of a file, in pieces of at most a few MiB."""


class ChangeKind(Enum):
    """What happens to a path; the value is the sign it is shown with."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"


@dataclass(frozen=True, slots=True)
class Change:
    """One repository path and what happens to it; a directory is removed with everything below it."""

    kind: ChangeKind
    path: str


@dataclass(slots=True)
class SyncPlan:
    """What has to be done, by repository path: merge, remove, then enter `entries` and `files`.

    `files` have to be read; `merged` are directories whose nested catalog ends since its marker is gone.
    """

    changes: list[Change] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, TreeItem] = field(default_factory=dict)
    unchanged: int = 0

    def count(self, kind: ChangeKind) -> int:
        """The number of paths that this happens to."""
        return sum(change.kind is kind for change in self.changes)


@dataclass(frozen=True, slots=True)
class LocalTree:
    """A local tree as it goes to one place of a repository: its top, and by directory what each directory holds."""

    top: TreeItem
    children: Mapping[str, list[TreeItem]]

    @classmethod
    def scan(cls, items: Iterable[TreeItem], place: str) -> LocalTree:
        """Sort the items of a tree that goes to `place`; raises TreeRefused for what a repository cannot hold.

        Markers that a balancer made are its own, in a copy of a published tree too, and are left out.
        """
        found = iter(items)
        top = next(found)
        children: dict[str, list[TreeItem]] = {}
        faults = _faults(top, place)
        for item in found:
            children.setdefault(parent_path(item.path), []).append(item)
            if _OWN_PREFIX in item.path or stat.S_IFMT(item.mode) in _SPECIAL:
                faults += _faults(item, place + item.path)
        if faults:
            more = f"; and {len(faults) - REFUSALS_SHOWN} more" if len(faults) > REFUSALS_SHOWN else ""
            raise TreeRefused(f"This cannot be published: {'; '.join(faults[:REFUSALS_SHOWN])}{more}.")
        return cls(top, {path: _without_auto_markers(below) for path, below in children.items()})


def plan_sync(local: LocalTree, tree: CatalogTree, place: str) -> SyncPlan:
    """Plan how `place` in the repository comes to equal the local tree; nothing outside is looked at.

    A directory at `place` itself keeps its mode and time if it is there; missing directories above it are made. Owners
    and extended attributes are not compared; files that are written belong to root and have none.
    """
    plan = SyncPlan()
    for path in _missing_parents(tree, place):
        _enter(plan, path, Entry.directory(mtime=local.top.mtime_ns // _NANOSECONDS))
    existing = tree.lookup(place)
    if not stat.S_ISDIR(local.top.mode):
        _compare(plan, place, local.top, existing)
        return plan
    is_known = existing is not None and existing.is_directory
    if not is_known:
        _compare(plan, place, replace(local.top, mode=local.top.mode | 0o555), existing)
    pending = [("", is_known)]
    while pending:
        directory, is_known = pending.pop()
        here = dict(tree.listing(place + directory)) if is_known else {}
        for item in local.children.get(directory, ()):
            old = here.pop(base_name(item.path), None)
            _compare(plan, place + item.path, item, old)
            if stat.S_ISDIR(item.mode):
                pending.append((item.path, old is not None and old.is_directory))
        if here:
            names = {base_name(item.path) for item in local.children.get(directory, ())}
            _remove_rest(plan, tree, place + directory, here, names)
    return plan


def apply_sync(tree: CatalogTree, plan: SyncPlan, files: Mapping[str, Entry], marker: Entry) -> None:
    """Edit `tree` as planned; `files` are the entries of `plan.files`, `marker` is that of an empty file."""
    for directory in plan.merged:
        tree.merge(directory)
    for path in plan.removed:
        tree.remove(path)
    tree.put_all({**plan.entries, **files}.items())
    for path in plan.files:
        if base_name(path) == MARKER_NAME:
            tree.split(parent_path(path), auto=False, marker=marker)


def file_entry(item: TreeItem, content: StoredContent, compression: Compression) -> Entry:
    """The entry of a file whose content is in the store."""
    seconds, nanoseconds = divmod(item.mtime_ns, _NANOSECONDS)
    return Entry(
        mode=item.mode,
        size=content.size,
        mtime=seconds,
        mtime_ns=nanoseconds,
        digest=content.digest,
        chunks=content.chunks,
        compression=compression,
    )


def _faults(item: TreeItem, path: str) -> list[str]:
    """Why a local item cannot be published at a path, if so."""
    fault = _fault(item, path)
    return [f"{path or '/'} {fault}"] if fault else []


def _fault(item: TreeItem, path: str) -> str:
    kind = stat.S_IFMT(item.mode)
    name = base_name(path)
    top_level = path.split("/", 2)[1] if path else ""
    rules = (
        (kind in _SPECIAL, f"is {_SPECIAL.get(kind)}"),
        (not path and kind != stat.S_IFDIR, "is the root of the repository, so it must be a directory"),
        (name.startswith(_GRAFT_PREFIX), "describes a graft, which is not supported"),
        (name in _MARKERS and kind != stat.S_IFREG, "has a name that only a file may have"),
        (path == f"/{MARKER_NAME}", "would mark the root of the repository, which is no nested catalog"),
        (
            top_level.startswith(_OWN_PREFIX) and top_level not in _ALLOWED_TOP_LEVEL,
            "has a name that CVMFS keeps for itself",
        ),
    )
    return next((fault for applies, fault in rules if applies), "")


def _without_auto_markers(items: list[TreeItem]) -> list[TreeItem]:
    names = {base_name(item.path) for item in items}
    if AUTO_MARKER_NAME not in names:
        return items
    return [item for item in items if base_name(item.path) not in _MARKERS]


def _missing_parents(tree: CatalogTree, place: str) -> list[str]:
    missing: list[str] = []
    path = parent_path(place)
    while path:
        entry = tree.lookup(path)
        if entry is not None:
            if not entry.is_directory:
                raise TreeRefused(f"Nothing can be published at {place}: {path} is a file in the repository.")
            break
        missing.append(path)
        path = parent_path(path)
    return missing[::-1]


def _compare(plan: SyncPlan, path: str, item: TreeItem, old: Entry | None) -> None:
    """Plan what makes one path equal to `item`, whatever is below it."""
    kind = ChangeKind.ADD if old is None else ChangeKind.CHANGE
    if old is not None and stat.S_IFMT(old.mode) != stat.S_IFMT(item.mode):
        plan.removed.append(path)
        old = None
    is_file = stat.S_ISREG(item.mode)
    same_content = old is not None and _same_time(old, item) and (not is_file or old.size == item.size)
    if old is not None and same_content and old.mode == item.mode and old.symlink == item.target:
        plan.unchanged += 1
    elif is_file and not same_content:
        plan.files[path] = item
        plan.changes.append(Change(kind, path))
    else:
        _enter(plan, path, _entry(item, old), kind)


def _enter(plan: SyncPlan, path: str, entry: Entry, kind: ChangeKind = ChangeKind.ADD) -> None:
    plan.entries[path] = entry
    plan.changes.append(Change(kind, path))


def _entry(item: TreeItem, old: Entry | None) -> Entry:
    """The entry of a directory, a link, or a file whose content stays as it is."""
    seconds, nanoseconds = divmod(item.mtime_ns, _NANOSECONDS)
    if stat.S_ISLNK(item.mode):
        return replace(Entry.link(item.target, mtime=seconds), mtime_ns=nanoseconds)
    if old is None:
        return replace(Entry.directory(mtime=seconds), mode=item.mode, mtime_ns=nanoseconds)
    if old.is_directory:
        return replace(old, mode=item.mode, mtime=seconds, mtime_ns=nanoseconds)
    return replace(old, mode=item.mode, linkcount=1, hardlink_group=0)


def _same_time(old: Entry, item: TreeItem) -> bool:
    """Whether the recorded time is the file's; to the second where no more was recorded."""
    seconds, nanoseconds = divmod(item.mtime_ns, _NANOSECONDS)
    return old.mtime == seconds and old.mtime_ns in {None, nanoseconds}


def _remove_rest(
    plan: SyncPlan, tree: CatalogTree, directory: str, rest: Mapping[str, Entry], wanted: set[str]
) -> None:
    """Remove what only the repository has, except what was put there by the service or by ``cvmfs_server`` itself."""
    marked_by_user = MARKER_NAME in wanted or AUTO_MARKER_NAME not in rest
    for name in sorted_names(rest):
        path = f"{directory}/{name}"
        if path == _OWN_DIRECTORY or (name in _MARKERS and not marked_by_user):
            continue
        plan.changes.append(Change(ChangeKind.REMOVE, path))
        if name == MARKER_NAME and _is_mount(tree, directory):
            plan.merged.append(directory)
        else:
            plan.removed.append(path)


def _is_mount(tree: CatalogTree, path: str) -> bool:
    entry = tree.lookup(path)
    return entry is not None and entry.is_nested_root
