"""The current revision of a repository, as a publisher needs it: manifest, tags, reflog, and the versions to swap."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from functions.cvmfs.address import Address, Kind
from functions.cvmfs.errors import FormatError
from functions.cvmfs.history import History
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.reflog import Reflog
from functions.errors import RepositoryDamaged
from functions.ports import BlobStore
from functions.publishing.objects import Objects

MANIFEST_PATH = ".cvmfspublished"
WHITELIST_PATH = ".cvmfswhitelist"
REFLOG_PATH = ".cvmfsreflog"
REPLICA_PATH = ".cvmfs_master_replica"
STATUS_PATH = ".cvmfs_status.json"


@dataclass(frozen=True, slots=True)
class Head:
    """The manifest that is live, and the version its swap must name."""

    manifest: Manifest
    version: str


class ObjectCache:
    """Contents of catalogs and tag databases by address, at most `limit` bytes; for all repositories of a process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._contents: OrderedDict[Address, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, address: Address) -> bytes | None:
        """The content, if it is still here."""
        with self._lock:
            if address in self._contents:
                self._contents.move_to_end(address)
            return self._contents.get(address)

    def keep(self, address: Address, content: bytes) -> None:
        """Keep a content, letting go of what was not asked for longest."""
        if len(content) > self._limit:
            return
        with self._lock:
            if address not in self._contents:
                self._size += len(content)
            self._contents[address] = content
            while self._size > self._limit:
                _, oldest = self._contents.popitem(last=False)
                self._size -= len(oldest)

    def drop(self, addresses: Iterable[Address]) -> None:
        """Let go of what nobody will ask for: else a busy repository fills the cache with its own past."""
        with self._lock:
            for address in addresses:
                self._size -= len(self._contents.pop(address, b""))


def read_head(store: BlobStore) -> Head | None:
    """The live manifest, or None before the first revision; raises RepositoryDamaged.

    The signature is not checked here: whoever may write the manifest may also sign it, and worker nodes check.
    """
    blob = store.get(MANIFEST_PATH)
    if blob is None:
        return None
    try:
        return Head(SignedManifest.from_bytes(blob.body).unverified, blob.version)
    except FormatError as err:
        raise RepositoryDamaged(f"{MANIFEST_PATH}: {err}") from err


def read_object(objects: Objects, cache: ObjectCache, address: Address, *, keep: bool = True) -> bytes:
    """The content of a catalog or tag database, from the cache or the store; only with `keep` it is cached."""
    content = cache.get(address)
    if content is None:
        content = objects.get(address)
        if keep:
            cache.keep(address, content)
    return content


def read_history(objects: Objects, cache: ObjectCache, manifest: Manifest) -> History:
    """The tag database of a revision; an empty one if it has none."""
    if manifest.history is None:
        return History.new(manifest.fqrn)
    return History.from_bytes(read_object(objects, cache, Address(manifest.history, Kind.HISTORY)))


def read_reflog(store: BlobStore, fqrn: str) -> tuple[Reflog, str | None]:
    """The reflog and its version; a new one if there is none.

    Its hash need not be the manifest's: a publisher that died between reflog and manifest leaves one that is ahead.
    """
    blob = store.get(REFLOG_PATH)
    if blob is None:
        return Reflog.new(fqrn), None
    try:
        return Reflog.from_bytes(blob.body, fqrn=fqrn), blob.version
    except FormatError as err:
        raise RepositoryDamaged(f"{REFLOG_PATH}: {err}") from err
