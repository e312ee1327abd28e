"""What is true of a repository now, as a value: for the command line, the JSON API and pages.

A repository that is broken is no error here but something to show: what cannot be read is None, and `faults` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from events import change_queue
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.counters import Counters
from functions.cvmfs.errors import FormatError
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.reader import Fetch, Repository, fetch_file, read_certificate
from functions.cvmfs.whitelist import SignedWhitelist, Whitelist
from functions.errors import BrokerUnavailable, RepositoryDamaged
from functions.ports import BlobStore, QueueAdmin
from functions.publishing.head import MANIFEST_PATH, WHITELIST_PATH
from functions.publishing.pinning import Pin, read_pin
from functions.publishing.records import (
    Problem,
    RepositoryRecord,
    Standing,
    load_record,
    open_problems,
    problem_count,
    repository_names,
)

T = TypeVar("T")

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Published:
    """The live revision: its manifest, the whitelist beside it, and the counters of the whole tree.

    `own` are the counters of the root catalog's rows, `below` those of all nested catalogs together.
    """

    manifest: Manifest
    whitelist: Whitelist
    own: Counters
    below: Counters
    pin: Pin | None = None
    """What a rollback holds back."""

    @property
    def counters(self) -> Counters:
        """The counters of the whole tree."""
        return self.own + self.below

    @property
    def catalogs(self) -> int:
        """The root catalog and all nested ones."""
        return 1 + self.counters.nested

    @property
    def entries(self) -> int:
        """Paths in the tree; a mount point is an entry of two catalogs, but one path."""
        return self.counters.entries - self.counters.nested


@dataclass(frozen=True, slots=True)
class Overview:
    """A repository in a line: what its record, its manifest and its whitelist say.

    `manifest` and `whitelist` are None before the first revision, `record` only where it cannot be read. Signatures are
    not looked at. `problems` is the number of open ones.
    """

    name: str
    record: RepositoryRecord | None
    manifest: Manifest | None
    whitelist: Whitelist | None
    problems: int
    faults: tuple[str, ...]

    @property
    def state(self) -> str:
        """``damaged``, ``creating``, or what the record says: ``active``, ``suspended``, ``deleting``."""
        if self.faults or self.record is None:
            return "damaged"
        if self.manifest is None and self.record.standing is Standing.ACTIVE:
            return "creating"
        return str(self.record.standing)


@dataclass(frozen=True, slots=True)
class Details:
    """A repository in full; `waiting` is the number of changes in its queue, None where the broker does not tell.

    `published` is None before the first revision, and where a fault keeps it from being read.
    """

    overview: Overview
    published: Published | None
    waiting: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some repositories by name; `after` is where the next page begins, None on the last one."""

    overviews: Sequence[Overview]
    after: str | None


@dataclass(frozen=True, slots=True)
class Repositories:
    """All repositories of the service, read only. All methods may raise StoreUnavailable."""

    state: BlobStore
    store_of: Callable[[str], BlobStore]
    """The store of one repository, by its name."""
    queues: QueueAdmin
    executor: Executor
    catalogs: CatalogCache

    def page(self, *, limit: int, after: str = "") -> Page:
        """At most `limit` repositories in the order of their names, from the first one after `after` on."""
        names = sorted(repository_names(self.state, after=after))
        shown = names[:limit]
        return Page(list(self.executor.map(self.overview, shown)), shown[-1] if len(names) > limit else None)

    def overview(self, name: str) -> Overview:
        """One repository in a line; raises RepositoryUnknown."""
        faults: list[str] = []
        record = _tried(lambda: load_record(self.state, name), faults)
        fetch = _fetch_of(self.store_of(name))
        manifest_body, whitelist_body = fetch(MANIFEST_PATH), fetch(WHITELIST_PATH)
        manifest = whitelist = None
        if manifest_body is not None:
            manifest = _tried(lambda: _named(SignedManifest.from_bytes(manifest_body).unverified, name), faults)
            whitelist = _tried(lambda: SignedWhitelist.from_bytes(whitelist_body or b"").unverified, faults)
        return Overview(name, record, manifest, whitelist, problem_count(self.state, name), tuple(faults))

    def details(self, name: str, now: datetime) -> Details:
        """One repository in full, as of `now` (aware); raises RepositoryUnknown.

        The manifest's signature is checked, and that the whitelist admits its certificate and has not ended. Who signed
        the whitelist is not: that takes the master key, which worker nodes have.
        """
        overview = self.overview(name)
        faults = list(overview.faults)
        published = None
        if overview.manifest is not None and overview.whitelist is not None:
            fetch = _fetch_of(self.store_of(name))
            _tried(lambda: check_signature(fetch, now), faults)
            repository = Repository(overview.manifest, None, None, fetch, self.catalogs)
            whitelist = overview.whitelist
            published = _tried(lambda: published_of(repository, whitelist), faults)
        seen = Overview(name, overview.record, overview.manifest, overview.whitelist, overview.problems, tuple(faults))
        return Details(seen, published, self._waiting(name))

    def problems(self, name: str) -> list[Problem]:
        """What is wrong with uploads, oldest first; raises RepositoryUnknown."""
        load_record(self.state, name)
        return listed_problems(self.state, name)

    def _waiting(self, name: str) -> int | None:
        try:
            return self.queues.ready(change_queue(name))
        except BrokerUnavailable:
            return None


def listed_problems(state: BlobStore, name: str) -> list[Problem]:
    """All open problems of a repository, oldest first."""
    return sorted(open_problems(state, name), key=lambda problem: (problem.seen_at, problem.key))


def published_of(repository: Repository, whitelist: Whitelist) -> Published:
    """The live revision of a repository that has been opened; raises FormatError if its root catalog is damaged."""
    _, _, root = next(repository.snapshot().catalogs())
    return Published(repository.manifest, whitelist, root.self_counters, root.subtree_counters, read_pin(root))


def check_signature(fetch: Fetch, now: datetime) -> None:
    """Check what can be checked without a master key; raises FormatError."""
    signed = SignedManifest.from_bytes(fetch_file(fetch, MANIFEST_PATH))
    whitelist = SignedWhitelist.from_bytes(fetch_file(fetch, WHITELIST_PATH)).unverified
    certificate = read_certificate(fetch, signed.unverified)
    manifest = signed.verify(certificate)
    if whitelist.fqrn != manifest.fqrn or not whitelist.admits(certificate):
        raise RepositoryDamaged("the whitelist does not admit the certificate that the manifest is signed with")
    if days_left(whitelist, now) <= 0:
        raise RepositoryDamaged(f"the whitelist ended at {whitelist.valid_until:%Y-%m-%d %H:%M} UTC")


def published_at(manifest: Manifest) -> datetime:
    """When a revision was published."""
    return datetime.fromtimestamp(manifest.published_at, UTC)


def days_left(whitelist: Whitelist, now: datetime) -> float:
    """Days until clients refuse the whitelist."""
    return (whitelist.valid_until - now).total_seconds() / DAY_S


def _fetch_of(store: BlobStore) -> Fetch:
    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    return fetch


def _named(manifest: Manifest, name: str) -> Manifest:
    if manifest.fqrn != name:
        raise RepositoryDamaged(f"the manifest is that of {manifest.fqrn!r}")
    return manifest


def _tried(read: Callable[[], T], faults: list[str]) -> T | None:
    """What is read, or None and one fault more."""
    try:
        return read()
    except (FormatError, RepositoryDamaged) as err:
        faults.append(str(err))
        return None
