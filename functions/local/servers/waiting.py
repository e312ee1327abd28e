"""Waiting for a server to serve, bounded, and giving up at once when its process ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import urllib3

from functions.local.servers.children import Child
from functions.local.servers.errors import LocalServerError

_HTTP_TIMEOUT_S = 2.0


def wait_until(
    ready: Callable[[], bool], what: str, *, child: Child, timeout_s: float, next_step: str, every_s: float = 0.1
) -> None:
    """Return when `ready()`; raises LocalServerError with the child's log when it ends or takes longer than that."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        child.require_alive(next_step=next_step)
        if time.monotonic() > deadline:
            raise LocalServerError(
                f"{child.name} did not come to {what} within {timeout_s:.0f} s.", next_step=next_step, log=child.log
            )
        time.sleep(every_s)


def http_status(http: urllib3.PoolManager, url: str, *, headers: dict[str, str] | None = None) -> int:
    """The status of a GET, asked once; 0 when nobody answers."""
    try:
        answer = http.request("GET", url, headers=headers, retries=False, timeout=_HTTP_TIMEOUT_S)
    except urllib3.exceptions.HTTPError:
        return 0
    return answer.status
