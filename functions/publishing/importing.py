"""Taking over a repository that the official tools made: what must be right before the first publish, and put right.

Source: ``cvmfs_server_import.sh``, ``swissknife_reflog.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.errors import FormatError, SignatureError
from functions.cvmfs.history import History
from functions.cvmfs.history_database import previous_revision_of, read_history
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import verify_manifest_signature
from functions.cvmfs.whitelist import Whitelist
from functions.errors import (
    KeyFilesRefused,
    RepositoryDamaged,
    RepositoryRefused,
    RepositoryUnknown,
    WhitelistRefused,
)
from functions.publishing.commit import Publisher
from functions.publishing.creation import replica_marker
from functions.publishing.head import MANIFEST_PATH, REFLOG_PATH, REPLICA_PATH, STATUS_PATH, read_reflog
from functions.publishing.objects import Objects
from functions.publishing.resigning import (
    Renewal,
    current_certificate,
    read_whitelist,
    renew_whitelist,
    resign_manifest,
)
from functions.publishing.revision import RevisionPlan, plan_manifest


class WhitelistUnusable(WhitelistRefused):
    """The whitelist of a repository to import does not let its manifest pass."""

    hint = "Import it with --recreate-whitelist, which needs the master key."


class AlternativePaths(RepositoryRefused):
    """The repository's field A is yes, which needs links beside its objects that no bucket can hold."""

    hint = "Publish to it with the official tools."


class WrongKey(KeyFilesRefused):
    """The signing key is not that of the repository to import."""

    hint = "With the master key, `cvmfs-cloud repo resign --new-key` gives the repository another one."


class ReflogUnusable(RepositoryDamaged):
    """The reflog of a repository to import cannot be read."""

    hint = "Import it with --recreate-reflog, which lists what can be reached from the newest revision and the tags."


@dataclass(frozen=True, slots=True)
class Import:
    """What may be put right: the whitelist made anew, an unreadable reflog made anew, replication allowed."""

    recreate_whitelist: bool = False
    recreate_reflog: bool = False
    replicable: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """A repository that can be published to: what it is, and what was put right, in words."""

    manifest: Manifest
    whitelist: Whitelist
    tags: int
    repairs: tuple[str, ...]


def import_repository(publisher: Publisher, public_key: str, certificate: Certificate, wanted: Import) -> Imported:
    """Verify a repository against its keys, put right what is asked for or harmless, and say what it is.

    Nothing is written before all that can be refused has been looked at. `certificate` is the one beside the signing
    key. Raises RepositoryUnknown, RepositoryDamaged, AlternativePaths, WrongKey, WhitelistUnusable, ReflogUnusable.
    """
    manifest = _verified_manifest(publisher)
    if manifest.alternative_path:
        raise AlternativePaths(f"{manifest.fqrn} is protected: clients get its catalogs by other paths than data/.")
    current = current_certificate(publisher.store, manifest)
    _require_key(publisher, current)
    whitelist = None
    if not wanted.recreate_whitelist:
        whitelist = _verified_whitelist(publisher, public_key, manifest)
    tags = _tags(publisher, manifest)
    reflog = _usable_reflog(publisher, recreate=wanted.recreate_reflog)
    repairs: list[str] = []
    if whitelist is None:
        renewal = Renewal((current, certificate), fresh=True)
        whitelist = renew_whitelist(publisher.store, publisher.signer, [public_key], renewal, now=publisher.clock())
        repairs.append(f"the whitelist was made anew, valid until {whitelist.valid_until:%Y-%m-%d %H:%M} UTC")
    if reflog is None:
        manifest, listed = _new_reflog(publisher)
        repairs.append(f"the reflog was made anew, with {listed} references")
    elif not _is_current(reflog, manifest):
        manifest = resign_manifest(publisher).manifest
        repairs.append("the manifest was signed again, with the checksum of the reflog")
    if wanted.replicable and not publisher.store.has(REPLICA_PATH):
        publisher.store.put(REPLICA_PATH, replica_marker(manifest.fqrn))
        repairs.append("replication is allowed from now on")
    if not publisher.store.has(STATUS_PATH):
        publisher.store.put(STATUS_PATH, b"{}\n")
    return Imported(manifest, whitelist, len(tags.tags()), tuple(repairs))


def entry_points(publisher: Publisher, manifest: Manifest) -> Iterator[tuple[Digest, RefType]]:
    """What a reflog has to list, as far as it is still stored: what is live, what is tagged, and the predecessors.

    Revisions that neither a tag nor a successor names cannot be found, and are lost to garbage collection.
    """
    for digest, kind in ((manifest.certificate, RefType.CERTIFICATE), (manifest.metainfo, RefType.METAINFO)):
        if digest is not None:
            yield digest, kind
    roots = [manifest.root]
    for history, image in _histories(publisher, manifest):
        yield history, RefType.HISTORY
        roots += [tag.root for tag in History.from_bytes(image).tags()]
    seen: set[Digest] = set()
    for start in roots:
        root: Digest | None = start
        while root is not None and root not in seen:
            seen.add(root)
            stored = _if_stored(publisher, Address(root, Kind.CATALOG))
            if stored is None:
                break
            yield root, RefType.CATALOG
            with Catalog.from_bytes(stored) as catalog:
                root = catalog.previous_revision


def _histories(publisher: Publisher, manifest: Manifest) -> Iterator[tuple[Digest, bytes]]:
    digest, seen = manifest.history, set[Digest]()
    while digest is not None and digest not in seen:
        seen.add(digest)
        image = _if_stored(publisher, Address(digest, Kind.HISTORY))
        if image is None:
            return
        yield digest, image
        digest = previous_revision_of(read_history(image).properties)


def _if_stored(publisher: Publisher, address: Address) -> bytes | None:
    return Objects(publisher.store).get(address) if publisher.store.has(address.path) else None


def _verified_manifest(publisher: Publisher) -> Manifest:
    blob = publisher.store.get(MANIFEST_PATH)
    if blob is None:
        raise RepositoryUnknown("There is no repository in this storage.")
    try:
        signed = SignedManifest.from_bytes(blob.body)
        manifest = signed.unverified
        if manifest.fqrn != publisher.fqrn:
            raise SignatureError(f"the manifest is that of {manifest.fqrn}, expected {publisher.fqrn}")
        return signed.verify(current_certificate(publisher.store, manifest))
    except FormatError as err:
        raise RepositoryDamaged(f"{MANIFEST_PATH}: {err}") from err


def _require_key(publisher: Publisher, certificate: Certificate) -> None:
    """Refuse a signing key whose manifests nobody would accept."""
    words = str(certificate.fingerprint(HashAlgorithm.SHA1)).encode()
    try:
        verify_manifest_signature(certificate, words, publisher.signer.sign_manifest(words))
    except SignatureError as err:
        raise WrongKey(f"The signing key given is not the one that {publisher.fqrn} is signed with.") from err


def _verified_whitelist(publisher: Publisher, public_key: str, manifest: Manifest) -> Whitelist:
    found = read_whitelist(publisher.store)
    if found is None:
        raise WhitelistUnusable(f"{manifest.fqrn} has no whitelist.")
    now: datetime = publisher.clock()
    try:
        whitelist = found[0].verify([public_key], fqrn=manifest.fqrn, now=now)
    except FormatError as err:
        raise WhitelistUnusable(f"{manifest.fqrn}: {err}.") from err
    if not whitelist.admits(current_certificate(publisher.store, manifest)):
        raise WhitelistUnusable(f"{manifest.fqrn}: the certificate of the manifest is not on the whitelist.")
    return whitelist


def _tags(publisher: Publisher, manifest: Manifest) -> History:
    try:
        history = publisher.tags_of(manifest)
    except FormatError as err:
        raise RepositoryDamaged(f"{manifest.fqrn}: {err}") from err
    if history.fqrn != manifest.fqrn:
        raise RepositoryDamaged(f"the tag database of {manifest.fqrn} is that of {history.fqrn}")
    return history


def _usable_reflog(publisher: Publisher, *, recreate: bool) -> Reflog | None:
    """The reflog, or None if it is to be made."""
    try:
        reflog, version = read_reflog(publisher.store, publisher.fqrn)
    except RepositoryDamaged as err:
        if not recreate:
            raise ReflogUnusable(str(err)) from err
        return None
    return None if version is None or recreate else reflog


def _is_current(reflog: Reflog, manifest: Manifest) -> bool:
    """Whether the manifest has the reflog's checksum, and the reflog what the manifest names."""
    listed = {(reference.digest, reference.type) for reference in reflog.entries()}
    named: tuple[tuple[Digest | None, RefType], ...] = (
        (manifest.root, RefType.CATALOG),
        (manifest.history, RefType.HISTORY),
        (manifest.certificate, RefType.CERTIFICATE),
        (manifest.metainfo, RefType.METAINFO),
    )
    is_complete = all(digest is None or (digest, kind) in listed for digest, kind in named)
    return is_complete and manifest.reflog == reflog.checksum(manifest.root.algorithm)


def _new_reflog(publisher: Publisher) -> tuple[Manifest, int]:
    """Make the reflog, whatever there is, and sign its checksum, without a new revision."""
    publisher.store.delete(REFLOG_PATH)
    listed = 0

    def plan(base: Manifest, reflog_of: Callable[[], Reflog]) -> RevisionPlan:
        nonlocal listed
        reflog, now_s = reflog_of(), max(publisher.now_s(), base.published_at)
        for digest, kind in entry_points(publisher, base):
            reflog.add(digest, kind, now_s)
        listed = len(reflog.entries())
        return plan_manifest(base, None, reflog, now_s=now_s)

    return publisher.commit(plan).manifest, listed
