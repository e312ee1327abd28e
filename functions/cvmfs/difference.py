"""What differs between two trees of catalogs, in the order of the paths.

Only nested catalogs with different hashes are opened, and only rows that differ are decoded; where a catalog begins on
one side only, what it holds is compared all the same. Where catalogs begin and end is told apart from what they hold,
and so are the markers of nested catalogs, which belong to the former.

Source: ``catalog_diff_tool_impl.h: DiffRec``. Other than there, a directory's link count is no difference of its own
(it follows from what the directory holds), hard links are compared by who shares them, and owners are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from functions.cvmfs.catalog import Catalog, NestedReference
from functions.cvmfs.changed_rows import PathHash, changed_rows
from functions.cvmfs.entry import (
    AUTO_MARKER_NAME,
    MARKER_NAME,
    Entry,
    EntryFlag,
    base_name,
    parent_path,
    path_hash,
    sorted_names,
)
from functions.cvmfs.errors import CatalogError
from functions.cvmfs.rows import check_name
from functions.cvmfs.tree_view import TreeView

OWN_DIRECTORY = "/.cvmfs"
"""What ``cvmfs_server`` generates from the tags (``catalog_virtual.cc``): never compared."""

MARKERS = frozenset({MARKER_NAME, AUTO_MARKER_NAME})

NO_LINKS: frozenset[str] = frozenset()

ChangedRows = Callable[[Catalog, Catalog], frozenset[PathHash]]


class Aspect(Enum):
    """In what two entries can differ; the value is the word, in the order in which they are told."""

    LINKS = "link-count"
    SIZE = "size"
    MODE = "mode"
    TIME = "timestamp"
    TARGET = "symlink-target"
    CONTENT = "content"
    XATTRS = "xattrs"
    EXTERNAL = "external-file"
    HIDDEN = "hidden"
    DIRECT_IO = "direct-io"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Difference:
    """A path with its entries in the old and in the new tree; None where it is not.

    `old_links` and `new_links` are the names in its directory that share its hard-link group, if there are others.
    """

    path: str
    old: Entry | None
    new: Entry | None
    old_links: frozenset[str] = NO_LINKS
    new_links: frozenset[str] = NO_LINKS

    @property
    def aspects(self) -> tuple[Aspect, ...]:
        """In what the two entries differ; nothing where there is only one."""
        if self.old is None or self.new is None:
            return ()
        return aspects_between(self.old, self.new, self.old_links, self.new_links)

    @property
    def is_incidental(self) -> bool:
        """Whether this is a directory that differs only as directories do when something in them changes."""
        both = self.old is not None and self.new is not None and self.old.is_directory and self.new.is_directory
        return both and set(self.aspects) <= {Aspect.TIME, Aspect.SIZE}


@dataclass(frozen=True, slots=True)
class CatalogDifference:
    """A directory where a nested catalog begins: only in the old tree, only in the new, or another one in each."""

    path: str
    old: NestedReference | None
    new: NestedReference | None


def aspects_between(
    old: Entry, new: Entry, old_links: frozenset[str] = NO_LINKS, new_links: frozenset[str] = NO_LINKS
) -> tuple[Aspect, ...]:
    """In what two entries of one path differ; where catalogs begin does not count."""
    flags = old.extra_flags ^ new.extra_flags
    differs = {
        Aspect.LINKS: old_links != new_links,
        Aspect.SIZE: old.size != new.size,
        Aspect.MODE: old.mode != new.mode,
        Aspect.TIME: (old.mtime, old.mtime_ns) != (new.mtime, new.mtime_ns),
        Aspect.TARGET: old.symlink != new.symlink,
        Aspect.CONTENT: (old.digest, old.chunks, old.compression) != (new.digest, new.chunks, new.compression),
        Aspect.XATTRS: old.xattrs != new.xattrs,
        Aspect.EXTERNAL: EntryFlag.EXTERNAL in flags,
        Aspect.HIDDEN: EntryFlag.HIDDEN in flags,
        Aspect.DIRECT_IO: EntryFlag.DIRECT_IO in flags,
        Aspect.OWNER: (old.uid, old.gid) != (new.uid, new.gid),
    }
    return tuple(aspect for aspect, is_other in differs.items() if is_other)


@dataclass(frozen=True, slots=True)
class _Side:
    """A path as one tree has it: its entry and the catalog that lists it."""

    catalog: Catalog
    entry: Entry
    links: frozenset[str] = NO_LINKS


@dataclass(frozen=True, slots=True)
class _Pair:
    """A path on both sides; `changed` has the hashes of all rows worth looking at, if that is known."""

    path: str
    old: _Side | None
    new: _Side | None
    changed: frozenset[PathHash] | None


class TreeComparison:
    """Goes through what differs between two trees at and below `top`: parents first, names in byte order.

    A nested catalog comes before the directory that it begins at. Iterate once.
    """

    def __init__(self, old: TreeView, new: TreeView, *, top: str = "", changed: ChangedRows = changed_rows) -> None:
        self._views = old, new
        self._top = top
        self._changed_rows = changed
        self._skipped = False

    def skip(self) -> None:
        """Leave out what is below the difference just seen; after a nested catalog, its directory as well."""
        self._skipped = True

    def __iter__(self) -> Iterator[Difference | CatalogDifference]:
        """Every difference; raises what loading catalogs raises, and CatalogError."""
        pending = [self._first_pair()]
        while pending:
            pair = pending.pop()
            mounts = _mounted(pair.path, pair.old), _mounted(pair.path, pair.new)
            if any(mounts):
                if _is_same(*mounts):
                    continue
                self._skipped = False
                yield CatalogDifference(pair.path, *mounts)
                if self._skipped:
                    continue
                pair = self._entered(pair, *mounts)
            difference = _difference(pair)
            self._skipped = False
            if difference is not None:
                yield difference
            if not self._skipped:
                pending += reversed(_below(pair))

    def _first_pair(self) -> _Pair:
        old, new = (_side_at(view, self._top) for view in self._views)
        return _Pair(self._top, old, new, self._changed_between(old, new))

    def _entered(self, pair: _Pair, old_mount: NestedReference | None, new_mount: NestedReference | None) -> _Pair:
        """The pair with the nested catalogs that begin there in place of those above."""
        old = pair.old if old_mount is None else _root_side(self._views[0].open(old_mount))
        new = pair.new if new_mount is None else _root_side(self._views[1].open(new_mount))
        return _Pair(pair.path, old, new, self._changed_between(old, new))

    def _changed_between(self, old: _Side | None, new: _Side | None) -> frozenset[PathHash] | None:
        if old is None or new is None or old.catalog.path != new.catalog.path:
            return None
        return self._changed_rows(old.catalog, new.catalog)


def _side_at(view: TreeView, path: str) -> _Side | None:
    catalog = view.catalog_holding(parent_path(path)) if path else view.open_root()
    side = _side_of(catalog, path)
    if side is None or not side.entry.hardlink_group:
        return side
    return _listed(_Side(catalog, side.entry), parent_path(path), None).get(base_name(path), side)


def _side_of(catalog: Catalog, path: str) -> _Side | None:
    entry = catalog.lookup(path)
    return None if entry is None else _Side(catalog, entry)


def _root_side(catalog: Catalog) -> _Side:
    return _Side(catalog, catalog.root)


def _mounted(path: str, side: _Side | None) -> NestedReference | None:
    """The nested catalog that begins at a path, seen from the catalog that lists it."""
    if side is None or side.catalog.path == path:
        return None
    if not side.entry.is_nested_mountpoint:
        return None
    reference = side.catalog.nested_covering(path)
    if reference is None:
        raise CatalogError(f"{path}: a mount point without a reference to a nested catalog")
    return reference


def _is_same(old: NestedReference | None, new: NestedReference | None) -> bool:
    return old is not None and new is not None and old.digest == new.digest


def _difference(pair: _Pair) -> Difference | None:
    old, new = pair.old, pair.new
    difference = Difference(
        pair.path,
        None if old is None else old.entry,
        None if new is None else new.entry,
        NO_LINKS if old is None else old.links,
        NO_LINKS if new is None else new.links,
    )
    if old is not None and new is not None:
        return difference if difference.aspects else None
    return None if old is new else difference


def _below(pair: _Pair) -> list[_Pair]:
    """The pairs in a directory that differ, or below which something may."""
    old, new = _children(pair.old, pair), _children(pair.new, pair)
    pairs = (_Pair(f"{pair.path}/{name}", old.get(name), new.get(name), pair.changed) for name in _names(old, new))
    return [below for below in pairs if _is_worth_a_look(below)]


def _names(old: Mapping[str, _Side], new: Mapping[str, _Side]) -> list[str]:
    return sorted_names(old.keys() | new.keys())


def _is_worth_a_look(pair: _Pair) -> bool:
    old, new = pair.old, pair.new
    if old is None or new is None or old.entry.is_directory or new.entry.is_directory:
        return True
    return bool(aspects_between(old.entry, new.entry, old.links, new.links))


def _children(side: _Side | None, pair: _Pair) -> dict[str, _Side]:
    if side is None or not side.entry.is_directory:
        return {}
    children = _listed(side, pair.path, pair.changed)
    if pair.path and side.catalog.path == pair.path:
        return {name: child for name, child in children.items() if name not in MARKERS}
    if not pair.path:
        children.pop(base_name(OWN_DIRECTORY), None)
    return children


def _listed(side: _Side, directory: str, changed: frozenset[PathHash] | None) -> dict[str, _Side]:
    """What a directory holds by name, or only what is among `changed` or hard-linked, with the links resolved."""
    listed: dict[str, _Side] = {}
    groups: dict[int, set[str]] = {}
    for row in side.catalog.rows_in(directory):
        stored_hash = (row[12], row[13])
        is_linked = isinstance(row[0], int) and row[0] >> 32
        if changed is not None and stored_hash not in changed and not is_linked:
            continue
        name = row[7]
        check_name(name if isinstance(name, str) else "")
        if path_hash(f"{directory}/{name}") != stored_hash:
            raise CatalogError(f"{directory}/{name}: listed here, but entered under another path")
        entry = side.catalog.entry_of(row)
        listed[name] = _Side(side.catalog, entry)
        if entry.hardlink_group:
            groups.setdefault(entry.hardlink_group, set()).add(name)
    for group in groups.values():
        if len(group) > 1:
            links = frozenset(group)
            for name in group:
                listed[name] = replace(listed[name], links=links)
    return listed
