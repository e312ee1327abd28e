"""The database under a catalog: opening, closing, counters and properties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from functions.cvmfs.address import DIGEST_SIZE, Digest, HashAlgorithm
from functions.cvmfs.counters import Counters
from functions.cvmfs.database import DATABASE_ERRORS
from functions.cvmfs.errors import AddressError, CatalogError
from functions.cvmfs.schema import OpenDatabase, count_rows

DEFAULT_TTL = 240
"""Seconds a client keeps a root catalog that does not say how long (``catalog.h: kDefaultTTL``)."""

_FEW_PAGES_KIB = 256
"""SQLite copies pages of a database in memory, 2 MB of each, and is not faster by it."""

NO_DIGEST = Digest(HashAlgorithm.SHA1, bytes(DIGEST_SIZE))
"""The null hash: "none" as a previous revision, "not stored yet" as a nested catalog."""


class CatalogDatabase:
    """A catalog database in memory and what it says of the catalog as a whole.

    A context manager; one that is merely forgotten closes itself. Reading from several threads is fine. Every method
    raises CatalogError where the database turns out to be damaged.
    """

    def __init__(self, opened: OpenDatabase) -> None:
        self._db = opened.db
        self._self = opened.self_counters
        self._subtree = opened.subtree_counters
        self._uncounted = opened.uncounted
        self._path = ""  # what errors name until it is read
        self._path = self.get_property("root_prefix") or ""

    def close(self) -> None:
        """Release the database; closing twice is fine."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A catalog that is shared through a cache has no owner who could close it.
        if hasattr(self, "_db"):
            self._db.close()

    def keep_few_pages(self) -> None:
        """Use little memory beside the database's own bytes; for catalogs that are only read."""
        self._run(f"PRAGMA cache_size = -{_FEW_PAGES_KIB}")

    def image(self) -> bytes:
        """The bytes of the database as it is open now, in the fresh layout; to_bytes is for storing it."""
        try:
            return self._db.serialize()
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    # Counters

    @property
    def self_counters(self) -> Counters:
        """What is counted in this catalog."""
        return self._self

    @property
    def subtree_counters(self) -> Counters:
        """What is counted in the nested catalogs below this one, at every depth."""
        return self._subtree

    @property
    def total_counters(self) -> Counters:
        """What is counted in this catalog and below; a nested catalog's root entry counts in both catalogs."""
        return self._self + self._subtree

    @property
    def uncounted(self) -> frozenset[str]:
        """Names of counters that the revision this catalog was written in did not keep; 0 in subtree_counters."""
        return self._uncounted

    @property
    def entry_count(self) -> int:
        """The number of entries in this catalog, its root entry included."""
        return self._self.entries

    def recount(self) -> Counters:
        """What is counted in this catalog, from scratch; ``nested`` is left at 0."""
        try:
            return count_rows(self._db)
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    # Properties

    @property
    def path(self) -> str:
        """Where this catalog is mounted; empty for a root catalog."""
        return self._path

    @property
    def revision(self) -> int:
        """How often this catalog was written; for a root catalog, the repository's revision."""
        return self._number("revision") or 0

    @revision.setter
    def revision(self, revision: int) -> None:
        self.set_property("revision", str(revision))

    @property
    def last_modified(self) -> int:
        """When this catalog was last written, in seconds since the epoch."""
        return self._number("last_modified") or 0

    @last_modified.setter
    def last_modified(self, now_s: int) -> None:
        self.set_property("last_modified", str(now_s))

    @property
    def ttl(self) -> int | None:
        """Seconds a client may keep this root catalog; None means DEFAULT_TTL."""
        return self._number("TTL")

    @ttl.setter
    def ttl(self, seconds: int | None) -> None:
        self.set_property("TTL", None if seconds is None else str(seconds))

    @property
    def previous_revision(self) -> Digest | None:
        """The digest of this catalog's predecessor, if it has one."""
        text = self.get_property("previous_revision")
        if not text:
            return None
        try:
            digest = Digest.parse(text)
        except AddressError as err:
            raise CatalogError(f"catalog {self._path or '/'}: previous_revision: {err}") from err
        return digest if any(digest.raw) else None

    @previous_revision.setter
    def previous_revision(self, digest: Digest | None) -> None:
        self.set_property("previous_revision", None if digest is None else str(digest))

    def get_property(self, key: str) -> str | None:
        """The text of a property, also of one that only its writer knows."""
        rows = self.query("SELECT value FROM properties WHERE key = ?", (key,))
        return None if not rows or rows[0][0] is None else str(rows[0][0])

    def set_property(self, key: str, value: str | None) -> None:
        """Set a property, or remove it."""
        if value is None:
            self._run("DELETE FROM properties WHERE key = ?", (key,))
        elif value != self.get_property(key):
            self._run("INSERT OR REPLACE INTO properties (key, value) VALUES (?, ?)", (key, value))

    # SQL

    def _number(self, key: str) -> int | None:
        text = self.get_property(key)
        try:
            return None if text is None else int(text)
        except ValueError as err:
            raise CatalogError(f"catalog {self._path or '/'}: property {key} is {text!r}, not a number") from err

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query over the tables as they are."""
        try:
            return self._db.execute(sql, values).fetchall()
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    def stream(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, one at a time; the catalog must not be edited meanwhile."""
        try:
            yield from self._db.execute(sql, values)
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    def _run(self, sql: str, values: Sequence[object] = ()) -> None:
        try:
            self._db.execute(sql, values)
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    def _run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        try:
            self._db.executemany(sql, rows)
        except DATABASE_ERRORS as err:
            raise self._damaged(err) from err

    def _damaged(self, err: Exception) -> CatalogError:
        return CatalogError(f"catalog {self._path or '/'}: {err}")
