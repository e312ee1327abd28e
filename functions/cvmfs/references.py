"""What a catalog refers to: the objects of its files, as a collection of garbage needs them, many and little of each.

Source: ``catalog_sql.cc: SqlListContentHashes``. External files have no objects here; bind mounts show trees that have
tags of their own, and are not followed (``catalog.cc: ListOwnNestedCatalogs``).
"""

from __future__ import annotations

from collections.abc import Iterator

from functions.cvmfs.address import DIGEST_SIZE, Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog_database import NO_DIGEST
from functions.cvmfs.catalog_entries import CatalogEntries
from functions.cvmfs.entry import EntryFlag

PREFIX_SIZE = 8
"""Bytes of a digest by which objects are told apart when only "perhaps the same" matters."""

_EXTERNAL = int(EntryFlag.EXTERNAL)
_WHOLE = f"length(catalog.hash) = {DIGEST_SIZE} AND catalog.flags & {_EXTERNAL} = 0"
# Chunks are few, and CROSS JOIN lets each of them find its file.
_CHUNKS = (
    "chunks CROSS JOIN catalog USING (md5path_1, md5path_2) "
    f"WHERE length(chunks.hash) = {DIGEST_SIZE} AND catalog.flags & {_EXTERNAL} = 0"
)
_PREFIXES = (
    f"SELECT group_concat(hex(substr(hash, 1, {PREFIX_SIZE})), '') FROM catalog WHERE {_WHOLE} UNION ALL "  # noqa: S608
    f"SELECT group_concat(hex(substr(chunks.hash, 1, {PREFIX_SIZE})), '') FROM {_CHUNKS}"
)
_ADDRESSES = (
    f"SELECT DISTINCT hash, flags & 0x700, 0 FROM catalog WHERE {_WHOLE} UNION ALL "  # noqa: S608
    f"SELECT DISTINCT chunks.hash, catalog.flags & 0x700, 1 FROM {_CHUNKS}"
)


def object_prefixes(catalog: CatalogEntries) -> bytes:
    """The first PREFIX_SIZE bytes of the digest of every object of this catalog's files, one after the other.

    In no order, with repetitions, without the kinds of the objects. One string is built inside SQLite: half a million
    rows take 0.2 s and 8 MB, and other threads go on meanwhile.
    """
    return bytes.fromhex("".join(text for (text,) in catalog.query(_PREFIXES) if text))


def object_addresses(catalog: CatalogEntries) -> Iterator[Address]:
    """The objects of this catalog's files, each once; raises AddressError for an unknown hash algorithm."""
    for raw, algorithm, is_chunk in catalog.query(_ADDRESSES):
        digest = Digest(HashAlgorithm.from_flag_bits(algorithm), raw)
        yield Address(digest, Kind.PARTIAL if is_chunk else Kind.FILE)


def nested_digests(catalog: CatalogEntries) -> list[Digest]:
    """The digests of the nested catalogs that start in this one."""
    return [reference.digest for reference in catalog.nested().values() if reference.digest != NO_DIGEST]
