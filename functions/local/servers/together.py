"""Starting and stopping several servers at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from functions.local.servers.packages import require
from functions.local.servers.server import LocalServer


def start_together(servers: Sequence[LocalServer]) -> None:
    """Start all at once and return when all serve; if one fails, stop them all and raise its LocalServerError.

    Programs that are missing, for whichever server, are named together before anything is started.
    """
    require([program for server in servers for program in server.programs])
    with ThreadPoolExecutor(max_workers=len(servers), thread_name_prefix="local-servers") as threads:
        starts = [threads.submit(server.start) for server in servers]
    faults = [fault for start in starts if (fault := start.exception()) is not None]
    if faults:
        stop_together(servers)
        raise faults[0]


def stop_together(servers: Sequence[LocalServer]) -> None:
    """Stop all at once; returns when all are gone."""
    with ThreadPoolExecutor(max_workers=len(servers), thread_name_prefix="local-servers") as threads:
        list(threads.map(LocalServer.stop, servers))
