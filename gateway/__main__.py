"""The process: ``python -m gateway`` serves until SIGTERM or SIGINT, then ends the requests it has and exits with 0."""

from __future__ import annotations

import os
import signal
import sys
from ipaddress import ip_address
from types import FrameType

import structlog
import uvicorn

from functions.errors import CloudError
from functions.settings import Settings
from functions.wiring import build_bus, build_repositories, configure_logging
from gateway.app import build_app
from gateway.errors import BindError

GRACE_S = 30
"""Seconds that requests get to end after SIGTERM."""

log = structlog.get_logger("cvmfs-cloud")


def check_bind_address(address: str) -> None:
    """Allow loopback only, since the gateway cannot ask yet who sends a request; raises BindError."""
    try:
        loopback = address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise BindError(
            f"BIND_ADDRESS is {address!r}, but the gateway has no sign-in yet and listens on loopback only. "
            "Set it to 127.0.0.1 and let a proxy in front of it decide who may come in."
        )


def main() -> int:
    """Serve; returns the exit code."""
    configure_logging(os.environ)
    try:
        settings = Settings.from_mapping(os.environ)
        check_bind_address(settings.bind_address)
    except (CloudError, BindError) as err:
        sys.stderr.write(f"gateway: {err.explained() if isinstance(err, CloudError) else err}\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn raises the signal once more when it is done
    log.info("serving", address=settings.bind_address, port=settings.port)
    uvicorn.run(
        build_app(build_bus(settings), build_repositories(settings), settings),
        host=settings.bind_address,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
