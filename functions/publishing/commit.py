"""Carrying out a plan: objects first, then the reflog, then one compare-and-swap of the manifest.

A publisher killed at any point before the swap has changed nothing that a reader looks at; after it, everything is
there. Whoever loses the swap reads the new head and plans again, so two publishers never lose each other's work.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.compression import FAST, Codec
from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import FormatError
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.objects import pack
from functions.cvmfs.signing import Signer
from functions.errors import RepositoryDamaged, RepositoryNotReady, VersionMoved
from functions.ports import BlobStore, Clock
from functions.publishing.head import (
    MANIFEST_PATH,
    REFLOG_PATH,
    Head,
    ObjectCache,
    read_head,
    read_history,
    read_object,
    read_reflog,
)
from functions.publishing.nesting import CatalogWeights, balance
from functions.publishing.objects import Objects, put_all
from functions.publishing.revision import RevisionPlan, TagRequest, plan_revision
from functions.publishing.tree import CatalogTree

ATTEMPTS = 8
"""How often a lost swap is planned again before the event goes back to the queue."""

Edit = Callable[[CatalogTree, Entry], None]
"""An edit of a tree, given the entry of an empty marker file; it runs again from a newer base if a swap is lost."""


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of a publish: the manifest that is live, and whether this call made it so."""

    manifest: Manifest
    changed: bool


@dataclass(frozen=True, slots=True)
class Publisher:
    """Everything one repository's publishes need; cheap to make, holds no connection and no state of its own."""

    fqrn: str
    store: BlobStore
    signer: Signer
    cache: ObjectCache
    executor: Executor
    clock: Clock
    codec: Codec = FAST
    weights: CatalogWeights = CatalogWeights()

    def publish(self, edit: Edit, *, tag: TagRequest | None = None) -> Published:
        """Apply `edit` to the live revision and make the result the next one.

        Raises RepositoryNotReady before the first revision, VersionMoved when the swap was lost ATTEMPTS times.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._publish_once(edit, tag)
            except VersionMoved:
                continue
        raise VersionMoved(f"{self.fqrn}: lost the manifest {ATTEMPTS} times to other publishers")

    def _publish_once(self, edit: Edit, tag: TagRequest | None) -> Published:
        reflog_read = self.executor.submit(read_reflog, self.store, self.fqrn)
        head = self._head()
        tree = self.open_tree(head.manifest)
        try:
            marker = marker_entry(head.manifest.root.algorithm, mtime=int(self.clock().timestamp()))
            edit(tree, marker)
            if not tree.changed and tag is None:
                return Published(head.manifest, changed=False)
            balance(tree, self.weights, marker)
            history = read_history(Objects(self.store), self.cache, head.manifest)
            reflog, reflog_version = reflog_read.result()
            plan = plan_revision(
                head.manifest,
                tree,
                history,
                reflog,
                now_s=int(self.clock().timestamp()),
                tag=tag,
                codec=self.codec,
            )
        except FormatError as err:
            raise RepositoryDamaged(f"{self.fqrn}: {err}") from err
        finally:
            tree.close()
        self._carry_out(plan, head, reflog_version)
        return Published(plan.manifest, changed=True)

    def _head(self) -> Head:
        head = read_head(self.store)
        if head is None:
            raise RepositoryNotReady(f"{self.fqrn} has no revision yet.")
        if head.manifest.fqrn != self.fqrn:
            raise RepositoryDamaged(f"the manifest of {self.fqrn} names {head.manifest.fqrn}")
        return head

    def open_tree(self, manifest: Manifest) -> CatalogTree:
        """The catalogs of a revision, loaded as they are needed."""
        objects = Objects(self.store)

        def load(digest: Digest) -> bytes:
            return read_object(objects, self.cache, Address(digest, Kind.CATALOG))

        try:
            return CatalogTree.open(manifest.root, load)
        except FormatError as err:
            raise RepositoryDamaged(f"{self.fqrn}: {err}") from err

    def _carry_out(self, plan: RevisionPlan, head: Head, reflog_version: str | None) -> None:
        # All hashes are known, so the signature is made while the objects travel.
        signing: Future[SignedManifest] = self.executor.submit(plan.manifest.sign, self.signer)
        put_all(
            Objects(self.store),
            self.executor,
            plan.objects,
            lambda: write_if(self.store, REFLOG_PATH, plan.reflog, reflog_version),
        )
        self.store.replace(MANIFEST_PATH, signing.result().to_bytes(), head.version)
        for address, content in plan.contents.items():
            self.cache.keep(address, content)


def write_if(store: BlobStore, path: str, body: bytes, version: str | None) -> None:
    """Replace the version that was read, or create where nothing was; raises VersionMoved."""
    if version is None:
        store.create(path, body)
    else:
        store.replace(path, body, version)


def marker_entry(algorithm: HashAlgorithm, *, mtime: int) -> Entry:
    """The entry of a ``.cvmfscatalog`` marker: an empty, compressed file."""
    digest = pack(b"", Kind.FILE, algorithm).address.digest
    return Entry(mode=stat.S_IFREG | 0o644, size=0, mtime=mtime, digest=digest)
