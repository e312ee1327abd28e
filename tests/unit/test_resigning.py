"""Whitelists signed again, manifests signed again, and certificates replaced under the eyes of clients."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest

from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.certificate import Certificate, make_certificate
from functions.cvmfs.errors import FormatError
from functions.cvmfs.reader import Repository
from functions.cvmfs.reflog import RefType
from functions.cvmfs.signing import KeySigner, load_private_key, new_key
from functions.cvmfs.whitelist import SignedWhitelist, Whitelist
from functions.errors import KeyMismatch, RepositoryNotReady, WhitelistRefused
from functions.publishing.head import MANIFEST_PATH, WHITELIST_PATH
from functions.publishing.resigning import Renewal, current_certificate, renew_whitelist, resign_manifest
from tests.interrupted_store import InterruptedStore
from tests.local_trees import FQRN, NOW, Node, PaperRepository
from tests.unit.test_tagging import interrupt, making, names, reflog_of

SHA1 = HashAlgorithm.SHA1


@cache
def foreign_key():
    """A key that is nobody's here."""
    return new_key().private_pem


@cache
def another():
    """A signing key of its own, and its certificate."""
    return KeySigner(foreign_key()), certificate_for(foreign_key())


def certificate_for(key):
    pem = make_certificate(FQRN, load_private_key(key), now=NOW, serial=secrets.randbits(63) + 1)
    return Certificate.from_pem(pem)


@pytest.fixture
def repository():
    repository = PaperRepository()
    repository.publish({"/file": Node(b"content")})
    return repository


def certificate(repository):
    return current_certificate(repository.store, repository.publisher.head().manifest)


def renew(repository, *certificates, **changes):
    return renew_whitelist(
        repository.store,
        repository.signer,
        [repository.public_key],
        Renewal(certificates or (certificate(repository),), **changes),
        now=repository.now,
    )


def stored_whitelist(repository):
    return SignedWhitelist.from_bytes(repository.fetch(WHITELIST_PATH)).unverified


def test_a_whitelist_is_signed_again_before_it_ends(repository):
    repository.now += timedelta(days=29)
    made = renew(repository)
    assert made == stored_whitelist(repository)
    assert made.expires - made.issued == timedelta(days=30)
    assert made.valid_until == made.expires.replace(minute=0, second=0)
    repository.now = made.valid_until - timedelta(seconds=1)
    assert repository.reader().snapshot().read("/file") == b"content"
    assert repository.findings() == []
    repository.now = made.valid_until
    with pytest.raises(FormatError, match="valid until"):
        repository.reader()


def test_one_that_ended_long_ago_is_signed_again(repository):
    repository.now += timedelta(days=300)
    renew(repository)
    assert repository.reader().snapshot().read("/file") == b"content"


def test_only_the_whitelist_is_written(repository):
    before = dict(repository.store._files)
    renew(repository)
    changed = {path for path, stored in repository.store._files.items() if before.get(path) != stored}
    assert changed == {WHITELIST_PATH}


def test_what_it_lists_and_says_besides_stays(repository):
    present = certificate(repository)
    old = replace(
        Whitelist.make(FQRN, [another()[1].fingerprint(HashAlgorithm.RMD160), present.fingerprint(SHA1)], now=NOW),
        remarks=("# of the night shift",),
    )
    repository.store.put(WHITELIST_PATH, old.sign(repository.signer, SHA1).to_bytes())
    made = renew(repository)
    assert (made.fingerprints, made.remarks) == (old.fingerprints, old.remarks)
    assert renew(repository, another()[1]).fingerprints == old.fingerprints, "listed already, by another hash"
    assert renew(repository, present, only_these=True).fingerprints == (present.fingerprint(SHA1),)


def test_a_certificate_planted_in_the_storage_is_not_signed(repository):
    _, planted = another()
    forged = Whitelist.make(FQRN, [certificate(repository).fingerprint(SHA1), planted.fingerprint(SHA1)], now=NOW)
    thief = KeySigner(foreign_key(), foreign_key())
    repository.store.put(WHITELIST_PATH, forged.sign(thief, SHA1).to_bytes())
    with pytest.raises(WhitelistRefused, match="cannot be trusted"):
        renew(repository)
    made = renew(repository, fresh=True)
    assert made.fingerprints == (certificate(repository).fingerprint(SHA1),)
    assert repository.findings() == []


def test_a_manifest_planted_in_the_storage_does_not_bring_its_certificate_on_the_whitelist(repository):
    signer, planted = another()
    trusted = certificate(repository)
    renew(repository, trusted, planted)
    resign_manifest(replace(repository.publisher, signer=signer), planted)
    renew(repository, trusted, planted)
    with pytest.raises(WhitelistRefused, match="would not be on its whitelist"):
        renew(repository, trusted, only_these=True)


def test_a_whitelist_that_clients_would_refuse_is_not_written(repository):
    wrong = KeySigner(foreign_key(), foreign_key())
    before = repository.fetch(WHITELIST_PATH)
    with pytest.raises(WhitelistRefused, match="not be accepted by clients"):
        renew_whitelist(
            repository.store,
            wrong,
            [repository.public_key],
            Renewal((certificate(repository),)),
            now=repository.now,
        )
    assert repository.fetch(WHITELIST_PATH) == before


def test_two_that_sign_it_at_once_lose_no_certificate(repository):
    _, other = another()
    third = certificate_for(foreign_key())
    interrupt(repository, WHITELIST_PATH, lambda: renew(repository, other))
    made = renew(repository, third)
    assert set(made.fingerprints) == {listed.fingerprint(SHA1) for listed in (certificate(repository), other, third)}


def test_a_storage_without_a_repository_has_no_whitelist_to_sign(repository):
    repository.store.delete(MANIFEST_PATH)
    with pytest.raises(RepositoryNotReady):
        renew(repository, another()[1])


# Manifests


def test_a_manifest_signed_again_is_the_same_revision_with_a_new_time(repository):
    before = repository.reader().manifest
    resign_manifest(repository.publisher)
    after = repository.reader().manifest
    assert after.published_at > before.published_at
    assert replace(after, published_at=before.published_at, reflog=before.reflog) == before
    assert names(repository) == {"trunk": 2, "trunk-previous": 1}
    assert repository.findings() == []


def test_the_checksum_of_a_reflog_that_others_rewrote_is_put_right(repository):
    reflog = reflog_of(repository)
    reflog.add(SHA1.digest(b"?"), RefType.CATALOG, 1)
    repository.store.put(".cvmfsreflog", reflog.to_bytes())
    assert any("unexpected content hash" in finding for finding in repository.findings())
    resign_manifest(repository.publisher)
    assert repository.findings() == []


# Another certificate


def test_clients_can_verify_at_every_moment_of_a_replacement_whatever_their_caches_hold(repository):
    """After every write a client looks, with the newest manifest and with the one that a cache may still have."""
    signer, following = another()
    old = certificate(repository)
    repository.store = InterruptedStore(repository.store)
    repository.publisher = replace(repository.publisher, store=repository.store)
    manifests = {repository.fetch(MANIFEST_PATH)}
    looked: list[str] = []

    def look(path):
        looked.append(path)
        manifests.add(repository.fetch(MANIFEST_PATH))
        for manifest in manifests:
            Repository.open(
                lambda wanted, cached=manifest: cached if wanted == MANIFEST_PATH else repository.fetch(wanted),
                public_keys=[repository.public_key],
                fqrn=FQRN,
                now=repository.now,
            )

    repository.store.after_write = look
    renew(repository, following)
    resign_manifest(replace(repository.publisher, signer=signer), following)
    assert {WHITELIST_PATH, ".cvmfsreflog", MANIFEST_PATH} < set(looked)
    assert certificate(repository).der == following.der
    assert reflog_of(repository).contains(repository.reader().manifest.certificate)
    assert repository.findings() == []

    repository.publisher = replace(repository.publisher, signer=signer)
    repository.publish({"/file": Node(b"more")})
    assert repository.reader().snapshot().read("/file") == b"more"
    repository.store.after_write = lambda _path: None
    assert renew(repository, following, only_these=True).fingerprints == (following.fingerprint(SHA1),)
    assert not stored_whitelist(repository).admits(old)
    assert repository.findings() == []


def test_a_publisher_with_the_old_key_changes_nothing_after_a_replacement(repository):
    signer, following = another()
    renew(repository, following)
    resign_manifest(replace(repository.publisher, signer=signer), following)
    before = repository.fetch(MANIFEST_PATH)
    with pytest.raises(KeyMismatch, match="not signed by the key of its certificate"):
        repository.publish({"/late": Node(b"x")})
    assert repository.fetch(MANIFEST_PATH) == before
    assert repository.reader().snapshot().read("/file") == b"content"


def test_a_publish_that_a_replacement_overtakes_changes_nothing(repository):
    signer, following = another()
    renew(repository, following)
    other = replace(repository.publisher, signer=signer)
    interrupt(repository, MANIFEST_PATH, lambda: resign_manifest(other, following))
    with pytest.raises(KeyMismatch):
        repository.publisher.publish(making("/late"))
    assert repository.reader().snapshot().lookup("/late") is None


def test_a_certificate_that_is_not_on_the_whitelist_is_not_put_into_the_manifest(repository):
    signer, following = another()
    before = dict(repository.store._files)
    with pytest.raises(WhitelistRefused, match="does not list the new certificate"):
        resign_manifest(replace(repository.publisher, signer=signer), following)
    assert repository.store._files == before
