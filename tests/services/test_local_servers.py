"""The real servers of the local stack: what they leave behind, what survives, and what the service asks of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pika
import pytest
import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from functions.local.servers import (
    CephServer,
    LocalServerError,
    RabbitServer,
    VaultServer,
    start_together,
    stop_together,
)
from functions.local.servers.processes import ProcessBook
from functions.local.servers.s3_setup import client
from functions.local.servers.vault_api import VaultApi
from tests.local_processes import eventually, files_open_for_writing, processes_below

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[2]
OUTSIDE = ("/etc/ceph", "/etc/rabbitmq", "/run", "/var/lib/ceph", "/var/lib/rabbitmq", "/var/log", "/var/tmp")
SERVER_WORDS = ("ceph", "rados", "rabbit", "erl", "epmd", "bao", "vault", "raft", "core")


def three_in(folder: Path) -> tuple[CephServer, RabbitServer, VaultServer]:
    return CephServer(folder / "ceph"), RabbitServer(folder / "rabbit"), VaultServer(folder / "vault")


def outside() -> set[str]:
    """Every path a careless server would write to: system folders whole; crowded ones by names that give it away."""
    seen = {str(path) for top in OUTSIDE for path in Path(top).rglob("*")}
    crowded = (path for top in (Path("/tmp"), Path.home(), ROOT, Path("/dev/shm")) for path in top.iterdir())
    return seen | {str(path) for path in crowded if any(word in path.name for word in SERVER_WORDS)}


def queue_with(rabbit: RabbitServer, queue: str, *, exchange: str = "") -> pika.BlockingConnection:
    """A connection on which a quorum queue is declared, bound by its name to a topic exchange if one is given."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbit.endpoints.amqp_url.get_secret_value()))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    if exchange:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_bind(queue, exchange, queue)
    return connection


def next_message(connection: pika.BlockingConnection, queue: str, *, within_s: float) -> bytes | None:
    channel = connection.channel()
    for method, _, body in channel.consume(queue, inactivity_timeout=within_s):
        if method is not None:
            channel.basic_ack(method.delivery_tag)
        channel.cancel()
        return body
    return None


class TestLeavingNothing:
    def test_a_stop_leaves_no_process_and_nothing_outside_and_a_start_finds_everything_again(self, tmp_path):
        before = outside()
        servers = ceph, rabbit, vault = three_in(tmp_path)
        try:
            start_together(servers)
            assert all(server.alive() for server in servers)
            first = (ceph.endpoints, rabbit.endpoints, vault.endpoints)
            running = processes_below(tmp_path)
            written = {path for pid in running for path in files_open_for_writing(pid)}
            assert [path for path in written if not path.is_relative_to(tmp_path)] == []
            recorded = {record.name for folder in tmp_path.iterdir() for record in ProcessBook(folder).read()}
            assert recorded == {"ceph-mon", "ceph-osd", "radosgw", "rabbitmq", "epmd", "bao"}

            alice = ceph.create_user("alice", "Alice A.")
            s3 = client("s3", ceph.endpoints.s3_url, alice)
            s3.create_bucket(Bucket="alice")
            s3.put_object(Bucket="alice", Key="cvmfs/hello", Body=b"data survive")
            with queue_with(rabbit, "kept") as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                channel.basic_publish("", "kept", b"messages survive", mandatory=True)
            with urllib3.PoolManager() as http:
                kv = VaultApi(http, vault.endpoints.address, vault.endpoints.root_token)
                kv.call("POST", "secrets/data/s/cvmfs_keys/a.b", {"data": {"publicKey": "keys survive"}})

            stop_together(servers)
            assert not any(server.alive() for server in servers)
            assert processes_below(tmp_path) == {}
            assert outside() - before == set()

            start_together(servers)
            assert (ceph.endpoints, rabbit.endpoints, vault.endpoints) == first
            assert ceph.create_user("alice") == alice
            assert s3.get_object(Bucket="alice", Key="cvmfs/hello")["Body"].read() == b"data survive"
            s3.create_bucket(Bucket="alice-2")
            with queue_with(rabbit, "kept") as connection:
                assert next_message(connection, "kept", within_s=30) == b"messages survive"
            with urllib3.PoolManager() as http:
                kv = VaultApi(http, vault.endpoints.address, vault.endpoints.root_token)
                stored = kv.call("GET", "secrets/data/s/cvmfs_keys/a.b")
            assert stored["data"]["data"] == {"publicKey": "keys survive"}
        finally:
            stop_together(servers)
        assert processes_below(tmp_path) == {}

    def test_kill_minus_nine_of_the_owner_leaves_no_process_and_the_next_owner_takes_over(self, tmp_path):
        script = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from functions.local.servers import *\n"
            "folder = Path(sys.argv[1])\n"
            "ceph = CephServer(folder / 'ceph')\n"
            "start_together([ceph, RabbitServer(folder / 'rabbit'), VaultServer(folder / 'vault')])\n"
            "ceph.client('s3').create_bucket(Bucket='before')\n"
            "print('started', flush=True)\n"
            "time.sleep(600)\n"
        )
        with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as owner:
            try:
                assert owner.stdout.readline() == b"started\n"
                running = processes_below(tmp_path)
                assert {"ceph-mon", "ceph-osd", "radosgw", "beam.smp", "epmd", "bao"} <= {
                    Path(command.split()[0]).name for command in running.values()
                }
                with pytest.raises(LocalServerError, match="in use by another process"):
                    CephServer(tmp_path / "ceph").start()
            finally:
                owner.kill()
        assert eventually(lambda: not processes_below(tmp_path), within_s=30), processes_below(tmp_path)

        ceph = CephServer(tmp_path / "ceph")
        try:
            ceph.start()
            began = time.monotonic()
            ceph.client("s3").create_bucket(Bucket="after")
            # The dead RadosGW's watches would hold this up for 28 s.
            assert time.monotonic() - began < 15
            assert {bucket["Name"] for bucket in ceph.client("s3").list_buckets()["Buckets"]} == {"before", "after"}
        finally:
            ceph.stop()

    def test_a_server_that_cannot_start_says_why_and_leaves_no_process(self, tmp_path):
        rabbit = RabbitServer(tmp_path / "rabbit")
        (tmp_path / "rabbit").mkdir()
        (tmp_path / "rabbit" / "enabled_plugins").mkdir()
        with pytest.raises(LocalServerError) as caught:
            rabbit.start()
        assert "enabled_plugins" in str(caught.value)
        assert processes_below(tmp_path) == {}
        (tmp_path / "rabbit" / "enabled_plugins").rmdir()

        vault = VaultServer(tmp_path / "vault")
        (tmp_path / "vault").mkdir()
        (tmp_path / "vault" / "raft").write_text("not a folder")
        with pytest.raises(LocalServerError):
            vault.start()
        assert processes_below(tmp_path) == {}
        with pytest.raises(LocalServerError, match="has not been started"):
            _ = vault.endpoints


class TestRadosGateway:
    def test_everyone_may_read_the_repositories_and_nobody_the_state(self, servers):
        s3 = servers.ceph.client("s3")
        s3.put_object(Bucket="cvmfs", Key="a.example.org/.cvmfspublished", Body=b"manifest")
        s3.put_object(Bucket="cvmfs-state", Key="secret", Body=b"{}")
        base = servers.ceph.endpoints.s3_url
        with urllib3.PoolManager() as http:
            published = http.request("GET", f"{base}/cvmfs/a.example.org/.cvmfspublished")
            assert (published.status, published.data) == (200, b"manifest")
            assert http.request("GET", f"{base}/cvmfs/a.example.org/data/00/00").status == 404
            assert http.request("PUT", f"{base}/cvmfs/a.example.org/.cvmfspublished", body=b"x").status == 403
            assert http.request("GET", f"{base}/cvmfs-state/secret").status == 403

    def test_the_service_user_reads_every_bucket_and_a_user_only_their_own(self, servers):
        url = servers.ceph.endpoints.s3_url
        alice = client("s3", url, servers.ceph.create_user("alice"))
        bob = client("s3", url, servers.ceph.create_user("bob"))
        alice.create_bucket(Bucket="of-alice")
        alice.put_object(Bucket="of-alice", Key="k" * 1024, Body=b"mine")
        assert servers.ceph.client("s3").get_object(Bucket="of-alice", Key="k" * 1024)["Body"].read() == b"mine"
        with pytest.raises(ClientError, match="AccessDenied"):
            bob.get_object(Bucket="of-alice", Key="k" * 1024)

    def test_another_process_may_look_after_its_users(self, servers):
        made = CephServer.beside(servers.ceph.folder).create_user("carol")
        assert servers.ceph.create_user("carol") == made

    def test_a_radosgw_that_is_killed_comes_back(self, servers):
        s3 = servers.ceph.client("s3")
        restarts = servers.ceph.restarts
        (gateway,) = (r for r in ProcessBook(servers.ceph.folder).read() if r.name == "radosgw")
        os.kill(gateway.pid, signal.SIGKILL)

        def writes() -> bool:
            try:
                s3.put_object(Bucket="cvmfs", Key="after-the-kill", Body=b"x")
            except (BotoCoreError, ClientError):
                return False
            return servers.ceph.restarts == restarts + 1

        assert eventually(writes, within_s=60)
        assert servers.ceph.alive()
        log = (servers.ceph.folder / "log" / "radosgw.log").read_text()
        assert "keeper: radosgw was ended by SIGKILL; it is started again" in log

    @pytest.mark.parametrize(
        "persistent",
        [pytest.param(False, id="of a plain topic"), pytest.param(True, id="of a persistent topic")],
    )
    def test_an_upload_below_cvmfs_reaches_rabbitmq(self, servers, persistent):
        topic = f"topic-{persistent}".lower()
        rabbit, ceph = servers.rabbit, servers.ceph
        s3 = ceph.client("s3")
        # One exchange for both: RadosGW refuses a second one on a broker it is already connected to.
        with queue_with(rabbit, topic, exchange="notification") as connection:
            for _ in range(2):
                ceph.ensure_topics([topic], rabbit.endpoints.amqp_url, "notification", persistent=persistent)
            s3.create_bucket(Bucket=topic)
            s3.put_bucket_notification_configuration(
                Bucket=topic,
                NotificationConfiguration={
                    "TopicConfigurations": [
                        {
                            "Id": "cvmfs",
                            "TopicArn": f"arn:aws:sns:default::{topic}",
                            "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "cvmfs/"}]}},
                        }
                    ]
                },
            )
            if persistent:
                ceph.wait_for_topics([topic], timeout_s=120)
            s3.put_object(Bucket=topic, Key="private/notes", Body=b"x")
            s3.put_object(Bucket=topic, Key="cvmfs/bin/tool", Body=b"x")
            body = next_message(connection, topic, within_s=60)
            assert body is not None
            (record,) = json.loads(body)["Records"]
            assert record["s3"]["object"]["key"] == "cvmfs/bin/tool"
            assert record["eventName"] == "ObjectCreated:Put"

    def test_waiting_for_a_topic_that_nobody_made_ends(self, servers):
        with pytest.raises(LocalServerError, match="let RadosGW deliver from no-such-topic within 1 s"):
            servers.ceph.wait_for_topics(["no-such-topic"], timeout_s=1)


class TestRabbitMq:
    def test_its_user_administers_it_and_guest_does_not_exist(self, servers):
        endpoints = servers.rabbit.endpoints
        with urllib3.PoolManager() as http:

            def status(user: str, password: str) -> int:
                login = urllib3.make_headers(basic_auth=f"{user}:{password}")
                return http.request("GET", f"{endpoints.management_url}/api/queues", headers=login).status

            assert status(endpoints.username, endpoints.password.get_secret_value()) == 200
            assert status("guest", "guest") == 401

    def test_secrets_are_neither_shown_nor_readable_by_others(self, servers):
        password = servers.rabbit.endpoints.password.get_secret_value()
        token = servers.vault.endpoints.root_token.get_secret_value()
        shown = repr((servers.rabbit.endpoints, servers.vault.endpoints, servers.ceph.endpoints))
        assert password not in shown
        assert token not in shown
        for server in (servers.rabbit, servers.vault):
            for file in server.folder.rglob("*"):
                if file.is_file() and file.suffix in {".json", ".conf"} and file.name != "ports.json":
                    text = file.read_text()
                    assert (password not in text and token not in text) or not file.stat().st_mode & 0o077


def logged_in(http: urllib3.PoolManager, vault: VaultServer, function: str) -> VaultApi:
    role_id, secret_id = vault.approle(function)
    login = {"role_id": role_id, "secret_id": secret_id.get_secret_value()}
    token = VaultApi(http, vault.endpoints.address).call("POST", "auth/approle/login", login)["auth"]["client_token"]
    return VaultApi(http, vault.endpoints.address, SecretStr(token))


KEY = "transit/keys/a.example.org-"
SIGN = "transit/sign/a.example.org-"
PERSONAL = "secrets/data/subject-1/cvmfs_keys/a.example.org"
GROUP = "secrets/data/groups/atlas/cvmfs_keys/a.example.org"
RSA = {"type": "rsa-2048"}
FIELDS = {"data": {"publicKey": "p", "certificateKey": "c"}}
INPUT = "MTIzNDU2Nzg5MGFiY2RlZjEyMzQ1Njc4OTBhYmNkZWY="
AS_MANIFEST = {"input": INPUT, "hash_algorithm": "sha1", "signature_algorithm": "pkcs1v15"}
AS_WHITELIST = {"input": INPUT, "hash_algorithm": "none", "prehashed": True, "signature_algorithm": "pkcs1v15"}
AS_CERTIFICATE = {"input": INPUT, "hash_algorithm": "sha2-256", "signature_algorithm": "pkcs1v15"}

MAY = [
    ("store-keys", "POST", f"{KEY}master", RSA, "make a master key, again and again"),
    ("store-keys", "POST", "transit/keys/new.example.org-signing", RSA, "make a new key"),
    ("store-keys", "GET", f"{KEY}signing", None, "read a public key"),
    ("store-keys", "POST", f"{SIGN}signing", AS_CERTIFICATE, "sign a certificate"),
    ("store-keys", "POST", PERSONAL, FIELDS, "store a user's keys"),
    ("store-keys", "POST", GROUP, FIELDS, "store a group's keys"),
    ("store-keys", "GET", PERSONAL, None, "read what it stored"),
    ("create-repository", "GET", PERSONAL, None, "read a user's keys"),
    ("create-repository", "GET", GROUP, None, "read a group's keys"),
    ("create-repository", "POST", f"{SIGN}master", AS_WHITELIST, "sign a whitelist"),
    ("create-repository", "POST", f"{SIGN}signing", AS_MANIFEST, "sign a manifest"),
    ("publish-transaction", "POST", f"{SIGN}signing", AS_MANIFEST, "sign a manifest"),
]
MAY_NOT = [
    ("store-keys", "DELETE", f"{KEY}master", None, "delete a key"),
    ("store-keys", "POST", f"{KEY}master/config", {"deletion_allowed": True}, "loosen a key"),
    ("store-keys", "POST", f"{KEY}master/rotate", {}, "rotate a key"),
    ("store-keys", "GET", "transit/export/signing-key/a.example.org-master", None, "export a key"),
    ("store-keys", "POST", f"{SIGN}master", AS_WHITELIST, "sign a whitelist"),
    ("store-keys", "POST", f"{SIGN}signing", AS_MANIFEST, "sign a manifest"),
    ("store-keys", "POST", "secrets/data/elsewhere", FIELDS, "write elsewhere"),
    ("store-keys", "DELETE", "secrets/metadata/subject-1/cvmfs_keys/a.example.org", None, "delete stored keys"),
    ("create-repository", "POST", "transit/keys/new2.example.org-master", RSA, "make a key"),
    ("create-repository", "POST", PERSONAL, FIELDS, "change stored keys"),
    ("publish-transaction", "POST", f"{SIGN}master", AS_WHITELIST, "sign a whitelist"),
    ("publish-transaction", "POST", f"{SIGN}master/none", {**AS_MANIFEST, "prehashed": True}, "sign one by the path"),
    ("publish-transaction", "POST", f"{SIGN}signing", {"input": INPUT}, "sign with the default algorithm"),
    ("publish-transaction", "GET", PERSONAL, None, "read stored keys"),
    ("publish-transaction", "POST", "transit/keys/new3.example.org-signing", RSA, "make a key"),
    ("handle-bucket-notification", "POST", f"{SIGN}signing", AS_MANIFEST, "sign"),
    ("reconcile-bucket", "POST", f"{SIGN}signing", AS_MANIFEST, "sign"),
    ("reconcile-bucket", "GET", PERSONAL, None, "read stored keys"),
    ("handle-bucket-notification", "GET", PERSONAL, None, "read stored keys"),
    ("gateway", "POST", f"{SIGN}signing", AS_MANIFEST, "sign"),
    ("gateway", "GET", GROUP, None, "read stored keys"),
    ("gateway", "GET", "sys/mounts", None, "look at the mounts"),
]


def as_cases(rows: list[tuple]) -> list:
    return [pytest.param(*row[:4], id=f"{row[0]}: {row[4]}") for row in rows]


@pytest.fixture(scope="module")
def http():
    with urllib3.PoolManager() as pool:
        yield pool


@pytest.fixture(scope="module")
def vault(servers, http):
    """A Vault in which the keys of one repository are stored."""
    root = VaultApi(http, servers.vault.endpoints.address, servers.vault.endpoints.root_token)
    for kind in ("master", "signing"):
        root.call("POST", f"{KEY}{kind}", RSA)
    for path in (PERSONAL, GROUP):
        root.call("POST", path, FIELDS)
    return servers.vault


class TestVaultPolicies:
    @pytest.mark.parametrize(("function", "method", "path", "body"), as_cases(MAY))
    def test_may(self, vault, http, function, method, path, body):
        logged_in(http, vault, function).call(method, path, body)

    @pytest.mark.parametrize(("function", "method", "path", "body"), as_cases(MAY_NOT))
    def test_may_not(self, vault, http, function, method, path, body):
        status, answer = logged_in(http, vault, function).ask(method, path, body)
        assert status == 403
        assert "permission denied" in answer["errors"][0]
