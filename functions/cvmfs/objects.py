"""Content to objects: the pair of a name and the bytes stored under it."""

from __future__ import annotations

from dataclasses import dataclass

from functions.cvmfs.address import Address, HashAlgorithm, Kind
from functions.cvmfs.compression import FAST, STOCK, Codec, Compression, compress, decompress
from functions.cvmfs.errors import HashMismatch

_STOCK_KINDS = frozenset({Kind.CERTIFICATE, Kind.METAINFO})


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object ready to be stored: its address, its stored bytes, and the size of its content in bytes."""

    address: Address
    body: bytes | bytearray
    size: int


def pack(
    content: bytes | bytearray | memoryview,
    kind: Kind,
    algorithm: HashAlgorithm,
    compression: Compression = Compression.ZLIB,
    codec: Codec = FAST,
) -> StoredObject:
    """Compress and hash `content`; certificates and metainfo are always stock zlib level 6."""
    body = compress(content, compression, STOCK if kind in _STOCK_KINDS else codec)
    return StoredObject(Address(algorithm.digest(body), kind), body, len(content))


def unpack(
    address: Address, body: bytes, compression: Compression = Compression.ZLIB, *, limit: int | None = None
) -> bytes:
    """The content of a stored object, after its hash was checked; raises HashMismatch or CompressionError."""
    actual = address.digest.algorithm.digest(body)
    if actual != address.digest:
        raise HashMismatch(f"object {address} has bytes that hash to {actual}")
    return decompress(body, compression, limit=limit)
