"""The content-addressed objects of one repository, over any BlobStore."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future, wait
from datetime import timedelta

from functions.cvmfs.address import Address
from functions.cvmfs.compression import Compression
from functions.cvmfs.errors import FormatError, ObjectMissing
from functions.cvmfs.objects import StoredObject, unpack
from functions.errors import RepositoryDamaged
from functions.ports import BlobStore, Clock

PROBE_FROM = 64 * 1024
"""Stored bytes from which asking first is cheaper than sending: below, one PUT beats a HEAD and a PUT."""

RENEW_AFTER = timedelta(hours=12)
"""Age from which an object that is there already is sent again, since a collection may take it for garbage.

A collection's grace time less this is how long a publish may take from its first object to its manifest.
"""

BATCH_OBJECTS = 32
BATCH_BYTES = 1 << 20
"""Small objects that one errand to the store carries; a chunk is an errand of its own."""


class Objects:
    """Puts and gets objects; what comes out has been verified against its hash.

    Without a clock the age of what is stored already cannot be told, so everything is sent.
    """

    def __init__(self, store: BlobStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock

    def put(self, stored: StoredObject) -> None:
        """Store one object; when it returns, the object is durable and young, whoever stored it. Safe to repeat."""
        path = stored.address.path
        if len(stored.body) >= PROBE_FROM and self._is_young(path, len(stored.body)):
            return
        self._store.put(path, stored.body)

    def _is_young(self, path: str, size: int) -> bool:
        if self._clock is None:
            return False
        told = self._store.info(path)
        return told is not None and told.size == size and self._clock() - told.modified < RENEW_AFTER

    def get(self, address: Address, compression: Compression = Compression.ZLIB, *, limit: int | None = None) -> bytes:
        """The content of an object; all but those of files are compressed (catalog, history, certificate, metainfo).

        Raises RepositoryDamaged if it is missing or does not verify.
        """
        blob = self._store.get(address.path)
        try:
            if blob is None:
                raise ObjectMissing(f"object {address.path} is not in the store")
            return unpack(address, blob.body, compression, limit=limit)
        except FormatError as err:
            raise RepositoryDamaged(str(err)) from err


WAITING_BYTES = 16 << 20
"""What is on its way from which on the next errand waits: slow stores do not fill the memory."""


class Uploads:
    """Objects on their way to the store, at most `most` errands at a time; the first failure is raised.

    Small objects travel in batches: handing one to another thread costs more than storing it in a folder.
    """

    def __init__(self, objects: Objects, executor: Executor, *, most: int = 8) -> None:
        self._objects = objects
        self._executor = executor
        self._most = most
        self._batch: list[StoredObject] = []
        self._batch_bytes = 0
        self._pending: dict[Future[None], int] = {}

    def put(self, stored: StoredObject) -> None:
        """Hand over one object; waits while too many are on their way."""
        self._batch.append(stored)
        self._batch_bytes += len(stored.body)
        if len(self._batch) >= BATCH_OBJECTS or self._batch_bytes >= BATCH_BYTES:
            self._send()

    def finish(self) -> None:
        """Wait until everything is stored; the last batch goes from this very thread."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        self._put_batch(batch)
        pending, self._pending = self._pending, {}
        for errand in pending:
            errand.result()

    def _send(self) -> None:
        while len(self._pending) >= self._most or sum(self._pending.values()) >= WAITING_BYTES:
            for errand in wait(self._pending, return_when="FIRST_COMPLETED").done:
                del self._pending[errand]
                errand.result()
        self._pending[self._executor.submit(self._put_batch, self._batch)] = self._batch_bytes
        self._batch, self._batch_bytes = [], 0

    def _put_batch(self, batch: list[StoredObject]) -> None:
        for stored in batch:
            self._objects.put(stored)


def put_all(objects: Objects, executor: Executor, stored: Iterable[StoredObject]) -> None:
    """Store objects side by side and return when all are; raises the first failure."""
    pending = [executor.submit(objects.put, item) for item in stored]
    wait(pending)
    for upload in pending:
        upload.result()
