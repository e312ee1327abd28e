"""File content to objects: compressed, hashed, cut into chunks when large, stored while it streams in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain

from functions.cvmfs.address import Digest, HashAlgorithm, Kind
from functions.cvmfs.chunks import ChunkLimits, split
from functions.cvmfs.compression import FAST, Codec, Compression
from functions.cvmfs.entry import Chunk
from functions.cvmfs.objects import StoredObject, pack

HEAD_BYTES = 4
"""How many first bytes tell an executable."""


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


def store_content(blocks: Iterable[bytes], recipe: Recipe, put: Callable[[StoredObject], None]) -> StoredContent:
    """Store what `blocks` yields, holding at most one chunk in memory; `put` may store in the background."""
    pieces = split(blocks, recipe.limits)
    first = next(pieces, b"")
    head = bytes(first[:HEAD_BYTES])
    second = next(pieces, None)
    if second is None:
        stored = pack(first, Kind.FILE, recipe.algorithm, recipe.compression, recipe.codec)
        put(stored)
        return StoredContent(stored.address.digest, (), len(first), head)
    chunks: list[Chunk] = []
    offset = 0
    for piece in chain((first, second), pieces):
        stored = pack(piece, Kind.PARTIAL, recipe.algorithm, recipe.compression, recipe.codec)
        put(stored)
        chunks.append(Chunk(offset, len(piece), stored.address.digest))
        offset += len(piece)
    return StoredContent(None, tuple(chunks), offset, head)
