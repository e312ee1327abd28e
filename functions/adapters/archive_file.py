"""An archive of the local file system, or one that comes through a pipe, as a publisher reads it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

from functions.errors import TreeRefused
from functions.ports import Clock, ObjectInfo

BLOCK_BYTES = 1 << 20
"""Bytes read at a time."""


class ArchiveFile:
    """An archive in a file that is open for reading; a context manager. Raises TreeRefused where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise _unreadable(str(path), err) from err
        told = os.fstat(self._file)
        modified = datetime.fromtimestamp(told.st_mtime, UTC)
        self.stored_size = told.st_size if stat.S_ISREG(told.st_mode) else None
        self.info = ObjectInfo(key=path.name, size=told.st_size, etag="", modified=modified)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def blocks(self) -> Iterator[bytes]:
        """The content from the start."""
        return _blocks(lambda: os.read(self._file, BLOCK_BYTES), str(self._path))

    def read(self, start: int) -> bytes:
        """Some of the content from byte `start` on."""
        try:
            return os.pread(self._file, BLOCK_BYTES, start)
        except OSError as err:
            raise _unreadable(str(self._path), err) from err


class ArchivePipe:
    """An archive that is read once, from front to back; its time is when that begins. A context manager."""

    stored_size: int | None = None

    def __init__(self, pipe: BinaryIO, clock: Clock) -> None:
        self._pipe = pipe
        self.info = ObjectInfo(key="standard input", size=0, etag="", modified=clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def blocks(self) -> Iterator[bytes]:
        """The content from the start."""
        return _blocks(lambda: self._pipe.read(BLOCK_BYTES), self.info.key)

    def read(self, start: int) -> bytes:
        """Always TreeRefused: there is no way back."""
        raise TreeRefused(f"{self.info.key} cannot be read from byte {start} on, since it comes through a pipe.")


def _blocks(read: Callable[[], bytes], name: str) -> Iterator[bytes]:
    try:
        while block := read():
            yield block
    except OSError as err:
        raise _unreadable(name, err) from err


def _unreadable(name: str, err: OSError) -> TreeRefused:
    return TreeRefused(f"{name} cannot be read: {err.strerror}.")
