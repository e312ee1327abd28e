"""Entries to rows of the ``catalog`` table and back, and the rules an entry must keep to be entered.

Source: ``catalog_sql.cc`` (``BindDirent``, ``SqlLookup::GetDirent``); the rules are those of ``swissknife_check.cc``.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from functools import lru_cache

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import (
    Chunk,
    Entry,
    EntryFlag,
    base_name,
    encode_text,
    pack_xattrs,
    parent_path,
    path_hash,
    unpack_xattrs,
)
from functions.cvmfs.errors import CatalogError, FormatError
from functions.cvmfs.schema import COLUMN_LIST, COLUMNS

Row = tuple[object, ...]

STRUCTURE_FLAGS = EntryFlag.NESTED_MOUNTPOINT | EntryFlag.NESTED_ROOT | EntryFlag.BIND_MOUNTPOINT
"""The flags that say where catalogs begin; a catalog keeps them itself, whatever entries are put into it."""

_AS_TEXT = {"name", "symlink"}  # bound as bytes, since a name need not be UTF-8

INSERT_ENTRY = (
    f"INSERT INTO catalog ({COLUMN_LIST}) VALUES "  # noqa: S608
    f"({', '.join('CAST(? AS TEXT)' if name in _AS_TEXT else '?' for name in COLUMNS)})"
)
UPDATE_ENTRY = (
    "UPDATE catalog SET "  # noqa: S608
    + ", ".join(
        f"{name} = CAST(?{at} AS TEXT)" if name in _AS_TEXT else f"{name} = ?{at}"
        for at, name in enumerate(COLUMNS, start=1)
    )
    + " WHERE md5path_1 = ?1 AND md5path_2 = ?2"
)
INSERT_CHUNK = 'INSERT INTO chunks (md5path_1, md5path_2, "offset", size, hash) VALUES (?, ?, ?, ?, ?)'
SELECT_ENTRY = (
    "SELECT hardlinks, hash, size, mode, mtime, mtimens, flags, name, symlink, uid, gid, xattr, md5path_1, md5path_2 "
    "FROM catalog "
)

_DERIVED_FLAGS = int(EntryFlag.DIRECTORY | EntryFlag.FILE | EntryFlag.LINK | EntryFlag.SPECIAL | EntryFlag.CHUNKED) | (
    0b111111 << 8
)
_FILE_FLAGS = EntryFlag.EXTERNAL | EntryFlag.DIRECT_IO
_NO_FLAGS = EntryFlag(0)
_KNOWN_FLAGS: dict[tuple[int, HashAlgorithm | None, Compression, bool], int] = {}
# Few values of flags exist, and these are asked for with every row.
_algorithm_of = lru_cache(maxsize=256)(HashAlgorithm.from_flag_bits)
_compression_of = lru_cache(maxsize=256)(Compression.from_flag_bits)
_directory_hash = lru_cache(maxsize=1024)(path_hash)
_LINKCOUNT_BITS = 32
_LARGEST = 2**63
_LARGEST_MODE = 2**16


def row_of(path: str, entry: Entry, *, linkcount: int, extra_flags: EntryFlag) -> Row:
    """The row of `entry` at `path`, with the link count and structure flags that the catalog decides on."""
    parent = _directory_hash(parent_path(path)) if path else (0, 0)
    return (
        *path_hash(path),
        *parent,
        entry.hardlink_group << _LINKCOUNT_BITS | linkcount,
        None if entry.digest is None else entry.digest.raw,
        entry.size,
        entry.mode,
        entry.mtime,
        entry.mtime_ns,
        _derived_flags(entry) | int(extra_flags),
        encode_text(base_name(path)),
        encode_text(entry.symlink),
        entry.uid,
        entry.gid,
        pack_xattrs(entry.xattrs) if entry.xattrs else None,
    )


def _derived_flags(entry: Entry) -> int:
    """The flags that follow from what an entry is; few combinations exist, and flag arithmetic is slow in Python."""
    key = (stat.S_IFMT(entry.mode), entry.algorithm, entry.compression, bool(entry.chunks))
    flags = _KNOWN_FLAGS.get(key)
    if flags is None:
        flags = _KNOWN_FLAGS[key] = int(entry.flags) & ~int(entry.extra_flags)
    return flags


def chunk_rows(path: str, entry: Entry) -> list[Row]:
    """The rows of ``chunks`` of an entry, for INSERT_CHUNK."""
    first, second = path_hash(path)
    return [(first, second, chunk.offset, chunk.size, chunk.digest.raw) for chunk in entry.chunks]


def entry_of(row: Sequence[object], chunks: Sequence[Sequence[object]] = ()) -> Entry:
    """The entry of one row of SELECT_ENTRY and its rows (offset, size, hash) of ``chunks``.

    Raises CatalogError for values that no writer produces, such as a text where a number belongs.
    """
    hardlinks, digest, size, mode, mtime, mtime_ns, flags, name, symlink, uid, gid, xattr = row[:12]
    numbers = (hardlinks, size, mode, mtime, flags, uid, gid)
    if not all(isinstance(number, int) for number in numbers) or not isinstance(mtime_ns, int | None):
        raise CatalogError(f"entry {name!r} has a column that is not a number: {numbers}")
    if not isinstance(digest, bytes | None) or not isinstance(xattr, bytes | None):
        raise CatalogError(f"entry {name!r} has a hash or xattr column that is not a blob")
    assert isinstance(hardlinks, int)
    assert isinstance(mode, int)
    if not 0 <= mode < _LARGEST_MODE:
        raise CatalogError(f"entry {name!r} has mode {mode}")
    assert isinstance(flags, int)
    extra = flags & ~_DERIVED_FLAGS
    try:
        algorithm = _algorithm_of(flags)
        return Entry(
            mode=mode,
            size=size,  # type: ignore[arg-type]  # checked above, as are mtime, uid and gid
            mtime=mtime,  # type: ignore[arg-type]
            mtime_ns=mtime_ns,
            digest=None if digest is None else Digest(algorithm, digest),
            chunks=tuple([_chunk_of(chunk, algorithm) for chunk in chunks]) if chunks else (),
            compression=_compression_of(flags) if stat.S_ISREG(mode) else Compression.ZLIB,
            symlink=symlink if isinstance(symlink, str) else "",
            uid=uid,  # type: ignore[arg-type]
            gid=gid,  # type: ignore[arg-type]
            linkcount=hardlinks & 0xFFFFFFFF,
            hardlink_group=hardlinks >> _LINKCOUNT_BITS,
            xattrs=unpack_xattrs(xattr) if xattr else {},
            extra_flags=EntryFlag(extra) if extra else _NO_FLAGS,
        )
    except FormatError as err:
        raise CatalogError(f"entry {name!r}: {err}") from err


def _chunk_of(row: Sequence[object], algorithm: HashAlgorithm) -> Chunk:
    offset, size, digest = row
    if not isinstance(offset, int) or not isinstance(size, int) or not isinstance(digest, bytes):
        raise CatalogError("a row of chunks has values of the wrong type")
    return Chunk(offset, size, Digest(algorithm, digest))


def check_name(name: str) -> None:
    """Raise CatalogError for a name that no directory can hold."""
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise CatalogError(f"{name!r} cannot be the name of an entry")


def check_entry(path: str, entry: Entry) -> None:
    """Raise CatalogError for an entry that the official check, or a reader, would stumble over."""
    check_name(base_name(path))
    problem = _problem(entry)
    if problem:
        raise CatalogError(f"{path}: {problem}")


def _problem(entry: Entry) -> str | None:
    if not _fits(entry):
        numbers = f"size {entry.size}, mtime {entry.mtime}.{entry.mtime_ns}, owner {entry.uid}:{entry.gid}"
        return f"mode {entry.mode:o}, {numbers}: out of range"
    if entry.symlink and not entry.is_symlink:
        return "only a symlink has a target"
    if entry.is_regular:
        return _problem_of_links(entry) or _problem_of_content(entry)
    if entry.digest or entry.chunks or entry.extra_flags & _FILE_FLAGS:
        return "only a regular file has content"
    if entry.is_directory:
        return "a directory has no hard links" if entry.hardlink_group else None
    return _problem_of_links(entry) or _problem_of_size(entry)


def _fits(entry: Entry) -> bool:
    return (
        bool(stat.S_IFMT(entry.mode))
        and 0 <= entry.mode < _LARGEST_MODE
        and 0 <= entry.size < _LARGEST
        and -_LARGEST <= entry.mtime < _LARGEST
        and (entry.mtime_ns is None or 0 <= entry.mtime_ns < 10**9)
        and 0 <= entry.uid < 2**32
        and 0 <= entry.gid < 2**32
    )


def _problem_of_links(entry: Entry) -> str | None:
    if not 0 < entry.linkcount < 2**31 or not 0 <= entry.hardlink_group < 2**31:
        return f"link count {entry.linkcount} in group {entry.hardlink_group} is out of range"
    if entry.linkcount > 1 and not entry.hardlink_group:
        return f"link count {entry.linkcount} without a hard-link group"
    return None


def _problem_of_size(entry: Entry) -> str | None:
    has_none = stat.S_ISFIFO(entry.mode) or stat.S_ISSOCK(entry.mode)
    return f"a fifo or socket has no size, not {entry.size}" if has_none and entry.size else None


def _problem_of_content(entry: Entry) -> str | None:
    if entry.chunks:
        return chunk_problem(entry)
    return None if entry.digest else "a regular file needs a hash or chunks, even when it is empty"


def chunk_problem(entry: Entry) -> str | None:
    """What is wrong with the chunks of a chunked file, if anything: gaps, overlaps, or a wrong sum."""
    position = 0
    for chunk in entry.chunks:
        if chunk.offset != position or chunk.size < 0:
            return f"chunk at offset {chunk.offset} should start at {position}"
        position += chunk.size
    if position != entry.size:
        return f"chunks have {position} bytes, the file {entry.size}"
    if entry.digest and entry.digest.algorithm is not entry.chunks[0].digest.algorithm:
        return "the file and its chunks have different hash algorithms"
    return None if len({chunk.digest.algorithm for chunk in entry.chunks}) == 1 else "chunks of several hash algorithms"
