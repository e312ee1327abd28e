"""Raw data: JSON lines, one file for each process that writes; nothing is ever changed in them.

``k`` says what a line is; README.md has the list. Times are seconds since the epoch by the clock of the writing host.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpcbench.run_folder import RAW_FOLDER

Line = dict[str, Any]


class RawFile:
    """One file to append to, from any number of threads; a line is whole or not there."""

    def __init__(self, run: Path, name: str) -> None:
        path = run / RAW_FOLDER / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1 << 16)
        self._lock = threading.Lock()
        self.host = socket.gethostname()

    def write(self, k: str, **fields: Any) -> None:
        """Append a line."""
        line = json.dumps({"k": k, **fields}, separators=(",", ":"), ensure_ascii=False) + "\n"
        with self._lock:
            self._file.write(line)

    def flush(self) -> None:
        """Make what was written visible to others."""
        with self._lock:
            self._file.flush()

    def close(self) -> None:
        """Write out and close."""
        with self._lock:
            self._file.close()


class Tail:
    """What has been appended to the files of a run since the last look."""

    def __init__(self, run: Path) -> None:
        self._folder = run / RAW_FOLDER
        self._at: dict[Path, int] = {}

    def lines(self) -> Iterator[Line]:
        """New whole lines of all files."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._at.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._at[path] = self._at.get(path, 0) + len(line)
                    yield json.loads(line)


def read(run: Path) -> Iterator[Line]:
    """Every line of a run."""
    return Tail(run).lines()
