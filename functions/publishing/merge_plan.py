"""Three trees to what has to be done: what changed from base to ours, held against what theirs has become meanwhile.

One rule decides: every path that ours changed ends as ours has it, every other path stays as theirs has it, and a
directory stays while something is in it. Nothing is written here; work and memory follow the differences, not the
trees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from functions.cvmfs.catalog import Counters, NestedReference
from functions.cvmfs.changed_rows import changed_rows
from functions.cvmfs.difference import (
    MARKERS,
    NO_LINKS,
    CatalogDifference,
    Difference,
    TreeComparison,
    aspects_between,
)
from functions.cvmfs.entry import Entry, base_name, parent_path
from functions.cvmfs.tree_view import TreeView
from functions.publishing.conflicts import Conflict, ConflictKind, MergeReport, merged_directory
from functions.publishing.rivals import Rivals, find_rivals, is_at_or_below

_PAIRS_KEPT = 8
"""Comparisons of two catalogs that are remembered: neighbours in the tree are asked for again and again."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A stored nested catalog that goes to `path` as it is: its root entry, and the counters of its whole tree."""

    path: str
    root: Entry
    reference: NestedReference
    counters: Counters


@dataclass(slots=True)
class MergePlan:
    """What makes theirs the merged tree, in the order of the fields.

    Nested catalogs are dissolved, paths removed with all below, entries put, stored catalogs mounted, and directories
    marked as beginnings of nested catalogs, each with its marker files by name. `links` has, for an entry in a
    hard-link group, the names in its directory that share it.
    """

    dissolved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    links: dict[str, frozenset[str]] = field(default_factory=dict)
    mounts: list[Mount] = field(default_factory=list)
    marked: dict[str, dict[str, Entry]] = field(default_factory=dict)
    report: MergeReport = field(default_factory=MergeReport)


def plan_merge(base: TreeView, ours: TreeView, theirs: TreeView, *, lease: str = "") -> MergePlan:
    """Plan how what changed from `base` to `ours` at and below `lease` comes into `theirs`.

    Changes elsewhere are left out and reported, except that missing directories above the lease are made. Raises what
    loading catalogs raises, and CatalogError.
    """
    return _Planner(base, ours, theirs, lease).planned()


class _Planner:
    def __init__(self, base: TreeView, ours: TreeView, theirs: TreeView, lease: str) -> None:
        self._base, self._ours, self._theirs = base, ours, theirs
        self._lease = lease
        self._plan = MergePlan()
        self._report = self._plan.report
        self._changed_rows = lru_cache(_PAIRS_KEPT)(changed_rows)
        self._differences = TreeComparison(base, ours, changed=self._changed_rows)
        self._rivals: Rivals | None = None

    def planned(self) -> MergePlan:
        for difference in self._differences:
            if not is_at_or_below(difference.path, self._lease):
                self._leave_out(difference)
            elif isinstance(difference, CatalogDifference):
                self._plan_catalog(difference)
            elif difference.new is None:
                self._plan_removal(difference)
            elif difference.new.is_directory:
                self._plan_directory(difference, difference.new)
            else:
                self._plan_file(difference, difference.new)
        self._report.conflicts.sort(key=lambda conflict: conflict.path)
        return self._plan

    # Outside of the lease

    def _leave_out(self, difference: Difference | CatalogDifference) -> None:
        if not is_at_or_below(self._lease, difference.path):
            self._differences.skip()
            is_told = True
        elif isinstance(difference, CatalogDifference):
            is_told = difference.old is None or difference.new is None
        else:
            is_told = difference.old is not None and not difference.is_incidental
        if is_told and self._report.ignored[-1:] != [difference.path]:
            self._report.ignored.append(difference.path)

    # Nested catalogs

    def _plan_catalog(self, difference: CatalogDifference) -> None:
        path, old, new = difference.path, difference.old, difference.new
        mounted = self._theirs.mounted_at(path)
        if new is None:
            mine = self._ours.lookup(path)
            if mounted is not None and mine is not None and mine.is_directory:
                self._plan.dissolved.append(path)
        elif mounted is not None and mounted.digest == new.digest:
            self._differences.skip()
        elif self._is_left_alone(path, old, mounted):
            self._take_over(new)
        else:
            markers = _markers(self._ours, path)
            if old is None or markers != _markers(self._base, path):
                self._plan.marked[path] = markers

    def _is_left_alone(self, path: str, old: NestedReference | None, mounted: NestedReference | None) -> bool:
        """Whether theirs has what the base had where a catalog of ours goes: the same catalog, or nothing at all."""
        if old is None or mounted is None:
            return old is mounted and self._theirs.lookup(path) is None and self._base.lookup(path) is None
        return mounted.digest == old.digest

    def _take_over(self, reference: NestedReference) -> None:
        """Mount our nested catalog as it is: theirs has still that of the base, or nothing, where it goes."""
        self._need_directory(parent_path(reference.path))
        catalog = self._ours.open(reference)
        self._plan.mounts.append(Mount(reference.path, catalog.root, reference, catalog.total_counters))
        self._report.swapped += 1
        self._differences.skip()

    # Removals

    def _plan_removal(self, difference: Difference) -> None:
        path, old = difference.path, difference.old
        theirs = self._theirs.lookup(path)
        if theirs is None:
            self._differences.skip()
        elif not theirs.is_directory:
            if old is None or old.is_directory:
                self._conflict(path, ConflictKind.FILE_DIRECTORY)
            elif aspects_between(old, theirs, difference.old_links, self._links_of(path, theirs)):
                self._conflict(path, ConflictKind.REMOVED_MODIFIED)
            self._remove(path)
        else:
            rivals = self._rivals_below(path)
            if path in rivals.holders:
                is_directory = old is not None and old.is_directory
                self._conflict(path, ConflictKind.PARENT_REMOVED if is_directory else ConflictKind.FILE_DIRECTORY)
                return
            for changed in rivals.changed_below(path):
                self._conflict(changed, ConflictKind.REMOVED_MODIFIED)
            self._remove(path)

    def _remove(self, path: str) -> None:
        self._plan.removed.append(path)
        self._report.removed += 1
        self._differences.skip()

    def _rivals_below(self, path: str) -> Rivals:
        if self._rivals is None or not is_at_or_below(path, self._rivals.top):
            self._rivals = find_rivals(self._base, self._theirs, path, self._changed_rows)
        return self._rivals

    # Entries

    def _plan_file(self, difference: Difference, mine: Entry) -> None:
        path, old = difference.path, difference.old
        theirs = self._theirs.lookup(path)
        if old is not None and old.is_directory:
            self._differences.skip()
        if theirs is not None and theirs.is_directory:
            self._clear(path, old)
        elif theirs is not None:
            links = self._links_of(path, theirs)
            if not aspects_between(theirs, mine, links, difference.new_links):
                return
            if old is None:
                self._conflict(path, ConflictKind.ADDED_TWICE)
            elif aspects_between(old, theirs, difference.old_links, links):
                self._conflict(path, ConflictKind.BOTH_MODIFIED)
        elif old is not None:
            self._conflict(path, ConflictKind.MODIFIED_REMOVED)
        self._enter(path, mine, theirs, difference.new_links)

    def _clear(self, path: str, old: Entry | None) -> None:
        """Remove a directory of theirs where a file of ours goes, and tell of what they lose by it."""
        lost = [path]
        if old is not None and old.is_directory:
            rivals = self._rivals_below(path)
            lost = rivals.added + rivals.changed_below(path)
        if lost:
            self._conflict(path, ConflictKind.FILE_DIRECTORY)
        for below in lost:
            if below != path:
                self._conflict(below, ConflictKind.REMOVED_MODIFIED)
        self._plan.removed.append(path)

    def _plan_directory(self, difference: Difference, mine: Entry) -> None:
        path, old = difference.path, difference.old
        theirs = self._theirs.lookup(path)
        if theirs is not None and theirs.is_directory:
            merged, clash = merged_directory(old if old is not None and old.is_directory else None, mine, theirs)
            if clash:
                self._conflict(path, ConflictKind.ADDED_TWICE if old is None else ConflictKind.BOTH_MODIFIED)
            if aspects_between(theirs, merged):
                self._enter(path, merged, theirs)
        elif not difference.is_incidental:
            if theirs is not None:
                if old is None or aspects_between(old, theirs, difference.old_links, self._links_of(path, theirs)):
                    self._conflict(path, ConflictKind.FILE_DIRECTORY)
                self._plan.removed.append(path)
            elif old is not None:
                self._conflict(path, ConflictKind.MODIFIED_REMOVED)
            self._enter(path, mine, theirs)

    def _enter(self, path: str, entry: Entry, theirs: Entry | None, links: frozenset[str] = NO_LINKS) -> None:
        self._need_directory(parent_path(path))
        self._plan.entries[path] = entry
        if links:
            self._plan.links[path] = links
        if theirs is None:
            self._report.added += 1
        else:
            self._report.modified += 1

    def _need_directory(self, path: str) -> None:
        """See to it that something can be put into the directory at `path`, which ours has."""
        planned = self._plan.entries.get(path)
        theirs = planned if planned is not None else self._theirs.lookup(path)
        if theirs is not None and theirs.is_directory:
            return
        mine, old = self._ours.lookup(path), self._base.lookup(path)
        assert mine is not None, "something is in it"
        if theirs is not None:
            old_links = NO_LINKS if old is None else self._links_in(self._base, path, old)
            if old is None or aspects_between(old, theirs, old_links, self._links_of(path, theirs)):
                self._conflict(path, ConflictKind.FILE_DIRECTORY)
            self._plan.removed.append(path)
        elif old is not None:
            self._conflict(path, ConflictKind.PARENT_REMOVED)
        self._enter(path, mine, theirs)

    # Common

    def _conflict(self, path: str, kind: ConflictKind) -> None:
        self._report.conflicts.append(Conflict(path, kind))

    def _links_of(self, path: str, entry: Entry) -> frozenset[str]:
        """The names that share the hard-link group of an entry of theirs, if there are others."""
        return self._links_in(self._theirs, path, entry)

    @staticmethod
    def _links_in(view: TreeView, path: str, entry: Entry) -> frozenset[str]:
        if not entry.hardlink_group:
            return NO_LINKS
        listing = view.listing(parent_path(path))
        links = frozenset(name for name, other in listing if other.hardlink_group == entry.hardlink_group)
        assert base_name(path) in links
        return links if len(links) > 1 else NO_LINKS


def _markers(view: TreeView, path: str) -> dict[str, Entry]:
    """The files that mark a directory as the beginning of a nested catalog."""
    found = ((name, view.lookup(f"{path}/{name}")) for name in sorted(MARKERS))
    return {name: entry for name, entry in found if entry is not None}
