"""Hard links: which names of one directory are one file, in a local tree and in a repository.

A repository knows hard links within a directory only; there all members carry the number of their group and their
count. Names in several directories form a group in each (``sync_mediator.cc: AddLocalHardlinkGroups``), and are read
and stored once.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from functions.cvmfs.entry import Entry, sorted_names
from functions.publishing.local_tree import TreeItem


@dataclass(frozen=True, slots=True)
class LinkedNames:
    """The hard links of one local directory, beside those the repository has there."""

    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    known: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Mapping[str, TreeItem], here: Mapping[str, Entry]) -> LinkedNames:
        """Compare the items of a directory with its entries, both by name."""
        local: dict[tuple[int, int], set[str]] = defaultdict(set)
        for name, item in items.items():
            if item.inode is not None and not stat.S_ISDIR(item.mode):
                local[item.inode].add(name)
        stored: dict[int, set[str]] = defaultdict(set)
        for name, entry in here.items():
            if entry.hardlink_group:
                stored[entry.hardlink_group].add(name)
        return cls(_by_name(names for names in local.values() if len(names) > 1), _by_name(stored.values()))

    def local_groups(self) -> list[list[str]]:
        """The names of each local file that has several here, in byte order."""
        return [sorted_names(names) for names in dict.fromkeys(self.groups.values())]

    def are_right(self, name: str) -> bool:
        """Whether a name has the same mates in the repository as in the local tree."""
        return self.groups.get(name) == self.known.get(name)


def _by_name(groups: Iterable[set[str]]) -> dict[str, frozenset[str]]:
    frozen = [frozenset(names) for names in groups]
    return {name: names for names in frozen for name in names}
