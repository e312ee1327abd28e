"""SQLite databases as bytes: taken from a repository, edited in memory, given back; no file is involved.

Text columns come and go as `str` with undecodable bytes as surrogates, bound through `text`. Every failure of SQLite is
raised as the caller's own error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from functions.cvmfs.entry import decode_text, encode_text
from functions.cvmfs.errors import FormatError

PAGE_SIZE = 4096
"""Bytes per page, as ``cvmfs_server`` of the distributions writes."""

DATABASE_ERRORS = (sqlite3.Error, OverflowError, UnicodeDecodeError)
"""What SQLite raises, also for numbers beyond 64 bits, and for damage that its own message quotes undecoded."""

PROPERTIES_DDL = "CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key))"
"""The table every CVMFS database has (``sql_impl.h: CreatePropertiesTable``)."""

INSERT_PROPERTY = "INSERT OR REPLACE INTO properties (key, value) VALUES (CAST(? AS TEXT), CAST(? AS TEXT))"


@contextmanager
def opened(image: bytes | None, error: type[FormatError]) -> Iterator[sqlite3.Connection]:
    """A connection to the database in `image`, or to a new one; closed at the end. Raises `error`."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        try:
            connection.text_factory = decode_text
            if image is None:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            else:
                if not image:
                    raise error("an empty file is not an SQLite database")
                connection.deserialize(image)
            yield connection
        except DATABASE_ERRORS as err:
            raise error(f"SQLite: {err}") from err


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, committed at the end unless an error passes through."""
    connection.execute("BEGIN")
    with connection:
        yield


def text(value: str) -> bytes:
    """The bytes to bind for a text, to be used as ``CAST(? AS TEXT)``."""
    return encode_text(value)


def read_properties(connection: sqlite3.Connection) -> dict[str, str]:
    """The table of properties, all values as text."""
    return {str(key): str(value) for key, value in connection.execute("SELECT key, value FROM properties")}


def write_properties(connection: sqlite3.Connection, properties: Mapping[str, str]) -> None:
    """Set properties; others stay as they are."""
    connection.executemany(INSERT_PROPERTY, [(text(key), text(value)) for key, value in properties.items()])
