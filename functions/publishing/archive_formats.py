"""How archives are read: tar in any compression while it streams, zip by ranges, since its index is at its end."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, cast

import zstandard

from functions.ports import ObjectReader
from functions.publishing.archive import Unpacking

BLOCK_BYTES = 1 << 20

_ENCRYPTED = 0x1
_UNIX = 3
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    NotImplementedError,
    OSError,
    ValueError,
)
"""What the unpackers raise for bytes that are not what they should be."""


def unpack(reader: ObjectReader, unpacking: Unpacking) -> None:
    """Unpack an archive of any kind, told by its name; raises UploadRefused."""
    with _refusals(unpacking):
        if unpacking.name.lower().endswith(".zip"):
            _unpack_zip(reader, unpacking)
        else:
            _unpack_tar(reader.blocks(), unpacking)


def _unpack_tar(blocks: Iterable[bytes], unpacking: Unpacking) -> None:
    stream = cast("IO[bytes]", _BlockStream(blocks))
    if unpacking.name.lower().endswith(".zst"):
        stream = cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(stream))
    with tarfile.open(fileobj=stream, mode="r|*", errorlevel=2) as tar:
        for member in tar:
            unpacking.expect(member.size)
            mtime = int(member.mtime)
            if member.isdir():
                unpacking.add_directory(member.name, permissions=member.mode, mtime=mtime)
            elif member.issym():
                unpacking.add_link(member.name, member.linkname, mtime=mtime)
            elif member.islnk():
                unpacking.add_hard_link(member.name, member.linkname)
            elif member.isreg():
                content = tar.extractfile(member)
                assert content is not None, "a regular member has content"
                unpacking.add_file(member.name, _blocks(content.read), permissions=member.mode, mtime=mtime)
            else:
                raise unpacking.unsafe(member.name, "is a device, fifo or socket")


def _unpack_zip(reader: ObjectReader, unpacking: Unpacking) -> None:
    with zipfile.ZipFile(io.BufferedReader(_RangedFile(reader), BLOCK_BYTES)) as archive:
        for member in archive.infolist():
            unpacking.expect(member.file_size)
            if member.flag_bits & _ENCRYPTED:
                raise unpacking.unsafe(member.filename, "is encrypted")
            mode = member.external_attr >> 16 if member.create_system == _UNIX else 0
            mtime = _zip_time(member)
            if member.is_dir():
                unpacking.add_directory(member.filename, permissions=stat.S_IMODE(mode) or 0o755, mtime=mtime)
                continue
            if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFLNK}:
                raise unpacking.unsafe(member.filename, "is a device, fifo or socket")
            with archive.open(member) as content:
                if stat.S_ISLNK(mode):
                    target = content.read(BLOCK_BYTES).decode("utf-8", "surrogateescape")
                    unpacking.add_link(member.filename, target, mtime=mtime)
                else:
                    permissions = stat.S_IMODE(mode) or 0o644
                    unpacking.add_file(member.filename, _blocks(content.read), permissions=permissions, mtime=mtime)


def _zip_time(member: zipfile.ZipInfo) -> int:
    """A zip's wall-clock time taken as UTC, since it has no zone; 0 for a time that does not exist."""
    try:
        return int(datetime(*member.date_time, tzinfo=UTC).timestamp())
    except ValueError:
        return 0


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    return iter(lambda: read(BLOCK_BYTES), b"")


@contextmanager
def _refusals(unpacking: Unpacking) -> Iterator[None]:
    """Turns what the unpackers raise for damaged input into the one refusal that the user reads."""
    try:
        yield
    except _DAMAGE as err:
        raise unpacking.refused(f"cannot be read: {err}", "archive-broken") from err


class _BlockStream(io.RawIOBase):
    """Blocks as a file that can only be read on."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = BLOCK_BYTES if size is None or size < 0 else size
        parts: list[bytes] = []
        while wanted:
            if not self._rest:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._rest = memoryview(block)
            part, self._rest = self._rest[:wanted], self._rest[wanted:]
            parts.append(bytes(part))
            wanted -= len(part)
        return b"".join(parts)


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
