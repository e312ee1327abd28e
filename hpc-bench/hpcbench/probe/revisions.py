"""Every revision as a client sees it: fetched, verified, compared with the one before, its new files read.

The time that counts is that of the fetch. Verifying and comparing come after it, in one thread, and cost no latency.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from functions.adapters.http import HttpReader
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.difference import Difference, TreeComparison
from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import FormatError
from functions.cvmfs.reader import MANIFEST_PATH, WHITELIST_PATH, Repository, Snapshot
from functions.errors import CloudError
from hpcbench.content import digest
from hpcbench.raw import RawFile

FETCHERS = 4
READERS = 4
ETAG = "user.source.etag"


@dataclass(slots=True)
class _Known:
    """What is known of one repository."""

    reader: HttpReader
    public_key: str
    published: bytes = b""
    snapshot: Snapshot | None = None
    kept: dict[str, bytes | None] = field(default_factory=dict)
    asked: bool = False


class Revisions:
    """Follows any number of repositories; `appeared` is told of each path that a new revision has or lacks."""

    def __init__(
        self,
        repository_url: str,
        raw: RawFile,
        *,
        appeared: Callable[[str, str, str | None], None],
        read_at_once: float,
    ) -> None:
        self._url = repository_url
        self._raw = raw
        self._appeared = appeared
        self._read_at_once = read_at_once
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._cache = CatalogCache(256 << 20)
        self._asked: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
        self._fetched: queue.SimpleQueue[tuple[str, bytes, float, float]] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")
        self.seen = 0
        for number in range(FETCHERS):
            threading.Thread(target=self._fetch, name=f"fetch-{number}", daemon=True).start()
        threading.Thread(target=self._process, name="revisions", daemon=True).start()

    def learn(self, fqrn: str, public_key: str) -> None:
        """A repository has been created; from now on it is followed."""
        with self._lock:
            if fqrn not in self._known:
                self._known[fqrn] = _Known(HttpReader(f"{self._url}/{fqrn}"), public_key)
        self.look(fqrn, time.time())

    def look(self, fqrn: str, at: float) -> None:
        """There may be a new revision; `at` is when that was heard."""
        with self._lock:
            known = self._known.get(fqrn)
            if known is None or known.asked:
                return
            known.asked = True
        self._asked.put((fqrn, at))

    def busy(self) -> bool:
        """Whether something fetched has not been looked at yet."""
        return not (self._asked.empty() and self._fetched.empty())

    def repositories(self) -> list[str]:
        """All that are followed."""
        with self._lock:
            return sorted(self._known)

    def snapshot(self, fqrn: str) -> Snapshot | None:
        """The newest tree that was seen."""
        return self._known[fqrn].snapshot

    def _fetch(self) -> None:
        while True:
            fqrn, heard = self._asked.get()
            known = self._known[fqrn]
            known.asked = False  # whoever hears of the next revision while this one is fetched must fetch again
            try:
                blob = known.reader.fetch(MANIFEST_PATH)
            except CloudError as err:
                self._raw.write("unreadable", fqrn=fqrn, why=str(err), at=time.time())
                continue
            if blob is not None:
                self._fetched.put((fqrn, blob, time.time(), heard))

    def _process(self) -> None:
        while True:
            fqrn, blob, fetched, heard = self._fetched.get()
            known = self._known[fqrn]
            if blob == known.published:
                continue
            try:
                self._compare(fqrn, known, blob, fetched, heard)
            except (FormatError, CloudError) as err:
                self._raw.write("invalid", fqrn=fqrn, why=f"{type(err).__name__}: {err}", at=fetched)
            self._raw.flush()

    def _compare(self, fqrn: str, known: _Known, blob: bytes, fetched: float, heard: float) -> None:
        repository = Repository.open(
            lambda path: blob if path == MANIFEST_PATH else self._keep(known, path),
            public_keys=[known.public_key],
            fqrn=fqrn,
            now=datetime.now(UTC),
            cache=self._cache,
        )
        snapshot = Snapshot(repository.manifest.root, known.reader.fetch, self._cache)
        before, known.snapshot, known.published = known.snapshot, snapshot, blob
        there: list[list[Any]] = []
        gone: list[str] = []
        if before is None:
            there += [_row(path, entry) for path, entry in snapshot.walk() if ETAG in entry.xattrs]
        else:
            for difference in TreeComparison(before.view, snapshot.view):
                if isinstance(difference, Difference):
                    self._sort(difference, there, gone)
        self.seen += 1
        revision = repository.manifest.revision
        self._raw.write(
            "revision", fqrn=fqrn, revision=revision, root=str(snapshot.root), heard=heard, fetched=fetched,
            there=there, gone=gone, bytes=len(blob),
        )  # fmt: skip
        for path, etag, *_ in there:
            self._appeared(fqrn, path, etag)
            if self._read_at_once and zlib.crc32(f"{fqrn}{path}".encode()) % 1000 < self._read_at_once * 1000:
                self._readers.submit(self.read, fqrn, snapshot, path, etag, "probe")
        for path in gone:
            self._appeared(fqrn, path, None)

    def _keep(self, known: _Known, path: str) -> bytes | None:
        """Certificates and whitelists are fetched once for each repository; what is kept is verified each time."""
        if path not in known.kept:
            fetched = known.reader.fetch(path)
            if path != WHITELIST_PATH and not path.endswith("X"):
                return fetched
            known.kept[path] = fetched
        return known.kept[path]

    @staticmethod
    def _sort(difference: Difference, there: list[list[Any]], gone: list[str]) -> None:
        new = difference.new
        if new is None:
            gone.append(difference.path)
        elif ETAG in new.xattrs and not difference.is_incidental:
            there.append(_row(difference.path, new))

    def read(self, fqrn: str, snapshot: Snapshot, path: str, etag: str, by: str) -> None:
        """Read a file as a client does, every object verified by its hash, and note what it holds."""
        entry = snapshot.lookup(path)
        if entry is None or not entry.is_regular:
            return
        start = time.time()
        try:
            body = snapshot.read(path)
        except (FormatError, CloudError) as err:
            self._raw.write("unreadable", fqrn=fqrn, path=path, why=f"{type(err).__name__}: {err}", at=time.time())
            return
        self._raw.write(
            "read",
            by=by,
            fqrn=fqrn,
            path=path,
            etag=etag,
            size=len(body),
            sha256=digest(body),
            start=start,
            at=time.time(),
        )

    def read_everything(self, fqrn: str) -> int:
        """Read every file of the newest tree; returns how many there were."""
        snapshot = self.snapshot(fqrn)
        if snapshot is None:
            return 0
        files = [(path, etag_of(entry)) for path, entry in snapshot.walk() if entry.is_regular]
        for outcome in [self._readers.submit(self.read, fqrn, snapshot, path, etag, "end") for path, etag in files]:
            outcome.result()
        return len(files)


def _row(path: str, entry: Entry) -> list[Any]:
    """What a line says of an entry: path, etag, size, object."""
    return [path, etag_of(entry), entry.size, "" if entry.digest is None else str(entry.digest)]


def etag_of(entry: Entry) -> str:
    """The etag of the object that an entry came from; empty for what came with an archive."""
    return entry.xattrs.get(ETAG, b"").decode("ascii", "replace")
