"""A revision as a value: from the head, an edited tree and the time to everything that has to be written.

Nothing here touches the world. The order in which a plan is carried out is ``commit.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.compression import FAST, Codec
from functions.cvmfs.history import History
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.objects import StoredObject, pack
from functions.cvmfs.reflog import Reflog, RefType
from functions.publishing.tree import CatalogTree


@dataclass(frozen=True, slots=True)
class TagRequest:
    """A name for the new revision, besides ``trunk``."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class RevisionPlan:
    """All of a new revision: objects, reflog bytes, and the manifest that will make it the live one.

    `contents` has the uncompressed catalogs and tag database, which the next publish will want.
    """

    manifest: Manifest
    objects: tuple[StoredObject, ...]
    contents: Mapping[Address, bytes]
    reflog: bytes


def plan_revision(
    base: Manifest,
    tree: CatalogTree,
    history: History,
    reflog: Reflog,
    *,
    now_s: int,
    tag: TagRequest | None = None,
    codec: Codec = FAST,
) -> RevisionPlan:
    """Plan the revision after `base`; edits `tree`, `history` and `reflog` in place.

    Times never run backwards, whatever the clocks of several publishers say: a client that saw a later time than the
    manifest's would go into offline mode (``catalog_mgr_client.cc``).
    """
    algorithm = base.root.algorithm
    now_s = max(now_s, base.published_at)
    ttl = tree.root.ttl or base.ttl
    committed = tree.commit(now_s=now_s, ttl_s=ttl, algorithm=algorithm, codec=codec)
    revision = tree.root.revision
    history.previous_revision = base.history
    history.publish(
        root=committed.root,
        size=committed.root_size,
        revision=revision,
        timestamp=now_s,
        name=tag.name if tag else None,
        description=tag.description if tag else "",
    )
    history_bytes = history.to_bytes()
    tags = pack(history_bytes, Kind.HISTORY, algorithm, codec=codec)
    reflog_bytes = _noted(
        reflog,
        now_s,
        (committed.root, RefType.CATALOG),
        (tags.address.digest, RefType.HISTORY),
        (base.certificate, RefType.CERTIFICATE),
        (base.metainfo, RefType.METAINFO),
    )
    manifest = replace(
        base,
        root=committed.root,
        root_size=committed.root_size,
        ttl=ttl,
        revision=revision,
        history=tags.address.digest,
        reflog=checksum(reflog_bytes, algorithm),
        published_at=now_s,
    )
    objects = (*committed.objects, tags)
    if tree.made_markers:
        objects += (pack(b"", Kind.FILE, algorithm),)
    return RevisionPlan(manifest, objects, committed.contents | {tags.address: history_bytes}, reflog_bytes)


def checksum(reflog_bytes: bytes, algorithm: HashAlgorithm) -> Digest:
    """The value of the manifest's field Y: the hash of the raw reflog file."""
    return algorithm.digest(reflog_bytes)


def _noted(reflog: Reflog, now_s: int, *references: tuple[Digest | None, RefType]) -> bytes:
    for digest, kind in references:
        if digest is not None:
            reflog.add(digest, kind, now_s)
    return reflog.to_bytes()
