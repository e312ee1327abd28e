"""Sets of many digests, what catalogs refer to, and objects that are made young when they are found."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.objects import pack
from functions.cvmfs.reader import Repository
from functions.cvmfs.references import PREFIX_SIZE, object_addresses, object_prefixes
from functions.publishing import reachability
from functions.publishing.objects import PROBE_FROM, RENEW_AFTER, Objects
from functions.publishing.reachability import KeySet, keys_of
from functions.publishing.retention import Retention
from tests.garbage_world import GarbageWorld, WatchedStore
from tests.golden import GOLDEN, NOW, golden
from tests.small_repository import SmallRepository

digests = st.binary(min_size=20, max_size=20).map(lambda raw: Digest(HashAlgorithm.SHA1, raw))
nasty = st.sampled_from([bytes(20), b"\xff" * 20, bytes(7) + b"\x01" + bytes(12), b"\x80" + bytes(19)]).map(
    lambda raw: Digest(HashAlgorithm.SHA1, raw)
)


@given(st.lists(st.lists(digests | nasty, max_size=8), max_size=6), st.lists(digests | nasty, max_size=8))
def test_a_set_of_keys_holds_what_was_added_and_nothing_else(batches, others):
    keys, model = KeySet(), set()
    for batch in batches:
        keys.add(keys_of(batch))
        model |= {digest.raw[:PREFIX_SIZE] for digest in batch}
        asked = [*others, *batch]
        assert keys.contains(keys_of(asked)).tolist() == [digest.raw[:PREFIX_SIZE] in model for digest in asked]
    assert len(keys) == len(model)


def test_a_set_of_many_keys_is_merged_on_the_way(monkeypatch):
    monkeypatch.setattr(reachability, "_MERGE_FROM", 100)
    keys = KeySet()
    for start in range(0, 1000, 30):
        keys.add(np.arange(start, start + 60, dtype=np.uint64))
    assert len(keys) == 1050
    assert keys.contains(np.array([0, 1049, 1050], dtype=np.uint64)).tolist() == [True, True, False]


def expected(catalog: Catalog) -> set[Address]:
    found = set()
    for _, entry in catalog.walk():
        if entry.is_regular and not entry.is_external:
            if entry.digest is not None:
                found.add(Address(entry.digest, Kind.FILE))
            found |= {Address(chunk.digest, Kind.PARTIAL) for chunk in entry.chunks}
    return found


def check_references(catalog: Catalog) -> None:
    wanted = expected(catalog)
    assert sorted(map(str, object_addresses(catalog))) == sorted(map(str, wanted))
    prefixes = object_prefixes(catalog)
    pieces = {prefixes[at : at + PREFIX_SIZE] for at in range(0, len(prefixes), PREFIX_SIZE)}
    assert pieces == {address.digest.raw[:PREFIX_SIZE] for address in wanted}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_objects_of_an_official_catalog_are_those_of_its_entries(name):
    repository = golden(name)
    reader = Repository.open(repository.fetch, public_keys=[repository.public_key], fqrn=repository.fqrn, now=NOW)
    for _, _, catalog in reader.snapshot().catalogs():
        check_references(catalog)


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_chunks_count_and_external_files_do_not(algorithm):
    for database in SmallRepository(algorithm).databases.values():
        with Catalog.from_bytes(database) as catalog:
            check_references(catalog)


def test_an_empty_catalog_refers_to_nothing():
    with Catalog.new("", GarbageWorld().reader().snapshot().lookup("")) as catalog:
        assert object_prefixes(catalog) == b""


def test_a_catalog_that_revisions_share_is_read_once():
    world = GarbageWorld()
    world.publish({f"/d/{name}": name.encode() for name in "abcdef"})
    for number in range(4):
        world.publish({"/top": b"%d" % number})
    assert len(list(world.reader().snapshot().catalogs())) > 1
    read = []
    collector = world.collector(WatchedStore(world.store, lambda _, name, path: name == "get" and read.append(path)))
    replace(collector, retention=Retention(100)).collect(dry_run=True)
    catalogs = [path for path in read if path.endswith("C")]
    assert len(catalogs) == len(set(catalogs)) > 5


# Objects that are found stored already


@pytest.fixture
def world():
    return GarbageWorld()


LARGE = pack(np.random.default_rng(1).bytes(PROBE_FROM + 1), Kind.FILE, HashAlgorithm.SHA1)


@pytest.mark.parametrize(
    ("age", "writes"),
    [
        pytest.param(timedelta(0), 0, id="new"),
        pytest.param(RENEW_AFTER - timedelta(seconds=1), 0, id="young"),
        pytest.param(RENEW_AFTER, 1, id="no longer young"),
        pytest.param(timedelta(days=900), 1, id="old"),
    ],
)
def test_a_large_object_is_sent_again_only_when_it_is_no_longer_young(world, age, writes):
    calls = []
    ours = Objects(WatchedStore(world.store, lambda _, name, __: calls.append(name)), world.clock)
    ours.put(LARGE)
    world.now += age
    calls.clear()
    ours.put(LARGE)
    assert calls.count("put") == writes
    assert world.now - world.store.info(LARGE.address.path).modified < RENEW_AFTER


def test_what_is_left_of_a_large_object_does_not_count_as_stored(world):
    world.store.put(LARGE.address.path, LARGE.body[:100])
    Objects(world.store, world.clock).put(LARGE)
    assert world.fetch(LARGE.address.path) == LARGE.body


def test_trees_are_followed_by_several_threads(world):
    world.publish({f"/{a}/{b}/{c}": f"{a}{b}{c}".encode() for a in "abc" for b in "abc" for c in "abcd"})
    with ThreadPoolExecutor(4) as pool:
        reach = reachability.Reach(world.store, pool, lambda _: None)
        reach.follow([tag.root for tag in world.reader().tags()], whole=True)
    needed = {path for path in world.reachable() if path[-1] not in "HXM"}
    assert len(reach.keys) == len(needed)
    assert reach.keys.contains(keys_of(Address.from_path(path).digest for path in needed)).all()
