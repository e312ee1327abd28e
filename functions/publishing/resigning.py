"""Whitelists made anew before they end, and certificates replaced, so that clients can verify at every moment.

A certificate is replaced in three steps: the whitelist lists both, the manifest names the new one, and when no cache
has the old manifest any more the old one goes. A reader between any two of them finds the certificate of the manifest
that it holds on the whitelist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from functions.cvmfs.address import Address, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.errors import FormatError, WhitelistExpired
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.objects import pack
from functions.cvmfs.reflog import Reflog
from functions.cvmfs.signing import FILE_LIMIT, Signer
from functions.cvmfs.whitelist import VALID_DAYS, SignedWhitelist, Whitelist
from functions.errors import RepositoryDamaged, RepositoryNotReady, VersionMoved, WhitelistRefused
from functions.ports import Blob, BlobStore
from functions.publishing.commit import ATTEMPTS, Published, Publisher, write_if
from functions.publishing.head import WHITELIST_PATH, read_head
from functions.publishing.objects import Objects
from functions.publishing.overview import days_left
from functions.publishing.revision import RevisionPlan, plan_manifest


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a new whitelist is to be: the certificates it must list, from where the keys are kept, and its life in days.

    `only_these` leaves out whatever else the old one lists. `fresh` does not even look at the old one.
    """

    certificates: tuple[Certificate, ...]
    days: int = VALID_DAYS
    only_these: bool = False
    fresh: bool = False


def renew_whitelist(
    store: BlobStore, signer: Signer, public_keys: Sequence[bytes | str], renewal: Renewal, *, now: datetime
) -> Whitelist:
    """Sign the whitelist again, valid from `now` (aware), and return it.

    What an old whitelist lists is listed again only if one of `public_keys` (PEM) signed it, however long ago: whoever
    could write to the storage could otherwise have a certificate of his own signed by the next renewal. Raises
    WhitelistRefused then, if the signer has another master key, and if the certificate that the live manifest names
    would not be listed; VersionMoved if others were first too often.
    """
    for _ in range(ATTEMPTS):
        try:
            return _renew_once(store, signer, public_keys, renewal, now)
        except VersionMoved:
            continue
    raise VersionMoved(f"{WHITELIST_PATH} was replaced {ATTEMPTS} times by others")


def stored_days_left(store: BlobStore, *, now: datetime) -> float:
    """Days until clients refuse the whitelist, negative when they do already; 0 without one. Raises RepositoryDamaged.

    Who signed it is not looked at.
    """
    found = read_whitelist(store)
    return 0.0 if found is None else days_left(found[0].unverified, now)


def resign_manifest(publisher: Publisher, certificate: Certificate | None = None) -> Published:
    """Sign the live manifest again, at the same revision; with `certificate` it names that one from now on.

    The whitelist must list it before (`renew_whitelist`), or clients refuse the manifest: raises WhitelistRefused.
    Source: ``cvmfs_server_resign.sh``, ``signing_tool.cc: Run``.
    """

    def plan(base: Manifest, reflog: Callable[[], Reflog]) -> RevisionPlan:
        now_s = max(publisher.now_s(), base.published_at)
        if certificate is None:
            return plan_manifest(base, None, reflog(), now_s=now_s)
        stored = pack(certificate.pem, Kind.CERTIFICATE, base.root.algorithm)
        _require_listed(publisher.store, certificate)
        return plan_manifest(
            replace(base, certificate=stored.address.digest),
            None,
            reflog(),
            now_s=now_s,
            objects=(stored,),
            contents={stored.address: certificate.pem},
        )

    return publisher.commit(plan)


def read_whitelist(store: BlobStore) -> tuple[SignedWhitelist, Blob] | None:
    """The whitelist and its version, whoever signed it; None if there is none. Raises RepositoryDamaged."""
    blob = store.get(WHITELIST_PATH)
    if blob is None:
        return None
    try:
        return SignedWhitelist.from_bytes(blob.body), blob
    except FormatError as err:
        raise RepositoryDamaged(f"{WHITELIST_PATH}: {err}") from err


def current_certificate(store: BlobStore, manifest: Manifest) -> Certificate:
    """The certificate that the manifest names; raises RepositoryDamaged."""
    if manifest.certificate is None:
        raise RepositoryDamaged(f"the manifest of {manifest.fqrn} names no certificate")
    pem = Objects(store).get(Address(manifest.certificate, Kind.CERTIFICATE), limit=FILE_LIMIT)
    try:
        return Certificate.from_pem(pem)
    except FormatError as err:
        raise RepositoryDamaged(f"{manifest.fqrn}: {err}") from err


def _renew_once(
    store: BlobStore, signer: Signer, public_keys: Sequence[bytes | str], renewal: Renewal, now: datetime
) -> Whitelist:
    head = read_head(store)
    if head is None:
        raise RepositoryNotReady("The repository has no revision yet.")
    fqrn, algorithm = head.manifest.fqrn, head.manifest.root.algorithm
    blob = store.get(WHITELIST_PATH)
    old = None if blob is None or renewal.fresh else _verified(blob, public_keys, fqrn)
    listed = () if old is None or renewal.only_these else old.fingerprints
    listed += tuple(
        certificate.fingerprint(algorithm)
        for certificate in renewal.certificates
        if not any(certificate.fingerprint(known.algorithm) == known for known in listed)
    )
    made = Whitelist.make(fqrn, dict.fromkeys(listed), now=now, days=renewal.days)
    if old is not None:
        made = replace(made, options=old.options, remarks=old.remarks)
        if not made.admits(current_certificate(store, head.manifest)):
            raise WhitelistRefused(f"The certificate that {fqrn} is signed with would not be on its whitelist.")
    signed = made.sign(signer, algorithm)
    try:
        signed.verify(public_keys, fqrn=fqrn, now=now)
    except FormatError as err:
        raise WhitelistRefused(f"The new whitelist of {fqrn} would not be accepted by clients: {err}.") from err
    write_if(store, WHITELIST_PATH, signed.to_bytes(), None if blob is None else blob.version)
    return made


def _verified(blob: Blob, public_keys: Sequence[bytes | str], fqrn: str) -> Whitelist:
    """The old whitelist, if the master key signed it, expired or not."""
    try:
        signed = SignedWhitelist.from_bytes(blob.body)
        return signed.verify(public_keys, fqrn=fqrn, now=signed.unverified.issued)
    except WhitelistExpired:
        return signed.unverified  # valid for less than an hour, so that it had ended when it began
    except FormatError as err:
        raise WhitelistRefused(f"The present whitelist of {fqrn} cannot be trusted: {err}.") from err


def _require_listed(store: BlobStore, certificate: Certificate) -> None:
    found = read_whitelist(store)
    if found is None or not found[0].unverified.admits(certificate):
        raise WhitelistRefused("The whitelist does not list the new certificate, so clients would refuse the manifest.")
