"""The tree of an archive laid over a repository's: what it holds is added or replaced, everything else stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from functions.cvmfs.entry import Entry, parent_path
from functions.errors import TreeRefused
from functions.publishing.archive_tree import ArchiveTree, batched
from functions.publishing.tree import CatalogTree


@dataclass(slots=True)
class Laid:
    """What laying an archive over a repository did: numbers of paths, and deletions that found nothing."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Overlay:
    """One archive over one tree. What is equal already is left alone, so an archive that is there changes nothing."""

    def __init__(self, tree: CatalogTree, unpacked: ArchiveTree, laid: Laid) -> None:
        self._tree = tree
        self._unpacked = unpacked
        self._laid = laid
        self._groups: dict[int, int] = {}

    def apply(self) -> None:
        """Enter all of it; raises TreeRefused where a file and a directory clash."""
        self._make_place()
        pending = [self._unpacked.place]
        while pending:
            directory = pending.pop()
            here = dict(self._tree.listing(directory))
            new = self._unpacked.tree.listing(directory)
            pending += [f"{directory}/{name}" for name, entry in new if entry.is_directory]
            for batch in batched(self._differences(directory, new, here)):
                self._tree.put_all(self._in_free_groups(directory, batch))

    def _make_place(self) -> None:
        """Make the directory that the archive goes to, and those above it; one that is there stays as it is."""
        place, top = self._unpacked.place, self._unpacked.tree.root.root
        missing = []
        path = place
        while path:
            entry = self._tree.lookup(path)
            if entry is not None:
                if not entry.is_directory:
                    raise TreeRefused(f"Nothing can be published below {path}: it is {_kind(entry)} in the repository.")
                break
            missing.append(path)
            path = parent_path(path)
        for directory in reversed(missing):
            made = Entry.directory(mtime=top.mtime)
            if directory == place:
                made = replace(made, mode=top.mode | 0o555, mtime_ns=top.mtime_ns)
            self._tree.put(directory, made)
        self._laid.added += len(missing)

    def _differences(
        self, directory: str, new: Sequence[tuple[str, Entry]], here: Mapping[str, Entry]
    ) -> Iterator[tuple[str, Entry]]:
        linked_alike = _same_groups(dict(new), here)
        for name, entry in new:
            path = f"{directory}/{name}"
            old = here.get(name)
            if old is None:
                self._laid.added += 1
                yield path, entry
            elif self._is_right(path, old, entry, is_linked_alike=name in linked_alike):
                self._laid.unchanged += 1
            else:
                self._laid.changed += 1
                yield path, entry

    def _is_right(self, path: str, old: Entry, new: Entry, *, is_linked_alike: bool) -> bool:
        if old.is_directory != new.is_directory:
            raise TreeRefused(
                f"{path} is {_kind(old)} in the repository and {_kind(new)} in the archive. "
                f"To replace it, remove it in the same publish with --delete {path}."
            )
        if new.is_directory:
            is_implied = path.removeprefix(self._unpacked.place) in self._unpacked.implied
            return is_implied or (old.mode, old.mtime, old.mtime_ns) == (new.mode, new.mtime, new.mtime_ns)
        if is_linked_alike:
            return old == replace(new, hardlink_group=old.hardlink_group)
        return old == new and not new.hardlink_group

    def _in_free_groups(self, directory: str, batch: Sequence[tuple[str, Entry]]) -> Iterator[tuple[str, Entry]]:
        """The same entries with numbers of hard-link groups that the catalog of the directory does not have yet."""
        for path, entry in batch:
            group = entry.hardlink_group
            if group and group not in self._groups:
                self._groups[group] = self._tree.catalog_holding(directory).new_hardlink_group()
            yield path, replace(entry, hardlink_group=self._groups[group]) if group else entry


def _kind(entry: Entry) -> str:
    return "a directory" if entry.is_directory else "a link" if entry.is_symlink else "a file"


def _same_groups(new: Mapping[str, Entry], here: Mapping[str, Entry]) -> frozenset[str]:
    """The names in a directory whose hard-link groups have the same members in the repository."""
    known = _names_by_group(here)
    return frozenset(name for names in _names_by_group(new) if names in known for name in names)


def _names_by_group(entries: Mapping[str, Entry]) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = defaultdict(set)
    for name, entry in entries.items():
        if entry.hardlink_group:
            groups[entry.hardlink_group].add(name)
    return {frozenset(names) for names in groups.values()}
