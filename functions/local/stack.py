"""The whole service on one machine: real servers, the event source, the functions and the gateway, below one folder.

It runs in the process that makes it: everything that is started is a child of that process and dies with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from functions.local.runtime.manifests import installed_folder
from functions.local.runtime.runtime import Runtime
from functions.local.runtime.topology import Broker
from functions.local.servers import CephServer, RabbitServer, VaultServer
from functions.local.servers.ports import fresh_port
from functions.local.servers.processes import start_time
from functions.local.servers.vault_policies import FUNCTIONS
from functions.local.stack_file import StackFile

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Progress = Callable[[str], None]

SHARDS = 4
RECONCILE_TIMER = "reconcile-bucket"
"""The timer whose post has every repository held against its bucket."""

MAX_INSTANCES = 4
"""Instances of one function at most: this is one machine, whatever the manifests allow a cluster."""


def quiet(_: str) -> None:
    """Progress for nobody."""


class Stack:
    """One running stack; use as a context manager, or start and stop."""

    def __init__(self, folder: Path, *, progress: Progress = quiet, store: str = "bluestore") -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ceph = CephServer(self.folder / "ceph", store="memstore" if store == "memstore" else "bluestore")
        self.rabbit = RabbitServer(self.folder / "rabbitmq")
        self.vault = VaultServer(self.folder / "vault")
        self._progress = progress
        self._runtime: Runtime | None = None
        self._gateway_port = 0
        self._resumed = (self.folder / "ceph").exists()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def topics(self) -> list[str]:
        """The topic shards of bucket notifications."""
        return [f"cvmfs-{number}" for number in range(SHARDS)]

    @property
    def runtime(self) -> Runtime:
        """The event source and the functions."""
        assert self._runtime is not None, "the stack has been started"
        return self._runtime

    @property
    def gateway_url(self) -> str:
        """Where the gateway listens."""
        return f"http://127.0.0.1:{self._gateway_port}"

    @property
    def repository_url(self) -> str:
        """Where worker nodes read repositories."""
        return f"{self.ceph.endpoints.s3_url}/cvmfs"

    def start(self) -> None:
        """Start everything; when it fails, everything is stopped again and the LocalServerError goes on."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, first what takes messages, then the servers. Repeating is fine."""
        if self._runtime is not None:
            self._progress("stopping functions")
            self._runtime.stop()
            self._runtime = None
        self._progress("stopping servers")
        with ThreadPoolExecutor(3) as threads:
            for server in (self.ceph, self.rabbit, self.vault):
                threads.submit(server.stop)
        StackFile.remove(self.folder)

    def wait_for_notifications(self) -> None:
        """Return when RadosGW delivers notifications; it looks for new topics only every 30 seconds."""
        self.ceph.wait_for_topics(self.topics)

    def vault_secret(self, path: str) -> dict[str, str]:
        """The fields of an entry below ``secrets/``, read as whoever owns this stack."""
        import hvac  # noqa: PLC0415 - only the demo and the bench look into Vault

        vault = hvac.Client(self.vault.endpoints.address, self.vault.endpoints.root_token.get_secret_value())
        answer = vault.secrets.kv.v2.read_secret_version(path, mount_point="secrets", raise_on_deleted_version=True)
        fields: dict[str, str] = answer["data"]["data"]
        return fields

    def _start(self) -> None:
        self._progress("starting RadosGW, RabbitMQ and OpenBao")
        with ThreadPoolExecutor(3) as threads:
            started = [
                threads.submit(self._start_one, "RabbitMQ", self.rabbit.start),
                threads.submit(self._start_one, "OpenBao", self.vault.start),
                threads.submit(self._start_one, "RadosGW", self._start_ceph),
            ]
        for outcome in started:
            outcome.result()
        self._gateway_port = fresh_port()
        self._progress("declaring exchanges, queues and policies; starting the event source and the gateway")
        self.start_runtime()
        # Only now there is an exchange for RadosGW to publish to.
        ack_level = self.settings_mapping()["AMQP_ACK_LEVEL"]
        self.ceph.ensure_topics(self.topics, self.rabbit.endpoints.amqp_url, "notification", ack_level=ack_level)
        if self._resumed and self._runtime is not None:
            # Whoever uploaded while nothing ran, or as it stopped, may not have been heard.
            self._runtime.ring(RECONCILE_TIMER)
        StackFile(
            pid=os.getpid(),
            started=start_time(os.getpid()),
            gateway_url=self.gateway_url,
            repository_url=self.repository_url,
            s3_url=self.ceph.endpoints.s3_url,
            management_url=self.rabbit.endpoints.management_url,
            vault_url=self.vault.endpoints.address,
            settings=self.settings_mapping(),
        ).write(self.folder)
        self._progress("ready")

    def start_runtime(self) -> None:
        """Start the event source, the functions and the gateway; a stack that keeps them elsewhere replaces this."""
        rabbit = self.rabbit.endpoints
        self._runtime = Runtime(
            installed_folder(),
            settings=self.settings_by_name(),
            broker=Broker(rabbit.host, rabbit.amqp_port, rabbit.management_url, rabbit.username, rabbit.password),
            state=self.folder / "runtime",
            ports={"gateway": self._gateway_port},
            most_instances=MAX_INSTANCES,
        )
        self._runtime.start()

    def _start_one(self, name: str, start: Callable[[], None]) -> None:
        began = time.monotonic()
        start()
        self._progress(f"{name} serves after {time.monotonic() - began:.1f} s")

    def _start_ceph(self) -> None:
        self.ceph.start()
        self.ceph.prepare_buckets()

    def settings_mapping(self) -> dict[str, str]:
        """The settings of the functions, secrets included, as an environment would have them."""
        ceph = self.ceph.endpoints
        return {
            "S3_ENDPOINT": ceph.s3_url,
            "S3_REGION": ceph.region,
            "S3_ACCESS_KEY": ceph.service.access_key,
            "S3_SECRET_KEY": ceph.service.secret_key.get_secret_value(),
            "S3_QUOTED_IF_MATCH": "false",
            "REPOSITORY_BUCKET": "cvmfs",
            "STATE_BUCKET": "cvmfs-state",
            "REPOSITORY_URL": self.repository_url,
            "REPOSITORY_DOMAIN": "infn.it",
            "AMQP_URL": self.rabbit.endpoints.amqp_url.get_secret_value(),
            "VAULT_ADDR": self.vault.endpoints.address,
            "VAULT_KV_MOUNT": self.vault.endpoints.kv_mount,
            "VAULT_TRANSIT_MOUNT": self.vault.endpoints.transit_mount,
            "CREATE_BUCKETS": "true",
            "TOPIC_PREFIX": "cvmfs",
            "TOPIC_SHARDS": str(SHARDS),
            "AMQP_ACK_LEVEL": os.environ.get("AMQP_ACK_LEVEL", "none"),
            "MIN_PUBLISH_INTERVAL_S": "2",
            "LOG_LEVEL": "info",
        }

    def settings_by_name(self) -> dict[str, dict[str, str | SecretStr]]:
        """The content of every ConfigMap and Secret that the manifests name."""
        named: dict[str, dict[str, str | SecretStr]] = {"cvmfs-cloud": dict(self.settings_mapping()), "gateway": {}}
        for function in FUNCTIONS:
            role_id, secret_id = self.vault.approle(function)
            named[f"vault-{function}"] = {"VAULT_ROLE_ID": role_id, "VAULT_SECRET_ID": secret_id}
        return named

    def status(self) -> dict[str, Any]:
        """What runs, for ``stack status``."""
        running = self.runtime.status()
        return {
            "servers": {
                "RadosGW": self.ceph.alive(),
                "RabbitMQ": self.rabbit.alive(),
                "OpenBao": self.vault.alive(),
            },
            "radosgw_restarts": self.ceph.restarts,
            "services": {name: _plain(state) for name, state in running.services.items()},
            "sources": {name: _plain(state) for name, state in running.sources.items()},
            "timers": {name: _plain(state) for name, state in running.timers.items()},
        }


def _plain(state: DataclassInstance) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(state).items()}
