"""File catalogs: the SQLite databases that say what a repository contains, open for reading and editing.

An edit keeps everything that follows from it right: the link counts of directories, hard-link groups, chunk rows, and
the statistics counters. Nothing is recounted, so an edit costs the same in a catalog of ten and of 100,000 entries.

Source: ``catalog_rw.cc``, ``catalog_mgr_rw.cc``. The class is told in four parts: the database (catalog_database), its
entries (catalog_entries), edits of entries (catalog_edits), and here whole catalogs: how one begins, is stored, refers
to others, is split and merged.
"""

from __future__ import annotations

import sqlite3
from typing import Self

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog_check import check_catalog
from functions.cvmfs.catalog_database import NO_DIGEST
from functions.cvmfs.catalog_edits import CatalogEdits, CountersOf
from functions.cvmfs.catalog_entries import NestedReference
from functions.cvmfs.counters import ONE_REFERENCE, Counters
from functions.cvmfs.database import DATABASE_ERRORS
from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, Entry, EntryFlag, encode_text
from functions.cvmfs.errors import CatalogError
from functions.cvmfs.rows import INSERT_ENTRY, STRUCTURE_FLAGS, UPDATE_ENTRY, check_entry, row_of
from functions.cvmfs.schema import COLUMN_LIST, OpenDatabase, count_rows, create_database, open_database, write_counters
from functions.cvmfs.transplant import move_in, move_out

__all__ = ["AUTO_MARKER_NAME", "Catalog", "Counters", "CountersOf", "NestedReference"]

_FREE_PAGE_RATIO = 0.2
_ROW_ID_WASTE_RATIO = 0.25
"""Above either the database is compacted before it is stored (``catalog_rw.cc: VacuumDatabaseIfNecessary``)."""


class Catalog(CatalogEdits):
    """One catalog. Edits happen in memory, to_bytes() has their outcome; edit from one thread only.

    A catalog has the counters of the catalogs below it only as one sum. To replace or drop one reference it must know
    what that one contributed: it remembers what set_nested, split and merge told it, and asks `counters_of` otherwise.
    """

    @classmethod
    def from_bytes(cls, blob: bytes, *, counters_of: CountersOf | None = None) -> Self:
        """Open the bytes of a catalog database, schema revisions 0 to 7; raises CatalogError if it is none."""
        return cls(open_database(blob), counters_of)

    @classmethod
    def new(cls, path: str, root: Entry, *, now_s: int | None = None, counters_of: CountersOf | None = None) -> Self:
        """A catalog with nothing but its root entry, at revision 0, last modified at `now_s` (default: root's mtime).

        `path` is where it will be mounted, empty for a root catalog. A nested catalog needs a marker file
        (MARKER_NAME) in its root directory, which the caller puts.
        """
        if not root.is_directory:
            raise CatalogError(f"{path or '/'}: the root entry of a catalog is a directory")
        if path:
            check_entry(path, root)
        db = create_database()
        extra = _plain(root) | (EntryFlag.NESTED_ROOT if path else EntryFlag(0))
        db.execute(INSERT_ENTRY, row_of(path, root, linkcount=2, extra_flags=extra))
        _begin_properties(db, path, root.mtime if now_s is None else now_s)
        return cls(OpenDatabase(db, Counters.of(root), Counters(), frozenset()), counters_of)

    def to_bytes(self) -> bytes:
        """The database as it is stored, uncompressed; compacted when wasteful, the same bytes while nothing changes."""
        unstored = [path for path, reference in self._references().items() if reference.digest.raw == NO_DIGEST.raw]
        if unstored:
            raise CatalogError(f"the nested catalog at {unstored[0]} was split off, but set_nested never named it")
        self._compact_if_wasteful()
        return self._serialize()

    def check(self) -> list[str]:
        """What is inconsistent in this catalog alone, each with its path; empty if nothing is."""
        return [f"{finding.where}: {finding.what}" for finding in check_catalog(self)]

    # References

    def set_nested(self, path: str, digest: Digest, size: int, counters: Counters, root: Entry | None = None) -> None:
        """Refer to the stored catalog `digest` of `size` uncompressed bytes at `path`.

        `counters` are all of the child's: its own plus its subtree's. `root` is the child's root entry, which the mount
        point then equals, link count included; without it the mount point, or an empty directory, must be there.
        """
        if path == self._path:
            raise CatalogError(f"{path or '/'}: this catalog itself starts here")
        reference = self._references().get(path)
        previous = Counters() if reference is None else self._contribution(path)
        old = self.lookup(path)
        if reference is None and old is not None and (not old.is_directory or self._is_in_use(path, old)):
            raise CatalogError(f"{path}: only an empty directory can become a mount point; split moves a full one")
        entry = old if root is None else root
        if entry is None or not entry.is_directory:
            raise CatalogError(f"{path}: no directory to mount a nested catalog at")
        if root is not None:
            self.put(path, root)
        with self._transaction():
            extra = _plain(entry) | EntryFlag.NESTED_MOUNTPOINT
            self._run(UPDATE_ENTRY, row_of(path, entry, linkcount=entry.linkcount, extra_flags=extra))
            self._write_reference(NestedReference(path, digest, size))
        if reference is None:
            self._self += ONE_REFERENCE
        self._subtree += counters - previous
        self._contributions[path] = counters

    def drop_nested(self, path: str) -> None:
        """Remove the reference and the mount point at `path`."""
        if path not in self._references():
            raise CatalogError(f"{path}: no nested catalog starts here")
        self.remove_tree(path)

    def split(self, path: str) -> Self:
        """Move the directory at `path` and all below into a new nested catalog, which is returned at revision 0.

        Its marker must be there already (put MARKER_NAME into the directory first). References below move along. Until
        set_nested names the stored child, the reference here has the null hash and to_bytes refuses.
        Source: ``catalog_mgr_rw.cc: CreateNestedCatalog``, ``catalog_rw.cc: Partition``.
        """
        entry = self._existing(path)
        if not entry.is_directory or entry.extra_flags & STRUCTURE_FLAGS:
            raise CatalogError(f"{path}: only a directory of catalog {self._path or '/'} can be split off")
        if self.lookup(f"{path}/{MARKER_NAME}") is None:
            raise CatalogError(f"{path}: has no {MARKER_NAME}, which every nested catalog needs")
        references = [mount for mount in self._references() if mount.startswith(path + "/")]
        moving = {mount: self._contribution(mount) for mount in references}
        try:
            db = open_database(move_out(self._db, path)).db
            counted = count_rows(db) + Counters(nested=len(references))
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err
        _begin_properties(db, path, self.last_modified)
        child = type(self)(
            OpenDatabase(db, counted, sum(moving.values(), Counters()), frozenset()), self._counters_of, moving
        )
        self._forget_references(references)
        self._write_reference(NestedReference(path, NO_DIGEST, 0))
        self._self -= counted - Counters.of(entry) - ONE_REFERENCE
        self._subtree += counted  # what is below the moved references was below this catalog before
        self._contributions[path] = child.total_counters
        return child

    def merge(self, child: Catalog) -> None:
        """Take all entries and references of `child` in again, except its markers; `child` itself stays as it is.

        Source: ``catalog_mgr_rw.cc: RemoveNestedCatalog``, ``catalog_rw.cc: MergeIntoParent``.
        """
        path = child.path
        if path not in self._references():
            raise CatalogError(f"{path or '/'}: no nested catalog starts here")
        contribution = self._contribution(path)
        mount_point, root = self._existing(path), child.root
        try:
            move_in(self._db, child._db.serialize(), path)
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err
        self._run(UPDATE_ENTRY, row_of(path, root, linkcount=root.linkcount, extra_flags=_plain(root)))
        self._forget_references([path])
        self._nested = None
        self._next_group = 0
        self._contributions |= child._contributions
        self._self += child.self_counters - Counters.of(mount_point) - ONE_REFERENCE
        self._subtree += child.subtree_counters - contribution
        # Only now: a marker may be one of several names of a file, and as large as any.
        for marker in (f"{path}/{MARKER_NAME}", f"{path}/{AUTO_MARKER_NAME}"):
            if self.lookup(marker) is not None:
                self.remove_tree(marker)

    # Inside

    def _compact_if_wasteful(self) -> None:
        pages = self.query("SELECT freelist_count * 1.0 / page_count FROM pragma_freelist_count, pragma_page_count")[0][
            0
        ]
        rows, largest = self.query("SELECT count(*), max(rowid) FROM catalog")[0]
        sparse = bool(rows) and 1 - rows / largest > _ROW_ID_WASTE_RATIO
        if sparse:
            # Clients reserve as many inodes as the largest row id (``catalog_sql.cc: CompactDatabase``).
            with self._transaction():
                self._run(f"CREATE TEMP TABLE dense AS SELECT {COLUMN_LIST} FROM catalog ORDER BY rowid")  # noqa: S608
                self._run("DELETE FROM catalog")
                self._run(f"INSERT INTO catalog ({COLUMN_LIST}) SELECT {COLUMN_LIST} FROM dense ORDER BY rowid")  # noqa: S608
                self._run("DROP TABLE dense")
        if sparse or pages > _FREE_PAGE_RATIO:
            self._run("VACUUM")

    def _serialize(self) -> bytes:
        try:
            write_counters(self._db, self._self, self._subtree)
            return self._db.serialize()
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    def _write_reference(self, reference: NestedReference) -> None:
        self._run(
            "INSERT OR REPLACE INTO nested_catalogs (path, sha1, size) VALUES (CAST(? AS TEXT), ?, ?)",
            (encode_text(reference.path), str(reference.digest), reference.size),
        )
        self._references()[reference.path] = reference


def _plain(entry: Entry) -> EntryFlag:
    return entry.extra_flags & ~STRUCTURE_FLAGS


def _begin_properties(db: sqlite3.Connection, path: str, now_s: int) -> None:
    rows = [("root_prefix", encode_text(path))] if path else []
    rows += [("revision", b"0"), ("last_modified", b"%d" % now_s)]
    db.executemany("INSERT INTO properties (key, value) VALUES (?, CAST(? AS TEXT))", rows)
