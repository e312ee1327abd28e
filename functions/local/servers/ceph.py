"""RadosGW on one machine: a monitor, a storage daemon and the gateway, all below one folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar, Self

import urllib3
from pydantic import SecretStr

from functions.local.servers import packages
from functions.local.servers.ceph_conf import FSID, OSD_UUID, RADOSGW_NAME, Store, ceph_conf
from functions.local.servers.children import Child, run_tool
from functions.local.servers.dead_radosgw import clear_dead_radosgw, delivering
from functions.local.servers.errors import LocalServerError
from functions.local.servers.keeper import Keeper
from functions.local.servers.packages import Program
from functions.local.servers.ports import LOOPBACK, keep_ports
from functions.local.servers.s3_accounts import Account, ensure_account
from functions.local.servers.s3_setup import REGION, client, make_buckets, make_topics
from functions.local.servers.server import LocalServer
from functions.local.servers.waiting import http_status, wait_until

SERVICE_UID = "cvmfs"
_CAPACITY = 16 << 30
_START_S = 120.0
_GRACE_S = 15.0
_NEXT_STEP = "Look at the log above; an empty state folder starts from nothing."
_FOLDERS = ("mon", "osd", "rgw", "run", "crash", "log", "tmp")


@dataclass(frozen=True, slots=True)
class CephEndpoints:
    """Where S3 is served (path style) and the service user, who may do everything with everybody's buckets."""

    s3_url: str
    region: str
    service: Account


class CephServer(LocalServer):
    """RadosGW with the storage below it.

    With ``bluestore`` the data outlive the servers; with ``memstore``, which is quicker, every start begins from
    nothing and makes new keys. RadosGW is restarted when it dies, for release 16 aborts on some requests.
    """

    programs: ClassVar[tuple[Program, ...]] = packages.CEPH

    def __init__(self, folder: Path, *, store: Store = "bluestore") -> None:
        super().__init__(folder)
        self._store: Store = store
        self._tools: Mapping[str, Path] = {}
        self._mon: Child | None = None
        self._osd: Child | None = None
        self._radosgw: Child | None = None
        self._keeper: Keeper | None = None
        self._endpoints: CephEndpoints | None = None

    @property
    def endpoints(self) -> CephEndpoints:
        """Address and keys; raises LocalServerError before the start."""
        if self._endpoints is None:
            raise LocalServerError("RadosGW has not been started.", next_step="Start it first.")
        return self._endpoints

    @property
    def restarts(self) -> int:
        """How often RadosGW died by itself and was started again."""
        return 0 if self._keeper is None else self._keeper.restarts

    def alive(self) -> bool:
        """Whether monitor, storage daemon and RadosGW run; False while RadosGW is being restarted."""
        return all(child is not None and child.alive() for child in (self._mon, self._osd, self._radosgw))

    @classmethod
    def beside(cls, folder: Path) -> Self:
        """A handle on a server that another process has started in `folder`: only its users can be looked after."""
        server = cls(folder)
        server._tools = packages.require(cls.programs)
        return server

    def create_user(self, uid: str, display_name: str = "") -> Account:
        """An ordinary S3 user; one that exists is returned with the keys it has."""
        return ensure_account(self._radosgw_admin, uid, display_name=display_name or uid, service=False)

    def prepare_buckets(self, public: str = "cvmfs", private: str = "cvmfs-state") -> None:
        """Make the service user's two buckets, the first readable by everyone; existing ones are fine."""
        make_buckets(self.client("s3"), public=public, private=private)

    def ensure_topics(
        self,
        names: Iterable[str],
        push_endpoint: SecretStr,
        exchange: str,
        *,
        persistent: bool = True,
        ack_level: str = "none",
    ) -> None:
        """Make topics that publish to `exchange` with their name as routing key; repeating is fine.

        A persistent topic keeps its events while RabbitMQ is down, but delivers only from the moment RadosGW finds its
        queue: 30 s after RadosGW's start, then every 30 s; a restart begins these 30 s anew. Until then the events
        wait, none is lost; `wait_for_topics` waits for that moment. Other topics deliver at once, also after a crash
        of RadosGW, and lose what happens while RabbitMQ is down.
        """
        make_topics(
            self.client("sns"),
            names,
            push_endpoint=push_endpoint,
            exchange=exchange,
            persistent=persistent,
            ack_level=ack_level,
        )

    def wait_for_topics(self, names: Collection[str], *, timeout_s: float = 90.0) -> None:
        """Return when RadosGW delivers from all these persistent topics; raises LocalServerError after `timeout_s`."""
        if self._osd is None:
            raise LocalServerError("RadosGW has not been started.", next_step="Start it first.")
        # Watched is the storage, not RadosGW, whose end is no end: its keeper starts it again.
        wait_until(
            lambda: delivering(self._run, names),
            f"let RadosGW deliver from {', '.join(names)}",
            child=self._osd,
            timeout_s=timeout_s,
            next_step="Look at log/radosgw.log beside it; the topics must be persistent ones.",
            every_s=0.5,
        )

    def client(self, service: str) -> Any:
        """A boto3 client of ``s3``, ``sns`` or ``iam`` for the service user."""
        return client(service, self.endpoints.s3_url, self.endpoints.service)

    def _launch(self, tools: Mapping[str, Path]) -> None:
        self._tools = tools
        ports = keep_ports(self.folder, ("mon", "s3"))
        fresh = self._prepare_folder()
        conf = ceph_conf(self.folder, store=self._store, capacity=_CAPACITY, mon_port=ports["mon"], s3_port=ports["s3"])
        (self.folder / "ceph.conf").write_text(conf)
        self._write_monmap(ports["mon"], new=fresh)
        self._mon = self._daemon("ceph-mon", "-i", "a")
        self._mon.start()
        if fresh:
            self._tool("ceph", "--connect-timeout", "30", "osd", "create", OSD_UUID)
            self._tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", OSD_UUID)
        self._osd = self._daemon("ceph-osd", "-i", "0")
        self._osd.start()
        wait_until(self._osd_is_up, "be up and in", child=self._osd, timeout_s=_START_S, next_step=_NEXT_STEP)
        if not fresh:
            self._clear_dead_radosgw()
        self._start_radosgw(f"http://{LOOPBACK}:{ports['s3']}")
        self._marker.write_text(json.dumps({"store": self._store}) + "\n")

    def _start_radosgw(self, url: str) -> None:
        self._radosgw = self._daemon("radosgw", "-n", RADOSGW_NAME)
        self._keeper = Keeper(self._radosgw, before_restart=self._clear_dead_radosgw)
        self._keeper.start()
        with urllib3.PoolManager() as http:
            wait_until(
                lambda: http_status(http, url) == 200,
                "answer",
                child=self._radosgw,
                timeout_s=_START_S,
                next_step=_NEXT_STEP,
            )
        service = ensure_account(self._radosgw_admin, SERVICE_UID, display_name="CVMFS service", service=True)
        self._endpoints = CephEndpoints(url, REGION, service)

    def _halt(self) -> None:
        if self._keeper is not None:
            self._keeper.stop(grace_s=_GRACE_S)
        for child in (self._osd, self._mon):
            if child is not None:
                child.stop(grace_s=_GRACE_S)
        self._mon = self._osd = self._radosgw = self._keeper = None

    @property
    def _marker(self) -> Path:
        return self.folder / "cluster.json"

    def _prepare_folder(self) -> bool:
        """Make the sub-folders; True if the cluster must be created (what a broken creation left is removed)."""
        kept = _read_store(self._marker)
        if kept is not None and kept != self._store:
            raise LocalServerError(
                f"{self.folder} holds a cluster on {kept}, not on {self._store}.",
                next_step=f"Use another folder, or remove {self.folder} with everything in it.",
            )
        fresh = kept is None or self._store == "memstore"
        if fresh:
            for name in _FOLDERS:
                shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in _FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "keyring").touch()
        return fresh

    def _write_monmap(self, port: int, *, new: bool) -> None:
        """Give the monitor its address, which may have changed since the last start."""
        monmap = self.folder / "monmap"
        address = f"[v2:{LOOPBACK}:{port}]"
        self._tool("monmaptool", "--create", "--clobber", "--fsid", FSID, "--addv", "a", address, str(monmap))
        action = ("--mkfs", "--monmap") if new else ("--inject-monmap",)
        self._tool("ceph-mon", "-i", "a", *action, str(monmap))

    def _osd_is_up(self) -> bool:
        state = self._run("ceph", "--connect-timeout", "30", "osd", "stat", "--format", "json")
        return state.returncode == 0 and json.loads(state.stdout)["num_up_osds"] == 1

    def _clear_dead_radosgw(self) -> None:
        clear_dead_radosgw(self._run)

    def _daemon(self, program: str, *arguments: str) -> Child:
        argv: tuple[str | Path, ...] = (self._tools[program], "-f", "-c", self.folder / "ceph.conf", *arguments)
        return Child(program, argv, folder=self.folder, environment=self._environment(), book=self._book)

    def _run(self, program: str, *arguments: str) -> CompletedProcess[str]:
        argv: tuple[str | Path, ...] = (self._tools[program], *arguments)
        return run_tool(argv, folder=self.folder, environment=self._environment(CEPH_CONF=f"{self.folder}/ceph.conf"))

    def _tool(self, program: str, *arguments: str) -> None:
        done = self._run(program, *arguments)
        if done.returncode != 0:
            raise LocalServerError(
                f"{program} failed with status {done.returncode}: {done.stderr.strip()[-500:]}", next_step=_NEXT_STEP
            )

    def _radosgw_admin(self, arguments: Sequence[str]) -> CompletedProcess[str]:
        return self._run("radosgw-admin", *arguments)


def _read_store(marker: Path) -> str | None:
    try:
        return str(json.loads(marker.read_text())["store"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
