"""The whole service on real servers: what users do, what is killed on the way, and what a verifying reader sees."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hvac
import pika
import pytest
import urllib3

from events import RepositoryRequested
from functions.adapters.http import HttpReader
from functions.cvmfs.checker import check_repository
from functions.cvmfs.reader import Repository, Snapshot
from functions.local.servers.s3_setup import client
from functions.local.servers.secrets_file import read_secrets
from functions.local.stack import Stack
from functions.publishing.records import Problem, open_problems
from functions.settings import Settings
from functions.wiring import build_state
from tests.cli_repository import run

pytestmark = pytest.mark.services

PATIENCE_S = 90.0
NOTIFICATIONS = "fn.handle-bucket-notification"
NO_CLOUDEVENT = "type: is 'dev.knative.rabbitmq.event'"


class Service:
    """A running stack, and what its users hold in their hands."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = urllib3.PoolManager()
        self.vault = hvac.Client(stack.vault.endpoints.address, stack.vault.endpoints.root_token.get_secret_value())

    def request(self, username: str) -> User:
        """Ask for a personal repository through the gateway and wait until it can be mounted."""
        subject = str(uuid.uuid5(uuid.NAMESPACE_DNS, username))
        account = self.stack.ceph.create_user(subject)
        event = RepositoryRequested(repository=f"{username}.infn.it", username=username, subject=subject).to_cloudevent(
            source="/test", time=datetime.now(UTC)
        )
        body = json.dumps(dict(event.get_attributes()) | {"data": event.get_data()}).encode()
        answer = self.http.request(
            "POST",
            f"{self.stack.gateway_url}/events",
            body=body,
            headers={"Content-Type": "application/cloudevents+json"},
        )
        assert answer.status == 202, answer.data
        user = User(self, username, subject, client("s3", self.stack.ceph.endpoints.s3_url, account))
        eventually(lambda: user.reader.fetch(".cvmfspublished") is not None, "the first revision")
        return user

    def queue(self, name: str) -> int:
        """Messages waiting in a queue."""
        with self.channel() as channel:
            return int(channel.queue_declare(name, passive=True).method.message_count)

    def parked(self, step: str) -> list[tuple[dict[str, Any], bytes]]:
        """Take what is parked for a step: headers and body."""
        taken = []
        with self.channel() as channel:
            while True:
                method, properties, body = channel.basic_get(f"fn.{step}.parked", auto_ack=True)
                if method is None:
                    return taken
                taken.append((properties.headers, body))

    def channel(self) -> _Channel:
        return _Channel(self.stack.rabbit.endpoints.amqp_url.get_secret_value())

    def kill_instances(self, function: str) -> int:
        """Kill every process of a function's instances, without warning."""
        killed = 0
        for pid in self.stack.runtime.status().services[function].pids:
            for process in [*_children(pid), pid]:
                os.kill(process, signal.SIGKILL)
                killed += 1
        return killed


class _Channel:
    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))

    def __enter__(self) -> Any:
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class User:
    """One user: an S3 client, a bucket, and a worker node."""

    def __init__(self, service: Service, name: str, subject: str, s3: Any) -> None:
        self.name, self.fqrn, self.subject, self.s3 = name, f"{name}.infn.it", subject, s3
        self.service = service
        self.reader = HttpReader(f"{service.stack.repository_url}/{self.fqrn}")

    def put(self, key: str, body: bytes = b"", **metadata: str) -> None:
        self.s3.put_object(Bucket=self.name, Key=f"cvmfs/{key}", Body=body, Metadata=metadata)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.name, Key=f"cvmfs/{key}")

    @property
    def public_key(self) -> str:
        secret = self.service.vault.secrets.kv.v2.read_secret_version(
            f"{self.subject}/cvmfs_keys/{self.fqrn}", mount_point="secrets", raise_on_deleted_version=True
        )
        return str(secret["data"]["data"]["publicKey"])

    def snapshot(self) -> Snapshot:
        return Repository.open(
            self.reader.fetch, public_keys=[self.public_key], fqrn=self.fqrn, now=datetime.now(UTC)
        ).snapshot()

    def content(self, path: str) -> bytes | None:
        snapshot = self.snapshot()
        entry = snapshot.lookup(path)
        return snapshot.read(path) if entry is not None and entry.is_regular else None

    def problems(self) -> dict[str, Problem]:
        state = build_state(Settings.from_mapping(self.service.stack.settings_mapping()))
        return {problem.key: problem for problem in open_problems(state, self.fqrn)}

    def check(self) -> list[object]:
        report = check_repository(
            self.reader.fetch,
            exists=self.reader.exists,
            public_keys=[self.public_key],
            fqrn=self.fqrn,
            now=datetime.now(UTC),
            data=True,
        )
        return list(report.findings)


def eventually(holds: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.1)


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Stack(tmp_path_factory.mktemp("stack"), store="memstore") as stack:
        stack.wait_for_notifications()
        yield Service(stack)


@pytest.fixture(scope="module")
def alice(service: Service) -> User:
    return service.request("alice")


def test_an_upload_is_visible_to_a_worker_node_and_its_removal_too(alice: User) -> None:
    alice.put("bin/tool", b"#!/bin/sh\n")
    alice.put("ümläut/sp ace+%25.txt", b"odd")
    alice.put("l.rclonelink", b"bin/tool", mode="120777")
    eventually(lambda: alice.content("/ümläut/sp ace+%25.txt") == b"odd", "the odd name")
    eventually(lambda: alice.content("/bin/tool") == b"#!/bin/sh\n", "the tool")
    eventually(lambda: alice.snapshot().lookup("/l") is not None, "the link")
    snapshot = alice.snapshot()
    tool, link = snapshot.lookup("/bin/tool"), snapshot.lookup("/l")
    assert tool is not None
    assert link is not None
    assert (tool.mode, link.symlink) == (0o100755, "bin/tool")
    alice.delete("ümläut/sp ace+%25.txt")
    eventually(lambda: alice.snapshot().lookup("/ümläut") is None, "the removal")
    assert alice.check() == []


def test_an_archive_is_unpacked(alice: User) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for number in range(50):
            member = tarfile.TarInfo(f"pkg/lib/{number}")
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    alice.put("sw/pkg.tar.xz", packed.getvalue())
    eventually(lambda: alice.content("/sw/pkg/lib/49") == b"abc", "the archive's last file")
    assert alice.check() == []


def test_what_cannot_be_published_is_told_and_harms_nothing(service: Service, alice: User) -> None:
    alice.put("a//b", b"1")
    alice.put("broken.tar.gz", b"no archive")
    alice.put("fine", b"2")
    eventually(lambda: alice.content("/fine") == b"2", "the good neighbour")
    eventually(lambda: set(alice.problems()) == {"cvmfs/a//b", "cvmfs/broken.tar.gz"}, "both problems")
    assert all(problem.hint for problem in alice.problems().values())
    alice.delete("a//b")
    alice.delete("broken.tar.gz")
    eventually(lambda: alice.problems() == {}, "the problems to be gone with their objects")
    reasons = [headers["x-parked-reason"] for headers, _ in service.parked("handle-bucket-notification")]
    assert len(reasons) == 2


def test_a_parked_message_can_be_read_redriven_and_dropped(service: Service, alice: User) -> None:
    environment: dict[str, str | None] = dict(service.stack.settings_mapping())

    def queue(*arguments: str) -> Any:
        result = run("queue", *arguments, "--json", environment=environment)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    step = "handle-bucket-notification"
    service.parked(step)  # what other tests left
    alice.put("odd//name", b"1")
    eventually(lambda: service.queue(f"fn.{step}.parked") == 1, "the parked notification")
    for _ in range(2):
        (message,) = queue("show", step, "--repository", alice.fqrn)
    assert json.loads(message["body"])["Records"][0]["s3"]["object"]["key"] == "cvmfs/odd//name"
    assert queue("redrive", step, message["id"])["stayed"] == {}
    eventually(lambda: bool(queue("show", step)), "the notification to be parked again")
    assert queue("drop", step)["repositories"] == [alice.fqrn]
    alice.delete("odd//name")
    eventually(lambda: "cvmfs/odd//name" not in alice.problems(), "the problem to be gone with its object")
    counts = {listed["step"]: listed for listed in queue("list")["steps"]}
    assert (counts[step]["parked"], counts[step]["retry"], counts["legacy-requests"]["parked"]) == (0, 0, 0)


def test_a_message_that_no_binding_takes_reaches_its_function_from_the_queue_of_unrouted_ones(
    service: Service, alice: User
) -> None:
    environment: dict[str, str | None] = dict(service.stack.settings_mapping())
    with service.channel() as channel:
        channel.queue_unbind(NOTIFICATIONS, "notification", "#")
        alice.put("unrouted", b"1")
        eventually(lambda: service.queue("cvmfs.unrouted") == 1, "the unrouted notification")
        channel.queue_bind(NOTIFICATIONS, "notification", "#")
    (message,) = json.loads(run("queue", "show", "unrouted", "--json", environment=environment).stdout)
    assert (message["exchange"], message["repositories"]) == ("notification", [alice.fqrn])
    assert run("queue", "redrive", "unrouted", environment=environment).exit_code == 0
    eventually(lambda: alice.content("/unrouted") == b"1", "what was unrouted")


def test_the_gateway_tells_what_worker_nodes_see(service: Service, alice: User) -> None:
    alice.put("told//odd", b"1")
    eventually(lambda: bool(alice.problems()), "the problem")

    def told(path: str) -> Any:
        answer = service.http.request("GET", f"{service.stack.gateway_url}{path}")
        assert answer.status == 200, answer.data
        return answer.json()

    manifest = alice.snapshot().root
    shown = told(f"/repositories/{alice.fqrn}")
    assert (shown["root_hash"], shown["state"], shown["faults"]) == (str(manifest), "active", [])
    assert shown["entries"] == len(list(alice.snapshot().walk()))
    assert shown["waiting_changes"] == 0
    assert alice.fqrn in [repository["name"] for repository in told("/repositories?limit=500")["repositories"]]
    (problem,) = told(f"/repositories/{alice.fqrn}/problems")["problems"]
    assert problem["key"] == "cvmfs/told//odd"
    alice.delete("told//odd")
    eventually(lambda: not alice.problems(), "the problem to be gone with its object")
    service.parked("handle-bucket-notification")


@pytest.mark.parametrize(
    ("queue", "step", "body", "reason"),
    [
        pytest.param(NOTIFICATIONS, "handle-bucket-notification", b"{]", "not JSON", id="broken JSON"),
        pytest.param(NOTIFICATIONS, "handle-bucket-notification", b"{}", "Records", id="no records"),
        pytest.param("fn.store-keys", "store-keys", b'{"x": 1}', NO_CLOUDEVENT, id="a plain message to store_keys"),
        pytest.param("cvmfs", "legacy-requests", b"one,two", "has 2 comma-separated", id="an older request cut short"),
    ],
)
def test_a_message_nobody_can_read_is_parked_with_the_reason(
    service: Service, queue: str, step: str, body: bytes, reason: str
) -> None:
    service.parked(step)  # what other tests left
    with service.channel() as channel:
        channel.basic_publish("", queue, body)
    taken: list[tuple[dict[str, Any], bytes]] = []
    eventually(lambda: bool(taken.extend(service.parked(step)) or taken), "the parked message")
    ((headers, _),) = taken
    assert reason in headers["x-parked-reason"]
    assert service.queue(queue) == 0


def test_killed_functions_lose_nothing(service: Service, alice: User) -> None:
    bodies = {f"burst/{number:03}": os.urandom(2000) for number in range(120)}
    with ThreadPoolExecutor(8) as threads:
        puts = [threads.submit(alice.put, key, body) for key, body in bodies.items()]
        killed = 0
        for function in ("handle-bucket-notification", "publish-transaction", "handle-bucket-notification"):
            time.sleep(0.6)
            killed += service.kill_instances(function)
        for put in puts:
            put.result()
    assert killed

    def all_there() -> bool:
        snapshot = alice.snapshot()
        return all(snapshot.lookup(f"/{key}") is not None for key in bodies)

    eventually(all_there, "every upload of the burst")
    snapshot = alice.snapshot()
    assert {key: snapshot.read(f"/{key}") for key in bodies} == bodies
    assert alice.check() == []


def test_a_sealed_vault_delays_revisions_and_loses_nothing(service: Service, alice: User) -> None:
    service.vault.sys.seal()
    alice.put("while/sealed", b"1")
    time.sleep(2)
    secrets = read_secrets(service.stack.folder / "vault" / "secrets.json")
    assert secrets is not None
    service.vault.sys.submit_unseal_key(secrets["unseal_key"].get_secret_value())
    eventually(lambda: alice.content("/while/sealed") == b"1", "what was uploaded while Vault was sealed")


def test_uploads_during_a_broker_outage_are_published_after_it(service: Service, alice: User) -> None:
    service.stack.rabbit.stop()
    for number in range(10):
        alice.put(f"while/broker-down/{number}", b"2")
    service.stack.rabbit.start()
    eventually(
        lambda: (
            (snapshot := alice.snapshot()).lookup("/while/broker-down") is not None
            and len(snapshot.listing("/while/broker-down")) == 10
        ),
        "what was uploaded while the broker was down",
    )
    assert alice.check() == []


def test_an_event_delivered_twice_changes_nothing(service: Service, alice: User) -> None:
    before = alice.reader.fetch(".cvmfspublished")
    again = service.request("alice")
    assert again.reader.fetch(".cvmfspublished") == before


def test_nothing_is_left_in_any_queue(service: Service) -> None:
    for queue in ("fn.store-keys", "fn.create-repository", "fn.handle-bucket-notification", "fn.publish-transaction"):
        eventually(lambda name=queue: service.queue(name) + service.queue(f"{name}.retry") == 0, f"{queue} to be empty")  # type: ignore[misc]
    assert service.queue("changes.alice.infn.it") == 0
    assert service.queue("cvmfs.unrouted") == 0
