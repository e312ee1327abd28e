"""A local tree and a repository's: what is new, what is other, what is gone.

The decision is a value: `plan_sync` compares what a file system shows with what the catalogs say and writes nothing.
Files are compared by size, mode and time of modification, as rsync does; only those that differ are read.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum

from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, base_name, parent_path, sorted_names
from functions.errors import TreeRefused
from functions.publishing.hard_links import LinkedNames
from functions.publishing.local_tree import MARKERS, LocalTree, TreeItem
from functions.publishing.marking import is_mount, made_by_dirtab
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_entries import NANOSECONDS, entry_of_item, same_time

_OWN_DIRECTORY = "/.cvmfs"
"""What ``cvmfs_server`` generates there nobody else may touch (``catalog_virtual.cc``)."""


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

    `files` have to be read; `merged` are directories whose nested catalog ends since its marker is gone; `groups` are
    the hard links among what is entered. `remarks` are sentences about what is left out.
    """

    changes: list[Change] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, TreeItem] = field(default_factory=dict)
    groups: list[list[str]] = field(default_factory=list)
    unchanged: int = 0
    remarks: tuple[str, ...] = ()

    def count(self, kind: ChangeKind) -> int:
        """The number of paths that this happens to."""
        return sum(change.kind is kind for change in self.changes)


class Difference(IntEnum):
    """By how much a local item differs from what is in the repository under its name."""

    NONE = 0
    METADATA = 1
    CONTENT = 2
    TYPE = 3


SameContent = Callable[[TreeItem, Entry], bool]
"""Whether a file that looks unchanged is so; reads it."""


def plan_sync(local: LocalTree, tree: CatalogTree, place: str, same_content: SameContent | None = None) -> SyncPlan:
    """Plan how `place` in the repository comes to equal the local tree; nothing outside is looked at.

    A directory at `place` itself keeps its mode, time and owner if it is there; missing directories above it are made.
    Owners and extended attributes are compared where the tree's items have them, and else stay as they are. Content is
    taken for the same if size and time are, unless `same_content` is asked.
    """
    plan = SyncPlan(remarks=local.remarks)
    planner = _Planner(plan, same_content)
    for path in _missing_parents(tree, place):
        _enter(plan, path, Entry.directory(mtime=local.top.mtime_ns // NANOSECONDS))
    existing = tree.lookup(place)
    if not stat.S_ISDIR(local.top.mode):
        planner.plan_directory(parent_path(place), {base_name(place): local.top}, _named(place, existing))
        return plan
    is_known = existing is not None and existing.is_directory
    if not is_known:
        top = replace(local.top, mode=local.top.mode | 0o555)
        planner.plan_directory(parent_path(place), {base_name(place): top}, _named(place, existing))
    pending = [("", is_known)]
    while pending:
        directory, is_known = pending.pop()
        here = dict(tree.listing(place + directory)) if is_known else {}
        items = {base_name(item.path): item for item in local.children.get(directory, ())}
        planner.plan_directory(place + directory, items, here)
        for name, item in items.items():
            old = here.pop(name, None)
            if stat.S_ISDIR(item.mode):
                pending.append((item.path, old is not None and old.is_directory))
        if here:
            _remove_rest(plan, tree, place + directory, here, items)
    return plan


def apply_sync(tree: CatalogTree, plan: SyncPlan, files: Mapping[str, Entry], marker: Entry) -> None:
    """Edit `tree` as planned; `files` are the entries of `plan.files`, `marker` is that of an empty file."""
    for directory in plan.merged:
        tree.merge(directory)
    for path in plan.removed:
        tree.remove(path)
    entries = {**plan.entries, **files}
    for paths in plan.groups:
        group = tree.catalog_holding(parent_path(paths[0])).new_hardlink_group()
        for path in paths:
            entries[path] = replace(entries[path], hardlink_group=group, linkcount=len(paths))
    tree.put_all(entries.items())
    marked = [parent_path(path) for path in entries if base_name(path) == MARKER_NAME]
    # Deepest first, so that every row moves once.
    for directory in sorted(marked, key=lambda path: -path.count("/")):
        tree.split(directory, auto=False, marker=marker)


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


def _named(path: str, entry: Entry | None) -> dict[str, Entry]:
    return {} if entry is None else {base_name(path): entry}


class _Planner:
    """Compares the items of one directory with its entries, and adds to a plan what makes them equal."""

    def __init__(self, plan: SyncPlan, same_content: SameContent | None) -> None:
        self._plan = plan
        self._same_content = same_content

    def plan_directory(self, directory: str, items: Mapping[str, TreeItem], here: Mapping[str, Entry]) -> None:
        """Plan what makes the items right, by name, whatever is below them."""
        linked = LinkedNames.of(items, here)
        for name, item in items.items():
            if name not in linked.groups:
                old = here.get(name)
                difference = self._difference(item, old)
                if not linked.are_right(name):
                    difference = max(difference, Difference.METADATA)
                self._plan_item(f"{directory}/{name}", item, old, difference)
        for names in linked.local_groups():
            members = {name: items[name] for name in names}
            self._plan_group(directory, members, here, is_known=linked.are_right(names[0]))

    def _plan_group(
        self, directory: str, members: Mapping[str, TreeItem], here: Mapping[str, Entry], *, is_known: bool
    ) -> None:
        """Plan the names of one file; if anything about them is other, all are entered as a new group."""
        differences = {name: self._difference(item, here.get(name)) for name, item in members.items()}
        if is_known and max(differences.values()) is Difference.NONE:
            self._plan.unchanged += len(members)
            return
        # One that is as before spares the others from being read, and all are equal then, whatever they were each.
        has_content = stat.S_ISREG(next(iter(members.values())).mode)
        enough = Difference.METADATA if has_content else Difference.CONTENT
        known = _one_for_all([here[name] for name, found in differences.items() if found <= enough and name in here])
        for name, item in members.items():
            path, old = f"{directory}/{name}", here.get(name)
            if known is None and has_content:
                self._plan_item(path, item, old, max(differences[name], Difference.CONTENT))
                continue
            if differences[name] is Difference.TYPE:
                self._plan.removed.append(path)
            kind = ChangeKind.ADD if old is None else ChangeKind.CHANGE
            _enter(self._plan, path, entry_of_item(item, known), kind)
        self._plan.groups.append([f"{directory}/{name}" for name in members])

    def _plan_item(self, path: str, item: TreeItem, old: Entry | None, difference: Difference) -> None:
        plan = self._plan
        kind = ChangeKind.ADD if old is None else ChangeKind.CHANGE
        if difference is Difference.NONE:
            plan.unchanged += 1
            return
        if difference is Difference.TYPE:
            plan.removed.append(path)
            old = None
        if stat.S_ISREG(item.mode) and difference >= Difference.CONTENT:
            plan.files[path] = item
            plan.changes.append(Change(kind, path))
        else:
            _enter(plan, path, entry_of_item(item, old), kind)

    def _difference(self, item: TreeItem, old: Entry | None) -> Difference:
        if old is None:
            return Difference.CONTENT
        if stat.S_IFMT(old.mode) != stat.S_IFMT(item.mode):
            return Difference.TYPE
        is_sized = not stat.S_ISDIR(item.mode) and not stat.S_ISLNK(item.mode)
        if not same_time(old, item) or (is_sized and old.size != item.size):
            return Difference.CONTENT
        if self._same_content is not None and old.is_regular and not self._same_content(item, old):
            return Difference.CONTENT
        is_same = (
            old.mode == item.mode
            and old.symlink == item.target
            and item.owner in {None, (old.uid, old.gid)}
            and (item.xattrs is None or dict(item.xattrs) == old.xattrs)
        )
        return Difference.NONE if is_same else Difference.METADATA


def _one_for_all(entries: list[Entry]) -> Entry | None:
    """The first of some entries, if all have the same content."""
    contents = {(entry.digest, entry.chunks, entry.compression, entry.extra_flags) for entry in entries}
    return entries[0] if len(contents) == 1 else None


def _enter(plan: SyncPlan, path: str, entry: Entry, kind: ChangeKind = ChangeKind.ADD) -> None:
    plan.entries[path] = entry
    plan.changes.append(Change(kind, path))


def _remove_rest(
    plan: SyncPlan, tree: CatalogTree, directory: str, rest: Mapping[str, Entry], wanted: Container[str]
) -> None:
    """Remove what only the repository has, except what was put there by the service or by ``cvmfs_server`` itself."""
    marked_by_user = MARKER_NAME in wanted or AUTO_MARKER_NAME not in rest
    for name in sorted_names(rest):
        path = f"{directory}/{name}"
        is_ours = name in MARKERS and (not marked_by_user or made_by_dirtab(rest[name]))
        if path == _OWN_DIRECTORY or is_ours:
            continue
        plan.changes.append(Change(ChangeKind.REMOVE, path))
        if name == MARKER_NAME and is_mount(tree, directory):
            plan.merged.append(directory)
        else:
            plan.removed.append(path)
