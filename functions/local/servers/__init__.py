"""Real servers on one machine, below one folder each: RadosGW, RabbitMQ and OpenBao, on free loopback ports.

For development, tests and the demo. The servers are children of this process and die with it, however it ends; they
need no root, no systemd, and leave nothing outside their folder.
"""

from functions.local.servers.ceph import CephEndpoints, CephServer
from functions.local.servers.errors import LocalServerError
from functions.local.servers.processes import ProcessRecord, sweep
from functions.local.servers.rabbit import RabbitEndpoints, RabbitServer
from functions.local.servers.s3_accounts import Account
from functions.local.servers.together import start_together, stop_together
from functions.local.servers.vault import VaultEndpoints, VaultServer

__all__ = [
    "Account",
    "CephEndpoints",
    "CephServer",
    "LocalServerError",
    "ProcessRecord",
    "RabbitEndpoints",
    "RabbitServer",
    "VaultEndpoints",
    "VaultServer",
    "start_together",
    "stop_together",
    "sweep",
]
