"""What marking costs: catalogs read by one and by two threads, and ten million objects remembered.

Run as ``PYTHONPATH=. .venv/bin/python hpc-bench/collect.py``.
"""

from __future__ import annotations

import os
import resource
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.entry import Entry
from functions.cvmfs.objects import pack
from functions.publishing.reachability import KeySet, Reach

CATALOGS = 6
ROWS = 100_000
OBJECTS = 10_000_000


def stored_catalog(store: MemoryBlobStore) -> Digest:
    """A catalog of ROWS files with contents that nobody has."""
    with Catalog.new("", Entry.directory(mtime=1)) as catalog:
        catalog.put_all(
            (
                f"/f{number}",
                Entry(mode=stat.S_IFREG | 0o644, size=1, mtime=1, digest=Digest(HashAlgorithm.SHA1, os.urandom(20))),
            )
            for number in range(ROWS)
        )
        stored = pack(catalog.to_bytes(), Kind.CATALOG, HashAlgorithm.SHA1)
    store.put(stored.address.path, bytes(stored.body))
    return stored.address.digest


def main() -> None:
    """Print one line for each measurement."""
    store = MemoryBlobStore()
    digests = [stored_catalog(store) for _ in range(CATALOGS)]
    for threads in (1, 2, 1, 2):
        with ThreadPoolExecutor(threads) as executor:
            began = time.monotonic()
            Reach(store, executor, lambda _: None).follow(digests, whole=True)
            seconds = (time.monotonic() - began) / CATALOGS
            print(f"{threads} threads: {seconds:.3f} s for a catalog of {ROWS:,} rows")
    keys, random = KeySet(), np.random.default_rng(1)
    batches = [random.integers(0, 2**64, ROWS, dtype=np.uint64) for _ in range(OBJECTS // ROWS)]
    began = time.monotonic()
    for batch in batches:
        keys.add(batch)
    print(f"{len(keys):,} objects: {time.monotonic() - began:.2f} s, {8 * len(keys) / 1e6:.0f} MB kept")
    print(f"largest resident size {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


if __name__ == "__main__":
    main()
