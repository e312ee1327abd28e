"""Open catalogs by digest, the most recently used ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from weakref import WeakValueDictionary

from functions.cvmfs.address import Digest
from functions.cvmfs.catalog import Catalog

OPEN_BYTES = 160 << 10
"""What an open database takes beside its own bytes: of the smallest catalogs (57 kB) most of the memory."""


class CatalogCache:
    """Keeps open catalogs until they take more than `most_bytes` bytes together; for any number of threads.

    A catalog that is dropped here stays open for those who still use it, and is found here as long as somebody does.
    """

    def __init__(self, most_bytes: int = 64 << 20) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._catalogs: OrderedDict[Digest, tuple[Catalog, int]] = OrderedDict()
        self._in_use: WeakValueDictionary[Digest, Catalog] = WeakValueDictionary()
        self._lock = Lock()

    def open(self, digest: Digest, read: Callable[[Digest], bytes]) -> Catalog:
        """The catalog `digest`; `read` yields its (verified, inflated) bytes if it is not here."""
        with self._lock:
            if digest in self._catalogs:
                self._catalogs.move_to_end(digest)
                return self._catalogs[digest][0]
            in_use = self._in_use.get(digest)
            if in_use is not None:
                return in_use
        blob = read(digest)
        catalog = Catalog.from_bytes(blob)
        catalog.keep_few_pages()
        size = len(blob) + OPEN_BYTES
        with self._lock:
            kept, _ = self._catalogs.setdefault(digest, (catalog, size))
            if kept is catalog:
                self._in_use[digest] = catalog
                self._bytes += size
            while self._bytes > self._most_bytes and len(self._catalogs) > 1:
                _, (_, size) = self._catalogs.popitem(last=False)
                self._bytes -= size
        return kept
