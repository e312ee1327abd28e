"""One instance of a Service: a process with a port, asked over connections that stay open."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import urllib3

from functions.local.runtime.errors import SinkError
from functions.local.runtime.messages import Answer, Request
from functions.local.servers import die_with_parent

LOOPBACK = "127.0.0.1"

_CONNECT_S = 5.0
_PROBE_S = 5.0
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT
_GATEWAY_TIMEOUT = Answer(504)


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=_PROBE_S):
        return True
    return False


class Instance:
    """A running instance; `in_flight` and `last_used` belong to whoever hands out its slots.

    The kernel ends the process when the *thread* that made the instance ends, so that thread must live as long.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        port: int,
        connections: int,
        folder: Path,
        log: Path,
    ) -> None:
        self.port = port
        self.in_flight = 0
        self.last_used = 0.0
        launcher = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command of a manifest is what we are here to run
                [*launcher, *command],
                env={**environment, "PORT": str(port)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._http = urllib3.HTTPConnectionPool(LOOPBACK, port, maxsize=connections)

    @property
    def pid(self) -> int:
        """The process id, also that of the process group."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process runs. One that has ended keeps its number until `end`, so no stranger can have it."""
        return self._process.returncode is None and os.waitid(os.P_PID, self.pid, _ENDED) is None

    def ready(self, path: str | None) -> bool:
        """Ask the readiness probe, once: GET `path`, or a mere connection without a path."""
        if path is None:
            return listens(self.port)
        try:
            return 200 <= self._http.urlopen("GET", path, retries=False, timeout=_PROBE_S).status < 400
        except urllib3.exceptions.HTTPError:
            return False

    def send(self, request: Request, *, timeout_s: float) -> Answer:
        """Ask and return the answer, 504 if none comes within `timeout_s`; raises SinkError if the connection fails."""
        try:
            response = self._http.urlopen(
                request.method,
                request.path,
                body=request.body,
                headers=request.headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=timeout_s),
            )
        except urllib3.exceptions.ReadTimeoutError:
            return _GATEWAY_TIMEOUT
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise SinkError(f"port {self.port}: {err}") from err
        return Answer(response.status, response.headers, response.data)

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process."""
        os.kill(self.pid, signal.SIGTERM)

    def end(self) -> None:
        """Kill what is left of the process and of its children, and return when the process is gone; at most once."""
        self._http.close()
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
