"""Server processes that cannot outlive this one."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import IO

from functions.local.servers.errors import LocalServerError
from functions.local.servers.processes import ProcessBook, ProcessRecord

_WRAPPER = Path(__file__).with_name("die_with_parent.py")


class _Spawner:
    """The one thread that starts children.

    The kernel counts the death of the *thread* that forked as the death of the parent, so a child started from a
    short-lived thread would be killed with it. This thread is a daemon that never returns: it ends with the process.
    """

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[tuple[partial[subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._wanted = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, start: partial[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="local-servers-spawner", daemon=True)
                self._thread.start()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._wanted.put((start, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            start, started = self._wanted.get()
            try:
                started.set_result(start())
            except OSError as error:
                started.set_exception(error)


_spawn = _Spawner()


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment that keeps a server inside `home`, free of the caller's locale, proxies and ``CEPH_ARGS``."""
    scratch = home / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        **more,
    }


def _popen(
    argv: Sequence[str | Path], environment: Mapping[str, str], folder: Path, output: int | IO[bytes], errors: int
) -> subprocess.Popen[bytes]:
    wrapper = [sys.executable, "-I", "-S", str(_WRAPPER), str(os.getpid())]
    return _spawn(
        partial(
            subprocess.Popen,
            [*wrapper, *map(str, argv)],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    )


class Child:
    """A server process in the foreground, its output in one log file, recorded in its folder's book."""

    def __init__(
        self, name: str, argv: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str], book: ProcessBook
    ) -> None:
        self.name = name
        self.log = folder / "log" / f"{name}.log"
        self._argv = argv
        self._folder = folder
        self._environment = environment
        self._book = book
        self._process: subprocess.Popen[bytes] | None = None
        self._record: ProcessRecord | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None before the start and after the stop."""
        return None if self._process is None else self._process.pid

    def start(self, *, keep_log: bool = False) -> None:
        """Start the process; the log begins anew unless `keep_log`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab" if keep_log else "wb") as output:
            self._process = _popen(self._argv, self._environment, self._folder, output, subprocess.STDOUT)
        self._record = ProcessRecord.of(self.name, self._process.pid)
        if self._record is not None:
            self._book.add(self._record)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Wait for the process to end by itself and return how: the exit status, or minus the signal."""
        assert self._process is not None
        status = self._process.wait()
        self._forget()
        return status

    def ask_to_stop(self) -> None:
        """Send SIGTERM, if it still runs."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, *, grace_s: float) -> None:
        """End the process by SIGTERM, after `grace_s` seconds by SIGKILL; returns when it is gone. Safe to repeat."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._forget()
        self._process = None

    def require_alive(self, *, next_step: str) -> None:
        """Raise LocalServerError with the end of the log if the process has ended."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise LocalServerError(f"{self.name} {how_it_ended(status)}.", next_step=next_step, log=self.log)

    def _forget(self) -> None:
        if self._record is not None:
            self._book.remove([self._record])
            self._record = None


def how_it_ended(status: int) -> str:
    """A Popen return code in words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def run_tool(
    argv: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str], timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return status and output, whatever the status; its errors go to ``log/tools.log``.

    Raises LocalServerError when it takes longer than `timeout_s` seconds. The arguments must hold no secrets.
    """
    log = folder / "log" / "tools.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with _popen(argv, environment, folder, subprocess.PIPE, subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            with log.open("ab") as file:
                file.write(errors)
            raise LocalServerError(
                f"{Path(argv[0]).name} did not finish within {timeout_s:.0f} s.",
                next_step="Look at the logs of the servers it talks to.",
                log=log,
            ) from None
    with log.open("ab") as file:
        file.write(errors)
    return subprocess.CompletedProcess(
        list(map(str, argv)), process.returncode, output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")
    )
