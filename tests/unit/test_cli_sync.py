"""`sync`: asking for a reconciliation, waiting for what comes of it, and looking without changing anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from functions import wiring
from functions.publishing.reconciling import Reconciling, open_view
from functions.publishing.records import load_record
from functions.publishing.rules import Rules
from tests.cli_repository import run
from tests.world import World

FQRN = "alice.infn.it"
SERVICE = {
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "secret",
    "REPOSITORY_URL": "http://127.0.0.1:1/cvmfs",
    "AMQP_URL": "amqp://127.0.0.1:1",
}


@pytest.fixture
def world(world: World, monkeypatch) -> World:
    world.repository()

    def reconciling(settings, fqrn, *, allow_empty):
        record = load_record(world.state, fqrn)
        view = open_view(fqrn, world.store_of(fqrn), world.cloud.cache)
        held = Reconciling(record, world.source, world.state, view, Rules(), world.clock())
        if not allow_empty:
            held.check_bucket(exists=world.buckets.exists(record.bucket), empty_limit=settings.empty_bucket_limit)
        return held

    monkeypatch.setattr(wiring, "open_bus", lambda url, exchange: world.bus)
    monkeypatch.setattr(wiring, "build_state", lambda settings: world.state)
    monkeypatch.setattr(wiring, "open_reconciling", reconciling)
    return world


def sync(*arguments: object, environment=SERVICE):
    return run("sync", *arguments, environment=environment)


def differ(world: World) -> None:
    for name in ("a", "b", "c"):
        world.upload(f"cvmfs/{name}", name.encode())
    world.upload("cvmfs/no.tar", b"no archive")
    world.run_until_quiet()
    world.source.put("alice", "cvmfs/new\x1b[31m", b"1")
    world.source.put("alice", "cvmfs/d/new", b"1")
    world.source.put("alice", "cvmfs/b", b"other")
    world.source.delete("alice", "cvmfs/c")


def test_a_dry_run_shows_the_differences_with_their_reasons_and_changes_nothing(world):
    differ(world)
    before = world.revision()
    result = sync(FQRN, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "~ cvmfs/b (/b): replaced",
        "- cvmfs/c (/c): gone",
        "+ cvmfs/d/new (/d/new): new",
        r"+ cvmfs/new\x1b[31m: refused",
    ]
    assert result.stderr == "5 objects and 3 entries: 2 new, 1 changed, 1 gone; 1 refused, as the problems say.\n"
    world.run_until_quiet()
    assert world.revision() == before


def test_the_same_as_json_below_a_prefix(world):
    differ(world)
    shown = json.loads(sync(FQRN, "--dry-run", "--prefix", "d/", "--json").stdout)
    assert shown.pop("differences") == [{"sign": "+", "key": "cvmfs/d/new", "path": "/d/new", "reason": "new"}]
    assert (shown["repository"], shown["objects"], shown["new"], shown["gone"]) == (FQRN, 1, 1, 0)


def test_asking_is_enough(world):
    differ(world)
    result = sync(FQRN)
    assert (result.exit_code, result.stdout) == (0, f"Asked for {FQRN}; `cvmfs-cloud status` shows how it went.\n")
    world.run_until_quiet()
    assert sync(FQRN, "--dry-run").stdout == ""


@pytest.fixture
def busy(world) -> Iterator[World]:
    """The functions at work beside the command."""
    stop = threading.Event()

    def work():
        while not stop.wait(0.05):
            world.run_until_quiet()

    thread = threading.Thread(target=work)
    thread.start()
    yield world
    stop.set()
    thread.join()


def test_waiting_ends_when_all_is_published_or_refused(world, busy):
    differ(world)
    result = sync(FQRN, "-w")
    assert (result.exit_code, result.stdout) == (0, f"{FQRN} is equal to its bucket: 5 objects, 5 differences.\n")
    with world.reader() as snapshot:
        assert snapshot.read("/b") == b"other"
        assert snapshot.lookup("/c") is None
        assert snapshot.read("/d/new") == b"1"
    told = json.loads(sync(FQRN, "--wait", "--json").stdout)
    assert told["progress"] == "done"


def test_a_bucket_that_is_not_believed_ends_with_one_until_it_is_confirmed(world, busy):
    world.upload("cvmfs/a", b"1")
    world.run_until_quiet()
    world.source.remove_bucket("alice")
    refused = sync(FQRN, "--wait")
    assert refused.exit_code == 1
    assert "bucket alice does not exist" in refused.stderr
    assert "--allow-empty" in refused.stderr
    assert "bucket alice does not exist" in sync(FQRN, "--dry-run").stderr
    assert sync(FQRN, "--dry-run", "--allow-empty").stdout == "- cvmfs/a (/a): gone\n"
    assert sync(FQRN, "--wait", "--allow-empty").exit_code == 0
    with world.reader() as snapshot:
        assert snapshot.lookup("/a") is None


@pytest.mark.parametrize("handled", ["nothing", "reconcile-bucket"])
def test_what_does_not_come_in_time_ends_with_three(world, monkeypatch, handled):
    differ(world)
    if handled != "nothing":
        publish = world.bus.publish
        monkeypatch.setattr(world.bus, "publish", lambda events: (publish(events), world.deliver(handled)))
    result = sync(FQRN, "--wait", "--timeout", "0")
    assert result.exit_code == 3
    assert ("has not ended" in result.stderr) is (handled == "nothing")
    assert ("4 differences are not published" in result.stderr) is (handled != "nothing")


def test_status_says_how_it_went_and_has_a_late_bucket_looked_for(world, monkeypatch, tmp_path):
    def lines():
        return [
            line for line in run("status", FQRN, "--folder", tmp_path).stdout.splitlines() if line.startswith("bucket ")
        ]

    class Served:
        fetch = staticmethod(lambda path: (blob := world.store_of(FQRN).get(path)) and blob.body)
        exists = staticmethod(lambda path: world.store_of(FQRN).has(path))

    base = SERVICE["REPOSITORY_URL"]
    (tmp_path / "stack.json").write_text(json.dumps({"settings": SERVICE, "repository_url": base}))
    monkeypatch.setattr(wiring, "open_fetch", lambda address: (Served.fetch, Served.exists))
    monkeypatch.setattr(wiring, "utc_now", world.clock)
    assert lines() == []
    differ(world)
    sync(FQRN)
    world.run_until_quiet()
    (line,) = lines()
    assert line.startswith("bucket      compared at 2026-03-01 12:0")
    assert line.endswith("5 objects, 5 differences")
    world.source.remove_bucket("alice")
    sync(FQRN)
    world.run_until_quiet()
    assert lines() == ["bucket      is not there yet; once it is, what it holds is published within a minute"]
    world.source.put("alice", "cvmfs/back", b"1")
    assert json.loads(run("status", FQRN, "--folder", tmp_path, "--json").stdout)["bucket"]["waiting"]
    world.run_until_quiet()
    shown = json.loads(run("status", FQRN, "--folder", tmp_path, "--json").stdout)["bucket"]
    assert (shown["waiting"], shown["reconciliation"]["cause"]) == (False, "status")
    with world.reader() as snapshot:
        assert snapshot.read("/back") == b"1"


def test_all_repositories_at_once(world):
    world.repository("bob")
    assert sync("--all").stdout == "Asked for 2 repositories.\n"
    world.run_until_quiet()
    told = [event for event in world.bus.published if event["type"].endswith("bucket.reconciled")]
    assert {event["subject"] for event in told} == {FQRN, "bob.infn.it"}


@pytest.mark.parametrize("arguments", [(), (FQRN, "--all"), ("--all", "--dry-run"), ("not/a/name",)])
def test_wrong_usage(world, arguments):
    assert sync(*arguments).exit_code == 2


def test_the_broker_s_address_is_enough_to_ask_and_nothing_is_not(world, tmp_path):
    nothing: dict[str, str | None] = dict.fromkeys(SERVICE)
    assert sync(FQRN, environment={**nothing, "AMQP_URL": "amqp://127.0.0.1:1"}).exit_code == 0
    result = sync(FQRN, "--folder", tmp_path, environment=nothing)
    assert result.exit_code == 1
    assert "No stack runs in" in result.stderr
    (tmp_path / "stack.json").write_text(json.dumps({"settings": SERVICE}))
    assert sync(FQRN, "--folder", tmp_path, environment=nothing).exit_code == 0


def test_programs_are_told_what_was_asked_for(world):
    world.repository("bob")
    for arguments, repositories in (((FQRN,), [FQRN]), (("--all",), [FQRN, "bob.infn.it"])):
        asked = json.loads(sync(*arguments, "--json").stdout)
        assert [wanted["id"].partition("/")[0] for wanted in asked] == repositories
        assert {wanted["status"] for wanted in asked} == {"accepted"}
