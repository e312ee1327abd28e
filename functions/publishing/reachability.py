"""What is reachable from root catalogs: every catalog below them is read once, an object is remembered in eight bytes.

The digests of ten million objects would take a gigabyte as a Python set; as a sorted array of 64-bit prefixes they take
80 MB. Two objects that share a prefix are taken for one, so that once in 10**12 looks garbage stays, and never the
reverse. As upstream, the kind of an object does not count: a file keeps a chunk of the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.errors import FormatError
from functions.cvmfs.objects import unpack
from functions.cvmfs.references import PREFIX_SIZE, nested_digests, object_prefixes
from functions.errors import RepositoryDamaged
from functions.ports import BlobStore

Keys = NDArray[np.uint64]

CATALOGS_AT_ONCE = 4
"""Catalogs that are read side by side; each takes three times its size in memory, which can be 100 MB."""

_MERGE_FROM = 1 << 20


def keys_of(digests: Iterable[Digest]) -> Keys:
    """The keys of some digests, in their order."""
    return np.frombuffer(b"".join(digest.raw[:PREFIX_SIZE] for digest in digests), dtype=np.uint64)


class KeySet:
    """A set of keys that is filled first and asked then, or both in turns."""

    def __init__(self) -> None:
        self._sorted: Keys = np.empty(0, dtype=np.uint64)
        self._new: list[Keys] = []
        self._waiting = 0

    def __len__(self) -> int:
        self._merge()
        return len(self._sorted)

    def add(self, keys: Keys) -> None:
        """Take in keys, repeated ones too."""
        self._new.append(keys)
        self._waiting += len(keys)
        if self._waiting >= max(_MERGE_FROM, len(self._sorted)):
            self._merge()

    def contains(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of the keys are in the set."""
        self._merge()
        if not len(self._sorted):
            return np.zeros(len(keys), dtype=np.bool_)
        places = np.searchsorted(self._sorted, keys)
        return np.asarray(self._sorted[np.minimum(places, len(self._sorted) - 1)] == keys)

    def _merge(self) -> None:
        if self._new:
            # A fifth of the time of np.unique, and half of its memory.
            merged = np.concatenate([self._sorted, *self._new])
            self._new, self._waiting = [], 0
            merged.sort()
            first = np.ones(len(merged), dtype=np.bool_)
            np.not_equal(merged[1:], merged[:-1], out=first[1:])
            self._sorted = merged[first]


@dataclass(frozen=True, slots=True)
class Root:
    """What retention asks of a root catalog: its predecessor, and when it was written (epoch seconds)."""

    previous: Digest | None
    last_modified: int


@dataclass(frozen=True, slots=True)
class CatalogRead:
    """What is kept of a catalog that was read: its objects, its nested catalogs, and what only a root catalog has."""

    objects: Keys
    nested: Sequence[Digest]
    root: Root | None


class Reach:
    """The catalogs that were followed so far, and everything they refer to; it only grows."""

    def __init__(self, store: BlobStore, executor: Executor, told: Callable[[int], None]) -> None:
        self.keys = KeySet()
        self.roots: dict[Digest, Root] = {}
        """The root catalogs among those that were read."""
        self.catalogs = 0
        self._store = store
        self._executor = executor
        self._told = told
        self._seen: set[Digest] = set()
        self._missing: set[Digest] = set()

    def follow(self, digests: Iterable[Digest], *, whole: bool) -> None:
        """Follow catalogs and all below them; what was followed before is not read again.

        Raises RepositoryDamaged for a catalog that does not verify, and with `whole` for one that is missing; else a
        missing one is passed over.
        """
        pending = [digest for digest in digests if digest not in self._seen or (whole and digest in self._missing)]
        running: dict[Future[CatalogRead | None], Digest] = {}
        try:
            while pending or running:
                while pending and len(running) < CATALOGS_AT_ONCE:
                    digest = pending.pop()
                    if digest not in self._seen or digest in self._missing:
                        self._seen.add(digest)
                        running[self._executor.submit(read_catalog, self._store, digest)] = digest
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    pending += self._taken_in(running.pop(future), future.result(), whole=whole)
        finally:
            for future in running:
                future.cancel()

    def _taken_in(self, digest: Digest, read: CatalogRead | None, *, whole: bool) -> list[Digest]:
        if read is None:
            if whole:
                raise RepositoryDamaged(
                    f"catalog {digest}, which the live revision or a tag needs, is not in the store"
                )
            self._missing.add(digest)
            return []
        self._missing.discard(digest)
        self.catalogs += 1
        self.keys.add(keys_of([digest]))
        self.keys.add(read.objects)
        if read.root is not None:
            self.roots[digest] = read.root
        self._told(self.catalogs)
        return [nested for nested in read.nested if nested not in self._seen]


def read_catalog(store: BlobStore, digest: Digest) -> CatalogRead | None:
    """What a catalog refers to; None if it is missing. Raises RepositoryDamaged."""
    catalog = open_catalog(store, digest)
    if catalog is None:
        return None
    try:
        with catalog:
            objects = np.frombuffer(object_prefixes(catalog), dtype=np.uint64)
            root = None if catalog.path else Root(catalog.previous_revision, catalog.last_modified)
            return CatalogRead(objects, nested_digests(catalog), root)
    except FormatError as err:
        raise RepositoryDamaged(f"catalog {digest}: {err}") from err


def open_catalog(store: BlobStore, digest: Digest) -> Catalog | None:
    """A stored catalog; None if it is missing. Raises RepositoryDamaged."""
    address = Address(digest, Kind.CATALOG)
    blob = store.get(address.path)
    if blob is None:
        return None
    try:
        return Catalog.from_bytes(unpack(address, blob.body))
    except FormatError as err:
        raise RepositoryDamaged(f"catalog {digest}: {err}") from err
