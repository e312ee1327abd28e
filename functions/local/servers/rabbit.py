"""RabbitMQ on one machine, with its management interface."""

from __future__ import annotations

import secrets
import socket
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
from functions.local.servers.ports import LOOPBACK, fresh_port, keep_ports
from functions.local.servers.rabbit_conf import ENABLED_PLUGINS, USER, rabbitmq_conf, rabbitmq_environment
from functions.local.servers.secrets_file import read_secrets, write_secrets
from functions.local.servers.server import LocalServer
from functions.local.servers.waiting import http_status, wait_until

_START_S = 120.0
_GRACE_S = 20.0
_NEXT_STEP = "Look at the log above; an empty state folder starts from nothing."


@dataclass(frozen=True, slots=True)
class RabbitEndpoints:
    """Where RabbitMQ listens, and its administrator; the password has only letters, digits, ``-`` and ``_``."""

    host: str
    amqp_port: int
    management_url: str
    username: str
    password: SecretStr

    @property
    def amqp_url(self) -> SecretStr:
        """The whole address, virtual host ``/`` (which a client assumes when none is named)."""
        return SecretStr(f"amqp://{self.username}:{self.password.get_secret_value()}@{self.host}:{self.amqp_port}")


class RabbitServer(LocalServer):
    """One RabbitMQ node with a name server of its own; queues and users outlive a stop."""

    programs: ClassVar[tuple[Program, ...]] = packages.RABBITMQ

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._epmd: Child | None = None
        self._node: Child | None = None
        self._endpoints: RabbitEndpoints | None = None

    @property
    def endpoints(self) -> RabbitEndpoints:
        """Addresses and credentials; raises LocalServerError before the start."""
        if self._endpoints is None:
            raise LocalServerError("RabbitMQ has not been started.", next_step="Start it first.")
        return self._endpoints

    def alive(self) -> bool:
        """Whether the node and its name server run."""
        return all(child is not None and child.alive() for child in (self._epmd, self._node))

    def _launch(self, tools: Mapping[str, Path]) -> None:
        ports = keep_ports(self.folder, ("amqp", "management", "epmd"))
        endpoints = RabbitEndpoints(
            host=LOOPBACK,
            amqp_port=ports["amqp"],
            management_url=f"http://{LOOPBACK}:{ports['management']}",
            username=USER,
            password=self._password(),
        )
        self._write_configuration(endpoints, ports["management"])
        # The distribution port is not remembered: the node refuses one that a closing connection still occupies.
        environment = self._environment(
            **rabbitmq_environment(self.folder, epmd_port=ports["epmd"], distribution_port=fresh_port())
        )
        self._epmd = self._child("epmd", environment, tools["epmd"], "-port", str(ports["epmd"]), "-address", LOOPBACK)
        self._epmd.start()
        # Only then: a node that finds no name server starts one that nobody could end.
        wait_until(
            lambda: _accepts(ports["epmd"]), "listen", child=self._epmd, timeout_s=_START_S, next_step=_NEXT_STEP
        )
        self._node = self._child("rabbitmq", environment, tools["rabbitmq-server"], "-noinput", "+B", "i")
        self._node.start()
        with urllib3.PoolManager() as http:
            wait_until(
                lambda: _serves(http, endpoints),
                "serve AMQP and its management interface",
                child=self._node,
                timeout_s=_START_S,
                next_step=_NEXT_STEP,
            )
        self._endpoints = endpoints

    def _halt(self) -> None:
        for child in (self._node, self._epmd):
            if child is not None:
                child.stop(grace_s=_GRACE_S)
        self._node = self._epmd = None

    def _password(self) -> SecretStr:
        path = self.folder / "secrets.json"
        known = read_secrets(path)
        if known is None:
            known = {"password": SecretStr(secrets.token_urlsafe(24))}
            write_secrets(path, known)
        return known["password"]

    def _write_configuration(self, endpoints: RabbitEndpoints, management_port: int) -> None:
        for name in ("mnesia", "log"):
            (self.folder / name).mkdir(exist_ok=True)
        configuration = self.folder / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            rabbitmq_conf(amqp_port=endpoints.amqp_port, management_port=management_port, password=endpoints.password)
        )
        (self.folder / "enabled_plugins").write_text(ENABLED_PLUGINS)

    def _child(self, name: str, environment: Mapping[str, str], *argv: str | Path) -> Child:
        return Child(name, argv, folder=self.folder, environment=environment, book=self._book)


def _serves(http: urllib3.PoolManager, endpoints: RabbitEndpoints) -> bool:
    """Whether the AMQP port accepts connections and the management interface knows the user."""
    if not _accepts(endpoints.amqp_port):
        return False
    login = urllib3.make_headers(basic_auth=f"{endpoints.username}:{endpoints.password.get_secret_value()}")
    return http_status(http, f"{endpoints.management_url}/api/whoami", headers=dict(login)) == 200


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True
