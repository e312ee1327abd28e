"""Garbage collected: what stays, what goes, and what the repository says afterwards."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import Address, Kind
from functions.cvmfs.checker import check_repository
from functions.cvmfs.manifest import SignedManifest
from functions.cvmfs.reader import Repository
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import KeySigner
from functions.errors import CollectionRefused, RepositoryDamaged, RepositoryNotReady, StoreUnavailable
from functions.publishing.collection import Collector
from functions.publishing.commit import Publisher
from functions.publishing.head import MANIFEST_PATH, REFLOG_PATH, ObjectCache, read_head
from functions.publishing.retention import GRACE, Retention
from functions.publishing.tagging import remove_tags
from tests.garbage_world import FQRN, GarbageWorld, WatchedStore
from tests.golden import GOLDEN, golden
from tests.golden import NOW as GOLDEN_NOW


@pytest.fixture(scope="module")
def made():
    """Five revisions with a day between them, long ago; each has a file of its own, and only that."""
    world = GarbageWorld()
    for number in range(2, 6):
        world.age(days=1)
        world.publish({f"/v{number}": b"%d" % number, f"/v{number - 1}": None})
    world.age(days=20)
    return world


@pytest.fixture
def world(made):
    return made.copied()


def revisions(world):
    """Which revisions the reflog lists, and which are there as a whole."""
    repository, listed, root = world.reader(), set(), world.reader().manifest.root
    reflog = Reflog.from_bytes(world.fetch(REFLOG_PATH), fqrn=FQRN)
    entered = {entry.digest for entry in reflog.entries() if entry.type is RefType.CATALOG}
    while root is not None and world.store.has(Address(root, Kind.CATALOG).path):
        catalogs = [catalog for _, _, catalog in repository.snapshot_of(root).catalogs()]
        if root in entered:
            listed.add(catalogs[0].revision)
        for path, entry in repository.snapshot_of(root).walk():
            assert not entry.is_regular or repository.snapshot_of(root).read(path)
        root = catalogs[0].previous_revision
    assert len(entered) == len(listed)
    return sorted(listed)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        pytest.param({"keep": 0}, [4, 5], id="none but the live one, and what an undo needs"),
        pytest.param({"keep": 1}, [4, 5], id="one before it"),
        pytest.param({"keep": 2}, [3, 4, 5], id="two"),
        pytest.param({"keep": 100}, [1, 2, 3, 4, 5], id="more than there are"),
        pytest.param({"since": timedelta(days=3)}, [4, 5], id="young ones, of which there are none"),
        pytest.param({"since": timedelta(days=20, hours=1)}, [4, 5], id="the first beyond the limit stays"),
        pytest.param({"since": timedelta(days=21, hours=1)}, [3, 4, 5], id="and so on"),
        pytest.param({"since": timedelta(days=100)}, [1, 2, 3, 4, 5], id="all"),
    ],
)
@pytest.mark.parametrize("leftovers", [True, False], ids=["with a listing", "without"])
def test_revisions_stay_as_the_official_rules_have_it(world, options, kept, leftovers):
    collected = world.collect(leftovers=leftovers, **options)
    assert revisions(world) == kept
    assert collected.kept_roots == len(kept)
    assert len(collected.condemned_roots) == 5 - len(kept)
    assert world.findings() == []


def test_without_a_word_three_days_stay(world):
    world.publish({"/today": b"today"})
    world.age(days=9)
    world.publish({"/now": b"now"})
    Collector(world.publisher()).collect()
    assert revisions(world) == [6, 7]


def test_tagged_revisions_stay_until_their_tag_goes(world):
    world.publish({"/release": b"release"}, tag="release")
    for number in range(3):
        world.publish({"/release": b"%d" % number})
    world.age(days=20)
    world.collect()
    assert world.read("/release", "release") == b"release"
    remove_tags(world.publisher(), ["release"])
    digest = world.stored(b"release").digest
    world.age(days=20)
    world.collect()
    assert not world.store.has(Address(digest, Kind.FILE).path)
    assert world.unreachable() == set()
    assert world.findings() == []


def test_a_dry_run_says_exactly_what_a_run_does_and_writes_nothing(world):
    for leftovers in (True, False):
        here = world.copied()
        before, said, done = dict(here.store._files), [], []
        dry = here.collect(dry_run=True, leftovers=leftovers, told=said.append)
        assert here.store._files == before
        wet = here.collect(leftovers=leftovers, told=done.append)
        assert sorted(map(str, said)) == sorted(map(str, done))
        assert (dry.swept, dry.condemned_roots, dry.reachable) == (wet.swept, wet.condemned_roots, wet.reachable)
        gone = {path: len(before[path][0].body) for path in before if not here.store.has(path)}
        assert {address.path for address in done} == set(gone)
        assert (wet.swept.count, wet.swept.bytes) == (len(gone), sum(gone.values()))
        assert gone


def test_the_manifest_says_the_same_and_its_checksum_is_that_of_the_reflog(world):
    before = read_head(world.store).manifest
    world.collect()
    after = read_head(world.store).manifest
    assert after.reflog == after.reflog.algorithm.digest(world.fetch(REFLOG_PATH))
    assert after.reflog != before.reflog
    assert replace(after, reflog=before.reflog) == before
    assert json.loads(world.fetch(".cvmfs_status.json"))["last_gc"] == "Wed Mar 25 12:00:04 UTC 2026"


def test_a_second_collection_finds_nothing_and_writes_nothing(world):
    world.collect()
    signed, reflog = world.fetch(MANIFEST_PATH), world.fetch(REFLOG_PATH)
    assert world.collect().swept.count == 0
    assert (world.fetch(MANIFEST_PATH), world.fetch(REFLOG_PATH)) == (signed, reflog)


def test_fields_of_newer_writers_stay_in_the_manifest(world):
    manifest = replace(read_head(world.store).manifest, unknown=(("Z", "future"),))
    world.store.put(MANIFEST_PATH, manifest.sign(world.signer).to_bytes())
    world.collect()
    assert read_head(world.store).manifest.unknown == (("Z", "future"),)


def test_what_is_young_stays_and_is_counted(world):
    world.publish({"/gone": b"gone"})
    world.publish({"/gone": None})
    world.publish({"/gone": None, "/more": b"more"})
    world.age(days=4)
    swept = world.collect().swept
    assert swept.young_objects == len(world.unreachable()) > 0
    assert swept.young_bytes == sum(len(world.fetch(path)) for path in world.unreachable())
    world.age(seconds=GRACE.total_seconds())
    world.collect()
    assert world.unreachable() == set()


def test_a_replica_that_lags_behind_finds_every_predecessor_whole_or_gone():
    world = GarbageWorld()
    world.publish({"/old": b"stored long ago"})
    world.age(days=20)
    world.publish({"/more": b"the last that the replica has seen"})
    world.age(days=2)
    world.publish({"/old": None})
    world.age(hours=1)
    world.publish({"/new": b"new"})
    collected = world.collect(keep=0)
    assert revisions(world) == [3, 4, 5]
    assert len(collected.condemned_roots) == 2
    world.age(seconds=GRACE.total_seconds())
    world.collect(keep=0)
    assert revisions(world) == [4, 5], "the live one, and the one that is tagged trunk-previous"
    assert world.unreachable() == set()


def test_without_a_listing_what_is_too_young_is_found_later(world):
    digest = world.stored(b"gone").digest
    for content in (b"gone", b"1", b"2", b"3"):
        world.publish({"/file": content})
    world.age(days=1)
    world.collect(leftovers=False)
    assert world.store.has(Address(digest, Kind.FILE).path)
    world.age(seconds=GRACE.total_seconds())
    world.collect(leftovers=False)
    assert world.unreachable() == set()


def test_without_a_listing_what_no_revision_ever_had_stays(world):
    digest = world.stored(b"never published").digest
    world.age(days=20)
    world.collect(leftovers=False)
    assert world.unreachable() == {Address(digest, Kind.FILE).path}
    world.collect()
    assert world.unreachable() == set()


def test_old_tag_databases_stay_with_the_revisions_of_their_time(world):
    def histories():
        return sum(path.endswith("H") for path in world.objects())

    assert histories() == 5
    world.collect(keep=2)
    assert histories() == 3
    world.collect(keep=0)
    assert histories() == 1


def test_files_that_are_no_objects_are_left_alone(world):
    foreign = ["data/txn/half", "data/00/README", "data/ab/" + "0" * 38 + "L", "info/v1/meta.json"]
    for path in foreign:
        world.store.put(path, b"not ours")
    world.age(days=400)
    world.collect()
    assert all(world.store.has(path) for path in foreign)


def test_a_repository_that_must_keep_everything_is_refused(world):
    manifest = replace(read_head(world.store).manifest, garbage_collectable=False)
    world.store.put(MANIFEST_PATH, manifest.sign(world.signer).to_bytes())
    before = world.objects()
    for dry_run in (True, False):
        with pytest.raises(CollectionRefused, match="not garbage collectable") as caught:
            world.collect(dry_run=dry_run)
        assert "field G" in caught.value.explained()
    assert world.objects() == before


def test_no_repository_is_not_ready(world):
    world.store = MemoryBlobStore(world.clock)
    with pytest.raises(RepositoryNotReady):
        world.collect()


@pytest.mark.parametrize("how", ["missing", "damaged"])
@pytest.mark.parametrize("which", ["live", "tagged"])
def test_nothing_goes_while_a_catalog_that_must_stay_cannot_be_read(world, which, how):
    world.publish({f"/d/{name}": name.encode() for name in "abcdef"}, tag="big")
    if which == "tagged":
        world.publish({"/d": None})
        world.publish({"/x": b"x"})
    tag = next(tag for tag in world.reader().tags() if tag.name == "big")
    nested = [digest for path, digest, _ in world.reader().snapshot_of(tag.root).catalogs() if path]
    path = Address(nested[0], Kind.CATALOG).path
    world.age(days=20)
    world.store.delete(path)
    if how == "damaged":
        world.store.put(path, b"rubbish")
    before = world.objects()
    with pytest.raises(RepositoryDamaged):
        world.collect()
    assert world.objects() == before


def test_a_revision_that_was_collected_in_part_before_ends_the_chain_or_gives_what_it_has(world):
    world.collect(keep=2)
    assert revisions(world) == [3, 4, 5]
    assert world.collect(keep=100).kept_roots == 3
    assert world.findings() == []


def test_a_reflog_that_was_lost_is_made_anew(world):
    world.store.delete(REFLOG_PATH)
    world.collect(keep=2)
    assert revisions(world) == [3, 4, 5]
    assert world.findings() == []
    assert world.unreachable() < world.objects()


def test_a_current_entry_that_the_reflog_has_lost_is_entered_again(world):
    reflog = Reflog.from_bytes(world.fetch(REFLOG_PATH), fqrn=FQRN)
    manifest = read_head(world.store).manifest
    for digest in (manifest.root, manifest.history, manifest.certificate, manifest.metainfo):
        reflog.remove(digest)
    world.store.put(REFLOG_PATH, reflog.to_bytes())
    assert world.findings()
    world.collect(keep=1)
    assert world.findings() == []


def test_at_its_deadline_a_collection_stops_and_the_next_one_goes_on(world):
    before = world.objects()
    collected = world.collector().collect(deadline=world.now)
    assert not collected.swept.complete
    assert world.objects() == before
    assert world.findings() == []
    assert "last_gc" not in json.loads(world.fetch(".cvmfs_status.json"))
    assert world.collect().swept.complete
    assert world.unreachable() == set()


def test_many_threads_delete_everything_once(world):
    """Also what still waits for a thread when the listing has ended."""
    for number in range(200):
        world.store.put(Address(world.stored(b"%d" % number).digest, Kind.FILE).path, b"x")
    world.age(days=20)
    gone, wanted = [], world.unreachable()
    with ThreadPoolExecutor(3) as pool:
        collector = replace(world.collector(), publisher=replace(world.publisher(), executor=pool))
        swept = replace(collector, told=lambda address: gone.append(address.path)).collect().swept
    assert sorted(gone) == sorted(wanted)
    assert swept.count == len(wanted)
    assert world.unreachable() == set()


def test_an_interrupted_collection_tells_what_it_has_deleted_and_begins_nothing_more(world):
    for number in range(400):
        world.stored(b"left %d" % number)
    world.age(days=20)
    wanted, gone = world.unreachable(), []
    stopped = threading.Event()

    def before(_number, name, _path):
        if name == "delete_old":
            if stopped.is_set():
                raise StoreUnavailable("the store is down")
            if len(world.objects()) < 350:
                stopped.set()

    with ThreadPoolExecutor(2) as pool:
        publisher = replace(world.publisher(WatchedStore(world.store, before)), executor=pool)
        collector = Collector(publisher, Retention(0), told=lambda address: gone.append(address.path))
        with pytest.raises(StoreUnavailable):
            collector.collect()
    assert set(gone) == wanted - world.objects()
    assert len(wanted & world.objects()) > 200
    assert world.findings() == []


@pytest.mark.parametrize("name", GOLDEN)
def test_a_repository_of_the_official_tools_is_collected(name):
    """Its old revisions go, its tags stay, and the reader accepts every tree that is left."""
    official = golden(name)
    store = MemoryBlobStore(lambda: GOLDEN_NOW - timedelta(days=30))
    for path in official.paths():
        store.put(path, official.read(path))
    signer = KeySigner(official.signing_key, official.master_key)
    manifest = replace(SignedManifest.from_bytes(store.get(MANIFEST_PATH).body).unverified, garbage_collectable=True)
    store.put(MANIFEST_PATH, manifest.sign(signer).to_bytes())

    def fetch(path):
        blob = store.get(path)
        return None if blob is None else blob.body

    repository = Repository.open(fetch, public_keys=[official.public_key], fqrn=official.fqrn, now=GOLDEN_NOW)
    tags = {tag.name: list(repository.snapshot(tag.name).walk()) for tag in repository.tags()}
    with ThreadPoolExecutor(2) as pool:
        publisher = Publisher(official.fqrn, store, signer, ObjectCache(1 << 20), pool, lambda: GOLDEN_NOW)
        collected = Collector(publisher, Retention(0)).collect()
    assert collected.swept.complete
    report = check_repository(
        fetch,
        exists=store.has,
        public_keys=[official.public_key],
        fqrn=official.fqrn,
        now=GOLDEN_NOW,
        data=True,
        all_tags=True,
    )
    assert report.findings == ()
    again = Repository.open(fetch, public_keys=[official.public_key], fqrn=official.fqrn, now=GOLDEN_NOW)
    assert {tag.name: list(again.snapshot(tag.name).walk()) for tag in again.tags()} == tags
