"""Editing the entries of one catalog, with everything that follows from an edit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from functions.cvmfs.catalog_entries import CatalogEntries, NestedReference
from functions.cvmfs.counters import Counters
from functions.cvmfs.database import DATABASE_ERRORS
from functions.cvmfs.entry import Entry, EntryFlag, encode_text, parent_path, path_hash
from functions.cvmfs.errors import CatalogError
from functions.cvmfs.rows import (
    INSERT_CHUNK,
    INSERT_ENTRY,
    STRUCTURE_FLAGS,
    UPDATE_ENTRY,
    Row,
    check_entry,
    chunk_rows,
    row_of,
)
from functions.cvmfs.schema import OpenDatabase, count_rows
from functions.cvmfs.transplant import delete_rows, rows_below

CountersOf = Callable[[NestedReference], Counters]
"""How a catalog asks for the counters of one it refers to: that catalog's own plus those below it."""

_ANOTHER_CATALOG = EntryFlag.NESTED_MOUNTPOINT | EntryFlag.BIND_MOUNTPOINT


class CatalogEdits(CatalogEntries):
    """A catalog whose entries can be put and removed."""

    def __init__(
        self,
        opened: OpenDatabase,
        counters_of: CountersOf | None = None,
        contributions: Mapping[str, Counters] | None = None,
    ) -> None:
        super().__init__(opened)
        self._counters_of = counters_of
        self._contributions = dict(contributions or {})
        self._next_group = 0

    def put(self, path: str, entry: Entry) -> None:
        """Enter `entry`, or replace what is at `path`.

        A directory that exists keeps its link count and content. A directory that is not empty cannot become a file,
        and below a mount point nothing can be put: both are CatalogErrors, as is a parent that is no directory here.
        Link counts of directories and the flags that say where catalogs begin are the catalog's own, whatever `entry`
        says. The members of a hard-link group are put one by one, each with the whole count (see new_hardlink_group).
        """
        self.put_all([(path, entry)])

    def put_all(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """As put, for many entries at once; parents may be among them, in any order. All are entered, or none."""
        batch = dict(entries)
        root = batch.pop(self._path, None)
        before = self._replaced_by(batch)
        self._check_batch(batch, before)
        links = _new_links(batch, before)
        inserts, updates = [], []
        for path, entry in batch.items():
            old = before.get(path)
            if old is None:
                inserts.append(_new_row(path, entry, links.pop(path, 0)))
            else:
                updates.append(_replacement(path, entry, old))
        with self._transaction():
            for path, old in before.items():
                self._forget_links_and_chunks(path, old, batch[path])
            self._run_many(INSERT_ENTRY, inserts)
            self._run_many(UPDATE_ENTRY, updates)
            self._run_many(
                INSERT_CHUNK, (row for path, entry in batch.items() if entry.chunks for row in chunk_rows(path, entry))
            )
            for path, delta in links.items():
                self._add_links(path, delta)
            if root is not None:
                self._replace_root(root)
        self._self += Counters.tally(batch.values()) - Counters.tally(before.values())
        if self._next_group:
            self._next_group = max([self._next_group, *(entry.hardlink_group + 1 for entry in batch.values())])

    def set_root(self, entry: Entry) -> None:
        """Replace this catalog's own root entry; it keeps its link count and its flag.

        The mount point in the parent catalog must stay equal: hand `root` to the parent's set_nested afterwards.
        """
        self.put(self._path, entry)

    def remove(self, path: str) -> None:
        """Remove one entry; a directory must be empty."""
        entry = self._existing(path)
        if entry.is_directory:
            if entry.extra_flags & STRUCTURE_FLAGS:
                raise CatalogError(f"{path}: another catalog starts here; remove_tree removes it")
            if self._has_children(path):
                raise CatalogError(f"{path}: the directory is not empty")
        with self._transaction():
            self._delete_entry(path, entry)
        self._self -= Counters.of(entry)

    def remove_tree(self, path: str) -> None:
        """Remove `path` and everything below it, references to nested catalogs included."""
        entry = self._existing(path)
        references = [mount for mount in self._references() if _is_at_or_below(mount, path)]
        dropped = sum((self._contribution(mount) for mount in references), Counters())
        with self._transaction(), rows_below(self._db, path) as rows:
            counted = count_rows(self._db, rows)
            delete_rows(self._db, rows)
            self._delete_references("nested_catalogs", references)
            self._delete_references(
                "bind_mountpoints", filter(lambda at: _is_at_or_below(at, path), self.bind_mounts())
            )
            self._delete_entry(path, entry)
        self._self -= counted + Counters.of(entry) + Counters(nested=len(references))
        self._subtree -= dropped
        self._forget_references(references)

    def new_hardlink_group(self) -> int:
        """A group number that no entry of this catalog has (``catalog_rw.cc: GetMaxLinkId``)."""
        if not self._next_group:
            rows = self.query("SELECT coalesce(max(hardlinks >> 32), 0) FROM catalog")
            self._next_group = int(rows[0][0]) + 1
        self._next_group += 1
        return self._next_group - 1

    # Rules

    def _replaced_by(self, batch: Mapping[str, Entry]) -> dict[str, Entry]:
        if self.entry_count == 1:
            return {}
        return self.lookup_all(batch)

    def _check_batch(self, batch: Mapping[str, Entry], before: Mapping[str, Entry]) -> None:
        inside = self._path + "/"
        parents: dict[str, str | None] = {}
        for path, entry in batch.items():
            if not path.startswith(inside):
                raise CatalogError(f"{path} is not below {self._path or '/'}, where this catalog is mounted")
            check_entry(path, entry)
            parent = parent_path(path)
            if parent not in parents:
                parents[parent] = self._problem_of_parent(parent, batch, before)
            if problem := parents[parent]:
                raise CatalogError(f"{path}: {problem}")
            old = before.get(path)
            if old is not None and old.is_directory and not entry.is_directory and self._is_in_use(path, old):
                raise CatalogError(f"{path}: a directory that is not empty cannot become a file")

    def _problem_of_parent(self, path: str, batch: Mapping[str, Entry], before: Mapping[str, Entry]) -> str | None:
        old = before.get(path) if path in batch else self.lookup(path)
        entry = batch.get(path, old)
        if entry is None or not entry.is_directory:
            return f"{path or '/'} is no directory of this catalog"
        if old is not None and old.extra_flags & _ANOTHER_CATALOG:
            return f"belongs into the catalog that is mounted at {path}"
        return None

    def _existing(self, path: str) -> Entry:
        if path == self._path:
            raise CatalogError(f"{path or '/'}: the root entry of a catalog stays where it is")
        entry = self.lookup(path)
        if entry is None:
            raise CatalogError(f"{path}: no such entry in catalog {self._path or '/'}")
        return entry

    def _is_in_use(self, path: str, directory: Entry) -> bool:
        return bool(directory.extra_flags & STRUCTURE_FLAGS) or self._has_children(path)

    def _has_children(self, path: str) -> bool:
        return bool(self.query("SELECT 1 FROM catalog WHERE parent_1 = ? AND parent_2 = ? LIMIT 1", path_hash(path)))

    def _contribution(self, path: str) -> Counters:
        """What the nested catalog at `path` has added to subtree_counters."""
        if path not in self._contributions:
            if self._counters_of is None:
                raise CatalogError(f"{path}: the counters of the nested catalog are not known")
            self._contributions[path] = self._counters_of(self._references()[path])
        return self._contributions[path]

    # Rows

    def _replace_root(self, entry: Entry) -> None:
        if not entry.is_directory:
            raise CatalogError(f"{self._path or '/'}: the root entry of a catalog is a directory")
        if self._path:
            check_entry(self._path, entry)
        old = self.root
        self._run(UPDATE_ENTRY, _replacement(self._path, entry, old))
        self._self += Counters.of(entry) - Counters.of(old)

    def _delete_entry(self, path: str, entry: Entry) -> None:
        self._forget_links_and_chunks(path, entry, None)
        self._run("DELETE FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?", path_hash(path))
        if entry.is_directory:
            self._add_links(parent_path(path), -1)

    def _forget_links_and_chunks(self, path: str, old: Entry, new: Entry | None) -> None:
        """Drop the chunk rows of `old`, and leave its hard-link group unless `new` stays in it."""
        if old.chunks:
            self._run("DELETE FROM chunks WHERE md5path_1 = ? AND md5path_2 = ?", path_hash(path))
        if old.hardlink_group and (new is None or new.hardlink_group != old.hardlink_group):
            # A group lives in one directory (``catalog_sql.h: SqlIncLinkcount``).
            self._run(
                "UPDATE catalog SET hardlinks = hardlinks - 1 "
                "WHERE parent_1 = ? AND parent_2 = ? AND hardlinks >> 32 = ?",
                (*path_hash(parent_path(path)), old.hardlink_group),
            )

    def _add_links(self, path: str, delta: int) -> None:
        self._run(
            "UPDATE catalog SET hardlinks = hardlinks + ? WHERE md5path_1 = ? AND md5path_2 = ?",
            (delta, *path_hash(path)),
        )

    def _delete_references(self, table: str, paths: Iterable[str]) -> None:
        rows = [(encode_text(path),) for path in paths]
        self._run_many(f"DELETE FROM {table} WHERE path = CAST(? AS TEXT)", rows)  # noqa: S608

    def _forget_references(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._references().pop(path, None)
            self._contributions.pop(path, None)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN")
        counters = self._self
        try:
            yield
        except BaseException as err:
            self._db.rollback()
            self._self = counters
            if isinstance(err, DATABASE_ERRORS):
                raise self._damaged(err) from err
            raise
        self._run("COMMIT")


def _is_at_or_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _new_links(batch: Mapping[str, Entry], before: Mapping[str, Entry]) -> dict[str, int]:
    """By how much the link counts of directories change: one for each sub-directory that comes or goes."""
    links: dict[str, int] = {}
    for path, entry in batch.items():
        old = before.get(path)
        delta = entry.is_directory - (old is not None and old.is_directory)
        if delta:
            parent = parent_path(path)
            links[parent] = links.get(parent, 0) + delta
    return links


def _new_row(path: str, entry: Entry, subdirectories: int) -> Row:
    linkcount = 2 + subdirectories if entry.is_directory else entry.linkcount
    return row_of(path, entry, linkcount=linkcount, extra_flags=_own_flags(entry))


def _replacement(path: str, entry: Entry, old: Entry) -> Row:
    if not entry.is_directory:
        return row_of(path, entry, linkcount=entry.linkcount, extra_flags=_own_flags(entry))
    linkcount = old.linkcount if old.is_directory else 2
    return row_of(path, entry, linkcount=linkcount, extra_flags=_own_flags(entry) | old.extra_flags & STRUCTURE_FLAGS)


def _own_flags(entry: Entry) -> EntryFlag:
    return entry.extra_flags & ~STRUCTURE_FLAGS if entry.extra_flags else entry.extra_flags
