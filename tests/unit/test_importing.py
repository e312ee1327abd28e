"""Repositories of the official tools, taken over with their keys: verified, put right where needed, published to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import Address, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.checker import check_repository
from functions.cvmfs.manifest import SignedManifest
from functions.cvmfs.reader import Repository
from functions.cvmfs.reflog import Reflog
from functions.cvmfs.signing import KeySigner
from functions.cvmfs.whitelist import Whitelist
from functions.errors import KeyFilesRefused, RepositoryDamaged, RepositoryRefused, RepositoryUnknown, WhitelistRefused
from functions.publishing.commit import Publisher
from functions.publishing.head import ObjectCache
from functions.publishing.importing import Import, Imported, ReflogUnusable, import_repository
from functions.publishing.revision import TagRequest
from tests.golden import GOLDEN, NOW, golden
from tests.unit.test_resigning import foreign_key
from tests.unit.test_tagging import making

EXECUTOR = ThreadPoolExecutor(2)
LATER = NOW + timedelta(hours=1)


@dataclass
class Official:
    """A golden repository in memory, with the keys it came with."""

    name: str

    def __post_init__(self):
        self.golden = golden(self.name)
        self.fqrn = self.golden.fqrn
        self.store = MemoryBlobStore()
        for path in self.golden.paths():
            self.store.put(path, self.golden.read(path))
        self.signer = KeySigner(self.golden.signing_key, self.golden.master_key)
        self.now = LATER

    def publisher(self):
        return Publisher(self.fqrn, self.store, self.signer, ObjectCache(1 << 22), EXECUTOR, lambda: self.now)

    def imported(self, **wanted) -> Imported:
        certificate = Certificate.from_pem(self.golden.certificate)
        return import_repository(self.publisher(), self.golden.public_key.decode(), certificate, Import(**wanted))

    def fetch(self, path):
        blob = self.store.get(path)
        return None if blob is None else blob.body

    def reader(self):
        return Repository.open(self.fetch, public_keys=[self.golden.public_key], fqrn=self.fqrn, now=self.now)

    def resigned(self, **changes):
        manifest = replace(SignedManifest.from_bytes(self.fetch(".cvmfspublished")).unverified, **changes)
        self.store.put(".cvmfspublished", manifest.sign(self.signer).to_bytes())

    def reflog(self):
        entries = Reflog.from_bytes(self.fetch(".cvmfsreflog"), fqrn=self.fqrn).entries()
        return {entry.digest: entry.type for entry in entries}

    def findings(self):
        return check_repository(
            self.fetch,
            exists=self.store.has,
            public_keys=[self.golden.public_key],
            fqrn=self.fqrn,
            now=self.now,
            data=True,
            all_tags=True,
        ).findings


@pytest.fixture(params=GOLDEN)
def official(request):
    return Official(request.param)


@pytest.fixture
def one():
    return Official("sha1")


def test_a_sound_repository_is_imported_as_it_is_and_published_to(official):
    before, tags = dict(official.store._files), {tag.name: tag for tag in official.reader().tags()}
    outcome = official.imported()
    assert outcome.repairs == ()
    assert (outcome.manifest, outcome.tags) == (official.reader().manifest, len(tags))
    assert official.store._files == before | {
        path: stored for path, stored in official.store._files.items() if path == ".cvmfs_status.json"
    }
    official.publisher().publish(making("/ours"), tag=TagRequest("ours"))
    after = {tag.name: tag for tag in official.reader().tags()}
    assert {name: tag for name, tag in after.items() if not name.startswith("trunk")} == {
        name: tag for name, tag in tags.items() if not name.startswith("trunk")
    } | {"ours": after["ours"]}
    assert official.reader().manifest.revision == outcome.manifest.revision + 1
    assert official.findings() == ()


def test_fields_of_later_releases_survive_import_and_publish(one):
    unknown = (("Q", "of a later release"), ("Z", "first"))
    one.resigned(unknown=unknown, reflog=None)
    assert one.imported().repairs == ("the manifest was signed again, with the checksum of the reflog",)
    one.publisher().publish(making("/ours"))
    assert one.reader().manifest.unknown == unknown
    assert one.findings() == ()


def test_a_reflog_that_is_missing_is_made_from_what_can_be_reached(official):
    listed = official.reflog()
    official.store.delete(".cvmfsreflog")
    before = official.reader().manifest
    outcome = official.imported()
    assert outcome.repairs == (f"the reflog was made anew, with {len(listed)} references",)
    assert (outcome.manifest.root, outcome.manifest.revision) == (before.root, before.revision)
    assert official.reflog() == listed
    assert official.findings() == ()


def test_the_checksum_that_a_collection_of_the_official_tools_left_stale_is_put_right(one):
    reflog = Reflog.from_bytes(one.fetch(".cvmfsreflog"), fqrn=one.fqrn)
    reflog.add(reflog.entries()[0].digest, reflog.entries()[0].type, 1)
    one.store.put(".cvmfsreflog", reflog.to_bytes())
    before = one.reader().manifest
    outcome = one.imported()
    assert outcome.repairs == ("the manifest was signed again, with the checksum of the reflog",)
    assert (outcome.manifest.root, outcome.manifest.revision) == (before.root, before.revision)
    assert one.findings() == ()


def test_a_reflog_that_cannot_be_read_is_made_anew_when_asked(one):
    one.store.put(".cvmfsreflog", b"no database")
    with pytest.raises(ReflogUnusable, match="SQLite"):
        one.imported()
    assert "the reflog was made anew" in one.imported(recreate_reflog=True).repairs[0]
    assert one.findings() == ()


def test_an_expired_whitelist_is_made_anew_when_asked(one):
    one.now = NOW + timedelta(days=400)
    with pytest.raises(WhitelistRefused, match="valid until") as refused:
        one.imported()
    assert "--recreate-whitelist" in refused.value.hint
    outcome = one.imported(recreate_whitelist=True)
    assert "the whitelist was made anew" in outcome.repairs[0]
    assert one.reader().snapshot().lookup("") is not None
    assert one.findings() == ()


def test_a_missing_whitelist_is_made_anew_when_asked(one):
    one.store.delete(".cvmfswhitelist")
    with pytest.raises(WhitelistRefused, match="has no whitelist"):
        one.imported()
    one.imported(recreate_whitelist=True)
    assert one.findings() == ()


def test_replicas_are_let_in_when_asked(one):
    one.store.delete(".cvmfs_master_replica")
    assert one.imported().repairs == ()
    assert not one.store.has(".cvmfs_master_replica")
    assert one.imported(replicable=True).repairs == ("replication is allowed from now on",)
    assert one.fetch(".cvmfs_master_replica")


def forge_whitelist(one):
    other = KeySigner(foreign_key(), foreign_key())
    listed = Certificate.from_pem(one.golden.certificate)
    made = Whitelist.make(one.fqrn, [listed.fingerprint(one.reader().manifest.root.algorithm)], now=NOW)
    one.store.put(".cvmfswhitelist", made.sign(other, made.fingerprints[0].algorithm).to_bytes())


def replace_key(one):
    one.signer = KeySigner(foreign_key(), one.golden.master_key)


def damage_manifest(one):
    body = one.fetch(".cvmfspublished")
    one.store.put(".cvmfspublished", body[:-1] + bytes([body[-1] ^ 1]))


def other_name(one):
    one.fqrn = "other.golden.example"


def lose_tags(one):
    one.store.delete(Address(one.reader().manifest.history, Kind.HISTORY).path)


def protect(one):
    one.resigned(alternative_path=True)


REFUSED = [
    pytest.param(protect, RepositoryRefused, "is protected", id="one that is protected"),
    pytest.param(lambda one: one.store.delete(".cvmfspublished"), RepositoryUnknown, "no repository", id="nothing"),
    pytest.param(damage_manifest, RepositoryDamaged, "not signed", id="a manifest that is not signed by its key"),
    pytest.param(other_name, RepositoryDamaged, "manifest is that of sha1", id="another repository"),
    pytest.param(replace_key, KeyFilesRefused, "not the one that", id="the key of somebody else"),
    pytest.param(forge_whitelist, WhitelistRefused, "not signed by any", id="a whitelist of another master key"),
    pytest.param(lose_tags, RepositoryDamaged, "not in the store", id="a tag database that is not there"),
]


@pytest.mark.parametrize(("deed", "error", "reason"), REFUSED)
def test_what_is_wrong_is_refused_before_anything_is_written(one, deed, error, reason):
    deed(one)
    one.store.delete(".cvmfsreflog")
    before = dict(one.store._files)
    with pytest.raises(error, match=reason):
        one.imported()
    assert one.store._files == before
