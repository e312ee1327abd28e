"""Contents of many files into the store: small ones in batches by other threads, large ones while they stream in.

Deflating takes most of the time of an archive, and lets other threads run meanwhile. Handing over to another thread
has its price too, so small contents travel in batches, and whoever reads the archive only parses and waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from functions.cvmfs.address import Digest, Kind
from functions.cvmfs.objects import StoredObject, pack
from functions.publishing.content import HEAD_BYTES, Recipe, StoredContent, store_content

SMALL_BYTES = 256 << 10
"""Files up to this size go in batches."""

BATCH_BYTES = 512 << 10
WORTH_BYTES = 4 << 10
"""Mean size of the files in a batch from which another thread is worth while.

Smaller ones are packed by whoever reads them: for 10,000 of 3.2 kB two threads take turns with the interpreter so often
that they need 1.47 s of CPU where one needs 1.27, and save 0.1 s.
"""
BATCH_FILES = 64
BATCHES_WAITING = 4
"""Batches on their way at most: what they hold is all the memory that is needed."""


@dataclass(slots=True)
class _Batch:
    contents: list[bytes] = field(default_factory=list)
    size: int = 0
    packing: Future[list[StoredObject]] | None = None
    digests: list[Digest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A small file on its way into the store."""

    size: int
    head: bytes
    _index: int
    _batch: _Batch
    _files: SmallFiles

    def content(self) -> StoredContent:
        """What became of the file; waits for it."""
        self._files.finish(self._batch)
        return StoredContent(self._batch.digests[self._index], (), self.size, self.head)


class SmallFiles:
    """Where contents go: `put` gets the objects in this very thread; without an executor everything happens in it."""

    def __init__(self, recipe: Recipe, put: Callable[[StoredObject], None], executor: Executor | None = None) -> None:
        self.recipe = recipe
        self.limit = min(SMALL_BYTES, recipe.limits.minimum)
        """Bytes up to which a file may be given as a whole."""
        self._put = put
        self._executor = executor
        self._open = _Batch()
        self._waiting: deque[_Batch] = deque()

    def add(self, content: bytes) -> Ticket:
        """Take a file of at most `limit` bytes; waits while too many are on their way."""
        batch = self._open
        batch.contents.append(content)
        batch.size += len(content)
        ticket = Ticket(len(content), content[:HEAD_BYTES], len(batch.contents) - 1, batch, self)
        if batch.size >= BATCH_BYTES or len(batch.contents) >= BATCH_FILES:
            self._send()
        return ticket

    def store(self, blocks: Iterable[bytes]) -> StoredContent:
        """Take a file of any size, as it streams in."""
        return store_content(blocks, self.recipe, self._put, self._executor)

    def finish_all(self) -> None:
        """Wait until all batches have been handed to the store."""
        if self._open.contents:
            self._send()
        while self._waiting:
            self._collect()

    def finish(self, batch: _Batch) -> None:
        """Wait until a batch, and all before it, have been handed to the store."""
        if batch is self._open and batch.contents:
            self._send()
        while batch.contents and self._waiting:
            self._collect()

    def _send(self) -> None:
        batch, self._open = self._open, _Batch()
        if self._executor is not None and batch.size >= WORTH_BYTES * len(batch.contents):
            batch.packing = self._executor.submit(_packed, batch.contents, self.recipe)
        self._waiting.append(batch)
        if len(self._waiting) > BATCHES_WAITING:
            self._collect()

    def _collect(self) -> None:
        batch = self._waiting.popleft()
        stored = _packed(batch.contents, self.recipe) if batch.packing is None else batch.packing.result()
        for item in stored:
            self._put(item)
        batch.digests = [item.address.digest for item in stored]
        batch.contents, batch.packing = [], None


def _packed(contents: list[bytes], recipe: Recipe) -> list[StoredObject]:
    return [pack(content, Kind.FILE, recipe.algorithm, recipe.compression, recipe.codec) for content in contents]
