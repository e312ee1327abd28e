"""Catalogs as older writers left them, made from fresh ones by taking away what they did not know."""

from __future__ import annotations

import sqlite3

_FIRST_SEEN = {
    "xattr": 2,
    "external": 3,
    "external_file_size": 3,
    "special": 5,
}


def as_written_by_revision(blob: bytes, revision: int) -> bytes:
    """The same catalog with the columns, counters and flags of schema revision 0 to 6."""
    statements = ["ALTER TABLE catalog DROP COLUMN mtimens"]
    if revision < 5:
        statements.append("UPDATE catalog SET flags = flags & ~16")
    if revision < 4:
        statements.append("DROP TABLE bind_mountpoints")
    if revision < 2:
        statements.append("ALTER TABLE catalog DROP COLUMN xattr")
    if revision < 1:
        statements += [
            "ALTER TABLE nested_catalogs DROP COLUMN size",
            "DELETE FROM properties WHERE key = 'schema_revision'",
        ]
    else:
        statements.append(f"UPDATE properties SET value = {revision} WHERE key = 'schema_revision'")
    missing = [name for name, since in _FIRST_SEEN.items() if revision < since]
    statements += [
        f"DELETE FROM statistics WHERE counter = '{prefix}_{name}'"
        for prefix in ("self", "subtree")
        for name in missing
    ]
    return _edited(blob, statements)


def as_upgraded_by_official_tools(blob: bytes) -> bytes:
    """The same catalog with ``mtimens`` as the last column, as an upgrade to revision 7 in place leaves it."""
    return _edited(
        blob,
        [
            "ALTER TABLE catalog RENAME COLUMN mtimens TO old",
            "ALTER TABLE catalog ADD COLUMN mtimens INTEGER",
            "UPDATE catalog SET mtimens = old",
            "ALTER TABLE catalog DROP COLUMN old",
        ],
    )


def _edited(blob: bytes, statements: list[str]) -> bytes:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(blob)
    for statement in statements:
        db.execute(statement)
    edited = db.serialize()
    db.close()
    return edited
