"""Lost notifications on the real stack: a bucket that nobody was told of is made good by one `sync`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import urllib3

from events import RepositoryRequested
from functions.adapters.http import HttpReader
from functions.adapters.s3_connection import S3Connection
from functions.adapters.s3_requests import signed_requests
from functions.cvmfs.reader import Repository, Snapshot
from functions.local.servers.s3_setup import client
from functions.local.stack import Stack
from functions.publishing.records import open_problems
from functions.settings import Settings
from functions.wiring import build_state
from tests.cli_repository import run
from tests.runtime_toys import wait_until

pytestmark = pytest.mark.services

FQRN = "alice.infn.it"
BUCKET = "alice"


class World:
    """A running stack with one repository and its user's S3 client."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.state = build_state(Settings.from_mapping(stack.settings_mapping()))
        account = stack.ceph.create_user("alice-subject")
        self.s3 = client("s3", stack.ceph.endpoints.s3_url, account)
        self.reader = HttpReader(f"{stack.repository_url}/{FQRN}")

    def request(self) -> None:
        wanted = RepositoryRequested(repository=FQRN, username=BUCKET, subject="alice-subject")
        event = wanted.to_cloudevent(source="/test", time=datetime.now(UTC))
        answer = urllib3.request(
            "POST",
            f"{self.stack.gateway_url}/events",
            body=json.dumps(dict(event.get_attributes()) | {"data": event.get_data()}).encode(),
            headers={"Content-Type": "application/cloudevents+json"},
        )
        assert answer.status == 202, answer.data

    def silence(self) -> None:
        """Take the notifications away, as an owner may do by mistake."""
        # RadosGW takes no empty configuration; this request is an extension of its own.
        ceph = self.stack.ceph.endpoints
        service = S3Connection(
            endpoint=ceph.s3_url,
            region=ceph.region,
            access_key=ceph.service.access_key,
            secret_key=ceph.service.secret_key,
        )
        assert signed_requests(service).send("DELETE", f"/{BUCKET}", {"notification": ""}).status in {200, 204}
        assert not self.watched()

    def watched(self) -> bool:
        return bool(self.s3.get_bucket_notification_configuration(Bucket=BUCKET).get("TopicConfigurations"))

    def put(self, key: str, body: bytes, **metadata: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"cvmfs/{key}", Body=body, Metadata=metadata)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=f"cvmfs/{key}")

    def sync(self, *options: str) -> str:
        result = run("sync", FQRN, *options, "--folder", self.stack.folder, environment={"S3_ENDPOINT": None})
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def snapshot(self) -> Snapshot:
        return Repository.open(self.reader.fetch, public_keys=None, fqrn=FQRN, now=datetime.now(UTC)).snapshot()

    def files(self) -> dict[str, bytes]:
        snapshot = self.snapshot()
        return {path: snapshot.read(path) for path, entry in snapshot.walk() if entry.is_regular}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Stack(tmp_path_factory.mktemp("stack"), store="memstore") as stack:
        yield World(stack)


def test_what_a_bucket_holds_before_its_repository_is_made_is_published(world: World) -> None:
    world.s3.create_bucket(Bucket=BUCKET)
    world.put("early/bird", b"worm")
    world.request()
    wait_until(lambda: world.reader.fetch(".cvmfspublished"), "the first revision")
    wait_until(lambda: world.snapshot().lookup("/early/bird"), "what was there before")
    assert world.watched()


def test_300_uploads_of_which_nobody_was_told_are_made_good_by_one_sync(world: World) -> None:
    world.silence()
    bodies = {f"d{number % 7}/s p+ä{number:03}": os.urandom(500) for number in range(300)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: world.put(*item), bodies.items()))
    assert f"+ cvmfs/{min(bodies)} (/{min(bodies)}): new" in world.sync("--dry-run").splitlines()
    assert world.sync("--wait") == f"{FQRN} is equal to its bucket: 301 objects, 300 differences.\n"
    wanted = {f"/{key}": body for key, body in bodies.items()} | {"/early/bird": b"worm"}
    assert world.files() == wanted
    assert world.watched()

    world.silence()
    gone, changed = sorted(bodies)[::3], sorted(bodies)[1::3]
    for key in gone:
        world.delete(key)
        del wanted[f"/{key}"]
    for key in changed:
        world.put(key, b"changed", mode="100755")
        wanted[f"/{key}"] = b"changed"
    assert world.sync("--wait") == f"{FQRN} is equal to its bucket: 201 objects, 200 differences.\n"
    assert world.files() == wanted
    entry = world.snapshot().lookup(f"/{changed[0]}")
    assert entry is not None
    assert entry.mode == 0o100755


def test_the_timer_of_the_manifests_does_the_same_unasked(world: World) -> None:
    world.silence()
    world.put("unheard", b"of")
    world.stack.runtime.ring("reconcile-bucket")
    wait_until(lambda: world.snapshot().lookup("/unheard"), "what nobody was told of")


def test_a_bucket_that_vanished_empties_nothing_and_one_made_anew_is_attached_and_adds(world: World) -> None:
    world.silence()
    before = world.files()
    for entry in world.s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        world.s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    world.s3.delete_bucket(Bucket=BUCKET)
    refused = run("sync", FQRN, "--wait", "--folder", world.stack.folder, environment={"S3_ENDPOINT": None})
    assert refused.exit_code == 1
    assert "does not exist" in refused.stderr
    assert world.files() == before

    world.s3.create_bucket(Bucket=BUCKET)
    world.put("second/life", b"1")
    wait_until(world.watched, "the minute's timer to attach the bucket")
    wait_until(lambda: world.snapshot().lookup("/second/life"), "what the new bucket holds")
    assert world.files() == before | {"/second/life": b"1"}
    assert [problem.code for problem in open_problems(world.state, FQRN)] == ["bucket-made-anew"]
    world.sync("--wait", "--allow-empty")
    assert world.files() == {"/second/life": b"1"}
    assert list(open_problems(world.state, FQRN)) == []
