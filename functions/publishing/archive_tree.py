"""The members of an archive as one catalog, entered in batches while they come: nobody holds all of them at once.

What an unpacking program's file system would take care of is taken care of here: parents that the archive leaves out,
members that come twice (the later one wins), and hard links. Those are groups in a catalog within one directory only;
in another directory the names of the same file form a group of their own (``sync_mediator.cc:
AddLocalHardlinkGroups``). Paths are relative to the archive's top, which is the empty string.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from functions.cvmfs.compression import Compression
from functions.cvmfs.difference import MARKERS
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, base_name, parent_path
from functions.publishing.small_files import Ticket
from functions.publishing.tree import CatalogTree

BATCH_ENTRIES = 1_000
"""Entries that are held before they go into the catalog."""

_OWN_PREFIX = ".cvmfs"
_GRAFT_PREFIX = ".cvmfsgraft-"
_ALLOWED_AT_THE_TOP = frozenset({".cvmfsdirtab", ".cvmfsbundles", AUTO_MARKER_NAME})

_T = TypeVar("_T")


class Misplaced(ValueError):
    """A member cannot be where it says; the text goes on after its name."""


@dataclass(frozen=True, slots=True)
class FileOnItsWay:
    """A file whose content is still being stored."""

    ticket: Ticket
    mode: int
    mtime: int
    mtime_ns: int | None
    compression: Compression

    def entry(self) -> Entry:
        """The entry; waits for the content."""
        content = self.ticket.content()
        return Entry(
            mode=self.mode,
            size=content.size,
            mtime=self.mtime,
            mtime_ns=self.mtime_ns,
            digest=content.digest,
            compression=self.compression,
        )


Item = Entry | FileOnItsWay


class ArchiveTree:
    """The tree of an archive that goes to `place`; `modified` is the mtime of directories that it only implies.

    With `fold`, a name, a single directory of that name at the archive's top becomes the top. Raises Misplaced.
    """

    def __init__(self, place: str, *, modified: int, fold: str = "") -> None:
        self.place = place
        self.tree = CatalogTree.new(place, Entry.directory(mtime=modified))
        self.top: Entry | None = None
        """The top's own entry, where the archive has one."""
        self.implied: set[str] = set()
        """Directories that the archive has no member for."""
        self.made = 0
        """How many such directories were made."""
        self.directory_bytes = 0
        """Characters in the paths of all directories."""
        self._modified = modified
        self._fold = f"/{fold}" if fold else ""
        self._pending: dict[str, Item] = {}
        self._directories = {""}
        self._links = _LinkedNames()
        self._marked: set[str] = set()
        self._marked_by_a_balancer: set[str] = set()
        self._is_empty = True
        self._is_flushed = False

    @property
    def is_empty(self) -> bool:
        """Whether there was no member yet, besides the top."""
        return self._is_empty

    def close(self) -> None:
        """Release the catalog."""
        self.tree.close()

    def put(self, path: str, item: Item) -> None:
        """Enter a member, or replace what an earlier one of the same name entered."""
        is_directory = isinstance(item, Entry) and item.is_directory
        if not path:
            if not is_directory:
                raise Misplaced("has no name")
            assert isinstance(item, Entry)
            self.top = item
            return
        if _OWN_PREFIX in path and self._is_left_out(path, item):
            return
        self._enter(path, item, is_directory=is_directory)

    def put_hard_link(self, path: str, target: str) -> None:
        """Enter one more name of the file at `target`, which came before."""
        item = None if target in self._directories else self._find(target)
        if item is None:
            raise Misplaced("is a hard link to nothing before it")
        if path != target:
            self.put(path, item)
            self._links.join(path, target)

    def finish(self) -> list[str]:
        """Enter all that is still on its way; returns the directories in which markers ask for nested catalogs."""
        self._flush()
        for directory in self._marked & self._marked_by_a_balancer:
            # Its own balancer made these, in a copy of a published tree; ours decides anew.
            self._links.leave(f"{directory}/{MARKER_NAME}")
            self.tree.remove(self._at(f"{directory}/{MARKER_NAME}"))
        self._group()
        if self.top is not None and not self._fold:
            self.tree.root.set_root(self.top)
        return sorted(self._at(directory) for directory in self._marked - self._marked_by_a_balancer)

    def _is_left_out(self, path: str, item: Item) -> bool:
        """Whether a name that CVMFS gives a meaning is not to be entered; takes note of markers."""
        name = base_name(path)
        at_the_top = not self.place and path.count("/") == 1
        if name.startswith(_GRAFT_PREFIX):
            raise Misplaced("describes a graft, which is not supported")
        if at_the_top and name == MARKER_NAME:
            raise Misplaced("would mark the root of the repository, which is no nested catalog")
        if not self.place and is_reserved(path):
            raise Misplaced("has a name that CVMFS keeps for itself")
        if not MARKERS.isdisjoint(parent_path(path).split("/")):
            raise Misplaced("is below a name that only a file may have")
        if name not in MARKERS:
            return False
        if isinstance(item, Entry) and not item.is_regular:
            raise Misplaced("has a name that only a file may have")
        (self._marked if name == MARKER_NAME else self._marked_by_a_balancer).add(parent_path(path))
        return name == AUTO_MARKER_NAME

    def _enter(self, path: str, item: Item, *, is_directory: bool) -> None:
        if self._fold and not (path.startswith(self._fold + "/") or (path == self._fold and is_directory)):
            self._unfold()
        parent = parent_path(path)
        if parent not in self._directories:
            self._make_parents(parent)
        if not is_directory:
            if path in self._directories:
                raise Misplaced("comes twice, as a directory and as something else")
        elif path not in self._directories:
            if self._find(path) is not None:
                raise Misplaced("comes twice, as a directory and as something else")
            self._directories.add(path)
            self.directory_bytes += len(path)
        else:
            self.implied.discard(path)
        self._links.leave(path)
        self._pending[path] = item
        self._is_empty = False
        if len(self._pending) >= BATCH_ENTRIES:
            self._flush()

    def _make_parents(self, parent: str) -> None:
        missing = []
        while parent not in self._directories:
            if self._find(parent) is not None:
                raise Misplaced(f"is below {parent!r}, which is no directory")
            missing.append(parent)
            parent = parent_path(parent)
        for directory in missing:
            self._directories.add(directory)
            self.directory_bytes += len(directory)
            self.implied.add(directory)
            self._pending[directory] = Entry.directory(mtime=self._modified)
        self.made += len(missing)

    def _find(self, path: str) -> Item | None:
        return self._pending.get(path) or self._lookup(path)

    def _lookup(self, path: str) -> Entry | None:
        return self.tree.lookup(self._at(path)) if self._is_flushed else None

    def _at(self, path: str) -> str:
        """The path in the repository."""
        return self.place + path.removeprefix(self._fold)

    def _flush(self) -> None:
        entries = {
            self._at(path): item if isinstance(item, Entry) else item.entry() for path, item in self._pending.items()
        }
        self._pending.clear()
        self._is_flushed = True
        root = entries.pop(self.place, None)
        if root is not None:
            self.tree.root.set_root(root)
        self.tree.put_all(entries.items())

    def _unfold(self) -> None:
        """The archive has more than one name at its top: what was entered moves one level down."""
        fold, self._fold = self._fold, ""
        if not self._is_flushed:
            return
        folded = self.tree
        self.tree = CatalogTree.new(self.place, Entry.directory(mtime=self._modified))
        moved = ((self.place + fold + path.removeprefix(self.place), entry) for path, entry in folded.root.walk())
        for batch in batched(moved):
            self.tree.put_all(batch)
        folded.close()

    def _group(self) -> None:
        """Give the names of one file in one directory their group and count."""
        for batch in batched(self._grouped()):
            self.tree.put_all(batch)

    def _grouped(self) -> Iterator[tuple[str, Entry]]:
        for group, names in enumerate(self._links.groups(), start=1):
            for name in names:
                entry = self._lookup(name)
                assert entry is not None, "what was entered is there"
                yield self._at(name), replace(entry, linkcount=len(names), hardlink_group=group)


class _LinkedNames:
    """Which names are one file."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, None]] = {}

    def join(self, name: str, target: str) -> None:
        names = self._of.setdefault(target, {target: None})
        names[name] = None
        self._of[name] = names

    def leave(self, name: str) -> None:
        """What the name stands for from now on is another file."""
        names = self._of.pop(name, None)
        if names is not None:
            del names[name]

    def groups(self) -> Iterator[list[str]]:
        """The names of each file in each directory, if they are several."""
        files = {id(names): names for names in self._of.values()}
        for names in files.values():
            together: dict[str, list[str]] = defaultdict(list)
            for name in names:
                together[parent_path(name)].append(name)
            yield from (mates for mates in together.values() if len(mates) > 1)


def is_reserved(path: str) -> bool:
    """Whether what is at a path of a repository is CVMFS's own."""
    top = path.split("/", 2)[1] if path else ""
    return top.startswith(_OWN_PREFIX) and top not in _ALLOWED_AT_THE_TOP


def batched(items: Iterable[_T]) -> Iterator[list[_T]]:
    """What `items` yields, in lists of BATCH_ENTRIES."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH_ENTRIES)):
        yield batch
