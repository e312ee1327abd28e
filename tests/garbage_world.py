"""A repository in memory, a clock in the test's hand, publishers that die, and others that come between their calls.

``world.publish({"/a": b"1"})``, ``world.age(days=10)``, ``world.collect(keep=0)``; then ``world.findings()`` is empty
and ``world.unreachable()`` names what is left that nothing needs.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from functions.adapters.memory import MemoryBlobStore, MemoryKeyStore
from functions.cvmfs.address import Address, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.checker import check_repository
from functions.cvmfs.chunks import ChunkLimits
from functions.cvmfs.entry import Entry, parent_path
from functions.cvmfs.reader import Repository
from functions.errors import StoreUnavailable
from functions.ports import Blob, BlobInfo, BlobStore
from functions.publishing import objects
from functions.publishing.collection import Collected, Collector
from functions.publishing.commit import Published, Publisher
from functions.publishing.content import Recipe, store_content
from functions.publishing.creation import NewRepository, create_repository
from functions.publishing.head import REFLOG_PATH, ObjectCache
from functions.publishing.nesting import CatalogWeights
from functions.publishing.retention import Retention
from functions.publishing.revision import TagRequest
from functions.publishing.tree import CatalogTree

FQRN = "garbage.example.org"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEYS = MemoryKeyStore()
RECIPE = Recipe(limits=ChunkLimits(32, 64, 128))
LITTLE = CatalogWeights(most=4, balanced=3, least=2)
MTIME = 1_700_000_000


class AtOnce(Executor):
    """Does everything in the caller's thread, so that the order of store calls is the same every time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future


@dataclass
class WatchedStore:
    """A store that tells somebody of every call before it is made: its number, its name, and the path."""

    store: BlobStore
    before: Callable[[int, str, str], None]
    calls: int = 0

    def _tell(self, name: str, path: str) -> BlobStore:
        self.calls += 1
        self.before(self.calls, name, path)
        return self.store

    def get(self, path: str) -> Blob | None:
        return self._tell("get", path).get(path)

    def has(self, path: str) -> bool:
        return self._tell("has", path).has(path)

    def info(self, path: str) -> BlobInfo | None:
        return self._tell("info", path).info(path)

    def put(self, path: str, body: bytes) -> None:
        self._tell("put", path).put(path, body)

    def create(self, path: str, body: bytes) -> str:
        return self._tell("create", path).create(path, body)

    def replace(self, path: str, body: bytes, version: str) -> str:
        return self._tell("replace", path).replace(path, body, version)

    def delete(self, path: str) -> None:
        self._tell("delete", path).delete(path)

    def delete_old(self, path: str, before: datetime) -> bool:
        return self._tell("delete_old", path).delete_old(path, before)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        return self._tell("list", prefix).list(prefix)


WRITES = {"put", "create", "replace", "delete", "delete_old"}


def dying(store: BlobStore, writes: int) -> WatchedStore:
    """The store of a process that is killed right before its n-th write."""
    left = writes

    def before(_: int, name: str, __: str) -> None:
        nonlocal left
        left -= name in WRITES
        if left < 0:
            raise StoreUnavailable("killed here")

    return WatchedStore(store, before)


def interrupted(store: BlobStore, at: int, by: Callable[[], object]) -> WatchedStore:
    """A store before whose n-th call somebody else does something."""

    def before(number: int, _: str, __: str) -> None:
        if number == at:
            by()

    return WatchedStore(store, before)


@contextmanager
def probing_everything() -> Iterator[None]:
    """Small objects are looked for before they are sent too, as large ones are."""
    with mock.patch.object(objects, "PROBE_FROM", 0):
        yield


@dataclass
class GarbageWorld:
    """One repository, its users, and what a verifying reader sees."""

    now: datetime = NOW
    store: MemoryBlobStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryBlobStore(self.clock)
        keys = KEYS.ensure_keys(FQRN, subject="me", group=None, now=NOW)
        self.public_key = keys.public_key
        certificate = Certificate.from_pem(keys.certificate.encode())
        self.signer = KEYS.signer(FQRN)
        create_repository(
            self.store, self.signer, certificate, NewRepository(FQRN, whitelist_days=3650), now=self.clock()
        )

    def clock(self) -> datetime:
        return self.now

    def age(self, **span: float) -> None:
        """Let time pass."""
        self.now += timedelta(**span)

    # Who writes

    def publisher(self, store: BlobStore | None = None) -> Publisher:
        """A process that has just started."""
        return Publisher(
            FQRN, store or self.store, self.signer, ObjectCache(1 << 20), AtOnce(), self.clock, weights=LITTLE
        )

    def publish(
        self, changes: Mapping[str, bytes | None], *, store: BlobStore | None = None, tag: str | None = None
    ) -> Published:
        """Enter files with their contents; None removes."""
        publisher = self.publisher(store)
        ours = objects.Objects(publisher.store, self.clock)

        def edit(tree: CatalogTree, _: Entry) -> None:
            for path, content in changes.items():
                if content is None:
                    if tree.lookup(path) is not None:
                        tree.remove(path)
                else:
                    self.enter(tree, path, self.stored(content, ours))

        self.age(seconds=1)
        return publisher.publish(edit, tag=None if tag is None else TagRequest(tag))

    def stored(self, content: bytes, ours: objects.Objects | None = None) -> Entry:
        """The entry of a file whose content has been stored."""
        kept = store_content([content], RECIPE, (ours or objects.Objects(self.store, self.clock)).put)
        return Entry(mode=stat.S_IFREG | 0o644, size=kept.size, mtime=MTIME, digest=kept.digest, chunks=kept.chunks)

    @staticmethod
    def enter(tree: CatalogTree, path: str, entry: Entry) -> None:
        parents = []
        above = parent_path(path)
        while above and tree.lookup(above) is None:
            parents.append(above)
            above = parent_path(above)
        for directory in reversed(parents):
            tree.put(directory, Entry.directory(mtime=MTIME))
        tree.put(path, entry)

    def collector(self, store: BlobStore | None = None, **options: Any) -> Collector:
        """A collection; `keep` counts revisions before the live one, `since` and `grace` are spans of time."""
        retention = Retention(options.pop("keep", 0), None)
        if "since" in options:
            retention = Retention(since=int((self.now - options.pop("since")).timestamp()))
        return Collector(self.publisher(store), retention, **options)

    def collect(self, store: BlobStore | None = None, *, dry_run: bool = False, **options: Any) -> Collected:
        return self.collector(store, **options).collect(dry_run=dry_run)

    # Who reads

    def fetch(self, path: str) -> bytes | None:
        blob = self.store.get(path)
        return None if blob is None else blob.body

    def reader(self) -> Repository:
        return Repository.open(self.fetch, public_keys=[self.public_key], fqrn=FQRN, now=self.now)

    def read(self, path: str, tag: str | None = None) -> bytes:
        return self.reader().snapshot(tag).read(path)

    def findings(self, *, after_a_death: bool = False) -> list[str]:
        """What a check of everything, contents and tags included, has to say; a process that died may leave the reflog
        ahead of the manifest, which the next one repairs.
        """
        report = check_repository(
            self.fetch,
            exists=self.store.has,
            public_keys=[self.public_key],
            fqrn=FQRN,
            now=self.now,
            data=True,
            all_tags=True,
        )
        findings = [finding for finding in report.findings if not (after_a_death and finding.where == REFLOG_PATH)]
        return [str(finding) for finding in findings]

    def reachable(self) -> set[str]:
        """The paths of the objects that the live revision, its tags and the manifest need, as a reader finds them."""
        repository = self.reader()
        manifest = repository.manifest
        assert manifest.certificate is not None
        assert manifest.history is not None
        assert manifest.metainfo is not None
        needed = {
            Address(manifest.certificate, Kind.CERTIFICATE),
            Address(manifest.history, Kind.HISTORY),
            Address(manifest.metainfo, Kind.METAINFO),
        }
        for root in {manifest.root, *(tag.root for tag in repository.tags())}:
            for _, digest, catalog in repository.snapshot_of(root).catalogs():
                needed.add(Address(digest, Kind.CATALOG))
                for _, entry in catalog.walk():
                    if entry.digest is not None:
                        needed.add(Address(entry.digest, Kind.FILE))
                    needed |= {Address(chunk.digest, Kind.PARTIAL) for chunk in entry.chunks}
        return {address.path for address in needed}

    def objects(self) -> set[str]:
        """The paths of all stored objects."""
        return {info.path for info in self.store.list("data/")}

    def unreachable(self) -> set[str]:
        """The objects that nothing needs."""
        return self.objects() - self.reachable()

    def copied(self) -> GarbageWorld:
        """The same world once more, to try something else in it."""
        copy = object.__new__(type(self))
        copy.__dict__ |= self.__dict__
        copy.store = MemoryBlobStore(copy.clock)
        copy.store._files = dict(self.store._files)
        copy.store._versions = self.store._versions
        return copy
