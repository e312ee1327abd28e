"""A revision as a value: from the head, an edited tree and the time to everything that has to be written.

Nothing here touches the world. The order in which a plan is carried out is ``commit.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

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
class AutoTags:
    """That revisions without a name get one made of the time, and how long it stays; for ever if `keep` is None.

    What ``CVMFS_AUTO_TAG`` and ``CVMFS_AUTO_TAG_TIMESPAN`` are for the official tools.
    """

    keep: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RevisionPlan:
    """What the live manifest is to be, and all that must be stored before: objects and reflog bytes.

    `contents` has the uncompressed catalogs, tag database or certificate among them, which the next publish will want;
    it will want none of what is `replaced`.
    """

    manifest: Manifest
    objects: tuple[StoredObject, ...]
    contents: Mapping[Address, bytes]
    reflog: bytes
    replaced: frozenset[Address] = frozenset()


def plan_revision(
    base: Manifest,
    tree: CatalogTree,
    history: History,
    reflog: Reflog,
    *,
    now_s: int,
    tag: TagRequest | None = None,
    auto_tags: AutoTags | None = None,
    codec: Codec = FAST,
) -> RevisionPlan:
    """Plan the revision after `base`; edits `tree`, `history` and `reflog` in place. Raises TagError for the tag.

    Times never run backwards, whatever the clocks of several publishers say: a client that saw a later time than the
    manifest's would go into offline mode (``catalog_mgr_client.cc``).
    """
    algorithm = base.root.algorithm
    now_s = max(now_s, base.published_at)
    ttl = tree.root.ttl or base.ttl
    committed = tree.commit(now_s=now_s, ttl_s=ttl, algorithm=algorithm, codec=codec)
    revision = tree.root.revision
    if auto_tags is not None:
        if auto_tags.keep is not None:
            history.expire_generic(now_s - int(auto_tags.keep.total_seconds()))
        tag = tag or TagRequest(history.generic_name(datetime.fromtimestamp(now_s, UTC)))
    history.publish(
        root=committed.root,
        size=committed.root_size,
        revision=revision,
        timestamp=now_s,
        name=tag.name if tag else None,
        description=tag.description if tag else "",
    )
    objects = committed.objects
    if tree.made_markers:
        objects += (pack(b"", Kind.FILE, algorithm),)
    return plan_manifest(
        replace(base, root=committed.root, root_size=committed.root_size, ttl=ttl, revision=revision),
        history,
        reflog,
        now_s=now_s,
        objects=objects,
        contents=committed.contents,
        replaced=committed.replaced,
        codec=codec,
    )


def plan_manifest(
    manifest: Manifest,
    history: History | None,
    reflog: Reflog,
    *,
    now_s: int,
    objects: tuple[StoredObject, ...] = (),
    contents: Mapping[Address, bytes] | None = None,
    replaced: frozenset[Address] = frozenset(),
    codec: Codec = FAST,
) -> RevisionPlan:
    """Plan to make `manifest` the live one, with the tags of `history` (None: those it has) and at the time `now_s`.

    Everything the manifest names is entered into the reflog, or refreshed there, as re-signing does upstream.
    """
    algorithm = manifest.root.algorithm
    contents = dict(contents or {})
    if history is not None:
        history.previous_revision = manifest.history
        history_bytes = history.to_bytes()
        tags = pack(history_bytes, Kind.HISTORY, algorithm, codec=codec)
        if manifest.history is not None:
            replaced |= {Address(manifest.history, Kind.HISTORY)}
        manifest = replace(manifest, history=tags.address.digest)
        objects += (tags,)
        contents[tags.address] = history_bytes
    reflog_bytes = _noted(
        reflog,
        now_s,
        (manifest.root, RefType.CATALOG),
        (manifest.history, RefType.HISTORY),
        (manifest.certificate, RefType.CERTIFICATE),
        (manifest.metainfo, RefType.METAINFO),
    )
    manifest = replace(manifest, reflog=checksum(reflog_bytes, algorithm), published_at=now_s)
    return RevisionPlan(manifest, objects, contents, reflog_bytes, replaced - contents.keys())


def checksum(reflog_bytes: bytes, algorithm: HashAlgorithm) -> Digest:
    """The value of the manifest's field Y: the hash of the raw reflog file."""
    return algorithm.digest(reflog_bytes)


def _noted(reflog: Reflog, now_s: int, *references: tuple[Digest | None, RefType]) -> bytes:
    for digest, kind in references:
        if digest is not None:
            reflog.add(digest, kind, now_s)
    return reflog.to_bytes()
