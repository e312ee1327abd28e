"""What an open catalog holds: entries by path, and references to other catalogs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog_database import CatalogDatabase
from functions.cvmfs.entry import Entry, EntryFlag, encode_text, path_hash
from functions.cvmfs.errors import AddressError, CatalogError
from functions.cvmfs.rows import SELECT_ENTRY, check_name, entry_of
from functions.cvmfs.schema import OpenDatabase

_CHUNKED = int(EntryFlag.CHUNKED)
_ASKED_AT_ONCE = 64
_LOOKUP = f"{SELECT_ENTRY} WHERE md5path_1 = ? AND md5path_2 = ?"
_LOOKUP_MANY = f"{SELECT_ENTRY} WHERE md5path_1 IN ({', '.join('?' * _ASKED_AT_ONCE)})"
_COUNT_CHILDREN = "SELECT parent_1, parent_2, count(*) FROM catalog GROUP BY parent_1, parent_2"
_SELECT_DIRECTORIES = (
    "SELECT parent_1, parent_2, name, md5path_1, md5path_2 FROM catalog "  # noqa: S608
    f"WHERE mode & 0xF000 = 0x4000 AND NOT flags & {int(EntryFlag.NESTED_MOUNTPOINT)}"
)


@dataclass(frozen=True, slots=True)
class NestedReference:
    """Where a catalog refers to another one: mount path, digest, bytes of the uncompressed database (0: unknown)."""

    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class BriefRow:
    """The few columns that tell what an entry is and where it came from; a row that is damaged is shown as it is."""

    name: str
    mode: int
    size: int
    mtime: int
    xattr: bytes | None
    md5path_1: int
    md5path_2: int
    parent_1: int
    parent_2: int

    @property
    def path_hash(self) -> tuple[int, int]:
        """The two halves of the MD5 of its path."""
        return self.md5path_1, self.md5path_2

    @property
    def parent_hash(self) -> tuple[int, int]:
        """The two halves of the MD5 of its directory's path."""
        return self.parent_1, self.parent_2


SELECT_BRIEF = "SELECT name, mode, size, mtime, xattr, md5path_1, md5path_2, parent_1, parent_2 FROM catalog "

DEEPEST = 4096
"""Directories above one another: more would not fit into a path (Linux PATH_MAX)."""


class CatalogEntries(CatalogDatabase):
    """The entries and references of one catalog, for reading."""

    def __init__(self, opened: OpenDatabase) -> None:
        super().__init__(opened)
        self._nested: dict[str, NestedReference] | None = None

    def lookup(self, path: str) -> Entry | None:
        """The entry at `path`, or None if this catalog has none."""
        rows = self.query(_LOOKUP, path_hash(path))
        return self.entry_of(rows[0]) if rows else None

    def listing(self, path: str) -> list[tuple[str, Entry]]:
        """Names and entries in the directory at `path`, in byte order; nothing in what is no directory here."""
        return [(name, entry) for name, entry, _ in self._children(path)]

    def walk(self, top: str | None = None) -> Iterator[tuple[str, Entry]]:
        """Every path and entry of this catalog at and below `top` (default: its root), if there is something.

        Parents come before children, names in byte order.
        """
        top = self._path if top is None else top
        entry = self.lookup(top)
        if entry is None:
            return
        yield top, entry
        pending = [top]
        while pending:
            path = pending.pop()
            below = []
            for name, entry, stored_hash in self._children(path):
                child = f"{path}/{name}"
                # Also what keeps a loop of parents from being walked for ever.
                if path_hash(child) != stored_hash:
                    raise CatalogError(f"{child}: listed here, but entered under another path")
                yield child, entry
                if entry.is_directory:
                    below.append(child)
            pending += reversed(below)

    def lookup_all(self, paths: Iterable[str]) -> dict[str, Entry]:
        """The entries at those of `paths` where this catalog has one, in no particular order."""
        by_hash = {path_hash(path): path for path in paths}
        hashes = iter(by_hash)
        rows: list[tuple[Any, ...]] = []
        while some := list(itertools.islice(hashes, _ASKED_AT_ONCE)):
            if len(some) < _ASKED_AT_ONCE:
                rows += itertools.chain.from_iterable(self.query(_LOOKUP, own_hash) for own_hash in some)
            else:
                rows += self.query(_LOOKUP_MANY, [first for first, _ in some])
        return {by_hash[row[12:]]: self.entry_of(row) for row in rows if row[12:] in by_hash}

    def directories(self) -> dict[str, int]:
        """The directories of this catalog by path, its root included and mount points left out; parents come first.

        With each the number of entries in it, mount points included. Costs little beside a walk.
        """
        sizes = {row[:2]: row[2] for row in self.query(_COUNT_CHILDREN)}
        below: dict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
        for row in self.query(_SELECT_DIRECTORIES):
            below[row[:2]].append(row[2:])
        found = {}
        pending = [(self._path, path_hash(self._path))]
        while pending:
            path, own_hash = pending.pop()
            found[path] = sizes.get(own_hash, 0)
            for name, *stored_hash in below.get(own_hash, ()):
                child = f"{path}/{name}"
                if path_hash(child) != tuple(stored_hash):
                    raise CatalogError(f"{child}: listed here, but entered under another path")
                pending.append((child, (stored_hash[0], stored_hash[1])))
        return found

    @property
    def root(self) -> Entry:
        """The root entry of this catalog."""
        entry = self.lookup(self._path)
        if entry is None:
            raise CatalogError(f"catalog {self._path or '/'} has no root entry")
        return entry

    def nested(self) -> dict[str, NestedReference]:
        """The nested catalogs that start in this one, by mount path, in byte order."""
        references = self._references()
        return {path: references[path] for path in sorted(references, key=encode_text)}

    def nested_covering(self, path: str) -> NestedReference | None:
        """The reference whose mount point is `path` or a directory above it."""
        references = self._references()
        end = len(self._path) if references else len(path)
        # Downwards: the nearest one is what a walk through many catalogs meets at every step.
        while end < len(path):
            slash = path.find("/", end + 1)
            end = len(path) if slash < 0 else slash
            if path[:end] in references:
                return references[path[:end]]
        return None

    def bind_mounts(self) -> dict[str, NestedReference]:
        """Directories that mount another root catalog, as those in ``/.cvmfs/snapshots`` do."""
        return self._read_references("bind_mountpoints")

    def rows_in(self, path: str) -> list[tuple[Any, ...]]:
        """The rows of the directory at `path` as SELECT_ENTRY yields them, damaged ones too, in byte order."""
        return self.query(SELECT_ENTRY + "WHERE parent_1 = ? AND parent_2 = ? ORDER BY name", path_hash(path))

    def brief_rows_in(self, path: str) -> Iterator[BriefRow]:
        """What is in the directory at `path`, in byte order of names, read as it is asked for: for huge directories."""
        return self._brief_rows("WHERE parent_1 = ? AND parent_2 = ? ORDER BY name", path_hash(path))

    def brief_rows_with(self, xattr: str) -> Iterator[tuple[str, BriefRow]]:
        """Paths and rows of entries whose packed attributes contain this text, in no order."""
        for row in self._brief_rows("WHERE xattr IS NOT NULL AND instr(xattr, ?) > 0", (encode_text(xattr),)):
            yield self._path_of(row), row

    def _brief_rows(self, where: str, values: Sequence[object]) -> Iterator[BriefRow]:
        for row in self.stream(SELECT_BRIEF + where, values):
            yield BriefRow(*row)

    def _path_of(self, row: BriefRow) -> str:
        """The path of a row of this catalog, from the names of its parents."""
        names = []
        top = path_hash(self._path)
        here: BriefRow | None = row
        while here is not None and here.path_hash != top:
            names.append(here.name)
            above = self.query(SELECT_BRIEF + "WHERE md5path_1 = ? AND md5path_2 = ?", here.parent_hash)
            here = BriefRow(*above[0]) if above and len(names) < DEEPEST else None
        if here is None:
            raise CatalogError(f"catalog {self._path or '/'}: {row.name!r} is below no directory of it")
        return "".join([self._path, *(f"/{name}" for name in reversed(names))])

    def entry_of(self, row: Sequence[Any]) -> Entry:
        """The entry of a row of SELECT_ENTRY, with its chunks; raises CatalogError if it has values of no entry."""
        chunks: list[tuple[Any, ...]] = []
        if isinstance(row[6], int) and row[6] & _CHUNKED:
            chunks = self.query(
                'SELECT "offset", size, hash FROM chunks WHERE md5path_1 = ? AND md5path_2 = ? ORDER BY "offset", size',
                (row[12], row[13]),
            )
        return entry_of(row, chunks)

    def _children(self, path: str) -> list[tuple[str, Entry, tuple[int, int]]]:
        children = []
        for row in self.rows_in(path):
            name = row[7]
            if not isinstance(name, str):
                raise CatalogError(f"{path or '/'}: an entry has no name")
            check_name(name)
            children.append((name, self.entry_of(row), (row[12], row[13])))
        return children

    def _references(self) -> dict[str, NestedReference]:
        if self._nested is None:
            self._nested = self._read_references("nested_catalogs")
        return self._nested

    def _read_references(self, table: str) -> dict[str, NestedReference]:
        references = {}
        for path, text, size in self.query(f"SELECT path, sha1, size FROM {table} ORDER BY path"):  # noqa: S608
            try:
                references[str(path)] = NestedReference(str(path), Digest.parse(str(text)), int(size or 0))
            except (AddressError, ValueError, TypeError) as err:
                raise CatalogError(f"{table}: {path}: {err}") from err
        return references
