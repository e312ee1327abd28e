"""Moving a directory's tree between catalog databases: out into a new one, and back in.

The rows move inside SQLite, from one attached database to the other, never through Python one by one.
Source: ``catalog_rw.cc`` (``MoveToNested``, ``CopyToParent``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from functions.cvmfs.entry import EntryFlag, encode_text, path_hash
from functions.cvmfs.rows import STRUCTURE_FLAGS
from functions.cvmfs.schema import COLUMN_LIST, COLUMNS, create_database

# The queries are put together from constants: table names and column lists.
# ruff: noqa: S608

_REFERENCE_TABLES = ("nested_catalogs", "bind_mountpoints")
_CHUNK_COLUMNS = 'md5path_1, md5path_2, "offset", size, hash'
_SHIFTED_COLUMNS = ", ".join(
    "CASE WHEN hardlinks >> 32 THEN hardlinks + (?1 << 32) ELSE hardlinks END" if name == "hardlinks" else name
    for name in COLUMNS
)


@contextmanager
def rows_below(db: sqlite3.Connection, path: str) -> Iterator[str]:
    """A query for the row ids of everything strictly below `path` in one catalog, good inside the context."""
    db.execute("CREATE TEMP TABLE below (id INTEGER PRIMARY KEY)")
    try:
        db.execute(
            """
            WITH RECURSIVE tree (id, first, second, type) AS (
                SELECT rowid, md5path_1, md5path_2, mode & 0xF000 FROM main.catalog
                WHERE parent_1 = ? AND parent_2 = ?
                UNION
                SELECT entry.rowid, entry.md5path_1, entry.md5path_2, entry.mode & 0xF000
                FROM tree CROSS JOIN main.catalog AS entry ON parent_1 = first AND parent_2 = second
                WHERE type = 0x4000
            ) INSERT INTO temp.below SELECT id FROM tree
            """,
            path_hash(path),
        )
        yield "SELECT id FROM temp.below"
    finally:
        db.execute("DROP TABLE IF EXISTS temp.below")


def delete_rows(db: sqlite3.Connection, rows: str) -> None:
    """Delete the entries whose row ids the query `rows` yields, and their chunks."""
    db.execute(
        "DELETE FROM main.chunks WHERE (md5path_1, md5path_2) IN "
        f"(SELECT md5path_1, md5path_2 FROM main.catalog WHERE flags & 64 AND rowid IN ({rows}))"
    )
    db.execute(f"DELETE FROM main.catalog WHERE rowid IN ({rows})")


def move_out(db: sqlite3.Connection, path: str) -> bytes:
    """Move everything below `path`, and references below it, to a new database; returns that one's bytes.

    The new database begins with the entry of `path` as its root; here the entry becomes a mount point. Properties and
    counters of both are left to the caller.
    """
    blank = create_database()
    with _attached(db, blank.serialize()):
        blank.close()
        db.execute("BEGIN")
        with rows_below(db, path) as rows:
            copied = f"INSERT INTO other.catalog ({COLUMN_LIST}) SELECT {COLUMN_LIST} FROM main.catalog"
            db.execute(f"{copied} WHERE md5path_1 = ? AND md5path_2 = ?", path_hash(path))
            db.execute(f"{copied} WHERE rowid IN ({rows}) ORDER BY rowid")
            db.execute(
                f"INSERT INTO other.chunks ({_CHUNK_COLUMNS}) SELECT {_CHUNK_COLUMNS} FROM main.chunks "
                f"WHERE (md5path_1, md5path_2) IN "
                f"(SELECT md5path_1, md5path_2 FROM main.catalog WHERE flags & 64 AND rowid IN ({rows}))"
            )
            delete_rows(db, rows)
        _mark(db, "other", path, EntryFlag.NESTED_ROOT)
        _mark(db, "main", path, EntryFlag.NESTED_MOUNTPOINT)
        # Compared as bytes: a path need not be UTF-8, and LIKE has wildcards.
        prefix = encode_text(path + "/")
        for table in _REFERENCE_TABLES:
            below = "WHERE substr(CAST(path AS BLOB), 1, ?) = ?"
            db.execute(f"INSERT INTO other.{table} SELECT * FROM main.{table} {below}", (len(prefix), prefix))
            db.execute(f"DELETE FROM main.{table} {below}", (len(prefix), prefix))
        db.execute("COMMIT")
        return db.serialize(name="other")


def move_in(db: sqlite3.Connection, blob: bytes, path: str) -> None:
    """Copy all entries but the root from another database, and its references.

    Hard-link groups get numbers that are free here. The entry of `path` is left to the caller.
    """
    (groups,) = db.execute("SELECT coalesce(max(hardlinks >> 32), 0) FROM main.catalog").fetchone()
    with _attached(db, blob):
        db.execute("BEGIN")
        db.execute(
            f"INSERT INTO main.catalog ({COLUMN_LIST}) SELECT {_SHIFTED_COLUMNS} FROM other.catalog "
            "WHERE NOT (md5path_1 = ?2 AND md5path_2 = ?3) ORDER BY rowid",
            (groups, *path_hash(path)),
        )
        db.execute(f"INSERT INTO main.chunks ({_CHUNK_COLUMNS}) SELECT {_CHUNK_COLUMNS} FROM other.chunks")
        for table in _REFERENCE_TABLES:
            db.execute(f"INSERT INTO main.{table} (path, sha1, size) SELECT path, sha1, size FROM other.{table}")
        db.execute("DELETE FROM main.nested_catalogs WHERE path = CAST(? AS TEXT)", (encode_text(path),))
        db.execute("COMMIT")


def _mark(db: sqlite3.Connection, schema: str, path: str, flag: EntryFlag) -> None:
    """Set which kind of directory the one at `path` is: plain, mount point, or root of a nested catalog."""
    db.execute(
        f"UPDATE {schema}.catalog SET flags = flags & ~? | ? WHERE md5path_1 = ? AND md5path_2 = ?",
        (int(STRUCTURE_FLAGS), int(flag), *path_hash(path)),
    )


@contextmanager
def _attached(db: sqlite3.Connection, blob: bytes) -> Iterator[None]:
    """Another database as ``other``; what goes wrong inside is rolled back."""
    db.execute("ATTACH ':memory:' AS other")
    try:
        db.deserialize(blob, name="other")
        yield
    finally:
        db.rollback()
        db.execute("DETACH other")
