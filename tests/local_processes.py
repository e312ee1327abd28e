"""Which processes run below a folder, found by their working directory, which every descendant inherits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def processes_below(folder: Path) -> dict[int, str]:
    """Command lines of the living processes whose working directory is in `folder`, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if (entry / "cwd").readlink().is_relative_to(folder):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile, or is a zombie, which has no working directory
    return found


def files_open_for_writing(pid: int) -> set[Path]:
    """The regular files and directories a process could write to at this moment, devices and sockets left out."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
            flags = int(Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().split("flags:")[1].split()[0], 8)
        except OSError:
            continue
        if (
            target.startswith("/")
            and not target.startswith(("/dev/", "/proc/"))
            and flags & os.O_ACCMODE != os.O_RDONLY
        ):
            found.add(Path(target.removesuffix(" (deleted)")))
    return found


def eventually(fact: Callable[[], object], *, within_s: float) -> bool:
    """Whether `fact()` becomes true within that many seconds."""
    deadline = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
