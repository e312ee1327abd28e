"""What others did below a directory that a merge is about to remove."""

from __future__ import annotations

from dataclasses import dataclass, field

from functions.cvmfs.difference import CatalogDifference, ChangedRows, TreeComparison
from functions.cvmfs.entry import parent_path
from functions.cvmfs.tree_view import TreeView


@dataclass(frozen=True, slots=True)
class Rivals:
    """What theirs has at and below `top` that the base had not: paths added, paths changed, and where the added are.

    Of what was added below an added directory only the directory is named. `holders` are the directories from `top`
    down that something added is in.
    """

    top: str
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    holders: set[str] = field(default_factory=set)

    def changed_below(self, path: str) -> list[str]:
        """The paths changed at and below `path`."""
        return [changed for changed in self.changed if is_at_or_below(changed, path)]


def find_rivals(base: TreeView, theirs: TreeView, top: str, changed_rows: ChangedRows) -> Rivals:
    """Look at everything at and below `top`; a directory of which only the time changed counts as unchanged."""
    rivals = Rivals(top)
    differences = TreeComparison(base, theirs, top=top, changed=changed_rows)
    for difference in differences:
        if isinstance(difference, CatalogDifference) or difference.new is None:
            continue
        if difference.old is None:
            rivals.added.append(difference.path)
            differences.skip()
            holder = parent_path(difference.path)
            while holder not in rivals.holders and is_at_or_below(holder, top):
                rivals.holders.add(holder)
                holder = parent_path(holder)
        elif not difference.is_incidental:
            rivals.changed.append(difference.path)
    return rivals


def is_at_or_below(path: str, top: str) -> bool:
    """Whether `path` is `top` or something in it."""
    return path == top or path.startswith(top + "/")
