"""The three-way merge: what one publish changed, applied to a tree that another has changed meanwhile.

Source: ``receiver/catalog_merge_tool_impl.h``, with which this shares the winner (the later publish) and the lease.
More than there, conflicts are found and told, hard-link groups and special files are kept, and a nested catalog is
swapped as a whole only where the other side left it alone.
"""

from __future__ import annotations

from dataclasses import replace

from functions.cvmfs.difference import MARKERS
from functions.cvmfs.entry import Entry, parent_path
from functions.cvmfs.tree_view import TreeView
from functions.publishing.conflicts import MergeReport
from functions.publishing.merge_plan import MergePlan, plan_merge
from functions.publishing.tree import CatalogTree


def merge(tree: CatalogTree, *, base: TreeView, changed: TreeView, lease: str = "", marker: Entry) -> MergeReport:
    """Apply what changed from `base` to `changed` at and below `lease` to `tree`, which nobody has edited yet.

    The outcome does not depend on the order in which anything is looked at. `marker` is the entry of an empty file.
    Raises what loading catalogs raises, and CatalogError.
    """
    plan = plan_merge(base, changed, tree.stored(base.cache), lease=lease)
    apply_merge(tree, plan, marker)
    return plan.report


def apply_merge(tree: CatalogTree, plan: MergePlan, marker: Entry) -> None:
    """Edit `tree` as planned."""
    for path in plan.dissolved:
        tree.merge(path)
    for path in plan.removed:
        tree.remove(path)
    tree.put_all(_with_links(tree, plan).items())
    for mount in plan.mounts:
        tree.graft(mount.path, mount.root, mount.reference, mount.counters)
    for path, markers in plan.marked.items():
        _mark(tree, path, markers, marker)


def _with_links(tree: CatalogTree, plan: MergePlan) -> dict[str, Entry]:
    """The planned entries, with hard-link groups that are free in the catalogs they go to.

    A group may have fewer members here than where it comes from: the others are not part of the merge.
    """
    entries = {path: _unlinked(entry) for path, entry in plan.entries.items()}
    groups: dict[tuple[str, frozenset[str]], list[str]] = {}
    for path, names in plan.links.items():
        groups.setdefault((parent_path(path), names), []).append(path)
    for (directory, _), members in groups.items():
        if len(members) > 1:
            group = tree.catalog_holding(directory).new_hardlink_group()
            for path in members:
                entries[path] = replace(entries[path], hardlink_group=group, linkcount=len(members))
    return entries


def _unlinked(entry: Entry) -> Entry:
    return replace(entry, hardlink_group=0, linkcount=1) if entry.hardlink_group else entry


def _mark(tree: CatalogTree, path: str, markers: dict[str, Entry], marker: Entry) -> None:
    """Let a nested catalog begin at `path`, if that is a directory, with these marker files and no other."""
    directory = tree.lookup(path)
    if directory is None or not directory.is_directory:
        return
    tree.made_markers = True
    for name, entry in markers.items():
        tree.put(f"{path}/{name}", _unlinked(entry))
    if not directory.is_nested_root:
        tree.split(path, auto=False, marker=marker)
        return
    for name in MARKERS - markers.keys():
        if tree.lookup(f"{path}/{name}") is not None:
            tree.remove(f"{path}/{name}")
