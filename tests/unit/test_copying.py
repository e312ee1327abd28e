"""Repositories copied from where they are served: whole, verified, and gone on with where a copy broke off."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import Address, Kind
from functions.cvmfs.checker import check_repository
from functions.errors import RepositoryDamaged, StoreUnavailable
from functions.publishing.copying import CopyRefused, copy_repository
from functions.publishing.head import MANIFEST_PATH, WHITELIST_PATH
from tests.golden import GOLDEN, NOW, golden
from tests.interrupted_store import InterruptedStore
from tests.local_trees import FQRN, Node, PaperRepository

EXECUTOR = ThreadPoolExecutor(2)


def copied(official, store, fetch=None, **changes):
    wanted = {"public_keys": [official.public_key], "fqrn": official.fqrn, "now": NOW} | changes
    return copy_repository(fetch or official.fetch, store, EXECUTOR, **wanted)


def findings(official, store):
    def fetch(path):
        blob = store.get(path)
        return None if blob is None else blob.body

    report = check_repository(
        fetch,
        exists=store.has,
        public_keys=[official.public_key],
        fqrn=official.fqrn,
        now=NOW,
        data=True,
        all_tags=True,
    )
    return [str(finding) for finding in report.findings]


NO_REFLOG = ["warning: .cvmfsreflog: there is no reflog, so garbage cannot be collected"]


@pytest.mark.parametrize("name", GOLDEN)
def test_everything_of_the_newest_and_the_tagged_revisions_arrives_byte_by_byte(name):
    official, store = golden(name), MemoryBlobStore()
    manifest, counts = copied(official, store)
    assert findings(official, store) == NO_REFLOG
    for info in store.list(""):
        assert store.get(info.path).body == official.read(info.path)
    stored = list(store.list("data/"))
    assert (counts.objects, counts.bytes) == (len(stored), sum(info.size for info in stored))
    assert counts.catalogs == sum(info.path.endswith("C") for info in stored)
    assert manifest.revision == 4
    again = copied(official, store)[1]
    assert again.objects == 0, "a second copy finds everything there"


class Severed(InterruptedStore):
    """A store that takes only so many writes."""

    writes = 0

    def put(self, path, body):
        if not self.writes:
            raise StoreUnavailable("severed")
        self.writes -= 1
        super().put(path, body)


def test_a_copy_that_breaks_off_anywhere_is_finished_by_the_next():
    official, files = golden("sha1"), MemoryBlobStore()
    whole = MemoryBlobStore()
    copied(official, whole)
    store, attempts = Severed(files), 0
    while True:
        store.writes = 7
        attempts += 1
        try:
            copied(official, store)
            break
        except StoreUnavailable:
            assert store.get(MANIFEST_PATH) is None
    assert attempts > 3
    assert {info.path for info in files.list("")} == {info.path for info in whole.list("")}
    assert findings(official, files) == NO_REFLOG


def lost(path):
    return lambda wanted, body: None if wanted == path else body


def damaged(path):
    return lambda wanted, body: body[:-1] + bytes([body[-1] ^ 1]) if wanted == path else body


@pytest.mark.parametrize("harm", [lost, damaged])
def test_what_is_missing_or_damaged_at_the_source_leaves_no_manifest(harm):
    official = golden("sha1")
    manifest, _ = copied(official, MemoryBlobStore())
    objects = [path for path in official.paths() if path.startswith("data/") and path[-1] not in "CHXM"]
    named = [
        objects[0],
        objects[-1],
        Address(manifest.root, Kind.CATALOG).path,
        Address(manifest.history, Kind.HISTORY).path,
        Address(manifest.metainfo, Kind.METAINFO).path,
        MANIFEST_PATH,
        WHITELIST_PATH,
    ]
    for path in named:
        change, store = harm(path), MemoryBlobStore()
        with pytest.raises(RepositoryDamaged, match="as it is served"):
            copied(official, store, fetch=lambda wanted, change=change: change(wanted, official.fetch(wanted)))
        assert store.get(MANIFEST_PATH) is None, path


def test_a_manifest_that_moves_during_the_copy_is_the_one_that_was_read():
    official, store, reads = golden("sha1"), MemoryBlobStore(), []

    def fetch(path):
        reads.append(path)
        return official.fetch(path)

    copied(official, store, fetch=fetch)
    assert reads.count(MANIFEST_PATH) == reads.count(WHITELIST_PATH) == 1


def test_a_storage_that_is_further_on_or_anothers_is_left_alone():
    repository = PaperRepository()
    repository.publish({"/2": Node(b"2")})
    wanted = {"public_keys": [repository.public_key], "fqrn": FQRN, "now": repository.now}
    here = MemoryBlobStore()
    copy_repository(repository.fetch, here, EXECUTOR, **wanted)
    repository.publish({"/3": Node(b"3")})
    copy_repository(repository.fetch, here, EXECUTOR, **wanted)
    publisher = replace(repository.publisher, store=here)
    publisher.publish(lambda tree, _marker: tree.remove("/3"))
    before = here.get(MANIFEST_PATH)
    with pytest.raises(CopyRefused, match="holds revision 4, which is not in what is served"):
        copy_repository(repository.fetch, here, EXECUTOR, **wanted)
    repository.publish({"/4": Node(b"4")})
    with pytest.raises(CopyRefused, match="holds revision 4"):
        copy_repository(repository.fetch, here, EXECUTOR, **wanted)
    official = golden("sha1")
    with pytest.raises(CopyRefused, match=f"holds {FQRN} already"):
        copied(official, here)
    assert here.get(MANIFEST_PATH) == before
