"""The entries of a repository that came from objects, in the order in which a bucket lists the objects.

The order of keys is not that of paths: ``a-b`` is before ``a/b`` among keys, and after ``a`` with all that is below it
in a tree. Each directory is therefore read as its keys would be listed, a sub-directory as its name with a slash. What
does not stand where its key says, such as an archive whose tree goes elsewhere, is found beforehand.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush, merge
from itertools import chain, count, islice

from functions.cvmfs.catalog import Catalog, NestedReference
from functions.cvmfs.catalog_entries import BriefRow
from functions.cvmfs.entry import Entry, base_name, encode_text, parent_path, unpack_xattrs
from functions.cvmfs.tree_view import TreeView
from functions.publishing.keys import AREA
from functions.publishing.sources import (
    ETAG_ATTRIBUTE,
    KEY_ATTRIBUTE,
    NAME_ATTRIBUTE,
    PERMISSIONS_ATTRIBUTE,
    is_archive,
    marker_rank,
    source_key,
    source_modified,
)


@dataclass(frozen=True, slots=True)
class SourcedEntry:
    """An entry that came from an object: `key`, `etag` and `modified` (s) are the object's, the rest is the entry's.

    `permissions` are the rules that decided those of the entry. The top of an archive's tree is met a second time if a
    marker object for the same directory `is_noted` there: of that only key and time are known.
    """

    key: str
    path: str
    etag: str
    modified: int
    size: int
    mode: int
    permissions: str = ""
    is_noted: bool = False

    @property
    def is_archive(self) -> bool:
        """Whether it is the top of an archive's tree."""
        return stat.S_ISDIR(self.mode) and not self.key.endswith("/")

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, whose size is that of the object."""
        return stat.S_ISREG(self.mode)


@dataclass(frozen=True, slots=True)
class _Below:
    """A sub-directory to go into."""

    path: str
    catalog: Catalog
    """The one that holds the entry of the sub-directory, or its mount point."""


@dataclass(frozen=True, slots=True)
class SourcedEntries:
    """The sourced entries of one tree, for one pass; `view` opens catalogs, few at a time.

    A pass holds those from the root to where it is, and opens each once.

    Unless `thorough`, entries that do not stand where their keys say are left out, and only those catalogs are opened
    that hold something of the keys that are asked for.
    """

    view: TreeView
    thorough: bool = True
    _elsewhere: list[SourcedEntry] = field(default_factory=list)
    _bare: set[str] = field(default_factory=set)
    """Mount points below which nothing came from an object."""

    def __post_init__(self) -> None:
        """Look through every catalog that can hold one for entries that do not stand where their keys say."""
        if self.thorough:
            self._survey(self.view.open_root())
            self._elsewhere.sort(key=_key_order)

    def count(self, most: int) -> int:
        """How many there are, counted up to `most`."""
        return sum(1 for _ in islice(self.in_key_order(), most))

    def in_key_order(self, prefix: str = AREA, after: str = "") -> Iterator[SourcedEntry]:
        """Those whose key starts with `prefix` and is above `after`, in byte order of their keys."""
        inside = _Range(encode_text(prefix), encode_text(after))
        strays = (entry for entry in self._elsewhere if inside.holds(encode_text(entry.key)))
        return merge(self._in_place(inside), strays, key=_key_order)

    def _survey(self, top: Catalog) -> int:
        """Note what is found below a catalog; returns how many entries with attributes it and all below it have."""
        self._elsewhere.extend(_strays(top))
        if not top.subtree_counters.xattr:
            self._bare.update(top.nested())
            return top.total_counters.xattr
        archives: list[NestedReference] = []
        known = 0
        for reference in top.nested().values():
            mount = top.lookup(reference.path)
            if mount is not None and is_archive(mount):
                archives.append(reference)
            else:
                known += self._survey_nested(reference)
        # An archive to which nothing was added has attributes on its root alone. If the sum says that this holds for
        # all of them, none has to be read.
        if top.subtree_counters.xattr == known + len(archives):
            self._bare.update(reference.path for reference in archives)
        else:
            for reference in archives:
                self._survey_nested(reference)
        return top.total_counters.xattr

    def _survey_nested(self, reference: NestedReference) -> int:
        catalog = self.view.open(reference)
        if _is_bare(catalog):
            self._bare.add(reference.path)
            return catalog.total_counters.xattr
        return self._survey(catalog)

    def _in_place(self, inside: _Range) -> Iterator[SourcedEntry]:
        stack = [self._items(self.view.open_root(), "", inside)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, _Below):
                mounted = item.catalog.nested_covering(item.path)
                catalog = item.catalog if mounted is None else self.view.open(mounted)
                if mounted is None or not _is_bare(catalog):
                    stack.append(self._items(catalog, item.path, inside))
            else:
                yield item

    def _items(self, catalog: Catalog, directory: str, inside: _Range) -> Iterator[SourcedEntry | _Below]:
        """What is in a directory, as its keys would be listed; every key begins with the name of its entry."""
        above = encode_text(_key_of_directory(directory))
        waiting: list[tuple[bytes, int, SourcedEntry | _Below]] = []
        turn = count()
        for row in catalog.brief_rows_in(directory):
            name = encode_text(row.name)
            while waiting and waiting[0][0] <= name:
                yield heappop(waiting)[2]
            path = f"{directory}/{row.name}"
            for entry in _sourced(path, row) if row.xattr is not None else ():
                key = encode_text(entry.key)
                if inside.holds(key) and not _is_elsewhere(path, entry):
                    heappush(waiting, (key[len(above) :], next(turn), entry))
            if stat.S_ISDIR(row.mode) and path not in self._bare and inside.reaches_below(above + name + b"/"):
                heappush(waiting, (name + b"/", next(turn), _Below(path, catalog)))
        while waiting:
            yield heappop(waiting)[2]


@dataclass(frozen=True, slots=True)
class _Range:
    """The keys that start with one text and are above another."""

    prefix: bytes
    after: bytes

    def holds(self, key: bytes) -> bool:
        return key.startswith(self.prefix) and key > self.after

    def reaches_below(self, directory: bytes) -> bool:
        """Whether keys that start with `directory` can be among them."""
        if not directory.startswith(self.prefix) and not self.prefix.startswith(directory):
            return False
        return directory > self.after or self.after.startswith(directory)


def _is_bare(catalog: Catalog) -> bool:
    """Whether nothing below the root of a catalog can have come from an object."""
    return catalog.total_counters.xattr <= bool(catalog.root.xattrs)


def _key_order(entry: SourcedEntry) -> bytes:
    return encode_text(entry.key)


def _key_of_directory(path: str) -> str:
    return f"{AREA}{path[1:]}/" if path else AREA


def sourced(path: str, entry: Entry) -> SourcedEntry | None:
    """An entry as what it came from; None if it came from no object."""
    key = source_key(path, entry)
    if key is None:
        return None
    return SourcedEntry(
        key=key,
        path=path,
        etag=entry.xattrs[ETAG_ATTRIBUTE].decode(),
        modified=source_modified(entry),
        size=entry.size,
        mode=entry.mode,
        permissions=entry.xattrs.get(PERMISSIONS_ATTRIBUTE, b"").decode(),
    )


def _sourced(path: str, row: BriefRow) -> list[SourcedEntry]:
    """What a row came from: an object, and the marker object that is noted on the top of an archive's tree."""
    entry = Entry(mode=row.mode, size=row.size, mtime=row.mtime, xattrs=unpack_xattrs(row.xattr))
    own = sourced(path, entry)
    found = [] if own is None else [own]
    marker = marker_rank(path, entry)
    if marker is not None:
        modified, key = marker
        found.append(
            SourcedEntry(key=key, path=path, etag="", modified=modified, size=0, mode=entry.mode, is_noted=True)
        )
    return found


def _is_elsewhere(path: str, entry: SourcedEntry) -> bool:
    """Whether the key does not begin with where the entry stands, so that a walk in key order does not meet it."""
    if entry.key == AREA + path[1:]:
        return False
    directory, _, name = entry.key.rstrip("/").rpartition("/")
    return f"{directory}/" != _key_of_directory(parent_path(path)) or not name.startswith(base_name(path))


def _strays(catalog: Catalog) -> Iterator[SourcedEntry]:
    rows = (catalog.brief_rows_with(attribute) for attribute in (NAME_ATTRIBUTE, KEY_ATTRIBUTE))
    for path, row in chain.from_iterable(rows):
        # The root entry of a nested catalog is in the catalog above too.
        if path != catalog.path:
            yield from (entry for entry in _sourced(path, row) if _is_elsewhere(path, entry))
