"""A BlobStore in a folder: repositories on a local file system, for the command line, tests and web servers.

Files below ``data/`` are named by the hash of their bytes and never change. Each is written to an unnamed file
(``O_TMPFILE``) and then given its name, so that a process killed at any moment leaves nothing, or the whole object, but
never half an object under its final name, where every later publish would take it for stored. All other files change:
they are written beside and renamed, one writer at a time, held apart by a lock file.

What is on disk: `create` and `replace` are the points at which something is committed, so before them everything that
was written so far is brought to disk (``syncfs``), and then the file itself. A power cut between two of them may lose
what was put since the first.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from functions.adapters.paths import checked, is_plain
from functions.errors import Permanent, StoreUnavailable, VersionMoved
from functions.ports import Blob, BlobInfo

OWN_PREFIX = ".cvmfs-cloud."
"""How the store's own files in the folder are named; listings leave them out."""

_LOCK = OWN_PREFIX + "lock"
_NEW = OWN_PREFIX + "new"
_IMMUTABLE = "data/"
_MODE = 0o644
_FRESH_S = 3600
"""Objects younger than this are not renewed: nobody deletes what was written within the hour, and a lock takes time."""
_ATTEMPTS = 10
_IN_THE_WAY = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG})
_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
_SYNCFS = ctypes.CDLL(None, use_errno=True).syncfs


class DirectoryBlobStore:
    """Files below one folder, which is made with the first write; the version of a file is the hash of its bytes.

    A path that goes through a file, or ends at a folder, cannot be written (Permanent) and holds nothing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = str(root)  # objects are many, and putting their paths together costs as much as writing them

    def get(self, path: str) -> Blob | None:
        """The file, or None."""
        with self._translated("reading", path):
            body = self._read(path)
        return None if body is None else Blob(body, _version(body))

    def has(self, path: str) -> bool:
        """Whether the file exists."""
        with self._translated("looking for", path):
            try:
                return stat.S_ISREG(self._place(path).stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                return False

    def info(self, path: str) -> BlobInfo | None:
        """What a listing would say of the file now."""
        with self._translated("looking for", path):
            told = self._told(path)
        return None if told is None else _info(path, told)

    def put(self, path: str, body: bytes | bytearray) -> None:
        """Write unconditionally; below ``data/``, where a name stands for its bytes, what is there is only renewed."""
        with self._translated("writing", path):
            if not path.startswith(_IMMUTABLE):
                with self._locked():
                    self._rename_over(path, body, durable=False)
            elif not self._write_new(path, body):
                self._renew(path, body)

    def create(self, path: str, body: bytes) -> str:
        """Write if absent."""
        with self._translated("writing", path), self._locked():
            if self._place(path).is_file():
                raise VersionMoved(f"{path} exists already")
            self._sync()
            self._rename_over(path, body, durable=True)
        return _version(body)

    def replace(self, path: str, body: bytes, version: str) -> str:
        """Write if the file still has `version`."""
        with self._translated("writing", path), self._locked():
            current = self._read(path)
            if current is None or _version(current) != version:
                raise VersionMoved(f"{path} is no longer at version {version}")
            self._sync()
            self._rename_over(path, body, durable=True)
        return _version(body)

    def delete(self, path: str) -> None:
        """Remove the file, and folders that are empty then; absent is fine."""
        with self._translated("deleting", path):
            place = self._place(path)
            try:
                place.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._check_root()
                return
            with suppress(OSError):
                while (place := place.parent) != self._root:
                    place.rmdir()

    def delete_old(self, path: str, before: datetime) -> bool:
        """Remove the file if it was last written before `before`; the lock keeps it from being renewed meanwhile."""
        with self._translated("deleting", path):
            if self._told(path) is None:
                return False
            with self._locked():
                told = self._told(path)
                if told is None or told.st_mtime >= before.timestamp():
                    return False
                self.delete(path)
                return True

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """All files whose path starts with `prefix`, in path order."""
        with self._translated("listing", prefix):
            self._check_root()
            yield from self._below("", prefix)

    def _below(self, folder: str, prefix: str) -> Iterator[BlobInfo]:
        try:
            with os.scandir(self._root / folder) as entries:
                found = {
                    folder + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else ""): entry
                    for entry in entries
                }
        except FileNotFoundError:  # the store is not there yet, or a deletion has just removed an empty folder
            return
        for path in sorted(found):
            if path.endswith("/"):
                if path.startswith(prefix) or prefix.startswith(path):
                    yield from self._below(path, prefix)
            elif path.startswith(prefix) and is_plain(path) and not found[path].name.startswith(OWN_PREFIX):
                with suppress(FileNotFoundError):
                    yield _info(path, found[path].stat())

    def _told(self, path: str) -> os.stat_result | None:
        """What the file system says of a file; None if there is none."""
        try:
            told = self._place(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
            return None
        return told if stat.S_ISREG(told.st_mode) else None

    def _renew(self, path: str, body: bytes | bytearray) -> None:
        """Let an object that is there already count as written now; what a power cut has left of one is replaced."""
        told = self._told(path)
        if told is not None and told.st_size == len(body) and time.time() - told.st_mtime < _FRESH_S:
            return
        with self._locked():
            told = self._told(path)
            if told is None or told.st_size != len(body):
                self._rename_over(path, body, durable=False)
            else:
                os.utime(self._place(path))

    def _read(self, path: str) -> bytes | None:
        try:
            return self._place(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._check_root()
            return None

    def _write_new(self, path: str, body: bytes | bytearray) -> bool:
        """Make the file as a whole; False if it is there already."""
        place = f"{self._top}/{checked(path)}"
        folder = place.rpartition("/")[0]
        for _ in range(_ATTEMPTS):
            try:
                return self._make_whole(folder, place, body)
            except FileNotFoundError:  # the folder is not there yet, or a deletion has just removed it
                Path(folder).mkdir(parents=True, exist_ok=True)
        return self._make_beside(place, body)  # there is no /proc through which to name a file

    def _make_whole(self, folder: str, place: str, body: bytes | bytearray) -> bool:
        try:
            unnamed = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, _MODE)
        except OSError as error:
            if error.errno not in _NO_UNNAMED_FILES:
                raise
            return self._make_beside(place, body)
        try:
            _write_all(unnamed, body)
            # Only where a folder is given does os.link follow the symbolic link in /proc to the file itself.
            os.link(f"/proc/self/fd/{unnamed}", place, src_dir_fd=unnamed, follow_symlinks=True)
        except FileExistsError:
            return False
        finally:
            os.close(unnamed)
        return True

    def _make_beside(self, place: str, body: bytes | bytearray) -> bool:
        """The same for a file system without unnamed files, where a killed process may leave a file beside."""
        beside = self._root / (OWN_PREFIX + uuid4().hex)
        named = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            _write_all(named, body)
            os.link(beside, place)
        except FileExistsError:
            return False
        finally:
            os.close(named)
            beside.unlink()
        return True

    def _rename_over(self, path: str, body: bytes | bytearray, *, durable: bool) -> None:
        """Write beside and rename; the caller holds the lock, so there is one new file at a time, and none stays."""
        new, place = self._root / _NEW, self._place(path)
        with new.open("wb") as file:
            file.write(body)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        try:
            new.rename(place)
        except FileNotFoundError:
            place.parent.mkdir(parents=True, exist_ok=True)
            new.rename(place)
        if durable:
            with _opened(place.parent) as folder:
                os.fsync(folder)

    def _sync(self) -> None:
        """Bring everything that was written to this file system to disk."""
        with _opened(self._root) as folder:
            if _SYNCFS(folder) != 0:
                raise OSError(ctypes.get_errno(), "syncfs failed", str(self._root))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _translated(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"{doing} {self._root / path}: {error.strerror}"
            if error.errno in _IN_THE_WAY and self._root.is_dir():
                raise Permanent(what) from error
            raise StoreUnavailable(what) from error

    def _place(self, path: str) -> Path:
        return self._root / checked(path)

    def _check_root(self) -> None:
        """A folder that is not there is an empty store; something else in its place is no store."""
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(self._root.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self._root))


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, body: bytes | bytearray) -> None:
    rest = memoryview(body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _info(path: str, told: os.stat_result) -> BlobInfo:
    return BlobInfo(path, told.st_size, datetime.fromtimestamp(told.st_mtime, UTC))


def _version(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()
