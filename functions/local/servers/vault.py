"""OpenBao (Vault's interface) on one machine, initialised, unsealed and ready for the functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import urllib3
from pydantic import SecretStr

from functions.local.servers import packages
from functions.local.servers.children import Child
from functions.local.servers.errors import LocalServerError
from functions.local.servers.packages import Program
from functions.local.servers.ports import LOOPBACK, keep_ports
from functions.local.servers.secrets_file import read_secrets, write_secrets
from functions.local.servers.server import LocalServer
from functions.local.servers.vault_api import VaultApi
from functions.local.servers.vault_policies import FUNCTIONS, KV_MOUNT, TRANSIT_MOUNT, Function, policy_of
from functions.local.servers.waiting import wait_until

_START_S = 120.0
_GRACE_S = 10.0
_LOGIN_LASTS = "1h"
_NEXT_STEP = "Look at the log above; an empty state folder starts from nothing."

# There is no `file` storage in OpenBao; the multiplier makes a lone raft node elect itself in 2 s instead of 9 s.
_CONFIGURATION = """\
storage "raft" {{
  path = "{folder}/raft"
  node_id = "local"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "{host}:{api_port}"
  tls_disable = true
}}
api_addr = "http://{host}:{api_port}"
cluster_addr = "http://{host}:{cluster_port}"
disable_mlock = true
"""


@dataclass(frozen=True, slots=True)
class VaultEndpoints:
    """Vault's address, the mounts of the functions' keys, and the token that may do everything."""

    address: str
    root_token: SecretStr
    kv_mount: str = KV_MOUNT
    transit_mount: str = TRANSIT_MOUNT


class VaultServer(LocalServer):
    """One OpenBao node on raft storage; its unseal key and root token are in the folder, readable by its owner."""

    programs: ClassVar[tuple[Program, ...]] = packages.OPENBAO

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server: Child | None = None
        self._endpoints: VaultEndpoints | None = None
        self._roles: dict[Function, tuple[str, SecretStr]] = {}

    @property
    def endpoints(self) -> VaultEndpoints:
        """Address and root token; raises LocalServerError before the start."""
        if self._endpoints is None:
            raise LocalServerError("Vault has not been started.", next_step="Start it first.")
        return self._endpoints

    def approle(self, function: Function) -> tuple[str, SecretStr]:
        """Role id and secret id with which this function logs in; raises LocalServerError before the start."""
        if function not in self._roles:
            raise LocalServerError(f"There is no Vault role {function}.", next_step="Start Vault first.")
        return self._roles[function]

    def alive(self) -> bool:
        """Whether the server runs."""
        return self._server is not None and self._server.alive()

    def _launch(self, tools: Mapping[str, Path]) -> None:
        ports = keep_ports(self.folder, ("api", "cluster"))
        address = f"http://{LOOPBACK}:{ports['api']}"
        (self.folder / "raft").mkdir(exist_ok=True)
        configuration = self.folder / "bao.hcl"
        configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder, host=LOOPBACK, api_port=ports["api"], cluster_port=ports["cluster"]
            )
        )
        self._server = Child(
            "bao",
            (tools["bao"], "server", f"-config={configuration}"),
            folder=self.folder,
            environment=self._environment(),
            book=self._book,
        )
        self._server.start()
        with urllib3.PoolManager() as http:
            secrets = self._unseal(VaultApi(http, address), self._server)
            api = VaultApi(http, address, secrets["root_token"])
            _enable_engines(api)
            # A new KV version 2 engine answers 400 for a moment, while it "upgrades" its nothing.
            wait_until(
                lambda: api.ask("GET", f"{KV_MOUNT}/data/nothing")[0] == 404,
                "serve its KV engine",
                child=self._server,
                timeout_s=_START_S,
                next_step=_NEXT_STEP,
            )
            self._roles = {function: _ensure_role(api, function) for function in FUNCTIONS}
        self._endpoints = VaultEndpoints(address, secrets["root_token"])

    def _halt(self) -> None:
        if self._server is not None:
            self._server.stop(grace_s=_GRACE_S)
        self._server = None

    def _unseal(self, api: VaultApi, server: Child) -> dict[str, SecretStr]:
        """Initialise on the first start, unseal, and wait until the node is the active one."""

        def comes_to(state: str, statuses: set[int]) -> None:
            wait_until(
                lambda: api.ask("GET", "sys/health")[0] in statuses,
                state,
                child=server,
                timeout_s=_START_S,
                next_step=_NEXT_STEP,
            )

        path = self.folder / "secrets.json"
        comes_to("answer", {200, 429, 472, 473, 501, 503})  # sys/health: 501 is not initialised, 503 is sealed
        secrets = read_secrets(path)
        if secrets is None:
            made = api.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            secrets = {"unseal_key": SecretStr(made["keys"][0]), "root_token": SecretStr(made["root_token"])}
            write_secrets(path, secrets)
        api.call("PUT", "sys/unseal", {"key": secrets["unseal_key"].get_secret_value()})
        comes_to("be unsealed and active", {200})
        return secrets


def _enable_engines(api: VaultApi) -> None:
    engines = api.call("GET", "sys/mounts")["data"]
    if f"{KV_MOUNT}/" not in engines:
        api.call("POST", f"sys/mounts/{KV_MOUNT}", {"type": "kv", "options": {"version": "2"}})
    if f"{TRANSIT_MOUNT}/" not in engines:
        api.call("POST", f"sys/mounts/{TRANSIT_MOUNT}", {"type": "transit"})
    if "approle/" not in api.call("GET", "sys/auth")["data"]:
        api.call("POST", "sys/auth/approle", {"type": "approle"})


def _ensure_role(api: VaultApi, function: Function) -> tuple[str, SecretStr]:
    """Write the function's policy and role as they should be now, and give out a secret id."""
    policy = policy_of(function)
    if policy:
        api.call("PUT", f"sys/policies/acl/{function}", {"policy": policy})
    role = f"auth/approle/role/{function}"
    api.call("POST", role, {"token_policies": [function] if policy else [], "token_ttl": _LOGIN_LASTS})
    role_id = api.call("GET", f"{role}/role-id")["data"]["role_id"]
    secret_id = api.call("POST", f"{role}/secret-id")["data"]["secret_id"]
    return role_id, SecretStr(secret_id)
