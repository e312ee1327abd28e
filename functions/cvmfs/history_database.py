"""The tag database as bytes: an SQLite file, schema 1.0, revision 3; older revisions are read, but never written.

Source: ``history_sql.cc``.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from functions.cvmfs.address import DIGEST_SIZE, Digest
from functions.cvmfs.database import PROPERTIES_DDL, opened, read_properties, text, transaction, write_properties
from functions.cvmfs.errors import AddressError, HistoryError

_SCHEMA = {"schema": "1.0", "schema_revision": "3"}
_PREVIOUS_REVISION = "previous_revision"
_NO_DIGEST = "0" * (2 * DIGEST_SIZE)

_TABLES = (
    PROPERTIES_DDL,
    """CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER,
        CONSTRAINT pk_branch PRIMARY KEY (branch), FOREIGN KEY (parent) REFERENCES branches (branch),
        CHECK (branch <> '' OR parent IS NULL), CHECK (branch = '' OR parent IS NOT NULL))""",
    """CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
        description TEXT, size INTEGER, branch TEXT,
        CONSTRAINT pk_tags PRIMARY KEY (name), FOREIGN KEY (branch) REFERENCES branches (branch))""",
    "CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash))",
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A name for a root catalog, with the size of its database in bytes and its ``last_modified`` in epoch seconds."""

    name: str
    root: Digest
    size: int
    revision: int
    timestamp: int
    description: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of development; the default branch has an empty name and no parent."""

    name: str = ""
    parent: str | None = None
    initial_revision: int = 0


@dataclass(frozen=True, slots=True)
class HistoryContent:
    """What a tag database holds: its repository, its rows as they were entered, and all properties."""

    fqrn: str
    tags: list[Tag]
    branches: list[Branch]
    properties: dict[str, str]


def read_history(image: bytes) -> HistoryContent:
    """Read a tag database (inflated); raises HistoryError."""
    with opened(image, HistoryError) as connection:
        properties = read_properties(connection)
        if properties.get("schema") != _SCHEMA["schema"]:
            raise HistoryError(f"the tag database has schema {properties.get('schema')}, expected 1.0")
        if "fqrn" not in properties:
            raise HistoryError("the tag database does not say which repository it belongs to")
        return HistoryContent(properties["fqrn"], _read_tags(connection), _read_branches(connection), properties)


def write_history(content: HistoryContent, previous: Digest | None) -> bytes:
    """The tag database, inflated; `previous` is the one before it."""
    properties = {"fqrn": content.fqrn, _PREVIOUS_REVISION: _NO_DIGEST if previous is None else str(previous)}
    with opened(None, HistoryError) as connection:
        for table in _TABLES:
            connection.execute(table)
        with transaction(connection):
            write_properties(connection, content.properties | _SCHEMA | properties)
            connection.executemany(
                "INSERT INTO branches VALUES (CAST(? AS TEXT), CAST(? AS TEXT), ?)",
                [
                    (text(branch.name), None if branch.parent is None else text(branch.parent), branch.initial_revision)
                    for branch in content.branches
                ],
            )
            connection.executemany(
                "INSERT INTO tags VALUES (CAST(? AS TEXT), ?, ?, ?, 0, CAST(? AS TEXT), ?, CAST(? AS TEXT))",
                [
                    (
                        text(tag.name),
                        str(tag.root),
                        tag.revision,
                        tag.timestamp,
                        text(tag.description),
                        tag.size,
                        text(tag.branch),
                    )
                    for tag in content.tags
                ],
            )
        return connection.serialize()


def previous_revision_of(properties: dict[str, str]) -> Digest | None:
    """The digest of the tag database before the one with these properties; None for the first."""
    value = properties.get(_PREVIOUS_REVISION, "")
    if not value or value.startswith(_NO_DIGEST):
        return None
    return _digest(value)


def _digest(value: str) -> Digest:
    try:
        return Digest.parse(value)
    except AddressError as err:
        raise HistoryError(f"the tag database names a root catalog or predecessor badly: {err}") from err


def _read_tags(connection: sqlite3.Connection) -> list[Tag]:
    columns = {column[1] for column in connection.execute("PRAGMA table_info(tags)")}
    size = "size" if "size" in columns else "0"
    branch = "branch" if "branch" in columns else "''"
    query = (
        "SELECT CAST(name AS TEXT), CAST(hash AS TEXT), CAST(revision AS INTEGER), CAST(timestamp AS INTEGER), "  # noqa: S608
        f"CAST(coalesce(description, '') AS TEXT), CAST(coalesce({size}, 0) AS INTEGER), "
        f"CAST(coalesce({branch}, '') AS TEXT) FROM tags ORDER BY rowid"
    )
    tags = []
    for name, digest, revision, timestamp, description, bytes_, branch_name in connection.execute(query):
        if name is None or digest is None or revision is None or timestamp is None:
            raise HistoryError(f"the tag {name!r} has no name, root catalog, revision or time")
        tags.append(Tag(name, _digest(digest), bytes_, revision, timestamp, description, branch_name))
    return tags


def _read_branches(connection: sqlite3.Connection) -> list[Branch]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'branches'").fetchone():
        return [Branch()]
    rows = connection.execute(
        "SELECT CAST(coalesce(branch, '') AS TEXT), CAST(parent AS TEXT), "
        "CAST(coalesce(initial_revision, 0) AS INTEGER) FROM branches ORDER BY rowid"
    )
    return [Branch(*row) for row in rows]
