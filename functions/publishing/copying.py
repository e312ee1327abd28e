"""A repository copied from where it is served: its newest revision and all tagged ones, verified on the way.

As a replica does it, a catalog is stored after everything that it refers to: one that is there is complete, so a copy
that broke off goes on where it was. Source: ``swissknife_pull.cc: Pull, PullRecursion``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from datetime import datetime

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.errors import FormatError, HashMismatch
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.objects import unpack
from functions.cvmfs.reader import Fetch, Repository, fetch_file
from functions.cvmfs.references import nested_digests, object_addresses
from functions.errors import RepositoryDamaged, RepositoryRefused
from functions.ports import BlobStore
from functions.publishing.commit import write_if
from functions.publishing.head import MANIFEST_PATH, WHITELIST_PATH, read_head

AT_ONCE = 64
"""Objects on their way at most."""


class CopyRefused(RepositoryRefused):
    """The storage holds something else than an older copy."""

    hint = "Name another folder or prefix with --storage."


@dataclass(slots=True)
class Copied:
    """What was copied so far; `objects` counts catalogs too, and none that was there already."""

    catalogs: int = 0
    objects: int = 0
    bytes: int = 0


def copy_repository(
    source: Fetch,
    store: BlobStore,
    executor: Executor,
    *,
    public_keys: Sequence[bytes | str],
    fqrn: str,
    now: datetime,
    progress: Callable[[Copied], None] = lambda _copied: None,
) -> tuple[Manifest, Copied]:
    """Copy what `source` serves of `fqrn`, as of `now`; the manifest comes last, signed as it is, without a reflog.

    Raises CopyRefused if the storage holds another repository or one that is further on, RepositoryDamaged if something
    is missing or does not verify.
    """
    signed = {path: source(path) for path in (MANIFEST_PATH, WHITELIST_PATH)}

    def fetch(path: str) -> bytes | None:
        return signed[path] if path in signed else source(path)

    copy = _Copy(fetch, store, executor, progress)
    try:
        repository = Repository.open(fetch, public_keys=public_keys, fqrn=fqrn, now=now)
        manifest = repository.manifest
        version = _version_of_older(store, manifest)
        for root in dict.fromkeys((manifest.root, *(tag.root for tag in repository.tags()))):
            copy.catalog(root)
        kinds = ((manifest.certificate, Kind.CERTIFICATE), (manifest.metainfo, Kind.METAINFO))
        copy.objects(Address(digest, kind) for digest, kind in (*kinds, (manifest.history, Kind.HISTORY)) if digest)
        store.put(WHITELIST_PATH, fetch_file(fetch, WHITELIST_PATH))
        write_if(store, MANIFEST_PATH, fetch_file(fetch, MANIFEST_PATH), version)
    except FormatError as err:
        raise RepositoryDamaged(f"{fqrn}, as it is served: {err}") from err
    return manifest, copy.copied


def _version_of_older(store: BlobStore, manifest: Manifest) -> str | None:
    """The version of the manifest to replace; raises CopyRefused if that would take anything back."""
    head = read_head(store)
    if head is None:
        return None
    if head.manifest.fqrn != manifest.fqrn:
        raise CopyRefused(f"The storage holds {head.manifest.fqrn} already.")
    is_further = (head.manifest.revision, head.manifest.published_at) > (manifest.revision, manifest.published_at)
    if is_further or (head.manifest.revision == manifest.revision and head.manifest.root != manifest.root):
        raise CopyRefused(f"The storage holds revision {head.manifest.revision}, which is not in what is served.")
    return head.version


class _Copy:
    """One copy: what is on its way, and what has arrived."""

    def __init__(self, fetch: Fetch, store: BlobStore, executor: Executor, progress: Callable[[Copied], None]) -> None:
        self.copied = Copied()
        self._fetch = fetch
        self._store = store
        self._executor = executor
        self._progress = progress

    def catalog(self, digest: Digest) -> None:
        """Copy a catalog after all below it."""
        address = Address(digest, Kind.CATALOG)
        if self._store.has(address.path):
            return
        body = fetch_file(self._fetch, address.path)
        with Catalog.from_bytes(unpack(address, body)) as catalog:
            self.objects(object_addresses(catalog))
            nested = nested_digests(catalog)
        for child in nested:
            self.catalog(child)
        self._store.put(address.path, body)
        self._count(len(body), catalogs=1)

    def objects(self, addresses: Iterable[Address]) -> None:
        """Copy objects side by side; returns when all are stored."""
        pending: set[Future[int | None]] = set()
        try:
            for address in addresses:
                pending.add(self._executor.submit(self._object, address))
                if len(pending) >= AT_ONCE:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    self._arrived(done)
            self._arrived(wait(pending).done)
        finally:
            for task in pending:
                task.cancel()

    def _arrived(self, tasks: Iterable[Future[int | None]]) -> None:
        for task in tasks:
            size = task.result()
            if size is not None:
                self._count(size)

    def _object(self, address: Address) -> int | None:
        """Copy one object as it is stored, and return its size; None if it was there."""
        if self._store.has(address.path):
            return None
        body = fetch_file(self._fetch, address.path)
        actual = address.digest.algorithm.digest(body)
        if actual != address.digest:
            raise HashMismatch(f"object {address} has bytes that hash to {actual}")
        self._store.put(address.path, body)
        return len(body)

    def _count(self, size: int, *, catalogs: int = 0) -> None:
        self.copied.objects += 1
        self.copied.catalogs += catalogs
        self.copied.bytes += size
        self._progress(self.copied)
