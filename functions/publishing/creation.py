"""The first revision of a repository: everything a client, a Stratum 1 and the official tools expect to find.

Each step creates what is missing and leaves what is there, so that repeating it, also after a crash half-way, ends in
the same repository. The manifest comes last: before it there is no repository, after it there is a whole one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.cvmfs.address import Address, HashAlgorithm, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import FAST, Codec, Compression
from functions.cvmfs.entry import Entry
from functions.cvmfs.history import History
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.metainfo import METAINFO_LIMIT, make_metainfo
from functions.cvmfs.objects import StoredObject, pack
from functions.cvmfs.signing import Signer
from functions.cvmfs.whitelist import Whitelist
from functions.errors import RepositoryDamaged, VersionMoved
from functions.ports import BlobStore
from functions.publishing.commit import write_if
from functions.publishing.content import Recipe
from functions.publishing.head import (
    MANIFEST_PATH,
    REFLOG_PATH,
    REPLICA_PATH,
    STATUS_PATH,
    WHITELIST_PATH,
    read_head,
    read_reflog,
)
from functions.publishing.objects import Objects
from functions.publishing.revision import AutoTags, plan_revision
from functions.publishing.tree import CatalogTree

DEFAULT_TTL_S = 240
"""Seconds a client keeps a revision before it asks again; what ``cvmfs_server mkfs`` sets."""


_COMPRESSION = "compression"
_AUTO_TAG = "auto_tag"
_AUTO_TAG_DAYS = "auto_tag_days"
"""Members of the metainfo's custom part: a compression other than zlib; whether revisions are tagged by themselves, and
for how many days such tags stay."""

_DAYS_LIMIT = 36_500


@dataclass(frozen=True, slots=True)
class NewRepository:
    """What is fixed when a repository is made: the words and defaults of ``cvmfs_server mkfs``."""

    fqrn: str
    algorithm: HashAlgorithm = HashAlgorithm.SHA1
    ttl_s: int = DEFAULT_TTL_S
    garbage_collectable: bool = True
    whitelist_days: int = 30
    compression: Compression = Compression.ZLIB
    auto_tags: AutoTags | None = None
    administrator: str = ""
    description: str = ""
    after_revision: int = 0
    """The number before its first revision: above all that clients may have seen under this name."""


@dataclass(frozen=True, slots=True)
class KeptSettings:
    """What was said of a repository when it was made, and holds for every publish."""

    recipe: Recipe
    auto_tags: AutoTags | None


def create_repository(
    store: BlobStore,
    signer: Signer,
    certificate: Certificate,
    new: NewRepository,
    *,
    now: datetime,
    codec: Codec = FAST,
) -> Manifest:
    """Make the first revision, with an empty root directory and the tag ``trunk``, or return what is live already.

    It is number 1, or the one after `NewRepository.after_revision`.
    """
    head = read_head(store)
    if head is not None:
        if head.manifest.fqrn != new.fqrn:
            raise RepositoryDamaged(f"the manifest of {new.fqrn} names {head.manifest.fqrn}")
        return head.manifest
    objects = Objects(store)
    certificate_object = pack(certificate.pem, Kind.CERTIFICATE, new.algorithm)
    metainfo = pack(_metainfo(new), Kind.METAINFO, new.algorithm)
    for stored in (certificate_object, metainfo):
        objects.put(stored)
    whitelist = Whitelist.make(
        new.fqrn, [certificate.fingerprint(new.algorithm)], now=now, days=new.whitelist_days
    ).sign(signer, new.algorithm)
    store.put(WHITELIST_PATH, whitelist.to_bytes())
    store.put(REPLICA_PATH, replica_marker(new.fqrn))
    store.put(STATUS_PATH, b"{}\n")

    reflog, reflog_version = read_reflog(store, new.fqrn)
    base = _before_the_first(new, certificate_object, metainfo, int(now.timestamp()))
    tree = CatalogTree.new("", Entry.directory(mtime=int(now.timestamp())))
    tree.root.revision = new.after_revision
    try:
        plan = plan_revision(
            base,
            tree,
            History.new(new.fqrn),
            reflog,
            now_s=int(now.timestamp()),
            auto_tags=new.auto_tags,
            codec=codec,
        )
    finally:
        tree.close()
    for stored in plan.objects:
        objects.put(stored)
    write_if(store, REFLOG_PATH, plan.reflog, reflog_version)
    try:
        store.create(MANIFEST_PATH, plan.manifest.sign(signer).to_bytes())
    except VersionMoved:
        # Somebody made it at the same moment. Theirs counts; the whitelist lists the same certificate.
        head = read_head(store)
        if head is None:
            raise
        return head.manifest
    return plan.manifest


def replica_marker(fqrn: str) -> bytes:
    """The content of the file that lets replicas in: they ask whether it is there; some stores take no empty ones."""
    return f"{fqrn} may be replicated\n".encode()


def recipe_of(manifest: Manifest, store: BlobStore) -> Recipe:
    """How content of this repository is stored; see `kept_settings`."""
    return kept_settings(manifest, store).recipe


def kept_settings(manifest: Manifest, store: BlobStore) -> KeptSettings:
    """What was said of this repository when it was made; raises RepositoryDamaged.

    The format has no place for it, as every file says for itself how it is compressed, so the metainfo keeps it.
    """
    custom: dict[str, object] = {}
    if manifest.metainfo is not None:
        custom = _custom_members(Objects(store).get(Address(manifest.metainfo, Kind.METAINFO), limit=METAINFO_LIMIT))
    compression = Compression.ZLIB
    if custom.get(_COMPRESSION) == Compression.NONE.name.lower():
        compression = Compression.NONE
    auto_tags = None
    if custom.get(_AUTO_TAG) is True:
        days = custom.get(_AUTO_TAG_DAYS)
        auto_tags = AutoTags(timedelta(days=days) if isinstance(days, int) and 0 < days < _DAYS_LIMIT else None)
    return KeptSettings(Recipe(algorithm=manifest.root.algorithm, compression=compression), auto_tags)


def _custom_members(metainfo: bytes) -> dict[str, object]:
    """The custom part of a metainfo; empty where somebody wrote another JSON, or none."""
    try:
        members = json.loads(metainfo)
    except (ValueError, RecursionError):
        return {}
    custom = members.get("custom") if isinstance(members, dict) else None
    return custom if isinstance(custom, dict) else {}


def _metainfo(new: NewRepository) -> bytes:
    custom: dict[str, object] = {}
    if new.compression is not Compression.ZLIB:
        custom[_COMPRESSION] = new.compression.name.lower()
    if new.auto_tags is not None:
        custom[_AUTO_TAG] = True
        if new.auto_tags.keep is not None:
            custom[_AUTO_TAG_DAYS] = new.auto_tags.keep.days
    return make_metainfo(administrator=new.administrator, description=new.description, custom=custom)


def _before_the_first(new: NewRepository, certificate: StoredObject, metainfo: StoredObject, now_s: int) -> Manifest:
    """The manifest of a revision that is never published; the first one is planned from it like every other."""
    nothing = new.algorithm.digest(b"")
    return Manifest(
        root=nothing,
        root_size=0,
        ttl=new.ttl_s,
        revision=new.after_revision,
        garbage_collectable=new.garbage_collectable,
        alternative_path=False,
        fqrn=new.fqrn,
        certificate=certificate.address.digest,
        history=None,
        published_at=now_s,
        metainfo=metainfo.address.digest,
        reflog=None,
        unknown=(),
    )
