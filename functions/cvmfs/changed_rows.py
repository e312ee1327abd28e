"""Which rows of a catalog differ from those of another version of it, found inside SQLite.

Comparing 100,000 rows there takes a tenth of the time that decoding them takes, and what comes back is as large as the
difference.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from functions.cvmfs.catalog import Catalog
from functions.cvmfs.database import DATABASE_ERRORS
from functions.cvmfs.entry import path_hash
from functions.cvmfs.errors import CatalogError
from functions.cvmfs.schema import COLUMNS, connect

# The queries are put together from constants: column lists.
# ruff: noqa: S608

PathHash = tuple[int, int]
"""The two halves by which a catalog finds an entry, as `path_hash` yields them."""

_COMPARED = [name for name in COLUMNS if not name.startswith(("md5path", "parent"))]
_BEFORE = ", ".join(f"before.{name}" for name in _COMPARED)
_AFTER = ", ".join(f"after.{name}" for name in _COMPARED)
_CHUNKS = 'md5path_1, md5path_2, "offset", size, hash'

_FIND = (
    "CREATE TEMP TABLE changed (first INTEGER, second INTEGER, PRIMARY KEY (first, second)) WITHOUT ROWID",
    f"""
    INSERT INTO changed SELECT after.md5path_1, after.md5path_2
    FROM other.catalog AS after LEFT JOIN main.catalog AS before USING (md5path_1, md5path_2)
    WHERE ({_BEFORE}) IS NOT ({_AFTER})
    """,
    """
    INSERT INTO changed SELECT md5path_1, md5path_2 FROM main.catalog AS before WHERE NOT EXISTS (
        SELECT 1 FROM other.catalog AS after
        WHERE after.md5path_1 = before.md5path_1 AND after.md5path_2 = before.md5path_2)
    """,
    f"""
    INSERT OR IGNORE INTO changed SELECT md5path_1, md5path_2 FROM (
        SELECT * FROM (SELECT {_CHUNKS} FROM main.chunks EXCEPT SELECT {_CHUNKS} FROM other.chunks)
        UNION ALL
        SELECT * FROM (SELECT {_CHUNKS} FROM other.chunks EXCEPT SELECT {_CHUNKS} FROM main.chunks))
    """,
)
_WITH_PARENTS = """
    WITH RECURSIVE upwards (first, second) AS (
        SELECT first, second FROM changed
        UNION
        SELECT parent_1, parent_2 FROM upwards CROSS JOIN main.catalog ON md5path_1 = first AND md5path_2 = second
        UNION
        SELECT parent_1, parent_2 FROM upwards CROSS JOIN other.catalog ON md5path_1 = first AND md5path_2 = second
    ) SELECT first, second FROM upwards
"""


def changed_rows(old: Catalog, new: Catalog) -> frozenset[PathHash]:
    """The path hashes of all entries that `old` and `new` do not both have alike, and of all directories above these.

    Both are for the same place. A mount point counts as changed if its nested catalog is another one.
    """
    references = old.nested(), new.nested()
    other = [
        path
        for path in references[0].keys() | references[1].keys()
        if path not in references[0]
        or path not in references[1]
        or references[0][path].digest != references[1][path].digest
    ]
    try:
        with _side_by_side(old, new) as db:
            for statement in _FIND:
                db.execute(statement)
            db.executemany("INSERT OR IGNORE INTO changed VALUES (?, ?)", map(path_hash, other))
            return frozenset(db.execute(_WITH_PARENTS))
    except DATABASE_ERRORS as err:
        raise CatalogError(f"catalog {old.path or '/'}: {err}") from err


@contextmanager
def _side_by_side(old: Catalog, new: Catalog) -> Iterator[sqlite3.Connection]:
    """Copies of two catalogs in one connection, as ``main`` and ``other``; the originals may be shared by threads."""
    db = connect()
    try:
        db.deserialize(old.image())
        db.execute("ATTACH ':memory:' AS other")
        db.deserialize(new.image(), name="other")
        yield db
    finally:
        db.close()
