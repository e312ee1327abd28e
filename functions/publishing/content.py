"""File content to objects: compressed, hashed, cut into chunks when large, stored while it streams in.

Deflating is nine tenths of the work and lets other threads run, so chunks of one file are packed side by side while the
next ones are read and their ends looked for. They are handed on in order, so the threads do not show in the outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass

from functions.cvmfs.address import Digest, HashAlgorithm, Kind
from functions.cvmfs.chunks import ChunkLimits, split
from functions.cvmfs.compression import FAST, Codec, Compression
from functions.cvmfs.entry import Chunk
from functions.cvmfs.objects import StoredObject, pack

HEAD_BYTES = 4
"""How many first bytes tell an executable."""

IN_FLIGHT_BYTES = 16 << 20
"""Content of one file that is being packed from which on the next chunk waits: two chunks of the largest size at least.

Three chunks of the usual 8 MiB keep two processors busy.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How content becomes objects; one per repository."""

    algorithm: HashAlgorithm = HashAlgorithm.SHA1
    compression: Compression = Compression.ZLIB
    codec: Codec = FAST
    limits: ChunkLimits = ChunkLimits()


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A file's content in the store: one object or several chunks, its size in bytes, and how it begins."""

    digest: Digest | None
    chunks: tuple[Chunk, ...]
    size: int
    head: bytes


def store_content(
    blocks: Iterable[bytes], recipe: Recipe, put: Callable[[StoredObject], None], executor: Executor | None = None
) -> StoredContent:
    """Store what `blocks` yields; `put` gets the objects in this very thread, in order, and may store them later.

    Holds one chunk in memory. With an `executor`, whose threads then pack chunks, a few; its threads may call this too.
    """
    pieces = split(blocks, recipe.limits)
    first = next(pieces)
    head = bytes(first[:HEAD_BYTES])
    second = next(pieces, None)
    if second is None:
        stored = _pack(first, Kind.FILE, recipe)
        put(stored)
        return StoredContent(stored.address.digest, (), len(first), head)
    begun = deque((first, second))
    del first, second  # chunks live no longer than they are needed
    chunks: list[Chunk] = []
    offset = 0
    with closing(_packed(_drained(begun, pieces), recipe, executor)) as packed:
        for stored in packed:
            put(stored)
            chunks.append(Chunk(offset, stored.size, stored.address.digest))
            offset += stored.size
    return StoredContent(None, tuple(chunks), offset, head)


def _drained(begun: deque[bytearray], rest: Iterator[bytearray]) -> Iterator[bytearray]:
    while begun:
        yield begun.popleft()
    yield from rest


def _packed(chunks: Iterator[bytearray], recipe: Recipe, executor: Executor | None) -> Generator[StoredObject]:
    """The chunks as objects, in order; what nobody will ask for any more is not begun."""
    if executor is None:
        for chunk in chunks:
            yield _pack(chunk, Kind.PARTIAL, recipe)
        return
    waiting: deque[_Packing] = deque()
    try:
        for chunk in chunks:
            while sum(packing.size for packing in waiting) >= IN_FLIGHT_BYTES:
                yield waiting.popleft().outcome()
            waiting.append(_Packing(chunk, recipe, executor))
            del chunk
        while waiting:
            yield waiting.popleft().outcome()
    finally:
        for packing in waiting:
            packing.task.cancel()


class _Packing:
    """A chunk that is packed by a thread, or else by whoever wants the outcome; its content lives until then."""

    def __init__(self, content: bytearray, recipe: Recipe, executor: Executor) -> None:
        self.size = len(content)
        self._content = content
        self._recipe = recipe
        self.task: Future[StoredObject] = executor.submit(self._run)

    def outcome(self) -> StoredObject:
        # What no thread has begun is done here: the caller may be the only thread of the executor that is left.
        return self._run() if self.task.cancel() else self.task.result()

    def _run(self) -> StoredObject:
        content, self._content = self._content, bytearray()
        return _pack(content, Kind.PARTIAL, self._recipe)


def _pack(content: bytes | bytearray, kind: Kind, recipe: Recipe) -> StoredObject:
    return pack(content, kind, recipe.algorithm, recipe.compression, recipe.codec)
