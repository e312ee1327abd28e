"""Which processes belong to a folder, by pid and start time, so that exactly those can be ended later.

A pid alone may have been given to a stranger since; together with the start time (``/proc/PID/stat``, field 22, clock
ticks since boot) and the boot it names one process for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from functions.local.servers.errors import LocalServerError

_RECORD = "processes.json"
_LOCK = "owner.lock"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process: what it is for, its pid, its start in ticks since boot, and the boot's id."""

    name: str
    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessRecord | None:
        """The record of a running process; None if it has ended."""
        start = start_time(pid)
        return None if start is None else cls(name, pid, start, boot_id())

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self.boot == boot_id() and start_time(self.pid) == self.start


def boot_id() -> str:
    """The kernel's id of the current boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets and may hold anything, brackets included.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(fields[18])


class ProcessBook:
    """The record of one folder's processes, in ``processes.json``; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _RECORD
        self._lock = threading.Lock()

    def read(self) -> list[ProcessRecord]:
        """What is recorded; empty when nothing is, or when the file is not ours to understand."""
        try:
            return [ProcessRecord(**entry) for entry in json.loads(self._path.read_text())]
        except (OSError, ValueError, TypeError):
            return []

    def add(self, record: ProcessRecord) -> None:
        """Remember a process."""
        with self._lock:
            self._write([*self.read(), record])

    def remove(self, records: Iterable[ProcessRecord]) -> None:
        """Forget processes that have ended."""
        gone = set(records)
        with self._lock:
            self._write([record for record in self.read() if record not in gone])

    def _write(self, records: list[ProcessRecord]) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps([asdict(record) for record in records], indent=1) + "\n")
        new.replace(self._path)


@contextlib.contextmanager
def ownership(folder: Path) -> Iterator[None]:
    """Hold a folder, making it if need be; raises LocalServerError if a living process does. Death lets go of it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalServerError(
                f"{folder} is in use by another process.", next_step="Stop that one first, or use another folder."
            ) from None
        yield


def sweep(folder: Path, *, grace_s: float = 5.0) -> list[ProcessRecord]:
    """End what a killed run left behind in `folder` and the folders directly below it; return what was ended.

    Only recorded processes are touched, and only where no living owner holds the folder. Each gets SIGTERM, then
    SIGKILL after `grace_s` seconds.
    """
    ended = []
    for book in sorted({*folder.glob(_RECORD), *folder.glob(f"*/{_RECORD}")}):
        with contextlib.suppress(LocalServerError), ownership(book.parent):
            ended += end_recorded(book.parent, grace_s=grace_s)
    return ended


def end_recorded(folder: Path, *, grace_s: float) -> list[ProcessRecord]:
    """End the processes recorded in one folder that the caller owns; return those that were still running."""
    book = ProcessBook(folder)
    recorded = book.read()
    with contextlib.ExitStack() as handles:
        left = {record: handle for record in recorded if (handle := _handle(handles, record)) is not None}
        _signal(left.values(), signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(record.alive() for record in left):
            time.sleep(_POLL_S)
        _signal((handle for record, handle in left.items() if record.alive()), signal.SIGKILL)
        while any(record.alive() for record in left):
            time.sleep(_POLL_S)
    book.remove(recorded)
    return list(left)


def _handle(handles: contextlib.ExitStack, record: ProcessRecord) -> int | None:
    """A handle on exactly this process, which no reuse of the pid can redirect."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    handles.callback(os.close, handle)
    return handle if record.alive() else None


def _signal(handles: Iterable[int], number: signal.Signals) -> None:
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
