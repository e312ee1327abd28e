"""A stack whose parts can be killed one by one, with proxies before its stores, and the repositories in it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing.connection import Client
from pathlib import Path

import hvac
import pika
import urllib3
from pydantic import SecretStr

from events import RepositoryRequested
from functions.adapters.http import HttpReader
from functions.handlers.cloud import Cloud
from functions.local.servers.children import Child
from functions.local.servers.processes import ProcessBook
from functions.local.servers.s3_setup import client
from functions.local.servers.secrets_file import read_secrets
from functions.local.stack import MAX_INSTANCES, Stack
from functions.wiring import build_cloud
from tests.tcp_proxy import TcpProxy

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 120.0
CROWDED = {"TAKE_ALONG_FROM": "6", "TAKE_ALONG": "6"}
"""A crowd is seen early, so that messages go both ways: through the event source and beside it."""


class Impatient(AssertionError):
    """Something that must happen did not happen in time."""


def eventually(holds, what, patience_s=PATIENCE_S, every_s=0.1):
    give_up_at = time.monotonic() + patience_s
    while not (answer := holds()):
        if time.monotonic() > give_up_at:
            raise Impatient(f"waited {patience_s:.0f} s for {what}")
        time.sleep(every_s)
    return answer


class KillableStack(Stack):
    """A Stack with its runtime in a process of its own; functions see S3 and RabbitMQ through proxies."""

    def __init__(self, folder, *, progress):
        super().__init__(folder, progress=progress, store="memstore")
        self.folder.chmod(0o700)
        self.journal = self.folder / "journal.jsonl"
        self.store = self.broker = None
        self._process = None
        self._key = secrets.token_hex(16)
        self._listener = 0
        self.lives = 0

    def start_runtime(self):
        if self.store is None:
            self.store = TcpProxy(("127.0.0.1", int(self.ceph.endpoints.s3_url.rpartition(":")[2]))).__enter__()
            self.broker = TcpProxy(("127.0.0.1", self.rabbit.endpoints.amqp_port)).__enter__()
        rabbit = self.rabbit.endpoints
        told = self.folder / f"runtime-{self.lives}.port"
        specification = self.folder / "runtime.json"
        specification.touch(mode=0o600)
        specification.write_text(
            json.dumps(
                {
                    "settings": {
                        name: {key: _plain(value) for key, value in values.items()}
                        | (CROWDED if name == "cvmfs-cloud" else {})
                        for name, values in self.settings_by_name().items()
                    },
                    "broker": {
                        "host": rabbit.host,
                        "amqp_port": self.broker.port,
                        "management_url": rabbit.management_url,
                        "username": rabbit.username,
                        "password": rabbit.password.get_secret_value(),
                    },
                    "state": str(self.folder / "runtime"),
                    "ports": {"gateway": self._gateway_port},
                    "most_instances": MAX_INSTANCES,
                    "journal": str(self.journal),
                    "told": str(told),
                    "key": self._key,
                }
            )
        )
        import sys

        self._process = Child(
            "runtime",
            (sys.executable, "-m", "tests.soak.runtime_process", specification),
            folder=self.folder,
            environment={**os.environ, "PYTHONPATH": str(PROJECT)},
            book=ProcessBook(self.folder),
        )
        self._process.start(keep_log=True)
        self.lives += 1
        eventually(lambda: told.exists() or not self._process.alive(), "the runtime to start")
        assert told.exists(), f"the runtime did not start; see {self._process.log}"
        self._listener = int(told.read_text())

    def kill_runtime(self):
        """Kill source, functions and gateway as one machine would lose them, and start them again."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.stop(grace_s=5)
        self._start_runtime_again()

    def restart_runtime(self):
        """Stop the runtime as a rollout does, and start it again."""
        self._process.stop(grace_s=30)
        self._start_runtime_again()

    def _start_runtime_again(self):
        for attempt in range(5):
            try:
                self.start_runtime()
            except AssertionError:
                if attempt == 4:
                    raise
                time.sleep(1)  # the gateway's port is still held by the workers of the dead
            else:
                return

    def ask(self, *order):
        """Send an order to the runtime and return its answer."""
        with Client(("127.0.0.1", self._listener), authkey=self._key.encode()) as connection:
            connection.send(order)
            return connection.recv()

    def runtime_alive(self):
        return self._process is not None and self._process.alive()

    def stop(self):
        if self._process is not None:
            self._process.stop(grace_s=30)
        super().stop()
        for proxy in (self.store, self.broker):
            if proxy is not None:
                proxy.__exit__()
        self.store = self.broker = None

    def settings_mapping(self):
        direct = super().settings_mapping()
        if self.store is None:
            return direct
        amqp = direct["AMQP_URL"].replace(f":{self.rabbit.endpoints.amqp_port}", f":{self.broker.port}")
        return direct | {
            "S3_ENDPOINT": f"http://127.0.0.1:{self.store.port}",
            "AMQP_URL": amqp,
        }

    def direct_settings(self):
        """The settings without proxies, with the rights of the publisher."""
        role_id, secret_id = self.vault.approle("publish-transaction")
        return super().settings_mapping() | {
            "VAULT_ROLE_ID": role_id,
            "VAULT_SECRET_ID": secret_id.get_secret_value(),
        }


def _plain(value):
    return value.get_secret_value() if isinstance(value, SecretStr) else value


@dataclass
class Repo:
    """One repository, its bucket and its owner."""

    name: str
    subject: str
    account: object
    endpoint: str
    reader: HttpReader
    by_hand: set = field(default_factory=set)
    """Paths that a second publisher has entered beside the bucket."""

    @property
    def fqrn(self):
        return f"{self.name}.infn.it"


class World:
    """Everything a soak plays with."""

    def __init__(self, folder, *, progress):
        self.folder = folder
        self.stack = KillableStack(folder / "stack", progress=progress)
        self.repositories = []
        self.progress = progress
        self.http = urllib3.PoolManager()

    def start(self):
        self.stack.start()

    def stop(self):
        self.stack.stop()

    def request(self, name, *, wait=True):
        """Ask for a repository through the gateway."""
        subject = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        endpoint = self.stack.ceph.endpoints.s3_url
        repo = Repo(
            name,
            subject,
            self.stack.ceph.create_user(subject),
            endpoint,
            HttpReader(f"{self.stack.repository_url}/{name}.infn.it"),
        )
        event = RepositoryRequested(repository=repo.fqrn, username=name, subject=subject).to_cloudevent(
            source="/soak", time=datetime.now(UTC)
        )
        body = json.dumps(dict(event.get_attributes()) | {"data": event.get_data()}).encode()

        def asked():
            with suppress(urllib3.exceptions.HTTPError):
                return self.http.request(
                    "POST",
                    f"{self.stack.gateway_url}/events",
                    body=body,
                    headers={"Content-Type": "application/cloudevents+json"},
                    retries=False,
                    timeout=10,
                ).status in {200, 202}
            return False

        eventually(asked, "the gateway to take a request")
        if wait:
            self.wait_for_first_revision(repo)
        return repo

    @staticmethod
    def wait_for_first_revision(repo):
        eventually(lambda: repo.reader.fetch(".cvmfspublished") is not None, f"the first revision of {repo.fqrn}")

    def client(self, repo):
        return client("s3", repo.endpoint, repo.account)

    def connection(self):
        """A connection to RabbitMQ that no proxy disturbs."""
        return pika.BlockingConnection(pika.URLParameters(self.stack.rabbit.endpoints.amqp_url.get_secret_value()))

    def management(self, path):
        rabbit = self.stack.rabbit.endpoints
        login = urllib3.make_headers(basic_auth=f"{rabbit.username}:{rabbit.password.get_secret_value()}")
        return self.http.request("GET", f"{rabbit.management_url}/api/{path}", headers=login, timeout=10).json()

    def queues(self):
        """The names of all queues."""
        return sorted(queue["name"] for queue in self.management("queues/%2F"))

    def ready(self, names):
        """Messages ready on these queues."""
        with self.connection() as connection:
            channel = connection.channel()
            return {name: channel.queue_declare(name, passive=True).method.message_count for name in names}

    @cached_property
    def cloud(self) -> Cloud:
        """What a publisher that runs beside the functions needs."""
        return build_cloud(self.stack.direct_settings())

    def beside(self, **parts) -> Cloud:
        return replace(self.cloud, **parts)

    def public_key(self, repo):
        vault = self.stack.vault.endpoints
        secret = hvac.Client(vault.address, vault.root_token.get_secret_value()).secrets.kv.v2.read_secret_version(
            f"{repo.subject}/cvmfs_keys/{repo.fqrn}", mount_point="secrets", raise_on_deleted_version=True
        )
        return str(secret["data"]["data"]["publicKey"])

    # Servers

    def kill_rabbit(self):
        os.kill(self.stack.rabbit._node.pid, signal.SIGKILL)
        self.restart_rabbit()

    def restart_rabbit(self):
        self._keep_log("rabbitmq")
        self.stack.rabbit.stop()
        self.stack.rabbit.start()

    def kill_vault(self):
        os.kill(self.stack.vault._server.pid, signal.SIGKILL)
        self.stack.vault.stop()
        self.stack.vault.start()

    def seal_vault(self):
        vault = self.stack.vault.endpoints
        hvac.Client(vault.address, vault.root_token.get_secret_value()).sys.seal()

    def unseal_vault(self):
        key = read_secrets(self.stack.folder / "vault" / "secrets.json")["unseal_key"].get_secret_value()
        vault = self.stack.vault.endpoints
        hvac.Client(vault.address, vault.root_token.get_secret_value()).sys.submit_unseal_key(key)

    def kill_radosgw(self):
        """Its keeper starts it again; notifications are silent for 30 s from then."""
        before = self.stack.ceph.restarts
        os.kill(self.stack.ceph._radosgw.pid, signal.SIGKILL)
        eventually(lambda: self.stack.ceph.restarts > before, "RadosGW to be started again")
        eventually(self._s3_answers, "RadosGW to answer")

    def _s3_answers(self):
        with suppress(urllib3.exceptions.HTTPError):
            return self.http.request("GET", self.stack.ceph.endpoints.s3_url, retries=False, timeout=2).status == 200
        return False

    def _keep_log(self, name):
        log = self.stack.folder / "rabbitmq" / "log" / f"{name}.log"
        if log.exists():
            with log.open("rb") as old, (self.folder / f"{name}.log").open("ab") as kept:
                shutil.copyfileobj(old, kept)
