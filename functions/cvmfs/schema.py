"""The catalog database: its tables as the official tools create them, and how bytes become an open database.

Schema 2.5, revision 7. Older revisions (0 to 6, and schema 2.4) lack columns, counters or a table, and catalogs that
the official tools upgraded have ``mtimens`` as their last column; all of these are rewritten into the fresh layout, in
memory, when they are opened. Source: ``catalog_sql.cc`` (``CreateEmptyDatabase``, ``LiveSchemaUpgradeIfNecessary``).
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from functions.cvmfs.counters import COUNTER_NAMES, Counters
from functions.cvmfs.database import DATABASE_ERRORS, PAGE_SIZE, PROPERTIES_DDL
from functions.cvmfs.entry import decode_text
from functions.cvmfs.errors import CatalogError

SCHEMA = "2.5"
SCHEMA_REVISION = 7

COLUMNS = (
    "md5path_1",
    "md5path_2",
    "parent_1",
    "parent_2",
    "hardlinks",
    "hash",
    "size",
    "mode",
    "mtime",
    "mtimens",
    "flags",
    "name",
    "symlink",
    "uid",
    "gid",
    "xattr",
)
"""The columns of ``catalog`` in their order, which two official operations rely on (``CopyToParent``, compaction)."""

COLUMN_LIST = ", ".join(COLUMNS)

_TABLES = f"""
{PROPERTIES_DDL};
CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER,
    hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    uid INTEGER, gid INTEGER, xattr BLOB, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2));
CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),
    FOREIGN KEY (md5path_1, md5path_2) REFERENCES catalog(md5path_1, md5path_2));
CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_nested_catalogs PRIMARY KEY (path));
CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path));
CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter));
"""

_HEADER = b"SQLite format 3\0"
_ROLLBACK_JOURNAL = b"\x01\x01"

_COUNTERS_SINCE = {
    1: ("chunked", "chunks", "chunked_size"),  # schema 2.4, which had no revisions, has no chunk statistics
    2: ("xattr",),
    3: ("external", "external_file_size"),
    5: ("special",),
}
_COLUMNS_SINCE = {2: "xattr", 7: "mtimens"}

SELF_COUNTERS = """
    SELECT coalesce(sum(type = 0x8000), 0), coalesce(sum(type = 0xA000), 0),
           coalesce(sum(type NOT IN (0x8000, 0xA000, 0x4000)), 0), coalesce(sum(type = 0x4000), 0), 0,
           coalesce(sum(type = 0x8000 AND flags & 64), 0), 0,
           coalesce(sum(size * (type = 0x8000)), 0), coalesce(sum(size * (type = 0x8000 AND flags & 64 <> 0)), 0),
           coalesce(sum(xattr IS NOT NULL), 0),
           coalesce(sum(type = 0x8000 AND flags & 128), 0),
           coalesce(sum(size * (type = 0x8000 AND flags & 128 <> 0)), 0)
    FROM (SELECT mode & 0xF000 AS type, flags, size, xattr FROM catalog WHERE rowid IN ({rows}))
"""
"""Everything in Counters but ``nested`` and ``chunks``, in the order of its fields, over the chosen rows."""


@dataclass(frozen=True, slots=True)
class OpenDatabase:
    """A catalog database in memory, in the fresh layout, its counters read out.

    `uncounted` has the counters an older revision did not keep: their sums over nested catalogs are not known, and 0
    here; those of the catalog itself have been counted.
    """

    db: sqlite3.Connection
    self_counters: Counters
    subtree_counters: Counters
    uncounted: frozenset[str]


def connect() -> sqlite3.Connection:
    """A new database in memory; every statement commits itself unless a transaction is begun."""
    # Catalogs are shared between threads for reading; this SQLite serializes calls itself.
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    db.text_factory = decode_text
    db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    db.execute("PRAGMA temp_store = 2")
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def create_database() -> sqlite3.Connection:
    """An empty catalog: all tables, the schema properties, and 24 counters of 0."""
    db = connect()
    db.execute("BEGIN")
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.executemany(
        "INSERT INTO properties (key, value) VALUES (?, ?)",
        (("schema", SCHEMA), ("schema_revision", str(SCHEMA_REVISION))),
    )
    db.executemany("INSERT INTO statistics (counter, value) VALUES (?, 0)", ((name,) for name in _statistics_names()))
    db.execute("COMMIT")
    return db


def open_database(blob: bytes) -> OpenDatabase:
    """Load the bytes of a catalog; raises CatalogError if they are no catalog that an official program would open."""
    if not blob.startswith(_HEADER):
        raise CatalogError(f"{len(blob)} bytes that are not an SQLite database")
    if blob[18:20] != _ROLLBACK_JOURNAL:
        raise CatalogError("the database is in WAL mode, which clients cannot open")
    db = connect()
    try:
        db.deserialize(blob)
        return _opened(db)
    except DATABASE_ERRORS as err:
        db.close()
        raise CatalogError(f"the catalog database is damaged: {err}") from err
    except CatalogError:
        db.close()
        raise


def write_counters(db: sqlite3.Connection, self_counters: Counters, subtree_counters: Counters) -> None:
    """Store counters that differ from the stored ones, so that an unchanged catalog keeps its bytes."""
    numbers = dict(zip(_statistics_names(), _numbers(self_counters, subtree_counters), strict=True))
    db.executemany(
        "UPDATE statistics SET value = ?1 WHERE counter = ?2 AND value IS NOT ?1",
        ((value, name) for name, value in numbers.items()),
    )


def count_rows(db: sqlite3.Connection, rows: str = "SELECT rowid FROM catalog") -> Counters:
    """Count entries and their chunks from scratch: all, or those whose row ids the query `rows` yields."""
    numbers = list(db.execute(SELF_COUNTERS.format(rows=rows)).fetchone())
    # CROSS JOIN keeps the order: chunks are few, and finding the file of each is one step.
    (chunks,) = db.execute(
        "SELECT count(*) FROM chunks CROSS JOIN catalog USING (md5path_1, md5path_2) "  # noqa: S608
        f"WHERE catalog.rowid IN ({rows})"
    ).fetchone()
    numbers[COUNTER_NAMES.index("chunks")] = chunks
    return Counters(*(int(number) for number in numbers))


def _opened(db: sqlite3.Connection) -> OpenDatabase:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    programs = db.execute("SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchall()
    if programs:
        raise CatalogError(f"the database contains a {programs[0][0]}, {programs[0][1]!r}")
    missing = {"properties", "catalog", "chunks", "nested_catalogs", "statistics"} - tables
    if missing:
        raise CatalogError(f"the database has no table {', '.join(sorted(missing))}")
    revision = _schema_revision(dict(db.execute("SELECT key, value FROM properties")))
    columns = _check_columns(db, revision)
    if revision >= 4 and "bind_mountpoints" not in tables:
        raise CatalogError("the database has no table bind_mountpoints")
    counters = dict(db.execute("SELECT counter, value FROM statistics"))
    excused = {name for since, names in _COUNTERS_SINCE.items() if revision < since for name in names}
    uncounted = frozenset(name for name in excused if f"subtree_{name}" not in counters)
    for name in uncounted:
        counters[f"self_{name}"] = counters[f"subtree_{name}"] = 0
    for name in _statistics_names():
        if not isinstance(counters.get(name), int):
            raise CatalogError(f"the counter {name} is missing")
    if columns != COLUMNS or revision < SCHEMA_REVISION:
        db = _rewritten(db, columns, revision, with_bind_mounts="bind_mountpoints" in tables)
    self_counters = {name: counters[f"self_{name}"] for name in COUNTER_NAMES}
    if uncounted:
        counted = count_rows(db).as_mapping()
        self_counters |= {name: counted[name] for name in uncounted}
    return OpenDatabase(
        db=db,
        self_counters=Counters(**self_counters),
        subtree_counters=Counters(**{name: counters[f"subtree_{name}"] for name in COUNTER_NAMES}),
        uncounted=uncounted,
    )


def _schema_revision(properties: dict[str, str]) -> int:
    schema, revision = properties.get("schema", "1.0"), properties.get("schema_revision", "0")
    try:
        version, number = round(float(schema), 1), int(revision)
    except (ValueError, TypeError) as err:
        raise CatalogError(f"schema {schema!r} revision {revision!r} are not numbers") from err
    if version not in {2.4, 2.5} or not 0 <= number <= SCHEMA_REVISION:
        raise CatalogError(f"schema {schema} revision {revision}; this reads 2.4 and {SCHEMA} up to {SCHEMA_REVISION}")
    return number


def _check_columns(db: sqlite3.Connection, revision: int) -> tuple[str, ...]:
    columns = tuple(name for (name,) in db.execute("SELECT name FROM pragma_table_info('catalog')"))
    optional = {name for since, name in _COLUMNS_SINCE.items() if revision < since}
    missing = set(COLUMNS) - set(columns) - optional
    if missing:
        raise CatalogError(f"table catalog of revision {revision} has no column {', '.join(sorted(missing))}")
    return columns


def _rewritten(
    old: sqlite3.Connection, columns: tuple[str, ...], revision: int, *, with_bind_mounts: bool
) -> sqlite3.Connection:
    """The same catalog in a freshly created database; closes the old one."""
    db = create_database()
    db.execute("ATTACH ':memory:' AS old")
    db.deserialize(old.serialize(), name="old")
    old.close()
    shared = ", ".join(name for name in COLUMNS if name in columns)
    size = "size" if revision >= 1 else "0"
    db.execute("INSERT INTO properties SELECT * FROM old.properties WHERE key NOT IN ('schema', 'schema_revision')")
    db.execute(f"INSERT INTO catalog ({shared}) SELECT {shared} FROM old.catalog ORDER BY rowid")  # noqa: S608
    db.execute("INSERT INTO chunks SELECT md5path_1, md5path_2, offset, size, hash FROM old.chunks")
    db.execute(f"INSERT INTO nested_catalogs SELECT path, sha1, {size} FROM old.nested_catalogs")  # noqa: S608
    if revision < 5:
        db.execute("UPDATE catalog SET flags = flags | 16 WHERE mode & 0xF000 NOT IN (0x4000, 0x8000, 0xA000)")
    if with_bind_mounts:
        db.execute("INSERT INTO bind_mountpoints SELECT path, sha1, size FROM old.bind_mountpoints")
    db.execute("DETACH old")
    return db


def _statistics_names() -> list[str]:
    return [f"{prefix}_{name}" for prefix in ("self", "subtree") for name in COUNTER_NAMES]


def _numbers(self_counters: Counters, subtree_counters: Counters) -> list[int]:
    return [*self_counters.as_mapping().values(), *subtree_counters.as_mapping().values()]
