"""One row of a catalog: a file, directory, symlink or special file, without its name.

Names and paths are `str` with undecodable bytes as surrogates (``surrogateescape``), as Python itself does for file
names. A path is absolute inside the repository, without a trailing slash; the repository root is the empty string.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.compression import Compression
from functions.cvmfs.errors import EntryError


class EntryFlag(IntFlag):
    """The bits of the ``flags`` column that are not a hash or compression value (``catalog_sql.h: SqlDirent``)."""

    DIRECTORY = 0x1
    NESTED_MOUNTPOINT = 0x2  # in the parent catalog, where a nested catalog starts
    FILE = 0x4  # everything that is not a directory
    LINK = 0x8
    SPECIAL = 0x10
    NESTED_ROOT = 0x20  # in the child catalog, its own root entry
    CHUNKED = 0x40
    EXTERNAL = 0x80
    BIND_MOUNTPOINT = 0x4000
    HIDDEN = 0x8000
    DIRECT_IO = 0x10000


MARKER_NAME = ".cvmfscatalog"
"""The file that says: a nested catalog starts in this directory."""

AUTO_MARKER_NAME = ".cvmfsautocatalog"
"""Beside the marker: a balancer made this nested catalog, so a balancer may merge it again."""

DIRECTORY_SIZE = 4096
"""The size recorded for directories that no file system reported a size for (``swissknife_ingest.cc``)."""


def encode_text(text: str) -> bytes:
    """The bytes of a name, path or symlink target."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(raw: bytes) -> str:
    """A name, path or symlink target from its bytes."""
    return raw.decode("utf-8", "surrogateescape")


def path_hash(path: str) -> tuple[int, int]:
    """The two signed little-endian halves of MD5(path) by which catalogs find entries (``hash.cc: ToIntPair``)."""
    first, second = struct.unpack("<qq", hashlib.md5(encode_text(path), usedforsecurity=False).digest())
    return first, second


def parent_path(path: str) -> str:
    """The path of the directory that contains `path`; the root's own parent is the root."""
    return path.rpartition("/")[0]


def base_name(path: str) -> str:
    """The last component of `path`; empty for the root."""
    return path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a chunked file: offset and size in bytes of content, and the digest of its stored bytes."""

    offset: int
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a catalog knows about one path, apart from the path.

    `size` is in bytes of content; `mtime` in seconds since the epoch, `mtime_ns` its nanosecond part or None;
    `linkcount` is 2 + sub-directories for directories, the number of members for a hard-link group, else 1.
    """

    mode: int
    size: int
    mtime: int
    mtime_ns: int | None = None
    digest: Digest | None = None
    chunks: tuple[Chunk, ...] = ()
    compression: Compression = Compression.ZLIB
    symlink: str = ""
    uid: int = 0
    gid: int = 0
    linkcount: int = 1
    hardlink_group: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    extra_flags: EntryFlag = EntryFlag(0)

    @classmethod
    def directory(
        cls,
        *,
        mtime: int,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> Entry:
        """An empty directory."""
        return cls(
            mode=stat.S_IFDIR | stat.S_IMODE(mode),
            size=DIRECTORY_SIZE,
            mtime=mtime,
            uid=uid,
            gid=gid,
            linkcount=2,
            xattrs=dict(xattrs or {}),
        )

    @classmethod
    def link(
        cls, target: str, *, mtime: int, uid: int = 0, gid: int = 0, xattrs: Mapping[str, bytes] | None = None
    ) -> Entry:
        """A symbolic link to `target`, stored as it is, variables included."""
        return cls(
            mode=stat.S_IFLNK | 0o777,
            size=len(encode_text(target)),
            mtime=mtime,
            symlink=target,
            uid=uid,
            gid=gid,
            xattrs=dict(xattrs or {}),
        )

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory, mount points of nested catalogs included."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_special(self) -> bool:
        """Whether this is a fifo, socket or device."""
        return not (self.is_directory or self.is_regular or self.is_symlink)

    @property
    def is_external(self) -> bool:
        """Whether the content is outside this repository's store."""
        return EntryFlag.EXTERNAL in self.extra_flags

    @property
    def is_nested_mountpoint(self) -> bool:
        """Whether a nested catalog starts here, seen from the parent catalog."""
        return EntryFlag.NESTED_MOUNTPOINT in self.extra_flags

    @property
    def is_nested_root(self) -> bool:
        """Whether this is the root entry of a nested catalog."""
        return EntryFlag.NESTED_ROOT in self.extra_flags

    @property
    def algorithm(self) -> HashAlgorithm | None:
        """The hash algorithm of the content, if there is any."""
        if self.digest is not None:
            return self.digest.algorithm
        return self.chunks[0].digest.algorithm if self.chunks else None

    @property
    def flags(self) -> int:
        """The value of the ``flags`` column (``catalog_sql.cc: CreateDatabaseFlags``)."""
        flags = int(self.extra_flags)
        if self.is_directory:
            return flags | EntryFlag.DIRECTORY
        flags |= EntryFlag.FILE
        if self.is_symlink:
            return flags | EntryFlag.LINK
        if self.is_special:
            return flags | EntryFlag.SPECIAL
        if self.chunks:
            flags |= EntryFlag.CHUNKED
        if self.algorithm is not None:
            flags |= self.algorithm.flag_bits
        return flags | self.compression.flag_bits


_SMALL_XATTRS = struct.Struct("<BB")
_LARGE_XATTRS = struct.Struct("<BH")
_XATTR_LENGTHS = {1: _SMALL_XATTRS, 2: _LARGE_XATTRS}
"""By version of the blob, the lengths of a name and its value; releases since 2.14 write version 2 where it is needed
(``xattr.cc: XattrEntrySerializer``), and older ones show no attributes then."""

_XATTR_LIMIT = 255
"""Names and their number fill one byte each; the official code's 256 wraps to 0 (``xattr.cc``)."""

_XATTR_VALUE_LIMIT = 2**16 - 1


def pack_xattrs(xattrs: Mapping[str, bytes]) -> bytes | None:
    """The ``xattr`` column: None where there are no attributes, since a blob means "has some".

    Values above 255 bytes make it one that only newer clients read.
    """
    if not xattrs:
        return None
    if len(xattrs) > _XATTR_LIMIT:
        raise EntryError(f"{len(xattrs)} extended attributes, at most {_XATTR_LIMIT} fit")
    version = 1 if all(len(value) <= _XATTR_LIMIT for value in xattrs.values()) else 2
    parts = [bytes((version, len(xattrs)))]
    for key, value in sorted((encode_text(key), value) for key, value in xattrs.items()):
        if not 1 <= len(key) <= _XATTR_LIMIT or b"\0" in key or len(value) > _XATTR_VALUE_LIMIT:
            raise EntryError(
                f"extended attribute {key!r} has {len(value)} bytes; names need 1 to {_XATTR_LIMIT} bytes without NUL, "
                f"values at most {_XATTR_VALUE_LIMIT}"
            )
        parts += (_XATTR_LENGTHS[version].pack(len(key), len(value)), key, value)
    return b"".join(parts)


def unpack_xattrs(blob: bytes | None) -> dict[str, bytes]:
    """The attributes in an ``xattr`` column; bytes after the last one are ignored, as every reader does."""
    if blob is None:
        return {}
    if len(blob) < 2 or blob[0] not in _XATTR_LENGTHS:
        raise EntryError(f"xattr blob of {len(blob)} bytes begins with no known version: {blob[:1].hex()}")
    lengths = _XATTR_LENGTHS[blob[0]]
    xattrs: dict[str, bytes] = {}
    position = 2
    for _ in range(blob[1]):
        key_start = position + lengths.size
        key_size, value_size = lengths.unpack_from(blob, position) if key_start <= len(blob) else (0, 0)
        if not key_size:
            raise EntryError("xattr blob is truncated or has an empty name")
        position = key_start + key_size + value_size
        if position > len(blob):
            raise EntryError("xattr blob is truncated")
        xattrs[decode_text(blob[key_start : key_start + key_size])] = blob[key_start + key_size : position]
    return xattrs


def sorted_names(names: Iterable[str]) -> list[str]:
    """Names in byte order, the order in which listings are shown."""
    return sorted(names, key=encode_text)
