"""Real RadosGW, RabbitMQ and OpenBao for the tests marked `services`: started once per session, never skipped.

A missing program or a server that does not come up is a failure that says what to install.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from functions.local.servers import (
    CephServer,
    LocalServerError,
    RabbitServer,
    VaultServer,
    start_together,
    stop_together,
)
from tests.services.rabbit_broker import RabbitBroker


@dataclass(frozen=True)
class Servers:
    """The three servers of this session, started; what they hold is gone when the session ends."""

    ceph: CephServer
    rabbit: RabbitServer
    vault: VaultServer


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder: Path = tmp_path_factory.mktemp("servers")
    started = Servers(
        CephServer(folder / "ceph", store="memstore"), RabbitServer(folder / "rabbit"), VaultServer(folder / "vault")
    )
    all_three = (started.ceph, started.rabbit, started.vault)
    fault = ""
    try:
        start_together(all_three)
        started.ceph.prepare_buckets()
    except LocalServerError as error:
        fault = error.explained()
    if not fault:
        yield started
    stop_together(all_three)
    if fault:
        pytest.fail(fault, pytrace=False)


@pytest.fixture
def broker(servers: Servers) -> Iterator[RabbitBroker]:
    broker = RabbitBroker(servers.rabbit.endpoints)
    with broker.proxy:
        yield broker
    broker.close()
