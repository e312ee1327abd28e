"""What a server says of itself: no repository is lost from its list, and nothing of the operator's is overwritten."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from functions.adapters.directory import DirectoryBlobStore
from functions.adapters.memory import MemoryBlobStore
from functions.errors import RepositoryDamaged
from functions.publishing.json_files import edit_json, note_status
from functions.publishing.server_info import META_PATH, REPOSITORIES_PATH, delist, enlist
from tests.world import World


@pytest.fixture(params=["memory", "folder"])
def server(request, tmp_path):
    return MemoryBlobStore() if request.param == "memory" else DirectoryBlobStore(tmp_path)


FACTS = {
    "cvmfs_version": "cvmfs-cloud",
    "os_id": "none",
    "os_version_id": "none",
    "os_pretty_name": "object storage",
}


def listed(server):
    return json.loads(server.get(REPOSITORIES_PATH).body)


def test_the_list_has_the_form_that_monitoring_knows(server):
    enlist(server, "a.example.org")
    assert listed(server) == {
        "schema": 1,
        **FACTS,
        "repositories": [{"name": "a.example.org", "url": "/cvmfs/a.example.org"}],
        "replicas": [],
    }
    assert json.loads(server.get(META_PATH).body) == {
        "administrator": "",
        "email": "",
        "organisation": "",
        "custom": {},
    }


def test_a_repository_is_listed_once_and_taken_out_again(server):
    for name in ("a.example.org", "b.example.org", "a.example.org"):
        enlist(server, name)
    assert [entry["name"] for entry in listed(server)["repositories"]] == ["a.example.org", "b.example.org"]
    version = server.get(REPOSITORIES_PATH).version
    enlist(server, "b.example.org")
    assert server.get(REPOSITORIES_PATH).version == version, "nothing is written that is there already"
    delist(server, "a.example.org")
    delist(server, "c.example.org")
    assert [entry["name"] for entry in listed(server)["repositories"]] == ["b.example.org"]


def test_what_others_wrote_stays(server):
    theirs = {
        "schema": 1,
        "last_geodb_update": "Mon Nov 23 10:00:00 UTC 2026",
        "cvmfs_version": "2.12.0",
        "replicas": [{"name": "r.example.org", "url": "/cvmfs/r.example.org"}],
        "repositories": [{"name": "a.example.org", "url": "/cvmfs/a", "alias": "a"}, "odd"],
    }
    server.put(REPOSITORIES_PATH, json.dumps(theirs).encode())
    server.put(META_PATH, b'{"administrator": "me"}')
    enlist(server, "a.example.org")
    enlist(server, "b.example.org")
    added = {"name": "b.example.org", "url": "/cvmfs/b.example.org"}
    assert listed(server) == FACTS | theirs | {"repositories": [*theirs["repositories"], added]}
    assert server.get(META_PATH).body == b'{"administrator": "me"}'


def test_a_file_that_is_no_json_is_not_overwritten(server):
    for body in (b"not json", b"[1]", b"[" * 100_000):
        server.put(REPOSITORIES_PATH, body)
        with pytest.raises(RepositoryDamaged, match="JSON"):
            enlist(server, "a.example.org")
        assert server.get(REPOSITORIES_PATH).body == body


def test_many_repositories_made_at_once_are_all_listed(server):
    names = [f"r{number}.example.org" for number in range(24)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(lambda name: enlist(server, name), names))
    assert sorted(entry["name"] for entry in listed(server)["repositories"]) == sorted(names)


def test_the_status_of_a_repository_keeps_its_other_members():
    store = MemoryBlobStore()
    store.put(".cvmfs_status.json", b'{"last_check": "earlier", "more": 1}')
    note_status(store, "last_gc", datetime(2026, 11, 3, 4, 5, 6, tzinfo=UTC))
    assert json.loads(store.get(".cvmfs_status.json").body) == {
        "last_check": "earlier",
        "more": 1,
        "last_gc": "Tue Nov  3 04:05:06 UTC 2026",
    }


def test_an_edit_begins_with_nothing_where_there_is_no_file():
    store = MemoryBlobStore()
    assert edit_json(store, "x.json", lambda members: members.update(a=1)) == {"a": 1}
    assert store.get("x.json").body == b'{\n  "a": 1\n}\n'


def test_every_repository_that_the_service_makes_is_listed_beside_it():
    world = World()
    try:
        for user in ("alice", "bob"):
            world.repository(user)
        assert [entry["name"] for entry in listed(world.store_of(""))["repositories"]] == [
            "alice.infn.it",
            "bob.infn.it",
        ]
    finally:
        world.close()


def test_a_list_that_somebody_broke_does_not_keep_a_repository_from_being_made():
    world = World()
    try:
        world.store_of("").put(REPOSITORIES_PATH, b"<html>")
        world.repository("alice")
        assert world.revision("alice.infn.it") == 1
        assert world.store_of("").get(REPOSITORIES_PATH).body == b"<html>"
        assert world.bus.pop("fn.create-repository.parked") is not None
    finally:
        world.close()
