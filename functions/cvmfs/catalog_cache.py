"""Open catalogs by digest, the most recently used ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Catalog


class CatalogCache:
    """Keeps open catalogs until their databases have more than `most_bytes` bytes together; for any number of threads.

    A catalog that is dropped here stays open for those who still use it.
    """

    def __init__(self, most_bytes: int = 64 << 20) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._catalogs: OrderedDict[Digest, tuple[Catalog, int]] = OrderedDict()
        self._lock = Lock()

    def open(self, digest: Digest, read: Callable[[Digest], bytes]) -> Catalog:
        """The catalog `digest`; `read` yields its (verified, inflated) bytes if it is not here."""
        with self._lock:
            if digest in self._catalogs:
                self._catalogs.move_to_end(digest)
                return self._catalogs[digest][0]
        blob = read(digest)
        catalog = Catalog.from_bytes(blob)
        with self._lock:
            kept, _ = self._catalogs.setdefault(digest, (catalog, len(blob)))
            if kept is catalog:
                self._bytes += len(blob)
            while self._bytes > self._most_bytes and len(self._catalogs) > 1:
                _, (_, size) = self._catalogs.popitem(last=False)
                self._bytes -= size
        return kept
