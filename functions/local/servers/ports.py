"""Free loopback ports, remembered in a server's folder so that a restart keeps its addresses.

They are none of those that the kernel gives to clients (``ip_local_port_range``). A client that tries again and again
to reach a server which is just restarting would sooner or later be given that server's own port: on loopback such a
connection even succeeds, with itself, and the server finds its address in use.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Iterable
from pathlib import Path

LOOPBACK = "127.0.0.1"
_FILE = "ports.json"
_KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_LINUX_DEFAULT = 32_768
_ATTEMPTS = 100


def keep_ports(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """A free port for each name: the one remembered in `folder` where that is still free, else a new one.

    All ports are held until all are chosen, so no two are the same. The choice is written back to ``ports.json``.
    """
    remembered = _remembered(folder)
    with contextlib.ExitStack() as held:
        ports = {name: _claim(held, remembered.get(name, 0)) for name in names}
    (folder / _FILE).write_text(json.dumps(ports, indent=1) + "\n")
    return ports


def fresh_port() -> int:
    """A port that nobody listens on and that no closing connection still occupies."""
    with contextlib.ExitStack() as held:
        return _claim(held, 0)


def _remembered(folder: Path) -> dict[str, int]:
    try:
        ports = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(ports, dict):
        return {}
    return {name: port for name, port in ports.items() if isinstance(port, int) and 0 < port < 65536}


def _claim(held: contextlib.ExitStack, wanted: int) -> int:
    if wanted and _bound(held, wanted, again=True):
        return wanted
    for port in random.sample(_servers_own(), _ATTEMPTS):
        if _bound(held, port, again=False):
            return port
    raise OSError("no free port on the loopback interface")


def _bound(held: contextlib.ExitStack, port: int, *, again: bool) -> bool:
    claim = held.enter_context(socket.socket())
    if again:
        # A listening socket of somebody else still refuses the bind; only closing connections are overlooked.
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        claim.bind((LOOPBACK, port))
    except OSError:
        return False
    return True


def _servers_own() -> range:
    """The ports below those of clients; where the kernel leaves hardly any, those that Linux usually leaves."""
    try:
        clients_from = int(_KERNEL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        clients_from = _LINUX_DEFAULT
    return range(_LOWEST, clients_from if clients_from >= _LOWEST + 10 * _ATTEMPTS else _LINUX_DEFAULT)
