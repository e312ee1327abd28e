"""A stack in a process of its own: started and stopped, and asked from others what runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from functions.local.servers import Account, CephServer, LocalServerError
from functions.local.servers.processes import start_time
from functions.local.stack import Progress, Stack, quiet
from functions.local.stack_file import StackFile, write_whole

STATUS_FILE = "status.json"
LOG_FILE = "stack.log"
START_LIMIT_S = 180
STOP_LIMIT_S = 60


def serve(folder: Path) -> None:
    """Run a stack until SIGTERM or SIGINT; what ``up`` starts in the background."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with Stack(folder, progress=_to_log) as stack:
        stack.wait_for_notifications()
        _to_log("up")
        while not stopping.wait(1.0):
            write_whole(stack.folder / STATUS_FILE, json.dumps(stack.status()))
    (folder / STATUS_FILE).unlink(missing_ok=True)


def up(folder: Path, *, progress: Progress = quiet) -> StackFile:
    """Start a stack that stays; on a running one it does nothing. Raises LocalServerError with the log's last lines.

    Ctrl-C while it starts stops it again.
    """
    running = StackFile.read(folder)
    if running is not None:
        return running
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG_FILE
    log.write_text("")
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - this very interpreter and module
            [sys.executable, "-m", "functions.local.background", str(folder.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        running = _wait_until_up(child, folder, log, progress)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    if running is not None:
        return running
    child.terminate()
    last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise LocalServerError(f"The stack did not start.\n{last}", next_step=f"The whole log is {log}.")


def _wait_until_up(child: subprocess.Popen[bytes], folder: Path, log: Path, progress: Progress) -> StackFile | None:
    """Tell what the log says until the stack is up; None if its process ends, or it takes too long."""
    told = 0
    give_up_at = time.monotonic() + START_LIMIT_S
    while child.poll() is None and time.monotonic() < give_up_at:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[told:]:
            progress(line)
        told = len(lines)
        stack = StackFile.read(folder)
        if stack is not None and lines and lines[-1] == "up":
            return stack
        time.sleep(0.1)
    return None


def down(folder: Path, *, progress: Progress = quiet) -> bool:
    """Stop the stack of `folder` and wait until it is gone; False if none ran."""
    stack = StackFile.read(folder)
    if stack is None:
        return False
    progress("stopping")
    os.kill(stack.pid, signal.SIGTERM)
    give_up_at = time.monotonic() + STOP_LIMIT_S
    while start_time(stack.pid) == stack.started:
        if time.monotonic() > give_up_at:
            progress("it does not stop by itself; killing it")
            os.kill(stack.pid, signal.SIGKILL)
            give_up_at += STOP_LIMIT_S
        time.sleep(0.1)
    StackFile.remove(folder)
    return True


def status(folder: Path) -> dict[str, Any] | None:
    """Addresses and state of the stack of `folder`; None if none runs."""
    stack = StackFile.read(folder)
    if stack is None:
        return None
    shown = {name: value for name, value in asdict(stack).items() if name not in {"settings", "started"}}
    try:
        state: dict[str, Any] = json.loads((folder / STATUS_FILE).read_text())
    except (OSError, ValueError):
        return shown
    return shown | state


def account(folder: Path, uid: str, display_name: str = "") -> tuple[StackFile, Account]:
    """An ordinary S3 user of the running stack of `folder`, made if there is none; raises LocalServerError."""
    stack = StackFile.read(folder)
    if stack is None:
        raise LocalServerError(f"No stack runs in {folder}.", next_step="Start one with `cvmfs-cloud stack up`.")
    return stack, CephServer.beside(folder.absolute() / "ceph").create_user(uid, display_name)


def _to_log(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the log of a process that has no other output


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
