"""Free loopback ports, remembered in a server's folder so that a restart keeps its addresses."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterable
from pathlib import Path

LOOPBACK = "127.0.0.1"
_FILE = "ports.json"


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
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _remembered(folder: Path) -> dict[str, int]:
    try:
        ports = json.loads((folder / _FILE).read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(ports, dict):
        return {}
    return {name: port for name, port in ports.items() if isinstance(port, int) and 0 < port < 65536}


def _claim(held: contextlib.ExitStack, wanted: int) -> int:
    for port in (wanted, 0) if wanted else (0,):
        claim = held.enter_context(socket.socket())
        # A listening socket of somebody else still refuses the bind; only closing connections are overlooked.
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            claim.bind((LOOPBACK, port))
            return int(claim.getsockname()[1])
    raise OSError("no free port on the loopback interface")
