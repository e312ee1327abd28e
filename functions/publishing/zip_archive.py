"""Zip archives, read through their index; ``zipfile`` knows the formats.

What is done for it: members that share bytes are refused (the trick of bombs), memory stays bounded for every method,
and names, times and modes are those that ``unzip`` gives on Unix.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from functions.ports import ObjectReader
from functions.publishing.archive import BLOCK_BYTES, LINK_TARGET_LIMIT, Member, Unpacking
from functions.publishing.forward_stream import ForwardStream
from functions.publishing.zip_methods import inflated

DIRECTORY_BYTES = 128 << 20
"""The largest index that is read: more than a million members have."""

_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1
_UTF8 = 0x800
_DOS = 0
_UNIX_LIKE = frozenset({3, 19})
_DOS_DIRECTORY = 0x10
_INFLATED_HERE = frozenset({zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})

_EXTENDED_TIME = 0x5455
_NTFS_TIMES = 0x000A
_UNICODE_PATH = 0x7075
_NTFS_EPOCH_S = 11_644_473_600
_NTFS_TICKS = 10_000_000


def is_zip(head: bytes) -> bool:
    """Whether something that begins with `head` is a zip archive."""
    return head.startswith(_SIGNATURES)


def unpack_zip(reader: ObjectReader, unpacking: Unpacking) -> None:
    """Unpack a zip archive; raises UploadRefused, and what ``zipfile`` raises."""
    with zipfile.ZipFile(_Indexed(_RangedFile(reader), BLOCK_BYTES)) as archive:
        members = archive.infolist()
        for found in members:
            unpacking.expect(found.file_size)
        _refuse_overlaps(members, archive.start_dir, unpacking)
        for found in members:
            _add(archive, found, unpacking)


def _refuse_overlaps(members: list[zipfile.ZipInfo], end: int, unpacking: Unpacking) -> None:
    for found in sorted(members, key=lambda member: member.header_offset, reverse=True):
        if found.header_offset + _LOCAL_HEADER_BYTES + found.compress_size > end:
            raise unpacking.unsafe(found.filename, "shares its bytes with another member")
        end = found.header_offset


def _add(archive: zipfile.ZipFile, found: zipfile.ZipInfo, unpacking: Unpacking) -> None:
    extra = dict(_extra_fields(found.extra))
    name = _name_of(found, extra)
    mode = found.external_attr >> 16 if found.create_system in _UNIX_LIKE else 0
    member = Member(name, stat.S_IMODE(mode) or None, _time_of(found, extra))
    if found.flag_bits & _ENCRYPTED:
        raise unpacking.unsafe(name, "is encrypted")
    if name.endswith("/") or stat.S_ISDIR(mode) or (not mode and found.external_attr & _DOS_DIRECTORY):
        unpacking.add_directory(member)
        return
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFLNK}:
        raise unpacking.unsafe(name, "is a device, fifo or socket")
    with _reading(archive, found) as read:
        if stat.S_ISLNK(mode):
            unpacking.add_link(member, read(LINK_TARGET_LIMIT + 1).decode("utf-8", "surrogateescape"))
        else:
            unpacking.add_file(member, found.file_size, read)


@contextmanager
def _reading(archive: zipfile.ZipFile, found: zipfile.ZipInfo) -> Iterator[Callable[[int], bytes]]:
    """How to read a member's content, in pieces as large as one asks for."""
    if found.compress_type in _INFLATED_HERE:
        with closing(inflated(archive, found)) as pieces:
            yield ForwardStream(pieces).read
    else:
        with archive.open(found) as content:
            yield content.read


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields of a member in the index, by their numbers; what is cut short is left out."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if len(extra) < 4 + size:
            return
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _name_of(found: zipfile.ZipInfo, extra: dict[int, bytes]) -> str:
    """The name as its author wrote it.

    Without the flag for UTF-8 it is bytes in a code page: UTF-8 nevertheless where a Unix made it, that of the first
    PCs elsewhere. DOS names without any slash have backslashes for them (``unzip`` does the same).
    """
    name = found.filename
    if not found.flag_bits & _UTF8:
        raw = name.encode("cp437")
        name = _unicode_path(extra.get(_UNICODE_PATH, b""), raw) or name
        if found.create_system in _UNIX_LIKE and name is found.filename:
            name = raw.decode("utf-8", "surrogateescape")
    if found.create_system == _DOS and "/" not in name:
        name = name.replace("\\", "/")
    return name


def _unicode_path(field: bytes, raw: bytes) -> str:
    """The name in Info-ZIP's Unicode field, if that belongs to the name that the member has now."""
    if len(field) < 5 or field[0] != 1 or struct.unpack_from("<I", field, 1)[0] != zlib.crc32(raw):
        return ""
    return field[5:].decode("utf-8", "surrogateescape")


def _time_of(found: zipfile.ZipInfo, extra: dict[int, bytes]) -> int:
    """Seconds since the epoch; without an extra field the wall-clock time taken as UTC, since it has no zone."""
    extended = extra.get(_EXTENDED_TIME, b"")
    if len(extended) >= 5 and extended[0] & 1:
        return int(struct.unpack_from("<i", extended, 1)[0])
    times = extra.get(_NTFS_TIMES, b"")
    if len(times) >= 16 and struct.unpack_from("<HH", times, 4) == (1, 24):
        return int(struct.unpack_from("<Q", times, 8)[0]) // _NTFS_TICKS - _NTFS_EPOCH_S
    try:
        return int(datetime(*found.date_time, tzinfo=UTC).timestamp())
    except ValueError:
        return 0


class _RangedFile(io.RawIOBase):
    """An object as a file that can be read anywhere, one block of it held at a time."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._position = 0
        self._start = 0
        self._block = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.info.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer, and BufferedReader gives this
        if self._position >= self._reader.info.size:
            return 0
        if not self._start <= self._position < self._start + len(self._block):
            self._start, self._block = self._position, self._reader.read(self._position)
        inside = self._position - self._start
        part = self._block[inside : inside + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


class _Indexed(io.BufferedReader):
    """The same in blocks, which refuses an index that would not fit into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its index has {size} bytes, at most {DIRECTORY_BYTES} are read")
        return super().read(size)
