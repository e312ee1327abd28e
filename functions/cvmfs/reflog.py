"""The reflog ``.cvmfsreflog``: every entry point ever published, so that garbage collection finds what is unreachable.

A raw SQLite file, schema 1.0, revision 0 (``reflog_sql.cc``). A reference is entered before the manifest that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from functions.cvmfs.address import Digest, HashAlgorithm, Kind
from functions.cvmfs.database import PROPERTIES_DDL, opened, read_properties, transaction, write_properties
from functions.cvmfs.errors import AddressError, ReflogError

_SCHEMA = {"schema": "1.0", "schema_revision": "0"}


class RefType(IntEnum):
    """The kinds of entry points, by their numbers in the database (``reflog_sql.h``)."""

    CATALOG = 0  # root catalogs only
    CERTIFICATE = 1
    HISTORY = 2
    METAINFO = 3

    @property
    def kind(self) -> Kind:
        """The kind of object that is referred to."""
        return _KINDS[self]


_KINDS = {
    RefType.CATALOG: Kind.CATALOG,
    RefType.CERTIFICATE: Kind.CERTIFICATE,
    RefType.HISTORY: Kind.HISTORY,
    RefType.METAINFO: Kind.METAINFO,
}


@dataclass(frozen=True, slots=True)
class Reference:
    """An entry point: its digest, its type, and when it was entered last, in seconds since the epoch."""

    digest: Digest
    type: RefType
    timestamp: int


class Reflog:
    """The reflog of one repository, edited in place.

    Edits are collected and applied together when somebody looks, so that entering a revision costs one pass over the
    bytes, however many there are.
    """

    def __init__(self, fqrn: str, image: bytes) -> None:
        self.fqrn = fqrn
        self._image = image
        self._edits: dict[Digest, Reference | None] = {}

    @classmethod
    def new(cls, fqrn: str) -> Reflog:
        """A reflog without references."""
        with opened(None, ReflogError) as connection:
            connection.execute(PROPERTIES_DDL)
            connection.execute(
                "CREATE TABLE refs (hash TEXT, type INTEGER, timestamp INTEGER, CONSTRAINT pk_refs PRIMARY KEY (hash))"
            )
            write_properties(connection, _SCHEMA | {"fqrn": fqrn})
            return cls(fqrn, connection.serialize())

    @classmethod
    def from_bytes(cls, image: bytes, *, fqrn: str) -> Reflog:
        """Read ``.cvmfsreflog``; raises ReflogError if it is not one, or not that of `fqrn`."""
        with opened(image, ReflogError) as connection:
            properties = read_properties(connection)
            connection.execute("SELECT hash, type, timestamp FROM refs LIMIT 1")
        if properties.get("schema") != _SCHEMA["schema"]:
            raise ReflogError(f"the reflog has schema {properties.get('schema')}, expected 1.0")
        if properties.get("fqrn") != fqrn:
            raise ReflogError(f"the reflog belongs to {properties.get('fqrn')}, expected {fqrn}")
        return cls(fqrn, image)

    def to_bytes(self) -> bytes:
        """The bytes of ``.cvmfsreflog``."""
        if self._edits:
            removed = [(str(digest),) for digest, reference in self._edits.items() if reference is None]
            added = [
                (str(digest), int(reference.type), reference.timestamp)
                for digest, reference in self._edits.items()
                if reference is not None
            ]
            with opened(self._image, ReflogError) as connection:
                with transaction(connection):
                    connection.executemany("DELETE FROM refs WHERE hash = ?", removed)
                    connection.executemany(
                        "INSERT OR REPLACE INTO refs (hash, type, timestamp) VALUES (?, ?, ?)", added
                    )
                if removed:
                    connection.execute("VACUUM")
                self._image = connection.serialize()
            self._edits.clear()
        return self._image

    def checksum(self, algorithm: HashAlgorithm) -> Digest:
        """The hash of the bytes: field Y of the manifest."""
        return algorithm.digest(self.to_bytes())

    def add(self, digest: Digest, type: RefType, timestamp: int) -> None:  # noqa: A002  # the column's name
        """Enter a reference at `timestamp` (epoch seconds), or refresh it."""
        self._edits[digest] = Reference(digest, type, timestamp)

    def remove(self, digest: Digest) -> None:
        """Remove a reference; absent is fine."""
        self._edits[digest] = None

    def contains(self, digest: Digest) -> bool:
        """Whether the digest is listed."""
        with opened(self.to_bytes(), ReflogError) as connection:
            return connection.execute("SELECT 1 FROM refs WHERE hash = ?", (str(digest),)).fetchone() is not None

    def entries(self) -> list[Reference]:
        """All references, oldest first; raises ReflogError for a row that is none."""
        with opened(self.to_bytes(), ReflogError) as connection:
            rows = connection.execute("SELECT hash, type, timestamp FROM refs ORDER BY timestamp, rowid").fetchall()
        return [_reference(*row) for row in rows]


def _reference(digest: object, number: object, timestamp: object) -> Reference:
    if not (isinstance(digest, str) and isinstance(number, int) and isinstance(timestamp, int)):
        raise ReflogError(f"the reflog has a row ({digest!r}, {number!r}, {timestamp!r})")
    try:
        return Reference(Digest.parse(digest), RefType(number), timestamp)
    except (AddressError, ValueError) as err:
        raise ReflogError(f"the reflog has a row ({digest!r}, {number!r}, {timestamp!r}): {err}") from err
