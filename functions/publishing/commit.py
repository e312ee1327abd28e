"""Carrying out a plan: objects first, then the reflog, then one compare-and-swap of the manifest.

A publisher killed at any point before the swap has changed nothing that a reader looks at; after it, everything is
there. Whoever loses the swap reads the new head and plans again, so two publishers never lose each other's work.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import FAST, Codec
from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import FormatError, SignatureError, TagError, TagExists, TagMissing
from functions.cvmfs.history import History
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.objects import pack
from functions.cvmfs.reader import content_of
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import Signer
from functions.cvmfs.tree_view import TreeView
from functions.errors import (
    KeyMismatch,
    RepositoryDamaged,
    RepositoryNotReady,
    TagRefused,
    TagTaken,
    TagUnknown,
    VersionMoved,
)
from functions.ports import BlobStore, Clock
from functions.publishing.conflicts import MergeReport
from functions.publishing.dirtab import DIRTAB_PATH
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
from functions.publishing.marking import DirtabOutcome, follow_dirtab, read_dirtab
from functions.publishing.merge import merge
from functions.publishing.nesting import CatalogWeights, balance
from functions.publishing.objects import Objects, put_all
from functions.publishing.revision import AutoTags, RevisionPlan, TagRequest, plan_revision
from functions.publishing.tree import CatalogTree

ATTEMPTS = 8
"""How often a lost swap is planned again before the event goes back to the queue."""

Edit = Callable[[CatalogTree, Entry], None]
"""An edit of a tree, given the entry of an empty marker file; it runs again from a newer base if a swap is lost."""

Plan = Callable[[Manifest, Callable[[], Reflog]], RevisionPlan | None]
"""What is to follow the live manifest, or None if nothing is; it runs again from a newer one if a swap is lost.

The reflog is on its way while the plan is made, and waited for when it is asked for.
"""


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome of a publish: the manifest that is live, whether this call made it so, what the dirtab did.

    `merged` tells how the edit came together with what others published meanwhile, if it was merged.
    """

    manifest: Manifest
    changed: bool
    dirtab: DirtabOutcome = DirtabOutcome()
    merged: MergeReport | None = None


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
    auto_tags: AutoTags | None = None

    def publish(self, edit: Edit, *, tag: TagRequest | None = None, merging: bool = False) -> Published:
        """Apply `edit` to the live revision and make the result the next one; raises as `commit` does.

        Where a swap is lost the edit runs again on the newer revision; with `merging` it does not, and what it changed
        in the revision it saw is merged into the newer one.
        """
        followed = DirtabOutcome()
        first: _Edited | None = None
        merged: MergeReport | None = None

        def plan(base: Manifest, reflog: Callable[[], Reflog]) -> RevisionPlan | None:
            nonlocal followed, first, merged
            followed = DirtabOutcome()
            tree = self.open_tree(base)
            try:
                marker = marker_entry(base.root.algorithm, mtime=self.now_s())
                dirtab_before = tree.lookup(DIRTAB_PATH)
                if first is None:
                    edit(tree, marker)
                else:
                    merged = first.merge_into(tree, self.catalog, marker)
                if not tree.changed and tag is None:
                    return None
                followed = follow_dirtab(tree, dirtab_before, self._read_dirtab, marker)
                balance(tree, self.weights, marker)
                planned = plan_revision(
                    base,
                    tree,
                    self.tags_of(base),
                    reflog(),
                    now_s=self.now_s(),
                    tag=tag,
                    auto_tags=self.auto_tags,
                    codec=self.codec,
                )
            finally:
                tree.close()
            if merging and first is None:
                first = _Edited(base.root, planned)
            return planned

        return replace(self.commit(plan), dirtab=followed, merged=merged)

    def commit(self, plan: Plan) -> Published:
        """Make what `plan` says the live manifest.

        Raises RepositoryNotReady before the first revision, TagRefused for a tag that cannot be, KeyMismatch if the
        signer has another key than the certificate, VersionMoved when the swap was lost ATTEMPTS times.
        """
        in_vain: list[tuple[Digest, RefType]] = []
        for _ in range(ATTEMPTS):
            try:
                return self._commit_once(plan, in_vain)
            except VersionMoved:
                continue
        raise VersionMoved(f"{self.fqrn}: lost the manifest {ATTEMPTS} times to other publishers")

    def _commit_once(self, plan: Plan, in_vain: list[tuple[Digest, RefType]]) -> Published:
        """One attempt; `in_vain` has the root catalogs and tag databases that earlier ones stored."""
        reflog_read = self.executor.submit(read_reflog, self.store, self.fqrn)

        def reflog() -> Reflog:
            # What is in no reflog is never collected (``signing_tool.cc: return_early``).
            found = reflog_read.result()[0]
            for digest, kind in in_vain:
                found.add(digest, kind, self.now_s())
            return found

        head = self.head()
        try:
            planned = plan(head.manifest, reflog)
        except TagError as err:
            raise _tag_refused(err) from err
        except FormatError as err:
            raise RepositoryDamaged(f"{self.fqrn}: {err}") from err
        if planned is None:
            return Published(head.manifest, changed=False)
        if planned.manifest.root != head.manifest.root:
            in_vain.append((planned.manifest.root, RefType.CATALOG))
        if planned.manifest.history not in {None, head.manifest.history}:
            in_vain.append((planned.manifest.history, RefType.HISTORY))
        self._carry_out(planned, head, reflog_read.result()[1])
        return Published(planned.manifest, changed=True)

    def now_s(self) -> int:
        """The time, in whole seconds since the epoch."""
        return int(self.clock().timestamp())

    def tags_of(self, manifest: Manifest) -> History:
        """The tags of a revision; raises RepositoryDamaged or HistoryError."""
        return read_history(Objects(self.store), self.cache, manifest)

    def catalog(self, digest: Digest) -> bytes:
        """The database of a catalog; raises RepositoryDamaged."""
        return read_object(Objects(self.store), self.cache, Address(digest, Kind.CATALOG))

    def dirtab(self) -> tuple[Entry | None, tuple[str, ...]]:
        """The dirtab of the live revision, if it has one, and what is wrong with it; raises as `head` does."""
        tree = self.open_tree(self.head().manifest)
        try:
            entry = tree.lookup(DIRTAB_PATH)
            return entry, () if entry is None else read_dirtab(entry, self._read_dirtab).faults
        finally:
            tree.close()

    def _read_dirtab(self, entry: Entry) -> bytes:
        """The content of a dirtab; raises RepositoryDamaged."""
        objects = Objects(self.store)
        pieces = []
        for chunk, kind in content_of(DIRTAB_PATH, entry):
            address = Address(chunk.digest, kind)
            content = self.cache.get(address)
            if content is None:
                content = objects.get(address, entry.compression, limit=chunk.size)
                self.cache.keep(address, content)
            pieces.append(content)
        return b"".join(pieces)

    def head(self) -> Head:
        """The live manifest; raises RepositoryNotReady before the first revision, RepositoryDamaged."""
        head = read_head(self.store)
        if head is None:
            raise RepositoryNotReady(f"{self.fqrn} has no revision yet.")
        if head.manifest.fqrn != self.fqrn:
            raise RepositoryDamaged(f"the manifest of {self.fqrn} names {head.manifest.fqrn}")
        return head

    def open_tree(self, manifest: Manifest) -> CatalogTree:
        """The catalogs of a revision, loaded as they are needed."""
        try:
            return CatalogTree.open(manifest.root, self.catalog)
        except FormatError as err:
            raise RepositoryDamaged(f"{self.fqrn}: {err}") from err

    def _carry_out(self, plan: RevisionPlan, head: Head, reflog_version: str | None) -> None:
        # All hashes are known, so the signature is made while the objects travel.
        signing: Future[SignedManifest] = self.executor.submit(self._signed, plan)
        put_all(Objects(self.store, self.clock), self.executor, plan.objects)
        # Only then: a tag may be put on any root that is listed, so what is listed must be whole.
        write_if(self.store, REFLOG_PATH, plan.reflog, reflog_version)
        self.store.replace(MANIFEST_PATH, signing.result().to_bytes(), head.version)
        self.cache.drop(plan.replaced)
        for address, content in plan.contents.items():
            self.cache.keep(address, content)

    def _signed(self, plan: RevisionPlan) -> SignedManifest:
        """The signed manifest, looked at as clients will: another publisher may have replaced the certificate."""
        signed = plan.manifest.sign(self.signer)
        if plan.manifest.certificate is None:
            return signed
        address = Address(plan.manifest.certificate, Kind.CERTIFICATE)
        pem = plan.contents.get(address) or read_object(Objects(self.store), self.cache, address)
        try:
            signed.verify(Certificate.from_pem(pem))
        except SignatureError as err:
            raise KeyMismatch(f"{self.fqrn}: {err}.") from err
        return signed


@dataclass(frozen=True, slots=True)
class _Edited:
    """What an edit made of the revision with the root catalog `base`: a revision that was never live."""

    base: Digest
    plan: RevisionPlan

    def merge_into(self, tree: CatalogTree, load: Callable[[Digest], bytes], marker: Entry) -> MergeReport:
        """Merge what the edit changed into the tree of a newer revision."""

        def load_edited(digest: Digest) -> bytes:
            return self.plan.contents.get(Address(digest, Kind.CATALOG)) or load(digest)

        base = TreeView(self.base, load)
        changed = TreeView(self.plan.manifest.root, load_edited, base.cache)
        return merge(tree, base=base, changed=changed, marker=marker)


def _tag_refused(err: TagError) -> TagRefused:
    """The refusal that a broken tag rule is for whoever asked."""
    kinds: dict[type[TagError], type[TagRefused]] = {TagExists: TagTaken, TagMissing: TagUnknown}
    text = str(err)
    return kinds.get(type(err), TagRefused)(f"{text[:1].upper()}{text[1:]}.")


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
