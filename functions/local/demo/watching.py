"""A worker node's view over plain HTTP: which revision is live, and since when each upload is in it.

The watcher looks at the manifest many times a second, verifies every new revision (whitelist, signature, hashes), and
finds out which of the uploads it waits for are in it, by the etag that each entry carries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from functions.cvmfs.errors import FormatError
from functions.cvmfs.reader import Fetch, Repository, Snapshot

LOOKS_PER_S = 50

VISIBLE_LIMIT_S = 60.0
"""What is not visible after this long counts as lost."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An upload on its way: where it will be, the etag it will carry (None: it must go), and when its PUT returned."""

    path: str
    etag: str | None
    put_at: float


@dataclass(frozen=True, slots=True)
class Seen:
    """An upload that is visible: seconds from its PUT, and the revision that has it first."""

    path: str
    seconds: float
    revision: int


@dataclass(slots=True)
class Watcher:
    """Watches one repository; `seconds` of an upload count until its revision had been seen and verified."""

    fetch: Fetch
    fqrn: str
    public_key: str
    seen: list[Seen] = field(default_factory=list)
    revisions: int = 0
    root: str = ""
    failures: list[str] = field(default_factory=list)
    _waiting: dict[str, Wanted] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        self._thread = threading.Thread(target=self._watch, name=f"watch-{self.fqrn}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def expect(self, path: str, etag: str | None, put_at: float) -> None:
        """Wait for an upload (or a removal) whose PUT returned at `put_at` (time.monotonic)."""
        with self._lock:
            self._waiting[path] = Wanted(path, etag, put_at)
        self.root = ""  # look into the revision that is live now, too

    def waiting(self) -> int:
        """How many are not visible yet."""
        with self._lock:
            return len(self._waiting)

    def missing(self) -> list[str]:
        """Paths that are not visible yet."""
        with self._lock:
            return sorted(self._waiting)

    def wait(self, *, timeout_s: float, progress: Callable[[int], None] = lambda _: None) -> bool:
        """Wait until all are visible; False if that takes longer than `timeout_s` seconds."""
        give_up_at = time.monotonic() + timeout_s
        while (left := self.waiting()) and time.monotonic() < give_up_at:
            progress(left)
            time.sleep(0.02)
        progress(left)
        return not left

    def snapshot(self) -> Snapshot:
        """The live revision, verified."""
        return self._open().snapshot()

    def _open(self) -> Repository:
        return Repository.open(self.fetch, public_keys=[self.public_key], fqrn=self.fqrn, now=datetime.now(UTC))

    def _watch(self) -> None:
        published = b""
        while not self._stop.wait(1 / LOOKS_PER_S):
            blob = self.fetch(".cvmfspublished") or b""
            if blob == published and self.root:
                continue
            fresh, published = blob != published, blob
            try:
                repository = self._open()
                now = time.monotonic()
                self.root = str(repository.manifest.root)
                if fresh:
                    self.revisions += 1
                if self.waiting():
                    self._look(repository.snapshot(), repository.manifest.revision, now)
            except FormatError as err:
                self.failures.append(f"{type(err).__name__}: {err}")

    def _look(self, snapshot: Snapshot, revision: int, now: float) -> None:
        with self._lock:
            waiting = list(self._waiting.values())
        found = [wanted for wanted in waiting if _is_there(snapshot, wanted)]
        with self._lock:
            for wanted in found:
                if self._waiting.get(wanted.path) == wanted:
                    del self._waiting[wanted.path]
                    self.seen.append(Seen(wanted.path, max(0.0, now - wanted.put_at), revision))


def _is_there(snapshot: Snapshot, wanted: Wanted) -> bool:
    entry = snapshot.lookup(wanted.path)
    if wanted.etag is None or entry is None:
        return wanted.etag is None and entry is None
    return entry.xattrs.get("user.source.etag") == wanted.etag.encode()


def percentiles(seen: list[Seen]) -> dict[str, float]:
    """Median, 99th percentile and maximum of some latencies, in seconds."""
    times = sorted(item.seconds for item in seen)
    if not times:
        return {}
    return {
        "median": times[len(times) // 2],
        "p99": times[min(len(times) - 1, int(len(times) * 0.99))],
        "max": times[-1],
    }
